//! The paths that the documents name exist: a map that shows houses which were pulled down is worse than none.

use std::collections::BTreeSet;
use std::fs;

use super::workspace;

const DOCUMENTS: &[&str] = &["ARCHITECTURE.md", "README.md"];

/// Where a path must begin to be one of this repository (and not one in a reader's project).
const TOP: &[&str] = &["proto", "sync-core", "sync-agent", "sync-cli", "benches", "fuzz", "deploy", "docs", ".ci"];

/// The paths of this repository that a document names: in `code spans`, and as targets of links.
fn named(document: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut fenced = false;
    for line in document.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            continue;
        }
        if !fenced {
            found.extend(line.split('`').skip(1).step_by(2).filter_map(path_in_code));
            found.extend(line.split("](").skip(1).filter_map(|rest| path_in_link(rest.split(')').next()?)));
        }
    }
    found
}

fn path_in_code(span: &str) -> Option<String> {
    let top = span.split('/').next()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    (span.contains('/') && TOP.contains(&top) && span.chars().all(plain)).then(|| span.to_owned())
}

fn path_in_link(target: &str) -> Option<String> {
    let path = target.split(['#', ' ']).next()?;
    (!path.is_empty() && !path.contains("://") && !path.starts_with("mailto:")).then(|| path.to_owned())
}

#[test]
fn documents_name_only_what_exists() {
    let root = workspace();
    let mut missing = Vec::new();
    let mut seen = 0;
    for document in DOCUMENTS {
        let text =
            fs::read_to_string(root.join(document)).unwrap_or_else(|error| panic!("{document} can't be read: {error}"));
        let paths = named(&text);
        seen += paths.len();
        missing.extend(paths.iter().filter(|path| !root.join(path).exists()).map(|path| format!("{document}: {path}")));
    }
    assert!(missing.is_empty(), "named, but not there:\n{}", missing.join("\n"));
    assert!(seen >= 5, "only {seen} paths are named in {DOCUMENTS:?}: they have no map, or this test does not see it");
}

#[test]
fn paths_in_documents_are_found() {
    let check = |document: &str, expected: &[&str]| {
        assert_eq!(named(document), expected.iter().map(|path| (*path).to_owned()).collect(), "{document}");
    };
    check("see `sync-core/src/tree.rs` and `tree`", &["sync-core/src/tree.rs"]);
    check("`src/main.rs` in your project, `synctl watch . quic://pod:1/app`", &[]);
    check("[the wire](proto/SPEC.md#frames), [site](https://example.org/a), [below](#here)", &["proto/SPEC.md"]);
    check("```\nproto/nowhere.rs `proto/nowhere.rs`\n```\n`docs/a.md`", &["docs/a.md"]);
}

//! The pure modules name nothing of the world. That is what makes the engine testable at memory speed, and a failure
//! of it reproducible from a seed.

use std::fs;
use std::path::{Path, PathBuf};

use super::paths::{named, test_modules};
use super::workspace;

/// What a pure module must not name, by the start of its path, and what it should do instead.
const FORBIDDEN: &[(&str, &str)] = &[
    ("std::fs", "disk work is a value out (Action) and a value back (Event)"),
    ("std::net", "what is sent is a value out"),
    ("std::process", "nothing is started from a pure module"),
    ("std::thread", "parallelism belongs to the pools around it"),
    ("std::env", "settings are arguments"),
    ("std::time::Instant", "time is an argument"),
    ("std::time::SystemTime", "time is an argument"),
    ("std::time::UNIX_EPOCH", "time is an argument"),
    ("tokio", "nothing waits in a pure module"),
    ("rustix", "system calls belong to sys"),
    ("libc", "system calls belong to sys"),
    ("getrandom", "randomness is an argument"),
    ("notify", "observations come as events"),
    ("quinn", "links belong to link"),
    ("socket2", "links belong to link"),
    ("rustls", "trust belongs to link"),
    ("tempfile", "there is no disk here"),
    ("crate::sys", "pure modules stand below the real world"),
    ("crate::replica", "pure modules stand below the real world"),
    ("crate::link", "pure modules stand below the real world"),
    ("crate::store", "pure modules stand below the real world"),
    ("crate::session", "pure modules stand below the real world"),
];

/// A module brought in whole, by which the forbidden could be reached unseen.
const TOO_WIDE: &[&str] = &["std", "std::*", "std::time", "std::time::*", "crate", "crate::*"];

fn offences(source: &str) -> Vec<String> {
    let reason = |path: &str| {
        if TOO_WIDE.contains(&path) {
            return Some("name what is meant, not the module around it");
        }
        let starts = |forbidden: &str| {
            path.strip_prefix(forbidden).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        };
        FORBIDDEN.iter().find(|(forbidden, _)| starts(forbidden)).map(|(_, reason)| *reason)
    };
    named(source).iter().filter_map(|path| Some(format!("{path}: {}", reason(path)?))).collect()
}

#[test]
fn pure_modules_name_nothing_of_the_world() {
    let root = workspace();
    let mut problems = Vec::new();
    let mut lines = 0;
    for module in [
        "proto/src/lib.rs",
        "sync-core/src/tree.rs",
        "sync-core/src/delta.rs",
        "sync-core/src/chunk.rs",
        "sync-core/src/engine.rs",
    ] {
        let path = root.join(module);
        let mut files = vec![path.clone()];
        let below =
            if module.ends_with("lib.rs") { path.parent().unwrap().to_owned() } else { path.with_extension("") };
        sources(&below, &mut files);
        let tests: Vec<PathBuf> = files.iter().flat_map(|file| test_files(file)).collect();
        for file in files.iter().filter(|file| !tests.iter().any(|test| file.starts_with(test))) {
            let source = fs::read_to_string(file).unwrap();
            lines += source.lines().count();
            problems.extend(
                offences(&source).iter().map(|what| format!("{}: {what}", file.strip_prefix(&root).unwrap().display())),
            );
        }
    }
    assert!(lines > 500, "only {lines} lines were read: the pure modules are not where they were");
    assert!(problems.is_empty(), "pure modules name the world:\n{}", problems.join("\n"));
}

/// The Rust files at `directory` and beneath; none where there is no such directory.
fn sources(directory: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            sources(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !files.contains(&path) {
            files.push(path);
        }
    }
}

/// The files of `file`'s modules that are compiled for tests only.
fn test_files(file: &Path) -> Vec<PathBuf> {
    let below = match file.file_name().and_then(|name| name.to_str()) {
        Some("lib.rs" | "mod.rs" | "main.rs") => file.parent().unwrap().to_owned(),
        _ => file.with_extension(""),
    };
    let modules = test_modules(&fs::read_to_string(file).unwrap());
    modules.iter().flat_map(|name| [below.join(name), below.join(format!("{name}.rs"))]).collect()
}

#[test]
fn an_impure_module_is_found() {
    let check = |source: &str, expected: usize| assert_eq!(offences(source).len(), expected, "{source}");
    check("use std::collections::BTreeMap; use std::time::Duration; use crate::tree::Tree;", 0);
    check("fn restore(notify: u8, tokio: u8) { notify.a(tokio) }", 0);
    check("use std::{collections::BTreeMap, time::{Duration, Instant}};", 1);
    check("use std::fs; use std::net::UdpSocket; use std::process; use std::thread;", 4);
    check("fn now() -> u64 { std::time::SystemTime::now() }", 1);
    check("use std::time; fn now() { time::Instant::now() }", 1);
    check("use std as s;", 1);
    check("use tokio as t; use rustix::fs; use quinn::Connection; use notify::*; fn r() { getrandom::fill(b) }", 5);
    check("use crate::{sys::DirHandle, tree::Tree};", 1);
    check("#[cfg(test)] mod tests { use std::fs; }", 0);
}

//! The arrows between the crates point one way: `sync-cli`, `sync-agent` → `sync-core` → `sync-proto`.

use std::collections::BTreeSet;
use std::fs;

use super::workspace;

/// Each crate, and those of this workspace that it may be built on.
const ARROWS: &[(&str, &[&str])] = &[
    ("proto", &[]),
    ("sync-core", &["sync-proto"]),
    ("sync-agent", &["sync-core", "sync-proto"]),
    ("sync-cli", &["sync-core", "sync-proto"]),
];

/// The crates of this workspace that a manifest makes its crate depend on (for tests alone does not count).
fn depends_on(manifest: &str) -> BTreeSet<String> {
    let mut inside = false;
    let mut found = BTreeSet::new();
    for line in manifest.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            inside = section.ends_with("dependencies") && !section.ends_with("dev-dependencies");
            let (_, named) = section.split_once("dependencies.").unwrap_or_default();
            found.extend((!section.contains("dev-") && !named.is_empty()).then(|| named.to_owned()));
        } else if inside {
            let name = line.split(['.', '=', ' ']).next().unwrap_or_default().trim_matches('"');
            found.insert(name.to_owned());
        }
    }
    found.retain(|name| name.starts_with("sync-"));
    found
}

#[test]
fn crates_are_built_on_those_below_them_alone() {
    for (krate, allowed) in ARROWS {
        let manifest = fs::read_to_string(workspace().join(krate).join("Cargo.toml")).unwrap();
        let found = depends_on(&manifest);
        let wrong: Vec<_> = found.iter().filter(|name| !allowed.contains(&name.as_str())).collect();
        assert!(wrong.is_empty(), "{krate} is built on {wrong:?}, which stand above it or beside it");
        assert_eq!(found.is_empty(), allowed.is_empty(), "{krate}'s dependencies were not read: {found:?}");
    }
}

#[test]
fn an_arrow_that_points_up_is_found() {
    let check = |manifest: &str, expected: &[&str]| {
        assert_eq!(depends_on(manifest), expected.iter().map(|name| (*name).to_owned()).collect(), "{manifest}");
    };
    check(
        "[package]\nname = \"sync-core\"\n[dependencies]\nblake3 = \"1\"\nsync-proto.workspace = true\n",
        &["sync-proto"],
    );
    check("[dependencies]\nsync-cli = { path = \"../sync-cli\" }\n", &["sync-cli"]);
    check(
        "[build-dependencies]\nsync-cli.workspace = true\n[dev-dependencies]\nsync-agent.workspace = true\n",
        &["sync-cli"],
    );
    check("[target.'cfg(unix)'.dependencies]\nsync-agent.workspace = true\n", &["sync-agent"]);
    check("[dependencies.sync-agent]\npath = \"../sync-agent\"\n", &["sync-agent"]);
}

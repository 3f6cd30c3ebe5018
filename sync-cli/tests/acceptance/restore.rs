//! `synctl restore`: what was deleted on the other side's word comes back, and nothing is replaced.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use sync_core::{
    ignore::Protected,
    replica::commit::{CommitOptions, Committer},
    tree::Tree,
};
use sync_proto::{
    ContentId, Entry, SyncPath, Target,
    message::{Expected, Operation, Outcome},
};

use super::lab::{Finished, Lab, PATIENCE, body, run};

/// Deletes what stands at `paths` as a session does that was told so by the other side.
fn delete(root: &Path, paths: &[&str]) {
    let committer = Committer::open(root, CommitOptions::for_a_person(Protected::default())).unwrap();
    let remove = |path: &&str| {
        let at = root.join(path);
        let meta = fs::symlink_metadata(&at).unwrap();
        let entry = if meta.is_symlink() {
            Entry::Symlink(Target::new(fs::read_link(&at).unwrap().as_os_str().as_encoded_bytes()).unwrap())
        } else {
            let content = fs::read(&at).unwrap();
            Entry::File {
                content: ContentId(*blake3::hash(&content).as_bytes()),
                len: meta.len(),
                executable: meta.permissions().mode() & 0o100 != 0,
            }
        };
        Operation::Remove { path: SyncPath::parse(path.as_bytes()).unwrap(), expected: Expected::Entry(entry) }
    };
    let operations: Vec<_> = paths.iter().map(remove).collect();
    for commit in committer.apply(&Tree::new(), &operations) {
        assert_eq!(commit.outcome, Outcome::Applied);
    }
}

fn restore<const N: usize>(lab: &Lab, arguments: [&str; N]) -> Finished {
    let mut command = lab.synctl(["restore"]);
    command.arg(&lab.source).args(arguments);
    run(command, PATIENCE)
}

fn write(lab: &Lab, path: &str, content: &[u8]) {
    let at = lab.source.join(path);
    fs::create_dir_all(at.parent().unwrap()).unwrap();
    fs::write(at, content).unwrap();
}

fn json(finished: &Finished) -> Vec<serde_json::Value> {
    finished.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn what_was_deleted_is_listed_and_comes_back() {
    let lab = Lab::new();
    let empty = restore(&lab, []);
    assert_eq!((empty.code, empty.stdout.contains("is empty")), (Some(0), true), "{empty:?}");
    assert!(!lab.source.join(".synctl").exists(), "to look makes nothing");
    let main = &body(1, 18_432)[..18_432];
    write(&lab, "src/main.rs", main);
    write(&lab, "src/deep/er/run.sh", b"#!/bin/sh\n");
    write(&lab, "bad\u{1b}[31m\nname", b"x");
    fs::set_permissions(lab.source.join("src/deep/er/run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("main.rs", lab.source.join("src/link")).unwrap();
    delete(&lab.source, &["src/main.rs", "src/deep/er/run.sh", "src/link", "bad\u{1b}[31m\nname"]);

    let listed = restore(&lab, []);
    assert_eq!((listed.code, listed.stdout.lines().count()), (Some(0), 4), "{listed:?}");
    assert!(listed.stdout.contains("18.4 kB  src/main.rs") && listed.stdout.contains("s ago"), "{listed:?}");
    assert!(!listed.stdout.contains('\u{1b}'), "escaped: {listed:?}");
    let told = json(&restore(&lab, ["--output", "json"]));
    let of = |path: &str| told.iter().find(|item| item["path"] == path).unwrap_or_else(|| panic!("{path}: {told:?}"));
    assert_eq!((&of("src/main.rs")["kind"], &of("src/main.rs")["size"]), (&"file".into(), &18_432.into()));
    assert_eq!((&of("src/link")["kind"], &of("src/deep/er/run.sh")["executable"]), (&"symlink".into(), &true.into()));
    assert!(of("src/link")["deleted_ms"].as_u64().unwrap() > 1_700_000_000_000 && of("src/link")["restored"].is_null());

    fs::remove_dir_all(lab.source.join("src")).unwrap();
    let one = restore(&lab, ["src/deep"]);
    assert_eq!((one.code, one.stdout.as_str()), (Some(0), "restored src/deep/er/run.sh\n"), "{one:?}");
    let mode = fs::metadata(lab.source.join("src/deep/er/run.sh")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
    let rest = restore(&lab, ["--all", "--output", "json"]);
    assert_eq!((rest.code, json(&rest).len()), (Some(0), 3), "{rest:?}");
    assert!(json(&rest).iter().all(|item| item["restored"] == true && item["reason"].is_null()));
    assert_eq!(fs::read(lab.source.join("src/main.rs")).unwrap(), main);
    assert_eq!(fs::read_link(lab.source.join("src/link")).unwrap(), Path::new("main.rs"));
    assert!(restore(&lab, []).stdout.contains("is empty"));
}

#[test]
fn nothing_that_stands_is_replaced() {
    let lab = Lab::new();
    for content in [&b"first"[..], b"second"] {
        write(&lab, "dir/file", content);
        write(&lab, "dir/other", content);
        delete(&lab.source, &["dir/file", "dir/other"]);
    }
    write(&lab, "dir/file", b"now");
    let refused = restore(&lab, ["dir/file"]);
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""), "{refused:?}");
    assert!(refused.stderr.contains("dir/file is not restored: something stands there now"), "{refused:?}");
    assert!(refused.stderr.contains("--to DIR"), "{refused:?}");
    // The others come back.
    let part = restore(&lab, ["dir"]);
    assert_eq!((part.code, part.stdout.as_str()), (Some(1), "restored dir/other\n"), "{part:?}");
    let read = |path: &Path| fs::read(path).unwrap();
    assert_eq!(
        (read(&lab.source.join("dir/file")), read(&lab.source.join("dir/other"))),
        (b"now".into(), b"second".into())
    );
    // Elsewhere, the newest first, and then the one before it.
    for (to, content) in [("one", &b"second"[..]), ("two", b"first")] {
        let to = lab.base().join("back").join(to);
        let elsewhere = restore(&lab, ["dir/file", "--to", to.to_str().unwrap()]);
        assert_eq!(elsewhere.code, Some(0), "{elsewhere:?}");
        assert_eq!(read(&to.join("dir/file")), content);
    }
    assert_eq!(read(&lab.source.join("dir/file")), b"now");
}

#[test]
fn what_can_not_be_restored_is_one_clear_line() {
    let lab = Lab::new();
    write(&lab, "file", b"x");
    delete(&lab.source, &["file"]);
    let check = |arguments: &[&str], words: &[&str]| {
        let mut command = lab.synctl(["restore"]);
        command.args(arguments).current_dir(&lab.source);
        let finished = run(command, PATIENCE);
        assert_eq!((finished.code, finished.stderr.lines().count()), (Some(2), 1), "{finished:?}");
        assert!(words.iter().all(|word| finished.stderr.contains(word)), "{finished:?}");
        assert!(lab.source.join(".synctl/trash").exists() && !lab.source.join("file").exists());
    };
    check(&["nowhere"], &["nowhere"]);
    check(&[".synctl/replica"], &["replica"]);
    check(&[".", "never-there"], &["never-there is not in the trash", "synctl restore SRC"]);
    check(&[".", "../file"], &["`..`"]);
    check(&[".", "."], &["--all"]);
    check(&[".", "--to", "there"], &["--all"]);
    check(&[".", "file", "--to", "/proc/nowhere"], &["/proc/nowhere"]);
}

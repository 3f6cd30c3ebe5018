//! Each operation against each state of its target.

use super::*;

/// What stands at the target when an operation comes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Nothing,
    /// What is expected, as the index has it.
    Same,
    /// What is expected, with other stat data.
    Touched,
    /// What is expected, but the index has never seen it.
    Unseen,
    /// Another content of another length.
    Changed,
    /// Another content of the same length and mtime.
    Sly,
    /// The same content, now executable.
    Executable,
    Symlink,
    Directory,
    FullDirectory,
    Fifo,
}

const STATES: [State; 11] = [
    State::Nothing,
    State::Same,
    State::Touched,
    State::Unseen,
    State::Changed,
    State::Sly,
    State::Executable,
    State::Symlink,
    State::Directory,
    State::FullDirectory,
    State::Fifo,
];

/// Makes a root in which `dir/it` is in this state, and the index that was taken when it was a file of `old`.
fn in_state(state: State) -> (Fixture, Tree) {
    let fixture = Fixture::new();
    let it = fixture.at_path("dir/it");
    fixture.write("dir/it", b"old");
    fixture.age("dir/it");
    let index = fixture.index();
    match state {
        State::Same => {}
        State::Touched => fs::File::open(&it).unwrap().set_modified(SystemTime::now()).unwrap(),
        State::Unseen => {
            fs::remove_file(&it).unwrap();
            let index = fixture.index();
            fixture.write("dir/it", b"old");
            return (fixture, index);
        }
        State::Changed => fixture.write("dir/it", b"changed"),
        State::Sly => {
            let before = fs::metadata(&it).unwrap().modified().unwrap();
            fixture.write("dir/it", b"sly");
            fs::File::open(&it).unwrap().set_modified(before).unwrap();
        }
        State::Executable => fixture.chmod("dir/it", 0o755),
        _ => {
            fs::remove_file(&it).unwrap();
            match state {
                State::Symlink => symlink("old", &it).unwrap(),
                State::Directory => fs::create_dir(&it).unwrap(),
                State::FullDirectory => fixture.write("dir/it/below", b"below"),
                State::Fifo => {
                    let dir = fixture.committer.root().open_dir(Name::new(b"dir").unwrap()).unwrap();
                    rustix::fs::mkfifoat(&dir, "it", rustix::fs::Mode::from_raw_mode(0o644)).unwrap();
                }
                _ => {}
            }
        }
    }
    (fixture, index)
}

/// All that can be seen of a root.
fn snapshot(fixture: &Fixture) -> Vec<(String, u64, u64, i64)> {
    let mut seen = Vec::new();
    let mut queue = vec![fixture.root.clone()];
    while let Some(dir) = queue.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            if entry.file_name() == HOME {
                continue;
            }
            let meta = fs::symlink_metadata(entry.path()).unwrap();
            let mtime = if meta.is_dir() { 0 } else { meta.mtime_nsec() };
            seen.push((entry.path().display().to_string(), meta.ino(), meta.len(), mtime));
            if meta.is_dir() {
                queue.push(entry.path());
            }
        }
    }
    seen.sort();
    seen
}

/// Does `operation` in every state, and demands that it is applied in the states of `applied` and changes nothing in the
/// rest.
fn check(applied: &[State], operation: impl Fn() -> Operation, after: impl Fn(&Fixture)) {
    for state in STATES {
        let (fixture, index) = in_state(state);
        let before = snapshot(&fixture);
        let commit = fixture.one(&index, operation());
        if applied.contains(&state) {
            assert_eq!(commit.outcome, Outcome::Applied, "{state:?}");
            assert!(!commit.changes.is_empty(), "{state:?}");
            after(&fixture);
        } else {
            assert_eq!(commit.outcome, Outcome::Mismatch, "{state:?}");
            assert_eq!(commit.changes, [], "{state:?}");
            assert_eq!(snapshot(&fixture), before, "{state:?}");
        }
        assert_eq!(fixture.displaced(), Vec::<Vec<u8>>::new());
    }
}

const EXPECTED: [State; 3] = [State::Same, State::Touched, State::Unseen];

fn old() -> Expected {
    Expected::Entry(file(b"old"))
}

#[test]
fn put_new_takes_a_free_name_only() {
    check(
        &[State::Nothing],
        || put("dir/it", Expected::Nothing, b"new"),
        |f| {
            assert_eq!((f.read("dir/it"), f.mode("dir/it")), (b"new".to_vec(), 0o644));
        },
    );
    check(
        &[State::Nothing],
        || put_entry("dir/it", Expected::Nothing, link("x"), Content::None),
        |f| {
            assert_eq!(fs::read_link(f.at_path("dir/it")).unwrap().to_str(), Some("x"));
        },
    );
    check(&[State::Nothing], || make("dir/it"), |f| assert!(f.at_path("dir/it").is_dir()));
}

#[test]
fn put_over_replaces_what_is_expected_only() {
    check(
        &EXPECTED,
        || put("dir/it", old(), b"new"),
        |f| {
            assert_eq!((f.read("dir/it"), f.mode("dir/it")), (b"new".to_vec(), 0o644));
        },
    );
    check(
        &EXPECTED,
        || put_entry("dir/it", old(), link("x"), Content::None),
        |f| {
            assert_eq!(fs::read_link(f.at_path("dir/it")).unwrap().to_str(), Some("x"));
        },
    );
    check(
        &EXPECTED,
        || put_entry("dir/it", old(), program(b"old"), Content::Unchanged),
        |f| {
            assert_eq!((f.read("dir/it"), f.mode("dir/it")), (b"old".to_vec(), 0o755));
        },
    );
    check(
        &[State::Symlink],
        || put("dir/it", Expected::Entry(link("old")), b"new"),
        |f| {
            assert_eq!(f.read("dir/it"), b"new");
            assert!(!f.exists("dir/old"));
        },
    );
    check(
        &[State::Executable],
        || put("dir/it", Expected::Entry(program(b"old")), b"new"),
        |f| {
            assert_eq!(f.mode("dir/it"), 0o644);
        },
    );
}

#[test]
fn put_never_replaces_a_directory() {
    check(&[], || put("dir/it", Expected::Entry(Entry::Directory), b"new"), |_| {});
    check(&[], || put("dir/it", Expected::Tree(Dir::new().hash()), b"new"), |_| {});
}

#[test]
fn remove_takes_what_is_expected_only() {
    check(&EXPECTED, || remove("dir/it", old()), |f| assert!(!f.exists("dir/it") && f.exists("dir")));
    check(&[State::Symlink], || remove("dir/it", Expected::Entry(link("old"))), |f| assert!(!f.exists("dir/it")));
    check(&[], || remove("dir/it", Expected::Nothing), |_| {});
    check(&[], || remove("dir/it", Expected::Entry(Entry::Directory)), |_| {});
    check(&[], || remove("dir/it", Expected::Tree(Dir::new().hash())), |_| {});
}

#[test]
fn move_takes_what_is_expected_only() {
    check(
        &EXPECTED,
        || relocate("dir/it", "dir/there", old()),
        |f| {
            assert_eq!(f.read("dir/there"), b"old");
            assert!(!f.exists("dir/it"));
        },
    );
    check(
        &[State::Symlink],
        || relocate("dir/it", "there", Expected::Entry(link("old"))),
        |f| {
            assert_eq!(fs::read_link(f.at_path("there")).unwrap().to_str(), Some("old"));
        },
    );
    check(&[], || relocate("dir/it", "there", Expected::Nothing), |_| {});
    check(&[], || relocate("dir/it", "there", Expected::Tree(Dir::new().hash())), |_| {});
}

#[test]
fn move_goes_to_a_free_name_only() {
    for state in STATES {
        let (fixture, _) = in_state(state);
        fixture.write("from", b"from");
        fixture.write("tree/below", b"below");
        let index = fixture.index();
        let before = snapshot(&fixture);
        let wanted = if state == State::Nothing { Outcome::Applied } else { Outcome::Mismatch };
        let commit = fixture.one(&index, relocate("from", "dir/it", Expected::Entry(file(b"from"))));
        assert_eq!(commit.outcome, wanted, "{state:?}");
        if state == State::Nothing {
            fs::remove_file(fixture.at_path("dir/it")).unwrap();
        } else {
            assert_eq!(snapshot(&fixture), before);
        }
        let commit = fixture.one(&index, relocate("tree", "dir/it", Expected::Tree(tree_hash(&index, "tree"))));
        assert_eq!(commit.outcome, wanted, "{state:?}");
        assert_eq!(fixture.exists("tree"), state != State::Nothing);
    }
}

#[test]
fn nothing_is_done_where_the_parent_is_not_a_directory() {
    for parent in ["none", "file", "link", "none/deeper"] {
        let fixture = Fixture::new();
        let outside = tempfile::tempdir().unwrap();
        fixture.write("file", b"old");
        fixture.write("source", b"old");
        fs::write(outside.path().join("it"), "old").unwrap();
        symlink(outside.path(), fixture.at_path("link")).unwrap();
        let index = fixture.index();
        let it = format!("{parent}/it");
        for operation in [
            make(&it),
            put(&it, Expected::Nothing, b"new"),
            put(&it, old(), b"new"),
            remove(&it, old()),
            relocate(&it, "there", old()),
            relocate("source", &it, old()),
        ] {
            assert_eq!(fixture.one(&index, operation.clone()).outcome, Outcome::Mismatch, "{operation:?}");
        }
        let below = [make(&it), put(&format!("{it}/below"), Expected::Nothing, b"new")];
        assert_eq!(fixture.batch(&index, &below), [Outcome::Mismatch, Outcome::Mismatch]);
        assert_eq!(fs::read(outside.path().join("it")).unwrap(), b"old");
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
        assert_eq!(fixture.read("file"), b"old");
    }
}

//! Whole subtrees: made, moved, removed.

use super::*;

fn populated() -> (Fixture, Tree) {
    let fixture = Fixture::new();
    for at in ["dir/a", "dir/b", "dir/sub/c", "dir/sub/deep/d", "other"] {
        fixture.write(at, at.as_bytes());
    }
    fs::create_dir(fixture.at_path("dir/empty")).unwrap();
    symlink("a", fixture.at_path("dir/link")).unwrap();
    let index = fixture.index();
    (fixture, index)
}

fn remove_dir(index: &Tree) -> Operation {
    remove("dir", Expected::Tree(tree_hash(index, "dir")))
}

#[test]
fn a_known_tree_goes_whole() {
    let (fixture, index) = populated();
    fs::File::open(fixture.at_path("dir/b")).unwrap().set_modified(SystemTime::now()).unwrap();
    let commit = fixture.one(&index, remove_dir(&index));
    assert_eq!(commit.outcome, Outcome::Applied);
    assert_eq!(commit.changes, [IndexChange::gone(path("dir"))]);
    assert!(!fixture.exists("dir") && fixture.exists("other"));
}

#[test]
fn a_tree_with_another_hash_stays() {
    let (fixture, index) = populated();
    let mut other = index.clone();
    other.remove(&path("dir/a"));
    assert_eq!(fixture.one(&index, remove_dir(&other)).outcome, Outcome::Mismatch);
    let commit = fixture.one(&index, relocate("dir", "there", Expected::Tree(tree_hash(&other, "dir"))));
    assert_eq!(commit.outcome, Outcome::Mismatch);
    assert_eq!(fixture.index(), index);
}

#[test]
fn what_is_not_known_stays_with_the_directories_above_it() {
    type Edit = fn(&Fixture);
    let edits: [(&str, Edit, &[&str]); 6] = [
        ("ignored", |f| f.write("dir/sub/ignored", b"mine"), &["dir/sub/ignored"]),
        ("changed", |f| f.write("dir/sub/c", b"edited"), &["dir/sub/c"]),
        ("chmod", |f| f.chmod("dir/a", 0o755), &["dir/a"]),
        (
            "link",
            |f| (fs::remove_file(f.at_path("dir/a")).unwrap(), symlink("b", f.at_path("dir/a")).unwrap()).1,
            &["dir/a"],
        ),
        ("in an empty directory", |f| f.write("dir/empty/x", b"mine"), &["dir/empty/x"]),
        ("directory", |f| f.write("dir/new/x", b"mine"), &["dir/new/x"]),
    ];
    for (what, edit, stays) in edits {
        let (fixture, index) = populated();
        edit(&fixture);
        let commit = fixture.one(&index, remove_dir(&index));
        assert_eq!(commit.outcome, Outcome::Kept, "{what}");
        for at in ["dir/a", "dir/b", "dir/link", "dir/sub/c", "dir/sub/deep", "dir/sub/deep/d"] {
            assert_eq!(fixture.exists(at), stays.contains(&at), "{what}: {at}");
        }
        for at in stays {
            assert!(fixture.exists(at), "{what}: {at}");
        }
    }
}

#[test]
fn a_directory_that_became_a_symlink_is_not_entered() {
    let (fixture, index) = populated();
    let outside = tempfile::tempdir().unwrap();
    fs::rename(fixture.at_path("dir/sub"), outside.path().join("sub")).unwrap();
    symlink(outside.path().join("sub"), fixture.at_path("dir/sub")).unwrap();
    assert_eq!(fixture.one(&index, remove_dir(&index)).outcome, Outcome::Kept);
    assert!(outside.path().join("sub/c").exists() && outside.path().join("sub/deep/d").exists());
    assert!(fixture.exists("dir/sub") && !fixture.exists("dir/a"));

    let (fixture, index) = populated();
    fs::rename(fixture.at_path("dir"), outside.path().join("dir")).unwrap();
    symlink(outside.path().join("dir"), fixture.at_path("dir")).unwrap();
    assert_eq!(fixture.one(&index, remove_dir(&index)).outcome, Outcome::Mismatch);
    assert!(outside.path().join("dir/sub/deep/d").exists());
}

#[test]
fn what_is_gone_already_is_no_obstacle() {
    let (fixture, index) = populated();
    fs::remove_dir_all(fixture.at_path("dir/sub")).unwrap();
    fs::remove_file(fixture.at_path("dir/a")).unwrap();
    assert_eq!(fixture.one(&index, remove_dir(&index)).outcome, Outcome::Applied);
    assert!(!fixture.exists("dir"));
    assert_eq!(fixture.one(&index, remove_dir(&index)).outcome, Outcome::Mismatch);
}

#[test]
fn a_tree_moves_whole_with_what_it_is_known_by() {
    let (fixture, index) = populated();
    fixture.write("dir/unknown", b"along");
    let operation = relocate("dir", "there", Expected::Tree(tree_hash(&index, "dir")));
    let commit = fixture.committer.apply(&index, &[operation]).remove(0);
    assert_eq!(commit.outcome, Outcome::Applied);
    let [gone, arrived] = &commit.changes[..] else { panic!("{:?}", commit.changes) };
    assert_eq!(*gone, IndexChange::gone(path("dir")));
    let known = index.dir(&path("dir")).unwrap();
    assert_eq!(arrived.node.as_ref().unwrap().as_dir(), Some(known));
    assert_eq!(fixture.read("there/sub/deep/d"), b"dir/sub/deep/d");
    assert!(!fixture.exists("dir") && fixture.exists("there/unknown"));
}

#[test]
fn a_tree_with_a_change_in_it_does_not_move() {
    let (fixture, index) = populated();
    fixture.write("dir/sub/deep/d", b"edited");
    let commit = fixture.one(&index, relocate("dir", "there", Expected::Tree(tree_hash(&index, "dir"))));
    assert_eq!(commit, Commit::nothing(Outcome::Mismatch));
    assert!(fixture.exists("dir/sub/deep/d") && !fixture.exists("there"));
}

#[test]
fn a_new_tree_is_built_and_appears() {
    let fixture = Fixture::new();
    fixture.write("source", b"source");
    let index = fixture.index();
    let operations = [
        make("new"),
        put("new/a", Expected::Nothing, b"a"),
        make("new/sub"),
        make("new/sub/deep"),
        put("new/sub/deep/b", Expected::Nothing, b"b"),
        // Not in depth-first order.
        put("new/z", Expected::Nothing, b"z"),
        put("new/sub/c", Expected::Nothing, b"c"),
        put_entry("new/sub/deep/link", Expected::Nothing, link("../c"), Content::None),
        put_entry("new/program", Expected::Nothing, program(b"p"), raw(b"p")),
        put_entry("new/copy", Expected::Nothing, file(b"source"), Content::CopyOf(path("source"))),
        // Copies out of what is being built, and what replaces something in it, come after it stands.
        put_entry("new/again", Expected::Nothing, file(b"a"), Content::CopyOf(path("new/a"))),
        put("new/a", Expected::Entry(file(b"a")), b"other"),
        make("next"),
        make("next/empty"),
        make("alone"),
    ];
    assert!(fixture.batch(&index, &operations).iter().all(|outcome| *outcome == Outcome::Applied));
    assert_eq!((fixture.read("new/sub/deep/b"), fixture.read("new/sub/deep/link")), (b"b".to_vec(), b"c".to_vec()));
    assert_eq!(
        (fixture.read("new/copy"), fixture.read("new/again"), fixture.read("new/a")),
        (b"source".into(), b"a".into(), b"other".into())
    );
    assert_eq!((fixture.mode("new/program"), fixture.mode("new/z"), fixture.mode("new/sub")), (0o755, 0o644, 0o755));
    assert!(fixture.at_path("next/empty").is_dir() && fixture.at_path("alone").is_dir());
}

#[test]
fn what_goes_wrong_in_a_new_tree_goes_wrong_alone() {
    let fixture = Fixture::new();
    let index = fixture.index();
    let long = format!("new/{}", "n".repeat(255));
    let outcomes = fixture.batch(
        &index,
        &[
            make("new"),
            put("new/a", Expected::Nothing, b"a"),
            put_entry("new/wrong", Expected::Nothing, file(b"right"), raw(b"wrong")),
            put("new/none/x", Expected::Nothing, b"x"),
            put("new/a", Expected::Nothing, b"twice"),
            put("new/a/below", Expected::Nothing, b"x"),
            make("new/a"),
            put(&long, Expected::Nothing, b"x"),
            put_entry("new/a", Expected::Nothing, link("x"), Content::None),
            put("new/b", Expected::Nothing, b"b"),
        ],
    );
    use Outcome::{Applied, BaseMissing, Mismatch};
    let expected = [Applied, Applied, BaseMissing, Mismatch, Mismatch, Mismatch, Mismatch, Applied, Mismatch, Applied];
    assert_eq!(outcomes, expected);
    assert_eq!((fixture.read("new/a"), fixture.read("new/b")), (b"a".to_vec(), b"b".to_vec()));
    assert!(!fixture.exists("new/wrong"));
}

#[test]
fn a_new_tree_replaces_nothing() {
    for what in ["file", "directory", "symlink"] {
        let fixture = Fixture::new();
        match what {
            "file" => fixture.write("new", b"mine"),
            "directory" => fixture.write("new/mine", b"mine"),
            _ => symlink("/etc", fixture.at_path("new")).unwrap(),
        }
        let index = fixture.index();
        let operations = [make("new"), put("new/a", Expected::Nothing, b"a"), make("new/sub")];
        let outcomes = fixture.batch(&index, &operations);
        assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Mismatch), "{what} {outcomes:?}");
        assert_eq!(fixture.index(), index);
    }
}

#[test]
fn operations_see_what_those_before_them_did() {
    let (fixture, index) = populated();
    let mut without_a = index.clone();
    without_a.remove(&path("dir/a"));
    let mut edited = index.clone();
    edited.insert(&path("there/b"), Node::from_entry(file(b"x")), None).unwrap_err();
    let outcomes = fixture.batch(
        &index,
        &[
            remove("dir/a", Expected::Entry(file(b"dir/a"))),
            // The hash of what is left now.
            relocate("dir", "there", Expected::Tree(tree_hash(&without_a, "dir"))),
            put("there/b", Expected::Entry(file(b"dir/b")), b"new"),
            relocate("there/b", "b", Expected::Entry(file(b"new"))),
            make("dir"),
            relocate("b", "dir/b", Expected::Entry(file(b"new"))),
            put("dir/b", Expected::Entry(file(b"new")), b"newer"),
            remove("dir/b", Expected::Entry(file(b"newer"))),
            remove("other", Expected::Entry(file(b"other"))),
            make("other"),
            put("other/file", Expected::Nothing, b"below"),
        ],
    );
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Applied), "{outcomes:?}");
    assert!(fixture.exists("there/sub/deep/d") && fixture.exists("there/link"));
    assert_eq!(fixture.read("other/file"), b"below");
}

#[test]
fn the_hash_from_before_the_batch_counts_too() {
    let (fixture, index) = populated();
    let outcomes = fixture.batch(
        &index,
        &[
            relocate("dir/sub", "kept", Expected::Tree(tree_hash(&index, "dir/sub"))),
            remove("dir", Expected::Tree(tree_hash(&index, "dir"))),
        ],
    );
    assert_eq!(outcomes, [Outcome::Applied, Outcome::Applied]);
    assert!(fixture.exists("kept/deep/d") && !fixture.exists("dir"));
}

/// Durable or not, the same is done.
#[test]
fn a_durable_batch_does_the_same() {
    let fixture = Fixture::new();
    let committer =
        Committer::open(&fixture.root, CommitOptions { durable: true, ..CommitOptions::default() }).unwrap();
    let fixture = Fixture { committer, ..fixture };
    fixture.write("old", b"old");
    let index = fixture.index();
    let mut operations: Vec<_> = (0..150).map(|n| put(&format!("f{n}"), Expected::Nothing, b"x")).collect();
    operations.push(put("old", Expected::Entry(file(b"old")), b"new"));
    operations.push(put("f0", Expected::Nothing, b"taken"));
    operations.push(put_entry("wrong", Expected::Nothing, file(b"right"), raw(b"wrong")));
    operations.push(put_entry("copy", Expected::Nothing, file(b"new"), Content::CopyOf(path("old"))));
    operations.extend([make("new"), put("new/a", Expected::Nothing, b"a"), put("last", Expected::Nothing, b"last")]);
    let outcomes = fixture.batch(&index, &operations);
    let odd: Vec<_> = outcomes.iter().filter(|outcome| **outcome != Outcome::Applied).collect();
    assert_eq!(odd, [&Outcome::Mismatch, &Outcome::BaseMissing]);
    assert_eq!(
        (fixture.read("old"), fixture.read("copy"), fixture.read("f149")),
        (b"new".into(), b"new".into(), b"x".into())
    );
    assert_eq!(fixture.one(&fixture.index(), put("one", Expected::Nothing, b"1")).outcome, Outcome::Applied);
}

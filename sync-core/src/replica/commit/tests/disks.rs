//! Full disks, read-only ones, mounts within the root, files that are mount points. Skipped where this process may not
//! mount.

use std::process::Command;

use super::*;

/// A mount that ends with this value.
struct Mounted(PathBuf);

impl Mounted {
    /// `None`, with a word why, where mounting is not permitted.
    fn new(at: PathBuf, arguments: &[&str]) -> Option<Self> {
        let mounted =
            Command::new("mount").args(arguments).arg(&at).output().is_ok_and(|output| output.status.success());
        if !mounted {
            crate::skipped::skipped("this process may not mount");
        }
        mounted.then_some(Self(at))
    }

    fn tmpfs(at: PathBuf, options: &str) -> Option<Self> {
        fs::create_dir_all(&at).unwrap();
        Self::new(at, &["-t", "tmpfs", "-o", options, "tmpfs"])
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(&self.0).status().ok();
    }
}

#[test]
fn fault_32_a_full_disk_leaves_the_old_file() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mounted) = Mounted::tmpfs(dir.path().join("root"), "size=1m") else { return };
    let fixture = Fixture::at(mounted.0.clone());
    fixture.write("old", b"old");
    let index = fixture.index();
    let large = vec![b'x'; 2 << 20];
    let is_full = |outcome: &Outcome| is_failed(outcome, ProblemKind::NoSpace);
    assert!(is_full(&fixture.one(&index, put("old", Expected::Entry(file(b"old")), &large)).outcome));
    assert!(is_full(&fixture.one(&index, put("new", Expected::Nothing, &large)).outcome));
    // In a new directory what has room arrives.
    let outcomes = fixture.batch(
        &index,
        &[
            make("dir"),
            put("dir/small", Expected::Nothing, b"small"),
            put("dir/large", Expected::Nothing, &large),
            put("dir/last", Expected::Nothing, b"last"),
        ],
    );
    assert!(is_full(&outcomes[2]), "{outcomes:?}");
    assert_eq!((&outcomes[1], &outcomes[3]), (&Outcome::Applied, &Outcome::Applied));
    assert_eq!((fixture.read("old"), fixture.read("dir/last")), (b"old".to_vec(), b"last".to_vec()));
    assert!(!fixture.exists("new") && !fixture.exists("dir/large"));
    // There is room again, because nothing was left behind.
    let fits = vec![b'y'; 512 << 10];
    assert_eq!(fixture.one(&index, put("old", Expected::Entry(file(b"old")), &fits)).outcome, Outcome::Applied);
    drop(fixture);
    drop(mounted);
}

#[test]
fn fault_32_without_inodes_too() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mounted) = Mounted::tmpfs(dir.path().join("root"), "size=1m,nr_inodes=20") else { return };
    let fixture = Fixture::at(mounted.0.clone());
    let index = fixture.index();
    let operations: Vec<_> = (0..30).map(|n| put(&format!("f{n}"), Expected::Nothing, b"x")).collect();
    let outcomes = fixture.batch(&index, &operations);
    let full = outcomes.iter().filter(|outcome| is_failed(outcome, ProblemKind::NoSpace)).count();
    let applied = outcomes.iter().filter(|outcome| **outcome == Outcome::Applied).count();
    assert!(full > 0 && applied > 0 && full + applied == 30, "{outcomes:?}");
}

#[test]
fn fault_33_a_read_only_root_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mounted) = Mounted::tmpfs(dir.path().join("root"), "size=1m") else { return };
    let fixture = Fixture::at(mounted.0.clone());
    fixture.write("old", b"old");
    fixture.write("dir/below", b"old");
    let index = fixture.index();
    let remount = |how: &str| {
        assert!(Command::new("mount").args(["-o", how]).arg(&mounted.0).status().unwrap().success());
    };
    remount("remount,ro");
    let old = || Expected::Entry(file(b"old"));
    let operations = [
        put("new", Expected::Nothing, b"new"),
        put("old", old(), b"new"),
        put_entry("link", Expected::Nothing, link("x"), Content::None),
        put_entry("old", old(), link("x"), Content::None),
        put_entry("old", old(), program(b"old"), Content::Unchanged),
        remove("old", old()),
        remove("dir", Expected::Tree(tree_hash(&index, "dir"))),
        relocate("old", "there", old()),
        relocate("dir", "there", Expected::Tree(tree_hash(&index, "dir"))),
        make("made"),
        make("tree"),
        put("tree/x", Expected::Nothing, b"x"),
    ];
    for outcome in fixture.batch(&index, &operations) {
        assert!(is_failed(&outcome, ProblemKind::ReadOnly), "{outcome:?}");
    }
    assert_eq!(fixture.index(), index);
    assert!(matches!(
        Committer::open(&fixture.root, CommitOptions::default()),
        Err(OpenError::Stage { source, .. }) if source.kind() == ErrorKind::ReadOnlyFilesystem
    ));
    remount("remount,rw");
    assert_eq!(fixture.one(&index, put("old", old(), b"new")).outcome, Outcome::Applied);
    drop(fixture);
}

#[test]
fn a_file_that_is_a_mount_point_is_written_in_place() {
    let fixture = Fixture::new();
    let outside = tempfile::tempdir().unwrap();
    let source = outside.path().join("source");
    fs::write(&source, "old content").unwrap();
    fixture.write("bound", b"");
    let source_text = source.to_str().unwrap();
    let Some(_mounted) = Mounted::new(fixture.at_path("bound"), &["--bind", source_text]) else { return };
    let index = fixture.index();
    let inode = fs::metadata(&source).unwrap().ino();
    let old = || Expected::Entry(file(b"old content"));
    let commit = fixture.one(&index, put("bound", old(), b"new"));
    assert_eq!(commit.outcome, Outcome::Applied);
    let longer = put_entry("bound", Expected::Entry(file(b"new")), program(b"new and longer"), raw(b"new and longer"));
    assert_eq!(fixture.one(&fixture.index(), longer).outcome, Outcome::Applied);
    let meta = fs::metadata(&source).unwrap();
    assert_eq!((fs::read(&source).unwrap(), meta.ino(), meta.mode() & 0o777), (b"new and longer".into(), inode, 0o755));
    // What is not expected stays, and what can't be removed says so.
    assert_eq!(fixture.one(&index, put("bound", old(), b"x")).outcome, Outcome::Mismatch);
    let now = Expected::Entry(program(b"new and longer"));
    assert!(is_failed(&fixture.one(&fixture.index(), remove("bound", now)).outcome, ProblemKind::Io));
    assert_eq!(fs::read(&source).unwrap(), b"new and longer");
}

#[test]
fn a_full_disk_leaves_the_old_content_of_a_file_that_is_a_mount_point() {
    let fixture = Fixture::new();
    let outside = tempfile::tempdir().unwrap();
    let Some(disk) = Mounted::tmpfs(outside.path().join("disk"), "size=1m") else { return };
    let source = disk.0.join("source");
    fs::write(&source, "old").unwrap();
    fixture.write("bound", b"");
    let Some(_mounted) = Mounted::new(fixture.at_path("bound"), &["--bind", source.to_str().unwrap()]) else { return };
    let index = fixture.index();
    let large = vec![b'x'; 2 << 20];
    let commit = fixture.one(&index, put("bound", Expected::Entry(file(b"old")), &large));
    if cfg!(feature = "portable") {
        return crate::skipped::skipped("the twin can't take room first");
    }
    assert!(is_failed(&commit.outcome, ProblemKind::NoSpace), "{:?}", commit.outcome);
    assert_eq!(fs::read(&source).unwrap(), b"old");
}

/// A volume within the root, as pods have them: another file system, and another mount of the same one.
#[test]
fn a_mount_within_the_root_has_a_stage_of_its_own() {
    for bind in [false, true] {
        let fixture = Fixture::new();
        let outside = tempfile::tempdir().unwrap();
        fs::create_dir_all(fixture.at_path("volume")).unwrap();
        let mounted = if bind {
            Mounted::new(fixture.at_path("volume"), &["--bind", outside.path().to_str().unwrap()])
        } else {
            Mounted::tmpfs(fixture.at_path("volume"), "size=1m")
        };
        let Some(_mounted) = mounted else { return };
        fixture.write("volume/sub/old", b"old");
        fixture.write("volume/sub/gone", b"old");
        fixture.write("volume/tree/a", b"old");
        fixture.write("file", b"old");
        let index = Tree::from_root({
            let mut dir = fixture.index().root().clone();
            let volume = Name::new(b"volume").unwrap();
            let mut below = dir.get(volume).and_then(Node::as_dir).unwrap().clone();
            below.remove(Name::new(HOME.as_bytes()).unwrap());
            dir.insert(volume, Node::Directory(below), None);
            dir
        });
        let old = || Expected::Entry(file(b"old"));
        let operations = [
            put("volume/sub/old", old(), b"new"),
            put("volume/sub/new", Expected::Nothing, b"new"),
            put("volume/sub/newer", Expected::Nothing, b"newer"),
            remove("volume/sub/gone", old()),
            remove("volume/tree", Expected::Tree(tree_hash(&index, "volume/tree"))),
            make("volume/made"),
            put("volume/made/x", Expected::Nothing, b"x"),
            put("file", old(), b"new"),
        ];
        let outcomes = fixture.batch(&index, &operations);
        if cfg!(feature = "portable") && bind {
            crate::skipped::skipped("the twin can't tell mounts of one device apart");
            continue;
        }
        assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Applied), "{outcomes:?}");
        assert_eq!(
            (fixture.read("volume/sub/old"), fixture.read("volume/sub/newer")),
            (b"new".into(), b"newer".into())
        );
        assert_eq!(fixture.read("volume/made/x"), b"x");
        assert!(!fixture.exists("volume/tree") && !fixture.exists("volume/sub/gone"));
        assert!(fixture.exists("volume/.synctl/stage"));
        // Nothing is renamed between them: its content is to be sent.
        let commit = fixture.one(&fixture.index(), relocate("file", "volume/file", Expected::Entry(file(b"new"))));
        assert_eq!(commit.outcome, Outcome::BaseMissing);
        assert_eq!(fixture.read("file"), b"new");
        // A streamed file is copied over once.
        let partial = fixture.committer.partial(id(b"streamed")).unwrap();
        partial.file().write_all(b"streamed").unwrap();
        let expected = Expected::Entry(file(b"new"));
        let to = path("volume/sub/old");
        let commit = fixture.committer.put_partial(&fixture.index(), &to, &expected, &program(b"streamed"), partial);
        assert_eq!(commit.outcome, Outcome::Applied);
        assert_eq!((fixture.read("volume/sub/old"), fixture.mode("volume/sub/old")), (b"streamed".into(), 0o755));
        drop(fixture);
    }
}

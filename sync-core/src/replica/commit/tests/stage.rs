//! What a crash leaves, partial files, the replica's id.

use std::io::Seek;

use super::*;
use crate::replica::stage::Stage;

fn stage_dir(fixture: &Fixture) -> PathBuf {
    let runs = fixture.at_path(".synctl/stage");
    let mut runs = fs::read_dir(runs).unwrap();
    runs.next().unwrap().unwrap().path()
}

/// Ends a process as a crash would: its lock goes, its stage stays.
fn crash(fixture: Fixture) -> (PathBuf, Option<tempfile::TempDir>) {
    let Fixture { _dir: dir, root, committer } = fixture;
    let left = root.join(".synctl/stage/dead");
    let run = fs::read_dir(root.join(".synctl/stage")).unwrap().next().unwrap().unwrap().path();
    fs::rename(run, left).unwrap();
    drop(committer);
    (root, dir)
}

#[test]
fn what_a_crash_leaves_is_reaped_and_what_is_not_ours_is_kept() {
    let fixture = Fixture::new();
    let left = stage_dir(&fixture);
    fs::write(left.join("n1"), "half").unwrap();
    symlink("x", left.join("n2")).unwrap();
    fs::create_dir_all(left.join("d3/sub")).unwrap();
    fs::write(left.join("d3/sub/file"), "half").unwrap();
    fs::write(left.join("new"), "new").unwrap();
    let inode = fs::metadata(left.join("new")).unwrap().ino();
    fs::rename(left.join("new"), left.join(format!("x{inode}-4-staged"))).unwrap();
    fs::write(left.join(format!("x{inode}-5-re-placed.rs")), "replaced").unwrap();
    fs::write(left.join("g6-removed-it"), "removed").unwrap();
    fs::write(left.join("strange"), "strange").unwrap();
    let (root, _dir) = crash(fixture);
    fs::write(root.join("file"), "file").unwrap();

    let fixture = Fixture::at(root);
    assert_eq!(fs::read_dir(fixture.at_path(".synctl/stage")).unwrap().count(), 1);
    fixture.check_stage();
    let mut kept: Vec<_> = fs::read_dir(fixture.at_path(".synctl/displaced"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap()))
        .map(|(name, text)| (name.split_once('-').unwrap().1.to_owned(), text))
        .collect();
    kept.sort();
    let expected = [("re-placed.rs", "replaced"), ("removed-it", "removed"), ("strange", "strange")];
    assert_eq!(kept, expected.map(|(name, text)| (name.to_owned(), text.to_owned())));
    assert_eq!(fixture.read("file"), b"file");
}

#[test]
fn the_stage_of_the_living_is_left_alone() {
    let fixture = Fixture::new();
    let (staged, _file) = fixture.committer.stage.new_file(0o644).unwrap();
    let second = open(&fixture.root);
    let third = Stage::open(fixture.committer.root(), SyncPath::root()).unwrap();
    assert!(stage_dir(&fixture).exists());
    assert_eq!(fs::read_dir(fixture.at_path(".synctl/stage")).unwrap().count(), 3);
    fixture.committer.stage.dir().stat(staged.name()).unwrap();
    drop((second, third));
    assert_eq!(fs::read_dir(fixture.at_path(".synctl/stage")).unwrap().count(), 1);
}

#[test]
fn ours_is_private_and_never_reached_through_a_symlink() {
    let fixture = Fixture::new();
    assert_eq!(fixture.mode(".synctl"), 0o700);
    fixture.chmod(".synctl", 0o777);
    let (root, _dir) = crash(fixture);
    let fixture = Fixture::at(root.clone());
    assert_eq!(fixture.mode(".synctl"), 0o700);
    drop(fixture);
    let outside = tempfile::tempdir().unwrap();
    fs::remove_dir_all(root.join(".synctl")).unwrap();
    symlink(outside.path(), root.join(".synctl")).unwrap();
    assert!(matches!(Committer::open(&root, CommitOptions::default()), Err(OpenError::Stage { .. })));
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    assert!(matches!(Committer::open(&root.join("none"), CommitOptions::default()), Err(OpenError::Root { .. })));
}

#[test]
fn the_id_lives_with_the_root() {
    let fixture = Fixture::new();
    let id = fixture.committer.replica_id().unwrap();
    assert_eq!(fixture.mode(".synctl/replica"), 0o600);
    assert_eq!(open(&fixture.root).replica_id().unwrap(), id);
    assert_ne!(Fixture::new().committer.replica_id().unwrap(), id);
    for damage in ["", "short", "zz", &"f".repeat(31), &"g".repeat(32), &"f".repeat(4096)] {
        fs::write(fixture.at_path(".synctl/replica"), damage).unwrap();
        let other = fixture.committer.replica_id().unwrap();
        assert_ne!(other, id, "{damage:?}");
        assert_eq!(fixture.committer.replica_id().unwrap(), other);
    }
    fixture.check_stage();
}

fn partial_with(fixture: &Fixture, content: &[u8], written: &[u8]) -> Partial {
    let partial = fixture.committer.partial(id(content)).unwrap();
    partial.file().set_len(0).unwrap();
    let mut file = partial.file();
    file.rewind().unwrap();
    file.write_all(written).unwrap();
    partial
}

#[test]
fn a_partial_file_outlives_its_connection() {
    let fixture = Fixture::new();
    drop(partial_with(&fixture, b"content", b"con"));
    assert_eq!(fixture.committer.partials(), [id(b"content")]);
    let (root, _dir) = crash(fixture);
    let fixture = Fixture::at(root);
    assert_eq!(fixture.committer.partials(), [id(b"content")]);
    let partial = fixture.committer.partial(id(b"content")).unwrap();
    let mut text = String::new();
    partial.file().read_to_string(&mut text).unwrap();
    assert_eq!(text, "con");
    assert_eq!(fixture.committer.partials(), [], "it is being written");
    // A second stream of the same content has a file of its own, which does not stay.
    let second = fixture.committer.partial(id(b"content")).unwrap();
    second.file().write_all_at_end(b"second");
    drop(second);
    // Also one of another process on this root.
    let elsewhere = open(&fixture.root).partial(id(b"content")).unwrap();
    assert_eq!(elsewhere.file().metadata().unwrap().len(), 0);
    drop(elsewhere);
    assert_eq!(partial.file().metadata().unwrap().len(), 3);
    partial.discard();
    assert_eq!(fixture.committer.partials(), []);
    assert_eq!(fs::read_dir(fixture.at_path(".synctl/partial")).unwrap().count(), 0);
}

trait WriteAtEnd {
    fn write_all_at_end(&self, bytes: &[u8]);
}

impl WriteAtEnd for fs::File {
    fn write_all_at_end(&self, bytes: &[u8]) {
        let mut file = self;
        file.seek(io::SeekFrom::End(0)).unwrap();
        file.write_all(bytes).unwrap();
    }
}

#[test]
fn a_partial_file_is_put_like_any_other() {
    let fixture = Fixture::new();
    fixture.write("old", b"old");
    let index = fixture.index();
    let put = |at: &str, expected: Expected, entry: Entry| {
        let partial = partial_with(&fixture, b"content", b"content");
        let commit = fixture.committer.put_partial(&index, &path(at), &expected, &entry, partial);
        fixture.check_changes(&index, std::slice::from_ref(&commit));
        fixture.check_stage();
        assert_eq!(fixture.committer.partials().is_empty(), !matches!(commit.outcome, Outcome::Failed(_)));
        commit.outcome
    };
    let old = || Expected::Entry(file(b"old"));
    assert_eq!(put("new", Expected::Nothing, file(b"content")), Outcome::Applied);
    assert_eq!((fixture.read("new"), fixture.mode("new")), (b"content".to_vec(), 0o644));
    assert_eq!(put("old", Expected::Nothing, file(b"content")), Outcome::Mismatch);
    assert_eq!(put("none/new", Expected::Nothing, file(b"content")), Outcome::Mismatch);
    assert_eq!(put("none", old(), file(b"content")), Outcome::Mismatch);
    assert_eq!(put("old", old(), file(b"of another length")), Outcome::BaseMissing);
    fixture.chmod("old", 0o600);
    assert_eq!(put("old", old(), program(b"content")), Outcome::Applied);
    assert_eq!((fixture.read("old"), fixture.mode("old")), (b"content".to_vec(), 0o700));
    assert!(is_failed(&put(".synctl/x", Expected::Nothing, file(b"content")), ProblemKind::Refused));
    let long = "n".repeat(255);
    let too_long = SyncPath::parse(format!("{long}/x").as_bytes()).unwrap();
    assert_eq!(put(&too_long.to_string(), Expected::Nothing, file(b"content")), Outcome::Mismatch);
}

#[test]
fn partial_files_are_bounded_by_age_and_count() {
    let fixture = Fixture::new();
    let dir = fixture.at_path(".synctl/partial");
    let now = SystemTime::now();
    let make = |name: &str, age: u64| {
        let file = fs::File::create(dir.join(name)).unwrap();
        file.set_modified(now - std::time::Duration::from_secs(age)).unwrap();
    };
    let name = |n: u32| blake3::hash(&n.to_le_bytes()).to_hex().to_string();
    for n in 0..100 {
        make(&name(n), 60 + u64::from(n));
    }
    make(&name(1000), 8 * 24 * 3600);
    make("strange", 2 * 3600);
    make(&format!("{}.1.1", name(1)), 2 * 3600);
    make(&format!("{}.1.2", name(1)), 60);
    let (root, _dir) = crash(fixture);
    let fixture = Fixture::at(root);
    let mut expected: Vec<_> = (0..PARTIALS_MAX as u32).map(|n| id(&n.to_le_bytes())).collect();
    expected.sort();
    assert_eq!(fixture.committer.partials(), expected);
    assert_eq!(fs::read_dir(dir).unwrap().count(), PARTIALS_MAX + 1);
}

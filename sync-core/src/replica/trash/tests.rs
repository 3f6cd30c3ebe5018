#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::PathBuf,
};

use super::*;
use crate::replica::stage::HOME;

const LIMITS: TrashLimits =
    TrashLimits { age_max: Duration::from_secs(7 * 24 * 60 * 60), bytes_max: 1600, entries_max: 160 };

/// A root with a trash, and a place where things are before they come to it.
struct Fixture {
    _dir: tempfile::TempDir,
    root: PathBuf,
    home: DirHandle,
    trash: Trash,
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
}

fn path(text: &str) -> SyncPath {
    SyncPath::parse(text.as_bytes()).unwrap()
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join(HOME)).unwrap();
        let home = DirHandle::open_root(&root.join(HOME)).unwrap();
        let trash = Trash::open(&home, LIMITS, at(0)).unwrap();
        Self { _dir: dir, root, home, trash }
    }

    fn reopen(&mut self, seconds: u64) {
        self.trash = Trash::open(&self.home, LIMITS, at(seconds)).unwrap();
    }

    fn add(&self, to: &str, content: &[u8], seconds: u64) {
        fs::write(self.root.join("g"), content).unwrap();
        self.add_made(to, content.len() as u64, seconds);
    }

    /// What stands at `g`.
    fn add_made(&self, to: &str, len: u64, seconds: u64) {
        let from = DirHandle::open_root(&self.root).unwrap();
        self.trash.add(&from, fixed("g"), &path(to), len, at(seconds), &mut |_| {}).unwrap();
        assert!(fs::symlink_metadata(self.root.join("g")).is_err());
    }

    fn list(&self) -> Vec<(String, u64)> {
        let seconds = |item: &Trashed| item.removed_at.duration_since(at(0)).unwrap().as_secs();
        list(&self.root).unwrap().iter().map(|item| (item.path.to_string(), seconds(item))).collect()
    }

    fn restore(&self, what: &str) -> Vec<Result<(), RestoreError>> {
        let items = newest(list(&self.root).unwrap(), &path(what));
        items.iter().map(|item| restore(&self.root, item, None)).collect()
    }

    fn generations(&self) -> usize {
        fs::read_dir(self.root.join(HOME).join(TRASH)).unwrap().count()
    }
}

#[test]
fn what_comes_is_listed_and_restored_as_it_was() {
    let fixture = Fixture::new();
    assert_eq!(fixture.list(), []);
    fixture.add("a/b/old", b"1", 1);
    let mode = |path: &std::path::Path| fs::symlink_metadata(path).unwrap().mode() & 0o777;
    fs::write(fixture.root.join("g"), "22").unwrap();
    fs::set_permissions(fixture.root.join("g"), fs::Permissions::from_mode(0o750)).unwrap();
    fixture.add_made("a/b/run", 2, 2);
    symlink("nowhere", fixture.root.join("g")).unwrap();
    fixture.add_made("link", 7, 4);
    fixture.trash.add_directory(&path("a/empty"), at(5), &mut |_| {}).unwrap();

    let listed = fixture.list();
    // What came within a second is told with the time of the first.
    let expected = [("a/empty", 4), ("link", 4), ("a/b/old", 1), ("a/b/run", 1)];
    assert_eq!(listed, expected.map(|(path, seconds)| (path.to_owned(), seconds)));
    let kinds: Vec<_> = list(&fixture.root).unwrap().into_iter().map(|item| item.kind).collect();
    assert_eq!(kinds[0], TrashedKind::Directory);
    assert_eq!(kinds[1], TrashedKind::Symlink(Target::new(b"nowhere").unwrap()));
    assert_eq!(kinds[3], TrashedKind::File { len: 2, executable: true });

    assert!(fixture.restore("a").iter().all(Result::is_ok));
    assert_eq!(fs::read(fixture.root.join("a/b/run")).unwrap(), b"22");
    assert_eq!((mode(&fixture.root.join("a/b/run")), mode(&fixture.root.join("a/b/old"))), (0o750, 0o644));
    assert!(fixture.root.join("a/empty").is_dir() && !fixture.root.join("link").exists());
    assert!(fixture.restore("").iter().all(Result::is_ok));
    assert_eq!(fs::read_link(fixture.root.join("link")).unwrap(), PathBuf::from("nowhere"));
    assert_eq!((fixture.list(), fixture.generations()), (Vec::new(), 0));
    // What was cleared away under the eyes of who adds to it is made again.
    fixture.add("a/b/more", b"x", 5);
    assert_eq!(fixture.list(), [("a/b/more".to_owned(), 5)]);
}

#[test]
fn the_newest_is_restored_and_nothing_is_replaced() {
    let fixture = Fixture::new();
    // One path twice within a second, and a directory where a file was.
    fixture.add("a", b"first", 1);
    fixture.add("a", b"second", 1);
    fixture.add("a/b", b"below", 1);
    // The clock went back.
    fixture.add("a", b"third", 0);
    assert_eq!(fixture.list().len(), 4);
    let only_a = |items: Vec<Trashed>| items.into_iter().filter(|item| item.path == path("a")).collect::<Vec<_>>();
    let again = || only_a(newest(list(&fixture.root).unwrap(), &path("a")));
    for content in [&b"third"[..], b"second", b"first"] {
        restore(&fixture.root, &again()[0], None).unwrap();
        assert_eq!(fs::read(fixture.root.join("a")).unwrap(), content);
        let refused = restore(&fixture.root, &list(&fixture.root).unwrap()[0], None);
        assert!(matches!(refused, Err(RestoreError::Taken | RestoreError::NoDirectory)), "{refused:?}");
        assert_eq!(fs::read(fixture.root.join("a")).unwrap(), content);
        if content != b"first" {
            fs::remove_file(fixture.root.join("a")).unwrap();
        }
    }
    assert!(matches!(fixture.restore("a/b")[..], [Err(RestoreError::NoDirectory)]));
    let item = list(&fixture.root).unwrap().remove(0);
    let elsewhere = tempfile::tempdir().unwrap();
    restore(&fixture.root, &item, Some(elsewhere.path())).unwrap();
    assert_eq!(fs::read(elsewhere.path().join("a/b")).unwrap(), b"below");
    assert!(matches!(restore(&fixture.root, &item, Some(elsewhere.path())), Err(RestoreError::Gone)));
}

#[test]
fn nothing_is_restored_through_a_symlink() {
    let fixture = Fixture::new();
    fixture.add("dir/file", b"x", 1);
    let outside = tempfile::tempdir().unwrap();
    symlink(outside.path(), fixture.root.join("dir")).unwrap();
    let refused = fixture.restore("dir/file");
    assert!(matches!(refused[..], [Err(RestoreError::NoDirectory)]), "{refused:?}");
    assert_eq!((fs::read_dir(outside.path()).unwrap().count(), fixture.list().len()), (0, 1));
}

#[test]
fn what_is_too_old_goes_when_opened_and_when_more_comes() {
    const WEEK: u64 = 7 * 24 * 60 * 60;
    let mut fixture = Fixture::new();
    fixture.add("of a time to come", b"x", 10 * WEEK);
    fixture.add("old", b"x", 0);
    fixture.add("young", b"x", 100);
    fixture.reopen(WEEK);
    assert_eq!(fixture.list().len(), 3);
    fixture.reopen(WEEK + 1);
    assert_eq!(fixture.list().len(), 2);
    fixture.add("new", b"x", WEEK + 101);
    let paths: Vec<_> = fixture.list().into_iter().map(|(path, _)| path).collect();
    assert_eq!(paths, ["of a time to come", "new"]);
    // Nothing but generations is touched.
    fs::write(fixture.root.join(".synctl/trash/strange"), "x").unwrap();
    fs::create_dir(fixture.root.join(".synctl/trash/1-1")).unwrap();
    fixture.reopen(100 * WEEK);
    assert_eq!((fixture.list().len(), fixture.generations()), (0, 2));
}

#[test]
fn the_oldest_go_first_by_bytes_and_by_number() {
    let bytes = |fixture: &Fixture| -> u64 {
        let len = |kind: &TrashedKind| if let TrashedKind::File { len, .. } = kind { *len } else { 0 };
        list(&fixture.root).unwrap().iter().map(|item| len(&item.kind)).sum()
    };
    let mut fixture = Fixture::new();
    for n in 0..40 {
        fixture.add(&format!("f{n}"), &[b'x'; 90], 2 * n);
        assert!(bytes(&fixture) <= LIMITS.bytes_max, "{n}");
        if n % 7 == 0 {
            fixture.reopen(2 * n);
        }
    }
    let listed = fixture.list();
    assert!(listed.len() >= 15, "more is gone than has to be: {listed:?}");
    assert_eq!(listed[0].0, "f39");
    assert!(!listed.iter().any(|(path, _)| path == "f5"));
    // One that is larger than all that is allowed is kept until the next one comes. All in one second.
    fixture.add("large", &[b'x'; 5000], 100);
    assert_eq!(fixture.list(), [("large".to_owned(), 100)]);
    fixture.add("next", b"x", 100);
    assert_eq!(fixture.list(), [("next".to_owned(), 100)]);
    // By number, directories included: each of these is one file in two directories of its own.
    for n in 0..200 {
        fixture.add(&format!("d{n}/e/f"), b"", 200);
    }
    let left = fixture.list().len();
    assert!((30..=54).contains(&left), "{left}");
}

#[test]
fn what_was_restored_makes_room() {
    let fixture = Fixture::new();
    for n in 0..10 {
        fixture.add(&format!("f{n}"), &[b'x'; 150], n);
    }
    for n in 5..10 {
        assert!(fixture.restore(&format!("f{n}")).iter().all(Result::is_ok));
    }
    fixture.add("more", &[b'x'; 150], 20);
    assert_eq!(fixture.list().len(), 6, "counted as if nothing had been restored");
}

#[test]
fn other_mounts_are_noted_once() {
    let fixture = Fixture::new();
    for base in ["volume", "sub/volume", "volume"] {
        fixture.trash.note_mount(&path(base)).unwrap();
    }
    assert_eq!(fixture.generations(), 2);
    fs::create_dir_all(fixture.root.join("volume/.synctl")).unwrap();
    let home = DirHandle::open_root(&fixture.root.join("volume/.synctl")).unwrap();
    let other = Trash::open(&home, LIMITS, at(0)).unwrap();
    fs::write(fixture.root.join("g"), "x").unwrap();
    let from = DirHandle::open_root(&fixture.root).unwrap();
    other.add(&from, fixed("g"), &path("it"), 1, at(1), &mut |_| {}).unwrap();
    assert_eq!(fixture.list(), [("volume/it".to_owned(), 1)]);
    assert!(fixture.restore("volume").iter().all(Result::is_ok));
    assert_eq!(fs::read(fixture.root.join("volume/it")).unwrap(), b"x");
}

#[test]
fn it_is_told_which_directories_have_changed() {
    let fixture = Fixture::new();
    let mut changed = 0;
    fs::write(fixture.root.join("g"), "x").unwrap();
    let from = DirHandle::open_root(&fixture.root).unwrap();
    fixture.trash.add(&from, fixed("g"), &path("a/b/it"), 1, at(1), &mut |_| changed += 1).unwrap();
    // The trash has a new generation, that has `a`, that has `b`, that has the file.
    assert_eq!(changed, 4);
    fs::write(fixture.root.join("g"), "x").unwrap();
    fixture.trash.add(&from, fixed("g"), &path("a/b/other"), 1, at(1), &mut |_| changed += 1).unwrap();
    assert_eq!(changed, 5);
}

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod million;
mod sent;

use std::{
    fs::{self, File, OpenOptions},
    io::{Seek, SeekFrom, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use proptest::prelude::*;
use sync_proto::{ContentId, SyncPath, Target, message::ReplicaId};
use tempfile::TempDir;

use super::{
    Change, DestinationLock, JOURNAL, Loaded, LockError, Note, Pair, SNAPSHOT, Store, StoreError, default_state_dir,
};
use crate::tree::{Dir, Node, Stamp, Tree};

fn path(text: &str) -> SyncPath {
    SyncPath::parse(text.as_bytes()).unwrap()
}

fn file(seed: u8) -> Node {
    Node::File { content: ContentId([seed; 32]), len: u64::from(seed), executable: seed % 2 == 1 }
}

fn stamp(seed: i64) -> Option<Stamp> {
    Some(Stamp { mtime_ns: seed, ctime_ns: seed.wrapping_neg(), inode: seed as u64 })
}

fn put(at: &str, node: Node, stamp: Option<Stamp>) -> Change {
    (path(at), Some((node, stamp)))
}

fn agreed(changes: &[Change]) -> Vec<Note> {
    vec![Note::Agreed(changes.to_vec())]
}

fn apply(tree: &mut Tree, changes: &[Change]) {
    for (path, change) in changes {
        match change {
            Some((node, stamp)) => drop(tree.insert(path, node.clone(), *stamp).unwrap()),
            None => drop(tree.remove(path)),
        }
    }
}

fn sample() -> Tree {
    let mut tree = Tree::new();
    apply(
        &mut tree,
        &[
            put("empty", Node::Directory(Dir::new()), None),
            put("src", Node::Directory(Dir::new()), stamp(5)),
            put("src/deep", Node::Directory(Dir::new()), None),
            put("src/deep/a", file(1), stamp(1)),
            put("src/deep/link", Node::Symlink(Target::new(b"../a").unwrap()), stamp(2)),
            put("src/main.rs", file(2), None),
            (SyncPath::parse(b"src/\xff\n").unwrap(), Some((file(3), stamp(i64::MAX)))),
            put("z", file(4), stamp(i64::MIN)),
        ],
    );
    tree
}

/// Some appends, and the tree after each.
fn history(mut tree: Tree) -> Vec<(Vec<Change>, Tree)> {
    let mut below = Tree::new();
    apply(
        &mut below,
        &[put("x", file(8), stamp(8)), put("y", Node::Directory(Dir::new()), None), put("y/z", file(9), None)],
    );
    let appends = [
        vec![put("src/main.rs", file(5), stamp(6)), (path("z"), None)],
        vec![put("new", Node::Directory(below.root().clone()), stamp(7))],
        vec![(path("src"), None), put("src", file(6), None), put("new/y/z", file(7), stamp(9))],
    ];
    appends
        .into_iter()
        .map(|changes| {
            apply(&mut tree, &changes);
            (changes, tree.clone())
        })
        .collect()
}

/// Equality with the stamps.
#[track_caller]
fn assert_same(left: &Tree, right: &Tree) {
    assert_eq!(left.hash(), right.hash());
    assert!(is_same(left, right));
}

fn is_same(left: &Tree, right: &Tree) -> bool {
    crate::tree::walk(left.root()).eq(crate::tree::walk(right.root()))
}

fn open(dir: &Path) -> (Store, Loaded) {
    Store::open(dir).unwrap()
}

#[track_caller]
fn reopen(dir: &Path) -> Tree {
    let (_, loaded) = open(dir);
    assert_eq!(loaded.reason, None);
    assert!(!loaded.is_new);
    loaded.synced.unwrap()
}

#[track_caller]
fn assert_unknown(dir: &Path, reason: &str) {
    let (store, loaded) = open(dir);
    assert!(loaded.synced.is_none());
    assert!(!loaded.is_new);
    assert!(store.wants_snapshot());
    let found = loaded.reason.unwrap();
    assert!(found.contains(reason), "{found}");
}

/// A store with a snapshot and a journal of three appends.
fn kept() -> (TempDir, Vec<Tree>) {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path());
    store.snapshot(&sample()).unwrap();
    let mut trees = vec![sample()];
    for (changes, tree) in history(sample()) {
        store.append(agreed(&changes)).unwrap();
        trees.push(tree);
    }
    (dir, trees)
}

#[test]
fn keeps_what_it_was_given() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, loaded) = open(dir.path());
    assert!(loaded.is_new && loaded.synced.is_none() && loaded.reason.is_some());
    assert!(store.wants_snapshot());
    assert!(matches!(store.append(agreed(&[])), Err(StoreError::NeedsSnapshot { .. })));
    store.snapshot(&Tree::new()).unwrap();
    assert!(!store.wants_snapshot());
    drop(store);
    assert_same(&reopen(dir.path()), &Tree::new());

    let (mut store, _) = open(dir.path());
    store.snapshot(&sample()).unwrap();
    drop(store);
    assert_same(&reopen(dir.path()), &sample());

    // Appended one at a time, each time by a new process.
    for (changes, tree) in history(sample()) {
        let (mut store, _) = open(dir.path());
        store.append(agreed(&changes)).unwrap();
        store.sync().unwrap();
        drop(store);
        assert_same(&reopen(dir.path()), &tree);
    }
    let (mut store, loaded) = open(dir.path());
    store.snapshot(&loaded.synced.unwrap()).unwrap();
    drop(store);
    assert_same(&reopen(dir.path()), &history(sample()).pop().unwrap().1);
}

#[test]
fn only_the_owner_can_read_it() {
    let top = tempfile::tempdir().unwrap();
    let dir = Store::directory(top.path(), Path::new("/home/me/project"), ReplicaId([7; 16]));
    let (mut store, _) = open(&dir);
    store.snapshot(&sample()).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&dir), mode(dir.parent().unwrap())), (0o700, 0o700));
    assert_eq!((mode(&dir.join(SNAPSHOT)), mode(&dir.join(JOURNAL))), (0o600, 0o600));
    drop(store);
    for name in [SNAPSHOT, JOURNAL] {
        fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o622)).unwrap();
        assert_unknown(&dir, "another user");
        fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    fs::rename(dir.join(JOURNAL), dir.join("elsewhere")).unwrap();
    std::os::unix::fs::symlink("elsewhere", dir.join(JOURNAL)).unwrap();
    assert_unknown(&dir, "symlink");
}

#[test]
fn a_second_store_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    assert!(matches!(Store::open(dir.path()), Err(StoreError::InUse { .. })));
    drop(store);
    open(dir.path());
}

#[test]
fn a_state_directory_that_cannot_be() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), b"").unwrap();
    let error = Store::open(&dir.path().join("file/below")).unwrap_err();
    assert!(error.to_string().starts_with("can't keep state in"), "{error}");
}

#[test]
fn a_journal_cut_anywhere_gives_an_earlier_state() {
    let (dir, trees) = kept();
    let whole = fs::read(dir.path().join(JOURNAL)).unwrap();
    let mut seen = 0;
    for len in (super::record::HEADER_BYTES..=whole.len()).rev() {
        // Cut off, or with the length kept and the bytes lost.
        for lost in [false, true] {
            let mut bytes = whole[..len].to_vec();
            bytes.resize(if lost { whole.len() } else { len }, 0);
            fs::write(dir.path().join(JOURNAL), &bytes).unwrap();
            let (mut store, loaded) = open(dir.path());
            let synced = loaded.synced.unwrap();
            let index = trees.iter().position(|tree| is_same(tree, &synced)).unwrap();
            assert!(index + 1 == trees.len() || len < whole.len());
            seen |= 1 << index;
            // What follows is kept.
            store.append(agreed(&[put("after", file(1), None)])).unwrap();
            drop(store);
            let mut expected = synced;
            apply(&mut expected, &[put("after", file(1), None)]);
            assert_same(&reopen(dir.path()), &expected);
        }
    }
    assert_eq!(seen, 0b1111);
}

#[test]
fn a_flipped_bit_is_never_misread() {
    let (dir, trees) = kept();
    for name in [SNAPSHOT, JOURNAL] {
        let whole = fs::read(dir.path().join(name)).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            fs::write(dir.path().join(name), &bytes).unwrap();
            let (_store, loaded) = open(dir.path());
            match loaded.synced {
                None => assert!(loaded.reason.is_some()),
                // In the last record of a journal it looks like an end that did not reach the disk.
                Some(synced) => {
                    assert_eq!(name, JOURNAL);
                    assert!(is_same(&trees[trees.len() - 2], &synced), "byte {at}");
                }
            }
            // Opening may have cut it.
            fs::write(dir.path().join(name), &whole).unwrap();
        }
    }
    assert_same(&reopen(dir.path()), trees.last().unwrap());
}

#[test]
fn damage_in_the_middle_is_unknown() {
    let (dir, trees) = kept();
    let journal = dir.path().join(JOURNAL);
    let whole = fs::read(&journal).unwrap();
    let header = super::record::HEADER_BYTES;
    let first = u32::from_le_bytes(whole[header..header + 4].try_into().unwrap()) as usize + 52;
    let check = |bytes: &[u8], reason| {
        fs::write(&journal, bytes).unwrap();
        assert_unknown(dir.path(), reason);
    };
    // A record taken out, doubled, or exchanged with its neighbour.
    check(&[&whole[..header], &whole[header + first..]].concat(), "the journal is damaged");
    check(&[&whole[..header + first], &whole[header..]].concat(), "the journal is damaged");
    check(&whole[..header - 1], "damaged header");
    check(b"", "not one");
    let mut newer = whole.clone();
    newer[8] = 3;
    check(&newer, "has format 3");
    // A snapshot that ends early, or goes on behind its end.
    fs::write(&journal, &whole).unwrap();
    let snapshot = dir.path().join(SNAPSHOT);
    let whole = fs::read(&snapshot).unwrap();
    for (bytes, reason) in [
        (whole[..whole.len() - 1].to_vec(), "cut short"),
        ([&whole[..], b"x"].concat(), "damaged"),
        (vec![], "not one"),
    ] {
        fs::write(&snapshot, bytes).unwrap();
        assert_unknown(dir.path(), reason);
    }
    fs::remove_file(&snapshot).unwrap();
    assert_unknown(dir.path(), "the snapshot is missing");
    fs::write(&snapshot, whole).unwrap();
    assert_same(&reopen(dir.path()), trees.last().unwrap());
}

#[test]
fn a_crash_between_snapshot_and_journal() {
    let (dir, trees) = kept();
    let journal = dir.path().join(JOURNAL);
    let (old_snapshot, old_journal) = (fs::read(dir.path().join(SNAPSHOT)).unwrap(), fs::read(&journal).unwrap());
    let (mut store, loaded) = open(dir.path());
    store.snapshot(&loaded.synced.unwrap()).unwrap();
    store.append(agreed(&[put("later", file(1), None)])).unwrap();
    drop(store);
    let new_journal = fs::read(&journal).unwrap();

    // The new snapshot beside the old journal: which has nothing to say.
    fs::write(&journal, &old_journal).unwrap();
    fs::write(dir.path().join("snapshot.tmp"), b"left by a crash").unwrap();
    assert_same(&reopen(dir.path()), trees.last().unwrap());
    // And beside none.
    fs::remove_file(&journal).unwrap();
    assert_same(&reopen(dir.path()), trees.last().unwrap());
    // The old snapshot beside the new journal can't have come about by a crash.
    fs::write(&journal, &new_journal).unwrap();
    fs::write(dir.path().join(SNAPSHOT), &old_snapshot).unwrap();
    assert_unknown(dir.path(), "another snapshot");
    // A journal of the same number, but of another store.
    fs::write(&journal, fs::read(kept_other().path().join(JOURNAL)).unwrap()).unwrap();
    assert_unknown(dir.path(), "another snapshot");

    let (mut store, _) = open(dir.path());
    store.snapshot(&sample()).unwrap();
    drop(store);
    assert_same(&reopen(dir.path()), &sample());
}

fn kept_other() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path());
    store.snapshot(&Tree::new()).unwrap();
    dir
}

#[test]
fn an_append_that_fails_closes_the_journal() {
    let (dir, trees) = kept();
    let (mut store, _) = open(dir.path());
    store.journal.as_mut().unwrap().replace_file(File::open(dir.path().join(JOURNAL)).unwrap());
    assert!(matches!(store.append(agreed(&[put("a", file(1), None)])), Err(StoreError::Io { .. })));
    assert!(store.wants_snapshot());
    assert!(matches!(store.append(agreed(&[put("b", file(1), None)])), Err(StoreError::NeedsSnapshot { .. })));
    drop(store);
    assert_same(&reopen(dir.path()), trees.last().unwrap());

    let (mut store, _) = open(dir.path());
    store.snapshot(&sample()).unwrap();
    store.append(agreed(&[put("b", file(1), None)])).unwrap();
}

#[test]
fn appending_costs_what_changed_and_a_long_journal_asks_for_a_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path());
    let items = (0..5000).map(|n| (format!("{n:05}").into_bytes().into(), file(1), stamp(n))).collect();
    let mut tree = Tree::from_root(Dir::from_sorted(items));
    store.snapshot(&tree).unwrap();
    let size = || fs::metadata(dir.path().join(JOURNAL)).unwrap().len();
    let before = size();
    store.append(agreed(&[put("00042", file(2), stamp(1))])).unwrap();
    let one = size() - before;
    assert!(one < 150, "{one} bytes");

    let changes: Vec<_> = (0..5000).map(|n| put(&format!("{n:05}"), file(3), stamp(n))).collect();
    let mut rounds = 0;
    while !store.wants_snapshot() {
        store.append(agreed(&changes)).unwrap();
        rounds += 1;
    }
    assert!((2..5).contains(&rounds), "{rounds} rounds");
    apply(&mut tree, &changes);
    drop(store);
    assert_same(&reopen(dir.path()), &tree);
    let (mut store, _) = open(dir.path());
    assert!(store.wants_snapshot());
    store.snapshot(&tree).unwrap();
    assert!(!store.wants_snapshot());
}

#[test]
fn a_large_directory_goes_into_the_journal_in_records() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path());
    store.snapshot(&Tree::new()).unwrap();
    let items = (0..30_000).map(|n| (format!("{n:05}").into_bytes().into(), file(1), stamp(n))).collect();
    let change = put("big", Node::Directory(Dir::from_sorted(items)), None);
    store.append(agreed(std::slice::from_ref(&change))).unwrap();
    drop(store);
    let mut tree = Tree::new();
    apply(&mut tree, &[change]);
    assert_same(&reopen(dir.path()), &tree);
    // Cut in the second record it is a directory of which a part is known.
    let journal = OpenOptions::new().write(true).open(dir.path().join(JOURNAL)).unwrap();
    journal.set_len(1_500_000).unwrap();
    let part = reopen(dir.path());
    assert!((10_000..20_000).contains(&part.entries()), "{} entries", part.entries());
}

#[test]
fn a_tree_deeper_than_a_path_is_not_kept() {
    let nested = |depth| {
        (0..depth)
            .fold(Dir::new(), |below, _| Dir::from_sorted(vec![(Box::from(&b"d"[..]), Node::Directory(below), None)]))
    };
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path());
    store.snapshot(&Tree::from_root(nested(256))).unwrap();
    assert!(matches!(store.snapshot(&Tree::from_root(nested(257))), Err(StoreError::TooDeep)));
    drop(store);
    assert_same(&reopen(dir.path()), &Tree::from_root(nested(256)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever stands in the files: no panic, and nothing that was never there.
    #[test]
    fn any_bytes_are_refused_or_right(damage in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>(), prop::collection::vec(any::<u8>(), 0..20)), 1..4)) {
        let (dir, trees) = kept();
        for (in_snapshot, at, bytes) in damage {
            let name = dir.path().join(if in_snapshot { SNAPSHOT } else { JOURNAL });
            let mut file = OpenOptions::new().write(true).open(&name).unwrap();
            let len = file.metadata().unwrap().len();
            file.seek(SeekFrom::Start(at.index(len as usize + 1) as u64)).unwrap();
            file.write_all(&bytes).unwrap();
        }
        let (_store, loaded) = open(dir.path());
        if let Some(synced) = loaded.synced {
            prop_assert!(trees.iter().any(|tree| is_same(tree, &synced)));
        }
    }
}

fn pair(host: &str, beta: &str) -> Pair {
    Pair { alpha: "/alpha".into(), host: host.to_owned(), beta: beta.into() }
}

#[test]
fn a_destination_is_taken_once() {
    let state = tempfile::tempdir().unwrap();
    let take = |host, beta| DestinationLock::acquire(state.path(), &pair(host, beta));
    let held = take("", "/a/root").unwrap();
    for other in ["/a/root", "/a/root/sub/dir", "/a", "/"] {
        let error = take("", other).unwrap_err();
        let LockError::Held { holder, pid } = error else { panic!("{other}: {error}") };
        assert_eq!((holder, pid), (pair("", "/a/root"), std::process::id()), "{other}");
    }
    // Another directory, a name that only begins alike, the same path on another machine, another machine that would
    // make the same text.
    let beside = [("", "/a/root2"), ("", "/a/other"), ("pod:1", "/a/root"), ("pod:2", "/a/root"), ("/a", "/root")]
        .map(|(host, beta)| take(host, beta).unwrap());
    assert!(matches!(take("pod:1", "/a/root"), Err(LockError::Held { .. })));
    drop(held);
    drop(take("", "/a/root/sub").unwrap());
    drop(take("", "/a/root").unwrap());
    drop(beside);
    // What a killed process leaves is in nobody's way.
    fs::write(state.path().join("locks/0000.lock"), b"1\0/alpha\0\0/a/root\0").unwrap();
    drop(take("", "/a/root").unwrap());
    let left: Vec<_> =
        fs::read_dir(state.path().join("locks")).unwrap().map(|item| item.unwrap().file_name()).collect();
    assert_eq!(left, ["guard"]);
}

#[test]
fn of_many_at_once_one_gets_the_destination() {
    let state = tempfile::tempdir().unwrap();
    let got = std::thread::scope(|scope| {
        let take = || DestinationLock::acquire(state.path(), &pair("", "/beta")).ok();
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(take)).collect();
        // All are held until all have tried.
        let locks: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        locks.iter().flatten().count()
    });
    assert_eq!(got, 1);
}

#[test]
fn the_state_home() {
    let check = |xdg: Option<&str>, home: Option<&str>, expected: Option<&str>| {
        assert_eq!(
            default_state_dir(xdg.map(AsRef::as_ref), home.map(AsRef::as_ref)).as_deref(),
            expected.map(Path::new)
        );
    };
    check(Some("/state"), Some("/home/me"), Some("/state/synctl"));
    check(None, Some("/home/me"), Some("/home/me/.local/state/synctl"));
    check(Some(""), Some("/home/me"), Some("/home/me/.local/state/synctl"));
    check(Some("relative"), Some("/home/me"), Some("/home/me/.local/state/synctl"));
    check(None, Some(""), None);
    check(None, None, None);
}

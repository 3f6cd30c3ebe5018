//! What was sent and not answered, over restarts, snapshots and cuts.

use super::*;
use crate::store::Intent;

fn sent(number: u64, paths: &[&str]) -> Note {
    Note::Sent(number, paths.iter().map(|at| (path(at), Some(file(number as u8)))).collect())
}

/// What is remembered, as `path=number` for each file and `path-` for what was to go.
#[track_caller]
fn remembered(dir: &Path) -> String {
    let (_store, loaded) = open(dir);
    assert!(loaded.synced.is_some(), "{:?}", loaded.reason);
    words(&loaded.sent)
}

fn words(intents: &[Intent]) -> String {
    let word = |(path, node): &Intent| match node {
        None => format!("{path}-"),
        Some(Node::File { len, .. }) => format!("{path}={len}"),
        Some(_) => format!("{path}/"),
    };
    intents.iter().map(word).collect::<Vec<_>>().join(" ")
}

/// Does these to a new store, each as an append of its own or all as one, with a restart or a snapshot in between or not.
#[track_caller]
fn check(notes: Vec<Note>, expected: &str) {
    for (at_once, snapshot, restart) in
        [(true, false, false), (false, false, false), (false, true, false), (false, true, true)]
    {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, _) = open(dir.path());
        store.snapshot(&sample()).unwrap();
        if at_once {
            store.append(notes.clone()).unwrap();
        } else {
            for note in notes.clone() {
                store.append(vec![note]).unwrap();
                if snapshot {
                    store.snapshot(&sample()).unwrap();
                }
            }
        }
        drop(store);
        if restart {
            drop(open(dir.path()));
        }
        assert_eq!(remembered(dir.path()), expected, "at once {at_once}, snapshot {snapshot}, restart {restart}");
    }
}

#[test]
fn what_is_not_answered_is_remembered() {
    check(vec![sent(1, &["a"])], "a=1");
    check(vec![sent(1, &["a"]), Note::Answered(1)], "");
    check(vec![sent(1, &["a", "b"]), sent(2, &["a"]), Note::Answered(1)], "a=2");
    check(vec![sent(1, &["a"]), sent(2, &["a"]), sent(3, &["a"]), Note::Answered(2)], "a=1 a=3");
    check(vec![sent(1, &["a"]), Note::Settled, sent(2, &["b"])], "b=2");
    check(vec![Note::Answered(7), Note::Settled], "");
    // What both agree on says nothing of what is on its way.
    check(vec![sent(1, &["a"]), Note::Agreed(vec![put("a", file(1), None)])], "a=1");
    check(vec![Note::Sent(1, vec![(path("a"), None)])], "a-");
    let dir = history(sample()).remove(1).0.remove(0).1.map(|(node, _)| node);
    check(vec![Note::Sent(1, vec![(path("new"), dir), (path("z"), None)])], "new/ new/x=8 new/y/ new/y/z=9 z-");
}

#[test]
fn numbers_of_an_opening_before_are_not_taken_for_those_of_this_one() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path());
    store.snapshot(&sample()).unwrap();
    store.append(vec![sent(0, &["a"]), sent(5, &["b"])]).unwrap();
    drop(store);
    let (mut store, _) = open(dir.path());
    store.append(vec![sent(0, &["c"]), sent(1, &["d"]), Note::Answered(0), Note::Answered(5)]).unwrap();
    drop(store);
    assert_eq!(remembered(dir.path()), "a=0 b=5 d=1");
    let (mut store, _) = open(dir.path());
    store.append(vec![Note::Settled]).unwrap();
    drop(store);
    assert_eq!(remembered(dir.path()), "");
}

/// Whatever the end of the journal has lost, a batch is not remembered as answered that was not, and nothing is made up.
#[test]
fn a_journal_cut_anywhere_remembers_what_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path());
    store.snapshot(&sample()).unwrap();
    let steps = [
        (sent(1, &["a", "b"]), "a=1 b=1"),
        (sent(2, &["c"]), "a=1 b=1 c=2"),
        (Note::Answered(1), "c=2"),
        (Note::Settled, ""),
        (sent(3, &["d"]), "d=3"),
    ];
    let journal = dir.path().join(JOURNAL);
    let mut ends = vec![(fs::metadata(&journal).unwrap().len(), "")];
    for (note, expected) in steps {
        store.append(vec![note]).unwrap();
        ends.push((fs::metadata(&journal).unwrap().len(), expected));
    }
    drop(store);
    let whole = fs::read(&journal).unwrap();
    for len in super::super::record::HEADER_BYTES..=whole.len() {
        fs::write(&journal, &whole[..len]).unwrap();
        let (_, expected) = ends.iter().rev().find(|(end, _)| *end <= len as u64).unwrap();
        assert_eq!(remembered(dir.path()), *expected, "{len} bytes");
    }
}

/// What is not understood is not remembered in part.
#[test]
fn damage_forgets_all_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path());
    store.append(vec![sent(1, &["early"])]).unwrap_err();
    store.snapshot(&sample()).unwrap();
    store.append(vec![sent(2, &["a"]), sent(3, &["b"])]).unwrap();
    drop(store);
    assert_eq!(remembered(dir.path()), "early=1 a=2 b=3", "what was sent before the first snapshot is in it");
    for name in [SNAPSHOT, JOURNAL] {
        let file = dir.path().join(name);
        let whole = fs::read(&file).unwrap();
        let mut bytes = whole.clone();
        bytes[super::super::record::HEADER_BYTES + 30] ^= 1;
        fs::write(&file, bytes).unwrap();
        let (_store, loaded) = open(dir.path());
        assert!(loaded.synced.is_none() && loaded.sent.is_empty(), "{name}");
        fs::write(&file, whole).unwrap();
    }
}

/// A journal that failed has no gap: what was sent meanwhile is in the next snapshot.
#[test]
fn what_could_not_be_written_is_in_the_next_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path());
    store.snapshot(&sample()).unwrap();
    store.append(vec![sent(1, &["a"]), sent(2, &["b"])]).unwrap();
    store.journal.as_mut().unwrap().replace_file(File::open(dir.path().join(JOURNAL)).unwrap());
    store.append(vec![sent(3, &["c"])]).unwrap_err();
    store.append(vec![Note::Answered(1), sent(4, &["d"])]).unwrap_err();
    store.snapshot(&sample()).unwrap();
    drop(store);
    assert_eq!(remembered(dir.path()), "b=2 c=3 d=4");
}

/// Answered before it was written, it is never written; nothing is said twice.
#[test]
fn what_is_answered_already_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path());
    store.snapshot(&sample()).unwrap();
    let size = || fs::metadata(dir.path().join(JOURNAL)).unwrap().len();
    let before = size();
    store.append(vec![sent(1, &["a"]), Note::Agreed(Vec::new()), Note::Answered(1), Note::Settled]).unwrap();
    assert_eq!(size(), before);
    store.append(vec![sent(2, &["a"])]).unwrap();
    let one = size() - before;
    assert!(one < 120, "{one} bytes");
}

/// Many records of one batch, and more than is kept.
#[test]
fn large_batches_and_too_many() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path());
    store.snapshot(&sample()).unwrap();
    let wide = |count: u64, name: &str| {
        let items = (0..count).map(|n| (format!("{n:06}").into_bytes().into(), file(1), None)).collect();
        vec![(path(name), Some(Node::Directory(Dir::from_sorted(items))))]
    };
    let paths = |dir: &Path| open(dir).1.sent.len();
    store.append(vec![Note::Sent(1, wide(60_000, "one"))]).unwrap();
    store.append(vec![Note::Sent(2, wide(60_000, "two"))]).unwrap();
    drop(store);
    assert_eq!(paths(dir.path()), 120_002);
    let (mut store, _) = open(dir.path());
    // The oldest is forgotten; what is too large alone is not kept at all, and pushes nothing out.
    store.append(vec![Note::Sent(3, wide(50_000, "three"))]).unwrap();
    store.append(vec![Note::Sent(4, wide(200_000, "four"))]).unwrap();
    for _ in 0..2 {
        drop(store);
        assert_eq!(paths(dir.path()), 110_002);
        store = open(dir.path()).0;
        store.snapshot(&sample()).unwrap();
    }
}

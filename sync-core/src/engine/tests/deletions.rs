//! When deletions halt the session, and when not.

use super::*;
use crate::engine::deletions::gone_files;

/// `count` files in a directory, whose content is numbered from `first` on.
fn many(tree: &mut Tree, at: &str, first: u64, count: u64) {
    let items = (0..count).map(|n| (format!("{n:06}").into_bytes().into(), sized(first + n, 10), None)).collect();
    tree.insert(&path(at), Node::Directory(Dir::from_sorted(items)), None).unwrap();
}

/// Removes the files with these numbers from `d`.
fn remove(tree: &mut Tree, numbers: std::ops::Range<u64>) {
    for number in numbers {
        tree.remove(&path(&format!("d/{number:06}"))).unwrap();
    }
}

/// An engine in sync, whose trees have `count` files in `d`.
fn with_files(count: u64) -> (Engine, Tree) {
    let mut alpha = tree(&[("a", directory())]);
    many(&mut alpha, "d", 0, count);
    (in_sync(Mode::TwoWaySafe, &alpha), alpha)
}

fn see(engine: &mut Engine, alpha: &Tree) -> Vec<(BatchId, usize)> {
    engine.handle_alpha(update(alpha, &[]));
    sent(engine)
}

fn sent(engine: &mut Engine) -> Vec<(BatchId, usize)> {
    let actions = drain(engine).into_iter().filter_map(|action| match action {
        Action::Send { id, operations, .. } => Some((id, operations.len())),
        _ => None,
    });
    actions.collect()
}

fn all_applied(engine: &mut Engine, batches: Vec<(BatchId, usize)>) -> Vec<(BatchId, usize)> {
    for (id, count) in batches {
        answer(engine, id, vec![Outcome::Applied; count], Duration::ZERO);
    }
    sent(engine)
}

#[test]
fn more_than_half_of_twenty_files_halt() {
    for (there, gone, halts) in [(20, 11, true), (20, 10, false), (19, 19, false), (100, 51, true)] {
        let (mut engine, mut alpha) = with_files(there);
        remove(&mut alpha, 0..gone);
        let sent = see(&mut engine, &alpha);
        assert_eq!(engine.halted().is_some(), halts, "{gone} of {there}");
        assert_eq!(sent.is_empty(), halts, "{gone} of {there}");
    }
}

#[test]
fn pieces_of_a_sweep_add_up_until_all_is_answered() {
    let (mut engine, mut alpha) = with_files(24);
    remove(&mut alpha, 0..8);
    assert_eq!(see(&mut engine, &alpha).len(), 1);
    remove(&mut alpha, 8..16);
    assert!(see(&mut engine, &alpha).is_empty() && engine.halted().is_some());
    engine.handle_deletions_allowed();
    assert!(engine.halted().is_none() && !sent(&mut engine).is_empty());
    // With a rest between them they are nothing but deletions.
    let (mut engine, mut alpha) = with_files(24);
    for numbers in [0..8, 8..12] {
        remove(&mut alpha, numbers);
        let sent = see(&mut engine, &alpha);
        assert!(!sent.is_empty());
        all_applied(&mut engine, sent);
    }
    assert!(engine.is_in_sync());
}

/// What both have deleted, and alpha puts back while that goes on, is not what the sweep began with.
#[test]
fn what_was_put_back_during_a_sweep_counts() {
    let (mut engine, alpha) = with_files(24);
    let mut without = alpha.clone();
    remove(&mut without, 0..8);
    let first = see(&mut engine, &without);
    assert_eq!(first.len(), 1);
    let (mut more, gone) = (without, path("more"));
    many(&mut more, "more", 1 << 32, 30);
    let second = see(&mut engine, &more);
    assert!(all_applied(&mut engine, second).is_empty() && engine.halted().is_none());
    more.remove(&gone);
    assert!(see(&mut engine, &more).is_empty() && engine.halted().is_some());
}

/// Nor does what has come since a sweep began go uncounted when it is removed in pieces.
#[test]
fn what_came_during_a_sweep_adds_up() {
    for (place, there) in [("more", 24), ("d/000001", 24), ("d", 3)] {
        let (mut engine, mut alpha) = with_files(there);
        remove(&mut alpha, 0..1);
        assert_eq!(see(&mut engine, &alpha).len(), 1, "the sweep goes on");
        let mut more = Tree::new();
        many(&mut more, "more", 1 << 32, 60);
        let node = more.remove(&path("more")).unwrap();
        alpha.insert(&path(place), node, None).unwrap();
        let second = see(&mut engine, &alpha);
        assert!(all_applied(&mut engine, second).is_empty() && engine.halted().is_none());
        for piece in 0..3_u64 {
            for number in piece * 20..piece * 20 + 20 {
                alpha.remove(&path(&format!("{place}/{number:06}"))).unwrap();
            }
            see(&mut engine, &alpha);
            let goes = (piece + 1) * 20 < (60 + there) / 2;
            assert_eq!(engine.halted().is_none(), goes, "{piece} of {place}");
            if !goes {
                break;
            }
        }
        assert!(engine.halted().is_some(), "{place}");
    }
}

#[test]
fn a_sweep_behind_thousands_of_new_files_is_found() {
    let (mut engine, mut alpha) = with_files(5000);
    many(&mut alpha, "a", 1 << 32, 20_000);
    alpha.remove(&path("d"));
    let mut batches = see(&mut engine, &alpha);
    while !batches.is_empty() {
        batches = all_applied(&mut engine, batches);
    }
    assert!(engine.halted().is_some() && engine.known.beta.dir(&path("d")).is_some());
}

#[test]
fn what_is_only_moved_does_not_count() {
    let (mut engine, mut alpha) = with_files(24);
    let moved = alpha.remove(&path("d")).unwrap();
    alpha.insert(&path("e"), moved, None).unwrap();
    let moves = see(&mut engine, &alpha);
    assert!(engine.halted().is_none());
    // It can't be moved: the content is copied, and then removed where it was.
    for (id, count) in moves {
        answer(&mut engine, id, vec![Outcome::Mismatch; count], Duration::ZERO);
    }
    let mut batches = sent(&mut engine);
    assert!(!batches.is_empty());
    while !batches.is_empty() {
        batches = all_applied(&mut engine, batches);
    }
    assert!(engine.halted().is_none() && engine.is_in_sync());
}

#[test]
fn an_empty_root_that_was_allowed_stays_allowed() {
    let (mut engine, _) = with_files(3);
    let empty = Tree::new();
    assert!(see(&mut engine, &empty).is_empty() && engine.halted().is_some());
    engine.handle_deletions_allowed();
    let (id, operations) = match &drain(&mut engine)[..] {
        [_, Action::Send { id, operations, .. }] => (*id, operations.clone()),
        other => panic!("{other:?}"),
    };
    // Something ignored keeps one of the directories there.
    let is_kept = |operation: &Planned| *operation.path() == path("d");
    let outcome = |operation| if is_kept(operation) { Outcome::Kept } else { Outcome::Applied };
    answer(&mut engine, id, operations.iter().map(outcome).collect(), Duration::ZERO);
    let mut batches = sent(&mut engine);
    while !batches.is_empty() {
        batches = all_applied(&mut engine, batches);
    }
    assert!(engine.halted().is_none() && engine.is_in_sync() && engine.known.beta.dir(&path("d")).is_some());
    see(&mut engine, &empty);
    assert!(engine.halted().is_none());
}

#[test]
fn what_was_let_go_and_is_in_the_way_is_not_asked_about_again() {
    let (mut engine, alpha) = with_files(24);
    let heard = |engine: &mut Engine, entry: Option<Entry>| engine.handle_changes(changes(vec![("d", entry)]));
    let question = |engine: &mut Engine| {
        drain(engine).into_iter().find_map(|action| match action {
            Action::Describe { id, .. } => Some(id),
            _ => None,
        })
    };
    heard(&mut engine, None);
    assert!(engine.halted().is_some());
    engine.handle_deletions_allowed();
    // Beta has it still, and ignores it.
    let id = question(&mut engine).unwrap();
    engine.handle_described(id, vec![true], Duration::ZERO).unwrap();
    assert!(engine.is_in_sync());
    engine.handle_timeout(Duration::from_secs(10));
    assert!(engine.halted().is_none() && question(&mut engine).is_some());
    // Both have it again: it may not go once more.
    engine.handle_disconnected();
    engine.handle_opened(&opened(&alpha), alpha.clone());
    assert!(engine.is_in_sync());
    heard(&mut engine, None);
    assert!(engine.halted().is_some() && question(&mut engine).is_none());
}

/// As it is defined: every file and symlink that is gone, but for as many like it as were put elsewhere.
fn gone_one_by_one(before: &Tree, after: &Tree) -> u64 {
    let files = |tree: &Tree| {
        let files = crate::tree::walk(tree.root()).map(|(at, node, _)| (at, node.entry()));
        files.filter(|(_, entry)| *entry != Entry::Directory).collect::<BTreeMap<_, _>>()
    };
    let (before, after) = (files(before), files(after));
    let mut count = BTreeMap::<&Entry, i64>::new();
    let gone = before.iter().filter(|(at, _)| !after.contains_key(*at));
    let put = after.iter().filter(|(at, _)| !before.contains_key(*at));
    gone.for_each(|(_, entry)| *count.entry(entry).or_default() += 1);
    put.for_each(|(_, entry)| *count.entry(entry).or_default() -= 1);
    count.values().filter_map(|count| u64::try_from(*count).ok()).sum()
}

proptest::proptest! {
    #[test]
    fn what_is_gone_is_counted_right_with_directories_moved_as_a_whole(
        files in proptest::collection::vec(("[abc](/[abc]){0,2}/[xy]", 0..4u64), 0..24),
        moves in proptest::collection::vec(("[abc](/[abc])?", "[abcd](/[abcd])?", proptest::bool::ANY), 0..6),
    ) {
        let mut before = Tree::new();
        for (at, content) in &files {
            let at = path(at);
            let mut above: Vec<SyncPath> = std::iter::successors(at.parent(), SyncPath::parent).collect();
            above.reverse();
            for above in above.iter().filter(|above| !above.is_root()) {
                if before.get(above).is_none() {
                    before.insert(above, directory(), None).unwrap();
                }
            }
            drop(before.insert(&at, file(*content), None));
        }
        let mut after = before.clone();
        for (from, to, is_copied) in &moves {
            let (from, to) = (path(from), path(to));
            let Some(node) = after.get(&from).cloned() else { continue };
            if !is_copied && !to.starts_with(&from) {
                after.remove(&from);
            }
            drop(after.insert(&to, node, None));
        }
        proptest::prop_assert_eq!(gone_files(&before, &after), gone_one_by_one(&before, &after));
    }
}

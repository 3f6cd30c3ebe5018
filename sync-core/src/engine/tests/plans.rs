//! What steps become: which operations, in which order, within which bounds.

use sync_proto::limits::BATCH_OPERATIONS_MAX;

use super::*;
use crate::engine::{
    plan::{
        BATCH_CONTENT_BYTES_MAX, BATCH_TEXT_BYTES_MAX, Copies, INLINE_FILE_BYTES_MAX, Plan, Planned, PlannedStream,
        Source, plan,
    },
    reconcile::{Limits, Reconciled, Sides, reconcile},
};

fn steps(alpha: &Tree, beta: &Tree, steps_max: usize) -> Reconciled {
    let sides = Sides { alpha: &seen(alpha), beta: &seen(beta), synced: beta, scope: &rules(&[]) };
    reconcile(sides, Mode::OneWaySafe, &Limits { steps_max, guard: &() })
}

fn planned(alpha: &Tree, beta: &Tree) -> Plan {
    let found = steps(alpha, beta, usize::MAX);
    plan(found.at_beta, found.truncated, beta, &mut Copies::default(), &|_| false)
}

/// An operation in a word or two.
fn shown(operation: &Planned) -> String {
    match operation {
        Planned::MakeDirectory { path } => format!("make {path}"),
        Planned::Put { path, source, old, .. } => {
            let way = match source {
                Source::None => String::new(),
                Source::Sender => " sent".to_owned(),
                Source::SenderWhole => " sent whole".to_owned(),
                Source::Receiver(from) => format!(" from {from}"),
                Source::Unchanged => " as it is".to_owned(),
            };
            format!("{} {path}{way}", if old.is_some() { "replace" } else { "put" })
        }
        Planned::Remove { path, .. } => format!("remove {path}"),
        Planned::Move { from, to, .. } => format!("move {from} {to}"),
    }
}

/// The plan from the one to the other is this, and leads there.
fn check(beta: &[(&str, Node)], alpha: &[(&str, Node)], expected: &[&str]) {
    let (beta, alpha) = (tree(beta), tree(alpha));
    let plan = planned(&alpha, &beta);
    assert_eq!(plan.operations.iter().map(shown).collect::<Vec<_>>(), expected);
    assert!(!plan.truncated);
    let mut done = beta.clone();
    for operation in &plan.operations {
        assert!(operation.is_possible(&done), "{operation:?}");
        operation.apply_to(&mut done);
    }
    assert_eq!(done, plan.after);
    assert_eq!(done, alpha);
}

fn executable(content: u64) -> Node {
    match file(content) {
        Node::File { content, len, .. } => Node::File { content, len, executable: true },
        other => other,
    }
}

#[test]
fn of_every_kind() {
    check(&[], &[("a", file(1))], &["put a sent"]);
    check(&[], &[("a", sized(1, 0))], &["put a"]);
    check(&[], &[("a", link("b"))], &["put a"]);
    check(&[("a", file(1))], &[("a", file(2))], &["replace a sent"]);
    check(&[("a", file(1))], &[("a", executable(1))], &["replace a as it is"]);
    check(&[("a", file(1))], &[("a", link("b"))], &["replace a"]);
    check(&[("a", link("b"))], &[("a", file(1))], &["replace a sent"]);
    check(&[("a", file(1))], &[], &["remove a"]);
    check(&[("a/b/c", file(1))], &[], &["remove a"]);
    check(&[("a", file(1))], &[("a", directory())], &["remove a", "make a"]);
    check(&[("a/b", file(1))], &[("a", link("b"))], &["remove a", "put a"]);
}

#[test]
fn files_of_a_new_directory_come_before_the_directories_in_it() {
    let new = [("d/a/x", file(1)), ("d/b", file(2)), ("d/c/y", file(3)), ("d/d", file(4))];
    let expected =
        ["make d", "put d/b sent", "put d/d sent", "make d/a", "put d/a/x sent", "make d/c", "put d/c/y sent"];
    check(&[], &new, &expected);
}

#[test]
fn moves_and_copies() {
    // Anywhere, a subtree or a file.
    check(&[("a/x", file(1))], &[("b/x", file(1))], &["move a b"]);
    check(&[("a", file(1))], &[("b", file(1))], &["move a b"]);
    check(&[("a", file(1))], &[("d/b", file(1))], &["make d", "move a d/b"]);
    // Not the executable bit of another, nor what is as cheap to make.
    check(&[("a", file(1))], &[("b", executable(1))], &["put b from a", "remove a"]);
    check(&[("a", directory())], &[("b", directory())], &["make b", "remove a"]);
    // Moved once, copied the second time, from where it is by then.
    check(&[("a", file(1))], &[("b", file(1)), ("c", file(1))], &["move a b", "put c from b"]);
    check(
        &[("a/x", file(1)), ("a/y", file(2))],
        &[("b/x", file(1)), ("b/y", file(2)), ("c", file(2))],
        &["move a b", "put c from b/y"],
    );
    // From a subtree that goes, which has changed on the way.
    check(
        &[("a/x", file(1)), ("a/y", file(2))],
        &[("b/x", file(1)), ("b/y", file(3))],
        &["make b", "put b/x from a/x", "put b/y sent", "remove a"],
    );
    // Not from what is replaced before its turn comes.
    check(&[("a", file(1))], &[("a", file(2)), ("b", file(1))], &["replace a sent", "put b sent"]);
}

#[test]
fn crossed_moves_make_no_cycle() {
    let before = [("a/x", file(1)), ("b/y", file(2))];
    // a → b/a and b → a/b.
    let after = [("a/b/y", file(2)), ("b/a/x", file(1))];
    let expected = ["make a/b", "put a/b/y from b/y", "make b/a", "put b/a/x from a/x", "remove a/x", "remove b/y"];
    let (beta, alpha) = (tree(&before), tree(&after));
    let plan = planned(&alpha, &beta);
    assert_eq!(plan.after, alpha);
    assert!(plan.operations.iter().all(|operation| operation.content_bytes() <= 100), "nothing is sent");
    assert!(plan.operations.len() <= expected.len(), "{:?}", plan.operations);
}

#[test]
fn content_elsewhere_at_beta_is_copied_where_the_search_is_worth_it() {
    let beta = tree(&[("lib/a", sized(1, 9000)), ("lib/b", sized(2, 9000))]);
    let mut alpha = beta.clone();
    alpha.insert(&path("c"), sized(2, 9000), None).unwrap();
    assert_eq!(shown(&planned(&alpha, &beta).operations[0]), "put c from lib/b");
    // A search of a large tree for the sake of a small file is not.
    let many: Vec<(Box<[u8]>, Node, Option<_>)> =
        (0..5000).map(|n| (format!("{n:05}").into_bytes().into(), file(n), None)).collect();
    let beta = Tree::from_root(Dir::from_sorted(many));
    let mut alpha = beta.clone();
    alpha.insert(&path("c"), file(2), None).unwrap();
    assert_eq!(shown(&planned(&alpha, &beta).operations[0]), "put c sent");
}

#[test]
fn what_failed_before_is_sent_whole() {
    let (beta, alpha) = (tree(&[("a", file(1))]), tree(&[("b", file(1))]));
    let found = steps(&alpha, &beta, usize::MAX);
    let plan = plan(found.at_beta, false, &beta, &mut Copies::default(), &|at| *at == path("b"));
    assert_eq!(plan.operations.iter().map(shown).collect::<Vec<_>>(), ["put b sent whole", "remove a"]);
}

#[test]
fn large_files_are_streamed_and_not_in_the_batch() {
    let large = sized(1, INLINE_FILE_BYTES_MAX + 1);
    let plan = planned(&tree(&[("d/a", large.clone()), ("d/b", sized(2, INLINE_FILE_BYTES_MAX))]), &Tree::new());
    assert_eq!(plan.operations.iter().map(shown).collect::<Vec<_>>(), ["make d", "put d/b sent"]);
    assert_eq!(plan.streams, [PlannedStream { path: path("d/a"), old: None, entry: large.entry() }]);
    assert_eq!(plan.content_bytes, INLINE_FILE_BYTES_MAX);
    assert_eq!(plan.after, tree(&[("d/b", sized(2, INLINE_FILE_BYTES_MAX))]), "it is not there yet");
}

/// Plans again and again until nothing is left, and says what the largest batch was.
fn plan_all(alpha: &Tree, mut beta: Tree, steps_max: usize) -> (usize, Vec<Plan>) {
    let mut plans: Vec<Plan> = Vec::new();
    let mut copies = Copies::default();
    loop {
        let found = steps(alpha, &beta, steps_max);
        if found.at_beta.is_empty() {
            assert_eq!(beta, *alpha);
            return (plans.iter().map(|plan| plan.operations.len()).max().unwrap(), plans);
        }
        let plan = plan(found.at_beta, found.truncated, &beta, &mut copies, &|_| false);
        assert!(!plan.operations.is_empty(), "it is stuck after {} batches", plans.len());
        beta = plan.after.clone();
        plans.push(plan);
    }
}

fn numbered(count: u64, len: u64) -> Vec<(Box<[u8]>, Node, Option<crate::tree::Stamp>)> {
    (0..count).map(|n| (format!("{n:06}").into_bytes().into(), sized(n, len), None)).collect()
}

#[test]
fn batches_are_bounded_by_operations_content_and_text() {
    let small = Tree::from_root(Dir::from_sorted(numbered(10_000, 10)));
    let (largest, plans) = plan_all(&small, Tree::new(), usize::MAX);
    assert!(largest <= BATCH_OPERATIONS_MAX && plans.len() == 3, "{largest} in {}", plans.len());

    let large = Tree::from_root(Dir::from_sorted(numbered(100, INLINE_FILE_BYTES_MAX)));
    let (_, plans) = plan_all(&large, Tree::new(), usize::MAX);
    assert!(plans.iter().all(|plan| plan.content_bytes < BATCH_CONTENT_BYTES_MAX + INLINE_FILE_BYTES_MAX));

    // Names of 255 bytes in a directory whose path is as long as may be, and targets likewise.
    let deep = vec![b'x'; 200];
    let mut above = SyncPath::root();
    let mut long = Tree::new();
    while above.as_bytes().len() < 3500 {
        above = above.join(sync_proto::Name::new(&deep).unwrap()).unwrap();
        long.insert(&above, directory(), None).unwrap();
    }
    let target = Node::Symlink(Target::new(&[b't'; 4095]).unwrap());
    for n in 0..2000 {
        long.insert(
            &above.join(sync_proto::Name::new(format!("{n}").as_bytes()).unwrap()).unwrap(),
            target.clone(),
            None,
        )
        .unwrap();
    }
    let (_, plans) = plan_all(&long, Tree::new(), usize::MAX);
    assert!(plans.len() > 4);
    assert!(plans.iter().all(|plan| plan.text_bytes < BATCH_TEXT_BYTES_MAX + 20_000));
}

#[test]
fn more_removals_than_one_walk_finds_are_all_done() {
    // Something stays in the directory, so that it does not go as one.
    let mut beta = Tree::from_root(Dir::from_sorted(numbered(10_000, 10)));
    beta.insert(&path("stays"), file(1), None).unwrap();
    let (_, plans) = plan_all(&tree(&[("stays", file(1))]), beta.clone(), 8192);
    assert_eq!(plans.iter().map(|plan| plan.operations.len()).sum::<usize>(), 10_000);
    // And with as much to be created, nothing is removed before all that is planned.
    let new = Tree::from_root(Dir::from_sorted(
        (0..9000).map(|n| (format!("n{n:06}").into_bytes().into(), sized(n, 10), None)).collect(),
    ));
    let (_, plans) = plan_all(&new, beta, 8192);
    let moved = |operation: &&Planned| matches!(operation, Planned::Move { .. });
    assert!(plans.iter().flat_map(|plan| &plan.operations).filter(moved).count() <= 9000);
}

#[test]
fn a_replacement_is_not_cut_in_two_by_a_full_batch() {
    let mut items = numbered(BATCH_OPERATIONS_MAX as u64 + 10, 0);
    let beta = Tree::from_root(Dir::from_sorted(items.clone()));
    items.iter_mut().for_each(|(_, node, _)| *node = directory());
    let alpha = Tree::from_root(Dir::from_sorted(items));
    let (_, plans) = plan_all(&alpha, beta, usize::MAX);
    for plan in plans {
        for pair in plan.operations.chunks(2) {
            assert!(
                matches!(pair, [Planned::Remove { path, .. }, Planned::MakeDirectory { path: made }] if path == made)
            );
        }
    }
}

#[test]
fn nothing_is_looked_for_where_all_is_moved() {
    let before = tree(&[("d/a", sized(1, 100_000)), ("d/b", sized(2, 100_000)), ("other", sized(3, 10))]);
    let moved = tree(&[("e/a", sized(1, 100_000)), ("e/b", sized(2, 100_000)), ("other", sized(3, 10))]);
    let mut twice = moved.clone();
    twice.insert(&path("f"), moved.get(&path("e")).unwrap().clone(), None).unwrap();
    let looked_for = |after: &Tree| {
        let mut copies = Copies::default();
        let found = steps(after, &before, usize::MAX);
        let plan = plan(found.at_beta, found.truncated, &before, &mut copies, &|_| false);
        assert_eq!(plan.after, *after);
        assert_eq!(plan.content_bytes, 0, "{:?}", plan.operations);
        copies.find(sized(3, 10).entry().content().unwrap()).is_some()
    };
    assert!(!looked_for(&moved));
    // Only one of two can be moved there; the other is copied.
    assert!(looked_for(&twice));
}

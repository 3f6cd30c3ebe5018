//! On which lane a batch goes, and what waits for what.

use super::*;
use crate::engine::plan::INLINE_FILE_BYTES_MAX;

/// Every batch among the actions.
fn batches(actions: &[Action]) -> Vec<(BatchId, bool, Vec<Planned>)> {
    let sent = actions.iter().filter_map(|action| match action {
        Action::Send { id, urgent, operations } => Some((*id, *urgent, operations.clone())),
        _ => None,
    });
    sent.collect()
}

fn all_applied(engine: &mut Engine, id: BatchId, count: usize) {
    answer(engine, id, vec![Outcome::Applied; count], Duration::ZERO);
}

/// `count` files in a directory, of this length.
fn many(tree: &mut Tree, at: &str, count: u64, len: u64) {
    let items = (0..count).map(|n| (format!("{n:06}").into_bytes().into(), sized(1 << 32 | n, len), None)).collect();
    tree.insert(&path(at), Node::Directory(Dir::from_sorted(items)), None).unwrap();
}

fn insert(tree: &mut Tree, at: &str, node: Node) {
    tree.insert(&path(at), node, None).unwrap();
}

#[test]
fn a_save_overtakes_a_first_sync() {
    let mut alpha = tree(&[("saved", file(1))]);
    let mut engine = in_sync(Mode::OneWaySafe, &alpha);
    many(&mut alpha, "bulk", 60_000, 1000);
    engine.handle_alpha(update(&alpha, &[]));
    let bulk = batches(&drain(&mut engine));
    assert!(bulk.iter().all(|(_, urgent, _)| !urgent) && bulk.len() > 2, "{}", bulk.len());
    let bytes: u64 = bulk.iter().flat_map(|(_, _, operations)| operations).map(Planned::content_bytes).sum();
    assert!(bytes < 12 << 20, "{bytes} in flight");
    insert(&mut alpha, "saved", file(2));
    engine.handle_alpha(update(&alpha, &["saved"]));
    let saved = batches(&drain(&mut engine));
    assert!(matches!(&saved[..], [(_, true, operations)] if *operations[0].path() == path("saved")));
    // It is answered first, and synced then.
    all_applied(&mut engine, saved[0].0, 1);
    assert_eq!(engine.synced().get(&path("saved")), Some(&file(2)));
    assert!(engine.synced().get(&path("bulk")).is_none());
}

#[test]
fn an_edit_of_what_the_bulk_lane_has_in_flight_follows_it_there() {
    let mut alpha = Tree::new();
    let mut engine = in_sync(Mode::OneWaySafe, &alpha);
    many(&mut alpha, "bulk", 1000, 10);
    engine.handle_alpha(update(&alpha, &[]));
    assert!(matches!(&batches(&drain(&mut engine))[..], [(_, false, _)]));
    for (hot, node) in [("bulk/000003", file(1)), ("bulk/new", file(2)), ("bulk/000004", directory())] {
        insert(&mut alpha, hot, node);
        engine.handle_alpha(update(&alpha, &[hot]));
        assert!(matches!(&batches(&drain(&mut engine))[..], [(_, false, _)]), "{hot} overtakes");
    }
    // What the copy comes from counts too.
    insert(&mut alpha, "copy", sized(1 << 32 | 7, 10));
    engine.handle_alpha(update(&alpha, &["copy"]));
    let sent = batches(&drain(&mut engine));
    let copies = sent[0].2[0].touches().count() == 2;
    assert_eq!(sent[0].1, !copies, "{sent:?}");
}

#[test]
fn bulk_waits_for_what_is_urgent_near_it() {
    let mut alpha = Tree::new();
    let mut engine = in_sync(Mode::OneWaySafe, &alpha);
    insert(&mut alpha, "d", directory());
    engine.handle_alpha(update(&alpha, &["d"]));
    let first = batches(&drain(&mut engine));
    assert!(matches!(&first[..], [(_, true, _)]));
    // Too much for the urgent lane, and in the directory that is not there yet.
    many(&mut alpha, "d", 2000, 10);
    many(&mut alpha, "elsewhere", 2000, 10);
    engine.handle_alpha(update(&alpha, &[]));
    let second = batches(&drain(&mut engine));
    assert!(second.iter().all(|(_, urgent, operations)| {
        !urgent && operations.iter().all(|operation| operation.path().starts_with(&path("elsewhere")))
    }));
    assert_eq!(second.iter().map(|(_, _, operations)| operations.len()).sum::<usize>(), 2001);
    all_applied(&mut engine, first[0].0, 1);
    let third = batches(&drain(&mut engine));
    assert_eq!(third.iter().map(|(_, _, operations)| operations.len()).sum::<usize>(), 2000);
}

/// Files are moved to where something urgent is under way: what they are made of waits with them.
#[test]
fn what_waits_for_the_urgent_lane_can_still_be_moved() {
    let mut alpha = Tree::new();
    many(&mut alpha, "from", 2000, 10);
    let mut engine = in_sync(Mode::OneWaySafe, &alpha);
    insert(&mut alpha, "to", directory());
    engine.handle_alpha(update(&alpha, &["to"]));
    let first = batches(&drain(&mut engine));
    assert!(matches!(&first[..], [(_, true, _)]));
    for (below, node, _) in crate::tree::walk(alpha.clone().dir(&path("from")).unwrap()) {
        insert(&mut alpha, &format!("to/{below}"), node.clone());
        alpha.remove(&path(&format!("from/{below}")));
    }
    engine.handle_alpha(update(&alpha, &[]));
    assert_eq!(batches(&drain(&mut engine)), [], "nothing goes before what is made of it can");
    all_applied(&mut engine, first[0].0, 1);
    let sent = batches(&drain(&mut engine));
    let operations: Vec<&Planned> = sent.iter().flat_map(|(_, _, operations)| operations).collect();
    assert_eq!(operations.len(), 2000);
    assert!(operations.iter().all(|operation| matches!(operation, Planned::Move { .. })), "{operations:?}");
}

#[test]
fn no_more_batches_are_in_flight_than_the_agent_takes() {
    let mut alpha = Tree::new();
    let mut engine = in_sync(Mode::OneWaySafe, &alpha);
    let mut sent = Vec::new();
    for n in 0..200 {
        // Saves, each too large for the urgent lane every other time.
        let (at, len) = (format!("f{n}"), if n % 2 == 0 { 10 } else { 900_000 });
        insert(&mut alpha, &at, sized(n, len));
        engine.handle_alpha(update(&alpha, &[&at]));
        sent.extend(batches(&drain(&mut engine)));
    }
    assert!(sent.len() <= sync_proto::limits::BATCHES_IN_FLIGHT_MAX, "{}", sent.len());
    let mut at = 0;
    while let Some((id, _, operations)) = sent.get(at).cloned() {
        all_applied(&mut engine, id, operations.len());
        sent.extend(batches(&drain(&mut engine)));
        at += 1;
    }
    assert!(engine.is_in_sync());
    assert_eq!(*engine.synced(), alpha);
}

#[test]
fn a_large_subtree_is_not_moved_or_removed_on_the_urgent_lane() {
    let mut alpha = Tree::new();
    many(&mut alpha, "old", 5000, 10);
    let mut engine = in_sync(Mode::OneWaySafe, &alpha);
    let moved = alpha.remove(&path("old")).unwrap();
    insert(&mut alpha, "new", moved);
    engine.handle_alpha(update(&alpha, &["old", "new"]));
    let sent = batches(&drain(&mut engine));
    assert!(matches!(&sent[..], [(_, false, operations)] if operations.len() == 1), "{sent:?}");
    all_applied(&mut engine, sent[0].0, 1);
    insert(&mut alpha, "x", file(1));
    alpha.remove(&path("new"));
    engine.handle_alpha(update(&alpha, &["new"]));
    assert!(engine.halted().is_some() && batches(&drain(&mut engine)).is_empty());
    engine.handle_deletions_allowed();
    assert!(
        batches(&drain(&mut engine))
            .iter()
            .any(|(_, urgent, operations)| { !urgent && matches!(&operations[..], [.., Planned::Remove { .. }]) })
    );
}

#[test]
fn a_burst_on_one_file_is_pipelined() {
    let mut alpha = tree(&[("f", file(0))]);
    let mut engine = in_sync(Mode::OneWaySafe, &alpha);
    let mut sent = Vec::new();
    for n in 1..=5 {
        insert(&mut alpha, "f", file(n));
        engine.handle_alpha(update(&alpha, &["f"]));
        sent.extend(batches(&drain(&mut engine)));
    }
    let olds: Vec<_> = sent.iter().map(|(_, urgent, operations)| (*urgent, operations.clone())).collect();
    for (n, (urgent, operations)) in olds.iter().enumerate() {
        assert!(urgent);
        let expected = file(n as u64).entry();
        assert!(matches!(&operations[..], [Planned::Put { old: Some(old), .. }] if *old == expected), "{operations:?}");
    }
    assert_eq!(engine.synced().get(&path("f")), Some(&file(0)));
    for (id, _, _) in sent {
        all_applied(&mut engine, id, 1);
    }
    assert!(engine.is_in_sync() && engine.conflicts().next().is_none());
    assert_eq!(*engine.synced(), alpha);
}

#[test]
fn when_the_first_of_a_burst_fails_the_last_is_planned_from_what_is_there() {
    let mut alpha = tree(&[("f", file(0))]);
    let mut engine = in_sync(Mode::OneWaySafe, &alpha);
    let mut sent = Vec::new();
    for n in 1..=8 {
        insert(&mut alpha, "f", file(n));
        engine.handle_alpha(update(&alpha, &["f"]));
        sent.extend(batches(&drain(&mut engine)));
    }
    // The first could not be prepared: its content is gone. The last is wanted all the same, and does not wait.
    engine.handle_unsent(sent[0].0, &[0].into(), Duration::ZERO);
    let again = batches(&drain(&mut engine));
    let put = Planned::Put {
        path: path("f"),
        old: Some(file(0).entry()),
        entry: file(8).entry(),
        source: crate::engine::plan::Source::Sender,
    };
    assert_eq!(again[0].2, [put]);
    for (id, _, _) in &sent[1..] {
        answer(&mut engine, *id, vec![Outcome::Mismatch], Duration::ZERO);
    }
    assert_eq!(batches(&drain(&mut engine)).len(), 0, "what follows a failure is no reason to try again, nor to wait");
    all_applied(&mut engine, again[0].0, 1);
    assert!(engine.is_in_sync());
    assert_eq!(*engine.synced(), alpha);
}

#[test]
fn two_files_are_streamed_at_a_time_and_nothing_is_said_to_be_in_sync_before_all_are() {
    let mut alpha = Tree::new();
    let mut engine = in_sync(Mode::OneWaySafe, &alpha);
    for name in ["a", "b", "c"] {
        insert(&mut alpha, name, sized(u64::from(name.as_bytes()[0]), INLINE_FILE_BYTES_MAX + 1));
    }
    engine.handle_alpha(update(&alpha, &[]));
    let streams = |actions: Vec<Action>| -> Vec<BatchId> {
        let ids = actions.iter().filter_map(|action| match action {
            Action::Stream { id, .. } => Some(*id),
            _ => None,
        });
        ids.collect()
    };
    let first = streams(drain(&mut engine));
    assert_eq!(first.len(), 2);
    all_applied(&mut engine, first[0], 1);
    let second = streams(drain(&mut engine));
    assert_eq!(second.len(), 1);
    all_applied(&mut engine, first[1], 1);
    assert!(!engine.is_in_sync());
    all_applied(&mut engine, second[0], 1);
    assert!(engine.is_in_sync());
    assert_eq!(*engine.synced(), alpha);
}

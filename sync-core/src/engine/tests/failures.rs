//! What becomes of operations that do not come out as planned.

use std::slice::from_ref;

use super::*;
use crate::engine::plan::{INLINE_FILE_BYTES_MAX, Source};

const NOW: Duration = Duration::from_secs(100);

fn sent(engine: &mut Engine) -> (BatchId, Vec<Planned>) {
    let actions = drain(engine);
    let (id, _, operations) = batch(&actions);
    (id, operations.to_vec())
}

fn reports(engine: &mut Engine) -> Vec<Report> {
    let reports = drain(engine).into_iter().filter_map(|action| match action {
        Action::Report(report) => Some(report),
        _ => None,
    });
    reports.collect()
}

fn failed(at: &str, kind: ProblemKind) -> Outcome {
    Outcome::Failed(problem(&path(at), kind))
}

/// An engine that has just sent the edit of `f`.
fn editing() -> (Engine, Tree, BatchId) {
    let mut alpha = tree(&[("f", file(1))]);
    let mut engine = in_sync(Mode::OneWaySafe, &alpha);
    alpha.insert(&path("f"), file(2), None).unwrap();
    engine.handle_alpha(update(&alpha, &["f"]));
    let (id, _) = sent(&mut engine);
    (engine, alpha, id)
}

#[test]
fn a_failure_waits_longer_each_time_and_is_reported_once() {
    let (mut engine, _, mut id) = editing();
    let mut now = NOW;
    for seconds in [1, 2, 4, 8, 16, 30, 30] {
        answer(&mut engine, id, vec![failed("f", ProblemKind::NoSpace)], now);
        let told = reports(&mut engine);
        let times = told.iter().filter(|report| matches!(report, Report::Failed { retried: true, .. })).count();
        assert_eq!(times, usize::from(seconds == 1), "{told:?}");
        assert_eq!(engine.timeout(), Some(now + Duration::from_secs(seconds)));
        engine.handle_timeout(now + Duration::from_millis(seconds * 1000 - 1));
        assert_eq!(drain(&mut engine), []);
        now += Duration::from_secs(seconds);
        engine.handle_timeout(now);
        (id, _) = sent(&mut engine);
    }
    // Another obstacle is news.
    answer(&mut engine, id, vec![failed("f", ProblemKind::Denied)], now);
    assert!(reports(&mut engine).iter().any(|report| matches!(report, Report::Failed { .. })));
    now += Duration::from_secs(30);
    engine.handle_timeout(now);
    (id, _) = sent(&mut engine);
    answer(&mut engine, id, vec![Outcome::Applied], now);
    let told = reports(&mut engine);
    assert!(
        told.contains(&Report::Solved { side: Side::Beta, path: path("f") }) && told.contains(&Report::InSync),
        "{told:?}"
    );
    assert_eq!(engine.timeout(), None);
}

#[test]
fn what_time_does_not_mend_waits_for_a_change() {
    let (mut engine, mut alpha, id) = editing();
    answer(&mut engine, id, vec![failed("f", ProblemKind::BadName)], NOW);
    assert!(reports(&mut engine).iter().any(|report| matches!(report, Report::Failed { retried: false, .. })));
    assert_eq!(engine.timeout(), None);
    engine.handle_alpha(update(&alpha, &[]));
    assert_eq!(drain(&mut engine), []);
    // Saved again; or gone, and then it is no problem any more.
    engine.handle_alpha(update(&alpha, &["f"]));
    let (id, _) = sent(&mut engine);
    answer(&mut engine, id, vec![failed("f", ProblemKind::BadName)], NOW);
    assert!(!reports(&mut engine).iter().any(|report| matches!(report, Report::Failed { .. })), "said already");
    alpha.insert(&path("f"), file(1), None).unwrap();
    engine.handle_alpha(update(&alpha, &[]));
    assert!(reports(&mut engine).contains(&Report::Solved { side: Side::Beta, path: path("f") }));
    assert!(engine.is_in_sync());
}

#[test]
fn a_failure_after_content_that_had_changed_is_reported() {
    let (mut engine, _, id) = editing();
    engine.handle_unsent(id, &[0].into(), NOW);
    assert!(!engine.is_in_sync(), "something is left to do, of which nobody knows");
    assert_eq!(drain(&mut engine), []);
    engine.handle_timeout(NOW + Duration::from_secs(1));
    let (id, _) = sent(&mut engine);
    answer(&mut engine, id, vec![failed("f", ProblemKind::Io)], NOW);
    assert!(reports(&mut engine).iter().any(|report| matches!(report, Report::Failed { .. })));
}

#[test]
fn what_could_not_be_sent_leaves_the_rest_of_its_batch() {
    let mut alpha = Tree::new();
    let mut engine = in_sync(Mode::OneWaySafe, &alpha);
    for (name, content) in [("a", 1), ("b", 2), ("c", 3)] {
        alpha.insert(&path(name), file(content), None).unwrap();
    }
    engine.handle_alpha(update(&alpha, &["a", "b", "c"]));
    let (id, _) = sent(&mut engine);
    engine.handle_unsent(id, &[1].into(), NOW);
    answer(&mut engine, id, vec![Outcome::Applied; 2], NOW);
    drain(&mut engine);
    assert_eq!(*engine.synced(), tree(&[("a", file(1)), ("c", file(3))]));
    // What comes next does not use the number again.
    alpha.insert(&path("b"), file(4), None).unwrap();
    engine.handle_alpha(update(&alpha, &["b"]));
    let (next, operations) = sent(&mut engine);
    assert!(next > id && operations.len() == 1);
    assert_eq!(
        engine.handle_outcomes(Outcomes { batch: id, outcomes: Bounded::new(vec![]).unwrap(), apply_micros: 0 }, NOW),
        Err(crate::engine::PeerFault::Unasked("outcomes"))
    );
}

#[test]
fn a_missing_base_is_sent_whole_at_once_and_then_waits() {
    let (mut engine, _, id) = editing();
    answer(&mut engine, id, vec![Outcome::BaseMissing], NOW);
    let (id, operations) = sent(&mut engine);
    assert!(matches!(&operations[..], [Planned::Put { source: Source::SenderWhole, .. }]));
    answer(&mut engine, id, vec![Outcome::BaseMissing], NOW);
    assert!(reports(&mut engine).iter().any(|report| matches!(report, Report::Failed { retried: true, .. })));
    assert_eq!(engine.timeout(), Some(NOW + Duration::from_secs(1)));
}

#[test]
fn a_move_that_fails_becomes_content() {
    let before = tree(&[("old/a", file(1)), ("old/b", file(2))]);
    let after = tree(&[("new/a", file(1)), ("new/b", file(2))]);
    for outcome in [Outcome::Mismatch, Outcome::BaseMissing] {
        let mut engine = in_sync(Mode::OneWaySafe, &before);
        engine.handle_alpha(update(&after, &[]));
        let (id, operations) = sent(&mut engine);
        assert!(matches!(&operations[..], [Planned::Move { .. }]));
        answer(&mut engine, id, vec![outcome], NOW);
        let (id, operations) = sent(&mut engine);
        assert_eq!(operations.len(), 4, "{operations:?}");
        answer(&mut engine, id, vec![Outcome::Applied; 4], NOW);
        assert!(engine.is_in_sync());
        assert_eq!(*engine.synced(), after);
    }
}

#[test]
fn a_mismatch_that_nothing_explains_is_tried_four_times() {
    let (mut engine, _, mut id) = editing();
    for _ in 0..3 {
        answer(&mut engine, id, vec![Outcome::Mismatch], NOW);
        (id, _) = sent(&mut engine);
    }
    answer(&mut engine, id, vec![Outcome::Mismatch], NOW);
    assert!(reports(&mut engine).iter().any(|report| matches!(report, Report::Failed { retried: true, .. })));
    assert_eq!(engine.timeout(), Some(NOW + Duration::from_secs(1)));
}

#[test]
fn a_directory_that_can_not_be_made_is_one_problem_not_one_a_file() {
    let mut engine = in_sync(Mode::OneWaySafe, &Tree::new());
    let files: Vec<String> = (0..50).map(|n| format!("d/{n}")).collect();
    let items: Vec<(&str, Node)> = files.iter().enumerate().map(|(n, at)| (&at[..], file(n as u64))).collect();
    engine.handle_alpha(update(&tree(&items), &[]));
    let mut now = NOW;
    let mut told = 0;
    for _ in 0..6 {
        let (id, operations) = sent(&mut engine);
        assert_eq!(operations.len(), 51);
        let mut outcomes = vec![Outcome::Mismatch; 51];
        outcomes[0] = failed("d", ProblemKind::ReadOnly);
        answer(&mut engine, id, outcomes, now);
        told += reports(&mut engine).iter().filter(|report| matches!(report, Report::Failed { .. })).count();
        now = engine.timeout().unwrap();
        engine.handle_timeout(now);
    }
    assert_eq!(told, 1);
}

/// Answers as a beta does that keeps something in `build`, and says so in changes first. Every report until nothing is tried
/// any more.
fn keep(engine: &mut Engine) -> Vec<Report> {
    let mut told = Vec::new();
    for round in 0.. {
        let actions = drain(engine);
        let sent = actions.iter().find_map(|action| match action {
            Action::Send { id, operations, .. } => Some((*id, operations.clone())),
            _ => None,
        });
        told.extend(actions.into_iter().filter_map(|action| match action {
            Action::Report(report) => Some(report),
            _ => None,
        }));
        let Some((id, operations)) = sent else { break };
        assert!(round < 2, "it is tried for ever");
        if round == 0 {
            engine.handle_changes(changes(vec![("build/out", None)]));
        }
        let outcome = |operation: &Planned| match operation {
            Planned::Remove { .. } => Outcome::Kept,
            _ => Outcome::Mismatch,
        };
        // What is sent on hearing of the change comes after the answer.
        let heard = drain(engine);
        answer(engine, id, operations.iter().map(outcome).collect(), NOW);
        let after = drain(engine);
        engine.actions.extend(heard.into_iter().chain(after));
    }
    told
}

#[test]
fn what_was_kept_in_a_directory_is_left_alone_or_a_conflict() {
    for mode in [Mode::OneWaySafe, Mode::OneWayReplica] {
        // Alpha puts a file where a directory was, in which beta keeps what takes no part.
        let mut engine = in_sync(mode, &tree(&[("build/out", file(1))]));
        let after = tree(&[("build", file(2))]);
        engine.handle_alpha(update(&after, &["build"]));
        let told = keep(&mut engine);
        assert!(told.iter().any(|report| matches!(report, Report::Conflict { path: at, .. } if *at == path("build"))));
        assert_eq!(*engine.synced(), Tree::new());
        // Somebody takes it away.
        engine.handle_changes(changes(vec![("build", None)]));
        let (id, _) = sent(&mut engine);
        answer(&mut engine, id, vec![Outcome::Applied], NOW);
        assert!(reports(&mut engine).contains(&Report::InSync));
        assert_eq!(engine.conflicts().count(), 0);
        assert_eq!(*engine.synced(), after);
        // Alpha deletes it.
        let rest = tree(&[("a", file(1))]);
        let mut engine = in_sync(mode, &tree(&[("a", file(1)), ("build/out", file(1))]));
        engine.handle_alpha(update(&rest, &["build"]));
        assert!(keep(&mut engine).contains(&Report::InSync));
        assert_eq!(engine.conflicts().count(), 0);
        assert_eq!(*engine.synced(), rest);
    }
}

#[test]
fn a_lost_answer_makes_no_conflict() {
    // Beta has the edit, or not; alpha has gone on meanwhile, or not.
    for (beta, alpha) in [(2, 2), (2, 3), (1, 2), (1, 3), (2, 1)] {
        let (mut engine, mut tree_now, _) = editing();
        engine.handle_disconnected();
        assert_eq!(engine.synced().get(&path("f")), Some(&file(1)), "what was only sent is not agreed on");
        tree_now.insert(&path("f"), file(alpha), None).unwrap();
        engine.handle_alpha(update(&tree_now, &["f"]));
        let there = tree(&[("f", file(beta))]);
        let synced = engine.synced().clone();
        engine.handle_opened(&opened(&there), synced);
        let mut actions = drain(&mut engine);
        if let Some(Action::Request(_)) = actions.first() {
            let listed = sync_proto::message::Listed {
                name: path("f"),
                entry: file(beta).entry(),
                tree: sync_proto::TreeHash([0; 32]),
            };
            let entries = Bounded::new(vec![listed]).unwrap();
            let listing = sync_proto::message::Listing { path: SyncPath::root(), entries, last: true };
            engine.handle_listing(listing).unwrap();
            actions = drain(&mut engine);
        }
        assert_eq!(engine.conflicts().count(), 0, "beta has {beta}, alpha {alpha}");
        if beta == alpha {
            assert!(engine.is_in_sync());
        } else {
            let (id, _, operations) = batch(&actions);
            assert!(matches!(operations, [Planned::Put { old: Some(old), .. }] if *old == file(beta).entry()));
            answer(&mut engine, id, vec![Outcome::Applied], NOW);
        }
        assert_eq!(*engine.synced(), tree_now);
    }
}

#[test]
fn what_was_to_be_sent_on_a_link_that_is_gone_is_not_sent_on_the_next() {
    let before = tree(&[("f", file(1))]);
    let mut engine = in_sync(Mode::OneWaySafe, &before);
    engine.handle_alpha(update(&tree(&[("f", file(2))]), &["f"]));
    engine.handle_disconnected();
    assert_eq!(drain(&mut engine), []);
}

#[test]
fn a_stream_that_both_sides_give_up_ends_no_session() {
    let large = |content| sized(content, INLINE_FILE_BYTES_MAX + 1);
    let mut engine = in_sync(Mode::OneWaySafe, &tree(&[("f", large(1))]));
    engine.handle_alpha(update(&tree(&[("f", large(2))]), &["f"]));
    let actions = drain(&mut engine);
    let [Action::Stream { id, .. }] = actions[..] else { panic!("{actions:?}") };
    // The agent has no room and stops the stream; here that is a stream that failed, and its answer follows.
    engine.handle_unsent(id, &[0].into(), NOW);
    answer(&mut engine, id, vec![failed("f", ProblemKind::NoSpace)], NOW);
    assert!(reports(&mut engine).iter().any(|report| matches!(report, Report::Failed { .. })));
    assert!(engine.timeout().is_some());
}

#[test]
fn a_file_that_changes_while_it_is_streamed_is_streamed_again() {
    let large = |content| sized(content, INLINE_FILE_BYTES_MAX + 1);
    let mut engine = in_sync(Mode::OneWaySafe, &tree(&[("f", large(1))]));
    engine.handle_alpha(update(&tree(&[("f", large(2))]), &["f"]));
    let actions = drain(&mut engine);
    let [Action::Stream { id, .. }] = actions[..] else { panic!("{actions:?}") };
    engine.handle_alpha(update(&tree(&[("f", large(3))]), &["f"]));
    assert_eq!(drain(&mut engine), [], "one at a time");
    // The sender notices: at once again, because what alpha has now is known.
    engine.handle_unsent(id, &[0].into(), NOW);
    let actions = drain(&mut engine);
    let [Action::Stream { id, stream }] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!(stream.entry, large(3).entry());
    answer(&mut engine, *id, vec![Outcome::Applied], NOW);
    assert!(engine.is_in_sync());
}

/// What came from beta was agreed on when it was put in place, whatever a hand at alpha has made of it before it is seen.
#[test]
fn what_is_changed_as_soon_as_it_has_come_is_no_conflict() {
    let mut engine = in_sync(Mode::TwoWaySafe, &tree(&[("f", file(1)), ("z", file(2))]));
    engine.handle_changes(changes(vec![("f", Some(Entry::Directory)), ("f/inside", Some(file(3).entry()))]));
    let Some(Action::Take { id, operations, .. }) = drain(&mut engine).pop() else { panic!("nothing is taken") };
    assert_eq!(operations.len(), 3, "{operations:?}");
    let after = tree(&[("f", file(4)), ("z", file(2))]);
    engine.handle_taken(id, vec![Outcome::Applied; operations.len()], seen(&after), NOW);
    let actions = drain(&mut engine);
    assert_eq!(engine.conflicts().count(), 0, "{actions:?}");
    let (id, _, operations) = batch(&actions);
    let puts = |operation: &Planned| matches!(operation, Planned::Put { path: at, .. } if *at == path("f"));
    assert!(operations.iter().any(puts), "{operations:?}");
    let count = operations.len();
    answer(&mut engine, id, vec![Outcome::Applied; count], NOW);
    assert!(engine.is_in_sync());
    assert_eq!(*engine.synced(), after);
}

/// What is beta's own is moved aside once, though a part of it is seen there before beta has answered: what was sent twice would
/// count as sent there, and be removed as what alpha does not have.
#[test]
pub(super) fn what_is_being_moved_aside_is_not_moved_again() {
    let mut engine = in_sync(Mode::TwoWaySafe, &tree(&[("z", file(9))]));
    engine.handle_alpha(update(&tree(&[("a", file(1)), ("z", file(9))]), &["a"]));
    let (id, _) = sent(&mut engine);
    let theirs = [("a", Some(Entry::Directory)), ("a/x", Some(file(2).entry())), ("a/y", Some(file(3).entry()))];
    engine.handle_changes(changes(theirs.to_vec()));
    answer(&mut engine, id, vec![Outcome::Mismatch], NOW);
    assert_eq!(engine.conflicts().count(), 1);
    drain(&mut engine);
    engine.handle_resolve(&path("a"), crate::engine::Keep::Both).unwrap();
    let sends = |engine: &mut Engine| -> Vec<(BatchId, Vec<Planned>)> {
        let sent = drain(engine).into_iter().filter_map(|action| match action {
            Action::Send { id, operations, .. } => Some((id, operations)),
            _ => None,
        });
        sent.collect()
    };
    let first = sends(&mut engine);
    let Some((id, [Planned::Move { to, .. }])) = first.first().map(|(id, sent)| (*id, &sent[..])) else {
        panic!("{first:?}")
    };
    let aside = to.to_string();
    engine.handle_changes(changes(vec![
        (aside.as_str(), Some(Entry::Directory)),
        (format!("{aside}/x").as_str(), Some(file(2).entry())),
    ]));
    let mut later = sends(&mut engine);
    answer(&mut engine, id, vec![Outcome::Applied], NOW);
    later.extend(sends(&mut engine));
    let touches = |operation: &Planned| operation.touches().any(|at| at.starts_with(&path("a.beta")));
    assert!(!later.iter().flat_map(|(_, sent)| sent).any(touches), "{later:?}");
}

/// A directory was to go with what is in it, and stays for what takes no part; by then the other side has it all again.
#[test]
fn what_went_with_a_kept_directory_is_not_taken_for_deleted() {
    let both = tree(&[("a/b", file(1)), ("z", file(2))]);
    let mut engine = in_sync(Mode::TwoWaySafe, &both);
    let mut batches = Vec::new();
    for alpha in [&tree(&[("z", file(2))]), &both] {
        engine.handle_alpha(update(alpha, &[]));
        batches.push(sent(&mut engine));
    }
    engine.handle_changes(changes(vec![("a/b", None)]));
    assert_eq!(drain(&mut engine), [], "before beta has answered");
    for ((id, operations), first) in batches.into_iter().zip([Outcome::Kept, Outcome::Mismatch]) {
        let rest = std::iter::repeat_n(Outcome::BaseMissing, operations.len() - 1);
        answer(&mut engine, id, std::iter::once(first).chain(rest).collect(), NOW);
    }
    let actions = drain(&mut engine);
    let asked = actions.iter().any(|action| matches!(action, Action::Describe { .. } | Action::Take { .. }));
    assert!(!asked, "{actions:?}");
    let (_, _, operations) = batch(&actions);
    assert!(matches!(operations, [Planned::Put { path: at, .. }] if *at == path("a/b")), "{operations:?}");

    // The other way.
    let mut engine = in_sync(Mode::TwoWaySafe, &both);
    engine.handle_changes(changes(vec![("a", None)]));
    let Some(Action::Describe { id, .. }) = drain(&mut engine).pop() else { panic!("nothing is asked") };
    engine.handle_described(id, vec![false], NOW).unwrap();
    let Some(Action::Take { id, .. }) = drain(&mut engine).pop() else { panic!("nothing is taken") };
    engine.handle_changes(changes(vec![("a", Some(Entry::Directory)), ("a/b", Some(file(1).entry()))]));
    assert_eq!(drain(&mut engine), [], "before alpha has answered");
    let kept = tree(&[("a", directory()), ("z", file(2))]);
    engine.handle_taken(id, vec![Outcome::Kept], seen(&kept), NOW);
    let actions = drain(&mut engine);
    let is_put = |action: &Action| matches!(action, Action::Take { operations, .. } if matches!(&operations[..], [Planned::Put { path: at, .. }] if *at == path("a/b")));
    assert!(actions.iter().any(is_put), "{actions:?}");
    assert!(!actions.iter().any(|action| matches!(action, Action::Send { .. })), "{actions:?}");
}

/// What beta says while it is at a batch: one path as it is by then, before it has answered. It is nobody's change.
#[test]
fn what_is_seen_in_the_middle_of_a_batch_does_not_come_back() {
    let check = |before: &[(&str, Node)], after: &[&[(&str, Node)]], seen: (&str, Option<Node>)| {
        let mut engine = in_sync(Mode::TwoWaySafe, &tree(before));
        let mut sent = Vec::new();
        for alpha in after {
            engine.handle_alpha(update(&tree(alpha), &[]));
            sent.push(self::sent(&mut engine));
        }
        engine.handle_changes(changes(vec![(seen.0, seen.1.map(|node| node.entry()))]));
        assert_eq!(drain(&mut engine), [], "before beta has answered");
        for (id, operations) in sent {
            answer(&mut engine, id, vec![Outcome::Applied; operations.len()], Duration::ZERO);
            let others = drain(&mut engine).into_iter().find(|action| {
                !matches!(action, Action::Record(_) | Action::Report(Report::Applied { .. } | Report::InSync))
            });
            assert_eq!(others, None, "after an answer");
        }
        assert!(engine.is_in_sync());
        assert_eq!(Some(engine.synced()), after.last().map(|last| tree(last)).as_ref());
    };
    let [a, z] = ["a", "z"].map(|at| (at, file(1)));
    let (b, other, last) = (("b", file(2)), ("b", file(3)), ("last", file(4)));
    // The end of a move, and not yet where it began.
    let moved = ("z", Some(file(1)));
    check(from_ref(&a), &[from_ref(&z), from_ref(&a), &[a.clone(), last.clone()]], moved);
    let edited = ("b", Some(file(3)));
    check(from_ref(&b), &[from_ref(&other), from_ref(&b), &[b.clone(), last.clone()]], edited);
    check(&[a.clone(), b.clone()], &[from_ref(&a), &[a.clone(), b.clone()], &[a.clone(), b, last]], ("b", None));
}

//! What one event leads to, action by action.

use super::*;
use crate::engine::plan::{INLINE_FILE_BYTES_MAX, Source};

#[test]
fn a_save_is_sent_at_once_with_what_it_replaces() {
    let before = tree(&[("d/a", file(1)), ("d/b", file(2))]);
    let mut engine = in_sync(Mode::OneWaySafe, &before);
    let mut after = before.clone();
    after.insert(&path("d/a"), file(3), None).unwrap();
    engine.handle_alpha(update(&after, &["d/a"]));
    let actions = drain(&mut engine);
    let (id, urgent, operations) = batch(&actions);
    assert!(urgent);
    let expected =
        Planned::Put { path: path("d/a"), old: Some(file(1).entry()), entry: file(3).entry(), source: Source::Sender };
    assert_eq!(operations, [expected]);
    assert!(!engine.is_in_sync());
    assert_eq!(*engine.synced(), before, "nothing is agreed on before beta has said so");
    answer(&mut engine, id, vec![Outcome::Applied], Duration::ZERO);
    assert_eq!(*engine.synced(), after);
    assert!(engine.is_in_sync());
}

#[test]
fn a_renamed_directory_is_one_move() {
    let before = tree(&[("old/a", file(1)), ("old/b/c", file(2))]);
    let mut engine = in_sync(Mode::OneWaySafe, &before);
    engine.handle_alpha(update(&tree(&[("new/a", file(1)), ("new/b/c", file(2))]), &["old", "new"]));
    let actions = drain(&mut engine);
    let (_, _, operations) = batch(&actions);
    assert!(
        matches!(operations, [Planned::Move { from, to, .. }] if *from == path("old") && *to == path("new")),
        "{operations:?}"
    );
}

#[test]
fn content_that_is_about_to_go_is_copied_first() {
    let before = tree(&[("old/a", file(1)), ("old/b", file(2))]);
    let mut engine = in_sync(Mode::OneWaySafe, &before);
    engine.handle_alpha(update(&tree(&[("new/a", file(1)), ("new/b", file(9))]), &[]));
    let actions = drain(&mut engine);
    let (_, _, operations) = batch(&actions);
    let copied = operations.iter().position(
        |operation| matches!(operation, Planned::Put { source: Source::Receiver(from), .. } if *from == path("old/a")),
    );
    let removed = operations
        .iter()
        .position(|operation| matches!(operation, Planned::Remove { path, .. } if *path == self::path("old")));
    assert!(copied.unwrap() < removed.unwrap(), "{operations:?}");
}

#[test]
fn a_large_file_waits_for_its_directory_and_then_has_a_stream() {
    let mut engine = in_sync(Mode::OneWaySafe, &tree(&[("x", file(1))]));
    let large = sized(5, INLINE_FILE_BYTES_MAX + 1);
    engine.handle_alpha(update(&tree(&[("x", file(1)), ("d/large", large)]), &[]));
    let actions = drain(&mut engine);
    let (id, _, operations) = batch(&actions);
    assert_eq!(operations, [Planned::MakeDirectory { path: path("d") }]);
    assert!(!actions.iter().any(|action| matches!(action, Action::Stream { .. })));
    answer(&mut engine, id, vec![Outcome::Applied], Duration::ZERO);
    let streamed = |action: &Action| matches!(action, Action::Stream { stream, .. } if stream.path == path("d/large"));
    assert!(drain(&mut engine).iter().any(streamed));
}

#[test]
fn an_emptied_source_halts_and_its_return_resumes() {
    let before = tree(&[("a", file(1)), ("b", file(2))]);
    let mut engine = in_sync(Mode::OneWayReplica, &before);
    engine.handle_alpha(update(&Tree::new(), &["a", "b"]));
    assert!(matches!(&drain(&mut engine)[..], [Action::Report(Report::Halted(_))]));
    assert!(engine.halted().is_some());
    engine.handle_alpha(update(&before, &["a", "b"]));
    assert!(drain(&mut engine).contains(&Action::Report(Report::Resumed)));
    assert!(engine.halted().is_none() && engine.is_in_sync());
}

#[test]
fn a_scan_that_missed_something_deletes_nothing() {
    let before = tree(&[("a", file(1)), ("b", file(2))]);
    let after = tree(&[("a", file(1))]);
    for mode in [Mode::OneWaySafe, Mode::OneWayReplica] {
        let mut engine = in_sync(mode, &before);
        let mut incomplete = update(&after, &["b"]);
        incomplete.view.complete = false;
        engine.handle_alpha(incomplete);
        assert!(!drain(&mut engine).iter().any(|action| matches!(action, Action::Send { .. })));
        engine.handle_alpha(update(&after, &["b"]));
        let actions = drain(&mut engine);
        assert!(matches!(batch(&actions).2, [Planned::Remove { path, .. }] if *path == self::path("b")));
    }
}

#[test]
fn what_changed_at_beta_is_a_conflict_once_and_solved_once() {
    let before = tree(&[("a", file(1))]);
    let mut engine = in_sync(Mode::OneWaySafe, &before);
    engine.handle_changes(changes(vec![("a", Some(file(7).entry()))]));
    let told = |actions: &[Action]| {
        actions.iter().filter(|action| matches!(action, Action::Report(Report::Conflict { .. }))).count()
    };
    assert_eq!(told(&drain(&mut engine)), 1);
    engine.handle_alpha(update(&before, &[]));
    assert_eq!(told(&drain(&mut engine)), 0, "not told again");
    engine.handle_changes(changes(vec![("a", Some(file(1).entry()))]));
    assert!(drain(&mut engine).contains(&Action::Report(Report::ConflictSolved(path("a")))));
}

#[test]
fn a_full_disk_is_tried_again_after_a_time_that_grows() {
    let before = tree(&[("a", file(1))]);
    let mut engine = in_sync(Mode::OneWaySafe, &before);
    let mut now = Duration::ZERO;
    engine.handle_alpha(update(&tree(&[("a", file(2))]), &["a"]));
    let mut waits = Vec::new();
    for _ in 0..8 {
        let actions = drain(&mut engine);
        let (id, ..) = batch(&actions);
        answer(&mut engine, id, vec![Outcome::Failed(problem(&path("a"), ProblemKind::NoSpace))], now);
        let due = engine.timeout().unwrap();
        waits.push((due - now).as_secs());
        engine.handle_timeout(due - Duration::from_millis(1));
        assert!(!drain(&mut engine).iter().any(|action| matches!(action, Action::Send { .. })));
        now = due;
        engine.handle_timeout(now);
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
}

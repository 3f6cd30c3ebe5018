//! What is kept beyond the end of the controller, and what the next one makes of it.

use super::*;
use crate::engine::{Intent, Past, plan::INLINE_FILE_BYTES_MAX};
use sync_proto::{
    TreeHash,
    message::{Listed, Listing},
};

const NOW: Duration = Duration::from_secs(1);

/// Everything that there is to do.
fn all(engine: &mut Engine) -> Vec<Action> {
    std::iter::from_fn(|| engine.poll_action()).collect()
}

/// An engine that begins with a past, connected to a beta that has this tree; and what it does then.
fn restarted(alpha: &Tree, beta: &Tree, past: Past) -> (Engine, Vec<Action>) {
    restarted_in(Mode::OneWaySafe, alpha, beta, past)
}

fn restarted_in(mode: Mode, alpha: &Tree, beta: &Tree, past: Past) -> (Engine, Vec<Action>) {
    let mut engine = Engine::new(mode);
    engine.handle_alpha(update(alpha, &[]));
    engine.handle_opened(&opened(beta), past);
    let mut done = Vec::new();
    loop {
        let actions = all(&mut engine);
        let asked = |action: &Action| if let Action::Request(at) = action { at.clone() } else { Vec::new() };
        let asked: Vec<SyncPath> = actions.iter().flat_map(asked).collect();
        done.extend(actions);
        if asked.is_empty() {
            return (engine, done);
        }
        for at in asked {
            let mut listed = Vec::new();
            for (name, node, _) in beta.dir(&at).unwrap().iter() {
                let tree = node.as_dir().map_or(TreeHash([0; 32]), Dir::hash);
                listed.push(Listed { name: SyncPath::root().join(name).unwrap(), entry: node.entry(), tree });
            }
            let entries = Bounded::new(listed).unwrap();
            engine.handle_listing(Listing { path: at, entries, last: true }).unwrap();
        }
    }
}

/// Answers everything that is sent with `Applied` until nothing more is. What was intended.
fn finish(engine: &mut Engine, mut actions: Vec<Action>) -> Vec<Intent> {
    let mut intended = Vec::new();
    while !actions.is_empty() {
        for action in std::mem::take(&mut actions) {
            match action {
                Action::Intend { intents, .. } => intended.extend(intents),
                Action::Send { id, operations, .. } => {
                    answer(engine, id, vec![Outcome::Applied; operations.len()], NOW);
                }
                Action::Stream { id, .. } => answer(engine, id, vec![Outcome::Applied], NOW),
                _ => {}
            }
        }
        actions = all(engine);
    }
    intended
}

/// The one intention, and what is sent under its number right after it.
fn intention(actions: &[Action]) -> (BatchId, Vec<Intent>) {
    let mut found = Vec::new();
    for pair in actions.windows(2) {
        if let Action::Intend { id, intents } = &pair[0] {
            let sent =
                matches!(&pair[1], Action::Send { id: sent, .. } | Action::Stream { id: sent, .. } if sent == id);
            assert!(sent, "{pair:?}");
            found.push((*id, intents.clone()));
        }
    }
    let sent = actions.iter().filter(|action| matches!(action, Action::Send { .. } | Action::Stream { .. })).count();
    assert_eq!((found.len(), sent), (1, 1), "{actions:?}");
    found.remove(0)
}

#[test]
fn what_is_sent_is_intended_first() {
    let check = |before: &Tree, after: &Tree, expected: &[(&str, Option<Node>)]| {
        let mut engine = in_sync(Mode::OneWaySafe, before);
        engine.handle_alpha(update(after, &[]));
        let (_, intents) = intention(&all(&mut engine));
        let expected: Vec<Intent> = expected.iter().map(|(at, node)| (path(at), node.clone())).collect();
        assert_eq!(intents, expected);
    };
    let large = || sized(9, INLINE_FILE_BYTES_MAX + 1);
    let before = tree(&[("a", file(1)), ("d/x", file(2))]);
    check(&before, &tree(&[("a", file(3)), ("d/x", file(2))]), &[("a", Some(file(3)))]);
    check(&before, &tree(&[("a", large()), ("d/x", file(2))]), &[("a", Some(large()))]);
    check(&before, &tree(&[("d/x", file(2))]), &[("a", None)]);
    let dir = before.get(&path("d")).cloned();
    check(&before, &tree(&[("a", file(1)), ("e/x", file(2))]), &[("d", None), ("e", dir)]);
    check(
        &before,
        &tree(&[("a", file(1)), ("d/x", file(2)), ("n/y", link("a"))]),
        &[("n", Some(directory())), ("n/y", Some(link("a")))],
    );
}

/// After what came of it was recorded, not before: a process that is killed in between has it in mind once too often.
#[test]
fn what_was_answered_is_in_doubt_no_more() {
    let problem = || Outcome::Failed(problem(&path("a"), ProblemKind::NoSpace));
    for outcome in [Outcome::Applied, Outcome::Mismatch, Outcome::BaseMissing, problem()] {
        let applied = outcome == Outcome::Applied;
        let mut engine = in_sync(Mode::OneWaySafe, &tree(&[("a", file(1))]));
        engine.handle_alpha(update(&tree(&[("a", file(2))]), &["a"]));
        let (id, _) = intention(&all(&mut engine));
        answer(&mut engine, id, vec![outcome], NOW);
        let actions = all(&mut engine);
        let answered = actions.iter().position(|action| *action == Action::Answered(id)).unwrap();
        let recorded = actions.iter().position(|action| matches!(action, Action::Record(_)));
        assert_eq!(recorded.is_some_and(|recorded| recorded < answered), applied, "{actions:?}");
    }
    // What was not sent at all.
    let mut engine = in_sync(Mode::OneWaySafe, &tree(&[("a", file(1))]));
    engine.handle_alpha(update(&tree(&[("a", file(2))]), &["a"]));
    let (id, _) = intention(&all(&mut engine));
    engine.handle_unsent(id, &[0].into(), NOW);
    assert_eq!(all(&mut engine)[0], Action::Answered(id));
}

/// Killed after beta had done it, and edited before the next start.
#[test]
fn what_was_sent_before_a_restart_makes_no_conflict() {
    let check = |synced: &Tree, sent: &Tree, alpha: &Tree| {
        let mut engine = in_sync(Mode::OneWaySafe, synced);
        engine.handle_alpha(update(sent, &[]));
        let actions = all(&mut engine);
        let intents = finish(&mut engine, actions);
        assert_eq!(engine.synced(), sent, "beta has it");

        let begin = |sent_before| restarted(alpha, sent, Past { synced: synced.clone(), sent: sent_before });
        let (mut engine, actions) = begin(intents);
        assert_eq!(engine.conflicts().count(), 0, "{sent:?} {alpha:?}");
        finish(&mut engine, actions);
        assert_eq!(engine.synced(), alpha);
        let (untold, _) = begin(Vec::new());
        assert!(untold.conflicts().count() > 0, "without being told it is a conflict: {sent:?} {alpha:?}");
    };
    let large = |content| sized(content, INLINE_FILE_BYTES_MAX + 1);
    let one = tree(&[("a", file(1))]);
    check(&one, &tree(&[("a", file(2))]), &tree(&[("a", file(3))]));
    check(&one, &tree(&[("a", large(2))]), &tree(&[("a", large(3))]));
    check(&one, &tree(&[("a", file(1)), ("n/m/x", file(2))]), &tree(&[("a", file(1)), ("n/m/x", file(3))]));
    // A directory that was made, gives way to a file.
    check(&one, &tree(&[("a", file(1)), ("n/m/x", file(2))]), &tree(&[("a", file(1)), ("n", file(3))]));
    // A file that was moved, and edited; a directory from which something went, and that gives way.
    check(&one, &tree(&[("b", file(1))]), &tree(&[("b", file(2))]));
    let pair = tree(&[("d/x", file(1)), ("d/y", file(2))]);
    check(&pair, &tree(&[("d/x", file(1))]), &tree(&[("d", file(3))]));
}

/// What other hands did stays a conflict, whatever was sent.
#[test]
fn other_hands_are_not_taken_for_ours() {
    let synced = tree(&[("a", file(1))]);
    let past = || Past { synced: synced.clone(), sent: vec![(path("a"), Some(file(2))), (path("a"), None)] };
    let (engine, _) = restarted(&tree(&[("a", file(3))]), &tree(&[("a", file(77))]), past());
    assert_eq!(engine.conflicts().count(), 1);
    // Nor is what was sent to another replica.
    let mut engine = Engine::new(Mode::OneWaySafe);
    engine.handle_opened(&opened(&synced), past());
    let other = Opened { replica: ReplicaId([8; 16]), ..opened(&synced) };
    engine.handle_opened(&other, synced.clone());
    assert!(!engine.doubtful.is_near(&path("a")));
}

#[test]
fn all_is_settled_when_nothing_is_left_over() {
    let settled = |actions: &[Action]| actions.contains(&Action::Settled);
    let synced = tree(&[("a", file(1)), ("b", file(1))]);
    let sent = vec![(path("a"), Some(file(2)))];
    let past = || Past { synced: synced.clone(), sent: sent.clone() };
    // Beta has what alpha has: said once.
    let (mut engine, actions) = restarted(&synced, &synced, past());
    assert!(settled(&actions));
    engine.handle_alpha(update(&synced, &["a"]));
    assert!(!settled(&all(&mut engine)));
    // There was nothing in doubt.
    let (_, actions) = restarted(&synced, &synced, synced.clone().into());
    assert!(!settled(&actions));

    // A path that can't be brought over waits, a conflict or an unreadable file stays: beta may still have what was sent.
    let edited = tree(&[("a", file(3)), ("b", file(1))]);
    let (mut engine, actions) = restarted(&edited, &tree(&[("a", file(2)), ("b", file(1))]), past());
    assert!(!settled(&actions));
    let (id, _) = intention(&actions);
    let full = Outcome::Failed(problem(&path("a"), ProblemKind::NoSpace));
    answer(&mut engine, id, vec![full], NOW);
    let actions = all(&mut engine);
    assert!(actions.contains(&Action::Report(Report::InSync)) && !settled(&actions), "{actions:?}");
    engine.handle_timeout(engine.timeout().unwrap());
    let (id, _) = intention(&all(&mut engine));
    answer(&mut engine, id, vec![Outcome::Applied], NOW);
    assert!(settled(&all(&mut engine)));

    let elsewhere = tree(&[("a", file(1)), ("b", file(77))]);
    let (engine, actions) = restarted(&tree(&[("a", file(1)), ("b", file(3))]), &elsewhere, past());
    assert_eq!(engine.conflicts().count(), 1);
    assert!(!settled(&actions));

    let mut engine = Engine::new(Mode::OneWaySafe);
    let mut blind = update(&synced, &[]);
    blind.view.problems.insert(path("a"), problem(&path("a"), ProblemKind::Denied));
    engine.handle_alpha(blind);
    engine.handle_opened(&opened(&synced), past());
    assert!(engine.is_in_sync());
    assert!(!settled(&all(&mut engine)));
}

/// What a link lost leaves open is settled by the next one.
#[test]
fn a_lost_link_leaves_it_open() {
    let before = tree(&[("a", file(1))]);
    let mut engine = in_sync(Mode::OneWaySafe, &before);
    engine.handle_alpha(update(&tree(&[("a", file(2))]), &["a"]));
    all(&mut engine);
    engine.handle_disconnected();
    let actions = all(&mut engine);
    assert!(!actions.iter().any(|action| matches!(action, Action::Answered(_) | Action::Settled)), "{actions:?}");
    engine.handle_opened(&opened(&before), before.clone());
    let (id, _) = intention(&all(&mut engine));
    answer(&mut engine, id, vec![Outcome::Applied], NOW);
    assert!(all(&mut engine).contains(&Action::Settled));
}

/// Alpha's hand has put back what was agreed on before, while nobody could say whether beta had got what was there in between. It
/// had, and a hand there has changed it.
#[test]
fn what_alpha_put_back_in_doubt_is_a_change() {
    let [z, old] = [("z", file(9)), ("f", file(1))];
    let alpha = tree(&[old, z.clone()]);
    let beta = tree(&[("f", file(3)), z]);
    for (sent, conflicts) in [(vec![(path("f"), Some(file(2)))], 1), (Vec::new(), 0)] {
        let past = Past { synced: alpha.clone(), sent };
        let (mut engine, actions) = restarted_in(Mode::TwoWaySafe, &alpha, &beta, past);
        let taken = actions.iter().any(|action| matches!(action, Action::Take { .. }));
        assert_eq!((engine.conflicts().count(), taken), (conflicts, conflicts == 0), "{actions:?}");
        if conflicts == 0 {
            continue;
        }
        // What both agree on anew is in doubt no more.
        engine.handle_alpha(update(&beta, &["f"]));
        assert!(engine.conflicts().count() == 0 && *engine.synced() == beta);
        all(&mut engine);
        engine.handle_changes(changes(vec![("f", Some(file(4).entry()))]));
        assert!(all(&mut engine).iter().any(|action| matches!(action, Action::Take { .. })), "agreed on since");
    }
}

/// The same, and a hand at beta has deleted what had come: a change beats a deletion, once beta has said that it is one.
#[test]
fn what_alpha_put_back_in_doubt_is_not_deleted() {
    let z = ("z", file(9));
    let alpha = tree(&[("d/e", file(3)), ("d/f", file(1)), z.clone()]);
    let whole = tree(&[("d/f", file(2))]).get(&path("d")).cloned();
    let nothing = tree(std::slice::from_ref(&z));
    let bare = tree(&[("d", directory()), z]);
    let check = |sent: (SyncPath, Option<Node>), beta: &Tree, there: bool, expected: &[&str]| {
        let past = Past { synced: alpha.clone(), sent: vec![sent] };
        let (mut engine, actions) = restarted_in(Mode::TwoWaySafe, &alpha, beta, past);
        let mut puts = Vec::new();
        let mut next = actions;
        while let Some(action) = next.pop() {
            match action {
                Action::Describe { id, paths } => {
                    engine.handle_described(id, vec![there; paths.len()], NOW).unwrap();
                    next.extend(all(&mut engine));
                }
                Action::Send { operations, .. } => {
                    puts.extend(operations.iter().map(|operation| operation.path().to_string()));
                }
                Action::Take { operations, .. } => {
                    let others = operations.iter().find(|operation| operation.path().starts_with(&path("d/f")));
                    assert_eq!(others, None, "{beta:?}");
                }
                _ => {}
            }
        }
        assert_eq!(puts, expected, "{beta:?}");
    };
    for beta in [&nothing, &bare] {
        let made: &[&str] = if beta.get(&path("d")).is_none() { &["d"] } else { &[] };
        check((path("d/f"), Some(file(2))), beta, false, &[made, &["d/f"]].concat());
        check((path("d/f"), Some(file(2))), beta, true, &[]);
        check((path("d"), whole.clone()), beta, false, &[made, &["d/e", "d/f"]].concat());
        // Nothing of it is in doubt: it goes.
        check((path("z"), Some(file(2))), beta, true, &[]);
    }
}

/// What was sent comes about at beta long after all was settled, and a hand there changes it: alpha's version, which is what was
/// agreed on, does not give way to that.
#[test]
pub(super) fn what_comes_about_late_is_no_agreement() {
    let z = ("z", file(9));
    let alpha = tree(&[("f", file(1)), z.clone()]);
    for (sent, shown) in [(Some(file(2)), Some(file(2))), (None, None)] {
        let past = Past { synced: alpha.clone(), sent: vec![(path("f"), sent)] };
        let (mut engine, actions) = restarted_in(Mode::TwoWaySafe, &alpha, &alpha, past);
        assert!(actions.contains(&Action::Settled), "{actions:?}");
        engine.handle_changes(changes(vec![("f", shown.map(|node| node.entry()))]));
        let actions = all(&mut engine);
        let (id, _, operations) = batch(&actions);
        assert!(matches!(operations, [Planned::Put { path: at, .. }] if *at == path("f")), "{operations:?}");
        engine.handle_changes(changes(vec![("f", Some(file(3).entry()))]));
        answer(&mut engine, id, vec![Outcome::Mismatch], NOW);
        let taken = all(&mut engine).into_iter().find(|action| matches!(action, Action::Take { .. }));
        assert_eq!((taken, engine.conflicts().count()), (None, 1));
    }
}

//! Too much of what is allowed, answers that nobody asked for, and outcomes that are none.

use std::fs;
use std::path::PathBuf;

use sync_core::tree::Tree;
use sync_proto::Entry;
use sync_proto::message::{
    BatchId, Bounded, Change, Described, Outcome, Problem, ProblemKind, Sentence, ToAgent, ToController,
};

use super::super::liar::{changes, outcomes};
use super::super::peer::{file, file_of, path};
use super::super::scale;
use super::{Act, Heard, Snapshot, check, snapshot, stands};

/// Content of which nobody knows what it is: another one for each number.
fn unknown(number: usize) -> Entry {
    file(&number.to_le_bytes())
}

#[test]
fn fault_45_two_way_floods() {
    let told = check("one file that changes without end", &[], async |act| {
        for round in 0..5000 * scale() {
            act.say(&changes(vec![stands("lie", unknown(round))])).await;
        }
        act.goes_on().await;
    });
    told.unchanged_but(&[]);
    let told = check("paths that come and go", &[], async |act| {
        for round in 0..10 * scale() {
            let change = |at: usize| {
                let entry = (round % 2 == 0).then(|| unknown(at));
                stands(&format!("{}{at}", "c".repeat(200)), entry)
            };
            act.say(&changes((0..4096).map(change).collect())).await;
        }
        act.goes_on().await;
    });
    told.unchanged_but(&[]);
    let told = check("paths without end", &[], async |act| {
        for page in 0..25 * scale() {
            let change = |at: usize| stands(&format!("lie{page}-{at}"), unknown(at));
            act.say(&changes((0..4000).map(change).collect())).await;
        }
        act.goes_on().await;
    });
    told.unchanged_but(&[]);
    // Alpha has changed everything too, and each time beta has something else.
    check("conflicts without end", &[], async |act| {
        let at = |number: usize| format!("d{}/sub/f{}.rs", number % 3, number / 3 % 10);
        for number in 0..30 {
            fs::write(act.lab.source.join(at(number)), format!("honest change {number}")).unwrap();
        }
        for round in 0..300 * scale() {
            act.say(&changes((0..30).map(|number| stands(&at(number), unknown(round * 30 + number))).collect())).await;
        }
        // Nothing that was told is given, so nothing replaces what alpha has.
        act.goes_on().await;
        for number in 0..30 {
            let found = fs::read_to_string(act.lab.source.join(at(number))).unwrap();
            assert_eq!(found, format!("honest change {number}"), "{}", at(number));
        }
    });
}

#[test]
fn fault_45_two_way_a_tree_as_deep_as_can_be() {
    let deep: Vec<String> = (1..=256).map(|depth| vec!["deep"; depth].join("/")).collect();
    let told = check("a tree as deep as can be", &[], async |act| {
        act.say(&changes(deep.iter().map(|at| stands(at, Entry::Directory)).collect())).await;
        act.until("it is there", |act| act.lab.source.join(&deep[255]).is_dir()).await;
        act.goes_on().await;
        act.say(&changes(vec![stands("deep", None)])).await;
        act.until("it is gone", |act| !act.lab.source.join("deep").exists()).await;
        act.goes_on().await;
    });
    told.unchanged_but(&[]);
}

/// Tells that something is gone or new at beta, and answers the question that comes of it by `answer`.
fn check_answer(fault: &str, told: Change, answer: impl Fn(&ToAgent) -> Option<ToController>) {
    let told = check(fault, &[], async |act| {
        act.say(&changes(vec![told.clone()])).await;
        let lie = |heard: &Heard| match heard {
            Heard::Message(message) => answer(message).map(|answer| vec![answer]),
            _ => None,
        };
        act.lying(fault, lie, |act| super::is_named(act.watch, fault)).await;
        act.is_dropped(fault).await;
    });
    told.unchanged_but(&[]);
}

fn described(id: BatchId, count: usize) -> ToController {
    ToController::Described(Described { id, found: Bounded::new(vec![None; count]).unwrap() })
}

#[test]
fn fault_45_two_way_answers_to_nothing() {
    let told = check("never asked", &[], async |act| {
        act.say(&described(BatchId(1 << 40), 1)).await;
        act.is_dropped("a description that was not asked for").await;
    });
    told.unchanged_but(&[]);
    let gone = || stands("d0/sub/f1.rs", None);
    let asked = |message: &ToAgent| match message {
        ToAgent::Describe(describe) => Some((describe.id, describe.paths.len())),
        _ => None,
    };
    check_answer("the number of descriptions", gone(), |message| {
        asked(message).map(|(id, count)| described(id, count + 1))
    });
    check_answer("the number of descriptions", gone(), |message| asked(message).map(|(id, _)| described(id, 0)));
    check_answer("outcomes that was not asked for", gone(), |message| {
        asked(message).map(|(id, count)| outcomes(id, vec![Outcome::Applied; count]))
    });
    // What is under way to alpha is not the agent's to answer.
    let new = || stands("lie", file_of(b"never", 100));
    let fetch = |message: &ToAgent| match message {
        ToAgent::Fetch(fetch) => Some(fetch.id),
        _ => None,
    };
    check_answer("outcomes that was not asked for", new(), |message| {
        fetch(message).map(|id| outcomes(id, vec![Outcome::Applied]))
    });
    check_answer("a description that was not asked for", new(), |message| fetch(message).map(|id| described(id, 1)));
}

impl Act<'_> {
    /// Answers every batch with this outcome for each operation, while a person saves, adds and deletes; and looks that alpha
    /// has what the person left, and nothing else.
    async fn answers(&mut self, outcome: &Outcome, round: usize) {
        let source = &self.lab.source;
        for (at, content) in [("d1/sub/f1.rs", "edit"), ("d1/added", "add"), ("d1/sub/f2.rs", "edit")] {
            fs::write(source.join(at), format!("{content} {round}")).unwrap();
        }
        let _ = fs::remove_file(source.join(format!("d2/sub/f{round}.rs")));
        let _ = fs::rename(source.join(format!("d0/sub/f{round}.rs")), source.join(format!("d0/moved{round}")));
        let left = snapshot(source);
        let lie = |heard: &Heard| match heard {
            Heard::Batch(batch) => Some(vec![outcomes(batch.id, vec![outcome.clone(); batch.operations.len()])]),
            _ => None,
        };
        for _ in 0..2 {
            self.goes_on_but(lie).await;
        }
        let is_persons = |at: &PathBuf| !at.to_str().is_some_and(|at| at.starts_with("honest"));
        let without = |mut found: Snapshot| {
            found.retain(|at, _| is_persons(at));
            found
        };
        let (left, now) = (without(left), without(snapshot(&self.lab.source)));
        assert_eq!(now.keys().collect::<Vec<_>>(), left.keys().collect::<Vec<_>>(), "{outcome:?}");
        assert!(now == left, "{outcome:?}: content has changed at alpha");
    }
}

#[test]
fn fault_45_two_way_outcomes_that_are_none() {
    let failed = |kind| Outcome::Failed(Problem { path: path("d0"), kind, detail: Sentence::new("\x1b[2Jgone") });
    let lies = [
        Outcome::Applied,
        Outcome::Displaced(path("d0")),
        Outcome::Displaced(path(".synctl/replica")),
        Outcome::Mismatch,
        Outcome::Kept,
        Outcome::BaseMissing,
        failed(ProblemKind::Refused),
        failed(ProblemKind::Io),
    ];
    for outcome in &lies {
        check(&format!("{outcome:?}"), &[], async |act| act.answers(outcome, 1).await);
    }
    check("one after the other", &[], async |act| {
        for (round, outcome) in lies.iter().enumerate() {
            act.answers(outcome, round).await;
        }
        // It has none of it, and says so.
        let left = snapshot(&act.lab.source);
        act.meets_again().await;
        act.liar.opened(Tree::new().hash()).await;
        act.halts().await;
        assert!(snapshot(&act.lab.source) == left, "something has changed at alpha");
    });
}

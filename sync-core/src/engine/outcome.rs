//! What becomes of what was sent.

use std::{collections::BTreeSet, time::Duration};

use sync_proto::{
    SyncPath,
    message::{BatchId, Outcome, Outcomes, Problem, ProblemKind, Sentence},
};

use super::{
    Action, Engine, PeerFault, Report,
    action::Recorded,
    flight::{Lane, Sent},
    plan::Planned,
};

/// After how many mismatches in a row that nothing explains a path waits like one that failed.
const MISMATCHES_MAX: u32 = 4;

impl Engine {
    /// Beta answered a batch or a stream. Not an answer that this side waits for: an error, and the session is over.
    pub fn handle_outcomes(&mut self, outcomes: Outcomes, now: Duration) -> Result<(), PeerFault> {
        let sent = match self.flight.end(outcomes.batch) {
            Some(sent) => sent,
            // Given up here, but answered before the other side heard of it.
            None => match self.flight.end_withdrawn(outcomes.batch) {
                Some(operation) => Sent { lane: Lane::Stream, operations: vec![operation], content_bytes: 0 },
                None => return Err(PeerFault::Unasked("outcomes")),
            },
        };
        let Sent { lane, operations, .. } = sent;
        if operations.len() != outcomes.outcomes.len() {
            return Err(PeerFault::Malformed("the number of outcomes"));
        }
        let count = operations.len();
        let mut applied = Vec::with_capacity(count);
        let mut record = Vec::new();
        for (operation, outcome) in operations.into_iter().zip(outcomes.outcomes.into_vec()) {
            if let Some(operation) = self.outcome(lane, operation, outcome, &mut record, now) {
                applied.push(operation);
            }
        }
        if !record.is_empty() {
            self.actions.push_back(Action::Record(record));
        }
        self.actions.push_back(Action::Answered(outcomes.batch));
        let all_applied = applied.len() == count;
        self.actions.push_back(Action::Report(Report::Applied { id: outcomes.batch, operations: applied }));
        self.settle(all_applied);
        Ok(())
    }

    /// Operations of a batch could not be sent, because alpha had changed meanwhile: those at these places in it. The
    /// rest went out, in order, and will be answered as a batch of their own. A stream is one operation.
    pub fn handle_unsent(&mut self, id: BatchId, places: &BTreeSet<usize>, now: Duration) {
        let Some(Sent { lane, operations, content_bytes }) = self.flight.end(id) else { return };
        let mut kept = Vec::with_capacity(operations.len());
        for (place, operation) in operations.into_iter().enumerate() {
            if !places.contains(&place) {
                kept.push(operation);
                continue;
            }
            if self.is_wanted(&operation) {
                // Until alpha has been looked at again, what is known of it is known to be old.
                self.held.hold(operation.path(), None, Some(now));
            }
            if lane == Lane::Stream {
                self.doubtful.note(&operation);
                self.flight.withdraw(id, operation);
            }
        }
        if !kept.is_empty() {
            self.flight.resume(id, Sent { lane, operations: kept, content_bytes });
        } else if lane != Lane::Stream {
            // A part of a stream has gone out.
            self.actions.push_back(Action::Answered(id));
        }
        self.settle(false);
    }

    /// Whether alpha, as it is known, still has what the operation was to bring.
    fn is_wanted(&self, operation: &Planned) -> bool {
        let there = self.alpha_tree().and_then(|alpha| alpha.get(operation.path()));
        match operation {
            Planned::Put { entry, .. } => there.is_some_and(|there| there.entry() == *entry),
            Planned::MakeDirectory { .. } => there.is_some_and(|there| there.as_dir().is_some()),
            Planned::Move { node, .. } => there == Some(node),
            Planned::Remove { .. } => there.is_none(),
        }
    }

    fn settle(&mut self, as_foreseen: bool) {
        if !as_foreseen || self.flight.is_empty() {
            self.known.foresee(&self.flight);
        }
        self.advance();
    }

    /// Takes one outcome. The operation comes back where it was applied.
    fn outcome(
        &mut self,
        lane: Lane,
        operation: Planned,
        outcome: Outcome,
        record: &mut Vec<Recorded>,
        now: Duration,
    ) -> Option<Planned> {
        let path = operation.path().clone();
        match outcome {
            Outcome::Applied => {
                self.applied(lane, &operation, record);
                return Some(operation);
            }
            Outcome::Displaced(kept) => {
                self.applied(lane, &operation, record);
                self.actions.push_back(Action::Report(Report::Displaced { path, kept }));
                return Some(operation);
            }
            Outcome::Kept => {
                // What was ours is gone; what is left is beta's own.
                self.known.take_over(&path, None, None, record);
                self.kept.insert(path.clone());
            }
            Outcome::Mismatch => self.mismatch(&operation, now),
            Outcome::BaseMissing => {
                if !self.whole.insert(path.clone()) {
                    self.fail(
                        &path,
                        ProblemKind::Io,
                        "the destination could not verify the content that was sent",
                        now,
                    );
                }
            }
            Outcome::Failed(mut problem) => {
                // Whatever path the peer names, it is this operation that failed.
                problem.path = path.clone();
                let retry = is_passing(problem.kind).then_some(now);
                self.hold(problem, retry);
            }
        }
        if matches!(operation, Planned::Move { .. }) {
            // A second try sends content: the subtree may not be what it was taken for.
            self.whole.insert(path);
        }
        None
    }

    fn mismatch(&mut self, operation: &Planned, now: Duration) {
        if !operation.is_possible(&self.known.beta) {
            // Beta has told what is in the way, or what it was built on has failed itself: the next plan knows.
            return;
        }
        let path = operation.path();
        let count = self.mismatches.entry(path.clone()).or_default();
        *count += 1;
        if *count >= MISMATCHES_MAX {
            let detail = "something that takes no part in it stands there at the destination, or keeps changing";
            self.fail(path, ProblemKind::Io, detail, now);
        }
    }

    fn fail(&mut self, path: &SyncPath, kind: ProblemKind, detail: &str, now: Duration) {
        self.hold(Problem { path: path.clone(), kind, detail: Sentence::new(detail) }, Some(now));
    }

    fn hold(&mut self, problem: Problem, retry: Option<Duration>) {
        if self.held.hold(&problem.path, Some(problem.kind), retry) {
            self.actions.push_back(Action::Report(Report::Failed { problem, retried: retry.is_some() }));
        }
    }

    fn applied(&mut self, lane: Lane, operation: &Planned, record: &mut Vec<Recorded>) {
        let alpha = self.alpha.as_ref().map(|(view, _)| &view.tree);
        self.known.applied(operation, lane == Lane::Stream, alpha, record);
        let path = operation.path();
        self.whole.remove(path);
        self.mismatches.remove(path);
        if self.held.solve(path) {
            self.actions.push_back(Action::Report(Report::Solved(path.clone())));
        }
    }
}

/// Whether an obstacle may go away without anything changing at the path.
fn is_passing(kind: ProblemKind) -> bool {
    match kind {
        ProblemKind::NoSpace
        | ProblemKind::ReadOnly
        | ProblemKind::Exhausted
        | ProblemKind::Denied
        | ProblemKind::Io => true,
        ProblemKind::UnsupportedKind
        | ProblemKind::BadName
        | ProblemKind::NameCollision
        | ProblemKind::BadTarget
        | ProblemKind::TooLarge => false,
    }
}

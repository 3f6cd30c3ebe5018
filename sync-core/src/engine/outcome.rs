//! What becomes of what was sent.

use std::{collections::BTreeSet, time::Duration};

use sync_proto::{
    SyncPath,
    message::{BatchId, Outcome, Outcomes, Problem, ProblemKind, Sentence},
};

use super::{
    Action, Engine, PeerFault, Report, Side,
    action::Recorded,
    flight::{Lane, Sent},
    plan::Planned,
    receiver::Receiver,
    rule::{Rule, holds},
};

/// After how many mismatches in a row that nothing explains a path waits like one that failed.
const MISMATCHES_MAX: u32 = 4;

/// Where an operation was done, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Done {
    pub(super) side: Side,
    pub(super) streamed: bool,
    /// Whether it is of the replica that is connected.
    pub(super) mine: bool,
}

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
            let done = Done { side: Side::Beta, streamed: lane == Lane::Stream, mine: true };
            if let Some(operation) = self.outcome(done, operation, outcome, &mut record, now) {
                applied.push(operation);
            }
        }
        self.record(record);
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
            if self.alpha_tree().is_some_and(|alpha| operation.is_wanted(alpha)) {
                // Until alpha has been looked at again, what is known of it is known to be old.
                self.at_beta.held.hold(operation.path(), None, Some(now));
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

    fn settle(&mut self, as_foreseen: bool) {
        if !as_foreseen || !self.known.foresees_all() || self.flight.is_empty() {
            self.known.foresee(&self.flight);
        }
        self.advance();
    }

    pub(super) fn receiver(&mut self, side: Side) -> &mut Receiver {
        match side {
            Side::Alpha => &mut self.at_alpha,
            Side::Beta => &mut self.at_beta,
        }
    }

    /// Takes one outcome. The operation comes back where it was applied.
    pub(super) fn outcome(
        &mut self,
        done: Done,
        operation: Planned,
        outcome: Outcome,
        record: &mut Vec<Recorded>,
        now: Duration,
    ) -> Option<Planned> {
        let side = done.side;
        let path = operation.path().clone();
        match outcome {
            Outcome::Mismatch if !holds(Rule::AppliedOnly) => {
                self.applied(done, &operation, record);
                return Some(operation);
            }
            Outcome::Applied => {
                self.applied(done, &operation, record);
                return Some(operation);
            }
            Outcome::Displaced(kept) => {
                self.applied(done, &operation, record);
                self.actions.push_back(Action::Report(Report::Displaced { side, path, kept }));
                return Some(operation);
            }
            Outcome::Kept => {
                if !self.mode.is_two_way() {
                    // What was ours is gone; what is left is beta's own.
                    self.known.take_over(&path, None, None, record);
                } else if let Planned::Remove { old, .. } = &operation {
                    let there = match side {
                        Side::Alpha => self.alpha_tree(),
                        Side::Beta => Some(&self.known.beta),
                    };
                    if let Some(there) = there.cloned().filter(|_| done.mine && holds(Rule::GoneByUs)) {
                        self.known.gone_with(&path, old, &there, record);
                    }
                }
                self.receiver(side).kept.insert(path.clone());
            }
            Outcome::Mismatch => self.mismatch(side, &operation, now),
            Outcome::BaseMissing => {
                if !self.receiver(side).whole.insert(path.clone()) {
                    self.fail(side, &path, "the content that was sent could not be verified there", now);
                }
            }
            Outcome::Failed(mut problem) => {
                // Whatever path the peer names, it is this operation that failed.
                problem.path = path.clone();
                let retry = is_passing(problem.kind).then_some(now);
                self.hold(side, problem, retry);
            }
        }
        if let Planned::Move { from, to, .. } = operation {
            if self.known.asides.remove(&to) {
                // The user has to choose again.
                self.settled.forget(&from);
            }
            // A second try sends content: the subtree may not be what it was taken for.
            self.receiver(side).whole.insert(path);
        }
        None
    }

    fn mismatch(&mut self, side: Side, operation: &Planned, now: Duration) {
        let tree = match side {
            Side::Alpha => self.alpha_tree(),
            Side::Beta => Some(&self.known.beta),
        };
        if tree.is_none_or(|tree| !operation.is_possible(tree)) {
            // What is in the way has been told, or what it was built on has failed itself: the next plan knows.
            return;
        }
        let path = operation.path();
        let count = self.receiver(side).mismatches.entry(path.clone()).or_default();
        *count += 1;
        if *count >= MISMATCHES_MAX {
            self.fail(side, path, "something that takes no part in it stands there, or keeps changing", now);
        } else if side == Side::Alpha {
            // It has changed there, and not been looked at yet. Until it has, another try would meet the same.
            self.at_alpha.held.hold(operation.path(), None, Some(now));
        }
    }

    fn fail(&mut self, side: Side, path: &SyncPath, detail: &str, now: Duration) {
        let problem = Problem { path: path.clone(), kind: ProblemKind::Io, detail: Sentence::new(detail) };
        self.hold(side, problem, Some(now));
    }

    fn hold(&mut self, side: Side, problem: Problem, retry: Option<Duration>) {
        // What is refused at a directory is refused for all that is in it: that is said once.
        let held = &mut self.receiver(side).held;
        let kind =
            Some(problem.kind).filter(|kind| *kind != ProblemKind::Refused || !held.has_above(&problem.path, *kind));
        if held.hold(&problem.path, kind, retry) {
            self.actions.push_back(Action::Report(Report::Failed { side, problem, retried: retry.is_some() }));
        }
    }

    fn applied(&mut self, done: Done, operation: &Planned, record: &mut Vec<Recorded>) {
        let Done { side, streamed, mine } = done;
        let alpha = self.alpha.as_ref().map(|(view, _)| &view.tree);
        match side {
            Side::Beta => self.known.applied(operation, streamed, alpha, record),
            Side::Alpha => {
                if let Some(alpha) = alpha.filter(|_| mine) {
                    self.known.taken(operation, alpha, record);
                }
            }
        }
        let path = operation.path();
        let receiver = self.receiver(side);
        receiver.whole.remove(path);
        receiver.mismatches.remove(path);
        if receiver.held.solve(path) {
            self.actions.push_back(Action::Report(Report::Solved { side, path: path.clone() }));
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
        | ProblemKind::TooLarge
        | ProblemKind::Refused => false,
    }
}

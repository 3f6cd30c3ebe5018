//! What is done at alpha, in the two-way modes.
//!
//! The same operations as at beta, made by the same planner, without foresight: what they touch is left alone until alpha has
//! answered. So nothing that is under way to one side meets anything that is under way to the other, and the order in which
//! alpha does them does not matter. What is removed because beta has nothing there, or is moved from there, waits until beta
//! has said so itself.

use std::{collections::BTreeSet, time::Duration};

use sync_proto::{
    SyncPath,
    message::{BatchId, Outcome},
};

use super::{
    Action, Engine, PeerFault, Report, Side,
    flight::{Flight, Lane, Sent},
    outcome::Done,
    plan::{MoveKey, Planned, PlannedStream, moved_from, moved_to, plan},
    reconcile::Step,
    rule::{Rule, holds},
    view::View,
};

/// What has been given to alpha, or waits for its content.
#[derive(Debug, Default)]
pub(super) struct Taking {
    flight: Flight,
    /// What came from a replica that is gone: what is done of it was never agreed on with the one that is there.
    disowned: BTreeSet<BatchId>,
}

impl Taking {
    pub(super) fn is_empty(&self) -> bool {
        self.flight.is_empty()
    }

    pub(super) fn flight(&self) -> &Flight {
        &self.flight
    }

    /// Whether another batch may be given.
    pub(super) fn is_open(&self) -> bool {
        self.flight.bulk_is_open()
    }

    /// Whether anything under way touches `path`, a directory above it, or something beneath.
    pub(super) fn touches(&self, path: &SyncPath) -> bool {
        self.flight.touches(path)
    }

    /// Whether anything under way touches that very path.
    pub(super) fn holds(&self, path: &SyncPath) -> bool {
        self.flight.holds(path)
    }

    /// Whether anything under way touches `path` or something beneath.
    pub(super) fn holds_beneath(&self, path: &SyncPath) -> bool {
        self.flight.holds_beneath(path)
    }

    /// Nobody has been told of it yet, and now nobody will be.
    pub(super) fn withdraw(&mut self, id: BatchId) {
        self.flight.end(id);
        self.disowned.remove(&id);
    }

    /// Another replica is connected.
    pub(super) fn disown(&mut self) {
        self.disowned.extend(self.flight.numbers());
    }
}

impl Engine {
    /// Alpha's replica answered an [`Action::Take`] or [`Action::TakeStream`]: one outcome an operation, and what it sees
    /// with what was done.
    pub fn handle_taken(&mut self, id: BatchId, outcomes: Vec<Outcome>, view: View, now: Duration) {
        self.see_alpha(view, None);
        let Some(sent) = self.taking.flight.end(id) else {
            return self.advance();
        };
        let mine = !self.taking.disowned.remove(&id);
        let done = Done { side: Side::Alpha, streamed: sent.lane == Lane::Stream, mine };
        let mut applied = Vec::with_capacity(sent.operations.len());
        let mut record = Vec::new();
        for (operation, outcome) in sent.operations.into_iter().zip(outcomes) {
            applied.extend(self.outcome(done, operation, outcome, &mut record, now));
        }
        self.record(record);
        self.actions.push_back(Action::Report(Report::Taken { id, operations: applied }));
        self.advance();
    }

    /// Operations of an [`Action::Take`] could not be given to alpha, because beta no longer has that content or could not
    /// send it: those at these places. The rest was given to alpha, in order, and will be answered as a batch of its own. A
    /// stream is one operation.
    pub fn handle_unfetched(&mut self, id: BatchId, places: &BTreeSet<usize>, now: Duration) {
        let Some(Sent { lane, operations, content_bytes }) = self.taking.flight.end(id) else { return };
        let mut kept = Vec::with_capacity(operations.len());
        for (place, operation) in operations.into_iter().enumerate() {
            if !places.contains(&place) {
                kept.push(operation);
            } else if operation.is_wanted(&self.known.ahead.tree) {
                // Until beta has said what became of it, what is known of it is known to be old.
                self.at_alpha.held.hold(operation.path(), None, Some(now));
            }
        }
        if kept.is_empty() {
            self.taking.disowned.remove(&id);
        } else {
            self.taking.flight.resume(id, Sent { lane, operations: kept, content_bytes });
        }
        self.advance();
    }

    /// Beta answered an [`Action::Describe`]: whether something stands there, for each path in order.
    pub fn handle_described(&mut self, id: BatchId, there: Vec<bool>, now: Duration) -> Result<(), PeerFault> {
        self.described.answer(id, &there, now)?;
        self.advance();
        Ok(())
    }

    /// Turns steps into operations at alpha, and questions to beta. Whether any came of them.
    pub(super) fn take(&mut self, mut steps: Vec<Step>, truncated: bool) -> bool {
        // What is under way to beta there is answered first.
        steps.retain(|step| !self.flight.touches(step.path()) || !holds(Rule::Apart));
        let is_unsure = |step: &mut Step| matches!(step, Step::Remove { path, .. } if !self.described.is_gone(path));
        let is_unsure = |step: &mut Step| is_unsure(step) && holds(Rule::AskedFirst);
        let unsure: Vec<Step> = steps.extract_if(.., is_unsure).collect();
        let asked = self.ask(&unsure);
        let movable: BTreeSet<MoveKey> = unsure.iter().filter_map(moved_from).collect();
        if !movable.is_empty() {
            steps.retain(|step| !moved_to(step).is_some_and(|key| movable.contains(&key)));
        }
        let Some((alpha, _)) = self.alpha.as_ref().filter(|_| !steps.is_empty()) else { return asked };
        let receiver = &mut self.at_alpha;
        let whole = &receiver.whole;
        let plan = plan(steps, truncated, &alpha.tree, &mut receiver.copies, &|path| whole.contains(path));
        let lane = if plan.is_light() && self.taking.flight.urgent_is_open() { Lane::Urgent } else { Lane::Bulk };
        let is_open = lane == Lane::Urgent || self.taking.flight.bulk_is_open();
        let taken = is_open && self.give(lane, plan.operations, plan.content_bytes);
        self.take_streams(plan.streams) || taken || asked
    }

    fn give(&mut self, lane: Lane, operations: Vec<Planned>, content_bytes: u64) -> bool {
        if operations.is_empty() {
            return false;
        }
        for operation in &operations {
            match operation {
                Planned::Remove { path, .. } | Planned::Move { from: path, .. } => self.described.use_up(path),
                Planned::MakeDirectory { .. } | Planned::Put { .. } => {}
            }
        }
        self.note_removed(Side::Alpha, &operations);
        let id = self.number();
        self.taking.flight.begin(id, lane, operations.clone(), content_bytes);
        self.actions.push_back(Action::Take { id, urgent: lane == Lane::Urgent, operations });
        true
    }

    fn take_streams(&mut self, streams: Vec<PlannedStream>) -> bool {
        let mut taken = false;
        for stream in streams {
            // The directory must be there before the file is; it is found again when it is.
            let ready = stream
                .path
                .parent()
                .is_some_and(|parent| self.alpha_tree().is_some_and(|alpha| alpha.dir(&parent).is_some()));
            if ready && self.taking.flight.streams_are_open() && !self.taking.touches(&stream.path) {
                let id = self.number();
                self.taking.flight.begin_stream(id, &stream);
                self.actions.push_back(Action::TakeStream { id, stream });
                taken = true;
            }
        }
        taken
    }

    /// Asks beta about what is to be removed.
    fn ask(&mut self, unsure: &[Step]) -> bool {
        let mut asked = false;
        while let Some(paths) = self.described.question(unsure.iter().map(|step| step.path().clone())) {
            let id = self.number();
            self.described.ask(id, paths.clone());
            self.actions.push_back(Action::Describe { id, paths });
            asked = true;
        }
        asked
    }
}

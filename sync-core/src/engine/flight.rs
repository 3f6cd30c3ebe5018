//! What has been sent and not been answered, and what the answers come to.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use sync_proto::{
    SyncPath,
    message::{BatchId, Outcome, Outcomes, Problem, ProblemKind, Sentence},
};

use super::{
    Action, Engine, Hold, MISMATCHES_MAX, PeerFault, RETRY_FIRST, RETRY_MAX, Report, Wait, is_passing,
    plan::{Planned, PlannedStream, Source},
    view::{has_ancestor_in, has_any_beneath},
};
use crate::tree::{Dir, Node, Stamp};

/// How a batch travels. Operations of one lane are done in the order in which they were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    Urgent,
    Bulk,
    Stream,
}

#[derive(Debug)]
struct Sent {
    lane: Lane,
    operations: Vec<Planned>,
    content_bytes: u64,
}

/// Batches and streams without an answer yet.
#[derive(Debug, Default)]
pub(super) struct Flight {
    sent: BTreeMap<BatchId, Sent>,
    next: u64,
    /// How many operations of any lane touch a path.
    touched: BTreeMap<SyncPath, u32>,
    /// How many operations of the bulk lane touch a path.
    bulk_touched: BTreeMap<SyncPath, u32>,
    streamed: BTreeMap<SyncPath, BatchId>,
    urgent: usize,
    bulk: usize,
    bulk_bytes: u64,
}

impl Flight {
    /// Nothing in flight, with numbers that go on from `before`, so that none is used twice.
    pub(super) fn continuing(before: &Self) -> Self {
        Self { next: before.next, ..Self::default() }
    }

    pub(super) fn begin(&mut self, lane: Lane, operations: Vec<Planned>, content_bytes: u64) -> BatchId {
        let id = BatchId(self.next);
        self.next += 1;
        for path in operations.iter().flat_map(Planned::touches) {
            *self.touched.entry(path.clone()).or_default() += 1;
            if lane == Lane::Bulk {
                *self.bulk_touched.entry(path.clone()).or_default() += 1;
            }
        }
        match lane {
            Lane::Urgent => self.urgent += 1,
            Lane::Bulk => {
                self.bulk += 1;
                self.bulk_bytes += content_bytes;
            }
            Lane::Stream => {}
        }
        self.sent.insert(id, Sent { lane, operations, content_bytes });
        id
    }

    pub(super) fn begin_stream(&mut self, stream: &PlannedStream) -> BatchId {
        let put = Planned::Put {
            path: stream.path.clone(),
            old: stream.old.clone(),
            entry: stream.entry.clone(),
            source: Source::Alpha,
        };
        let id = self.begin(Lane::Stream, vec![put], stream.entry.content_len());
        self.streamed.insert(stream.path.clone(), id);
        id
    }

    fn end(&mut self, id: BatchId) -> Option<(Lane, Vec<Planned>)> {
        let sent = self.sent.remove(&id)?;
        for path in sent.operations.iter().flat_map(Planned::touches) {
            release(&mut self.touched, path);
            if sent.lane == Lane::Bulk {
                release(&mut self.bulk_touched, path);
            }
        }
        match sent.lane {
            Lane::Urgent => self.urgent -= 1,
            Lane::Bulk => {
                self.bulk -= 1;
                self.bulk_bytes -= sent.content_bytes;
            }
            Lane::Stream => self.streamed.retain(|_, stream| *stream != id),
        }
        Some((sent.lane, sent.operations))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    pub(super) fn urgent(&self) -> usize {
        self.urgent
    }

    pub(super) fn bulk(&self) -> usize {
        self.bulk
    }

    pub(super) fn bulk_bytes(&self) -> u64 {
        self.bulk_bytes
    }

    pub(super) fn stream_count(&self) -> usize {
        self.streamed.len()
    }

    /// Whether anything in flight touches `path`, a directory above it, or something beneath.
    pub(super) fn touches(&self, path: &SyncPath) -> bool {
        is_near(&self.touched, path)
    }

    /// The same for the bulk lane.
    pub(super) fn bulk_touches(&self, path: &SyncPath) -> bool {
        is_near(&self.bulk_touched, path)
    }

    /// Whether `path` is being streamed.
    pub(super) fn streams(&self, path: &SyncPath) -> bool {
        self.streamed.contains_key(path)
    }

    /// Whether something at `path` or beneath is being streamed.
    pub(super) fn streams_beneath(&self, path: &SyncPath) -> bool {
        has_any_beneath(&self.streamed, path)
    }
}

fn is_near(map: &BTreeMap<SyncPath, u32>, path: &SyncPath) -> bool {
    !map.is_empty() && (has_any_beneath(map, path) || has_ancestor_in(map, path))
}

fn release(map: &mut BTreeMap<SyncPath, u32>, path: &SyncPath) {
    if let Some(count) = map.get_mut(path) {
        *count -= 1;
        if *count == 0 {
            map.remove(path);
        }
    }
}

impl Engine {
    /// Beta answered a batch.
    pub fn handle_outcomes(&mut self, outcomes: Outcomes, now: Duration) -> Result<(), PeerFault> {
        let (lane, operations) = self.flight.end(outcomes.batch).ok_or(PeerFault::Unasked("outcomes"))?;
        if operations.len() != outcomes.outcomes.len() {
            return Err(PeerFault::Malformed("the number of outcomes"));
        }
        let mut applied = Vec::with_capacity(operations.len());
        let mut record = Vec::new();
        for (operation, outcome) in operations.into_iter().zip(outcomes.outcomes.into_vec()) {
            if let Some(operation) = self.outcome(lane, operation, outcome, &mut record, now) {
                applied.push(operation);
            }
        }
        if !record.is_empty() {
            self.actions.push_back(Action::Record(record));
        }
        self.actions.push_back(Action::Report(Report::Applied { id: outcomes.batch, operations: applied }));
        self.settle();
        Ok(())
    }

    /// Operations of a batch could not be sent, because alpha had changed meanwhile: those at these places in it. The
    /// rest went out, in order, and will be answered as a batch of their own.
    pub fn handle_unsent(&mut self, id: BatchId, places: &BTreeSet<usize>, now: Duration) {
        let Some(sent) = self.flight.sent.get(&id) else { return };
        let content_bytes = sent.content_bytes;
        let Some((lane, operations)) = self.flight.end(id) else { return };
        let mut kept = Vec::with_capacity(operations.len());
        for (place, operation) in operations.into_iter().enumerate() {
            if places.contains(&place) {
                // Until alpha has been looked at again, what is known of it is known to be old.
                self.hold(operation.path(), None, Some(now));
                self.fall_back(operation.path());
            } else {
                kept.push(operation);
            }
        }
        if !kept.is_empty() {
            self.flight.resume(id, lane, kept, content_bytes);
        }
        self.settle();
    }

    /// Once nothing is in flight, what will be is what is.
    fn settle(&mut self) {
        if self.flight.is_empty() {
            self.ahead.tree = self.beta.clone();
        }
        self.advance();
    }

    /// Takes one outcome. The operation comes back where it was applied.
    fn outcome(
        &mut self,
        lane: Lane,
        operation: Planned,
        outcome: Outcome,
        record: &mut Vec<(SyncPath, Option<(Node, Option<Stamp>)>)>,
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
                // What was ours is gone; what is left is beta's own, and stays until it changes.
                if self.synced.remove(&path).is_some() {
                    record.push((path.clone(), None));
                }
                self.hold(&path, None, None);
            }
            Outcome::Mismatch => {
                let count = self.mismatches.entry(path.clone()).or_default();
                *count += 1;
                if *count >= MISMATCHES_MAX {
                    let detail = Sentence::new("it keeps changing at the destination while it is written");
                    let problem = Problem { path: path.clone(), kind: ProblemKind::Io, detail };
                    self.hold(&path, Some(problem), Some(now));
                }
            }
            Outcome::BaseMissing => {
                if !self.whole.insert(path.clone()) {
                    let detail = Sentence::new("the destination could not verify the content that was sent");
                    let problem = Problem { path: path.clone(), kind: ProblemKind::Io, detail };
                    self.hold(&path, Some(problem), Some(now));
                }
            }
            Outcome::Failed(mut problem) => {
                // Whatever path the peer names, it is this operation that failed.
                problem.path = path.clone();
                let retry = is_passing(problem.kind).then_some(now);
                self.hold(&path, Some(problem), retry);
            }
        }
        if let Planned::Move { from, .. } = &operation {
            self.fall_back(from);
            // A second try sends content: the subtree may not be what it was taken for.
            self.whole.insert(path.clone());
        }
        self.fall_back(&path);
        None
    }

    fn applied(
        &mut self,
        lane: Lane,
        operation: &Planned,
        record: &mut Vec<(SyncPath, Option<(Node, Option<Stamp>)>)>,
    ) {
        let path = operation.path();
        operation.apply_to(&mut self.beta);
        if lane == Lane::Stream {
            // Batches went into what will be when they were sent; a stream does now.
            operation.apply_to(&mut self.ahead.tree);
        }
        self.whole.remove(path);
        self.mismatches.remove(path);
        if self.held.remove(path).is_some_and(|hold| hold.reported) {
            self.actions.push_back(Action::Report(Report::Solved(path.clone())));
        }
        match operation {
            Planned::MakeDirectory { path } => {
                record.extend(self.take_over(path.clone(), Node::Directory(Dir::new())));
            }
            Planned::Put { path, entry, .. } => {
                record.extend(self.take_over(path.clone(), Node::from_entry(entry.clone())));
            }
            Planned::Remove { path, .. } => {
                if self.synced.remove(path).is_some() {
                    record.push((path.clone(), None));
                }
            }
            Planned::Move { from, to, node } => {
                if self.synced.remove(from).is_some() {
                    record.push((from.clone(), None));
                }
                record.extend(self.take_over(to.clone(), node.clone()));
            }
        }
    }

    /// Leaves `path` alone: until `retry` plus a time that grows, or, without one, until something changes there.
    fn hold(&mut self, path: &SyncPath, problem: Option<Problem>, retry: Option<Duration>) {
        let (attempts, was_reported) = self.held.get(path).map_or((0, false), |hold| (hold.attempts, hold.reported));
        let wait = RETRY_FIRST.saturating_mul(1 << attempts.min(5)).min(RETRY_MAX);
        // What was said once is said to be over once.
        let reported = was_reported || problem.is_some();
        let wait = retry.map_or(Wait::Change, |now| Wait::Until(now + wait));
        let hold = Hold { wait, attempts: attempts + 1, reported };
        self.held.insert(path.clone(), hold);
        if let Some(problem) = problem
            && !was_reported
        {
            self.actions.push_back(Action::Report(Report::Failed { problem, retried: retry.is_some() }));
        }
    }
}

impl Flight {
    /// Puts what is left of a batch back, under its number.
    fn resume(&mut self, id: BatchId, lane: Lane, operations: Vec<Planned>, content_bytes: u64) {
        let next = std::mem::replace(&mut self.next, id.0);
        self.begin(lane, operations, content_bytes);
        self.next = next;
    }
}

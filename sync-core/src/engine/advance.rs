//! What is planned and sent, and on which lane.
//!
//! What somebody just saved goes first, in a batch of its own; then everything else, as far as the windows allow. A small
//! plan may go on the urgent lane; the rest goes on the bulk lane. Lanes overtake each other, so that an operation near a
//! path which another lane has in flight follows it on that lane, or waits.

use std::collections::{BTreeMap, BTreeSet};

use sync_proto::SyncPath;

use super::{
    Action, Engine, Link, Mode, Report,
    doubtful::{Doubtful, intents},
    flight::{Flight, Lane},
    held::Held,
    plan::{Plan, Planned, PlannedStream, plan},
    reconcile::{Guard, Limits, Reconciled, Sides, Step, reconcile, reconcile_at},
    view::View,
};
use crate::tree::{Dir, Node};

/// Most steps that one walk over the trees collects.
const STEPS_MAX: usize = 8192;
/// Most bytes of content, by the files' lengths, that a batch on the urgent lane puts.
const URGENT_BYTES_MAX: u64 = 256 << 10;
/// Most entries that a batch on the urgent lane puts, moves or removes.
const URGENT_ENTRIES_MAX: u64 = 512;
/// Most bytes of names and targets in a batch on the urgent lane, which has to fit a frame of the control stream.
const URGENT_TEXT_BYTES_MAX: u64 = 1 << 20;

/// What a walk goes around.
struct Around<'a> {
    flight: &'a Flight,
    held: &'a Held,
    kept: &'a BTreeSet<SyncPath>,
    doubtful: &'a Doubtful,
}

impl Guard for Around<'_> {
    fn is_held(&self, path: &SyncPath) -> bool {
        self.flight.streams(path) || self.held.is_waiting(path)
    }

    fn is_held_beneath(&self, path: &SyncPath) -> bool {
        self.flight.streams_beneath(path)
    }

    fn has_kept(&self, path: &SyncPath) -> bool {
        self.kept.range(path..).next().is_some_and(|first| first.starts_with(path))
    }

    fn is_ours(&self, path: &SyncPath, node: &Node) -> bool {
        self.doubtful.has(path, node)
    }

    fn is_our_directory(&self, path: &SyncPath) -> bool {
        self.doubtful.has_directory(path)
    }

    fn is_in_doubt(&self, path: &SyncPath) -> bool {
        self.doubtful.is_near(path)
    }
}

impl Engine {
    /// Plans and sends as much as may be sent now.
    pub(super) fn advance(&mut self) {
        if !matches!(self.link, Link::Up) || self.alpha.is_none() || !self.may_go_on() {
            return;
        }
        self.advance_hot();
        let settled = self.advance_all();
        let idle = settled && self.flight.is_empty() && !self.held.has_silent();
        if idle {
            self.rest();
        }
        self.in_sync = idle;
    }

    /// Whether alpha's state is one that may be brought over. An emptied root is taken for an accident.
    fn may_go_on(&mut self) -> bool {
        let Some((alpha, _)) = &self.alpha else { return false };
        let files = self.known.synced.entries();
        if alpha.tree.entries() == 0 && files > 0 && self.known.ahead.tree.entries() > 0 {
            self.halt(format!(
                "the source is empty, but {files} entries of it were in sync before: nothing is deleted. Put them back, or \
                 delete them at the destination too"
            ));
            return false;
        }
        if self.halted.take().is_some() {
            self.actions.push_back(Action::Report(Report::Resumed));
        }
        true
    }

    /// Everything known has been done.
    fn rest(&mut self) {
        if let Some((alpha, _)) = &self.alpha {
            self.known.share(&alpha.tree);
        }
        self.mismatches.clear();
        self.whole.clear();
        self.copies.clear();
        let solved = self.held.sweep();
        self.actions.extend(solved.into_iter().map(|path| Action::Report(Report::Solved(path))));
        if self.doubtful.is_open() && self.is_all_known() {
            self.doubtful.settle();
            self.actions.push_back(Action::Settled);
        }
        if !self.in_sync {
            self.actions.push_back(Action::Report(Report::InSync));
        }
    }

    /// Whether nothing at all is left over: no conflict, no failure, nothing that could not be seen.
    fn is_all_known(&self) -> bool {
        let is_seen = |view: &View| view.complete && view.problems.is_empty();
        self.alpha.as_ref().is_some_and(|(view, _)| is_seen(view))
            && is_seen(&self.known.ahead)
            && self.conflicts.is_empty()
            && self.held.is_empty()
            && self.kept.is_empty()
    }

    /// Plans what somebody just saved, ahead of all else.
    fn advance_hot(&mut self) {
        if self.hot.is_empty() || !self.flight.urgent_is_open() {
            return;
        }
        let mut steps = Vec::new();
        let mut truncated = false;
        for path in std::mem::take(&mut self.hot) {
            let Some(found) = self.walk(|sides, mode, limits| reconcile_at(sides, mode, limits, &path)) else {
                continue;
            };
            self.note_conflicts(&path, &found);
            self.agree(found.agreed);
            steps.extend(found.steps);
            truncated |= found.truncated;
        }
        // Two hot paths of which one lies beneath the other find the same step twice.
        steps.sort_by(|left, right| left.path().cmp(right.path()));
        steps.dedup_by(|later, earlier| later.path().starts_with(earlier.path()));
        self.dispatch(steps, truncated);
    }

    /// Plans everything else, as far as the windows allow. Whether nothing is left to plan.
    fn advance_all(&mut self) -> bool {
        while self.flight.bulk_is_open() {
            let found = self.walk(reconcile);
            self.note_conflicts(&SyncPath::root(), &found);
            self.agree(found.agreed);
            if found.steps.is_empty() {
                return true;
            }
            if !self.dispatch(found.steps, found.truncated) {
                return false;
            }
        }
        false
    }

    fn walk<T: Default>(&self, walk: impl FnOnce(Sides<'_>, Mode, &Limits<'_>) -> T) -> T {
        let Some((alpha, rules)) = &self.alpha else { return T::default() };
        let Self { known, flight, held, kept, doubtful, .. } = self;
        let sides = Sides { alpha, beta: &known.ahead, synced: &known.synced_ahead, scope: rules };
        let guard = &Around { flight, held, kept, doubtful };
        walk(sides, self.mode, &Limits { steps_max: STEPS_MAX, guard })
    }

    /// Turns steps into batches and streams, and sends them. Whether anything was sent.
    fn dispatch(&mut self, steps: Vec<Step>, truncated: bool) -> bool {
        if steps.is_empty() {
            return false;
        }
        let is_free = |step: &&Step| !self.flight.urgent_touches(step.path());
        let free: Vec<Step> =
            if self.flight.has_urgent() { steps.iter().filter(is_free).cloned().collect() } else { Vec::new() };
        let all_free = !self.flight.has_urgent() || free.len() == steps.len();
        let mut plan = self.plan(steps, truncated);
        if !all_free && self.lane(&plan) == Lane::Bulk {
            // What is near something on the urgent lane waits for that.
            plan = self.plan(free, true);
        }
        let streams = std::mem::take(&mut plan.streams);
        let sent = self.send(plan);
        self.stream(streams) || sent
    }

    fn plan(&mut self, steps: Vec<Step>, truncated: bool) -> Plan {
        let Self { known, copies, whole, .. } = self;
        plan(steps, truncated, &known.ahead.tree, copies, &|path| whole.contains(path))
    }

    /// The lane for a batch.
    fn lane(&self, plan: &Plan) -> Lane {
        let light = !plan.truncated
            && plan.text_bytes <= URGENT_TEXT_BYTES_MAX
            && plan.operations.iter().map(Planned::entries).sum::<u64>() <= URGENT_ENTRIES_MAX
            && plan.operations.iter().map(Planned::content_bytes).sum::<u64>() <= URGENT_BYTES_MAX;
        let free = || plan.operations.iter().flat_map(Planned::touches).all(|path| !self.flight.bulk_touches(path));
        if light && self.flight.urgent_is_open() && free() { Lane::Urgent } else { Lane::Bulk }
    }

    fn send(&mut self, plan: Plan) -> bool {
        let Plan { operations, content_bytes, after, .. } = &plan;
        if operations.is_empty() {
            return false;
        }
        let lane = self.lane(&plan);
        let overtakes = || operations.iter().flat_map(Planned::touches).any(|path| self.flight.urgent_touches(path));
        if lane == Lane::Bulk && (!self.flight.bulk_is_open() || overtakes()) {
            return false;
        }
        self.known.sent(operations, after.clone());
        let id = self.flight.begin(lane, operations.clone(), *content_bytes);
        self.actions.push_back(Action::Intend { id, intents: operations.iter().flat_map(intents).collect() });
        self.actions.push_back(Action::Send { id, urgent: lane == Lane::Urgent, operations: plan.operations });
        true
    }

    fn stream(&mut self, streams: Vec<PlannedStream>) -> bool {
        let mut sent = false;
        for stream in streams {
            // The directory must be there before the file is; it is found again when it is.
            let ready = stream.path.parent().is_some_and(|parent| self.known.beta.dir(&parent).is_some());
            if ready && self.flight.streams_are_open() && !self.flight.touches(&stream.path) {
                let id = self.flight.begin_stream(&stream);
                let intent = (stream.path.clone(), Some(Node::from_entry(stream.entry.clone())));
                self.actions.push_back(Action::Intend { id, intents: vec![intent] });
                self.actions.push_back(Action::Stream { id, stream });
                sent = true;
            }
        }
        sent
    }

    /// *synced* takes over what both sides have. What is near something in flight waits until that is answered: beta has it
    /// only in what will be.
    fn agree(&mut self, agreed: Vec<(SyncPath, Option<Node>)>) {
        let Self { known, flight, alpha, .. } = self;
        let alpha = alpha.as_ref().map(|(view, _)| &view.tree);
        let mut record = Vec::new();
        for (path, node) in agreed {
            // A directory alone is agreed on where it stands now, whatever is under way in it.
            let alone = node.as_ref().and_then(Node::as_dir).is_some_and(Dir::is_empty);
            let certain = if alone { known.beta.dir(&path).is_some() } else { !flight.touches(&path) };
            if certain {
                known.agree(&path, node, alpha, &mut record);
            }
        }
        if !record.is_empty() {
            self.actions.push_back(Action::Record(record));
        }
    }

    /// Takes over the conflicts found by a walk at and beneath `path`. One that was not truncated found all there are.
    fn note_conflicts(&mut self, path: &SyncPath, found: &Reconciled) {
        if self.conflicts.is_empty() && found.conflicts.is_empty() {
            return;
        }
        let now: BTreeMap<_, _> = found.conflicts.iter().map(|(path, alpha, beta)| (path, (alpha, beta))).collect();
        let known = self.conflicts.range(path..).map(|(known, _)| known).take_while(|known| known.starts_with(path));
        let gone: Vec<SyncPath> = known.filter(|known| !found.truncated && !now.contains_key(known)).cloned().collect();
        for path in gone {
            self.conflicts.remove(&path);
            self.actions.push_back(Action::Report(Report::ConflictSolved(path)));
        }
        for (path, (alpha, beta)) in now {
            let is_known = self.conflicts.get(path).is_some_and(|(was, is)| (was, is) == (alpha, beta));
            if !is_known {
                self.conflicts.insert(path.clone(), (alpha.clone(), beta.clone()));
                let (path, alpha, beta) = (path.clone(), alpha.clone(), beta.clone());
                self.actions.push_back(Action::Report(Report::Conflict { path, alpha, beta }));
            }
        }
    }
}

//! What is planned and sent, and on which lane.
//!
//! What somebody just saved goes first, in a batch of its own; then everything else, as far as the windows allow. A small
//! plan may go on the urgent lane; the rest goes on the bulk lane. Lanes overtake each other, so that an operation near a
//! path which another lane has in flight follows it on that lane, or waits.

use std::collections::{BTreeMap, BTreeSet};

use sync_proto::SyncPath;

use super::{
    Action, Engine, Link, Mode, Report, Side,
    action::Recorded,
    doubtful::{Intent, intents},
    flight::Lane,
    plan::{MoveKey, Plan, Planned, PlannedStream, moved_from, moved_to, plan},
    receiver::Receiver,
    reconcile::{Choice, Guard, Limits, Reconciled, Sides, Step, reconcile, reconcile_at},
    rule::{Rule, holds},
    view::View,
};
use crate::tree::{Dir, Node};

/// Most steps that one walk over the trees collects.
const STEPS_MAX: usize = 8192;
/// What a walk goes around.
struct Around<'a>(&'a Engine);

impl Guard for Around<'_> {
    fn is_held(&self, path: &SyncPath) -> bool {
        let Engine { flight, taking, at_alpha, at_beta, .. } = self.0;
        flight.streams(path) && holds(Rule::HeldByStream)
            || at_beta.held.is_waiting(path)
            || at_alpha.held.is_waiting(path)
            || taking.holds(path) && holds(Rule::HeldAtAlpha)
    }

    fn is_held_beneath(&self, path: &SyncPath) -> bool {
        let Engine { flight, taking, .. } = self.0;
        flight.streams_beneath(path) && holds(Rule::HeldByStream)
            || taking.holds_beneath(path) && holds(Rule::HeldBeneathAtAlpha)
    }

    fn has_kept(&self, side: Side, path: &SyncPath) -> bool {
        let receiver = match side {
            Side::Alpha => &self.0.at_alpha,
            Side::Beta => &self.0.at_beta,
        };
        receiver.has_kept(path) && holds(Rule::KeptStays)
    }

    fn is_hidden(&self, path: &SyncPath) -> bool {
        self.0.described.is_hidden(path) && holds(Rule::HiddenIsThere)
    }

    fn is_known_gone(&self, path: &SyncPath) -> bool {
        self.0.described.is_gone(path)
    }

    fn is_ours(&self, path: &SyncPath, node: &Node) -> bool {
        self.0.doubtful.has(path, node) && holds(Rule::SentIsOurs)
    }

    fn is_our_directory(&self, path: &SyncPath) -> bool {
        self.0.doubtful.has_directory(path)
    }

    fn is_our_removal(&self, path: &SyncPath) -> bool {
        self.0.doubtful.has_removal(path) && holds(Rule::RemovalIsOurs)
    }

    fn is_unsettled(&self, path: &SyncPath) -> bool {
        self.0.doubtful.is_unsettled(path) && holds(Rule::UnsettledIsKept)
    }

    fn is_in_doubt(&self, path: &SyncPath) -> bool {
        self.0.doubtful.is_near(path)
    }

    fn choice(&self, path: &SyncPath, alpha: &Node, beta: &Node) -> Option<Choice> {
        self.0.settled.get(path, alpha, beta).cloned()
    }
}

impl Engine {
    /// Plans and sends as much as may be sent now.
    pub(super) fn advance(&mut self) {
        if !matches!(self.link, Link::Up) || self.alpha.is_none() {
            return;
        }
        if let Some(reason) = self.emptied().filter(|_| !self.deletions_allowed) {
            return self.halt(reason);
        }
        if let Some((alpha, _)) = &self.alpha {
            let _ = self.known.share_directories(&alpha.tree);
        }
        self.advance_hot();
        let settled = self.advance_all();
        if self.halted.is_some() {
            return;
        }
        let has_silent = self.at_beta.held.has_silent() || self.at_alpha.held.has_silent();
        let idle = settled && !self.is_waiting() && !has_silent;
        if idle {
            self.rest();
        }
        self.in_sync = idle;
    }

    /// Everything known has been done.
    fn rest(&mut self) {
        if let Some((alpha, _)) = &self.alpha {
            self.known.share(&alpha.tree);
            self.settled.sweep(|path| [alpha.tree.get(path), self.known.beta.get(path)]);
        }
        self.described.rest();
        self.parts.forget();
        self.end_allowance();
        for side in [Side::Alpha, Side::Beta] {
            let solved = self.receiver(side).rest();
            self.actions.extend(solved.into_iter().map(|path| Action::Report(Report::Solved { side, path })));
        }
        if self.doubtful.is_open() && (self.is_all_known() || !holds(Rule::InMindUntilKnown)) {
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
            && [&self.at_alpha, &self.at_beta].iter().all(|side| side.held.is_empty() && side.kept.is_empty())
    }

    /// Plans what somebody just saved, ahead of all else.
    fn advance_hot(&mut self) {
        if self.hot.is_empty() || self.halted.is_some() || !self.flight.urgent_is_open() {
            return;
        }
        let mut all = Reconciled::default();
        for path in std::mem::take(&mut self.hot) {
            let Some(found) = self.walk(STEPS_MAX, |sides, mode, limits| reconcile_at(sides, mode, limits, &path))
            else {
                continue;
            };
            self.note_conflicts(&path, &found);
            self.agree(found.agreed);
            all.at_beta.extend(found.at_beta);
            all.at_alpha.extend(found.at_alpha);
            all.truncated |= found.truncated;
        }
        // Two hot paths of which one lies beneath the other find the same step twice.
        for steps in [&mut all.at_beta, &mut all.at_alpha] {
            steps.sort_by(|left, right| left.path().cmp(right.path()));
            steps.dedup_by(|later, earlier| later.path().starts_with(earlier.path()));
        }
        // Where too much seems to go, only a walk over everything can tell.
        if self.excess(&all).is_none() {
            self.dispatch(all.at_beta, all.truncated);
            self.take(all.at_alpha, all.truncated);
        }
    }

    /// Plans everything else, as far as the windows allow. Whether nothing is left to plan.
    fn advance_all(&mut self) -> bool {
        while self.flight.bulk_is_open() && (self.taking.is_open() || !self.mode.is_two_way()) {
            let found = self.walk(STEPS_MAX, reconcile);
            if let Some(reason) = self.excess(&found) {
                self.halt(reason);
                return false;
            }
            self.note_sweep(&found);
            if self.halted.take().is_some() {
                self.actions.push_back(Action::Report(Report::Resumed));
            }
            self.note_conflicts(&SyncPath::root(), &found);
            self.agree(found.agreed);
            if found.at_beta.is_empty() && found.at_alpha.is_empty() {
                return true;
            }
            let sent = self.dispatch(found.at_beta, found.truncated);
            if !self.take(found.at_alpha, found.truncated) && !sent {
                return false;
            }
        }
        false
    }

    pub(super) fn walk<T: Default>(&self, steps_max: usize, walk: impl FnOnce(Sides<'_>, Mode, &Limits<'_>) -> T) -> T {
        let Some((alpha, rules)) = &self.alpha else { return T::default() };
        let scope = &self.parts.by(rules);
        let sides = Sides { alpha, beta: &self.known.ahead, synced: &self.known.synced_ahead, scope };
        walk(sides, self.mode, &Limits { steps_max, guard: &Around(self) })
    }

    /// Turns steps into batches and streams, and sends them. Whether anything was sent.
    fn dispatch(&mut self, mut steps: Vec<Step>, truncated: bool) -> bool {
        // What is beta's own is moved once: a second time would look like something sent to where it went.
        let is_moved = |path: &SyncPath| self.flight.touches(path) && holds(Rule::AsideOnce);
        steps.retain(|step| !matches!(step, Step::Aside { path, .. } if is_moved(path)));
        if steps.is_empty() {
            return false;
        }
        let is_free = |step: &Step| !self.flight.urgent_touches(step.path());
        let all_free = !self.flight.has_urgent() || steps.iter().all(is_free);
        let free = if all_free { Vec::new() } else { free_of(&steps, is_free) };
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
        let Self { known, at_beta, .. } = self;
        for step in &steps {
            if let Step::Aside { to, .. } = step {
                known.asides.insert(to.clone());
            }
        }
        let Receiver { copies, whole, .. } = at_beta;
        plan(steps, truncated, &known.ahead.tree, copies, &|path| whole.contains(path))
    }

    /// The lane for a batch.
    fn lane(&self, plan: &Plan) -> Lane {
        let is_free = |path| !self.flight.bulk_touches(path) || !holds(Rule::LanesKeepOrder);
        let free = || plan.operations.iter().flat_map(Planned::touches).all(is_free);
        if plan.is_light() && self.flight.urgent_is_open() && free() { Lane::Urgent } else { Lane::Bulk }
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
        self.note_removed(Side::Beta, &plan.operations);
        let id = self.number();
        self.flight.begin(id, lane, operations.clone(), *content_bytes);
        // What is moved aside is beta's own where it goes.
        let is_ours = |(path, _): &Intent| !self.known.asides.contains(path);
        let intents = operations.iter().flat_map(intents).filter(is_ours).collect();
        self.actions.push_back(Action::Intend { id, intents });
        self.actions.push_back(Action::Send { id, urgent: lane == Lane::Urgent, operations: plan.operations });
        true
    }

    fn stream(&mut self, streams: Vec<PlannedStream>) -> bool {
        let mut sent = false;
        for stream in streams {
            // The directory must be there before the file is; it is found again when it is.
            let ready = stream.path.parent().is_some_and(|parent| self.known.beta.dir(&parent).is_some());
            if ready && self.flight.streams_are_open() && !self.flight.touches(&stream.path) {
                let id = self.number();
                self.flight.begin_stream(id, &stream);
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
        let Self { known, flight, taking, alpha, .. } = self;
        let alpha = alpha.as_ref().map(|(view, _)| &view.tree);
        let mut record = Vec::new();
        for (path, node) in agreed {
            // A directory alone is agreed on where it stands now, whatever is under way in it.
            let alone = node.as_ref().and_then(Node::as_dir).is_some_and(Dir::is_empty);
            let certain = if alone { known.beta.dir(&path).is_some() } else { !flight.touches(&path) };
            // What alpha shows before it has answered may not outlast a power cut.
            let durable = !taking.touches(&path);
            if (certain || !holds(Rule::AgreedWhenAnswered)) && (durable || !holds(Rule::AgreedWhenDurable)) {
                known.agree(&path, node, alpha, &mut record);
            }
        }
        self.record(record);
    }

    /// *Synced* has changed so.
    pub(super) fn record(&mut self, record: Vec<Recorded>) {
        if !record.is_empty() {
            self.doubtful.agreed(&record);
            self.actions.push_back(Action::Record(record));
        }
    }

    /// Takes over the conflicts found by a walk at and beneath `path`. One that was not truncated found all there are. What is
    /// near something in flight is no conflict before that is answered.
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
            // What beta has there is certain once it has answered.
            if !is_known && !self.flight.touches(path) {
                self.conflicts.insert(path.clone(), (alpha.clone(), beta.clone()));
                let (path, alpha, beta) = (path.clone(), alpha.clone(), beta.clone());
                self.actions.push_back(Action::Report(Report::Conflict { path, alpha, beta }));
            }
        }
    }
}

/// The steps that are free to be done, but for what others, which are not, could be made of by a move.
fn free_of(steps: &[Step], is_free: impl Fn(&Step) -> bool) -> Vec<Step> {
    let waiting: BTreeSet<MoveKey> = steps.iter().filter(|step| !is_free(step)).filter_map(moved_to).collect();
    let is_wanted = |step: &Step| moved_from(step).is_some_and(|key| waiting.contains(&key));
    steps.iter().filter(|step| is_free(step) && !is_wanted(step)).cloned().collect()
}

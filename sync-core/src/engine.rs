//! The controller, as a pure state machine.
//!
//! The engine holds three trees (alpha, beta, *synced*) and what is in flight. It knows no clock, file or socket: what
//! happens is told by [`Engine::handle_alpha`] and the other `handle_*`, with the time now where it matters (since any fixed moment);
//! what is to be done comes out of [`Engine::poll_action`], to be called after each of them until it gives `None`; and
//! [`Engine::timeout`] says when to call [`Engine::handle_timeout`]. The same inputs give the same actions.
//!
//! # How it plans
//!
//! Beside beta as it is, the engine keeps beta *as it will be* when all that is in flight has been done (`ahead`), and
//! reconciles alpha against that. A save that comes while others are under way is thus planned and sent at once, and a
//! burst becomes batches by itself. Where an outcome is not what was hoped for, `ahead` falls back to beta at that path,
//! and the next round plans from what is really there: an operation that meets something unexpected changes nothing, so a
//! wrong guess costs a round trip, never content.
//!
//! # Invariants
//!
//! - *synced* takes over an entry only after beta has said `Applied`, or where both sides have it already.
//! - Nothing is planned before both sides are known, nor while the session is halted.
//! - Operations of one lane are done in order; an operation that touches a path which another lane has in flight follows
//!   it on that lane.
//!
//! What is **not** here: how content is read, encoded or sent (`session`), and what becomes of an operation on a disk
//! (`replica`).

mod compare;
mod flight;
pub mod plan;
pub mod reconcile;
pub mod view;


use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use sync_proto::{
    Entry, SyncPath,
    message::{BatchId, Changes, Listing, Opened, Problem, ProblemKind},
};

use self::{
    compare::{Comparison, apply_change},
    flight::{Flight, Lane},
    plan::{Planned, PlannedStream, plan},
    reconcile::{Limits, Reconciled, Sides, Step, reconcile, reconcile_at},
    view::View,
};
use crate::{
    ignore::Rules,
    tree::{Node, Stamp, Tree},
};

/// What goes which way. Names and meanings are those that developers know from Mutagen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Alpha's changes go to beta. What changed at beta is never overwritten or deleted: it is shown as a conflict, or
    /// left alone where alpha has nothing there.
    #[default]
    OneWaySafe,
    /// Beta is kept an exact copy of alpha. What was changed, added or deleted at beta is put right; ignored content stays.
    OneWayReplica,
}

/// Most steps that one walk over the trees collects.
const STEPS_MAX: usize = 8192;
/// Most paths of one update that are planned ahead of everything else.
const HOT_PATHS_MAX: usize = 2048;
/// Most bytes of content in bulk batches that are unanswered.
const BULK_BYTES_MAX: u64 = 8 << 20;
/// Most bulk batches that are unanswered.
const BULK_BATCHES_MAX: usize = 8;
/// Most urgent batches that are unanswered.
const URGENT_BATCHES_MAX: usize = 32;
/// Most bytes of content, by the files' lengths, in a batch on the urgent lane.
const URGENT_BYTES_MAX: u64 = 256 << 10;
/// Most operations in a batch on the urgent lane.
const URGENT_OPERATIONS_MAX: usize = 512;
/// Most files that are streamed at once: these, times the stream window, must stay below the connection's window.
const STREAMS_MAX: usize = 2;
/// After how many mismatches in a row a path waits like one that failed.
const MISMATCHES_MAX: u32 = 4;
/// How long a failed path first waits. Doubles up to [`RETRY_MAX`].
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// How long a failed path waits at most.
const RETRY_MAX: Duration = Duration::from_secs(30);

/// What the peer did wrong. The session ends with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerFault {
    /// It answered what was not asked.
    #[error("the agent sent {0} that was not asked for")]
    Unasked(&'static str),
    /// It said something that can't be.
    #[error("the agent sent something malformed: {0}")]
    Malformed(&'static str),
    /// It went over a limit.
    #[error("the agent sent more {0} than this side takes")]
    TooMany(&'static str),
}

/// News from alpha's replica.
#[derive(Debug, Clone)]
pub struct AlphaUpdate {
    /// What stands there now.
    pub view: View,
    /// What takes part now.
    pub rules: Rules,
    /// Paths that just changed by somebody's hand: planned first. Empty after a scan.
    pub hot: Vec<SyncPath>,
}

/// Something to be done by whoever drives the engine.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Ask beta for these directories.
    Request(Vec<SyncPath>),
    /// Send a batch.
    Send {
        /// Its number.
        id: BatchId,
        /// Whether it goes ahead of all bulk, on the control stream; else in order on the bundle stream.
        urgent: bool,
        /// What it is to do.
        operations: Vec<Planned>,
    },
    /// Stream a file.
    Stream {
        /// Its number.
        id: BatchId,
        /// Which file.
        stream: PlannedStream,
    },
    /// *synced* has changed: keep it.
    Record(Vec<(SyncPath, Option<(Node, Option<Stamp>)>)>),
    /// Tell the user.
    Report(Report),
}

/// Something a user may want to know.
#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    /// A batch was answered; these of its operations were applied.
    Applied {
        /// Which.
        id: BatchId,
        /// What was done.
        operations: Vec<Planned>,
    },
    /// An operation failed.
    Failed {
        /// Why.
        problem: Problem,
        /// Whether it is tried again by itself.
        retried: bool,
    },
    /// A path that had failed has gone through, or is no longer wanted.
    Solved(SyncPath),
    /// A conflict came up, or looks different now.
    Conflict {
        /// Where.
        path: SyncPath,
        /// What alpha has.
        alpha: Option<Entry>,
        /// What beta has.
        beta: Option<Entry>,
    },
    /// A conflict is gone.
    ConflictSolved(SyncPath),
    /// What a race had put at `path` was displaced by our write, and is kept.
    Displaced {
        /// Where.
        path: SyncPath,
        /// Where it is kept, beneath beta's root.
        kept: SyncPath,
    },
    /// Everything known has been done. Said once each time.
    InSync,
    /// Nothing is done any more, and why.
    Halted(String),
    /// The reason for halting is gone.
    Resumed,
}

/// Why nothing is planned at a path for now.
#[derive(Debug, Clone)]
struct Hold {
    wait: Wait,
    attempts: u32,
    reported: bool,
}

/// What a held path waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// A moment.
    Until(Duration),
    /// That something changes there.
    Change,
    /// Nothing any more. It is still in the map for its count of attempts.
    Over,
}

#[derive(Debug)]
enum Link {
    Down,
    Comparing(Comparison),
    Up,
}

/// The controller of one session. See the module.
#[derive(Debug)]
pub struct Engine {
    mode: Mode,
    alpha: Option<(View, Rules)>,
    link: Link,
    /// Beta as it is, by its own account.
    beta: Tree,
    /// Beta as it will be when all in flight has been done, and what is known of its problems.
    ahead: View,
    synced: Tree,
    flight: Flight,
    hot: Vec<SyncPath>,
    held: BTreeMap<SyncPath, Hold>,
    mismatches: BTreeMap<SyncPath, u32>,
    whole: BTreeSet<SyncPath>,
    conflicts: BTreeMap<SyncPath, (Option<Entry>, Option<Entry>)>,
    halted: Option<String>,
    in_sync: bool,
    actions: VecDeque<Action>,
}

impl Engine {
    /// An engine that knows nothing yet.
    pub fn new(mode: Mode) -> Self {
        Self {
            mode,
            alpha: None,
            link: Link::Down,
            beta: Tree::new(),
            ahead: View::default(),
            synced: Tree::new(),
            flight: Flight::default(),
            hot: Vec::new(),
            held: BTreeMap::new(),
            mismatches: BTreeMap::new(),
            whole: BTreeSet::new(),
            conflicts: BTreeMap::new(),
            halted: None,
            in_sync: false,
            actions: VecDeque::new(),
        }
    }

    /// The next thing to do; `None`: nothing until something is handled.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Engine::handle_timeout`] is due.
    pub fn timeout(&self) -> Option<Duration> {
        self.held
            .values()
            .filter_map(|hold| match hold.wait {
                Wait::Until(moment) => Some(moment),
                Wait::Change | Wait::Over => None,
            })
            .min()
    }

    /// Whether all that is known has been done.
    pub fn is_in_sync(&self) -> bool {
        self.in_sync
    }

    /// How many paths are to be tried again at some moment without anybody having been told of a problem: content that
    /// changed before it could be sent.
    pub fn unsettled(&self) -> usize {
        self.held.values().filter(|hold| matches!(hold.wait, Wait::Until(_)) && !hold.reported).count()
    }

    /// Why the session is halted, if it is.
    pub fn halted(&self) -> Option<&str> {
        self.halted.as_deref()
    }

    /// What both sides last agreed on.
    pub fn synced(&self) -> &Tree {
        &self.synced
    }

    /// Conflicts, in order of path, with what alpha and beta have.
    pub fn conflicts(&self) -> impl Iterator<Item = (&SyncPath, &Option<Entry>, &Option<Entry>)> {
        self.conflicts.iter().map(|(path, (alpha, beta))| (path, alpha, beta))
    }

    /// Operations and bytes still to be done, counted over the whole difference. O(what differs).
    pub fn outstanding(&self) -> (u64, u64) {
        let Some((alpha, _)) = &self.alpha else { return (0, 0) };
        let mut count = (0, 0);
        for difference in crate::tree::diff(self.beta.root(), alpha.tree.root()) {
            match difference.new {
                Some(Node::Directory(dir)) => {
                    count.0 += 1 + dir.entries();
                    count.1 += dir.bytes();
                }
                Some(node) => {
                    count.0 += 1;
                    count.1 += node.entry().content_len();
                }
                None => count.0 += u64::from(self.synced.get(&difference.path).is_some()),
            }
        }
        count
    }

    /// Alpha was scanned, or changed.
    pub fn handle_alpha(&mut self, update: AlphaUpdate) {
        if let Some((before, _)) = &self.alpha {
            let changed: Vec<SyncPath> = self
                .held
                .keys()
                .filter(|path| before.tree.get(path) != update.view.tree.get(path) || update.hot.contains(path))
                .cloned()
                .collect();
            for path in changed {
                self.release(&path);
            }
        }
        if self.hot.len() + update.hot.len() <= HOT_PATHS_MAX {
            self.hot.extend(update.hot);
        }
        self.alpha = Some((update.view, update.rules));
        self.advance();
    }

    /// Alpha's root is gone, or can't be trusted: nothing is done until [`Engine::handle_alpha`] says otherwise.
    pub fn handle_alpha_lost(&mut self, reason: String) {
        self.alpha = None;
        self.halt(reason);
    }

    /// Beta is there. `synced` is what both agreed on before, empty where this replica is not known.
    pub fn handle_opened(&mut self, opened: &Opened, synced: Tree) {
        self.disconnect();
        self.synced = synced;
        self.ahead.complete = opened.complete;
        self.ahead.problems = by_path(opened.problems.named.iter());
        let alpha = self.alpha.as_ref().map(|(view, _)| &view.tree).cloned().unwrap_or_default();
        self.link = Link::Comparing(Comparison::new(opened.tree, &alpha, &self.synced));
        self.compare();
        self.advance();
    }

    /// Beta answered a request.
    pub fn handle_listing(&mut self, listing: Listing) -> Result<(), PeerFault> {
        let alpha = self.alpha.as_ref().map(|(view, _)| &view.tree).cloned().unwrap_or_default();
        let Link::Comparing(comparison) = &mut self.link else {
            return Err(PeerFault::Unasked("a listing"));
        };
        comparison.listing(listing, &alpha, &self.synced)?;
        self.compare();
        self.advance();
        Ok(())
    }

    fn compare(&mut self) {
        let Link::Comparing(comparison) = &mut self.link else { return };
        while let Some(request) = comparison.requests() {
            self.actions.push_back(Action::Request(request));
        }
        if let Some(tree) = comparison.finished() {
            self.beta = tree;
            self.ahead.tree = self.beta.clone();
            self.link = Link::Up;
        }
    }

    /// Beta changed by other hands.
    pub fn handle_changes(&mut self, changes: Changes) {
        self.ahead.complete = changes.complete;
        self.ahead.problems = by_path(changes.problems.named.iter());
        for change in changes.changes.into_vec() {
            match &mut self.link {
                Link::Down => return,
                Link::Comparing(comparison) => comparison.change(change),
                Link::Up => {
                    let path = change.path.clone();
                    apply_change(&mut self.beta, change);
                    self.release(&path);
                    // What is in flight there will meet the change, and its outcome tell.
                    if !self.flight.touches(&path) {
                        self.fall_back(&path);
                    }
                }
            }
        }
        self.advance();
    }

    /// Beta is gone, and with it all that was in flight.
    pub fn handle_disconnected(&mut self) {
        self.disconnect();
    }

    /// Some time has passed.
    pub fn handle_timeout(&mut self, now: Duration) {
        let mut due = false;
        for hold in self.held.values_mut() {
            if matches!(hold.wait, Wait::Until(moment) if moment <= now) {
                hold.wait = Wait::Over;
                due = true;
            }
        }
        if due {
            self.advance();
        }
    }

    fn disconnect(&mut self) {
        self.link = Link::Down;
        self.flight = Flight::continuing(&self.flight);
        self.held.clear();
        self.mismatches.clear();
        self.in_sync = false;
    }

    fn halt(&mut self, reason: String) {
        if self.halted.as_ref() != Some(&reason) {
            self.actions.push_back(Action::Report(Report::Halted(reason.clone())));
            self.halted = Some(reason);
        }
        self.in_sync = false;
    }

    /// Plans and sends as much as may be sent now.
    fn advance(&mut self) {
        if !matches!(self.link, Link::Up) || self.alpha.is_none() || !self.may_go_on() {
            return;
        }
        let idle_before = self.in_sync;
        self.advance_hot();
        let settled = self.advance_all();
        let idle = settled && self.flight.is_empty();
        if idle {
            self.share();
            self.mismatches.clear();
            if !idle_before {
                self.actions.push_back(Action::Report(Report::InSync));
            }
        }
        self.in_sync = idle;
    }

    /// Whether alpha's state is one that may be brought over. An emptied root is taken for an accident.
    fn may_go_on(&mut self) -> bool {
        let Some((alpha, _)) = &self.alpha else { return false };
        let files = self.synced.entries();
        if alpha.tree.entries() == 0 && files > 0 && self.ahead.tree.entries() > 0 {
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

    /// Plans what somebody just saved, ahead of all else.
    fn advance_hot(&mut self) {
        let hot = std::mem::take(&mut self.hot);
        if hot.is_empty() || self.flight.urgent() >= URGENT_BATCHES_MAX {
            return;
        }
        let mut all = Reconciled::default();
        for path in &hot {
            let found = self.walk(|sides, mode, limits| reconcile_at(sides, mode, limits, path));
            self.note_conflicts(path, &found);
            all.steps.extend(found.steps);
            all.agreed.extend(found.agreed);
        }
        self.agree(all.agreed);
        // Two hot paths of which one lies beneath the other find the same step twice.
        all.steps.sort_by(|left, right| left.path().cmp(right.path()));
        all.steps.dedup_by(|later, earlier| later.path().starts_with(earlier.path()));
        self.dispatch(all.steps, false);
    }

    /// Plans everything else, as far as the windows allow. Whether nothing is left to plan.
    fn advance_all(&mut self) -> bool {
        while self.flight.bulk_bytes() < BULK_BYTES_MAX && self.flight.bulk() < BULK_BATCHES_MAX {
            let found = self.walk(reconcile);
            if !found.truncated {
                self.note_conflicts(&SyncPath::root(), &found);
            }
            let agreed = !found.agreed.is_empty();
            self.agree(found.agreed);
            if found.steps.is_empty() {
                // Agreement can be all that a truncated walk found; then there is more.
                if found.truncated && agreed {
                    continue;
                }
                return true;
            }
            if !self.dispatch(found.steps, found.truncated) {
                return false;
            }
        }
        false
    }

    fn walk(&self, walk: impl FnOnce(Sides<'_>, Mode, &Limits<'_>) -> Reconciled) -> Reconciled {
        let Some((alpha, rules)) = &self.alpha else { return Reconciled::default() };
        let sides = Sides { alpha, beta: &self.ahead, synced: &self.synced, scope: rules };
        let held = |path: &SyncPath| {
            self.flight.streams(path) || self.held.get(path).is_some_and(|hold| hold.wait != Wait::Over)
        };
        let held_beneath = |path: &SyncPath| self.flight.streams_beneath(path);
        walk(sides, self.mode, &Limits { steps_max: STEPS_MAX, held: &held, held_beneath: &held_beneath })
    }

    /// Turns steps into batches and streams, and sends them. Whether anything was sent.
    fn dispatch(&mut self, steps: Vec<Step>, truncated: bool) -> bool {
        if steps.is_empty() {
            return false;
        }
        let plan = plan(steps, truncated, &self.ahead.tree, &|path| self.whole.contains(path));
        let mut sent = false;
        if !plan.operations.is_empty() {
            let small = plan.content_bytes <= URGENT_BYTES_MAX && plan.operations.len() <= URGENT_OPERATIONS_MAX;
            let free = plan.operations.iter().flat_map(Planned::touches).all(|path| !self.flight.bulk_touches(path));
            let urgent = small && free && !plan.truncated && self.flight.urgent() < URGENT_BATCHES_MAX;
            for operation in &plan.operations {
                operation.apply_to(&mut self.ahead.tree);
            }
            let lane = if urgent { Lane::Urgent } else { Lane::Bulk };
            let id = self.flight.begin(lane, plan.operations.clone(), plan.content_bytes);
            self.actions.push_back(Action::Send { id, urgent, operations: plan.operations });
            sent = true;
        }
        for stream in plan.streams {
            // The directory must be there before the file is; it is found again when it is.
            let ready = stream.path.parent().is_some_and(|parent| self.beta.dir(&parent).is_some());
            if ready && self.flight.stream_count() < STREAMS_MAX && !self.flight.touches(&stream.path) {
                let id = self.flight.begin_stream(&stream);
                self.actions.push_back(Action::Stream { id, stream });
                sent = true;
            }
        }
        sent
    }

    /// *synced* takes over what both sides have.
    fn agree(&mut self, agreed: Vec<(SyncPath, Option<Node>)>) {
        let mut record = Vec::with_capacity(agreed.len());
        for (path, node) in agreed {
            match node {
                None => {
                    if self.synced.remove(&path).is_none() {
                        continue;
                    }
                    record.push((path, None));
                }
                Some(node) => record.extend(self.take_over(path, node)),
            }
        }
        if !record.is_empty() {
            self.actions.push_back(Action::Record(record));
        }
    }

    /// Puts `node` into *synced*, with alpha's stamp where alpha has the same.
    fn take_over(&mut self, path: SyncPath, node: Node) -> Option<(SyncPath, Option<(Node, Option<Stamp>)>)> {
        let alpha = self.alpha.as_ref().map(|(view, _)| &view.tree);
        let same = alpha.and_then(|alpha| alpha.get(&path).filter(|there| **there == node).map(|there| (alpha, there)));
        let (node, stamp) = match same {
            // Alpha's own subtree, for its stamps and to share its memory.
            Some((alpha, there)) => (there.clone(), alpha.stamp(&path)),
            None => (node, None),
        };
        self.synced.insert(&path, node.clone(), stamp).ok()?;
        Some((path, Some((node, stamp))))
    }

    /// Equal trees share their memory.
    fn share(&mut self) {
        let Some((alpha, _)) = &self.alpha else { return };
        let hash = alpha.tree.hash();
        if self.ahead.tree.hash() == hash {
            self.ahead.tree = alpha.tree.clone();
        }
        self.beta = self.ahead.tree.clone();
        if self.synced.hash() == hash {
            self.synced = alpha.tree.clone();
        }
    }

    /// Beta as it will be is, at `path`, beta as it is.
    fn fall_back(&mut self, path: &SyncPath) {
        match self.beta.get(path) {
            Some(node) => {
                // Without the directory above, that one falls back too, by its own outcome.
                let _ = self.ahead.tree.insert(path, node.clone(), None);
            }
            None => {
                self.ahead.tree.remove(path);
            }
        }
    }

    fn release(&mut self, path: &SyncPath) {
        let near: Vec<SyncPath> = self
            .held
            .keys()
            .filter(|held| held.starts_with(path) || path.starts_with(held))
            .cloned()
            .collect();
        for held in near {
            if self.held.remove(&held).is_some_and(|hold| hold.reported) {
                self.actions.push_back(Action::Report(Report::Solved(held)));
            }
        }
    }

    /// The conflicts found by a walk at and beneath `path` are all there are.
    fn note_conflicts(&mut self, path: &SyncPath, found: &Reconciled) {
        if self.conflicts.is_empty() && found.conflicts.is_empty() {
            return;
        }
        let now: BTreeMap<_, _> =
            found.conflicts.iter().map(|(path, alpha, beta)| (path.clone(), (alpha.clone(), beta.clone()))).collect();
        let gone: Vec<SyncPath> = self
            .conflicts
            .range(path..)
            .map(|(known, _)| known)
            .take_while(|known| known.starts_with(path))
            .filter(|known| !now.contains_key(*known))
            .cloned()
            .collect();
        for path in gone {
            self.conflicts.remove(&path);
            self.actions.push_back(Action::Report(Report::ConflictSolved(path)));
        }
        for (path, (alpha, beta)) in now {
            if self.conflicts.get(&path) != Some(&(alpha.clone(), beta.clone())) {
                self.conflicts.insert(path.clone(), (alpha.clone(), beta.clone()));
                self.actions.push_back(Action::Report(Report::Conflict { path, alpha, beta }));
            }
        }
    }
}

impl Step {
    fn path(&self) -> &SyncPath {
        match self {
            Self::Create { path, .. } | Self::Replace { path, .. } | Self::Remove { path, .. } => path,
        }
    }
}

fn by_path<'a>(problems: impl Iterator<Item = &'a Problem>) -> BTreeMap<SyncPath, Problem> {
    problems.map(|problem| (problem.path.clone(), problem.clone())).collect()
}

/// Whether an obstacle may go away without anything changing at the path.
fn is_passing(kind: ProblemKind) -> bool {
    match kind {
        ProblemKind::NoSpace | ProblemKind::ReadOnly | ProblemKind::Exhausted | ProblemKind::Denied | ProblemKind::Io => true,
        ProblemKind::UnsupportedKind
        | ProblemKind::BadName
        | ProblemKind::NameCollision
        | ProblemKind::BadTarget
        | ProblemKind::TooLarge => false,
    }
}

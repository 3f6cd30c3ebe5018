//! What the user is told: events, and the status at any moment.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use sync_proto::{
    Entry, SyncPath,
    message::{BatchId, Outcomes, Problems},
};

use super::{
    FlushError, Shared,
    event::{Action, Conflict, Event, Latency, PathProblem, Progress, Received, Side, Synced, SyncedPath},
    queue::Sender,
    streams::FileProgress,
};
use crate::{
    engine::{
        Engine, Report,
        plan::{Planned, PlannedStream},
        view::View,
    },
    replica::{Seen, problem},
    tree::{Dir, Node, Tree},
};

/// Least time between two reports of progress.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// When the stages of a save were over.
#[derive(Debug, Clone, Copy)]
struct Stages {
    since: Instant,
    looked: Instant,
    hashed: Instant,
}

/// How a problem came to be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Found {
    /// A replica sees it. It says so again as long as it does.
    Seen,
    /// An operation failed. The engine says when it no longer does.
    Failed,
}

/// A batch on its way.
#[derive(Debug)]
struct Under {
    /// What had led to it, where it came straight from a save.
    stages: Option<Stages>,
    /// When the save was made at beta that led to it, where it came straight from one.
    news: Option<Instant>,
    /// A file that has a stream of its own: its length, and how far it has got.
    streamed: Option<(u64, Arc<FileProgress>)>,
    urgent: bool,
    /// Alpha has it, and will answer even if the agent goes.
    given: bool,
    operations: u64,
    sent: Option<Instant>,
    wire_bytes: u64,
    apply: Duration,
    answered: Option<Instant>,
}

/// Tells events, and keeps the status.
#[derive(Debug)]
pub(super) struct Reporter {
    events: Sender,
    shared: Arc<Shared>,
    under: HashMap<BatchId, Under>,
    saving: Option<Stages>,
    /// When the save was made at beta that has just been told of.
    news: Option<Instant>,
    problems: BTreeMap<(Side, Found, SyncPath), PathProblem>,
    connected_since: Option<Instant>,
    is_ready: bool,
    /// Alpha, as last seen.
    tree: Tree,
    progress: Progress,
    /// Whether `progress` has a total.
    counted: bool,
    /// When it was last seen whether progress has anything new to tell.
    looked_at: Option<Duration>,
    told: Progress,
    last_disconnect: Option<String>,
    /// How many problems the agent did not name.
    more_problems: u64,
}

impl Reporter {
    pub(super) fn new(events: Sender, shared: Arc<Shared>) -> Self {
        Self {
            events,
            shared,
            under: HashMap::new(),
            saving: None,
            news: None,
            problems: BTreeMap::new(),
            connected_since: None,
            is_ready: false,
            tree: Tree::new(),
            progress: Progress::default(),
            counted: false,
            looked_at: None,
            told: Progress::default(),
            last_disconnect: None,
            more_problems: 0,
        }
    }

    pub(super) fn tell(&self, event: Event) {
        self.events.put(event);
    }

    /// Whether both sides have been in sync since the connection was made.
    pub(super) fn is_ready(&self) -> bool {
        self.is_ready
    }

    pub(super) fn first_scan(&self, view: &View, took: Duration) {
        let (files, bytes) = count(&view.tree);
        self.tell(Event::Scanned { files, bytes, took });
    }

    /// Alpha has changed, and is about to be planned.
    pub(super) fn alpha(&mut self, seen: &Seen) {
        self.tree = seen.view.tree.clone();
        self.side_problems(Side::Alpha, seen.view.problems.values());
        // A scan is nobody's save.
        if !seen.hot.is_empty() {
            self.saving = Some(Stages { since: seen.since, looked: seen.looked, hashed: seen.done });
        }
    }

    /// Alpha after something was done there by this session.
    pub(super) fn alpha_view(&mut self, view: &View) {
        self.tree = view.tree.clone();
    }

    /// What is planned from here on is not due to the last change.
    pub(super) fn alpha_planned(&mut self) {
        self.saving = None;
    }

    pub(super) fn connected(&mut self, round_trip: Duration) {
        self.connected_since = Some(Instant::now());
        self.is_ready = false;
        self.counted = false;
        self.progress = Progress::default();
        self.last_disconnect = None;
        // What failed is tried again, and said again where it does.
        let failed: Vec<(Side, SyncPath)> = self
            .problems
            .keys()
            .filter(|(_, found, _)| *found == Found::Failed)
            .map(|(side, _, path)| (*side, path.clone()))
            .collect();
        for (side, path) in failed {
            self.solved(side, Found::Failed, path);
        }
        self.tell(Event::Connected { round_trip });
    }

    /// `stood`: the agent had been there.
    pub(super) fn disconnected(&mut self, reason: String, stood: bool, wait: Duration) {
        self.under.retain(|_, under| under.given);
        self.connected_since = None;
        self.shared.update(|status| {
            status.connected = false;
            status.in_sync = false;
        });
        // The same reason why nobody is there, again and again, is told once.
        if stood || self.last_disconnect.as_ref() != Some(&reason) {
            self.last_disconnect = Some(reason.clone());
            self.tell(Event::Disconnected { reason, stood, retry_in: Some(wait) });
        }
    }

    pub(super) fn beta_problems(&mut self, problems: &Problems) {
        self.side_problems(Side::Beta, problems.named.iter());
        if problems.more > 0 && std::mem::replace(&mut self.more_problems, problems.more) == 0 {
            let message = format!("{} more paths can't be synchronised at the destination", problems.more);
            self.tell(Event::Warning { message });
        }
    }

    /// What a side says it can't do replaces what it said before.
    fn side_problems<'a>(&mut self, side: Side, problems: impl Iterator<Item = &'a sync_proto::message::Problem>) {
        let mut now = BTreeSet::new();
        for problem in problems {
            now.insert(problem.path.clone());
            let told = PathProblem {
                side,
                path: problem.path.clone(),
                kind: problem.kind,
                detail: problem.detail.to_string(),
                retried: problem::may_pass(problem.kind),
            };
            self.problem(Found::Seen, told);
        }
        let gone: Vec<SyncPath> = self
            .problems
            .keys()
            .filter(|(at, found, path)| (*at, *found) == (side, Found::Seen) && !now.contains(path))
            .map(|(_, _, path)| path.clone())
            .collect();
        for path in gone {
            self.solved(side, Found::Seen, path);
        }
    }

    fn problem(&mut self, found: Found, problem: PathProblem) {
        let key = (problem.side, found, problem.path.clone());
        if self.problems.get(&key) != Some(&problem) {
            self.problems.insert(key, problem.clone());
            self.tell(Event::Problem(problem));
        }
    }

    fn solved(&mut self, side: Side, found: Found, path: SyncPath) {
        if self.problems.remove(&(side, found, path.clone())).is_some() {
            self.tell(Event::ProblemSolved { side, path });
        }
    }

    pub(super) fn sending(&mut self, id: BatchId, urgent: bool, operations: &[Planned]) {
        let under = Under {
            stages: self.saving.filter(|_| urgent),
            news: self.news.filter(|_| urgent),
            streamed: None,
            urgent,
            given: false,
            operations: operations.len() as u64,
            sent: None,
            wire_bytes: 0,
            apply: Duration::ZERO,
            answered: None,
        };
        self.under.insert(id, under);
    }

    pub(super) fn streaming(&mut self, id: BatchId, stream: &PlannedStream, progress: Arc<FileProgress>) {
        let under = Under {
            stages: None,
            news: None,
            streamed: Some((stream.entry.content_len(), progress)),
            urgent: false,
            given: false,
            operations: 1,
            sent: None,
            wire_bytes: 0,
            apply: Duration::ZERO,
            answered: None,
        };
        self.under.insert(id, under);
    }

    pub(super) fn sent(&mut self, id: BatchId, wire_bytes: u64, unsent: &BTreeSet<usize>) {
        if let Some(under) = self.under.get_mut(&id) {
            under.sent = Some(Instant::now());
            under.wire_bytes = wire_bytes;
            under.operations = under.operations.saturating_sub(unsent.len() as u64);
        }
    }

    pub(super) fn not_sent(&mut self, id: BatchId) {
        self.under.remove(&id);
    }

    pub(super) fn answered(&mut self, outcomes: &Outcomes) {
        if let Some(under) = self.under.get_mut(&outcomes.batch) {
            under.apply = Duration::from_micros(outcomes.apply_micros);
            under.answered = Some(Instant::now());
            self.progress.done += under.operations;
        }
    }

    /// Beta has told of a change that was made there so long ago, and the engine is about to plan.
    pub(super) fn beta_changed(&mut self, age: Duration, round_trip: Duration) {
        // A scan is nobody's save.
        if age > Duration::ZERO {
            self.news = Instant::now().checked_sub(age + round_trip / 2);
        }
    }

    /// What is planned from here on is not due to that.
    pub(super) fn beta_planned(&mut self) {
        self.news = None;
    }

    /// The content is here, and given to alpha.
    pub(super) fn given(&mut self, id: BatchId, wire_bytes: u64) {
        if let Some(under) = self.under.get_mut(&id) {
            under.wire_bytes = wire_bytes;
            under.given = true;
        }
    }

    /// A file is coming on a stream.
    pub(super) fn stream_begins(&mut self, id: BatchId, progress: Arc<FileProgress>) {
        if let Some(Under { streamed: Some((_, under)), .. }) = self.under.get_mut(&id) {
            *under = progress;
        }
    }

    /// Alpha has done what it was given.
    pub(super) fn taken(&mut self, id: BatchId) {
        if let Some(under) = self.under.get_mut(&id) {
            under.answered = Some(Instant::now());
            self.progress.done += under.operations;
        }
    }

    /// `synced` is that of the engine, at this moment.
    pub(super) fn report(&mut self, report: Report, synced: &Tree) {
        match report {
            Report::Applied { id, operations } => self.applied(id, operations),
            Report::Taken { id, operations } => self.received(id, operations),
            Report::Failed { side, problem, retried } => {
                let detail = problem.detail.to_string();
                let kind = problem.kind;
                self.problem(Found::Failed, PathProblem { side, path: problem.path, kind, detail, retried });
            }
            Report::Solved { side, path } => self.solved(side, Found::Failed, path),
            Report::Conflict { path, alpha, beta } => {
                let synced = synced.get(&path).map(Node::entry);
                self.tell(Event::Conflict(Conflict { path, alpha, beta, synced }));
            }
            Report::ConflictSolved(path) => self.tell(Event::ConflictSolved { path }),
            Report::Displaced { side, path, kept } => self.tell(Event::Displaced { side, path, kept }),
            Report::InSync => self.in_sync(),
            Report::Halted(reason) => self.tell(Event::Halted { reason }),
            Report::Resumed => self.tell(Event::Resumed),
        }
    }

    fn in_sync(&mut self) {
        self.counted = false;
        if !std::mem::replace(&mut self.is_ready, true) {
            let took = self.connected_since.map(|since| since.elapsed()).unwrap_or_default();
            let (files, bytes) = count(&self.tree);
            self.tell(Event::Ready { files, bytes, took });
        }
    }

    fn applied(&mut self, id: BatchId, operations: Vec<Planned>) {
        let Some(under) = self.under.remove(&id) else { return };
        let content_bytes = operations.iter().map(Planned::content_bytes).sum();
        self.progress.bytes_done += content_bytes;
        let latency = under.latency();
        // The bulk of the first sync is progress; a save in the midst of it is told.
        if operations.is_empty() || !(self.is_ready || latency.is_some()) {
            return;
        }
        let paths = operations.into_iter().map(synced_path).collect();
        let wire_bytes = under.wire_bytes();
        self.tell(Event::Synced(Synced { paths, content_bytes, wire_bytes, latency }));
    }

    fn received(&mut self, id: BatchId, operations: Vec<Planned>) {
        let Some(under) = self.under.remove(&id) else { return };
        let content_bytes = operations.iter().map(Planned::content_bytes).sum();
        self.progress.bytes_done += content_bytes;
        let latency = under.news.zip(under.answered).map(|(news, answered)| answered.saturating_duration_since(news));
        if operations.is_empty() || !(self.is_ready || latency.is_some()) {
            return;
        }
        let paths = operations.into_iter().map(synced_path).collect();
        self.tell(Event::Received(Received { paths, content_bytes, wire_bytes: under.wire_bytes(), latency }));
    }

    /// When progress is to be told again.
    pub(super) fn next_progress(&self, now: Duration) -> Option<Duration> {
        // While nothing is under way nothing gets on.
        let moves = self.counted && !self.under.is_empty();
        moves.then(|| self.looked_at.map_or(now, |looked| looked + PROGRESS_INTERVAL))
    }

    /// Brings the status up to date, and tells progress where it is time.
    pub(super) fn publish(&mut self, engine: &Engine) {
        if !self.counted && self.under.values().any(|under| !under.urgent) {
            let (operations, bytes) = engine.outstanding();
            self.counted = true;
            self.progress = Progress { done: 0, total: operations, bytes_done: 0, bytes_total: bytes };
        }
        let mut progress = self.progress;
        // What is being streamed counts as it is read, not only when it is done.
        progress.bytes_done += self.under.values().map(Under::streamed_bytes).sum::<u64>();
        progress.bytes_done = progress.bytes_done.min(progress.bytes_total);
        progress.total = progress.total.max(progress.done);
        progress.bytes_total = progress.bytes_total.max(progress.bytes_done);
        let now = self.shared.started.elapsed();
        if self.counted && self.looked_at.is_none_or(|looked| now >= looked + PROGRESS_INTERVAL) {
            self.looked_at = Some(now);
            if progress != self.told {
                self.told = progress;
                self.tell(Event::Progress(progress));
            }
        }
        let connected = self.connected_since.is_some();
        let (in_sync, halted) = (engine.is_in_sync(), engine.halted().map(str::to_owned));
        let conflicts = || engine.conflicts().map(|conflict| with_synced(conflict, engine.synced())).collect();
        let problems = || self.problems.values().cloned().collect();
        self.shared.update(|status| {
            status.tree = self.tree.clone();
            status.connected = connected;
            status.in_sync = in_sync;
            status.halted = halted;
            status.progress = progress;
            // Nearly always there are none, before and after: nothing is made for that.
            if !status.conflicts.is_empty() || engine.conflicts().next().is_some() {
                status.conflicts = conflicts();
            }
            if !status.problems.is_empty() || !self.problems.is_empty() {
                status.problems = problems();
            }
        });
    }

    /// What a flush comes to, now that all is done that can be.
    ///
    /// `unsettled` paths change whenever they are about to be sent.
    pub(super) fn flush_result(&self, conflicts: usize, unsettled: usize) -> Result<(), FlushError> {
        let problems = self.problems.len() + unsettled;
        if conflicts + problems > 0 { Err(FlushError::Incomplete { conflicts, problems }) } else { Ok(()) }
    }
}

impl Under {
    fn wire_bytes(&self) -> u64 {
        self.streamed.as_ref().map_or(self.wire_bytes, |(_, progress)| progress.wire.load(Ordering::Relaxed))
    }

    /// Bytes of a streamed file that have been read for sending.
    fn streamed_bytes(&self) -> u64 {
        self.streamed.as_ref().map_or(0, |(len, progress)| progress.read.load(Ordering::Relaxed).min(*len))
    }

    fn latency(&self) -> Option<Latency> {
        let (stages, sent, answered) = (self.stages?, self.sent?, self.answered?);
        let total = answered.saturating_duration_since(stages.since);
        let detect = stages.looked.saturating_duration_since(stages.since);
        let hash = stages.hashed.saturating_duration_since(stages.looked);
        let send = sent.saturating_duration_since(stages.hashed);
        let ack = total.saturating_sub(detect + hash + send + self.apply);
        Some(Latency { detect, hash, send, apply: self.apply, ack, total })
    }
}

pub(super) fn with_synced((path, alpha, beta): (&SyncPath, &Option<Entry>, &Option<Entry>), synced: &Tree) -> Conflict {
    let synced = synced.get(path).map(Node::entry);
    Conflict { path: path.clone(), alpha: alpha.clone(), beta: beta.clone(), synced }
}

fn synced_path(operation: Planned) -> SyncedPath {
    match operation {
        Planned::MakeDirectory { path } | Planned::Put { path, old: None, .. } => {
            SyncedPath { path, action: Action::Created }
        }
        Planned::Put { path, old: Some(_), .. } => SyncedPath { path, action: Action::Modified },
        Planned::Remove { path, .. } => SyncedPath { path, action: Action::Removed },
        Planned::Move { from, to, .. } => SyncedPath { path: to, action: Action::Moved { from } },
    }
}

/// Files that take part, and their bytes.
pub(super) fn count(tree: &Tree) -> (u64, u64) {
    (files(tree.root()), tree.root().bytes())
}

/// Files at any depth. Not by a walk, which makes the path of each: of a million that takes a tenth of a second, and a start
/// counts twice.
fn files(dir: &Dir) -> u64 {
    let of = |node: &Node| match node {
        Node::Directory(dir) => files(dir),
        Node::File { .. } => 1,
        Node::Symlink(_) => 0,
    };
    dir.iter().map(|(_, node, _)| of(node)).sum()
}

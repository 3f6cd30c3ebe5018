//! The observer: the one thread that owns the index of a replica.
//!
//! It waits for events of the file system and for commands, looks at what is due, and tells what has changed. Everything
//! that touches the index happens here, one thing at a time: there is no lock on it, and no order to get wrong.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender};
use sync_proto::{SyncPath, message::Problem};

use super::{
    Hashed, Observation, ReplicaOptions, Seen, Work,
    commit::{Commit, Committer},
    contents::Contents,
    hash::HashBuffer,
    hold::{CHECK_INTERVAL, Held, Hold, News},
    look::Looked,
    pending::{Due, Pending, QUIET_GONE, QUIET_MODIFIED, Urgency},
    problem,
    repository::Repository,
    watch::{Drained, Events, Hint, Waker, Watcher, watch},
    worker::Workers,
};
use crate::{
    engine::view::View,
    ignore::Rules,
    sys::{DirHandle, Kind},
    tree::{Stamp, Tree},
};

/// How often everything is scanned again, whatever the events say: what they can't tell (writes through a mapping, a
/// file system that tells nothing of other machines' writes) is found within this time.
const RESCAN_INTERVAL: Duration = Duration::from_secs(600);
/// How often directories are polled for which there are no events.
const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// Threads of a scan of everything.
const SCAN_THREADS_MAX: usize = 8;

/// What the observer is told.
pub(super) enum Command {
    Apply {
        tag: u64,
        work: Work,
        since: Instant,
    },
    /// Bulk work has been done by the worker.
    Done {
        tag: u64,
        commits: Vec<Commit>,
        since: Instant,
    },
    /// A large file has been read by the worker.
    Hashed(Hashed),
    Flush(u64),
    Rescan,
    /// A thread beside the observer has panicked.
    Failed,
    Stop,
}

/// A flush that waits for large files to be read.
#[derive(Debug)]
struct Flush {
    token: u64,
    /// Files whose reading may have begun before the flush: what comes of it counts only if it still stands.
    before: BTreeSet<SyncPath>,
    /// Files whose reading began after it.
    after: BTreeSet<SyncPath>,
}

pub(super) struct Observer {
    root_path: PathBuf,
    pub(super) root: DirHandle,
    pub(super) committer: Option<Arc<Committer>>,
    pub(super) watcher: Watcher,
    events: Events,
    /// The rules without the ignore files of the tree.
    pub(super) bare_rules: Rules,
    pub(super) rules: Rules,
    pub(super) index: Tree,
    pub(super) problems: BTreeMap<SyncPath, Problem>,
    pub(super) pending: Pending,
    /// Files whose mtime was too recent to be trusted when they were read.
    pub(super) racy: BTreeSet<SyncPath>,
    pub(super) contents: Option<Arc<Contents>>,
    pub(super) buffer: HashBuffer,
    /// Directories without events.
    pub(super) unwatched: BTreeSet<SyncPath>,
    warned_unwatched: bool,
    /// Whether something other than the index is to be told.
    pub(super) changed: bool,
    pub(super) now: Instant,
    inbox: Receiver<Command>,
    /// Set when nobody wants to know any more.
    pub(super) stop: Arc<AtomicBool>,
    pub(super) workers: Workers,
    /// Files that are being read beside.
    hashing: BTreeSet<SyncPath>,
    flushes: Vec<Flush>,
    /// Directories in whose rules something has changed: to be scanned, not only looked at, when they are due.
    pub(super) rescans: BTreeSet<SyncPath>,
    /// Bulk work that waits for the applier, which does one at a time.
    pub(super) queue: VecDeque<(u64, Work, Instant)>,
    /// What the applier is changing now. Hints about it wait until the index knows.
    pub(super) applying: Option<BTreeSet<SyncPath>>,
    deferred: Vec<Hint>,
    /// Flushes that wait for a look at what is deferred.
    deferred_flushes: Vec<u64>,
    repository: Repository,
    /// What is not told yet, because git is rewriting the tree.
    hold: Hold,
    next_rescan: Instant,
    next_poll: Instant,
    pub(super) sink: Box<dyn FnMut(Observation) + Send>,
}

impl Observer {
    pub(super) fn new(
        root_path: &Path,
        options: ReplicaOptions,
        inbox: Receiver<Command>,
        answers: Sender<Command>,
        sink: Box<dyn FnMut(Observation) + Send>,
        stop: Arc<AtomicBool>,
    ) -> io::Result<(Self, Waker)> {
        let ReplicaOptions { rules, contents, hint, committer, repository } = options;
        let root = DirHandle::open_root(root_path)?;
        let (watcher, events) = watch(root_path)?;
        let waker = watcher.waker();
        let workers = Workers::start(&root, committer.as_ref(), &answers, &waker, Arc::clone(&stop))?;
        let now = Instant::now();
        let observer = Self {
            root_path: root_path.to_owned(),
            root,
            committer,
            watcher,
            events,
            bare_rules: rules.clone(),
            rules,
            index: hint,
            problems: BTreeMap::new(),
            pending: Pending::default(),
            racy: BTreeSet::new(),
            contents,
            buffer: HashBuffer::stopped_by(Arc::clone(&stop)),
            unwatched: BTreeSet::new(),
            warned_unwatched: false,
            changed: false,
            now,
            inbox,
            stop,
            workers,
            hashing: BTreeSet::new(),
            flushes: Vec::new(),
            rescans: BTreeSet::new(),
            queue: VecDeque::new(),
            applying: None,
            deferred: Vec::new(),
            deferred_flushes: Vec::new(),
            repository,
            hold: Hold::default(),
            next_rescan: now + RESCAN_INTERVAL,
            next_poll: now + POLL_INTERVAL,
            sink,
        };
        Ok((observer, waker))
    }

    pub(super) fn run(mut self) {
        self.scan_all();
        if self.is_stopping() {
            return;
        }
        let seen = self.seen(News { paths: Vec::new(), since: self.now, looked: self.now }, false);
        (self.sink)(Observation::Scanned(seen));
        let mut hints = Vec::new();
        loop {
            if let Err(error) = self.events.wait(Some(self.timeout()), &mut hints) {
                return self.lost(format!("the source can't be watched any more: {error}"));
            }
            if self.is_stopping() {
                return;
            }
            self.now = Instant::now();
            for hint in hints.drain(..) {
                if matches!(hint, Hint::RootGone) {
                    return self.lost(format!("{} is gone, or was moved or unmounted", self.root_path.display()));
                }
                self.hint(hint);
            }
            loop {
                match self.inbox.try_recv() {
                    Ok(Command::Stop) => return,
                    Ok(command) => {
                        if !self.command(command) {
                            return;
                        }
                    }
                    Err(_) => break,
                }
            }
            self.look_at_due();
            self.at_intervals();
            self.end_hold_if_over();
        }
    }

    fn timeout(&self) -> Duration {
        let mut next = self.next_rescan;
        next = self.pending.next_due().map_or(next, |due| next.min(due));
        if !self.unwatched.is_empty() {
            next = next.min(self.next_poll);
        }
        if self.hold.is_holding() {
            next = next.min(self.now + CHECK_INTERVAL);
        }
        next.saturating_duration_since(Instant::now())
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn lost(&mut self, reason: String) {
        (self.sink)(Observation::Lost(reason));
    }

    fn command(&mut self, command: Command) -> bool {
        match command {
            Command::Apply { tag, work, since } => self.apply(tag, work, since),
            Command::Done { tag, commits, since } => {
                self.applying = None;
                self.applied(tag, commits, since);
                for hint in std::mem::take(&mut self.deferred) {
                    self.hint(hint);
                }
                self.flush_after_applying();
            }
            Command::Hashed(hashed) => self.hashed(hashed),
            Command::Flush(token) => return self.flush(token),
            Command::Rescan => {
                self.scan_all();
                self.tell(Vec::new(), self.now, self.now);
            }
            Command::Failed => {
                self.lost("a thread of the replica has failed, which is a bug: the log has more".to_owned());
                return false;
            }
            Command::Stop => return false,
        }
        true
    }

    fn hint(&mut self, hint: Hint) {
        let about = match &hint {
            Hint::Finished(path)
            | Hint::Modified(path)
            | Hint::Gone(path)
            | Hint::Directory(path)
            | Hint::Attributes(path) => Some(path),
            Hint::Moved { to, .. } => Some(to),
            Hint::Lost | Hint::RootGone => None,
        };
        if about.is_some_and(|path| self.is_being_applied(path)) {
            self.deferred.push(hint);
            return;
        }
        let now = self.now;
        match hint {
            Hint::Finished(path) | Hint::Attributes(path) | Hint::Directory(path) => {
                self.pending.note(path, Urgency::Now, now);
            }
            Hint::Modified(path) => self.pending.note(path, Urgency::Quiet(QUIET_MODIFIED), now),
            Hint::Gone(path) => self.pending.note(path, Urgency::Quiet(QUIET_GONE), now),
            Hint::Moved { from, to } => {
                if self.moved(&from, &to) == Looked::Changed {
                    self.tell(vec![from, to], now, now);
                }
            }
            Hint::Lost => {
                if !self.hold.lost() {
                    self.scan_lost();
                    self.tell(Vec::new(), now, now);
                }
            }
            Hint::RootGone => {}
        }
    }

    /// Whether the applier is changing what stands at `path`, above it or beneath.
    fn is_being_applied(&self, path: &SyncPath) -> bool {
        let Some(applying) = &self.applying else { return false };
        std::iter::successors(Some(path.clone()), SyncPath::parent).any(|above| applying.contains(&above))
            || applying.range(path..).next().is_some_and(|first| first.starts_with(path))
    }

    /// Looks at `path`; later, where the applier is at it: what is there now is half of what we do ourselves.
    pub(super) fn look_once_applied(&mut self, path: &SyncPath) -> Looked {
        if self.is_being_applied(path) {
            self.deferred.push(Hint::Finished(path.clone()));
            return Looked::Same;
        }
        if self.rescans.remove(path) { self.rescan(path) } else { self.look(path) }
    }

    /// Looks at every path that is due, and tells once what has changed.
    fn look_at_due(&mut self) {
        let due = self.pending.take_due(self.now);
        if due.is_empty() {
            return;
        }
        let looked = Instant::now();
        let since = due.iter().map(|due| due.since).min().unwrap_or(looked);
        let mut hot = Vec::with_capacity(due.len());
        for Due { path, .. } in due {
            if self.look_once_applied(&path) == Looked::Changed {
                hot.push(path);
            }
        }
        if !hot.is_empty() || self.changed {
            self.tell(hot, since, looked);
        }
    }

    fn at_intervals(&mut self) {
        if self.now >= self.next_rescan {
            self.scan_all();
            self.tell(Vec::new(), self.now, self.now);
        } else if !self.unwatched.is_empty() && self.now >= self.next_poll {
            self.poll_unwatched();
        }
        self.next_poll = if self.now >= self.next_poll { self.now + POLL_INTERVAL } else { self.next_poll };
    }

    /// Scans the directories for which there are no events.
    fn poll_unwatched(&mut self) {
        let polled: Vec<SyncPath> = self.unwatched.iter().cloned().collect();
        let mut changed = false;
        let mut above: Option<SyncPath> = None;
        for path in polled {
            // What lies beneath one that has been polled has been too, and comes right after it.
            if above.as_ref().is_none_or(|above| !path.starts_with(above)) {
                changed |= self.rescan(&path) == Looked::Changed;
                above = Some(path);
            }
        }
        if changed || self.changed {
            self.tell(Vec::new(), self.now, self.now);
        }
    }

    fn scan_all(&mut self) {
        self.unwatched.clear();
        self.rescan(&SyncPath::root());
        if !self.root.has_events() {
            self.note_unwatched(vec![SyncPath::root()]);
        }
        self.now = Instant::now();
        self.next_rescan = self.now + RESCAN_INTERVAL;
    }

    /// Events were lost: only a look at everything tells what has changed.
    fn scan_lost(&mut self) {
        self.scan_all();
        self.watcher.retire_lost();
    }

    pub(super) fn note_unwatched(&mut self, paths: Vec<SyncPath>) {
        if paths.is_empty() {
            return;
        }
        self.unwatched.extend(paths);
        if !self.warned_unwatched {
            self.warned_unwatched = true;
            let message = if self.root.has_events() {
                "the kernel's limit of inotify watches is reached: directories without a watch are polled every 2 s. Raise it \
                 with `sudo sysctl fs.inotify.max_user_watches=1048576`"
            } else {
                "the file system gives no events: it is polled every 2 s"
            };
            (self.sink)(Observation::Warning(message.to_owned()));
        }
    }

    pub(super) fn hash_elsewhere(&mut self, path: SyncPath) {
        if self.hashing.insert(path.clone()) {
            self.workers.hash(path);
        } else {
            // It is being read, and has changed since: again when that is done.
            self.racy.insert(path);
        }
    }

    fn hashed(&mut self, hashed: Hashed) {
        let Hashed { path, result, recent } = hashed;
        self.hashing.remove(&path);
        self.racy.remove(&path);
        let looked = match result {
            // Much may have happened since the reading began: it may have been written to, replaced or removed.
            Ok((node, stamp)) if self.stands(&path, stamp) => {
                self.recheck_if(&path, recent);
                Some(self.take(&path, node, Some(stamp)))
            }
            Err(error) if !problem::is_gone(&error) => Some(self.failed(&path, &error)),
            Ok(_) | Err(_) => None,
        };
        if looked.is_none() {
            self.pending.note(path.clone(), Urgency::Quiet(QUIET_MODIFIED), self.now);
        }
        let for_flush = self.flushes.iter().any(|flush| flush.before.contains(&path));
        if looked == Some(Looked::Changed) || self.changed {
            self.tell(vec![path.clone()], self.now, self.now);
        }
        if for_flush && (looked.is_none() || recent) && self.look(&path) == Looked::Changed {
            self.tell(vec![path.clone()], self.now, self.now);
        }
        self.read_for_flushes(&path);
    }

    /// A file that flushes may wait for has been read, and is being read again where that was not good enough for them.
    fn read_for_flushes(&mut self, path: &SyncPath) {
        let again = self.hashing.contains(path);
        for flush in &mut self.flushes {
            flush.after.remove(path);
            if flush.before.remove(path) && again {
                flush.after.insert(path.clone());
            }
        }
        self.flushes.retain(|flush| {
            let waits = !(flush.before.is_empty() && flush.after.is_empty());
            if !waits {
                (self.sink)(Observation::Flushed(flush.token));
            }
            waits
        });
    }

    fn flush(&mut self, token: u64) -> bool {
        let before = self.hashing.clone();
        // Who asks wants it now, whole or not.
        let held = self.hold.end(self.repository.lock());
        let mut hints = Vec::new();
        // Where we only observe, nothing is written.
        let writable = self.committer.as_ref().map(|_| &self.root);
        let drained = self.events.drain(writable, &mut hints);
        for hint in hints {
            if matches!(hint, Hint::RootGone) {
                self.lost(format!("{} is gone, or was moved or unmounted", self.root_path.display()));
                return false;
            }
            self.hint(hint);
        }
        match drained {
            Ok(Drained::Exact) => {
                self.pending.all_now(self.now);
                self.poll_unwatched();
            }
            // Without a queue to read to a known end, only a look at everything is proof.
            Ok(Drained::BestEffort) | Err(_) => {
                self.scan_all();
                self.tell(Vec::new(), self.now, self.now);
            }
        }
        self.look_at_due();
        if let Some(held) = held {
            self.tell_held(held);
        }
        if self.deferred.is_empty() {
            self.flush_hashing(token, before);
        } else {
            self.deferred_flushes.push(token);
        }
        true
    }

    /// Flushes go on that had to wait for the applier.
    fn flush_after_applying(&mut self) {
        if self.deferred_flushes.is_empty() {
            return;
        }
        let before = self.hashing.clone();
        self.pending.all_now(self.now);
        self.look_at_due();
        if self.deferred.is_empty() {
            for token in std::mem::take(&mut self.deferred_flushes) {
                self.flush_hashing(token, before.clone());
            }
        }
    }

    /// Everything has been looked at: what is left of a flush is large files that are being read, `before` since before it.
    fn flush_hashing(&mut self, token: u64, before: BTreeSet<SyncPath>) {
        if self.hashing.is_empty() {
            (self.sink)(Observation::Flushed(token));
        } else {
            let after = self.hashing.difference(&before).cloned().collect();
            self.flushes.push(Flush { token, before, after });
        }
    }

    /// Whether the very file that was read under `stamp` stands at `path` and takes part.
    fn stands(&self, path: &SyncPath, stamp: Stamp) -> bool {
        let Some((parent, name)) = path.split_last() else { return false };
        let stat = self.root.resolve(&parent).and_then(|dir| dir.stat(name));
        stat.is_ok_and(|stat| stat.kind == Kind::File && stat.stamp == stamp) && !self.rules.is_ignored(path, false)
    }

    pub(super) fn view(&self) -> View {
        View { tree: self.index.clone(), complete: true, problems: self.problems.clone() }
    }

    fn seen(&mut self, news: News, together: bool) -> Seen {
        self.changed = false;
        let News { paths, since, looked } = news;
        let (view, rules) = (self.view(), self.rules.clone());
        Seen { view, rules, hot: paths, together, since, looked, done: Instant::now() }
    }

    fn tell(&mut self, paths: Vec<SyncPath>, since: Instant, looked: Instant) {
        let news = News { paths, since, looked };
        if let Some(news) = self.hold.hold(self.repository.lock(), news, self.now) {
            let seen = self.seen(news, false);
            (self.sink)(Observation::Changed(seen));
        }
    }

    /// Tells what was held back, once git has let go of the tree.
    fn end_hold_if_over(&mut self) {
        if self.hold.is_holding()
            && let Some(held) = self.hold.end_if_over(self.repository.lock(), self.now)
        {
            self.tell_held(held);
        }
    }

    fn tell_held(&mut self, held: Held) {
        let (since, looked) = (held.since, held.looked);
        if held.is_lost {
            self.scan_lost();
        }
        let few = held.into_few();
        let together = few.is_none();
        let seen = self.seen(News { paths: few.unwrap_or_default(), since, looked }, together);
        (self.sink)(Observation::Changed(seen));
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Else whoever waits for it would wait for ever.
            self.lost("the replica has failed, which is a bug: the log has more".to_owned());
        }
    }
}

/// How many threads share a scan of everything.
pub(super) fn scan_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(SCAN_THREADS_MAX)
}

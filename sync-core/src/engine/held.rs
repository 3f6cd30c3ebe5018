//! Paths that are left alone for now, because an operation there failed.
//!
//! A path waits for a moment, which comes later each time, or for a change near it. When the wait is over it stays known until
//! its operation has gone through, or all is done without it: only then what was reported of it is solved.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use sync_proto::{SyncPath, message::ProblemKind};

/// How long a failed path first waits. Doubles up to [`RETRY_MAX`].
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// How long a failed path waits at most.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// From how many attempts on the wait is no longer.
const ATTEMPTS_MAX: u32 = 5;

/// Why nothing is planned at a path for now.
#[derive(Debug, Clone, Copy)]
struct Hold {
    wait: Wait,
    attempts: u32,
    /// What the user was told.
    reported: Option<ProblemKind>,
}

/// What a held path waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// A moment.
    Until(Duration),
    /// That something changes there.
    Change,
    /// Nothing any more.
    Over,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Held {
    holds: BTreeMap<SyncPath, Hold>,
    /// Those that wait for a moment, in order of it.
    due: BTreeSet<(Duration, SyncPath)>,
    /// Those whose wait is over.
    over: BTreeSet<SyncPath>,
    /// How many wait without the user having been told.
    silent: usize,
}

impl Held {
    /// Leaves `path` alone: from `retry` for a time that grows, or, without one, until something changes there. Whether the
    /// user has not been told of this `problem` yet.
    pub(super) fn hold(&mut self, path: &SyncPath, problem: Option<ProblemKind>, retry: Option<Duration>) -> bool {
        let before = self.take(path);
        let attempts = before.map_or(0, |hold| hold.attempts);
        let told = before.and_then(|hold| hold.reported);
        let pause = RETRY_FIRST.saturating_mul(1 << attempts.min(ATTEMPTS_MAX)).min(RETRY_MAX);
        let wait = retry.map_or(Wait::Change, |now| Wait::Until(now.saturating_add(pause)));
        self.put(path.clone(), Hold { wait, attempts: attempts.saturating_add(1), reported: problem.or(told) });
        problem.is_some() && problem != told
    }

    /// Whether a directory above `path` is held, and the user was told of such a problem there.
    pub(super) fn has_above(&self, path: &SyncPath, problem: ProblemKind) -> bool {
        let is_told = |above: SyncPath| self.holds.get(&above).is_some_and(|hold| hold.reported == Some(problem));
        std::iter::successors(path.parent(), SyncPath::parent).any(is_told)
    }

    /// How often the path has been held so far.
    pub(super) fn attempts(&self, path: &SyncPath) -> u32 {
        self.holds.get(path).map_or(0, |hold| hold.attempts)
    }

    /// Whether nothing may be planned at `path`.
    pub(super) fn is_waiting(&self, path: &SyncPath) -> bool {
        self.holds.get(path).is_some_and(|hold| hold.wait != Wait::Over)
    }

    /// Something changed at `path`: what is held there, above or beneath may be tried again, as if for the first time.
    pub(super) fn release(&mut self, path: &SyncPath) {
        if self.holds.is_empty() {
            return;
        }
        let beneath = self.holds.range(path..).map(|(held, _)| held).take_while(|held| held.starts_with(path));
        let above =
            std::iter::successors(path.parent(), SyncPath::parent).filter(|above| self.holds.contains_key(above));
        let near: Vec<SyncPath> = beneath.cloned().chain(above).collect();
        near.into_iter().for_each(|held| self.end(held, 0));
    }

    /// Everything may be tried again.
    pub(super) fn release_all(&mut self) {
        self.release(&SyncPath::root());
    }

    /// The operation at `path` has gone through. Whether the user had been told of a problem there.
    pub(super) fn solve(&mut self, path: &SyncPath) -> bool {
        self.take(path).is_some_and(|hold| hold.reported.is_some())
    }

    /// All is done that could be: what waits for nothing any more is not wanted any more. The paths of which the user had
    /// been told.
    pub(super) fn sweep(&mut self) -> Vec<SyncPath> {
        let over: Vec<SyncPath> = self.over.iter().cloned().collect();
        over.into_iter().filter(|path| self.solve(path)).collect()
    }

    /// Ends the waits that are over by `now`. Whether there were any.
    pub(super) fn expire(&mut self, now: Duration) -> bool {
        let mut expired = false;
        while let Some((moment, path)) = self.due.first()
            && *moment <= now
        {
            let path = path.clone();
            let attempts = self.holds.get(&path).map_or(0, |hold| hold.attempts);
            self.end(path, attempts);
            expired = true;
        }
        expired
    }

    /// When the next wait is over.
    pub(super) fn next(&self) -> Option<Duration> {
        self.due.first().map(|(moment, _)| *moment)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.holds.is_empty()
    }

    /// How many paths wait without the user having been told.
    pub(super) fn silent(&self) -> usize {
        self.silent
    }

    /// Whether something waits of which the user does not know: not all is done then.
    pub(super) fn has_silent(&self) -> bool {
        self.silent > 0
    }

    fn end(&mut self, path: SyncPath, attempts: u32) {
        if let Some(hold) = self.take(&path) {
            self.put(path, Hold { wait: Wait::Over, attempts, ..hold });
        }
    }

    fn put(&mut self, path: SyncPath, hold: Hold) {
        match hold.wait {
            Wait::Until(moment) => {
                self.due.insert((moment, path.clone()));
            }
            Wait::Over => {
                self.over.insert(path.clone());
            }
            Wait::Change => {}
        }
        self.silent += usize::from(hold.is_silent());
        self.holds.insert(path, hold);
    }

    fn take(&mut self, path: &SyncPath) -> Option<Hold> {
        let hold = self.holds.remove(path)?;
        match hold.wait {
            Wait::Until(moment) => {
                self.due.remove(&(moment, path.clone()));
            }
            Wait::Over => {
                self.over.remove(path);
            }
            Wait::Change => {}
        }
        self.silent -= usize::from(hold.is_silent());
        Some(hold)
    }
}

impl Hold {
    fn is_silent(&self) -> bool {
        self.reported.is_none() && self.wait != Wait::Over
    }
}

//! Which paths have to be looked at, and when: the one place that knows about quiet times.
//!
//! A finished save is looked at at once. What may be the middle of one (a file being written, a name that is gone for the
//! moment, as in every editor's rename-and-write) is looked at when it has been quiet, or at a hard cap. Pure: the time is
//! an argument.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use sync_proto::SyncPath;

/// How long a file that is being written must be quiet: longer than the pause between truncating and writing (fault 4).
pub(super) const QUIET_MODIFIED: Duration = Duration::from_millis(100);
/// How long a name must be gone: longer than any editor takes to put the new file in place (faults 5 and 6).
pub(super) const QUIET_GONE: Duration = Duration::from_millis(25);
/// How long a path waits at most, however busy it is (fault 11).
pub(super) const WAIT_MAX: Duration = Duration::from_millis(1000);
/// When a file that was modified within the clock's grain of being read is read again.
pub(super) const RECHECK: Duration = Duration::from_millis(1000);
/// When a path is looked at again that could not be looked at for want of descriptors or memory, or for an error of the
/// disk: no event tells that there is room again (faults 31 and 34).
pub(super) const RETRY: Duration = Duration::from_secs(5);

/// When to look at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    /// Now.
    Now,
    /// When it has been quiet for so long.
    Quiet(Duration),
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    /// When the first event was read; `None` where there was none, and the path is looked at to make sure.
    first: Option<Instant>,
    due: Instant,
}

/// A path that is due.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) path: SyncPath,
    /// When the first event for it was read.
    pub(super) since: Instant,
}

/// Paths to look at.
#[derive(Debug, Default)]
pub(super) struct Pending {
    paths: BTreeMap<SyncPath, Waiting>,
}

impl Pending {
    /// Notes that something happened at `path`.
    pub(super) fn note(&mut self, path: SyncPath, urgency: Urgency, now: Instant) {
        let waiting = self.paths.entry(path).or_insert(Waiting { first: None, due: now + WAIT_MAX });
        let first = *waiting.first.get_or_insert(now);
        match urgency {
            Urgency::Now => waiting.due = now,
            Urgency::Quiet(quiet) => {
                // A look that is already due is not put off: a finished save stays finished.
                if waiting.due > now {
                    waiting.due = (now + quiet).min(first + WAIT_MAX);
                }
            }
        }
    }

    /// Notes that `path` is to be looked at again after `wait`, whatever happens; an earlier look does as well.
    pub(super) fn note_later(&mut self, path: SyncPath, wait: Duration, now: Instant) {
        self.paths.entry(path).or_insert(Waiting { first: None, due: now + wait });
    }

    /// Makes everything due.
    pub(super) fn all_now(&mut self, now: Instant) {
        for waiting in self.paths.values_mut() {
            waiting.due = now;
        }
    }

    /// Forgets what lies beneath `path`, and the path itself: it has been looked at as a whole.
    pub(super) fn forget_beneath(&mut self, path: &SyncPath) {
        let beneath: Vec<SyncPath> = self
            .paths
            .range(path..)
            .map(|(known, _)| known)
            .take_while(|known| known.starts_with(path))
            .cloned()
            .collect();
        for path in beneath {
            self.paths.remove(&path);
        }
    }

    /// What lies beneath `from` lies beneath `to` now. To be looked at at once: an event at the old path may tell of
    /// something that only stands at the new one.
    pub(super) fn rebase(&mut self, from: &SyncPath, to: &SyncPath, now: Instant) {
        let beneath: Vec<SyncPath> = self
            .paths
            .range(from..)
            .map(|(known, _)| known)
            .take_while(|known| known.starts_with(from))
            .cloned()
            .collect();
        for path in beneath {
            let Some(waiting) = self.paths.remove(&path) else { continue };
            if path != *from
                && let Some(Ok(path)) = path.strip_prefix(from).map(|below| to.join_path(&below))
            {
                self.paths.insert(path, Waiting { due: now, ..waiting });
            }
        }
    }

    /// When the next path is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.paths.values().map(|waiting| waiting.due).min()
    }

    /// Takes out what is due, in order of path.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<Due> {
        let due = |waiting: &Waiting| waiting.due <= now;
        if !self.paths.values().any(due) {
            return Vec::new();
        }
        let mut taken = Vec::new();
        self.paths.retain(|path, waiting| {
            if due(waiting) {
                taken.push(Due { path: path.clone(), since: waiting.first.unwrap_or(now) });
            }
            !due(waiting)
        });
        taken
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn path(text: &str) -> SyncPath {
        SyncPath::parse(text.as_bytes()).unwrap()
    }

    fn paths(due: &[Due]) -> Vec<String> {
        due.iter().map(|due| due.path.to_string()).collect()
    }

    #[test]
    fn a_finished_save_is_due_at_once_and_stays_so() {
        let (mut pending, now) = (Pending::default(), Instant::now());
        pending.note(path("a"), Urgency::Quiet(QUIET_GONE), now);
        pending.note(path("a"), Urgency::Now, now);
        pending.note(path("a"), Urgency::Quiet(QUIET_MODIFIED), now);
        assert_eq!(paths(&pending.take_due(now)), ["a"]);
        assert_eq!(pending.next_due(), None);
    }

    #[test]
    fn a_busy_file_waits_for_quiet_but_not_for_ever() {
        let (mut pending, start) = (Pending::default(), Instant::now());
        let mut now = start;
        loop {
            pending.note(path("log"), Urgency::Quiet(QUIET_MODIFIED), now);
            if !pending.take_due(now).is_empty() {
                break;
            }
            now += Duration::from_millis(10);
            assert!(now <= start + WAIT_MAX + Duration::from_millis(10));
        }
        assert!(now >= start + WAIT_MAX);
        pending.note(path("log"), Urgency::Quiet(QUIET_MODIFIED), now);
        assert!(pending.take_due(now + QUIET_MODIFIED / 2).is_empty());
        assert_eq!(paths(&pending.take_due(now + QUIET_MODIFIED)), ["log"]);
    }

    #[test]
    fn forgets_exactly_what_lies_beneath() {
        let (mut pending, now) = (Pending::default(), Instant::now());
        for text in ["d", "d/a", "d/a/b", "d.x", "e"] {
            pending.note(path(text), Urgency::Now, now);
        }
        pending.forget_beneath(&path("d"));
        assert_eq!(paths(&pending.take_due(now)), ["d.x", "e"]);
    }
}

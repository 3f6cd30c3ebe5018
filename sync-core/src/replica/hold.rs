//! When news is held back: while git rewrites the tree, so that the other side never builds half a branch.
//!
//! The index follows as ever; only telling waits, until git lets go of its lock. A hold is a kindness and no promise: it
//! ends by itself where the lock stays (an editor that waits for a commit message, a git that was killed), where too little
//! happens for a change of branch, or where it takes too long. Pure: the time and the lock's stat data are arguments.

use std::time::{Duration, Instant};

use sync_proto::SyncPath;

use crate::tree::Stamp;

/// How often the lock is looked at during a hold.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_millis(5);
/// How long the lock must be gone: a rebase takes it again for its next step. Longer than a name must be gone for it to
/// count (see [`QUIET_GONE`](super::pending::QUIET_GONE)), so that the last deletions are in.
const SETTLE_TIME: Duration = Duration::from_millis(30);
/// Up to so many paths it may be a save, at whose time something else just holds the lock.
const FEW_PATHS: usize = 2;
/// How long a save is held at most.
const FEW_TIME_MAX: Duration = Duration::from_millis(50);
/// How long nothing may change during a hold.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How long a hold lasts at most.
const HOLD_TIME_MAX: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Hold {
    held: Option<Held>,
    /// A lock for which nothing is held any more.
    spent: Option<Stamp>,
}

/// What is held back.
#[derive(Debug)]
pub(super) struct Held {
    /// When it began.
    began: Instant,
    /// When something changed last.
    changed: Instant,
    /// Since when there is no lock.
    free: Option<Instant>,
    /// Which, for as long as they are few.
    few: Option<Vec<SyncPath>>,
    /// When the first event was read, and when the look began.
    pub(super) since: Instant,
    pub(super) looked: Instant,
    /// Whether events were lost, so that all has to be scanned.
    pub(super) is_lost: bool,
}

impl Held {
    /// The paths of a save. `None`: it is more than that, and belongs together.
    pub(super) fn into_few(self) -> Option<Vec<SyncPath>> {
        self.few.filter(|_| !self.is_lost)
    }

    fn add(&mut self, paths: Vec<SyncPath>) {
        // What a scan finds has no names.
        let is_scan = paths.is_empty();
        self.few = self.few.take().filter(|_| !is_scan).and_then(|mut few| {
            for path in paths {
                if !few.contains(&path) {
                    few.push(path);
                }
                if few.len() > FEW_PATHS {
                    return None;
                }
            }
            Some(few)
        });
    }
}

impl Hold {
    /// There is news. It is given back where it is to be told now.
    pub(super) fn hold(&mut self, lock: Option<Stamp>, news: News, now: Instant) -> Option<News> {
        if self.held.is_none() {
            if lock.is_none() {
                self.spent = None;
            }
            if lock.is_none() || lock == self.spent {
                return Some(news);
            }
        }
        let News { paths, since, looked } = news;
        let held = self.held.get_or_insert_with(|| Held {
            began: now,
            changed: now,
            free: None,
            few: Some(Vec::new()),
            since,
            looked,
            is_lost: false,
        });
        held.changed = now;
        held.add(paths);
        None
    }

    /// Events were lost. Whether the scan that this needs can wait.
    pub(super) fn lost(&mut self) -> bool {
        if let Some(held) = &mut self.held {
            held.is_lost = true;
        }
        self.is_holding()
    }

    pub(super) fn is_holding(&self) -> bool {
        self.held.is_some()
    }

    /// What was held, once that is over.
    pub(super) fn end_if_over(&mut self, lock: Option<Stamp>, now: Instant) -> Option<Held> {
        let held = self.held.as_mut()?;
        let few = held.few.is_some() && !held.is_lost;
        let is_over = match lock {
            None => few || now.duration_since(*held.free.get_or_insert(now)) >= SETTLE_TIME,
            Some(_) => {
                held.free = None;
                few && now.duration_since(held.began) >= FEW_TIME_MAX || now.duration_since(held.changed) >= PAUSE_MAX
            }
        };
        if !is_over && now.duration_since(held.began) < HOLD_TIME_MAX {
            return None;
        }
        self.end(lock)
    }

    /// Holds nothing any more on account of this lock. What was held.
    pub(super) fn end(&mut self, lock: Option<Stamp>) -> Option<Held> {
        self.spent = lock;
        self.held.take()
    }
}

/// What is to be told.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct News {
    /// The paths that events named; none after a scan.
    pub(super) paths: Vec<SyncPath>,
    /// When the first event for any of them was read.
    pub(super) since: Instant,
    /// When the look began.
    pub(super) looked: Instant,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const LOCK: Option<Stamp> = Some(Stamp { mtime_ns: 1, ctime_ns: 2, inode: 3 });
    const LOOKS: u32 = 20_000;
    const MILLI: Duration = Duration::from_millis(1);

    fn news(paths: impl IntoIterator<Item = usize>, now: Instant) -> News {
        let path = |number: usize| SyncPath::parse(number.to_string().as_bytes()).unwrap();
        News { paths: paths.into_iter().map(path).collect(), since: now, looked: now }
    }

    /// A lock that is free, or held, at each look; and after how many looks a hold of so many paths, one a look, is over.
    fn ends_after(paths: usize, lock: impl Fn(u32) -> Option<Stamp>) -> (u32, bool) {
        let (mut hold, start) = (Hold::default(), Instant::now());
        for look in 0..LOOKS {
            let now = start + MILLI * look;
            let number = look as usize;
            if number < paths {
                assert_eq!(hold.hold(lock(look), news([number], now), now), None, "look {look}");
            }
            if let Some(held) = hold.end_if_over(lock(look), now) {
                return (look, held.into_few().is_none());
            }
        }
        (LOOKS, true)
    }

    #[test]
    fn without_a_lock_nothing_waits() {
        let (mut hold, now) = (Hold::default(), Instant::now());
        assert!(hold.hold(None, news(0..100, now), now).is_some() && !hold.is_holding());
    }

    #[test]
    fn a_switch_is_held_until_the_lock_has_been_free_for_a_while() {
        let settle = u32::try_from(SETTLE_TIME.as_millis()).unwrap();
        assert_eq!(ends_after(300, |look| LOCK.filter(|_| look < 400)), (400 + settle, true));
        // A rebase takes it again and again.
        let again = |look: u32| LOCK.filter(|_| look < 1000 && look % 100 < 80);
        assert_eq!(ends_after(300, again), (980 + settle, true));
    }

    #[test]
    fn a_save_beside_a_lock_is_not_held_for_long_and_the_next_not_at_all() {
        assert_eq!(ends_after(1, |look| LOCK.filter(|_| look < 7)), (7, false));
        let few = u32::try_from(FEW_TIME_MAX.as_millis()).unwrap();
        assert_eq!(ends_after(2, |_| LOCK), (few, false));
        let (mut hold, now) = (Hold::default(), Instant::now());
        hold.hold(LOCK, news([1], now), now);
        let later = now + FEW_TIME_MAX;
        assert_eq!(hold.end_if_over(LOCK, later).unwrap().into_few().unwrap().len(), 1);
        assert!(hold.hold(LOCK, news([2], later), later).is_some(), "the same lock");
        let other = LOCK.map(|lock| Stamp { inode: 4, ..lock });
        assert!(hold.hold(other, news([2], later), later).is_none(), "another lock");
    }

    #[test]
    fn a_lock_that_stays_does_not_hold_for_ever() {
        let pause = u32::try_from(PAUSE_MAX.as_millis()).unwrap();
        assert_eq!(ends_after(300, |_| LOCK), (299 + pause, true));
        let most = u32::try_from(HOLD_TIME_MAX.as_millis()).unwrap();
        assert_eq!(ends_after(20_000, |_| LOCK), (most, true));
    }

    #[test]
    fn lost_events_and_scans_belong_together() {
        let (mut hold, now) = (Hold::default(), Instant::now());
        assert!(!hold.lost());
        hold.hold(LOCK, news([1], now), now);
        assert!(hold.lost());
        let held = hold.end(LOCK).unwrap();
        assert!(held.is_lost && held.into_few().is_none());
        let other = LOCK.map(|lock| Stamp { inode: 4, ..lock });
        hold.hold(other, news([], now), now);
        assert!(hold.end(other).unwrap().into_few().is_none());
    }
}

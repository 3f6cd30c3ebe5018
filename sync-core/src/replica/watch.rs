//! What changes beneath a root, as the kernel tells it.
//!
//! Events are hints: they say where to look, never what is there. A lost one is repaired by a rescan. What is promised is
//! order (hints come in the order of the changes) and that nothing is lost silently ([`Hint::Lost`]).
//!
//! Each directory is watched by itself, so that ignored trees cost nothing: whoever scans adds a watch first and lists
//! then, and so sees what is made in between. [`Watcher`] adds and removes watches, from any thread; [`Events`] is read
//! by one. A watch belongs to the directory, not to its path: where a directory is renamed within the root its watches
//! and those beneath it follow, and one [`Hint::Moved`] says so. Nothing is left behind by a crash.
//!
//! Linux speaks to inotify directly; elsewhere, and with the feature `portable`, the twin is made of the `notify` crate.
//! The twin says the same with these differences: a renamed directory is [`Hint::Gone`] and [`Hint::Directory`], and its
//! watches end; a watch that was added before the [`Hint::Directory`] of its directory is to be added again after it; a
//! root that is deleted or moved while it is held open may go unsaid; where the platform does not say that a file was
//! closed, a save is [`Hint::Modified`]; [`Events::drain`] writes to the root, and is not always exact.
//!
//! **The barrier.** [`Events::drain`] ends with hints of all that was changed before the call ([`Drained::Exact`]), so that a
//! flush needs no scan. inotify needs nothing for it: the kernel queues an event before the call that made the change returns,
//! so whoever reads the queue to the length that it had has read them all, and nothing is written to the user's disk. The
//! twin can't see how much is queued, in the kernel and in the thread that reads it: it makes a cookie, a file in `.synctl`,
//! and reads on until that is told, which comes after all that was changed before. Where it may not write to the root, can't,
//! or is not told of the cookie within half a second, it says [`Drained::BestEffort`], and a scan has to do.
//!
//! Not told by any platform: writes through a memory map, writes on another host of a network file system, and all but
//! one of the paths of a directory that is mounted in several places beneath the root. A rescan sees them.

#[cfg(all(target_os = "linux", not(feature = "portable")))]
mod inotify;
#[cfg(any(not(target_os = "linux"), feature = "portable"))]
mod portable;
#[cfg(all(target_os = "linux", not(feature = "portable")))]
mod table;
#[cfg(test)]
mod tests;

use std::io;

use sync_proto::SyncPath;

#[cfg(all(target_os = "linux", not(feature = "portable")))]
pub use self::inotify::{Events, Waker, Watcher, watch};
#[cfg(any(not(target_os = "linux"), feature = "portable"))]
pub use self::portable::{Events, Waker, Watcher, watch};

/// Where to look, and how soon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// A file was closed after writing, or a file or symlink was moved into place: look now.
    Finished(SyncPath),
    /// A file is being written; or a file, symlink or special file was made: look when it is quiet.
    ///
    /// A hard link or a symlink that was made in place (not renamed there) has no further event, and the kernel does not say
    /// which of all it was that appeared.
    Modified(SyncPath),
    /// What was there was deleted or moved away, with all beneath it. Something else may stand there by now: look.
    Gone(SyncPath),
    /// A directory appeared: add a watch to it, then scan it.
    Directory(SyncPath),
    /// A watched directory was renamed within the root. Its watches and those beneath it have been carried over.
    Moved {
        /// Its path before.
        from: SyncPath,
        /// Its path now. What was there before is gone.
        to: SyncPath,
    },
    /// Mode or other attributes changed.
    Attributes(SyncPath),
    /// The kernel dropped events: rescan everything, adding every watch again, then call [`Watcher::retire_lost`].
    Lost,
    /// The root itself was deleted, moved or unmounted.
    RootGone,
}

/// Whether everything that had happened is now said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// All changes made before the call are among the hints.
    Exact,
    /// Some may still be under way.
    BestEffort,
}

/// Why a directory is not watched.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The kernel allows no more watches. The directory is to be polled.
    #[error(
        "no more directories can be watched{}: raise fs.inotify.max_user_watches (sysctl)",
        .limit.map(|limit| format!(" (the limit is {limit})")).unwrap_or_default()
    )]
    LimitReached {
        /// What the limit is, where it is known.
        limit: Option<u64>,
    },
    /// The directory is not there any more.
    #[error("the directory is gone")]
    Gone,
    /// The kernel refused for another reason.
    #[error("the directory can't be watched")]
    Io(#[source] io::Error),
}

/// Adds a hint, unless it says what the last one said. A save's writes fold into its close.
fn push(hints: &mut Vec<Hint>, first: usize, hint: Hint) {
    if let Some(last) = hints.get_mut(first..).and_then(<[Hint]>::last_mut) {
        if *last == hint {
            return;
        }
        if let (Hint::Finished(path), Hint::Modified(before) | Hint::Attributes(before)) = (&hint, &*last)
            && path == before
        {
            *last = hint;
            return;
        }
    }
    hints.push(hint);
}

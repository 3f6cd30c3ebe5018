//! One side in the real world: scan, watch, read, stage, commit.
//!
//! A [`Replica`] keeps an index of its root true: one thread (the *observer*) reads the file system's events, looks at the
//! paths they name and only at those, and tells what changed by [`Observation`]s. Where it was opened for writing it also
//! applies operations, through the same thread, so that its own writes never look like somebody else's.
//!
//! Bulk work (large files to hash, batches of a first sync) is done by a worker thread beside it and comes back as
//! messages: a save never waits behind it.
//!
//! What a crash leaves: nothing but the stage (`<root>/.synctl`), reaped when the root is opened again.

mod applying;
pub mod bases;
pub mod claim;
pub mod commit;
pub mod contents;
pub mod hash;
mod hold;
mod look;
mod observer;
mod pending;
pub mod problem;
pub mod repository;
pub mod scan;
pub mod stage;
#[cfg(test)]
mod tests;
pub mod transfer;
pub mod trash;
pub mod watch;
mod worker;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crossbeam_channel::Sender;
use sync_proto::{
    Entry, SyncPath,
    message::{Expected, Operation, Outcome},
};

use self::{
    commit::{Committer, Partial},
    contents::Contents,
    observer::{Command, Observer},
    repository::Repository,
};
use crate::{
    engine::view::View,
    ignore::Rules,
    tree::{Node, Stamp, Tree},
};

/// What a replica is to be.
pub struct ReplicaOptions {
    /// What takes no part: the rules without any ignore file of the tree.
    pub rules: Rules,
    /// Where small content goes when it has been read.
    pub contents: Option<Arc<Contents>>,
    /// What stood there when it was last looked at: files with the same stat data are not read again.
    pub hint: Tree,
    /// What carries out operations; `None`: the replica only observes.
    pub committer: Option<Arc<Committer>>,
    /// Where git says that it is rewriting the tree.
    pub repository: Repository,
}

/// What a replica tells.
#[derive(Debug)]
pub enum Observation {
    /// The root has been scanned for the first time.
    Scanned(Seen),
    /// Something changed, by other hands than our own.
    Changed(Seen),
    /// A batch has been applied.
    Applied(Applied),
    /// All that was on disk before the call of [`Replica::flush`] has been observed.
    Flushed(u64),
    /// A person should know this; the replica goes on.
    Warning(String),
    /// The root is gone or replaced: nothing is observed any more.
    Lost(String),
}

/// What a replica sees, and how it came to.
#[derive(Debug, Clone)]
pub struct Seen {
    /// What stands there.
    pub view: View,
    /// What takes part.
    pub rules: Rules,
    /// The paths that events named. Empty after a scan.
    pub hot: Vec<SyncPath>,
    /// Whether it was held back until it was whole, as a change of branch is: it belongs together.
    pub together: bool,
    /// When the first event for any of them was read.
    pub since: Instant,
    /// When the look began, after quiet times.
    pub looked: Instant,
    /// When it was over.
    pub done: Instant,
}

/// What became of operations.
#[derive(Debug)]
pub struct Applied {
    /// The number they were given.
    pub tag: u64,
    /// One for each.
    pub outcomes: Vec<Outcome>,
    /// What the replica sees now.
    pub view: View,
    /// From taking them up to having done the last.
    pub took: Duration,
}

/// Work that changes the root.
pub enum Work {
    /// Operations, done in order. Bulk ones are done beside the observer, after earlier bulk.
    Batch {
        /// What to do.
        operations: Vec<Operation>,
        /// Whether it may wait for others.
        bulk: bool,
    },
    /// A streamed file whose content is complete and verified.
    File {
        /// Where.
        path: SyncPath,
        /// What it replaces.
        expected: Expected,
        /// What shall stand there.
        entry: Entry,
        /// The content.
        partial: Partial,
    },
}

/// A replica at work. Dropping it ends it.
pub struct Replica {
    commands: Sender<Command>,
    waker: watch::Waker,
    thread: Option<JoinHandle<()>>,
    /// Ends a scan and the reading of a large file in the middle.
    stop: Arc<AtomicBool>,
    root: PathBuf,
}

impl Replica {
    /// Starts to observe `root`. `sink` is called with each observation, on the replica's own thread: it must not block for
    /// long.
    ///
    /// # Errors
    /// The root can't be opened or watched.
    pub fn start(
        root: &Path,
        options: ReplicaOptions,
        sink: impl FnMut(Observation) + Send + 'static,
    ) -> io::Result<Self> {
        let (commands, inbox) = crossbeam_channel::unbounded();
        let stop = Arc::new(AtomicBool::new(false));
        let (observer, waker) =
            Observer::new(root, options, inbox, commands.clone(), Box::new(sink), Arc::clone(&stop))?;
        let thread = std::thread::Builder::new().name("synctl-observer".to_owned()).spawn(move || observer.run())?;
        Ok(Self { commands, waker, thread: Some(thread), stop, root: root.to_owned() })
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Does `work`; the answer is an [`Observation::Applied`] with this tag.
    pub fn apply(&self, tag: u64, work: Work) {
        self.send(Command::Apply { tag, work, since: Instant::now() });
    }

    /// Asks for an [`Observation::Flushed`] with this number, after everything that is on disk now has been observed.
    pub fn flush(&self, token: u64) {
        self.send(Command::Flush(token));
    }

    /// Asks for a scan of the whole root.
    pub fn rescan(&self) {
        self.send(Command::Rescan);
    }

    fn send(&self, command: Command) {
        // The observer takes commands as long as this handle lives, unless its root was lost: then nobody waits for them.
        if self.commands.send(command).is_ok() {
            self.waker.wake();
        }
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.send(Command::Stop);
        if let Some(thread) = self.thread.take() {
            // A panic of the observer has been reported by the thread itself.
            let _ = thread.join();
        }
    }
}

impl std::fmt::Debug for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replica").field("root", &self.root).finish_non_exhaustive()
    }
}

/// A file that was hashed beside the observer.
#[derive(Debug)]
struct Hashed {
    path: SyncPath,
    result: io::Result<(Node, Stamp)>,
    /// Whether it had been written to so recently when the reading began that its stat data may not show the next write.
    recent: bool,
}

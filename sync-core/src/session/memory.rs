//! What a session remembers between runs: *synced*, by replica, in the state directory.
//!
//! Writing is done by a thread of its own: a snapshot costs as much as the tree is large, and no save waits for that.
//! Nothing is lost by being late: what is on disk is an earlier state that both sides really had.
//!
//! Without a state directory, or with one that can't be used, nothing is remembered: after a restart *synced* is unknown,
//! so that nothing is deleted, and what differs is a conflict. That is said once.

use std::{
    path::{Path, PathBuf},
    thread::JoinHandle,
};

use crossbeam_channel::{Receiver, Sender};
use sync_proto::message::ReplicaId;
use tokio::sync::mpsc::UnboundedSender;

use super::event::Event;
use crate::{
    store::{Change, Loaded, Store, StoreError},
    tree::Tree,
};

/// The stores of one root.
pub(super) struct Memory {
    state_dir: Option<PathBuf>,
    /// The real path of alpha.
    root: PathBuf,
    events: UnboundedSender<Event>,
    open: Option<Open>,
}

/// A store that is open, and the thread that writes it.
struct Open {
    replica: ReplicaId,
    /// What was found in it.
    found: Tree,
    jobs: Sender<Job>,
    thread: JoinHandle<()>,
}

/// What the thread is to do.
enum Job {
    /// Keep these changes, after which *synced* is this tree.
    Record(Vec<Change>, Tree),
    /// Keep all of this tree, for its stamps too.
    Snapshot(Tree),
}

impl Memory {
    pub(super) fn new(state_dir: Option<PathBuf>, root: &Path, events: UnboundedSender<Event>) -> Self {
        Self { state_dir, root: root.to_owned(), events, open: None }
    }

    /// What was last synced with any replica: files that have the same stat data need not be read again.
    pub(super) fn hint(&mut self) -> Tree {
        let Some(replica) = self.last_replica() else { return Tree::new() };
        match self.open(replica) {
            Ok(loaded) => loaded.synced.unwrap_or_default(),
            // Whatever is the matter is said when the replica is really met.
            Err(_) => Tree::new(),
        }
    }

    /// What was synced with this replica; empty where it is not known.
    pub(super) fn recall(&mut self, replica: ReplicaId) -> Tree {
        if let Some(open) = &self.open
            && open.replica == replica
        {
            return open.found.clone();
        }
        match self.open(replica) {
            Ok(Loaded { synced, reason, is_new }) => {
                if let (Some(reason), false) = (reason, is_new) {
                    let message = format!(
                        "what was in sync before is not known ({reason}): nothing is deleted, and files that differ are \
                         shown as conflicts"
                    );
                    let _ = self.events.send(Event::Warning { message });
                }
                synced.unwrap_or_default()
            }
            Err(error) => {
                let _ = self.events.send(not_remembered(&error));
                Tree::new()
            }
        }
    }

    /// Notes changes of *synced*, which is `synced` now.
    pub(super) fn record(&mut self, changes: Vec<Change>, synced: &Tree) {
        if let Some(open) = &mut self.open {
            open.found = synced.clone();
            // The thread lives as long as this sender.
            let _ = open.jobs.send(Job::Record(changes, synced.clone()));
        }
    }

    /// An orderly end: waits until all is written. Blocks.
    pub(super) fn close(&mut self, synced: &Tree) {
        if let Some(open) = self.open.take() {
            // Stamps that were learnt since are worth keeping: with them the next start reads nothing again.
            if open.found.hash() == synced.hash() {
                let _ = open.jobs.send(Job::Snapshot(synced.clone()));
            }
            open.end();
        }
    }

    fn open(&mut self, replica: ReplicaId) -> Result<Loaded, StoreError> {
        if let Some(open) = self.open.take() {
            open.end();
        }
        let Some(state_dir) = &self.state_dir else { return Ok(Loaded { is_new: true, ..Loaded::default() }) };
        let dir = Store::directory(state_dir, &self.root, replica);
        let (store, loaded) = Store::open(&dir)?;
        let (jobs, inbox) = crossbeam_channel::unbounded();
        let events = self.events.clone();
        let thread = std::thread::Builder::new()
            .name("synctl-memory".to_owned())
            .spawn(move || write(store, &inbox, &events))
            .map_err(|source| StoreError::Io { path: dir, source })?;
        self.open = Some(Open { replica, found: loaded.synced.clone().unwrap_or_default(), jobs, thread });
        Ok(loaded)
    }

    /// The replica that was last synced with.
    fn last_replica(&self) -> Option<ReplicaId> {
        let any = Store::directory(self.state_dir.as_ref()?, &self.root, ReplicaId([0; 16]));
        let entries = std::fs::read_dir(any.parent()?).ok()?;
        let newest = entries
            .filter_map(Result::ok)
            .filter_map(|entry| {
                let replica = entry.file_name().to_str().and_then(ReplicaId::from_hex)?;
                let modified = entry.path().join("snapshot").metadata().and_then(|data| data.modified()).ok()?;
                Some((modified, replica))
            })
            .max_by_key(|(modified, _)| *modified)?;
        Some(newest.1)
    }
}

impl Open {
    fn end(self) {
        drop(self.jobs);
        // A panic of the thread has been reported by the thread itself.
        let _ = self.thread.join();
    }
}

/// Writes what comes, until there will be no more.
fn write(mut store: Store, inbox: &Receiver<Job>, events: &UnboundedSender<Event>) {
    let mut warned = false;
    for job in inbox {
        let result = match job {
            Job::Snapshot(tree) => store.snapshot(&tree),
            // The tree that came last has all that is waiting: one snapshot of it does for them all.
            Job::Record(_, tree) if store.wants_snapshot() => store.snapshot(&latest(tree, inbox)),
            Job::Record(changes, _) => store.append(&changes),
        };
        if let Err(error) = result {
            if !std::mem::replace(&mut warned, true) {
                let _ = events.send(not_remembered(&error));
            }
            tracing::warn!("{error}");
        }
    }
    if let Err(error) = store.sync() {
        tracing::warn!("{error}");
    }
}

/// The last tree that waits.
fn latest(tree: Tree, inbox: &Receiver<Job>) -> Tree {
    inbox.try_iter().fold(tree, |_, job| match job {
        Job::Record(_, tree) | Job::Snapshot(tree) => tree,
    })
}

fn not_remembered(error: &StoreError) -> Event {
    let message = format!(
        "{error}; what is in sync is not remembered for the next start. Another place can be given by --state-dir"
    );
    Event::Warning { message }
}

//! What a session remembers between runs: *synced*, by replica, in the state directory.
//!
//! Without a state directory, or with one that can't be used, nothing is remembered: after a restart *synced* is unknown,
//! so that nothing is deleted, and what differs is a conflict. That is said once.

use std::path::{Path, PathBuf};

use sync_proto::message::ReplicaId;

use super::{event::Event, report::Reporter};
use crate::{
    store::{Change, Loaded, Store, StoreError},
    tree::Tree,
};

/// The stores of one root.
#[derive(Debug)]
pub(super) struct Memory {
    state_dir: Option<PathBuf>,
    /// The real path of alpha.
    root: PathBuf,
    open: Option<(ReplicaId, Store, Tree)>,
    warned: bool,
}

impl Memory {
    pub(super) fn new(state_dir: Option<PathBuf>, root: &Path) -> Self {
        Self { state_dir, root: root.to_owned(), open: None, warned: false }
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
    pub(super) fn recall(&mut self, replica: ReplicaId, reporter: &mut Reporter) -> Tree {
        if let Some((known, _, synced)) = &self.open
            && *known == replica
        {
            return synced.clone();
        }
        match self.open(replica) {
            Ok(Loaded { synced, reason, is_new }) => {
                if let (Some(reason), false) = (reason, is_new) {
                    let message = format!(
                        "what was in sync before is not known ({reason}): nothing is deleted, and files that differ are \
                         shown as conflicts"
                    );
                    reporter.tell(Event::Warning { message });
                }
                synced.unwrap_or_default()
            }
            Err(error) => {
                self.warn(&error, reporter);
                Tree::new()
            }
        }
    }

    /// Notes changes of *synced*, which is `synced` now.
    pub(super) fn record(&mut self, changes: &[Change], synced: &Tree, reporter: &mut Reporter) {
        let Some((_, store, kept)) = &mut self.open else { return };
        kept.clone_from(synced);
        let result = if store.wants_snapshot() { store.snapshot(synced) } else { store.append(changes) };
        if let Err(error) = result {
            self.warn(&error, reporter);
        }
    }

    /// An orderly end.
    pub(super) fn close(&mut self, synced: &Tree) {
        if let Some((_, mut store, kept)) = self.open.take() {
            // Stamps that were learnt since are worth keeping: with them the next start reads nothing again.
            let result = if kept.entries() > 0 || synced.entries() > 0 { store.snapshot(&kept) } else { store.sync() };
            if let Err(error) = result {
                tracing::warn!("{error}");
            }
        }
    }

    fn open(&mut self, replica: ReplicaId) -> Result<Loaded, StoreError> {
        self.open = None;
        let Some(state_dir) = &self.state_dir else { return Ok(Loaded { is_new: true, ..Loaded::default() }) };
        let (store, loaded) = Store::open(&Store::directory(state_dir, &self.root, replica))?;
        self.open = Some((replica, store, loaded.synced.clone().unwrap_or_default()));
        Ok(loaded)
    }

    fn warn(&mut self, error: &StoreError, reporter: &mut Reporter) {
        if !std::mem::replace(&mut self.warned, true) {
            let message = format!(
                "{error}; what is in sync is not remembered for the next start. Another place can be given by --state-dir"
            );
            reporter.tell(Event::Warning { message });
        }
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

//! What has come of the operations at one side, beside what its tree shows.

use std::collections::{BTreeMap, BTreeSet};

use sync_proto::SyncPath;

use super::{
    copies::Copies,
    held::Held,
    view::{has_any_in, remove_near},
};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Receiver {
    /// Paths that wait, because an operation there failed.
    pub(super) held: Held,
    /// Directories that stay, because of content in them that takes no part.
    pub(super) kept: BTreeSet<SyncPath>,
    /// Mismatches in a row that nothing explains.
    pub(super) mismatches: BTreeMap<SyncPath, u32>,
    /// Paths for which nothing but the sender's own bytes will do.
    pub(super) whole: BTreeSet<SyncPath>,
    /// Where the content is that this side has.
    pub(super) copies: Copies,
}

impl Receiver {
    /// Something changed at `path`, on either side: what did not work there may be tried again.
    pub(super) fn release(&mut self, path: &SyncPath) {
        self.held.release(path);
        remove_near(&mut self.kept, path);
    }

    /// Everything may be tried again.
    pub(super) fn start_over(&mut self) {
        self.held.release_all();
        self.kept.clear();
        self.mismatches.clear();
        self.whole.clear();
        self.copies.clear();
    }

    /// Whether something at `path` or beneath stays there.
    pub(super) fn has_kept(&self, path: &SyncPath) -> bool {
        has_any_in(&self.kept, path)
    }

    /// All is done. The paths of which the user had been told that they failed.
    pub(super) fn rest(&mut self) -> Vec<SyncPath> {
        self.mismatches.clear();
        self.whole.clear();
        self.copies.clear();
        self.held.sweep()
    }
}

//! Where the side that gets something has its content already.
//!
//! Built once while there is something to do, never for the sake of a small plan: looking at every entry of a large tree
//! must not delay a save. What it says may be old, so it is checked against that side as it will be before it is used.

use std::collections::{BTreeSet, HashMap};

use sync_proto::{ContentId, SyncPath};

use crate::tree::{Dir, Node, Tree, walk};

/// A search costs a look at every entry; it is done where at least this many bytes to be sent stand against each of them.
const SEARCH_BYTES_PER_ENTRY: u64 = 64;
/// This many entries are always looked at.
const SEARCH_ENTRIES_MIN: u64 = 1024;
/// Most files that are kept in mind.
const FILES_MAX: usize = 1 << 18;

/// Files of one side by their content.
#[derive(Debug, Default)]
pub struct Copies {
    files: HashMap<ContentId, SyncPath>,
    /// Whether all of it has been looked at.
    searched: bool,
    /// What of it has been looked at because it is about to go.
    removed: BTreeSet<SyncPath>,
}

impl Copies {
    /// Looks at all of `there`, if that is worth it for `wanted` bytes.
    pub(super) fn search(&mut self, there: &Tree, wanted: u64) {
        if !self.searched && is_worth(there.entries(), wanted, 0) {
            self.searched = true;
            self.add_all(&SyncPath::root(), there.root());
        }
    }

    /// Looks at what is about to be removed, if that is worth it for `wanted` bytes.
    pub(super) fn search_removed(&mut self, path: &SyncPath, old: &Node, wanted: u64) {
        if !is_worth(old.entries(), wanted, SEARCH_ENTRIES_MIN) || !self.removed.insert(path.clone()) {
            return;
        }
        self.add(path, old);
        if let Node::Directory(dir) = old {
            self.add_all(path, dir);
        }
    }

    fn add_all(&mut self, above: &SyncPath, dir: &Dir) {
        for (below, node, _) in walk(dir) {
            if let Ok(path) = above.join_path(&below) {
                self.add(&path, node);
            }
        }
    }

    /// A file is, or will be, at `path`.
    pub(super) fn add(&mut self, path: &SyncPath, node: &Node) {
        if let Node::File { content, len: 1.., .. } = node
            && (self.files.len() < FILES_MAX || self.files.contains_key(content))
        {
            self.files.insert(*content, path.clone());
        }
    }

    /// Where the content was last known to be.
    pub(super) fn find(&self, content: ContentId) -> Option<&SyncPath> {
        self.files.get(&content)
    }

    pub(super) fn clear(&mut self) {
        if self.searched || !self.files.is_empty() || !self.removed.is_empty() {
            *self = Self::default();
        }
    }
}

fn is_worth(entries: u64, wanted: u64, free: u64) -> bool {
    wanted > 0 && entries > 0 && entries <= free.max(wanted / SEARCH_BYTES_PER_ENTRY)
}

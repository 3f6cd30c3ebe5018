//! Learning what beta holds when a session begins: descend only where the hashes differ.
//!
//! Beta names the hash of its tree. Where alpha's or *synced* has a subtree of that hash it is adopted, unread and shared in
//! memory; other directories are asked for, level by level, one round trip a level.

use std::collections::BTreeMap;

use sync_proto::{
    Entry, Name, SyncPath, TreeHash,
    limits::{TREE_ENTRIES_MAX, TREE_REQUEST_PATHS_MAX},
    message::{Change, Listed, Listing},
};

use super::PeerFault;
use crate::tree::{Dir, Node, Stamp, Tree};

/// Most bytes of paths in one request: well below a frame.
const REQUEST_BYTES_MAX: usize = 1 << 20;

/// A tree that is being learnt.
#[derive(Debug)]
pub(super) struct Comparison {
    tree: Tree,
    /// Directories that have been asked for, and the pages of them that have come.
    awaited: BTreeMap<SyncPath, Vec<Listed>>,
    /// Directories still to be asked for.
    wanted: Vec<SyncPath>,
    entries: u64,
}

impl Comparison {
    /// Starts from the hash of beta's tree. What is the same at `alpha` or in `synced` need not be asked for.
    pub(super) fn new(hash: TreeHash, alpha: &Tree, synced: &Tree) -> Self {
        let known = [alpha, synced].into_iter().find(|tree| tree.hash() == hash).cloned();
        let known = known.or_else(|| (Tree::new().hash() == hash).then(Tree::new));
        let wanted = if known.is_some() { Vec::new() } else { vec![SyncPath::root()] };
        Self { tree: known.unwrap_or_default(), awaited: BTreeMap::new(), wanted, entries: 0 }
    }

    /// Directories to ask for now: as many as fit a message, and no more than that beyond the last ones.
    pub(super) fn requests(&mut self) -> Option<Vec<SyncPath>> {
        if self.wanted.is_empty() || self.awaited.len() >= TREE_REQUEST_PATHS_MAX {
            return None;
        }
        let mut bytes = 0;
        let fits = |path: &&SyncPath| {
            bytes += path.as_bytes().len();
            bytes <= REQUEST_BYTES_MAX
        };
        // The longest path alone fits.
        let count = self.wanted.iter().take(TREE_REQUEST_PATHS_MAX).take_while(fits).count();
        let rest = self.wanted.split_off(count);
        let request = std::mem::replace(&mut self.wanted, rest);
        self.awaited.extend(request.iter().map(|path| (path.clone(), Vec::new())));
        Some(request)
    }

    /// The tree, once nothing more is awaited.
    pub(super) fn finished(&self) -> Option<Tree> {
        (self.awaited.is_empty() && self.wanted.is_empty()).then(|| self.tree.clone())
    }

    /// Takes a page.
    pub(super) fn listing(&mut self, listing: Listing, alpha: &Tree, synced: &Tree) -> Result<(), PeerFault> {
        let Listing { path, entries, last } = listing;
        let pages = self.awaited.get_mut(&path).ok_or(PeerFault::Unasked("a listing"))?;
        self.entries += entries.len() as u64;
        if self.entries > TREE_ENTRIES_MAX {
            return Err(PeerFault::TooMany("entries"));
        }
        pages.extend(entries.into_vec());
        if last && let Some(listed) = self.awaited.remove(&path) {
            self.directory(path, listed, alpha, synced)?;
        }
        Ok(())
    }

    fn directory(&mut self, path: SyncPath, listed: Vec<Listed>, alpha: &Tree, synced: &Tree) -> Result<(), PeerFault> {
        let mut items: Vec<(Box<[u8]>, Node, Option<Stamp>)> = Vec::with_capacity(listed.len());
        for Listed { name, entry, tree } in listed {
            let bytes = name.as_bytes();
            Name::new(bytes).map_err(|_| PeerFault::Malformed("a listed name"))?;
            if items.last().is_some_and(|(before, _, _)| **before >= *bytes) {
                return Err(PeerFault::Malformed("the order of a listing"));
            }
            let node = match entry {
                Entry::Directory => {
                    let child = path.join_path(&name).map_err(|_| PeerFault::Malformed("a listed path"))?;
                    Node::Directory(self.adopt(child, tree, alpha, synced))
                }
                entry => Node::from_entry(entry),
            };
            items.push((bytes.into(), node, None));
        }
        let dir = Dir::from_sorted(items);
        if path.is_root() {
            self.tree = Tree::from_root(dir);
        } else if self.tree.dir(&path).is_some() {
            // Still there; else it has been removed since it was asked for, and a change has said so.
            self.tree.insert(&path, Node::Directory(dir), None).map_err(|_| PeerFault::Malformed("a listed path"))?;
        }
        Ok(())
    }

    /// A directory of this hash from one of the trees at hand; else it is to be asked for, and empty meanwhile.
    fn adopt(&mut self, path: SyncPath, hash: TreeHash, alpha: &Tree, synced: &Tree) -> Dir {
        let known = [alpha, synced].into_iter().filter_map(|tree| tree.dir(&path)).find(|dir| dir.hash() == hash);
        if let Some(dir) = known {
            return dir.clone();
        }
        let empty = Dir::new();
        if empty.hash() != hash {
            self.wanted.push(path);
        }
        empty
    }

    /// Takes a change that came while listings are still awaited. Where it lies in a directory that has not been listed
    /// yet, the listing, made after the change, has it too.
    pub(super) fn change(&mut self, change: Change) {
        apply_change(&mut self.tree, change);
    }
}

/// Puts what beta says has changed into a tree of beta.
pub(super) fn apply_change(tree: &mut Tree, change: Change) {
    match change.entry {
        None => {
            tree.remove(&change.path);
        }
        // A directory that is there already keeps what it holds.
        Some(Entry::Directory) if tree.dir(&change.path).is_some() => {}
        Some(entry) => {
            // Without the directory above, that one is unlisted, or a change that removes this follows.
            let _ = tree.insert(&change.path, Node::from_entry(entry), None);
        }
    }
}

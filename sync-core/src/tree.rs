//! Trees of entries: immutable values that share what they have in common.
//!
//! A [`Tree`] is a root [`Dir`]; a [`Dir`] is a persistent B+-tree of pages. Cloning either costs one reference count, and
//! an edit copies one page a level, in place where nobody else holds it. Every directory has a hash over everything
//! beneath it (`proto/SPEC.md` says every byte), computed when it is asked for and kept until the next edit, so that
//! ten thousand edits in a row hash once.
//!
//! Invariants:
//! - The pages of a directory are cut where the names say so, never by size or history: equal sets of names have equal
//!   pages, so equal directories have equal hashes and [`merge`] can skip whole pages that are equal.
//! - A page is never empty, and its names are in strict byte order.
//! - Stamps travel beside the entries and are not hashed: an update of a stamp alone keeps all hashes.
//!
//! Pure: no file system, no clock. Deliberately absent: parent pointers, ids, and any limit on the number of entries
//! (whoever takes entries from a peer counts them).

mod cursor;
mod diff;
mod dir;
mod edit;
mod hash;
mod merge;
mod names;
mod node;
mod page;
#[cfg(test)]
mod tests;

use sync_proto::{SyncPath, TreeHash};

pub use cursor::Iter;
pub use diff::{Diff, Difference, Walk, diff, walk};
pub use dir::Dir;
pub use merge::{Merge, Row, merge};
pub use node::{Node, Stamp};

/// An edit whose path does not lie in a directory of the tree, or is the root itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{path}` does not lie in a directory of the tree")]
pub struct NoDirectory {
    /// The path that was to be edited.
    pub path: SyncPath,
}

/// Everything beneath one root. Cloning is O(1).
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Tree {
    root: Dir,
}

impl Tree {
    /// An empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// The tree beneath `root`.
    pub fn from_root(root: Dir) -> Self {
        Self { root }
    }

    /// The root directory.
    pub fn root(&self) -> &Dir {
        &self.root
    }

    /// The hash of the root directory.
    pub fn hash(&self) -> TreeHash {
        self.root.hash()
    }

    /// How many entries there are beneath the root.
    pub fn entries(&self) -> u64 {
        self.root.entries()
    }

    /// What stands at `path`. `None` for the root, which is no entry of the tree: see [`Tree::dir`].
    pub fn get(&self, path: &SyncPath) -> Option<&Node> {
        let mut components = path.components();
        let name = components.next_back()?;
        components.try_fold(&self.root, |dir, name| dir.get(name)?.as_dir())?.get(name)
    }

    /// The directory at `path`, the root included.
    pub fn dir(&self, path: &SyncPath) -> Option<&Dir> {
        path.components().try_fold(&self.root, |dir, name| dir.get(name)?.as_dir())
    }

    /// The stamp kept beside the entry at `path`.
    pub fn stamp(&self, path: &SyncPath) -> Option<Stamp> {
        let mut components = path.components();
        let name = components.next_back()?;
        components.try_fold(&self.root, |dir, name| dir.get(name)?.as_dir())?.stamp(name)
    }

    /// Puts `node` at `path` and returns what it replaces. What does not change anything copies nothing; a change of
    /// stamps alone, its own or those in a directory, keeps every hash.
    ///
    /// # Errors
    /// The parent is not a directory of this tree, or `path` is the root. The tree is as it was.
    pub fn insert(&mut self, path: &SyncPath, node: Node, stamp: Option<Stamp>) -> Result<Option<Node>, NoDirectory> {
        let Some((parent, name)) = path.split_last() else { return Err(NoDirectory { path: path.clone() }) };
        let Some(dir) = self.dir(&parent) else { return Err(NoDirectory { path: path.clone() }) };
        let old = dir.get(name);
        let keep_hashes = old == Some(&node);
        if keep_hashes && dir.stamp(name) == stamp && old.is_some_and(|old| old.is_same(&node)) {
            return Ok(Some(node));
        }
        match self.dir_mut(&parent, keep_hashes) {
            Some(dir) => Ok(dir.insert(name, node, stamp)),
            None => Err(NoDirectory { path: path.clone() }),
        }
    }

    /// Takes out what stands at `path`, with everything beneath it. The root can't be taken out.
    pub fn remove(&mut self, path: &SyncPath) -> Option<Node> {
        let (parent, name) = path.split_last()?;
        self.get(path)?;
        self.dir_mut(&parent, false)?.remove(name)
    }

    /// The same entries, but in the pages of `other` (with its stamps) wherever the two are equal: so that trees which
    /// were built apart share their memory. Costs O(differences).
    pub fn shared_with(&self, other: &Self) -> Self {
        Self { root: self.root.shared_with(&other.root) }
    }

    /// The same entries, but with the directories of `other` wherever it has one that is equal: while one tree becomes the
    /// other. Costs O(directories that differ, and what is directly in them).
    pub fn with_directories_of(&self, other: &Self) -> Self {
        Self { root: self.root.with_directories_of(&other.root) }
    }

    /// The directory at `path`, unshared along the way. `keep_hashes` is for edits of stamps alone.
    fn dir_mut(&mut self, path: &SyncPath, keep_hashes: bool) -> Option<&mut Dir> {
        path.components().try_fold(&mut self.root, |dir, name| dir.dir_mut(name, keep_hashes))
    }
}

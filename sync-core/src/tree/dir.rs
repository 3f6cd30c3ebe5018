//! A directory as a value.

use std::{fmt, sync::Arc};

use sync_proto::{Name, TreeHash};

use super::{
    build::Builder,
    cursor::Iter,
    edit, hash,
    merge::merge,
    node::{Node, Stamp},
    page::{self, Page},
};

/// One entry on its way into a directory.
type Item = (Box<[u8]>, Node, Option<Stamp>);

/// A directory and everything beneath it. Cloning is O(1); equality is by pointer, then by hash.
#[derive(Clone, Default)]
pub struct Dir {
    top: Option<Arc<Page>>,
}

impl Dir {
    /// An empty directory.
    pub fn new() -> Self {
        Self::default()
    }

    /// A directory of `items` in ascending order of name, in O(items). Where they are not in order they are sorted; of
    /// several with one name the last one counts; what is not a name is left out.
    pub fn from_sorted(mut items: Vec<Item>) -> Self {
        items.retain(|(name, ..)| Name::new(name).is_ok());
        if !items.is_sorted_by(|(left, ..), (right, ..)| left < right) {
            // Stable, and from the back, so that the last of equals is the one that stays.
            items.reverse();
            items.sort_by(|(left, ..), (right, ..)| left.cmp(right));
            items.dedup_by(|(later, ..), (first, ..)| later == first);
        }
        let mut builder = Builder::default();
        for (name, node, stamp) in items {
            builder.append(&name, node, stamp);
        }
        builder.finish()
    }

    pub(super) fn from_top(top: Option<Arc<Page>>) -> Self {
        Self { top }
    }

    /// The hash over everything beneath. Cached: costs what has changed since it was asked for last.
    pub fn hash(&self) -> TreeHash {
        self.top.as_ref().map_or_else(hash::empty_directory, |top| hash::directory(top.level(), top.summary()))
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.top.is_none()
    }

    /// How many entries stand directly in it.
    pub fn len(&self) -> usize {
        self.top.as_ref().map_or(0, |top| top.len())
    }

    /// How many entries there are beneath it, at any depth. Cached like the hash.
    pub fn entries(&self) -> u64 {
        self.top.as_ref().map_or(0, |top| top.summary().entries)
    }

    /// How many bytes of file content there are beneath it. Cached like the hash.
    pub fn bytes(&self) -> u64 {
        self.top.as_ref().map_or(0, |top| top.summary().bytes)
    }

    /// What stands at `name`.
    pub fn get(&self, name: Name<'_>) -> Option<&Node> {
        let (leaf, index) = self.top.as_ref()?.find(name.as_bytes())?;
        leaf.nodes.get(index)
    }

    /// The stamp beside `name`.
    pub fn stamp(&self, name: Name<'_>) -> Option<Stamp> {
        let (leaf, index) = self.top.as_ref()?.find(name.as_bytes())?;
        leaf.stamp(index)
    }

    /// Entries directly in it, in byte order of name.
    pub fn iter(&self) -> Iter<'_> {
        Iter::new(self)
    }

    /// Puts `node` at `name` and returns what it replaces. What does not change anything copies nothing; a change of
    /// stamps alone, its own or those in a directory, keeps the hash.
    pub fn insert(&mut self, name: Name<'_>, node: Node, stamp: Option<Stamp>) -> Option<Node> {
        let bytes = name.as_bytes();
        let Some(top) = &mut self.top else {
            *self = Self::from_sorted(vec![(bytes.into(), node, stamp)]);
            return None;
        };
        if let Some((leaf, index)) = top.find(bytes)
            && leaf.nodes.get(index) == Some(&node)
        {
            let is_idle = leaf.stamp(index) == stamp && leaf.nodes.get(index).is_some_and(|old| old.is_same(&node));
            return if is_idle { Some(node) } else { edit::refresh(top, bytes, node, stamp) };
        }
        let (old, split) = edit::insert(top, bytes, node, stamp);
        if !split.is_empty() {
            let pages = self.top.take().into_iter().chain(split).collect();
            self.top = edit::top(pages);
        }
        old
    }

    /// Takes out what stands at `name`, with everything beneath it.
    pub fn remove(&mut self, name: Name<'_>) -> Option<Node> {
        self.get(name)?;
        let mut top = self.top.take()?;
        let old = edit::remove(&mut top, name.as_bytes());
        self.top = edit::collapse(top);
        old
    }

    /// The same entries, but in the pages of `other` (with its stamps) wherever the two are equal.
    pub(super) fn shared_with(&self, other: &Self) -> Self {
        let mut shared = other.clone();
        for row in merge([Some(other), Some(self)]) {
            let [theirs, own] = row.nodes;
            match (theirs, own) {
                (_, None) => {
                    shared.remove(row.name);
                }
                (Some(Node::Directory(theirs)), Some(Node::Directory(own))) => {
                    shared.insert(row.name, Node::Directory(own.shared_with(theirs)), self.stamp(row.name));
                }
                (_, Some(own)) => {
                    shared.insert(row.name, own.clone(), self.stamp(row.name));
                }
            }
        }
        shared
    }

    /// The same entries, but with the directories of `other` wherever it has one that is equal, at any depth. Unlike
    /// [`Self::shared_with`] it costs no more where `other` has far more in it.
    pub(super) fn with_directories_of(&self, other: &Self) -> Self {
        let mut shared = self.clone();
        for (name, node, stamp) in self.iter() {
            // First of all what costs nothing: most are files, and nothing is done about them.
            let Node::Directory(own) = node else { continue };
            let Some(Node::Directory(theirs)) = other.get(name) else { continue };
            if !own.is_same(theirs) {
                let dir = if own == theirs { theirs.clone() } else { own.with_directories_of(theirs) };
                shared.insert(name, Node::Directory(dir), stamp);
            }
        }
        shared
    }

    /// Whether both are one in memory.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (&self.top, &other.top) {
            (None, None) => true,
            (Some(left), Some(right)) => Arc::ptr_eq(left, right),
            _ => false,
        }
    }

    pub(super) fn top(&self) -> Option<&Arc<Page>> {
        self.top.as_ref()
    }

    /// The directory called `name`, unshared along the way. `keep_hashes` is for edits of stamps alone.
    pub(super) fn dir_mut(&mut self, name: Name<'_>, keep_hashes: bool) -> Option<&mut Self> {
        edit::dir_mut(self.top.as_mut()?, name.as_bytes(), keep_hashes)
    }
}

impl PartialEq for Dir {
    fn eq(&self, other: &Self) -> bool {
        match (&self.top, &other.top) {
            (None, None) => true,
            (Some(left), Some(right)) => {
                Arc::ptr_eq(left, right) || (left.level() == right.level() && page::same(left, right))
            }
            _ => false,
        }
    }
}

impl Eq for Dir {}

impl<'a> IntoIterator for &'a Dir {
    type Item = (Name<'a>, &'a Node, Option<Stamp>);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl fmt::Debug for Dir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(name, node, _)| (name, node))).finish()
    }
}

//! Pages: what a directory is made of.
//!
//! Level 0 are leaves, in columns of exactly the size they need: names, nodes, and stamps where any entry has one. A page
//! above holds its children and beside each the last name beneath it.

use std::sync::{Arc, OnceLock};

use super::{
    hash,
    names::Names,
    node::{Node, Stamp},
};

/// What stands in a stamps column beside an entry that has none. A file that should really carry it is hashed again.
const NO_STAMP: Stamp = Stamp { mtime_ns: i64::MIN, ctime_ns: i64::MIN, inode: 0 };

/// What is known of everything beneath a page.
#[derive(Clone)]
pub(super) struct Summary {
    pub(super) hash: [u8; 32],
    pub(super) entries: u64,
    pub(super) bytes: u64,
}

/// One page. Shared pages are never changed: every edit goes through `Arc::make_mut`.
#[derive(Clone)]
pub(super) enum Page {
    Leaf(Leaf),
    Inner(Inner),
}

/// A page of entries.
#[derive(Clone)]
pub(super) struct Leaf {
    pub(super) names: Names,
    pub(super) nodes: Box<[Node]>,
    /// As long as `nodes`, or empty where no entry has one.
    stamps: Box<[Stamp]>,
    summary: OnceLock<Summary>,
}

/// A page of pages, all of the level below.
#[derive(Clone)]
pub(super) struct Inner {
    pub(super) level: u8,
    /// How many entries the leaves beneath have.
    pub(super) len: usize,
    /// The last name beneath each child.
    pub(super) last_names: Names,
    pub(super) children: Box<[Arc<Page>]>,
    summary: OnceLock<Summary>,
}

impl Page {
    pub(super) fn level(&self) -> u8 {
        match self {
            Self::Leaf(_) => 0,
            Self::Inner(inner) => inner.level,
        }
    }

    /// How many entries the leaves beneath have.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.nodes.len(),
            Self::Inner(inner) => inner.len,
        }
    }

    pub(super) fn first_name(&self) -> Option<&[u8]> {
        match self {
            Self::Leaf(leaf) => leaf.names.get(0),
            Self::Inner(inner) => inner.children.first()?.first_name(),
        }
    }

    pub(super) fn last_name(&self) -> Option<&[u8]> {
        let names = match self {
            Self::Leaf(leaf) => &leaf.names,
            Self::Inner(inner) => &inner.last_names,
        };
        names.get(names.len().checked_sub(1)?)
    }

    /// Whether its last name ends a page of its level. Only the last page of a directory may not be so.
    pub(super) fn is_closed(&self) -> bool {
        self.last_name().is_some_and(|name| hash::rank(name) > self.level())
    }

    /// Hash and sums, computed once.
    pub(super) fn summary(&self) -> &Summary {
        match self {
            Self::Leaf(leaf) => leaf.summary.get_or_init(|| hash::leaf(leaf.names.iter().zip(&leaf.nodes))),
            Self::Inner(inner) => {
                inner.summary.get_or_init(|| hash::inner(inner.children.iter().map(|child| child.summary())))
            }
        }
    }

    #[cfg(test)]
    pub(super) fn has_summary(&self) -> bool {
        match self {
            Self::Leaf(leaf) => leaf.summary.get().is_some(),
            Self::Inner(inner) => inner.summary.get().is_some(),
        }
    }

    /// The leaf in which `name` is or would be, and where there.
    pub(super) fn find(&self, name: &[u8]) -> Option<(&Leaf, usize)> {
        match self {
            Self::Leaf(leaf) => leaf.names.search(name).ok().map(|index| (leaf, index)),
            Self::Inner(inner) => inner.children.get(inner.child_of(name))?.find(name),
        }
    }
}

/// Equal pages of one level hold equal entries; stamps are not looked at.
pub(super) fn same(left: &Arc<Page>, right: &Arc<Page>) -> bool {
    Arc::ptr_eq(left, right) || left.summary().hash == right.summary().hash
}

impl Leaf {
    /// Entries in order of name. They are taken out, in as much memory as they need: the two columns keep theirs.
    pub(super) fn take(names: Names, nodes: &mut Vec<Node>, stamps: &mut Vec<Option<Stamp>>) -> Self {
        let have_stamps = stamps.iter().any(Option::is_some);
        let stamps = stamps.drain(..).map(|stamp| stamp.unwrap_or(NO_STAMP));
        let stamps = if have_stamps { stamps.collect() } else { Box::default() };
        Self { names, nodes: nodes.drain(..).collect(), stamps, summary: OnceLock::new() }
    }

    pub(super) fn stamp(&self, index: usize) -> Option<Stamp> {
        self.stamps.get(index).copied().filter(|stamp| *stamp != NO_STAMP)
    }

    /// Changes a stamp, and no hash.
    pub(super) fn set_stamp(&mut self, index: usize, stamp: Option<Stamp>) {
        if self.stamps.is_empty() && stamp.is_some() {
            self.stamps = vec![NO_STAMP; self.nodes.len()].into_boxed_slice();
        }
        if let Some(slot) = self.stamps.get_mut(index) {
            *slot = stamp.unwrap_or(NO_STAMP);
        }
    }

    /// Access to the node at `index`; the hash is forgotten unless `keep_hash` says that it will still hold.
    pub(super) fn node_mut(&mut self, index: usize, keep_hash: bool) -> Option<&mut Node> {
        if !keep_hash {
            self.summary = OnceLock::new();
        }
        self.nodes.get_mut(index)
    }

    /// Puts an entry at `index`, before the one that is there.
    pub(super) fn insert(&mut self, index: usize, name: &[u8], node: Node, stamp: Option<Stamp>) {
        self.summary = OnceLock::new();
        self.names = self.names.with(index, name);
        insert_exact(&mut self.nodes, index, node);
        if !self.stamps.is_empty() {
            insert_exact(&mut self.stamps, index, NO_STAMP);
        }
        self.set_stamp(index, stamp);
    }

    /// Takes out the entry at `index`, which there must be.
    pub(super) fn remove(&mut self, index: usize) -> Node {
        self.summary = OnceLock::new();
        self.names = self.names.without(index);
        if !self.stamps.is_empty() {
            remove_exact(&mut self.stamps, index);
        }
        remove_exact(&mut self.nodes, index)
    }

    /// Takes out the entries from `index` on.
    pub(super) fn split_off(&mut self, index: usize) -> Self {
        self.summary = OnceLock::new();
        let names = Names::pack(self.names.iter().skip(index));
        self.names = Names::pack(self.names.iter().take(index));
        let nodes = split_exact(&mut self.nodes, index);
        let stamps = if self.stamps.is_empty() { Box::default() } else { split_exact(&mut self.stamps, index) };
        Self { names, nodes, stamps, summary: OnceLock::new() }
    }

    /// Appends the entries of the next page.
    pub(super) fn append(&mut self, next: &Self) {
        self.summary = OnceLock::new();
        self.names = Names::pack(self.names.iter().chain(next.names.iter()));
        if !self.stamps.is_empty() || !next.stamps.is_empty() {
            let stamp = |leaf: &Self, index| leaf.stamps.get(index).copied().unwrap_or(NO_STAMP);
            let own = (0..self.nodes.len()).map(|index| stamp(self, index));
            self.stamps = own.chain((0..next.nodes.len()).map(|index| stamp(next, index))).collect();
        }
        self.nodes = self.nodes.iter().chain(&next.nodes).cloned().collect();
    }
}

impl Inner {
    /// A page over `children`, all of the level below.
    pub(super) fn new(level: u8, children: Vec<Arc<Page>>) -> Self {
        let mut inner = Self {
            level,
            len: 0,
            last_names: Names::default(),
            children: children.into_boxed_slice(),
            summary: OnceLock::new(),
        };
        inner.children_changed();
        inner
    }

    /// The index of the child in which `name` is or would have to be put.
    pub(super) fn child_of(&self, name: &[u8]) -> usize {
        let (Ok(index) | Err(index)) = self.last_names.search(name);
        index.min(self.children.len().saturating_sub(1))
    }

    /// Access to a child; the hash is forgotten unless `keep_hash` says that it will still hold.
    pub(super) fn child_mut(&mut self, index: usize, keep_hash: bool) -> Option<&mut Arc<Page>> {
        if !keep_hash {
            self.summary = OnceLock::new();
        }
        self.children.get_mut(index)
    }

    /// Brings the names and the count up to date with the children.
    pub(super) fn children_changed(&mut self) {
        self.summary = OnceLock::new();
        self.last_names = Names::pack(self.children.iter().filter_map(|child| child.last_name()));
        self.len = self.children.iter().map(|child| child.len()).sum();
    }
}

// A growing `Vec` would keep a quarter of its memory spare; a page of some thirty entries is moved in less than the time
// of the hash that follows.

fn insert_exact<T>(column: &mut Box<[T]>, index: usize, value: T) {
    let mut items = std::mem::take(column).into_vec();
    items.reserve_exact(1);
    items.insert(index, value);
    *column = items.into_boxed_slice();
}

fn remove_exact<T>(column: &mut Box<[T]>, index: usize) -> T {
    let mut items = std::mem::take(column).into_vec();
    let value = items.remove(index);
    *column = items.into_boxed_slice();
    value
}

fn split_exact<T>(column: &mut Box<[T]>, index: usize) -> Box<[T]> {
    let mut items = std::mem::take(column).into_vec();
    let rest = items.split_off(index).into_boxed_slice();
    *column = items.into_boxed_slice();
    rest
}

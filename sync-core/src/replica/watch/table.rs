//! Which watch belongs to which directory: a tree of names, so that renaming a directory touches one node.
//!
//! Invariants: every node but the root hangs in its parent's `children` under its name; a node without a watch is there for
//! the sake of nodes beneath it alone; `nodes_by_watch` names exactly the nodes with a watch.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use sync_proto::{Name, SyncPath};

/// The kernel's number of a watch.
pub(super) type WatchId = i32;

/// A node's place in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NodeId(u32);

pub(super) const ROOT: NodeId = NodeId(0);

#[derive(Debug)]
struct Node {
    parent: NodeId,
    name: Arc<[u8]>,
    children: BTreeMap<Arc<[u8]>, NodeId>,
    watch: Option<WatchId>,
    /// The era in which the watch was last added.
    era: u32,
    /// How many bytes of events had been queued, in all, when the directory was put here. Earlier events that name this
    /// place are about another directory that stood here.
    since: u64,
}

/// The directory would be moved into itself: the table does not know the tree as it is.
#[derive(Debug)]
pub(super) struct Contradiction;

#[derive(Debug)]
pub(super) struct Table {
    nodes: HashMap<u32, Node>,
    nodes_by_watch: HashMap<WatchId, NodeId>,
    next: u32,
    era: u32,
}

impl Table {
    pub(super) fn new() -> Self {
        let root = Node { parent: ROOT, name: Arc::new([]), children: BTreeMap::new(), watch: None, era: 0, since: 0 };
        Self { nodes: HashMap::from([(ROOT.0, root)]), nodes_by_watch: HashMap::new(), next: 1, era: 0 }
    }

    pub(super) fn watched(&self) -> usize {
        self.nodes_by_watch.len()
    }

    pub(super) fn node(&self, watch: WatchId) -> Option<NodeId> {
        self.nodes_by_watch.get(&watch).copied()
    }

    fn child(&self, parent: NodeId, name: &[u8]) -> Option<NodeId> {
        self.nodes.get(&parent.0)?.children.get(name).copied()
    }

    /// The directory that had this name when the event at `offset` (in bytes of events) was queued, if it is still known.
    pub(super) fn child_at(&self, parent: NodeId, name: &[u8], offset: u64) -> Option<NodeId> {
        self.child(parent, name).filter(|&child| self.stood_at(child, offset))
    }

    /// Whether a node stood where it stands when the event at `offset` was queued.
    pub(super) fn stood_at(&self, node: NodeId, offset: u64) -> bool {
        self.nodes.get(&node.0).is_some_and(|node| node.since <= offset)
    }

    /// The path of a node, or of what has this name in it. `None` where it is longer than a path may be.
    pub(super) fn path(&self, node: NodeId, name: Option<&[u8]>) -> Option<SyncPath> {
        let mut components: Vec<&[u8]> = name.into_iter().collect();
        let mut at = node;
        while at != ROOT {
            let node = self.nodes.get(&at.0)?;
            components.push(&node.name);
            at = node.parent;
        }
        components.reverse();
        SyncPath::parse(&components.join(&b'/')).ok()
    }

    fn find(&self, path: &SyncPath) -> Option<NodeId> {
        path.components().try_fold(ROOT, |node, name| self.child(node, name.as_bytes()))
    }

    /// Notes that `watch` is for the directory at `path`, whatever it was for before. Returns the watches that another
    /// directory had at this path: to be removed from the kernel.
    pub(super) fn insert(&mut self, path: &SyncPath, watch: WatchId, since: u64) -> Vec<WatchId> {
        if let Some(node) = self.node(watch) {
            // The root mounted within itself: its events go on counting as the root's.
            if node == ROOT || self.find(path) == Some(node) {
                self.touch(node);
                return Vec::new();
            }
            let Some((parent, name)) = path.split_last() else {
                let mut displaced = self.remove(node);
                displaced.retain(|&other| other != watch);
                displaced.extend(self.insert(path, watch, since));
                return displaced;
            };
            // Renamed, and the event is still to come or was lost. Out of the tree first, so that neither the way down
            // leads through it nor what stands at its new path takes it away.
            self.detach(node);
            let displaced = self.remove_path(path);
            let parent = self.make(&parent);
            self.attach(node, parent, name.as_bytes());
            self.touch(node);
            self.place(node, since);
            return displaced;
        }
        let node = self.make(path);
        let old = self.nodes.get_mut(&node.0).and_then(|node| node.watch.replace(watch));
        self.nodes_by_watch.insert(watch, node);
        self.touch(node);
        self.place(node, since);
        let Some(old) = old else { return Vec::new() };
        // Another directory stands here now: what was known beneath the old one is beneath it no more.
        self.nodes_by_watch.remove(&old);
        let children: Vec<_> =
            self.nodes.get(&node.0).map(|node| node.children.values().copied().collect()).unwrap_or_default();
        let mut displaced = vec![old];
        children.into_iter().for_each(|child| displaced.extend(self.remove(child)));
        displaced
    }

    /// Hangs a directory elsewhere, after a rename. Returns the watches of what it replaced.
    pub(super) fn rename(&mut self, node: NodeId, parent: NodeId, name: &[u8]) -> Result<Vec<WatchId>, Contradiction> {
        let mut at = parent;
        while at != ROOT {
            if at == node {
                return Err(Contradiction);
            }
            at = self.nodes.get(&at.0).map_or(ROOT, |node| node.parent);
        }
        if self.child(parent, name) == Some(node) || node == ROOT {
            return Ok(Vec::new());
        }
        let displaced = self.child(parent, name).map(|old| self.remove(old)).unwrap_or_default();
        self.detach(node);
        self.attach(node, parent, name);
        Ok(displaced)
    }

    /// Forgets a directory and all beneath it; the root itself stays, without its watch. Returns their watches.
    pub(super) fn remove(&mut self, node: NodeId) -> Vec<WatchId> {
        let mut removed = Vec::new();
        self.detach(node);
        let mut pending = vec![node];
        while let Some(id) = pending.pop() {
            if let Some(node) = self.nodes.remove(&id.0) {
                pending.extend(node.children.values());
                removed.extend(node.watch);
            }
        }
        for watch in &removed {
            self.nodes_by_watch.remove(watch);
        }
        if node == ROOT {
            let root = Node {
                parent: ROOT,
                name: Arc::new([]),
                children: BTreeMap::new(),
                watch: None,
                era: self.era,
                since: 0,
            };
            self.nodes.insert(ROOT.0, root);
        }
        removed
    }

    pub(super) fn is_watched(&self, path: &SyncPath) -> bool {
        self.find(path).and_then(|node| self.nodes.get(&node.0)).is_some_and(|node| node.watch.is_some())
    }

    pub(super) fn remove_path(&mut self, path: &SyncPath) -> Vec<WatchId> {
        self.find(path).map(|node| self.remove(node)).unwrap_or_default()
    }

    /// Notes that the kernel has dropped a watch.
    pub(super) fn dropped(&mut self, watch: WatchId) {
        let Some(id) = self.nodes_by_watch.remove(&watch) else { return };
        let Some(node) = self.nodes.get_mut(&id.0) else { return };
        node.watch = None;
        self.prune(id);
    }

    /// Begins a new era: what is not inserted again in it is what [`Self::retire`] returns.
    pub(super) fn begin_era(&mut self) {
        self.era += 1;
    }

    /// Forgets the watches that were not inserted again in this era, and returns them.
    pub(super) fn retire(&mut self) -> Vec<WatchId> {
        let era = self.era;
        let stale: Vec<_> = self
            .nodes_by_watch
            .iter()
            .filter(|(_, node)| self.nodes.get(&node.0).is_some_and(|node| node.era != era))
            .map(|(watch, _)| *watch)
            .collect();
        stale.iter().for_each(|&watch| self.dropped(watch));
        stale
    }

    fn place(&mut self, node: NodeId, since: u64) {
        if let Some(node) = self.nodes.get_mut(&node.0) {
            node.since = since;
        }
    }

    fn touch(&mut self, node: NodeId) {
        let era = self.era;
        if let Some(node) = self.nodes.get_mut(&node.0) {
            node.era = era;
        }
    }

    /// The node of a path, made with all above it where it was not there.
    fn make(&mut self, path: &SyncPath) -> NodeId {
        path.components().fold(ROOT, |parent, name| match self.child(parent, name.as_bytes()) {
            Some(node) => node,
            None => self.make_child(parent, name),
        })
    }

    fn make_child(&mut self, parent: NodeId, name: Name<'_>) -> NodeId {
        // Numbers are not given twice before four thousand million directories have come and gone; skip those in use.
        while self.nodes.contains_key(&self.next) {
            self.next = self.next.wrapping_add(1);
        }
        let id = NodeId(self.next);
        self.next = self.next.wrapping_add(1);
        let node = Node { parent, name: Arc::new([]), children: BTreeMap::new(), watch: None, era: self.era, since: 0 };
        self.nodes.insert(id.0, node);
        self.attach(id, parent, name.as_bytes());
        id
    }

    fn attach(&mut self, id: NodeId, parent: NodeId, name: &[u8]) {
        let name: Arc<[u8]> = name.into();
        if let Some(node) = self.nodes.get_mut(&id.0) {
            node.parent = parent;
            node.name = name.clone();
        }
        if let Some(parent) = self.nodes.get_mut(&parent.0) {
            parent.children.insert(name, id);
        }
    }

    /// Takes a node out of its parent, and what is above it too where that was there for its sake alone.
    fn detach(&mut self, id: NodeId) {
        let Some((parent, name)) = self.nodes.get(&id.0).map(|node| (node.parent, node.name.clone())) else { return };
        if let Some(parent) = self.nodes.get_mut(&parent.0) {
            parent.children.remove(&name);
        }
        self.prune(parent);
    }

    /// Removes a node that is there for nobody's sake, and so on upwards.
    fn prune(&mut self, mut id: NodeId) {
        while id != ROOT
            && let Some(node) = self.nodes.get(&id.0)
            && node.watch.is_none()
            && node.children.is_empty()
        {
            let (parent, name) = (node.parent, node.name.clone());
            self.nodes.remove(&id.0);
            if let Some(parent) = self.nodes.get_mut(&parent.0) {
                parent.children.remove(&name);
            }
            id = parent;
        }
    }
}

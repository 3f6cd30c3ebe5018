//! What was sent and not answered when the link was lost, or when the controller was killed.
//!
//! Beta may have it, or get it yet, without having said so: where it does, that is no change by other hands. It is kept in
//! mind as long as the replica is the same, because the agent may do what it has taken off the wire at any time after.
//!
//! Over a restart it is kept by whoever drives the engine: [`Action::Intend`](super::Action::Intend) says what is about to
//! be sent, [`Action::Answered`](super::Action::Answered) and [`Action::Settled`](super::Action::Settled) what of it is in
//! doubt no more, and [`Past`] gives the next engine the rest. What is in doubt and not in mind shows as a conflict where
//! alpha has changed since, which costs a question and no content.

use std::collections::{BTreeMap, BTreeSet};

use sync_proto::{SyncPath, message::Change};

use super::{
    action::Recorded,
    plan::Planned,
    rule::{Rule, holds},
    view::is_near,
};
use crate::tree::{Dir, Node, Tree};

/// Most paths that are kept in mind.
const PATHS_MAX: usize = 1 << 17;

/// A path at beta, and what was sent there; `None`: what stood there was to go.
pub type Intent = (SyncPath, Option<Node>);

/// What is remembered of a replica.
#[derive(Debug, Clone, Default)]
pub struct Past {
    /// What both sides last agreed on.
    pub synced: Tree,
    /// What was sent there by a process that is gone, and not known to have been answered.
    pub sent: Vec<Intent>,
}

impl From<Tree> for Past {
    fn from(synced: Tree) -> Self {
        Self { synced, sent: Vec::new() }
    }
}

/// What an operation comes to, path by path.
pub(super) fn intents(operation: &Planned) -> impl Iterator<Item = Intent> + use<> {
    let (gone, path, node) = match operation {
        Planned::Put { path, entry, .. } => (None, path, Some(Node::from_entry(entry.clone()))),
        Planned::MakeDirectory { path } => (None, path, Some(Node::Directory(Dir::new()))),
        Planned::Move { from, to, node } => (Some((from.clone(), None)), to, Some(node.clone())),
        Planned::Remove { path, .. } => (None, path, None),
    };
    gone.into_iter().chain(std::iter::once((path.clone(), node)))
}

/// Content in doubt, by path.
#[derive(Debug, Default)]
pub(super) struct Doubtful {
    nodes: BTreeMap<SyncPath, Vec<Node>>,
    /// Where something was to go.
    removed: BTreeSet<SyncPath>,
    /// Where nothing has been agreed on since: beta may have had what was sent, though alpha is back at what was agreed on before.
    unsettled: BTreeSet<SyncPath>,
    /// Whether something was added since all was last said to be settled.
    open: bool,
}

impl Doubtful {
    pub(super) fn note(&mut self, operation: &Planned) {
        intents(operation).for_each(|intent| self.remember(intent));
    }

    pub(super) fn remember(&mut self, (path, node): Intent) {
        self.open = true;
        if self.nodes.len() >= PATHS_MAX {
            self.clear();
        }
        self.unsettled.insert(path.clone());
        match node {
            Some(node) => {
                let nodes = self.nodes.entry(path).or_default();
                if !nodes.contains(&node) {
                    nodes.push(node);
                }
            }
            // Nothing was sent, but what lies around is not what was agreed on.
            None => self.note_removal(path),
        }
    }

    pub(super) fn note_removal(&mut self, path: SyncPath) {
        self.unsettled.insert(path.clone());
        self.nodes.entry(path.clone()).or_default();
        self.removed.insert(path);
    }

    /// Whether what stood at `path` was to go, alone or in a subtree.
    pub(super) fn has_removal(&self, path: &SyncPath) -> bool {
        !self.removed.is_empty()
            && std::iter::successors(Some(path.clone()), SyncPath::parent).any(|above| self.removed.contains(&above))
    }

    /// Whether something was sent to `path`, above it or beneath, or was to go there, and nothing has been agreed on there since.
    pub(super) fn is_unsettled(&self, path: &SyncPath) -> bool {
        !self.unsettled.is_empty()
            && (std::iter::successors(Some(path.clone()), SyncPath::parent)
                .any(|above| self.unsettled.contains(&above))
                || self.unsettled.range(path..).next().is_some_and(|beneath| beneath.starts_with(path)))
    }

    /// Beta shows this now. Where that is what was sent, and not what is agreed on, beta has had it: what alpha has there is no
    /// agreement until it is answered for.
    pub(super) fn note_shown(&mut self, change: &Change, synced: &Tree) {
        if self.nodes.is_empty() || self.unsettled.len() >= PATHS_MAX || !holds(Rule::LateIsUnsettled) {
            return;
        }
        let path = &change.path;
        let node = change.entry.clone().map(Node::from_entry);
        let is_sent = node.as_ref().map_or_else(|| self.has_removal(path), |node| self.has(path, node));
        if is_sent && synced.get(path) != node.as_ref() {
            self.unsettled.insert(path.clone());
        }
    }

    /// Both sides have agreed anew.
    pub(super) fn agreed(&mut self, record: &[Recorded]) {
        if self.unsettled.is_empty() {
            return;
        }
        for (path, node) in record {
            self.unsettled.remove(path);
            // A directory alone says nothing of what is in it.
            if node.as_ref().and_then(|(node, _)| node.as_dir()).is_some_and(Dir::is_empty) {
                continue;
            }
            // What lies beneath a path follows it without a gap.
            while let Some(beneath) = self.unsettled.range(path..).next().filter(|next| next.starts_with(path)).cloned()
            {
                self.unsettled.remove(&beneath);
            }
        }
    }

    /// Whether `node` at `path` was sent there, alone or in a subtree.
    pub(super) fn has(&self, path: &SyncPath, node: &Node) -> bool {
        self.any(path, |sent| sent == node)
    }

    /// Whether a directory was sent there.
    pub(super) fn has_directory(&self, path: &SyncPath) -> bool {
        self.any(path, |sent| sent.as_dir().is_some())
    }

    /// Whether something was sent or removed there, above or beneath.
    pub(super) fn is_near(&self, path: &SyncPath) -> bool {
        is_near(&self.nodes, path)
    }

    fn any(&self, path: &SyncPath, holds: impl Fn(&Node) -> bool) -> bool {
        !self.nodes.is_empty()
            && std::iter::successors(Some(path.clone()), SyncPath::parent).any(|above| {
                let below = path.strip_prefix(&above).unwrap_or_default();
                let sent = self.nodes.get(&above).map_or(&[][..], Vec::as_slice);
                sent.iter().filter_map(|sent| at(sent, &below)).any(&holds)
            })
    }

    /// Whether the next process would still have to be told.
    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// Both sides are as they should be: the next process need not be told. This one keeps it in mind, for what the agent
    /// does late.
    pub(super) fn settle(&mut self) {
        self.open = false;
        self.unsettled.clear();
    }

    pub(super) fn clear(&mut self) {
        self.nodes.clear();
        self.open = false;
        self.removed.clear();
        self.unsettled.clear();
    }
}

/// What stands at `below` in `node`, which is `node` itself for the root.
pub(super) fn at<'a>(node: &'a Node, below: &SyncPath) -> Option<&'a Node> {
    below.components().try_fold(node, |node, name| node.as_dir()?.get(name))
}

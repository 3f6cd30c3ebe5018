//! What was sent and not answered when the link was lost.
//!
//! Beta may have it, or get it yet, without having said so: where it does, that is no change by other hands. It is kept in
//! mind as long as the replica is the same, because the agent may do what it has taken off the wire at any time after. Not
//! kept over a restart; what is then in doubt shows as a conflict, which costs a question and no content.

use std::collections::{BTreeMap, BTreeSet};

use sync_proto::SyncPath;

use super::{plan::Planned, view::is_near};
use crate::tree::{Dir, Node};

/// Most paths that are kept in mind.
const PATHS_MAX: usize = 1 << 17;

/// Content in doubt, by path.
#[derive(Debug, Default)]
pub(super) struct Doubtful {
    nodes: BTreeMap<SyncPath, Vec<Node>>,
    /// Where something was to go.
    removed: BTreeSet<SyncPath>,
}

impl Doubtful {
    pub(super) fn note(&mut self, operation: Planned) {
        if self.nodes.len() >= PATHS_MAX {
            self.clear();
        }
        let (path, node) = match operation {
            Planned::Put { path, entry, .. } => (path, Node::from_entry(entry)),
            Planned::MakeDirectory { path } => (path, Node::Directory(Dir::new())),
            Planned::Move { from, to, node } => {
                self.note_removal(from);
                (to, node)
            }
            // Nothing was sent, but what lies around is not what was agreed on.
            Planned::Remove { path, .. } => {
                self.note_removal(path);
                return;
            }
        };
        let nodes = self.nodes.entry(path).or_default();
        if !nodes.contains(&node) {
            nodes.push(node);
        }
    }

    pub(super) fn note_removal(&mut self, path: SyncPath) {
        self.nodes.entry(path.clone()).or_default();
        self.removed.insert(path);
    }

    /// Whether what stood at `path` was to go, alone or in a subtree.
    pub(super) fn has_removal(&self, path: &SyncPath) -> bool {
        !self.removed.is_empty()
            && std::iter::successors(Some(path.clone()), SyncPath::parent).any(|above| self.removed.contains(&above))
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

    pub(super) fn clear(&mut self) {
        self.nodes.clear();
        self.removed.clear();
    }
}

/// What stands at `below` in `node`, which is `node` itself for the root.
fn at<'a>(node: &'a Node, below: &SyncPath) -> Option<&'a Node> {
    below.components().try_fold(node, |node, name| node.as_dir()?.get(name))
}

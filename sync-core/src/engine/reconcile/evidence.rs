//! What may be touched, and on what evidence.

use sync_proto::SyncPath;

use super::{Side, View, Walk};
use crate::{
    engine::rule::{Rule, holds},
    tree::{Dir, Node},
};

impl Walk<'_> {
    /// Whether nothing may be planned here: it is held, or what stands here is not known.
    pub(super) fn is_closed(&self, path: &SyncPath) -> bool {
        let unknown = |view: &View| view.problems.contains_key(path) && holds(Rule::UnknownIsNoEvidence);
        self.limits.guard.is_held(path) || unknown(self.sides.alpha) || unknown(self.sides.beta)
    }

    /// Whether what neither side shows at `path` or beneath is really on neither.
    pub(super) fn is_certain(&self, path: &SyncPath) -> bool {
        [Side::Alpha, Side::Beta]
            .into_iter()
            .all(|side| self.is_complete(side) && !self.view(side).has_unknown_beneath(path))
    }

    /// Whether what the side does not show has been looked for.
    pub(super) fn is_complete(&self, side: Side) -> bool {
        self.view(side).complete || !holds(Rule::CompleteScan)
    }

    /// Whether the side has what both agreed on, or what was sent there since: no other hand has changed it.
    pub(super) fn is_unchanged(&self, side: Side, path: &SyncPath, node: &Node, synced: Option<&Node>) -> bool {
        match side {
            Side::Alpha => synced == Some(node),
            Side::Beta => self.is_ours(path, node, synced),
        }
    }

    /// Whether beta has what both agreed on, or what was sent there since.
    pub(super) fn is_ours(&self, path: &SyncPath, old: &Node, synced: Option<&Node>) -> bool {
        if synced == Some(old) || self.limits.guard.is_ours(path, old) {
            return true;
        }
        let Node::Directory(dir) = old else { return false };
        // Some of it may be as it was agreed on, and some of it sent since.
        let synced = synced.and_then(Node::as_dir);
        self.limits.guard.is_in_doubt(path)
            && (synced.is_some() || self.limits.guard.is_our_directory(path))
            && dir.iter().all(|(name, node, _)| {
                let synced = synced.and_then(|synced| synced.get(name));
                path.join(name).is_ok_and(|child| self.is_ours(&child, node, synced))
            })
    }

    /// Whether what stands at `path` on a side may be removed as one: nothing beneath is under way, of unknown state, ignored,
    /// or kept there by that side.
    pub(super) fn is_whole(&self, side: Side, path: &SyncPath, node: &Node) -> bool {
        let Node::Directory(dir) = node else {
            return true;
        };
        let may_not = self.limits.guard.is_held_beneath(path)
            || self.limits.guard.has_kept(side, path)
            || self.sides.alpha.has_unknown_beneath(path) && holds(Rule::UnknownIsNoEvidence)
            || self.sides.beta.has_unknown_beneath(path) && holds(Rule::UnknownIsNoEvidence)
            || self.has_ignored(path, dir) && holds(Rule::IgnoredStays);
        !may_not
    }

    pub(super) fn has_ignored(&self, path: &SyncPath, dir: &Dir) -> bool {
        dir.iter().any(|(name, node, _)| {
            let Ok(child) = path.join(name) else { return true };
            self.is_ignored(&child, node) || node.as_dir().is_some_and(|below| self.has_ignored(&child, below))
        })
    }

    /// Whether alpha does not show what stands at `path`, whether it has it or not.
    pub(super) fn is_out_of_sight(&self, path: &SyncPath, node: &Node) -> bool {
        self.is_ignored(path, node) && holds(Rule::IgnoredIsNotGone)
    }

    /// Whether what stands at `path` takes no part, by alpha's rules.
    pub(super) fn is_ignored(&self, path: &SyncPath, node: &Node) -> bool {
        self.sides.scope.is_ignored(path, node.as_dir().is_some())
    }

    /// `node` without what takes no part in it.
    pub(super) fn taking_part(&self, path: &SyncPath, node: &Node) -> Node {
        let part = node.as_dir().and_then(|dir| self.sides.scope.part(path, dir));
        part.map_or_else(|| node.clone(), Node::Directory)
    }
}

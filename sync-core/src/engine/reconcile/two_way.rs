//! Changes go both ways.
//!
//! A side that has what both agreed on has not changed, and takes over what the other one has. Where both have changed, a
//! change beats a deletion, and all else is a conflict. Nothing is removed on either side that the other side's hands have
//! not removed, or replaced, after both had agreed on it.

use sync_proto::SyncPath;

use super::{Choice, Mode, Side, Step, Walk};
use crate::{
    engine::rule::{Rule, holds},
    tree::{Dir, Node, merge},
};

impl Walk<'_> {
    /// The two differ, and are not both directories.
    pub(super) fn two_way(
        &mut self,
        path: &SyncPath,
        alpha: Option<&Node>,
        beta: Option<&Node>,
        synced: Option<&Node>,
    ) {
        match (alpha, beta) {
            (Some(alpha), Some(beta)) => self.differing(path, alpha, beta, synced),
            (Some(node), None) => self.on_one_side(Side::Alpha, path, node, synced),
            (None, Some(node)) => self.on_one_side(Side::Beta, path, node, synced),
            (None, None) => {}
        }
    }

    fn on_one_side(&mut self, side: Side, path: &SyncPath, node: &Node, synced: Option<&Node>) {
        if let Some(new) = self.lone(side, path, node, synced) {
            self.create(side.other(), path, new);
        }
    }

    /// Only `side` has something there. What of it shall come to the other side; of the rest, what goes is removed.
    fn lone(&mut self, side: Side, path: &SyncPath, node: &Node, synced: Option<&Node>) -> Option<Node> {
        // Not seen at alpha is not gone there: what takes no part is left alone.
        if self.is_out_of_sight(path, node) {
            self.forget(path, synced);
            return None;
        }
        // It is not at beta because it was removed there for alpha, which has it again.
        if side == Side::Alpha && self.limits.guard.is_our_removal(path) {
            return Some(node.clone());
        }
        let unchanged = self.is_unchanged(side, path, node, synced) || !holds(Rule::ChangeBeatsDeletion);
        if !self.is_complete(side.other()) && (unchanged || synced.is_some()) {
            // It may be there, and only not have been seen.
            return None;
        }
        // A hand may have put it back after something else had come to beta, and that is what was deleted there.
        let put_back = unchanged && !self.is_untouched(side, path, node, synced);
        let is_dir = node.as_dir().is_some();
        if put_back && !is_dir && self.limits.guard.is_known_gone(path) {
            return self.wanted(side, path, node);
        }
        if unchanged && !(put_back && is_dir) && self.goes(side, path, node) {
            return None;
        }
        match (node, synced) {
            (Node::Directory(dir), Some(Node::Directory(synced))) => self.remnants(side, path, node, dir, Some(synced)),
            (Node::Directory(dir), _) if side == Side::Beta && self.limits.guard.is_our_directory(path) => {
                self.remnants(side, path, node, dir, None)
            }
            _ if unchanged => None,
            _ => self.wanted(side, path, node),
        }
    }

    /// Whether no hand has been at what a side has since both agreed on it. At alpha a hand may have put it back after something
    /// else had come to beta: as long as that is in doubt, it counts as changed.
    fn is_untouched(&self, side: Side, path: &SyncPath, node: &Node, synced: Option<&Node>) -> bool {
        self.is_unchanged(side, path, node, synced) && (side == Side::Beta || !self.limits.guard.is_unsettled(path))
    }

    /// The other side deleted what is as both had agreed on: it goes, unless there is a reason why it may not as a whole. At
    /// alpha that is a question first, which beta answers.
    fn goes(&mut self, side: Side, path: &SyncPath, node: &Node) -> bool {
        let hidden = side == Side::Alpha && self.limits.guard.is_hidden(path);
        let goes = !hidden && self.is_whole(side, path, node);
        if goes {
            self.remove(side, path, node);
        }
        goes
    }

    /// A directory that the other side deleted, and in which something has changed or may not be touched. What is as it was
    /// agreed on goes, one by one; what is new or changed comes back to the other side, in this directory. The directory itself
    /// goes by a later walk, when nothing is left in it; it stays agreed on for as long.
    fn remnants(&mut self, side: Side, path: &SyncPath, node: &Node, dir: &Dir, synced: Option<&Dir>) -> Option<Node> {
        if side == Side::Alpha && self.limits.guard.is_hidden(path) {
            return None;
        }
        let mut back = Vec::new();
        // What is not known to be gone may still be in it.
        let mut unknown = false;
        for row in merge([Some(dir), None, synced]) {
            if self.is_full() {
                break;
            }
            let Ok(child) = path.join(row.name) else { continue };
            let [node, _, synced] = row.nodes;
            match node {
                _ if self.is_closed(&child) => unknown = true,
                Some(node) => {
                    let new = self.lone(side, &child, node, synced);
                    back.extend(new.map(|new| (row.name.as_bytes().into(), new, None)));
                }
                None if self.is_certain(&child) => self.forget(&child, synced),
                None => unknown |= synced.is_some(),
            }
        }
        if !back.is_empty() {
            return Some(Node::Directory(Dir::from_sorted(back)));
        }
        if dir.is_empty() && !unknown {
            self.goes(side, path, node);
        }
        None
    }

    /// What of a new or changed subtree of a side the other one gets. Nothing, where all that it holds takes no part.
    fn wanted(&self, side: Side, path: &SyncPath, node: &Node) -> Option<Node> {
        if side == Side::Alpha {
            // What alpha shows takes part by its own rules. To ask for each path again with each walk would make a first sync
            // of a million files take hours.
            return Some(node.clone());
        }
        let wanted = self.taking_part(path, node);
        let is_bare = |node: &Node| node.as_dir().is_some_and(Dir::is_empty);
        (!is_bare(&wanted) || is_bare(node)).then_some(wanted)
    }

    /// Both have something there, and not two directories.
    fn differing(&mut self, path: &SyncPath, alpha: &Node, beta: &Node, synced: Option<&Node>) {
        if self.limits.guard.is_held_beneath(path) {
            return;
        }
        let stays = match self.limits.guard.choice(path, alpha, beta) {
            Some(Choice::Aside(to)) => {
                return self.step(Side::Beta, Step::Aside { path: path.clone(), old: beta.clone(), to });
            }
            Some(Choice::Keep(side)) => Some(side),
            // First of all: what was sent to beta is no change by other hands, though alpha may be back at what was agreed on.
            None if self.is_unchanged(Side::Beta, path, beta, synced) => Some(Side::Alpha),
            None if self.is_untouched(Side::Alpha, path, alpha, synced) => Some(Side::Beta),
            None if !holds(Rule::ConflictIsKept) => Some(Side::Alpha),
            None => (self.mode == Mode::TwoWayResolved).then_some(Side::Alpha),
        };
        // Rules may ignore a directory of this name and not a file, or the other way round.
        let ignored = self.is_ignored(path, beta);
        match stays {
            Some(Side::Alpha) if !ignored && self.is_whole(Side::Beta, path, beta) => {
                self.replace(Side::Beta, path, beta, alpha.clone());
            }
            Some(Side::Beta) if !ignored && self.is_whole(Side::Alpha, path, alpha) => {
                let new = self.taking_part(path, beta);
                self.replace(Side::Alpha, path, alpha, new);
            }
            _ => self.conflict(path, alpha, beta),
        }
    }
}

//! What hands have written, and whether they have given it up.

use std::collections::BTreeSet;

use super::*;
use crate::tree::diff;

/// Content that a hand has overwritten or deleted where it stood: nobody misses it elsewhere.
#[derive(Default)]
pub(super) struct Ledger {
    given_up: BTreeSet<ContentId>,
    /// The same for good: another version was chosen, by the user or by the mode.
    overruled: BTreeSet<ContentId>,
}

fn contents(node: Option<&Node>) -> impl Iterator<Item = ContentId> {
    node.into_iter().flat_map(entries).filter_map(|(_, node)| node.entry().content())
}

impl Ledger {
    /// A hand has made one tree of another.
    pub(super) fn hand(&mut self, before: &Tree, after: &Tree) {
        let (mut old, mut new) = (BTreeSet::new(), BTreeSet::new());
        for difference in diff(before.root(), after.root()) {
            let content = |node: Option<&Node>| node.and_then(|node| node.entry().content());
            if content(difference.old).is_some() && content(difference.old) == content(difference.new) {
                // Only the executable bit.
                continue;
            }
            old.extend(contents(difference.old));
            new.extend(contents(difference.new));
        }
        self.given_up.extend(old.difference(&new));
        self.given_up.retain(|content| !new.contains(content));
    }

    /// Another version was chosen. Whatever becomes of this one on its way there, it may go.
    pub(super) fn give_up(&mut self, node: Option<&Node>) {
        self.overruled.extend(contents(node));
    }

    /// One side is gone with all that it had; what stood nowhere else is lost with it.
    pub(super) fn wiped(&mut self, gone: &Tree, left: &Tree) {
        let all = |tree: &Tree| walk(tree.root()).filter_map(|(_, node, _)| node.entry().content()).collect();
        let (gone, left): (BTreeSet<ContentId>, BTreeSet<ContentId>) = (all(gone), all(left));
        self.given_up.extend(gone.difference(&left));
    }

    /// The first content in `node` that is missed, where this is what both sides still have.
    pub(super) fn missed(&self, node: &Node, left: [&Tree; 2]) -> Option<ContentId> {
        let is_there = |content: &ContentId| {
            let mut left = left.into_iter().flat_map(|tree| walk(tree.root()));
            left.any(|(_, node, _)| matches!(node, Node::File { content: there, .. } if there == content))
        };
        let is_missed = |content: &ContentId| !self.given_up.contains(content) && !self.overruled.contains(content);
        contents(Some(node)).find(|content| is_missed(content) && !is_there(content))
    }
}

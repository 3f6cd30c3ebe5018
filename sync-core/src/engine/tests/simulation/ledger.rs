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
    /// What a hand has taken away at a side: the other side may lose it there as long as it is what both had agreed on, though a
    /// hand there has put it back.
    taken_away: BTreeSet<(Side, SyncPath, ContentId)>,
}

fn contents(node: Option<&Node>) -> impl Iterator<Item = ContentId> {
    node.into_iter().flat_map(entries).filter_map(|(_, node)| node.entry().content())
}

/// The contents in `node`, which stands at `at`, and where they stand.
fn placed(at: &SyncPath, node: Option<&Node>) -> impl Iterator<Item = (SyncPath, ContentId)> {
    let place = |(below, node): (SyncPath, Node)| Some((at.join_path(&below).ok()?, node.entry().content()?));
    node.into_iter().flat_map(entries).filter_map(place)
}

/// Whether `tree` has `content` at that very path.
fn has(tree: &Tree, at: &SyncPath, content: ContentId) -> bool {
    tree.get(at).and_then(|node| node.entry().content()) == Some(content)
}

impl Ledger {
    /// A hand has made one tree of another at a side.
    pub(super) fn hand(&mut self, side: Side, before: &Tree, after: &Tree) {
        let (mut old, mut new) = (BTreeSet::new(), BTreeSet::new());
        for difference in diff(before.root(), after.root()) {
            let content = |node: Option<&Node>| node.and_then(|node| node.entry().content());
            if content(difference.old).is_some() && content(difference.old) == content(difference.new) {
                // Only the executable bit.
                continue;
            }
            old.extend(contents(difference.old));
            new.extend(contents(difference.new));
            let gone = placed(&difference.path, difference.old);
            self.taken_away.extend(gone.map(|(at, content)| (side, at, content)));
            for (at, content) in placed(&difference.path, difference.new) {
                self.taken_away.remove(&(side, at, content));
            }
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

    /// The first content in `node`, which stood at `at` on a side, that is missed, where this is what both sides still have, this
    /// what was agreed on, and that what was sent to that very path.
    pub(super) fn missed(
        &self,
        side: Side,
        at: &SyncPath,
        node: &Node,
        left: [&Tree; 2],
        agreed: &Tree,
        was_sent: impl Fn(&SyncPath, ContentId) -> bool,
    ) -> Option<ContentId> {
        let is_there = |content: &ContentId| {
            let mut left = left.into_iter().flat_map(|tree| walk(tree.root()));
            left.any(|(_, node, _)| matches!(node, Node::File { content: there, .. } if there == content))
        };
        let is_missed = |content: &ContentId| !self.given_up.contains(content) && !self.overruled.contains(content);
        let is_taken =
            |at: SyncPath, content| has(agreed, &at, content) && self.taken_away.contains(&(side.other(), at, content));
        placed(at, Some(node))
            .find(|(at, content)| {
                is_missed(content) && !is_there(content) && !was_sent(at, *content) && !is_taken(at.clone(), *content)
            })
            .map(|(_, content)| content)
    }
}

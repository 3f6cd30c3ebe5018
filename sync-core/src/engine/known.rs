//! Beta and *synced*: as they are, and as they will be when all that is in flight has been done.
//!
//! Invariant: `ahead` is `beta`, and `synced_ahead` is `synced`, with every operation in flight applied that beta, as it is
//! known, will let through. An operation whose expectation does not hold any more changes nothing there, so neither here.

use sync_proto::SyncPath;

use super::{action::Recorded, flight::Flight, plan::Planned, view::View};
use crate::tree::{Node, Tree};

/// After how many changes trees that are not all equal are made to share their memory again.
const UNSHARED_CHANGES_MAX: u64 = 1024;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Beta as it is, by its own account.
    pub(super) beta: Tree,
    /// What both sides have agreed on, by beta's own account.
    pub(super) synced: Tree,
    /// Beta as it will be, and what is known of its problems.
    pub(super) ahead: View,
    /// What both sides will have agreed on.
    pub(super) synced_ahead: Tree,
    unshared: u64,
}

impl Known {
    /// Nothing is known but what both agreed on before.
    pub(super) fn new(synced: Tree) -> Self {
        Self { synced, ..Self::default() }
    }

    /// Takes both back to what is, and then does what is in flight, as far as it will be done.
    pub(super) fn foresee(&mut self, flight: &Flight) {
        self.ahead.tree = self.beta.clone();
        self.synced_ahead = self.synced.clone();
        for operation in flight.batched() {
            if operation.is_possible(&self.ahead.tree) {
                operation.apply_to(&mut self.ahead.tree);
                operation.apply_to(&mut self.synced_ahead);
            }
        }
    }

    /// A batch was sent; `after` is beta when it has been done.
    pub(super) fn sent(&mut self, operations: &[Planned], after: Tree) {
        self.ahead.tree = after;
        for operation in operations {
            operation.apply_to(&mut self.synced_ahead);
        }
    }

    /// Beta did an operation; alpha is what it is now. `streamed`: nothing was foreseen of it.
    pub(super) fn applied(
        &mut self,
        operation: &Planned,
        streamed: bool,
        alpha: Option<&Tree>,
        record: &mut Vec<Recorded>,
    ) {
        operation.apply_to(&mut self.beta);
        if streamed {
            operation.apply_to(&mut self.ahead.tree);
            operation.apply_to(&mut self.synced_ahead);
        }
        match operation {
            Planned::MakeDirectory { path } => {
                record.extend(self.take_over(path, Some(Node::from_entry(sync_proto::Entry::Directory)), alpha));
            }
            Planned::Put { path, entry, .. } => {
                record.extend(self.take_over(path, Some(Node::from_entry(entry.clone())), alpha));
            }
            Planned::Remove { path, .. } => record.extend(self.take_over(path, None, alpha)),
            Planned::Move { from, to, node } => {
                record.extend(self.take_over(from, None, alpha));
                record.extend(self.take_over(to, Some(node.clone()), alpha));
            }
        }
    }

    /// Both sides have `node` there, now and when all in flight has been done.
    pub(super) fn agree(&mut self, path: &SyncPath, node: Option<Node>, alpha: Option<&Tree>) -> Option<Recorded> {
        match &node {
            Some(node) => drop(self.synced_ahead.insert(path, node.clone(), None)),
            None => drop(self.synced_ahead.remove(path)),
        }
        self.take_over(path, node, alpha)
    }

    /// Puts `node` into *synced*, with alpha's stamp where alpha has the same. `None`: nothing has changed by it.
    pub(super) fn take_over(&mut self, path: &SyncPath, node: Option<Node>, alpha: Option<&Tree>) -> Option<Recorded> {
        self.unshared += 1;
        let Some(node) = node else {
            self.synced.remove(path)?;
            return Some((path.clone(), None));
        };
        let same = alpha.and_then(|alpha| alpha.get(path).filter(|there| **there == node).map(|there| (alpha, there)));
        let (node, stamp) = match same {
            // Alpha's own subtree, for its stamps and to share its memory.
            Some((alpha, there)) => (there.clone(), alpha.stamp(path)),
            None => (node, None),
        };
        self.synced.insert(path, node.clone(), stamp).ok()?;
        Some((path.clone(), Some((node, stamp))))
    }

    /// With nothing in flight: what is equal in alpha and here shares its memory. Where that is not all, what it costs is the
    /// differences, so it is done now and then.
    pub(super) fn share(&mut self, alpha: &Tree) {
        let often_enough = self.unshared < UNSHARED_CHANGES_MAX;
        for tree in [&mut self.beta, &mut self.synced] {
            if tree.hash() == alpha.hash() {
                *tree = alpha.clone();
            } else if !often_enough {
                *tree = tree.shared_with(alpha);
            }
        }
        if !often_enough {
            self.unshared = 0;
        }
        self.ahead.tree = self.beta.clone();
        self.synced_ahead = self.synced.clone();
    }
}

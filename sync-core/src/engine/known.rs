//! Beta and *synced*: as they are, and as they will be when all that is in flight has been done.
//!
//! Invariant: `ahead` is `beta`, and `synced_ahead` is `synced`, with every operation in flight applied that beta, as it is
//! known, will let through. An operation whose expectation does not hold any more changes nothing there, so neither here.

use std::collections::BTreeSet;

use sync_proto::SyncPath;

use super::{
    action::Recorded,
    flight::Flight,
    plan::Planned,
    rule::{Rule, holds},
    view::View,
};
use crate::tree::{Dir, Node, Tree};

/// After how many changes trees that are not all equal are made to share their memory again.
const UNSHARED_CHANGES_MAX: u64 = 1024;
/// And while something large is under way: after changes of one in so many of the entries of the larger side.
const UNSHARED_PART: u64 = 32;

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
    /// Where something is being moved aside to, at beta alone.
    pub(super) asides: BTreeSet<SyncPath>,
    /// Whether something in flight was left out of what is foreseen. It may be done all the same, where what is in its way
    /// is of a moment in the middle of what beta does.
    left_out: bool,
    pub(super) unshared: u64,
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
        self.left_out = false;
        for operation in flight.batched() {
            if operation.is_possible(&self.ahead.tree) {
                operation.apply_to(&mut self.ahead.tree);
                self.expect(operation);
            } else if operation.has_come_about(&self.ahead.tree) {
                // Beta has told of what it did, path by path, before it answers.
                if let Planned::Move { from, .. } = operation {
                    self.ahead.tree.remove(from);
                }
                self.expect(operation);
            } else {
                self.left_out = true;
            }
        }
    }

    /// Whether all that is in flight has been foreseen, so that an answer of `Applied` makes no difference to it.
    pub(super) fn foresees_all(&self) -> bool {
        !self.left_out
    }

    /// A batch was sent; `after` is beta when it has been done.
    pub(super) fn sent(&mut self, operations: &[Planned], after: Tree) {
        self.ahead.tree = after;
        operations.iter().for_each(|operation| self.expect(operation));
    }

    /// What will be agreed on once the operation has been done, which `ahead` has already.
    fn expect(&mut self, operation: &Planned) {
        if let Planned::Move { from, to, .. } = operation
            && self.asides.contains(to)
        {
            self.synced_ahead.remove(from);
            return;
        }
        agree_above(&mut self.synced_ahead, &self.ahead.tree, operation.path());
        if !is_agreed_directory(&self.synced_ahead, operation) {
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
            self.expect(operation);
        }
        if is_agreed_directory(&self.synced, operation) {
            return;
        }
        match operation {
            Planned::MakeDirectory { path } => self.take_over(path, Some(Node::Directory(Dir::new())), alpha, record),
            Planned::Put { path, entry, .. } => {
                self.take_over(path, Some(Node::from_entry(entry.clone())), alpha, record);
            }
            Planned::Remove { path, .. } => self.take_over(path, None, alpha, record),
            Planned::Move { from, to, node } => {
                self.take_over(from, None, alpha, record);
                if !self.asides.remove(to) || !holds(Rule::AsideIsBetas) {
                    self.take_over(to, Some(node.clone()), alpha, record);
                }
            }
        }
    }

    /// Alpha did an operation with what beta had: both had the same. Whatever either has now has changed since.
    pub(super) fn taken(&mut self, operation: &Planned, alpha: &Tree, record: &mut Vec<Recorded>) {
        if is_agreed_directory(&self.synced, operation) {
            return;
        }
        match operation {
            Planned::MakeDirectory { path } => {
                self.both_had(path, Some(Node::Directory(Dir::new())), alpha, record);
            }
            Planned::Put { path, entry, .. } => {
                self.both_had(path, Some(Node::from_entry(entry.clone())), alpha, record);
            }
            Planned::Remove { path, .. } => self.both_had(path, None, alpha, record),
            Planned::Move { from, to, node } => {
                self.both_had(from, None, alpha, record);
                self.both_had(to, Some(node.clone()), alpha, record);
            }
        }
    }

    /// A directory was to go, and something in it has stayed; `there` is the side where that was done. What has gone of it went
    /// by us, and not by the hand of that side: where the other side has it again, it is new.
    pub(super) fn gone_with(&mut self, path: &SyncPath, old: &Node, there: &Tree, record: &mut Vec<Recorded>) {
        let is_gone = there.get(path).is_none();
        if is_gone && self.synced.get(path) == Some(old) {
            self.synced_ahead.remove(path);
            return self.take_over(path, None, None, record);
        }
        for (name, node, _) in old.as_dir().into_iter().flat_map(Dir::iter) {
            if let Ok(child) = path.join(name) {
                self.gone_with(&child, node, there, record);
            }
        }
    }

    /// Nothing is in flight to beta near it, so that the same will be agreed on then.
    fn both_had(&mut self, path: &SyncPath, node: Option<Node>, alpha: &Tree, record: &mut Vec<Recorded>) {
        agree_above(&mut self.synced_ahead, alpha, path);
        match &node {
            Some(node) => drop(self.synced_ahead.insert(path, node.clone(), None)),
            None => drop(self.synced_ahead.remove(path)),
        }
        let above = agree_above(&mut self.synced, alpha, path);
        record.extend(above.into_iter().map(|above| (above, Some((Node::Directory(Dir::new()), None)))));
        self.take_over(path, node, Some(alpha), record);
    }

    /// Both sides have `node` there, now and when all in flight has been done.
    pub(super) fn agree(
        &mut self,
        path: &SyncPath,
        node: Option<Node>,
        alpha: Option<&Tree>,
        record: &mut Vec<Recorded>,
    ) {
        // A directory alone, which holds something that is not agreed on yet.
        let alone = node.as_ref().and_then(Node::as_dir).is_some_and(Dir::is_empty)
            && self.beta.dir(path).is_some_and(|beta| !beta.is_empty());
        if !alone || self.synced_ahead.dir(path).is_none() {
            match &node {
                Some(node) => drop(self.synced_ahead.insert(path, node.clone(), None)),
                None => drop(self.synced_ahead.remove(path)),
            }
        }
        if alone && self.synced.dir(path).is_some() {
            // What is agreed on in it stays so.
            return;
        }
        self.take_over(path, node, alpha, record);
    }

    /// Puts `node` into *synced*, with alpha's stamp where alpha has the same.
    pub(super) fn take_over(
        &mut self,
        path: &SyncPath,
        node: Option<Node>,
        alpha: Option<&Tree>,
        record: &mut Vec<Recorded>,
    ) {
        self.unshared += 1;
        let Some(node) = node else {
            record.extend(self.synced.remove(path).map(|_| (path.clone(), None)));
            return;
        };
        let above = agree_above(&mut self.synced, &self.beta, path);
        record.extend(above.into_iter().map(|above| (above, Some((Node::Directory(Dir::new()), None)))));
        let same = alpha.and_then(|alpha| alpha.get(path).filter(|there| **there == node).map(|there| (alpha, there)));
        let (node, stamp) = match same {
            // Alpha's own subtree, for its stamps and to share its memory.
            Some((alpha, there)) => (there.clone(), alpha.stamp(path)),
            None => (node, None),
        };
        if self.synced.insert(path, node.clone(), stamp).is_ok() {
            record.push((path.clone(), Some((node, stamp))));
        }
    }

    /// With something in flight: now and then the directories that are whole here share their memory with alpha's. Otherwise a
    /// first sync would come to five trees in memory before the last batch makes them one. Whether it was time.
    pub(super) fn share_directories(&mut self, alpha: &Tree) -> bool {
        // As much as is there on either side: what a look at all of it costs is spread over as many changes.
        let entries = || alpha.entries().max(self.beta.entries());
        if self.unshared < UNSHARED_CHANGES_MAX || self.unshared < entries() / UNSHARED_PART {
            return false;
        }
        self.unshared = 0;
        for tree in [&mut self.beta, &mut self.synced, &mut self.ahead.tree, &mut self.synced_ahead] {
            *tree = tree.with_directories_of(alpha);
        }
        true
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

/// Puts into `synced` the directories above `path` that it lacks and `beta` has. Alpha had them when it sent something into
/// them, so that both have them, whoever made them: that is agreement, though no walk has noted it yet.
fn agree_above(synced: &mut Tree, beta: &Tree, path: &SyncPath) -> Vec<SyncPath> {
    let is_missing = |above: &SyncPath| synced.dir(above).is_none() && beta.dir(above).is_some();
    let mut missing: Vec<SyncPath> =
        std::iter::successors(path.parent(), SyncPath::parent).take_while(is_missing).collect();
    missing.reverse();
    missing.retain(|above| synced.insert(above, Node::Directory(Dir::new()), None).is_ok());
    missing
}

/// Whether a directory is made that has gone on one side alone. What is agreed on in it stays so: that it has gone there too has
/// yet to reach the other side.
fn is_agreed_directory(synced: &Tree, operation: &Planned) -> bool {
    matches!(operation, Planned::MakeDirectory { path } if synced.dir(path).is_some())
}

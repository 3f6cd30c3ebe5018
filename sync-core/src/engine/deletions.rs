//! Deletions that look like an accident: they halt the session until the user lets them go.

use std::collections::BTreeMap;

use sync_proto::Entry;

use super::{
    Engine, Side,
    reconcile::{Reconciled, Step, reconcile},
};
use crate::tree::{Dir, Node, Tree, walk};

/// From how many files on a side it counts how many of them a walk removes.
const FILES_MIN: u64 = 20;
/// One file in so many may go: when more are to go, it is asked for.
const SHARE: u64 = 2;
/// Most steps that are looked at. More can't be held in memory for the sake of counting.
const STEPS_MAX: usize = 1 << 20;

impl Engine {
    /// The user lets the deletions go for which the session was halted, once.
    pub fn handle_deletions_allowed(&mut self) {
        self.deletions_allowed = true;
        self.advance();
    }

    /// Why the state of a side is not brought over as a whole. An emptied root is taken for an accident.
    pub(super) fn emptied(&self) -> Option<String> {
        let (alpha, _) = self.alpha.as_ref()?;
        let files = self.known.synced.entries();
        if self.deletions_allowed || files == 0 {
            return None;
        }
        if alpha.tree.entries() == 0 && self.known.ahead.tree.entries() > 0 {
            return Some(format!(
                "the source is empty, but {files} entries of it were in sync before: nothing is deleted. Put them back, \
                 delete them at the destination too, or allow the deletions"
            ));
        }
        let beta = &self.known;
        if self.mode.is_two_way() && beta.beta.entries() == 0 && beta.ahead.complete && alpha.tree.entries() > 0 {
            return Some(format!(
                "the destination is empty, but {files} entries of it were in sync before: nothing is deleted. Put them \
                 back, delete them at the source too, or allow the deletions"
            ));
        }
        None
    }

    /// Why what a walk has found is not done: it would remove most files of a side.
    pub(super) fn excess(&self, found: &Reconciled) -> Option<String> {
        if self.deletions_allowed || !is_suspicious(found) {
            return None;
        }
        let all = found.truncated.then(|| self.walk(STEPS_MAX, reconcile));
        let found = all.as_ref().unwrap_or(found);
        let (alpha, _) = self.alpha.as_ref()?;
        let sides = [(Side::Beta, &found.at_beta, &self.known.ahead.tree), (Side::Alpha, &found.at_alpha, &alpha.tree)];
        sides.into_iter().find_map(|(side, steps, tree)| {
            let gone = removed_files(steps);
            let there = files_up_to(tree, gone.saturating_mul(SHARE).max(FILES_MIN));
            let name = match side {
                Side::Alpha => "source",
                Side::Beta => "destination",
            };
            (there >= FILES_MIN && gone.saturating_mul(SHARE) > there).then(|| {
                format!(
                    "{gone} of {there} files at the {name} would be deleted: nothing is done. Put them back on the other \
                     side, or allow the deletions"
                )
            })
        })
    }
}

/// What a step takes away.
fn removed(step: &Step) -> Option<&Node> {
    match step {
        Step::Remove { old, .. } => Some(old),
        Step::Replace { old, .. } => old.as_dir().is_some().then_some(old),
        Step::Create { .. } | Step::Aside { .. } => None,
    }
}

/// Whether so much is removed that it has to be counted.
fn is_suspicious(found: &Reconciled) -> bool {
    let entries = |steps: &[Step]| steps.iter().filter_map(removed).map(Node::entries).sum::<u64>();
    [&found.at_alpha, &found.at_beta].iter().any(|steps| entries(steps) > FILES_MIN / SHARE)
}

/// How many files and symlinks go. What is put elsewhere on the same side does not count: it is moved.
fn removed_files(steps: &[Step]) -> u64 {
    let mut put: BTreeMap<Entry, u64> = BTreeMap::new();
    for step in steps {
        if let Step::Create { new, .. } | Step::Replace { new, .. } = step {
            leaves(new).for_each(|leaf| *put.entry(leaf.entry()).or_default() += 1);
        }
    }
    let is_gone = |leaf: &&Node| match put.get_mut(&leaf.entry()) {
        Some(count) if *count > 0 => {
            *count -= 1;
            false
        }
        _ => true,
    };
    steps.iter().filter_map(removed).flat_map(leaves).filter(is_gone).count() as u64
}

fn leaves(node: &Node) -> impl Iterator<Item = &Node> {
    let nothing = node.as_dir().is_none().then_some(node);
    let beneath = node.as_dir().into_iter().flat_map(files);
    nothing.into_iter().chain(beneath)
}

fn files(dir: &Dir) -> impl Iterator<Item = &Node> {
    walk(dir).map(|(_, node, _)| node).filter(|node| node.as_dir().is_none())
}

/// How many files and symlinks a tree has; no more than `most` are counted.
fn files_up_to(tree: &Tree, most: u64) -> u64 {
    files(tree.root()).take(usize::try_from(most).unwrap_or(usize::MAX)).count() as u64
}

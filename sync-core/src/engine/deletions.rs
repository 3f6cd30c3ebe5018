//! Deletions that look like an accident: they halt the session until the user lets them go.
//!
//! Counted is a *sweep*: what is removed on a side from when a walk first finds something to remove until a walk finds nothing
//! more and all that was to be removed has been answered. So what is seen, planned or sent in pieces adds up, as long as the pieces follow each other
//! without a rest; what a person deletes now and then does not.

mod let_go;

use std::collections::BTreeMap;

use sync_proto::{Entry, SyncPath, TreeHash};

pub(super) use self::let_go::LetGo;
use super::{
    Engine, Side,
    flight::Flight,
    plan::Planned,
    reconcile::{Reconciled, Step, reconcile},
    rule::{Rule, holds},
};
use crate::tree::{Dir, Node, Tree, diff, walk};

/// From how many files on a side it counts how many of them are removed.
const FILES_MIN: u64 = 20;
/// How many of a hundred files may be gone on a side, where nothing else is said: when more are to go, it is asked for.
pub const GONE_PERCENT_MAX: u8 = 50;
/// Most steps that are looked at. More can't be held in memory for the sake of counting.
const STEPS_MAX: usize = 1 << 20;

/// What is being removed.
#[derive(Debug)]
pub(super) struct Sweep {
    at_alpha: Swept,
    at_beta: Swept,
}

/// The same for one side.
#[derive(Debug)]
struct Swept {
    /// What stood there when it began, without what was under way.
    before: Tree,
    /// That, and all that has come since.
    ever: Tree,
    /// What stood there when it was last looked at.
    seen: Tree,
    /// How many entries operations have removed or moved away since, or will, or have failed to: no fewer than are gone.
    most: u64,
}

impl Engine {
    /// The user lets the deletions go for which the session was halted, once. What of them can't be done for now is not asked
    /// about again.
    pub fn handle_deletions_allowed(&mut self) {
        self.deletions_allowed = true;
        let found = self.walk(STEPS_MAX, reconcile);
        self.let_go.note(found);
        self.advance();
    }

    /// How many of a hundred files may be gone on a side before it is asked for; 100: all. An emptied root is always asked for.
    pub fn set_gone_percent_max(&mut self, percent: u8) {
        self.gone_percent_max = u64::from(percent.min(100));
    }

    /// All is done: what was allowed is over, but that a root is empty, and what could not be done.
    pub(super) fn end_allowance(&mut self) {
        self.deletions_allowed &= self.emptied().is_some() || !holds(Rule::AllowedOnce);
        if let Some((alpha, _)) = &self.alpha {
            self.let_go.sweep(&alpha.tree, &self.known.beta);
        }
    }

    /// Why the state of a side is not brought over as a whole. An emptied root is taken for an accident.
    pub(super) fn emptied(&self) -> Option<String> {
        let (alpha, _) = self.alpha.as_ref()?;
        let files = self.known.synced.entries();
        if files == 0 || !holds(Rule::EmptyRootHalts) {
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

    /// Why what a walk has found is not done: most files of a side would be gone with it.
    pub(super) fn excess(&mut self, found: &Reconciled) -> Option<String> {
        let unasked;
        let found = if self.let_go.is_empty() {
            found
        } else {
            unasked = self.let_go.rest_of(found);
            &unasked
        };
        let removes = [&found.at_alpha, &found.at_beta].into_iter().flatten().any(|step| removed(step).is_some());
        if self.deletions_allowed || !removes || !holds(Rule::ManyDeletionsHalt) {
            return None;
        }
        if !holds(Rule::PiecesAddUp) {
            self.sweep = None;
        }
        let (alpha, _) = self.alpha.as_ref()?;
        let Sweep { at_alpha, at_beta } = self.sweep.get_or_insert_with(|| Sweep {
            at_alpha: Swept::begin(&alpha.tree),
            at_beta: Swept::begin(&self.known.beta),
        });
        at_alpha.see(&alpha.tree);
        at_beta.see(&self.known.beta);
        let percent = self.gone_percent_max;
        if !at_alpha.is_suspicious(&found.at_alpha, percent) && !at_beta.is_suspicious(&found.at_beta, percent) {
            return None;
        }
        if !found.truncated {
            return self.excess_of(found);
        }
        if self.deletions_counted {
            return None;
        }
        let reason = self.excess_of(&self.let_go.rest_of(&self.walk(STEPS_MAX, reconcile)));
        self.deletions_counted = reason.is_none();
        reason
    }

    fn excess_of(&self, found: &Reconciled) -> Option<String> {
        let Sweep { at_alpha, at_beta } = self.sweep.as_ref()?;
        let (alpha, _) = self.alpha.as_ref()?;
        let at_beta = at_beta.excess(&self.known.ahead.tree, &self.flight, &found.at_beta, self.gone_percent_max);
        let at_alpha = || at_alpha.excess(&alpha.tree, self.taking.flight(), &found.at_alpha, self.gone_percent_max);
        let (name, (gone, there)) =
            at_beta.map(|excess| ("destination", excess)).or_else(|| Some(("source", at_alpha()?)))?;
        Some(format!(
            "{gone} of {there} files at the {name} would be gone: nothing more is deleted. Put them back on the other side, \
             or allow the deletions"
        ))
    }

    /// A walk over everything: whether anything is still being removed.
    pub(super) fn note_sweep(&mut self, found: &Reconciled) {
        let is_removal = |operation: &Planned| matches!(operation, Planned::Remove { .. } | Planned::Move { .. });
        let goes_on = || {
            let steps = [&found.at_alpha, &found.at_beta].into_iter().flatten();
            found.truncated
                || steps.filter_map(removed).next().is_some()
                || self.flight.batched().chain(self.taking.flight().batched()).any(is_removal)
        };
        if self.deletions_allowed || (self.sweep.is_some() && !goes_on()) {
            self.sweep = None;
        }
    }

    /// Operations are sent to a side.
    pub(super) fn note_removed(&mut self, side: Side, operations: &[Planned]) {
        let Some(Sweep { at_alpha, at_beta }) = &mut self.sweep else { return };
        let swept = match side {
            Side::Alpha => at_alpha,
            Side::Beta => at_beta,
        };
        for operation in operations {
            match operation {
                Planned::Remove { old: node, .. } | Planned::Move { node, .. } => swept.most += node.entries(),
                Planned::MakeDirectory { .. } | Planned::Put { .. } => {}
            }
        }
    }
}

impl Swept {
    fn begin(tree: &Tree) -> Self {
        Self { before: tree.clone(), ever: tree.clone(), seen: tree.clone(), most: 0 }
    }

    /// What has come there can be removed too. Costs O(changes).
    fn see(&mut self, now: &Tree) {
        if self.seen.root().is_same(now.root()) {
            return;
        }
        for difference in diff(self.seen.root(), now.root()) {
            let Some(new) = difference.new else { continue };
            if add(&mut self.ever, &difference.path, new) {
                continue;
            }
            for (below, node, _) in new.as_dir().into_iter().flat_map(walk) {
                if let Ok(path) = difference.path.join_path(&below) {
                    let _ = add(&mut self.ever, &path, node);
                }
            }
        }
        self.seen = now.clone();
    }

    /// How many entries are gone at most, with these steps.
    fn most(&self, steps: &[Step]) -> u64 {
        self.most + steps.iter().filter_map(removed).map(Node::entries).sum::<u64>()
    }

    /// Whether so much is removed that it has to be counted.
    fn is_suspicious(&self, steps: &[Step], percent: u64) -> bool {
        self.most(steps).saturating_mul(100) > FILES_MIN * percent
    }

    /// How many files are gone of how many that were there, are there now, or were there at any time, where those are too
    /// many.
    fn excess(&self, now: &Tree, flight: &Flight, steps: &[Step], percent: u64) -> Option<(u64, u64)> {
        let planned = steps.iter().filter_map(removed).map(Node::entries).sum();
        let of = |before: &Tree, most: u64| {
            let is_excess =
                |gone: u64, there: u64| there >= FILES_MIN && gone.saturating_mul(100) > there.saturating_mul(percent);
            let there =
                files_up_to(before, (most.saturating_mul(100) / percent.max(1)).saturating_add(1).max(FILES_MIN));
            if !is_excess(most, there) {
                return None;
            }
            let gone = gone_files(before, &after(now, flight, steps)).min(most);
            is_excess(gone, there).then_some((gone, there))
        };
        let most = self.most(steps);
        of(&self.before, most).or_else(|| of(now, planned)).or_else(|| of(&self.ever, most))
    }
}

/// Puts `node`, with all that is beneath it, where nothing stands, and a directory where a file stands. Whether it did.
fn add(tree: &mut Tree, path: &SyncPath, node: &Node) -> bool {
    let is_in_the_way = |old: &Node| old.as_dir().is_some() || node.as_dir().is_none();
    !tree.get(path).is_some_and(is_in_the_way) && tree.insert(path, node.clone(), None).is_ok()
}

/// What a step takes away.
fn removed(step: &Step) -> Option<&Node> {
    match step {
        Step::Remove { old, .. } => Some(old),
        Step::Replace { old, .. } => old.as_dir().is_some().then_some(old),
        Step::Create { .. } | Step::Aside { .. } => None,
    }
}

/// A side when all is done that is under way to it, and these steps.
fn after(now: &Tree, flight: &Flight, steps: &[Step]) -> Tree {
    let mut tree = now.clone();
    for operation in flight.operations() {
        if operation.is_possible(&tree) {
            operation.apply_to(&mut tree);
        }
    }
    for step in steps {
        match step {
            Step::Create { path, new } | Step::Replace { path, new, .. } => {
                drop(tree.insert(path, new.clone(), None));
            }
            Step::Remove { path, .. } => drop(tree.remove(path)),
            Step::Aside { path, old, to } => {
                tree.remove(path);
                drop(tree.insert(to, old.clone(), None));
            }
        }
    }
    tree
}

/// How many files and symlinks are gone. What was put elsewhere does not count: it is moved. A subtree that is elsewhere as it was
/// is not looked into, so that the rename of a large directory costs no more than that of a small one.
pub(super) fn gone_files(before: &Tree, after: &Tree) -> u64 {
    let (mut gone, mut put) = (Vec::new(), Vec::new());
    for difference in diff(before.root(), after.root()) {
        let is_file = |node: Option<&Node>| node.is_some_and(|node| node.as_dir().is_none());
        if is_file(difference.old) && is_file(difference.new) {
            continue;
        }
        gone.extend(difference.old);
        put.extend(difference.new);
    }
    without_moved(&mut gone, &mut put);
    let count = |nodes: Vec<&Node>| {
        let mut count = BTreeMap::<Entry, u64>::new();
        nodes.into_iter().flat_map(leaves).for_each(|leaf| *count.entry(leaf.entry()).or_default() += 1);
        count
    };
    let (gone, put) = (count(gone), count(put));
    gone.iter().map(|(entry, count)| count.saturating_sub(put.get(entry).copied().unwrap_or_default())).sum()
}

/// Takes directories that are in both as often out of both as that is so: of what is in them as much is gone as was put.
fn without_moved<'a>(gone: &mut Vec<&'a Node>, put: &mut Vec<&'a Node>) {
    let hashes = |nodes: &[&Node]| {
        let mut hashes = BTreeMap::<TreeHash, u64>::new();
        nodes.iter().filter_map(|node| node.as_dir()).for_each(|dir| *hashes.entry(dir.hash()).or_default() += 1);
        hashes
    };
    let (in_gone, in_put) = (hashes(gone), hashes(put));
    for (nodes, mut others) in [(gone, in_put), (put, in_gone)] {
        nodes.retain(|node| {
            let other = node.as_dir().and_then(|dir| others.get_mut(&dir.hash())).filter(|other| **other > 0);
            other.map(|other| *other -= 1).is_none()
        });
    }
}

fn leaves(node: &Node) -> impl Iterator<Item = &Node> {
    let nothing = node.as_dir().is_none().then_some(node);
    let beneath = node.as_dir().into_iter().flat_map(files);
    nothing.into_iter().chain(beneath)
}

/// Every file and symlink beneath. Not by path: that would cost far more than to count them.
fn files(dir: &Dir) -> impl Iterator<Item = &Node> {
    let mut open = vec![dir.iter()];
    std::iter::from_fn(move || {
        loop {
            match open.last_mut()?.next() {
                Some((_, Node::Directory(below), _)) => open.push(below.iter()),
                Some((_, file, _)) => return Some(file),
                None => drop(open.pop()),
            }
        }
    })
}

/// How many files and symlinks a tree has; no more than `most` are counted.
fn files_up_to(tree: &Tree, most: u64) -> u64 {
    files(tree.root()).take(usize::try_from(most).unwrap_or(usize::MAX)).count() as u64
}

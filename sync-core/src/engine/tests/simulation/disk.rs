//! A disk in memory, and operations on it by compare-and-swap, as the messages say.

use std::collections::HashSet;

use sync_proto::{
    Entry, SyncPath,
    message::{Outcome, ProblemKind},
};

use super::{
    super::{
        directory,
        mutants::{self, Mutant},
        problem,
    },
    random::Random,
};
use crate::{
    engine::plan::{Planned, Source},
    tree::{Dir, Node, Tree, walk},
};

/// What became of one operation, and what the index takes over.
pub(super) struct Commit {
    pub(super) outcome: Outcome,
    pub(super) changes: Vec<(SyncPath, Option<Node>)>,
}

#[derive(Default)]
pub(super) struct Disk {
    pub(super) tree: Tree,
    /// Everything that ever stood anywhere.
    pub(super) history: HashSet<(SyncPath, Entry)>,
    /// The same of the replica before.
    pub(super) former: HashSet<(SyncPath, Entry)>,
    /// What has been moved, from where to where.
    pub(super) moved: Vec<(SyncPath, SyncPath)>,
    /// What operations have overwritten or removed.
    pub(super) destroyed: Vec<(SyncPath, Node)>,
    /// One operation in so many fails; 0: none.
    pub(super) faults: usize,
}

impl Disk {
    pub(super) fn remember(&mut self) {
        self.history.extend(walk(self.tree.root()).map(|(at, node, _)| (at, node.entry())));
    }

    fn destroy(&mut self, at: &SyncPath) {
        self.destroyed.extend(self.tree.get(at).map(|node| (at.clone(), node.clone())));
    }

    /// Does one operation, by compare-and-swap.
    pub(super) fn apply(&mut self, index: &Tree, operation: &Planned, random: &mut Random) -> Commit {
        let nothing = |outcome| Commit { outcome, changes: Vec::new() };
        if self.faults > 0 && random.one_in(self.faults) {
            return nothing(fault(operation, random));
        }
        if mutants::is(Mutant::NothingExpected) {
            self.overwrite(operation);
        }
        match operation {
            Planned::MakeDirectory { path } => {
                if !is_free(&self.tree, path) {
                    return nothing(Outcome::Mismatch);
                }
                self.put(path, directory())
            }
            Planned::Put { path, old, entry, source } => {
                let holds = match old {
                    None => is_free(&self.tree, path),
                    Some(old) => self.tree.get(path).is_some_and(|there| there.entry() == *old),
                };
                if !holds {
                    return nothing(Outcome::Mismatch);
                }
                let from = match source {
                    Source::Receiver(from) => Some(from),
                    Source::Unchanged => Some(path),
                    Source::None | Source::Sender | Source::SenderWhole => None,
                };
                let has = |from| self.tree.get(from).and_then(|there| there.entry().content());
                if from.is_some_and(|from| has(from) != entry.content()) {
                    return nothing(Outcome::BaseMissing);
                }
                self.destroy(path);
                self.put(path, Node::from_entry(entry.clone()))
            }
            Planned::Remove { path, old: Node::Directory(old) } => {
                let known = index.dir(path).filter(|known| known.hash() == old.hash()).cloned();
                match known {
                    Some(known) if self.tree.dir(path).is_some() => self.remove_known(path, &known),
                    _ => nothing(Outcome::Mismatch),
                }
            }
            Planned::Remove { path, old } => {
                if self.tree.get(path) != Some(old) {
                    return nothing(Outcome::Mismatch);
                }
                self.destroy(path);
                self.tree.remove(path);
                Commit { outcome: Outcome::Applied, changes: vec![(path.clone(), None)] }
            }
            Planned::Move { from, to, node } => self.relocate(index, from, to, node),
        }
    }

    /// Makes room for an operation, whatever stands there.
    fn overwrite(&mut self, operation: &Planned) {
        match operation {
            Planned::Put { path, old: Some(old), .. } => self.exchange(path, Node::from_entry(old.clone())),
            Planned::Remove { path, old } if old.as_dir().is_none() => self.exchange(path, old.clone()),
            _ => {}
        }
    }

    fn exchange(&mut self, at: &SyncPath, node: Node) {
        if self.tree.get(at).is_some_and(|there| there.as_dir().is_none()) {
            self.destroy(at);
            drop(self.tree.insert(at, node, None));
        }
    }

    fn put(&mut self, at: &SyncPath, node: Node) -> Commit {
        self.tree.insert(at, node.clone(), None).unwrap();
        Commit { outcome: Outcome::Applied, changes: vec![(at.clone(), Some(node))] }
    }

    fn relocate(&mut self, index: &Tree, from: &SyncPath, to: &SyncPath, node: &Node) -> Commit {
        let known = index.get(from) == Some(node);
        let holds = |(below, node): (SyncPath, Node)| {
            let there = from.join_path(&below).ok().and_then(|at| self.tree.get(&at).cloned());
            there.is_some_and(|there| there.entry() == node.entry())
        };
        if !known || !is_free(&self.tree, to) || !entries(node).all(holds) {
            return Commit { outcome: Outcome::Mismatch, changes: Vec::new() };
        }
        let moved = self.tree.remove(from).unwrap();
        self.tree.insert(to, moved, None).unwrap();
        self.moved.push((from.clone(), to.clone()));
        let changes = vec![(from.clone(), None), (to.clone(), Some(node.clone()))];
        Commit { outcome: Outcome::Applied, changes }
    }

    /// Removes what is known, and directories that it leaves empty.
    fn remove_known(&mut self, at: &SyncPath, known: &Dir) -> Commit {
        let mut changes = Vec::new();
        let gone = self.remove_entries(at, known, &mut changes);
        Commit { outcome: if gone { Outcome::Applied } else { Outcome::Kept }, changes }
    }

    fn remove_entries(&mut self, at: &SyncPath, known: &Dir, changes: &mut Vec<(SyncPath, Option<Node>)>) -> bool {
        for (name, node, _) in known.iter() {
            let at = at.join(name).unwrap();
            match node {
                Node::Directory(known) if self.tree.dir(&at).is_some() => {
                    self.remove_entries(&at, known, changes);
                }
                node if self.tree.get(&at) == Some(node) => {
                    self.destroy(&at);
                    self.tree.remove(&at);
                    changes.push((at, None));
                }
                _ if self.tree.get(&at).is_none() => changes.push((at, None)),
                _ => {}
            }
        }
        let gone = self.tree.dir(at).is_some_and(Dir::is_empty);
        if gone {
            self.tree.remove(at);
            changes.push((at.clone(), None));
        }
        gone
    }
}

fn is_free(tree: &Tree, at: &SyncPath) -> bool {
    tree.get(at).is_none() && tree.dir(&at.parent().unwrap()).is_some()
}

/// A node and what lies beneath it.
pub(super) fn entries(node: &Node) -> impl Iterator<Item = (SyncPath, Node)> {
    let beneath: Vec<_> =
        node.as_dir().map(|dir| walk(dir).map(|(at, node, _)| (at, node.clone())).collect()).unwrap_or_default();
    std::iter::once((SyncPath::root(), node.clone())).chain(beneath)
}

pub(super) fn take_over(index: &mut Tree, changes: &[(SyncPath, Option<Node>)]) {
    for (at, node) in changes {
        match node {
            Some(node) => drop(index.insert(at, node.clone(), None)),
            None => drop(index.remove(at)),
        }
    }
}

fn fault(operation: &Planned, random: &mut Random) -> Outcome {
    let kinds = [ProblemKind::NoSpace, ProblemKind::Denied, ProblemKind::Io, ProblemKind::BadName];
    match random.below(3) {
        0 => Outcome::Mismatch,
        1 if matches!(operation, Planned::Put { source: Source::Sender, .. }) => Outcome::BaseMissing,
        _ => Outcome::Failed(problem(operation.path(), *random.pick(&kinds))),
    }
}

//! The agent, with a disk in memory. It does operations by compare-and-swap as the messages say, and tells what other
//! hands change, in the order in which the real one does.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};

use sync_proto::{
    Entry, SyncPath,
    message::{
        BatchId, Bounded, Change, Changes, Listed, Listing, Opened, Outcome, Outcomes, Problem, ProblemKind, Problems,
        ReplicaId, ToController,
    },
};

use super::{
    super::{directory, problem},
    hand,
    random::Random,
};
use crate::{
    engine::{
        Mode,
        plan::{Planned, Source},
    },
    ignore::Rules,
    tree::{Dir, Node, Tree, diff, walk},
};

/// What became of one operation, and what the index takes over.
struct Commit {
    outcome: Outcome,
    changes: Vec<(SyncPath, Option<Node>)>,
}

pub(super) struct Agent {
    pub(super) replica: u8,
    pub(super) disk: Tree,
    pub(super) index: Tree,
    pub(super) problems: BTreeMap<SyncPath, Problem>,
    rules: Rules,
    mode: Mode,
    /// What the controller knows.
    reported: Tree,
    /// Operations of this session that have been taken and not answered.
    effects: BTreeMap<u64, Vec<Planned>>,
    /// A bulk batch that is on the disk, but not in the index yet.
    applying: Option<(u64, Vec<Commit>)>,
    /// Everything that ever stood anywhere.
    pub(super) history: HashSet<(SyncPath, Entry)>,
    /// What has been moved, from where to where.
    pub(super) moved: Vec<(SyncPath, SyncPath)>,
    pub(super) out: VecDeque<ToController>,
    /// One operation in so many fails; 0: none.
    pub(super) faults: usize,
}

/// What a replica shows: without what is ignored or can't be looked at.
pub(super) fn visible(disk: &Tree, rules: &Rules, problems: &BTreeMap<SyncPath, Problem>) -> Tree {
    let mut shown = Tree::new();
    for (at, node, _) in walk(disk.root()) {
        let hidden = problems.keys().any(|problem| at.starts_with(problem));
        if !hidden && !rules.is_ignored(&at, node.as_dir().is_some()) {
            // Beneath what is ignored nothing finds its directory.
            let node = if node.as_dir().is_some() { directory() } else { node.clone() };
            drop(shown.insert(&at, node, None));
        }
    }
    shown
}

impl Agent {
    pub(super) fn new(rules: Rules, mode: Mode) -> Self {
        Self {
            replica: 0,
            disk: Tree::new(),
            index: Tree::new(),
            problems: BTreeMap::new(),
            rules,
            mode,
            reported: Tree::new(),
            effects: BTreeMap::new(),
            applying: None,
            history: HashSet::new(),
            moved: Vec::new(),
            out: VecDeque::new(),
            faults: 0,
        }
    }

    /// A session begins.
    pub(super) fn open(&mut self) -> Opened {
        self.out.clear();
        self.effects.clear();
        self.reported = self.index.clone();
        Opened {
            replica: ReplicaId([self.replica; 16]),
            tree: self.reported.hash(),
            entries: self.reported.entries(),
            complete: true,
            partials: Bounded::default(),
            problems: Problems::new(self.problems.values().cloned()),
        }
    }

    pub(super) fn list(&mut self, paths: &[SyncPath], random: &mut Random) {
        for at in paths {
            let nothing = Dir::new();
            let dir = self.reported.dir(at).unwrap_or(&nothing);
            let mut listed: Vec<Listed> = dir
                .iter()
                .map(|(name, node, _)| Listed {
                    name: SyncPath::root().join(name).unwrap(),
                    entry: node.entry(),
                    tree: node.as_dir().map_or(sync_proto::TreeHash([0; 32]), Dir::hash),
                })
                .collect();
            while listed.len() > 1 && random.one_in(2) {
                let rest = listed.split_off(1);
                let entries = Bounded::new(std::mem::replace(&mut listed, rest)).unwrap();
                self.out.push_back(ToController::Listing(Listing { path: at.clone(), entries, last: false }));
            }
            let entries = Bounded::new(listed).unwrap();
            self.out.push_back(ToController::Listing(Listing { path: at.clone(), entries, last: true }));
        }
    }

    /// Sees what stands at the top-level path of `at`, or everything.
    pub(super) fn observe(&mut self, at: Option<&SyncPath>) {
        if self.applying.is_some() {
            return;
        }
        let shown = visible(&self.disk, &self.rules, &self.problems);
        match at.and_then(|at| at.components().next()) {
            None => self.index = shown,
            Some(name) => graft(&mut self.index, &shown, &SyncPath::root().join(name).unwrap()),
        }
        self.tell();
    }

    /// Tells what other hands have changed.
    fn tell(&mut self) {
        let mut all = Vec::new();
        for difference in diff(self.reported.root(), self.index.root()) {
            let entry = difference.new.map(Node::entry);
            all.push(Change { path: difference.path.clone(), entry, content: None });
            if let Some(Node::Directory(dir)) = difference.new {
                all.extend(walk(dir).map(|(below, node, _)| Change {
                    path: difference.path.join_path(&below).unwrap(),
                    entry: Some(node.entry()),
                    content: None,
                }));
            }
        }
        let problems = || Problems::new(self.problems.values().cloned());
        let last = all.len().div_ceil(3).max(1) - 1;
        for number in 0..=last {
            let piece = all.iter().skip(number * 3).take(3).cloned().collect();
            let changes = Bounded::new(piece).unwrap();
            let settled = number == last;
            let changes = Changes { changes, settled, complete: true, problems: problems(), age_micros: 0 };
            self.out.push_back(ToController::Changes(changes));
        }
        self.reported = self.index.clone();
    }

    /// Operations arrive, as a batch of this session or of one before.
    pub(super) fn take(&mut self, id: Option<BatchId>, operations: Vec<Planned>, bulk: bool, random: &mut Random) {
        if bulk && self.applying.is_some() {
            self.done();
        }
        let mut index = self.index.clone();
        let mut commits = Vec::new();
        for operation in &operations {
            let commit = self.apply(&index, operation, random);
            take_over(&mut index, &commit.changes);
            commits.push(commit);
            self.remember();
        }
        // Numbers of a session before say nothing.
        let tag = id.map_or(u64::MAX, |id| id.0);
        if let Some(id) = id {
            self.effects.insert(id.0, operations);
        }
        if bulk && random.one_in(2) {
            self.applying = Some((tag, commits));
        } else {
            self.applied(tag, commits, random);
        }
    }

    /// The bulk batch that is on the disk gets into the index.
    pub(super) fn done(&mut self) {
        if let Some((tag, commits)) = self.applying.take() {
            self.applied(tag, commits, &mut Random(tag));
        }
    }

    /// Everything is gone: another replica.
    pub(super) fn wipe(&mut self) {
        self.replica += 1;
        self.applying = None;
        (self.disk, self.index) = Default::default();
        self.problems.clear();
        self.open();
    }

    pub(super) fn is_busy(&self) -> bool {
        self.applying.is_some() || !self.out.is_empty()
    }

    pub(super) fn remember(&mut self) {
        self.history.extend(walk(self.disk.root()).map(|(at, node, _)| (at, node.entry())));
    }

    fn applied(&mut self, tag: u64, commits: Vec<Commit>, random: &mut Random) {
        let mut outcomes = Vec::new();
        let mut made = Vec::new();
        let shown = visible(&self.disk, &self.rules, &self.problems);
        for Commit { outcome, changes } in commits {
            take_over(&mut self.index, &changes);
            // What lies in a directory that is not known yet is looked at.
            let unknown = |(at, node): &&(SyncPath, Option<Node>)| node.is_some() && self.index.get(at).is_none();
            let unknown: Vec<_> = changes.iter().filter(unknown).map(|(at, _)| at.clone()).collect();
            unknown.iter().for_each(|at| graft(&mut self.index, &shown, at));
            made.extend(changes.into_iter().filter(|(_, node)| *node == Some(directory())).map(|(at, _)| at));
            outcomes.push(outcome);
        }
        // A directory that was made is watched from now on: what others have put there since is found.
        if random.one_in(2) {
            made.iter().for_each(|at| graft(&mut self.index, &shown, at));
        }
        let Some(effects) = self.effects.remove(&tag) else { return self.tell() };
        let is_applied = |outcome: &Outcome| matches!(outcome, Outcome::Applied | Outcome::Displaced(_));
        // First what was there beside what was done, then the outcomes, then what has come to stand there since.
        let applied: Vec<&Planned> = effects
            .iter()
            .zip(&outcomes)
            .filter(|(_, outcome)| is_applied(outcome))
            .map(|(effect, _)| effect)
            .collect();
        let mut before = self.index.clone();
        for effect in &applied {
            restore(&mut before, &self.reported, effect.path());
            if let Planned::Move { from, .. } = effect {
                restore(&mut before, &self.reported, from);
            }
        }
        let seen = std::mem::replace(&mut self.index, before);
        self.tell();
        self.index = seen;
        applied.iter().for_each(|effect| effect.apply_to(&mut self.reported));
        let outcomes = Bounded::new(outcomes).unwrap();
        self.out.push_back(ToController::Outcomes(Outcomes { batch: BatchId(tag), outcomes, apply_micros: 0 }));
        self.tell();
    }

    /// Does one operation, by compare-and-swap.
    fn apply(&mut self, index: &Tree, operation: &Planned, random: &mut Random) -> Commit {
        let nothing = |outcome| Commit { outcome, changes: Vec::new() };
        if self.faults > 0 && random.one_in(self.faults) {
            return nothing(fault(operation, random));
        }
        match operation {
            Planned::MakeDirectory { path } => {
                if !is_free(&self.disk, path) {
                    return nothing(Outcome::Mismatch);
                }
                self.put(path, directory())
            }
            Planned::Put { path, old, entry, source } => {
                let holds = match old {
                    None => is_free(&self.disk, path),
                    Some(old) => self.disk.get(path).is_some_and(|there| there.entry() == *old),
                };
                if !holds {
                    return nothing(Outcome::Mismatch);
                }
                let from = match source {
                    Source::Receiver(from) => Some(from),
                    Source::Unchanged => Some(path),
                    Source::None | Source::Sender | Source::SenderWhole => None,
                };
                let has = |from| self.disk.get(from).and_then(|there| there.entry().content());
                if from.is_some_and(|from| has(from) != entry.content()) {
                    return nothing(Outcome::BaseMissing);
                }
                self.check_foreign(path);
                self.put(path, Node::from_entry(entry.clone()))
            }
            Planned::Remove { path, old: Node::Directory(old) } => {
                let known = index.dir(path).filter(|known| known.hash() == old.hash()).cloned();
                match known {
                    Some(known) if self.disk.dir(path).is_some() => self.remove_known(path, &known),
                    _ => nothing(Outcome::Mismatch),
                }
            }
            Planned::Remove { path, old } => {
                if self.disk.get(path) != Some(old) {
                    return nothing(Outcome::Mismatch);
                }
                self.check_foreign(path);
                self.disk.remove(path);
                Commit { outcome: Outcome::Applied, changes: vec![(path.clone(), None)] }
            }
            Planned::Move { from, to, node } => self.relocate(index, from, to, node),
        }
    }

    fn put(&mut self, at: &SyncPath, node: Node) -> Commit {
        self.disk.insert(at, node.clone(), None).unwrap();
        Commit { outcome: Outcome::Applied, changes: vec![(at.clone(), Some(node))] }
    }

    fn relocate(&mut self, index: &Tree, from: &SyncPath, to: &SyncPath, node: &Node) -> Commit {
        let known = index.get(from) == Some(node);
        let holds = |(below, node): (SyncPath, Node)| {
            let there = from.join_path(&below).ok().and_then(|at| self.disk.get(&at).cloned());
            there.is_some_and(|there| there.entry() == node.entry())
        };
        if !known || !is_free(&self.disk, to) || !entries(node).all(holds) {
            return Commit { outcome: Outcome::Mismatch, changes: Vec::new() };
        }
        let moved = self.disk.remove(from).unwrap();
        self.disk.insert(to, moved, None).unwrap();
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
                Node::Directory(known) if self.disk.dir(&at).is_some() => {
                    self.remove_entries(&at, known, changes);
                }
                node if self.disk.get(&at) == Some(node) => {
                    self.check_foreign(&at);
                    self.disk.remove(&at);
                    changes.push((at, None));
                }
                _ if self.disk.get(&at).is_none() => changes.push((at, None)),
                _ => {}
            }
        }
        let gone = self.disk.dir(at).is_some_and(Dir::is_empty);
        if gone {
            self.disk.remove(at);
            changes.push((at.clone(), None));
        }
        gone
    }

    /// What a foreign hand wrote, and alpha never had, is not to be replaced or deleted in the safe mode.
    fn check_foreign(&self, at: &SyncPath) {
        if self.mode == Mode::OneWaySafe {
            let lost = self.disk.get(at).is_some_and(hand::is_foreign);
            assert!(!lost, "{at}: foreign content is lost");
        }
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

fn take_over(index: &mut Tree, changes: &[(SyncPath, Option<Node>)]) {
    for (at, node) in changes {
        match node {
            Some(node) => drop(index.insert(at, node.clone(), None)),
            None => drop(index.remove(at)),
        }
    }
}

/// Makes `tree` what `from` is at `at`, if it has a directory for it.
fn restore(tree: &mut Tree, from: &Tree, at: &SyncPath) {
    match from.get(at) {
        Some(node) => drop(tree.insert(at, node.clone(), None)),
        None => drop(tree.remove(at)),
    }
}

/// Makes `tree` what `from` is at `at`, with the directories above it where one of them has none.
fn graft(tree: &mut Tree, from: &Tree, at: &SyncPath) {
    let mut above: Vec<SyncPath> = std::iter::successors(Some(at.clone()), SyncPath::parent).collect();
    above.reverse();
    let differs = |above: &&SyncPath| !above.is_root() && tree.dir(above).is_some() != from.dir(above).is_some();
    let at = above.iter().find(differs).unwrap_or(at).clone();
    match from.get(&at) {
        Some(node) => drop(tree.insert(&at, node.clone(), None)),
        None => drop(tree.remove(&at)),
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

/// The paths that a set of operations may have changed.
pub(super) fn touched(operations: &[Planned]) -> BTreeSet<SyncPath> {
    operations.iter().flat_map(Planned::touches).cloned().collect()
}

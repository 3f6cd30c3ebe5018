//! The agent, with a disk in memory. It tells what other hands change, in the order in which the real one does.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use sync_proto::{
    SyncPath,
    message::{
        BatchId, Bounded, Change, Changes, Listed, Listing, Opened, Outcome, Outcomes, Problem, Problems, ReplicaId,
        ToController,
    },
};

use super::{
    super::directory,
    disk::{Commit, Disk, take_over},
    random::Random,
};
use crate::{
    engine::plan::Planned,
    ignore::Rules,
    tree::{Dir, Node, Tree, diff, walk},
};

/// What the controller hears.
#[derive(Debug)]
pub(super) enum Heard {
    Message(ToController),
    Described(BatchId, Vec<SyncPath>, Vec<bool>),
}

pub(super) struct Agent {
    pub(super) replica: u8,
    pub(super) disk: Disk,
    pub(super) index: Tree,
    pub(super) problems: BTreeMap<SyncPath, Problem>,
    /// What scans miss.
    pub(super) missed: Option<SyncPath>,
    /// Which rules hold.
    pub(super) ignores: usize,
    pub(super) rules: Rules,
    /// What the controller knows.
    pub(super) reported: Tree,
    /// Operations of this session that have been taken and not answered.
    effects: BTreeMap<u64, Vec<Planned>>,
    /// A batch that is on the disk, but not in the index yet.
    applying: Option<Applying>,
    pub(super) out: VecDeque<Heard>,
}

struct Applying {
    tag: u64,
    bulk: bool,
    commits: Vec<Commit>,
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
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            replica: 0,
            disk: Disk::default(),
            index: Tree::new(),
            problems: BTreeMap::new(),
            missed: None,
            ignores: 0,
            rules,
            reported: Tree::new(),
            effects: BTreeMap::new(),
            applying: None,
            out: VecDeque::new(),
        }
    }

    pub(super) fn say(&mut self, message: ToController) {
        self.out.push_back(Heard::Message(message));
    }

    /// What stands at these very paths on the disk.
    pub(super) fn describe(&mut self, id: BatchId, paths: &[SyncPath]) {
        let there = paths.iter().map(|at| self.disk.tree.get(at).is_some()).collect();
        self.out.push_back(Heard::Described(id, paths.to_vec(), there));
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
            complete: self.missed.is_none(),
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
                self.say(ToController::Listing(Listing { path: at.clone(), entries, last: false }));
            }
            let entries = Bounded::new(listed).unwrap();
            self.say(ToController::Listing(Listing { path: at.clone(), entries, last: true }));
        }
    }

    fn shown(&self) -> Tree {
        let mut shown = visible(&self.disk.tree, &self.rules, &self.problems);
        if let Some(missed) = &self.missed {
            shown.remove(missed);
        }
        shown
    }

    /// Whether the disk is not as the index has it.
    pub(super) fn has_unseen(&self) -> bool {
        self.index != self.shown()
    }

    /// Sees what stands at the top-level path of `at`, or everything. Where a batch is on the disk already that is not in the
    /// index yet, what it did is seen as if others had done it.
    pub(super) fn observe(&mut self, at: Option<&SyncPath>) {
        let shown = self.shown();
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
        let problems = Problems::new(self.problems.values().cloned());
        let last = all.len().div_ceil(3).max(1) - 1;
        for number in 0..=last {
            let piece = all.iter().skip(number * 3).take(3).cloned().collect();
            let changes = Bounded::new(piece).unwrap();
            let settled = number == last;
            let complete = self.missed.is_none();
            let changes = Changes { changes, settled, complete, problems: problems.clone(), age_micros: 0 };
            self.say(ToController::Changes(changes));
        }
        self.reported = self.index.clone();
    }

    /// Operations arrive, as a batch of this session or of one before.
    pub(super) fn take(&mut self, id: Option<BatchId>, operations: Vec<Planned>, bulk: bool, random: &mut Random) {
        // More than the agent does, which does what is urgent at once. What is urgent overtakes bulk, and nothing else.
        let slow = random.one_in(if bulk { 2 } else { 4 });
        if slow || !self.applying.as_ref().is_some_and(|applying| applying.bulk && !bulk) {
            self.done();
        }
        let mut index = self.index.clone();
        let mut commits = Vec::new();
        let at = random.pick(&operations).path().clone();
        for operation in &operations {
            let commit = self.disk.apply(&index, operation, random);
            take_over(&mut index, &commit.changes);
            commits.push(commit);
            self.disk.remember();
        }
        // Numbers of a session before say nothing.
        let tag = id.map_or(u64::MAX, |id| id.0);
        if let Some(id) = id {
            self.effects.insert(id.0, operations);
        }
        if slow {
            self.applying = Some(Applying { tag, bulk, commits });
            if random.one_in(2) {
                self.observe(Some(&at));
            }
        } else {
            self.applied(tag, commits, random);
        }
    }

    /// The bulk batch that is on the disk gets into the index.
    pub(super) fn done(&mut self) {
        if let Some(Applying { tag, commits, .. }) = self.applying.take() {
            self.applied(tag, commits, &mut Random(tag));
        }
    }

    /// Everything is gone: another replica.
    pub(super) fn wipe(&mut self) {
        self.replica += 1;
        self.applying = None;
        self.disk.tree = Tree::new();
        self.disk.former = std::mem::take(&mut self.disk.history);
        self.index = Tree::new();
        self.problems.clear();
        self.missed = None;
        self.open();
    }

    pub(super) fn is_applying(&self) -> bool {
        self.applying.is_some()
    }

    pub(super) fn is_busy(&self) -> bool {
        self.applying.is_some() || !self.out.is_empty()
    }

    fn applied(&mut self, tag: u64, commits: Vec<Commit>, random: &mut Random) {
        let mut outcomes = Vec::new();
        let mut made = Vec::new();
        let shown = self.shown();
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
        self.say(ToController::Outcomes(Outcomes { batch: BatchId(tag), outcomes, apply_micros: 0 }));
        self.tell();
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

/// The paths that a set of operations may have changed: not those that content is only copied from.
pub(super) fn changed(operations: &[Planned]) -> BTreeSet<SyncPath> {
    let from = |operation: &Planned| match operation {
        Planned::Move { from, .. } => Some(from.clone()),
        Planned::MakeDirectory { .. } | Planned::Put { .. } | Planned::Remove { .. } => None,
    };
    operations.iter().flat_map(|operation| from(operation).into_iter().chain([operation.path().clone()])).collect()
}

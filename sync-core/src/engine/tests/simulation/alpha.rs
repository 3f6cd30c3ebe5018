//! Alpha: a disk that hands change, and a replica that sees it and does what comes from beta.

use super::*;

/// How far a batch for alpha has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Its content comes from beta.
    Fetching,
    /// The replica has it.
    Given,
    /// It is on the disk, and not durable yet.
    Done,
}

/// Operations for alpha.
pub(super) struct Taken {
    pub(super) id: BatchId,
    pub(super) operations: Vec<Planned>,
    stage: Stage,
    outcomes: Vec<Outcome>,
    /// What stood where something was put or removed.
    before: Vec<(SyncPath, Option<Node>, Option<Node>)>,
}

impl Taken {
    pub(super) fn new(id: BatchId, operations: Vec<Planned>) -> Self {
        Self { id, operations, stage: Stage::Fetching, outcomes: Vec::new(), before: Vec::new() }
    }
}

#[derive(Default)]
pub(super) struct Laptop {
    pub(super) disk: Disk,
    /// What its replica last told.
    pub(super) view: View,
    /// Which rules hold.
    pub(super) rules: usize,
    pub(super) changed: Vec<SyncPath>,
    /// What stood there when branches were last switched.
    branch: Option<Tree>,
    pub(super) taken: Vec<Taken>,
}

impl Laptop {
    /// All that there is to see.
    pub(super) fn seen(&self, rules: &[Rules; 2]) -> View {
        seen(&visible(&self.disk.tree, &rules[self.rules], &BTreeMap::new()))
    }

    /// Paths that are being changed.
    pub(super) fn under_way(&self) -> impl Iterator<Item = SyncPath> {
        self.taken.iter().flat_map(|taken| changed(&taken.operations))
    }
}

impl World {
    /// Something to begin with, at alpha, perhaps at beta too.
    pub(super) fn begin(&mut self) {
        for _ in 0..self.random.below(8) {
            hand::change(&mut self.laptop.disk.tree, &mut self.random, &mut self.next_content, false);
        }
        if self.random.one_in(6) {
            self.plant_many();
        }
        self.laptop.disk.remember();
        if self.random.one_in(3) {
            self.agent.disk.tree = self.laptop.disk.tree.clone();
            // What alpha deletes before both have met is beta's own.
            self.excused.extend(walk(self.laptop.disk.tree.root()).map(|(at, _, _)| at));
            self.agent.disk.remember();
            self.agent.observe(None);
        }
        self.look_at_alpha();
    }

    /// So many files that it matters how many of them go.
    pub(super) fn plant_many(&mut self) -> Vec<SyncPath> {
        self.laptop.disk.tree.insert(&path("m"), directory(), None).unwrap();
        for number in 0..MANY {
            self.next_content += 1;
            let file = hand::content(self.next_content, false);
            self.laptop.disk.tree.insert(&path(&format!("m/{number}")), file, None).unwrap();
        }
        vec![path("m")]
    }

    pub(super) fn edit_alpha(&mut self) {
        for _ in 0..=self.random.below(3) {
            // What is put back before anybody has seen that it was gone never was.
            let switches = self.random.one_in(8);
            if switches {
                self.look_at_alpha();
                self.pump();
            }
            let before = self.laptop.disk.tree.clone();
            let touched = if switches {
                self.switch_branches()
            } else if before.get(&path("m")).is_none() && self.random.one_in(32) {
                self.plant_many()
            } else if let Some(at) = self.aim() {
                let tree = &mut self.laptop.disk.tree;
                hand::change_at(tree, &at, &self.recorded, &mut self.random, &mut self.next_content, false)
            } else {
                hand::change(&mut self.laptop.disk.tree, &mut self.random, &mut self.next_content, false)
            };
            self.steps += 1;
            self.say(|| format!("alpha changes {touched:?}"));
            self.laptop.disk.remember();
            self.ledger.hand(Side::Alpha, &before, &self.laptop.disk.tree);
            self.laptop.changed.extend(touched);
            if switches {
                self.look_at_alpha();
                self.pump();
            }
        }
    }

    /// Everything is as it was when this was last done, as a switch to another branch and back makes it.
    fn switch_branches(&mut self) -> Vec<SyncPath> {
        let now = self.laptop.disk.tree.clone();
        let former = self.laptop.branch.replace(now.clone()).unwrap_or_else(|| now.clone());
        let touched = crate::tree::diff(now.root(), former.root()).map(|difference| difference.path).collect();
        self.laptop.disk.tree = former;
        touched
    }

    /// Somebody removes all that there is.
    pub(super) fn empty_alpha(&mut self) {
        self.say(|| "somebody empties alpha".to_owned());
        let before = std::mem::take(&mut self.laptop.disk.tree);
        self.ledger.hand(Side::Alpha, &before, &self.laptop.disk.tree);
        self.look_at_alpha();
    }

    /// Alpha's replica tells what it sees.
    pub(super) fn look_at_alpha(&mut self) {
        let mut view = self.laptop.seen(&self.rules);
        if self.kind.blind && self.random.one_in(4) {
            let hidden = hand::any_path(&mut self.random);
            if self.random.one_in(2) {
                view.complete = false;
                view.tree.remove(&hidden);
            } else if view.tree.get(&hidden).is_some() {
                view.tree.remove(&hidden);
                view.problems.insert(hidden.clone(), problem(&hidden, ProblemKind::Denied));
            }
        }
        let hot = std::mem::take(&mut self.laptop.changed);
        let hot = if self.random.one_in(4) { Vec::new() } else { hot };
        self.see(view, hot);
    }

    pub(super) fn see(&mut self, view: View, hot: Vec<SyncPath>) {
        self.say(|| format!("alpha is seen: {:?} {:?} {:?}", view.tree, view.complete, view.problems.keys()));
        self.steps += 1;
        self.laptop.view = view.clone();
        let rules = self.rules[self.laptop.rules].clone();
        self.engine.handle_alpha(AlphaUpdate { view, rules, hot });
    }

    fn any_taken(&mut self, stage: Stage) -> Option<usize> {
        let at: Vec<usize> =
            self.laptop.taken.iter().enumerate().filter(|(_, taken)| taken.stage == stage).map(|(at, _)| at).collect();
        (!at.is_empty()).then(|| *self.random.pick(&at))
    }

    /// The content of a batch for alpha comes from beta, as far as beta still has it, or it had come before.
    pub(super) fn fetch(&mut self) {
        let Some(which) = self.any_taken(Stage::Fetching) else { return };
        self.steps += 1;
        let Taken { id, operations, .. } = &self.laptop.taken[which];
        let id = *id;
        let is_sent = |operation: &Planned| {
            matches!(operation, Planned::Put { source: Source::Sender | Source::SenderWhole, .. })
        };
        if !self.up && operations.iter().any(is_sent) {
            return;
        }
        let mut unfetched = BTreeSet::new();
        for (place, operation) in operations.iter().enumerate() {
            if let Planned::Put { path, entry, .. } = operation
                && is_sent(operation)
            {
                let is_there = self.agent.disk.tree.get(path).is_some_and(|there| there.entry() == *entry);
                let fails = self.agent.disk.faults > 0 && self.random.one_in(self.agent.disk.faults);
                if fails || (!is_there && self.random.one_in(2)) {
                    unfetched.insert(place);
                }
            }
        }
        let taken = &mut self.laptop.taken[which];
        taken.stage = Stage::Given;
        let mut place = 0;
        taken.operations.retain(|_| {
            place += 1;
            !unfetched.contains(&(place - 1))
        });
        if taken.operations.is_empty() {
            self.laptop.taken.swap_remove(which);
        }
        if !unfetched.is_empty() {
            self.say(|| format!("{id:?}: not fetched: {unfetched:?}"));
            self.engine.handle_unfetched(id, &unfetched, self.now);
        }
    }

    /// The link is gone: what still waits for content waits in vain.
    pub(super) fn give_up_fetching(&mut self) {
        let (waiting, given): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.laptop.taken).into_iter().partition(|taken| taken.stage == Stage::Fetching);
        self.laptop.taken = given;
        for taken in waiting {
            let places = (0..taken.operations.len()).collect();
            self.engine.handle_unfetched(taken.id, &places, self.now);
        }
    }

    /// Alpha's replica does a batch, in whatever order.
    pub(super) fn do_at_alpha(&mut self) {
        let Some(which) = self.any_taken(Stage::Given) else { return };
        self.steps += 1;
        let Laptop { disk, view, taken, .. } = &mut self.laptop;
        let taken = &mut taken[which];
        taken.stage = Stage::Done;
        let mut index = view.tree.clone();
        for operation in &taken.operations {
            let places: Vec<SyncPath> = operation.touches().cloned().collect();
            let before = disk.tree.clone();
            let commit = disk.apply(&index, operation, &mut self.random);
            disk.remember();
            disk::take_over(&mut index, &commit.changes);
            for at in places {
                let (old, new) = (before.get(&at).cloned(), disk.tree.get(&at).cloned());
                if old != new {
                    taken.before.push((at, old, new));
                }
            }
            taken.outcomes.push(commit.outcome);
        }
        // The index has it; who looks meanwhile sees it.
        view.tree = index;
        let (id, outcomes) = (taken.id, taken.outcomes.clone());
        self.say(|| format!("{id:?} is done at alpha: {outcomes:?}"));
    }

    /// Alpha's replica answers: what was done is durable.
    pub(super) fn answer_at_alpha(&mut self) {
        let Some(which) = self.any_taken(Stage::Done) else { return };
        self.steps += 1;
        let Taken { id, outcomes, .. } = self.laptop.taken.swap_remove(which);
        // What others have put there meanwhile may have been seen, or not.
        if self.random.one_in(2) && self.laptop.view.complete && self.laptop.view.problems.is_empty() {
            self.laptop.view = self.laptop.seen(&self.rules);
        }
        let view = self.laptop.view.clone();
        self.say(|| format!("{id:?} is answered, and alpha seen: {:?}", view.tree));
        self.engine.handle_taken(id, outcomes, view, self.now);
    }

    /// The process at alpha is killed, perhaps with the power gone: what was not durable may be lost.
    pub(super) fn restart_alpha(&mut self) {
        self.doubtful.extend(self.laptop.under_way());
        let power = self.random.one_in(2);
        for taken in std::mem::take(&mut self.laptop.taken) {
            for (at, old, new) in taken.before.into_iter().rev() {
                let lost = power && self.random.one_in(2) && self.laptop.disk.tree.get(&at) == new.as_ref();
                if lost {
                    self.say(|| format!("{at} is lost with the power"));
                    match old {
                        Some(old) => drop(self.laptop.disk.tree.insert(&at, old, None)),
                        None => drop(self.laptop.disk.tree.remove(&at)),
                    }
                }
            }
        }
        self.laptop.disk.remember();
        self.laptop.view = self.laptop.seen(&self.rules);
    }
}

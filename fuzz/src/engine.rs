//! The engine between an alpha that changes and a beta that says anything at any time.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use sync_core::{
    engine::{
        Action, AlphaUpdate, Engine, Mode,
        plan::{Planned, PlannedStream, Source},
        view::View,
    },
    ignore::Rules,
    tree::{Dir, Node, Tree, walk},
};
use sync_proto::{
    Entry, SyncPath, TreeHash, codec,
    limits::{BATCH_OPERATIONS_MAX, BATCHES_IN_FLIGHT_MAX, DESCRIBE_PATHS_MAX, TREE_REQUEST_PATHS_MAX},
    message::{
        BatchId, Blob, Bounded, Change, Changes, IgnoreSettings, Listed, Listing, Opened, Outcome, Outcomes, Problem,
        ProblemKind, Problems, ReplicaId, Sentence, ToController,
    },
};

use crate::{take_bytes, vocabulary::Choices};

/// Most steps of one run.
const STEPS_MAX: usize = 200;

struct World {
    mode: Mode,
    engine: Engine,
    rules: Rules,
    alpha: Tree,
    /// All that alpha ever had: what is synced, or removed at beta, was there once.
    ever: BTreeSet<(SyncPath, Entry)>,
    is_up: bool,
    /// Batches and streams without an answer, and how many operations they have.
    sent: BTreeMap<BatchId, usize>,
    used: BTreeSet<BatchId>,
    /// What alpha is to do, and has not answered.
    takes: BTreeMap<BatchId, Vec<Planned>>,
    /// What beta is asked, and has not answered.
    questions: BTreeMap<BatchId, Vec<SyncPath>>,
    /// Where beta has said that nothing stands.
    gone: BTreeSet<SyncPath>,
    asked: Vec<SyncPath>,
    now: Duration,
}

/// First byte: the mode. Then steps, each a choice of what happens.
pub fn engine_peer(data: &[u8]) {
    let mut choices = Choices(data);
    let mode = [Mode::OneWaySafe, Mode::OneWayReplica, Mode::TwoWaySafe, Mode::TwoWayResolved][choices.of(4)];
    let pattern = Blob::new(b"*.o".to_vec()).expect("short");
    let settings = IgnoreSettings { patterns: Bounded::first(vec![pattern]), ..IgnoreSettings::default() };
    let mut world = World {
        mode,
        engine: Engine::new(mode),
        rules: Rules::new(&settings).expect("a pattern"),
        alpha: Tree::new(),
        ever: BTreeSet::new(),
        is_up: false,
        sent: BTreeMap::new(),
        used: BTreeSet::new(),
        takes: BTreeMap::new(),
        questions: BTreeMap::new(),
        gone: BTreeSet::new(),
        asked: Vec::new(),
        now: Duration::ZERO,
    };
    for _ in 0..STEPS_MAX {
        if choices.is_empty() {
            return;
        }
        world.step(&mut choices);
        world.act();
        world.check();
    }
}

impl World {
    fn step(&mut self, choices: &mut Choices<'_>) {
        match choices.of(16) {
            0 | 1 => self.alpha(choices),
            2 => self.opened(choices),
            3 | 4 => self.listing(choices),
            5 | 6 => self.said(changes(choices)),
            7 | 8 => self.outcomes(choices),
            9 => self.unsent(choices),
            11 | 12 => self.taken(choices),
            13 => self.unfetched(choices),
            14 => self.described(choices),
            10 => {
                self.now += Duration::from_millis(100 * choices.of(100) as u64);
                self.engine.handle_timeout(self.now);
            }
            _ => match choices.of(4) {
                0 => self.down(),
                1 => self.engine.handle_alpha_lost("it is gone".to_owned()),
                // Any message at all.
                _ => {
                    let mut rest = choices.0;
                    let body = take_bytes(&mut rest);
                    choices.0 = rest;
                    if let Ok(message) = codec::decode::<ToController>(body) {
                        self.said(message);
                    }
                }
            },
        }
    }

    fn alpha(&mut self, choices: &mut Choices<'_>) {
        let mut hot = Vec::new();
        for _ in 0..1 + choices.of(4) {
            let path = choices.path();
            // What takes no part is in no scan.
            if self.rules.is_ignored(&path, true) || self.rules.is_ignored(&path, false) {
                continue;
            }
            if choices.of(4) == 0 {
                self.alpha.remove(&path);
            } else {
                let entry = choices.entry();
                if self.alpha.get(&path).is_none_or(|there| there.entry() != entry) {
                    let _ = self.alpha.insert(&path, Node::from_entry(entry), None);
                }
            }
            hot.push(path);
        }
        self.remember();
        if choices.of(4) == 0 {
            hot.clear();
        }
        let complete = choices.of(8) != 0;
        let view = View { tree: self.alpha.clone(), complete, problems: BTreeMap::new() };
        self.engine.handle_alpha(AlphaUpdate { view, rules: self.rules.clone(), hot });
    }

    fn remember(&mut self) {
        self.ever.extend(walk(self.alpha.root()).map(|(path, node, _)| (path, node.entry())));
    }

    fn opened(&mut self, choices: &mut Choices<'_>) {
        let tree = match choices.of(4) {
            0 => Tree::new().hash(),
            1 => self.alpha.hash(),
            2 => self.engine.synced().hash(),
            _ => TreeHash([choices.of(4) as u8; 32]),
        };
        let opened = Opened {
            replica: ReplicaId([choices.of(2) as u8; 16]),
            tree,
            entries: choices.of(256) as u64,
            complete: choices.of(4) != 0,
            partials: Bounded::default(),
            problems: problems(choices),
        };
        // What is kept between runs is as if forgotten, or what was agreed on.
        let synced = if choices.of(2) == 0 { Tree::new() } else { self.engine.synced().clone() };
        self.forget();
        self.is_up = true;
        self.engine.handle_opened(&opened, synced);
    }

    fn listing(&mut self, choices: &mut Choices<'_>) {
        let at = choices.of(self.asked.len() + 1);
        let path = if at < self.asked.len() { self.asked.swap_remove(at) } else { choices.path() };
        let mut entries: Vec<Listed> = Vec::new();
        for _ in 0..choices.of(5) {
            let name = SyncPath::parse(&[b'a' + choices.of(26) as u8]).expect("a letter");
            let tree = match choices.of(3) {
                0 => Dir::new().hash(),
                1 => self.alpha.dir(&path).map_or(TreeHash([1; 32]), Dir::hash),
                _ => TreeHash([2; 32]),
            };
            entries.push(Listed { name, entry: choices.entry(), tree });
        }
        if choices.of(8) != 0 {
            entries.sort_by(|one, other| one.name.cmp(&other.name));
            entries.dedup_by(|one, other| one.name == other.name);
        }
        self.said(ToController::Listing(Listing { path, entries: Bounded::first(entries), last: choices.of(4) != 0 }));
    }

    fn outcomes(&mut self, choices: &mut Choices<'_>) {
        let at = choices.of(self.sent.len() + 1);
        let (batch, count) = match self.sent.iter().nth(at) {
            Some((batch, count)) => (*batch, *count),
            None => (BatchId(choices.of(256) as u64), 1),
        };
        let count = if choices.of(16) == 0 { count + 1 } else { count };
        let same = (choices.of(2) == 0).then(|| outcome(choices));
        let outcomes = (0..count).map(|_| same.clone().unwrap_or_else(|| outcome(choices))).collect();
        self.said(ToController::Outcomes(Outcomes { batch, outcomes: Bounded::first(outcomes), apply_micros: 1 }));
    }

    fn unsent(&mut self, choices: &mut Choices<'_>) {
        let at = choices.of(self.sent.len());
        let Some((&batch, &count)) = self.sent.iter().nth(at) else { return };
        let places: BTreeSet<usize> = (0..count).filter(|_| choices.of(2) == 0).collect();
        match count - places.len() {
            0 => drop(self.sent.remove(&batch)),
            left => drop(self.sent.insert(batch, left)),
        }
        self.engine.handle_unsent(batch, &places, self.now);
    }

    /// Alpha has done what it was to do, or some of it.
    fn taken(&mut self, choices: &mut Choices<'_>) {
        let at = choices.of(self.takes.len() + 1);
        let Some((&id, _)) = self.takes.iter().nth(at) else { return };
        let operations = self.takes.remove(&id).unwrap_or_default();
        let mut outcomes = Vec::new();
        for operation in operations {
            let done = choices.of(4) != 0 && operation.is_possible(&self.alpha);
            if done {
                operation.apply_to(&mut self.alpha);
            }
            outcomes.push(if done { Outcome::Applied } else { Outcome::Mismatch });
        }
        self.remember();
        let view = View { tree: self.alpha.clone(), complete: true, problems: BTreeMap::new() };
        self.engine.handle_taken(id, outcomes, view, self.now);
    }

    /// Content of some of it is not to be had.
    fn unfetched(&mut self, choices: &mut Choices<'_>) {
        let at = choices.of(self.takes.len() + 1);
        let Some((&id, operations)) = self.takes.iter_mut().nth(at) else { return };
        let places: BTreeSet<usize> = (0..operations.len()).filter(|_| choices.of(2) == 0).collect();
        let mut place = 0..;
        operations.retain(|_| place.next().is_none_or(|place| !places.contains(&place)));
        if operations.is_empty() {
            self.takes.remove(&id);
        }
        self.engine.handle_unfetched(id, &places, self.now);
    }

    fn described(&mut self, choices: &mut Choices<'_>) {
        let at = choices.of(self.questions.len() + 1);
        let Some((&id, _)) = self.questions.iter().nth(at) else { return };
        let paths = self.questions.remove(&id).unwrap_or_default();
        let there: Vec<bool> = paths.iter().map(|_| choices.of(3) == 0).collect();
        self.gone.extend(paths.into_iter().zip(&there).filter(|(_, there)| !**there).map(|(path, _)| path));
        if self.engine.handle_described(id, there, self.now).is_err() {
            self.down();
        }
    }

    /// What beta says. Who breaks the protocol is hung up on, as the session does.
    fn said(&mut self, message: ToController) {
        let result = match message {
            ToController::Listing(listing) => self.engine.handle_listing(listing),
            ToController::Changes(changes) => {
                self.engine.handle_changes(changes);
                Ok(())
            }
            ToController::Outcomes(outcomes) => {
                let batch = outcomes.batch;
                let result = self.engine.handle_outcomes(outcomes, self.now);
                self.sent.remove(&batch);
                result
            }
            _ => Ok(()),
        };
        if let Err(fault) = result {
            crate::assert_safe_to_show(&fault.to_string());
            self.down();
        }
    }

    fn down(&mut self) {
        self.forget();
        self.is_up = false;
        self.engine.handle_disconnected();
    }

    fn forget(&mut self) {
        self.sent.clear();
        self.asked.clear();
        self.questions.clear();
        self.gone.clear();
    }

    fn act(&mut self) {
        let mut actions = 0;
        while let Some(action) = self.engine.poll_action() {
            actions += 1;
            assert!(actions < 10_000, "it never stops");
            match action {
                Action::Request(paths) => {
                    assert!(self.is_up && paths.len() <= TREE_REQUEST_PATHS_MAX);
                    self.asked.extend(paths);
                }
                Action::Send { id, operations, .. } => {
                    assert!(!operations.is_empty() && operations.len() <= BATCH_OPERATIONS_MAX);
                    self.sent(id, operations.len());
                    operations.iter().for_each(|operation| self.operation(operation));
                }
                Action::Stream { id, stream } => {
                    self.sent(id, 1);
                    self.is_alphas(&stream.path, &stream.entry);
                }
                Action::Take { id, operations, .. } => {
                    assert!(!operations.is_empty() && operations.len() <= BATCH_OPERATIONS_MAX);
                    self.take(id, operations);
                }
                Action::TakeStream { id, stream: PlannedStream { path, old, entry } } => {
                    self.take(id, vec![Planned::Put { path, old, entry, source: Source::Sender }]);
                }
                Action::Describe { id, paths } => {
                    assert!(self.is_up && paths.len() <= DESCRIBE_PATHS_MAX && self.used.insert(id));
                    self.questions.insert(id, paths);
                }
                Action::Intend { .. } | Action::Answered(_) | Action::Settled => {}
                Action::Record(_) | Action::Report(_) => {}
            }
        }
    }

    fn sent(&mut self, id: BatchId, count: usize) {
        assert!(self.is_up, "sent to nobody");
        assert!(self.engine.halted().is_none(), "sent while halted");
        assert!(self.used.insert(id), "a batch number used twice");
        self.sent.insert(id, count);
        assert!(self.sent.len() <= BATCHES_IN_FLIGHT_MAX, "the agent would end the session");
    }

    /// What alpha is to do: nothing in the one-way modes, and nothing is removed without beta's word for it.
    fn take(&mut self, id: BatchId, operations: Vec<Planned>) {
        assert!(self.mode.is_two_way(), "something is done at alpha");
        assert!(self.is_up && self.engine.halted().is_none());
        assert!(self.used.insert(id), "a batch number used twice");
        for operation in &operations {
            assert!(operation.touches().all(|path| !path.is_root()), "the root itself is changed");
            if let Planned::Remove { path, .. } = operation {
                // What gives way to something of another kind is not gone at beta.
                let makes = |other: &Planned| {
                    other.path() == path && matches!(other, Planned::Put { .. } | Planned::MakeDirectory { .. })
                };
                let gives_way = operations.iter().any(makes);
                assert!(
                    gives_way || self.gone.contains(path),
                    "{path} is removed at alpha without evidence: {operations:?}"
                );
            }
        }
        self.takes.insert(id, operations);
    }

    fn operation(&self, operation: &Planned) {
        for path in operation.touches() {
            assert!(!path.is_root(), "the root itself is changed");
        }
        match operation {
            Planned::MakeDirectory { path } => self.is_alphas(path, &Entry::Directory),
            Planned::Put { path, entry, .. } => self.is_alphas(path, entry),
            Planned::Move { to, node, .. } => self.is_alphas(to, &node.entry()),
            Planned::Remove { path, .. } => {
                assert!(self.alpha.get(path).is_none_or(|there| there.entry() != operation_entry(operation)));
                // A deletion needs evidence: that it was alpha's.
                let was_alphas = self.mode == Mode::OneWayReplica || self.ever.iter().any(|(ever, _)| ever == path);
                assert!(was_alphas, "{path} is removed, which alpha never had");
                assert!(!self.rules.is_ignored(path, false), "{path} is removed, which takes no part");
            }
        }
    }

    /// What is sent is what alpha has, there and now.
    fn is_alphas(&self, path: &SyncPath, entry: &Entry) {
        let there = self.alpha.get(path).map(Node::entry);
        assert_eq!(there.as_ref(), Some(entry), "{path} is sent as it is not");
    }

    fn check(&self) {
        for (path, node, _) in walk(self.engine.synced().root()) {
            assert!(self.ever.contains(&(path.clone(), node.entry())), "{path} is synced, which alpha never had");
        }
        self.engine.outstanding();
        self.engine.conflicts().for_each(drop);
        assert!(!self.engine.is_in_sync() || self.sent.is_empty(), "in sync with something in flight");
    }
}

fn operation_entry(operation: &Planned) -> Entry {
    match operation {
        Planned::Remove { old, .. } => old.entry(),
        _ => Entry::Directory,
    }
}

fn outcome(choices: &mut Choices<'_>) -> Outcome {
    match choices.of(9) {
        0..=3 => Outcome::Applied,
        4 => Outcome::Mismatch,
        5 => Outcome::BaseMissing,
        6 => Outcome::Kept,
        7 => Outcome::Displaced(choices.path()),
        _ => Outcome::Failed(problem(choices)),
    }
}

fn problem(choices: &mut Choices<'_>) -> Problem {
    let kinds = [ProblemKind::Denied, ProblemKind::NoSpace, ProblemKind::BadName, ProblemKind::Io];
    Problem { path: choices.path(), kind: kinds[choices.of(4)], detail: Sentence::new("\u{1b}[31m") }
}

fn problems(choices: &mut Choices<'_>) -> Problems {
    let count = choices.of(6).saturating_sub(3);
    Problems::new((0..count).map(|_| problem(choices)).collect::<Vec<_>>())
}

fn changes(choices: &mut Choices<'_>) -> ToController {
    let change = |choices: &mut Choices<'_>| {
        let path = choices.path();
        let entry = (choices.of(3) != 0).then(|| choices.entry());
        Change { path, entry, content: None }
    };
    let changes = (0..choices.of(5)).map(|_| change(choices)).collect();
    ToController::Changes(Changes {
        changes: Bounded::first(changes),
        settled: choices.of(2) == 0,
        complete: choices.of(4) != 0,
        problems: problems(choices),
        age_micros: 0,
    })
}

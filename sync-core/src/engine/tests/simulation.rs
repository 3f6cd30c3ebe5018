//! The engine against a simulated agent and a simulated alpha: everything that can happen, in any order, from a seed.
//!
//! A failure prints its seed; [`replay`] runs one again with its trace. Checked while it runs: nothing is removed without
//! evidence, nothing that a foreign hand wrote is lost in the safe mode, *synced* takes over nothing that beta never had.
//! Checked when all is quiet: both sides converge but for what is listed, *synced* is what both have, nothing is sent again,
//! not after a reconnection either.

mod agent;
mod hand;
mod judge;
mod random;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    sync::LazyLock,
};

use sync_proto::message::ToController;

use self::{
    agent::{Agent, touched, visible},
    random::Random,
};
use super::*;
use crate::{
    engine::{Intent, Past, plan::Source},
    tree::walk,
};

/// What both sides ignore, and what alpha ignores at times.
static RULES: LazyLock<[Rules; 2]> = LazyLock::new(|| [rules(&["*.o"]), rules(&["*.o", "/b", "c/a"])]);
/// How many things happen before it gets quiet.
const STEPS: usize = 60;

/// What a run is like.
#[derive(Debug, Clone, Copy)]
struct Kind {
    mode: Mode,
    /// Somebody changes beta too.
    foreign: bool,
    /// Operations fail.
    faults: bool,
    /// What alpha ignores changes, and scans of it fail.
    blind: bool,
    /// The controller is killed and started again; the pod loses its volume.
    crashes: bool,
}

/// A message on its way to the agent.
enum Said {
    Request(Vec<SyncPath>),
    Batch(BatchId, Vec<Planned>),
}

struct World {
    kind: Kind,
    random: Random,
    engine: Engine,
    now: Duration,
    alpha: Tree,
    view: View,
    rules: [Rules; 2],
    alpha_rules: usize,
    changed: Vec<SyncPath>,
    next_content: u64,
    agent: Agent,
    up: bool,
    /// Batches that are being prepared: urgent, bulk.
    preparing: [VecDeque<(BatchId, Vec<Planned>)>; 2],
    /// The control stream and the bundle stream.
    lanes: [VecDeque<Said>; 2],
    streams: Vec<(BatchId, Planned)>,
    back: VecDeque<ToController>,
    /// Operations of a connection before, that the agent has and has not done yet.
    stale: VecDeque<Vec<Planned>>,
    /// What the controller keeps beyond its end: *synced*, and what was sent and not answered, in this life or one before.
    recorded: Tree,
    intended: BTreeMap<BatchId, Vec<Intent>>,
    intended_before: Vec<Intent>,
    last_id: Option<BatchId>,
    /// What is in flight, and the paths that it touches.
    unanswered: BTreeMap<BatchId, BTreeSet<SyncPath>>,
    /// Where beta may differ by somebody's hand, or because of what was not known.
    excused: BTreeSet<SyncPath>,
    /// Problems that the user has been told of.
    told: BTreeSet<SyncPath>,
    sent: usize,
    trace: DefaultHasher,
    verbose: bool,
}

impl World {
    fn new(seed: u64, kind: Kind) -> Self {
        let rules = RULES.clone();
        Self {
            kind,
            random: Random(seed),
            engine: Engine::new(kind.mode),
            now: Duration::from_secs(1),
            alpha: Tree::new(),
            view: seen(&Tree::new()),
            alpha_rules: 0,
            changed: Vec::new(),
            next_content: 0,
            agent: Agent::new(rules[0].clone(), kind.mode),
            rules,
            up: false,
            preparing: Default::default(),
            lanes: Default::default(),
            streams: Vec::new(),
            back: VecDeque::new(),
            stale: VecDeque::new(),
            recorded: Tree::new(),
            intended: BTreeMap::new(),
            intended_before: Vec::new(),
            last_id: None,
            unanswered: BTreeMap::new(),
            excused: BTreeSet::new(),
            told: BTreeSet::new(),
            sent: 0,
            trace: DefaultHasher::new(),
            verbose: false,
        }
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.verbose {
            println!("{}", what());
        }
    }

    /// Something happens.
    fn step(&mut self) {
        match self.random.below(32) {
            0..=3 => self.edit_alpha(),
            4..=7 => self.look_at_alpha(),
            8..=9 if self.kind.foreign => self.edit_beta(),
            10..=11 => {
                let at = hand::any_path(&mut self.random);
                let at = if self.random.one_in(2) { Some(&at) } else { None };
                self.agent.observe(at);
            }
            12..=15 => {
                let lane = self.random.below(2);
                self.prepare(lane);
            }
            16..=19 => {
                let lane = self.random.below(2);
                self.deliver(lane);
            }
            20 => self.stream(),
            21 => self.agent.done(),
            22..=26 => self.hear(),
            27 => self.wait(),
            28 if self.up && self.random.one_in(2) => self.cut(),
            28..=29 => self.connect(),
            30 if self.kind.crashes && self.random.one_in(4) => self.crash(),
            31 => self.stale(),
            _ => self.confuse(),
        }
        self.pump();
    }

    fn edit_alpha(&mut self) {
        for _ in 0..=self.random.below(3) {
            let touched = hand::change(&mut self.alpha, &mut self.random, &mut self.next_content, false);
            self.say(|| format!("alpha changes {touched:?}"));
            self.changed.extend(touched);
        }
    }

    /// Alpha's replica tells what it sees.
    fn look_at_alpha(&mut self) {
        let rules = self.rules[self.alpha_rules].clone();
        let mut view = seen(&visible(&self.alpha, &rules, &BTreeMap::new()));
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
        let hot = std::mem::take(&mut self.changed);
        let hot = if self.random.one_in(4) { Vec::new() } else { hot };
        self.see(view, hot);
    }

    fn see(&mut self, view: View, hot: Vec<SyncPath>) {
        self.say(|| format!("alpha is seen: {:?} {:?} {:?}", view.tree, view.complete, view.problems.keys()));
        self.view = view.clone();
        let rules = self.rules[self.alpha_rules].clone();
        self.engine.handle_alpha(AlphaUpdate { view, rules, hot });
    }

    fn edit_beta(&mut self) {
        let touched = hand::change(&mut self.agent.disk, &mut self.random, &mut self.next_content, true);
        self.say(|| format!("beta is changed by other hands: {touched:?}"));
        self.agent.remember();
        self.excused.extend(touched);
    }

    /// What is ignored, or can't be seen, changes.
    fn confuse(&mut self) {
        if !self.kind.blind {
            return;
        }
        match self.random.below(4) {
            0 => {
                self.alpha_rules = 1 - self.alpha_rules;
                // Also what holds it: it is left alone, and no longer known.
                self.excused.extend([path("b"), path("c")]);
                self.say(|| "what is ignored changes".to_owned());
                self.look_at_alpha();
            }
            1 => {
                let at = hand::any_path(&mut self.random);
                if self.agent.disk.get(&at).is_some() && self.agent.problems.is_empty() {
                    self.say(|| format!("beta can't read {at}"));
                    self.excused.insert(at.clone());
                    self.agent.problems.insert(at.clone(), problem(&at, ProblemKind::Denied));
                }
            }
            2 => self.agent.problems.clear(),
            _ => {
                self.engine.handle_alpha_lost("gone".to_owned());
            }
        }
    }

    /// The next batch of a lane is made ready to go.
    fn prepare(&mut self, lane: usize) {
        let Some((id, operations)) = self.preparing[lane].pop_front() else { return };
        let mut unsent = BTreeSet::new();
        let mut kept = Vec::new();
        for (place, operation) in operations.into_iter().enumerate() {
            if self.is_stale(&operation) && self.random.one_in(2) {
                unsent.insert(place);
            } else {
                kept.push(operation);
            }
        }
        if !unsent.is_empty() {
            self.say(|| format!("{id:?}: unsent {unsent:?}"));
            self.engine.handle_unsent(id, &unsent, self.now);
        }
        if kept.is_empty() {
            self.unanswered.remove(&id);
        } else {
            self.lanes[lane].push_back(Said::Batch(id, kept));
        }
    }

    /// Whether alpha does not have the content of an operation any more.
    fn is_stale(&self, operation: &Planned) -> bool {
        match operation {
            Planned::Put { path, entry, source: Source::Alpha | Source::AlphaWhole, .. } => {
                self.alpha.get(path).is_none_or(|there| there.entry() != *entry)
            }
            _ => false,
        }
    }

    fn deliver(&mut self, lane: usize) {
        match self.lanes[lane].pop_front() {
            None => {}
            Some(Said::Request(paths)) => self.agent.list(&paths, &mut self.random),
            Some(Said::Batch(id, operations)) => {
                self.say(|| format!("{id:?} is done"));
                self.agent.take(Some(id), operations, lane == 1, &mut self.random);
            }
        }
    }

    /// A file that is streamed arrives, or does not.
    fn stream(&mut self) {
        if self.streams.is_empty() {
            return;
        }
        let which = self.random.below(self.streams.len());
        let (id, operation) = self.streams.swap_remove(which);
        let refused = self.agent.faults > 0 && self.random.one_in(4);
        if refused {
            // The agent answers; the sender, whose stream is stopped, gives up.
            let failed = Outcome::Failed(problem(operation.path(), ProblemKind::NoSpace));
            let outcomes = Bounded::new(vec![failed]).unwrap();
            self.agent.out.push_back(ToController::Outcomes(Outcomes { batch: id, outcomes, apply_micros: 0 }));
        }
        if refused || self.is_stale(&operation) {
            self.say(|| format!("{id:?}: given up"));
            self.engine.handle_unsent(id, &BTreeSet::from([0]), self.now);
            self.unanswered.remove(&id);
        } else {
            self.say(|| format!("{id:?} has arrived"));
            self.agent.take(Some(id), vec![operation], true, &mut self.random);
        }
    }

    /// The controller hears what the agent says.
    fn hear(&mut self) {
        for _ in 0..=self.random.below(4) {
            self.back.extend(self.agent.out.pop_front());
        }
        let Some(message) = self.back.pop_front() else { return };
        self.say(|| format!("heard {message:?}"));
        match message {
            ToController::Listing(listing) => self.engine.handle_listing(listing).unwrap(),
            ToController::Changes(changes) => self.engine.handle_changes(changes),
            ToController::Outcomes(outcomes) => {
                self.unanswered.remove(&outcomes.batch);
                self.engine.handle_outcomes(outcomes, self.now).unwrap();
            }
            other => panic!("the agent does not say {other:?}"),
        }
    }

    fn wait(&mut self) {
        self.now += Duration::from_millis(self.random.next() % 3000);
        self.engine.handle_timeout(self.now);
    }

    fn connect(&mut self) {
        if self.up {
            return;
        }
        self.up = true;
        self.back.clear();
        let opened = self.agent.open();
        self.say(|| format!("connected: {:?}", self.agent.index));
        let past = Past { synced: self.recorded.clone(), sent: self.intended_before.clone() };
        self.engine.handle_opened(&opened, past);
    }

    /// The link is gone: what was on its way has arrived, up to somewhere.
    fn cut(&mut self) {
        self.say(|| "cut".to_owned());
        self.unanswered.clear();
        for lane in &mut self.lanes {
            let arrived = self.random.below(lane.len() + 1);
            let operations = lane.drain(..).take(arrived).filter_map(|said| match said {
                Said::Batch(_, operations) => Some(operations),
                Said::Request(_) => None,
            });
            self.stale.extend(operations);
            lane.clear();
        }
        self.preparing = Default::default();
        self.streams.clear();
        self.back.clear();
        self.agent.open();
        self.up = false;
        self.engine.handle_disconnected();
    }

    /// The agent does what it had taken before the link was lost.
    fn stale(&mut self) {
        if let Some(operations) = self.stale.pop_front() {
            self.say(|| format!("stale: {operations:?}"));
            self.agent.take(None, operations, false, &mut self.random);
        }
    }

    /// The controller is killed and started again, or the agent comes back with nothing.
    fn crash(&mut self) {
        self.cut();
        if self.random.one_in(2) {
            self.say(|| "the controller starts again".to_owned());
            self.pump();
            self.intended_before.extend(std::mem::take(&mut self.intended).into_values().flatten());
            self.engine = Engine::new(self.kind.mode);
            self.told.clear();
            self.last_id = None;
            let view = self.view.clone();
            self.see(view, Vec::new());
        } else {
            self.say(|| "beta is empty".to_owned());
            self.stale.clear();
            self.agent.wipe();
            self.recorded = Tree::new();
            self.intended.clear();
            self.intended_before.clear();
        }
    }

    fn pump(&mut self) {
        for (from, to) in std::mem::take(&mut self.agent.moved) {
            // What somebody had put there has moved along.
            let along = |at: &SyncPath| to.join_path(&at.strip_prefix(&from)?).ok();
            let along: Vec<SyncPath> = self.excused.iter().filter_map(along).collect();
            self.excused.extend(along);
        }
        while let Some(action) = self.engine.poll_action() {
            self.say(|| format!("    {action:?}"));
            format!("{action:?}").hash(&mut self.trace);
            match action {
                Action::Request(paths) => self.lanes[0].push_back(Said::Request(paths)),
                Action::Send { id, urgent, operations } => {
                    self.check_sent(id, &operations);
                    self.preparing[usize::from(!urgent)].push_back((id, operations));
                }
                Action::Stream { id, stream } => {
                    let put =
                        Planned::Put { path: stream.path, old: stream.old, entry: stream.entry, source: Source::Alpha };
                    self.check_sent(id, std::slice::from_ref(&put));
                    self.streams.push((id, put));
                }
                Action::Intend { id, intents } => drop(self.intended.insert(id, intents)),
                Action::Record(changes) => self.record(changes),
                Action::Answered(id) => drop(self.intended.remove(&id)),
                Action::Settled => {
                    self.intended.clear();
                    self.intended_before.clear();
                }
                Action::Report(report) => self.reported(report),
            }
        }
    }

    /// Lets everything run its course.
    fn quiet(&mut self) {
        self.agent.faults = 0;
        self.agent.problems.clear();
        self.agent.done();
        for round in 0.. {
            assert!(round < 4000, "it does not come to rest");
            self.connect();
            self.pump();
            let view = seen(&visible(&self.alpha, &self.rules[self.alpha_rules], &BTreeMap::new()));
            if view.tree != self.view.tree
                || !view.complete
                || !self.view.complete
                || !self.view.problems.is_empty()
                || round == 0
            {
                self.see(view, Vec::new());
            }
            self.stale();
            self.agent.done();
            self.prepare(0);
            self.prepare(1);
            self.deliver(0);
            self.deliver(1);
            self.stream();
            if round < 3 {
                self.agent.observe(None);
            }
            self.hear();
            self.pump();
            let moving = self.preparing.iter().any(|queue| !queue.is_empty())
                || self.lanes.iter().any(|lane| !lane.is_empty())
                || !self.streams.is_empty()
                || !self.back.is_empty()
                || !self.stale.is_empty()
                || self.agent.is_busy();
            if moving || round < 4 {
                continue;
            }
            let Some(due) = self.engine.timeout() else { return };
            self.now = due;
            self.engine.handle_timeout(due);
        }
    }
}

/// One run, to the end. A hash over everything that the engine did.
fn run(seed: u64, kind: Kind, verbose: bool) -> u64 {
    let mut world = World::new(seed, kind);
    world.verbose = verbose;
    world.agent.faults = if kind.faults { 12 } else { 0 };
    // Something to begin with, at alpha, perhaps at beta too.
    for _ in 0..world.random.below(8) {
        hand::change(&mut world.alpha, &mut world.random, &mut world.next_content, false);
    }
    if world.random.one_in(3) {
        world.agent.disk = world.alpha.clone();
        // What alpha deletes before both have met is beta's own.
        world.excused.extend(walk(world.alpha.root()).map(|(at, _, _)| at));
        world.agent.remember();
        world.agent.observe(None);
    }
    world.look_at_alpha();
    for _ in 0..STEPS {
        world.step();
    }
    world.quiet();
    world.judge();
    world.again();
    world.trace.finish()
}

fn kinds(seed: u64) -> Kind {
    let bit = |n: u64| (seed >> n) & 1 == 1;
    let mode = if bit(0) { Mode::OneWayReplica } else { Mode::OneWaySafe };
    Kind { mode, foreign: bit(1), faults: bit(2), blind: bit(3), crashes: bit(4) }
}

#[test]
fn any_order_of_events_converges() {
    let seeds = std::env::var("SYNCTL_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(2000);
    for seed in 0..seeds {
        let result = std::panic::catch_unwind(|| run(seed, kinds(seed), false));
        assert!(result.is_ok(), "seed {seed} of {:?}", kinds(seed));
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..64 {
        assert_eq!(run(seed, kinds(seed), false), run(seed, kinds(seed), false), "seed {seed}");
    }
}

/// Runs one seed, named by `SYNCTL_SEED`, with everything that happens.
#[test]
fn replay() {
    if let Some(seed) = std::env::var("SYNCTL_SEED").ok().and_then(|seed| seed.parse().ok()) {
        run(seed, kinds(seed), true);
    }
}

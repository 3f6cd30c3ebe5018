//! The engine against a simulated agent and a simulated alpha: everything that can happen, in any order, from a seed.
//!
//! Both sides have a disk on which hands write while operations are done by compare-and-swap. A failure prints one line that
//! replays it. Checked while it runs: nothing that a hand wrote is lost (`ledger`), nothing is removed without evidence, what
//! takes no part is not touched, *synced* takes over nothing that not both sides had, nor what alpha has not made durable.
//! Checked when all is quiet: both sides converge but for what is listed, *synced* is what both have, nothing is sent again,
//! not after a reconnection either.

mod agent;
mod alpha;
mod beta;
mod disk;
mod hand;
mod judge;
mod ledger;
mod ploys;
pub(super) mod random;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    ops::Range,
    sync::LazyLock,
    time::Instant,
};

use sync_proto::message::ToController;

use self::{
    agent::{Agent, Heard, changed, visible},
    alpha::{Laptop, Taken},
    disk::{Disk, entries},
    ledger::Ledger,
    random::Random,
};
use super::*;
use crate::{
    engine::{
        Intent, Keep, Past, Side,
        plan::{PlannedStream, Source},
    },
    tree::walk,
};

/// What both sides ignore, and what one of them ignores at times.
static RULES: LazyLock<[Rules; 2]> = LazyLock::new(|| [rules(&["*.o"]), rules(&["*.o", "/b", "c/a"])]);
/// How many things happen before it gets quiet.
const STEPS: usize = 60;
/// How often what waits is waited for.
const WAITS_MAX: usize = 24;
/// How many files a large directory has.
const MANY: usize = 24;

/// What a run is like.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    mode: Mode,
    /// Somebody changes beta too.
    foreign: bool,
    /// Operations fail.
    faults: bool,
    /// What a side ignores changes, and scans fail.
    blind: bool,
    /// The controller is killed and started again, perhaps with the power gone; the pod loses its volume; a root is emptied.
    crashes: bool,
}

/// A message on its way to the agent.
enum Said {
    Request(Vec<SyncPath>),
    Describe(BatchId, Vec<SyncPath>),
    Batch(BatchId, Vec<Planned>),
}

/// What operations remove.
#[derive(Default)]
struct Removed {
    /// Of how many files.
    of: usize,
    /// Where they were. What comes and goes in between does not count.
    there: BTreeSet<SyncPath>,
    gone: BTreeMap<SyncPath, Entry>,
    /// What is put somewhere: it is moved.
    put: BTreeSet<Entry>,
}

struct World {
    kind: Kind,
    random: Random,
    engine: Engine,
    now: Duration,
    rules: [Rules; 2],
    next_content: u64,
    laptop: Laptop,
    agent: Agent,
    ledger: Ledger,
    up: bool,
    /// Batches that are being prepared: urgent, bulk.
    preparing: [VecDeque<(BatchId, Vec<Planned>)>; 2],
    /// The control stream and the bundle stream.
    lanes: [VecDeque<Said>; 2],
    streams: Vec<(BatchId, Planned)>,
    back: VecDeque<Heard>,
    /// Operations of a connection before, that the agent has and has not done yet.
    stale: VecDeque<Vec<Planned>>,
    /// What the controller keeps beyond its end: *synced*, and what was sent and not answered, in this life or one before.
    recorded: Tree,
    intended: BTreeMap<BatchId, Vec<Intent>>,
    intended_before: Vec<Intent>,
    /// What is recorded is of a replica that is no more.
    wiped: bool,
    last_id: Option<BatchId>,
    /// What is in flight to beta, and the paths that it touches.
    unanswered: BTreeMap<BatchId, BTreeSet<SyncPath>>,
    /// Which of it is not urgent.
    unhurried: BTreeSet<BatchId>,
    /// Where beta has said that nothing stands.
    gone: BTreeSet<SyncPath>,
    /// All files that were ever sent to beta.
    had: BTreeSet<(SyncPath, Entry)>,
    /// Where beta may differ by somebody's hand, or because of what was not known.
    excused: BTreeSet<SyncPath>,
    /// What beta could not read for a while.
    hidden: BTreeSet<SyncPath>,
    /// What was taken, and not answered when the process ended.
    doubtful: BTreeSet<SyncPath>,
    /// Problems that the user has been told of.
    told: BTreeSet<(Side, SyncPath)>,
    /// What is being removed at a side, and by what.
    removing: BTreeSet<BatchId>,
    removed: BTreeMap<Side, Removed>,
    /// Where files have stood on each disk, and how each was when that was last looked at: a sweep counts what has come and gone.
    stood: [(BTreeSet<SyncPath>, Tree); 2],
    /// The user has let deletions go.
    allowed: bool,
    /// They have been let go once, at any time.
    ever_allowed: bool,
    /// What it was that the user has let go, until both have it again.
    let_go: HashSet<(Side, SyncPath, Entry)>,
    sent: usize,
    steps: u64,
    trace: DefaultHasher,
    traced: bool,
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
            next_content: 0,
            laptop: Laptop::default(),
            agent: Agent::new(rules[0].clone()),
            ledger: Ledger::default(),
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
            wiped: false,
            last_id: None,
            unanswered: BTreeMap::new(),
            unhurried: BTreeSet::new(),
            gone: BTreeSet::new(),
            had: BTreeSet::new(),
            excused: BTreeSet::new(),
            hidden: BTreeSet::new(),
            doubtful: BTreeSet::new(),
            told: BTreeSet::new(),
            removing: BTreeSet::new(),
            removed: BTreeMap::new(),
            stood: Default::default(),
            allowed: false,
            ever_allowed: false,
            let_go: HashSet::new(),
            sent: 0,
            steps: 0,
            trace: DefaultHasher::new(),
            traced: false,
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
        match self.random.below(40) {
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
            32..=33 => self.fetch(),
            34..=35 => self.do_at_alpha(),
            36..=37 => self.answer_at_alpha(),
            38 => self.decide(),
            _ if self.kind.blind && self.random.one_in(2) => self.confuse(),
            _ => self.ploy(),
        }
        self.pump();
    }

    /// What is ignored, or can't be seen, changes.
    fn confuse(&mut self) {
        match self.random.below(7) {
            0 => {
                self.laptop.rules = 1 - self.laptop.rules;
                // Also what holds it: it is left alone, and no longer known.
                self.excuse_ignored();
                self.say(|| "what alpha ignores changes".to_owned());
                self.look_at_alpha();
            }
            1 => {
                let at = self.any_path_in_doubt().unwrap_or_else(|| hand::any_path(&mut self.random));
                if self.agent.disk.tree.get(&at).is_some() && self.agent.problems.is_empty() {
                    self.say(|| format!("beta can't read {at}"));
                    self.excused.insert(at.clone());
                    self.agent.problems.insert(at.clone(), problem(&at, ProblemKind::Denied));
                }
            }
            2 => self.agent.problems.clear(),
            3 => self.engine.handle_alpha_lost("gone".to_owned()),
            4 if self.kind.mode.is_two_way() => {
                let other = 1 - self.agent.ignores;
                self.say(|| "what beta ignores changes".to_owned());
                self.excuse_ignored();
                self.agent.ignores = other;
                self.agent.rules = self.rules[other].clone();
                self.agent.observe(None);
            }
            5 => {
                let missed = hand::any_path(&mut self.random);
                self.say(|| format!("beta misses {missed}"));
                // What beta has there is met before it is seen.
                self.excused.insert(missed.clone());
                self.agent.missed = Some(missed);
                self.agent.observe(None);
            }
            _ => {
                self.agent.missed = None;
                self.agent.observe(None);
            }
        }
    }

    /// Where something was sent that nobody has answered.
    fn any_path_in_doubt(&mut self) -> Option<SyncPath> {
        let sent = self.intents().filter(|(_, node)| node.is_some());
        let intents: Vec<SyncPath> = sent.map(|(at, _)| at.clone()).collect();
        (!intents.is_empty() && self.random.one_in(2)).then(|| self.random.pick(&intents).clone())
    }

    /// A path about which something is in the air, at times: hands that aim.
    fn aim(&mut self) -> Option<SyncPath> {
        if !self.random.one_in(4) {
            return None;
        }
        let described = &self.engine.described;
        let asked = described.asked.values().flatten().chain(&described.gone);
        let under_way = self.laptop.under_way().collect::<Vec<_>>();
        let sent = self.unanswered.values().flatten().chain(self.intents().map(|(at, _)| at));
        let all: Vec<SyncPath> = asked.chain(&under_way).chain(sent).filter(|at| !at.is_root()).cloned().collect();
        (!all.is_empty()).then(|| self.random.pick(&all).clone())
    }

    /// What was sent, and is not known to have been answered.
    fn intents(&self) -> impl Iterator<Item = &Intent> {
        self.intended.values().flatten().chain(&self.intended_before)
    }

    fn excuse_ignored(&mut self) {
        self.excused.extend([path("b"), path("c")]);
    }

    /// The user settles a conflict, or lets deletions go.
    fn decide(&mut self) {
        if self.engine.halted().is_some() {
            if self.random.one_in(4) {
                self.allow();
            }
            return;
        }
        let conflicts: Vec<SyncPath> = self.engine.conflicts().map(|(at, _, _)| at.clone()).collect();
        if conflicts.is_empty() {
            return;
        }
        let at = self.random.pick(&conflicts).clone();
        let keep = *self.random.pick(&[Keep::Alpha, Keep::Beta, Keep::Both]);
        self.settle(&at, keep);
    }

    /// The user lets deletions go: what one side alone has.
    fn allow(&mut self) {
        self.say(|| "deletions are allowed".to_owned());
        self.allowed = true;
        self.ever_allowed = true;
        let sides = [(Side::Alpha, &self.laptop.view.tree), (Side::Beta, &self.engine.known.ahead.tree)];
        for (n, (side, here)) in sides.into_iter().enumerate() {
            let alone = walk(here.root()).filter(|(at, _, _)| sides[1 - n].1.get(at).is_none());
            self.let_go.extend(alone.map(|(at, node, _)| (side, at, node.entry())));
        }
        self.engine.handle_deletions_allowed();
    }

    fn settle(&mut self, at: &SyncPath, keep: Keep) {
        let side = |tree: Option<&Tree>| tree.and_then(|tree| tree.get(at)).cloned();
        let (alpha, beta) = (side(self.engine.alpha_tree()), side(Some(&self.engine.known.ahead.tree)));
        let settled = self.engine.handle_resolve(at, keep);
        self.say(|| format!("{at}: {keep:?} is kept: {settled:?}"));
        if settled.is_err() {
            return;
        }
        match keep {
            Keep::Alpha => self.ledger.give_up(beta.as_ref()),
            Keep::Beta => self.ledger.give_up(alpha.as_ref()),
            Keep::Both => {}
        }
    }

    fn wait(&mut self) {
        self.now += Duration::from_millis(self.random.next() % 3000);
        self.steps += 1;
        self.engine.handle_timeout(self.now);
    }

    /// Something is killed and started again, or comes back with nothing.
    fn crash(&mut self) {
        match self.random.below(6) {
            0..=2 => {
                self.cut();
                self.say(|| "the controller starts again".to_owned());
                self.pump();
                self.restart_alpha();
                // What alpha did not answer may be there: nobody remembers that it was taken.
                self.excused.append(&mut self.doubtful);
                self.intended_before.extend(std::mem::take(&mut self.intended).into_values().flatten());
                self.engine = Engine::new(self.kind.mode);
                self.told.clear();
                self.last_id = None;
                let view = self.laptop.view.clone();
                self.see(view, Vec::new());
            }
            3..=4 => self.lose_beta(),
            _ if self.random.one_in(2) => self.empty_alpha(),
            _ if self.kind.foreign => self.empty_beta(),
            _ => {}
        }
    }

    /// The pod comes back with nothing: another replica.
    fn lose_beta(&mut self) {
        self.cut();
        self.say(|| "beta is empty".to_owned());
        self.stale.clear();
        self.ledger.wiped(&self.agent.disk.tree, &self.laptop.disk.tree);
        self.agent.wipe();
        self.wiped = true;
        // What is under way to alpha is of a replica that is no more: it may have had elsewhere what goes here.
        for operation in self.laptop.taken.iter().flat_map(|taken| &taken.operations) {
            match operation {
                Planned::Remove { old, .. } => self.ledger.give_up(Some(old)),
                Planned::Put { old: Some(old), .. } => {
                    self.ledger.give_up(Some(&Node::from_entry(old.clone())));
                }
                Planned::MakeDirectory { .. } | Planned::Put { .. } | Planned::Move { .. } => {}
            }
        }
        self.excused.extend(self.laptop.under_way());
    }

    pub(super) fn pump(&mut self) {
        for (from, to) in std::mem::take(&mut self.agent.disk.moved) {
            // What somebody had put there has moved along.
            let along = |at: &SyncPath| to.join_path(&at.strip_prefix(&from)?).ok();
            let along: Vec<SyncPath> = self.excused.iter().filter_map(along).collect();
            self.excused.extend(along);
        }
        self.check_destroyed();
        while let Some(action) = self.engine.poll_action() {
            self.say(|| format!("    {action:?}"));
            if self.traced {
                format!("{action:?}").hash(&mut self.trace);
            }
            self.note_removed(&action);
            match action {
                Action::Request(paths) => self.lanes[0].push_back(Said::Request(paths)),
                Action::Describe { id, paths } => {
                    assert!(self.kind.mode.is_two_way());
                    self.check_number(id);
                    self.lanes[0].push_back(Said::Describe(id, paths));
                }
                Action::Send { id, urgent, operations } => {
                    self.check_order(id, urgent, &operations);
                    self.check_sent(id, &operations);
                    self.preparing[usize::from(!urgent)].push_back((id, operations));
                }
                Action::Stream { id, stream } => {
                    let put = streamed(stream);
                    self.check_order(id, false, std::slice::from_ref(&put));
                    self.check_sent(id, std::slice::from_ref(&put));
                    self.streams.push((id, put));
                }
                Action::Intend { id, intents } => drop(self.intended.insert(id, intents)),
                Action::Take { id, operations, .. } => {
                    self.check_taken(id, &operations);
                    self.laptop.taken.push(Taken::new(id, operations));
                }
                Action::TakeStream { id, stream } => {
                    let put = streamed(stream);
                    self.check_taken(id, std::slice::from_ref(&put));
                    self.laptop.taken.push(Taken::new(id, vec![put]));
                }
                Action::Record(changes) => self.record(changes),
                Action::Answered(id) => drop(self.intended.remove(&id)),
                Action::Settled => {
                    self.check_settled();
                    self.intended.clear();
                    self.intended_before.clear();
                }
                Action::Report(report) => self.reported(report),
            }
        }
        self.check_removed();
    }

    /// Lets everything run its course.
    fn quiet(&mut self) {
        self.agent.disk.faults = 0;
        self.laptop.disk.faults = 0;
        self.agent.problems.clear();
        self.agent.missed = None;
        self.agent.done();
        let mut waits = 0;
        for round in 0.. {
            assert!(round < 4000, "it does not come to rest");
            self.connect();
            self.pump();
            let view = self.laptop.seen(&self.rules);
            if view.tree != self.laptop.view.tree
                || !view.complete
                || !self.laptop.view.complete
                || !self.laptop.view.problems.is_empty()
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
            self.fetch();
            self.do_at_alpha();
            self.answer_at_alpha();
            self.pump();
            let moving = self.preparing.iter().any(|queue| !queue.is_empty())
                || self.lanes.iter().any(|lane| !lane.is_empty())
                || !self.streams.is_empty()
                || !self.back.is_empty()
                || !self.stale.is_empty()
                || !self.laptop.taken.is_empty()
                || self.agent.is_busy();
            if moving || round < 4 {
                continue;
            }
            if self.agent.has_unseen() {
                self.agent.observe(None);
                continue;
            }
            let Some(due) = self.engine.timeout() else { return };
            waits += 1;
            if waits > WAITS_MAX && !self.told.is_empty() {
                // What beta ignores and alpha does not is in the way for good; it is tried again now and then.
                return;
            }
            self.steps += 1;
            self.now = due;
            self.engine.handle_timeout(due);
        }
    }
}

fn streamed(stream: PlannedStream) -> Planned {
    Planned::Put { path: stream.path, old: stream.old, entry: stream.entry, source: Source::Sender }
}

/// What is noted of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Noted {
    /// Nothing.
    Nothing,
    /// A hash over everything that the engine did.
    Trace,
    /// Everything is printed.
    Everything,
}

/// One run, to the end: what was noted, and how many things happened.
fn run(seed: u64, kind: Kind, noted: Noted) -> (u64, u64) {
    let mut world = World::new(seed, kind);
    world.traced = noted == Noted::Trace;
    world.verbose = noted == Noted::Everything;
    let faults = if kind.faults { 12 } else { 0 };
    world.agent.disk.faults = faults;
    world.laptop.disk.faults = faults;
    world.begin();
    for _ in 0..STEPS {
        world.step();
    }
    world.quiet();
    world.judge();
    world.again();
    world.finish();
    world.finish_again();
    (world.trace.finish(), world.steps)
}

/// What the run of a seed is like: all modes, the two-way ones more often.
fn kind(seed: u64) -> Kind {
    let bit = |n: u64| (seed >> n) & 1 == 1;
    let mode = match seed & 7 {
        0..=3 => Mode::TwoWaySafe,
        4..=5 => Mode::TwoWayResolved,
        6 => Mode::OneWaySafe,
        _ => Mode::OneWayReplica,
    };
    Kind { mode, foreign: bit(3) || bit(7), faults: bit(4), blind: bit(5), crashes: bit(6) }
}

pub(super) fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|number| number.parse().ok())
}

/// Runs seeds. How many things happened; or the first that fails, and what it says.
pub(super) fn run_all(seeds: Range<u64>) -> Result<u64, (u64, String)> {
    let mut steps = 0;
    for seed in seeds {
        let failed = match std::panic::catch_unwind(|| run(seed, kind(seed), Noted::Nothing)) {
            Ok((_, happened)) => {
                steps += happened;
                continue;
            }
            Err(failed) => failed,
        };
        let said = failed.downcast_ref::<String>().cloned();
        let said = said.or_else(|| failed.downcast_ref().map(|said: &&str| (*said).to_owned()));
        return Err((seed, said.unwrap_or_default()));
    }
    Ok(steps)
}

/// The same, a part of the seeds for each processor.
fn run_on_all_processors(seeds: Range<u64>) -> Result<u64, (u64, String)> {
    let parts = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let part = (seeds.end - seeds.start).div_ceil(parts).max(1) as usize;
    let found: Vec<_> = std::thread::scope(|scope| {
        let begin = |from: u64| scope.spawn(move || run_all(from..(from + part as u64).min(seeds.end)));
        let threads: Vec<_> = (seeds.start..seeds.end).step_by(part).map(begin).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    found.into_iter().try_fold(0, |steps, more| Ok(steps + more?))
}

/// `SYNCTL_SEEDS=1000000` for a million, `SYNCTL_FIRST_SEED` for others than the first.
#[test]
fn any_order_of_events_converges() {
    let first = number("SYNCTL_FIRST_SEED").unwrap_or(0);
    let count = number("SYNCTL_SEEDS").unwrap_or(SEEDS);
    let began = Instant::now();
    match run_on_all_processors(first..first + count) {
        Err((seed, said)) => panic!(
            "{said}\nreplay it: SYNCTL_SEED={seed} cargo test -p sync-core --lib simulation::replay -- --nocapture"
        ),
        Ok(steps) => {
            let seconds = began.elapsed().as_secs_f64();
            println!("{count} seeds, {steps} steps in {seconds:.1} s: {:.0} steps a second", steps as f64 / seconds);
        }
    }
}

/// How many seeds a plain run of the tests takes.
const SEEDS: u64 = 10_000;

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..256 {
        let again = || run(seed, kind(seed), Noted::Trace);
        assert_eq!(again(), again(), "seed {seed}");
    }
}

/// Runs one seed, named by `SYNCTL_SEED`, with everything that happens.
#[test]
fn replay() {
    if let Some(seed) = number("SYNCTL_SEED") {
        println!("{:?}", kind(seed));
        run(seed, kind(seed), Noted::Everything);
    }
}

//! What the engine decides and what that costs: three trees compared, and a save, a burst and a first sync through the
//! whole engine. A save must hardly grow with the tree.

#![allow(missing_docs, clippy::unwrap_used)]

#[path = "shared/planted.rs"]
mod planted;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use sync_core::{
    engine::{
        Action, AlphaUpdate, Engine, Mode,
        plan::Planned,
        reconcile::{Limits, Sides, reconcile},
        view::View,
    },
    ignore::Rules,
    tree::Tree,
};
use sync_proto::{
    SyncPath,
    message::{BatchId, Bounded, IgnoreSettings, Opened, Outcome, Outcomes, Problems, ReplicaId},
};

use planted::{file, path, stamp, tree};

const SIZES: [u64; 2] = [100_000, 1_000_000];

fn seen(tree: &Tree) -> View {
    View { tree: tree.clone(), complete: true, problems: BTreeMap::new() }
}

/// `tree` with other content in `count` files, spread over it.
fn changed(tree: &Tree, files: u64, count: u64) -> Tree {
    let mut changed = tree.clone();
    for n in 0..count {
        changed.insert(&path(n * (files / count)), file(files + n), Some(stamp(files + n))).unwrap();
    }
    changed.hash();
    changed
}

fn steps(alpha: &View, beta: &View, synced: &Tree, rules: &Rules) -> usize {
    let sides = Sides { alpha, beta, synced, scope: rules };
    reconcile(sides, Mode::OneWaySafe, &Limits { steps_max: 8_192, guard: &() }).at_beta.len()
}

fn three_trees(criterion: &mut Criterion) {
    let rules = Rules::new(&IgnoreSettings::default()).unwrap();
    let mut group = criterion.benchmark_group("reconcile");
    for size in SIZES {
        let synced = tree(size);
        let (same, apart) = (seen(&synced), seen(&tree(size)));
        let (one, many) = (seen(&changed(&synced, size, 1)), seen(&changed(&synced, size, 2_000)));
        let many_apart = seen(&changed(&apart.tree, size, 2_000));
        let empty = View { complete: true, ..View::default() };
        let none = Tree::new();
        let cases = [
            ("equal_shared", &same, &same, &synced, 0),
            ("equal_apart", &apart, &same, &synced, 0),
            ("one_file", &one, &same, &synced, 1),
            ("2000_files", &many, &same, &synced, 2_000),
            ("2000_files_apart", &many_apart, &same, &synced, 2_000),
            // One step a directory of the top: what is new is taken over whole.
            ("first_sync", &same, &empty, &none, size.div_ceil(10_000) as usize),
        ];
        for (name, alpha, beta, synced, expected) in cases {
            assert_eq!(steps(alpha, beta, synced, &rules), expected);
            group.bench_function(BenchmarkId::new(name, size), |bencher| {
                bencher.iter(|| steps(black_box(alpha), black_box(beta), black_box(synced), &rules));
            });
        }
    }
    group.finish();
}

/// An engine with an agent that does all it is told.
struct Driven {
    engine: Engine,
    rules: Rules,
    sent: usize,
}

impl Driven {
    /// With alpha as it is, and beta and *synced* as they were.
    fn new(alpha: &Tree, beta: &Tree) -> Self {
        let mut driven = Self {
            engine: Engine::new(Mode::OneWaySafe),
            rules: Rules::new(&IgnoreSettings::default()).unwrap(),
            sent: 0,
        };
        driven.engine.handle_alpha(driven.update(alpha, Vec::new()));
        let opened = Opened {
            replica: ReplicaId([7; 16]),
            tree: beta.hash(),
            entries: beta.entries(),
            complete: true,
            partials: Bounded::default(),
            problems: Problems::new([]),
        };
        driven.engine.handle_opened(&opened, beta.clone());
        driven
    }

    fn update(&self, alpha: &Tree, hot: Vec<SyncPath>) -> AlphaUpdate {
        AlphaUpdate { view: seen(alpha), rules: self.rules.clone(), hot }
    }

    fn save(&mut self, update: AlphaUpdate) {
        self.engine.handle_alpha(update);
        self.settle();
    }

    /// Answers what is sent until nothing is left to do.
    fn settle(&mut self) {
        let mut unanswered: Vec<(BatchId, Vec<Planned>)> = Vec::new();
        loop {
            while let Some(action) = self.engine.poll_action() {
                match action {
                    Action::Send { id, operations, .. } => unanswered.push((id, operations)),
                    action => drop(black_box(action)),
                }
            }
            if unanswered.is_empty() {
                break;
            }
            let (batch, operations) = unanswered.remove(0);
            self.sent += operations.len();
            let outcomes = Bounded::new(vec![Outcome::Applied; operations.len()]).unwrap();
            let outcomes = Outcomes { batch, outcomes, apply_micros: 140 };
            self.engine.handle_outcomes(outcomes, Duration::ZERO).unwrap();
        }
        assert!(self.engine.is_in_sync());
    }
}

fn whole_engine(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("engine");
    for size in [1_000, 100_000, 1_000_000] {
        let mut alpha = tree(size);
        let mut driven = Driven::new(&alpha, &alpha);
        driven.settle();
        let mut saves = 0;
        let rules = driven.rules.clone();
        // From the index's news of a save to the record of its outcome; what the index does itself is in `tree`.
        group.bench_function(BenchmarkId::new("save", size), |bencher| {
            let save = || {
                saves += 1;
                let path = path(saves * 7_919 % size);
                alpha.insert(&path, file(size + saves), Some(stamp(saves))).unwrap();
                AlphaUpdate { view: seen(&alpha), rules: rules.clone(), hot: vec![path] }
            };
            bencher.iter_batched(save, |update| driven.save(update), BatchSize::PerIteration);
        });
        assert_eq!(driven.sent as u64, saves);
    }
    let before = tree(100_000);
    let after = changed(&before, 100_000, 2_000);
    group.sample_size(10);
    // The news in one, as after a scan.
    group.bench_function("2000_changed/100000", |bencher| {
        bencher.iter_batched(
            || Driven::new(&after, &before),
            |mut driven| {
                driven.settle();
                assert_eq!(driven.sent, 2_000);
                driven
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("first_sync/100000", |bencher| {
        bencher.iter_batched(
            || Driven::new(&before, &Tree::new()),
            |mut driven| {
                driven.settle();
                driven
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = three_trees, whole_engine
}
criterion_main!(benches);

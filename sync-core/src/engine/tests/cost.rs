//! What a save costs: the paths that are looked at, the memory that is not shared. Counted, not timed.

use std::cell::Cell;

use super::*;
use crate::{
    engine::{
        known::Known,
        reconcile::{Guard, Limits, Sides, reconcile, reconcile_at},
        view::Scope,
    },
    tree::merge,
};

/// Counts the paths that a walk looks at.
#[derive(Default)]
struct Counted(Cell<usize>);

impl Guard for Counted {
    fn is_held(&self, _: &SyncPath) -> bool {
        self.0.set(self.0.get() + 1);
        false
    }
}

impl Scope for Counted {
    fn is_ignored(&self, _: &SyncPath, _: bool) -> bool {
        self.0.set(self.0.get() + 1);
        false
    }
}

fn flat(count: u64) -> Tree {
    let items = (0..count).map(|n| (format!("{n:07}").into_bytes().into(), file(n), None)).collect();
    Tree::from_root(Dir::from_sorted(items))
}

/// A hundred files in a directory, a hundred directories in another.
fn deep(count: u64) -> Tree {
    let directory = |name: String, dir: Dir| (name.into_bytes().into(), Node::Directory(dir), None);
    let group = |group: u64| {
        let inner = |n: u64| directory(format!("d{n}"), flat(100).root().clone());
        directory(format!("g{group}"), Dir::from_sorted((0..100).map(inner).collect()))
    };
    Tree::from_root(Dir::from_sorted((0..count / 10_000).map(group).collect()))
}

#[test]
fn a_save_looks_at_its_own_path_alone_in_any_tree() {
    for (before, at, depth) in [(flat(10_000), "0005000", 1), (deep(100_000), "g3/d7/0000050", 3)] {
        let mut after = before.clone();
        after.insert(&path(at), file(1 << 40), None).unwrap();
        let (alpha, beta) = (seen(&after), seen(&before));
        let looked = Counted::default();
        let sides = Sides { alpha: &alpha, beta: &beta, synced: &before, scope: &looked };
        let limits = Limits { steps_max: 100, guard: &looked };
        assert_eq!(reconcile(sides, Mode::OneWaySafe, &limits).at_beta.len(), 1);
        assert_eq!(looked.0.get(), depth);
        assert_eq!(reconcile_at(sides, Mode::OneWaySafe, &limits, &path(at)).unwrap().at_beta.len(), 1);
        // A page a level of each tree.
        let mut rows = merge([Some(after.root()), Some(before.root())]);
        assert_eq!(rows.by_ref().count(), 1);
        assert!(rows.pages_opened() <= 12, "{}", rows.pages_opened());
        assert!(rows.rows_compared() <= 400, "{}", rows.rows_compared());
    }
}

#[test]
fn what_beta_has_beside_costs_a_save_nothing() {
    // Ten thousand files that are beta's own, in one directory.
    let mut beta_tree = deep(10_000);
    let synced = beta_tree.clone();
    beta_tree.insert(&path("target"), Node::Directory(flat(10_000).root().clone()), None).unwrap();
    let mut alpha_tree = synced.clone();
    alpha_tree.insert(&path("g0/d1/0000001"), file(1 << 40), None).unwrap();
    let (alpha, beta) = (seen(&alpha_tree), seen(&beta_tree));
    let looked = Counted::default();
    let sides = Sides { alpha: &alpha, beta: &beta, synced: &synced, scope: &looked };
    let found = reconcile(sides, Mode::OneWaySafe, &Limits { steps_max: 100, guard: &looked });
    assert_eq!(found.at_beta.len(), 1);
    assert!(looked.0.get() <= 5, "{}", looked.0.get());
}

fn save(engine: &mut Engine, alpha: &Tree, at: &str) {
    engine.handle_alpha(update(alpha, &[at]));
    let actions = drain(engine);
    let (id, urgent, operations) = batch(&actions);
    assert!(urgent && operations.len() == 1);
    answer(engine, id, vec![Outcome::Applied], Duration::ZERO);
    drain(engine);
    assert!(engine.is_in_sync());
}

#[test]
fn memory_is_shared_on_the_way_as_seldom_as_the_larger_side_is_large() {
    for (alpha, beta, changes) in [(10, 10, 1_024), (200_000, 10, 6_250), (10, 200_000, 6_250)] {
        let (alpha, beta) = (flat(alpha), flat(beta));
        let is_time = |unshared| {
            let mut known = Known::new(Tree::new());
            (known.beta, known.unshared) = (beta.clone(), unshared);
            known.share_directories(&alpha) && known.unshared == 0
        };
        assert!(!is_time(changes - 1) && is_time(changes), "{changes}");
    }
}

#[test]
fn equal_trees_are_one_in_memory() {
    let mut alpha = deep(10_000);
    let mut engine = in_sync(Mode::OneWaySafe, &alpha);
    for n in 0..20 {
        let at = format!("g0/d{n}/0000001");
        alpha.insert(&path(&at), file(1 << 40 | n), None).unwrap();
        save(&mut engine, &alpha, &at);
        for tree in [&engine.known.beta, &engine.known.synced, &engine.known.ahead.tree, &engine.known.synced_ahead] {
            assert!(tree.root().is_same(alpha.root()));
        }
    }
}

#[test]
fn trees_that_are_never_equal_share_what_is() {
    let mut alpha = deep(10_000);
    let mut engine = in_sync(Mode::OneWaySafe, &alpha);
    engine.handle_changes(changes(vec![("own", Some(file(7).entry()))]));
    drain(&mut engine);
    // The last of them, after which memory is shared again.
    for n in 0..2048_u64 {
        let at = format!("g0/d{}/{:07}", n % 100, n / 100);
        alpha.insert(&path(&at), file(1 << 40 | n), None).unwrap();
        save(&mut engine, &alpha, &at);
    }
    let shared = |tree: &Tree| {
        let dir = |n: u64| path(&format!("g0/d{n}"));
        (0..100).filter(|n| tree.dir(&dir(*n)).unwrap().is_same(alpha.dir(&dir(*n)).unwrap())).count()
    };
    assert_eq!(shared(&engine.known.synced), 100);
    assert_eq!(shared(&engine.known.beta), 100);
    assert!(engine.known.beta.hash() != alpha.hash());
    assert_eq!(engine.known.beta.get(&path("own")), Some(&file(7)));
}

#[test]
fn a_first_sync_shares_memory_on_the_way() {
    let alpha = deep(60_000);
    let mut engine = Engine::new(Mode::TwoWaySafe);
    engine.handle_alpha(update(&alpha, &[]));
    engine.handle_opened(&opened(&Tree::new()), Tree::new());
    let dirs: Vec<SyncPath> = (0..6).flat_map(|g| (0..100).map(move |d| path(&format!("g{g}/d{d}")))).collect();
    let mut seen_on_the_way = 0;
    while !engine.is_in_sync() {
        let actions = drain(&mut engine);
        for action in actions {
            let Action::Send { id, operations, .. } = action else { continue };
            answer(&mut engine, id, vec![Outcome::Applied; operations.len()], Duration::ZERO);
            let Known { beta, synced, ahead, synced_ahead, .. } = &engine.known;
            let own = |tree: &Tree| {
                let there = dirs.iter().filter_map(|at| Some((tree.dir(at)?, alpha.dir(at)?)));
                there.filter(|(dir, alpha)| !dir.is_same(alpha)).count()
            };
            // Those of the last changes, one in 32, and of what was in flight just then.
            let most = [beta, synced, &ahead.tree, synced_ahead].map(own).into_iter().max().unwrap();
            assert!(most <= 90, "{most} directories of {} are in memory twice", dirs.len());
            seen_on_the_way += usize::from(beta.entries() > 30_000 && !engine.is_in_sync());
        }
    }
    assert!(seen_on_the_way > 5, "{seen_on_the_way}");
}

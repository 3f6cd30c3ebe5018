//! Reconcile against a naive model, over every combination of small trees, and over many random ones.
//!
//! The model is written from the words of [`Mode`] and of `docs/design/008-two-way.md`, and says what must stand at alpha, at
//! beta and in *synced* once nothing is left to do. It builds new trees from below and knows no steps.

mod model;
mod random;

use std::collections::BTreeMap;

use self::model::Expectation;
use super::*;
use crate::engine::{
    reconcile::{Limits, Reconciled, Sides, Step, reconcile, reconcile_at},
    view::Scope,
};

/// A tree that is easy to reason about.
#[derive(Debug, Clone, PartialEq)]
enum Small {
    A,
    B,
    Link,
    Dir(BTreeMap<&'static str, Self>),
}

type Slot = Option<Small>;

/// What is out of the way of the plain rules.
#[derive(Debug, Clone, Copy)]
struct Case {
    mode: Mode,
    ignored: Option<&'static str>,
    /// Directories alone are ignored by it.
    ignores_directories_only: bool,
    alpha_problem: Option<&'static str>,
    beta_problem: Option<&'static str>,
    alpha_complete: bool,
    beta_complete: bool,
}

impl Scope for Case {
    fn is_ignored(&self, path: &SyncPath, is_directory: bool) -> bool {
        let Some(ignored) = self.ignored.map(super::path) else { return false };
        let by_itself = *path == ignored && (is_directory || !self.ignores_directories_only);
        by_itself || (*path != ignored && path.starts_with(&ignored))
    }
}

const NAMES: [&str; 2] = ["x", "y"];

fn node(small: &Small) -> Node {
    match small {
        Small::A => file(1),
        Small::B => file(2),
        Small::Link => link("t"),
        Small::Dir(children) => {
            let items = children.iter().map(|(name, child)| (name.as_bytes().into(), node(child), None)).collect();
            Node::Directory(Dir::from_sorted(items))
        }
    }
}

fn whole(slot: &Slot) -> Tree {
    slot.as_ref().map_or_else(Tree::new, |small| tree(&[("d", node(small))]))
}

fn view(slot: &Slot, complete: bool, problem_at: Option<&'static str>) -> View {
    let problems = problem_at.map(path).map(|at| (at.clone(), problem(&at, ProblemKind::Denied)));
    View { tree: whole(slot), complete, problems: problems.into_iter().collect() }
}

/// Reconciles until nothing is left to do, as if every step were applied.
fn settle(alpha: &mut View, beta: &mut View, synced: &mut Tree, case: &Case) -> Vec<SyncPath> {
    for _ in 0..5 {
        let sides = Sides { alpha, beta, synced, scope: case };
        let found = reconcile(sides, case.mode, &Limits { steps_max: 100, guard: &() });
        check_parts(&found, sides, case);
        if found.at_beta.is_empty() && found.at_alpha.is_empty() && found.agreed.is_empty() {
            return found.conflicts.into_iter().map(|(at, _, _)| at).collect();
        }
        assert!(case.mode.is_two_way() || found.at_alpha.is_empty(), "{:?} in a one-way mode", found.at_alpha);
        for (at, node) in found.agreed {
            put(synced, &at, node);
        }
        let steps = found.at_beta.into_iter().map(|step| apply(&mut beta.tree, step));
        let steps: Vec<_> = steps.chain(found.at_alpha.into_iter().map(|step| apply(&mut alpha.tree, step))).collect();
        for (at, new, created) in steps {
            if created && case.mode.is_two_way() { done(synced, &at, new) } else { put(synced, &at, new) }
        }
    }
    panic!("it does not end");
}

fn apply(tree: &mut Tree, step: Step) -> (SyncPath, Option<Node>, bool) {
    let created = matches!(step, Step::Create { .. });
    let (at, old, new) = match step {
        Step::Create { path, new } => (path, None, Some(new)),
        Step::Replace { path, old, new } => (path, Some(old), Some(new)),
        Step::Remove { path, old } => (path, Some(old), None),
        Step::Aside { .. } => panic!("nobody asked for it"),
    };
    assert_eq!(tree.get(&at), old.as_ref(), "a step against something else");
    put(tree, &at, new.clone());
    (at, new, created)
}

/// A look at one path finds what a look at everything finds there.
fn check_parts(found: &Reconciled, sides: Sides<'_>, case: &Case) {
    for at in ["d", "d/x", "d/y"].map(path) {
        let Some(part) = reconcile_at(sides, case.mode, &Limits { steps_max: 100, guard: &() }, &at) else { continue };
        for (part, found) in [(&part.at_beta, &found.at_beta), (&part.at_alpha, &found.at_alpha)] {
            let here: Vec<_> = found.iter().filter(|step| step.path().starts_with(&at)).collect();
            assert_eq!(part.iter().collect::<Vec<_>>(), here);
        }
        let here: Vec<_> = found.conflicts.iter().filter(|(path, _, _)| path.starts_with(&at)).collect();
        assert_eq!(part.conflicts.iter().collect::<Vec<_>>(), here);
    }
}

/// Both sides have `node` there now. What is agreed on beneath a directory, and of which nothing is known, stays so.
fn done(synced: &mut Tree, at: &SyncPath, node: Option<Node>) {
    match &node {
        Some(Node::Directory(dir)) if synced.dir(at).is_some() => {
            dir.iter().for_each(|(name, node, _)| done(synced, &at.join(name).unwrap(), Some(node.clone())));
        }
        _ => put(synced, at, node),
    }
}

fn put(tree: &mut Tree, at: &SyncPath, node: Option<Node>) {
    match node {
        Some(node) => drop(tree.insert(at, node, None).expect("in a directory that is agreed on")),
        None => drop(tree.remove(at)),
    }
}

fn check(case: Case, alpha: &Slot, beta: &Slot, synced: &Slot) {
    let mut expected = Expectation { case, conflicts: Vec::new() };
    let (alpha_end, end, agreed) = expected.end(&path("d"), alpha.clone(), beta.clone(), synced.clone());
    let mut alpha_view = view(alpha, case.alpha_complete, case.alpha_problem);
    let mut beta_view = view(beta, case.beta_complete, case.beta_problem);
    let mut synced_tree = whole(synced);
    let conflicts = settle(&mut alpha_view, &mut beta_view, &mut synced_tree, &case);
    let shown = || format!("alpha {alpha:?}\nbeta {beta:?}\nsynced {synced:?}\n{case:?}");
    assert_eq!(alpha_view.tree, whole(&alpha_end), "alpha\n{}\nexpected {alpha_end:?}", shown());
    assert_eq!(beta_view.tree, whole(&end), "beta\n{}\nexpected {end:?}", shown());
    assert_eq!(synced_tree, whole(&agreed), "synced\n{}\nexpected {agreed:?}", shown());
    assert_eq!(conflicts, expected.conflicts, "conflicts\n{}", shown());
}

/// What can stand at `d`: nothing, a file, a symlink, a directory with `x` and `y` in it.
fn slots(x: &[Slot], y: &[Slot]) -> Vec<Slot> {
    let mut all = vec![None, Some(Small::A), Some(Small::B), Some(Small::Link)];
    for x in x {
        for y in y {
            let children = NAMES.into_iter().zip([x, y]);
            all.push(Some(Small::Dir(children.filter_map(|(name, slot)| Some((name, slot.clone()?))).collect())));
        }
    }
    all
}

fn has(slot: &Slot, at: &str) -> bool {
    whole(slot).get(&path(at)).is_some()
}

/// Alpha does not show what it ignores, and neither side what it could not look at, which stands in a directory it shows.
fn is_possible(case: &Case, alpha: &Slot, beta: &Slot) -> bool {
    let ignored = case.ignored.is_none_or(|at| {
        let at = path(at);
        whole(alpha).get(&at).is_none_or(|node| !case.is_ignored(&at, node.as_dir().is_some()))
    });
    let unknown = |problem: Option<&str>, slot: &Slot| {
        problem.is_none_or(|at| !has(slot, at) && (at == "d" || whole(slot).dir(&path("d")).is_some()))
    };
    ignored && unknown(case.alpha_problem, alpha) && unknown(case.beta_problem, beta)
}

const PLAIN: Case = Case {
    mode: Mode::OneWaySafe,
    ignored: None,
    ignores_directories_only: false,
    alpha_problem: None,
    beta_problem: None,
    alpha_complete: true,
    beta_complete: true,
};

/// Checks every combination that is possible. How many there were.
fn check_all(slots: &[Slot], cases: &[Case]) -> u32 {
    let mut checked = 0_u32;
    for case in cases {
        for alpha in slots {
            for beta in slots.iter().filter(|beta| is_possible(case, alpha, beta)) {
                for synced in slots {
                    check(*case, alpha, beta, synced);
                    checked += 1;
                }
            }
        }
    }
    assert!(checked > 1000, "{checked} is not everything");
    checked
}

const MODES: [Mode; 4] = [Mode::TwoWaySafe, Mode::TwoWayResolved, Mode::OneWaySafe, Mode::OneWayReplica];

fn all_modes(case: Case) -> [Case; 4] {
    MODES.map(|mode| Case { mode, ..case })
}

/// Nothing, two files, a symlink, a directory.
fn states() -> [Slot; 5] {
    [None, Some(Small::A), Some(Small::B), Some(Small::Link), Some(Small::Dir(BTreeMap::new()))]
}

#[test]
fn every_state_of_two_paths_in_a_directory() {
    let checked = check_all(&slots(&states(), &states()), &all_modes(PLAIN));
    // A directory holds 5 × 5; beside it there are 4. That for each of three trees, in four modes.
    assert_eq!(checked, (4 + 5 * 5_u32).pow(3) * 4);
}

#[test]
fn every_state_of_a_path_in_a_directory_in_a_directory() {
    let beneath = states().map(|slot| Some(Small::Dir(slot.map(|small| ("y", small)).into_iter().collect())));
    let checked = check_all(&slots(&[states(), beneath].concat(), &[None]), &all_modes(PLAIN));
    assert_eq!(checked, (4 + 2 * 5_u32).pow(3) * 4);
}

#[test]
fn every_state_with_something_ignored() {
    let children = [None, Some(Small::A), Some(Small::Dir(BTreeMap::from([("x", Small::A)])))];
    let mut cases = Vec::new();
    for ignored in ["d", "d/x", "d/x/x"] {
        for ignores_directories_only in [false, true] {
            cases.extend(all_modes(Case { ignored: Some(ignored), ignores_directories_only, ..PLAIN }));
        }
    }
    check_all(&slots(&children, &[None, Some(Small::B)]), &cases);
}

#[test]
fn every_state_with_something_unknown() {
    let problems = [None, Some("d"), Some("d/x")];
    let mut cases = Vec::new();
    for (alpha_problem, beta_problem) in
        problems.iter().flat_map(|alpha| problems.iter().map(move |beta| (*alpha, *beta)))
    {
        for (alpha_complete, beta_complete) in [(true, true), (true, false), (false, true)] {
            let case = Case { alpha_problem, beta_problem, alpha_complete, beta_complete, ..PLAIN };
            cases.extend(all_modes(case));
        }
    }
    check_all(&slots(&[None, Some(Small::A), Some(Small::B)], &[None, Some(Small::A)]), &cases);
}

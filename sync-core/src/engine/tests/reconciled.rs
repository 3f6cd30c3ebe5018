//! Reconcile against a naive model, over every combination of small trees.
//!
//! The model is written from the words of [`Mode`], and says what must stand at beta, and in *synced*,
//! once nothing is left to do. It builds new trees from below and knows no steps.

use std::collections::BTreeMap;

use super::*;
use crate::engine::{
    reconcile::{Limits, Sides, Step, reconcile, reconcile_at},
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

/// The model.
struct Expectation {
    case: Case,
    conflicts: Vec<SyncPath>,
}

impl Expectation {
    fn is_unknown(&self, at: &SyncPath) -> bool {
        [self.case.alpha_problem, self.case.beta_problem].iter().flatten().any(|problem| path(problem) == *at)
    }

    fn has_unknown(&self, at: &SyncPath) -> bool {
        [self.case.alpha_problem, self.case.beta_problem].iter().flatten().any(|problem| path(problem).starts_with(at))
    }

    fn is_ignored(&self, at: &SyncPath, node: &Small) -> bool {
        self.case.is_ignored(at, matches!(node, Small::Dir(_)))
    }

    fn has_ignored(&self, at: &SyncPath, node: &Small) -> bool {
        let Small::Dir(children) = node else { return false };
        children.iter().any(|(name, child)| {
            let at = at.join_path(&path(name)).unwrap();
            self.is_ignored(&at, child) || self.has_ignored(&at, child)
        })
    }

    /// What beta and *synced* have in the end.
    fn end(&mut self, at: &SyncPath, alpha: Slot, beta: Slot, synced: Slot) -> (Slot, Slot) {
        if self.is_unknown(at) {
            return (beta, synced);
        }
        let replica = self.case.mode == Mode::OneWayReplica;
        match (alpha, beta) {
            (None, None) => {
                let seen_whole = self.case.alpha_complete && self.case.beta_complete && !self.has_unknown(at);
                (None, if seen_whole { None } else { synced })
            }
            (Some(new), None) => (Some(new.clone()), Some(new)),
            (None, Some(old)) => self.deleted(at, old, synced),
            (Some(Small::Dir(alpha)), Some(Small::Dir(beta))) => {
                let synced = if let Some(Small::Dir(synced)) = synced { synced } else { BTreeMap::new() };
                let (beta, synced) = self.children(at, &alpha, &beta, &synced);
                (Some(Small::Dir(beta)), Some(Small::Dir(synced)))
            }
            (Some(new), Some(old)) if new == old => (Some(old), Some(new)),
            (Some(new), Some(old)) => {
                let ours = replica || synced.as_ref() == Some(&old);
                let is_dir = matches!(old, Small::Dir(_));
                let other_kind = is_dir != matches!(new, Small::Dir(_));
                let untouchable = (other_kind && self.is_ignored(at, &old))
                    || self.has_ignored(at, &old)
                    || (is_dir && self.has_unknown(at));
                if ours && !untouchable {
                    return (Some(new.clone()), Some(new));
                }
                self.conflicts.push(at.clone());
                (Some(old), synced)
            }
        }
    }

    fn children(
        &mut self,
        at: &SyncPath,
        alpha: &BTreeMap<&'static str, Small>,
        beta: &BTreeMap<&'static str, Small>,
        synced: &BTreeMap<&'static str, Small>,
    ) -> (BTreeMap<&'static str, Small>, BTreeMap<&'static str, Small>) {
        let mut result = (BTreeMap::new(), BTreeMap::new());
        for name in NAMES {
            let at = at.join_path(&path(name)).unwrap();
            let [alpha, beta, synced] = [alpha, beta, synced].map(|children| children.get(name).cloned());
            let (beta, synced) = self.end(&at, alpha, beta, synced);
            result.0.extend(beta.map(|node| (name, node)));
            result.1.extend(synced.map(|node| (name, node)));
        }
        result
    }

    /// Alpha has nothing there.
    fn deleted(&mut self, at: &SyncPath, old: Small, synced: Slot) -> (Slot, Slot) {
        if self.is_ignored(at, &old) {
            return (Some(old), None);
        }
        if !self.case.alpha_complete {
            return (Some(old), synced);
        }
        let replica = self.case.mode == Mode::OneWayReplica;
        let Small::Dir(beta) = &old else {
            let goes = replica || synced.as_ref() == Some(&old);
            return (if goes { None } else { Some(old) }, None);
        };
        // As one, where nothing speaks against it: that the directory could be removed tells that it held nothing else.
        if (replica || synced.as_ref() == Some(&old)) && !self.has_unknown(at) && !self.has_ignored(at, &old) {
            return (None, None);
        }
        let known = if let Some(Small::Dir(known)) = &synced { Some(known.clone()) } else { None };
        if known.is_none() && !replica {
            return (Some(old), None);
        }
        let (beta, left) = self.children(at, &BTreeMap::new(), beta, &known.unwrap_or_default());
        let stays = !beta.is_empty() || self.has_unknown(at) || !left.is_empty();
        let ours = !left.is_empty();
        (stays.then_some(Small::Dir(beta)), ours.then_some(Small::Dir(left)))
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
fn settle(alpha: &View, beta: &mut View, synced: &mut Tree, case: &Case) -> Vec<SyncPath> {
    for _ in 0..4 {
        let sides = Sides { alpha, beta, synced, scope: case };
        let found = reconcile(sides, case.mode, &Limits { steps_max: 100, guard: &() });
        check_parts(&found, sides, case);
        if found.steps.is_empty() && found.agreed.is_empty() {
            return found.conflicts.into_iter().map(|(at, _, _)| at).collect();
        }
        for (at, node) in found.agreed {
            put(synced, &at, node);
        }
        for step in found.steps {
            let (at, old, new) = match step {
                Step::Create { path, new } => (path, None, Some(new)),
                Step::Replace { path, old, new } => (path, Some(old), Some(new)),
                Step::Remove { path, old } => (path, Some(old), None),
            };
            assert_eq!(beta.tree.get(&at), old.as_ref(), "a step against something else");
            put(&mut beta.tree, &at, new.clone());
            put(synced, &at, new);
        }
    }
    panic!("it does not end");
}

/// A look at one path finds what a look at everything finds there.
fn check_parts(found: &crate::engine::reconcile::Reconciled, sides: Sides<'_>, case: &Case) {
    for at in ["d", "d/x", "d/y"].map(path) {
        let Some(part) = reconcile_at(sides, case.mode, &Limits { steps_max: 100, guard: &() }, &at) else { continue };
        let here: Vec<_> = found.steps.iter().filter(|step| step.path().starts_with(&at)).collect();
        assert_eq!(part.steps.iter().collect::<Vec<_>>(), here);
        let here: Vec<_> = found.conflicts.iter().filter(|(path, _, _)| path.starts_with(&at)).collect();
        assert_eq!(part.conflicts.iter().collect::<Vec<_>>(), here);
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
    let (end, agreed) = expected.end(&path("d"), alpha.clone(), beta.clone(), synced.clone());
    let alpha_view = view(alpha, case.alpha_complete, case.alpha_problem);
    let mut beta_view = view(beta, case.beta_complete, case.beta_problem);
    let mut synced_tree = whole(synced);
    let conflicts = settle(&alpha_view, &mut beta_view, &mut synced_tree, &case);
    let shown = || format!("alpha {alpha:?}\nbeta {beta:?}\nsynced {synced:?}\n{case:?}");
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

fn check_all(slots: &[Slot], cases: &[Case]) {
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
}

fn both_modes(case: Case) -> [Case; 2] {
    [Mode::OneWaySafe, Mode::OneWayReplica].map(|mode| Case { mode, ..case })
}

#[test]
fn every_state_of_two_files_in_a_directory() {
    let children = [None, Some(Small::A), Some(Small::B)];
    let nested = [None, Some(Small::A), Some(Small::Dir(BTreeMap::new()))];
    check_all(&slots(&children, &nested), &both_modes(PLAIN));
}

#[test]
fn every_state_with_something_ignored() {
    let children = [None, Some(Small::A), Some(Small::Dir(BTreeMap::from([("x", Small::A)])))];
    let mut cases = Vec::new();
    for ignored in ["d", "d/x", "d/x/x"] {
        for ignores_directories_only in [false, true] {
            cases.extend(both_modes(Case { ignored: Some(ignored), ignores_directories_only, ..PLAIN }));
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
            cases.extend(both_modes(case));
        }
    }
    check_all(&slots(&[None, Some(Small::A), Some(Small::B)], &[None, Some(Small::A)]), &cases);
}

//! Random trees, three levels deep.

use super::{super::simulation::random::Random, *};

const CASES: u64 = 50_000;
const PLACES: [&str; 5] = ["d", "d/x", "d/y", "d/x/x", "d/x/y"];

fn any(random: &mut Random, depth: usize) -> Slot {
    match random.below(if depth == 0 { 4 } else { 8 }) {
        0 => None,
        1 => Some(Small::A),
        2 => Some(Small::B),
        3 => Some(Small::Link),
        _ => {
            let children = NAMES.map(|name| (name, any(random, depth - 1)));
            Some(Small::Dir(children.into_iter().filter_map(|(name, slot)| Some((name, slot?))).collect()))
        }
    }
}

/// Something like `slot`.
fn changed(random: &mut Random, slot: &Slot, depth: usize) -> Slot {
    match slot {
        slot if random.one_in(3) => slot.clone(),
        Some(Small::Dir(children)) if !random.one_in(5) => {
            let mut children = children.clone();
            for name in NAMES {
                let before = children.remove(name);
                let after = changed(random, &before, depth.saturating_sub(1));
                children.extend(after.map(|small| (name, small)));
            }
            Some(Small::Dir(children))
        }
        _ => any(random, depth),
    }
}

/// Takes away what a side does not show.
fn without(slot: Slot, at: &SyncPath, hides: &dyn Fn(&SyncPath, &Small) -> bool) -> Slot {
    let small = slot.filter(|small| !hides(at, small))?;
    let Small::Dir(children) = small else { return Some(small) };
    let children = children.into_iter().filter_map(|(name, child)| {
        let at = at.join_path(&path(name)).unwrap();
        Some((name, without(Some(child), &at, hides)?))
    });
    Some(Small::Dir(children.collect()))
}

fn any_place(random: &mut Random, times: usize) -> Option<&'static str> {
    random.one_in(times).then(|| *random.pick(&PLACES))
}

fn one(seed: u64) {
    let random = &mut Random(seed);
    let mut case = Case {
        mode: *random.pick(&MODES),
        ignored: any_place(random, 3),
        ignores_directories_only: random.one_in(2),
        alpha_problem: any_place(random, 5),
        beta_problem: any_place(random, 5),
        alpha_complete: !random.one_in(6),
        beta_complete: !random.one_in(6),
    };
    let synced = any(random, 2);
    let [alpha, beta] = [(); 2].map(|()| changed(random, &synced, 2));
    let problem = |slot: Slot, at: Option<&'static str>| {
        let Some(at) = at.map(path) else { return slot };
        without(slot, &path("d"), &|here, _| *here == at)
    };
    let scope = case;
    let alpha = without(alpha, &path("d"), &|at, small| scope.is_ignored(at, matches!(small, Small::Dir(_))));
    let (alpha, beta) = (problem(alpha, case.alpha_problem), problem(beta, case.beta_problem));
    // What can't be looked at stands in a directory that is seen.
    let stands = |slot: &Slot, at: &&str| *at == "d" || whole(slot).dir(&path(at).parent().unwrap()).is_some();
    case.alpha_problem = case.alpha_problem.filter(|at| stands(&alpha, at));
    case.beta_problem = case.beta_problem.filter(|at| stands(&beta, at));
    check(case, &alpha, &beta, &synced);
}

/// `SYNCTL_CASES=1000000` for a million.
#[test]
fn random_states() {
    let cases = std::env::var("SYNCTL_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(CASES);
    for seed in 0..cases {
        let result = std::panic::catch_unwind(|| one(seed));
        assert!(result.is_ok(), "case {seed}");
    }
}

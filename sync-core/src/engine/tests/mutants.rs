//! Each rule switched off in turn: the simulation finds out, within so many seeds, or a test of its own.
//!
//! A rule that nobody misses is not needed, or not tested.

use std::cell::Cell;

use super::{
    failures, intents,
    simulation::{number, run_all},
};
use crate::engine::rule::Rule;

/// In how many seeds it has to be found out.
const SEEDS: u64 = 6000;

/// What is wrong with this build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Mutant {
    /// The engine does without a rule.
    Without(Rule),
    /// What carries out operations does not look at what stands there.
    NothingExpected,
    /// What drives the engine takes any replica for the one it remembers.
    PastOfAnother,
    /// What drives the engine does not keep in mind what was sent.
    NothingIntended,
}

thread_local! {
    static MUTANT: Cell<Option<Mutant>> = const { Cell::new(None) };
}

pub(in crate::engine) fn holds(rule: Rule) -> bool {
    !is(Mutant::Without(rule))
}

pub(super) fn is(mutant: Mutant) -> bool {
    MUTANT.get() == Some(mutant)
}

/// The rules that are missed, and all else that the engine builds on.
const MUTANTS: [Mutant; 32] = [
    Mutant::Without(Rule::GoneByUs),
    Mutant::Without(Rule::AnswersAge),
    Mutant::Without(Rule::HeldByStream),
    Mutant::Without(Rule::LanesKeepOrder),
    Mutant::Without(Rule::InMindUntilKnown),
    Mutant::Without(Rule::AllowedOnce),
    Mutant::Without(Rule::UnsettledIsKept),
    Mutant::Without(Rule::AskedFirst),
    Mutant::Without(Rule::HiddenIsThere),
    Mutant::Without(Rule::CompleteScan),
    Mutant::Without(Rule::UnknownIsNoEvidence),
    Mutant::Without(Rule::IgnoredIsNotGone),
    Mutant::Without(Rule::IgnoredStays),
    Mutant::Without(Rule::ChangeBeatsDeletion),
    Mutant::Without(Rule::ConflictIsKept),
    Mutant::Without(Rule::ChoiceOfVersions),
    Mutant::Without(Rule::AsideIsBetas),
    Mutant::Without(Rule::AgreedWhenAnswered),
    Mutant::Without(Rule::AgreedWhenDurable),
    Mutant::Without(Rule::AppliedOnly),
    Mutant::Without(Rule::OtherReplica),
    Mutant::Without(Rule::HeldAtAlpha),
    Mutant::Without(Rule::HeldBeneathAtAlpha),
    Mutant::Without(Rule::Apart),
    Mutant::Without(Rule::KeptStays),
    Mutant::Without(Rule::SentIsOurs),
    Mutant::Without(Rule::EmptyRootHalts),
    Mutant::Without(Rule::ManyDeletionsHalt),
    Mutant::Without(Rule::PiecesAddUp),
    Mutant::NothingExpected,
    Mutant::PastOfAnother,
    Mutant::NothingIntended,
];

/// Rules that only a test of their own misses: what they are for takes several things at the same moment, which the simulation
/// finds once in 200,000 seeds or more.
const BY_TESTS: [(Mutant, fn()); 3] = [
    (Mutant::Without(Rule::RemovalIsOurs), intents::what_comes_about_late_is_no_agreement),
    (Mutant::Without(Rule::AsideOnce), failures::what_is_being_moved_aside_is_not_moved_again),
    (Mutant::Without(Rule::LateIsUnsettled), intents::what_comes_about_late_is_no_agreement),
];

/// The first seed that finds out, and what it says.
fn found_out(mutant: Mutant) -> Option<(u64, String)> {
    MUTANT.set(Some(mutant));
    let seeds = number("SYNCTL_SEEDS").unwrap_or(SEEDS);
    let found = run_all(0..seeds);
    MUTANT.set(None);
    match &found {
        Err((seed, reason)) => println!("{mutant:?}: seed {seed}: {reason}"),
        Ok(_) => println!("{mutant:?}: NOT FOUND in {seeds} seeds"),
    }
    found.err()
}

fn check(mutants: &[Mutant]) {
    let (left, right) = mutants.split_at(mutants.len() / 2);
    let unfound = |mutants: &[Mutant]| -> Vec<Mutant> {
        mutants.iter().copied().filter(|mutant| found_out(*mutant).is_none()).collect()
    };
    let missed = std::thread::scope(|scope| {
        let other = scope.spawn(|| unfound(right));
        [unfound(left), other.join().unwrap()].concat()
    });
    assert!(missed.is_empty(), "nobody misses {missed:?}");
}

#[test]
fn every_rule_is_missed() {
    check(&MUTANTS);
}

#[test]
fn every_other_rule_is_missed_by_a_test() {
    for (mutant, test) in BY_TESTS {
        test();
        MUTANT.set(Some(mutant));
        let found = std::panic::catch_unwind(test);
        MUTANT.set(None);
        assert!(found.is_err(), "nobody misses {mutant:?}");
    }
}

/// So that no rule is left out of the lists.
#[test]
fn every_rule_is_in_a_list() {
    let text = include_str!("../rule.rs");
    let (_, rules) = text.split_once("enum Rule {").unwrap();
    let (rules, _) = rules.split_once('}').unwrap();
    let mutants = MUTANTS.into_iter().chain(BY_TESTS.into_iter().map(|(mutant, _)| mutant));
    let listed: Vec<String> = mutants.map(|mutant| format!("{mutant:?}")).collect();
    let names: Vec<&str> =
        rules.lines().filter_map(|line| line.trim().strip_suffix(',')).filter(|line| !line.starts_with("//")).collect();
    let unlisted: Vec<&&str> = names.iter().filter(|name| !listed.contains(&format!("Without({name})"))).collect();
    assert!(unlisted.is_empty() && names.len() > 30, "{unlisted:?} of {}", names.len());
}

//! Hands on both real sides at once, at random, while processes die and the link is cut: in the end both sides are equal but for
//! the listed conflicts, and no content is lost. 20 s with each run of the tests; an hour by
//!
//! ```sh
//! SYNCTL_SOAK_SECONDS=3600 cargo test -p sync-cli --test acceptance -- --nocapture hands_on_both_sides_for_a_while
//! ```
//!
//! `SYNCTL_SOAK_SEED` chooses what the hands do; when they do it, nobody chooses.

use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::super::lab::{
    Agent, Hand, Lab, Ledger, PATIENCE, Proxy, Watch, Weather, body, plant, rsync_differences, until,
};
use super::{listed, resolve, settle_but_conflicts};

/// How long the hands are at work without a word from outside.
const SECONDS: u64 = 20;
/// How often both sides are let come to rest and are compared.
const ROUND: Duration = Duration::from_secs(20);
/// Larger than what travels in a batch.
const LARGE_BYTES: usize = 2_300_000;

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Dice whose falls their seed decides.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }

    /// Few names, so that both hands often mean the same.
    fn path(&mut self) -> String {
        let depth = 1 + self.below(3);
        let names: Vec<String> = (0..depth).map(|_| format!("n{}", self.below(6))).collect();
        names.join("/")
    }
}

/// One deed. Most fail where the path is not what they need: that is part of chance.
fn deed(hand: &Hand, dice: &mut Dice, seed: u64) -> bool {
    let path = dice.path();
    match dice.below(100) {
        0..=29 => hand.save_beside(&path, &body(seed, 200 + dice.below(9_000) as usize)),
        30..=54 => {
            !hand.root.join(&path).is_dir() && hand.save_in_place(&path, &body(seed, 200 + dice.below(9_000) as usize))
        }
        55..=69 => hand.make_dir(&path),
        70..=77 => hand.remove(&path),
        78..=87 => hand.rename(&path, &dice.path()),
        88..=92 => {
            let at = hand.root.join(&path);
            let mode = if seed.is_multiple_of(2) { 0o755 } else { 0o644 };
            at.is_file() && std::fs::set_permissions(&at, std::fs::Permissions::from_mode(mode)).is_ok()
        }
        93..=96 => std::os::unix::fs::symlink("n1", hand.root.join(&path)).is_ok(),
        97 => hand.save_beside(&path, &body(seed, LARGE_BYTES)),
        _ => (0..20).filter(|file| hand.save_beside(&format!("{path}/m{file}"), &body(seed + file, 900))).count() > 0,
    }
}

/// What happens to the processes and the link.
struct Disturbed<'a> {
    lab: &'a Lab,
    proxy: Proxy,
    agent: Option<Agent>,
    watch: Option<Watch>,
    counts: std::collections::BTreeMap<&'static str, u32>,
}

impl Disturbed<'_> {
    fn watch_again(&mut self) {
        let mut command = self.lab.command("watch", self.proxy.port);
        command.args(["--mode", "two-way-safe", "--max-deletions", "100"]);
        self.watch = Some(Watch::start(command));
    }

    fn agent_again(&mut self, port: u16) {
        self.agent = Some(self.lab.agent_on(port));
    }

    fn disturb(&mut self, dice: &mut Dice) {
        let port = self.agent.as_ref().map_or(0, |agent| agent.port);
        let what = match dice.below(10) {
            0..=2 => {
                self.agent.take().map(Agent::kill);
                self.agent_again(port);
                "agent killed"
            }
            3 => {
                let agent = self.agent.take().unwrap();
                assert_eq!(agent.terminate(PATIENCE).0, Some(0));
                self.agent_again(port);
                "agent ended"
            }
            4..=5 => {
                let mut watch = self.watch.take().unwrap();
                assert!(!watch.has_ended(), "synctl ended by itself");
                watch.signal(Signal::KILL);
                watch.end(PATIENCE);
                self.watch_again();
                "synctl killed"
            }
            6 => {
                let (finished, _) = self.watch.take().unwrap().interrupt(PATIENCE);
                assert_eq!(finished.code, Some(0), "{finished:?}");
                self.watch_again();
                "synctl ended"
            }
            7..=8 => {
                self.proxy.go_dark(true);
                std::thread::sleep(Duration::from_millis(100 + dice.below(3_000)));
                self.proxy.go_dark(false);
                "link dark"
            }
            _ => {
                self.proxy.change_port();
                "port changed"
            }
        };
        *self.counts.entry(what).or_default() += 1;
    }

    fn halts(&self) -> Vec<serde_json::Value> {
        let events = self.watch.as_ref().map(Watch::events).unwrap_or_default();
        events.into_iter().filter(|event| event["event"] == "halted").collect()
    }
}

#[test]
fn hands_on_both_sides_for_a_while() {
    let seconds = from_environment("SYNCTL_SOAK_SECONDS").unwrap_or(SECONDS);
    let seed = from_environment("SYNCTL_SOAK_SEED").unwrap_or(1);
    let lab = Lab::new();
    plant(&lab.source, 2, 4);
    let ledger = Ledger::new(lab.base());
    ledger.note(&lab.source);
    let agent = lab.agent();
    let proxy = Proxy::start(agent.port, Weather { lost: 5, ..Weather::default() });
    let counts = std::collections::BTreeMap::new();
    let mut sides = Disturbed { lab: &lab, proxy, agent: Some(agent), watch: None, counts };
    sides.watch_again();
    let end = Instant::now() + Duration::from_secs(seconds);
    let (mut dice, mut rounds, mut conflicts_seen, mut deeds) = (Dice::new(seed ^ 0xd15c), 0_u64, 0, 0);
    while rounds == 0 || Instant::now() < end {
        rounds += 1;
        deeds += round(&mut sides, &ledger, &mut dice, seed * 10_000 + rounds, end.min(Instant::now() + ROUND));
        let conflicts = settled(&sides);
        let lost = ledger.lost(&[&lab.source, &lab.target]);
        assert!(
            lost.is_empty(),
            "round {rounds}: of {} contents {} are nowhere: {lost:#?}",
            ledger.count(),
            lost.len()
        );
        rsync_agrees(&lab, &conflicts);
        conflicts_seen += conflicts.len();
        println!(
            "round {rounds}: {} contents written, {deeds} deeds, {} conflicts, {:?}",
            ledger.count(),
            conflicts.len(),
            sides.counts
        );
        settle_conflicts(&lab, &ledger, &conflicts, rounds);
    }
    println!(
        "{rounds} rounds, {deeds} deeds, {} contents, {conflicts_seen} conflicts, {:?}",
        ledger.count(),
        sides.counts
    );
}

/// Both hands at work, and what disturbs them. How many deeds were done.
fn round(sides: &mut Disturbed<'_>, ledger: &Ledger, dice: &mut Dice, seed: u64, end: Instant) -> u64 {
    let over = AtomicBool::new(false);
    let work = |root: &std::path::Path, side: u64| {
        let (hand, mut dice) = (ledger.hand(root), Dice::new(seed * 2 + side));
        let mut deeds = 0;
        while !over.load(Ordering::Relaxed) {
            let content = (seed * 2 + side) * 1_000_000 + 100 * deeds;
            deeds += u64::from(deed(&hand, &mut dice, content));
            // Bursts, and rests.
            let pause = if dice.below(40) == 0 { 400 } else { dice.below(12) };
            std::thread::sleep(Duration::from_millis(pause));
        }
        deeds
    };
    let (source, target) = (sides.lab.source.clone(), sides.lab.target.clone());
    std::thread::scope(|scope| {
        let hands = [scope.spawn(|| work(&source, 0)), scope.spawn(|| work(&target, 1))];
        while Instant::now() < end {
            std::thread::sleep(Duration::from_millis(200 + dice.below(1_500)));
            sides.disturb(dice);
        }
        over.store(true, Ordering::Relaxed);
        hands.into_iter().map(|hand| hand.join().unwrap()).sum()
    })
}

/// Both sides at rest, and what is in conflict.
fn settled(sides: &Disturbed<'_>) -> Vec<String> {
    until("the session is connected", || {
        let events = sides.watch.as_ref().unwrap().events();
        let last = events.iter().rev().find(|event| event["event"] == "ready" || event["event"] == "disconnected");
        last.is_some_and(|event| event["event"] == "ready") || !sides.halts().is_empty()
    });
    assert!(sides.halts().is_empty(), "{:?}", sides.halts());
    settle_but_conflicts(sides.lab)
}

/// rsync finds what is in conflict, and nothing else.
fn rsync_agrees(lab: &Lab, conflicts: &[String]) {
    let Some(found) = rsync_differences(&lab.source, &lab.target) else { return };
    let path = |line: &str| line.split_whitespace().nth(1).unwrap_or_default().trim_end_matches('/').to_owned();
    let others: Vec<&str> = found
        .lines()
        .filter(|line| !conflicts.iter().any(|conflict| std::path::Path::new(&path(line)).starts_with(conflict)))
        .collect();
    assert_eq!(others, [""; 0], "rsync finds what is no conflict");
}

/// The person chooses. What is not chosen was seen by them, and is noted as done away with: it is set aside first.
fn settle_conflicts(lab: &Lab, ledger: &Ledger, conflicts: &[String], round: u64) {
    if conflicts.is_empty() {
        return;
    }
    for (number, path) in conflicts.iter().enumerate() {
        let keep = ["alpha", "beta", "both"][(number as u64 + round) as usize % 3];
        ledger.bury_copies(&[&lab.source.join(path), &lab.target.join(path)]);
        let done = resolve(lab, path, keep);
        assert!(matches!(done.code, Some(0 | 2)), "{path}, {keep}: {done:?}");
    }
    until("conflicts are settled", || {
        let left = listed(lab);
        left.iter().for_each(|path| drop(resolve(lab, path, "alpha")));
        left.is_empty()
    });
}

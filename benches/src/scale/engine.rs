//! What the engine costs for one save, counted: instructions by callgrind on a fixed workload, with that of no save taken
//! off. From the edit of the index to the record of the outcome; content, disks and the link are not in it.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use sync_core::engine::view::View;
use sync_core::engine::{Action, AlphaUpdate, Engine, Mode, Past};
use sync_core::ignore::Rules;
use sync_core::tree::{Dir, Node, Stamp, Tree};
use sync_proto::message::{Bounded, IgnoreSettings, Opened, Outcome, Outcomes, Problems, ReplicaId};
use sync_proto::{ContentId, SyncPath};

use super::table::{Table, seconds};
use crate::process::{finish, installed};

/// Files in the workload's tree.
const FILES: u64 = 100_000;
/// Saves that are counted.
const SAVES: u64 = 1_000;
/// Instructions for a save: what is beyond is a regression. Last counted: 603,900 with optimisation; 743,297 with the tests'
/// profile, which `.ci/run` uses.
const INSTRUCTIONS_MAX: u64 = 800_000;
/// Seconds of CPU time that a save may take.
const SECONDS_MAX: f64 = 0.000_5;
/// How long counting may take.
const LIMIT: Duration = Duration::from_secs(300);

/// Whether what was counted is within its bound, or could not be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counted {
    Within,
    Beyond,
}

/// The workload by itself: so many saves.
#[derive(Debug, Args)]
pub(crate) struct EngineSaves {
    #[arg(long)]
    saves: u64,
    #[arg(long, default_value_t = FILES)]
    files: u64,
}

impl EngineSaves {
    pub(crate) fn run(&self) -> Result<()> {
        let mut alpha = tree(self.files)?;
        let mut engine = engine(&alpha)?;
        let rules = Rules::new(&IgnoreSettings::default())?;
        let started = Instant::now();
        for save in 1..=self.saves {
            let path = path(save * 7_919 % self.files)?;
            alpha.insert(&path, file(self.files + save), Some(stamp(save)))?;
            engine.handle_alpha(AlphaUpdate { view: seen(&alpha), rules: rules.clone(), hot: vec![path] });
            settle(&mut engine, 1)?;
        }
        println!("{}", started.elapsed().as_nanos() / u128::from(self.saves.max(1)));
        Ok(())
    }
}

/// Runs it in its own process, under callgrind and bare.
pub(super) fn measure(table: &mut Table) -> Result<Counted> {
    let what = format!("the engine for one save, {FILES} files");
    let program = std::env::current_exe()?;
    let workload = |saves: u64| ["engine-saves".to_owned(), "--saves".to_owned(), saves.to_string()];
    let bare = finish(Command::new(&program).args(workload(SAVES * 10)), LIMIT)?;
    let nanoseconds: f64 = bare.trim().parse().context("the workload prints a number")?;
    let Some(valgrind) = installed("valgrind") else {
        table.leave_out(&what, "valgrind is not installed");
        return Ok(Counted::Within);
    };
    let count = |saves| -> Result<u64> {
        let folder = tempfile::tempdir()?;
        let out = folder.path().join("callgrind.out");
        let mut command = Command::new(&valgrind);
        command.arg("--tool=callgrind").arg(format!("--callgrind-out-file={}", out.display()));
        finish(command.arg(&program).args(workload(saves)), LIMIT)?;
        let text = std::fs::read_to_string(&out)?;
        let total =
            text.lines().find_map(|line| line.strip_prefix("totals: ").or_else(|| line.strip_prefix("summary: ")));
        total.and_then(|total| total.split(' ').next()?.parse().ok()).context("callgrind says how many")
    };
    let instructions = count(SAVES)?.saturating_sub(count(0)?) / SAVES;
    let beside = format!("CPU time {}", seconds(nanoseconds / 1e9));
    let met = instructions <= INSTRUCTIONS_MAX && nanoseconds / 1e9 <= SECONDS_MAX;
    let goal = format!("≤ {INSTRUCTIONS_MAX}, ≤ 0.5 ms");
    table.enter(&what, format!("{instructions} instructions"), beside, &goal, met);
    Ok(if instructions <= INSTRUCTIONS_MAX { Counted::Within } else { Counted::Beyond })
}

fn seen(tree: &Tree) -> View {
    View { tree: tree.clone(), complete: true, problems: BTreeMap::new() }
}

/// An engine that has found both sides equal.
fn engine(tree: &Tree) -> Result<Engine> {
    let mut engine = Engine::new(Mode::TwoWaySafe);
    let rules = Rules::new(&IgnoreSettings::default())?;
    engine.handle_alpha(AlphaUpdate { view: seen(tree), rules, hot: Vec::new() });
    let opened = Opened {
        replica: ReplicaId([7; 16]),
        tree: tree.hash(),
        entries: tree.entries(),
        complete: true,
        partials: Bounded::default(),
        problems: Problems::new([]),
    };
    engine.handle_opened(&opened, Past { synced: tree.clone(), ..Past::default() });
    settle(&mut engine, 0)?;
    Ok(engine)
}

/// Answers what is sent, which must be so many operations, until nothing is left to do.
fn settle(engine: &mut Engine, expected: usize) -> Result<()> {
    let mut sent = 0;
    let mut unanswered = Vec::new();
    loop {
        while let Some(action) = engine.poll_action() {
            if let Action::Send { id, operations, .. } = action {
                unanswered.push((id, operations.len()));
            }
        }
        let Some((batch, count)) = unanswered.pop() else { break };
        sent += count;
        let outcomes = Bounded::new(vec![Outcome::Applied; count])?;
        engine.handle_outcomes(Outcomes { batch, outcomes, apply_micros: 140 }, Duration::ZERO)?;
    }
    ensure!(engine.is_in_sync() && sent == expected, "{sent} operations were sent");
    Ok(())
}

fn file(seed: u64) -> Node {
    Node::File { content: ContentId(*blake3::hash(&seed.to_le_bytes()).as_bytes()), len: 4_096, executable: false }
}

fn stamp(seed: u64) -> Stamp {
    Stamp { mtime_ns: seed as i64, ctime_ns: seed as i64, inode: seed }
}

/// Files 20 in a directory, a hundred directories in each above.
fn tree(files: u64) -> Result<Tree> {
    let mut groups = Vec::new();
    for group in 0..files.div_ceil(2_000) {
        let mut directories = Vec::new();
        for directory in group * 100..(group + 1) * 100 {
            let named = |n: u64| {
                let number = directory * 20 + n;
                (format!("file{n:02}.rs").into_bytes().into(), file(number), Some(stamp(number)))
            };
            let dir = Dir::from_sorted((0..20).map(named).collect());
            directories.push((format!("module{directory:06}").into_bytes().into(), Node::Directory(dir), None));
        }
        let dir = Dir::from_sorted(directories);
        groups.push((format!("group{group:04}").into_bytes().into(), Node::Directory(dir), None));
    }
    let tree = Tree::from_root(Dir::from_sorted(groups));
    tree.hash();
    ensure!(tree.get(&path(files - 1)?).is_some(), "the last file is there");
    Ok(tree)
}

fn path(number: u64) -> Result<SyncPath> {
    let (group, directory, file) = (number / 2_000, number / 20, number % 20);
    Ok(SyncPath::parse(format!("group{group:04}/module{directory:06}/file{file:02}.rs").as_bytes())?)
}

//! Sessions at all sizes, alive at the same time, and what they cost while nothing happens.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sync_core::store::Store;

use super::planted;
use super::table::{Table, bytes, median, seconds};
use crate::peer::{Pair, Session, Tools, Watch};
use crate::process::usage;
use crate::tree;

/// How long anything may take that grows with the tree.
pub(super) const LIMIT: Duration = Duration::from_secs(1_800);
/// How long a session is left alone before it counts as idle.
const SETTLE: Duration = Duration::from_secs(6);
/// What one file may cost in memory.
const FILE_BYTES_MAX: f64 = 150.0;
/// What the agent may have resident at the smallest size.
const AGENT_BYTES_MAX: f64 = 15e6;
/// What a start may take beyond the scans.
const START_SECONDS_MAX: f64 = 0.3;
/// What a million files may take to be loaded.
const REOPEN_SECONDS_MAX: f64 = 0.3;

/// A session on a tree of one size.
pub(super) struct Sized {
    pub(super) files: usize,
    pub(super) pair: Pair,
    watch: Option<Watch>,
}

impl Sized {
    pub(super) fn watch(&self) -> Result<&Watch> {
        self.watch.as_ref().context("the session is alive")
    }

    /// The processes at the source and at the target.
    pub(super) fn pids(&self) -> (Vec<u32>, Vec<u32>) {
        self.watch.as_ref().map(Session::processes).unwrap_or_default()
    }

    /// The directory with the snapshot and the journal.
    pub(super) fn state(&self) -> Result<PathBuf> {
        let only = |directory: &Path| -> Result<PathBuf> {
            let entry = fs::read_dir(directory)?.next().context("there is state")??;
            Ok(entry.path())
        };
        only(&only(&self.pair.scratch.join("state/roots"))?)
    }

    fn stop(&mut self) -> Result<()> {
        self.watch.take().map_or(Ok(()), |watch| watch.stop(LIMIT))
    }

    /// Starts it; the time until it is in sync.
    fn start(&mut self, tools: &Tools) -> Result<f64> {
        let started = Instant::now();
        let mut watch = Watch::start(tools, &self.pair, None)?;
        watch.ready(LIMIT)?;
        let took = started.elapsed().as_secs_f64();
        self.watch = Some(watch);
        Ok(took)
    }
}

/// The smallest first.
pub(super) struct Sessions<'a> {
    pub(super) tools: &'a Tools,
    pub(super) base: PathBuf,
    pub(super) all: Vec<Sized>,
    /// Counts up, so that no save is like one before.
    pub(super) edits: u64,
}

impl<'a> Sessions<'a> {
    /// The largest tree is there as `source-0`.
    pub(super) fn begin(tools: &'a Tools, base: PathBuf, files: usize, beside: &[usize]) -> Result<Self> {
        let mut sizes: Vec<usize> = beside.iter().copied().filter(|size| *size < files).collect();
        sizes.sort_unstable();
        let mut all = Vec::new();
        for (index, size) in sizes.into_iter().enumerate() {
            let source = base.join(format!("source-{}", index + 1));
            planted::plant(&source, size)?;
            all.push(Sized { files: size, pair: Pair::new(&source, &base)?, watch: None });
        }
        all.push(Sized { files, pair: Pair::new(&base.join("source-0"), &base)?, watch: None });
        for sized in &mut all {
            let took = sized.start(tools)?;
            println!("first sync of {} files: {}", sized.files, seconds(took));
            ensure!(tree::count(&sized.pair.target) == sized.files, "the trees are not equal");
        }
        tree::settle_disk();
        Ok(Self { tools, base, all, edits: 0 })
    }

    pub(super) fn smallest(&self) -> Result<&Sized> {
        self.all.first().context("there is a session")
    }

    pub(super) fn largest(&self) -> Result<&Sized> {
        self.all.last().context("there is a session")
    }

    /// What a file costs in memory: the largest session against the smallest.
    pub(super) fn memory(&self, when: &str, table: &mut Table) {
        std::thread::sleep(SETTLE);
        let [smallest, .., largest] = self.all.as_slice() else { return };
        let ((small_source, small_target), (source, target)) = (smallest.pids(), largest.pids());
        let resident = |pids: &[u32]| usage(pids).rss_bytes as f64;
        let files = (largest.files - smallest.files) as f64;
        for (side, small, large) in [("synctl", &small_source, &source), ("sync-agent", &small_target, &target)] {
            let (small, large) = (resident(small), resident(large));
            let each = (large - small) / files;
            let beside = format!("{} at {} files, {} at {}", bytes(large), largest.files, bytes(small), smallest.files);
            let what = format!("memory a file, {side}, {when}");
            table.enter(&what, format!("{each:.0} B"), beside, "≤ 150 B", each <= FILE_BYTES_MAX);
        }
        let agent = resident(&small_target);
        let what = format!("memory of the agent, {} files, {when}", smallest.files);
        table.enter(&what, bytes(agent), String::new(), "≤ 15 MB", agent <= AGENT_BYTES_MAX);
    }

    /// The start with an unchanged tree and state on both sides, and of that the loading of the state.
    pub(super) fn start_again(&mut self, rounds: usize, table: &mut Table) -> Result<()> {
        let tools = self.tools;
        let (mut starts, mut scans, mut loads) = (Vec::new(), Vec::new(), Vec::new());
        let last = self.all.len() - 1;
        let largest = self.largest()?;
        let both = super::scan::Both::new(&largest.pair.source, &largest.pair.target)?;
        for (index, sized) in self.all.iter_mut().enumerate() {
            if index == last {
                for _ in 0..rounds {
                    sized.stop()?;
                    loads.push(load(&sized.state()?, sized.files)?);
                    scans.push(both.scan()?);
                    starts.push(sized.start(tools)?);
                }
            } else {
                sized.stop()?;
                sized.start(tools)?;
            }
        }
        let files = self.largest()?.files;
        let (start, scan, loaded) = (median(&starts), median(&scans), median(&loads));
        let beside = format!("scans of both sides, on the same cores {}", seconds(scan));
        let what = format!("start until in sync, {files} files, nothing changed");
        table.enter(&what, seconds(start), beside, "≤ scans + 0.3 s", start <= scan + START_SECONDS_MAX);
        let limit = REOPEN_SECONDS_MAX * (files as f64 / 1e6).min(1.0);
        table.enter(
            &format!("state of {files} files loaded"),
            seconds(loaded),
            String::new(),
            "≤ 0.3 s a million",
            loaded <= limit,
        );
        Ok(())
    }

    /// What idling costs.
    pub(super) fn idle(&self, for_seconds: u64, table: &mut Table) {
        std::thread::sleep(SETTLE);
        let both = |sized: &Sized| -> Vec<u32> {
            let (source, target) = sized.pids();
            source.into_iter().chain(target).collect()
        };
        let before: Vec<_> = self.all.iter().map(|sized| usage(&both(sized))).collect();
        std::thread::sleep(Duration::from_secs(for_seconds));
        for (sized, before) in self.all.iter().zip(before) {
            let after = usage(&both(sized));
            let wakes = after.wakes.saturating_sub(before.wakes);
            let cpu = after.cpu.saturating_sub(before.cpu).as_secs_f64();
            // A packet of keep-alive every 5 s, which is answered: a timer and a socket on either side, and as many threads
            // that hand on what came. Anything that polls would be seen here as hundreds.
            let limit = for_seconds * 4;
            table.enter(
                &format!("idle, {} files: wake-ups of both sides in {for_seconds} s", sized.files),
                wakes.to_string(),
                format!("CPU {} of both", seconds(cpu)),
                "keep-alive alone",
                wakes <= limit,
            );
        }
    }

    /// Ends all of them; the trees must be equal.
    pub(super) fn end(mut self) -> Result<()> {
        for sized in &mut self.all {
            let complaints = sized.watch()?.complaints();
            ensure!(complaints.is_empty(), "at {} files: {complaints:?}", sized.files);
            sized.stop()?;
            tree::wait_same(&sized.pair.source, &sized.pair.target, LIMIT)?;
        }
        Ok(())
    }
}

/// The time to load what the session keeps between two runs.
fn load(state: &Path, files: usize) -> Result<f64> {
    let started = Instant::now();
    let (_store, loaded) = Store::open(state)?;
    let took = started.elapsed().as_secs_f64();
    let synced = loaded.synced.context("what is in sync is kept")?;
    ensure!(synced.entries() >= files as u64, "what is in sync is kept whole");
    Ok(took)
}

//! What is measured, and in which order: for each size one tree; on it the first sync of each tool, then a session of
//! each tool with all that is measured on a session. A tool that fails loses its figure, not the run.

mod bulk;
mod burst;
mod first;
mod line;
mod rest;
pub(crate) mod save;
mod switch;
mod wan;
mod wire;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::figures::Report;
use crate::peer::{Pair, Session, Tool, Tools};
use crate::process::installed;
use crate::tree;

/// How long a tool may take for anything before it counts as failed.
const LIMIT: Duration = Duration::from_secs(300);

/// What can be asked for with `--only`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Measure {
    /// Save → visible
    Save,
    /// The first sync of a tree
    First,
    /// Thousands of files changed at once
    Burst,
    /// A change of branch by git
    Switch,
    /// Bytes on the wire
    Wire,
    /// A save during a large transfer
    Bulk,
    /// Memory, and CPU when idle
    Rest,
    /// Save → visible over a link with a delay; needs `--lab`
    Wan,
    /// A save during a large transfer over a link with a bounded rate; needs `--lab`
    Line,
}

/// What is to be done in this run.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) quick: bool,
    pub(crate) sizes: Vec<usize>,
    pub(crate) peers_up_to: usize,
    pub(crate) only: Vec<Measure>,
    /// Where everything is made. What is made stays to the end of the run: file systems without a journal, which put off
    /// using again what was just deleted, make thousands of files at a tenth of their speed for minutes after.
    pub(crate) folder: PathBuf,
    pub(crate) bulk_megabytes: usize,
    /// The script of a lab, and how long its link takes one way.
    pub(crate) lab: Option<PathBuf>,
    pub(crate) delay_ms: usize,
    pub(crate) rate_mbit: usize,
}

impl Plan {
    fn wants(&self, measure: Measure) -> bool {
        self.only.is_empty() || self.only.contains(&measure)
    }

    /// One of two numbers: for a quick run, for a whole one.
    fn either(&self, quick: usize, whole: usize) -> usize {
        if self.quick { quick } else { whole }
    }
}

/// One measure on a session.
type Run = fn(&mut Bench<'_>, &mut Report) -> Result<()>;

/// One measure over a lab's link.
type OverLink = fn(&Plan, &Tools, &Path, &mut u64, &mut Report) -> Result<()>;

/// A session under measurement.
struct Bench<'a> {
    plan: &'a Plan,
    tools: &'a Tools,
    tool: Tool,
    pair: &'a Pair,
    session: Box<dyn Session>,
    /// Files in the tree.
    size: usize,
    /// Counts up, so that no save is like one before.
    edits: &'a mut u64,
}

impl Bench<'_> {
    /// Saves a file and waits for it; `None` where it does not arrive.
    fn save(&mut self, number: usize, pattern: save::Pattern) -> Result<Option<Duration>> {
        *self.edits += 1;
        save::one(self.session.as_mut(), self.pair, number, *self.edits, pattern)
    }
}

pub(crate) fn run(plan: &Plan, tools: &Tools, report: &mut Report) -> Result<()> {
    let mut edits = 0;
    let over_links: [(Measure, OverLink); 2] = [(Measure::Wan, wan::measure), (Measure::Line, line::measure)];
    for (measure, run) in over_links.into_iter().filter(|(measure, _)| plan.wants(*measure)) {
        if let Some(script) = &plan.lab
            && let Err(error) = run(plan, tools, script, &mut edits, report)
        {
            report.fail(&format!("{measure:?} over a lab's link"), Tool::Synctl, &error);
        }
    }
    if !plan.only.is_empty() && plan.only.iter().all(|measure| matches!(measure, Measure::Wan | Measure::Line)) {
        ensure!(plan.lab.is_some(), "a link with a delay needs a lab: --lab SCRIPT (see --help)");
        return Ok(());
    }
    if plan.wants(Measure::Switch) && installed("git").is_some() {
        switch::prepare(&plan.folder)?;
    }
    for (index, size) in plan.sizes.iter().copied().enumerate() {
        let source = plan.folder.join(format!("source-{index}"));
        println!("\n{size} files");
        tree::plant(&source, size)?;
        if plan.wants(Measure::First) {
            first::measure(plan, tools, &source, size, report)?;
        }
        if plan.only == [Measure::First] {
            continue;
        }
        for tool in tools.present() {
            if tool == Tool::Tar || (size > plan.peers_up_to && !tool.is_quick()) {
                continue;
            }
            let pair = Pair::new(&source, &plan.folder)?;
            if let Err(error) = session(plan, tools, tool, &pair, size, index == 0, &mut edits, report) {
                report.fail(&format!("a session at {size} files"), tool, &error);
            }
            clear_markers(&source);
        }
    }
    Ok(())
}

/// Takes away what a tool left in the source.
pub(crate) fn clear_markers(source: &Path) {
    for name in [".stfolder", ".synctl"] {
        // Most tools leave neither.
        let _ = std::fs::remove_dir_all(source.join(name));
    }
}

#[expect(clippy::too_many_arguments, reason = "all of it is what a session is measured by")]
fn session(
    plan: &Plan,
    tools: &Tools,
    tool: Tool,
    pair: &Pair,
    size: usize,
    first: bool,
    edits: &mut u64,
    report: &mut Report,
) -> Result<()> {
    let mut session = tools.start(tool, pair)?;
    session.ready(LIMIT)?;
    tree::wait_same(&pair.source, &pair.target, LIMIT)?;
    tree::settle_disk();
    let mut bench = Bench { plan, tools, tool, pair, session, size, edits };
    let measures: [(Measure, Run); 6] = [
        (Measure::Save, save::measure),
        (Measure::Burst, burst::measure),
        (Measure::Switch, switch::measure),
        (Measure::Wire, wire::measure),
        (Measure::Bulk, bulk::measure),
        (Measure::Rest, rest::measure),
    ];
    for (measure, run) in measures {
        // Bytes do not depend on the size of the tree.
        let is_missing = measure == Measure::Switch && installed("git").is_none();
        if is_missing || !plan.wants(measure) || (measure == Measure::Wire && !first) {
            continue;
        }
        if let Err(error) = run(&mut bench, report).and_then(|()| bench.session.check()) {
            report.fail(&format!("{measure:?} at {size} files"), tool, &error);
        }
    }
    for complaint in bench.session.as_watch().map(|watch| watch.complaints()).unwrap_or_default() {
        report.fail(&format!("a clean session at {size} files"), tool, &anyhow::anyhow!(complaint));
    }
    if let Some(mut pass) = bench.session.carry()? {
        pass.wait(LIMIT)?;
    }
    tree::wait_same(&pair.source, &pair.target, LIMIT)
}

//! `side-by-side scale`: what a large tree costs, held to the goals for a million files, each beside a peer or a floor in
//! the same run. The trees are made anew: some 20 files and up to 8 directories in each directory, six deep.
//!
//! Sessions at all sizes are alive at the same time, and their saves take turns: what the machine does to one it does to
//! all.

mod compaction;
mod engine;
mod planted;
mod rename;
mod saves;
mod scan;
mod sessions;
mod table;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use tempfile::TempDir;

use crate::Binaries;
use crate::peer::Tools;

use engine::Counted;
pub(crate) use engine::EngineSaves;
use sessions::Sessions;
use table::Table;

/// What a run over large trees is asked for.
#[derive(Debug, Args)]
pub(crate) struct Scale {
    /// Files in the largest tree. A million take 20 minutes, 12 GB of disk, two million inodes and 160,000 inotify watches
    #[arg(long, default_value_t = 100_000)]
    files: usize,
    /// Numbers of files in the trees beside it; goals are ratios to the first
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 10_000])]
    beside: Vec<usize>,
    /// Saves of each kind at each size
    #[arg(long, default_value_t = 400)]
    saves: usize,
    /// Times that scans and starts are repeated, in turn with their peers
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of idling
    #[arg(long, default_value_t = 30)]
    idle_seconds: u64,
    /// Only these parts
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// Where the trees are made (default: the system's temporary directory)
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Writes the table to this file too
    #[arg(long)]
    report: Option<PathBuf>,
}

/// A part of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// A warm rescan, beside `ignore::WalkParallel`
    Rescan,
    /// Watches set up, beside `notify` and the bare system call
    Watches,
    /// Memory, idling, reopening, the start with an unchanged tree
    Rest,
    /// Save → visible, and bytes written for a save
    Saves,
    /// Saves while the journal is compacted
    Compaction,
    /// A directory of 10,000 files renamed, beside rsync
    Rename,
    /// The engine's instructions for a save
    Engine,
}

impl Scale {
    fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    pub(crate) fn run(&self, binaries: &Binaries) -> Result<()> {
        let folder = self.folder.clone().unwrap_or_else(std::env::temp_dir);
        let folder = TempDir::with_prefix_in("scale-", &folder).with_context(|| folder.display().to_string())?;
        let base = folder.path().canonicalize()?;
        let mut table = Table::default();
        let counted = if self.wants(Part::Engine) { engine::measure(&mut table)? } else { Counted::Within };
        let source = base.join("source-0");
        let on_disk = self.only.is_empty() || self.only.iter().any(|part| *part != Part::Engine);
        if on_disk {
            planted::plant(&source, self.files)?;
        }
        if self.wants(Part::Rescan) {
            scan::rescan(&source, self.files, self.rounds, &mut table)?;
        }
        if self.wants(Part::Watches) {
            scan::watches(&source, self.files, self.rounds, &mut table)?;
        }
        if [Part::Rest, Part::Saves, Part::Compaction, Part::Rename].iter().any(|part| self.wants(*part)) {
            // Built where they are not given, so only where they are needed.
            self.with_sessions(&Tools::find(binaries, &[])?, base, &mut table)?;
        }
        let table = table.show();
        println!("\n{table}");
        if let Some(path) = &self.report {
            std::fs::write(path, table).with_context(|| path.display().to_string())?;
        }
        // A count is the same on every machine, so that it may fail a run; times are judged by who reads the table.
        ensure!(counted == Counted::Within, "the engine takes more instructions for a save than its bound");
        Ok(())
    }

    fn with_sessions(&self, tools: &Tools, base: PathBuf, table: &mut Table) -> Result<()> {
        let mut sessions = Sessions::begin(tools, base, self.files, &self.beside)?;
        if self.wants(Part::Rest) {
            sessions.memory("after the first sync", table);
            sessions.start_again(self.rounds, table)?;
            sessions.memory("started with the tree there", table);
            sessions.idle(self.idle_seconds, table);
        }
        if self.wants(Part::Saves) {
            saves::latencies(&mut sessions, self.saves, table)?;
            saves::writes(&mut sessions, table)?;
        }
        if self.wants(Part::Compaction) {
            compaction::measure(&mut sessions, table)?;
        }
        if self.wants(Part::Rename) {
            rename::measure(&mut sessions, self.rounds, table)?;
        }
        sessions.end()
    }
}

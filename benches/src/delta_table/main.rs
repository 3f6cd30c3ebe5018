//! `delta-table`: what an edit costs on the wire and in CPU time, ours beside the programs that are installed, on pairs
//! of files that are made here: from the sources of the crates this is built of, by the compiler, by SQLite.
//!
//! Every figure is of this machine in this run. Bytes are those of the delta alone (rsync: all that it sends and
//! receives); CPU time is user and system time, of other programs in steps of 10 ms.

#[path = "../process.rs"]
#[expect(dead_code, reason = "side-by-side needs more of it")]
mod process;
#[path = "../tree.rs"]
#[expect(dead_code, reason = "side-by-side needs more of it")]
mod tree;

mod clock;
mod crates;
mod database;
mod ours;
mod pairs;
mod peers;
mod program;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use tempfile::TempDir;

use pairs::Kind;
use table::Table;

#[derive(Parser)]
#[command(about = "What an edit costs on the wire and in CPU time, beside rsync, xdelta3 and zstd", version)]
struct Arguments {
    /// Only these pairs
    #[arg(long, value_delimiter = ',')]
    only: Vec<Kind>,
    /// Only synctl, not the programs that are installed
    #[arg(long)]
    ours: bool,
    /// A directory where the pairs are kept, and used again where they are there already
    #[arg(long)]
    pairs: Option<PathBuf>,
    /// How many pairs of neighbouring versions of a crate, the largest first
    #[arg(long, default_value_t = 3)]
    tars: usize,
    /// Writes the table to this file too
    #[arg(long)]
    report: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("delta-table: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let scratch = TempDir::with_prefix("delta-table-")?;
    let kept = arguments.pairs.clone().unwrap_or_else(|| scratch.path().join("pairs"));
    std::fs::create_dir_all(&kept).with_context(|| kept.display().to_string())?;
    let mut table = Table::default();
    for kind in Kind::ALL.into_iter().filter(|kind| arguments.only.is_empty() || arguments.only.contains(kind)) {
        // One pair at a time: the largest take hundreds of megabytes.
        for planned in kind.plan(&kept, arguments.tars) {
            let made = planned.make().and_then(|pair| {
                table.begin(&pair);
                ours::measure(&pair, &mut table)?;
                if !arguments.ours {
                    peers::measure(&pair, scratch.path(), &mut table)?;
                }
                Ok(())
            });
            if let Err(error) = made {
                table.fail(planned.name(), &error);
            }
        }
    }
    let text = table.markdown();
    println!("\n{text}");
    if let Some(path) = &arguments.report {
        std::fs::write(path, text).with_context(|| path.display().to_string())?;
    }
    anyhow::ensure!(table.is_complete(), "not everything could be measured");
    Ok(())
}

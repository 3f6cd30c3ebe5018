//! `side-by-side`: measures the whole through the binaries, with the peers that are installed beside it in the same
//! run, and prints one table. `side-by-side scale` holds a million files to the goals for them. `side-by-side soak` runs a day's work on real sources again and again, with rsync as the
//! judge.
//!
//! Every figure is of this machine in this run: only the ratios mean something elsewhere. What is measured, and from
//! which moment, is written beside each measure (`measure/`). Every tool runs as processes of its own over loopback.

mod arrival;
mod figures;
mod lab;
mod measure;
mod peer;
mod plot;
mod process;
mod quinn;
mod scale;
mod soak;
mod tree;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use tempfile::TempDir;

use figures::Report;
use measure::Plan;
use peer::{Tool, Tools};

#[derive(Parser)]
#[command(about = "Measures synctl and its peers side by side", version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    binaries: Binaries,
    /// Smaller numbers everywhere: two minutes rather than thirty
    #[arg(long)]
    quick: bool,
    /// Numbers of files in the trees
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 10_000, 100_000])]
    sizes: Vec<usize>,
    /// The largest tree that tools other than synctl and rsync are tried on
    #[arg(long, default_value_t = 10_000)]
    peers_up_to: usize,
    /// Only these tools (synctl, rsync, lsyncd, unison, syncthing, mutagen)
    #[arg(long, value_delimiter = ',')]
    tools: Vec<Tool>,
    /// Only these measures
    #[arg(long, value_delimiter = ',')]
    only: Vec<measure::Measure>,
    /// Writes the table to this file too
    #[arg(long)]
    report: Option<PathBuf>,
    /// Where the trees are made (default: the system's temporary directory)
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Megabytes of the file that goes over the session while saves are measured (default: 1000, with --quick 256)
    #[arg(long)]
    bulk_megabytes: Option<usize>,
    /// The script of a lab: two hosts with a delayed link, for the measures `wan` and `line` (default: SYNCTL_WAN)
    ///
    /// It must offer `up --delay MS [--rate MBIT]`, which makes the hosts `laptop` and `pod` and a link that takes so long each way;
    /// `laptop PROGRAM…` and `pod PROGRAM…`, which become that program on that host; and `down`. The hosts share this
    /// machine's files and clock, as network namespaces do, and the pod has one global IPv4 address.
    #[arg(long)]
    lab: Option<PathBuf>,
    /// How long the lab's link takes one way, in milliseconds
    #[arg(long, default_value_t = 25)]
    delay_ms: usize,
    /// What the lab's link carries in the measure `line`, in Mbit/s
    #[arg(long, default_value_t = 100)]
    rate_mbit: usize,
}

#[derive(Args)]
struct Binaries {
    /// The synctl to measure (default: built from this repository, with optimisation)
    #[arg(long, global = true)]
    synctl: Option<PathBuf>,
    /// The sync-agent to measure (default: the one beside synctl)
    #[arg(long, global = true)]
    agent: Option<PathBuf>,
    /// A mutagen to measure (default: the one on the path)
    #[arg(long, global = true)]
    mutagen: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// A day's work on real sources, again and again: rsync must find no difference, every time
    Soak(soak::Soak),
    /// A tree of up to a million files: scan, watches, memory, start, saves, writes, CPU, idling, a large rename
    Scale(scale::Scale),
    /// Save → visible against the size of the tree and the round trip: a table and two plots
    Plot(plot::Plot),
    /// The workload whose instructions are counted
    #[command(hide = true)]
    EngineSaves(scale::EngineSaves),
    /// One end of what measures a lab's link
    #[command(hide = true)]
    ProbeListen { address: SocketAddr },
    /// The other end
    #[command(hide = true)]
    ProbeSend { address: SocketAddr },
    /// Waits until something listens
    #[command(hide = true)]
    ProbeConnect { address: SocketAddr },
    /// One end of bare quinn
    #[command(hide = true)]
    QuinnListen { secret: PathBuf },
    /// The other end
    #[command(hide = true)]
    QuinnSend { secret: PathBuf, port: u16, bytes: usize },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match &arguments.command {
        Some(Command::Soak(soak)) => Tools::find(&arguments.binaries, &[]).and_then(|tools| soak.run(&tools)),
        Some(Command::Scale(scale)) => scale.run(&arguments.binaries),
        Some(Command::Plot(plot)) => plot.run(&arguments.binaries),
        Some(Command::EngineSaves(saves)) => saves.run(),
        Some(Command::ProbeListen { address }) => lab::listen(*address),
        Some(Command::ProbeSend { address }) => lab::send(*address),
        Some(Command::ProbeConnect { address }) => lab::connect(*address),
        Some(Command::QuinnListen { secret }) => quinn::listen(secret),
        Some(Command::QuinnSend { secret, port, bytes }) => quinn::send(secret, *port, *bytes),
        None => side_by_side(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("side-by-side: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn side_by_side(arguments: &Arguments) -> anyhow::Result<()> {
    let tools = Tools::find(&arguments.binaries, &arguments.tools)?;
    tools.print();
    let mut report = Report::new(tools.present());
    let folder = arguments.folder.clone().unwrap_or_else(std::env::temp_dir);
    let folder = TempDir::with_prefix_in("side-by-side-", &folder).with_context(|| folder.display().to_string())?;
    let plan = Plan {
        quick: arguments.quick,
        sizes: arguments.sizes.clone(),
        peers_up_to: arguments.peers_up_to,
        only: arguments.only.clone(),
        folder: folder.path().canonicalize()?,
        bulk_megabytes: arguments.bulk_megabytes.unwrap_or(if arguments.quick { 256 } else { 1_000 }),
        lab: arguments.lab.clone().or_else(|| std::env::var_os("SYNCTL_WAN").map(PathBuf::from)),
        delay_ms: arguments.delay_ms,
        rate_mbit: arguments.rate_mbit,
    };
    measure::run(&plan, &tools, &mut report)?;
    let table = report.table();
    println!("\n{table}");
    if let Some(path) = &arguments.report {
        std::fs::write(path, table).with_context(|| path.display().to_string())?;
    }
    anyhow::ensure!(report.is_complete(), "not everything could be measured");
    Ok(())
}

//! The tools that are compared, each behind one face: a session that keeps a target equal to a source.

mod lsyncd;
mod mutagen;
mod rsync;
mod syncthing;
mod synctl;
mod tar;
mod unison;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::Binaries;
use crate::lab::Ends;
use crate::process::{Running, installed};

pub(crate) use rsync::{Daemon, wire_bytes as stats_bytes, wire_of_one_file};
pub(crate) use synctl::{Agent, Watch};
pub(crate) use tar::over_tcp;

/// What a measure names a column by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Tool {
    Synctl,
    Rsync,
    /// `tar | tar` over TCP: the floor of a first sync.
    Tar,
    Lsyncd,
    Unison,
    Syncthing,
    Mutagen,
}

impl Tool {
    const ALL: [Self; 7] =
        [Self::Synctl, Self::Rsync, Self::Tar, Self::Lsyncd, Self::Unison, Self::Syncthing, Self::Mutagen];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Synctl => "synctl",
            Self::Rsync => "rsync",
            Self::Tar => "tar",
            Self::Lsyncd => "lsyncd",
            Self::Unison => "Unison",
            Self::Syncthing => "Syncthing",
            Self::Mutagen => "Mutagen",
        }
    }

    /// Whether it keeps up with any tree in reasonable time: the others are spared the largest.
    pub(crate) fn is_quick(self) -> bool {
        matches!(self, Self::Synctl | Self::Rsync | Self::Tar)
    }
}

/// The programs to measure.
#[derive(Debug)]
pub(crate) struct Tools {
    programs: BTreeMap<Tool, PathBuf>,
    agent: PathBuf,
}

impl Tools {
    /// Those given, built or installed, out of `wanted` (all where it is empty).
    pub(crate) fn find(binaries: &Binaries, wanted: &[Tool]) -> Result<Self> {
        let is_wanted = |tool: Tool| wanted.is_empty() || wanted.contains(&tool);
        let mut programs = BTreeMap::new();
        for tool in Tool::ALL.into_iter().filter(|tool| is_wanted(*tool) && *tool != Tool::Synctl) {
            let given = binaries.mutagen.clone().filter(|_| tool == Tool::Mutagen);
            programs.extend(given.or_else(|| installed(&tool.name().to_lowercase())).map(|path| (tool, path)));
        }
        let mut agent = PathBuf::new();
        if is_wanted(Tool::Synctl) {
            let synctl = binaries.synctl.clone().map_or_else(build, Ok)?;
            agent = binaries.agent.clone().unwrap_or_else(|| synctl.with_file_name("sync-agent"));
            for program in [&synctl, &agent] {
                ensure!(program.is_file(), "{} is missing", program.display());
            }
            programs.insert(Tool::Synctl, synctl);
        }
        Ok(Self { programs, agent })
    }

    pub(crate) fn present(&self) -> Vec<Tool> {
        self.programs.keys().copied().collect()
    }

    pub(crate) fn print(&self) {
        for tool in Tool::ALL {
            match self.programs.get(&tool) {
                Some(path) => println!("{:10} {}", tool.name(), path.display()),
                None => println!("{:10} left out: not installed, or not asked for", tool.name()),
            }
        }
    }

    pub(crate) fn program(&self, tool: Tool) -> Result<&Path> {
        self.programs.get(&tool).map(PathBuf::as_path).with_context(|| format!("{} is not there", tool.name()))
    }

    pub(crate) fn agent(&self) -> &Path {
        &self.agent
    }

    /// Starts a session; what it began may still be under way.
    pub(crate) fn start(&self, tool: Tool, pair: &Pair) -> Result<Box<dyn Session>> {
        Ok(match tool {
            Tool::Synctl => Box::new(Watch::start(self, pair, None)?),
            Tool::Rsync => Box::new(rsync::Passes::start(self, pair)?),
            Tool::Lsyncd => Box::new(lsyncd::start(self, pair)?),
            Tool::Unison => Box::new(unison::start(self, pair)?),
            Tool::Syncthing => Box::new(syncthing::start(self, pair)?),
            Tool::Mutagen => Box::new(mutagen::start(self, pair)?),
            Tool::Tar => anyhow::bail!("tar keeps nothing in sync"),
        })
    }
}

/// Builds both binaries as they are released; gives synctl's path.
fn build() -> Result<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the package stands in a workspace")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--release", "--package", "sync-cli", "--package", "sync-agent"]);
    command.arg("--message-format=json-render-diagnostics").current_dir(workspace).stderr(Stdio::inherit());
    let output = command.output().context("cargo does not start")?;
    ensure!(output.status.success(), "the binaries could not be built");
    let messages = String::from_utf8_lossy(&output.stdout).into_owned();
    let artifacts = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let programs = artifacts.filter_map(|message| message.get("executable")?.as_str().map(PathBuf::from));
    programs.into_iter().find(|path| path.ends_with("synctl")).context("cargo built no synctl")
}

/// A source, an empty target, and room for what a tool keeps beside them.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) source: PathBuf,
    pub(crate) target: PathBuf,
    /// A folder of the tool's own.
    pub(crate) scratch: PathBuf,
    /// Where the programs of the two sides run.
    pub(crate) ends: Ends,
}

impl Pair {
    /// A target for `source`, beside nothing else, in `folder`. It stays there.
    pub(crate) fn new(source: &Path, folder: &Path) -> Result<Self> {
        Self::between(Ends::Loopback, source, folder)
    }

    /// The same, for programs that run elsewhere.
    pub(crate) fn between(ends: Ends, source: &Path, folder: &Path) -> Result<Self> {
        let base = TempDir::with_prefix_in("pair-", folder)?.keep().canonicalize()?;
        let (target, scratch) = (base.join("target"), base.join("scratch"));
        std::fs::create_dir(&target)?;
        std::fs::create_dir(&scratch)?;
        Ok(Self { source: source.to_owned(), target, scratch, ends })
    }

    /// Takes away all of it but the source.
    pub(crate) fn remove(self) -> Result<()> {
        [self.target, self.scratch].iter().try_for_each(std::fs::remove_dir_all).context("a pair can't be removed")
    }
}

/// A tool at work on a pair.
pub(crate) trait Session {
    /// Waits until it has found its feet, where it can tell.
    fn ready(&mut self, _limit: Duration) -> Result<()> {
        Ok(())
    }

    /// Carries what was changed, where the tool does not see for itself. The pass runs until it is waited for.
    fn carry(&mut self) -> Result<Option<Running>> {
        Ok(None)
    }

    /// Its processes: at the source, at the target. A process that serves both counts at the source.
    fn processes(&self) -> (Vec<u32>, Vec<u32>);

    /// An error where one of its processes has ended.
    fn check(&mut self) -> Result<()>;

    /// The session as synctl's, which says more than others.
    fn as_watch(&self) -> Option<&Watch> {
        None
    }
}

/// A tool that is nothing but its processes.
#[derive(Debug)]
struct Follower {
    source: Vec<Running>,
    target: Vec<Running>,
}

impl Session for Follower {
    fn processes(&self) -> (Vec<u32>, Vec<u32>) {
        let pids = |side: &[Running]| side.iter().map(Running::pid).collect();
        (pids(&self.source), pids(&self.target))
    }

    fn check(&mut self) -> Result<()> {
        self.source.iter_mut().chain(&mut self.target).try_for_each(Running::check)
    }
}

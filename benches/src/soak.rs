//! `side-by-side soak`: a day's work on real sources, again and again. The sources are the largest crates that this
//! workspace is built from (`cargo vendor`, by its lock file, into a fresh folder) and this repository itself. In each
//! run: first sync, saves in every editor's way, a branch switch by git, the rename of a large directory, deletions,
//! the agent killed in between. After each step rsync must find no difference.

mod editors;
mod judge;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use tempfile::TempDir;

use crate::peer::{Pair, Session, Tools, Watch};
use crate::process::{finish, installed};
use crate::tree::Random;

const LIMIT: Duration = Duration::from_secs(600);

/// What a soak is asked for.
#[derive(Debug, Args)]
pub(crate) struct Soak {
    /// How many times
    #[arg(long, default_value_t = 10)]
    runs: usize,
    /// Saves of each editor's kind in a run
    #[arg(long, default_value_t = 200)]
    saves: usize,
    /// How many of the largest crates
    #[arg(long, default_value_t = 10)]
    crates: usize,
    /// How often the agent is killed in a run
    #[arg(long, default_value_t = 10)]
    kills: usize,
    /// The mode, as `synctl watch --mode` has it, where it is not that of `watch` itself
    #[arg(long)]
    mode: Option<String>,
    /// A folder of sources to use instead (it is copied)
    #[arg(long)]
    sources: Option<PathBuf>,
}

impl Soak {
    pub(crate) fn run(&self, tools: &Tools) -> Result<()> {
        ensure!(installed("rsync").is_some(), "rsync is the judge, and it is not installed");
        ensure!(installed("git").is_some(), "branches are switched by git, and it is not installed");
        let folder = TempDir::with_prefix("synctl-soak-")?;
        let base = folder.path().canonicalize()?;
        let sources = match &self.sources {
            Some(given) => given.canonicalize()?,
            None => gather(&base, self.crates)?,
        };
        for run in 1..=self.runs {
            let started = Instant::now();
            let source = base.join("source");
            copy(&sources, &source)?;
            let pair = Pair::new(&source, &base)?;
            self.once(tools, &pair, run).with_context(|| format!("run {run} of {}", self.runs))?;
            fs::remove_dir_all(&source)?;
            pair.remove()?;
            println!("run {run} of {}: no difference, {:.0} s", self.runs, started.elapsed().as_secs_f64());
        }
        Ok(())
    }

    fn once(&self, tools: &Tools, pair: &Pair, run: usize) -> Result<()> {
        let mut watch = Watch::start(tools, pair, self.mode.as_deref())?;
        for kill in 0..self.kills {
            std::thread::sleep(Duration::from_millis(30 + 20 * kill as u64));
            watch.agent.kill_and_restart()?;
        }
        watch.ready(LIMIT)?;
        judge::settle(pair, "the first sync")?;
        let mut random = Random::new(run as u64);
        for editor in editors::ALL {
            let files = judge::files(&pair.source);
            for save in 0..self.saves {
                let path = files.get(random.below(files.len())).context("there are files")?;
                editor.save(path, save, &mut random).with_context(|| format!("{editor:?} saves {}", path.display()))?;
                if self.kills > 0
                    && save % (self.saves / self.kills).max(1) == 1
                    && random.below(editors::ALL.len()) == 0
                {
                    watch.agent.kill_and_restart()?;
                }
            }
            judge::settle(pair, &format!("saves as {editor:?} does them"))?;
        }
        switch_branches(pair, &mut random)?;
        let largest = largest_directories(&pair.source, 2)?;
        let [first, second] = largest.as_slice() else { anyhow::bail!("there are too few directories") };
        fs::rename(first, second.join("moved here"))?;
        judge::settle(pair, "the rename of a large directory")?;
        fs::remove_dir_all(second)?;
        for path in judge::files(&pair.source).iter().step_by(17) {
            fs::remove_file(path)?;
        }
        judge::settle(pair, "deletions")?;
        let complaints = watch.complaints();
        let shown: Vec<&String> = complaints.iter().take(5).collect();
        ensure!(complaints.is_empty(), "{} complaints: {shown:#?}", complaints.len());
        watch.check()
    }
}

/// The largest of the crates that this workspace is built from, and the workspace itself, side by side.
fn gather(base: &Path, crates: usize) -> Result<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the package stands in a workspace")?;
    let (vendored, sources) = (base.join("vendored"), base.join("sources"));
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut vendor = Command::new(cargo);
    vendor.args(["vendor", "--locked", "--quiet", "--versioned-dirs"]).arg(&vendored).current_dir(workspace);
    finish(&mut vendor, LIMIT)?;
    fs::create_dir(&sources)?;
    for directory in largest_directories(&vendored, crates)? {
        fs::rename(&directory, sources.join(directory.file_name().context("a directory has a name")?))?;
    }
    fs::remove_dir_all(&vendored)?;
    let tracked = finish(Command::new("git").args(["ls-files", "-z"]).current_dir(workspace), LIMIT)?;
    for name in tracked.split('\0').filter(|name| !name.is_empty()) {
        let (from, to) = (workspace.join(name), sources.join("workspace").join(name));
        // What is deleted and not yet committed is not there.
        if from.is_file() {
            fs::create_dir_all(to.parent().context("a file stands in a directory")?)?;
            fs::copy(from, to)?;
        }
    }
    // The judge knows nothing of ignore files.
    for path in judge::files(&sources).iter().filter(|path| path.file_name().is_some_and(|name| name == ".gitignore")) {
        fs::remove_file(path)?;
    }
    println!("{} files of real sources", judge::files(&sources).len());
    Ok(sources)
}

/// The directories of `root` with the most files, most first.
fn largest_directories(root: &Path, count: usize) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(root)?.collect::<std::io::Result<Vec<_>>>()?;
    let directories = entries.iter().map(fs::DirEntry::path).filter(|path| path.is_dir() && !path.ends_with(".git"));
    let mut counted: Vec<(usize, PathBuf)> = directories.map(|path| (judge::files(&path).len(), path)).collect();
    counted.sort_by(|a, b| b.cmp(a));
    Ok(counted.into_iter().take(count).map(|(_, path)| path).collect())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    finish(Command::new("cp").arg("-a").arg(from).arg(to), LIMIT).map(drop)
}

/// A branch that changes, adds, removes and moves a third of everything, checked out back and forth.
fn switch_branches(pair: &Pair, random: &mut Random) -> Result<()> {
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.arg("-C").arg(&pair.source).args(["-c", "user.name=soak", "-c", "user.email=soak@example.org"]);
        git.args(["-c", "gc.auto=0", "-c", "commit.gpgsign=false", "-c", "core.autocrlf=false"]).args(arguments);
        finish(git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1"), LIMIT)
    };
    git(&["init", "--quiet", "--initial-branch=here"])?;
    git(&["add", "--all", "--force"])?;
    git(&["commit", "--quiet", "--message=here"])?;
    git(&["checkout", "--quiet", "-b", "there"])?;
    for path in judge::files(&pair.source) {
        match random.below(12) {
            0 => fs::remove_file(&path)?,
            1 => fs::write(&path, format!("changed on the branch {}\n", random.next()))?,
            2 => fs::write(path.with_extension("added"), format!("added on the branch {}\n", random.next()))?,
            3 => fs::rename(&path, path.with_extension("moved"))?,
            _ => {}
        }
    }
    git(&["add", "--all", "--force"])?;
    git(&["commit", "--quiet", "--message=there"])?;
    judge::settle(pair, "the making of a branch")?;
    for branch in ["here", "there", "here", "there", "here"] {
        git(&["checkout", "--quiet", branch])?;
    }
    judge::settle(pair, "a branch switch")?;
    fs::remove_dir_all(pair.source.join(".git"))?;
    Ok(())
}

//! git changes the branch. Two figures: from git's end until all of it is at the receiver, and for how long the receiver shows
//! some of one branch and some of the other.
//!
//! The repository is around the source, so that tools which carry everything don't carry it too.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{Bench, LIMIT};
use crate::arrival::Arrivals;
use crate::figures::{Figure, Report};
use crate::peer::Tool;
use crate::process::finish;
use crate::tree;

/// As many files differ, or half of a smaller tree.
const FILES: usize = 2_000;

/// Makes the directory around a source a repository, before anybody looks at the source.
pub(super) fn prepare(around: &Path) -> Result<()> {
    git(around, &["init", "-q", "-b", "one"])?;
    git(around, &["config", "gc.auto", "0"])
}

pub(super) fn measure(bench: &mut Bench<'_>, report: &mut Report) -> Result<()> {
    let source = bench.pair.source.clone();
    let around = source.parent().context("a source stands in a folder")?;
    let name = source.file_name().context("a source has a name")?.to_string_lossy().into_owned();
    let count = FILES.min(bench.size / 2);
    let branches = [format!("one-{}", bench.tool.name()), format!("two-{}", bench.tool.name())];
    let mut content = Vec::new();
    for branch in &branches {
        *bench.edits += 1;
        git(around, &["checkout", "-q", "--orphan", branch])?;
        let stride = bench.size / count;
        let files: Vec<_> =
            (0..count).map(|index| (tree::file(index * stride), tree::edited(index * stride, *bench.edits))).collect();
        for (path, content) in &files {
            tree::save_in_place(&source.join(path), content)?;
        }
        git(around, &["add", &name])?;
        git(around, &["-c", "user.name=bench", "-c", "user.email=bench@localhost", "commit", "-q", "-m", branch])?;
        content.push(files);
    }
    if let Some(mut pass) = bench.session.carry()? {
        pass.wait(LIMIT)?;
    }
    tree::wait_same(&bench.pair.source, &bench.pair.target, LIMIT)?;
    let rounds = if matches!(bench.tool, Tool::Synctl | Tool::Rsync) {
        bench.plan.either(3, 9)
    } else {
        bench.plan.either(1, 3)
    };
    let (mut after, mut mixed) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        std::thread::sleep(Duration::from_millis(1000));
        let (branch, files) = branches.iter().zip(&content).nth(round % 2).context("there are two branches")?;
        let expected: HashMap<_, _> =
            files.iter().map(|(path, content)| (bench.pair.target.join(path), content.clone())).collect();
        let arrivals = Arrivals::watch(expected)?;
        let waiting = std::thread::spawn(move || arrivals.wait_for_all(LIMIT));
        git(around, &["checkout", "-q", branch])?;
        let done = Instant::now();
        let pass = bench.session.carry()?;
        let (first, last) = waiting.join().map_err(|_| anyhow::anyhow!("the watcher panicked"))??;
        if let Some(mut pass) = pass {
            pass.wait(LIMIT)?;
        }
        after.push(last.saturating_duration_since(done));
        mixed.push(last.saturating_duration_since(first));
    }
    let what = format!("a branch with {count} of {} files changed", bench.size);
    report.enter(&format!("{what}, after git is done"), bench.tool, Figure::times(&after));
    report.enter(&format!("{what}, some of each"), bench.tool, Figure::times(&mixed));
    Ok(())
}

fn git(directory: &Path, arguments: &[&str]) -> Result<()> {
    finish(Command::new("git").arg("-C").arg(directory).args(arguments), LIMIT).map(drop)
}

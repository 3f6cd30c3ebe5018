//! Save → visible. From the moment just before the save's last system call (the close, the rename) to the moment the
//! saved content was read at the target's path. Saves come one at a time, at random moments, each of another file.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::Bench;
use crate::arrival::Arrivals;
use crate::figures::{Figure, Report};
use crate::peer::{Pair, Session, Tool};
use crate::tree::{self, Random};

/// A save that takes longer is lost.
const SAVE_LIMIT: Duration = Duration::from_secs(30);

pub(crate) type Pattern = fn(&Path, &[u8]) -> Result<Instant>;

const PATTERNS: [(&str, Pattern); 2] = [("in place", tree::save_in_place), ("by rename", tree::save_by_rename)];

pub(super) fn measure(bench: &mut Bench<'_>, report: &mut Report) -> Result<()> {
    let place = format!("{} files", bench.size);
    measure_as(bench, report, &place)
}

/// The same, with the rows named by where it was.
pub(super) fn measure_as(bench: &mut Bench<'_>, report: &mut Report, place: &str) -> Result<()> {
    for (name, pattern) in PATTERNS {
        let mark = bench.session.as_watch().map(|watch| watch.mark());
        let (times, lost) = saves(bench, pattern)?;
        let what = format!("save → visible, {name}, {place}");
        report.enter(&what, bench.tool, Figure::latencies(&times, lost));
        if let Some(mark) = mark {
            show_stages(bench, mark);
        }
    }
    Ok(())
}

/// Says where the time of the saves since `mark` went, by synctl's own account.
pub(super) fn show_stages(bench: &Bench<'_>, mark: usize) {
    let Some(watch) = bench.session.as_watch() else { return };
    let stages = watch.stages_since(mark).into_iter().filter(|(_, times)| !times.is_empty());
    let shown = stages.map(|(stage, mut times)| {
        times.sort_by(f64::total_cmp);
        let at = |percent: usize| times.get((times.len() - 1) * percent / 100).copied().unwrap_or_default();
        format!("{stage} {:.0} ({:.0})", at(50), at(99))
    });
    println!("    of which, by its own account, in µs, p50 (p99): {}", shown.collect::<Vec<_>>().join(", "));
}

fn saves(bench: &mut Bench<'_>, pattern: Pattern) -> Result<(Vec<Duration>, usize)> {
    let (count, pause_ms) = match bench.tool {
        Tool::Synctl => (bench.plan.either(100, 400), 20),
        Tool::Rsync => (bench.plan.either(10, 30), 20),
        // Many look once a second: without pauses of that order each save would fall just after a look.
        _ => (bench.plan.either(5, 15), 1_000),
    };
    let mut random = Random::new(*bench.edits);
    let (mut times, mut lost) = (Vec::new(), 0);
    for _ in 0..count {
        std::thread::sleep(Duration::from_millis(5 + random.below(pause_ms) as u64));
        match bench.save(random.below(bench.size), pattern)? {
            Some(time) => times.push(time),
            None => lost += 1,
        }
        // A tool that loses saves is not waited for all day.
        if lost == 3 {
            break;
        }
    }
    Ok((times, lost))
}

/// Saves a file as no edit before did and waits for it; `None` where it does not arrive.
pub(crate) fn one(
    session: &mut dyn Session,
    pair: &Pair,
    number: usize,
    edit: u64,
    pattern: Pattern,
) -> Result<Option<Duration>> {
    let (path, content) = (tree::file(number), tree::edited(number, edit));
    let arrivals = Arrivals::one(&pair.target.join(&path), &content)?;
    let saved = pattern(&pair.source.join(&path), &content)?;
    let pass = session.carry()?;
    let seen = arrivals.wait(SAVE_LIMIT);
    if let Some(mut pass) = pass {
        pass.wait(SAVE_LIMIT)?;
    }
    session.check()?;
    Ok(seen.ok().map(|seen| seen.saturating_duration_since(saved)))
}

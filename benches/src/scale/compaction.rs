//! Saves while the journal is compacted. The journal is made long by renaming a large directory to and fro, which notes
//! everything beneath it; the snapshot that follows is seen by its file.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::planted;
use super::saves::one;
use super::sessions::Sessions;
use super::table::{Table, percentile, seconds};
use crate::tree::{self, Random};

/// Compactions that are measured.
const ROUNDS: usize = 3;
/// Renames after which the journal must have been compacted.
const RENAMES_MAX: usize = 40;
/// Saves without compaction, to compare with.
const QUIET_SAVES: usize = 400;

/// When the file was there.
type Spans = Vec<(Instant, Instant)>;

pub(super) fn measure(sessions: &mut Sessions<'_>, table: &mut Table) -> Result<()> {
    let mut random = Random::new(11);
    let edits = &mut 1_000_000;
    let sized = sessions.largest()?;
    // Directory 1 and what is in it move; files directly in the top do not.
    let mut save = || -> Result<(Instant, f64)> {
        *edits += 1;
        let started = Instant::now();
        Ok((started, one(sized, random.below(planted::DIRECTORY_FILES), *edits, tree::save_in_place)?))
    };
    let mut quiet = Vec::new();
    for _ in 0..QUIET_SAVES {
        quiet.push(save()?.1);
    }
    let being_written = sized.state()?.join("snapshot.tmp");
    let (mut during, mut lasted) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let is_over = AtomicBool::new(false);
        let (spans, saves) = std::thread::scope(|scope| -> Result<(Spans, Vec<(Instant, f64)>)> {
            let watcher = scope.spawn(|| spans_of(&being_written, &is_over));
            let saves = lengthen(&sized.pair, round, &being_written).and_then(|()| {
                let mut saves = Vec::new();
                let until = Instant::now() + Duration::from_secs(20);
                while being_written.exists() && Instant::now() < until {
                    saves.push(save()?);
                }
                Ok(saves)
            });
            is_over.store(true, Ordering::Relaxed);
            let spans = watcher.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?;
            Ok((spans, saves?))
        })?;
        lasted.extend(spans.iter().map(|(from, to)| (*to - *from).as_secs_f64()));
        let within = |at: Instant| spans.iter().any(|(from, to)| *from <= at && at <= *to);
        during.extend(saves.into_iter().filter(|(at, _)| within(*at)).map(|(_, took)| took));
    }
    ensure!(!during.is_empty(), "no save fell into a compaction");
    let at = |times: &[f64]| format!("p50 {}, p99 {}", seconds(percentile(times, 50)), seconds(percentile(times, 99)));
    let figure = format!("{} (n {})", at(&during), during.len());
    let beside = format!("without: {}; a compaction takes {}", at(&quiet), seconds(percentile(&lasted, 50)));
    let what = format!("save → visible while the journal is compacted, {} files", sized.files);
    let met = percentile(&during, 99) <= 0.005_f64.max(percentile(&quiet, 99) * 1.1);
    table.enter(&what, figure, beside, "not delayed: p99 ≤ 5 ms", met);
    Ok(())
}

/// Renames until a snapshot is being written.
fn lengthen(pair: &crate::peer::Pair, round: usize, being_written: &Path) -> Result<()> {
    let top = pair.source.join(planted::directory(0));
    let mut name = planted::directory(1);
    for rename in 0..RENAMES_MAX {
        let next =
            planted::directory(0).join(if rename % 2 == 0 { format!("moved{round}") } else { "module1".to_owned() });
        std::fs::rename(pair.source.join(&name), pair.source.join(&next))?;
        name = next;
        let deadline = Instant::now() + Duration::from_secs(60);
        while !pair.target.join(&name).exists() {
            ensure!(Instant::now() < deadline, "a rename does not arrive");
            std::thread::sleep(Duration::from_micros(200));
        }
        // Noted right after it has been answered.
        let until = Instant::now() + Duration::from_millis(400);
        while Instant::now() < until {
            if being_written.exists() {
                std::fs::rename(pair.source.join(&name), top.join("module1"))
                    .or_else(|error| if name.ends_with("module1") { Ok(()) } else { Err(error) })?;
                return Ok(());
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    anyhow::bail!("the journal was not compacted after {RENAMES_MAX} renames")
}

/// Watches for a file until told to stop.
fn spans_of(path: &Path, is_over: &AtomicBool) -> Spans {
    let (mut spans, mut since) = (Vec::new(), None);
    while !is_over.load(Ordering::Relaxed) {
        match (path.exists(), since) {
            (true, None) => since = Some(Instant::now()),
            (false, Some(from)) => {
                spans.push((from, Instant::now()));
                since = None;
            }
            _ => {}
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    spans.extend(since.map(|from| (from, Instant::now())));
    spans
}

//! Saves while the journal is compacted. The journal is first made nearly long enough, by directories that are renamed to
//! and fro, which notes all that is beneath them; then the pair is left alone until nothing is under way any more, and the
//! compaction is brought about by the saves themselves. Else a save would be measured that waits for the renames.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::planted;
use super::saves::one;
use super::sessions::{LIMIT, Sessions, Sized};
use super::table::{Table, percentile, seconds};
use crate::tree::{self, Random};

/// Compactions that are measured.
const ROUNDS: usize = 3;
/// Saves that have to fall into them, to say anything of.
const SAVES_MIN: usize = 20;
/// Saves without compaction, to compare with.
const QUIET_SAVES: usize = 400;
/// Saves that may be made until a compaction begins, and that are made after its end.
const SAVES_MAX: usize = 20_000;
const SAVES_AFTER: usize = 20;

/// Bytes of journal before a compaction, at least, and the part of the snapshot: as the store has it.
const JOURNAL_BYTES_MIN: u64 = 1 << 20;
const SNAPSHOT_PARTS: u64 = 2;
/// Bytes that are left to the saves, some hundreds.
const LEFT_FOR_SAVES: u64 = 200_000;
/// Renames after which the journal must be long enough.
const RENAMES_MAX: usize = 200;
/// How long nothing may have been noted until nothing is under way any more.
const REST: Duration = Duration::from_millis(700);

/// When the file was there.
type Spans = Vec<(Instant, Instant)>;

pub(super) fn measure(sessions: &mut Sessions<'_>, table: &mut Table) -> Result<()> {
    let mut random = Random::new(11);
    let edits = &mut 1_000_000;
    let sized = sessions.largest()?;
    // Directories within the top are renamed; files directly in it stay where they are.
    let mut save = || -> Result<(Instant, f64)> {
        *edits += 1;
        let started = Instant::now();
        Ok((started, one(sized, random.below(planted::DIRECTORY_FILES), *edits, tree::save_in_place)?))
    };
    let mut quiet = Vec::new();
    for _ in 0..QUIET_SAVES {
        quiet.push(save()?.1);
    }
    let (mut during, mut lasted) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let journal = Journal { path: sized.state()? };
        let being_written = journal.path.join("snapshot.tmp");
        lengthen(sized, &journal)?;
        let is_over = AtomicBool::new(false);
        let (spans, saves) = std::thread::scope(|scope| -> Result<(Spans, Vec<(Instant, f64)>)> {
            let watcher = scope.spawn(|| spans_of(&being_written, &is_over));
            let saves = saves_through(&journal, &mut save);
            is_over.store(true, Ordering::Relaxed);
            let spans = watcher.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?;
            Ok((spans, saves?))
        })?;
        lasted.extend(spans.iter().map(|(from, to)| (*to - *from).as_secs_f64()));
        let within = |at: Instant, took: f64| {
            spans.iter().any(|(from, to)| *from <= at + Duration::from_secs_f64(took) && at <= *to)
        };
        during.extend(saves.into_iter().filter(|(at, took)| within(*at, *took)).map(|(_, took)| took));
    }
    ensure!(during.len() >= SAVES_MIN, "{} saves fell into {} compactions", during.len(), lasted.len());
    let at = |times: &[f64]| {
        let most = times.iter().copied().fold(0.0, f64::max);
        format!(
            "p50 {}, p99 {}, most {}",
            seconds(percentile(times, 50)),
            seconds(percentile(times, 99)),
            seconds(most)
        )
    };
    let figure = format!("{} (n {})", at(&during), during.len());
    let beside = format!("without: {}; a compaction takes {}", at(&quiet), seconds(percentile(&lasted, 50)));
    let what = format!("save → visible while the journal is compacted, {} files", sized.files);
    let met = percentile(&during, 99) <= 0.005_f64.max(percentile(&quiet, 99) * 1.1);
    table.enter(&what, figure, beside, "not delayed: p99 ≤ 5 ms", met);
    Ok(())
}

/// The directory with the snapshot and the journal.
struct Journal {
    path: std::path::PathBuf,
}

impl Journal {
    fn bytes(&self) -> Result<u64> {
        Ok(fs::metadata(self.path.join("journal"))?.len())
    }

    /// How many bytes it may still grow by without a compaction.
    fn room(&self) -> Result<u64> {
        let snapshot = fs::metadata(self.path.join("snapshot"))?.len();
        Ok((snapshot / SNAPSHOT_PARTS).max(JOURNAL_BYTES_MIN).saturating_sub(self.bytes()?))
    }

    /// Waits until it is not written any more.
    fn rest(&self) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        let (mut since, mut bytes) = (Instant::now(), self.bytes()?);
        while since.elapsed() < REST {
            ensure!(Instant::now() < deadline, "the journal is written for ever");
            std::thread::sleep(Duration::from_millis(20));
            let now = self.bytes()?;
            if now != bytes || self.path.join("snapshot.tmp").exists() {
                (since, bytes) = (Instant::now(), now);
            }
        }
        Ok(())
    }
}

/// Renames directories until the journal has room for some hundreds of saves alone: a large one first, and what is in it
/// where that would be too much.
fn lengthen(sized: &Sized, journal: &Journal) -> Result<()> {
    let mut number = 1;
    // What a rename of this directory makes the journal grow by, once that is known.
    let mut growth = None;
    let mut is_away = false;
    journal.rest()?;
    for _ in 0..RENAMES_MAX {
        let room = journal.room()?;
        if room <= LEFT_FOR_SAVES && !is_away {
            return Ok(());
        }
        if !is_away && growth.is_some_and(|growth| growth * 2 + LEFT_FOR_SAVES / 2 > room) {
            number = planted::first_within(number);
            ensure!(sized.pair.source.join(planted::directory(number)).is_dir(), "no rename is small enough");
        }
        let home = planted::directory(number);
        let away = home.with_file_name("renamed");
        let (from, to) = if is_away { (&away, &home) } else { (&home, &away) };
        let before = journal.bytes()?;
        fs::rename(sized.pair.source.join(from), sized.pair.source.join(to))?;
        arrives(&sized.pair.target.join(to))?;
        journal.rest()?;
        is_away = !is_away;
        // One that has brought about a compaction was too large by itself, or there was little room: the next is smaller.
        let grown = journal.bytes()?.checked_sub(before).filter(|grown| *grown > 0);
        growth = Some(grown.unwrap_or(u64::MAX / 4));
    }
    anyhow::bail!("the journal is not long after {RENAMES_MAX} renames")
}

fn arrives(path: &Path) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    while !path.exists() {
        ensure!(Instant::now() < deadline, "a rename does not arrive");
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Saves until a compaction has begun and ended, and some more.
fn saves_through(journal: &Journal, save: &mut impl FnMut() -> Result<(Instant, f64)>) -> Result<Vec<(Instant, f64)>> {
    let mut saves = Vec::new();
    let long = journal.bytes()?;
    let mut after = 0;
    while after < SAVES_AFTER {
        ensure!(saves.len() < SAVES_MAX, "the journal was not compacted after {SAVES_MAX} saves");
        saves.push(save()?);
        // The new journal is there when the snapshot is.
        after += usize::from(journal.bytes()? < long);
    }
    Ok(saves)
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

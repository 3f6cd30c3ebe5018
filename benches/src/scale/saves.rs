//! Save → visible at every size in turn, and the bytes that a save makes each side write.

use std::time::Duration;

use anyhow::{Context, Result};

use super::planted;
use super::sessions::{Sessions, Sized};
use super::table::{Table, percentile, seconds};
use crate::arrival::Arrivals;
use crate::process::io_field;
use crate::tree::{self, Random};

/// A save that takes longer is lost.
const SAVE_LIMIT: Duration = Duration::from_secs(30);
/// Saves whose bytes are counted, of the same files at each size.
const COUNTED: usize = 100;
/// How much more the largest tree may take than the smallest.
const MORE_MAX: f64 = 1.1;

type Pattern = fn(&std::path::Path, &[u8]) -> Result<std::time::Instant>;

const PATTERNS: [(&str, Pattern); 2] = [("in place", tree::save_in_place), ("by rename", tree::save_by_rename)];

/// Saves a file and waits for it; the seconds that it took.
pub(super) fn one(sized: &Sized, number: usize, edit: u64, pattern: Pattern) -> Result<f64> {
    let (path, content) = (planted::file(number), tree::edited(number, edit));
    let arrivals = Arrivals::one(&sized.pair.target.join(&path), &content)?;
    let saved = pattern(&sized.pair.source.join(&path), &content)?;
    let seen = arrivals.wait(SAVE_LIMIT)?;
    Ok(seen.saturating_duration_since(saved).as_secs_f64())
}

pub(super) fn latencies(sessions: &mut Sessions<'_>, saves: usize, table: &mut Table) -> Result<()> {
    let mut random = Random::new(7);
    for (name, pattern) in PATTERNS {
        let mut times: Vec<Vec<f64>> = vec![Vec::with_capacity(saves); sessions.all.len()];
        for _ in 0..saves {
            for (sized, times) in sessions.all.iter().zip(&mut times) {
                std::thread::sleep(Duration::from_millis(2 + random.below(10) as u64));
                sessions.edits += 1;
                times.push(one(sized, random.below(sized.files), sessions.edits, pattern)?);
            }
        }
        let first = times.first().context("there is a session")?;
        let (p50, p99) = (percentile(first, 50), percentile(first, 99));
        for (sized, times) in sessions.all.iter().zip(&times) {
            let (own_p50, own_p99) = (percentile(times, 50), percentile(times, 99));
            let what = format!("save → visible, {name}, {} files (n {saves})", sized.files);
            let figure = format!("p50 {}, p99 {}", seconds(own_p50), seconds(own_p99));
            let beside = format!("{:.2}, {:.2} of the first", own_p50 / p50, own_p99 / p99);
            let met = own_p50 <= p50 * MORE_MAX && own_p99 <= p99 * MORE_MAX;
            table.enter(&what, figure, beside, "within 10 % of the first", met);
        }
    }
    Ok(())
}

pub(super) fn writes(sessions: &mut Sessions<'_>, table: &mut Table) -> Result<()> {
    let most = sessions.smallest()?.files;
    let mut written: Vec<[u64; 4]> = Vec::new();
    // Of every session the same edits of the same files: their paths and contents must cost the same.
    let edits = sessions.edits;
    for sized in &sessions.all {
        let (source, target) = sized.pids();
        let now = || -> [u64; 4] {
            let sum = |pids: &[u32], field| pids.iter().map(|pid| io_field(*pid, field)).sum();
            [sum(&source, "wchar"), sum(&target, "wchar"), sum(&source, "write_bytes"), sum(&target, "write_bytes")]
        };
        std::thread::sleep(Duration::from_secs(1));
        let before = now();
        for save in 0..COUNTED {
            one(sized, save * 97 % most, edits + save as u64, tree::save_in_place)?;
        }
        std::thread::sleep(Duration::from_secs(1));
        let after = now();
        written.push(std::array::from_fn(|at| {
            let of = |numbers: &[u64; 4]| numbers.get(at).copied().unwrap_or_default();
            of(&after).saturating_sub(of(&before)) / COUNTED as u64
        }));
    }
    sessions.edits += COUNTED as u64;
    let first = written.first().copied().unwrap_or_default();
    for (sized, [source, target, source_disk, target_disk]) in sessions.all.iter().zip(&written) {
        let what = format!("written for a save by synctl and by sync-agent, {} files", sized.files);
        let figure = format!("{source} B and {target} B");
        let beside = format!("due on a disk: {source_disk} B and {target_disk} B");
        // Numbers in what synctl prints differ by a digit.
        let near = |one: u64, other: u64| one.abs_diff(other) * 50 <= other;
        let [first_source, first_target, ..] = first;
        let met = near(*source, first_source) && near(*target, first_target);
        table.enter(&what, figure, beside, "as at the first", met);
    }
    Ok(())
}

//! What a session costs while nothing happens: memory of both sides, CPU time and wake-ups over some seconds.

use std::time::Duration;

use anyhow::Result;

use super::Bench;
use crate::figures::{Figure, Report, Unit};
use crate::peer::Tool;
use crate::process::usage;

pub(super) fn measure(bench: &mut Bench<'_>, report: &mut Report) -> Result<()> {
    // Between two passes there is nothing of rsync's but a daemon that has forgotten all.
    if bench.tool == Tool::Rsync {
        return Ok(());
    }
    let (source, target) = bench.session.processes();
    // What the last measure left to do is done.
    std::thread::sleep(Duration::from_secs(2));
    let seconds = bench.plan.either(3, 10);
    let both: Vec<u32> = source.iter().chain(&target).copied().collect();
    let before = usage(&both);
    std::thread::sleep(Duration::from_secs(seconds as u64));
    let after = usage(&both);
    let size = bench.size;
    let mut enter = |what: String, unit: Unit, value: f64| report.enter(&what, bench.tool, Figure::new(unit, [value]));
    enter(format!("memory at the source, {size} files"), Unit::Bytes, usage(&source).rss_bytes as f64);
    if !target.is_empty() {
        enter(format!("memory at the target, {size} files"), Unit::Bytes, usage(&target).rss_bytes as f64);
    }
    let cpu = after.cpu.saturating_sub(before.cpu).as_secs_f64() / seconds as f64;
    enter(format!("CPU when idle, both sides, {size} files"), Unit::Share, cpu);
    let wakes = after.wakes.saturating_sub(before.wakes) as f64 / seconds as f64;
    enter(format!("wake-ups a second when idle, both sides, {size} files"), Unit::Count, wakes);
    Ok(())
}

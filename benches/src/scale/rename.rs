//! A directory of 10,000 files gets another name: until it is whole at the other side, and bytes on the wire, beside an
//! rsync pass over nothing but such a directory.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::planted;
use super::sessions::{LIMIT, Sessions};
use super::table::{Table, bytes, median, seconds};
use crate::peer::{Daemon, Pair, Tool, stats_bytes};
use crate::process::finish;
use crate::tree;

const FILES: usize = 10_000;
const WIRE_BYTES_MAX: f64 = 4_096.0;
const SECONDS_MAX: f64 = 0.05;

pub(super) fn measure(sessions: &mut Sessions<'_>, rounds: usize, table: &mut Table) -> Result<()> {
    let sized = sessions.largest()?;
    let names = [sized.pair.source.join("ten"), sized.pair.source.join("thousand")];
    let [first, second] = &names;
    planted::plant(first, FILES)?;
    let last = planted::file(FILES - 1);
    let there = |name: &Path| -> Result<std::path::PathBuf> {
        Ok(sized.pair.target.join(name.strip_prefix(&sized.pair.source)?))
    };
    let until = |path: &Path| -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        while !path.exists() {
            ensure!(Instant::now() < deadline, "it does not arrive");
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    };
    let deadline = Instant::now() + LIMIT;
    while tree::count(&there(first)?) < FILES {
        ensure!(Instant::now() < deadline, "it does not arrive");
        std::thread::sleep(Duration::from_millis(100));
    }
    let watch = sized.watch()?;
    let (mut times, mut wire) = (Vec::new(), Vec::new());
    for round in 0..rounds * 4 {
        std::thread::sleep(Duration::from_secs(1));
        let (from, to) = if round % 2 == 0 { (first, second) } else { (second, first) };
        let mark = watch.mark();
        let started = Instant::now();
        std::fs::rename(from, to)?;
        until(&there(to)?.join(&last))?;
        times.push(started.elapsed().as_secs_f64());
        std::thread::sleep(Duration::from_secs(1));
        ensure!(tree::count(&there(to)?) == FILES, "not all of it is there");
        wire.push(watch.sum_since(mark, "wire_bytes"));
    }
    let what = format!("rename of {FILES} files among {}", sized.files);
    let (rsync_time, rsync_bytes) = match sessions.tools.program(Tool::Rsync) {
        Ok(_) => rsync(sessions, rounds)?,
        Err(_) => (f64::NAN, f64::NAN),
    };
    let beside = format!("rsync, a pass over nothing else {}", seconds(rsync_time));
    table.enter(&what, seconds(median(&times)), beside, "≤ 50 ms", median(&times) <= SECONDS_MAX);
    let beside = format!("rsync {}", bytes(rsync_bytes));
    table.enter(
        &format!("{what}: on the wire"),
        bytes(median(&wire)),
        beside,
        "< 4 KiB",
        median(&wire) < WIRE_BYTES_MAX,
    );
    Ok(())
}

/// The same by rsync's passes on a tree of its own: seconds and bytes.
fn rsync(sessions: &Sessions<'_>, rounds: usize) -> Result<(f64, f64)> {
    let source = sessions.base.join("renamed-by-rsync");
    let (first, second) = (source.join("ten"), source.join("thousand"));
    planted::plant(&first, FILES)?;
    let pair = Pair::new(&source, &sessions.base)?;
    let daemon = Daemon::start(sessions.tools, &pair)?;
    let pass = || -> Result<String> { finish(daemon.pass(sessions.tools, &pair)?.args(["-z", "--stats"]), LIMIT) };
    pass()?;
    let (mut times, mut wire) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let (from, to) = if round % 2 == 0 { (&first, &second) } else { (&second, &first) };
        std::fs::rename(from, to)?;
        let started = Instant::now();
        let stats = pass()?;
        times.push(started.elapsed().as_secs_f64());
        wire.push(stats_bytes(&stats)?);
    }
    Ok((median(&times), median(&wire)))
}

//! Saves while one large file goes over the same session: from its appearance at the source until it is whole at the
//! target, saves come one after the other. Before it the same file alone, and in turn with it as many bytes by bare quinn.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{Bench, LIMIT, save};
use crate::figures::{Figure, Report};
use crate::peer::Tool;
use crate::quinn;
use crate::tree::{self, Random};

const MEGABYTE: usize = 1_000_000;

pub(super) fn measure(bench: &mut Bench<'_>, report: &mut Report) -> Result<()> {
    // The others send one thing after the other, or are slower than the transfer takes.
    if bench.tool != Tool::Synctl {
        return Ok(());
    }
    let megabytes = bench.plan.bulk_megabytes;
    alone(bench, report)?;
    let place = format!("{} files", bench.size);
    beside_saves(bench, megabytes, &place, report)
}

/// Saves from the appearance of a large file at the source until it is whole at the target; rows are named by where it was.
pub(super) fn beside_saves(bench: &mut Bench<'_>, megabytes: usize, place: &str, report: &mut Report) -> Result<()> {
    let (beside, path) = (bench.pair.scratch.join("bulk"), bench.pair.source.join("bulk.bin"));
    write_random(&beside, megabytes, 0)?;
    tree::settle_disk();
    let target = bench.pair.target.join("bulk.bin");
    let arrived = || std::fs::metadata(&target).is_ok_and(|metadata| metadata.len() == (megabytes * MEGABYTE) as u64);
    let mark = bench.session.as_watch().map(|watch| watch.mark());
    let started = Instant::now();
    std::fs::rename(&beside, &path)?;
    let mut random = Random::new(*bench.edits);
    let (mut times, mut lost) = (Vec::new(), 0);
    while !arrived() {
        ensure!(started.elapsed() < LIMIT, "the large file has not arrived");
        std::thread::sleep(Duration::from_millis(2 + random.below(8) as u64));
        match bench.save(random.below(bench.size), tree::save_in_place)? {
            Some(time) => times.push(time),
            None => lost += 1,
        }
    }
    let took = started.elapsed();
    report.enter(&format!("{megabytes} MB in one file beside saves, {place}"), bench.tool, Figure::times(&[took]));
    let what = format!("save → visible while {megabytes} MB go, {place}");
    report.enter(&what, bench.tool, Figure::latencies(&times, lost));
    if let Some(mark) = mark {
        save::show_stages(bench, mark);
    }
    std::fs::remove_file(&path)?;
    tree::wait_same(&bench.pair.source, &bench.pair.target, LIMIT)
}

/// Rounds of a large file alone and of bare quinn, in turn.
const ROUNDS: usize = 3;

/// One large file with nothing beside it, from its appearance until it is whole at the target; and the floor.
fn alone(bench: &mut Bench<'_>, report: &mut Report) -> Result<()> {
    let (megabytes, rounds) = (bench.plan.bulk_megabytes, bench.plan.either(1, ROUNDS));
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        let (beside, path) = (bench.pair.scratch.join("alone"), bench.pair.source.join(format!("alone-{round}.bin")));
        write_random(&beside, megabytes, round)?;
        tree::settle_disk();
        let target = bench.pair.target.join(format!("alone-{round}.bin"));
        let started = Instant::now();
        std::fs::rename(&beside, &path)?;
        while !target.exists() {
            ensure!(started.elapsed() < LIMIT, "the large file has not arrived");
            std::thread::sleep(Duration::from_millis(1));
        }
        ours.push(started.elapsed());
        std::fs::remove_file(&path)?;
        tree::wait_same(&bench.pair.source, &bench.pair.target, LIMIT)?;
        tree::settle_disk();
        bare.push(quinn::between_two(&bench.pair.scratch.join("secret"), megabytes * MEGABYTE)?);
    }
    report.enter(&format!("{megabytes} MB in one file alone, {} files", bench.size), bench.tool, Figure::times(&ours));
    report.enter(&format!("{megabytes} MB through bare quinn"), bench.tool, Figure::times(&bare));
    Ok(())
}

/// What does not compress, and is not found anywhere.
fn write_random(path: &Path, megabytes: usize, seed: usize) -> Result<()> {
    let mut random = Random::new((megabytes + (seed << 32)) as u64);
    let mut file = std::fs::File::create(path)?;
    let mut block = Vec::with_capacity(MEGABYTE);
    for _ in 0..megabytes {
        block.clear();
        block.extend(std::iter::repeat_with(|| random.next().to_le_bytes()).take(MEGABYTE / 8).flatten());
        file.write_all(&block)?;
    }
    Ok(())
}

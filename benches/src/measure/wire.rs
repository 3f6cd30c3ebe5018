//! Bytes on the wire for an edit: by synctl's own account (`wire_bytes`), by `rsync -z --stats` in a pass over nothing
//! but that file. And what the rename of the whole tree costs.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{Bench, LIMIT};
use crate::figures::{Figure, Report, Unit};
use crate::peer::{Daemon, Pair, Tool, wire_of_one_file};
use crate::tree;

type Edit = fn(&mut Vec<u8>);

/// What is edited: a name for the row, the file, its size, the edit.
const EDITS: [(&str, &str, usize, Edit); 4] = [
    ("one line in an 18 KB file", "edit-line.rs", 18_000, |content| {
        content.splice(9_000..9_030, *b"let changed = a_new_line(42);\n");
    }),
    ("a line added to a 1 MB log", "edit-append.log.txt", 1_000_000, |content| {
        content.extend_from_slice(b"2030-01-01T00:00:00Z something else happened\n");
    }),
    ("1 byte inserted in 1 MB", "edit-insert.bin", 1_000_000, |content| content.insert(400_000, b'!')),
    ("1 byte inserted in 10 MB", "edit-insert-large.bin", 10_000_000, |content| content.insert(4_000_000, b'!')),
];

pub(super) fn measure(bench: &mut Bench<'_>, report: &mut Report) -> Result<()> {
    if !matches!(bench.tool, Tool::Synctl | Tool::Rsync) {
        return Ok(());
    }
    for (what, name, size, edit) in EDITS {
        let mut content = tree::text(size as u64, size);
        let path = bench.pair.source.join(name);
        std::fs::write(&path, &content)?;
        let bytes = match bench.session.as_watch() {
            Some(watch) => {
                let arrived = |content: &[u8]| {
                    until(|| std::fs::read(bench.pair.target.join(name)).is_ok_and(|found| found == content))
                };
                arrived(&content)?;
                std::thread::sleep(Duration::from_millis(300));
                let mark = watch.mark();
                edit(&mut content);
                tree::save_in_place(&path, &content)?;
                arrived(&content)?;
                watch.sum_once(mark, name, "wire_bytes", LIMIT)?
            }
            None => rsync(bench, name, &mut content, edit)?,
        };
        report.enter(&format!("on the wire: {what}"), bench.tool, Figure::new(Unit::Bytes, [bytes]));
        std::fs::remove_file(&path)?;
    }
    rename(bench, report)
}

fn rsync(bench: &mut Bench<'_>, name: &str, content: &mut Vec<u8>, edit: Edit) -> Result<f64> {
    let pair = Pair::new(&bench.pair.source, &bench.plan.folder)?;
    let daemon = Daemon::start(bench.tools, &pair)?;
    wire_of_one_file(bench.tools, &daemon, &pair.source, name)?;
    edit(content);
    tree::save_in_place(&pair.source.join(name), content)?;
    wire_of_one_file(bench.tools, &daemon, &pair.source, name)
}

/// The tree's one top directory gets another name, and its old one back.
fn rename(bench: &mut Bench<'_>, report: &mut Report) -> Result<()> {
    let (old, new) = (bench.pair.source.join(tree::TOP), bench.pair.source.join("renamed"));
    let last = tree::file(bench.size - 1);
    let renamed = bench.pair.target.join("renamed").join(last.strip_prefix(tree::TOP)?);
    let mark = bench.session.as_watch().map(|watch| watch.mark());
    let started = Instant::now();
    std::fs::rename(&old, &new)?;
    let pass = bench.session.carry()?;
    until(|| renamed.exists())?;
    let took = started.elapsed();
    finish_pass(pass)?;
    report.enter(&format!("rename of a directory of {} files", bench.size), bench.tool, Figure::times(&[took]));
    tree::wait_same(&bench.pair.source, &bench.pair.target, LIMIT)?;
    if let (Some(watch), Some(mark)) = (bench.session.as_watch(), mark) {
        std::thread::sleep(Duration::from_millis(300));
        let bytes = Figure::new(Unit::Bytes, [watch.sum_since(mark, "wire_bytes")]);
        report.enter(&format!("on the wire: rename of a directory of {} files", bench.size), bench.tool, bytes);
    }
    std::fs::rename(&new, &old)?;
    finish_pass(bench.session.carry()?)?;
    tree::wait_same(&bench.pair.source, &bench.pair.target, LIMIT)
}

fn finish_pass(pass: Option<crate::process::Running>) -> Result<()> {
    pass.map_or(Ok(()), |mut pass| pass.wait(LIMIT).map(drop))
}

fn until(mut holds: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    while !holds() {
        ensure!(Instant::now() < deadline, "it did not arrive");
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(())
}

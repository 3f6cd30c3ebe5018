//! Programs that say what differs between two files, as far as they are installed.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::clock;
use crate::pairs::Pair;
use crate::process::{finish, installed};
use crate::table::{Cost, Table};

/// None is waited for longer.
const LIMIT: Duration = Duration::from_secs(600);

/// Largest file, in bytes, that the highest level of zstd is tried on: 100 MB take it a minute, and it finds nothing.
const SLOW_BYTES_MAX: usize = 16 << 20;

/// Measures each, in files beneath `scratch`.
pub(crate) fn measure(pair: &Pair, scratch: &Path, table: &mut Table) -> Result<()> {
    rsync(pair, scratch, table)?;
    let window = format!("-B{}", pair.old.len().next_power_of_two().max(1 << 20));
    let [old, new] = [&pair.old_path, &pair.new_path].map(|path| path.display().to_string());
    let (delta, out) = (scratch.join("delta").display().to_string(), scratch.join("out").display().to_string());
    patch(
        pair,
        "xdelta3 -9",
        &["xdelta3", "-9", "-e", "-f", &window, "-s", &old, &new, &delta],
        &["xdelta3", "-d", "-f", &window, "-s", &old, &delta, &out],
        table,
    )?;
    for (name, level) in [("zstd --patch-from", "-3"), ("zstd --patch-from -19", "-19")] {
        if level == "-19" && pair.new.len() > SLOW_BYTES_MAX {
            continue;
        }
        let from = format!("--patch-from={old}");
        patch(
            pair,
            name,
            &["zstd", "-q", "-f", "--single-thread", "--long=31", level, &from, &new, "-o", &delta],
            &["zstd", "-q", "-f", "-d", "--long=31", &from, &delta, "-o", &out],
            table,
        )?;
    }
    Ok(())
}

/// Runs a program to its end; what it printed, and its CPU time.
fn run(command: &mut Command) -> Result<(String, Option<Duration>)> {
    let begin = clock::children();
    let printed = finish(command, LIMIT)?;
    let spent = clock::children().zip(begin).map(|(end, begin)| end.saturating_sub(begin));
    Ok((printed, spent))
}

/// Both ways, on one machine, told not to copy as it would there. It does both ends' work in one go.
fn rsync(pair: &Pair, scratch: &Path, table: &mut Table) -> Result<()> {
    let Some(program) = installed("rsync") else { return Ok(()) };
    let target = scratch.join("target");
    fs::copy(&pair.old_path, &target)?;
    let mut command = Command::new(program);
    command.args(["-z", "--no-whole-file", "--ignore-times", "--stats"]).arg(&pair.new_path).arg(&target);
    let (stats, spent) = run(&mut command)?;
    ensure!(fs::read(&target)? == pair.new, "rsync made another file");
    fs::remove_file(target)?;
    let number = |name: &str| {
        let line = stats.lines().find_map(|line| line.strip_prefix(name))?;
        line.chars().filter(char::is_ascii_digit).collect::<String>().parse::<usize>().ok()
    };
    let sent = number("Total bytes sent:").context("rsync does not say what it sent")?;
    let received = number("Total bytes received:").context("rsync does not say what it received")?;
    table.enter("rsync -z (both ends)", Cost { bytes: Some(sent + received), encode: spent, decode: None });
    Ok(())
}

/// A program that makes a file of the difference, and a file of that.
fn patch(pair: &Pair, name: &'static str, make: &[&str], apply: &[&str], table: &mut Table) -> Result<()> {
    let start = |words: &[&str]| {
        let (program, arguments) = words.split_first()?;
        let mut command = Command::new(installed(program)?);
        command.args(arguments);
        Some(command)
    };
    let (Some(mut make), Some(mut apply)) = (start(make), start(apply)) else { return Ok(()) };
    let written = |command: &Command| command.get_args().last().map(Path::new).map(Path::to_owned).context("no file");
    let (_, encode) = run(&mut make)?;
    let bytes = fs::metadata(written(&make)?)?.len();
    let (_, decode) = run(&mut apply)?;
    ensure!(fs::read(written(&apply)?)? == pair.new, "{name} made another file");
    table.enter(name, Cost { bytes: usize::try_from(bytes).ok(), encode, decode });
    Ok(())
}

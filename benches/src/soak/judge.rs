//! rsync as the judge. `--no-times`, and `-E` in place of `-p`, because neither times nor whole modes are carried; no
//! `-H`, because hard links are copies at the other side.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::LIMIT;
use crate::peer::Pair;
use crate::process::finish;

/// How long trees may take to become equal after the last change.
const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until rsync finds no difference.
pub(super) fn settle(pair: &Pair, after: &str) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut command = Command::new("rsync");
        command.args(["-rlEnic", "--delete", "--no-times", "--exclude=/.synctl", "--exclude=.git"]);
        command.arg(format!("{}/", pair.source.display())).arg(format!("{}/", pair.target.display()));
        // It fails where files vanish before its eyes: it is asked again.
        let verdict = finish(&mut command, LIMIT);
        if verdict.as_ref().is_ok_and(String::is_empty) {
            return Ok(());
        }
        if Instant::now() > deadline {
            let different = verdict?;
            let lines: Vec<&str> = different.lines().take(20).collect();
            bail!("after {after} {} differences remain: {lines:#?}", different.lines().count());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The regular files beneath a directory, those of git's left out, in a fixed order.
pub(super) fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && entry.file_name() != ".git" => open.push(entry.path()),
                Ok(kind) if kind.is_file() => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found.sort();
    found
}

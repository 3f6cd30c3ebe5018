//! Mutagen, with a daemon of its own and both ends on this machine: one process serves both.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::{Follower, Pair, Tool, Tools};
use crate::process::{Running, finish};

pub(super) fn start(tools: &Tools, pair: &Pair) -> Result<Follower> {
    let program = tools.program(Tool::Mutagen)?;
    let command = |arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).env("MUTAGEN_DATA_DIRECTORY", pair.scratch.join("data"));
        command
    };
    let daemon = Running::quietly(&mut command(&["daemon", "run"]))?;
    let limit = Duration::from_secs(60);
    let mut create =
        command(&["sync", "create", "--no-global-configuration", "--sync-mode=one-way-safe", "--ignore-vcs"]);
    create.arg(&pair.source).arg(&pair.target);
    // The daemon takes a moment before it answers.
    let mut tries = 0;
    while let Err(error) = finish(&mut create, limit) {
        tries += 1;
        anyhow::ensure!(tries < 20, error);
        std::thread::sleep(Duration::from_millis(250));
    }
    Ok(Follower { source: vec![daemon], target: Vec::new() })
}

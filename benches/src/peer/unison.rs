//! Unison over its socket mode, kept running by its watcher where that is installed, by polling every second otherwise.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Result;

use super::{Follower, Pair, Tool, Tools};
use crate::process::{Running, free_port, installed, listens};

pub(super) fn start(tools: &Tools, pair: &Pair) -> Result<Follower> {
    let (program, port) = (tools.program(Tool::Unison)?, free_port()?);
    let archive = |side: &str| pair.scratch.join(side);
    let mut server = Command::new(program);
    server.args(["-socket", &port.to_string(), "-listen", "127.0.0.1"]).env("UNISON", archive("server"));
    let server = Running::quietly(&mut server)?;
    listens(port, Duration::from_secs(10))?;
    let repeat = if installed("unison-fsmonitor").is_some() { "watch" } else { "1" };
    let mut client = Command::new(program);
    client.arg(&pair.source).arg(format!("socket://127.0.0.1:{port}/{}", pair.target.display()));
    client.args(["-batch", "-auto", "-dumbtty", "-confirmbigdel=false", "-repeat", repeat, "-ui", "text"]);
    client.env("UNISON", archive("client")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(Follower { source: vec![Running::start(&mut client)?], target: vec![server] })
}

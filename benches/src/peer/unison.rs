//! Unison over its socket mode, kept running by its watcher where that is installed, by polling every second otherwise.

use std::process::Stdio;
use std::time::Duration;

use anyhow::Result;

use super::{Follower, Pair, Tool, Tools};
use crate::process::{Running, free_port, installed};

pub(super) fn start(tools: &Tools, pair: &Pair) -> Result<Follower> {
    let (program, port) = (tools.program(Tool::Unison)?, free_port()?);
    let archive = |side: &str| pair.scratch.join(side);
    let address = pair.ends.address();
    let mut server = pair.ends.target(program);
    server.args(["-socket", &port.to_string(), "-listen", address]).env("UNISON", archive("server"));
    let server = Running::quietly(&mut server)?;
    pair.ends.listens(port, Duration::from_secs(10))?;
    let repeat = if installed("unison-fsmonitor").is_some() { "watch" } else { "1" };
    let mut client = pair.ends.source(program);
    client.arg(&pair.source).arg(format!("socket://{address}:{port}/{}", pair.target.display()));
    client.args(["-batch", "-auto", "-dumbtty", "-confirmbigdel=false", "-repeat", repeat, "-ui", "text"]);
    client.env("UNISON", archive("client")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(Follower { source: vec![Running::start(&mut client)?], target: vec![server] })
}

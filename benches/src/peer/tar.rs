//! `tar | tar` over TCP: what a first sync costs when nothing is checked, and so its floor.

use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Result, ensure};

use super::{Pair, Tool, Tools};
use crate::process::Running;

/// Carries the whole tree. The bytes go from one process to the other through a TCP connection and nothing else.
pub(crate) fn over_tcp(tools: &Tools, pair: &Pair, limit: Duration) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let sender = TcpStream::connect(listener.local_addr()?)?;
    let (receiver, _) = listener.accept()?;
    let program = tools.program(Tool::Tar)?;
    let mut unpack = Command::new(program);
    unpack.args(["-x", "-f", "-", "-C"]).arg(&pair.target).stdin(Stdio::from(OwnedFd::from(receiver)));
    let mut unpack = Running::start(&mut unpack)?;
    let mut pack = Command::new(program);
    pack.args(["-c", "-f", "-", "-C"])
        .arg(&pair.source)
        .arg(".")
        .stdin(Stdio::null())
        .stdout(Stdio::from(OwnedFd::from(sender)));
    let mut running = Running::start(&mut pack)?;
    // The command holds this process's end of the connection, by which the receiver would never see its end.
    drop(pack);
    for side in [&mut running, &mut unpack] {
        let status = side.wait(limit)?;
        ensure!(status.success(), "tar: {status}");
    }
    Ok(())
}

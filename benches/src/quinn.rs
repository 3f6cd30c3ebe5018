//! Bare quinn: bytes out of memory, on one stream of a connection with synctl's own settings, thrown away at the other end.
//! What no transfer over such a connection can be faster than.
//!
//! Two processes, as with synctl. The listener says where it listens; the sender says how many microseconds it took from
//! the first write until the receiver had read all of it.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use sync_core::link::{self, Credentials, Listener, Role, Secret, dial};
use tokio::runtime::Builder;

use crate::process::{Running, finish};

/// What is written at once, in bytes: a block of a streamed file.
const BLOCK_BYTES: usize = 256 << 10;
/// What is read at once at most, in bytes.
const CHUNK_BYTES: usize = 64 << 10;
/// How long the whole may take.
const LIMIT: Duration = Duration::from_secs(120);

fn credentials(secret: &Path, role: Role) -> Result<Credentials> {
    Ok(Credentials::from_secret(&Secret::from_file(secret)?, role)?)
}

/// How long `bytes` take from one such process to another.
pub(crate) fn between_two(secret: &Path, bytes: usize) -> Result<Duration> {
    let program = std::env::current_exe()?;
    let mut listen = Command::new(&program);
    listen.arg("quinn-listen").arg(secret).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut listener = Running::start(&mut listen)?;
    let mut port = String::new();
    BufReader::new(listener.child().stdout.take().context("its output is piped")?).read_line(&mut port)?;
    let mut send = Command::new(&program);
    send.arg("quinn-send").arg(secret).args([port.trim(), &bytes.to_string()]);
    let micros = finish(&mut send, LIMIT)?;
    Ok(Duration::from_micros(micros.trim().parse()?))
}

/// The end that reads.
pub(crate) fn listen(secret: &Path) -> Result<()> {
    let credentials = credentials(secret, Role::Agent)?;
    Builder::new_current_thread().enable_all().build()?.block_on(async {
        let listener = Listener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), &credentials)?;
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", listener.local_addr().port())?;
        out.flush()?;
        let connection = listener.accept().await.context("the listener has ended")??;
        // As with one session of one root.
        link::allow(&connection, 1, 1);
        let mut stream = connection.accept_uni().await?;
        let mut read = 0;
        while let Some(chunk) = stream.read_chunk(CHUNK_BYTES, true).await? {
            read += chunk.bytes.len();
        }
        connection.close(0_u32.into(), read.to_string().as_bytes());
        let _ = tokio::time::timeout(LIMIT, listener.wait_idle()).await;
        Ok(())
    })
}

/// The end that writes.
pub(crate) fn send(secret: &Path, port: u16, bytes: usize) -> Result<()> {
    let credentials = credentials(secret, Role::Controller)?;
    Builder::new_current_thread().enable_all().build()?.block_on(async {
        let dialed = dial("127.0.0.1", port, &credentials).await?;
        let block = Bytes::from(vec![7; BLOCK_BYTES]);
        let started = Instant::now();
        let mut stream = dialed.connection.open_uni().await?;
        let mut left = bytes;
        while left > 0 {
            let block = block.slice(..left.min(BLOCK_BYTES));
            left -= block.len();
            stream.write_chunk(block).await?;
        }
        stream.finish()?;
        let reason = tokio::time::timeout(LIMIT, dialed.connection.closed()).await?;
        let took = started.elapsed();
        ensure!(reason.to_string().contains(&bytes.to_string()), "not all has arrived: {reason}");
        println!("{}", took.as_micros());
        Ok(())
    })
}

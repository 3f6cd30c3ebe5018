//! synctl, as a person starts it: an agent, and a session that says what it does in JSON.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::Value;

use super::{Pair, Session, Tool, Tools};
use crate::lab::Ends;
use crate::process::{Running, finish};

/// A running agent that serves a pair's target.
#[derive(Debug)]
pub(crate) struct Agent {
    running: Running,
    port: u16,
    secret: PathBuf,
    program: PathBuf,
    root: PathBuf,
    ends: Ends,
}

impl Agent {
    /// Starts one on a port of its own.
    pub(crate) fn start(tools: &Tools, pair: &Pair) -> Result<Self> {
        let secret = pair.scratch.join("secret");
        if !secret.exists() {
            let line = finish(
                Command::new(tools.program(Tool::Synctl)?).args(["keygen", "--secret"]),
                Duration::from_secs(10),
            )?;
            write_private(&secret, line.as_bytes())?;
        }
        Self::launch(pair.ends.clone(), tools.agent(), &pair.target, secret, 0)
    }

    fn launch(ends: Ends, program: &Path, root: &Path, secret: PathBuf, port: u16) -> Result<Self> {
        let mut command = ends.target(program);
        command.args(["serve", "--listen", &format!("{}:{port}", ends.address()), "--root"]).arg(root);
        command.arg("--secret-file").arg(&secret).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut running = Running::start(&mut command)?;
        let stdout = running.child().stdout.take().context("its output is piped")?;
        let (found, address) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // In vain once the address is known.
                let _ = line.split_once("listening on ").map(|(_, address)| found.send(address.trim().to_owned()));
            }
        });
        let address =
            address.recv_timeout(Duration::from_secs(10)).context("the agent did not say where it listens")?;
        let port = address.parse::<std::net::SocketAddr>().with_context(|| address.clone())?.port();
        Ok(Self { running, port, secret, program: program.to_owned(), root: root.to_owned(), ends })
    }

    /// Ends it as a power cut would, and starts it again on the same port.
    pub(crate) fn kill_and_restart(&mut self) -> Result<()> {
        self.running.signal(Signal::KILL);
        self.running.wait(Duration::from_secs(10))?;
        *self = Self::launch(self.ends.clone(), &self.program, &self.root, self.secret.clone(), self.port)?;
        Ok(())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// `synctl VERB SOURCE DEST`, with a state of this pair's.
    pub(crate) fn command(&self, tools: &Tools, verb: &str, pair: &Pair) -> Result<Command> {
        let mut command = self.ends.source(tools.program(Tool::Synctl)?);
        let destination = format!("quic://{}:{}{}", self.ends.address(), self.port, pair.target.display());
        command.arg(verb).arg(&pair.source).arg(destination);
        command.arg("--secret-file").arg(&self.secret).arg("--state-dir").arg(pair.scratch.join("state"));
        command.args(["--output", "json"]).env_remove("SYNCTL_SECRET").env_remove("SYNCTL_LOG");
        Ok(command)
    }
}

fn write_private(path: &Path, content: &[u8]) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    Ok(file.write_all(content)?)
}

#[derive(Debug, Default)]
struct Said {
    events: Mutex<Vec<Value>>,
    more: Condvar,
}

/// A running `synctl watch`.
#[derive(Debug)]
pub(crate) struct Watch {
    // Before the agent, so that it ends first.
    running: Running,
    said: Arc<Said>,
    pub(crate) agent: Agent,
}

impl Watch {
    /// `mode`: as `--mode` has it, where it is not the one that `synctl watch` takes by itself.
    pub(crate) fn start(tools: &Tools, pair: &Pair, mode: Option<&str>) -> Result<Self> {
        let agent = Agent::start(tools, pair)?;
        let mut command = agent.command(tools, "watch", pair)?;
        command.args(mode.into_iter().flat_map(|mode| ["--mode", mode]));
        let mut running = Running::start(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()))?;
        let stdout = running.child().stdout.take().context("its output is piped")?;
        let said = Arc::new(Said::default());
        let heard = Arc::clone(&said);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or(Value::String(line));
                heard.events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
                heard.more.notify_all();
            }
        });
        Ok(Self { running, said, agent })
    }

    /// Ends both sides in order, which keeps what they know.
    pub(crate) fn stop(mut self, limit: Duration) -> Result<()> {
        for running in [&mut self.running, &mut self.agent.running] {
            running.signal(Signal::TERM);
            let status = running.wait(limit)?;
            ensure!(status.success(), "it does not end in order: {status}");
        }
        Ok(())
    }

    /// The number of events so far.
    pub(crate) fn mark(&self) -> usize {
        self.said.events.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The sum of a number over the `synced` events since `mark`, once one of them names `path`.
    pub(crate) fn sum_once(&self, mark: usize, path: &str, field: &str, limit: Duration) -> Result<f64> {
        let deadline = Instant::now() + limit;
        let names = |event: &Value| {
            let paths = event.get("paths").and_then(Value::as_array);
            paths.is_some_and(|paths| paths.iter().any(|entry| entry.get("path").is_some_and(|found| found == path)))
        };
        let mut events = self.said.events.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let synced = || events.iter().skip(mark).filter(|event| is(event, "synced"));
            if synced().any(names) {
                return Ok(synced().filter_map(|event| event.get(field)?.as_f64()).sum());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            ensure!(!left.is_zero(), "{path} was not reported as synced within {limit:?}");
            events = self.said.more.wait_timeout(events, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The sum of a number over the `synced` events since `mark`, so far.
    pub(crate) fn sum_since(&self, mark: usize, field: &str) -> f64 {
        let events = self.said.events.lock().unwrap_or_else(PoisonError::into_inner);
        let synced = events.iter().skip(mark).filter(|event| is(event, "synced"));
        synced.filter_map(|event| event.get(field)?.as_f64()).sum()
    }

    /// The latencies of the `synced` events since `mark`, by stage, in microseconds.
    pub(crate) fn stages_since(&self, mark: usize) -> Vec<(String, Vec<f64>)> {
        let events = self.said.events.lock().unwrap_or_else(PoisonError::into_inner);
        let stages = ["detect", "hash", "send", "apply", "ack", "total"];
        let of = |stage: &str| {
            let synced = events.iter().skip(mark).filter(|event| is(event, "synced"));
            synced.filter_map(|event| event.get("latency_us")?.get(stage)?.as_f64()).collect()
        };
        stages.iter().map(|stage| ((*stage).to_owned(), of(stage))).collect()
    }

    /// What went wrong so far: problems, conflicts, halts, and changes that came from the target, where nobody makes any.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let events = self.said.events.lock().unwrap_or_else(PoisonError::into_inner);
        let unwanted =
            |event: &&Value| ["problem", "conflict", "halted", "received"].iter().any(|kind| is(event, kind));
        events.iter().filter(unwanted).map(Value::to_string).collect()
    }
}

fn is(event: &Value, kind: &str) -> bool {
    event.get("event").is_some_and(|found| found == kind)
}

impl Session for Watch {
    fn ready(&mut self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        let mut events = self.said.events.lock().unwrap_or_else(PoisonError::into_inner);
        while !events.iter().any(|event| is(event, "ready")) {
            self.running.check()?;
            if Instant::now() > deadline {
                bail!("synctl is not ready after {limit:?}; it said {:?}", events.last());
            }
            events = self
                .said
                .more
                .wait_timeout(events, Duration::from_millis(200))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        Ok(())
    }

    fn processes(&self) -> (Vec<u32>, Vec<u32>) {
        (vec![self.running.pid()], vec![self.agent.pid()])
    }

    fn check(&mut self) -> Result<()> {
        self.running.check()?;
        self.agent.running.check()
    }

    fn as_watch(&self) -> Option<&Watch> {
        Some(self)
    }
}

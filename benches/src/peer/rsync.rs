//! rsync against a daemon of its own on loopback. It follows nothing: a pass is run after each change, at once.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{Pair, Session, Tool, Tools};
use crate::lab::Ends;
use crate::process::{Running, finish, free_port};

/// A daemon that serves a pair's target.
#[derive(Debug)]
pub(crate) struct Daemon {
    running: Running,
    port: u16,
    ends: Ends,
}

impl Daemon {
    pub(crate) fn start(tools: &Tools, pair: &Pair) -> Result<Self> {
        let (port, config) = (free_port()?, pair.scratch.join("rsyncd.conf"));
        // As root the daemon would otherwise write as nobody.
        let owner = if rustix::process::geteuid().is_root() { "uid = root\ngid = root\n" } else { "" };
        let settings = format!(
            "use chroot = no\nlog file = /dev/null\n{owner}[to]\npath = {}\nread only = no\n",
            pair.target.display()
        );
        std::fs::write(&config, settings)?;
        let (program, address) = (tools.program(Tool::Rsync)?, pair.ends.address());
        let mut command = pair.ends.target(program);
        command.args(["--daemon", "--no-detach", &format!("--address={address}"), &format!("--port={port}")]);
        let running = Running::quietly(command.arg(format!("--config={}", config.display())))?;
        let daemon = Self { running, port, ends: pair.ends.clone() };
        daemon.wait(program)?;
        Ok(daemon)
    }

    /// Waits until it answers: from where it will be asked, which may be another host.
    fn wait(&self, program: &Path) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(10);
        while let Err(error) = finish(self.ends.source(program).arg(self.url()), Duration::from_secs(5)) {
            ensure!(Instant::now() < deadline, "the daemon does not answer: {error:#}");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    pub(crate) fn url(&self) -> String {
        format!("rsync://{}:{}/to/", self.ends.address(), self.port)
    }

    /// A pass over the whole tree.
    pub(crate) fn pass(&self, tools: &Tools, pair: &Pair) -> Result<Command> {
        let mut command = self.ends.source(tools.program(Tool::Rsync)?);
        command
            .args(["-a", "--delete", "--exclude=/.synctl"])
            .arg(format!("{}/", pair.source.display()))
            .arg(self.url());
        Ok(command)
    }

    pub(super) fn into_running(self) -> Running {
        self.running
    }
}

/// The bytes that one changed file costs both ways, in a pass over nothing but it.
pub(crate) fn wire_of_one_file(tools: &Tools, daemon: &Daemon, source: &Path, name: &str) -> Result<f64> {
    let mut command = Command::new(tools.program(Tool::Rsync)?);
    command.args(["-az", "--ignore-times", "--no-whole-file", "--stats"]).arg(source.join(name)).arg(daemon.url());
    wire_bytes(&finish(&mut command, Duration::from_secs(300))?)
}

/// What `--stats` says was sent and received.
pub(crate) fn wire_bytes(stats: &str) -> Result<f64> {
    let number = |name: &str| {
        let line = stats.lines().find_map(|line| line.strip_prefix(name))?;
        line.chars().filter(char::is_ascii_digit).collect::<String>().parse::<f64>().ok()
    };
    let sum = || Some(number("Total bytes sent:")? + number("Total bytes received:")?);
    sum().with_context(|| format!("rsync --stats says: {stats}"))
}

/// A pass after each change.
pub(super) struct Passes {
    daemon: Daemon,
    program: std::path::PathBuf,
    arguments: Vec<std::ffi::OsString>,
}

impl Passes {
    pub(super) fn start(tools: &Tools, pair: &Pair) -> Result<Self> {
        let daemon = Daemon::start(tools, pair)?;
        let pass = daemon.pass(tools, pair)?;
        let arguments = pass.get_args().map(ToOwned::to_owned).collect();
        Ok(Self { program: pass.get_program().into(), arguments, daemon })
    }
}

impl Session for Passes {
    fn ready(&mut self, limit: Duration) -> Result<()> {
        finish(Command::new(&self.program).args(&self.arguments), limit).map(drop)
    }

    fn carry(&mut self) -> Result<Option<Running>> {
        let mut pass = Command::new(&self.program);
        pass.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
        Running::start(&mut pass).map(Some)
    }

    fn processes(&self) -> (Vec<u32>, Vec<u32>) {
        (Vec::new(), vec![self.daemon.running.pid()])
    }

    fn check(&mut self) -> Result<()> {
        self.daemon.running.check()
    }
}

#[cfg(test)]
mod tests {
    use super::wire_bytes;

    #[test]
    fn stats_are_read() {
        let stats = "Number of files: 1\nTotal bytes sent: 1,234\nTotal bytes received: 56\n";
        assert_eq!(wire_bytes(stats).ok(), Some(1_290.0));
        assert!(wire_bytes("nothing").is_err());
    }
}

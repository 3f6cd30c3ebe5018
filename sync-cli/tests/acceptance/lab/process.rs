//! Child processes that are always ended: each by its own handle.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::PATIENCE;

/// The binary under test: the one of this build, or the one in the directory that `SYNCTL_BIN_DIR` names (a release).
pub(super) fn synctl() -> PathBuf {
    match std::env::var_os("SYNCTL_BIN_DIR") {
        Some(directory) => Path::new(&directory).join("synctl"),
        None => PathBuf::from(env!("CARGO_BIN_EXE_synctl")),
    }
}

/// `sync-agent` stands beside `synctl`: `cargo test --workspace` builds both, each for its own crate's integration tests.
pub(super) fn sync_agent() -> PathBuf {
    let path = synctl().with_file_name("sync-agent");
    assert!(
        path.is_file(),
        "{} is missing: run `cargo test --workspace`, or `cargo build -p sync-agent` first",
        path.display()
    );
    path
}

/// A child that is killed and reaped when it goes out of scope.
#[derive(Debug)]
pub(super) struct Guarded(Child);

impl Guarded {
    pub(super) fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    pub(super) fn pid(&self) -> u32 {
        self.0.id()
    }

    pub(super) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    pub(super) fn take_output(&mut self) -> (impl Read + Send + 'static, impl Read + Send + 'static) {
        (self.0.stdout.take().unwrap(), self.0.stderr.take().unwrap())
    }

    /// Its exit code (`None`: ended by a signal), or `Err` where it still runs after `limit`.
    pub(super) fn wait(&mut self, limit: Duration) -> Result<Option<i32>, ()> {
        let deadline = Instant::now() + limit;
        loop {
            match self.0.try_wait().unwrap() {
                Some(status) => return Ok(status.code()),
                None if Instant::now() > deadline => return Err(()),
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // Either fails only where it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a command left behind.
#[derive(Debug)]
pub(in super::super) struct Finished {
    pub(in super::super) code: Option<i32>,
    pub(in super::super) stdout: String,
    pub(in super::super) stderr: String,
    pub(in super::super) took: Duration,
}

/// Runs a command to its end, which must come within `limit`.
pub(in super::super) fn run(mut command: Command, limit: Duration) -> Finished {
    finish(&mut command, limit)
}

pub(in super::super) fn finish(command: &mut Command, limit: Duration) -> Finished {
    let started = Instant::now();
    let mut child = Guarded::start(command);
    let (stdout, stderr) = child.take_output();
    let (stdout, stderr) = (drained(stdout), drained(stderr));
    let code = child.wait(limit).unwrap_or_else(|()| panic!("{command:?} still runs after {limit:?}"));
    Finished { code, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap(), took: started.elapsed() }
}

/// Reads a pipe to its end beside the process, so that a full pipe stops nothing.
pub(super) fn drained(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // A pipe that breaks has given what it had.
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// A running `sync-agent serve`.
#[derive(Debug)]
pub(in super::super) struct Agent {
    child: Guarded,
    stderr: Option<JoinHandle<String>>,
    pub(in super::super) port: u16,
}

impl Agent {
    pub(in super::super) fn start(command: Command) -> Self {
        let shown = format!("{command:?}");
        Self::begin(command).unwrap_or_else(|log| panic!("{shown} did not say where it listens: {log}"))
    }

    /// `None`: it ended before it listened.
    pub(in super::super) fn start_unless_it_ends(command: Command) -> Option<Self> {
        Self::begin(command).ok()
    }

    fn begin(mut command: Command) -> Result<Self, String> {
        let mut child = Guarded::start(&mut command);
        let (stdout, stderr) = child.take_output();
        let stderr = drained(stderr);
        let (found, port) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some((_, address)) = line.split_once("listening on ") {
                    let digits: String =
                        address.chars().skip_while(|c| *c != ':').skip(1).take_while(char::is_ascii_digit).collect();
                    // Sent in vain once the port is known.
                    let _ = found.send(digits.parse::<u16>());
                }
            }
        });
        match port.recv_timeout(PATIENCE) {
            Ok(Ok(port)) => Ok(Self { child, stderr: Some(stderr), port }),
            _ => {
                drop(child);
                Err(stderr.join().unwrap())
            }
        }
    }

    /// Whether it is dead, by whatever hand.
    pub(in super::super) fn has_ended(&mut self) -> bool {
        self.child.wait(Duration::ZERO).is_ok()
    }

    pub(in super::super) fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Ends it as a power cut would, and waits until it is gone.
    pub(in super::super) fn kill(mut self) -> u16 {
        if !self.has_ended() {
            self.child.signal(Signal::KILL);
        }
        self.port
    }

    /// Asks it to end, as Kubernetes does; gives its exit code and log.
    pub(in super::super) fn terminate(mut self, limit: Duration) -> (Option<i32>, String) {
        self.child.signal(Signal::TERM);
        let code = self.child.wait(limit).unwrap_or_else(|()| panic!("the agent still runs {limit:?} after SIGTERM"));
        (code, self.stderr.take().map(|log| log.join().unwrap()).unwrap_or_default())
    }
}

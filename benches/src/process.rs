//! Child processes that are always ended, each by its own handle, and what the system says of them.

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// A child that is asked to end when this is dropped, and made to where it does not.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    what: String,
}

impl Running {
    /// Starts it with its output thrown away, where the command says nothing else before.
    pub(crate) fn quietly(command: &mut Command) -> Result<Self> {
        Self::start(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))
    }

    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let what = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().with_context(|| format!("{what} does not start"))?;
        Ok(Self { child, what })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// An error where it has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("{} has ended by itself: {status}", self.what),
            None => Ok(()),
        }
    }

    pub(crate) fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            ensure!(Instant::now() < deadline, "{} still runs after {limit:?}", self.what);
            std::thread::sleep(Duration::from_micros(500));
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        // Fails only where it has ended, which is as well.
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal(Signal::TERM);
            if self.wait(Duration::from_secs(5)).is_err() {
                // Either fails only where it has ended meanwhile.
                let _ = self.child.kill();
                let _ = self.child.wait();
            }
        }
    }
}

/// Runs a command to its end and gives what it printed. It must end well, within `limit`.
pub(crate) fn finish(command: &mut Command, limit: Duration) -> Result<String> {
    let mut running = Running::start(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()))?;
    let stdout = drained(running.child.stdout.take());
    let stderr = drained(running.child.stderr.take());
    let status = running.wait(limit)?;
    let (stdout, stderr) = (stdout.join().unwrap_or_default(), stderr.join().unwrap_or_default());
    ensure!(status.success(), "{command:?}: {status}: {}", stderr.trim());
    Ok(stdout)
}

/// Reads a pipe to its end beside the process, so that a full pipe stops nothing.
fn drained(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // A pipe that breaks has given what it had.
            let _ = pipe.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// A program on the path.
pub(crate) fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(|path| path.is_file())
}

/// A TCP port that nobody listens on just now.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A process and all that descend from it.
pub(crate) fn family(root: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let parents: Vec<(u32, u32)> = processes
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            let (_, fields) = stat.rsplit_once(") ")?;
            Some((pid, fields.split(' ').nth(1)?.parse().ok()?))
        })
        .collect();
    let mut family = vec![root];
    let mut next = 0;
    while let Some(parent) = family.get(next).copied() {
        family.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    family
}

/// What some processes have used so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    /// Memory resident now.
    pub(crate) rss_bytes: u64,
    /// Time on a CPU.
    pub(crate) cpu: Duration,
    /// How often a thread of theirs went to sleep, and so was woken.
    pub(crate) wakes: u64,
}

/// Of processes and their descendants. What has ended counts nothing.
pub(crate) fn usage(roots: &[u32]) -> Usage {
    let mut sum = Usage::default();
    for pid in roots.iter().flat_map(|root| family(*root)) {
        let process = Path::new("/proc").join(pid.to_string());
        sum.rss_bytes += status_field(&process, "VmRSS:") * 1_024;
        for task in fs::read_dir(process.join("task")).into_iter().flatten().flatten() {
            let ran = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            let nanoseconds = ran.split(' ').next().and_then(|field| field.parse().ok()).unwrap_or_default();
            sum.cpu += Duration::from_nanos(nanoseconds);
            sum.wakes += status_field(&task.path(), "voluntary_ctxt_switches:");
        }
    }
    sum
}

/// A number of `/proc/PID/io` of one process: `wchar`, what it gave to `write` calls; `write_bytes`, what became due on a
/// disk. What goes to sockets by `sendmsg` is in neither.
pub(crate) fn io_field(pid: u32, name: &str) -> u64 {
    let io = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("io")).unwrap_or_default();
    let line = io.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.and_then(|number| number.trim().parse().ok()).unwrap_or_default()
}

fn status_field(process: &Path, name: &str) -> u64 {
    let status = fs::read_to_string(process.join("status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

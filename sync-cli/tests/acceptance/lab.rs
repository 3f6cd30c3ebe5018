//! The laboratory: a fresh folder with a source, a target and a secret, and the processes that are run on them. All of
//! it goes when the test ends, however it ends.

mod fixture;
mod judge;
mod ledger;
mod process;
mod proxy;
mod sandbox;
mod watch;
mod witness;

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub(super) use fixture::{body, executable, plant, save_beside, save_in_place, save_whole};
pub(super) use judge::{differences, rsync_differences};
pub(super) use ledger::{Hand, Ledger};
pub(super) use process::{Agent, Finished, finish, run};
pub(super) use proxy::{Proxy, Weather};
pub(super) use sandbox::{Mount, after, formatted, with_own_mounts, works, wrapped};
pub(super) use watch::Watch;
pub(super) use witness::{Presence, Witness};

/// How long anything may take on a loaded machine before it counts as not happening.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A source, a target and what is needed to sync them.
pub(super) struct Lab {
    // Held for its drop: the folder goes with the lab.
    _folder: TempDir,
    /// The tree that is edited.
    pub(super) source: PathBuf,
    /// The tree that the agent serves.
    pub(super) target: PathBuf,
    /// The file both sides are given.
    pub(super) secret: PathBuf,
    base: PathBuf,
}

impl Lab {
    pub(super) fn new() -> Self {
        let folder = TempDir::with_prefix("synctl-acceptance-").unwrap();
        let base = folder.path().canonicalize().unwrap();
        let (source, target) = (base.join("source"), base.join("target"));
        for directory in [&source, &target, &base.join("home")] {
            fs::create_dir(directory).unwrap();
        }
        let lab = Self { _folder: folder, source, target, secret: base.join("secret"), base };
        lab.make_secret(&lab.secret);
        lab
    }

    /// Writes a fresh shared secret, as a person would: `synctl keygen --secret > FILE`.
    pub(super) fn make_secret(&self, path: &Path) {
        let made = run(self.synctl(["keygen", "--secret"]), PATIENCE);
        assert_eq!(made.code, Some(0), "keygen: {made:?}");
        assert_eq!(made.stdout.lines().count(), 1, "keygen prints one line: {made:?}");
        fs::write(path, &made.stdout).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// The folder that source and target stand in.
    pub(super) fn base(&self) -> &Path {
        &self.base
    }

    /// `synctl` with arguments, in an environment that holds nothing of the person who runs the tests.
    pub(super) fn synctl<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        self.clean(process::synctl(), arguments)
    }

    pub(super) fn sync_agent<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        self.clean(process::sync_agent(), arguments)
    }

    fn clean<S: AsRef<OsStr>>(&self, program: PathBuf, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).env("HOME", self.base.join("home")).current_dir(&self.base);
        for variable in ["SYNCTL_SECRET", "SYNCTL_LOG", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "RUST_LOG"] {
            command.env_remove(variable);
        }
        command
    }

    /// An agent that serves the target on a port of its own.
    pub(super) fn agent(&self) -> Agent {
        self.agent_on(0)
    }

    pub(super) fn agent_on(&self, port: u16) -> Agent {
        Agent::start(self.agent_command(port))
    }

    /// What starts an agent that serves the target: to be started with `Agent::start` when something was added to it.
    pub(super) fn agent_command(&self, port: u16) -> Command {
        self.serve(port, &[&self.target])
    }

    /// An agent that serves these roots.
    pub(super) fn agent_of(&self, roots: &[&Path]) -> Agent {
        Agent::start(self.serve(0, roots))
    }

    fn serve(&self, port: u16, roots: &[&Path]) -> Command {
        let listen = format!("127.0.0.1:{port}");
        let mut command = self.sync_agent(["serve", "--listen", &listen]);
        command.arg("--secret-file").arg(&self.secret);
        for root in roots {
            command.arg("--root").arg(root);
        }
        command
    }

    /// The DEST of the target at an agent.
    pub(super) fn destination(&self, port: u16) -> String {
        format!("quic://127.0.0.1:{port}{}", self.target.to_str().unwrap())
    }

    /// `synctl VERB SOURCE DEST` with the secret, the lab's own state, and JSON out.
    pub(super) fn command(&self, verb: &str, port: u16) -> Command {
        let mut command = self.synctl([verb]);
        command.arg(&self.source).arg(self.destination(port)).arg("--secret-file").arg(&self.secret);
        command.arg("--state-dir").arg(self.base.join("state")).args(["--output", "json"]);
        command
    }

    /// Starts `synctl watch` and waits until the first sync is done.
    pub(super) fn watch(&self, agent: &Agent) -> Watch {
        self.watch_port(agent.port)
    }

    /// The same by a port that leads to the agent.
    pub(super) fn watch_port(&self, port: u16) -> Watch {
        let watch = Watch::start(self.command("watch", port));
        watch.wait_for("ready");
        watch
    }

    pub(super) fn push(&self, agent: &Agent) -> Finished {
        run(self.command("push", agent.port), PATIENCE)
    }

    /// Waits until both trees are equal, and fails with what differs where they do not become so.
    pub(super) fn settle(&self) {
        self.settle_but(&[]);
    }

    /// As `settle`, leaving out what stands at or beneath the given paths.
    pub(super) fn settle_but(&self, left_out: &[&str]) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let different: Vec<String> = differences(&self.source, &self.target, left_out);
            if different.is_empty() {
                return;
            }
            let shown = &different[..different.len().min(20)];
            assert!(Instant::now() < deadline, "{} differences remain: {shown:#?}", different.len());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Both judges find the trees equal.
    pub(super) fn assert_equal(&self) {
        assert_eq!(differences(&self.source, &self.target, &[]), [""; 0]);
        match rsync_differences(&self.source, &self.target) {
            Some(different) => assert!(different.is_empty(), "rsync finds: {different}"),
            None => skipped("the second judge: rsync is not installed"),
        }
    }

    /// Waits until a file of the target holds exactly `content`.
    pub(super) fn arrives(&self, path: &str, content: &[u8]) {
        let path = self.target.join(path);
        until(&format!("{} holds what was saved", path.display()), || {
            fs::read(&path).is_ok_and(|found| found == content)
        });
    }
}

/// Waits until `holds`, and fails with `what` where it does not come to hold.
pub(super) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "it did not come to pass that {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Says that something is left out, and why; past the runner, which keeps what a test that passes prints to itself.
pub(super) fn skipped(what: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED {what}");
}

/// Whether a program is installed.
pub(super) fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

pub(super) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A UDP port that nobody listens on.
pub(super) fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

//! The binary alone, as an orchestrator sees it: it says where it listens, ends on SIGTERM, refuses in one line.
//!
//! Cargo builds a package's binary for its integration tests: by this file `cargo test --workspace` also builds the
//! agent that the acceptance tests of `synctl` run.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// A root and a secret to serve it with.
struct Lab {
    _folder: TempDir,
    root: PathBuf,
    secret: PathBuf,
}

impl Lab {
    fn new() -> Self {
        let folder = TempDir::with_prefix("sync-agent-").unwrap();
        let (root, secret) = (folder.path().join("root"), folder.path().join("secret"));
        fs::create_dir(&root).unwrap();
        fs::write(&secret, "synctl-secret-1:Zml4ZWQgZm9yIHRoZSB0ZXN0IG9mIHRoZSBhZ2VudCE\n").unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        Self { _folder: folder, root, secret }
    }

    fn serve(&self, root: &Path, listen: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sync-agent"));
        command.arg("serve").arg("--root").arg(root).args(["--listen", listen]).arg("--secret-file").arg(&self.secret);
        command.env_remove("SYNCTL_SECRET").env_remove("SYNCTL_LOG").stdin(Stdio::null());
        command
    }

    fn refused(&self, command: &mut Command, words: &[&str]) {
        let Output { status, stderr, .. } = command.output().unwrap();
        let said = String::from_utf8(stderr).unwrap();
        assert!(status.code().is_some_and(|code| code != 0), "{status}: {said}");
        assert_eq!(said.lines().filter(|line| !line.trim().is_empty()).count(), 1, "one line: {said}");
        assert!(!said.contains("panicked") && words.iter().all(|word| said.contains(word)), "{words:?} in: {said}");
    }
}

/// Ended by its own handle, whatever the test does.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Either fails only where it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn started(command: &mut Command) -> (Running, SocketAddr) {
    let mut agent = Running(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    let mut lines = BufReader::new(agent.0.stdout.take().unwrap()).lines();
    let line = lines.next().unwrap().unwrap();
    (agent, line.strip_prefix("listening on ").unwrap_or_else(|| panic!("said {line:?}")).parse().unwrap())
}

#[test]
fn says_where_it_listens_and_ends_on_sigterm() {
    let lab = Lab::new();
    for signal in [Signal::TERM, Signal::INT] {
        let (mut agent, address) = started(&mut lab.serve(&lab.root, "127.0.0.1:0"));
        assert_ne!(address.port(), 0);
        UdpSocket::bind(address).expect_err("it has that port");
        kill_process(Pid::from_child(&agent.0), signal).unwrap();
        let deadline = Instant::now() + Duration::from_secs(3);
        let status = loop {
            if let Some(status) = agent.0.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "it still runs");
            std::thread::sleep(Duration::from_millis(5));
        };
        assert_eq!(status.code(), Some(0));
        UdpSocket::bind(address).expect("the port is free again");
    }
}

#[test]
fn refuses_in_one_line() {
    let lab = Lab::new();
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    lab.refused(&mut lab.serve(&lab.root, &address), &[&address, "in use"]);
    lab.refused(&mut lab.serve(&lab.root.join("nowhere"), "127.0.0.1:0"), &["nowhere"]);
    fs::write(lab.root.join("file"), b"x").unwrap();
    lab.refused(&mut lab.serve(&lab.root.join("file"), "127.0.0.1:0"), &["file"]);
    fs::set_permissions(&lab.secret, fs::Permissions::from_mode(0o666)).unwrap();
    lab.refused(&mut lab.serve(&lab.root, "127.0.0.1:0"), &["secret"]);
}

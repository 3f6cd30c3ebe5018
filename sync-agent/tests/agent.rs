//! The binary as whoever starts it sees it: what it refuses, and with which words.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

const SECRET: &str = "synctl-secret-1:AAECAwQFBgcICQoLDA0ODw";

fn serve(args: &[&str], secret: Option<&str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sync-agent"));
    command.arg("serve").args(args).env_clear().stdin(Stdio::null());
    if let Some(secret) = secret {
        command.env("SYNCTL_SECRET", secret);
    }
    command.output().unwrap()
}

#[track_caller]
fn check_refused(output: &Output, parts: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{stderr}");
    assert!(stderr.starts_with("sync-agent: ") && stderr.lines().count() == 1, "{stderr}");
    for part in parts {
        assert!(stderr.contains(part), "{part}: {stderr}");
    }
}

#[test]
fn what_can_not_be_served_is_refused_before_anything_listens() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().to_str().unwrap();
    let args = |root| ["--root", root, "--listen", "127.0.0.1:0"];
    check_refused(&serve(&args(root), None), &["--secret-file", "SYNCTL_SECRET", "--authorized-keys"]);
    check_refused(&serve(&args(root), Some("hunter2")), &["SYNCTL_SECRET", "synctl keygen --secret"]);
    check_refused(&serve(&args(root), Some("synctl-secret-1:aHVudGVyMg")), &["128 bits"]);

    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    check_refused(&serve(&args(file.to_str().unwrap()), Some(SECRET)), &["file", "not a directory"]);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing was made");
}

#[test]
fn wrong_arguments_are_exit_2() {
    for args in [&["--listen", "127.0.0.1:0"][..], &["--root", "/r"], &["--root", "/r", "--listen", "4433"]] {
        let output = serve(args, Some(SECRET));
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{args:?}");
    }
}

/// An agent that listens, killed when the test is over.
struct Listening {
    child: Child,
    address: SocketAddr,
}

impl Listening {
    fn start(root: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sync-agent"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--root"]).arg(root);
        let mut child = command.env_clear().env("SYNCTL_SECRET", SECRET).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address =
            line.strip_prefix("listening on ").unwrap_or_else(|| panic!("{line}")).trim_end().parse().unwrap();
        Self { child, address }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn it_says_where_it_listens_and_ends_on_a_signal() {
    for signal in [Signal::TERM, Signal::INT] {
        let dir = tempfile::tempdir().unwrap();
        let mut agent = Listening::start(dir.path());
        assert_ne!(agent.address.port(), 0);
        kill_process(Pid::from_child(&agent.child), signal).unwrap();
        assert_eq!(agent.child.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn a_port_in_use_is_refused_with_its_address() {
    let dir = tempfile::tempdir().unwrap();
    let agent = Listening::start(dir.path());
    let address = agent.address.to_string();
    let second = serve(&["--root", dir.path().to_str().unwrap(), "--listen", &address], Some(SECRET));
    check_refused(&second, &[&address]);
}

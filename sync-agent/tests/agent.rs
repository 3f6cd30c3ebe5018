//! The binary as whoever starts it sees it: what it refuses, and with which words.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::process::{Command, Output, Stdio};

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

//! `synctl status`, `flush`, `conflicts`: other commands ask a session that runs.

use std::fs;
use std::os::unix::net::UnixListener;
use std::process::Command;

use super::lab::{Finished, Lab, PATIENCE, body, plant, run, save_in_place};

/// A command about the lab's session, as JSON.
fn ask(lab: &Lab, verb: &str) -> Command {
    let mut command = lab.synctl([verb]);
    command.arg(&lab.source).arg("--state-dir").arg(lab.base().join("state")).args(["--output", "json"]);
    command
}

fn answer(finished: &Finished) -> serde_json::Value {
    serde_json::from_str(finished.stdout.trim()).unwrap_or_else(|_| panic!("one answer: {finished:?}"))
}

#[test]
fn a_running_session_says_how_it_stands() {
    let lab = Lab::new();
    plant(&lab.source, 3, 5);
    let agent = lab.agent();
    let watch = lab.watch(&agent);
    let status = run(ask(&lab, "status"), PATIENCE);
    assert_eq!(status.code, Some(0), "{status:?}");
    let told = answer(&status);
    assert_eq!(told["answer"], "status");
    assert_eq!((&told["connected"], &told["in_sync"], &told["halted"]), (&true.into(), &true.into(), &().into()));
    assert_eq!(told["source"], lab.source.to_str().unwrap());
    assert!(told["files"].as_u64().unwrap() >= 15, "{told}");
    // From a directory within, without naming it; for people.
    let mut within = lab.synctl(["status", "--state-dir"]);
    within.arg(lab.base().join("state")).current_dir(lab.source.join("d1"));
    let status = run(within, PATIENCE);
    assert!(status.code == Some(0) && status.stdout.contains("in sync"), "{status:?}");
    // It takes its socket with it.
    let (_, _) = watch.interrupt(PATIENCE);
    let status = run(ask(&lab, "status"), PATIENCE);
    assert_eq!(status.code, Some(2), "{status:?}");
    assert!(status.stderr.contains("no session"), "{status:?}");
    assert_eq!(fs::read_dir(lab.base().join("state/running")).unwrap().count(), 0);
}

#[test]
fn a_flush_from_another_process_is_a_barrier() {
    let lab = Lab::new();
    plant(&lab.source, 3, 5);
    let agent = lab.agent();
    let watch = lab.watch(&agent);
    for round in 0..20 {
        let content = body(round, 20_000);
        save_in_place(&lab.source.join("d1/sub/f1.rs"), &content);
        let flush = run(ask(&lab, "flush"), PATIENCE);
        assert_eq!((flush.code, &answer(&flush)["answer"]), (Some(0), &"flushed".into()), "{flush:?}");
        assert_eq!(fs::read(lab.target.join("d1/sub/f1.rs")).unwrap(), content, "flushed, and not there");
    }
    // An agent that is gone is no reason to wait.
    drop(agent);
    watch.wait_for("disconnected");
    save_in_place(&lab.source.join("d1/sub/f1.rs"), b"not sent");
    let began = std::time::Instant::now();
    let flush = run(ask(&lab, "flush"), PATIENCE);
    assert_eq!((flush.code, &answer(&flush)["answer"]), (Some(2), &"failed".into()), "{flush:?}");
    assert!(began.elapsed() < PATIENCE / 2, "it waited {:?}", began.elapsed());
}

#[test]
fn conflicts_are_listed() {
    let lab = Lab::new();
    plant(&lab.source, 1, 3);
    fs::create_dir_all(lab.target.join("d0/sub")).unwrap();
    fs::write(lab.target.join("d0/sub/f0.rs"), b"theirs").unwrap();
    let agent = lab.agent();
    let _watch = lab.watch(&agent);
    let listed = run(ask(&lab, "conflicts"), PATIENCE);
    assert_eq!(listed.code, Some(1), "{listed:?}");
    let told = answer(&listed);
    assert_eq!(told["conflicts_total"], 1, "{told}");
    assert_eq!(
        (&told["conflicts"][0]["path"], &told["conflicts"][0]["beta"]["len"]),
        (&"d0/sub/f0.rs".into(), &6.into())
    );
    fs::remove_file(lab.target.join("d0/sub/f0.rs")).unwrap();
    lab.settle();
    let listed = run(ask(&lab, "conflicts"), PATIENCE);
    assert_eq!((listed.code, &answer(&listed)["conflicts_total"]), (Some(0), &0.into()), "{listed:?}");
}

/// A session that was killed leaves its socket; one that is another's is not taken for this one's.
#[test]
fn what_a_killed_session_left_is_cleared_away() {
    let lab = Lab::new();
    plant(&lab.source, 1, 3);
    let running = lab.base().join("state/running");
    fs::create_dir_all(&running).unwrap();
    let socket = running.join("4194304.sock");
    drop(UnixListener::bind(&socket).unwrap());
    let status = run(ask(&lab, "status"), PATIENCE);
    assert_eq!(status.code, Some(2), "{status:?}");
    assert!(!socket.exists(), "the dead session's socket is still there");
    let agent = lab.agent();
    let _watch = lab.watch(&agent);
    let mut other = lab.synctl(["status", "--state-dir"]);
    other.arg(lab.base().join("state")).arg(&lab.target);
    let other = run(other, PATIENCE);
    assert_eq!(other.code, Some(2), "a session of another directory was meant: {other:?}");
}

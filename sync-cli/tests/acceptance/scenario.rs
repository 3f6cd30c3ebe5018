//! A day's work from one end to the other: first sync, saves, a branch switch, the rename of a large directory,
//! deletions; judged after each.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use super::lab::{Lab, PATIENCE, body, executable, plant, run, save_beside, save_in_place};

/// A tree with a bit of everything that is ordinary.
fn furnish(root: &Path) {
    plant(root, 30, 20);
    fs::create_dir_all(root.join("empty/dir")).unwrap();
    fs::write(root.join("empty/file"), b"").unwrap();
    fs::write(root.join("run.sh"), b"#!/bin/sh\n").unwrap();
    executable(&root.join("run.sh"), true);
    symlink("d1/sub/f1.rs", root.join("link")).unwrap();
    symlink("../d1", root.join("d0/up")).unwrap();
    fs::write(root.join("Zoë – 文件.txt"), b"unicode").unwrap();
    fs::write(root.join("n".repeat(255)), b"the longest name there is").unwrap();
    fs::create_dir_all(root.join("d/".repeat(60))).unwrap();
    fs::write(root.join("d/".repeat(60)).join("deep"), b"deep").unwrap();
    fs::write(root.join("large.bin"), body(99, 3_000_000)).unwrap();
}

#[test]
fn first_sync_saves_branch_switch_rename_and_deletions() {
    let lab = Lab::new();
    furnish(&lab.source);
    let agent = lab.agent();
    let watch = lab.watch(&agent);
    lab.assert_equal();
    let ready = watch.wait_for("ready");
    assert!(ready["files"].as_u64() >= Some(605) && ready["bytes"].as_u64() >= Some(3_000_000), "{ready}");

    for save in 0..40_u64 {
        let path = format!("d{}/sub/f{}.rs", save % 30, save % 20);
        let content = body(10_000 + save, 4_000);
        let pattern = if save % 2 == 0 { save_in_place } else { save_beside };
        pattern(&lab.source.join(&path), &content);
        lab.arrives(&path, &content);
    }
    lab.settle();
    lab.assert_equal();

    switch_branch(&lab.source);
    lab.settle();
    lab.assert_equal();

    fs::rename(lab.source.join("d2"), lab.source.join("d3/sub/moved")).unwrap();
    lab.settle();
    lab.assert_equal();

    fs::remove_dir_all(lab.source.join("d3")).unwrap();
    fs::remove_file(lab.source.join("run.sh")).unwrap();
    fs::remove_file(lab.source.join("link")).unwrap();
    lab.settle();
    lab.assert_equal();

    let (finished, events) = watch.interrupt(Duration::from_secs(10));
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let unwanted = |kind: &str| ["problem", "conflict", "halted", "disconnected"].contains(&kind);
    let unwanted: Vec<_> = events.iter().filter(|event| event["event"].as_str().is_some_and(unwanted)).collect();
    assert!(unwanted.is_empty(), "a day without an accident has no such events: {unwanted:?}");
    nothing_is_left_to_do(&lab, agent.port);
}

/// Rewrites, adds and removes a third of the tree at once, and turns a file into a directory and back.
fn switch_branch(root: &Path) {
    for directory in (0..30).step_by(3) {
        for file in 0..20 {
            let path = root.join(format!("d{directory}/sub/f{file}.rs"));
            match file % 3 {
                0 => fs::remove_file(path).unwrap(),
                1 => fs::write(path, body(20_000 + file, 2_500)).unwrap(),
                _ => fs::write(path.with_extension("new"), body(30_000 + file, 2_500)).unwrap(),
            }
        }
    }
    fs::remove_file(root.join("d1/sub/f0.rs")).unwrap();
    fs::create_dir(root.join("d1/sub/f0.rs")).unwrap();
    fs::write(root.join("d1/sub/f0.rs/inside"), b"a directory now").unwrap();
}

/// A second run finds everything in place, and moves nothing.
fn nothing_is_left_to_do(lab: &Lab, port: u16) {
    let pushed = run(lab.command("push", port), PATIENCE);
    assert_eq!(pushed.code, Some(0), "{pushed:?}");
    let moved = pushed.stdout.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let moved: Vec<_> =
        moved.filter(|event| event["event"] == "synced" && event["paths"] != serde_json::json!([])).collect();
    assert!(moved.is_empty(), "the second run moved {moved:?}");
}

#[test]
fn push_syncs_once_and_ends() {
    let lab = Lab::new();
    plant(&lab.source, 5, 10);
    let agent = lab.agent();
    let pushed = lab.push(&agent);
    assert_eq!(pushed.code, Some(0), "{pushed:?}");
    lab.assert_equal();
    nothing_is_left_to_do(&lab, agent.port);
    save_in_place(&lab.source.join("d1/sub/f1.rs"), b"changed between two runs");
    fs::remove_file(lab.source.join("d1/sub/f2.rs")).unwrap();
    assert_eq!(lab.push(&agent).code, Some(0));
    lab.assert_equal();
}

/// Without an agent: it is started in process.
#[test]
fn push_to_a_local_path() {
    let lab = Lab::new();
    plant(&lab.source, 3, 5);
    let mut command = lab.synctl(["push"]);
    command.arg(&lab.source).arg(&lab.target).arg("--state-dir").arg(lab.base().join("state"));
    let pushed = run(command, PATIENCE);
    assert_eq!(pushed.code, Some(0), "{pushed:?}");
    lab.assert_equal();
}

/// What was never synced survives at the target under one-way-safe, and goes under one-way-replica.
#[test]
fn modes_differ_in_what_stands_at_the_target_alone() {
    let lab = Lab::new();
    plant(&lab.source, 2, 3);
    fs::write(lab.target.join("theirs"), b"made at the target").unwrap();
    let agent = lab.agent();
    let pushed = lab.push(&agent);
    assert!(matches!(pushed.code, Some(0 | 1)), "{pushed:?}");
    assert_eq!(fs::read(lab.target.join("theirs")).unwrap(), b"made at the target");
    lab.settle_but(&["theirs"]);
    let mut replica = lab.command("push", agent.port);
    replica.args(["--mode", "one-way-replica"]);
    let pushed = run(replica, PATIENCE);
    assert_eq!(pushed.code, Some(0), "{pushed:?}");
    lab.assert_equal();
}

#[test]
fn what_is_ignored_does_not_travel_and_is_left_alone() {
    let lab = Lab::new();
    plant(&lab.source, 2, 3);
    fs::write(lab.source.join(".gitignore"), b"/build/\n*.log\n!keep.log\n").unwrap();
    fs::create_dir(lab.source.join("build")).unwrap();
    for name in ["build/out", "a.log", "keep.log", "secret.key2"] {
        fs::write(lab.source.join(name), name).unwrap();
    }
    fs::create_dir(lab.target.join("build")).unwrap();
    fs::write(lab.target.join("build/theirs"), b"theirs").unwrap();
    let agent = lab.agent();
    let mut command = lab.command("push", agent.port);
    command.args(["--ignore", "*.key2"]);
    let pushed = run(command, PATIENCE);
    assert_eq!(pushed.code, Some(0), "{pushed:?}");
    lab.settle_but(&["build", "a.log", "secret.key2"]);
    let there = |name: &str| lab.target.join(name).exists();
    assert!(there("keep.log") && there("build/theirs"));
    assert!(!there("a.log") && !there("build/out") && !there("secret.key2"));
}

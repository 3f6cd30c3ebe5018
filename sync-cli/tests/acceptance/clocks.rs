//! Fault 35: clocks that differ and jump. Nothing is decided by the wall clock.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use super::lab::{Agent, Lab, Watch, body, plant, save_in_place, skipped, works};

/// Files from the future and from long ago, edits that turn the time back: what counts is that something changed.
#[test]
fn fault_35_modification_times_of_any_age() {
    let lab = Lab::new();
    plant(&lab.source, 2, 6);
    let date = |path: &Path, seconds: u64| {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    };
    let path = |file: usize| lab.source.join(format!("d0/sub/f{file}.rs"));
    for (file, seconds) in [0, 1, 4_000_000_000, 9_000_000_000].into_iter().enumerate() {
        date(&path(file), seconds);
    }
    let agent = lab.agent();
    let watch = lab.watch(&agent);
    lab.settle();
    for (file, seconds) in [9_000_000_000, 4_000_000_000, 1, 0].into_iter().enumerate() {
        save_in_place(&path(file), &body(50 + file as u64, 2_000));
        date(&path(file), seconds);
        lab.arrives(&format!("d0/sub/f{file}.rs"), &body(50 + file as u64, 2_000));
    }
    lab.settle();
    lab.assert_equal();
    drop((watch, agent));
}

/// The clock of one side is off by years, and jumps back and forth while it runs.
#[test]
fn fault_35_clock_that_is_wrong_and_jumps() {
    let Some(library) = library() else {
        return skipped("fault_35_clock_that_is_wrong_and_jumps: faketime is not installed, or does not work here");
    };
    for side in ["agent", "controller"] {
        let lab = Lab::new();
        plant(&lab.source, 3, 6);
        let clock = lab.base().join("clock");
        let set = |offset: &str| {
            fs::write(lab.base().join("clock.new"), offset).unwrap();
            fs::rename(lab.base().join("clock.new"), &clock).unwrap();
        };
        let misled = |mut command: Command, yes: bool| {
            if yes {
                command.env("LD_PRELOAD", &library).env("FAKETIME_TIMESTAMP_FILE", &clock);
                command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
            }
            command
        };
        set("-400d");
        let agent = Agent::start(misled(lab.agent_command(0), side == "agent"));
        let watch = Watch::start(misled(lab.command("watch", agent.port), side == "controller"));
        watch.wait_for("ready");
        for (round, offset) in ["+900d", "-20d", "-1s", "+1h", "-3000d"].into_iter().enumerate() {
            set(offset);
            for save in 0..4_u64 {
                let path = format!("d{}/sub/f{save}.rs", round % 3);
                let content = body(100 * round as u64 + save, 2_000);
                save_in_place(&lab.source.join(&path), &content);
                // At once again, in the same moment by any clock.
                let content = [content, b"and more".to_vec()].concat();
                save_in_place(&lab.source.join(&path), &content);
                lab.arrives(&path, &content);
            }
        }
        fs::remove_file(lab.source.join("d0/sub/f5.rs")).unwrap();
        lab.settle();
        lab.assert_equal();
        let unwanted = |event: &serde_json::Value| {
            ["problem", "conflict", "halted", "disconnected"].iter().any(|kind| event["event"] == *kind)
        };
        let told = watch.events();
        assert!(!told.iter().any(unwanted), "{side}: {told:?}");
        if side == "controller" {
            let years: Vec<u64> = told.iter().filter_map(|event| event["time_ms"].as_u64()).collect();
            let spread = years.iter().max().unwrap() - years.iter().min().unwrap();
            assert!(spread > 86_400_000 * 300, "the clock was not misled: {spread} ms");
        }
        drop((watch, agent));
    }
}

/// faketime's library, as the program itself finds it.
fn library() -> Option<String> {
    if !works("faketime", &["-f", "-1d", "true"]) {
        return None;
    }
    let shown = Command::new("faketime").args(["-f", "-1d", "printenv", "LD_PRELOAD"]).output().ok()?;
    let library = String::from_utf8(shown.stdout).ok()?;
    Some(library.trim().to_owned()).filter(|library| !library.is_empty())
}

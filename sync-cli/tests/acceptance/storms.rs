//! Faults 1, 3, 11–13: more events than anyone can follow, and files that change while they are read.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::lab::{Lab, PATIENCE, Watch, body, plant, run, save_in_place, skipped};

/// The watcher is stopped while more happens than the kernel's queue holds. Where the queue is too long for that: false,
/// with a word.
pub(super) fn overflow(lab: &Lab, watch: &Watch) -> bool {
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap_or_default();
    let limit: usize = limit.trim().parse().unwrap_or(16_384);
    if limit > 65_536 {
        skipped("a queue overflow: the kernel's queue is too long here");
        return false;
    }
    watch.signal(Signal::STOP);
    // Creating, writing and closing are three events a file.
    for file in 0..limit / 3 + 600 {
        fs::write(lab.source.join(format!("d{}/sub/burst{file}", file % 2)), file.to_string()).unwrap();
    }
    // These come after the overflow, so that no event tells of them.
    save_in_place(&lab.source.join("d1/sub/f1.rs"), &body(77, 3_000));
    fs::remove_file(lab.source.join("d1/sub/f2.rs")).unwrap();
    fs::create_dir_all(lab.source.join("after/overflow")).unwrap();
    fs::write(lab.source.join("after/overflow/file"), b"late").unwrap();
    watch.signal(Signal::CONT);
    true
}

/// What the queue lost is found by looking.
#[test]
fn fault_01_inotify_queue_overflow() {
    let lab = Lab::new();
    plant(&lab.source, 4, 10);
    let agent = lab.agent();
    let watch = lab.watch(&agent);
    if !overflow(&lab, &watch) {
        return;
    }
    lab.settle();
    // And events are followed again, also in the directory that no event told of.
    save_in_place(&lab.source.join("after/overflow/file"), b"later");
    lab.arrives("after/overflow/file", b"later");
    drop(agent);
}

#[test]
fn fault_03_files_created_right_after_mkdir() {
    let lab = Lab::new();
    let agent = lab.agent();
    let _watch = lab.watch(&agent);
    for round in 0..3 {
        let deep = lab.source.join(format!("made{round}/in/one/go"));
        fs::create_dir_all(&deep).unwrap();
        for file in 0..400 {
            fs::write(deep.join(format!("f{file}")), b"x").unwrap();
            if file % 100 == 0 {
                let below = deep.join(format!("below{file}"));
                fs::create_dir(&below).unwrap();
                fs::write(below.join("inner"), b"y").unwrap();
            }
        }
    }
    lab.settle();
}

/// A log grows a thousand times a second. Other saves are not held up by it, and it is whole in the end.
#[test]
fn fault_11_file_grows_while_it_is_read() {
    let lab = Lab::new();
    plant(&lab.source, 2, 5);
    let agent = lab.agent();
    let _watch = lab.watch(&agent);
    let log = lab.source.join("growing.log");
    let appender = std::thread::spawn(move || {
        let mut file = fs::File::create(log).unwrap();
        let started = Instant::now();
        let mut line = 0;
        while started.elapsed() < Duration::from_secs(3) {
            writeln!(file, "{line} something happened").unwrap();
            line += 1;
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    for round in 0..20 {
        let content = body(round, 2_000);
        save_in_place(&lab.source.join("d1/sub/f1.rs"), &content);
        lab.arrives("d1/sub/f1.rs", &content);
        std::thread::sleep(Duration::from_millis(100));
    }
    // Its handle stays open and it never falls quiet: it has been carried nevertheless.
    assert!(appender.is_finished() || lab.target.join("growing.log").exists(), "a growing file is never carried");
    appender.join().unwrap();
    lab.settle();
    drop(agent);
}

/// Blocks of 64 KiB are written at random places, in place, without closing: whatever was read in between, the quiet
/// file is identical at the end, always.
#[test]
fn fault_12_torn_reads_are_transient() {
    let lab = Lab::new();
    fs::write(lab.source.join("torn.bin"), vec![0; 1 << 20]).unwrap();
    let agent = lab.agent();
    let _watch = lab.watch(&agent);
    for round in 0..4_u8 {
        let mut file = fs::OpenOptions::new().write(true).open(lab.source.join("torn.bin")).unwrap();
        let started = Instant::now();
        let mut place = u64::from(round);
        while started.elapsed() < Duration::from_millis(700) {
            place = place.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            file.seek(SeekFrom::Start((place >> 60) << 16)).unwrap();
            file.write_all(&vec![(place >> 33) as u8; 1 << 16]).unwrap();
        }
        drop(file);
        lab.settle();
    }
    drop(agent);
}

/// A save while nothing is running is found at the next start, also where size and mtime are those of before.
#[test]
fn fault_13_same_size_same_mtime_edit() {
    let lab = Lab::new();
    plant(&lab.source, 1, 3);
    let agent = lab.agent();
    let path = lab.source.join("d0/sub/f1.rs");
    let before = fs::metadata(&path).unwrap().modified().unwrap();
    let edit = |from: &[u8], to: &[u8]| {
        let mut content = fs::read(&path).unwrap();
        let at = content.windows(from.len()).position(|window| window == from).unwrap();
        content[at..at + to.len()].copy_from_slice(to);
        fs::write(&path, &content).unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(before).unwrap();
    };
    let watch = lab.watch(&agent);
    edit(b"let", b"LET");
    lab.settle();
    watch.interrupt(PATIENCE);
    edit(b"LET", b"let");
    let pushed = run(lab.command("push", agent.port), PATIENCE);
    assert_eq!(pushed.code, Some(0), "{pushed:?}");
    lab.settle();
}

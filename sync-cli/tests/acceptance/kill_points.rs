//! Fault 41, at every n-th system call: a reference workload in which one side is killed as it enters its n-th call of a
//! kind that leaves something behind. It is started again, it converges, `rsync` judges, and all the while a witness
//! reads every file of the target: none is ever partial.
//!
//! `strace` counts the calls of each thread by itself, and the first thread that comes to n dies with its process. So that
//! a busy thread does not stand in for all others there are three workloads, each of which another thread does most of: the
//! start with the first sync, single saves, and a lot at once. Sampled in every run of the tests; every point by
//!
//! ```sh
//! cargo test -p sync-cli --test acceptance -- --ignored --exact --nocapture acceptance::kill_points::every_kill_point
//! cargo test -p sync-cli --test acceptance -- --ignored --nocapture every_kill_point_two_way
//! ```

mod point;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

pub(super) use self::point::stage_is_empty;
use self::point::{Phase, Point, Side, Verdict, Ways};
use super::lab::{skipped, works};

/// Calls that change what is on a disk, or let the other side know.
const CALLS: [&str; 17] = [
    "mkdirat",
    "mkdir",
    "openat2",
    "openat",
    "write",
    "pwrite64",
    "copy_file_range",
    "ftruncate",
    "fallocate",
    "fchmod",
    "fsync,fdatasync,syncfs",
    "linkat",
    "symlinkat",
    "renameat2,renameat,rename",
    "unlinkat,unlink,rmdir",
    "flock",
    "sendmsg,sendmmsg,sendto",
];
/// How many points of the sample are tried at a time.
const SAMPLE_THREADS: usize = 3;

fn possible() -> bool {
    let possible = works("strace", &["-f", "-o", "/dev/null", "true"]);
    if !possible {
        skipped("kill points: strace is not installed, or may not trace");
    }
    possible
}

/// A dozen points: each call early, in the middle of its workload, of both sides in turn.
#[test]
fn fault_41_some_kill_points() {
    if !possible() {
        return;
    }
    let points = [
        (Side::Agent, Phase::Start, "mkdirat", 3),
        (Side::Agent, Phase::Start, "renameat2,renameat,rename", 2),
        (Side::Agent, Phase::Saves, "renameat2,renameat,rename", 1),
        (Side::Agent, Phase::Saves, "linkat", 1),
        (Side::Agent, Phase::Saves, "unlinkat,unlink,rmdir", 3),
        (Side::Agent, Phase::Bulk, "renameat2,renameat,rename", 4),
        (Side::Agent, Phase::Bulk, "write", 9),
        (Side::Agent, Phase::Bulk, "unlinkat,unlink,rmdir", 5),
        (Side::Agent, Phase::Saves, "sendmsg,sendmmsg,sendto", 4),
        (Side::Controller, Phase::Start, "write", 12),
        (Side::Controller, Phase::Start, "renameat2,renameat,rename", 1),
        (Side::Controller, Phase::Saves, "write", 5),
        (Side::Controller, Phase::Saves, "sendmsg,sendmmsg,sendto", 3),
        (Side::Controller, Phase::Bulk, "write", 3),
    ];
    let counts = sampled(Ways::One, &points);
    // Of five at the controller.
    assert!(counts.listed <= 3, "what was sent was not remembered: {counts:?}");
}

/// The same in two ways, where both sides write.
#[test]
fn fault_41_two_way_some_kill_points() {
    if !possible() {
        return;
    }
    let points = [
        (Side::Agent, Phase::Start, "renameat2,renameat,rename", 2),
        (Side::Agent, Phase::Saves, "renameat2,renameat,rename", 3),
        (Side::Agent, Phase::Saves, "sendmsg,sendmmsg,sendto", 6),
        (Side::Agent, Phase::Bulk, "sendmsg,sendmmsg,sendto", 9),
        (Side::Agent, Phase::Bulk, "unlinkat,unlink,rmdir", 4),
        (Side::Controller, Phase::Start, "renameat2,renameat,rename", 3),
        (Side::Controller, Phase::Saves, "renameat2,renameat,rename", 2),
        (Side::Controller, Phase::Saves, "fsync,fdatasync,syncfs", 2),
        (Side::Controller, Phase::Saves, "write", 6),
        (Side::Controller, Phase::Bulk, "renameat2,renameat,rename", 9),
        (Side::Controller, Phase::Bulk, "unlinkat,unlink,rmdir", 3),
    ];
    sampled(Ways::Both, &points);
}

fn sampled(ways: Ways, points: &[(Side, Phase, &'static str, u32)]) -> Counts {
    let (next, counts) = (AtomicUsize::new(0), Mutex::new(Counts::default()));
    // Most of a point is waiting.
    std::thread::scope(|scope| {
        for _ in 0..SAMPLE_THREADS {
            scope.spawn(|| {
                while let Some((side, phase, calls, when)) = points.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let verdict = Point { ways, side: *side, phase: *phase, calls, when: *when }.run();
                    counts.lock().unwrap().add(verdict);
                }
            });
        }
    });
    let (counts, run) = (counts.into_inner().unwrap(), points.len() as u32);
    let killed = counts.converged + counts.listed;
    assert!(killed >= run / 2, "of {run} points only {killed} were come to: the workload has changed");
    println!("kill points: {counts:?} of a sample of {run}");
    counts
}

/// How kills ended.
#[derive(Debug, Default)]
struct Counts {
    converged: u32,
    listed: u32,
    failed: u32,
}

impl Counts {
    fn add(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::NotReached => {}
            Verdict::Converged => self.converged += 1,
            Verdict::Listed => self.listed += 1,
        }
    }
}

/// All there are: of each call up to the first n that no thread comes to.
#[test]
#[ignore = "takes half an hour; SYNCTL_KILL_POINTS=agent-bulk or the like does a part"]
fn every_kill_point() {
    all_of(Ways::One);
}

#[test]
#[ignore = "takes half an hour; SYNCTL_KILL_POINTS=agent-bulk or the like does a part"]
fn every_kill_point_two_way() {
    all_of(Ways::Both);
}

fn all_of(ways: Ways) {
    if !possible() {
        return;
    }
    let wanted = std::env::var("SYNCTL_KILL_POINTS").unwrap_or_default();
    let mut failed = 0;
    for side in [Side::Agent, Side::Controller] {
        for phase in [Phase::Start, Phase::Saves, Phase::Bulk] {
            let name = format!("{side:?}-{phase:?}").to_lowercase();
            if name.starts_with(&wanted) {
                failed += every_point_of(ways, side, phase, &name);
            }
        }
    }
    assert_eq!(failed, 0, "kill points failed");
}

fn every_point_of(ways: Ways, side: Side, phase: Phase, name: &str) -> u32 {
    let (started, mut all) = (Instant::now(), Counts::default());
    for calls in CALLS {
        let mut these = Counts::default();
        for when in 1.. {
            // One that fails says why, and the others still have their turn.
            match std::panic::catch_unwind(|| Point { ways, side, phase, calls, when }.run()) {
                Ok(Verdict::NotReached) => break,
                Ok(verdict) => these.add(verdict),
                Err(_) => these.failed += 1,
            }
        }
        println!("{name}, {calls}: {these:?} ({} s)", started.elapsed().as_secs());
        all = Counts {
            converged: all.converged + these.converged,
            listed: all.listed + these.listed,
            failed: all.failed + these.failed,
        };
    }
    println!("kill points of {name}: {all:?}, in {} s", started.elapsed().as_secs());
    all.failed
}

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::time::Duration;

use sync_core::session::event::{Latency, Received, Synced};
use sync_proto::{ContentId, SyncPath, Target};

use super::*;

fn path(bytes: &[u8]) -> SyncPath {
    SyncPath::parse(bytes).unwrap()
}

#[track_caller]
fn check(event: &Event, tone: Tone, expected: &str) {
    let line = line(event).unwrap();
    assert_eq!((line.painted(false).as_str(), line.tone), (expected, tone));
}

fn synced(paths: Vec<(&[u8], Action)>, latency: Option<Duration>) -> Event {
    let paths = paths.into_iter().map(|(bytes, action)| SyncedPath { path: path(bytes), action });
    Event::Synced(Synced {
        paths: paths.collect(),
        content_bytes: 4096,
        wire_bytes: 231,
        latency: latency.map(|total| Latency { total, ..Latency::default() }),
    })
}

#[test]
fn a_save_is_a_line() {
    let latency = Some(Duration::from_micros(620));
    check(
        &synced(vec![(b"src/main.rs", Action::Modified)], latency),
        Tone::Good,
        "modified src/main.rs  231 B  0.62 ms",
    );
    check(&synced(vec![(b"a", Action::Created)], latency), Tone::Good, "created a  231 B  0.62 ms");
    check(&synced(vec![(b"a", Action::Removed)], None), Tone::Good, "removed a  231 B");
    let moved = Action::Moved { from: path(b"old") };
    check(&synced(vec![(b"new", moved)], latency), Tone::Good, "moved old -> new  231 B  0.62 ms");
}

#[test]
fn what_came_from_the_destination_says_so() {
    let paths = vec![SyncedPath { path: path(b"a"), action: Action::Modified }];
    let latency = Some(Duration::from_micros(620));
    check(
        &Event::Received(Received { paths, content_bytes: 9, wire_bytes: 231, latency }),
        Tone::Good,
        "modified a  231 B  0.62 ms  from the destination",
    );
}

#[test]
fn a_halt_that_can_be_lifted_says_how() {
    let halted = |reason: &str| Event::Halted { reason: reason.to_owned() };
    check(&halted("root gone"), Tone::Bad, "halted: root gone");
    check(
        &halted("put it back, or allow the deletions"),
        Tone::Bad,
        "halted: put it back, or allow the deletions with `synctl resume`",
    );
}

#[test]
fn a_batch_is_summarised() {
    let latency = Some(Duration::from_millis(31));
    let same = synced(vec![(b"a", Action::Removed), (b"b", Action::Removed)], latency);
    check(&same, Tone::Good, "removed a and 1 more  231 B  31.0 ms");
    let mixed = synced(vec![(b"a", Action::Created), (b"b", Action::Removed), (b"c", Action::Created)], latency);
    check(&mixed, Tone::Good, "changed a and 2 more (2 created, 1 removed)  231 B  31.0 ms");
    let many = synced(vec![(b"a".as_slice(), Action::Created); 2000], None);
    check(&many, Tone::Good, "created a and 1,999 more  231 B");
    assert_eq!(line(&synced(vec![], None)), None);
}

#[test]
fn names_can_not_reach_the_terminal() {
    let event = synced(vec![(b"\x1b[2J\n\xff", Action::Moved { from: path(b"\x07") })], None);
    check(&event, Tone::Good, "moved \\u{7} -> \\u{1b}[2J\\n\\xff  231 B");
    let link = Entry::Symlink(Target::new(b"\x1b]0;x").unwrap());
    let conflict = Event::Conflict(Conflict { path: path(b"\x1b"), alpha: None, beta: Some(link), synced: None });
    assert!(!line(&conflict).unwrap().painted(false).contains('\x1b'));
}

#[test]
fn colour_is_for_the_head_alone() {
    let line = line(&synced(vec![(b"a", Action::Created)], None)).unwrap();
    assert_eq!(line.painted(true), "\x1b[32mcreated\x1b[0m a  231 B");
}

#[test]
fn connections_come_and_go() {
    check(&Event::Connecting { destination: "quic://a:1/w".into() }, Tone::Plain, "connecting to quic://a:1/w");
    check(&Event::Connected { round_trip: Duration::from_micros(210) }, Tone::Plain, "connected (round trip 0.21 ms)");
    let gone = |retry_in| Event::Disconnected { reason: "nobody answers at a:1".into(), stood: false, retry_in };
    check(
        &gone(Some(Duration::from_secs(2))),
        Tone::Attention,
        "not connected: nobody answers at a:1; trying again in 2.00 s",
    );
    check(&gone(None), Tone::Attention, "not connected: nobody answers at a:1");
}

#[test]
fn the_first_sync_has_its_figures() {
    let took = Duration::from_millis(1200);
    check(
        &Event::Scanned { files: 12_345, bytes: 39_100_000, took },
        Tone::Plain,
        "scanned 12,345 files, 39.1 MB, in 1.20 s",
    );
    check(&Event::Ready { files: 1, bytes: 0, took }, Tone::Good, "in sync: 1 file, 0 B, after 1.20 s");
    let progress = Progress { done: 10, total: 20, bytes_done: 1000, bytes_total: 2000 };
    assert_eq!(line(&Event::Progress(progress)), None);
    assert_eq!(progress_line(&progress), "progress: 10 of 20 files, 1.0 kB of 2.0 kB");
}

#[test]
fn every_problem_says_what_where_and_what_to_do() {
    let kinds = [
        ProblemKind::Denied,
        ProblemKind::UnsupportedKind,
        ProblemKind::NoSpace,
        ProblemKind::ReadOnly,
        ProblemKind::BadName,
        ProblemKind::NameCollision,
        ProblemKind::BadTarget,
        ProblemKind::TooLarge,
        ProblemKind::Exhausted,
        ProblemKind::Io,
        ProblemKind::Refused,
    ];
    for (kind, side) in kinds.into_iter().flat_map(|kind| [(kind, Side::Alpha), (kind, Side::Beta)]) {
        let (what, remedy) = words(kind, side);
        assert!(!what.is_empty() && remedy.len() > 10 && !remedy.ends_with('.'), "{kind:?}");
    }
    let problem = |kind, side, detail: &str, retried| {
        Event::Problem(PathProblem { side, path: path(b"var/log"), kind, detail: detail.into(), retried })
    };
    check(
        &problem(ProblemKind::NoSpace, Side::Beta, "os error 28", true),
        Tone::Attention,
        "problem: var/log at the destination is not synchronised: no space or no quota left (os error 28); what stood \
         there is intact; make room; it is tried again by itself",
    );
    check(
        &problem(ProblemKind::Denied, Side::Alpha, "", false),
        Tone::Attention,
        "problem: var/log at the source is not synchronised: permission denied; make it readable, or leave it out with \
         --ignore",
    );
    check(
        &Event::ProblemSolved { side: Side::Beta, path: path(b"a") },
        Tone::Good,
        "solved: a at the destination can be synchronised again",
    );
}

#[test]
fn conflicts_say_what_stands_where() {
    let file = |len, executable| Some(Entry::File { content: ContentId([0; 32]), len, executable });
    let conflict = |alpha, beta, synced| {
        line(&Event::Conflict(Conflict { path: path(b"a"), alpha, beta, synced })).unwrap().painted(false)
    };
    assert_eq!(
        conflict(file(1200, false), Some(Entry::Directory), file(3, false)),
        "conflict: a: a file of 1.2 kB at the source, a directory at the destination; both changed since they were in \
         sync; both are left alone; settle it with `synctl resolve PATH --keep alpha|beta|both`"
    );
    let shown = conflict(None, file(2, true), None);
    assert!(shown.contains("nothing at the source, an executable of 2 B at the destination"), "{shown}");
    assert!(conflict(file(1, false), None, None).contains("nothing at the destination"));
    check(&Event::ConflictSolved { path: path(b"a") }, Tone::Good, "solved: a is no longer in conflict");
}

/// Only who did change something is said to have.
#[test]
fn conflicts_say_who_changed() {
    let file = |len| Some(Entry::File { content: ContentId([0; 32]), len, executable: false });
    let check = |alpha, beta, synced, expected: &str| {
        let conflict = Event::Conflict(Conflict { path: path(b"a"), alpha, beta, synced });
        let shown = line(&conflict).unwrap().painted(false);
        assert!(shown.contains(&format!("; {expected}")), "{expected:?} is not in {shown:?}");
    };
    check(file(1), file(2), None, "as far as is known they never were in sync; both");
    check(file(1), file(2), file(1), "it was changed at the destination since they were in sync; both");
    check(None, file(2), file(1), "both changed since they were in sync; both");
    check(file(1), Some(Entry::Directory), Some(Entry::Directory), "it was changed at the source since");
}

#[test]
fn the_rest_is_told_with_its_weight() {
    let displaced = Event::Displaced { side: Side::Beta, path: path(b"a"), kept: path(b".synctl/displaced/1-a") };
    let text = line(&displaced).unwrap().painted(false);
    assert!(text.contains("kept") && text.contains(".synctl/displaced/1-a beneath the destination"), "{text}");
    check(&Event::Halted { reason: "the root is gone".into() }, Tone::Bad, "halted: the root is gone");
    let lost = "warning: 2 events not shown: more came than was read; the work itself went on";
    check(&Event::EventsLost { count: 2 }, Tone::Attention, lost);
    check(&Event::Resumed, Tone::Good, "resumed");
    check(&Event::Warning { message: "w".into() }, Tone::Attention, "warning: w");
    check(&Event::Stopped { reason: None }, Tone::Plain, "stopped");
    check(&Event::Stopped { reason: Some("r".into()) }, Tone::Bad, "stopped: r");
}

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::time::Duration;

use serde_json::{Value, json};
use sync_core::session::event::{Conflict, SyncedPath};
use sync_proto::{ContentId, Target};

use super::*;

fn path(bytes: &[u8]) -> SyncPath {
    SyncPath::parse(bytes).unwrap()
}

/// Checks the name and the fields of an event beside those that every line has.
#[track_caller]
fn check(event: &Event, name: &str, fields: Value) {
    let line = line(event, 1_700_000_000_123).unwrap();
    assert!(!line.contains('\n'), "{line}");
    let mut expected = json!({"version": 1, "event": name, "time_ms": 1_700_000_000_123_u64});
    expected.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), expected);
}

#[test]
fn a_line_begins_with_version_and_event() {
    let line = line(&Event::Resumed, 7).unwrap();
    assert_eq!(line, r#"{"version":1,"event":"resumed","time_ms":7}"#);
}

#[test]
fn connections() {
    check(
        &Event::Connecting { destination: "quic://a:1/w".into() },
        "connecting",
        json!({"destination": "quic://a:1/w"}),
    );
    check(&Event::Connected { round_trip: Duration::from_micros(210) }, "connected", json!({"round_trip_us": 210}));
    let gone = |retry_in| Event::Disconnected { reason: "nobody answers".into(), stood: false, retry_in };
    check(
        &gone(Some(Duration::from_millis(1500))),
        "disconnected",
        json!({"reason": "nobody answers", "retry_in_ms": 1500}),
    );
    check(&gone(None), "disconnected", json!({"reason": "nobody answers", "retry_in_ms": null}));
}

#[test]
fn the_first_sync() {
    let took = Duration::from_millis(310);
    let fields = json!({"files": 3, "bytes": 42, "took_us": 310_000});
    check(&Event::Scanned { files: 3, bytes: 42, took }, "scanned", fields.clone());
    check(&Event::Ready { files: 3, bytes: 42, took }, "ready", fields);
    check(
        &Event::Progress(Progress { done: 1, total: 2, bytes_done: 3, bytes_total: 4 }),
        "progress",
        json!({"files_done": 1, "files_total": 2, "bytes_done": 3, "bytes_total": 4}),
    );
}

#[test]
fn a_save() {
    let synced = |path: SyncPath, action| SyncedPath { path, action };
    let us = Duration::from_micros;
    let latency = Latency { detect: us(1), hash: us(2), send: us(3), apply: us(4), ack: us(5), total: us(15) };
    let event = Event::Synced(Synced {
        paths: vec![
            synced(path(b"src/a\n\"b.rs"), Action::Modified),
            synced(path(b"x\xff"), Action::Created),
            synced(path("Zoë".as_bytes()), Action::Removed),
            synced(path(b"to"), Action::Moved { from: path(b"from\xfe") }),
        ],
        content_bytes: 100,
        wire_bytes: 60,
        latency: Some(latency),
    });
    let fields = json!({
        "paths": [
            {"path": "src/a\n\"b.rs", "action": "modified"},
            {"path": "x\u{fffd}", "path_bytes_hex": "78ff", "action": "created"},
            {"path": "Zoë", "action": "removed"},
            {"path": "to", "action": "moved", "from": {"path": "from\u{fffd}", "path_bytes_hex": "66726f6dfe"}},
        ],
        "content_bytes": 100,
        "wire_bytes": 60,
        "latency_us": {"detect": 1, "hash": 2, "send": 3, "apply": 4, "ack": 5, "total": 15},
    });
    check(&event, "synced", fields);
    let bulk = Event::Synced(Synced { paths: vec![], content_bytes: 0, wire_bytes: 0, latency: None });
    check(&bulk, "synced", json!({"paths": [], "content_bytes": 0, "wire_bytes": 0, "latency_us": null}));
}

#[test]
fn problems() {
    let kinds = [
        (ProblemKind::Denied, "denied"),
        (ProblemKind::UnsupportedKind, "unsupported_kind"),
        (ProblemKind::NoSpace, "no_space"),
        (ProblemKind::ReadOnly, "read_only"),
        (ProblemKind::BadName, "bad_name"),
        (ProblemKind::NameCollision, "name_collision"),
        (ProblemKind::BadTarget, "bad_target"),
        (ProblemKind::TooLarge, "too_large"),
        (ProblemKind::Exhausted, "exhausted"),
        (ProblemKind::Io, "io"),
        (ProblemKind::Refused, "refused"),
    ];
    for (kind, name) in kinds {
        let event = Event::Problem(PathProblem {
            side: Side::Beta,
            path: SyncPath::root(),
            kind,
            detail: "os error 28".into(),
            retried: true,
        });
        let fields = json!({"side": "beta", "path": ".", "kind": name, "detail": "os error 28", "retried": true});
        check(&event, "problem", fields);
    }
    check(
        &Event::ProblemSolved { side: Side::Alpha, path: path(b"a") },
        "problem_solved",
        json!({"side": "alpha", "path": "a"}),
    );
}

#[test]
fn conflicts_and_what_a_race_displaced() {
    let file = Entry::File { content: ContentId([0xab; 32]), len: 9, executable: true };
    check(
        &Event::Conflict(Conflict { path: path(b"a"), alpha: Some(file), beta: None, synced: None }),
        "conflict",
        json!({
            "path": "a",
            "alpha": {"kind": "file", "content": "ab".repeat(32), "len": 9, "executable": true},
            "beta": null,
            "synced": null,
        }),
    );
    let link = Entry::Symlink(Target::new(b"t\xff").unwrap());
    check(
        &Event::Conflict(Conflict {
            path: path(b"a"),
            alpha: Some(Entry::Directory),
            beta: Some(link),
            synced: Some(Entry::Directory),
        }),
        "conflict",
        json!({
            "path": "a",
            "alpha": {"kind": "directory"},
            "beta": {"kind": "symlink", "target": "t\u{fffd}", "target_bytes_hex": "74ff"},
            "synced": {"kind": "directory"},
        }),
    );
    check(&Event::ConflictSolved { path: path(b"a") }, "conflict_solved", json!({"path": "a"}));
    check(
        &Event::Displaced { side: Side::Beta, path: path(b"a"), kept: path(b".synctl/displaced/1-a") },
        "displaced",
        json!({"side": "beta", "path": "a", "kept": {"path": ".synctl/displaced/1-a"}}),
    );
}

#[test]
fn what_came_from_beta() {
    let paths = vec![SyncedPath { path: path(b"new"), action: Action::Moved { from: path(b"old") } }];
    let latency = Some(Duration::from_micros(900));
    check(
        &Event::Received(Received { paths, content_bytes: 7, wire_bytes: 5, latency }),
        "received",
        json!({
            "paths": [{"path": "new", "action": "moved", "from": {"path": "old"}}],
            "content_bytes": 7, "wire_bytes": 5, "latency_us": 900,
        }),
    );
}

#[test]
fn halts_warnings_and_the_end() {
    check(&Event::Halted { reason: "root gone".into() }, "halted", json!({"reason": "root gone"}));
    check(&Event::Resumed, "resumed", json!({}));
    check(&Event::Warning { message: "few watches".into() }, "warning", json!({"message": "few watches"}));
    check(&Event::EventsLost { count: 3 }, "events_lost", json!({"count": 3}));
    check(&Event::Stopped { reason: None }, "stopped", json!({"reason": null}));
    check(&Event::Stopped { reason: Some("r".into()) }, "stopped", json!({"reason": "r"}));
}

/// Every event and every field is written down.
#[test]
fn the_format_is_documented() {
    let text = include_str!("../../../../docs/json.md");
    let names = [
        "connecting",
        "connected",
        "disconnected",
        "scanned",
        "progress",
        "ready",
        "synced",
        "problem",
        "problem_solved",
        "conflict",
        "conflict_solved",
        "displaced",
        "halted",
        "resumed",
        "warning",
        "events_lost",
        "stopped",
        "path_bytes_hex",
        "target_bytes_hex",
        "content_bytes",
        "wire_bytes",
        "latency_us",
        "detect",
        "hash",
        "send",
        "apply",
        "ack",
        "total",
        "files_done",
        "files_total",
        "bytes_done",
        "bytes_total",
        "round_trip_us",
        "retry_in_ms",
        "took_us",
        "time_ms",
        "version",
        "executable",
        "retried",
        "kept",
        "unsupported_kind",
        "name_collision",
        "exhausted",
    ];
    for name in names {
        assert!(text.contains(&format!("`{name}`")), "docs/json.md does not say what `{name}` is");
    }
}

//! Events as JSON, one object a line. `docs/json.md` says every field; a change there that could break a reader raises
//! [`VERSION`], an added field or event does not.

use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sync_core::session::event::{
    Action, Conflict, ConflictVersions, Event, Latency, PathProblem, Progress, Received, Side, Synced, SyncedPath,
    Version,
};
use sync_proto::{Entry, SyncPath, message::ProblemKind};

/// The version of the format.
pub(crate) const VERSION: u32 = 1;

/// What every line has.
#[derive(Debug, Serialize)]
struct Line<'a> {
    version: u32,
    event: &'static str,
    time_ms: u64,
    #[serde(flatten)]
    body: Body<'a>,
}

/// What the lines of one event have.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Body<'a> {
    Connecting {
        destination: &'a str,
    },
    Connected {
        round_trip_us: u64,
    },
    Disconnected {
        reason: &'a str,
        retry_in_ms: Option<u64>,
    },
    Files {
        files: u64,
        bytes: u64,
        took_us: u64,
    },
    Progress {
        files_done: u64,
        files_total: u64,
        bytes_done: u64,
        bytes_total: u64,
    },
    Synced(SyncedBody),
    Received(ReceivedBody),
    Problem(ProblemBody),
    ProblemSolved {
        side: &'static str,
        #[serde(flatten)]
        path: PathBody,
    },
    Conflict(ConflictBody),
    Path(PathBody),
    Displaced {
        side: &'static str,
        #[serde(flatten)]
        path: PathBody,
        kept: PathBody,
    },
    Halted {
        reason: &'a str,
    },
    Warning {
        message: &'a str,
    },
    EventsLost {
        count: u64,
    },
    Stopped {
        reason: Option<&'a str>,
    },
    Nothing {},
}

/// A path: text, and its bytes where the text could not hold them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PathBody {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_bytes_hex: Option<String>,
}

#[derive(Debug, Serialize)]
struct SyncedBody {
    paths: Vec<SyncedPathBody>,
    content_bytes: u64,
    wire_bytes: u64,
    latency_us: Option<LatencyBody>,
}

#[derive(Debug, Serialize)]
struct ReceivedBody {
    paths: Vec<SyncedPathBody>,
    content_bytes: u64,
    wire_bytes: u64,
    latency_us: Option<u64>,
}

#[derive(Debug, Serialize)]
struct SyncedPathBody {
    #[serde(flatten)]
    path: PathBody,
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<PathBody>,
}

#[derive(Debug, Serialize)]
struct LatencyBody {
    detect: u64,
    hash: u64,
    send: u64,
    apply: u64,
    ack: u64,
    total: u64,
}

/// A path that can't be synchronised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProblemBody {
    pub(crate) side: String,
    #[serde(flatten)]
    pub(crate) path: PathBody,
    pub(crate) kind: String,
    pub(crate) detail: String,
    pub(crate) retried: bool,
}

/// A path that both sides changed, differently.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ConflictBody {
    #[serde(flatten)]
    pub(crate) path: PathBody,
    pub(crate) alpha: Option<EntryBody>,
    pub(crate) beta: Option<EntryBody>,
    pub(crate) synced: Option<EntryBody>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) alpha_modified_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) beta_modified_ms: Option<u64>,
}

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum EntryBody {
    Directory,
    File {
        content: String,
        len: u64,
        executable: bool,
    },
    Symlink {
        target: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        target_bytes_hex: Option<String>,
    },
}

/// The line of an event that happened `time_ms` after the epoch, without its line end. `None` for an event that is
/// newer than this program.
pub(crate) fn line(event: &Event, time_ms: u64) -> Option<String> {
    let (event, body) = named(event)?;
    Some(object(&Line { version: VERSION, event, time_ms, body }))
}

/// JSON text. The types here have string keys and no failing `Serialize`, so there is nothing that can go wrong.
pub(crate) fn object<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("plain structs with string keys always serialise")
}

fn named(event: &Event) -> Option<(&'static str, Body<'_>)> {
    Some(match event {
        Event::Connecting { destination } => ("connecting", Body::Connecting { destination }),
        Event::Connected { round_trip } => ("connected", Body::Connected { round_trip_us: micros(*round_trip) }),
        Event::Disconnected { reason, retry_in, .. } => {
            ("disconnected", Body::Disconnected { reason, retry_in_ms: retry_in.map(millis) })
        }
        Event::Scanned { files, bytes, took } => ("scanned", files_body(*files, *bytes, *took)),
        Event::Progress(progress) => ("progress", progress_body(progress)),
        Event::Ready { files, bytes, took } => ("ready", files_body(*files, *bytes, *took)),
        Event::Synced(synced) => ("synced", Body::Synced(synced.into())),
        Event::Problem(problem) => ("problem", Body::Problem(problem.into())),
        Event::ProblemSolved { side, path } => {
            ("problem_solved", Body::ProblemSolved { side: side_name(*side), path: path.into() })
        }
        Event::Conflict(conflict) => ("conflict", Body::Conflict(conflict.into())),
        Event::ConflictSolved { path } => ("conflict_solved", Body::Path(path.into())),
        Event::Received(received) => ("received", Body::Received(received.into())),
        Event::Displaced { side, path, kept } => {
            ("displaced", Body::Displaced { side: side_name(*side), path: path.into(), kept: kept.into() })
        }
        Event::Halted { reason } => ("halted", Body::Halted { reason }),
        Event::Resumed => ("resumed", Body::Nothing {}),
        Event::Warning { message } => ("warning", Body::Warning { message }),
        Event::EventsLost { count } => ("events_lost", Body::EventsLost { count: *count }),
        Event::Stopped { reason } => ("stopped", Body::Stopped { reason: reason.as_deref() }),
        _ => return None,
    })
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes as text, and in hexadecimal where they are not UTF-8.
fn text_and_hex(bytes: &[u8]) -> (String, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (text.to_owned(), None),
        Err(_) => (String::from_utf8_lossy(bytes).into_owned(), Some(hex(bytes))),
    }
}

fn files_body(files: u64, bytes: u64, took: Duration) -> Body<'static> {
    Body::Files { files, bytes, took_us: micros(took) }
}

fn progress_body(progress: &Progress) -> Body<'static> {
    let Progress { done, total, bytes_done, bytes_total } = *progress;
    Body::Progress { files_done: done, files_total: total, bytes_done, bytes_total }
}

pub(crate) fn side_name(side: Side) -> &'static str {
    match side {
        Side::Alpha => "alpha",
        Side::Beta => "beta",
    }
}

fn kind_name(kind: ProblemKind) -> &'static str {
    match kind {
        ProblemKind::Denied => "denied",
        ProblemKind::UnsupportedKind => "unsupported_kind",
        ProblemKind::NoSpace => "no_space",
        ProblemKind::ReadOnly => "read_only",
        ProblemKind::BadName => "bad_name",
        ProblemKind::NameCollision => "name_collision",
        ProblemKind::BadTarget => "bad_target",
        ProblemKind::TooLarge => "too_large",
        ProblemKind::Exhausted => "exhausted",
        ProblemKind::Io => "io",
        ProblemKind::Refused => "refused",
    }
}

impl From<&SyncPath> for PathBody {
    fn from(path: &SyncPath) -> Self {
        let (path, path_bytes_hex) = text_and_hex(if path.is_root() { b"." } else { path.as_bytes() });
        Self { path, path_bytes_hex }
    }
}

impl From<&Synced> for SyncedBody {
    fn from(synced: &Synced) -> Self {
        Self {
            paths: synced.paths.iter().map(Into::into).collect(),
            content_bytes: synced.content_bytes,
            wire_bytes: synced.wire_bytes,
            latency_us: synced.latency.map(Into::into),
        }
    }
}

impl From<&Received> for ReceivedBody {
    fn from(received: &Received) -> Self {
        Self {
            paths: received.paths.iter().map(Into::into).collect(),
            content_bytes: received.content_bytes,
            wire_bytes: received.wire_bytes,
            latency_us: received.latency.map(micros),
        }
    }
}

impl From<&SyncedPath> for SyncedPathBody {
    fn from(synced: &SyncedPath) -> Self {
        let (action, from) = match &synced.action {
            Action::Created => ("created", None),
            Action::Modified => ("modified", None),
            Action::Removed => ("removed", None),
            Action::Moved { from } => ("moved", Some(from.into())),
        };
        Self { path: (&synced.path).into(), action, from }
    }
}

impl From<Latency> for LatencyBody {
    fn from(latency: Latency) -> Self {
        Self {
            detect: micros(latency.detect),
            hash: micros(latency.hash),
            send: micros(latency.send),
            apply: micros(latency.apply),
            ack: micros(latency.ack),
            total: micros(latency.total),
        }
    }
}

impl PathBody {
    /// The path, safe to show.
    pub(crate) fn shown(&self) -> String {
        sync_proto::escape::Escaped(self.path.as_bytes()).to_string()
    }
}

impl From<&Conflict> for ConflictBody {
    fn from(conflict: &Conflict) -> Self {
        Self {
            path: (&conflict.path).into(),
            alpha: conflict.alpha.as_ref().map(Into::into),
            beta: conflict.beta.as_ref().map(Into::into),
            synced: conflict.synced.as_ref().map(Into::into),
            alpha_modified_ms: None,
            beta_modified_ms: None,
        }
    }
}

impl ConflictBody {
    /// Adds since when the two versions are there, where that is known.
    pub(crate) fn date(&mut self, versions: &[ConflictVersions]) {
        let Some(versions) = versions.iter().find(|versions| PathBody::from(&versions.path) == self.path) else {
            return;
        };
        let modified = |version: &Option<Version>, shown: &Option<EntryBody>| {
            let version = version.as_ref().filter(|version| Some(EntryBody::from(&version.entry)) == *shown)?;
            let since = version.modified?.duration_since(UNIX_EPOCH).ok()?;
            Some(millis(since))
        };
        self.alpha_modified_ms = modified(&versions.alpha, &self.alpha);
        self.beta_modified_ms = modified(&versions.beta, &self.beta);
    }
}

impl From<&PathProblem> for ProblemBody {
    fn from(problem: &PathProblem) -> Self {
        Self {
            side: side_name(problem.side).to_owned(),
            path: (&problem.path).into(),
            kind: kind_name(problem.kind).to_owned(),
            detail: problem.detail.clone(),
            retried: problem.retried,
        }
    }
}

impl From<&Entry> for EntryBody {
    fn from(entry: &Entry) -> Self {
        match entry {
            Entry::Directory => Self::Directory,
            Entry::File { content, len, executable } => {
                Self::File { content: hex(&content.0), len: *len, executable: *executable }
            }
            Entry::Symlink(target) => {
                let (target, target_bytes_hex) = text_and_hex(target.as_bytes());
                Self::Symlink { target, target_bytes_hex }
            }
        }
    }
}

#[cfg(test)]
mod tests;

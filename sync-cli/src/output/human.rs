//! Events as lines for people: what happened, to what, and what to do.
//!
//! Pure. Paths and peer text are escaped by their `Display`; what comes as a `String` in an event is escaped already.

use std::{
    fmt::Write as _,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use sync_core::session::event::{Action, Conflict, Event, PathProblem, Progress, Side, SyncedPath};
use sync_proto::{Entry, message::ProblemKind};

use super::json::{ConflictBody, EntryBody, ProblemBody};
use super::units::{age as age_in_words, bytes, count, counted, duration};

/// How much a line matters. `--quiet` shows [`Tone::Attention`] and above.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tone {
    /// What is going on.
    Plain,
    /// What has been done.
    Good,
    /// What a person should look at.
    Attention,
    /// What does not go on without a person.
    Bad,
}

/// One line: a word or two that say what it is, and the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) tone: Tone,
    head: &'static str,
    rest: String,
}

impl Line {
    fn new(event: &Event, head: &'static str, rest: impl Into<String>) -> Option<Self> {
        Some(Self { tone: tone(event), head, rest: rest.into() })
    }

    /// The line, with its head in colour where `color`.
    pub(crate) fn painted(&self, color: bool) -> String {
        let code = match self.tone {
            Tone::Plain => "2",
            Tone::Good => "32",
            Tone::Attention => "33",
            Tone::Bad => "1;31",
        };
        let gap = if self.rest.is_empty() { "" } else { " " };
        match color {
            true => format!("\x1b[{code}m{}\x1b[0m{gap}{}", self.head, self.rest),
            false => format!("{}{gap}{}", self.head, self.rest),
        }
    }
}

/// How much an event matters.
pub(crate) fn tone(event: &Event) -> Tone {
    match event {
        Event::Synced(_) | Event::Received(_) | Event::Ready { .. } | Event::Resumed => Tone::Good,
        Event::ProblemSolved { .. } | Event::ConflictSolved { .. } => Tone::Good,
        Event::Problem(_) | Event::Conflict(_) | Event::Displaced { .. } => Tone::Attention,
        Event::Disconnected { .. } | Event::Warning { .. } | Event::EventsLost { .. } => Tone::Attention,
        Event::Halted { .. } | Event::Stopped { reason: Some(_) } => Tone::Bad,
        _ => Tone::Plain,
    }
}

/// Whether no progress is to be expected after the event.
pub(crate) fn ends_progress(event: &Event) -> bool {
    matches!(event, Event::Ready { .. } | Event::Disconnected { .. } | Event::Halted { .. } | Event::Stopped { .. })
}

/// The line of an event; `None` for progress and for events that are newer than this program.
pub(crate) fn line(event: &Event) -> Option<Line> {
    match event {
        Event::Connecting { destination } => Line::new(event, "connecting", format!("to {destination}")),
        Event::Connected { round_trip } => {
            Line::new(event, "connected", format!("(round trip {})", duration(*round_trip)))
        }
        Event::Disconnected { reason, retry_in, .. } => {
            let again = retry_in.map_or_else(String::new, |wait| format!("; trying again in {}", duration(wait)));
            Line::new(event, "not connected:", format!("{reason}{again}"))
        }
        Event::Scanned { files, bytes: size, took } => Line::new(
            event,
            "scanned",
            format!("{}, {}, in {}", counted(*files, "file"), bytes(*size), duration(*took)),
        ),
        Event::Progress(_) => None,
        Event::Ready { files, bytes: size, took } => Line::new(
            event,
            "in sync:",
            format!("{}, {}, after {}", counted(*files, "file"), bytes(*size), duration(*took)),
        ),
        Event::Synced(synced) => {
            let latency = synced.latency.map(|latency| latency.total);
            Line::new(event, verb(&synced.paths)?, done_rest(&synced.paths, synced.wire_bytes, latency))
        }
        Event::Received(received) => {
            let rest = done_rest(&received.paths, received.wire_bytes, received.latency);
            Line::new(event, verb(&received.paths)?, format!("{rest}  from the destination"))
        }
        Event::Problem(problem) => Line::new(event, "problem:", problem_rest(problem)),
        Event::ProblemSolved { side, path } => {
            Line::new(event, "solved:", format!("{path} {} can be synchronised again", at(*side)))
        }
        Event::Conflict(conflict) => Line::new(event, "conflict:", conflict_rest(conflict)),
        Event::ConflictSolved { path } => Line::new(event, "solved:", format!("{path} is no longer in conflict")),
        Event::Displaced { side, path, kept } => {
            let root = root_name(*side);
            Line::new(
                event,
                "displaced:",
                format!(
                    "{path} was written at the {root} by someone else at the same moment; what stood there is kept as \
                     {kept} beneath the {root}: take from it what you need, then delete it"
                ),
            )
        }
        Event::Halted { reason } => {
            let way_on = if reason.ends_with("allow the deletions") { " with `synctl resume`" } else { "" };
            Line::new(event, "halted:", format!("{reason}{way_on}"))
        }
        Event::Resumed => Line::new(event, "resumed", ""),
        Event::Warning { message } => Line::new(event, "warning:", message),
        Event::EventsLost { count } => Line::new(
            event,
            "warning:",
            format!("{} not shown: more came than was read; the work itself went on", counted(*count, "event")),
        ),
        Event::Stopped { reason: Some(reason) } => Line::new(event, "stopped:", reason),
        Event::Stopped { reason: None } => Line::new(event, "stopped", ""),
        _ => None,
    }
}

/// How far the work has got, for where there is no bar.
pub(crate) fn progress_line(progress: &Progress) -> String {
    let Progress { done, total, bytes_done, bytes_total } = *progress;
    format!("progress: {} of {}, {} of {}", count(done), counted(total, "file"), bytes(bytes_done), bytes(bytes_total))
}

fn action_verb(path: &SyncedPath) -> &'static str {
    match path.action {
        Action::Created => "created",
        Action::Modified => "modified",
        Action::Removed => "removed",
        Action::Moved { .. } => "moved",
    }
}

/// What was done, where the same was done to all paths; else a word for all of it. `None`: nothing was done.
fn verb(paths: &[SyncedPath]) -> Option<&'static str> {
    let (first, rest) = paths.split_first()?;
    let verb = action_verb(first);
    Some(if rest.iter().all(|path| action_verb(path) == verb) { verb } else { "changed" })
}

fn done_rest(paths: &[SyncedPath], wire_bytes: u64, latency: Option<Duration>) -> String {
    let mut text = String::new();
    let Some((first, more)) = paths.split_first() else { return text };
    // Writing to a `String` can't fail.
    let _ = match &first.action {
        Action::Moved { from } => write!(text, "{from} -> {}", first.path),
        Action::Created | Action::Modified | Action::Removed => write!(text, "{}", first.path),
    };
    if !more.is_empty() {
        let _ = write!(text, " and {} more", count(more.len() as u64));
        if verb(paths) == Some("changed") {
            let _ = write!(text, " ({})", tally(paths));
        }
    }
    let _ = write!(text, "  {}", bytes(wire_bytes));
    if let Some(latency) = latency {
        let _ = write!(text, "  {}", duration(latency));
    }
    text
}

/// `2 created, 1 removed`.
fn tally(paths: &[SyncedPath]) -> String {
    let of = |verb: &str| {
        let number = paths.iter().filter(|path| action_verb(path) == verb).count();
        (number > 0).then(|| format!("{} {verb}", count(number as u64)))
    };
    ["created", "modified", "removed", "moved"].into_iter().filter_map(of).collect::<Vec<_>>().join(", ")
}

fn root_name(side: Side) -> &'static str {
    match side {
        Side::Alpha => "source",
        Side::Beta => "destination",
    }
}

fn at(side: Side) -> &'static str {
    match side {
        Side::Alpha => "at the source",
        Side::Beta => "at the destination",
    }
}

fn problem_rest(problem: &PathProblem) -> String {
    let (what, remedy) = words(problem.kind, problem.side);
    let detail = if problem.detail.is_empty() { String::new() } else { format!(" ({})", problem.detail) };
    let again = if problem.retried { "; it is tried again by itself" } else { "" };
    format!("{} {} is not synchronised: {what}{detail}; {remedy}{again}", problem.path, at(problem.side))
}

/// What a problem is, and what to do about it.
fn words(kind: ProblemKind, side: Side) -> (&'static str, &'static str) {
    match (kind, side) {
        (ProblemKind::Denied, Side::Alpha) => ("permission denied", "make it readable, or leave it out with --ignore"),
        (ProblemKind::Denied, Side::Beta) => ("permission denied", "let the agent's user write there"),
        (ProblemKind::UnsupportedKind, _) => (
            "not a file, directory or symlink",
            "a fifo, socket or device stays where it is; leave it out with --ignore",
        ),
        (ProblemKind::NoSpace, _) => ("no space or no quota left", "what stood there is intact; make room"),
        (ProblemKind::ReadOnly, _) => ("the file system is read-only", "mount it writable"),
        (ProblemKind::BadName, _) => {
            ("the other side can't hold this name", "rename it, or leave it out with --ignore")
        }
        (ProblemKind::NameCollision, _) => {
            ("another name differs from it by case or Unicode form alone", "rename one of them")
        }
        (ProblemKind::BadTarget, _) => {
            ("a symlink that the other side can't hold", "change its target, or leave it out with --ignore")
        }
        (ProblemKind::TooLarge, _) => ("larger than 1 TiB", "leave it out with --ignore"),
        (ProblemKind::Exhausted, _) => ("out of file descriptors or memory", "raise the limit (ulimit -n)"),
        (ProblemKind::Refused, _) => ("its name is protected", "`synctl ignored` lists such names"),
        (ProblemKind::Io, _) => ("the file system failed", "look at the disk, or at the system's log"),
    }
}

fn conflict_rest(conflict: &Conflict) -> String {
    let remedy = match (&conflict.alpha, &conflict.beta) {
        (Some(_), None) => "to have it at the destination again, save it at the source",
        (None, _) => "to keep it, copy it to the source; to be rid of it, delete it at the destination",
        (Some(_), Some(_)) => "settle it with `synctl resolve PATH --keep alpha|beta|both`",
    };
    format!(
        "{}: {} at the source, {} at the destination; {}; both are left alone; {remedy}",
        conflict.path,
        entry(conflict.alpha.as_ref()),
        entry(conflict.beta.as_ref()),
        who_changed(conflict),
    )
}

/// A conflict that another process has told, in one line.
pub(crate) fn conflict_in_brief(conflict: &ConflictBody, now: SystemTime) -> String {
    let what = |entry: &Option<EntryBody>| match entry {
        None => "nothing".to_owned(),
        Some(EntryBody::Directory) => "a directory".to_owned(),
        Some(EntryBody::File { len, executable: false, .. }) => format!("a file of {}", bytes(*len)),
        Some(EntryBody::File { len, executable: true, .. }) => format!("an executable of {}", bytes(*len)),
        Some(EntryBody::Symlink { target, .. }) => {
            format!("a symlink to {}", sync_proto::escape::Escaped(target.as_bytes()))
        }
    };
    let since = |modified_ms: Option<u64>| {
        let modified = modified_ms.and_then(|since| UNIX_EPOCH.checked_add(Duration::from_millis(since)));
        let age = modified.map(|modified| now.duration_since(modified).unwrap_or_default());
        age.map_or_else(String::new, |age| format!(", {} ago", age_in_words(age)))
    };
    let ConflictBody { path, alpha, beta, alpha_modified_ms, beta_modified_ms, .. } = conflict;
    format!(
        "{}: {}{} at the source, {}{} at the destination",
        path.shown(),
        what(alpha),
        since(*alpha_modified_ms),
        what(beta),
        since(*beta_modified_ms)
    )
}

/// A problem that another process has told, in one line. Its detail is escaped already.
pub(crate) fn problem_in_brief(problem: &ProblemBody) -> String {
    let ProblemBody { side, path, kind, detail, retried } = problem;
    let again = if *retried { "; it is tried again by itself" } else { "" };
    format!("{} at {side} is not synchronised: {} ({detail}){again}", path.shown(), kind.replace('_', " "))
}

/// What has happened since both sides were in sync, as far as it is known.
fn who_changed(conflict: &Conflict) -> &'static str {
    let Conflict { alpha, beta, synced, .. } = conflict;
    match (alpha == synced, beta == synced) {
        _ if synced.is_none() => "as far as is known they never were in sync",
        (true, _) => "it was changed at the destination since they were in sync",
        // Then the destination's own change is beneath: here it has a directory, as before.
        (false, true) => {
            "it was changed at the source since they were in sync, and at the destination there is something that was \
             changed there or is ignored"
        }
        (false, false) => "both changed since they were in sync",
    }
}

fn entry(entry: Option<&Entry>) -> String {
    match entry {
        None => "nothing".to_owned(),
        Some(Entry::Directory) => "a directory".to_owned(),
        Some(Entry::File { len, executable: false, .. }) => format!("a file of {}", bytes(*len)),
        Some(Entry::File { len, executable: true, .. }) => format!("an executable of {}", bytes(*len)),
        Some(Entry::Symlink(target)) => format!("a symlink to {target}"),
    }
}

#[cfg(test)]
mod tests;

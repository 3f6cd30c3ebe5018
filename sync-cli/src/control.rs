//! How other `synctl` commands reach a session that runs in another process: a Unix socket beneath the state directory.
//!
//! A connection carries one question and one answer, each one line of JSON of at most [`LINE_BYTES_MAX`] bytes. Who may
//! connect is decided by the directory, which is the user's alone (0700). A socket lives as long as its session; one that a
//! crash has left is removed by the next command that finds nobody there.
//!
//! Nothing else depends on it: a session whose socket can't be made goes on without.

mod client;
mod server;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sync_proto::SyncPath;

pub(crate) use self::{client::ask_all, server::Server};
use crate::output::json::{ConflictBody, PathBody, ProblemBody};

/// Longest line, in bytes. An answer that would be longer is cut in its lists, which say so by their counts.
const LINE_BYTES_MAX: usize = 4 << 20;
/// Most conflicts, and most problems, that an answer names.
const NAMED_MAX: usize = 4096;

/// What a command asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Question {
    /// Only a session whose source is this directory, or has it beneath, is meant: an absolute path without links, in
    /// hexadecimal. Without it every session is.
    pub(crate) within: Option<String>,
    #[serde(flatten)]
    pub(crate) request: Request,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub(crate) enum Request {
    /// How does it stand?
    Status,
    /// Wait until everything that is on disk now has been applied at the other side.
    Flush,
    /// How does it stand, with both versions of each conflict?
    Conflicts,
    /// Where is its source?
    Where,
    /// Settle the conflicts at and beneath a path, which is beneath the root and in hexadecimal.
    Resolve {
        /// Where.
        path: String,
        /// Which version stays.
        keep: Keep,
    },
    /// Let the deletions go for which it is halted.
    Resume,
}

/// Which version of a conflict stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Keep {
    /// The source's.
    Alpha,
    /// The destination's.
    Beta,
    /// Both, the destination's under another name.
    Both,
}

/// What a session answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// The version of the JSON output.
    pub(crate) version: u32,
    /// The process that runs the session.
    pub(crate) pid: u32,
    /// Its source, as text.
    pub(crate) source: String,
    /// Its destination, as it was given.
    pub(crate) destination: String,
    #[serde(flatten)]
    pub(crate) result: Answered,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub(crate) enum Answered {
    /// It was not meant.
    Elsewhere,
    /// How it stands.
    Status(StatusBody),
    /// Where its source is.
    Root {
        /// The path, in hexadecimal.
        path_hex: String,
    },
    /// All has been applied.
    Flushed,
    /// All but these.
    Incomplete {
        /// How many conflicts remain.
        conflicts: usize,
        /// How many problems remain.
        problems: usize,
    },
    /// These were conflicts; some may be left alone, because a version has changed.
    Resolved {
        /// What has come of each.
        paths: Vec<ResolvedBody>,
    },
    /// The deletions may go.
    Resumed,
    /// It could not be done.
    Failed {
        /// Why.
        reason: String,
    },
}

/// What has come of settling a conflict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ResolvedBody {
    #[serde(flatten)]
    pub(crate) path: PathBody,
    /// Why it is not settled.
    pub(crate) reason: Option<String>,
}

/// How a session stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StatusBody {
    pub(crate) connected: bool,
    pub(crate) in_sync: bool,
    pub(crate) halted: Option<String>,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) operations_left: u64,
    pub(crate) bytes_left: u64,
    pub(crate) conflicts_total: usize,
    pub(crate) conflicts: Vec<ConflictBody>,
    pub(crate) problems_total: usize,
    pub(crate) problems: Vec<ProblemBody>,
}

/// Where the sockets are.
fn directory(state_dir: &Path) -> PathBuf {
    state_dir.join("running")
}

/// A path as it travels.
pub(crate) fn path_to_hex(path: &Path) -> String {
    path.as_os_str().as_encoded_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A path beneath the root, as it travels.
pub(crate) fn sync_path_to_hex(path: &SyncPath) -> String {
    path.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The path that [`path_to_hex`] was given.
pub(crate) fn path_from_hex_bytes(text: &str) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    Some(PathBuf::from(std::ffi::OsString::from_vec(bytes_from_hex(text)?)))
}

fn path_from_hex(text: &str) -> Option<SyncPath> {
    let bytes = bytes_from_hex(text)?;
    if bytes.is_empty() { Some(SyncPath::root()) } else { SyncPath::parse(&bytes).ok() }
}

fn bytes_from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
    digits.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect()
}

impl From<Keep> for sync_core::engine::Keep {
    fn from(keep: Keep) -> Self {
        match keep {
            Keep::Alpha => Self::Alpha,
            Keep::Beta => Self::Beta,
            Keep::Both => Self::Both,
        }
    }
}

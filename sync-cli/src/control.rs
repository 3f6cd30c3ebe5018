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

pub(crate) use self::{client::ask_all, server::Server};
use crate::output::json::{ConflictBody, ProblemBody};

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
    /// All has been applied.
    Flushed,
    /// All but these.
    Incomplete {
        /// How many conflicts remain.
        conflicts: usize,
        /// How many problems remain.
        problems: usize,
    },
    /// It could not be done.
    Failed {
        /// Why.
        reason: String,
    },
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

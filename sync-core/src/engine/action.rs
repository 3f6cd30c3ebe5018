//! What comes out of the engine.

use sync_proto::{
    Entry, SyncPath,
    message::{BatchId, Problem},
};

use super::plan::{Planned, PlannedStream};
use crate::tree::{Node, Stamp};

/// A path of *synced* that has changed, and what stands there now, with alpha's stamp where alpha has the same.
pub type Recorded = (SyncPath, Option<(Node, Option<Stamp>)>);

/// Something to be done by whoever drives the engine.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Ask beta for these directories.
    Request(Vec<SyncPath>),
    /// Send a batch.
    Send {
        /// Its number.
        id: BatchId,
        /// Whether it goes ahead of all bulk, on the control stream; else in order on the bundle stream.
        urgent: bool,
        /// What it is to do.
        operations: Vec<Planned>,
    },
    /// Stream a file.
    Stream {
        /// Its number.
        id: BatchId,
        /// Which file.
        stream: PlannedStream,
    },
    /// *synced* has changed: keep it.
    Record(Vec<Recorded>),
    /// Tell the user.
    Report(Report),
}

/// Something a user may want to know.
#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    /// A batch was answered; these of its operations were applied.
    Applied {
        /// Which.
        id: BatchId,
        /// What was done.
        operations: Vec<Planned>,
    },
    /// An operation failed.
    Failed {
        /// Why.
        problem: Problem,
        /// Whether it is tried again by itself.
        retried: bool,
    },
    /// A path that had failed has gone through, or is no longer wanted.
    Solved(SyncPath),
    /// A conflict came up, or looks different now.
    Conflict {
        /// Where.
        path: SyncPath,
        /// What alpha has.
        alpha: Option<Entry>,
        /// What beta has.
        beta: Option<Entry>,
    },
    /// A conflict is gone.
    ConflictSolved(SyncPath),
    /// What a race had put at `path` was displaced by our write, and is kept.
    Displaced {
        /// Where.
        path: SyncPath,
        /// Where it is kept, beneath beta's root.
        kept: SyncPath,
    },
    /// Everything known has been done. Said once each time.
    InSync,
    /// Nothing is done any more, and why.
    Halted(String),
    /// The reason for halting is gone.
    Resumed,
}

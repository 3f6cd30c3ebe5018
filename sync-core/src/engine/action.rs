//! What comes out of the engine.

use sync_proto::{
    Entry, SyncPath,
    message::{BatchId, Problem},
};

use super::{
    doubtful::Intent,
    plan::{Planned, PlannedStream},
};
use crate::tree::{Node, Stamp};

/// A path of *synced* that has changed, and what stands there now, with alpha's stamp where alpha has the same.
pub type Recorded = (SyncPath, Option<(Node, Option<Stamp>)>);

/// Something to be done by whoever drives the engine.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Ask beta for these directories.
    Request(Vec<SyncPath>),
    /// Keep in mind beyond the end of this process what is about to be sent: its `Send` or `Stream` comes next. Should
    /// this process be killed before the answer has been recorded, the next one is told by [`super::Past`].
    Intend {
        /// The number under which it is sent.
        id: BatchId,
        /// What it comes to.
        intents: Vec<Intent>,
    },
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
    /// What was intended under this number is in doubt no more: it was answered, and what came of it is recorded, or it
    /// was never sent.
    Answered(BatchId),
    /// Nothing that was ever intended is in doubt any more.
    Settled,
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

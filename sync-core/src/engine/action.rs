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
    /// Do these at alpha; the content of what is [`Source::Sender`](super::plan::Source::Sender) or whole comes from beta.
    /// Answered by [`Engine::handle_taken`](super::Engine::handle_taken) and
    /// [`Engine::handle_unfetched`](super::Engine::handle_unfetched).
    Take {
        /// Its number.
        id: BatchId,
        /// Whether it goes ahead of all bulk.
        urgent: bool,
        /// What is to be done.
        operations: Vec<Planned>,
    },
    /// The same for one large file, which beta streams.
    TakeStream {
        /// Its number.
        id: BatchId,
        /// Which file.
        stream: PlannedStream,
    },
    /// Ask beta what stands at these very paths on its disk, ignored or not. Answered by
    /// [`Engine::handle_described`](super::Engine::handle_described).
    Describe {
        /// Its number.
        id: BatchId,
        /// Which paths.
        paths: Vec<SyncPath>,
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

/// Which side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Where the session runs.
    Alpha,
    /// The agent's.
    Beta,
}

impl Side {
    /// The one over there.
    pub fn other(self) -> Self {
        match self {
            Self::Alpha => Self::Beta,
            Self::Beta => Self::Alpha,
        }
    }
}

/// Which version of a conflict stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Alpha's: beta's gives way.
    Alpha,
    /// Beta's: alpha's gives way.
    Beta,
    /// Both: beta's is moved aside, to a name beside it.
    Both,
}

/// Why a conflict was not settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotSettled {
    /// There is none, or it looks different now.
    #[error("there is no conflict at this path")]
    NoConflict,
    /// Nothing of beta's comes to alpha in this mode.
    #[error("nothing comes to the source in a one-way mode: keep the source's version or both")]
    OneWay,
    /// No free name was found beside it.
    #[error("no free name was found for the version that is to be moved aside")]
    NoName,
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
    /// Alpha answered a [`Action::Take`]; these of its operations were applied there.
    Taken {
        /// Which.
        id: BatchId,
        /// What was done.
        operations: Vec<Planned>,
    },
    /// An operation failed.
    Failed {
        /// Where it was to be done.
        side: Side,
        /// Why.
        problem: Problem,
        /// Whether it is tried again by itself.
        retried: bool,
    },
    /// A path that had failed has gone through, or is no longer wanted.
    Solved {
        /// Where it had failed.
        side: Side,
        /// Which path.
        path: SyncPath,
    },
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
        /// Which side's.
        side: Side,
        /// Where.
        path: SyncPath,
        /// Where it is kept, beneath the root.
        kept: SyncPath,
    },
    /// Everything known has been done. Said once each time.
    InSync,
    /// Nothing is done any more, and why.
    Halted(String),
    /// The reason for halting is gone.
    Resumed,
}

//! What a session tells the program that embeds it.
//!
//! Events are values, not text: whoever shows them finds the words. Text inside them that came from the other side is
//! already escaped.

use std::time::{Duration, SystemTime};

use sync_proto::{Entry, SyncPath, message::ProblemKind};

pub use crate::engine::Side;

/// Something a session has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A connection is being made: the first one while alpha is being scanned.
    Connecting {
        /// To where, as the user wrote it.
        destination: String,
    },
    /// The two sides have found each other, opened the root and both been scanned.
    Connected {
        /// Round trip time as measured by the handshake.
        round_trip: Duration,
    },
    /// The connection is gone, or could not be made; the session goes on by itself.
    Disconnected {
        /// Why, and what to do.
        reason: String,
        /// Whether the agent had been reached, and did not refuse.
        stood: bool,
        /// When it is tried again; `None` where that has no use.
        retry_in: Option<Duration>,
    },
    /// Alpha has been scanned for the first time.
    Scanned {
        /// Files that take part.
        files: u64,
        /// Their bytes.
        bytes: u64,
        /// How long it took.
        took: Duration,
    },
    /// How far the work at hand has got. At most ten a second.
    Progress(Progress),
    /// Both sides are in sync, for the first time since the connection was made.
    Ready {
        /// Files that are in sync.
        files: u64,
        /// Their bytes.
        bytes: u64,
        /// Since the connection was made.
        took: Duration,
    },
    /// A batch has been applied at beta. Before [`Event::Ready`] only what came straight from a save is told.
    Synced(Synced),
    /// What changed at beta has been applied at alpha.
    Received(Received),
    /// A path can't be synchronised.
    Problem(PathProblem),
    /// A path that could not be synchronised now can.
    ProblemSolved {
        /// On which side it was.
        side: Side,
        /// Where.
        path: SyncPath,
    },
    /// The two sides have different things at a path, and neither may give way. Both are left alone.
    Conflict(Conflict),
    /// A path is no longer in conflict.
    ConflictSolved {
        /// Where.
        path: SyncPath,
    },
    /// A write of ours raced with another hand: what that had put there is kept.
    Displaced {
        /// On which side.
        side: Side,
        /// The path that was written.
        path: SyncPath,
        /// Where what stood there is kept, beneath that side's root.
        kept: SyncPath,
    },
    /// Nothing more is done until a person has decided.
    Halted {
        /// Why, and the way on.
        reason: String,
    },
    /// The reason for halting is gone; the session goes on.
    Resumed,
    /// Something that a person should know, and that does not stop the session.
    Warning {
        /// What, and what to do.
        message: String,
    },
    /// Events that nobody had read are gone, because too many were waiting; what is true now is in the status. Told
    /// before the ones that are left.
    EventsLost {
        /// How many.
        count: u64,
    },
    /// The session has ended. The last event.
    Stopped {
        /// Why, where it was not asked for.
        reason: Option<String>,
    },
}

/// How far the work at hand has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Operations that are done, files and directories alike.
    pub done: u64,
    /// Operations in all, as far as is known.
    pub total: u64,
    /// Bytes of content that are done.
    pub bytes_done: u64,
    /// Bytes of content in all.
    pub bytes_total: u64,
}

/// A batch that has been applied at beta.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synced {
    /// What was done where, in order.
    pub paths: Vec<SyncedPath>,
    /// Bytes of content that beta now has.
    pub content_bytes: u64,
    /// Bytes of the messages that carried it, before encryption.
    pub wire_bytes: u64,
    /// Where the time went. `None` for bulk, where batches overlap.
    pub latency: Option<Latency>,
}

/// What changed at beta and has been applied at alpha.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// What was done where, in order.
    pub paths: Vec<SyncedPath>,
    /// Bytes of content that alpha now has.
    pub content_bytes: u64,
    /// Bytes of content that came for it, before encryption.
    pub wire_bytes: u64,
    /// From the event at beta to the disk of alpha having it. Each side measures its own part; half a round trip is added for
    /// the way. `None` for bulk, where batches overlap.
    pub latency: Option<Duration>,
}

/// One path of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncedPath {
    /// Where.
    pub path: SyncPath,
    /// What was done.
    pub action: Action,
}

/// What was done at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// There was nothing before.
    Created,
    /// It took the place of something.
    Modified,
    /// It is gone.
    Removed,
    /// It came from another path.
    Moved {
        /// From there.
        from: SyncPath,
    },
}

/// Where the time of a save went. The stages follow each other; their sum is `total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Latency {
    /// From the event read from the kernel to the file looked at, quiet time included.
    pub detect: Duration,
    /// Reading and hashing.
    pub hash: Duration,
    /// Planning, encoding, handing to QUIC.
    pub send: Duration,
    /// At beta: staging, verifying, committing, by its own clock.
    pub apply: Duration,
    /// The rest: both ways over the wire, encryption, wake-ups.
    pub ack: Duration,
    /// From the event to the answer.
    pub total: Duration,
}

/// A path that can't be synchronised, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathProblem {
    /// On which side.
    pub side: Side,
    /// Where.
    pub path: SyncPath,
    /// What kind of obstacle.
    pub kind: ProblemKind,
    /// What happened, escaped.
    pub detail: String,
    /// Whether it is tried again by itself (no space, read-only, out of descriptors or memory, an error of the disk).
    pub retried: bool,
}

/// The two sides have different things at a path, and neither may give way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Where.
    pub path: SyncPath,
    /// What stands there at alpha.
    pub alpha: Option<Entry>,
    /// What stands there at beta.
    pub beta: Option<Entry>,
    /// What stood there on both sides when they last agreed: the side that has something else has changed since. `None`:
    /// nothing, or it is not known that they ever agreed.
    pub synced: Option<Entry>,
}

/// Both versions of a path in conflict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConflictVersions {
    /// Where.
    pub path: SyncPath,
    /// What stands there at alpha.
    pub alpha: Option<Version>,
    /// What stands there at beta.
    pub beta: Option<Version>,
}

/// What stands at a path on one side, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// What: of a file also its length.
    pub entry: Entry,
    /// When it last changed, by the clock of that side. `None`: that is not known, or the agent is not there to ask.
    pub modified: Option<SystemTime>,
}

/// The state of a session at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// Whether the agent is connected.
    pub connected: bool,
    /// Whether everything that is known has been applied at beta.
    pub in_sync: bool,
    /// Why nothing is done until a person has decided.
    pub halted: Option<String>,
    /// Files that take part at alpha.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How far the work at hand has got.
    pub progress: Progress,
    /// Conflicts, in order of path.
    pub conflicts: Vec<Conflict>,
    /// Problems, in order of path.
    pub problems: Vec<PathProblem>,
}

//! What is said so that beta's changes come to alpha: content asked for and given, and what stands at a path.

use bincode::{Decode, Encode};

use super::{BatchId, Blob, Bounded, Problem};
use crate::{
    entry::{ContentId, Entry},
    limits::{BATCH_OPERATIONS_MAX, DESCRIBE_PATHS_MAX, INLINE_CONTENT_BYTES_MAX, PUSHED_CONTENT_BYTES_MAX},
    path::SyncPath,
};

/// Asks for the content of files at beta: of any number of small ones, or of a single one that is to be streamed.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Fetch {
    /// Its number; the streamed file's too.
    pub id: BatchId,
    /// Whether it goes ahead of what is asked for in bulk.
    pub urgent: bool,
    /// Which files. Answered by one [`Supply`] each, or by a stream.
    pub files: Bounded<Wanted, BATCH_OPERATIONS_MAX>,
}

/// A file whose content is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Wanted {
    /// Where.
    pub path: SyncPath,
    /// What was said to stand there: a file.
    pub entry: Entry,
    /// The content that the controller has there, to make a delta against. For a file that is streamed: that the controller
    /// has something with chunks of it, so that a recipe is worth its round trip.
    pub base: Option<ContentId>,
}

/// Contents that were asked for.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Fetched {
    /// By which [`Fetch`].
    pub id: BatchId,
    /// The place in it of the first one here. Those before it have been said.
    pub first: u32,
    /// In the order in which they were asked for.
    pub contents: Bounded<Supply, BATCH_OPERATIONS_MAX>,
}

/// The content of a file that was asked for, or why not.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Supply {
    /// The bytes themselves.
    Raw(Blob<INLINE_CONTENT_BYTES_MAX>),
    /// One zstd frame; its decoded length is the entry's.
    Zstd(Blob<INLINE_CONTENT_BYTES_MAX>),
    /// A delta, as `SPEC.md` defines it, against [`Wanted::base`].
    Delta(Blob<INLINE_CONTENT_BYTES_MAX>),
    /// What stands there is not that any more. What it is now is told as a change.
    Changed,
    /// It can't be read.
    Failed(Problem),
}

/// The content of a file, sent along with the news that it changed.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Pushed {
    /// The bytes themselves.
    Raw(Blob<PUSHED_CONTENT_BYTES_MAX>),
    /// One zstd frame; its decoded length is the entry's.
    Zstd(Blob<PUSHED_CONTENT_BYTES_MAX>),
    /// A delta, as `SPEC.md` defines it.
    Delta {
        /// Against this content.
        base: ContentId,
        /// The delta.
        delta: Blob<PUSHED_CONTENT_BYTES_MAX>,
    },
}

/// Asks what stands at these very paths on beta's disk, whatever takes part.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Describe {
    /// Its number.
    pub id: BatchId,
    /// Which paths.
    pub paths: Bounded<SyncPath, DESCRIBE_PATHS_MAX>,
}

/// The answer to [`Describe`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Described {
    /// To which.
    pub id: BatchId,
    /// For each path, in order, what stands there; `None`: nothing.
    pub found: Bounded<Option<Found>, DESCRIBE_PATHS_MAX>,
}

/// What stands at a path on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Found {
    /// What kind of thing.
    pub kind: FoundKind,
    /// Its length in bytes; 0 for what is not a file.
    pub len: u64,
    /// When its content last changed, in seconds since 1970 by the clock there; 0 where that is not known.
    pub modified: u64,
}

/// What kind of thing stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum FoundKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A fifo, a socket, a device.
    Other,
    /// It can't be told. Not evidence that there is nothing.
    Unknown,
}

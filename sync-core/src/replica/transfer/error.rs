//! What can go wrong with a file that is received, and who is at fault.

use std::io;

use sync_proto::limits::{BLOCK_BYTES_MAX, CHUNK_BYTES_MAX, FILE_BYTES_MAX, WINDOW_BASE_BYTES_MAX, WINDOW_BYTES_MAX};

use super::{PAGE_BYTES_MAX, PAGES_IN_FLIGHT_MAX};

/// Why a file can't be received. What is in the output is a prefix of it, and may be kept for another time.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The sender: it broke the protocol.
    #[error("the sender broke the protocol: {0}")]
    Protocol(#[from] Violation),
    /// The sender: it could not go on.
    #[error("the sender gave up: the file changed while it was read")]
    Aborted,
    /// The sender: what it sent is not what it declared. The output is of no use.
    #[error("the content that was received does not have the hash that was declared")]
    WrongContent,
    /// Here: a file to copy chunks from changed after they had been promised.
    #[error("a file to copy from changed while it was in use")]
    SourceChanged,
    /// The caller: the output holds more than the file will have. It has to be cut, or another be given.
    #[error("the output holds {stood} bytes, more than the {len} of the file")]
    OutputTooLong {
        /// What it holds, in bytes.
        stood: u64,
        /// What the file will have, in bytes.
        len: u64,
    },
    /// The disk: the output can't be written or read.
    #[error("can't write the file that is being received")]
    Output(#[source] io::Error),
}

/// What a sender did that no sender does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// The header is not that of a file.
    #[error("the entry is not a file")]
    NotAFile,
    /// The header declares more than any file may have.
    #[error("the file is declared to have {len} bytes, over the limit of {FILE_BYTES_MAX}")]
    FileTooLarge {
        /// What is declared.
        len: u64,
    },
    /// A page where none was declared.
    #[error("a recipe page in a file without recipe")]
    UnexpectedPage,
    /// Pages do not count up.
    #[error("recipe page {page} where page {expected} was due")]
    PageOutOfOrder {
        /// The number it has.
        page: u32,
        /// The number it should have.
        expected: u32,
    },
    /// More pages at once than a receiver has to remember.
    #[error("more than {PAGES_IN_FLIGHT_MAX} recipe pages at once")]
    TooManyPages,
    /// A page covers more than it may, or nothing.
    #[error("a recipe page of {bytes} bytes, where 1 to {PAGE_BYTES_MAX} are allowed")]
    PageBytes {
        /// What it covers.
        bytes: u64,
    },
    /// A chunk of no length, or over the limit.
    #[error("a chunk of {len} bytes, where 1 to {CHUNK_BYTES_MAX} are allowed")]
    ChunkBytes {
        /// Its length.
        len: u32,
    },
    /// A chunk within the file that is shorter than any that is cut: what is remembered of it is more than it is.
    #[error("a chunk of {len} bytes within the file, where at least {min} are allowed")]
    ShortChunk {
        /// Its length.
        len: u32,
        /// The shortest that is cut of a file of this length.
        min: usize,
    },
    /// More content than the header declares.
    #[error("more than the declared {declared} bytes")]
    TooLong {
        /// What the header declares.
        declared: u64,
    },
    /// A block that is empty, or over the limit.
    #[error("a block of {len} bytes, where 1 to {BLOCK_BYTES_MAX} are allowed")]
    BlockBytes {
        /// Its decoded length.
        len: usize,
    },
    /// A block that does not decode to what it declares.
    #[error("a compressed block is damaged or of another length than declared")]
    DamagedBlock,
    /// A reference to the file that is replaced, in a file with a recipe.
    #[error("a reference to the file that is replaced in a file with a recipe")]
    UnexpectedReference,
    /// A copy of nothing.
    #[error("a copy of no bytes")]
    EmptyCopy,
    /// A delta that says nothing or more than it may, or that refers to more than it may.
    #[error(
        "a delta of {len} bytes that refers to {base}, where 1 to {WINDOW_BYTES_MAX} and up to {WINDOW_BASE_BYTES_MAX} are \
         allowed"
    )]
    Window {
        /// How many bytes it says.
        len: u32,
        /// How many it refers to.
        base: u32,
    },
    /// Deltas that refer to far more of the file that is replaced than they say.
    #[error("deltas that refer to far more than they say")]
    TooManyReferences,
    /// Bytes that were not asked for.
    #[error("bytes that were not asked for")]
    Unasked,
    /// A chunk that does not have its hash.
    #[error("the chunk at {offset} does not have the hash that was announced")]
    WrongChunk {
        /// Where in the file.
        offset: u64,
    },
    /// The end before its time.
    #[error("the end after {received} of {declared} bytes")]
    Incomplete {
        /// What was received.
        received: u64,
        /// What the header declares.
        declared: u64,
    },
    /// Anything after the end, or after an error.
    #[error("a frame after the last one")]
    AfterEnd,
}

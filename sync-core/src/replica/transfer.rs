//! One large file on its way: what is read on one side becomes frames, and frames become a file on the other.
//!
//! [`FileSender`] and [`FileReceiver`] are two halves of one conversation and know no stream, task or path: the caller
//! carries the [`FileFrame`](sync_proto::message::FileFrame)s one way and the [`Need`](sync_proto::message::Need)s the
//! other. With a recipe the sender says chunks by their hashes, a page at a time; the receiver answers each page with what
//! it lacks, and takes the rest from files that it has, from what an earlier transfer left in the output, and from earlier
//! in the same file. Without, all bytes come unasked. A sender that has a copy of the file that is replaced, or knows its chunks,
//! says what differs from that, unasked as well. A receiver may know of chunks [`Elsewhere`], too.
//!
//! Invariants: each byte of the source is read once, and the hash is made of the very bytes that are sent. A sender holds
//! at most [`PAGES_IN_FLIGHT_MAX`] pages of [`PAGE_BYTES_MAX`] bytes, or a window of the file and one of the file that is
//! replaced, whatever the file's size. A receiver writes in order of offset, says [`Reply::Complete`] only of content that
//! has the declared length and hash, and holds a block, a chunk and the pages in flight, or two windows and a section of a
//! delta, whatever the sender says.
//!
//! A crash, or a link that is cut, leaves in the output a prefix of the file. Given again as the output of a later
//! transfer of the same content, what stands in it is checked chunk by chunk and not sent again.

mod against;
mod base;
mod compress;
mod error;
mod known;
mod output;
mod receive;
mod recipe;
mod send;
mod sources;

pub use error::{ReceiveError, Violation};
pub use receive::{FileReceiver, Reply};
pub use send::{FileSender, SendError, Step};
pub use sources::{Elsewhere, ReadSeek, Spot};

/// Most bytes of a file that one page of its recipe may cover.
pub const PAGE_BYTES_MAX: usize = 8 << 20;

/// Most pages of a recipe that may be announced and not yet complete: while one is filled, the next is answered and the
/// one after that is on its way. 24 MiB in flight is 480 MB/s at a round trip of 50 ms.
pub const PAGES_IN_FLIGHT_MAX: usize = 3;

#[cfg(test)]
mod tests;

//! Content-defined chunks: a file cut where its content says so, so that an insertion moves no cut but those beside it.
//!
//! Pure. FastCDC of 2020 with the normalisation and the gear table of the `fastcdc` crate. Both sides cut by the same rule,
//! which depends on the length of the file that is sent alone: where they should ever differ, chunks are not found, which
//! costs bytes and nothing else.
//!
//! Invariants: the chunks of a file cover it without gap or overlap, in order; each has at least one byte and at most
//! [`CHUNK_BYTES_MAX`]; however the bytes are pushed, the cuts are the same. A file below [`ONE_CHUNK_BYTES`] is one chunk.

mod cuts;

use std::ops::Range;

use fastcdc::v2020::{MASKS, Normalization};
use sync_proto::limits::CHUNK_BYTES_MAX;

pub use cuts::{CUTS_MAX, Cuts, Mark};

/// A file shorter than this is one chunk, in bytes.
pub const ONE_CHUNK_BYTES: u64 = 64 << 10;

/// A file longer than this has large chunks, in bytes: four times fewer of them to name.
pub const LARGE_FILE_BYTES: u64 = 64 << 20;

/// How large the chunks of a file are, in bytes. Made by [`sizes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    min: usize,
    avg: usize,
    max: usize,
}

const ONE: Sizes =
    Sizes { min: ONE_CHUNK_BYTES as usize, avg: ONE_CHUNK_BYTES as usize, max: ONE_CHUNK_BYTES as usize };
const MEDIUM: Sizes = Sizes { min: 4 << 10, avg: 16 << 10, max: 64 << 10 };
const LARGE: Sizes = Sizes { min: 16 << 10, avg: 64 << 10, max: 256 << 10 };

const _: () = assert!(ONE.max <= CHUNK_BYTES_MAX && MEDIUM.max <= CHUNK_BYTES_MAX && LARGE.max <= CHUNK_BYTES_MAX);

/// How a file of `file_len` bytes is cut. What is compared with it is cut by the same sizes, whatever its own length.
pub fn sizes(file_len: u64) -> Sizes {
    match file_len {
        0..ONE_CHUNK_BYTES => ONE,
        ONE_CHUNK_BYTES..=LARGE_FILE_BYTES => MEDIUM,
        _ => LARGE,
    }
}

impl Sizes {
    /// No chunk but the last is shorter than this.
    pub fn min(&self) -> usize {
        self.min
    }

    /// About how long chunks are.
    pub fn avg(&self) -> usize {
        self.avg
    }

    /// No chunk is longer than this.
    pub fn max(&self) -> usize {
        self.max
    }

    /// The length of the first chunk of `data`, which has to be the rest of the file, or at least [`Self::max`] bytes of
    /// it. 0 only where there is no data.
    pub fn first_cut(&self, data: &[u8]) -> usize {
        // Level 1, as the crate's own front ends have it by default.
        let bits = self.avg.ilog2() as usize;
        let level = Normalization::Level1.bits() as usize;
        let mask = |bits: usize| MASKS.get(bits).copied().expect("averages are between 2^14 and 2^16");
        let (small, large) = (mask(bits + level), mask(bits - level));
        let (_, cut) = fastcdc::v2020::cut(data, self.min, self.avg, self.max, small, large, small << 1, large << 1);
        cut
    }
}

/// The chunks of `data`, which is a whole file (or whatever else begins and ends where a file does).
pub fn cut(data: &[u8], sizes: &Sizes) -> impl Iterator<Item = Range<usize>> {
    let sizes = *sizes;
    let mut start = 0;
    std::iter::from_fn(move || {
        let len = sizes.first_cut(data.get(start..)?);
        let chunk = (len > 0).then_some(start..start + len)?;
        start = chunk.end;
        Some(chunk)
    })
}

/// Cuts bytes that arrive bit by bit. Holds less than one of the largest chunks between calls.
#[derive(Debug)]
pub struct Chunker {
    sizes: Sizes,
    /// What is not yet cut off: always less than the largest chunk between calls.
    pending: Vec<u8>,
}

impl Chunker {
    /// A chunker for one file.
    pub fn new(sizes: Sizes) -> Self {
        Self { sizes, pending: Vec::new() }
    }

    /// Takes the next bytes of the file, and hands each chunk that is now complete to `each`, in order.
    pub fn push(&mut self, mut bytes: &[u8], mut each: impl FnMut(&[u8])) {
        // First the chunk that began before: it needs no more than the largest chunk to be cut off.
        while !self.pending.is_empty() {
            let lacking = self.sizes.max - self.pending.len();
            let Some(lent) = bytes.get(..lacking) else {
                self.pending.extend_from_slice(bytes);
                return;
            };
            self.pending.extend_from_slice(lent);
            let len = self.sizes.first_cut(&self.pending);
            let (chunk, rest) = self.pending.split_at(len);
            each(chunk);
            // What was only lent to find the cut goes back, to be cut where it lies.
            let back = lacking.min(rest.len());
            let kept = rest.len() - back;
            bytes = bytes.get(lacking - back..).unwrap_or_default();
            self.pending.copy_within(len..len + kept, 0);
            self.pending.truncate(kept);
        }
        while bytes.len() >= self.sizes.max {
            let (chunk, rest) = bytes.split_at(self.sizes.first_cut(bytes));
            each(chunk);
            bytes = rest;
        }
        self.pending.extend_from_slice(bytes);
    }

    /// Says that the file ends here: hands out the chunks that are left.
    pub fn finish(self, mut each: impl FnMut(&[u8])) {
        for chunk in cut(&self.pending, &self.sizes) {
            each(self.pending.get(chunk).unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests;

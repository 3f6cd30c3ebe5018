//! Where a content is cut, and the marks of its chunks: what is remembered of a content to find its chunks again.
//!
//! A mark is half of a chunk's id and its length. Nobody can make two chunks of one mark on purpose; and who copies a chunk
//! verifies it, or the whole, all the same.

use sync_proto::{ContentId, limits::CHUNK_BYTES_MAX, message::Chunk};

use super::{Sizes, sizes};

/// Most chunks of one content that are remembered: about 4 GiB of large ones.
pub const CUTS_MAX: usize = 1 << 16;

/// How a chunk is found again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mark {
    /// The first half of its id.
    pub half: [u8; 16],
    /// Its length, in bytes.
    pub len: u32,
}

impl Mark {
    /// The mark of a chunk.
    pub fn of(chunk: &Chunk) -> Self {
        Self { half: chunk.id.0.first_chunk::<16>().copied().unwrap_or_default(), len: chunk.len }
    }

    /// The mark of a chunk of these bytes.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self::of(&Chunk { id: ContentId(*blake3::hash(bytes).as_bytes()), len: bytes.len() as u32 })
    }
}

/// The chunks of a content, in order, without gap.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cuts {
    marks: Vec<Mark>,
    bytes: u64,
}

impl Cuts {
    /// Takes the next chunk. What is beyond [`CUTS_MAX`] is not remembered, and with it nothing of this content.
    pub fn push(&mut self, mark: Mark) {
        self.bytes = self.bytes.saturating_add(u64::from(mark.len));
        if self.marks.len() <= CUTS_MAX {
            self.marks.push(mark);
        }
    }

    /// All of a content of `len` bytes, if that is what it is, and not too much to be remembered.
    pub fn whole(self, len: u64) -> Option<Self> {
        let fits = |mark: &Mark| (1..=CHUNK_BYTES_MAX).contains(&(mark.len as usize));
        (self.bytes == len && self.marks.len() <= CUTS_MAX && self.marks.iter().all(fits)).then_some(self)
    }

    /// How long the content is, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How the content was cut.
    pub fn sizes(&self) -> Sizes {
        sizes(self.bytes)
    }

    /// The chunks.
    pub fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// The chunks, with where each begins.
    pub fn places(&self) -> impl Iterator<Item = (Mark, u64)> {
        self.marks.iter().scan(0_u64, |end, mark| {
            let start = *end;
            *end = start.saturating_add(u64::from(mark.len));
            Some((*mark, start))
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_not_whole_or_too_much_is_not_remembered() {
        let check = |count: usize, len: u32, whole: u64, expected: bool| {
            let mut cuts = Cuts::default();
            for number in 0..count {
                cuts.push(Mark { half: (number as u128).to_le_bytes(), len });
            }
            assert_eq!(cuts.whole(whole).is_some(), expected, "{count} of {len} for {whole}");
        };
        check(3, 10, 30, true);
        check(3, 10, 31, false);
        check(0, 10, 0, true);
        check(1, 0, 0, false);
        check(1, CHUNK_BYTES_MAX as u32 + 1, CHUNK_BYTES_MAX as u64 + 1, false);
        check(CUTS_MAX, 1, CUTS_MAX as u64, true);
        check(CUTS_MAX + 1, 1, CUTS_MAX as u64 + 1, false);
        check(CUTS_MAX + 9, 1, CUTS_MAX as u64 + 9, false);
    }

    #[test]
    fn places_follow_one_another() {
        let mut cuts = Cuts::default();
        for len in [5, 7, 1] {
            cuts.push(Mark { half: [0; 16], len });
        }
        assert_eq!(cuts.places().map(|(_, at)| at).collect::<Vec<_>>(), [0, 5, 12]);
    }
}

//! The sender's side of a recipe: the pages that are announced and not yet sent.

use std::{
    collections::VecDeque,
    io::{self, Read},
    ops::Range,
};

use sync_proto::{
    ContentId,
    limits::{BLOCK_BYTES_MAX, RECIPE_CHUNKS_MAX},
    message::{Bounded, Chunk, Need, RecipePage},
};

use super::{
    PAGE_BYTES_MAX, PAGES_IN_FLIGHT_MAX,
    send::{SendError, Source},
};
use crate::chunk::{Cuts, Mark, Sizes, sizes};

const _: () = assert!(PAGE_BYTES_MAX / (4 << 10) < RECIPE_CHUNKS_MAX, "no page has more chunks than a message can");

/// The pages under way.
pub(super) struct Recipe {
    sizes: Sizes,
    pages: VecDeque<Page>,
    /// The number of the next page to announce.
    next_page: u32,
    /// The number of the next page to be answered.
    next_need: u32,
    /// Read, but not yet cut: the beginning of the next page. Shorter than the largest chunk.
    tail: Vec<u8>,
    /// All chunks so far.
    cuts: Cuts,
}

/// A page whose bytes are not all sent.
struct Page {
    bytes: Vec<u8>,
    /// The lengths of its chunks, in bytes.
    chunks: Vec<u32>,
    /// What is yet to be sent, last stretch first; `None`: not answered.
    missing: Option<Vec<Range<usize>>>,
}

impl Recipe {
    /// The recipe of a file of `len` bytes.
    pub(super) fn new(len: u64) -> Self {
        let (pages, cuts) = (VecDeque::new(), Cuts::default());
        Self { sizes: sizes(len), pages, next_page: 0, next_need: 0, tail: Vec::new(), cuts }
    }

    /// The chunks that have been announced.
    pub(super) fn cuts(&self) -> &Cuts {
        &self.cuts
    }

    /// How many bytes of memory the pages take.
    pub(super) fn held_bytes(&self) -> usize {
        self.tail.capacity() + self.pages.iter().map(|page| page.bytes.capacity()).sum::<usize>()
    }

    /// Whether another page may be announced.
    pub(super) fn has_room(&self) -> bool {
        self.pages.len() < PAGES_IN_FLIGHT_MAX
    }

    /// Whether nothing announced is yet to be sent.
    pub(super) fn is_sent(&self) -> bool {
        self.pages.is_empty()
    }

    /// Reads and cuts the next page; `None` where the file got shorter.
    pub(super) fn announce<R: Read>(&mut self, source: &mut Source<R>) -> io::Result<Option<RecipePage>> {
        let mut bytes = Vec::with_capacity(PAGE_BYTES_MAX.min(self.tail.len().saturating_add(source.left())));
        bytes.append(&mut self.tail);
        if !source.fill(&mut bytes, PAGE_BYTES_MAX)? {
            return Ok(None);
        }
        let mut chunks = Vec::new();
        let mut rest = &bytes[..];
        while !rest.is_empty() && (rest.len() >= self.sizes.max() || source.is_read()) {
            let (chunk, after) = rest.split_at(self.sizes.first_cut(rest));
            let chunk = Chunk { id: ContentId(*blake3::hash(chunk).as_bytes()), len: chunk.len() as u32 };
            self.cuts.push(Mark::of(&chunk));
            chunks.push(chunk);
            rest = after;
        }
        // The tail's capacity is its own: cut off the page it would hold on to all of it.
        self.tail = rest.to_vec();
        bytes.truncate(bytes.len() - self.tail.len());
        self.pages.push_back(Page { bytes, chunks: chunks.iter().map(|chunk| chunk.len).collect(), missing: None });
        let page = self.next_page;
        self.next_page += 1;
        Ok(Some(RecipePage { page, chunks: Bounded::new(chunks).expect("a page is cut to the limit") }))
    }

    /// Takes the answer to the first page that has none.
    pub(super) fn answered(&mut self, need: &Need) -> Result<(), SendError> {
        let page = need.page;
        let first = self.pages.iter_mut().find(|page| page.missing.is_none());
        let first = first.filter(|_| page == self.next_need).ok_or(SendError::UnexpectedNeed { page })?;
        first.missing = Some(missing(&first.chunks, &need.missing).ok_or(SendError::MalformedNeed { page })?);
        self.next_need += 1;
        Ok(())
    }

    /// Lets go of the pages of which nothing more is wanted.
    pub(super) fn drop_sent(&mut self) {
        while self.pages.front().is_some_and(|page| page.missing.as_ref().is_some_and(Vec::is_empty)) {
            self.pages.pop_front();
        }
    }

    /// The next bytes that the receiver lacks, all of one page; `None` where it has not answered.
    pub(super) fn next_block(&mut self) -> Option<Vec<u8>> {
        let page = self.pages.front_mut()?;
        let missing = page.missing.as_mut()?;
        let mut block = Vec::new();
        while let Some(stretch) = missing.last_mut() {
            let end = stretch.end.min(stretch.start + BLOCK_BYTES_MAX - block.len());
            block.extend_from_slice(page.bytes.get(stretch.start..end)?);
            stretch.start = end;
            if stretch.start < stretch.end {
                break;
            }
            missing.pop();
        }
        Some(block)
    }
}

/// The stretches of a page that the bits ask for, the last one first; `None` where there is not one bit a chunk.
fn missing(chunks: &[u32], bits: &[u8]) -> Option<Vec<Range<usize>>> {
    let count = chunks.len();
    let spare = bits.last().map_or(0, |last| u32::from(*last) >> ((count + 7) % 8 + 1));
    if bits.len() != count.div_ceil(8) || spare != 0 {
        return None;
    }
    let mut stretches: Vec<Range<usize>> = Vec::new();
    let mut start = 0;
    for (index, &len) in chunks.iter().enumerate() {
        let end = start + len as usize;
        if bits.get(index / 8)? >> (index % 8) & 1 == 1 {
            match stretches.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => stretches.push(start..end),
            }
        }
        start = end;
    }
    stretches.reverse();
    Some(stretches)
}

#[cfg(test)]
mod tests {
    use super::missing;

    #[test]
    fn bits_become_stretches() {
        let check = |chunks: &[u32], bits: &[u8], expected: Option<&[(usize, usize)]>| {
            let stretches = missing(chunks, bits)
                .map(|stretches| stretches.iter().map(|stretch| (stretch.start, stretch.end)).collect::<Vec<_>>());
            assert_eq!(stretches.as_deref(), expected, "{bits:?}");
        };
        let nine = &[10; 9];
        check(nine, &[0, 0], Some(&[]));
        check(nine, &[0xff, 1], Some(&[(0, 90)]));
        check(nine, &[0b1000_0110, 1], Some(&[(70, 90), (10, 30)]));
        check(nine, &[0xff, 3], None);
        check(nine, &[0xff], None);
        check(nine, &[0xff, 1, 0], None);
        check(&[10; 8], &[0x80], Some(&[(70, 80)]));
        check(&[], &[], Some(&[]));
    }
}

//! What is remembered of contents, in memory: bounded, and found by chunk.

use std::collections::{BTreeMap, HashMap};

use sync_proto::{ContentId, SyncPath};

use super::{CHUNKS_MAX, INDEX_BYTES_MAX, file::size_of_known};
use crate::chunk::{Cuts, Mark};

/// Number of a content that is remembered: later ones are higher.
pub(super) type Number = u64;

/// A content that is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) content: ContentId,
    /// Where it stood when it was last seen.
    pub(super) path: SyncPath,
    pub(super) cuts: Cuts,
}

/// The contents, oldest first. Invariants: no content twice; at most [`CHUNKS_MAX`] chunks, and [`INDEX_BYTES_MAX`] bytes in
/// a file.
#[derive(Debug, Default)]
pub(super) struct Kept {
    known: BTreeMap<Number, Known>,
    numbers: HashMap<ContentId, Number>,
    /// Where each chunk is; empty until it is asked for, and after something was forgotten.
    places: HashMap<Mark, (Number, u64)>,
    is_placed: bool,
    next: Number,
    chunks: usize,
    bytes: usize,
}

impl Kept {
    /// Remembers a content; the oldest make room. What is too large on its own is not taken.
    pub(super) fn put(&mut self, known: Known) {
        self.forget(known.content);
        let (chunks, bytes) = (known.cuts.marks().len(), size_of_known(&known));
        if chunks > CHUNKS_MAX || bytes > INDEX_BYTES_MAX {
            return;
        }
        while self.chunks + chunks > CHUNKS_MAX || self.bytes + bytes > INDEX_BYTES_MAX {
            let Some(oldest) = self.known.values().next().map(|known| known.content) else { break };
            self.forget(oldest);
        }
        let number = self.next;
        self.next += 1;
        if self.is_placed {
            place(&mut self.places, number, &known);
        }
        self.chunks += chunks;
        self.bytes += bytes;
        self.numbers.insert(known.content, number);
        self.known.insert(number, known);
    }

    pub(super) fn forget(&mut self, content: ContentId) {
        let Some(known) = self.numbers.remove(&content).and_then(|number| self.known.remove(&number)) else { return };
        self.chunks -= known.cuts.marks().len();
        self.bytes -= size_of_known(&known);
        // A chunk of it may be one of another as well: found anew when it is asked for.
        self.places = HashMap::new();
        self.is_placed = false;
    }

    pub(super) fn of(&self, content: ContentId) -> Option<&Known> {
        self.known.get(self.numbers.get(&content)?)
    }

    /// It stands there now.
    pub(super) fn stands(&mut self, content: ContentId, path: &SyncPath) -> bool {
        let Some(known) = self.numbers.get(&content).and_then(|number| self.known.get_mut(number)) else {
            return false;
        };
        self.bytes -= size_of_known(known);
        known.path.clone_from(path);
        self.bytes += size_of_known(known);
        true
    }

    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Known> {
        self.known.values()
    }

    pub(super) fn numbered(&self, number: Number) -> Option<&Known> {
        self.known.get(&number)
    }

    /// In which content a chunk is, and where.
    pub(super) fn find(&mut self, mark: Mark) -> Option<(Number, u64)> {
        if !self.is_placed {
            for (number, known) in &self.known {
                place(&mut self.places, *number, known);
            }
            self.is_placed = true;
        }
        self.places.get(&mark).copied()
    }
}

/// The latest content that has a chunk is where it is looked for.
fn place(places: &mut HashMap<Mark, (Number, u64)>, number: Number, known: &Known) {
    places.extend(known.cuts.places().map(|(mark, offset)| (mark, (number, offset))));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn known(content: u8, marks: impl IntoIterator<Item = u32>) -> Known {
        let mut cuts = Cuts::default();
        for mark in marks {
            cuts.push(Mark { half: u128::from(mark).to_le_bytes(), len: 10 });
        }
        Known { content: ContentId([content; 32]), path: SyncPath::parse(b"a/file").unwrap(), cuts }
    }

    fn at(kept: &mut Kept, mark: u32) -> Option<(ContentId, u64)> {
        let (number, offset) = kept.find(Mark { half: u128::from(mark).to_le_bytes(), len: 10 })?;
        Some((kept.numbered(number).unwrap().content, offset))
    }

    #[test]
    fn a_chunk_is_found_in_the_latest_content_that_has_it() {
        let mut kept = Kept::default();
        kept.put(known(1, [1, 2, 3]));
        assert_eq!(at(&mut kept, 3), Some((ContentId([1; 32]), 20)));
        kept.put(known(2, [3, 4]));
        assert_eq!(at(&mut kept, 3), Some((ContentId([2; 32]), 0)));
        assert_eq!(at(&mut kept, 5), None);
        // What the other one has is found again.
        kept.forget(ContentId([2; 32]));
        assert_eq!(at(&mut kept, 3), Some((ContentId([1; 32]), 20)));
        assert_eq!(at(&mut kept, 4), None);
        kept.forget(ContentId([1; 32]));
        assert!(kept.is_empty() && kept.chunks == 0 && kept.bytes == 0);
    }

    #[test]
    fn the_oldest_make_room_and_what_is_put_again_is_young() {
        let third = CHUNKS_MAX as u32 / 3;
        let mut kept = Kept::default();
        for content in 0..3 {
            kept.put(known(content, 0..third));
        }
        kept.put(known(0, 0..third));
        kept.put(known(4, 0..third));
        let there: Vec<u8> = kept.iter().map(|known| known.content.0[0]).collect();
        assert_eq!(there, [2, 0, 4]);
        assert!(kept.chunks <= CHUNKS_MAX && kept.bytes <= INDEX_BYTES_MAX);
        assert!(kept.stands(ContentId([4; 32]), &SyncPath::parse(b"elsewhere").unwrap()));
        assert!(!kept.stands(ContentId([1; 32]), &SyncPath::parse(b"elsewhere").unwrap()));
        assert_eq!(kept.bytes, kept.iter().map(size_of_known).sum::<usize>());
    }
}

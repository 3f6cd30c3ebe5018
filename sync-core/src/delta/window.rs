//! A window of a large file as a delta against a window of its base: for files that no memory holds whole.

use std::ops::Range;

use super::align::align;
use super::compress::REUSE_BYTES_MAX;
use super::effort::Effort;
use super::encode::{Encoder, in_sections};
use super::plan::Piece;

/// A window that was made a delta.
#[derive(Debug)]
pub struct Window {
    /// The delta.
    pub delta: Vec<u8>,
    /// Where in the window of the base the content goes on behind the window of the new content, as far as can be told.
    /// May lie beyond its end.
    pub end: Option<usize>,
    /// The longest stretch of the new content that was not found in the window of the base. Empty where that is not known.
    pub fresh: Range<usize>,
}

impl Encoder {
    /// Says `new`, a window of a file, as a delta against `base`, a window of the file before. `None` where they have too
    /// little in common to be worth the time.
    pub fn encode_window(&mut self, base: &[u8], new: &[u8], effort: Effort) -> Option<Window> {
        if base.len() + new.len() <= REUSE_BYTES_MAX {
            let delta = self.encode(base, new, effort);
            return (delta.len() < new.len()).then_some(Window { delta, end: None, fresh: 0..0 });
        }
        let pieces = align(base, new)?;
        let (end, fresh) = (end_of(&pieces), longest_fresh(&pieces));
        let delta = in_sections(self.compressor(), base, new, pieces, effort)?;
        (delta.len() < new.len()).then_some(Window { delta, end, fresh })
    }
}

/// Where the last copy ended, and as far behind it as there is fresh content behind it.
fn end_of(pieces: &[Piece]) -> Option<usize> {
    let last = pieces.iter().rposition(|piece| !piece.copy.is_empty())?;
    let fresh: usize = pieces.get(last + 1..)?.iter().map(|piece| piece.fresh).sum();
    Some(pieces.get(last)?.copy.end + fresh)
}

/// The longest of the stretches that are not copied.
fn longest_fresh(pieces: &[Piece]) -> Range<usize> {
    let stretches = pieces.iter().scan(0, |at, piece| {
        let start = *at;
        *at = start + piece.fresh + piece.copy.len();
        Some(start..start + piece.fresh)
    });
    stretches.max_by_key(ExactSizeIterator::len).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;
    use crate::delta::decode;

    fn noise(len: usize, seed: u8) -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
        bytes
    }

    #[test]
    fn a_window_says_where_the_content_goes_on() {
        let base = noise(2 << 20, 1);
        let check = |new: &[u8], end: Option<usize>, delta_max: usize| {
            for effort in [Effort::Fast, Effort::Thorough] {
                let window = Encoder::new().encode_window(&base, new, effort).unwrap();
                assert_eq!(window.end, end);
                assert!(window.delta.len() <= delta_max, "{} bytes", window.delta.len());
                assert_eq!(decode(&base, &window.delta, new.len() as u64).unwrap(), new);
            }
        };
        let inserted = [&base[500_000..700_000], &noise(100, 2), &base[700_000..900_000]].concat();
        check(&inserted, Some(900_000), 200);
        let window = Encoder::new().encode_window(&base, &inserted, Effort::Fast).unwrap();
        assert_eq!(window.fresh, 200_000..200_100);
        // Fresh at its end: taken for overwritten.
        let overwritten = [&base[500_000..900_000], &noise(1_000, 2)].concat();
        check(&overwritten, Some(901_000), 1_100);
        // Short ones do not tell.
        let small = &base[..10_000];
        let window = Encoder::new().encode_window(small, &[small, b"end"].concat(), Effort::Fast).unwrap();
        assert_eq!((window.end, window.delta.len() < 20), (None, true));
    }

    #[test]
    fn nothing_in_common_is_no_delta() {
        for len in [1_000, 1 << 20] {
            assert!(Encoder::new().encode_window(&noise(2 << 20, 1), &noise(len, 2), Effort::Fast).is_none());
        }
        assert!(Encoder::new().encode_window(&[], &noise(1_000, 2), Effort::Fast).is_none());
    }
}

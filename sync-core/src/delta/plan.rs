//! Content in pieces: each some fresh bytes, then a copy of a stretch of the base. How they are laid down, and what of
//! the base lies near the fresh bytes.

use std::ops::Range;

use super::DeltaError;
use super::format::{read_number, write_number};

/// Of the base, what comes before a copy lies near the fresh bytes before it: this many bytes of it, and
const NEAR_BYTES: usize = 4 << 10;

/// this many times the fresh bytes, and
const NEAR_FACTOR: usize = 4;

/// never more than this.
const NEAR_BYTES_MAX: usize = 16 << 20;

/// What stands around a few pieces helps to say them, around many it is in the way: this many bytes on either side of all
/// of them together, as long as it comes to
const CONTEXT_BYTES: usize = 64 << 10;

/// this many for each.
const CONTEXT_BYTES_MIN: usize = 256;

/// Most bytes of a piece: three numbers below 2^64.
pub(super) const PIECE_BYTES_MAX: usize = 30;

/// Fresh bytes, and a copy that follows them. Either may be empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    /// How many fresh bytes.
    pub(super) fresh: usize,
    /// What of the base follows them.
    pub(super) copy: Range<usize>,
}

impl Piece {
    /// What of the base lies near the fresh bytes, where the copy before ended at `from`: what they stand in place of, as
    /// far as can be told, with `context` bytes on either side.
    pub(super) fn near(&self, from: usize, base_len: usize, context: usize) -> Range<usize> {
        if self.fresh == 0 {
            return from..from;
        }
        let replaced = match self.copy.start.checked_sub(from) {
            Some(skipped) => skipped.min(self.fresh.saturating_mul(NEAR_FACTOR).saturating_add(NEAR_BYTES)),
            None => self.fresh,
        };
        let end = from.saturating_add(replaced.min(NEAR_BYTES_MAX)).saturating_add(context);
        from.saturating_sub(context)..end.min(base_len)
    }

    /// Appends a piece that comes after a copy that ended at `from`.
    pub(super) fn write(&self, from: usize, plan: &mut Vec<u8>) {
        let expected = from.wrapping_add(self.fresh);
        write_number(self.fresh, plan);
        write_number(folded(self.copy.start.wrapping_sub(expected)), plan);
        write_number(self.copy.len(), plan);
    }

    /// Takes a piece off the front. Its copy lies within the base.
    pub(super) fn read(plan: &mut &[u8], from: usize, base_len: usize) -> Result<Self, DeltaError> {
        let outside = DeltaError::OutsideBase { base: base_len };
        let fresh = read_number(plan)?;
        let start = from.wrapping_add(fresh).wrapping_add(unfolded(read_number(plan)?));
        let end = start.checked_add(read_number(plan)?).filter(|end| *end <= base_len).ok_or(outside)?;
        Ok(Self { fresh, copy: start..end })
    }
}

/// How much context each of so many pieces has, in bytes.
pub(super) fn context(pieces: usize) -> usize {
    Some(CONTEXT_BYTES / pieces.max(4)).filter(|context| *context >= CONTEXT_BYTES_MIN).unwrap_or_default()
}

/// A distance in either direction as a small number: the sign in the lowest bit.
fn folded(distance: usize) -> usize {
    let signed = distance as isize;
    ((signed << 1) ^ (signed >> (isize::BITS - 1))) as usize
}

fn unfolded(number: usize) -> usize {
    (number >> 1) ^ (number & 1).wrapping_neg()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pieces_come_back(from in 0_usize..1 << 40, fresh in 0_usize..1 << 40, start in 0_usize..1 << 40, len in 0_usize..1 << 40) {
            let piece = Piece { fresh, copy: start..start + len };
            let mut plan = Vec::new();
            piece.write(from, &mut plan);
            prop_assert!(plan.len() <= PIECE_BYTES_MAX);
            prop_assert_eq!(Piece::read(&mut &plan[..], from, start + len), Ok(piece.clone()));
            let outside = Err(DeltaError::OutsideBase { base: start });
            if len > 0 {
                prop_assert_eq!(Piece::read(&mut &plan[..], from, start), outside);
            }
        }
    }

    #[test]
    fn what_is_near_is_what_was_replaced() {
        let check = |fresh, copy: Range<usize>, context, near| {
            assert_eq!(Piece { fresh, copy }.near(1_000, 100_000_000, context), near);
        };
        check(0, 5_000..6_000, 100, 1_000..1_000);
        check(10, 1_010..2_000, 0, 1_000..1_010);
        check(10, 1_000..2_000, 0, 1_000..1_000);
        check(10, 1_000..2_000, 100, 900..1_100);
        // Far ahead, and back: a part of it.
        check(10, 5_000_000..5_000_100, 0, 1_000..1_000 + 40 + 4_096);
        check(10, 100..200, 2_000, 0..3_010);
        check(100_000_000, 90_000_000..90_000_000, 0, 1_000..1_000 + (16 << 20));
        check(usize::MAX, 100..100, 0, 1_000..1_000 + (16 << 20));
        assert_eq!([1, 3, 5, 256, 257].map(context), [16_384, 16_384, 13_107, 256, 0]);
    }
}

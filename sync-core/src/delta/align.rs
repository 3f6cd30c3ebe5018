//! Where the new content stands in the base: long stretches that are the same, wherever they are.
//!
//! Greedy, from the front to the back, in time that follows the length of both. After each stretch it looks first where
//! the content would go on if bytes had only been overwritten (a database, a table), and only then anywhere: at samples of
//! the base, taken at fixed distances, by a hash that rolls over the new content. Samples are found whatever was
//! inserted before them and are taken without reading all of the base, which cutting both sides into content-defined chunks
//! does not allow: 12 edits in 100 MB take little more than comparing these 100 MB.

use super::plan::Piece;
use super::trim::{common_prefix, common_suffix};

/// Bytes of a sample.
pub(super) const SAMPLE_BYTES: usize = 32;

/// Samples of a base lie at least so many bytes apart.
const SAMPLE_DISTANCE_MIN: usize = 64;

/// There are about as many samples as this, as a power of two: a table that a cache holds.
const SAMPLES_LOG: u32 = 17;

/// A stretch that is shorter, in bytes, is better left to the compressor.
const COPY_BYTES_MIN: usize = 128;

/// How far behind a difference the same diagonal is looked at, in bytes. Farther, what is the same there by chance (padding
/// above all) is taken for a return: 339 KB instead of 121 for the tar of a new release, at 64 KiB.
const REJOIN_BYTES_MAX: usize = 2 << 10;

/// Blocks that are compared on the same diagonal, in bytes: in any stretch of [`COPY_BYTES_MIN`] one lies whole.
const REJOIN_BLOCK_BYTES: usize = COPY_BYTES_MIN / 2;

/// Nothing found in this many bytes, or in a quarter of the content where that is more: there is little in common.
const VERDICT_BYTES: usize = 4 << 20;

/// Multiplier of the rolling hash: any odd number with many bits.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// A stretch of the new content that is one of the base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Match {
    new: usize,
    base: usize,
    len: usize,
}

impl Match {
    /// The longest one through a place on both sides that does not reach before `floor` in the new content.
    fn through(base: &[u8], new: &[u8], at_base: usize, at_new: usize, floor: usize) -> Self {
        let before = common_suffix(base.get(..at_base).unwrap_or_default(), new.get(floor..at_new).unwrap_or_default());
        let after = common_prefix(base.get(at_base..).unwrap_or_default(), new.get(at_new..).unwrap_or_default());
        Self { new: at_new - before, base: at_base - before, len: before + after }
    }

    fn is_worth_it(&self) -> bool {
        self.len >= COPY_BYTES_MIN
    }
}

/// Says all of `new` in pieces. `None` where less than a quarter of it is found in the base.
pub(super) fn align(base: &[u8], new: &[u8]) -> Option<Vec<Piece>> {
    let fresh_max = new.len() / 4 * 3;
    let (mut pieces, mut samples) = (Vec::new(), None);
    // The ends of the last copy, and how much before it was fresh.
    let (mut from, mut at, mut fresh) = (0, 0, 0);
    let mut found = Some(Match { new: 0, base: 0, len: common_prefix(base, new) });
    while let Some(next) = found {
        fresh += next.new - at;
        // Only at the start may both have nothing in common.
        if next.len > 0 {
            pieces.push(Piece { fresh: next.new - at, copy: next.base..next.base + next.len });
        }
        (at, from) = (next.new + next.len, next.base + next.len);
        let bearable = fresh_max.checked_sub(fresh)?;
        found = rejoin(base, new, from, at).or_else(|| {
            let samples = samples.get_or_insert_with(|| Samples::of(base));
            samples.find(base, new, at, bearable.min(VERDICT_BYTES.max(new.len() / 4)))
        });
    }
    let rest = new.len() - at;
    if rest > 0 {
        let end = base.len().min(from + rest);
        pieces.push(Piece { fresh: rest, copy: end..end });
    }
    (fresh + rest <= fresh_max).then_some(pieces)
}

/// The next stretch on the same diagonal, as after bytes that were overwritten.
fn rejoin(base: &[u8], new: &[u8], from: usize, at: usize) -> Option<Match> {
    let reach = |bytes: &[u8], start: usize| start..bytes.len().min(start + REJOIN_BYTES_MAX);
    let old_blocks = base.get(reach(base, from))?.chunks_exact(REJOIN_BLOCK_BYTES);
    let new_blocks = new.get(reach(new, at))?.chunks_exact(REJOIN_BLOCK_BYTES);
    let mut passed = 0;
    for (index, (old, fresh)) in old_blocks.zip(new_blocks).enumerate() {
        let offset = index * REJOIN_BLOCK_BYTES;
        if offset < passed || old != fresh {
            continue;
        }
        let found = Match::through(base, new, from + offset, at + offset, at);
        if found.is_worth_it() {
            return Some(found);
        }
        passed = found.new + found.len - at;
    }
    None
}

/// Some places of a base, to be found by what stands there.
struct Samples {
    distance: usize,
    /// Number of a sample and one, 0 for none, by the upper bits of its hash.
    table: Vec<u32>,
    shift: u32,
}

impl Samples {
    fn of(base: &[u8]) -> Self {
        let distance = (base.len() >> SAMPLES_LOG).next_power_of_two().max(SAMPLE_DISTANCE_MIN);
        let bits = (base.len() / distance).next_power_of_two().trailing_zeros() + 1;
        let shift = u64::BITS - bits;
        let mut table = vec![0_u32; 1 << bits];
        for (index, stretch) in base.chunks(distance).enumerate() {
            let Some(sample) = stretch.first_chunk().filter(|sample| !is_plain(sample)) else { continue };
            if let Some(slot) = table.get_mut((SampleHash::of(sample).0 >> shift) as usize)
                && *slot == 0
                && let Ok(number) = u32::try_from(index + 1)
            {
                *slot = number;
            }
        }
        Self { distance, table, shift }
    }

    /// The first stretch that holds a sample and is long enough, among the next `reach` bytes of new content at `at`.
    fn find(&self, base: &[u8], new: &[u8], at: usize, reach: usize) -> Option<Match> {
        let mut rolling = SampleHash::of(new.get(at..)?.first_chunk()?);
        let entering = new.get(at + SAMPLE_BYTES..)?.iter().map(Some).chain([None]);
        for (place, (first, next)) in (at..).zip(new.get(at..)?.iter().zip(entering)).take(reach) {
            if let Some(found) = self.lookup(base, new, rolling.0, place, at) {
                return Some(found);
            }
            rolling.roll(*first, *next?);
        }
        None
    }

    #[inline]
    fn lookup(&self, base: &[u8], new: &[u8], hash: u64, place: usize, floor: usize) -> Option<Match> {
        let number = self.table.get((hash >> self.shift) as usize).copied().filter(|number| *number > 0)?;
        let start = (number as usize - 1) * self.distance;
        let same = base.get(start..start + SAMPLE_BYTES)? == new.get(place..place + SAMPLE_BYTES)?;
        let found = same.then(|| Match::through(base, new, start, place, floor))?;
        found.is_worth_it().then_some(found)
    }
}

/// The hash of a sample, which rolls over content.
#[derive(Debug, Clone, Copy)]
pub(super) struct SampleHash(pub(super) u64);

impl SampleHash {
    /// What a byte counts for when it leaves.
    const LEAVING: u64 = MULTIPLIER.wrapping_pow(SAMPLE_BYTES as u32);

    pub(super) fn of(sample: &[u8; SAMPLE_BYTES]) -> Self {
        Self(sample.iter().fold(0, |hash: u64, byte| hash.wrapping_mul(MULTIPLIER).wrapping_add(u64::from(*byte))))
    }

    /// Goes on by one byte.
    #[inline]
    pub(super) fn roll(&mut self, leaves: u8, enters: u8) {
        let gone = Self::LEAVING.wrapping_mul(u64::from(leaves));
        self.0 = self.0.wrapping_mul(MULTIPLIER).wrapping_add(u64::from(enters)).wrapping_sub(gone);
    }
}

/// Whether nothing but one byte stands there: such samples are everywhere.
pub(super) fn is_plain(sample: &[u8; SAMPLE_BYTES]) -> bool {
    sample.iter().all(|byte| Some(byte) == sample.first())
}

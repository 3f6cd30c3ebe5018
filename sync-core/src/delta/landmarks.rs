//! Where content goes on in a base that is too large to be held in memory: some places of it, found by what stands there.

use super::align::{SAMPLE_BYTES, SampleHash, is_plain};

/// Landmarks of a base, as a power of two at most: a table that takes 2 MiB.
const LANDMARKS_LOG: u32 = 17;

/// Landmarks lie at least so many bytes apart.
const DISTANCE_MIN: u64 = 4 << 10;

/// Some places of a base.
#[derive(Debug)]
pub struct Landmarks {
    distance: u64,
    /// Number of a landmark and one, 0 for none, by the upper bits of its hash.
    table: Vec<u32>,
    shift: u32,
}

impl Landmarks {
    /// None yet, of a base of so many bytes.
    pub fn new(base_len: u64) -> Self {
        let distance = (base_len >> LANDMARKS_LOG).next_power_of_two().max(DISTANCE_MIN);
        let bits = (base_len / distance).next_power_of_two().trailing_zeros() + 1;
        Self { distance, table: vec![0; 1 << bits], shift: u64::BITS - bits }
    }

    /// Takes note of the landmarks that lie whole in `bytes`, which stand at `offset` of the base. The base is best handed
    /// over in parts of a multiple of 4 KiB.
    pub fn note(&mut self, offset: u64, bytes: &[u8]) {
        let first = offset.next_multiple_of(self.distance);
        let Ok(skipped) = usize::try_from(first - offset) else { return };
        let Ok(distance) = usize::try_from(self.distance) else { return };
        let stretches = bytes.get(skipped..).unwrap_or_default().chunks(distance);
        for (number, stretch) in (first / self.distance + 1..).zip(stretches) {
            let Some(sample) = stretch.first_chunk::<SAMPLE_BYTES>().filter(|sample| !is_plain(sample)) else {
                continue;
            };
            if let Some(slot) = self.table.get_mut((SampleHash::of(sample).0 >> self.shift) as usize)
                && *slot == 0
                && let Ok(number) = u32::try_from(number)
            {
                *slot = number;
            }
        }
    }

    /// The first place in `new` that may be one of the landmarks, and where in the base that is, of those that `is_same`
    /// says are. It is given both places.
    pub fn find(&self, new: &[u8], mut is_same: impl FnMut(usize, u64) -> bool) -> Option<(usize, u64)> {
        let mut hash = SampleHash::of(new.first_chunk()?);
        let entering = new.get(SAMPLE_BYTES..)?.iter().map(Some).chain([None]);
        for (place, (leaves, enters)) in new.iter().zip(entering).enumerate() {
            let number = self.table.get((hash.0 >> self.shift) as usize).copied().unwrap_or_default();
            if let Some(index) = number.checked_sub(1) {
                let there = u64::from(index) * self.distance;
                if is_same(place, there) {
                    return Some((place, there));
                }
            }
            hash.roll(*leaves, *enters?);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    fn noise(len: usize, seed: u8) -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
        bytes
    }

    #[test]
    fn what_has_moved_far_is_found() {
        let base = noise(1 << 20, 1);
        let mut landmarks = Landmarks::new(base.len() as u64);
        for (index, part) in base.chunks(64 << 10).enumerate() {
            landmarks.note(index as u64 * (64 << 10), part);
        }
        // 5,000 bytes hold one landmark at least.
        let new = [&noise(3_000, 2)[..], &base[700_001..705_001]].concat();
        let find =
            |new: &[u8]| landmarks.find(new, |place, there| new[place..].starts_with(&base[there as usize..][..64]));
        let (place, there) = find(&new).unwrap();
        assert_eq!(there as usize - 700_001, place - 3_000);
        assert!(place - 3_000 < DISTANCE_MIN as usize);
        // Nothing is found where nothing is, nor in what is too short to be looked at.
        assert_eq!(find(&noise(100_000, 3)), None);
        assert_eq!(landmarks.find(&new[..SAMPLE_BYTES - 1], |_, _| true), None);
        assert_eq!(Landmarks::new(0).find(&new, |_, _| true), None);
    }

    #[test]
    fn zeros_are_no_landmark() {
        let mut landmarks = Landmarks::new(1 << 20);
        landmarks.note(0, &vec![0; 1 << 20]);
        assert_eq!(landmarks.find(&vec![0; 100_000], |_, _| true), None);
    }
}

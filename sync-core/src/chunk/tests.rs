#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::HashSet;

use proptest::{collection::vec, prelude::*};

use super::*;

fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn lengths(data: &[u8], sizes: &Sizes) -> Vec<usize> {
    cut(data, sizes).map(|chunk| chunk.len()).collect()
}

/// Checks that the chunks cover `data` and keep to their sizes.
fn check(data: &[u8], sizes: &Sizes) {
    let mut end = 0;
    for chunk in cut(data, sizes) {
        assert_eq!(chunk.start, end);
        assert!(!chunk.is_empty() && chunk.len() <= sizes.max());
        assert!(chunk.len() >= sizes.min() || chunk.end == data.len(), "{chunk:?} of {}", data.len());
        end = chunk.end;
    }
    assert_eq!(end, data.len());
}

#[test]
fn small_files_are_one_chunk() {
    let data = noise(ONE_CHUNK_BYTES as usize - 1, 1);
    assert_eq!(lengths(&data, &sizes(data.len() as u64)), [data.len()]);
    assert_eq!(lengths(b"x", &sizes(1)), [1]);
    assert_eq!(lengths(b"", &sizes(0)), [0; 0]);
    assert!(lengths(&noise(ONE_CHUNK_BYTES as usize, 1), &sizes(ONE_CHUNK_BYTES)).len() > 1);
}

#[test]
fn averages_are_what_they_say() {
    for sizes in [sizes(1 << 20), sizes(LARGE_FILE_BYTES + 1)] {
        let data = noise(512 * sizes.avg(), 2);
        let average = data.len() / cut(&data, &sizes).count();
        assert!((sizes.avg() * 3 / 4..sizes.avg() * 3 / 2).contains(&average), "{average} for {sizes:?}");
    }
}

#[test]
fn cuts_are_pinned() {
    // Both sides, of whatever version, cut alike: a new release of the crate must not move a cut.
    let data = noise(200_000, 7);
    let text: Vec<u8> = (0_u32..40_000).flat_map(|number| number.to_string().into_bytes()).collect();
    assert_eq!(lengths(&data, &MEDIUM), [23688, 19087, 16571, 48485, 18047, 29931, 22433, 21758]);
    assert_eq!(lengths(&data, &LARGE), [155809, 44191]);
    assert_eq!(lengths(&text, &MEDIUM), [7715, 16038, 22348, 21057, 16937, 21213, 25185, 21918, 8842, 25427, 2210]);
}

#[test]
fn cuts_are_those_of_the_crates_own_iterator() {
    let data = noise(3 << 20, 8);
    for sizes in [MEDIUM, LARGE] {
        let [min, avg, max] = [sizes.min(), sizes.avg(), sizes.max()].map(|size| size as u32);
        let theirs: Vec<usize> = fastcdc::v2020::FastCDC::new(&data, min, avg, max).map(|chunk| chunk.length).collect();
        assert_eq!(lengths(&data, &sizes), theirs);
    }
}

#[test]
fn an_insertion_moves_no_cut_but_those_beside_it() {
    let base = noise(2 << 20, 3);
    let mut new = base.clone();
    new.insert(1_000_000, b'x');
    let sizes = sizes(base.len() as u64);
    let known: HashSet<&[u8]> = cut(&base, &sizes).map(|chunk| &base[chunk]).collect();
    let missing = cut(&new, &sizes).filter(|chunk| !known.contains(&new[chunk.clone()])).count();
    assert!((1..=3).contains(&missing), "{missing} chunks differ");
}

#[test]
fn data_without_cuts_comes_in_largest_chunks() {
    let lengths = lengths(&vec![0; 300_000], &sizes(300_000));
    assert_eq!(lengths, [65_536, 65_536, 65_536, 65_536, 37_856]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn however_bytes_arrive_the_cuts_are_the_same(
        blocks in vec((0_usize..150_000, any::<u64>(), any::<bool>()), 0..4),
        pushes in vec(1_usize..200_000, 1..8),
        file_len in prop_oneof![Just(1_u64), Just(1 << 20), Just(1 << 30)],
    ) {
        let data: Vec<u8> =
            blocks.iter().flat_map(|&(len, seed, zero)| if zero { vec![0; len] } else { noise(len, seed) }).collect();
        let sizes = sizes(file_len);
        check(&data, &sizes);

        let mut chunker = Chunker::new(sizes);
        let mut chunks = Vec::new();
        let mut rest = &data[..];
        for &len in pushes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (now, later) = rest.split_at(len.min(rest.len()));
            chunker.push(now, |chunk| chunks.push(chunk.to_vec()));
            prop_assert!(chunker.pending.len() < sizes.max());
            rest = later;
        }
        chunker.finish(|chunk| chunks.push(chunk.to_vec()));
        let whole: Vec<&[u8]> = cut(&data, &sizes).map(|chunk| &data[chunk]).collect();
        prop_assert_eq!(chunks, whole);
    }
}

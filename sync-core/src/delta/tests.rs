#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::{collection::vec, prelude::*};

use super::{format::DICTIONARY_MAGIC, *};

mod large;

/// Text that looks like source: lines that resemble each other, no two alike.
fn source(len: usize, seed: u32) -> Vec<u8> {
    let mut text = Vec::with_capacity(len + 80);
    let mut state = seed | 1;
    while text.len() < len {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let word = ["index", "path", "entry", "stage", "commit"][(state >> 13) as usize % 5];
        text.extend_from_slice(
            format!("    let {word}_{} = self.{word}.get({})?;\n", state >> 20, state % 977).as_bytes(),
        );
    }
    text.truncate(len);
    text
}

/// Bytes that no compressor makes smaller.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn replaced(base: &[u8], at: usize, removed: usize, inserted: &[u8]) -> Vec<u8> {
    let mut new = base.to_vec();
    new.splice(at..at + removed, inserted.iter().copied());
    new
}

/// Encodes with both efforts, checks that what was encoded comes back, and returns the smaller payload's length.
fn check(base: &[u8], new: &[u8]) -> usize {
    let mut encoder = Encoder::new();
    let mut decoder = Decoder::new();
    let sizes = [Effort::Fast, Effort::Thorough].map(|effort| {
        let delta = encoder.encode(base, new, effort);
        assert!(delta.len() <= new.len() + Encoder::OVERHEAD_BYTES_MAX, "{} for {}", delta.len(), new.len());
        assert_eq!(decoder.decode(base, &delta, new.len() as u64).as_deref(), Ok(new));
        // Every other length is refused.
        for len in [new.len() as u64 + 1, (new.len() as u64).wrapping_sub(1), u64::MAX, 1 << 40] {
            assert!(decoder.decode(base, &delta, len).is_err(), "declared {len} for {}", new.len());
        }
        delta.len()
    });
    sizes[0].min(sizes[1])
}

#[test]
fn the_bytes_are_those_of_the_specification() {
    let encode = |base: &[u8], new: &[u8]| Encoder::new().encode(base, new, Effort::Fast);
    assert_eq!(encode(b"abc", b"abc"), [0, 3, 0]);
    assert_eq!(encode(b"abc", b"axc"), [0, 1, 1, b'x']);
    // Frames as another encoder may make them: one raw block, one run.
    assert_eq!(decode(b"abc", &[1, 1, 1, 0x20, 2, 0x11, 0, 0, b'x', b'y'], 4).as_deref(), Ok(&b"axyc"[..]));
    assert_eq!(decode(b"abc", &[2, 3, 0, 1, 2, 0x20, 5, 0x2b, 0, 0, b'z'], 8).as_deref(), Ok(&b"abczzzzz"[..]));
}

#[test]
fn one_line_in_a_source_file_fits_in_100_bytes() {
    let base = source(18_000, 7);
    let new = replaced(&base, 9_000, 40, b"    let outcome = self.commit(path, entry)?;");
    let payload = check(&base, &new);
    assert!(payload <= 100, "{payload} bytes");
}

#[test]
fn two_distant_lines_fit_in_100_bytes() {
    let base = source(18_000, 7);
    let new = replaced(&base, 15_000, 10, b"renamed_here");
    let new = replaced(&new, 200, 0, b"use std::collections::BTreeMap;\n");
    let payload = check(&base, &new);
    assert!(payload <= 100, "{payload} bytes");
}

#[test]
fn a_line_moved_far_costs_little() {
    let base = source(200_000, 3);
    let line = base[1_000..5_000].to_vec();
    let new = replaced(&replaced(&base, 1_000, 4_000, b""), 150_000, 0, &line);
    let payload = check(&base, &new);
    assert!(payload <= 150, "{payload} bytes");
}

#[test]
fn a_large_base_is_found_beyond_the_match_finders_tables() {
    // Noise has no matches but those in the base; every one that is missed shows.
    let base = noise(8 << 20, 1);
    let new = replaced(&replaced(&base, 7_500_000, 3, b"other"), 500, 0, b"inserted");
    for effort in [Effort::Fast, Effort::Thorough] {
        let delta = Encoder::new().encode(&base, &new, effort);
        assert!(delta.len() <= 1_000, "{} bytes with {effort:?}", delta.len());
        assert!(decode(&base, &delta, new.len() as u64).unwrap() == new);
    }
}

#[test]
fn extremes() {
    let text = source(300_000, 5);
    check(b"", b"");
    check(b"", b"x");
    check(b"x", b"");
    check(b"", &text);
    check(&text, b"");
    check(&text, &text[1..]);
    check(&text[1..], &text);
    check(b"aaaa", b"aaaaaaa");
    check(b"aaaaaaa", b"aaaa");
    check(&[0; 100_000], &[0; 300_001]);
    check(&noise(5_000, 1), &noise(5_000, 2));
    assert!(check(&text, &text) <= 8);
}

#[test]
fn a_base_that_begins_like_a_zstd_dictionary_is_content() {
    let mut base = DICTIONARY_MAGIC.to_vec();
    base.extend_from_slice(&source(400_000, 9));
    for len in [20_000, 400_000] {
        let base = &base[..len];
        let new = replaced(&replaced(base, 100, 5, b"one"), len - 900, 9, b"another");
        let payload = check(base, &new);
        assert!(payload <= 150, "{payload} bytes");
        // In the middle of the base, where the stretch around a small edit may begin with it.
        let inner = [&source(50_000, 2)[..], base].concat();
        let at = 50_000 + 16_384;
        check(&inner, &replaced(&inner, at, 30, b"an edit that is longer than nothing at all"));
    }
}

#[test]
fn effort_bounds_what_of_a_large_base_is_looked_at() {
    let base = noise(1 << 20, 4);
    // Of a small edit in the middle, what is far away is out of reach of the fast way and within that of the thorough.
    let far = base[..2_000].to_vec();
    let new = replaced(&base, 900_000, 0, &far);
    let mut encoder = Encoder::new();
    assert!(encoder.encode(&base, &new, Effort::Fast).len() >= 2_000);
    let thorough = encoder.encode(&base, &new, Effort::Thorough).len();
    assert!(thorough <= 60, "{thorough} bytes");
}

#[test]
fn payload_has_no_spare_capacity_worth_a_name() {
    let base = source(200_000, 1);
    let new = replaced(&replaced(&base, 10, 3, b"abcdefg"), 190_000, 2, b"hijklmn");
    let delta = Encoder::new().encode(&base, &new, Effort::Fast);
    assert!(delta.capacity() <= 2 * delta.len() + 64, "{} for {}", delta.capacity(), delta.len());
}

#[test]
fn lies_have_names() {
    let base = source(1_000, 1);
    let check = |delta: &[u8], len: u64, expected: DeltaError| assert_eq!(decode(&base, delta, len), Err(expected));
    check(&[], 0, DeltaError::Truncated);
    check(&[0], 0, DeltaError::Truncated);
    check(&[0, 0x80], 0, DeltaError::Truncated);
    check(&[0, 0x80, 0, 0], 0, DeltaError::MalformedNumber);
    check(&[9, 0, 0], 0, DeltaError::UnknownKind(9));
    // 600 and 600 of 1,000 bytes.
    check(&[0, 0xd8, 4, 0xd8, 4], 1_200, DeltaError::OutsideBase { base: 1_000 });
    check(&[2, 0, 0, 0xd8, 4, 0xd8, 4, 1], 9, DeltaError::OutsideBase { base: 1_000 });
    check(&[0, 5, 5, 1, 2], 11, DeltaError::WrongLength { declared: 11 });
    check(&[0, 5, 5, 1, 2], 9, DeltaError::WrongLength { declared: 9 });
    check(&[0, 5, 5, 1, 2], 13, DeltaError::WrongLength { declared: 13 });
    // A few bytes of frame can't stand for a terabyte: refused before memory is asked for.
    check(&[1, 0, 0, 1, 2, 3, 4], 1 << 40, DeltaError::WrongLength { declared: 1 << 40 });
    assert!(matches!(decode(&base, &[1, 0, 0, 0xff, 2, 3, 4, 5], 100), Err(DeltaError::Zstd(_))));
    let mut dictionary = DICTIONARY_MAGIC.to_vec();
    dictionary.extend_from_slice(&base);
    assert!(matches!(decode(&dictionary, &[1, 0, 0, 0, 0x58, 1, 0, 0], 100), Err(DeltaError::Zstd(_))));
}

#[test]
fn a_bomb_stops_at_the_declared_length() {
    // 64 MiB of zeros in some kilobytes, declared as 1 MiB.
    let delta = Encoder::new().encode(b"", &vec![0; 64 << 20], Effort::Fast);
    assert!(delta.len() < 10_000);
    let mut decoder = Decoder::new();
    assert!(matches!(decoder.decode(b"", &delta, 1 << 20), Err(DeltaError::Zstd(_))));
    // The decoder is as good as new after it.
    let base = source(5_000, 1);
    let new = replaced(&base, 100, 3, &source(2_000, 2));
    let delta = Encoder::new().encode(&base, &new, Effort::Fast);
    assert_eq!(decoder.decode(&base, &delta, new.len() as u64), Ok(new));
}

/// A base, and a list of edits made to it one after the other.
fn edited() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let base = prop_oneof![
        vec(any::<u8>(), 0..300),
        (0_usize..40_000, any::<u32>()).prop_map(|(len, seed)| source(len, seed)),
        (0_usize..3_000, any::<u64>()).prop_map(|(len, seed)| noise(len, seed)),
        Just(source(300_000, 1)),
    ];
    let edits = vec((any::<prop::sample::Index>(), 0_usize..5_000, vec(any::<u8>(), 0..200)), 0..6);
    (base, edits).prop_map(|(base, edits)| {
        let mut new = base.clone();
        for (at, removed, inserted) in edits {
            let at = at.index(new.len() + 1);
            let end = (at + removed).min(new.len());
            new.splice(at..end, inserted);
        }
        (base, new)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn what_is_encoded_comes_back((base, new) in edited()) {
        check(&base, &new);
    }

    #[test]
    fn unrelated_content_comes_back(base in vec(any::<u8>(), 0..2_000), new in vec(any::<u8>(), 0..2_000)) {
        check(&base, &new);
    }

    #[test]
    fn garbage_is_refused_or_keeps_to_the_declared_length(
        base in vec(any::<u8>(), 0..200),
        kind in 0_u8..4,
        body in vec(any::<u8>(), 0..200),
        len in 0_u64..5_000,
    ) {
        let delta = [&[kind][..], &body].concat();
        if let Ok(new) = decode(&base, &delta, len) {
            prop_assert_eq!(new.len() as u64, len);
            prop_assert_eq!(new.capacity() as u64, len);
        }
    }

    #[test]
    fn damage_is_refused_or_keeps_to_the_declared_length(
        (base, new) in edited(),
        flips in vec((any::<prop::sample::Index>(), 1_u8..), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut delta = Encoder::new().encode(&base, &new, Effort::Fast);
        for (at, flip) in flips {
            let at = at.index(delta.len());
            delta[at] ^= flip;
        }
        let mut decoder = Decoder::new();
        for delta in [&delta[..], &delta[..cut.index(delta.len())]] {
            if let Ok(decoded) = decoder.decode(&base, delta, new.len() as u64) {
                prop_assert_eq!(decoded.len(), new.len());
            }
        }
    }

    #[test]
    fn another_base_is_no_panic((base, new) in edited(), other in vec(any::<u8>(), 0..2_000)) {
        let delta = Encoder::new().encode(&base, &new, Effort::Fast);
        if let Ok(decoded) = decode(&other, &delta, new.len() as u64) {
            prop_assert_eq!(decoded.len(), new.len());
        }
    }
}

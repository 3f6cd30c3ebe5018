//! Contents that are said in sections: found where it has moved to, bounded in what a section holds.

use sync_proto::limits::{SECTION_FRESH_BYTES_MAX, SECTION_PIECES_MAX};

use super::*;
use crate::delta::{
    compress::{Compressor, Likeness},
    format::write_number,
    plan::Piece,
};

/// One change of a large content; places and lengths in thousandths of it.
#[derive(Debug, Clone)]
enum Change {
    Insert { at: usize, len: usize },
    Delete { at: usize, len: usize },
    Overwrite { at: usize, len: usize },
    Move { from: usize, len: usize, to: usize },
    Append { len: usize },
    Truncate { at: usize },
    Swap { at: usize },
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>, seed: u64) {
        let unit = content.len() / 1_000;
        let stretch = |at: usize, len: usize, end: usize| (at * unit).min(end)..((at + len) * unit).min(end);
        let end = content.len();
        match *self {
            Self::Insert { at, len } => drop(content.splice(at * unit..at * unit, noise(len, seed))),
            Self::Delete { at, len } => drop(content.drain(stretch(at, len, end))),
            Self::Overwrite { at, len } => {
                let fresh = noise(len.min(end - at * unit), seed);
                content[at * unit..][..fresh.len()].copy_from_slice(&fresh);
            }
            Self::Move { from, len, to } => {
                let moved: Vec<u8> = content.drain(stretch(from, len, end)).collect();
                let to = (to * unit).min(content.len());
                content.splice(to..to, moved);
            }
            Self::Append { len } => content.extend(noise(len, seed)),
            Self::Truncate { at } => content.truncate(at * unit),
            Self::Swap { at } => content.rotate_left(at * unit),
        }
    }
}

fn changed(base: &[u8], changes: &[Change]) -> Vec<u8> {
    let mut new = base.to_vec();
    for (change, seed) in changes.iter().zip(1_000..) {
        change.apply(&mut new, seed);
    }
    new
}

#[test]
fn a_change_costs_what_is_fresh_in_it() {
    let base = noise(2 << 20, 11);
    let check = |changes: &[Change], payload_max: usize| {
        let payload = check(&base, &changed(&base, changes));
        assert!(payload <= payload_max, "{payload} bytes for {changes:?}");
    };
    check(&[Change::Insert { at: 300, len: 1_000 }], 1_020);
    check(&[Change::Delete { at: 300, len: 5 }], 20);
    check(&[Change::Overwrite { at: 300, len: 5_000 }], 5_020);
    check(&[Change::Move { from: 300, len: 7, to: 900 }], 40);
    check(&[Change::Move { from: 900, len: 7, to: 300 }], 40);
    check(&[Change::Append { len: 300 }], 320);
    check(&[Change::Truncate { at: 500 }], 20);
    check(&[Change::Swap { at: 400 }], 30);
    check(
        &[
            Change::Insert { at: 100, len: 200 },
            Change::Overwrite { at: 700, len: 200 },
            Change::Delete { at: 500, len: 3 },
            Change::Swap { at: 400 },
            Change::Insert { at: 800, len: 200 },
        ],
        700,
    );
}

#[test]
fn what_is_overwritten_in_place_costs_what_differs() {
    let base = noise(4 << 20, 12);
    let mut new = base.clone();
    for (page, seed) in (0..base.len()).step_by(20_000).zip(1..) {
        let stretch = &mut new[page + 500..page + 540];
        stretch.copy_from_slice(&noise(40, seed));
    }
    let payload = check(&base, &new);
    assert!(payload <= 210 * (40 + 4), "{payload} bytes for 210 stretches of 40");
}

#[test]
fn text_edited_in_many_places_costs_about_its_lines() {
    let base = source(2_000_000, 3);
    let mut new = base.clone();
    for place in (0..20).map(|edit| edit * 90_000 + 1_234) {
        new.splice(place..place + 7, b"renamed_here, and a little longer".iter().copied());
    }
    let payload = check(&base, &new);
    assert!(payload <= 20 * 16, "{payload} bytes for 20 edits");
}

#[test]
fn a_delta_has_as_many_sections_as_its_bounds_ask_for() {
    // More pieces than one section holds.
    let base = noise(200 * (SECTION_PIECES_MAX + 2_000), 13);
    let mut new = base.clone();
    new.iter_mut().step_by(200).for_each(|byte| *byte ^= 1);
    let payload = check(&base, &new);
    assert!(payload <= new.len() / 200 * 5, "{payload} bytes for a byte in each 200");

    // More that is fresh than one section holds.
    let base = noise(SECTION_FRESH_BYTES_MAX + (2 << 20), 14);
    let mut new = base.clone();
    new.splice(5_000_000..5_000_000, noise(SECTION_FRESH_BYTES_MAX + (1 << 20), 15));
    let delta = Encoder::new().encode(&base, &new, Effort::Fast);
    assert!(delta.len() <= SECTION_FRESH_BYTES_MAX + (1 << 20) + 100, "{} bytes", delta.len());
    assert!(decode(&base, &delta, new.len() as u64).unwrap() == new);
}

#[test]
fn what_would_be_taken_for_a_dictionary_is_not_referred_to() {
    let mut base = DICTIONARY_MAGIC.to_vec();
    base.extend(noise(400_000, 16));
    let new = replaced(&replaced(&base, 1_000, 100, &base[300_000..300_100]), 350_000, 50, b"another");
    check(&base, &new);
}

#[test]
fn unrelated_content_of_any_size_costs_no_more_than_itself() {
    check(&noise(1 << 20, 17), &noise(1 << 20, 18));
    check(&noise(100, 17), &noise(1 << 20, 18));
    check(&vec![0; 1 << 20], &noise(1 << 20, 18));
    check(&vec![0; 1 << 20], &vec![0; 3 << 20]);
}

#[test]
fn sections_are_those_of_the_specification() {
    let check = |delta: &[u8], expected: &[u8]| {
        assert_eq!(decode(b"abcdefgh", delta, expected.len() as u64).as_deref(), Ok(expected));
    };
    check(&[3, 2, 0, 6, 1, 2, 3, 0, 9, 2, 1, b'X'], b"Xcdeab");
    // Five bytes as a run, and what comes after those that they stand in place of.
    check(&[3, 1, 2, 3, 5, 0, 3, 6, 0x20, 5, 0x2b, 0, 0, b'z'], b"zzzzzfgh");
    // Two sections; the second goes on where the first ended.
    check(&[3, 1, 0, 3, 0, 0, 2, 0, 1, 0, 3, 1, 0, 2, 1, b'X'], b"abXde");
    check(&[3], b"");
}

#[test]
fn sections_that_lie_have_names() {
    let base = noise(1_000, 1);
    let check = |delta: &[u8], len: u64, expected: DeltaError| {
        assert_eq!(decode(&base, delta, len), Err(expected), "{delta:?}");
    };
    check(&[3], 1, DeltaError::WrongLength { declared: 1 });
    check(&[3, 1], 1, DeltaError::Truncated);
    check(&[3, 1, 0, 9, 0], 1, DeltaError::Truncated);
    check(&[3, 1, 0, 3, 1, 0, 0], 1, DeltaError::Truncated);
    check(&[3, 1, 0, 3, 2, 0, 0, 1, b'x'], 2, DeltaError::MalformedSection);
    check(&[3, 1, 0, 3, 1, 0, 0, 2, b'x', b'y'], 1, DeltaError::MalformedSection);
    // No piece, more than there may be, an unknown form, a plan that is too long and one that goes on.
    check(&[3, 0, 0, 0, 0], 0, DeltaError::MalformedSection);
    check(&[3, 0x81, 0x80, 1, 0, 0, 0], 0, DeltaError::MalformedSection);
    check(&[3, 1, 4, 3, 0, 0, 0, 0], 0, DeltaError::MalformedSection);
    check(&[3, 1, 0, 0xff, 0xff, 0xff, 1], 0, DeltaError::Truncated);
    check(&[3, 1, 0, 4, 0, 0, 0, 0, 0], 0, DeltaError::MalformedSection);
    // Copies from 990 to 1,090, and of 1,001 bytes from before the base.
    check(&[3, 1, 0, 4, 0, 0xbc, 0x0f, 100, 0], 100, DeltaError::OutsideBase { base: 1_000 });
    check(&[3, 1, 0, 4, 0, 1, 0xe9, 7, 0], 1_001, DeltaError::OutsideBase { base: 1_000 });
    // Few bytes that stand for many: more than were declared, and more than a section may hold.
    check(&[3, 2, 0, 9, 0, 0, 0xe8, 7, 0, 0xcf, 0x0f, 0xe8, 7, 0], 1_999, DeltaError::WrongLength { declared: 1_999 });
    // Five bytes in a frame, for eight million and for more than there may be.
    for fresh in [SECTION_FRESH_BYTES_MAX, SECTION_FRESH_BYTES_MAX + 1] {
        let mut plan = Vec::new();
        Piece { fresh, copy: 1_000..1_000 }.write(0, &mut plan);
        let delta = [&[3, 1, 2, plan.len() as u8], &plan[..], &[6, 0x20, 5, 0x2b, 0, 0, b'z']].concat();
        check(&delta, fresh as u64, DeltaError::MalformedSection);
    }
    // A piece that says nothing.
    check(&[3, 2, 0, 6, 0, 0, 5, 0, 0, 0, 0], 5, DeltaError::MalformedSection);
    assert!(matches!(decode(&base, &[3, 1, 2, 3, 5, 0, 0, 4, 0xff, 1, 2, 3], 5), Err(DeltaError::Zstd(_))));
}

#[test]
fn few_bytes_do_not_make_a_reader_copy_for_long() {
    // A fresh byte, and a copy from 5,000 bytes ahead or as far back, again and again: each second one has 4 KiB near it.
    let base = noise(1 << 20, 1);
    let decoded = |pieces: usize| {
        let (mut plan, mut from) = (Vec::new(), 0);
        for piece in 0..pieces {
            let start = if piece % 2 == 0 { 5_000 } else { 0 };
            Piece { fresh: 1, copy: start..start + 1 }.write(from, &mut plan);
            from = start + 1;
        }
        let mut delta = vec![3];
        write_number(pieces, &mut delta);
        delta.push(3);
        for part in [&plan, &vec![b'z'; pieces]] {
            let frame = Compressor::default().frame(&[], part, Likeness::Near, Effort::Fast).unwrap();
            write_number(frame.len(), &mut delta);
            delta.extend_from_slice(&frame);
        }
        assert!(delta.len() < 300, "{} bytes", delta.len());
        decode(&base, &delta, 2 * pieces as u64)
    };
    assert_eq!(decoded(100).map(|new| new.len()), Ok(200));
    assert_eq!(decoded(8_192), Err(DeltaError::MalformedSection));
}

/// A change of any kind.
fn change() -> impl Strategy<Value = Change> {
    let place = || 0_usize..1_000;
    prop_oneof![
        (place(), 0_usize..3_000).prop_map(|(at, len)| Change::Insert { at, len }),
        (place(), 0_usize..30).prop_map(|(at, len)| Change::Delete { at, len }),
        (place(), 0_usize..3_000).prop_map(|(at, len)| Change::Overwrite { at, len }),
        (place(), 0_usize..30, place()).prop_map(|(from, len, to)| Change::Move { from, len, to }),
        (0_usize..3_000).prop_map(|len| Change::Append { len }),
        (900_usize..1_000).prop_map(|at| Change::Truncate { at }),
        place().prop_map(|at| Change::Swap { at }),
    ]
}

fn large_and_changed() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let base = prop_oneof![
        (200_000_usize..600_000, any::<u32>()).prop_map(|(len, seed)| source(len, seed)),
        (200_000_usize..600_000, any::<u64>()).prop_map(|(len, seed)| noise(len, seed)),
        // What repeats itself is found everywhere.
        (1_usize..3_000, any::<u64>()).prop_map(|(len, seed)| noise(len, seed).repeat(500_000 / len)),
    ];
    (base, vec(change(), 1..12)).prop_map(|(base, changes)| {
        let new = changed(&base, &changes);
        (base, new)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn large_content_comes_back((base, new) in large_and_changed()) {
        check(&base, &new);
    }

    #[test]
    fn damaged_sections_keep_to_the_declared_length(
        (base, new) in large_and_changed(),
        flips in vec((any::<prop::sample::Index>(), 1_u8..), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut delta = Encoder::new().encode(&base, &new, Effort::Fast);
        for (at, flip) in flips {
            let at = at.index(delta.len());
            delta[at] ^= flip;
        }
        for delta in [&delta[..], &delta[..cut.index(delta.len())]] {
            if let Ok(decoded) = decode(&base, delta, new.len() as u64) {
                prop_assert_eq!(decoded.len(), new.len());
            }
        }
    }
}

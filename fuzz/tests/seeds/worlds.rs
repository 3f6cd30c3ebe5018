//! Choices in the small worlds: damage to a state, what a beta says, batches. Mostly numbers that mean something only to the
//! target, so they are drawn by a fixed rule.

use crate::numbered;

/// Numbers that look drawn, and are always the same.
fn drawn(seed: u32, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 11) as u8
    };
    (0..len).map(|_| next()).collect()
}

fn many(first: &[u8], len: usize) -> Vec<(String, Vec<u8>)> {
    numbered((1..=8).map(|seed| [first, &drawn(seed, len)].concat()))
}

pub(crate) fn chunks() -> Vec<(String, Vec<u8>)> {
    let seed = |len: u16, piece: u16, repeats: u16, content: &[u8]| {
        [&len.to_le_bytes()[..], &piece.to_le_bytes(), &repeats.to_le_bytes(), content].concat()
    };
    numbered([
        seed(0, 9, 0, b"one chunk"),
        seed(4, 100, 63, &drawn(1, 2000)),
        seed(8, 7000, 40, &drawn(2, 4000)),
        seed(u16::MAX, 1, 50, &drawn(3, 3000)),
        seed(u16::MAX, 65_000, 63, &[0; 4000]),
    ])
}

pub(crate) fn states() -> Vec<(String, Vec<u8>)> {
    let flip = |bits: u8, at: u16| [&[bits][..], &at.to_le_bytes()].concat();
    numbered([
        vec![2],
        vec![0],
        vec![1],
        [&[2][..], &flip(1, 0)].concat(),
        [&[2][..], &flip(0x80, 30)].concat(),
        [&[2][..], &flip(1, 0x8000)].concat(),
        [&[2][..], &flip(1, 0x8000 + 60), &flip(0, 0x8000 + 90)].concat(),
        [&[2][..], &flip(0, 0x8000 + 70)].concat(),
        [&[2][..], &flip(0, 40)].concat(),
    ])
}

pub(crate) fn peers() -> Vec<(String, Vec<u8>)> {
    let mut all = many(&[0], 300);
    let more = many(&[1, 0, 3, 2, 3, 2, 1], 300);
    all.extend(more.into_iter().map(|(name, bytes)| (format!("replica-{name}"), bytes)));
    all
}

pub(crate) fn batches() -> Vec<(String, Vec<u8>)> {
    many(&[], 200)
}

//! How a delta is laid out: a kind, the parts of the base that stay, and what comes between them.

use std::ops::Range;

use super::DeltaError;

/// The first bytes of a zstd dictionary with entropy tables. A stretch of the base that begins with them would be read as
/// one by zstd's one-shot calls, not as plain content: the encoder steps past them, the decoder refuses them.
pub(super) const DICTIONARY_MAGIC: [u8; 4] = 0xEC30_A437_u32.to_le_bytes();

/// Most bytes of a header: kind, prefix, suffix, and the start and length of a stretch of the base.
pub(super) const HEADER_BYTES_MAX: usize = 1 + 4 * VARINT_BYTES_MAX;

/// Fewest bytes of a header: kind, prefix, suffix.
pub(super) const HEADER_BYTES_MIN: usize = 3;

/// Most bytes of a `u64`, seven bits to a byte.
const VARINT_BYTES_MAX: usize = 10;

const KIND_RAW: u8 = 0;
const KIND_ZSTD: u8 = 1;
const KIND_ZSTD_NEAR: u8 = 2;

/// The first byte of a delta in sections, which has no such header.
pub(super) const KIND_SECTIONS: u8 = 3;

/// How the middle of the new content is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Middle {
    /// As it is.
    Raw,
    /// As a zstd frame without magic that may refer to this part of the base.
    Zstd(Range<usize>),
}

/// What stands before the middle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    /// How many bytes at the start are those of the base.
    pub(super) prefix: usize,
    /// How many bytes at the end are those of the base.
    pub(super) suffix: usize,
    /// How the bytes between them are said.
    pub(super) middle: Middle,
}

impl Header {
    /// Appends the header of a delta against a base of `base_len` bytes.
    pub(super) fn write(&self, base_len: usize, out: &mut Vec<u8>) {
        let (kind, near) = match &self.middle {
            Middle::Raw => (KIND_RAW, None),
            Middle::Zstd(range) if *range == (0..base_len) => (KIND_ZSTD, None),
            Middle::Zstd(range) => (KIND_ZSTD_NEAR, Some(range)),
        };
        out.push(kind);
        write_number(self.prefix, out);
        write_number(self.suffix, out);
        if let Some(range) = near {
            write_number(range.start, out);
            write_number(range.len(), out);
        }
    }

    /// Reads a header; what is left of `delta` is the middle. All that it says of the base is within it.
    pub(super) fn read<'a>(delta: &'a [u8], base: &[u8]) -> Result<(Self, &'a [u8]), DeltaError> {
        let (&kind, mut rest) = delta.split_first().ok_or(DeltaError::Truncated)?;
        let prefix = read_number(&mut rest)?;
        let suffix = read_number(&mut rest)?;
        if prefix.checked_add(suffix).is_none_or(|kept| kept > base.len()) {
            return Err(DeltaError::OutsideBase { base: base.len() });
        }
        let middle = match kind {
            KIND_RAW => Middle::Raw,
            KIND_ZSTD => Middle::Zstd(0..base.len()),
            KIND_ZSTD_NEAR => {
                let start = read_number(&mut rest)?;
                let end = start.checked_add(read_number(&mut rest)?).filter(|&end| end <= base.len());
                Middle::Zstd(start..end.ok_or(DeltaError::OutsideBase { base: base.len() })?)
            }
            unknown => return Err(DeltaError::UnknownKind(unknown)),
        };
        Ok((Self { prefix, suffix, middle }, rest))
    }
}

/// Appends seven bits a byte, the lowest first, the high bit set on all but the last.
pub(super) fn write_number(number: usize, out: &mut Vec<u8>) {
    let mut left = number as u64;
    while left >= 0x80 {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

/// Takes a number off the front. Refuses one that is longer than need be, or larger than memory can be.
pub(super) fn read_number(rest: &mut &[u8]) -> Result<usize, DeltaError> {
    let mut number = 0_u64;
    for index in 0..VARINT_BYTES_MAX {
        let (&byte, after) = rest.split_first().ok_or(DeltaError::Truncated)?;
        *rest = after;
        let bits = u64::from(byte & 0x7f);
        let shift = 7 * index as u32;
        if bits.leading_zeros() < shift {
            return Err(DeltaError::MalformedNumber);
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            let padded = byte == 0 && index > 0;
            return usize::try_from(number).ok().filter(|_| !padded).ok_or(DeltaError::MalformedNumber);
        }
    }
    Err(DeltaError::MalformedNumber)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_come_back(number: usize, tail: u8) {
            let mut bytes = Vec::new();
            write_number(number, &mut bytes);
            bytes.push(tail);
            let mut rest = &bytes[..];
            prop_assert_eq!(read_number(&mut rest), Ok(number));
            prop_assert_eq!(rest, &[tail][..]);
        }
    }

    #[test]
    fn numbers_have_one_form() {
        let check = |bytes: &[u8], expected| assert_eq!(read_number(&mut &bytes[..]), expected, "{bytes:x?}");
        check(&[0], Ok(0));
        check(&[0x7f], Ok(127));
        check(&[0x80, 1], Ok(128));
        check(&[0x80, 0], Err(DeltaError::MalformedNumber));
        check(&[0x80], Err(DeltaError::Truncated));
        check(&[], Err(DeltaError::Truncated));
        check(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], Ok(usize::MAX));
        check(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2], Err(DeltaError::MalformedNumber));
        check(&[0xff; 11], Err(DeltaError::MalformedNumber));
    }
}

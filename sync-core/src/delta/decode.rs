//! A delta to new content. The delta comes from a peer and is believed in nothing.

use std::{borrow::Cow, io::Cursor};

use zstd_safe::{DCtx, DParameter, FrameFormat};

use super::format::{DICTIONARY_MAGIC, Header, KIND_SECTIONS, Middle};
use super::section::{GatherBudget, Layout, PLAN_BYTES_MAX, Packed, Section};

/// Most bytes that one block of a zstd frame decodes to.
const ZSTD_BLOCK_BYTES_MAX: usize = 128 << 10;

/// Fewest bytes of a block that decodes to anything: three of header, one of content.
const ZSTD_BLOCK_BYTES_MIN: usize = 4;

/// Why bytes are no delta against this base. The peer is at fault, or took another base for ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeltaError {
    /// It ends within its header.
    #[error("delta is cut short")]
    Truncated,
    /// A number has more bytes than it needs, or does not fit.
    #[error("delta holds a malformed number")]
    MalformedNumber,
    /// A kind that this side does not know.
    #[error("delta is of unknown kind {0}")]
    UnknownKind(u8),
    /// A section holds more than it may, or not what it says.
    #[error("delta holds a malformed section")]
    MalformedSection,
    /// It refers to bytes that the base does not have.
    #[error("delta refers to bytes outside its base of {base} bytes")]
    OutsideBase {
        /// How long the base is, in bytes.
        base: usize,
    },
    /// It does not decode to the length that was declared.
    #[error("delta does not decode to the declared {declared} bytes")]
    WrongLength {
        /// The length that was declared, in bytes.
        declared: u64,
    },
    /// The compressed part is damaged, or decodes to more than was declared.
    #[error("delta holds a damaged or over-long zstd frame: {0}")]
    Zstd(&'static str),
    /// There is no memory for what was declared.
    #[error("no memory for the declared {declared} bytes")]
    NoMemory {
        /// The length that was declared, in bytes.
        declared: u64,
    },
}

/// Reads deltas. Holds a decompression context, so that one decoder is best used for many deltas, one at a time.
#[derive(Default)]
pub struct Decoder {
    /// Made at first use: tiny edits never need it.
    context: Option<DCtx<'static>>,
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").field("in_use", &self.context.is_some()).finish()
    }
}

/// Reads one delta: `base` with it applied, which is `len` bytes long. See [`Decoder::decode`].
pub fn decode(base: &[u8], delta: &[u8], len: u64) -> Result<Vec<u8>, DeltaError> {
    Decoder::new().decode(base, delta, len)
}

/// Most bytes that a frame decodes to. A few bytes can't declare much: checked before memory is taken.
fn decoded_bytes_max(frame: &[u8]) -> usize {
    (frame.len() / ZSTD_BLOCK_BYTES_MIN).saturating_mul(ZSTD_BLOCK_BYTES_MAX)
}

impl Decoder {
    /// A decoder that holds no memory until it is used.
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies `delta` to `base`. What comes out has exactly `len` bytes; no more memory is taken than for these and one
    /// section. The caller bounds `len`, and verifies the hash of what comes out: with another base than the sender's it is wrong.
    pub fn decode(&mut self, base: &[u8], delta: &[u8], len: u64) -> Result<Vec<u8>, DeltaError> {
        if let Some((&KIND_SECTIONS, sections)) = delta.split_first() {
            return self.assemble(base, sections, len);
        }
        let wrong_length = DeltaError::WrongLength { declared: len };
        let (header, body) = Header::read(delta, base)?;
        let total = usize::try_from(len).map_err(|_| DeltaError::NoMemory { declared: len })?;
        let middle_len = total.checked_sub(header.prefix + header.suffix).ok_or_else(|| wrong_length.clone())?;
        let middle_len_max = match header.middle {
            Middle::Raw => body.len(),
            Middle::Zstd(_) => decoded_bytes_max(body),
        };
        // Checked before memory is taken: a few bytes can't declare much.
        if middle_len > middle_len_max {
            return Err(wrong_length);
        }
        let mut new = Vec::new();
        new.try_reserve_exact(total).map_err(|_| DeltaError::NoMemory { declared: len })?;
        new.extend_from_slice(base.get(..header.prefix).unwrap_or_default());
        match header.middle {
            Middle::Raw => new.extend_from_slice(body),
            Middle::Zstd(near) => {
                let dictionary = base.get(near).unwrap_or_default();
                self.decompress(dictionary, body, &mut new)?;
            }
        }
        if new.len() != header.prefix + middle_len {
            return Err(wrong_length);
        }
        new.extend_from_slice(base.get(base.len() - header.suffix..).unwrap_or_default());
        Ok(new)
    }

    /// Puts content together from its sections, one at a time. Takes memory as they come, and for no more than they hold.
    fn assemble(&mut self, base: &[u8], mut sections: &[u8], len: u64) -> Result<Vec<u8>, DeltaError> {
        let (mut new, mut from) = (Vec::new(), 0);
        let mut budget = GatherBudget::new(base.len(), usize::try_from(len).unwrap_or(usize::MAX));
        while !sections.is_empty() {
            let section = Section::read(&mut sections)?;
            let plan = self.unpack(section.plan, &[], PLAN_BYTES_MAX)?;
            let layout = Layout::read(&plan, section.pieces, from, base.len())?;
            let room = len.checked_sub(new.len() as u64).filter(|room| layout.total as u64 <= *room);
            room.ok_or(DeltaError::WrongLength { declared: len })?;
            let near = match &section.fresh {
                Packed::Zstd(_) => layout.gather(base, from, &mut budget).ok_or(DeltaError::MalformedSection)?,
                Packed::Raw(_) => Vec::new(),
            };
            let fresh = self.unpack(section.fresh, &near, layout.fresh)?;
            if fresh.len() != layout.fresh {
                return Err(DeltaError::MalformedSection);
            }
            new.try_reserve_exact(layout.total).map_err(|_| DeltaError::NoMemory { declared: len })?;
            let mut rest = fresh.as_ref();
            for piece in layout.pieces {
                let (now, later) = rest.split_at_checked(piece.fresh).ok_or(DeltaError::MalformedSection)?;
                new.extend_from_slice(now);
                rest = later;
                from = piece.copy.end;
                new.extend_from_slice(base.get(piece.copy).unwrap_or_default());
            }
        }
        if new.len() as u64 == len { Ok(new) } else { Err(DeltaError::WrongLength { declared: len }) }
    }

    /// The bytes of a part of a section, at most `len_max` of them.
    fn unpack<'a>(&mut self, part: Packed<'a>, near: &[u8], len_max: usize) -> Result<Cow<'a, [u8]>, DeltaError> {
        match part {
            Packed::Raw(bytes) => Ok(bytes),
            Packed::Zstd(frame) => {
                let mut bytes = Vec::new();
                let room = len_max.min(decoded_bytes_max(&frame));
                bytes.try_reserve_exact(room).map_err(|_| DeltaError::NoMemory { declared: len_max as u64 })?;
                self.decompress(near, &frame, &mut bytes)?;
                Ok(Cow::Owned(bytes))
            }
        }
    }

    /// Appends what a frame without magic decodes to, as far as `new` has room: it never grows.
    fn decompress(&mut self, dictionary: &[u8], frame: &[u8], new: &mut Vec<u8>) -> Result<(), DeltaError> {
        if dictionary.starts_with(&DICTIONARY_MAGIC) {
            return Err(DeltaError::Zstd("the base is referred to as a dictionary"));
        }
        let zstd = |code| DeltaError::Zstd(zstd_safe::get_error_name(code));
        let context = match &mut self.context {
            Some(context) => context,
            none => {
                let mut context = DCtx::try_create().ok_or(DeltaError::Zstd("no memory for a context"))?;
                context.set_parameter(DParameter::Format(FrameFormat::Magicless)).map_err(zstd)?;
                none.insert(context)
            }
        };
        let start = new.len() as u64;
        let mut out = Cursor::new(new);
        out.set_position(start);
        context.decompress_using_dict(&mut out, frame, dictionary).map_err(zstd)?;
        Ok(())
    }
}

//! New content to a delta.

use std::{io::Cursor, ops::Range};

use zstd_safe::{CCtx, CParameter, FrameFormat, compress_bound};

use super::format::{DICTIONARY_MAGIC, HEADER_BYTES_MAX, Header, Middle};

/// Up to this many bytes the middle is not worth a try: a zstd frame alone takes about as much.
const RAW_BYTES_MAX: usize = 12;

/// Up to this many bytes of base and middle together one context is used again and again. That saves about 20 µs a
/// delta, most of the time of a small one. Beyond it the tables of the match finder no longer hold the whole base and
/// long-distance matching is needed, for which a context has to be tied to its base: those are made anew.
const REUSE_BYTES_MAX: usize = 256 << 10;

/// How much of the base beside the middle is looked at by [`Effort::Fast`]: this many bytes on each side, or
/// [`REACH_FACTOR`] times the middle where that is more. To look at all of a large base for a small middle costs more
/// time than it can save on any link.
const REACH_BYTES_MIN: usize = 16 << 10;

/// See [`REACH_BYTES_MIN`].
const REACH_FACTOR: usize = 16;

/// Largest window, as a power of two: all that is in reach of a frame.
const WINDOW_LOG_MAX: u32 = 27;

/// The first bytes of a zstd frame, which do not travel.
const FRAME_MAGIC: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();

/// How much time a delta may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Effort {
    /// For a fast link: some microseconds for a source file.
    #[default]
    Fast,
    /// For a slow link: up to some milliseconds for a source file, for a payload that is a little smaller.
    Thorough,
}

impl Effort {
    /// The zstd level where the match finder's tables hold all of the base.
    fn level(self) -> i32 {
        match self {
            Self::Fast => 3,
            Self::Thorough => 12,
        }
    }

    /// The zstd level beside long-distance matching. Level 1 is the faster one and finds more than level 3: 766 bytes in
    /// 5 ms for two edits in 8 MiB of noise, instead of 11,322 in 8. 12 takes four times as long as 9 for the same bytes.
    fn level_far(self) -> i32 {
        match self {
            Self::Fast => 1,
            Self::Thorough => 9,
        }
    }
}

/// Makes deltas. Holds a compression context, so that one encoder is best used for many deltas, one at a time.
#[derive(Default)]
pub struct Encoder {
    context: CCtx<'static>,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").field("context_bytes", &self.context.sizeof()).finish()
    }
}

impl Encoder {
    /// An encoder that holds no memory to speak of until it is used.
    pub fn new() -> Self {
        Self::default()
    }

    /// Most bytes that a delta is longer than what it says.
    pub const OVERHEAD_BYTES_MAX: usize = HEADER_BYTES_MAX;

    /// Says `new` as a delta against `base`. What comes out is never more than [`Self::OVERHEAD_BYTES_MAX`] bytes longer
    /// than `new`; where that is all it saves, content without a base may be the better way to send it.
    pub fn encode(&mut self, base: &[u8], new: &[u8], effort: Effort) -> Vec<u8> {
        let prefix = common_prefix(base, new);
        let (base_rest, new_rest) = (base.get(prefix..).unwrap_or_default(), new.get(prefix..).unwrap_or_default());
        let suffix = common_suffix(base_rest, new_rest);
        let middle = new_rest.get(..new_rest.len() - suffix).unwrap_or_default();

        let mut raw = Vec::with_capacity(HEADER_BYTES_MAX);
        Header { prefix, suffix, middle: Middle::Raw }.write(base.len(), &mut raw);
        if middle.len() > RAW_BYTES_MAX {
            let near = reach(base, prefix..base.len() - suffix, middle.len(), effort);
            let mut delta = Vec::with_capacity(HEADER_BYTES_MAX + FRAME_MAGIC.len() + compress_bound(middle.len()));
            Header { prefix, suffix, middle: Middle::Zstd(near.clone()) }.write(base.len(), &mut delta);
            let dictionary = base.get(near).unwrap_or_default();
            // What can't be compressed (no memory for the tables) is left as it is: right, only larger.
            let compressed = self.compress(dictionary, middle, effort, &mut delta).is_some();
            if compressed && delta.len() < raw.len() + middle.len() {
                // Room was made for the worst case; deltas wait in queues.
                delta.shrink_to_fit();
                return delta;
            }
        }
        raw.extend_from_slice(middle);
        raw
    }

    /// Appends `middle` as a frame without magic; `None` where zstd failed.
    fn compress(&mut self, dictionary: &[u8], middle: &[u8], effort: Effort, delta: &mut Vec<u8>) -> Option<()> {
        if dictionary.len() + middle.len() > REUSE_BYTES_MAX {
            return compress_far(dictionary, middle, effort, delta);
        }
        let start = delta.len();
        let mut out = after(delta);
        self.context.compress_using_dict(&mut out, middle, dictionary, effort.level()).ok()?;
        // One-shot calls know frames with a magic only.
        (delta.get(start..)?.starts_with(&FRAME_MAGIC)).then(|| delta.drain(start..start + FRAME_MAGIC.len()))?;
        Some(())
    }
}

/// A place to write to behind what `bytes` hold, up to their capacity.
fn after(bytes: &mut Vec<u8>) -> Cursor<&mut Vec<u8>> {
    let mut cursor = Cursor::new(bytes);
    cursor.set_position(cursor.get_ref().len() as u64);
    cursor
}

/// Appends `middle` as a frame that may refer to all of a dictionary of any size.
fn compress_far(dictionary: &[u8], middle: &[u8], effort: Effort, delta: &mut Vec<u8>) -> Option<()> {
    let total = dictionary.len() + middle.len();
    let window = (usize::BITS - total.leading_zeros()).min(WINDOW_LOG_MAX);
    let mut context = CCtx::try_create()?;
    for parameter in [
        CParameter::Format(FrameFormat::Magicless),
        CParameter::CompressionLevel(effort.level_far()),
        CParameter::ContentSizeFlag(false),
        CParameter::WindowLog(window),
        // Without it the match finder silently forgets all but the last stretch of a large base.
        CParameter::EnableLongDistanceMatching(true),
    ] {
        context.set_parameter(parameter).ok()?;
    }
    context.ref_prefix(dictionary).ok()?;
    let mut out = after(delta);
    context.compress2(&mut out, middle).ok()?;
    Some(())
}

/// The part of the base that the middle may refer to: around `replaced`, what the middle stands in place of.
fn reach(base: &[u8], replaced: Range<usize>, middle_len: usize, effort: Effort) -> Range<usize> {
    let range = match effort {
        Effort::Thorough => 0..base.len(),
        Effort::Fast => {
            let reach = REACH_BYTES_MIN.max(middle_len.saturating_mul(REACH_FACTOR));
            replaced.start.saturating_sub(reach)..replaced.end.saturating_add(reach).min(base.len())
        }
    };
    match base.get(range.clone()) {
        Some(part) if part.starts_with(&DICTIONARY_MAGIC) => range.start + 1..range.end,
        _ => range,
    }
}

/// How many bytes `left` and `right` have in common at their start, at the speed of `memcmp`.
fn common_prefix(left: &[u8], right: &[u8]) -> usize {
    let mut common = 0;
    for block in [4096, 64, 1] {
        let (left, right) = (left.get(common..).unwrap_or_default(), right.get(common..).unwrap_or_default());
        let equal = left.chunks_exact(block).zip(right.chunks_exact(block)).take_while(|(l, r)| l == r).count();
        common += equal * block;
    }
    common
}

/// How many bytes `left` and `right` have in common at their end.
fn common_suffix(left: &[u8], right: &[u8]) -> usize {
    let mut common = 0;
    for block in [4096, 64, 1] {
        let left = left.get(..left.len() - common).unwrap_or_default();
        let right = right.get(..right.len() - common).unwrap_or_default();
        let equal = left.rchunks_exact(block).zip(right.rchunks_exact(block)).take_while(|(l, r)| l == r).count();
        common += equal * block;
    }
    common
}

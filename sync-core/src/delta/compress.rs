//! Content to zstd frames that may refer to a stretch of a base.

use std::io::Cursor;

use zstd_safe::{CCtx, CParameter, FrameFormat, compress_bound};

use super::effort::Effort;
use super::format::DICTIONARY_MAGIC;

/// Up to this many bytes of base and content together one context is used again and again. That saves about 20 µs a
/// delta, most of the time of a small one.
pub(super) const REUSE_BYTES_MAX: usize = 256 << 10;

/// Above this many bytes of base and content together the tables of the match finder no longer hold the whole base, and
/// long-distance matching is needed, but for sections: there what matches lies as far apart as the base is long,
/// always by the same distance, and nearly in order.
const NEAR_BYTES_MAX: usize = 8 << 20;

/// Largest window, as a power of two: all that is in reach of a frame.
const WINDOW_LOG_MAX: u32 = 27;

/// The first bytes of a zstd frame, which do not travel.
pub(super) const FRAME_MAGIC: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();

/// Where what the content refers to stands in the base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Likeness {
    /// Anywhere.
    Far,
    /// About as far from the start of the stretch as the content from its own: they were aligned.
    Near,
}

/// Makes frames. Holds a compression context.
#[derive(Default)]
pub(super) struct Compressor {
    context: CCtx<'static>,
}

impl Compressor {
    pub(super) fn context_bytes(&self) -> usize {
        self.context.sizeof()
    }

    /// Appends `content` as a frame without magic; `None` where zstd failed, for want of memory.
    pub(super) fn append(
        &mut self,
        base: &[u8],
        content: &[u8],
        likeness: Likeness,
        effort: Effort,
        out: &mut Vec<u8>,
    ) -> Option<()> {
        let total = base.len() + content.len();
        if total > REUSE_BYTES_MAX {
            let far = likeness == Likeness::Far || total > NEAR_BYTES_MAX;
            return append_large(base, content, far, effort, out);
        }
        let start = out.len();
        let mut place = after(out);
        self.context.compress_using_dict(&mut place, content, base, effort.level()).ok()?;
        // One-shot calls know frames with a magic only.
        (out.get(start..)?.starts_with(&FRAME_MAGIC)).then(|| out.drain(start..start + FRAME_MAGIC.len()))?;
        Some(())
    }

    /// `content` as a frame without magic, where that is shorter.
    pub(super) fn frame(&mut self, base: &[u8], content: &[u8], likeness: Likeness, effort: Effort) -> Option<Vec<u8>> {
        if base.starts_with(&DICTIONARY_MAGIC) {
            return None;
        }
        let mut frame = Vec::with_capacity(FRAME_MAGIC.len() + compress_bound(content.len()));
        self.append(base, content, likeness, effort, &mut frame)?;
        (frame.len() < content.len()).then_some(frame)
    }
}

/// A place to write to behind what `bytes` hold, up to their capacity.
fn after(bytes: &mut Vec<u8>) -> Cursor<&mut Vec<u8>> {
    let mut cursor = Cursor::new(bytes);
    cursor.set_position(cursor.get_ref().len() as u64);
    cursor
}

/// Appends `content` as a frame that may refer to all of a base of any size. For that a context has to be tied to its base:
/// those are made anew.
fn append_large(base: &[u8], content: &[u8], far: bool, effort: Effort, out: &mut Vec<u8>) -> Option<()> {
    let total = base.len() + content.len();
    let window = (usize::BITS - total.leading_zeros()).min(WINDOW_LOG_MAX);
    let mut context = CCtx::try_create()?;
    for parameter in [
        CParameter::Format(FrameFormat::Magicless),
        CParameter::CompressionLevel(if far { effort.level_far() } else { effort.level_near() }),
        CParameter::ContentSizeFlag(false),
        CParameter::WindowLog(window),
        // Without it the match finder silently forgets all but the last stretch of a large base.
        CParameter::EnableLongDistanceMatching(far),
    ] {
        context.set_parameter(parameter).ok()?;
    }
    context.ref_prefix(base).ok()?;
    let mut place = after(out);
    context.compress2(&mut place, content).ok()?;
    Some(())
}

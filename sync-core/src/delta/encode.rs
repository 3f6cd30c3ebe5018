//! New content to a delta.

use std::ops::Range;

use sync_proto::limits::SECTION_FRESH_BYTES_MAX;
use zstd_safe::compress_bound;

use super::align::align;
use super::compress::{Compressor, FRAME_MAGIC, Likeness, REUSE_BYTES_MAX};
use super::effort::Effort;
use super::format::{DICTIONARY_MAGIC, HEADER_BYTES_MAX, HEADER_BYTES_MIN, Header, KIND_SECTIONS, Middle};
use super::plan::Piece;
use super::section::{GatherBudget, Layout, Packed, Section};
use super::trim::{common_prefix, common_suffix};

/// Up to this many bytes are not worth a try: a zstd frame alone takes about as much.
const RAW_BYTES_MAX: usize = 12;

/// How much of a large base beside the middle is looked at: this many bytes on each side, or [`REACH_FACTOR`] times the
/// middle where that is more. To look at all of a large base for a small middle costs more time than it can save on any
/// link.
const REACH_BYTES_MIN: usize = 16 << 10;

/// See [`REACH_BYTES_MIN`].
const REACH_FACTOR: usize = 16;

/// Makes deltas. Holds a compression context, so that one encoder is best used for many deltas, one at a time.
#[derive(Default)]
pub struct Encoder {
    compressor: Compressor,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").field("context_bytes", &self.compressor.context_bytes()).finish()
    }
}

impl Encoder {
    /// An encoder that holds no memory to speak of until it is used.
    pub fn new() -> Self {
        Self::default()
    }

    pub(super) fn compressor(&mut self) -> &mut Compressor {
        &mut self.compressor
    }

    /// Most bytes that a delta is longer than what it says.
    pub const OVERHEAD_BYTES_MAX: usize = HEADER_BYTES_MAX;

    /// Says `new` as a delta against `base`. What comes out is never more than [`Self::OVERHEAD_BYTES_MAX`] bytes longer
    /// than `new`; where that is all it saves, content without a base may be the better way to send it.
    pub fn encode(&mut self, base: &[u8], new: &[u8], effort: Effort) -> Vec<u8> {
        let edit = Edit::new(base, new);
        if edit.middle.len() <= RAW_BYTES_MAX {
            return edit.raw();
        }
        let small = base.len() + new.len() <= REUSE_BYTES_MAX;
        let reach = if small && effort == Effort::Thorough { 0..base.len() } else { edit.reach() };
        let beside = reach.len() + edit.middle.len() <= REUSE_BYTES_MAX;
        let framed = beside.then(|| edit.framed(&mut self.compressor, reach.clone(), effort)).flatten();
        if beside && (small || effort != Effort::Thorough) {
            return edit.shortest([framed, None]);
        }
        if let Some(pieces) = align(base, new) {
            return edit.shortest([framed, in_sections(&mut self.compressor, base, new, pieces, effort)]);
        }
        let reach = if effort == Effort::Thorough { 0..base.len() } else { reach };
        edit.shortest([framed, edit.framed(&mut self.compressor, reach, effort)])
    }
}

/// New content with what it has in common with its base at either end taken off.
struct Edit<'a> {
    base: &'a [u8],
    prefix: usize,
    suffix: usize,
    middle: &'a [u8],
}

impl<'a> Edit<'a> {
    fn new(base: &'a [u8], new: &'a [u8]) -> Self {
        let prefix = common_prefix(base, new);
        let (base_rest, new_rest) = (base.get(prefix..).unwrap_or_default(), new.get(prefix..).unwrap_or_default());
        let suffix = common_suffix(base_rest, new_rest);
        let middle = new_rest.get(..new_rest.len() - suffix).unwrap_or_default();
        Self { base, prefix, suffix, middle }
    }

    /// The shortest of what could be made, or the middle as it is. What can't be made, for want of memory, leaves what
    /// there is: right, only longer.
    fn shortest(&self, made: [Option<Vec<u8>>; 2]) -> Vec<u8> {
        match made.into_iter().flatten().min_by_key(Vec::len) {
            Some(mut delta) if delta.len() < HEADER_BYTES_MIN + self.middle.len() => {
                // Room was made for the worst case; deltas wait in queues.
                delta.shrink_to_fit();
                delta
            }
            _ => self.raw(),
        }
    }

    fn raw(&self) -> Vec<u8> {
        let mut delta = Vec::with_capacity(HEADER_BYTES_MAX + self.middle.len());
        self.header(Middle::Raw).write(self.base.len(), &mut delta);
        delta.extend_from_slice(self.middle);
        delta
    }

    /// The middle as a frame that may refer to this part of the base.
    fn framed(&self, compressor: &mut Compressor, near: Range<usize>, effort: Effort) -> Option<Vec<u8>> {
        let near = match self.base.get(near.clone()) {
            Some(part) if part.starts_with(&DICTIONARY_MAGIC) => near.start + 1..near.end,
            _ => near,
        };
        let mut delta = Vec::with_capacity(HEADER_BYTES_MAX + FRAME_MAGIC.len() + compress_bound(self.middle.len()));
        self.header(Middle::Zstd(near.clone())).write(self.base.len(), &mut delta);
        compressor.append(self.base.get(near)?, self.middle, Likeness::Far, effort, &mut delta)?;
        Some(delta)
    }

    fn header(&self, middle: Middle) -> Header {
        Header { prefix: self.prefix, suffix: self.suffix, middle }
    }

    /// The part of the base around what the middle stands in place of.
    fn reach(&self) -> Range<usize> {
        let reach = REACH_BYTES_MIN.max(self.middle.len().saturating_mul(REACH_FACTOR));
        let end = (self.base.len() - self.suffix).saturating_add(reach).min(self.base.len());
        self.prefix.saturating_sub(reach)..end
    }
}

/// Content in sections: what the base holds anywhere is copied, the rest is said beside what it stands in place of.
pub(super) fn in_sections(
    compressor: &mut Compressor,
    base: &[u8],
    new: &[u8],
    pieces: Vec<Piece>,
    effort: Effort,
) -> Option<Vec<u8>> {
    let mut writer = SectionWriter {
        compressor,
        base,
        effort,
        budget: GatherBudget::new(base.len(), new.len()),
        from: 0,
        delta: vec![KIND_SECTIONS],
    };
    let (mut layout, mut from, mut rest) = (Layout::default(), 0, new);
    for piece in pieces.into_iter().flat_map(divided) {
        let end = piece.copy.end;
        if layout.push(piece.clone(), from, base.len()).is_none() {
            let (now, later) = rest.split_at_checked(layout.total)?;
            writer.write(now, &layout)?;
            (layout, rest) = (Layout::default(), later);
            layout.push(piece, from, base.len())?;
        }
        from = end;
    }
    writer.write(rest, &layout)?;
    Some(writer.delta)
}

/// Writes one section after the other.
struct SectionWriter<'a> {
    compressor: &'a mut Compressor,
    base: &'a [u8],
    effort: Effort,
    budget: GatherBudget,
    /// Where the last copy of the section before ended.
    from: usize,
    delta: Vec<u8>,
}

impl SectionWriter<'_> {
    /// Appends a section that says `content`.
    fn write(&mut self, content: &[u8], layout: &Layout) -> Option<()> {
        let near = layout.gather(self.base, self.from, &mut self.budget)?;
        let (mut plan, mut fresh) = (Vec::new(), Vec::with_capacity(layout.fresh));
        let mut rest = content;
        for piece in &layout.pieces {
            piece.write(self.from, &mut plan);
            self.from = piece.copy.end;
            let (now, later) = rest.split_at_checked(piece.fresh)?;
            fresh.extend_from_slice(now);
            rest = later.get(piece.copy.len()..)?;
        }
        let (plan, fresh) = (self.pack(&[], plan), self.pack(&near, fresh));
        Section { pieces: layout.pieces.len(), plan, fresh }.write(&mut self.delta);
        Some(())
    }

    fn pack(&mut self, near: &[u8], bytes: Vec<u8>) -> Packed<'static> {
        let worth_it = bytes.len() > RAW_BYTES_MAX;
        let frame = worth_it.then(|| self.compressor.frame(near, &bytes, Likeness::Near, self.effort)).flatten();
        frame.map_or_else(|| Packed::Raw(bytes.into()), |frame| Packed::Zstd(frame.into()))
    }
}

/// A piece as pieces whose fresh bytes fit into a section each.
fn divided(piece: Piece) -> impl Iterator<Item = Piece> {
    let mut left = Some(piece);
    std::iter::from_fn(move || {
        let piece = left.take()?;
        if piece.fresh <= SECTION_FRESH_BYTES_MAX {
            return Some(piece);
        }
        let start = piece.copy.start;
        left = Some(Piece { fresh: piece.fresh - SECTION_FRESH_BYTES_MAX, copy: piece.copy });
        Some(Piece { fresh: SECTION_FRESH_BYTES_MAX, copy: start..start })
    })
}

//! Sections: a bounded part of the new content in pieces, with its fresh bytes in one frame.
//!
//! Each says how much of everything it holds before it holds it, so that a reader needs memory for one section at a time,
//! whatever the length of the file.

use std::borrow::Cow;

use sync_proto::limits::{SECTION_FRESH_BYTES_MAX, SECTION_NEAR_BYTES_MAX, SECTION_PIECES_MAX};

use super::DeltaError;
use super::format::{read_number, write_number};
use super::plan::{PIECE_BYTES_MAX, Piece, context};

/// What all sections together may refer to, in bytes, is so many times the base and the new content,
const GATHERED_FACTOR: usize = 4;

/// and this: some bytes that are fresh in every piece could else have a reader copy for minutes.
const GATHERED_BYTES: usize = 1 << 20;

/// Most bytes of the plan of a section.
pub(super) const PLAN_BYTES_MAX: usize = SECTION_PIECES_MAX * PIECE_BYTES_MAX;

/// The plan is a zstd frame.
const FORM_PLAN_ZSTD: u8 = 1;
/// The fresh bytes are a zstd frame.
const FORM_FRESH_ZSTD: u8 = 2;

/// Bytes that are a zstd frame without magic, or as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Packed<'a> {
    Raw(Cow<'a, [u8]>),
    Zstd(Cow<'a, [u8]>),
}

impl<'a> Packed<'a> {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Raw(bytes) | Self::Zstd(bytes) => bytes,
        }
    }

    fn form(&self, zstd: u8) -> u8 {
        if matches!(self, Self::Zstd(_)) { zstd } else { 0 }
    }

    fn new(bytes: &'a [u8], is_zstd: bool) -> Self {
        if is_zstd { Self::Zstd(bytes.into()) } else { Self::Raw(bytes.into()) }
    }
}

/// What the sections of a delta may still refer to.
#[derive(Debug)]
pub(super) struct GatherBudget(usize);

impl GatherBudget {
    pub(super) fn new(base_len: usize, new_len: usize) -> Self {
        Self(base_len.saturating_add(new_len).saturating_mul(GATHERED_FACTOR).saturating_add(GATHERED_BYTES))
    }
}

/// A section as it travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Section<'a> {
    /// How many pieces, at least one.
    pub(super) pieces: usize,
    pub(super) plan: Packed<'a>,
    pub(super) fresh: Packed<'a>,
}

impl<'a> Section<'a> {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        write_number(self.pieces, out);
        out.push(self.plan.form(FORM_PLAN_ZSTD) | self.fresh.form(FORM_FRESH_ZSTD));
        for part in [&self.plan, &self.fresh] {
            write_number(part.bytes().len(), out);
            out.extend_from_slice(part.bytes());
        }
    }

    /// Takes a section off the front.
    pub(super) fn read(rest: &mut &'a [u8]) -> Result<Self, DeltaError> {
        let pieces = read_number(rest)?;
        let (&form, after) = rest.split_first().ok_or(DeltaError::Truncated)?;
        *rest = after;
        if pieces == 0 || pieces > SECTION_PIECES_MAX || form > (FORM_PLAN_ZSTD | FORM_FRESH_ZSTD) {
            return Err(DeltaError::MalformedSection);
        }
        let mut part = |zstd: u8| {
            let len = read_number(rest)?;
            let (part, after) = rest.split_at_checked(len).ok_or(DeltaError::Truncated)?;
            *rest = after;
            Ok(Packed::new(part, form & zstd != 0))
        };
        let plan = part(FORM_PLAN_ZSTD)?;
        if plan.bytes().len() > PLAN_BYTES_MAX {
            return Err(DeltaError::MalformedSection);
        }
        Ok(Self { pieces, plan, fresh: part(FORM_FRESH_ZSTD)? })
    }
}

/// The pieces of a section, and what they come to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) pieces: Vec<Piece>,
    /// Bytes of new content.
    pub(super) total: usize,
    /// Bytes of it that are fresh.
    pub(super) fresh: usize,
    /// Bytes of the base near these, without context.
    pub(super) near: usize,
}

impl Layout {
    /// Adds a piece of at least one byte that comes after a copy that ended at `from`, unless that is more than a section may
    /// hold.
    pub(super) fn push(&mut self, piece: Piece, from: usize, base_len: usize) -> Option<()> {
        let fresh = self.fresh.checked_add(piece.fresh).filter(|fresh| *fresh <= SECTION_FRESH_BYTES_MAX)?;
        let near = self.near + piece.near(from, base_len, 0).len();
        let total = self.total.checked_add(piece.fresh)?.checked_add(piece.copy.len())?;
        if total == self.total || near > SECTION_NEAR_BYTES_MAX || self.pieces.len() == SECTION_PIECES_MAX {
            return None;
        }
        (self.total, self.fresh, self.near) = (total, fresh, near);
        self.pieces.push(piece);
        Some(())
    }

    /// Reads `count` pieces, the first of which comes after a copy that ended at `from`.
    pub(super) fn read(mut plan: &[u8], count: usize, from: usize, base_len: usize) -> Result<Self, DeltaError> {
        let (mut layout, mut from) = (Self::default(), from);
        for _ in 0..count {
            let piece = Piece::read(&mut plan, from, base_len)?;
            let end = piece.copy.end;
            layout.push(piece, from, base_len).ok_or(DeltaError::MalformedSection)?;
            from = end;
        }
        if plan.is_empty() { Ok(layout) } else { Err(DeltaError::MalformedSection) }
    }

    /// What of the base the fresh bytes may refer to, one stretch after the other; the first piece comes after a copy that
    /// ended at `from`. `None` where that is more than the budget allows.
    pub(super) fn gather(&self, base: &[u8], mut from: usize, budget: &mut GatherBudget) -> Option<Vec<u8>> {
        let context = context(self.pieces.len());
        let len_max = self.near + 2 * context * self.pieces.len();
        budget.0 = budget.0.checked_sub(len_max)?;
        let mut near = Vec::with_capacity(len_max);
        for piece in &self.pieces {
            near.extend_from_slice(base.get(piece.near(from, base.len(), context)).unwrap_or_default());
            from = piece.copy.end;
        }
        Some(near)
    }
}

//! Blocks of content to frames, compressed where that helps.

use sync_proto::{
    limits::BLOCK_BYTES_MAX,
    message::{Blob, FileFrame},
};
use zstd_safe::CCtx;

use crate::delta::Effort;

/// Fast enough to keep a link of some gigabits busy with source code.
const LEVEL: i32 = 3;

/// A block has to get smaller by this share to be worth the receiver's time.
const SAVING_MIN: usize = 16;

/// After blocks that did not get smaller, at most this many go as they are before the next try.
const SKIP_BLOCKS_MAX: u32 = 32;

/// Makes frames of blocks: compressed where the link is worth it, and where it helps. Content that does not get smaller is soon left alone.
pub(super) struct Compressor {
    effort: Effort,
    /// Made when it is needed first.
    context: Option<CCtx<'static>>,
    /// How many blocks go as they are before the next try.
    skip: u32,
    /// How many blocks went as they were after the last vain try.
    skipped_last: u32,
}

impl Compressor {
    pub(super) fn new(effort: Effort) -> Self {
        Self { effort, context: None, skip: 0, skipped_last: 0 }
    }

    pub(super) fn effort(&self) -> Effort {
        self.effort
    }

    /// From here on.
    pub(super) fn set_effort(&mut self, effort: Effort) {
        self.effort = effort;
    }

    /// The frame for a block of at most [`BLOCK_BYTES_MAX`] bytes.
    pub(super) fn frame(&mut self, block: Vec<u8>) -> FileFrame {
        let blob = |bytes: Vec<u8>| Blob::<BLOCK_BYTES_MAX>::new(bytes).expect("blocks are cut to the limit");
        match self.try_compress(&block) {
            Some(bytes) => FileFrame::Zstd { len: block.len() as u32, bytes: blob(bytes) },
            None => FileFrame::Raw(blob(block)),
        }
    }

    /// The block as a zstd frame; `None` where that is not tried or saves too little.
    fn try_compress(&mut self, block: &[u8]) -> Option<Vec<u8>> {
        if !self.effort.compresses() {
            return None;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        if self.context.is_none() {
            self.context = CCtx::try_create();
        }
        // No memory for a context: content goes as it is.
        let context = self.context.as_mut()?;
        // Room for what is worth it and no more: zstd gives up as soon as it is used up.
        let mut bytes = Vec::with_capacity(block.len() - block.len().div_ceil(SAVING_MIN));
        if context.compress(&mut bytes, block, LEVEL).is_err() {
            self.skipped_last = (2 * self.skipped_last).clamp(1, SKIP_BLOCKS_MAX);
            self.skip = self.skipped_last;
            return None;
        }
        self.skipped_last = 0;
        // Frames wait in queues.
        bytes.shrink_to_fit();
        Some(bytes)
    }
}

//! What is kept of large files, to say the next ones by it and to take what is known from here.

use std::sync::Arc;

use crate::replica::{bases::Bases, chunks::ChunkIndex};

/// What is kept of the large files of one root. All of it may be missing: then more travels.
#[derive(Debug, Clone, Default)]
pub(super) struct Past {
    /// Copies of what was sent.
    pub(super) bases: Option<Arc<Bases>>,
    /// The chunks that there are.
    pub(super) chunks: Option<Arc<ChunkIndex>>,
}

impl Past {
    /// Keeps it for the next run, and ends what is at work on it. Waits for the disk.
    pub(super) fn close(&self) {
        if let Some(chunks) = &self.chunks {
            chunks.close();
        }
    }
}

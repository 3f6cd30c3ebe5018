//! Content of files on its way to the other side: found in memory or read, then compressed or made a delta.

use std::{
    io::{self, Read},
    sync::Arc,
};

use sync_proto::{ContentId, Entry, SyncPath, limits::INLINE_CONTENT_BYTES_MAX};

use crate::{
    delta::{Effort, Encoder},
    replica::{contents::Contents, problem},
    sys::DirHandle,
};

/// Content shorter than this, in bytes, is not worth compressing.
const COMPRESS_BYTES_MIN: usize = 256;
/// Level of zstd for whole files: where a link is slow enough to compress, this is still faster than the link.
const COMPRESS_LEVEL: i32 = 3;

/// Gives the content of small files of one root.
pub(super) struct ContentSource {
    contents: Arc<Contents>,
    root: Arc<DirHandle>,
    encoder: Encoder,
    compressor: Option<zstd::bulk::Compressor<'static>>,
}

/// Content as it travels. Never longer than the content itself.
#[derive(Debug)]
pub(super) enum Encoded {
    Raw(Vec<u8>),
    Zstd(Vec<u8>),
    Delta(Vec<u8>),
}

/// Content that can't be given.
#[derive(Debug)]
pub(super) enum Unavailable {
    /// What stands there is not that any more.
    Changed,
    /// It can't be read.
    Failed(io::Error),
}

impl ContentSource {
    pub(super) fn new(contents: Arc<Contents>, root: Arc<DirHandle>) -> Self {
        Self { contents, root, encoder: Encoder::new(), compressor: zstd::bulk::Compressor::new(COMPRESS_LEVEL).ok() }
    }

    /// Whether content is in memory.
    pub(super) fn is_at_hand(&self, id: ContentId) -> bool {
        self.contents.get(id).is_some()
    }

    /// The content of the file `entry` at `path`, against `base` where that is in memory too.
    pub(super) fn encode(
        &mut self,
        path: &SyncPath,
        entry: &Entry,
        base: Option<ContentId>,
        effort: Effort,
    ) -> Result<Encoded, Unavailable> {
        let Some(id) = entry.content() else { return Err(Unavailable::Changed) };
        let new = match self.contents.get(id) {
            Some(new) => new,
            None => self.read(path, id, entry.content_len())?,
        };
        Ok(self.encode_bytes(&new, base, effort))
    }

    /// The content, if it is in memory.
    pub(super) fn encode_at_hand(&mut self, id: ContentId, base: Option<ContentId>, effort: Effort) -> Option<Encoded> {
        let new = self.contents.get(id)?;
        Some(self.encode_bytes(&new, base, effort))
    }

    fn encode_bytes(&mut self, new: &[u8], base: Option<ContentId>, effort: Effort) -> Encoded {
        if let Some(base) = base.and_then(|base| self.contents.get(base)) {
            let delta = self.encoder.encode(&base, new, effort);
            if delta.len() < new.len() {
                return Encoded::Delta(delta);
            }
        }
        if effort.compresses()
            && new.len() >= COMPRESS_BYTES_MIN
            && let Some(compressor) = &mut self.compressor
            && let Ok(compressed) = compressor.compress(new)
            && compressed.len() < new.len()
        {
            return Encoded::Zstd(compressed);
        }
        Encoded::Raw(new.to_vec())
    }

    /// Reads a file that is not at hand, and makes sure that it is what was planned.
    fn read(&self, path: &SyncPath, id: ContentId, len: u64) -> Result<Arc<[u8]>, Unavailable> {
        let (parent, name) = path.split_last().ok_or(Unavailable::Changed)?;
        let dir = self.root.resolve(&parent)?;
        let (file, stat) = dir.open_file(name)?;
        if stat.len != len || len > INLINE_CONTENT_BYTES_MAX as u64 {
            return Err(Unavailable::Changed);
        }
        let mut bytes = Vec::with_capacity(usize::try_from(len).unwrap_or(0) + 1);
        file.take(len + 1).read_to_end(&mut bytes)?;
        if *blake3::hash(&bytes).as_bytes() != id.0 {
            return Err(Unavailable::Changed);
        }
        let bytes: Arc<[u8]> = bytes.into();
        // It is the base of the next edit.
        self.contents.insert_if_room(id, &bytes);
        Ok(bytes)
    }
}

impl From<io::Error> for Unavailable {
    fn from(error: io::Error) -> Self {
        // What is no regular file now is no longer what it was said to be.
        if problem::is_gone(&error) || error.kind() == io::ErrorKind::InvalidInput {
            Self::Changed
        } else {
            Self::Failed(error)
        }
    }
}

//! Planned operations made into messages: the content found, compressed, or made a delta.

use std::{collections::BTreeSet, io::Read, sync::Arc};

use sync_proto::{
    ContentId, Entry, SyncPath,
    codec::encode_frame,
    limits::{BUNDLE_FRAME_BYTES_MAX, CONTROL_FRAME_BYTES_MAX, INLINE_CONTENT_BYTES_MAX},
    message::{Batch, BatchId, Blob, Bounded, Content, Expected, Operation, ToAgent},
};

use crate::{
    delta::{Effort, Encoder},
    engine::plan::{Planned, Source, expected},
    replica::contents::Contents,
    sys::DirHandle,
};

/// Content shorter than this, in bytes, is not worth compressing.
const COMPRESS_BYTES_MIN: usize = 256;
/// Level of zstd for whole files: where a link is slow enough to compress, this is still faster than the link.
const COMPRESS_LEVEL: i32 = 3;

/// A batch ready to be sent.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) id: BatchId,
    /// On which stream it goes.
    pub(super) urgent: bool,
    /// Whether it was prepared on a thread.
    pub(super) on_thread: bool,
    /// The frame; `None` where nothing is left to send.
    pub(super) frame: Option<Vec<u8>>,
    /// Places of operations whose content is not what it was when they were planned.
    pub(super) unsent: BTreeSet<usize>,
}

impl Prepared {
    /// Of the batch there is nothing to send.
    pub(super) fn nothing(id: BatchId, way: Way, unsent: BTreeSet<usize>) -> Self {
        Self { id, urgent: way.urgent, on_thread: false, frame: None, unsent }
    }
}

/// How a batch is to be sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way {
    /// On the control stream; else on the bundle stream.
    pub(super) urgent: bool,
    /// Whether the link is slower than compressing.
    pub(super) compress: bool,
}

/// Makes messages of operations.
pub(super) struct Preparer {
    contents: Arc<Contents>,
    root: Arc<DirHandle>,
    encoder: Encoder,
    compressor: Option<zstd::bulk::Compressor<'static>>,
}

/// The content of a file is not what it was when the operation was planned.
struct Changed;

impl Preparer {
    pub(super) fn new(contents: Arc<Contents>, root: Arc<DirHandle>) -> Self {
        Self { contents, root, encoder: Encoder::new(), compressor: zstd::bulk::Compressor::new(COMPRESS_LEVEL).ok() }
    }

    /// Whether all content that these operations send is at hand in memory, so that preparing them touches no disk.
    pub(super) fn is_at_hand(&self, operations: &[Planned]) -> bool {
        operations.iter().all(|operation| match operation {
            Planned::Put { entry, source: Source::Sender | Source::SenderWhole, .. } => {
                entry.content().is_none_or(|content| self.contents.get(content).is_some())
            }
            _ => true,
        })
    }

    /// Makes the frame.
    pub(super) fn prepare(&mut self, id: BatchId, planned: Vec<Planned>, way: Way) -> Prepared {
        let all = 0..planned.len();
        let mut operations = Vec::with_capacity(planned.len());
        let mut unsent = BTreeSet::new();
        for (place, operation) in planned.into_iter().enumerate() {
            match self.operation(operation, way.compress) {
                Ok(operation) => operations.push(operation),
                Err(Changed) => {
                    unsent.insert(place);
                }
            }
        }
        if operations.is_empty() {
            return Prepared::nothing(id, way, unsent);
        }
        let batch = Batch { id, operations: Bounded::first(operations) };
        let mut frame = Vec::new();
        let encoded = if way.urgent {
            encode_frame(&ToAgent::Batch(batch), &mut frame, CONTROL_FRAME_BYTES_MAX)
        } else {
            encode_frame(&batch, &mut frame, BUNDLE_FRAME_BYTES_MAX)
        };
        match encoded {
            Ok(()) => Prepared { id, urgent: way.urgent, on_thread: false, frame: Some(frame), unsent },
            Err(error) => {
                // The engine's bounds keep a batch well below a frame's.
                tracing::error!("a batch could not be sent: {error}");
                Prepared::nothing(id, way, all.collect())
            }
        }
    }

    fn operation(&mut self, operation: Planned, compress: bool) -> Result<Operation, Changed> {
        Ok(match operation {
            Planned::MakeDirectory { path } => Operation::MakeDirectory { path },
            Planned::Remove { path, old } => Operation::Remove { path, expected: expected(Some(&old)) },
            Planned::Move { from, to, node } => Operation::Move { from, to, expected: expected(Some(&node)) },
            Planned::Put { path, old, entry, source } => {
                let content = match source {
                    Source::None => Content::None,
                    Source::Unchanged => Content::Unchanged,
                    Source::Receiver(from) => Content::CopyOf(from),
                    Source::Sender => self.content(&path, old.as_ref(), &entry, compress)?,
                    Source::SenderWhole => self.content(&path, None, &entry, compress)?,
                };
                let expected = old.map_or(Expected::Nothing, Expected::Entry);
                Operation::Put { path, expected, entry, content }
            }
        })
    }

    fn content(
        &mut self,
        path: &SyncPath,
        old: Option<&Entry>,
        entry: &Entry,
        compress: bool,
    ) -> Result<Content, Changed> {
        let Some(id) = entry.content() else { return Ok(Content::None) };
        let new = match self.contents.get(id) {
            Some(new) => new,
            None => self.read(path, id, entry.content_len())?,
        };
        let base = old.and_then(Entry::content).and_then(|base| self.contents.get(base));
        if let Some(base) = base {
            let effort = if compress { Effort::Thorough } else { Effort::Fast };
            let delta = self.encoder.encode(&base, &new, effort);
            if delta.len() < new.len() {
                return blob(delta).map(Content::Delta);
            }
        }
        if compress
            && new.len() >= COMPRESS_BYTES_MIN
            && let Some(compressor) = &mut self.compressor
            && let Ok(compressed) = compressor.compress(&new)
            && compressed.len() < new.len()
        {
            return blob(compressed).map(Content::Zstd);
        }
        blob(new.to_vec()).map(Content::Raw)
    }

    /// Reads a file that is not at hand, and makes sure that it is what was planned.
    fn read(&self, path: &SyncPath, id: ContentId, len: u64) -> Result<Arc<[u8]>, Changed> {
        let (parent, name) = path.split_last().ok_or(Changed)?;
        let dir = self.root.resolve(&parent).map_err(|_| Changed)?;
        let (file, stat) = dir.open_file(name).map_err(|_| Changed)?;
        if stat.len != len || len > INLINE_CONTENT_BYTES_MAX as u64 {
            return Err(Changed);
        }
        let mut bytes = Vec::with_capacity(usize::try_from(len).unwrap_or(0) + 1);
        file.take(len + 1).read_to_end(&mut bytes).map_err(|_| Changed)?;
        if *blake3::hash(&bytes).as_bytes() != id.0 {
            return Err(Changed);
        }
        let bytes: Arc<[u8]> = bytes.into();
        // It is the base of the next edit.
        self.contents.insert_if_room(id, &bytes);
        Ok(bytes)
    }
}

fn blob(bytes: Vec<u8>) -> Result<Blob<INLINE_CONTENT_BYTES_MAX>, Changed> {
    Blob::new(bytes).map_err(|_| Changed)
}

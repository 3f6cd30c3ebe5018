//! Planned operations made into messages.

use std::{collections::BTreeSet, sync::Arc};

use sync_proto::{
    Entry,
    codec::encode_frame,
    limits::{BUNDLE_FRAME_BYTES_MAX, CONTROL_FRAME_BYTES_MAX, INLINE_CONTENT_BYTES_MAX},
    message::{Batch, BatchId, Blob, Bounded, Content, Expected, Operation, ToAgent},
};

use super::{
    content::{ContentSource, Encoded, Unavailable},
    pace::Pace,
};
use crate::{
    delta::Effort,
    engine::plan::{Planned, Source, expected},
    replica::contents::Contents,
    sys::DirHandle,
};

/// What an operation takes in a frame beside its path and content, in bytes: what it expects, and what shall be there.
const OPERATION_BYTES: usize = 96;

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
    pub(super) fn nothing(id: BatchId, urgent: bool, unsent: BTreeSet<usize>) -> Self {
        Self { id, urgent, on_thread: false, frame: None, unsent }
    }
}

/// How a batch is to be sent.
#[derive(Debug, Clone)]
pub(super) struct Way {
    /// On the control stream; else on the bundle stream.
    pub(super) urgent: bool,
    pub(super) pace: Pace,
}

/// Makes messages of operations.
pub(super) struct Preparer {
    source: ContentSource,
}

impl Preparer {
    pub(super) fn new(contents: Arc<Contents>, root: Arc<DirHandle>) -> Self {
        Self { source: ContentSource::new(contents, root) }
    }

    /// Whether all content that these operations send is at hand in memory, so that preparing them touches no disk.
    pub(super) fn is_at_hand(&self, operations: &[Planned]) -> bool {
        operations
            .iter()
            .all(|operation| sent_file(operation).and_then(Entry::content).is_none_or(|id| self.source.is_at_hand(id)))
    }

    /// Makes the frame.
    pub(super) fn prepare(&mut self, id: BatchId, planned: Vec<Planned>, way: Way) -> Prepared {
        let all = 0..planned.len();
        let effort = way.pace.effort();
        let mut operations = Vec::with_capacity(planned.len());
        let mut unsent = BTreeSet::new();
        for (place, operation) in planned.into_iter().enumerate() {
            match self.operation(operation, effort) {
                Ok(operation) => operations.push(operation),
                Err(Unavailable::Changed | Unavailable::Failed(_)) => {
                    unsent.insert(place);
                }
            }
        }
        if operations.is_empty() {
            return Prepared::nothing(id, way.urgent, unsent);
        }
        // Room for all of it: a frame that grows is copied again and again.
        let mut frame = Vec::with_capacity(operations.iter().map(frame_bytes).sum());
        let batch = Batch { id, operations: Bounded::first(operations) };
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
                Prepared::nothing(id, way.urgent, all.collect())
            }
        }
    }

    fn operation(&mut self, planned: Planned, effort: Effort) -> Result<Operation, Unavailable> {
        let content = match &planned {
            Planned::Put { path, old, entry, source } => {
                let base = old.as_ref().and_then(Entry::content).filter(|_| *source == Source::Sender);
                match sent_file(&planned) {
                    Some(_) => Some(content(self.source.encode(path, entry, base, effort)?)?),
                    None => None,
                }
            }
            _ => None,
        };
        Ok(operation(planned, content))
    }
}

/// About how many bytes an operation takes in a frame.
fn frame_bytes(operation: &Operation) -> usize {
    let content = match operation {
        Operation::Put { content: Content::Raw(bytes) | Content::Zstd(bytes) | Content::Delta(bytes), .. } => {
            bytes.len()
        }
        _ => 0,
    };
    OPERATION_BYTES + operation.path().as_bytes().len() + content
}

/// The file whose content an operation takes from the other side, if it does.
pub(super) fn sent_file(operation: &Planned) -> Option<&Entry> {
    match operation {
        Planned::Put { entry: entry @ Entry::File { .. }, source: Source::Sender | Source::SenderWhole, .. } => {
            Some(entry)
        }
        _ => None,
    }
}

/// An operation as it is carried out, with its content where that comes from the other side.
pub(super) fn operation(planned: Planned, content: Option<Content>) -> Operation {
    match planned {
        Planned::MakeDirectory { path } => Operation::MakeDirectory { path },
        Planned::Remove { path, old } => Operation::Remove { path, expected: expected(Some(&old)) },
        Planned::Move { from, to, node } => Operation::Move { from, to, expected: expected(Some(&node)) },
        Planned::Put { path, old, entry, source } => {
            let content = match source {
                Source::Unchanged => Content::Unchanged,
                Source::Receiver(from) => Content::CopyOf(from),
                Source::None | Source::Sender | Source::SenderWhole => content.unwrap_or(Content::None),
            };
            let expected = old.map_or(Expected::Nothing, Expected::Entry);
            Operation::Put { path, expected, entry, content }
        }
    }
}

fn content(encoded: Encoded) -> Result<Content, Unavailable> {
    // The engine's bounds keep a file that travels in a batch well below this.
    let blob = |bytes| Blob::<INLINE_CONTENT_BYTES_MAX>::new(bytes).map_err(|_| Unavailable::Changed);
    Ok(match encoded {
        Encoded::Raw(bytes) => Content::Raw(blob(bytes)?),
        Encoded::Zstd(bytes) => Content::Zstd(blob(bytes)?),
        Encoded::Delta(bytes) => Content::Delta(blob(bytes)?),
    })
}

//! What has been sent to one side and not been answered.

use std::collections::BTreeMap;

use sync_proto::{SyncPath, message::BatchId};

use super::{
    plan::{Planned, PlannedStream, Source},
    view::{has_any_beneath, is_near},
};

/// Most bytes of content in bulk batches that are unanswered.
const BULK_BYTES_MAX: u64 = 8 << 20;
/// Most bulk batches that are unanswered.
const BULK_BATCHES_MAX: usize = 8;
/// Most urgent batches that are unanswered.
const URGENT_BATCHES_MAX: usize = 32;
/// Most files that are streamed at once: these, times the stream window, must stay below the connection's window.
const STREAMS_MAX: usize = 2;
/// Most streams that were given up here and may still be answered.
const WITHDRAWN_MAX: usize = 64;

const _: () = assert!(
    BULK_BATCHES_MAX + URGENT_BATCHES_MAX + STREAMS_MAX <= sync_proto::limits::BATCHES_IN_FLIGHT_MAX,
    "the agent ends a session that has more in flight",
);

/// How a batch travels. Operations of one lane are done in the order in which they were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    Urgent,
    Bulk,
    Stream,
}

#[derive(Debug)]
pub(super) struct Sent {
    pub(super) lane: Lane,
    pub(super) operations: Vec<Planned>,
    pub(super) content_bytes: u64,
}

/// Batches and streams without an answer yet.
#[derive(Debug, Default)]
pub(super) struct Flight {
    sent: BTreeMap<BatchId, Sent>,
    /// How many operations of the lane touch a path.
    urgent_touched: BTreeMap<SyncPath, u32>,
    bulk_touched: BTreeMap<SyncPath, u32>,
    streamed: BTreeMap<SyncPath, BatchId>,
    /// Streams that were given up while the other side may have answered them already.
    withdrawn: BTreeMap<BatchId, Planned>,
    urgent: usize,
    bulk: usize,
    bulk_bytes: u64,
}

impl Flight {
    /// Nothing in flight any more. What was.
    pub(super) fn abandon(&mut self) -> impl Iterator<Item = Planned> + use<> {
        std::mem::take(self).sent.into_values().flat_map(|sent| sent.operations)
    }

    pub(super) fn begin(&mut self, id: BatchId, lane: Lane, operations: Vec<Planned>, content_bytes: u64) {
        self.put(id, Sent { lane, operations, content_bytes });
    }

    pub(super) fn begin_stream(&mut self, id: BatchId, stream: &PlannedStream) {
        let put = Planned::Put {
            path: stream.path.clone(),
            old: stream.old.clone(),
            entry: stream.entry.clone(),
            source: Source::Sender,
        };
        self.begin(id, Lane::Stream, vec![put], stream.entry.content_len());
    }

    /// Puts what is left of a batch back, under its number.
    pub(super) fn resume(&mut self, id: BatchId, sent: Sent) {
        self.put(id, sent);
    }

    fn put(&mut self, id: BatchId, sent: Sent) {
        let paths = sent.operations.iter().flat_map(Planned::touches);
        match sent.lane {
            Lane::Urgent => {
                paths.for_each(|path| *self.urgent_touched.entry(path.clone()).or_default() += 1);
                self.urgent += 1;
            }
            Lane::Bulk => {
                paths.for_each(|path| *self.bulk_touched.entry(path.clone()).or_default() += 1);
                self.bulk += 1;
                self.bulk_bytes += sent.content_bytes;
            }
            Lane::Stream => paths.for_each(|path| {
                self.streamed.insert(path.clone(), id);
            }),
        }
        self.sent.insert(id, sent);
    }

    /// Takes out what was sent under this number.
    pub(super) fn end(&mut self, id: BatchId) -> Option<Sent> {
        let sent = self.sent.remove(&id)?;
        let paths = sent.operations.iter().flat_map(Planned::touches);
        match sent.lane {
            Lane::Urgent => {
                paths.for_each(|path| release(&mut self.urgent_touched, path));
                self.urgent -= 1;
            }
            Lane::Bulk => {
                paths.for_each(|path| release(&mut self.bulk_touched, path));
                self.bulk -= 1;
                self.bulk_bytes -= sent.content_bytes;
            }
            Lane::Stream => paths.for_each(|path| {
                self.streamed.remove(path);
            }),
        }
        Some(sent)
    }

    /// A stream was given up, and ended here; the other side may have answered it before it heard of that.
    pub(super) fn withdraw(&mut self, id: BatchId, operation: Planned) {
        self.withdrawn.insert(id, operation);
        if self.withdrawn.len() > WITHDRAWN_MAX {
            self.withdrawn.pop_first();
        }
    }

    /// The operation of a stream that was given up.
    pub(super) fn end_withdrawn(&mut self, id: BatchId) -> Option<Planned> {
        self.withdrawn.remove(&id)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    /// The numbers of all that is in flight.
    pub(super) fn numbers(&self) -> impl Iterator<Item = BatchId> {
        self.sent.keys().copied()
    }

    /// All operations in flight, in the order in which they were sent.
    pub(super) fn operations(&self) -> impl Iterator<Item = &Planned> {
        self.sent.values().flat_map(|sent| &sent.operations)
    }

    /// The operations of batches in flight, in the order in which they were sent.
    pub(super) fn batched(&self) -> impl Iterator<Item = &Planned> {
        self.sent.values().filter(|sent| sent.lane != Lane::Stream).flat_map(|sent| &sent.operations)
    }

    /// Whether anything is on the urgent lane.
    pub(super) fn has_urgent(&self) -> bool {
        self.urgent > 0
    }

    /// Whether another batch may go on the urgent lane.
    pub(super) fn urgent_is_open(&self) -> bool {
        self.urgent < URGENT_BATCHES_MAX
    }

    /// Whether another batch may go on the bulk lane.
    pub(super) fn bulk_is_open(&self) -> bool {
        self.bulk < BULK_BATCHES_MAX && self.bulk_bytes < BULK_BYTES_MAX
    }

    /// Whether another file may be streamed.
    pub(super) fn streams_are_open(&self) -> bool {
        self.streamed.len() < STREAMS_MAX
    }

    /// Whether anything in flight touches `path`, a directory above it, or something beneath.
    pub(super) fn touches(&self, path: &SyncPath) -> bool {
        self.batch_touches(path) || is_near(&self.streamed, path)
    }

    /// The same for batches.
    pub(super) fn batch_touches(&self, path: &SyncPath) -> bool {
        self.urgent_touches(path) || self.bulk_touches(path)
    }

    /// The same for the urgent lane.
    pub(super) fn urgent_touches(&self, path: &SyncPath) -> bool {
        is_near(&self.urgent_touched, path)
    }

    /// The same for the bulk lane.
    pub(super) fn bulk_touches(&self, path: &SyncPath) -> bool {
        is_near(&self.bulk_touched, path)
    }

    /// Whether anything in flight touches that very path.
    pub(super) fn holds(&self, path: &SyncPath) -> bool {
        self.urgent_touched.contains_key(path) || self.bulk_touched.contains_key(path) || self.streams(path)
    }

    /// Whether anything in flight touches `path` or something beneath.
    pub(super) fn holds_beneath(&self, path: &SyncPath) -> bool {
        has_any_beneath(&self.urgent_touched, path)
            || has_any_beneath(&self.bulk_touched, path)
            || self.streams_beneath(path)
    }

    /// Whether `path` is being streamed.
    pub(super) fn streams(&self, path: &SyncPath) -> bool {
        self.streamed.contains_key(path)
    }

    /// Whether something at `path` or beneath is being streamed.
    pub(super) fn streams_beneath(&self, path: &SyncPath) -> bool {
        has_any_beneath(&self.streamed, path)
    }
}

fn release(map: &mut BTreeMap<SyncPath, u32>, path: &SyncPath) {
    if let Some(count) = map.get_mut(path) {
        *count -= 1;
        if *count == 0 {
            map.remove(path);
        }
    }
}

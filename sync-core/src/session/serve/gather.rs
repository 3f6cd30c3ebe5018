//! Bulk batches that belong together, held until the last is here: a change of branch shows half done for no longer than the
//! disk takes for it, however slow the link.
//!
//! A kindness, not a promise: beyond a bound they are done as they come.

use sync_proto::message::{Batch, BatchId, Gather};

/// Most batches that are held.
const BATCHES_MAX: usize = 16;
/// Most bytes that they take in memory, about.
const BYTES_MAX: usize = 24 << 20;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    wanted: Option<Gather>,
    held: Vec<Batch>,
    bytes: usize,
    /// The highest number that has come.
    newest: Option<BatchId>,
}

impl Gathering {
    /// The controller says what belongs together. What was held before is to be done.
    pub(super) fn begin(&mut self, gather: Gather) -> Vec<Batch> {
        let held = self.end();
        let is_over = self.newest.is_some_and(|newest| newest >= gather.last);
        self.wanted = Some(gather).filter(|_| !is_over);
        held
    }

    /// A batch has come, which takes about so many bytes. What is to be done now, in order: nothing, if it is held.
    pub(super) fn add(&mut self, batch: Batch, bytes: usize) -> Vec<Batch> {
        self.newest = self.newest.max(Some(batch.id));
        let Some(Gather { first, last }) = self.wanted else { return vec![batch] };
        if batch.id < first {
            return vec![batch];
        }
        let waits = batch.id < last;
        self.bytes += bytes;
        self.held.push(batch);
        if waits && self.held.len() < BATCHES_MAX && self.bytes < BYTES_MAX {
            return Vec::new();
        }
        self.end()
    }

    /// No more comes up to this number. What is to be done now.
    pub(super) fn release(&mut self, last: BatchId) -> Vec<Batch> {
        if self.wanted.is_some_and(|gather| gather.last <= last) { self.end() } else { Vec::new() }
    }

    fn end(&mut self) -> Vec<Batch> {
        self.wanted = None;
        self.bytes = 0;
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use sync_proto::message::Bounded;

    use super::*;

    fn gather(first: u64, last: u64) -> Gather {
        Gather { first: BatchId(first), last: BatchId(last) }
    }

    fn add(gathering: &mut Gathering, id: u64, bytes: usize) -> Vec<u64> {
        let batch = Batch { id: BatchId(id), operations: Bounded::first(Vec::new()) };
        numbers(gathering.add(batch, bytes))
    }

    fn numbers(batches: Vec<Batch>) -> Vec<u64> {
        batches.into_iter().map(|batch| batch.id.0).collect()
    }

    #[test]
    fn they_are_done_when_the_last_is_here() {
        let mut gathering = Gathering::default();
        assert_eq!(add(&mut gathering, 1, 1), [1]);
        assert_eq!(numbers(gathering.begin(gather(3, 7))), []);
        assert_eq!(add(&mut gathering, 2, 1), [2], "before the first");
        assert_eq!(add(&mut gathering, 3, 1), []);
        assert_eq!(add(&mut gathering, 5, 1), []);
        assert_eq!(add(&mut gathering, 7, 1), [3, 5, 7]);
        assert_eq!(add(&mut gathering, 8, 1), [8]);
    }

    #[test]
    fn whatever_ends_it_nothing_is_kept() {
        let mut gathering = Gathering::default();
        gathering.begin(gather(1, 9));
        assert_eq!(add(&mut gathering, 1, 1), []);
        assert_eq!(numbers(gathering.release(BatchId(8))), [], "of an earlier one");
        assert_eq!(numbers(gathering.release(BatchId(9))), [1]);
        assert_eq!(add(&mut gathering, 2, 1), [2]);
        gathering.begin(gather(3, 9));
        assert_eq!(add(&mut gathering, 3, 1), []);
        assert_eq!(add(&mut gathering, 12, 1), [3, 12], "later than the last");
        gathering.begin(gather(13, 20));
        assert_eq!(add(&mut gathering, 13, 1), []);
        assert_eq!(numbers(gathering.begin(gather(21, 30))), [13]);
    }

    #[test]
    fn what_has_come_already_is_not_waited_for() {
        let mut gathering = Gathering::default();
        assert_eq!(add(&mut gathering, 4, 1), [4]);
        gathering.begin(gather(2, 4));
        assert_eq!(add(&mut gathering, 3, 1), [3]);
    }

    #[test]
    fn no_more_is_held_than_is_bounded() {
        let mut gathering = Gathering::default();
        gathering.begin(gather(0, u64::MAX));
        let most = u64::try_from(BATCHES_MAX).unwrap_or_default();
        for id in 0..most - 1 {
            assert_eq!(add(&mut gathering, id, 1), []);
        }
        assert_eq!(add(&mut gathering, most - 1, 1).len(), BATCHES_MAX);
        gathering.begin(gather(100, u64::MAX));
        assert_eq!(add(&mut gathering, 100, 1), []);
        assert_eq!(add(&mut gathering, 101, BYTES_MAX), [100, 101]);
        assert_eq!(add(&mut gathering, 102, 1), [102]);
    }
}

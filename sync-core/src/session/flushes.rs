//! Barriers that wait: for alpha to have looked, for beta to have told, and for all of it to be done.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::FlushError;

/// How long a flush waits for paths that change whenever they are about to be sent.
const UNSETTLED_TIME_MAX: Duration = Duration::from_secs(3);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Flushes {
    waiting: BTreeMap<u64, Flush>,
    next: u64,
}

#[derive(Debug)]
struct Flush {
    /// When alpha's replica had observed all that was on disk.
    observed: Option<Instant>,
    /// Whether beta has told all that was on its disk.
    told: bool,
    answer: oneshot::Sender<Result<(), FlushError>>,
}

impl Flushes {
    /// Another one, and its number. Numbers ascend.
    pub(super) fn add(&mut self, answer: oneshot::Sender<Result<(), FlushError>>) -> u64 {
        let number = self.next;
        self.next += 1;
        self.waiting.insert(number, Flush { observed: None, told: false, answer });
        number
    }

    /// Alpha's replica has looked.
    pub(super) fn observed(&mut self, number: u64) {
        if let Some(flush) = self.waiting.get_mut(&number) {
            flush.observed = Some(Instant::now());
        }
    }

    /// Beta has told, for all up to this one.
    pub(super) fn told(&mut self, number: u64) {
        self.waiting.range_mut(..=number).for_each(|(_, flush)| flush.told = true);
    }

    /// The last one that waits.
    pub(super) fn last(&self) -> Option<u64> {
        self.waiting.last_key_value().map(|(number, _)| *number)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// All that is known has been done, but for `unsettled` paths, which are tried again soon. What changes all the time
    /// must not hold others up for ever.
    pub(super) fn settle(&mut self, unsettled: usize, answer: &Result<(), FlushError>) {
        let patience = if unsettled > 0 { UNSETTLED_TIME_MAX } else { Duration::ZERO };
        let is_over =
            |flush: &mut Flush| flush.told && flush.observed.is_some_and(|observed| observed.elapsed() >= patience);
        for (_, flush) in self.waiting.extract_if(.., |_, flush| is_over(flush)) {
            let _ = flush.answer.send(answer.clone());
        }
    }

    /// None of them can be.
    pub(super) fn fail(&mut self, error: &FlushError) {
        for (_, flush) in std::mem::take(&mut self.waiting) {
            let _ = flush.answer.send(Err(error.clone()));
        }
    }
}

//! Observations on their way from a replica's thread to the task that waits for them.
//!
//! In order, with one liberty: news of changes that nobody has read yet become one. A burst thus becomes batches by itself,
//! as large as the reader is slow, and the queue never grows with the file system's business.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::replica::{Observation, Seen};

/// A queue with one writer and one reader.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    queue: Mutex<VecDeque<Observation>>,
    filled: Notify,
}

impl Mailbox {
    /// Adds an observation.
    pub(super) fn put(&self, observation: Observation) {
        let mut queue = self.queue();
        match (queue.back_mut(), observation) {
            (Some(Observation::Changed(earlier)), Observation::Changed(later)) => merge(earlier, later),
            (_, observation) => queue.push_back(observation),
        }
        drop(queue);
        self.filled.notify_one();
    }

    /// The next observation. Cancel-safe.
    pub(super) async fn next(&self) -> Observation {
        loop {
            // Made before looking, so that what is put between the look and the wait is not missed.
            let filled = self.filled.notified();
            if let Some(observation) = self.queue().pop_front() {
                return observation;
            }
            filled.await;
        }
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Observation>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn merge(earlier: &mut Seen, later: Seen) {
    let Seen { view, rules, hot, since: _, looked: _, done } = later;
    earlier.view = view;
    earlier.rules = rules;
    // A scan names no paths: where one of the two is a scan, the whole tree is compared anyway.
    earlier.hot.extend(hot);
    earlier.done = done;
}

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

/// Most paths that merged news name.
const HOT_PATHS_MAX: usize = 4096;

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
    let Seen { view, rules, hot, together, since: _, looked: _, done } = later;
    earlier.view = view;
    earlier.rules = rules;
    // A scan names no paths: where one of the two is a scan, the whole tree is compared anyway. So it is where there are
    // more than anybody would look at one by one; nobody may be reading for days.
    if earlier.hot.len() + hot.len() > HOT_PATHS_MAX {
        earlier.hot.clear();
    } else {
        earlier.hot.extend(hot);
    }
    earlier.together |= together;
    earlier.done = done;
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::{engine::view::View, ignore::Rules};

    fn changed(path: &str) -> Observation {
        let now = Instant::now();
        let hot = vec![sync_proto::SyncPath::parse(path.as_bytes()).expect("a path")];
        let rules = Rules::new(&sync_proto::message::IgnoreSettings::default()).expect("no patterns");
        Observation::Changed(Seen {
            view: View::default(),
            rules,
            hot,
            together: false,
            since: now,
            looked: now,
            done: now,
        })
    }

    #[tokio::test]
    async fn news_that_nobody_has_read_become_one_and_stay_in_their_place() {
        let mailbox = Mailbox::default();
        mailbox.put(changed("a"));
        mailbox.put(changed("b"));
        mailbox.put(Observation::Flushed(1));
        mailbox.put(changed("c"));
        let hot = |observation| match observation {
            Observation::Changed(seen) => seen.hot.iter().map(ToString::to_string).collect::<Vec<_>>().concat(),
            Observation::Flushed(_) => "flushed".to_owned(),
            other => panic!("{other:?}"),
        };
        assert_eq!(hot(mailbox.next().await), "ab");
        assert_eq!(hot(mailbox.next().await), "flushed");
        assert_eq!(hot(mailbox.next().await), "c");
    }

    #[tokio::test]
    async fn what_nobody_reads_does_not_grow() {
        let mailbox = Mailbox::default();
        for number in 0..10 * HOT_PATHS_MAX {
            mailbox.put(changed(&number.to_string()));
        }
        let Observation::Changed(seen) = mailbox.next().await else { panic!("no news") };
        assert!(seen.hot.len() <= HOT_PATHS_MAX);
    }
}

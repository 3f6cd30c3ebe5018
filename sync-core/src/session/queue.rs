//! Events on their way to the program that embeds a session.
//!
//! In order, and bounded: whoever does not read keeps no session waiting and fills no memory. When too many wait, what
//! only tells of work done (`Synced`, `Received`, `Progress`) goes first, then the oldest; how many went is told in their stead, by
//! [`Event::EventsLost`]. What is true now is in the status at any time.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use super::event::Event;

/// Most events that wait to be read. Each path of a `Synced` or a `Received` counts as one more.
const WAITING_MAX: usize = 1 << 16;

/// The events of a session, in order. To be read, or dropped: what is not read waits in memory, up to a bound.
#[derive(Debug)]
pub struct Events {
    queue: Arc<Queue>,
}

/// Where a session's parts put their events. The queue ends with the last of them.
#[derive(Debug, Clone)]
pub(super) struct Sender(Arc<Open>);

#[derive(Debug)]
struct Open(Arc<Queue>);

#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Event>,
    /// Of all that is waiting.
    weight: usize,
    lost: u64,
    /// Nothing more will come.
    is_over: bool,
    /// Nobody will read.
    is_unread: bool,
}

/// An empty queue.
pub(super) fn queue() -> (Sender, Events) {
    let queue = Arc::new(Queue::default());
    (Sender(Arc::new(Open(Arc::clone(&queue)))), Events { queue })
}

impl Sender {
    /// Adds an event. Nobody may be listening any more: then it is gone.
    pub(super) fn put(&self, event: Event) {
        let queue = &self.0.0;
        queue.state().put(event);
        queue.changed.notify_one();
    }
}

impl Events {
    /// The next event; `None` after [`Event::Stopped`]. Cancel-safe.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            // Made before looking, so that what is put between the look and the wait is not missed.
            let changed = self.queue.changed.notified();
            let (event, is_over) = self.queue.state().take();
            if event.is_some() || is_over {
                return event;
            }
            changed.await;
        }
    }
}

impl State {
    fn put(&mut self, event: Event) {
        if self.is_unread {
            return;
        }
        if let (Some(Event::Progress(earlier)), Event::Progress(later)) = (self.waiting.back_mut(), &event) {
            *earlier = *later;
            return;
        }
        self.weight += weight(&event);
        self.waiting.push_back(event);
        if self.weight > WAITING_MAX {
            self.make_room();
        }
    }

    /// Frees half of the queue at least, so that its cost is that of a few steps an event.
    fn make_room(&mut self) {
        let before = self.waiting.len();
        self.waiting.retain(|event| !matches!(event, Event::Synced(_) | Event::Received(_) | Event::Progress(_)));
        self.waiting.drain(..self.waiting.len().saturating_sub(WAITING_MAX / 2));
        self.weight = self.waiting.len();
        self.lost += (before - self.waiting.len()) as u64;
    }

    /// The next event, and whether there will never be one more.
    fn take(&mut self) -> (Option<Event>, bool) {
        if self.lost > 0 {
            return (Some(Event::EventsLost { count: std::mem::take(&mut self.lost) }), false);
        }
        let event = self.waiting.pop_front();
        self.weight -= event.as_ref().map_or(0, weight);
        (event, self.is_over)
    }
}

/// What an event counts for.
fn weight(event: &Event) -> usize {
    match event {
        Event::Synced(synced) => 1 + synced.paths.len(),
        Event::Received(received) => 1 + received.paths.len(),
        _ => 1,
    }
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.state().is_over = true;
        self.0.changed.notify_one();
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let mut state = self.queue.state();
        *state = State { is_unread: true, ..State::default() };
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{future::Future, pin::pin, task};

    use sync_proto::SyncPath;

    use super::*;
    use crate::session::event::{Action, Progress, Synced, SyncedPath};

    fn warning(number: usize) -> Event {
        Event::Warning { message: number.to_string() }
    }

    fn progress(done: u64) -> Event {
        Event::Progress(Progress { done, ..Progress::default() })
    }

    fn synced(paths: usize) -> Event {
        let path = SyncedPath { path: SyncPath::parse(b"a").unwrap(), action: Action::Created };
        Event::Synced(Synced { paths: vec![path; paths], content_bytes: 0, wire_bytes: 0, latency: None })
    }

    /// What is to be had without waiting; `None` where it would wait.
    fn now(events: &mut Events) -> Option<Option<Event>> {
        let mut context = task::Context::from_waker(task::Waker::noop());
        match pin!(events.next()).poll(&mut context) {
            task::Poll::Ready(event) => Some(event),
            task::Poll::Pending => None,
        }
    }

    #[test]
    fn events_come_in_order_and_end_with_the_last_sender() {
        let (sender, mut events) = queue();
        let other = sender.clone();
        sender.put(warning(1));
        other.put(warning(2));
        drop(sender);
        assert_eq!([now(&mut events), now(&mut events)], [Some(Some(warning(1))), Some(Some(warning(2)))]);
        assert_eq!(now(&mut events), None, "one sender is left");
        drop(other);
        assert_eq!(now(&mut events), Some(None));
    }

    #[test]
    fn progress_that_nobody_has_read_is_the_latest() {
        let (sender, mut events) = queue();
        for done in 0..100_000 {
            sender.put(progress(done));
        }
        sender.put(warning(1));
        assert_eq!(now(&mut events), Some(Some(progress(99_999))));
        assert_eq!(now(&mut events), Some(Some(warning(1))));
    }

    /// What is put, and what is then to be read first.
    #[track_caller]
    fn check(put: impl Iterator<Item = Event>, lost: u64, first: &Event) {
        let (sender, mut events) = queue();
        for event in put {
            sender.put(event);
            let state = events.queue.state();
            assert!(state.weight <= WAITING_MAX && state.waiting.len() <= WAITING_MAX);
        }
        assert_eq!(now(&mut events), Some(Some(Event::EventsLost { count: lost })));
        assert_eq!(now(&mut events).flatten().as_ref(), Some(first));
    }

    #[test]
    fn what_an_embedder_never_reads_is_bounded_and_counted() {
        // Of what tells of work done all goes, and what needs a person stays.
        let saves = || (0..WAITING_MAX / 2 + 1).map(|_| synced(1));
        check(std::iter::once(warning(7)).chain(saves()), WAITING_MAX as u64 / 2, &warning(7));
        // A batch counts by its paths.
        check([synced(1 << 15), synced(1 << 15), warning(1)].into_iter(), 2, &warning(1));
        // Where there is nothing of that kind, the oldest goes.
        let kept = WAITING_MAX / 2;
        check((0..=WAITING_MAX).map(warning), (WAITING_MAX + 1 - kept) as u64, &warning(WAITING_MAX + 1 - kept));
    }

    #[test]
    fn nothing_waits_for_a_reader_that_has_gone() {
        let (sender, events) = queue();
        sender.put(warning(1));
        let queue = Arc::clone(&events.queue);
        drop(events);
        sender.put(warning(2));
        assert!(queue.state().waiting.is_empty());
    }
}

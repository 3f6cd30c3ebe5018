//! Which events are worth a line, given those before: a story, not a log.

use sync_core::session::event::Event;

use super::human::{self, Line};

/// Remembers what has been told.
#[derive(Debug, Default)]
pub(crate) struct Narrator {
    ready: bool,
    /// Why there is no connection, as last told. A pod that is away for an hour is one line, not a thousand.
    away: Option<String>,
}

impl Narrator {
    /// Whether the first sync over the present connection is done.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready
    }

    /// The line to show for `event`, if any.
    pub(crate) fn tell(&mut self, event: &Event) -> Option<Line> {
        match event {
            Event::Ready { .. } => self.ready = true,
            Event::Connected { .. } => self.away = None,
            Event::Connecting { .. } if self.away.is_some() => return None,
            Event::Disconnected { reason, .. } => {
                self.ready = false;
                if self.away.as_ref() == Some(reason) {
                    return None;
                }
                self.away = Some(reason.clone());
            }
            // The bulk of the first sync is shown by the progress; a save in the midst of it has a latency, and a line.
            Event::Synced(synced) if !self.ready && synced.latency.is_none() => return None,
            _ => {}
        }
        human::line(event)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use std::time::Duration;

    use sync_core::session::event::{Action, Latency, Synced, SyncedPath};
    use sync_proto::SyncPath;

    use super::*;

    fn told(events: &[Event]) -> Vec<String> {
        let mut narrator = Narrator::default();
        events.iter().filter_map(|event| narrator.tell(event)).map(|line| line.painted(false)).collect()
    }

    fn synced(path: &str, latency: Option<Latency>) -> Event {
        let path = SyncedPath { path: SyncPath::parse(path.as_bytes()).unwrap(), action: Action::Created };
        Event::Synced(Synced { paths: vec![path], content_bytes: 1, wire_bytes: 1, latency })
    }

    fn ready() -> Event {
        Event::Ready { files: 2, bytes: 2, took: Duration::from_millis(1) }
    }

    fn away(reason: &str, seconds: u64) -> Event {
        Event::Disconnected { reason: reason.to_owned(), stood: false, retry_in: Some(Duration::from_secs(seconds)) }
    }

    #[test]
    fn the_bulk_of_the_first_sync_is_not_told_but_a_save_in_it_is() {
        let save = Some(Latency { total: Duration::from_micros(620), ..Latency::default() });
        let lines = told(&[synced("bulk", None), synced("save", save), ready(), synced("later", None)]);
        assert_eq!(lines, ["created save  1 B  0.62 ms", "in sync: 2 files, 2 B, after 1.00 ms", "created later  1 B"]);
    }

    #[test]
    fn a_pod_that_stays_away_is_told_once() {
        let connecting = || Event::Connecting { destination: "quic://pod:1/w".to_owned() };
        let connected = || Event::Connected { round_trip: Duration::from_millis(1) };
        let lines = told(&[
            connecting(),
            away("nobody answers", 1),
            connecting(),
            away("nobody answers", 2),
            connecting(),
            away("wrong secret", 4),
            connecting(),
            connected(),
            synced("bulk", None),
            ready(),
            away("nobody answers", 1),
        ]);
        assert_eq!(
            lines,
            [
                "connecting to quic://pod:1/w",
                "not connected: nobody answers; trying again in 1.00 s",
                "not connected: wrong secret; trying again in 4.00 s",
                "connected (round trip 1.00 ms)",
                "in sync: 2 files, 2 B, after 1.00 ms",
                "not connected: nobody answers; trying again in 1.00 s",
            ]
        );
    }
}

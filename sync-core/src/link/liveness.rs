//! When to try again, and when to believe that the other side is gone.
//!
//! QUIC gives a connection up after 60 s without a word: long enough for a laptop to change networks under it. That is
//! too long to leave a person in the dark, so [`unheard`] tells much sooner, and leaves it to the session to say so and
//! to dial beside the old connection. A restarted agent is noticed at once: it resets the connection it does not know.

use std::time::Duration;

use quinn::Connection;
use tokio::time;

use super::transport::KEEP_ALIVE;

/// How long a live peer is silent at most: three keep-alives.
pub const SILENCE_MAX: Duration = Duration::from_secs(15);

/// Returns when nothing that the peer authenticated has arrived for `limit`. While the connection lives, each side sends
/// something every 5 s, so anything above that tells a dead peer or path from a quiet one ([`SILENCE_MAX`] allows for two
/// lost packets). Also returns when the connection is closed. Cancel-safe.
pub async fn unheard(connection: &Connection, limit: Duration) {
    let tick = (limit / 3).min(KEEP_ALIVE);
    let mut last = heard(connection);
    let mut silent = Duration::ZERO;
    while silent < limit {
        tokio::select! {
            () = time::sleep(tick) => {}
            _ = connection.closed() => return,
        }
        let now = heard(connection);
        silent = if now == last { silent + tick } else { Duration::ZERO };
        last = now;
    }
}

/// Whether the peer is silent for `limit` after it was spoken to. To be made *before* something is sent to it, which a live
/// peer acknowledges, and awaited after.
pub fn silent_after(connection: &Connection, limit: Duration) -> impl Future<Output = bool> + Send + use<> {
    let before = heard(connection);
    let connection = connection.clone();
    async move {
        let answered = async {
            while heard(&connection) == before {
                time::sleep(limit / 20).await;
            }
        };
        time::timeout(limit, answered).await.is_err()
    }
}

/// Counts frames in packets that the peer's keys opened: any packet of a live peer has one of these.
fn heard(connection: &Connection) -> u64 {
    let frames = connection.stats().frame_rx;
    [frames.acks, frames.ping, frames.stream, frames.max_data, frames.max_stream_data].iter().sum()
}

/// Waiting times between attempts: from 100 ms, doubling up to 5 s. Pure: the caller brings the randomness and waits.
#[derive(Debug, Clone, Default)]
pub struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// The first waiting time, before jitter.
    pub const FIRST: Duration = Duration::from_millis(100);
    /// The longest.
    pub const LONGEST: Duration = Duration::from_secs(5);

    /// Nothing has failed yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long to wait after another failure. `jitter` is any random number: it takes off up to a quarter, so that many
    /// sides that failed together don't come back together.
    pub fn next(&mut self, jitter: u32) -> Duration {
        let doubled = Self::FIRST.saturating_mul(1_u32.checked_shl(self.attempts).unwrap_or(u32::MAX));
        self.attempts = self.attempts.saturating_add(1);
        let whole = doubled.min(Self::LONGEST);
        whole - (whole / 4).mul_f64(f64::from(jitter) / f64::from(u32::MAX))
    }

    /// It worked: the next failure begins from the first waiting time again.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }

    /// How many failures there were in a row.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }
}

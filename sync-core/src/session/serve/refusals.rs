//! What the log says of strangers: enough to see them, never so much that they fill it.

use std::time::{Duration, Instant};

use crate::link::AcceptError;

/// Refusals that are told one by one, of each stretch of time. The rest are counted.
const TOLD_MAX: u32 = 8;
const STRETCH: Duration = Duration::from_secs(10);

/// Counts refusals.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// Of keys: somebody may have been given the wrong secret.
    keys: Counter,
    /// Of all else, down to noise.
    others: Counter,
}

#[derive(Debug, Default)]
struct Counter {
    since: Option<Instant>,
    told: u32,
    untold: u64,
}

impl Refusals {
    /// Logs one, or counts it.
    pub(super) fn log(&mut self, error: &AcceptError, now: Instant) {
        if self.keys.is_due(now) && self.others.is_due(now) {
            self.log_rest();
        }
        let counter = match error {
            AcceptError::Refused { .. } => &mut self.keys,
            AcceptError::Failed { .. } | AcceptError::Silent { .. } => &mut self.others,
        };
        if counter.take(now) {
            tracing::warn!("refused a connection: {error}");
        }
    }

    /// Logs how many were not told.
    pub(super) fn log_rest(&mut self) {
        let untold = std::mem::take(&mut self.keys.untold) + std::mem::take(&mut self.others.untold);
        if untold > 0 {
            tracing::warn!("refused connections: {untold} more were refused");
        }
    }
}

impl Counter {
    fn is_due(&self, now: Instant) -> bool {
        self.since.is_none_or(|since| now.saturating_duration_since(since) >= STRETCH)
    }

    /// Whether this one is told.
    fn take(&mut self, now: Instant) -> bool {
        if self.is_due(now) {
            (self.since, self.told) = (Some(now), 0);
        }
        let tell = self.told < TOLD_MAX;
        if tell {
            self.told += 1;
        } else {
            self.untold += 1;
        }
        tell
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_is_counted() {
        let mut refusals = Counter::default();
        let begun = Instant::now();
        let told = |refusals: &mut Counter, at: Duration| (0..100).filter(|_| refusals.take(begun + at)).count();
        assert_eq!(told(&mut refusals, Duration::ZERO), 8);
        assert_eq!(told(&mut refusals, STRETCH / 2), 0);
        assert_eq!(refusals.untold, 192);
        assert_eq!(told(&mut refusals, STRETCH), 8);
    }
}

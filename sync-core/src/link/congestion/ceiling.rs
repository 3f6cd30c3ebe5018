//! How much may be in flight before more of it would only wait in a queue.
//!
//! A link with a bounded rate keeps what it can't carry yet in a queue, in order, and Cubic grows until that is full: 200 ms at
//! some routers. A save has to wait there behind the bulk that left before it. So where even the shortest of the round trips
//! of a while is longer than the path needs by more than [`QUEUE_MAX`], the ceiling falls to what was carried in that
//! while, times the time that is allowed. It rises where they are shorter. The link stays busy: something always waits.
//!
//! A queue that does not shrink when less is sent is somebody else's, or the path has become longer, or a processor is
//! busy. To give way then would be to starve, so the ceiling is lifted for a while: Cubic alone, as everybody else.

use std::time::{Duration, Instant};

use super::blind::Told;

/// How long what is sent may wait in queues.
const QUEUE_MAX: Duration = Duration::from_millis(6);
/// The ceiling is never lower, in bytes.
const FLOOR_BYTES: u64 = 32 << 10;
/// At such a rate, in bytes a second (1 Gbit/s), [`FAST_BYTES`] wait for 17 ms at most, and what looks like a queue is mostly busy
/// processors: there nothing falls below it.
const FAST: f64 = 125e6;
const FAST_BYTES: u64 = super::CAP_MIN;
/// By how much it rises at least where nothing waits. Over a distance this is how far it may go beyond.
const GROWTH: f64 = 1.25;
/// For how long answers are gathered before they are judged.
const SPAN_MIN: Duration = Duration::from_millis(10);
/// How many of them there must be.
const SPAN_ANSWERS_MIN: u32 = 8;
/// How long there is no ceiling where falling did not help.
const LIFTED: Duration = Duration::from_secs(10);

/// A packet was answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    pub(super) now: Instant,
    pub(super) sent: Instant,
    pub(super) bytes: u64,
    /// Nothing more was there to send, so that a queue is not of our making.
    pub(super) app_limited: bool,
    /// The shortest round trip seen on this path.
    pub(super) base: Duration,
    /// What may be in flight just now, by this ceiling and all else.
    pub(super) window: u64,
}

/// A bound on what is in flight, in bytes.
#[derive(Debug, Clone)]
pub(super) struct Ceiling {
    bytes: u64,
    /// Only packets that were sent from here on tell of the present bound.
    since: Option<Instant>,
    span: Option<Span>,
    /// Since when it falls, until it helps.
    falling: Option<Falling>,
    lifted_until: Option<Instant>,
}

/// The answers of a while.
#[derive(Debug, Clone, Copy)]
struct Span {
    began: Instant,
    answers: u32,
    bytes: u64,
    shortest: Duration,
}

/// What was in flight, and the round trip that this makes at the rate of that while.
#[derive(Debug, Clone, Copy)]
struct Falling {
    window: u64,
    round_trip: Duration,
}

impl Ceiling {
    pub(super) fn new() -> Self {
        Self { bytes: u64::MAX, since: None, span: None, falling: None, lifted_until: None }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Begins with what a link has told, before anything was found to wait.
    pub(super) fn begin(&mut self, now: Instant, base: Duration, told: Told) {
        if let Told::Carries(rate) = told
            && rate < FAST
            && self.bytes == u64::MAX
            && self.lifted_until.is_none()
        {
            self.bytes = ((rate * round_trip_max(base)) as u64).max(FLOOR_BYTES);
            // What leaves now finds the queue empty that it fills.
            (self.since, self.span) = (Some(now + base), None);
        }
    }

    pub(super) fn on_answer(&mut self, answer: &Answer) {
        if self.lifted_until.is_some_and(|until| answer.now < until) {
            return;
        }
        if answer.app_limited || self.since.is_some_and(|since| answer.sent < since) {
            self.span = None;
            return;
        }
        let round_trip = answer.now.saturating_duration_since(answer.sent);
        let Some(span) = &mut self.span else {
            self.span = Some(Span { began: answer.now, answers: 0, bytes: 0, shortest: round_trip });
            return;
        };
        span.answers += 1;
        span.bytes += answer.bytes;
        span.shortest = span.shortest.min(round_trip);
        let took = answer.now.saturating_duration_since(span.began);
        // Of less than a round trip they would come as they were sent: all at once, with a pause after.
        if took >= SPAN_MIN.max(span.shortest) && span.answers >= SPAN_ANSWERS_MIN {
            let span = *span;
            self.judge(answer, &span, took);
        }
    }

    fn judge(&mut self, answer: &Answer, span: &Span, took: Duration) {
        let allowed = answer.base + QUEUE_MAX;
        self.span = None;
        if span.shortest <= allowed {
            let fits = allowed.as_secs_f64() / span.shortest.as_secs_f64().max(1e-6);
            // With next to nothing in the queue the link may be able to carry far more.
            let at_least = if span.shortest <= answer.base + QUEUE_MAX / 4 { GROWTH } else { 1.0 };
            let more = fits.clamp(at_least, 2.0);
            let bytes = (answer.window as f64 * more) as u64;
            if bytes > self.bytes {
                self.bytes = bytes;
                self.since = Some(answer.now);
            }
            self.falling = None;
            return;
        }
        self.since = Some(answer.now);
        let rate = span.bytes as f64 / took.as_secs_f64();
        if rate >= FAST && answer.window <= FAST_BYTES {
            self.falling = None;
            return;
        }
        let makes = Duration::try_from_secs_f64(answer.window as f64 / rate).unwrap_or(Duration::MAX);
        let now = Falling { window: answer.window, round_trip: span.shortest.max(makes) };
        let from = *self.falling.get_or_insert(now);
        // Judged only when a third less is in flight: small differences are lost in the noise.
        if answer.window <= from.window / 3 * 2 {
            let expected = from.round_trip.mul_f64(answer.window as f64 / from.window as f64);
            if span.shortest > (from.round_trip + expected) / 2 {
                *self = Self { lifted_until: Some(answer.now + LIFTED), ..Self::new() };
                return;
            }
            self.falling = Some(now);
        }
        let fits = (rate * allowed.as_secs_f64()) as u64;
        let floor = if rate >= FAST { FAST_BYTES } else { FLOOR_BYTES };
        self.bytes = fits.min(answer.window).max(floor);
    }
}

/// The longest round trip that is let, in seconds, where it takes `base` at least.
pub(super) fn round_trip_max(base: Duration) -> f64 {
    (base + QUEUE_MAX).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    const PACKET_BYTES: u64 = 1_452;
    /// What a queue of the link holds.
    const QUEUE_BYTES_SECONDS: f64 = 0.2;

    /// A link that carries so many bytes a second, one packet after the other, with a queue that is never full.
    struct Path {
        began: Instant,
        rate: f64,
        round_trip: Duration,
        /// What others keep in the queue, from some moment on.
        others: fn(Duration) -> Duration,
        /// Until when nobody gets to read what arrives at some moment.
        stalled: fn(Duration) -> Duration,
    }

    /// What a sender that always has something saw in the last half of a time.
    #[derive(Debug)]
    struct Seen {
        /// Part of what the link can carry.
        used: f64,
        longest_wait: Duration,
        lifted: bool,
    }

    impl Path {
        fn run(&self, initial_window: u64, lasts: Duration) -> Seen {
            let mut ceiling = Ceiling::new();
            let (mut now, mut free, mut flying, mut carried) = (Duration::ZERO, Duration::ZERO, 0, 0);
            let mut answers = VecDeque::new();
            let mut seen = Seen { used: 0.0, longest_wait: Duration::ZERO, lifted: false };
            while now < lasts {
                let window = initial_window.min(ceiling.bytes());
                while flying + PACKET_BYTES <= window {
                    flying += PACKET_BYTES;
                    free = free.max(now) + Duration::from_secs_f64(PACKET_BYTES as f64 / self.rate);
                    answers.push_back((now, free + self.round_trip + (self.others)(now)));
                }
                let (sent, answered) = answers.pop_front().expect("something is always in flight");
                now = (self.stalled)(now.max(answered));
                flying -= PACKET_BYTES;
                if now > lasts / 2 {
                    carried += PACKET_BYTES;
                    seen.longest_wait = seen.longest_wait.max(now - sent - self.round_trip);
                }
                ceiling.on_answer(&Answer {
                    now: self.began + now,
                    sent: self.began + sent,
                    bytes: PACKET_BYTES,
                    app_limited: false,
                    base: self.round_trip,
                    window,
                });
                seen.lifted |= ceiling.lifted_until.is_some();
            }
            seen.used = carried as f64 / (self.rate * (lasts / 2).as_secs_f64());
            seen
        }
    }

    fn path(mbit: f64, round_trip_ms: u64, others: fn(Duration) -> Duration) -> Path {
        let round_trip = Duration::from_micros(round_trip_ms * 1_000 + 200);
        Path { began: Instant::now(), rate: mbit * 125_000.0, round_trip, others, stalled: |at| at }
    }

    #[test]
    fn a_link_stays_busy_and_its_queue_short() {
        let none: fn(Duration) -> Duration = |_| Duration::ZERO;
        for (mbit, round_trip_ms) in [(20.0, 10), (100.0, 0), (100.0, 10), (100.0, 50), (500.0, 0), (500.0, 50)] {
            let path = path(mbit, round_trip_ms, none);
            // A window that would keep 200 ms waiting.
            let window = (path.rate * (path.round_trip.as_secs_f64() + QUEUE_BYTES_SECONDS)) as u64;
            let seen = path.run(window, Duration::from_secs(6));
            let what = format!("{mbit} Mbit/s, {round_trip_ms} ms: {seen:?}");
            assert!(seen.used > 0.97, "{what}");
            assert!(seen.longest_wait < QUEUE_MAX * 2, "{what}");
            assert!(!seen.lifted, "{what}");
        }
    }

    #[test]
    fn busy_processors_do_not_make_a_link_slow() {
        // 25 ms in each 150.
        let stalled: fn(Duration) -> Duration = |at| {
            let into = at.as_micros() as u64 % 150_000;
            if into < 25_000 { at + Duration::from_micros(25_000 - into) } else { at }
        };
        for round_trip_ms in [0, 10, 50] {
            let path = Path { stalled, ..path(100.0, round_trip_ms, |_| Duration::ZERO) };
            let seen = path.run(4 << 20, Duration::from_secs(8));
            // Little waits, so that in a stall the link runs out of it.
            let what = format!("{round_trip_ms} ms: {seen:?}");
            assert!(seen.used > 0.85 && seen.longest_wait < Duration::from_millis(80) && !seen.lifted, "{what}");
        }
    }

    #[test]
    fn a_fast_link_keeps_what_it_had() {
        let path = path(2_000.0, 0, |_| Duration::ZERO);
        let seen = path.run(2 * FAST_BYTES, Duration::from_secs(2));
        assert!(seen.used > 0.97 && seen.longest_wait > QUEUE_MAX && seen.longest_wait < QUEUE_MAX * 2, "{seen:?}");
    }

    #[test]
    fn a_queue_of_others_is_not_given_way_to() {
        let others: fn(Duration) -> Duration =
            |at| if at > Duration::from_secs(1) { Duration::from_millis(120) } else { Duration::ZERO };
        let path = path(100.0, 10, others);
        let seen = path.run(4 << 20, Duration::from_secs(8));
        assert!(seen.lifted && seen.used > 0.97, "{seen:?}");
    }

    #[test]
    fn a_sender_with_nothing_more_to_send_is_not_held_back() {
        let began = Instant::now();
        let mut ceiling = Ceiling::new();
        for millis in 0..1_000 {
            let sent = began + Duration::from_millis(millis);
            ceiling.on_answer(&Answer {
                now: sent + Duration::from_millis(300),
                sent,
                bytes: PACKET_BYTES,
                app_limited: true,
                base: Duration::from_millis(1),
                window: 2 << 20,
            });
        }
        assert_eq!(ceiling.bytes(), u64::MAX);
    }
}

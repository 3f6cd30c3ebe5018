//! How much may be in flight before more of it would only wait in a queue.
//!
//! A link with a bounded rate keeps what it can't carry yet in a queue, in order, and Cubic grows until that is full: 200 ms at
//! some routers. A save has to wait there behind the bulk that left before it. So where even the shortest of the round trips
//! of a while is longer than the path needs by more than [`QUEUE_MAX`], the ceiling falls to what was carried in that
//! while, times the time that is allowed. It rises where they are shorter. The link stays busy: something always waits.
//!
//! What is in flight takes at least as long as the link needs for it. What waits longer waits for others: in their queue, on a path that
//! has become longer, for a busy processor. To give way then would be to starve, so as much more may be in flight as
//! the link carries in that time, once it was so for a while.

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
/// So many whiles in a row others have to make wait before it is believed.
const WHILES: u32 = 4;
/// For how long it is: with more in flight one queue can't be told from the other.
const BELIEVED: Duration = Duration::from_secs(10);

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
    /// What the link carried at its fastest of late, in bytes a second, where that is known.
    pub(super) rate: Option<u64>,
    /// What may be in flight just now, by this ceiling and all else.
    pub(super) window: u64,
}

/// A bound on what is in flight, in bytes.
#[derive(Debug, Clone)]
pub(super) struct Ceiling {
    bytes: u64,
    /// Since when all is in flight that may be: only what was sent from then on tells how long that has to wait. What leaves earlier finds
    /// the queue as it was before this bound, or before there was anything to send, and would have it raised in vain.
    full_since: Option<Instant>,
    span: Option<Span>,
    others: Others,
}

/// What others make wait for.
#[derive(Debug, Clone, Copy, Default)]
struct Others {
    /// In how many whiles in a row, just now, and for how long at least.
    whiles: u32,
    least: Duration,
    believed: Option<(Duration, Instant)>,
}

/// The answers of a while.
#[derive(Debug, Clone, Copy)]
struct Span {
    began: Instant,
    answers: u32,
    bytes: u64,
    shortest: Duration,
}

impl Ceiling {
    pub(super) fn new() -> Self {
        Self { bytes: u64::MAX, full_since: None, span: None, others: Others::default() }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Begins with what a link has told, before anything was found to wait.
    pub(super) fn begin(&mut self, base: Duration, told: Told) {
        let rate = match told {
            Told::Carries(rate) => rate,
            // Too low it is soon raised; with none a queue would be full first.
            Told::Perhaps(rate) => rate * 2.0,
            Told::AtLeast(_) => return,
        };
        if rate < FAST && self.bytes == u64::MAX {
            self.bytes = ((rate * round_trip_max(base)) as u64).max(FLOOR_BYTES);
            self.fill_anew();
        }
    }

    /// All was in flight just now that may be.
    pub(super) fn on_full(&mut self, now: Instant) {
        self.full_since.get_or_insert(now);
    }

    #[cfg(test)]
    pub(super) fn is_full(&self) -> bool {
        self.full_since.is_some()
    }

    fn fill_anew(&mut self) {
        (self.full_since, self.span) = (None, None);
    }

    pub(super) fn on_answer(&mut self, answer: &Answer) {
        if answer.app_limited {
            self.fill_anew();
            return;
        }
        if self.full_since.is_none_or(|since| answer.sent < since) {
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
        self.span = None;
        // In a while in which a processor was busy less is carried than the link would.
        let rate = (span.bytes as f64 / took.as_secs_f64()).max(answer.rate.unwrap_or_default() as f64);
        let allowed = answer.base + QUEUE_MAX + self.others.on_while(answer, span, rate);
        let carried = rate * allowed.as_secs_f64();
        if span.shortest <= allowed {
            let fits = carried / answer.window as f64;
            // With next to nothing in the queue the link may be able to carry far more.
            let at_least = if span.shortest <= answer.base + QUEUE_MAX / 4 { GROWTH } else { 1.0 };
            let bytes = (answer.window as f64 * fits.clamp(at_least, 2.0)) as u64;
            if bytes > self.bytes {
                self.bytes = bytes;
                self.fill_anew();
            }
            return;
        }
        if rate >= FAST && answer.window <= FAST_BYTES {
            return;
        }
        let floor = if rate >= FAST { FAST_BYTES } else { FLOOR_BYTES };
        self.bytes = (carried as u64).min(answer.window).max(floor);
        self.fill_anew();
    }
}

impl Others {
    /// For how long they make wait, as far as that is believed.
    fn on_while(&mut self, answer: &Answer, span: &Span, rate: f64) -> Duration {
        let needed = answer.window as f64 / rate;
        if span.shortest > answer.base + QUEUE_MAX && needed < 0.75 * span.shortest.as_secs_f64() {
            let wait = span.shortest.saturating_sub(answer.base);
            self.least = if self.whiles == 0 { wait } else { self.least.min(wait) };
            self.whiles += 1;
            if self.whiles >= WHILES {
                self.believed = Some((self.least, answer.now + BELIEVED));
            }
        } else {
            self.whiles = 0;
        }
        self.believed = self.believed.filter(|(_, until)| answer.now < *until);
        self.believed.map_or(Duration::ZERO, |(wait, _)| wait)
    }
}

/// The longest round trip that is let, in seconds, where it takes `base` at least.
pub(super) fn round_trip_max(base: Duration) -> f64 {
    (base + QUEUE_MAX).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::{super::rate::Rate, *};

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
        /// Whether there is something to send at some moment.
        sends: fn(Duration) -> bool,
        /// Of what it carries at first, at some moment.
        part: fn(Duration) -> f64,
        /// What was seen of it before, in bytes a second.
        told: Option<f64>,
    }

    /// What a sender that always has something saw in the last half of a time.
    #[derive(Debug)]
    struct Seen {
        /// Part of what the link can carry.
        used: f64,
        longest_wait: Duration,
    }

    impl Path {
        fn run(&self, initial_window: u64, lasts: Duration) -> Seen {
            let (mut ceiling, mut rate) = (Ceiling::new(), Rate::default());
            let (mut now, mut free, mut flying, mut carried) = (Duration::ZERO, Duration::ZERO, 0, 0);
            let mut answers = VecDeque::new();
            if let Some(rate) = self.told {
                ceiling.begin(self.round_trip, Told::Carries(rate));
            }
            let mut seen = Seen { used: 0.0, longest_wait: Duration::ZERO };
            while now < lasts {
                let window = initial_window.min(ceiling.bytes());
                let sends = (self.sends)(now);
                while sends && answers.front().is_none_or(|(_, answered)| *answered > now) {
                    if flying + PACKET_BYTES > window {
                        ceiling.on_full(self.began + now);
                        break;
                    }
                    flying += PACKET_BYTES;
                    // As quinn, at five quarters of a window each round trip.
                    now += self.round_trip.mul_f64(PACKET_BYTES as f64 / window as f64 / 1.25);
                    free = free.max(now) + Duration::from_secs_f64(PACKET_BYTES as f64 / self.rate / (self.part)(now));
                    answers.push_back((now, free + self.round_trip + (self.others)(now)));
                }
                let Some((sent, answered)) = answers.pop_front() else {
                    now += Duration::from_millis(1);
                    continue;
                };
                now = (self.stalled)(now.max(answered));
                flying -= PACKET_BYTES;
                if now > lasts / 2 {
                    carried += PACKET_BYTES;
                    seen.longest_wait = seen.longest_wait.max(now - sent - self.round_trip);
                }
                rate.on_answer(self.began + now, self.began + sent, PACKET_BYTES, !sends);
                ceiling.on_answer(&Answer {
                    rate: rate.bytes_per_second(),
                    now: self.began + now,
                    sent: self.began + sent,
                    bytes: PACKET_BYTES,
                    app_limited: !sends,
                    base: self.round_trip,
                    window,
                });
                rate.on_moment(flying);
            }
            seen.used = carried as f64 / (self.rate * (lasts / 2).as_secs_f64());
            seen
        }
    }

    fn path(mbit: f64, round_trip_ms: u64, others: fn(Duration) -> Duration) -> Path {
        let round_trip = Duration::from_micros(round_trip_ms * 1_000 + 200);
        Path {
            began: Instant::now(),
            rate: mbit * 125_000.0,
            round_trip,
            others,
            stalled: |at| at,
            sends: |_| true,
            part: |_| 1.0,
            told: None,
        }
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
        }
    }

    #[test]
    fn bulk_that_begins_again_finds_the_bound_that_was_right() {
        // For 300 ms, each half second.
        let sends: fn(Duration) -> bool = |at| at.as_millis() % 500 < 300;
        for round_trip_ms in [0, 10, 50] {
            let told = Some(12e6);
            let path = Path { sends, told, ..path(100.0, round_trip_ms, |_| Duration::ZERO) };
            let seen = path.run(2 << 20, Duration::from_secs(8));
            let what = format!("{round_trip_ms} ms: {seen:?}");
            // At five quarters of a window each round trip more leaves at first than the link carries.
            assert!(seen.longest_wait < QUEUE_MAX * 3 / 2 + path.round_trip / 5, "{what}");
            assert!(seen.used > 0.55, "{what}");
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
            assert!(seen.used > 0.85 && seen.longest_wait < Duration::from_millis(80), "{what}");
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
        assert!(seen.used > 0.97, "{seen:?}");
    }

    #[test]
    fn a_link_that_becomes_slower_is_followed() {
        let part: fn(Duration) -> f64 = |at| if at > Duration::from_secs(1) { 0.2 } else { 1.0 };
        for round_trip_ms in [0, 10, 50] {
            let path = Path { part, told: Some(12e6), ..path(100.0, round_trip_ms, |_| Duration::ZERO) };
            let seen = path.run(4 << 20, Duration::from_secs(4));
            let what = format!("{round_trip_ms} ms: {seen:?}");
            assert!(seen.used > 0.97 * 0.2 && seen.longest_wait < QUEUE_MAX * 4, "{what}");
        }
    }

    #[test]
    fn what_a_link_may_carry_is_a_bound_that_is_soon_raised() {
        let base = Duration::from_millis(10);
        let begun = |told| {
            let mut ceiling = Ceiling::new();
            ceiling.begin(base, told);
            ceiling.bytes()
        };
        assert_eq!(begun(Told::Carries(10e6)), 160_000);
        assert_eq!(begun(Told::Perhaps(10e6)), 320_000);
        assert_eq!(begun(Told::AtLeast(10e6)), u64::MAX);
        assert_eq!(begun(Told::Perhaps(FAST / 2.0)), u64::MAX);
        assert_eq!(begun(Told::Carries(1e3)), FLOOR_BYTES);
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
                rate: None,
                window: 2 << 20,
            });
        }
        assert_eq!(ceiling.bytes(), u64::MAX);
    }
}

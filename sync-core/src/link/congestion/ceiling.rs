//! How much may be in flight before more of it would only wait in a queue.
//!
//! A link with a bounded rate keeps what it can't carry yet in a queue, in order, and Cubic grows until that is full: 200 ms at
//! some routers. A save has to wait there behind the bulk that left before it. So where even the shortest of the round trips
//! of a while is longer than the path needs by more than [`QUEUE_MAX`], the ceiling falls to what the link carries in the
//! time that is allowed. It rises where they are shorter. The link stays busy: something always waits.
//!
//! What is in flight takes as long as the link needs for it, and less of it takes less. What waits longer, or as long, waits for others: in
//! their queue, on a path that has become longer, for a busy processor. To give way then would be to starve, so as much more
//! may be in flight as the link carries in that time.

use std::time::{Duration, Instant};

use super::blind::Told;

/// How long what is sent may wait in queues.
const QUEUE_MAX: Duration = Duration::from_millis(6);
/// The ceiling is never lower, in bytes.
const FLOOR_BYTES: u64 = 32 << 10;
/// At such a rate, in bytes a second (of 1 Gbit/s what the headers leave), [`FAST_BYTES`] wait for 19 ms at most, and what looks like a
/// queue is mostly busy processors: there nothing falls below it.
const FAST: f64 = 110e6;
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
    /// Only packets that were sent from here on tell of the present bound.
    since: Option<Instant>,
    /// Since when all is in flight that may be. What leaves earlier finds the queue as it was before this bound, or before there was
    /// anything to send: where that is too long the bound is too high, but where it is short that is no reason to raise it.
    full_since: Option<Instant>,
    span: Option<Span>,
    others: Others,
}

/// What others make wait for.
#[derive(Debug, Clone, Copy, Default)]
struct Others {
    /// In how many whiles in a row, just now, what is in flight did not need as long as it took, and the shortest of those times.
    whiles: u32,
    least: Duration,
    falling: Option<Falling>,
    /// The wait, and until when.
    believed: Option<(Duration, Instant)>,
}

/// What was in flight, and for how long, since it falls without help.
#[derive(Debug, Clone, Copy)]
struct Falling {
    window: u64,
    round_trip: Duration,
}

/// The answers of a while.
#[derive(Debug, Clone, Copy)]
struct Span {
    began: Instant,
    answers: u32,
    bytes: u64,
    shortest: Duration,
    /// All of them were sent since all was in flight that may be.
    is_full: bool,
}

impl Ceiling {
    pub(super) fn new() -> Self {
        Self { bytes: u64::MAX, since: None, full_since: None, span: None, others: Others::default() }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Begins with what a link has told, before anything was found to wait.
    pub(super) fn begin(&mut self, now: Instant, base: Duration, told: Told) {
        let rate = match told {
            Told::Carries(rate) => rate,
            // Too low it is soon raised; with none a queue would be full first.
            Told::Perhaps(rate) => rate * 2.0,
            Told::AtLeast(_) => return,
        };
        if rate < FAST && self.bytes == u64::MAX {
            self.bytes = ((rate * round_trip_max(base)) as u64).max(FLOOR_BYTES);
            self.fill_anew(now);
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

    fn fill_anew(&mut self, now: Instant) {
        (self.since, self.full_since, self.span) = (Some(now), None, None);
    }

    pub(super) fn on_answer(&mut self, answer: &Answer) {
        if answer.app_limited {
            (self.full_since, self.span) = (None, None);
            self.others.on_pause();
            return;
        }
        if self.since.is_some_and(|since| answer.sent < since) {
            return;
        }
        let round_trip = answer.now.saturating_duration_since(answer.sent);
        let is_full = self.full_since.is_some_and(|since| answer.sent > since);
        let Some(span) = self.span.as_mut().filter(|span| span.is_full == is_full) else {
            self.span = Some(Span { began: answer.now, answers: 0, bytes: 0, shortest: round_trip, is_full });
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
        if span.is_full {
            self.others.on_while(answer, span, rate);
        }
        let allowed = answer.base + QUEUE_MAX + self.others.wait(answer.now);
        let carried = rate * allowed.as_secs_f64();
        if span.shortest <= allowed {
            if !span.is_full {
                return;
            }
            let fits = carried / answer.window as f64;
            // With next to nothing in the queue the link may be able to carry far more.
            let at_least = if span.shortest <= answer.base + QUEUE_MAX / 4 { GROWTH } else { 1.0 };
            let bytes = (answer.window as f64 * fits.clamp(at_least, 2.0)) as u64;
            if bytes > self.bytes {
                self.bytes = bytes;
                self.fill_anew(answer.now);
            }
            return;
        }
        // Before all is in flight no more was carried than was let out.
        let is_known = span.is_full || answer.rate.is_some();
        if !is_known || rate >= FAST && answer.window <= FAST_BYTES {
            return;
        }
        let floor = if rate >= FAST { FAST_BYTES } else { FLOOR_BYTES };
        self.bytes = (carried as u64).min(answer.window).max(floor);
        self.fill_anew(answer.now);
    }
}

impl Others {
    /// There was nothing more to send: what was seen so far is not a while before the next.
    fn on_pause(&mut self) {
        (self.whiles, self.falling) = (0, None);
    }

    /// For how long they make wait, as far as that is believed.
    fn wait(&mut self, now: Instant) -> Duration {
        self.believed = self.believed.filter(|(_, until)| now < *until);
        self.believed.map_or(Duration::ZERO, |(wait, _)| wait)
    }

    /// All was in flight that may be, in all of the while.
    fn on_while(&mut self, answer: &Answer, span: &Span, rate: f64) {
        if span.shortest <= answer.base + QUEUE_MAX {
            *self = Self::default();
            return;
        }
        // What is believed is not made more of by the queue that it lets grow: it has to be seen anew.
        if self.believed.is_some() {
            return;
        }
        self.least = if self.whiles == 0 { span.shortest } else { self.least.min(span.shortest) };
        let needed = answer.window as f64 / rate;
        self.whiles = if needed < 0.75 * span.shortest.as_secs_f64() { self.whiles + 1 } else { 0 };
        if self.whiles >= WHILES || self.falls_in_vain(answer.window, span.shortest) {
            *self = Self {
                believed: Some((self.least.saturating_sub(answer.base), answer.now + BELIEVED)),
                ..Self::default()
            };
        }
    }

    /// Whether with a third less in flight it takes about as long: the rate that is seen is that of what is in flight where nothing
    /// waits for itself, and tells nothing. Smaller differences are lost in the noise.
    fn falls_in_vain(&mut self, window: u64, round_trip: Duration) -> bool {
        let now = Falling { window, round_trip };
        let from = *self.falling.get_or_insert(now);
        if window > from.window / 3 * 2 {
            return false;
        }
        self.falling = Some(now);
        let expected = from.round_trip.mul_f64(window as f64 / from.window as f64);
        round_trip > (from.round_trip + expected) / 2
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
    const JUMBO_BYTES: u64 = 6_500;
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
        /// Bytes.
        packet: u64,
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
                ceiling.begin(self.began, self.round_trip, Told::Carries(rate));
            }
            let mut seen = Seen { used: 0.0, longest_wait: Duration::ZERO };
            // As quinn paces: five quarters of a window each round trip, smoothed, some packets at a time.
            let (mut smooth, mut tokens, mut filled) = (self.round_trip, 0.0_f64, Duration::ZERO);
            while now < lasts {
                let window = initial_window.min(ceiling.bytes());
                let pace = 1.25 * window as f64 / smooth.as_secs_f64();
                let burst = (pace * 0.002).max((10 * self.packet) as f64);
                let sends = (self.sends)(now);
                while sends && answers.front().is_none_or(|(_, answered)| *answered > now) {
                    if flying + self.packet > window {
                        ceiling.on_full(self.began + now);
                        break;
                    }
                    tokens = (tokens + (now - filled).as_secs_f64() * pace).min(burst);
                    filled = now;
                    if tokens < self.packet as f64 {
                        let at = now + Duration::from_secs_f64((burst - tokens) / pace);
                        if answers.front().is_some_and(|(_, answered)| *answered <= at) {
                            break;
                        }
                        now = at;
                        continue;
                    }
                    tokens -= self.packet as f64;
                    flying += self.packet;
                    free = free.max(now) + Duration::from_secs_f64(self.packet as f64 / self.rate / (self.part)(now));
                    answers.push_back((now, free + self.round_trip + (self.others)(now)));
                }
                let Some((sent, answered)) = answers.pop_front() else {
                    now += Duration::from_millis(1);
                    continue;
                };
                now = (self.stalled)(now.max(answered));
                flying -= self.packet;
                smooth = (smooth * 7 + (now - sent)) / 8;
                if now > lasts / 2 {
                    carried += self.packet;
                    seen.longest_wait = seen.longest_wait.max(now - sent - self.round_trip);
                }
                rate.on_answer(self.began + now, self.began + sent, self.packet, !sends);
                ceiling.on_answer(&Answer {
                    rate: rate.bytes_per_second(),
                    now: self.began + now,
                    sent: self.began + sent,
                    bytes: self.packet,
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
            packet: PACKET_BYTES,
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
            assert!(seen.used > 0.85 && seen.longest_wait < Duration::from_millis(45) + path.round_trip / 4, "{what}");
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
        let much: fn(Duration) -> Duration =
            |at| if at > Duration::from_secs(1) { Duration::from_millis(120) } else { Duration::ZERO };
        let little: fn(Duration) -> Duration =
            |at| if at > Duration::from_secs(1) { Duration::from_millis(10) } else { Duration::ZERO };
        let cases = [(0, little), (10, much)].into_iter().flat_map(|case| [(case, PACKET_BYTES), (case, JUMBO_BYTES)]);
        for ((round_trip_ms, others), packet) in cases {
            let path = Path { told: Some(12e6), packet, ..path(100.0, round_trip_ms, others) };
            // Longer than anything is believed, twice.
            let seen = path.run(4 << 20, Duration::from_secs(60));
            let what = format!("{round_trip_ms} ms, by {packet}: {seen:?}");
            assert!(seen.used > 0.8 && seen.longest_wait < others(Duration::MAX) + QUEUE_MAX * 4, "{what}");
        }
    }

    #[test]
    fn a_link_that_carries_more_than_was_seen_is_used() {
        for round_trip_ms in [0, 10, 50] {
            let path = Path { told: Some(1e6), ..path(100.0, round_trip_ms, |_| Duration::ZERO) };
            let seen = path.run(2 << 20, Duration::from_secs(2));
            assert!(seen.used > 0.97, "{round_trip_ms} ms: {seen:?}");
        }
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
    fn what_the_first_burst_has_told_is_where_it_begins() {
        let base = Duration::from_millis(10);
        let begun = |told| {
            let mut ceiling = Ceiling::new();
            ceiling.begin(Instant::now(), base, told);
            ceiling.bytes()
        };
        assert_eq!(begun(Told::Carries(10e6)), 160_000);
        assert_eq!(begun(Told::Perhaps(10e6)), 320_000);
        assert_eq!(begun(Told::AtLeast(10e6)), u64::MAX);
        assert_eq!(begun(Told::Perhaps(FAST / 2.0)), u64::MAX);
        assert_eq!(begun(Told::Carries(1e3)), FLOOR_BYTES);
    }

    /// A packet each millisecond, answered after `round_trip`, without ever all in flight that may be.
    fn never_full(round_trip: Duration) -> Ceiling {
        let (began, mut ceiling) = (Instant::now(), Ceiling::new());
        ceiling.begin(began, Duration::from_millis(1), Told::Carries(20e6));
        for millis in 0..1_000 {
            let sent = began + Duration::from_millis(millis);
            ceiling.on_answer(&Answer {
                now: sent + round_trip,
                sent,
                bytes: PACKET_BYTES,
                app_limited: false,
                base: Duration::from_millis(1),
                rate: Some(10_000_000),
                window: 2 << 20,
            });
        }
        ceiling
    }

    #[test]
    fn before_all_is_in_flight_a_long_queue_counts_and_a_short_one_does_not() {
        assert_eq!(never_full(Duration::from_millis(1)).bytes(), 140_000);
        assert_eq!(never_full(Duration::from_millis(300)).bytes(), 70_000);
    }

    #[test]
    fn a_sender_with_nothing_more_to_send_is_not_held_back() {
        let began = Instant::now();
        let mut ceiling = Ceiling::new();
        ceiling.on_full(began);
        for millis in 1..1_000 {
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

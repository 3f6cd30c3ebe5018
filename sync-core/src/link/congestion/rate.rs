//! How many bytes a second a link carries, seen from what was answered.
//!
//! What was sent in a burst and comes back spread out was spread by the link: as many bytes as were answered, by the time the answers
//! took, is its rate. What comes back as it was sent tells only that the link carries at least that. Nor is a link slow because nobody
//! had more to send.
//!
//! A processor that is busy makes a link look slow, never fast, and so does an answer that was held back. So the fastest of the last
//! [`SPANS`] is believed. Answers that were kept waiting and come all at once can't deceive: no span counts as shorter than its sending was.

use std::time::{Duration, Instant};

/// How many are remembered.
const SPANS: usize = 8;
/// For how long answers are gathered, where there are as many.
const SPAN_MIN: Duration = Duration::from_millis(5);
/// How many there must be.
const SPAN_ANSWERS_MIN: u32 = 16;
/// By how much longer than the sending the answers have to take.
const SPREAD_MIN: Duration = Duration::from_micros(500);

/// What a link carries.
#[derive(Debug, Clone, Default)]
pub(super) struct Rate {
    /// Answers that came at the same moment.
    moment: Option<Moment>,
    span: Option<Span>,
    /// Bytes a second.
    seen: [u64; SPANS],
    next: usize,
}

#[derive(Debug, Clone, Copy)]
struct Moment {
    at: Instant,
    answers: u32,
    bytes: u64,
    last_sent: Instant,
    /// Something more was there to send.
    busy: bool,
}

/// From one moment to a later one.
#[derive(Debug, Clone, Copy)]
struct Span {
    began: Instant,
    /// When the last packet was sent that was answered as it began.
    first_sent: Instant,
    /// All after the first moment.
    rest: Moment,
}

impl Rate {
    /// Bytes a second; `None` where the link was never what kept anyone waiting.
    pub(super) fn bytes_per_second(&self) -> Option<u64> {
        self.seen.into_iter().max().filter(|seen| *seen > 0)
    }

    /// A packet was answered.
    pub(super) fn on_answer(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool) {
        let moment = self.moment.get_or_insert(Moment { at: now, answers: 0, bytes: 0, last_sent: sent, busy: true });
        moment.answers += super::counted(bytes);
        moment.bytes += bytes;
        moment.last_sent = moment.last_sent.max(sent);
        moment.busy &= !app_limited;
    }

    /// These were all answers of a moment, after which so many bytes are in flight.
    pub(super) fn on_moment(&mut self, in_flight: u64) {
        let Some(moment) = self.moment.take() else { return };
        // The answer to the last of a burst may have been held back.
        if in_flight == 0 {
            if let Some(span) = self.span.take() {
                self.judge(&span);
            }
            return;
        }
        let Some(span) = &mut self.span else {
            self.span = Some(Span::after(&moment));
            return;
        };
        let rest = &mut span.rest;
        rest.at = moment.at;
        rest.answers += moment.answers;
        rest.bytes += moment.bytes;
        rest.last_sent = rest.last_sent.max(moment.last_sent);
        rest.busy &= moment.busy;
        if span.is_whole() && span.took() >= SPAN_MIN {
            let span = *span;
            self.judge(&span);
            self.span = Some(Span::after(&moment));
        }
    }

    fn judge(&mut self, span: &Span) {
        let sending = span.rest.last_sent.saturating_duration_since(span.first_sent);
        let took = span.took();
        if !span.is_whole() || took.is_zero() {
            return;
        }
        let rate = (span.rest.bytes as f64 / took.max(sending).as_secs_f64()) as u64;
        let is_spread = took > sending + SPREAD_MIN.max(sending / 4);
        let known = self.bytes_per_second();
        // That it carries at least this is news only where it was taken for slower.
        if is_spread || span.rest.busy || known.is_some_and(|known| rate > known) {
            if let Some(seen) = self.seen.get_mut(self.next) {
                *seen = rate.max(1);
            }
            self.next = (self.next + 1) % SPANS;
        }
    }
}

impl Span {
    fn after(moment: &Moment) -> Self {
        let rest = Moment { answers: 0, bytes: 0, busy: true, ..*moment };
        Self { began: moment.at, first_sent: moment.last_sent, rest }
    }

    fn took(&self) -> Duration {
        self.rest.at.saturating_duration_since(self.began)
    }

    fn is_whole(&self) -> bool {
        self.rest.answers >= SPAN_ANSWERS_MIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET_BYTES: u64 = 1_452;
    const ANSWER_DELAY_MAX: Duration = Duration::from_millis(25);

    /// A link that carries so many bytes a second, one packet after the other, to a receiver that answers every other packet, and
    /// the last one late.
    struct Path {
        began: Instant,
        now: Duration,
        rate: f64,
        round_trip: Duration,
        free: Duration,
        /// Until when nobody gets to read what arrives at some moment.
        stalled: fn(Duration) -> Duration,
        seen: Rate,
    }

    impl Path {
        fn new(mbit: f64, round_trip_ms: u64) -> Self {
            let round_trip = Duration::from_micros(round_trip_ms * 1_000 + 200);
            let rate = mbit * 125_000.0;
            let (now, free) = (Duration::ZERO, Duration::ZERO);
            Self { began: Instant::now(), now, rate, round_trip, free, stalled: |at| at, seen: Rate::default() }
        }

        /// So many packets, sent in one go, or where there is always something to send; and what is known after it, in Mbit/s.
        fn burst(&mut self, packets: u32, app_limited: bool) -> Option<f64> {
            let sent = self.now;
            for packet in 1..=packets {
                self.free = self.free.max(sent) + Duration::from_secs_f64(PACKET_BYTES as f64 / self.rate);
                let is_last = packet == packets;
                let late = if is_last && packet % 2 == 1 { ANSWER_DELAY_MAX } else { Duration::ZERO };
                self.now = (self.stalled)(self.free + self.round_trip + late).max(self.now);
                self.seen.on_answer(self.began + self.now, self.began + sent, PACKET_BYTES, app_limited);
                if packet % 2 == 0 || is_last {
                    self.seen.on_moment(u64::from(packets - packet) * PACKET_BYTES);
                }
            }
            self.mbit()
        }

        fn mbit(&self) -> Option<f64> {
            Some(self.seen.bytes_per_second()? as f64 / 125_000.0)
        }
    }

    #[track_caller]
    fn close(seen: Option<f64>, mbit: f64, what: &str) {
        assert!(seen.is_some_and(|seen| (mbit * 0.85..mbit * 1.2).contains(&seen)), "{what}: {seen:?} of {mbit}");
    }

    #[test]
    fn one_burst_tells_the_rate_of_a_slow_link_whatever_the_distance() {
        for (mbit, round_trip_ms) in [(1.0, 0), (5.0, 10), (20.0, 0), (20.0, 1), (20.0, 50), (100.0, 0), (100.0, 50)] {
            for packets in [40, 41, 400, 401] {
                let seen = Path::new(mbit, round_trip_ms).burst(packets, true);
                close(seen, mbit, &format!("{packets} packets, {round_trip_ms} ms"));
            }
        }
    }

    #[test]
    fn saves_of_a_few_packets_tell_nothing() {
        let mut path = Path::new(20.0, 1);
        for packets in (1..=12).cycle().take(200) {
            assert_eq!(path.burst(packets, true), None);
            path.now += Duration::from_millis(300);
        }
    }

    #[test]
    fn a_fast_link_is_not_taken_for_a_slow_one_when_processors_are_busy() {
        // 25 ms in each 150.
        let stalled: fn(Duration) -> Duration = |at| {
            let into = at.as_micros() as u64 % 150_000;
            if into < 25_000 { at + Duration::from_micros(25_000 - into) } else { at }
        };
        for packets in [17, 41, 300, 5_000] {
            let mut path = Path { stalled, ..Path::new(2_000.0, 0) };
            for round in 0..100 {
                let seen = path.burst(packets, packets < 5_000);
                // Until the first burst that was not disturbed.
                assert!(round < 8 || seen.is_none_or(|seen| seen > 1_000.0), "{round}. of {packets}: {seen:?}");
                path.now += Duration::from_millis(7);
            }
        }
    }

    #[test]
    fn what_goes_at_the_link_s_pace_is_not_taken_for_more_when_answers_come_at_once() {
        let began = Instant::now();
        let mut rate = Rate::default();
        let at = |micros: u64| began + Duration::from_micros(micros);
        // 20 Mbit/s, of which every 40 packets were read at one moment, and some a little later.
        for packet in 0..4_000_u64 {
            let sent = packet * 581;
            rate.on_answer(at((packet / 40 + 1) * 40 * 581 + packet % 40 / 20 * 300), at(sent), PACKET_BYTES, false);
            if packet % 20 == 19 {
                rate.on_moment(30_000);
            }
        }
        let seen = rate.bytes_per_second().map(|seen| seen as f64 / 125_000.0);
        assert!(seen.is_some_and(|seen| (17.0..42.0).contains(&seen)), "{seen:?}");
    }

    #[test]
    fn a_link_that_becomes_another_is_followed() {
        let mut path = Path::new(500.0, 2);
        for mbit in [500.0, 20.0, 5.0, 200.0, 20.0] {
            path.rate = mbit * 125_000.0;
            for _ in 0..SPANS {
                path.burst(200, true);
                path.now += Duration::from_secs(1);
            }
            close(path.mbit(), mbit, "after eight");
        }
    }

    #[test]
    fn somebody_who_sends_little_at_a_time_says_nothing_about_the_link() {
        let began = Instant::now();
        let mut rate = Rate::default();
        for packet in 0..1_000_u64 {
            let sent = began + Duration::from_millis(2 * packet);
            rate.on_answer(sent + Duration::from_millis(10), sent, PACKET_BYTES, true);
            rate.on_moment(5 * PACKET_BYTES);
        }
        assert_eq!(rate.bytes_per_second(), None);
    }
}

//! How much may be in flight before the link has told how much it carries.
//!
//! The first window is large, so that a save leaves at once. Filled by bulk, on a link that is slower than it was made for, it
//! is a queue that takes 170 ms to drain at 100 Mbit/s, and nothing that is learnt meanwhile calls it back. So no more than
//! [`BLIND_BYTES`] leave until the first of them are answered, and the time between their answers tells what may follow: a
//! round trip, once a connection.

use std::time::{Duration, Instant};

/// What may be in flight meanwhile, in bytes: 10 ms at 100 Mbit/s. Twice [`ANSWERS`] full packets are 91 KiB.
const BLIND_BYTES: u64 = 128 << 10;
/// So many answers, twice, tell what the link carries.
const ANSWERS: u32 = 32;
const SPREAD_TRAINS_MIN: u32 = 2;
/// After so many times in which nothing was learnt, for want of something to send, the rest is left to others.
const TRAINS_MAX: u32 = 16;
/// What is no longer than this may be answers alone, which nobody answers.
const ANSWER_BYTES_MAX: u64 = 200;
/// By how much longer than the sending the answers have to take.
const SPREAD_MIN: Duration = Duration::from_micros(500);

/// Until the link has told.
#[derive(Debug, Clone, Default)]
pub(super) struct Blind {
    has_told: bool,
    in_flight: u64,
    train: Option<Train>,
    trains: u32,
    /// Whether all that may be was in flight since the last moment.
    was_full: bool,
    /// Those that the link spread.
    spread: u32,
    /// In bytes a second.
    fastest: f64,
}

/// Answers, one moment after another.
#[derive(Debug, Clone, Copy)]
struct Train {
    began: Instant,
    /// When the last packet was sent that was answered as it began.
    first_sent: Instant,
    last_sent: Instant,
    last: Instant,
    answers: u32,
    bytes: u64,
}

/// What a link has told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Told {
    /// It carries so many bytes a second.
    Carries(f64),
    /// It carries at least so many, which is enough.
    AtLeast(f64),
    /// No more was seen, but not what held it back.
    Perhaps(f64),
}

impl Blind {
    /// The most that may be in flight, in bytes, of `window`.
    pub(super) fn window(&self, window: u64) -> u64 {
        // Less is shown only when it is reached: packets are spread over time by the window, and a save leaves at once by a
        // large one.
        if self.has_told || self.in_flight < BLIND_BYTES { window } else { window.min(BLIND_BYTES) }
    }

    /// What is in flight, in bytes.
    pub(super) fn in_flight(&self) -> u64 {
        self.in_flight
    }

    pub(super) fn on_sent(&mut self, bytes: u64) {
        if bytes > ANSWER_BYTES_MAX {
            self.in_flight += bytes;
            self.was_full |= self.in_flight >= BLIND_BYTES;
        }
    }

    /// A packet was answered.
    pub(super) fn on_answer(&mut self, now: Instant, sent: Instant, bytes: u64) {
        if self.has_told {
            return;
        }
        let begun = Train { began: now, first_sent: sent, last_sent: sent, last: now, answers: 0, bytes: 0 };
        let train = self.train.get_or_insert(begun);
        train.last_sent = train.last_sent.max(sent);
        if now == train.began {
            train.first_sent = train.last_sent;
            return;
        }
        train.last = now;
        train.answers += super::counted(bytes);
        train.bytes += bytes;
    }

    /// These were all answers of a moment, after which so many bytes are in flight. What they tell, which is once. `enough`: the
    /// rate, in bytes a second, that asks for all of the window.
    pub(super) fn on_moment(&mut self, in_flight: u64, enough: f64) -> Option<Told> {
        self.in_flight = in_flight;
        let is_over = in_flight == 0;
        let train = self.train.filter(|train| train.answers >= ANSWERS || is_over)?;
        self.train = None;
        let was_full = std::mem::take(&mut self.was_full);
        let is_long = train.answers >= ANSWERS;
        // Answered all at one moment a full burst tells nothing, and may do so again and again.
        if self.has_told || !(is_long || was_full) {
            return None;
        }
        self.trains += 1;
        if is_long {
            let (rate, is_spread) = train.rate();
            // A processor that was busy made one of them look slow.
            self.fastest = self.fastest.max(rate);
            self.spread += u32::from(is_spread);
        }
        let told = if self.fastest >= enough {
            Told::AtLeast(self.fastest)
        } else if self.trains >= TRAINS_MAX {
            // All answered at once they tell nothing at all.
            if self.fastest > 0.0 { Told::Perhaps(self.fastest) } else { Told::AtLeast(0.0) }
        } else if self.spread >= SPREAD_TRAINS_MIN {
            Told::Carries(self.fastest)
        } else {
            return None;
        };
        self.has_told = true;
        Some(told)
    }
}

impl Train {
    /// In bytes a second; and whether the link spread it, so that it carries no more.
    fn rate(&self) -> (f64, bool) {
        let sending = self.last_sent.saturating_duration_since(self.first_sent);
        let took = self.last.saturating_duration_since(self.began);
        let rate = self.bytes as f64 / took.max(sending).as_secs_f64().max(1e-6);
        (rate, took > sending + SPREAD_MIN.max(sending / 4))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::{
        super::{
            CAP_MIN,
            ceiling::{Answer, Ceiling, round_trip_max},
        },
        *,
    };

    const PACKET_BYTES: u64 = 1_452;
    const JUMBO_BYTES: u64 = 6_500;
    const FIRST_WINDOW_BYTES: u64 = CAP_MIN;

    /// Sends so many bytes, in packets of `packet`, as fast as it may over a new link. How long that took, and the longest time that a packet waited.
    fn send(mbit: f64, round_trip: Duration, bytes: u64, packet: u64) -> (Duration, Duration) {
        let (began, rate) = (Instant::now(), mbit * 125_000.0);
        let (mut blind, mut ceiling) = (Blind::default(), Ceiling::new());
        let (mut now, mut free, mut flying, mut left) = (Duration::ZERO, Duration::ZERO, 0, bytes);
        let (mut answers, mut longest) = (VecDeque::new(), Duration::ZERO);
        loop {
            while left > 0 {
                let window = blind.window(FIRST_WINDOW_BYTES.min(ceiling.bytes()));
                if flying + packet > window {
                    ceiling.on_full(began + now);
                    break;
                }
                flying += packet;
                left = left.saturating_sub(packet);
                // As quinn, at five quarters of a window each round trip.
                now += round_trip.mul_f64(packet as f64 / window as f64 / 1.25);
                blind.on_sent(packet);
                free = free.max(now) + Duration::from_secs_f64(packet as f64 / rate);
                longest = longest.max(free - now);
                answers.push_back((now, free + round_trip));
                if answers.front().is_some_and(|(_, answered)| *answered <= now) {
                    break;
                }
            }
            let Some((sent, answered)) = answers.pop_front() else { return (now, longest) };
            let before = now;
            now = now.max(answered);
            flying -= packet;
            let (at, sent) = (began + answered.max(before.min(answered)), began + sent);
            blind.on_answer(at, sent, packet);
            ceiling.on_answer(&Answer {
                now: at,
                sent,
                bytes: packet,
                app_limited: false,
                base: round_trip,
                rate: None,
                window: blind.window(FIRST_WINDOW_BYTES.min(ceiling.bytes())),
            });
            if let Some(told) = blind.on_moment(flying, FIRST_WINDOW_BYTES as f64 / round_trip_max(round_trip)) {
                ceiling.begin(at, round_trip, told);
            }
        }
    }

    #[test]
    fn the_first_burst_does_not_fill_a_queue_and_the_link_stays_busy() {
        for (mbit, packet) in
            [20.0, 100.0, 500.0].into_iter().flat_map(|mbit| [(mbit, PACKET_BYTES), (mbit, JUMBO_BYTES)])
        {
            for round_trip_ms in [0, 10, 50] {
                let round_trip = Duration::from_micros(round_trip_ms * 1_000 + 200);
                let bytes = (mbit * 125_000.0) as u64;
                let (took, longest) = send(mbit, round_trip, bytes, packet);
                let what = format!("{mbit} Mbit/s, {round_trip_ms} ms, by {packet}: {took:?}, {longest:?}");
                let burst = Duration::from_secs_f64((BLIND_BYTES + packet) as f64 / mbit / 125_000.0);
                assert!(longest < burst + Duration::from_millis(12), "{what}");
                // A second, and the round trip that it took to be told.
                let busy = took.saturating_sub(round_trip * 3).as_secs_f64();
                // The window that the test does not let grow is too small for more.
                let fits = (FIRST_WINDOW_BYTES as f64 / round_trip.as_secs_f64() / mbit / 125_000.0).min(1.0);
                assert!(busy < 1.1 / fits, "{what}");
            }
        }
    }

    #[test]
    fn large_packets_tell_as_soon_as_as_many_bytes_of_small_ones() {
        let began = Instant::now();
        let mut blind = Blind::default();
        blind.on_sent(BLIND_BYTES);
        // The first moment, and then as many bytes as 32 small ones have: seven.
        for packet in 0..=7_u64 {
            assert!(!blind.has_told, "{packet}");
            let sent = began + Duration::from_micros(50 * packet);
            blind.on_answer(sent + Duration::from_millis(1), sent, JUMBO_BYTES);
            blind.on_moment(BLIND_BYTES, 20e6);
        }
        assert!(blind.has_told);
    }

    #[test]
    fn a_save_leaves_by_all_of_the_window_and_bulk_does_not_until_it_is_answered() {
        let began = Instant::now();
        let mut blind = Blind::default();
        blind.on_sent(64 << 10);
        assert_eq!(blind.window(FIRST_WINDOW_BYTES), FIRST_WINDOW_BYTES);
        blind.on_sent(64 << 10);
        assert_eq!(blind.window(FIRST_WINDOW_BYTES), BLIND_BYTES);
        assert_eq!(blind.window(100_000), 100_000);
        // Sent 50 µs apart, and answered so: faster than anything that was asked.
        for packet in 0..=u64::from(ANSWERS) {
            assert_eq!(blind.window(FIRST_WINDOW_BYTES), BLIND_BYTES);
            let sent = began + Duration::from_micros(50 * packet);
            blind.on_answer(sent + Duration::from_millis(50), sent, PACKET_BYTES);
            let told = blind.on_moment(BLIND_BYTES + 1, 20e6);
            assert_eq!(told.is_some(), packet == u64::from(ANSWERS), "{packet}");
        }
        assert_eq!(blind.window(FIRST_WINDOW_BYTES), FIRST_WINDOW_BYTES);
    }

    #[test]
    fn bursts_that_are_answered_at_one_moment_do_not_hold_bulk_back_for_long() {
        let began = Instant::now();
        let mut blind = Blind::default();
        let packets = BLIND_BYTES.div_ceil(PACKET_BYTES);
        let mut bursts = 0;
        while !blind.has_told {
            let sent = began + Duration::from_millis(20 * bursts);
            (0..packets).for_each(|_| blind.on_sent(PACKET_BYTES));
            assert_eq!(blind.window(FIRST_WINDOW_BYTES), BLIND_BYTES);
            (0..packets).for_each(|_| blind.on_answer(sent + Duration::from_millis(20), sent, PACKET_BYTES));
            let told = blind.on_moment(0, 1e9);
            bursts += 1;
            assert!(bursts <= u64::from(TRAINS_MAX), "{told:?}");
        }
        blind.on_sent(BLIND_BYTES);
        assert_eq!(blind.window(FIRST_WINDOW_BYTES), FIRST_WINDOW_BYTES);
    }

    #[test]
    fn what_was_sent_as_slowly_as_it_was_answered_is_not_taken_for_enough() {
        let began = Instant::now();
        let mut blind = Blind::default();
        blind.on_sent(BLIND_BYTES);
        // One packet each 100 µs, there and back.
        let told = (0..).find_map(|packet| {
            let sent = began + Duration::from_micros(100 * packet);
            blind.on_answer(sent + Duration::from_millis(50), sent, PACKET_BYTES);
            assert!(packet <= u64::from((ANSWERS + 1) * TRAINS_MAX));
            blind.on_moment(BLIND_BYTES, 1e9)
        });
        assert!(matches!(told, Some(Told::Perhaps(rate)) if (14e6..15e6).contains(&rate)), "{told:?}");
    }

    #[test]
    fn who_sends_little_is_told_nothing() {
        let began = Instant::now();
        let mut blind = Blind::default();
        for burst in 0..100_u64 {
            for packet in 0..20 {
                let sent = began + Duration::from_millis(100 * burst);
                blind.on_sent(PACKET_BYTES);
                blind.on_answer(sent + Duration::from_millis(1 + packet), sent, PACKET_BYTES);
                assert_eq!(blind.on_moment((19 - packet) * PACKET_BYTES, 1e9), None);
            }
        }
        assert_eq!(blind.window(FIRST_WINDOW_BYTES), FIRST_WINDOW_BYTES);
    }
}

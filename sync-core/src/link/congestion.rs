//! Cubic, with no more in flight than the distance asks for.
//!
//! What bulk has in flight is what a save has to wait for, whatever its priority: packets that left can't be overtaken.
//! Cubic grows until something is lost, which on a short link means that it fills the receive buffer of the socket. What
//! it takes to keep a link busy is its rate times the round trip; the rate is not known, but that it is no faster than
//! [`RATE_MAX`] is. So the window is capped by that rate times the shortest round trip seen, and never below
//! [`CAP_MIN`]: on busy cores a round trip takes as long as it takes to get a processor.
//!
//! Over a distance, and on a slower link, the cap is more than can be used (62 MB at 50 ms). There the [`ceiling`] holds back
//! what would only wait in the link's queue, and [`blind`] what would leave before a link is known at all. The [`rate`] that is
//! seen beside it says how much work content is worth.

mod blind;
mod ceiling;
mod rate;

use std::{
    any::Any,
    sync::Arc,
    time::{Duration, Instant},
};

use quinn::{
    Connection,
    congestion::{Controller, ControllerFactory, ControllerMetrics, CubicConfig},
};
use quinn_proto::RttEstimator;

use blind::Blind;
use ceiling::{Answer, Ceiling};
use rate::Rate;

/// What no link is faster than, in bytes a second: 10 Gbit/s.
const RATE_MAX: u64 = 1_250_000_000;
/// The cap is never lower, in bytes.
pub(super) const CAP_MIN: u64 = 2 << 20;

/// How fast a link is, as far as that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Speed {
    /// What it carries, in bytes a second; `None` where it never kept anyone waiting.
    pub bytes_per_second: Option<u64>,
    /// The shortest round trip that was seen: under load it looks longer than it is.
    pub round_trip: Duration,
}

/// How fast the link of a connection is, just now. Hardly more to ask than its round trip.
pub fn speed(connection: &Connection) -> Speed {
    let now = Speed { bytes_per_second: None, round_trip: connection.rtt() };
    match connection.congestion_state().into_any().downcast::<CappedCubic>() {
        Ok(seen) => Speed {
            bytes_per_second: seen.rate.bytes_per_second(),
            round_trip: seen.shortest.map_or(now.round_trip, |shortest| shortest.min(now.round_trip)),
        },
        Err(_) => now,
    }
}

/// What the link of a connection may hold in flight, in bytes, as far as that is known just now.
pub fn window(connection: &Connection) -> u64 {
    match connection.congestion_state().into_any().downcast::<CappedCubic>() {
        Ok(seen) => seen.known_window(),
        Err(_) => connection.stats().path.cwnd,
    }
}

/// Makes controllers.
#[derive(Debug)]
pub(super) struct Capped(pub(super) Arc<CubicConfig>);

impl ControllerFactory for Capped {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(CappedCubic {
            inner: Arc::clone(&self.0).build(now, current_mtu),
            cap: u64::MAX,
            ceiling: Ceiling::new(),
            blind: Blind::default(),
            rate: Rate::default(),
            shortest: None,
            packet: current_mtu.into(),
        })
    }
}

struct CappedCubic {
    inner: Box<dyn Controller>,
    /// Most bytes in flight; no bound before the first answer.
    cap: u64,
    ceiling: Ceiling,
    blind: Blind,
    rate: Rate,
    /// The shortest round trip.
    shortest: Option<Duration>,
    /// How large one is at most, in bytes.
    packet: u64,
}

impl CappedCubic {
    /// What may be in flight once the link is known.
    fn known_window(&self) -> u64 {
        self.inner.window().min(self.cap).min(self.ceiling.bytes())
    }
}

impl Controller for CappedCubic {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.blind.on_sent(bytes);
        // What is left would not take a packet and what is begun of another.
        if self.blind.in_flight() + 2 * self.packet >= self.window() {
            self.ceiling.on_full(now);
        }
        self.inner.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, rtt: &RttEstimator) {
        self.cap = cap(rtt.min());
        self.shortest = Some(rtt.min());
        self.blind.on_answer(now, sent, bytes);
        self.rate.on_answer(now, sent, bytes, app_limited);
        let (base, window) = (rtt.min(), self.window());
        let rate = self.rate.bytes_per_second();
        self.ceiling.on_answer(&Answer { now, sent, bytes, app_limited, base, rate, window });
        // Grown far beyond what is let, Cubic would have to lose many times before that is felt.
        if self.inner.window() < self.cap.min(self.ceiling.bytes()) {
            self.inner.on_ack(now, sent, bytes, app_limited, rtt);
        }
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, largest_packet_num_acked: Option<u64>) {
        self.rate.on_moment(in_flight);
        let base = self.shortest.unwrap_or_default();
        if let Some(told) = self.blind.on_moment(in_flight, self.known_window() as f64 / ceiling::round_trip_max(base))
        {
            self.ceiling.begin(now, base, told);
        }
        self.inner.on_end_acks(now, in_flight, app_limited, largest_packet_num_acked);
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, is_persistent_congestion: bool, lost_bytes: u64) {
        self.inner.on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.packet = new_mtu.into();
        self.inner.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        self.blind.window(self.known_window())
    }

    fn metrics(&self) -> ControllerMetrics {
        let mut metrics = self.inner.metrics();
        metrics.congestion_window = self.known_window();
        metrics
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self {
            inner: self.inner.clone_box(),
            cap: self.cap,
            ceiling: self.ceiling.clone(),
            blind: self.blind.clone(),
            rate: self.rate.clone(),
            shortest: self.shortest,
            packet: self.packet,
        })
    }

    fn initial_window(&self) -> u64 {
        self.inner.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// A packet that is larger counts for as many as it would be on Ethernet: jumbo ones are few in a burst.
fn counted(bytes: u64) -> u32 {
    const ETHERNET_BYTES: u64 = 1_452;
    u32::try_from(bytes.div_ceil(ETHERNET_BYTES)).unwrap_or(u32::MAX)
}

/// The most that may be in flight where this is the shortest round trip seen.
fn cap(shortest: Duration) -> u64 {
    let bytes = u128::from(RATE_MAX) * shortest.as_micros() / 1_000_000;
    u64::try_from(bytes).unwrap_or(u64::MAX).max(CAP_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_full_when_no_packet_more_may_leave() {
        const PACKET_BYTES: u16 = 1_452;
        let now = Instant::now();
        let mut cubic = CubicConfig::default();
        cubic.initial_window(64 << 10);
        let capped = Arc::new(Capped(Arc::new(cubic))).build(now, PACKET_BYTES);
        let mut capped = capped.into_any().downcast::<CappedCubic>().expect("is what is built");
        let mut in_flight = 0;
        while in_flight + u64::from(PACKET_BYTES) < capped.window() {
            assert!(
                !capped.ceiling.is_full() || capped.window() - in_flight <= 2 * u64::from(PACKET_BYTES),
                "{in_flight}"
            );
            capped.on_sent(now, PACKET_BYTES.into(), 0);
            in_flight += u64::from(PACKET_BYTES);
        }
        assert!(capped.ceiling.is_full());
    }

    #[test]
    fn the_cap_follows_the_distance() {
        let check = |micros: u64, bytes: u64| assert_eq!(cap(Duration::from_micros(micros)), bytes, "{micros} µs");
        check(0, CAP_MIN);
        check(100, CAP_MIN);
        check(1_000, CAP_MIN);
        check(10_000, 12_500_000);
        check(50_000, 62_500_000);
        assert_eq!(cap(Duration::MAX), u64::MAX);
    }
}

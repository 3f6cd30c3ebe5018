//! The settings of QUIC over UDP that were measured to matter.

use std::{sync::Arc, time::Duration};

use quinn::{
    Connection, EndpointConfig, IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt, congestion::CubicConfig,
};
use sync_proto::limits::{CONTENT_STREAMS_MAX, SESSIONS_PER_CONNECTION_MAX};

use super::{congestion::Capped, credentials::Role};

/// First congestion window, in bytes, where no smaller one is known to be right. quinn's pacer sends what two milliseconds' worth of the window at the measured round
/// trip are in one go, so the window has to be many times the save that is to leave at once: 64 KiB at 25 ms one way
/// arrive in 25.6 ms with this and a first round trip taken for 100 ms, 29.4 with half of it, 156 with quinn's own settings.
pub const FIRST_WINDOW_BYTES_MAX: u64 = 2 << 20;
/// What one stream may send ahead of its reader, in bytes: 1 Gbit/s at 130 ms.
const STREAM_WINDOW_BYTES: u32 = 16 << 20;
/// What a connection may send ahead of its readers, in bytes. Connection windows know no priority: this is above what all
/// bulk streams of a session can fill, so that a save is never kept waiting by them.
const CONNECTION_WINDOW_BYTES: u32 = CONTENT_STREAMS_MAX as u32 * STREAM_WINDOW_BYTES + (32 << 20);
/// What an agent may send ahead of its reader, in bytes: it says much only when a session begins.
const AGENT_SEND_WINDOW_BYTES: u32 = 32 << 20;
/// What a connection without a session may send ahead of its readers, in bytes: the opening of one.
const GUEST_WINDOW_BYTES: u32 = 8 << 20;
/// Largest UDP payload, in bytes. Packets begin at 1200, as QUIC guarantees, and grow as far as the path is found to carry
/// them: to some 1450 on Ethernet, to this where frames are jumbo, as within a cloud, and on loopback. Each costs
/// the same work, whatever its size. No more than this, because quinn hands ten of them to the system at once, which takes
/// 64 KiB (and says nothing of what it does not take: with 8900 the first burst is never sent).
pub(super) const MTU_BYTES_MAX: u16 = 6500;
/// The search for that ends when it is known to so many bytes.
const MTU_STEP_BYTES: u16 = 64;
/// And begins again after so long. A path that comes to carry less is found out by what is lost.
const MTU_SEARCH_EVERY: Duration = Duration::from_secs(3600);
/// What a round trip is taken for before the first is measured. QUIC's own 333 ms paces the first flight as if for that
/// distance, and repeats a lost first packet only after a second.
const INITIAL_RTT: Duration = Duration::from_millis(100);
/// A packet is sent when nothing was said for this long, so that paths stay open and silence means something.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// A connection from which nothing was heard for this long is over. Longer than a laptop's change of network takes.
const IDLE_MILLIS_MAX: u32 = 60_000;

/// Gives a controller that has `sessions` open, of as many as `roots` allow, credit for what they need and no more.
pub fn allow(connection: &Connection, sessions: usize, roots: usize) {
    let count = |count: usize| VarInt::from_u32(u32::try_from(count).unwrap_or(u32::MAX));
    // One more than can be open: one that ends and one that begins.
    connection.set_max_concurrent_bi_streams(count((roots + 1).min(SESSIONS_PER_CONNECTION_MAX)));
    connection.set_max_concurrent_uni_streams(count(CONTENT_STREAMS_MAX * sessions.max(1)));
    let window = if sessions == 0 { GUEST_WINDOW_BYTES } else { CONNECTION_WINDOW_BYTES };
    connection.set_receive_window(VarInt::from_u32(window));
}

/// Has an endpoint take what the other side may send.
pub(super) fn take_large_packets(config: &mut EndpointConfig) {
    config.max_udp_payload_size(MTU_BYTES_MAX).expect("more than the 1200 bytes that QUIC asks for");
}

/// The settings of the side that is `role`.
pub(super) fn transport_config(role: Role) -> Arc<TransportConfig> {
    with_initial_window(role, FIRST_WINDOW_BYTES_MAX)
}

/// The same, with another first congestion window.
pub(super) fn with_initial_window(role: Role, bytes: u64) -> Arc<TransportConfig> {
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(MTU_BYTES_MAX).minimum_change(MTU_STEP_BYTES).interval(MTU_SEARCH_EVERY);
    let mut cubic = CubicConfig::default();
    cubic.initial_window(bytes);
    // The controller opens all streams; what the agent may not do it is given no credit for. And the controller itself
    // has little before it has a session, see `allow`.
    let (bidirectional, unidirectional, send, receive) = match role {
        Role::Controller => (0, 0, CONNECTION_WINDOW_BYTES, CONNECTION_WINDOW_BYTES),
        Role::Agent => (2, CONTENT_STREAMS_MAX, AGENT_SEND_WINDOW_BYTES, GUEST_WINDOW_BYTES),
    };
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(bidirectional as u32))
        .max_concurrent_uni_streams(VarInt::from_u32(unidirectional as u32))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(receive))
        .send_window(u64::from(send))
        .initial_rtt(INITIAL_RTT)
        .mtu_discovery_config(Some(mtu))
        .congestion_controller_factory(Arc::new(Capped(Arc::new(cubic))))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_MILLIS_MAX))))
        .datagram_receive_buffer_size(None)
        .enable_segmentation_offload(true);
    Arc::new(config)
}

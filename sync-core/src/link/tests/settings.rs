//! That the settings which were measured to matter are those in use.

use super::{connected, streams::stream};
use crate::{
    link::{Listener, Role, dial_with_window, socket, transport},
    skipped::skipped,
};

/// What quinn has of the setting `name`, as it shows it.
fn setting(role: Role, name: &str) -> String {
    let shown = format!("{:?}", transport::transport_config(role));
    let (_, rest) = shown.split_once(&format!(" {name}: ")).unwrap_or_else(|| panic!("no {name} in {shown}"));
    rest.split([',', ' ', '}']).next().unwrap_or_default().to_owned()
}

#[track_caller]
fn check(role: Role, name: &str, expected: &str) {
    assert_eq!(setting(role, name), expected, "{name} of the {role:?}");
}

#[test]
fn windows_and_segmentation_are_as_they_were_measured() {
    for role in [Role::Controller, Role::Agent] {
        check(role, "stream_receive_window", "16777216");
        check(role, "enable_segmentation_offload", "true");
        check(role, "initial_rtt", "100ms");
        check(role, "upper_bound", "6500");
    }
    // A connection without a session takes little in; an agent sends little ahead.
    check(Role::Agent, "receive_window", "8388608");
    check(Role::Agent, "send_window", "33554432");
    // All content streams at once, and room for saves beside them.
    let all = sync_proto::limits::CONTENT_STREAMS_MAX * (16 << 20) + (32 << 20);
    check(Role::Controller, "receive_window", &all.to_string());
    check(Role::Controller, "send_window", &all.to_string());
}

#[test]
fn sockets_have_room_for_bursts_as_far_as_the_system_gives_it() {
    let socket = socket2::Socket::from(socket::bind(super::LOOPBACK).unwrap());
    for (granted, direction) in
        [(socket.recv_buffer_size().unwrap(), "rmem_max"), (socket.send_buffer_size().unwrap(), "wmem_max")]
    {
        let Ok(allowed) = std::fs::read_to_string(format!("/proc/sys/net/core/{direction}")) else {
            return skipped("this system does not say how much it gives");
        };
        let allowed: usize = allowed.trim().parse().unwrap();
        assert!(granted >= allowed.min(8 << 20), "{granted} bytes, {direction} is {allowed}");
    }
}

#[tokio::test]
async fn a_connection_begins_with_the_window_that_its_link_had_and_never_with_more() {
    for (asked, given) in [(200_000, 200_000), (u64::MAX, 2 << 20)] {
        let (controller, agent) = super::pair();
        let listener = Listener::bind(super::LOOPBACK, &agent).unwrap();
        let port = listener.local_addr().port();
        let (dialed, accepted) =
            tokio::join!(dial_with_window("127.0.0.1", port, &controller, asked), listener.accept());
        let window = dialed.unwrap().connection.stats().path.cwnd;
        // The answers of the handshake may have widened it by a few packets.
        assert!((given..given + 20_000).contains(&window), "{window} bytes for {asked}");
        drop(accepted);
    }
}

#[tokio::test]
async fn the_first_window_is_large_and_bounded_and_packets_leave_by_the_dozen() {
    let (_listener, dialed, accepted) = connected().await;
    let window = dialed.connection.stats().path.cwnd;
    assert!((1 << 20..=2 << 20).contains(&window), "{window} bytes");
    let ((mut send, _recv), (_answer, mut incoming)) = stream(&dialed.connection, &accepted).await;
    let reading = tokio::spawn(async move { incoming.read_to_end(16 << 20).await.unwrap().len() });
    send.write_all(&vec![7; 8 << 20]).await.unwrap();
    send.finish().unwrap();
    assert!(reading.await.unwrap() >= 8 << 20);
    let sent = dialed.connection.stats().udp_tx;
    if cfg!(target_os = "linux") {
        assert!(sent.ios * 3 < sent.datagrams, "{} packets in {} calls", sent.datagrams, sent.ios);
    }
}

//! UDP sockets with room for bursts, and endpoints that know their own connections again after a restart.
//!
//! An agent that was killed can't say goodbye. Its successor, at the same address and with the same key, answers packets
//! of connections it does not know with a stateless reset (RFC 9000, 10.3) that the controller believes, because the
//! token is derived from the key: the controller dials again at once instead of waiting for silence to be long enough.
//! The host's name is part of the derivation, so that agents that share a secret can't be made to reset each other's
//! connections.

use std::{io, net::SocketAddr, sync::Arc};

use quinn::{ConnectionId, ConnectionIdGenerator, EndpointConfig};
use socket2::{Domain, Protocol, Socket, Type};

use super::{identity::Identity, keyfile::KeyError, secret::derive, transport};

/// Asked of the system for each direction, in bytes: without it, bursts are lost on the way into the process.
const BUFFER_BYTES: usize = 8 << 20;
/// Length of a connection id, in bytes.
const CONNECTION_ID_BYTES: usize = 8;

/// A UDP socket at `address`. An unspecified IPv6 address takes IPv4 too where the system can.
pub(super) fn bind(address: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        // Without IPv4 it still serves IPv6.
        let _ = socket.set_only_v6(false);
    }
    enlarge_buffers(&socket);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Gets as much as the system gives: all of it with CAP_NET_ADMIN, else up to `net.core.{r,w}mem_max`. A smaller buffer
/// costs retransmissions, so failing to get it is no error.
fn enlarge_buffers(socket: &Socket) {
    #[cfg(target_os = "linux")]
    {
        use rustix::net::sockopt::{set_socket_recv_buffer_size_force, set_socket_send_buffer_size_force};
        let forced = set_socket_recv_buffer_size_force(socket, BUFFER_BYTES)
            .and_then(|()| set_socket_send_buffer_size_force(socket, BUFFER_BYTES));
        if forced.is_ok() {
            return;
        }
    }
    let result = socket.set_recv_buffer_size(BUFFER_BYTES).and_then(|()| socket.set_send_buffer_size(BUFFER_BYTES));
    if let Err(error) = result {
        tracing::debug!(%error, "UDP buffers stay as they are");
    }
}

/// The configuration of an endpoint that listens.
pub(super) fn listening(identity: &Identity) -> Result<EndpointConfig, KeyError> {
    let host = host_name();
    let token_key = derive(b"synctl stateless reset", identity.seed(), &host)?;
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(|_| KeyError::NoRandomness)?;
    let mut config = EndpointConfig::new(Arc::new(ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &token_key[..])));
    transport::take_large_packets(&mut config);
    // quinn's own generator marks its ids with a key of the process, and drops packets that carry others: there a
    // successor would stay silent.
    config.cid_generator(move || Box::new(ConnectionIds { key: random, count: 0 }));
    Ok(config)
}

#[cfg(unix)]
fn host_name() -> Vec<u8> {
    rustix::system::uname().nodename().to_bytes().to_vec()
}

#[cfg(not(unix))]
fn host_name() -> Vec<u8> {
    std::env::var_os("COMPUTERNAME").map(|name| name.into_encoded_bytes()).unwrap_or_default()
}

/// Connection ids that an observer can neither predict nor link.
struct ConnectionIds {
    key: [u8; 32],
    count: u64,
}

impl ConnectionIdGenerator for ConnectionIds {
    fn generate_cid(&mut self) -> ConnectionId {
        self.count += 1;
        let hash = blake3::keyed_hash(&self.key, &self.count.to_le_bytes());
        ConnectionId::new(hash.as_bytes().first_chunk::<CONNECTION_ID_BYTES>().unwrap_or(&[0; CONNECTION_ID_BYTES]))
    }

    fn cid_len(&self) -> usize {
        CONNECTION_ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<std::time::Duration> {
        None
    }
}

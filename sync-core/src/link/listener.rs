//! The end that listens.
//!
//! Handshakes are done in tasks of their own, so that a silent one holds up nobody. There are two lines against a crowd of
//! strangers: once some handshakes are under way, an address has to prove that it can be answered before anything is
//! kept for it; and when all places are taken, a handshake of the network that has most of them gives way to the newest,
//! its oldest. A friend needs one round trip, so strangers would have to fill all places in that time, from as many
//! networks as there are places, to keep one out; or from the friend's own.

use std::{
    collections::{HashMap, VecDeque},
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use quinn::{Connection, Endpoint, Incoming, ServerConfig, TokioRuntime};
use tokio::{
    sync::{Mutex, mpsc},
    task::{AbortHandle, JoinSet},
};

use super::{
    close::{CloseCode, close, cut, sentence},
    close::{Rejection, rejection},
    credentials::{Credentials, Role},
    keyfile::KeyError,
    socket, tls,
    transport::transport_config,
};

/// Longest time a handshake may take.
pub const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(5);
/// Most handshakes under way at once.
pub const HANDSHAKES_MAX: usize = 256;
/// Handshakes under way from which on addresses are validated first.
const HANDSHAKES_UNVALIDATED_MAX: usize = 32;
/// Most connections of all kinds. QUIC remembers a closed one for some seconds, so those that gave way count too.
const CONNECTIONS_MAX: usize = 4096;
/// Most authenticated connections that wait to be accepted.
const WAITING_MAX: usize = 64;
/// Most refusals that wait to be told. The rest are forgotten: a stranger must not fill a log either.
const REFUSALS_MAX: usize = 16;
/// Most first packets that are kept before they are looked at, and the bytes kept beside each.
const INCOMING_MAX: usize = 1024;
const INCOMING_BYTES_MAX: u64 = 64 << 10;

/// Why an address can't be listened at.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another process has the port.
    #[error("UDP port {} is in use at {address}: stop what listens there, or choose another port", address.port())]
    AddressInUse {
        /// The address that was asked for.
        address: SocketAddr,
    },
    /// The address is none of this host's.
    #[error("{} is not an address of this host: listen at 0.0.0.0 or [::] for all of its addresses", address.ip())]
    AddressNotLocal {
        /// The address that was asked for.
        address: SocketAddr,
    },
    /// Ports below 1024 are for root.
    #[error("not allowed to listen at {address}: choose a port above 1023")]
    Denied {
        /// The address that was asked for.
        address: SocketAddr,
    },
    /// Any other error of the system.
    #[error("can't listen at {address}: {source}")]
    Io {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The keys can't be used.
    #[error("the keys can't be used: {0}")]
    Key(#[from] KeyError),
    /// The keys can't be used for TLS.
    #[error("the keys can't be used: {0}")]
    Tls(#[from] rustls::Error),
}

/// A peer that was not let in. The listener goes on.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// It did not prove to hold a key that is accepted, or did not accept this side's.
    #[error("{peer} was refused: {reason}")]
    Refused {
        /// Where it called from.
        peer: SocketAddr,
        /// Why, and what to check.
        reason: String,
    },
    /// Its handshake broke off.
    #[error("{peer} gave up its handshake: {reason}")]
    Failed {
        /// Where it called from.
        peer: SocketAddr,
        /// What happened.
        reason: String,
    },
    /// It began a handshake and fell silent.
    #[error("{peer} began a handshake and fell silent")]
    Silent {
        /// Where it called from.
        peer: SocketAddr,
    },
}

/// Listens for connections, and lets in those that authenticate.
#[derive(Debug)]
pub struct Listener {
    endpoint: Endpoint,
    local: SocketAddr,
    inbox: Mutex<Inbox>,
    acceptor: AbortHandle,
}

#[derive(Debug)]
struct Inbox {
    connections: mpsc::Receiver<Connection>,
    refusals: mpsc::Receiver<AcceptError>,
}

/// The sending half of an [`Inbox`], and what is said about a stranger.
#[derive(Clone)]
struct Outbox {
    connections: mpsc::Sender<Connection>,
    refusals: mpsc::Sender<AcceptError>,
    advice: &'static str,
}

impl Listener {
    /// Listens at a UDP address; port 0 takes any that is free. To be called within a tokio runtime.
    pub fn bind(address: SocketAddr, credentials: &Credentials) -> Result<Self, ListenError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => ListenError::AddressInUse { address },
            io::ErrorKind::AddrNotAvailable => ListenError::AddressNotLocal { address },
            io::ErrorKind::PermissionDenied => ListenError::Denied { address },
            _ => ListenError::Io { address, source },
        };
        let mut config = ServerConfig::with_crypto(Arc::new(tls::server_config(credentials)?));
        config
            .transport_config(transport_config(Role::Agent))
            .max_incoming(INCOMING_MAX)
            .incoming_buffer_size(INCOMING_BYTES_MAX)
            .incoming_buffer_size_total(INCOMING_BYTES_MAX * INCOMING_MAX as u64 / 8);
        let endpoint_config = socket::listening(&credentials.identity)?;
        let udp = socket::bind(address).map_err(failed)?;
        let endpoint = Endpoint::new(endpoint_config, Some(config), udp, Arc::new(TokioRuntime)).map_err(failed)?;
        let local = endpoint.local_addr().map_err(failed)?;
        let (connections_in, connections) = mpsc::channel(WAITING_MAX);
        let (refusals_in, refusals) = mpsc::channel(REFUSALS_MAX);
        let outbox =
            Outbox { connections: connections_in, refusals: refusals_in, advice: credentials.advice_to_agent() };
        let acceptor = tokio::spawn(admit(endpoint.clone(), outbox)).abort_handle();
        Ok(Self { endpoint, local, inbox: Mutex::new(Inbox { connections, refusals }), acceptor })
    }

    /// The address listened at, with the port that was taken.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// How many connections there are, those whose handshake is under way included.
    pub fn connections(&self) -> usize {
        self.endpoint.open_connections()
    }

    /// The next connection, authenticated; or word of one that was refused. `None` once the listener is closed.
    /// Cancel-safe.
    pub async fn accept(&self) -> Option<Result<Connection, AcceptError>> {
        let mut inbox = self.inbox.lock().await;
        let Inbox { connections, refusals } = &mut *inbox;
        tokio::select! {
            biased;
            Some(connection) = connections.recv() => Some(Ok(connection)),
            Some(refusal) = refusals.recv() => Some(Err(refusal)),
            else => None,
        }
    }

    /// Listens no more, and closes all connections; the other sides show `sentence`.
    pub fn close(&self, sentence: &str) {
        self.endpoint.close(CloseCode::Goodbye.into(), cut(sentence));
    }

    /// Waits until all connections are gone and their last packets sent: after [`close`](Self::close), at most some round
    /// trips.
    pub async fn wait_idle(&self) {
        self.endpoint.wait_idle().await;
    }
}

impl Drop for Listener {
    /// Listens no more. Connections that were accepted live on.
    fn drop(&mut self) {
        self.acceptor.abort();
        self.endpoint.set_server_config(None);
    }
}

/// Does handshakes until the endpoint is closed.
async fn admit(endpoint: Endpoint, outbox: Outbox) {
    let mut handshakes = JoinSet::new();
    let mut under_way = UnderWay::default();
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            Some(_) = handshakes.join_next() => continue,
        };
        let Some(incoming) = incoming else { return };
        if endpoint.open_connections() >= CONNECTIONS_MAX {
            // Not even an answer: a friend's next packet may find room.
            incoming.ignore();
            continue;
        }
        if handshakes.len() >= HANDSHAKES_UNVALIDATED_MAX
            && !incoming.remote_address_validated()
            && incoming.may_retry()
        {
            // The answer goes to the address that the packet claims; nothing is kept for it here.
            let _ = incoming.retry();
            continue;
        }
        let source = Source::of(incoming.remote_address().ip());
        under_way.make_room();
        under_way.0.push_back((source, handshakes.spawn(outbox.clone().handshake(incoming))));
    }
}

/// Where a handshake comes from, as far as one party can be told from another: an IPv4 address, an IPv6 network of 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Source([u8; 8]);

impl Source {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let [a, b, c, d] = address.octets();
                Self([0, 0, 0, 0, a, b, c, d])
            }
            IpAddr::V6(address) => Self(address.octets().first_chunk().copied().unwrap_or_default()),
        }
    }
}

/// Handshakes under way, oldest first.
#[derive(Debug, Default)]
struct UnderWay(VecDeque<(Source, AbortHandle)>);

impl UnderWay {
    /// Where all places are taken, ends the oldest handshake of the source that has most of them.
    fn make_room(&mut self) {
        self.0.retain(|(_, handshake)| !handshake.is_finished());
        if self.0.len() < HANDSHAKES_MAX {
            return;
        }
        let greediest = greediest(self.0.iter().map(|(source, _)| *source));
        if let Some(at) = self.0.iter().position(|(source, _)| Some(*source) == greediest)
            && let Some((_, oldest)) = self.0.remove(at)
        {
            oldest.abort();
        }
    }
}

/// The source that is there most often; of those that are as often the one that was first.
fn greediest(sources: impl Iterator<Item = Source> + Clone) -> Option<Source> {
    let mut counts: HashMap<Source, usize> = HashMap::new();
    sources.clone().for_each(|source| *counts.entry(source).or_default() += 1);
    let most = counts.values().copied().max()?;
    sources.into_iter().find(|source| counts.get(source) == Some(&most))
}

impl Outbox {
    async fn handshake(self, incoming: Incoming) {
        let peer = incoming.remote_address();
        let result = tokio::time::timeout(HANDSHAKE_TIME_MAX, incoming).await;
        let refusal = match result {
            Ok(Ok(connection)) => return self.hand_over(connection),
            Ok(Err(error)) => match rejection(&error) {
                Some(Rejection::ByUs | Rejection::ByPeer) => {
                    AcceptError::Refused { peer, reason: self.advice.to_owned() }
                }
                Some(Rejection::Protocol) => AcceptError::Refused { peer, reason: sentence(&error) },
                None => AcceptError::Failed { peer, reason: sentence(&error) },
            },
            Err(_) => AcceptError::Silent { peer },
        };
        let _ = self.refusals.try_send(refusal);
    }

    fn hand_over(&self, connection: Connection) {
        // The handshake has seen to this. A connection without a proven key would be the worst of mistakes, so it is
        // looked at here too.
        if tls::peer_key(&connection).is_none() {
            return close(&connection, CloseCode::Protocol, "no key was proved");
        }
        if let Err(error) = self.connections.try_send(connection) {
            let (mpsc::error::TrySendError::Full(connection) | mpsc::error::TrySendError::Closed(connection)) = error;
            close(&connection, CloseCode::Busy, "the agent has too many connections waiting: try again later");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn who_has_most_gives_way() {
        let source = |text: &str| Source::of(text.parse().unwrap());
        let check = |sources: &[&str], expected: Option<&str>| {
            assert_eq!(greediest(sources.iter().map(|text| source(text))), expected.map(source), "{sources:?}");
        };
        check(&[], None);
        check(&["10.0.0.1", "10.0.0.2"], Some("10.0.0.1"));
        check(&["10.0.0.1", "10.0.0.2", "10.0.0.2"], Some("10.0.0.2"));
        // One network of IPv6 is one party, and an address is the same however it is written.
        check(&["10.0.0.1", "2001:db8::1", "2001:db8::2"], Some("2001:db8::3"));
        check(&["10.0.0.2", "10.0.0.1", "::ffff:10.0.0.1"], Some("10.0.0.1"));
        assert_ne!(source("2001:db8:0:1::1"), source("2001:db8:0:2::1"));
    }
}

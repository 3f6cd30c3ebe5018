//! The end that dials.
//!
//! A name may stand for several addresses, not all of which answer (`localhost` is `::1` and `127.0.0.1`): they are tried
//! with a short head start each, and the first that completes a handshake is taken (after RFC 8305). QUIC itself never
//! hears that nobody listens, because its sockets are not connected; a connected socket beside it does, where the
//! network says so at all, so that an absent agent is reported in milliseconds instead of after a time-out.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, EndpointConfig, TokioRuntime};
use tokio::{net::UdpSocket, task::JoinSet, time};

use super::{
    close::{CloseCode, Rejection, close, rejection, sentence},
    credentials::{Credentials, Role},
    socket, tls,
    transport::{FIRST_WINDOW_BYTES_MAX, take_large_packets, with_initial_window},
};

/// Longest time that is waited for an answer, once the name is resolved.
pub const DIAL_TIME_MAX: Duration = Duration::from_secs(3);
/// Longest time for the name.
const RESOLVE_TIME_MAX: Duration = Duration::from_secs(5);
/// Most addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;
/// Head start of each address before the next one.
const HEAD_START: Duration = Duration::from_millis(250);
/// How long the handshake has to itself before it is asked whether anybody listens, and how long between questions.
const PROBE_DELAY: Duration = Duration::from_millis(50);
const PROBE_INTERVAL: Duration = Duration::from_millis(500);

/// Why there is no connection. Each says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The name is not known.
    #[error("can't find the address of {host}: {source}")]
    Resolve {
        /// The name.
        host: String,
        /// What the system says.
        source: io::Error,
    },
    /// The network says that nobody listens, or that there is no way.
    #[error("nothing answers at UDP {address} ({source}): is the agent running there, and is this its port?")]
    Unreachable {
        /// Where.
        address: String,
        /// What the network says.
        source: io::Error,
    },
    /// Nobody said anything.
    #[error(
        "nothing answered at UDP {address} within {} s: is the agent running there, and does the network let UDP through?",
        DIAL_TIME_MAX.as_secs()
    )]
    Timeout {
        /// Where.
        address: String,
    },
    /// The other side's key is not accepted here, or this one's is not accepted there. (The latter may also show later,
    /// when the first stream is used.)
    #[error("the agent at {address} was refused: {reason}")]
    Refused {
        /// Where.
        address: String,
        /// What to check.
        reason: String,
    },
    /// The agent ended the connection before it was one.
    #[error("the agent at {address} closed the connection: {reason}")]
    Closed {
        /// Where.
        address: String,
        /// What it said, escaped.
        reason: String,
    },
    /// No socket is to be had.
    #[error("can't open a UDP socket: {source}")]
    Socket {
        /// What the system says.
        source: io::Error,
    },
    /// The keys can't be used.
    #[error("the keys can't be used: {0}")]
    Key(#[from] rustls::Error),
}

/// A connection, and the endpoint under it, which goes when both are dropped.
#[derive(Debug)]
pub struct Dialed {
    /// The connection. Its peer has proved that it holds an accepted key.
    pub connection: Connection,
    /// The socket's side of it: to wait until the last packets are sent, or to move to another socket.
    pub endpoint: Endpoint,
}

/// Connects to the agent at `host` (a name or an address) and UDP `port`. To be called within a tokio runtime.
///
/// The agent may still refuse this side's key: it does so when it has seen it, half a round trip after this returns, and
/// that shows where a stream is first used.
pub async fn dial(host: &str, port: u16, credentials: &Credentials) -> Result<Dialed, DialError> {
    dial_with_window(host, port, credentials, FIRST_WINDOW_BYTES_MAX).await
}

/// The same, with another first congestion window, in bytes: one that the link to this host was found to have.
///
/// # Errors
/// As those of [`dial`].
pub async fn dial_with_window(
    host: &str,
    port: u16,
    credentials: &Credentials,
    window: u64,
) -> Result<Dialed, DialError> {
    let mut config = ClientConfig::new(Arc::new(tls::client_config(credentials)?));
    config.transport_config(with_initial_window(Role::Controller, window.min(FIRST_WINDOW_BYTES_MAX)));
    let addresses = resolve(host, port).await?;
    let caller = Caller { config, name: format!("{host}:{port}"), advice: credentials.advice_to_controller() };
    match time::timeout(DIAL_TIME_MAX, caller.first_of(addresses)).await {
        Ok(result) => result,
        Err(_) => Err(DialError::Timeout { address: caller.name }),
    }
}

async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, DialError> {
    let failed = |source| DialError::Resolve { host: host.to_owned(), source };
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let found = time::timeout(RESOLVE_TIME_MAX, tokio::net::lookup_host((bare, port)))
        .await
        .map_err(|_| failed(io::Error::new(io::ErrorKind::TimedOut, "the name service does not answer")))?
        .map_err(failed)?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found {
        if !addresses.contains(&address) && addresses.len() < ADDRESSES_MAX {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(failed(io::Error::new(io::ErrorKind::NotFound, "the name has no address")));
    }
    Ok(addresses)
}

#[derive(Clone)]
struct Caller {
    config: ClientConfig,
    name: String,
    advice: &'static str,
}

impl Caller {
    /// Tries all addresses; the next begins when its head start is over or all before it have failed.
    async fn first_of(&self, addresses: Vec<SocketAddr>) -> Result<Dialed, DialError> {
        let mut left = addresses.into_iter();
        let mut attempts = JoinSet::new();
        let mut worst = None;
        loop {
            if let Some(address) = left.next() {
                let caller = self.clone();
                attempts.spawn(async move { caller.attempt(address).await });
            } else if attempts.is_empty() {
                return Err(worst.unwrap_or(DialError::Timeout { address: self.name.clone() }));
            }
            let head_start =
                async { if left.len() > 0 { time::sleep(HEAD_START).await } else { std::future::pending().await } };
            tokio::select! {
                Some(Ok(attempt)) = attempts.join_next() => match attempt {
                    Ok(dialed) => return Ok(dialed),
                    Err(error) => worst = Some(telling(worst, error)),
                },
                () = head_start => {}
            }
        }
    }

    async fn attempt(&self, address: SocketAddr) -> Result<Dialed, DialError> {
        let socket = |source| DialError::Socket { source };
        let local = match address.ip() {
            IpAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            IpAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let udp = socket::bind(local).map_err(socket)?;
        let mut config = EndpointConfig::default();
        take_large_packets(&mut config);
        let endpoint = Endpoint::new(config, None, udp, Arc::new(TokioRuntime)).map_err(socket)?;
        let connecting = endpoint
            .connect_with(self.config.clone(), address, tls::SERVER_NAME)
            .map_err(|error| self.unreachable(io::Error::other(error)))?;
        let connection = tokio::select! {
            result = connecting => result.map_err(|error| self.failed(&error))?,
            source = refused_by_network(address) => return Err(self.unreachable(source)),
        };
        if tls::peer_key(&connection).is_none() {
            close(&connection, CloseCode::Protocol, "no key was proved");
            return Err(DialError::Refused { address: self.name.clone(), reason: self.advice.to_owned() });
        }
        Ok(Dialed { connection, endpoint })
    }

    fn unreachable(&self, source: io::Error) -> DialError {
        DialError::Unreachable { address: self.name.clone(), source }
    }

    fn failed(&self, error: &ConnectionError) -> DialError {
        let address = self.name.clone();
        match (rejection(error), error) {
            (Some(Rejection::ByUs), _) => DialError::Refused { address, reason: self.advice.to_owned() },
            (Some(_), _) => DialError::Refused { address, reason: sentence(error) },
            (None, ConnectionError::TimedOut) => DialError::Timeout { address },
            (None, _) => DialError::Closed { address, reason: sentence(error) },
        }
    }
}

/// The error that tells more: an agent that refused says more than a network that does, and that more than silence.
fn telling(worst: Option<DialError>, error: DialError) -> DialError {
    let weight = |error: &DialError| match error {
        DialError::Refused { .. } => 3,
        DialError::Closed { .. } => 2,
        DialError::Unreachable { .. } => 1,
        _ => 0,
    };
    match worst {
        Some(worst) if weight(&worst) >= weight(&error) => worst,
        _ => error,
    }
}

/// Waits until the network says that nothing can be reached at `address`; forever where it does not say so.
async fn refused_by_network(address: SocketAddr) -> io::Error {
    time::sleep(PROBE_DELAY).await;
    match probe(address).await {
        Err(error) if tells_absence(error.kind()) => error,
        _ => std::future::pending().await,
    }
}

fn tells_absence(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable};
    // Windows says `ConnectionReset` for what Unix calls `ConnectionRefused`.
    matches!(kind, ConnectionRefused | ConnectionReset | HostUnreachable | NetworkUnreachable)
}

/// Sends single zero bytes, which no QUIC endpoint answers, and returns with the error that comes back.
async fn probe(address: SocketAddr) -> io::Result<()> {
    let local: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((local, 0)).await?;
    socket.connect(address).await?;
    let mut answer = [0; 1];
    loop {
        socket.send(&[0]).await?;
        if let Ok(received) = time::timeout(PROBE_INTERVAL, socket.recv(&mut answer)).await {
            received?;
        }
    }
}

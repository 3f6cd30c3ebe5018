//! A crowd of strangers that begin handshakes and never end them.

use std::{
    fmt,
    io::{self, IoSliceMut},
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use quinn::{
    AsyncUdpSocket, ClientConfig, Endpoint, EndpointConfig, Runtime, TokioRuntime, UdpPoller,
    udp::{RecvMeta, Transmit},
};

use super::{
    super::{tls, transport::transport_config},
    LOOPBACK, Listener, PATIENCE, Role, connect, pair,
};

/// A socket that sends, but hears only so many datagrams.
struct HardOfHearing {
    inner: Arc<dyn AsyncUdpSocket>,
    hears: AtomicUsize,
}

impl fmt::Debug for HardOfHearing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HardOfHearing")
    }
}

impl AsyncUdpSocket for HardOfHearing {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.inner.try_send(transmit)
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        if self.hears.load(Ordering::Relaxed) == 0 {
            return Poll::Pending;
        }
        let received = self.inner.poll_recv(context, buffers, meta);
        if received.is_ready() {
            self.hears.fetch_sub(1, Ordering::Relaxed);
        }
        received
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

/// One that hears nothing leaves a handshake open, or a Retry unanswered; one that hears one datagram answers the Retry
/// and then falls silent: its address is good, and it takes a place.
fn stranger(hears: usize) -> Endpoint {
    let udp = std::net::UdpSocket::bind(LOOPBACK).unwrap();
    udp.set_nonblocking(true).unwrap();
    let inner = TokioRuntime.wrap_udp_socket(udp).unwrap();
    let socket = Arc::new(HardOfHearing { inner, hears: AtomicUsize::new(hears) });
    Endpoint::new_with_abstract_socket(EndpointConfig::default(), None, socket, Arc::new(TokioRuntime)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_silent_strangers_keep_no_friend_out() {
    let (controller, agent) = pair();
    let (other, _) = pair();
    let listener = Listener::bind(LOOPBACK, &agent).unwrap();
    let mut config = ClientConfig::new(Arc::new(tls::client_config(&other).unwrap()));
    config.transport_config(transport_config(Role::Controller));
    let mut crowd = Vec::new();
    for number in 0..1000 {
        let endpoint = stranger(number % 2);
        let connecting = endpoint.connect_with(config.clone(), listener.local_addr(), tls::SERVER_NAME).unwrap();
        crowd.push((endpoint, connecting));
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    // The deaf half leaves nothing behind once addresses are validated; of the rest, those that gave way are still there
    // as what QUIC keeps of a closed connection for some round trips.
    assert!(listener.connections() <= 600, "{}", listener.connections());
    let begun = std::time::Instant::now();
    let (dialed, accepted) = connect(&listener, &controller).await;
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    let mut stream = dialed.connection.open_uni().await.unwrap();
    stream.write_all(b"x").await.unwrap();
    tokio::time::timeout(PATIENCE, accepted.accept_uni()).await.unwrap().unwrap();
}

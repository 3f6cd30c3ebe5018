//! How large packets become: as the path carries them.

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
    AsyncUdpSocket, ClientConfig, Connection, Endpoint, EndpointConfig, Runtime, TokioRuntime, UdpPoller,
    udp::{RecvMeta, Transmit},
};

use super::{
    super::{
        allow, tls,
        transport::{MTU_BYTES_MAX, take_large_packets, transport_config},
    },
    LOOPBACK, Listener, PATIENCE, Role, connected, pair,
};

/// UDP payload of Ethernet's largest frame over IPv4, in bytes.
const ETHERNET_BYTES: usize = 1472;
const BULK_BYTES: usize = 8 << 20;

/// The way out over a link with a bound on its frames: what is larger is lost, and nobody says so.
struct Narrow {
    inner: Arc<dyn AsyncUdpSocket>,
    lost: AtomicUsize,
}

impl fmt::Debug for Narrow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Narrow")
    }
}

impl AsyncUdpSocket for Narrow {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if transmit.segment_size.unwrap_or(transmit.contents.len()) > ETHERNET_BYTES {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        self.inner.try_send(transmit)
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.inner.poll_recv(context, buffers, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

/// Sends bulk until packets are as large as they are to become, and says how large they became.
async fn grown(from: &Connection, to: &Connection, wanted: u16) -> u16 {
    let receive = {
        let to = to.clone();
        tokio::spawn(async move {
            while let Ok(mut stream) = to.accept_uni().await {
                assert_eq!(stream.read_to_end(BULK_BYTES).await.unwrap().len(), BULK_BYTES);
            }
        })
    };
    let bulk = vec![7; BULK_BYTES];
    let growing = async {
        while from.stats().path.current_mtu < wanted {
            let mut stream = from.open_uni().await.unwrap();
            stream.write_all(&bulk).await.unwrap();
            stream.finish().unwrap();
            stream.stopped().await.unwrap();
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, growing).await;
    let path = from.stats().path;
    assert!(in_time.is_ok(), "{path:?}");
    receive.abort();
    path.current_mtu
}

#[tokio::test]
async fn packets_grow_to_what_loopback_carries_both_ways() {
    let (_listener, dialed, accepted) = connected().await;
    assert!(dialed.connection.stats().path.current_mtu >= 1200);
    let enough = MTU_BYTES_MAX - 100;
    assert!(grown(&dialed.connection, &accepted, enough).await <= MTU_BYTES_MAX);
    // The agent says what its own files are on streams of the controller's, so here its answers are looked at alone.
    assert!(
        tokio::time::timeout(PATIENCE, async {
            while accepted.stats().path.current_mtu < enough {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await
        .is_ok()
    );
}

#[test]
fn ten_packets_are_no_more_than_the_system_takes_at_once() {
    // quinn's bound for a call, and the longest datagram that there is, which is what they are handed over as.
    const { assert!(10 * MTU_BYTES_MAX as usize <= 65_507) };
}

#[tokio::test]
async fn a_path_that_loses_large_packets_is_found_out_and_carries_bulk() {
    let (controller, agent) = pair();
    let listener = Listener::bind(LOOPBACK, &agent).unwrap();
    let udp = std::net::UdpSocket::bind(LOOPBACK).unwrap();
    udp.set_nonblocking(true).unwrap();
    let narrow = Arc::new(Narrow { inner: TokioRuntime.wrap_udp_socket(udp).unwrap(), lost: AtomicUsize::new(0) });
    let mut config = EndpointConfig::default();
    take_large_packets(&mut config);
    let socket = Arc::clone(&narrow) as Arc<dyn AsyncUdpSocket>;
    let endpoint = Endpoint::new_with_abstract_socket(config, None, socket, Arc::new(TokioRuntime)).unwrap();
    let mut config = ClientConfig::new(Arc::new(tls::client_config(&controller).unwrap()));
    config.transport_config(transport_config(Role::Controller));
    let connecting = endpoint.connect_with(config, listener.local_addr(), tls::SERVER_NAME).unwrap();
    let (connection, accepted) = tokio::join!(connecting, listener.accept());
    let (connection, accepted) = (connection.unwrap(), accepted.unwrap().unwrap());
    allow(&accepted, 1, 1);
    // The search ends when the largest size that gets through is known to a step, and that is among the last that are tried.
    let grown = usize::from(grown(&connection, &accepted, 1440).await);
    assert!((1440..=ETHERNET_BYTES).contains(&grown), "{grown}");
    let lost = narrow.lost.load(Ordering::Relaxed);
    // Three tries for each size that is too large; none of it is bulk.
    assert!((1..=24).contains(&lost), "{lost}");
    let path = connection.stats().path;
    assert_eq!((path.black_holes_detected, path.congestion_events), (0, 0), "{path:?}");
}

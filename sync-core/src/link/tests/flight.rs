//! How long a first flight takes over a real distance. Run by hand, once on each host:
//!
//! `SYNCTL_FLIGHT=serve cargo test -p sync-core first_flight -- --ignored --nocapture`, and with
//! `SYNCTL_FLIGHT=10.81.0.2` on the other; `SYNCTL_FLIGHT_WINDOW` set to another first window in bytes, or to 0 for quinn's own settings.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use quinn::{ClientConfig, Endpoint, EndpointConfig, ServerConfig, TokioRuntime, TransportConfig};

use super::super::{
    Credentials, Role, Secret, socket, tls,
    transport::{take_large_packets, transport_config, with_initial_window},
};

const PORT: u16 = 7907;
const ROUNDS: usize = 5;
const SIZES: [usize; 4] = [1 << 10, 64 << 10, 256 << 10, 1 << 20];

fn settings(role: Role) -> (Credentials, Arc<TransportConfig>) {
    let secret = Secret::parse("synctl-secret-1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8").unwrap();
    let transport = match std::env::var("SYNCTL_FLIGHT_WINDOW").ok().map(|window| window.parse().unwrap()) {
        None => transport_config(role),
        Some(0) => Arc::default(),
        Some(window) => with_initial_window(role, window),
    };
    (Credentials::from_secret(&secret, role).unwrap(), transport)
}

#[tokio::test]
#[ignore = "needs two hosts with a distance between them"]
async fn first_flight() {
    match std::env::var("SYNCTL_FLIGHT").as_deref() {
        Ok("serve") => serve().await,
        Ok(host) => fly(SocketAddr::new(host.parse().unwrap(), PORT)).await,
        Err(_) => panic!("SYNCTL_FLIGHT is not set"),
    }
}

async fn serve() {
    let (credentials, transport) = settings(Role::Agent);
    let mut config = ServerConfig::with_crypto(Arc::new(tls::server_config(&credentials).unwrap()));
    config.transport_config(transport);
    let udp = socket::bind(SocketAddr::from(([0, 0, 0, 0], PORT))).unwrap();
    let endpoint = Endpoint::new(taking(), Some(config), udp, Arc::new(TokioRuntime)).unwrap();
    for _ in 0..ROUNDS * SIZES.len() {
        let connection = endpoint.accept().await.unwrap().await.unwrap();
        let (mut send, mut recv) = connection.accept_bi().await.unwrap();
        let received = recv.read_to_end(2 << 20).await.unwrap().len();
        send.write_all(&(received as u64).to_le_bytes()).await.unwrap();
        connection.closed().await;
    }
}

fn taking() -> EndpointConfig {
    let mut config = EndpointConfig::default();
    take_large_packets(&mut config);
    config
}

/// Prints the time from the first write to the answer, less half of the round trip measured: when all had arrived.
async fn fly(address: SocketAddr) {
    let (credentials, transport) = settings(Role::Controller);
    let mut config = ClientConfig::new(Arc::new(tls::client_config(&credentials).unwrap()));
    config.transport_config(transport);
    for size in SIZES {
        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            let udp = socket::bind(SocketAddr::from(([0, 0, 0, 0], 0))).unwrap();
            let endpoint = Endpoint::new(taking(), None, udp, Arc::new(TokioRuntime)).unwrap();
            let connecting = endpoint.connect_with(config.clone(), address, tls::SERVER_NAME).unwrap();
            let connection = connecting.await.unwrap();
            let half = connection.rtt() / 2;
            let (mut send, mut recv) = connection.open_bi().await.unwrap();
            let begun = Instant::now();
            send.write_all(&vec![7; size]).await.unwrap();
            send.finish().unwrap();
            recv.read_exact(&mut [0; 8]).await.unwrap();
            times.push(begun.elapsed().saturating_sub(half).as_secs_f64() * 1e3);
            connection.close(0_u32.into(), b"");
            endpoint.wait_idle().await;
        }
        times.sort_by(f64::total_cmp);
        eprintln!("{:>5} KiB: median {:.1} ms, of {times:.1?}", size >> 10, times[ROUNDS / 2]);
    }
}

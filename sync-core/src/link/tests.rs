//! Over real QUIC on loopback.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod crowd;
mod files;
mod flight;
mod keys;
mod packets;
mod settings;
mod streams;

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use quinn::Connection;

use super::{
    AcceptError, Credentials, DialError, Dialed, Identity, ListenError, Listener, Role, Secret, dial, peer_key,
};

/// Time for what should take milliseconds, on a machine with other things to do.
const PATIENCE: Duration = Duration::from_secs(20);

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Both sides' credentials, from a new secret.
fn pair() -> (Credentials, Credentials) {
    let secret = Secret::generate().unwrap();
    (
        Credentials::from_secret(&secret, Role::Controller).unwrap(),
        Credentials::from_secret(&secret, Role::Agent).unwrap(),
    )
}

/// Listener, and both ends of a connection to it.
async fn connected() -> (Listener, Dialed, Connection) {
    let (controller, agent) = pair();
    let listener = Listener::bind(LOOPBACK, &agent).unwrap();
    let (dialed, accepted) = connect(&listener, &controller).await;
    // As one that has sessions.
    super::allow(&accepted, 8, 64);
    (listener, dialed, accepted)
}

async fn connect(listener: &Listener, controller: &Credentials) -> (Dialed, Connection) {
    let port = listener.local_addr().port();
    let accept = async {
        loop {
            match listener.accept().await.expect("open") {
                Ok(connection) => return connection,
                Err(error) => eprintln!("{error}"),
            }
        }
    };
    let (dialed, accepted) =
        tokio::time::timeout(PATIENCE, async { tokio::join!(dial("127.0.0.1", port, controller), accept) })
            .await
            .expect("in time");
    (dialed.unwrap(), accepted)
}

#[tokio::test]
async fn the_right_secret_connects() {
    let (controller, agent) = pair();
    let listener = Listener::bind(LOOPBACK, &agent).unwrap();
    let (dialed, accepted) = connect(&listener, &controller).await;
    assert_eq!(peer_key(&dialed.connection), Some(agent.public_key()));
    assert_eq!(peer_key(&accepted), Some(controller.public_key()));

    let (mut send, _recv) = dialed.connection.open_bi().await.unwrap();
    send.write_all(b"hello").await.unwrap();
    let (_send, mut recv) = accepted.accept_bi().await.unwrap();
    let mut bytes = [0; 5];
    recv.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"hello");
}

#[tokio::test]
async fn a_name_with_several_addresses_finds_the_one_that_answers() {
    let (controller, agent) = pair();
    let listener = Listener::bind(LOOPBACK, &agent).unwrap();
    let begun = Instant::now();
    let dialed = dial("localhost", listener.local_addr().port(), &controller).await.unwrap();
    assert!(dialed.connection.remote_address().is_ipv4());
    assert!(begun.elapsed() < super::DIAL_TIME_MAX);
}

#[tokio::test]
async fn ipv6_is_dialled_with_and_without_brackets() {
    let (controller, agent) = pair();
    let Ok(listener) = Listener::bind("[::1]:0".parse().unwrap(), &agent) else {
        crate::skipped::skipped("no IPv6 here");
        return;
    };
    for host in ["::1", "[::1]"] {
        dial(host, listener.local_addr().port(), &controller).await.unwrap();
    }
}

#[tokio::test]
async fn a_wrong_secret_is_refused_with_advice() {
    let (controller, _) = pair();
    let (_, agent) = pair();
    let listener = Listener::bind(LOOPBACK, &agent).unwrap();
    let begun = Instant::now();
    let (dialed, refusal) =
        tokio::join!(dial("127.0.0.1", listener.local_addr().port(), &controller), listener.accept());
    let error = dialed.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert!(matches!(error, DialError::Refused { .. }), "{error:?}");
    let told = error.to_string();
    assert!(told.contains("same secret") && told.contains("--secret-file"), "{told}");
    let refusal = refusal.unwrap().unwrap_err();
    assert!(matches!(refusal, AcceptError::Refused { .. }), "{refusal:?}");
    assert!(refusal.to_string().contains("same secret"), "{refusal}");
}

/// The roles have different keys, so that an agent can't be taken for a controller by another agent of the same secret.
#[tokio::test]
async fn a_secret_does_not_let_one_role_pass_for_the_other() {
    let secret = Secret::generate().unwrap();
    let agent = Credentials::from_secret(&secret, Role::Agent).unwrap();
    let listener = Listener::bind(LOOPBACK, &agent).unwrap();
    let error = dial("127.0.0.1", listener.local_addr().port(), &agent).await.unwrap_err();
    assert!(matches!(error, DialError::Refused { .. }), "{error:?}");
}

/// The agent sees a controller's key last, so the controller hears of it with its first stream. Meanwhile nothing that it
/// sent is given to the agent's application.
#[tokio::test]
async fn an_unauthorized_key_gets_no_byte_through() {
    let (agent_key, ours, other) =
        (Identity::generate().unwrap(), Identity::generate().unwrap(), Identity::generate().unwrap());
    let controller = Credentials::from_keys(ours.clone(), vec![agent_key.public_key()]);
    let agent = Credentials::from_keys(agent_key, vec![other.public_key()]);
    let listener = Listener::bind(LOOPBACK, &agent).unwrap();
    let dialled = dial("127.0.0.1", listener.local_addr().port(), &controller).await;
    let told = match dialled {
        Err(error) => error.to_string(),
        Ok(dialed) => {
            let connection = &dialed.connection;
            let (mut send, mut recv) = connection.open_bi().await.unwrap();
            super::hello_initiate(connection, &mut send, &mut recv, "test").await.unwrap_err().to_string()
        }
    };
    assert!(told.contains("does not accept this side's key"), "{told}");
    let refusal = listener.accept().await.unwrap().unwrap_err();
    assert!(refusal.to_string().contains("authorized keys"), "{refusal}");
    // The refusal is all there is: no connection ever comes out.
    let more = tokio::time::timeout(Duration::from_millis(200), listener.accept()).await;
    assert!(more.is_err(), "{more:?}");
}

#[tokio::test]
async fn key_lists_accept_each_of_their_keys() {
    let (agent_key, one, two) =
        (Identity::generate().unwrap(), Identity::generate().unwrap(), Identity::generate().unwrap());
    let agent = Credentials::from_keys(agent_key.clone(), vec![one.public_key(), two.public_key()]);
    let listener = Listener::bind(LOOPBACK, &agent).unwrap();
    for key in [one, two] {
        let controller = Credentials::from_keys(key.clone(), vec![agent_key.public_key()]);
        let (_dialed, accepted) = connect(&listener, &controller).await;
        assert_eq!(peer_key(&accepted), Some(key.public_key()));
    }
}

#[tokio::test]
async fn an_absent_agent_is_reported_quickly() {
    let (controller, _) = pair();
    // Bound and dropped: a port at which nobody listens.
    let port = std::net::UdpSocket::bind(LOOPBACK).unwrap().local_addr().unwrap().port();
    let begun = Instant::now();
    let error = dial("127.0.0.1", port, &controller).await.unwrap_err();
    let elapsed = begun.elapsed();
    assert!(matches!(error, DialError::Unreachable { .. } | DialError::Timeout { .. }), "{error:?}");
    assert!(elapsed < super::DIAL_TIME_MAX + Duration::from_millis(500), "{elapsed:?}");
    assert!(error.to_string().contains("is the agent running there"), "{error}");
}

#[tokio::test]
async fn a_silent_port_is_given_up_in_time() {
    let (controller, _) = pair();
    let silent = std::net::UdpSocket::bind(LOOPBACK).unwrap();
    let begun = Instant::now();
    let error = dial("127.0.0.1", silent.local_addr().unwrap().port(), &controller).await.unwrap_err();
    assert!(matches!(error, DialError::Timeout { .. }), "{error:?}");
    assert!(begun.elapsed() < super::DIAL_TIME_MAX + Duration::from_millis(500), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn an_unknown_name_is_named() {
    let (controller, _) = pair();
    let error = dial("no-such-host.invalid", 1, &controller).await.unwrap_err();
    assert!(matches!(error, DialError::Resolve { .. }), "{error:?}");
    assert!(error.to_string().contains("no-such-host.invalid"), "{error}");
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let (_, agent) = pair();
    let listener = Listener::bind(LOOPBACK, &agent).unwrap();
    let error = Listener::bind(listener.local_addr(), &agent).unwrap_err();
    assert!(matches!(error, ListenError::AddressInUse { .. }), "{error:?}");
    assert!(error.to_string().contains(&listener.local_addr().to_string()), "{error}");
}

#[tokio::test]
async fn an_address_of_another_host_is_named() {
    let (_, agent) = pair();
    let error = Listener::bind("192.0.2.1:0".parse().unwrap(), &agent).unwrap_err();
    assert!(matches!(error, ListenError::AddressNotLocal { .. }), "{error:?}");
}

#[tokio::test]
async fn closing_the_listener_tells_the_other_side_why() {
    let (listener, dialed, _accepted) = connected().await;
    listener.close("maintenance: back at \x1b[31mnoon");
    let error = tokio::time::timeout(PATIENCE, dialed.connection.closed()).await.unwrap();
    assert_eq!(super::sentence(&error), "maintenance: back at \\u{1b}[31mnoon");
    assert!(listener.accept().await.is_none());
    tokio::time::timeout(PATIENCE, listener.wait_idle()).await.unwrap();
}

#[tokio::test]
async fn dropping_the_listener_keeps_its_connections() {
    let (listener, dialed, accepted) = connected().await;
    drop(listener);
    let (mut send, _recv) = dialed.connection.open_bi().await.unwrap();
    send.write_all(b"x").await.unwrap();
    let (_send, mut recv) = tokio::time::timeout(PATIENCE, accepted.accept_bi()).await.unwrap().unwrap();
    recv.read_exact(&mut [0; 1]).await.unwrap();
}

/// A killed agent says nothing. Its successor at the same address, with the same key, resets what it does not know.
#[tokio::test]
async fn a_restarted_agent_resets_old_connections() {
    let (controller, agent) = pair();
    // In a runtime of its own, whose end is that of a process: no task gets to send a last packet.
    let first = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let bound = {
        let agent = agent.clone();
        first.spawn(async move { Listener::bind(LOOPBACK, &agent) })
    };
    let listener = bound.await.unwrap().unwrap();
    let address = listener.local_addr();
    let dialed = dial("127.0.0.1", address.port(), &controller).await.unwrap();
    tokio::task::spawn_blocking(move || first.shutdown_timeout(PATIENCE)).await.unwrap();
    drop(listener);
    assert!(dialed.connection.close_reason().is_none(), "it was told");
    let rebound = async {
        loop {
            match Listener::bind(address, &agent) {
                Ok(listener) => return listener,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    let successor = tokio::time::timeout(PATIENCE, rebound).await.unwrap();
    let begun = Instant::now();
    let (mut send, _recv) = dialed.connection.open_bi().await.unwrap();
    send.write_all(b"are you there?").await.unwrap();
    let error = tokio::time::timeout(PATIENCE, dialed.connection.closed()).await.unwrap();
    assert_eq!(super::sentence(&error), "the other side was restarted");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    drop(successor);
}

//! Whoever can reach the agent's port and has no key.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use sync_core::link::{Credentials, Role, Secret, dial};

use super::honest::Scene;
use super::peer::play;

/// How long each crowd goes on.
const WHILE: Duration = Duration::from_secs(3);

/// Runs `stranger` on threads of their own for a while.
fn crowd(threads: usize, stranger: impl Fn(&AtomicBool) -> u64 + Send + Sync + 'static) -> u64 {
    let (stranger, stop, count) = (Arc::new(stranger), Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let all: Vec<_> = (0..threads)
        .map(|_| {
            let (stranger, stop, count) = (Arc::clone(&stranger), Arc::clone(&stop), Arc::clone(&count));
            std::thread::spawn(move || count.fetch_add(stranger(&stop), Ordering::Relaxed))
        })
        .collect();
    std::thread::sleep(WHILE);
    stop.store(true, Ordering::Relaxed);
    all.into_iter().for_each(|thread| drop(thread.join()));
    count.load(Ordering::Relaxed)
}

/// A first packet of the right size and version, and nothing that decrypts.
fn initial(number: u64) -> Vec<u8> {
    let mut packet = vec![0xc3, 0, 0, 0, 1, 8];
    packet.extend(number.to_be_bytes());
    packet.extend([8, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0x44, 0x90]);
    packet.resize(1200, number as u8);
    packet
}

#[test]
fn fault_45_strangers() {
    let mut scene = Scene::new();
    let port = scene.port();
    let sent = crowd(2, move |stop| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut count = 0;
        while !stop.load(Ordering::Relaxed) {
            let packet = if count % 2 == 0 { initial(count) } else { vec![count as u8; 1 + count as usize % 1400] };
            let _ = socket.send_to(&packet, ("127.0.0.1", port));
            count += 1;
            if count % 16 == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        count
    });
    scene.check_memory(&format!("{sent} datagrams of noise"));
    let (wrong, _) = (Secret::generate().unwrap(), ());
    let dialled = crowd(4, move |stop| {
        let credentials = Credentials::from_secret(&wrong, Role::Controller).unwrap();
        play(async {
            let mut count = 0;
            while !stop.load(Ordering::Relaxed) {
                // Refused, at once or when the key is seen.
                if let Ok(dialed) = dial("127.0.0.1", port, &credentials).await {
                    dialed.connection.closed().await;
                }
                count += 1;
            }
            count
        })
    });
    assert!(dialled > 10, "{dialled} handshakes");
    scene.check_memory(&format!("{dialled} handshakes with another key"));
    scene.finish(&["was not given the same secret", "more were refused"]);
}

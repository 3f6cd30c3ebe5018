//! A network that is worse than loopback: a process-own UDP proxy between a controller and the agent that loses, repeats
//! and reorders datagrams, refuses large ones, goes dark, and changes the port that the agent sees.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What becomes of datagrams, of a thousand each.
#[derive(Debug, Clone, Copy, Default)]
pub(in super::super) struct Weather {
    pub(in super::super) lost: u64,
    pub(in super::super) repeated: u64,
    /// Held back until the next one has passed.
    pub(in super::super) late: u64,
    /// Longer ones are lost; 0: none are.
    pub(in super::super) len_max: usize,
}

pub(in super::super) struct Proxy {
    pub(in super::super) port: u16,
    state: Arc<State>,
}

struct State {
    weather: Weather,
    front: UdpSocket,
    agent: SocketAddr,
    /// The controller, as last seen.
    controller: Mutex<Option<SocketAddr>>,
    back: Mutex<Arc<UdpSocket>>,
    dark: AtomicBool,
    over: AtomicBool,
    passed: AtomicU64,
    spoilt: AtomicU64,
}

impl Proxy {
    pub(in super::super) fn start(agent_port: u16, weather: Weather) -> Self {
        let front = bound();
        let port = front.local_addr().unwrap().port();
        let agent = SocketAddr::from(([127, 0, 0, 1], agent_port));
        let state = Arc::new(State {
            weather,
            front,
            agent,
            controller: Mutex::default(),
            back: Mutex::new(Arc::new(bound())),
            dark: AtomicBool::new(false),
            over: AtomicBool::new(false),
            passed: AtomicU64::new(0),
            spoilt: AtomicU64::new(0),
        });
        let forth = Arc::clone(&state);
        std::thread::spawn(move || forth.forth());
        let back = Arc::clone(&state);
        std::thread::spawn(move || back.back());
        Self { port, state }
    }

    /// Nothing comes through, in either direction, and nobody is told.
    pub(in super::super) fn go_dark(&self, dark: bool) {
        self.state.dark.store(dark, Ordering::Release);
    }

    /// From now on the agent sees the controller at another port, as after a change of network.
    pub(in super::super) fn change_port(&self) {
        *self.state.back.lock().unwrap() = Arc::new(bound());
    }

    /// How many datagrams came through, and to how many something was done.
    pub(in super::super) fn counts(&self) -> (u64, u64) {
        (self.state.passed.load(Ordering::Relaxed), self.state.spoilt.load(Ordering::Relaxed))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::Release);
    }
}

impl State {
    fn forth(&self) {
        let mut way = Way::new(self, 1);
        let mut buffer = vec![0; 65_536];
        while !self.over.load(Ordering::Acquire) {
            let Ok((len, from)) = self.front.recv_from(&mut buffer) else { continue };
            *self.controller.lock().unwrap() = Some(from);
            let back = Arc::clone(&self.back.lock().unwrap());
            way.pass(&buffer[..len], |datagram| back.send_to(datagram, self.agent));
        }
    }

    fn back(&self) {
        let mut way = Way::new(self, 2);
        let mut buffer = vec![0; 65_536];
        while !self.over.load(Ordering::Acquire) {
            let back = Arc::clone(&self.back.lock().unwrap());
            let Ok(len) = back.recv(&mut buffer) else { continue };
            let Some(to) = *self.controller.lock().unwrap() else { continue };
            way.pass(&buffer[..len], |datagram| self.front.send_to(datagram, to));
        }
    }
}

/// One direction.
struct Way<'a> {
    state: &'a State,
    dice: u64,
    held: Option<Vec<u8>>,
}

impl<'a> Way<'a> {
    fn new(state: &'a State, seed: u64) -> Self {
        Self { state, dice: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15), held: None }
    }

    fn falls(&mut self, of_a_thousand: u64) -> bool {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        let falls = self.dice % 1_000 < of_a_thousand;
        self.state.spoilt.fetch_add(u64::from(falls), Ordering::Relaxed);
        falls
    }

    fn pass(&mut self, datagram: &[u8], send: impl Fn(&[u8]) -> std::io::Result<usize>) {
        let weather = self.state.weather;
        let too_long = weather.len_max != 0 && datagram.len() > weather.len_max;
        if self.state.dark.load(Ordering::Acquire) || too_long || self.falls(weather.lost) {
            return;
        }
        if self.held.is_none() && self.falls(weather.late) {
            self.held = Some(datagram.to_vec());
            return;
        }
        self.state.passed.fetch_add(1, Ordering::Relaxed);
        // What can't be sent is lost, as anything may be.
        let _ = send(datagram);
        if self.falls(weather.repeated) {
            let _ = send(datagram);
        }
        if let Some(late) = self.held.take() {
            let _ = send(&late);
        }
    }
}

/// A socket that looks up now and then, to see whether it is over.
fn bound() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    socket
}

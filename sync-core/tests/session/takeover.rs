//! A controller whose network has gone comes back by another way while the agent still holds the old one.

use std::{
    collections::HashMap,
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use sync_core::session::event::Event;

use super::lab::{Lab, Running, Served, destination, eventually};

/// Passes datagrams on between controllers and an agent, for as long as they may.
pub(super) struct Proxy {
    pub(super) address: SocketAddr,
    state: Arc<State>,
}

struct State {
    front: UdpSocket,
    agent: SocketAddr,
    ways: Mutex<HashMap<SocketAddr, Arc<Way>>>,
    to_agent_bytes: AtomicU64,
    over: AtomicBool,
    /// How long a byte takes, in each direction.
    byte: Duration,
}

struct Way {
    back: UdpSocket,
    dark: AtomicBool,
}

impl Proxy {
    pub(super) fn start(agent: SocketAddr) -> Self {
        Self::start_with(agent, Duration::ZERO)
    }

    /// The same, with so many bytes a second in each direction. What is too much waits in a socket, or is lost.
    pub(super) fn start_slow(agent: SocketAddr, bytes_per_second: u32) -> Self {
        Self::start_with(agent, Duration::from_secs(1) / bytes_per_second)
    }

    fn start_with(agent: SocketAddr, byte: Duration) -> Self {
        let front = UdpSocket::bind("127.0.0.1:0").unwrap();
        front.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let address = front.local_addr().unwrap();
        let (ways, to_agent_bytes, over) = Default::default();
        let state = Arc::new(State { front, agent, ways, to_agent_bytes, over, byte });
        let forward = Arc::clone(&state);
        std::thread::spawn(move || forward.to_agent());
        Self { address, state }
    }

    /// The ways there are go dark: nothing is said, nothing comes through. New ones are open.
    pub(super) fn cut(&self) {
        for way in self.state.ways.lock().unwrap().values() {
            way.dark.store(true, Ordering::Release);
        }
    }

    pub(super) fn to_agent_bytes(&self) -> u64 {
        self.state.to_agent_bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::Release);
    }
}

impl State {
    fn to_agent(self: Arc<Self>) {
        let (mut buffer, mut free) = (vec![0; 65536], Instant::now());
        while !self.over.load(Ordering::Acquire) {
            let Ok((len, from)) = self.front.recv_from(&mut buffer) else { continue };
            let way = Arc::clone(self.ways.lock().unwrap().entry(from).or_insert_with(|| {
                let back = UdpSocket::bind("127.0.0.1:0").unwrap();
                back.connect(self.agent).unwrap();
                back.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
                let way = Arc::new(Way { back, dark: AtomicBool::new(false) });
                let (state, back) = (Arc::clone(&self), Arc::clone(&way));
                std::thread::spawn(move || state.to_controller(&back, from));
                way
            }));
            self.carry(len, &mut free);
            if !way.dark.load(Ordering::Acquire) {
                self.to_agent_bytes.fetch_add(len as u64, Ordering::Relaxed);
                let _ = way.back.send(&buffer[..len]);
            }
        }
    }

    /// Takes as long as so many bytes do, after those before them.
    fn carry(&self, len: usize, free: &mut Instant) {
        let now = Instant::now();
        *free = (*free).max(now) + self.byte * u32::try_from(len).unwrap();
        std::thread::sleep(free.saturating_duration_since(now));
    }

    fn to_controller(&self, way: &Way, to: SocketAddr) {
        let (mut buffer, mut free) = (vec![0; 65536], Instant::now());
        while !self.over.load(Ordering::Acquire) {
            let Ok(len) = way.back.recv(&mut buffer) else { continue };
            self.carry(len, &mut free);
            if !way.dark.load(Ordering::Acquire) {
                let _ = self.front.send_to(&buffer[..len], to);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_takes_its_place_over_from_a_dead_connection() {
    let lab = Lab::new();
    lab.write("a", "1");
    let served = Served::start(&[lab.path("beta")]).await;
    let proxy = Proxy::start(served.address);
    let root = lab.path("beta");
    let running = Running::start(&lab.path("alpha"), destination(proxy.address, &root), served.options()).await;
    running.ready().await;
    let mark = running.mark();
    proxy.cut();
    // What is saved meanwhile waits, and the agent has something to say that it can't get rid of.
    lab.write("a", "2");
    lab.write("b", "new");
    for number in 0..100 {
        lab.write_beta(&format!("beta's own/{number}"), "x");
    }
    running.event_from(mark, "Disconnected", |event| matches!(event, Event::Disconnected { .. })).await;
    running.event_from(mark, "Connected", |event| matches!(event, Event::Connected { .. })).await;
    running.flush().await;
    eventually("a", || std::fs::read_to_string(lab.beta("a")).is_ok_and(|content| content == "2")).await;
    assert!(lab.beta("b").exists());
    assert_eq!(running.session.status().conflicts, []);
    running.stop().await;
}

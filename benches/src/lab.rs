//! Where the two sides run: both here over loopback, or on the two hosts of a *lab*, which a link with a delay joins.
//!
//! A lab is a script that this command is told of (`--lab`). It must offer:
//!
//! | command | what it does |
//! | --- | --- |
//! | `up --delay MS [--rate MBIT]` | makes two hosts, `laptop` and `pod`, and a link that takes so long each way, and carries so many Mbit/s |
//! | `laptop PROGRAM…`, `pod PROGRAM…` | replaces itself by the program (`exec`), run on that host |
//! | `down` | takes all of it away |
//!
//! Both hosts share this machine's files and clock (network namespaces do), and the pod has one address of global scope,
//! which `ip` tells.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};

use crate::figures::Figure;
use crate::process::{Running, finish};

const LIMIT: Duration = Duration::from_secs(20);
/// Packets by which the link itself is measured.
const PROBES: usize = 200;

/// What a lab's link is like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Link {
    /// Milliseconds there and back.
    pub(crate) round_trip_ms: usize,
    /// Mbit/s, where it has a bound.
    pub(crate) rate_mbit: Option<usize>,
}

impl Link {
    pub(crate) fn delayed(round_trip_ms: usize) -> Self {
        Self { round_trip_ms, rate_mbit: None }
    }
}

/// A lab that is up, taken down when this is dropped.
#[derive(Debug)]
pub(crate) struct Lab {
    script: PathBuf,
    address: String,
}

impl Lab {
    pub(crate) fn up(script: &Path, link: Link) -> Result<Self> {
        // Now a failure from here on takes it down as well.
        let mut lab = Self { script: script.to_owned(), address: String::new() };
        let mut up = Command::new(script);
        up.args(["up", "--delay", &(link.round_trip_ms as f64 / 2.0).to_string()]);
        if let Some(rate) = link.rate_mbit {
            up.args(["--rate", &rate.to_string()]);
        }
        // What a link before it left takes a moment to be gone.
        if finish(&mut up, LIMIT).is_err() {
            finish(Command::new(script).arg("down"), LIMIT)?;
            std::thread::sleep(Duration::from_secs(1));
            finish(&mut up, LIMIT).with_context(|| format!("the lab {}", script.display()))?;
        }
        let addresses = finish(lab.on("pod", "ip").args(["-4", "-o", "address", "show", "scope", "global"]), LIMIT)?;
        let address = addresses.split_whitespace().skip_while(|word| *word != "inet").nth(1);
        let address = address.with_context(|| format!("the pod has no address: {addresses}"))?;
        lab.address = address.split_once('/').map_or(address, |(address, _)| address).to_owned();
        Ok(lab)
    }

    fn on(&self, host: &str, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(&self.script);
        command.arg(host).arg(program);
        command
    }

    /// How long the link takes one way, with nothing of anybody's on it but a packet with the time.
    pub(crate) fn floor(&self) -> Result<Figure> {
        let program = std::env::current_exe()?;
        let mut listen = self.on("pod", &program);
        listen.args(["probe-listen", &format!("{}:0", self.address)]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut listener = Running::start(&mut listen)?;
        let said = BufReader::new(listener.child().stdout.take().context("its output is piped")?);
        let mut lines = said.lines();
        let address = lines.next().context("the listener has ended")??;
        finish(self.on("laptop", &program).args(["probe-send", &address]), LIMIT)?;
        let micros: Vec<f64> = lines.map_while(Result::ok).filter_map(|line| line.parse().ok()).collect();
        let times: Vec<Duration> = micros.into_iter().map(|micros| Duration::from_secs_f64(micros / 1e6)).collect();
        Ok(Figure::latencies(&times, PROBES - times.len()))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Err(error) = finish(Command::new(&self.script).arg("down"), LIMIT) {
            eprintln!("the lab could not be taken down: {error:#}");
        }
    }
}

/// Where the programs of the two sides run.
#[derive(Debug, Clone, Default)]
pub(crate) enum Ends {
    /// Both here.
    #[default]
    Loopback,
    /// The source's on the laptop, the target's in the pod.
    Lab(Rc<Lab>),
}

impl Ends {
    /// The address at which the target's side listens.
    pub(crate) fn address(&self) -> &str {
        match self {
            Self::Loopback => "127.0.0.1",
            Self::Lab(lab) => &lab.address,
        }
    }

    /// Waits until something at the target's side takes TCP connections from the source's.
    pub(crate) fn listens(&self, port: u16, limit: Duration) -> Result<()> {
        let address = format!("{}:{port}", self.address());
        finish(self.source(&std::env::current_exe()?).args(["probe-connect", &address]), limit)
            .with_context(|| format!("nothing listens at {address}"))
            .map(drop)
    }

    /// A program at the source's side.
    pub(crate) fn source(&self, program: &Path) -> Command {
        match self {
            Self::Loopback => Command::new(program),
            Self::Lab(lab) => lab.on("laptop", program),
        }
    }

    /// A program at the target's side.
    pub(crate) fn target(&self, program: &Path) -> Command {
        match self {
            Self::Loopback => Command::new(program),
            Self::Lab(lab) => lab.on("pod", program),
        }
    }
}

fn now_nanos() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

/// One end of a probe: says where it listens, then for each packet how many microseconds it was under way.
pub(crate) fn listen(address: SocketAddr) -> Result<()> {
    let socket = UdpSocket::bind(address)?;
    socket.set_read_timeout(Some(LIMIT))?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", socket.local_addr()?)?;
    out.flush()?;
    for _ in 0..PROBES {
        let mut sent = [0; 8];
        socket.recv(&mut sent)?;
        writeln!(out, "{}", (now_nanos() - i64::from_le_bytes(sent)) as f64 / 1e3)?;
    }
    Ok(())
}

/// Tries to connect until it can.
pub(crate) fn connect(address: SocketAddr) -> Result<()> {
    while TcpStream::connect_timeout(&address, LIMIT).is_err() {
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// The other end: a packet every 20 ms, with the time.
pub(crate) fn send(address: SocketAddr) -> Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(address)?;
    for _ in 0..PROBES {
        socket.send(&now_nanos().to_le_bytes())?;
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

//! Two directories, a session between them, and what it said.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use sync_core::{
    engine::Mode,
    link::{Credentials, Role, Secret},
    session::{
        Agent, AgentError, AgentOptions, Destination, Session, SessionOptions,
        event::{Event, Synced},
    },
};
use sync_proto::message::{Blob, Bounded, IgnoreSettings};
use tempfile::TempDir;

/// How long anything may take on a machine that is busy with other things.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Roots and state, gone with the test.
pub(super) struct Lab {
    dir: TempDir,
}

impl Lab {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["alpha", "beta"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        Self { dir }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn alpha(&self, below: &str) -> PathBuf {
        self.path("alpha").join(below)
    }

    pub(super) fn beta(&self, below: &str) -> PathBuf {
        self.path("beta").join(below)
    }

    pub(super) fn write(&self, below: &str, content: impl AsRef<[u8]>) {
        write(&self.alpha(below), content);
    }

    pub(super) fn write_beta(&self, below: &str, content: impl AsRef<[u8]>) {
        write(&self.beta(below), content);
    }

    /// A session to an agent in this process.
    pub(super) async fn start(&self) -> Running {
        self.start_with(options()).await
    }

    pub(super) async fn start_with(&self, options: SessionOptions) -> Running {
        let destination = Destination::Local(self.path("beta"));
        Running::start(&self.path("alpha"), destination, options).await
    }

    #[track_caller]
    pub(super) fn assert_same(&self) {
        pretty_same(&self.path("alpha"), &self.path("beta"));
    }

    /// The same, but for a repository of alpha, which stays there.
    #[track_caller]
    pub(super) fn assert_same_but_git(&self) {
        let (git, aside) = (self.alpha(".git"), self.path("git"));
        std::fs::rename(&git, &aside).unwrap();
        self.assert_same();
        std::fs::rename(&aside, &git).unwrap();
    }
}

pub(super) fn options() -> SessionOptions {
    SessionOptions { mode: Mode::OneWaySafe, ..SessionOptions::default() }
}

pub(super) fn ignoring(patterns: &[&str]) -> IgnoreSettings {
    let patterns = patterns.iter().map(|pattern| Blob::new(pattern.as_bytes().to_vec()).unwrap()).collect();
    IgnoreSettings { patterns: Bounded::new(patterns).unwrap(), ..IgnoreSettings::default() }
}

pub(super) fn write(path: &Path, content: impl AsRef<[u8]>) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

/// Bytes that don't compress and don't repeat.
pub(super) fn noise(len: usize, seed: u8) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
    bytes
}

/// A session, and all events it has told.
pub(super) struct Running {
    pub(super) session: Session,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Running {
    pub(super) async fn start(source: &Path, destination: Destination, options: SessionOptions) -> Self {
        let (session, mut receiver) = Session::start(source, destination, options).await.unwrap();
        let events = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&events);
        tokio::spawn(async move {
            while let Some(event) = receiver.next().await {
                told.lock().unwrap().push(event);
            }
        });
        Self { session, events }
    }

    pub(super) fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }

    /// How many events there are: where to look on from.
    pub(super) fn mark(&self) -> usize {
        self.events.lock().unwrap().len()
    }

    /// Waits for an event from `mark` on.
    pub(super) async fn event_from(&self, mark: usize, what: &str, wanted: impl Fn(&Event) -> bool) -> Event {
        let mut found = None;
        let deadline = Instant::now() + PATIENCE;
        while found.is_none() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(3)).await;
            found = self.events.lock().unwrap().iter().skip(mark).find(|event| wanted(event)).cloned();
        }
        found.unwrap_or_else(|| panic!("no {what} among {:#?}\n{:#?}", self.events(), self.session.status()))
    }

    pub(super) async fn event(&self, what: &str, wanted: impl Fn(&Event) -> bool) -> Event {
        self.event_from(0, what, wanted).await
    }

    pub(super) async fn ready(&self) {
        self.event("Ready", |event| matches!(event, Event::Ready { .. })).await;
    }

    /// What was synced at these paths, from `mark` on.
    pub(super) fn synced_from(&self, mark: usize) -> Vec<Synced> {
        let events = self.events.lock().unwrap();
        let synced = events.iter().skip(mark).filter_map(|event| match event {
            Event::Synced(synced) => Some(synced.clone()),
            _ => None,
        });
        synced.collect()
    }

    pub(super) async fn flush(&self) {
        let flushed = tokio::time::timeout(PATIENCE, self.session.flush()).await;
        match flushed {
            Ok(Ok(())) => {}
            other => panic!("{other:?} after {:#?}\n{:#?}", self.events(), self.session.status()),
        }
    }

    pub(super) async fn stop(self) {
        tokio::time::timeout(PATIENCE, self.session.stop()).await.expect("a session ends");
    }
}

/// An agent that can be stopped and started again at the same address.
pub(super) struct Served {
    secret: Secret,
    roots: Vec<PathBuf>,
    pub(super) address: SocketAddr,
    agent: Option<Agent>,
}

impl Served {
    pub(super) async fn start(roots: &[PathBuf]) -> Self {
        let secret = Secret::generate().unwrap();
        let agent = agent(&secret, roots, "127.0.0.1:0".parse().unwrap()).await;
        Self { secret, roots: roots.to_vec(), address: agent.local_addr(), agent: Some(agent) }
    }

    pub(super) async fn stop(&mut self) {
        self.agent.take().unwrap().stop().await;
    }

    pub(super) async fn start_again(&mut self) {
        self.agent = Some(agent(&self.secret, &self.roots, self.address).await);
    }

    pub(super) fn options(&self) -> SessionOptions {
        let credentials = Credentials::from_secret(&self.secret, Role::Controller).unwrap();
        SessionOptions { credentials: Some(credentials), ..options() }
    }

    pub(super) fn destination(&self, root: &Path) -> Destination {
        destination(self.address, root)
    }

    pub(super) async fn session(&self, source: &Path, root: &Path) -> Running {
        Running::start(source, self.destination(root), self.options()).await
    }
}

pub(super) fn destination(address: SocketAddr, root: &Path) -> Destination {
    Destination::Quic { host: address.ip().to_string(), port: address.port(), path: root.to_owned() }
}

async fn agent(secret: &Secret, roots: &[PathBuf], listen: SocketAddr) -> Agent {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let credentials = Credentials::from_secret(secret, Role::Agent).unwrap();
        let options = AgentOptions { roots: roots.to_vec(), listen, credentials, durable: false };
        match Agent::start(options).await {
            Ok(agent) => return agent,
            // The socket of the one before is closed some moments after its last connection.
            Err(AgentError::Listen(_)) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(10)).await
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Waits until `holds`.
#[track_caller]
pub(super) fn eventually(what: &str, holds: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let (what, mut holds) = (what.to_owned(), holds);
    let place = std::panic::Location::caller();
    async move {
        let deadline = Instant::now() + PATIENCE;
        while !holds() {
            assert!(Instant::now() < deadline, "{place}: not within {PATIENCE:?}: {what}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// Gives what goes wrong the time in which it usually does. Nothing may be concluded from a pause that is too short.
pub(super) async fn a_moment() {
    tokio::time::sleep(Duration::from_millis(300)).await;
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    Directory,
    File(blake3::Hash, u64, bool),
    Symlink(PathBuf),
    Other,
}

fn items(root: &Path) -> BTreeMap<OsString, Item> {
    let mut items = BTreeMap::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_owned();
            if name == Path::new(".synctl") {
                continue;
            }
            let Ok(data) = path.symlink_metadata() else { continue };
            let item = if data.is_dir() {
                waiting.push(path);
                Item::Directory
            } else if data.is_symlink() {
                Item::Symlink(path.read_link().unwrap())
            } else if data.is_file() {
                let content = std::fs::read(&path).unwrap();
                Item::File(blake3::hash(&content), data.len(), data.permissions().mode() & 0o100 != 0)
            } else {
                Item::Other
            };
            items.insert(name.into_os_string(), item);
        }
    }
    items
}

/// Asserts that two directories hold the same.
#[track_caller]
pub(super) fn pretty_same(alpha: &Path, beta: &Path) {
    let (left, right) = (items(alpha), items(beta));
    let names: std::collections::BTreeSet<_> = left.keys().chain(right.keys()).collect();
    let different: Vec<_> = names
        .into_iter()
        .filter(|name| left.get(*name) != right.get(*name))
        .map(|name| format!("{name:?}: {:?} and {:?}", left.get(name), right.get(name)))
        .collect();
    assert!(different.is_empty(), "{different:#?}");
}

pub(super) fn same(alpha: &Path, beta: &Path) -> bool {
    items(alpha) == items(beta)
}

impl Running {
    /// Flushes, and tries again where the connection is lost under it.
    pub(super) async fn flush_when_connected(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.session.flush().await {
                Ok(()) => return,
                Err(error) => assert!(Instant::now() < deadline, "{error}: {:#?}", self.events()),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

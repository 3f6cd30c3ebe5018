//! The public face: a session from its options, its events, its status, and `flush`.
//!
//! A [`Session`] keeps one destination like one source for as long as it lives. It runs on the tokio runtime of whoever
//! starts it, with some threads of its own for what blocks on disks. Nothing is printed and nothing is global: any number of
//! sessions live in one process. The other side is an [`Agent`], in another process or in this one.

mod announced;
mod claim;
mod connect;
mod content;
mod controller;
pub mod event;
mod flushes;
mod incoming;
mod local;
mod mailbox;
mod memory;
mod pace;
mod past;
mod prepare;
mod pushed;
mod queue;
mod received;
mod report;
mod serve;
mod streams;
mod taking;
mod tell;
mod versions;
mod watched;
mod windows;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use sync_proto::{
    SyncPath,
    message::{IgnoreSettings, ReplicaId},
};
use tokio::sync::{mpsc, oneshot, watch};

use self::{
    connect::Target,
    controller::{Controller, Request},
    event::{ConflictVersions, Progress, Status},
    flushes::Flushes,
    mailbox::Mailbox,
    memory::Memory,
    report::Reporter,
    taking::Taking,
    watched::{Watched, Watching},
    windows::Window,
};
pub use self::{
    queue::Events,
    serve::{Agent, AgentError, AgentOptions},
};
use crate::{
    engine::{Engine, GONE_PERCENT_MAX, Keep, Mode, NotSettled, view::View},
    ignore::{IgnoreError, Protected, Rules},
    link::Credentials,
    replica::{commit::OpenError, contents::Contents},
    tree::Tree,
};

/// What this side says it is.
pub(crate) const SOFTWARE: &str = concat!("synctl ", env!("CARGO_PKG_VERSION"));
/// Bytes of recent small content that a session keeps in memory: what it sends, and the bases of the next deltas.
const CONTENTS_BYTES_MAX: usize = 32 << 20;

/// Where beta is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A directory on this machine: an agent is started in this process and reached over QUIC on loopback.
    Local(PathBuf),
    /// An agent that listens on UDP.
    Quic {
        /// Its name or address.
        host: String,
        /// Its port.
        port: u16,
        /// The root there, absolute.
        path: PathBuf,
    },
}

/// What a session is to be.
#[derive(Debug)]
pub struct SessionOptions {
    /// What goes which way.
    pub mode: Mode,
    /// What takes no part.
    pub ignore: IgnoreSettings,
    /// What beta can't change at alpha in a two-way mode, however it is spelled.
    pub protected: Protected,
    /// How many of a hundred files may be gone on a side at once, of 20 or more: when more are to go, the session halts and asks. 100: it
    /// asks only where all would be gone.
    pub gone_percent_max: u8,
    /// Who this side is and whom it accepts. Needed for [`Destination::Quic`]; not looked at for [`Destination::Local`].
    pub credentials: Option<Credentials>,
    /// Where state is kept between runs; `None`: in memory alone, so that after a restart nothing is known of the past.
    pub state_dir: Option<PathBuf>,
}

impl Default for SessionOptions {
    /// The safe mode for one way, nothing left out but what is by default, no keys, and no memory.
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            ignore: IgnoreSettings::default(),
            protected: Protected::default(),
            gone_percent_max: GONE_PERCENT_MAX,
            credentials: None,
            state_dir: None,
        }
    }
}

/// Why a session can't be started. Nothing was changed at either root.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The source does not exist.
    #[error("{} does not exist", .0.display())]
    SourceMissing(PathBuf),
    /// The source is not a directory.
    #[error("{} is not a directory", .0.display())]
    SourceNotDirectory(PathBuf),
    /// One root lies in the other, or they are the same.
    #[error("{}: choose a destination elsewhere", overlap(alpha, beta))]
    Overlap {
        /// The source.
        alpha: PathBuf,
        /// The destination.
        beta: PathBuf,
    },
    /// Another session on this machine keeps this destination, or one that contains it or lies in it.
    #[error("{asked} is in use: process {pid} keeps {} like {}: stop that one first", .holder.display(), .source_root.display())]
    InUse {
        /// The destination that was asked for.
        asked: String,
        /// The destination of the other session.
        holder: PathBuf,
        /// Its source.
        source_root: PathBuf,
        /// Its process.
        pid: u32,
    },
    /// The source can't be read.
    #[error("can't open {}: {source}", .path.display())]
    Source {
        /// The source.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The source can't be written, as a two-way mode wants to.
    #[error("{0}: in a two-way mode what changes at the destination comes to the source; a one-way mode only reads it")]
    SourceReadOnly(#[from] OpenError),
    /// The destination can't be written.
    #[error("{0}")]
    Destination(#[from] AgentError),
    /// A pattern can't be obeyed.
    #[error(transparent)]
    Ignore(#[from] IgnoreError),
    /// No keys were given for an agent that is reached over a network.
    #[error("an agent over the network needs a secret or keys: see `synctl keygen --secret`")]
    NoCredentials,
    /// A thread, a socket or random numbers are not to be had.
    #[error("can't start a session: {0}")]
    System(String),
}

/// Why a flush did not come to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FlushError {
    /// The agent is not connected.
    #[error("not connected: {0}")]
    Disconnected(String),
    /// Some paths could not be brought over.
    #[error("{conflicts} conflicts and {problems} problems remain")]
    Incomplete {
        /// How many conflicts.
        conflicts: usize,
        /// How many problems.
        problems: usize,
    },
    /// The session is halted.
    #[error("halted: {0}")]
    Halted(String),
    /// The session has ended.
    #[error("the session has ended")]
    Stopped,
}

/// Why a conflict was not settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// It can't be, or not so.
    #[error(transparent)]
    NotSettled(#[from] NotSettled),
    /// The session has ended.
    #[error("the session has ended")]
    Stopped,
}

/// A running session. Dropping it ends it, without waiting for that: see [`Session::stop`].
#[derive(Debug)]
pub struct Session {
    requests: mpsc::UnboundedSender<Request>,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
    /// The agent of a local destination, on a thread of its own.
    local: Option<local::LocalAgent>,
}

/// Asks a session that runs, from any task. Any number of them; none keeps the session alive.
#[derive(Debug, Clone)]
pub struct Handle {
    requests: mpsc::WeakUnboundedSender<Request>,
    shared: Arc<Shared>,
}

/// What the handle of a session and its task share.
#[derive(Debug)]
struct Shared {
    destination: String,
    started: Instant,
    status: Mutex<Known>,
}

/// The status as the task keeps it: what costs a walk to count is counted when it is asked for.
#[derive(Debug, Default)]
struct Known {
    connected: bool,
    in_sync: bool,
    halted: Option<String>,
    tree: Tree,
    progress: Progress,
    conflicts: Vec<event::Conflict>,
    problems: Vec<event::PathProblem>,
}

impl Session {
    /// Starts to keep `destination` like `source`, until [`Session::stop`]. Runs on the tokio runtime of the caller.
    ///
    /// Comes back as soon as the roots have been looked at; all else is told by events.
    ///
    /// # Errors
    /// The source is no directory that can be read, the destination (where it is local) none that can be written, or one
    /// lies in the other; another session on this machine keeps the same destination; an ignore pattern is malformed; keys
    /// are missing.
    pub async fn start(
        source: &Path,
        destination: Destination,
        options: SessionOptions,
    ) -> Result<(Self, Events), StartError> {
        let SessionOptions { mode, ignore, protected, gone_percent_max, credentials, state_dir } = options;
        let is_two_way = mode.is_two_way();
        let alpha = source_root(source)?;
        let rules = Rules::new(&ignore)?;
        let shown = destination.to_string();
        let lock = match &state_dir {
            Some(state_dir) => claim::claim(state_dir, &alpha, &destination).await?,
            None => None,
        };
        let (target, local) = match destination {
            Destination::Local(beta) => local::start(local::root(&alpha, &beta)?).await?,
            Destination::Quic { host, port, path } => {
                let credentials = credentials.ok_or(StartError::NoCredentials)?;
                (local::Reached { host, port, root: path, credentials }, None)
            }
        };
        // What is on this machine is as fast as this machine.
        let window = Window::of(&target.host, state_dir.as_deref().filter(|_| local.is_none()));
        let target = Target {
            host: target.host,
            port: target.port,
            root: target.root,
            credentials: target.credentials,
            controller: random_id()?,
            ignore,
            push: is_two_way,
        };
        let shared = Arc::new(Shared { destination: shown.clone(), started: Instant::now(), status: Mutex::default() });
        let (sender, events) = queue::queue();
        let (requests, inbox) = mpsc::unbounded_channel();
        let mailbox = Arc::new(Mailbox::default());
        let contents = Arc::new(Contents::new(CONTENTS_BYTES_MAX));
        let watched = Watched {
            key: [alpha.as_os_str().as_encoded_bytes(), b"\0", shown.as_bytes()].concat(),
            memory: Memory::new(state_dir.clone(), &alpha, sender.clone()),
            alpha,
            state_dir,
            rules,
            protected: is_two_way.then_some(protected),
            mailbox: Arc::clone(&mailbox),
            contents: Arc::clone(&contents),
        };
        // What is known of the past may be long to read.
        let Watching { memory, root, replica, committer, past } = tokio::task::spawn_blocking(|| watched.begin())
            .await
            .map_err(|error| StartError::System(error.to_string()))??;
        let mut engine = Engine::new(mode);
        engine.set_gone_percent_max(gone_percent_max);
        let controller = Controller {
            engine,
            replica,
            root: Arc::new(root),
            mailbox,
            contents,
            past,
            target: Arc::new(target),
            window,
            memory,
            reporter: Reporter::new(sender, Arc::clone(&shared)),
            shared: Arc::clone(&shared),
            requests: inbox,
            started: shared.started,
            is_scanned: watch::Sender::new(false),
            flushes: Flushes::default(),
            taking: committer.map(Taking::new),
            view: View::default(),
            together: false,
            alpha_lost: None,
            lock,
        };
        let task = tokio::spawn(controller.run());
        Ok((Self { requests, shared, task, local }, events))
    }

    /// A handle to ask the session by, from other tasks.
    pub fn handle(&self) -> Handle {
        Handle { requests: self.requests.downgrade(), shared: Arc::clone(&self.shared) }
    }

    /// As [`Handle::flush`].
    ///
    /// # Errors
    /// As there.
    pub async fn flush(&self) -> Result<(), FlushError> {
        self.handle().flush().await
    }

    /// As [`Handle::status`].
    pub fn status(&self) -> Status {
        self.shared.status()
    }

    /// As [`Handle::conflicts`].
    pub async fn conflicts(&self) -> Vec<ConflictVersions> {
        self.handle().conflicts().await
    }

    /// As [`Handle::resolve`].
    ///
    /// # Errors
    /// As there.
    pub async fn resolve(&self, path: SyncPath, keep: Keep) -> Result<(), ResolveError> {
        self.handle().resolve(path, keep).await
    }

    /// As [`Handle::allow_deletions`].
    pub fn allow_deletions(&self) {
        self.handle().allow_deletions();
    }

    /// Ends the session: the agent is told, and what is known is kept for the next start.
    pub async fn stop(self) {
        let _ = self.requests.send(Request::Stop);
        // A panic of the task has been reported by the task itself.
        let _ = self.task.await;
        if let Some(local) = self.local {
            local.stop().await;
        }
    }
}

impl Handle {
    /// Waits until every change that was on disk at alpha before the call has been applied at beta, and in the two-way modes
    /// every one that was on disk at beta at alpha. Costs about one round trip, and no scan where the kernel tells of changes.
    ///
    /// # Errors
    /// The agent is not there, or silent for 2 s when it is asked, the session is halted or over, or some paths can't be brought over.
    pub async fn flush(&self) -> Result<(), FlushError> {
        let (answer, answered) = oneshot::channel();
        self.send(Request::Flush(answer)).ok_or(FlushError::Stopped)?;
        answered.await.unwrap_or(Err(FlushError::Stopped))
    }

    /// The state at this moment. Counts files, which costs a walk over the tree in memory.
    pub fn status(&self) -> Status {
        self.shared.status()
    }

    /// Both versions of each path in conflict, in order of path. Those of beta's that the agent can't say more of at the
    /// moment are there without their time.
    pub async fn conflicts(&self) -> Vec<ConflictVersions> {
        let (answer, answered) = oneshot::channel();
        match self.send(Request::Conflicts(answer)) {
            Some(()) => answered.await.unwrap_or_default(),
            None => Vec::new(),
        }
    }

    /// Settles a conflict: which version stays. Done as soon as the agent is connected, if both versions are then still those
    /// that were shown.
    ///
    /// # Errors
    /// There is no conflict at that path, it can't be settled so, or the session is over.
    pub async fn resolve(&self, path: SyncPath, keep: Keep) -> Result<(), ResolveError> {
        let (answer, answered) = oneshot::channel();
        self.send(Request::Resolve(path, keep, answer)).ok_or(ResolveError::Stopped)?;
        Ok(answered.await.map_err(|_| ResolveError::Stopped)??)
    }

    /// Lets the deletions go, once, for which the session was halted.
    pub fn allow_deletions(&self) {
        // Of a session that is over nothing is deleted.
        let _ = self.send(Request::AllowDeletions);
    }

    /// `None`: the session is over.
    fn send(&self, request: Request) -> Option<()> {
        self.requests.upgrade()?.send(request).ok()
    }
}

impl Shared {
    fn status(&self) -> Status {
        let (tree, status) = {
            let known = self.lock();
            let status = Status {
                connected: known.connected,
                in_sync: known.in_sync,
                halted: known.halted.clone(),
                files: 0,
                bytes: 0,
                progress: known.progress,
                conflicts: known.conflicts.clone(),
                problems: known.problems.clone(),
            };
            (known.tree.clone(), status)
        };
        let (files, bytes) = report::count(&tree);
        Status { files, bytes, ..status }
    }

    fn update(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.lock());
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Display for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Local(path) => write!(f, "{}", path.display()),
            Self::Quic { host, port, path } if host.contains(':') => {
                write!(f, "quic://[{host}]:{port}{}", path.display())
            }
            Self::Quic { host, port, path } => write!(f, "quic://{host}:{port}{}", path.display()),
        }
    }
}

fn random_id() -> Result<ReplicaId, StartError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| StartError::System(error.to_string()))?;
    Ok(ReplicaId(bytes))
}

/// Which of two roots that overlap lies in which.
fn overlap(alpha: &Path, beta: &Path) -> String {
    let (source, destination) = (alpha.display(), beta.display());
    if alpha == beta {
        format!("the source and the destination are the same directory, {source}")
    } else if beta.starts_with(alpha) {
        format!("the destination {destination} lies inside the source {source}")
    } else {
        format!("the source {source} lies inside the destination {destination}")
    }
}

/// The real path of a source.
fn source_root(source: &Path) -> Result<PathBuf, StartError> {
    let data = std::fs::metadata(source).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => StartError::SourceMissing(source.to_owned()),
        _ => StartError::Source { path: source.to_owned(), source: error },
    })?;
    if !data.is_dir() {
        return Err(StartError::SourceNotDirectory(source.to_owned()));
    }
    source.canonicalize().map_err(|error| StartError::Source { path: source.to_owned(), source: error })
}

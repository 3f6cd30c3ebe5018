//! The public face: a session from a builder, its events, its status, and `flush`.

pub mod event;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use sync_proto::message::IgnoreSettings;
use tokio::sync::mpsc;

use crate::{engine::Mode, link::Credentials};
use event::{Event, Status};

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
    /// Who this side is and whom it accepts. Needed for [`Destination::Quic`]; not looked at for [`Destination::Local`].
    pub credentials: Option<Credentials>,
    /// Where state is kept between runs; `None`: in memory alone, so that after a restart nothing is known of the past.
    pub state_dir: Option<PathBuf>,
}

/// Why a session can't be started. Nothing was changed anywhere.
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
    #[error("{} and {} are the same or one lies in the other", .alpha.display(), .beta.display())]
    Overlap {
        /// The source.
        alpha: PathBuf,
        /// The destination.
        beta: PathBuf,
    },
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

/// A running session. Dropping it ends it.
#[derive(Debug)]
pub struct Session {}

/// The events of a session, in order.
#[derive(Debug)]
pub struct Events {
    receiver: mpsc::UnboundedReceiver<Event>,
}

impl Events {
    /// The next event; `None` after [`Event::Stopped`].
    pub async fn next(&mut self) -> Option<Event> {
        self.receiver.recv().await
    }
}

impl Session {
    /// Starts to keep `destination` like `source`, until [`Session::stop`]. Runs on the tokio runtime of the caller.
    ///
    /// Comes back as soon as the roots have been looked at; all else is told by events.
    pub async fn start(
        source: &Path,
        destination: Destination,
        options: SessionOptions,
    ) -> Result<(Self, Events), StartError> {
        unimplemented!("{source:?} {destination:?} {options:?}")
    }

    /// Waits until every change that was on disk at alpha before the call has been applied at beta.
    pub async fn flush(&self) -> Result<(), FlushError> {
        unimplemented!()
    }

    /// The state at this moment.
    pub fn status(&self) -> Status {
        unimplemented!()
    }

    /// Ends the session: what is in flight is given a moment to be answered, and the agent is told.
    pub async fn stop(self) {
        unimplemented!()
    }
}

/// What an agent is to be.
#[derive(Debug)]
pub struct AgentOptions {
    /// The roots it serves, absolute. A root that does not exist is made when a session first asks for it.
    pub roots: Vec<PathBuf>,
    /// Where it listens. Port 0 picks one.
    pub listen: SocketAddr,
    /// Who it is and whom it accepts.
    pub credentials: Credentials,
    /// Whether writes are synced to disk before they are answered.
    pub durable: bool,
}

/// Why an agent can't be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// The address can't be had.
    #[error("{0}")]
    Listen(String),
    /// A root can't be served.
    #[error("cannot serve {}: {reason}", .root.display())]
    Root {
        /// Which.
        root: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
}

/// A running agent. Dropping it ends it.
#[derive(Debug)]
pub struct Agent {}

impl Agent {
    /// Starts to serve. Runs on the tokio runtime of the caller.
    pub async fn start(options: AgentOptions) -> Result<Self, AgentError> {
        unimplemented!("{options:?}")
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        unimplemented!()
    }

    /// Ends it: sessions are told goodbye, and what is being committed is finished.
    pub async fn stop(self) {
        unimplemented!()
    }
}

//! The agent: roots served to controllers that authenticate.
//!
//! One task a connection, one a session. The agent decides nothing: it carries out operations that say what they expect,
//! and tells what other hands change. It serves the roots it was started with and no others, each to one controller at a
//! time.

mod effect;
mod gather;
mod guests;
mod inbound;
mod kept;
mod quiet;
mod refusals;
mod root;
mod session;
mod supply;

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use self::{guests::Guests, refusals::Refusals, root::ServedRoot};
use crate::link::{Credentials, Listener};

/// How long a clean end may take.
const STOP_TIME_MAX: Duration = Duration::from_secs(2);

/// What an agent is to be.
#[derive(Debug)]
pub struct AgentOptions {
    /// The roots it serves, absolute. A root that does not exist is made.
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

/// A running agent. Dropping it ends it at once; see [`Agent::stop`] for a clean end.
#[derive(Debug)]
pub struct Agent {
    listener: Arc<Listener>,
    roots: Arc<[Arc<ServedRoot>]>,
    task: tokio::task::JoinHandle<()>,
}

impl Agent {
    /// Starts to serve. Runs on the tokio runtime of the caller, with a thread or two of its own for each root.
    pub async fn start(options: AgentOptions) -> Result<Self, AgentError> {
        let AgentOptions { roots, listen, credentials, durable } = options;
        let roots = root::open_all(roots, durable)?;
        let listener = Listener::bind(listen, &credentials).map_err(|error| AgentError::Listen(error.to_string()))?;
        for root in roots.iter() {
            root.lock().await?;
        }
        let listener = Arc::new(listener);
        let task = tokio::spawn(accept(Arc::clone(&listener), Arc::clone(&roots)));
        Ok(Self { listener, roots, task })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.listener.local_addr()
    }

    /// Ends it: sessions are told goodbye, and what is being committed is finished.
    pub async fn stop(mut self) {
        self.listener.close("the agent was stopped");
        // Sessions end when their connections have, and give their replicas back.
        let _ = tokio::time::timeout(STOP_TIME_MAX, &mut self.task).await;
        let _ = tokio::time::timeout(STOP_TIME_MAX, self.listener.wait_idle()).await;
        for root in self.roots.iter() {
            root.close().await;
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: Arc<Listener>, roots: Arc<[Arc<ServedRoot>]>) {
    // Connections end with the agent.
    let mut connections = JoinSet::new();
    let guests = Guests::new(roots.len());
    let mut refusals = Refusals::default();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Some(Ok(connection)) => {
                    tracing::info!(peer = %connection.remote_address(), "connected");
                    connections.spawn(inbound::serve(connection, Arc::clone(&roots), Arc::clone(&guests)));
                }
                Some(Err(error)) => refusals.log(&error, Instant::now()),
                None => break,
            },
            Some(_) = connections.join_next() => {}
        }
    }
    refusals.log_rest();
    while connections.join_next().await.is_some() {}
}

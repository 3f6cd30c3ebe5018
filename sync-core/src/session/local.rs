//! A destination on this machine: an agent in this process, on a thread and a runtime of its own, reached over QUIC on
//! loopback like any other.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use tokio::sync::oneshot;

use super::{Agent, AgentOptions, StartError};
use crate::link::{Credentials, Role, Secret};

/// Where an agent is, and by which keys.
pub(super) struct Reached {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) root: PathBuf,
    pub(super) credentials: Credentials,
}

/// An agent in this process. Dropping it ends it.
#[derive(Debug)]
pub(super) struct LocalAgent {
    stop: Option<oneshot::Sender<()>>,
    ended: oneshot::Receiver<()>,
    thread: std::thread::JoinHandle<()>,
}

/// A directory of this machine that can be beta.
#[derive(Debug)]
pub(super) struct LocalRoot {
    /// Absolute, as it was given.
    root: PathBuf,
    /// With what exists of it resolved.
    pub(super) real: PathBuf,
}

/// Finds `beta`, which must not overlap with `alpha`.
pub(super) fn root(alpha: &Path, beta: &Path) -> Result<LocalRoot, StartError> {
    let root = std::path::absolute(beta).map_err(|error| StartError::System(error.to_string()))?;
    let real = real_path(&root);
    if real.starts_with(alpha) || alpha.starts_with(&real) {
        return Err(StartError::Overlap { alpha: alpha.to_owned(), beta: real });
    }
    Ok(LocalRoot { root, real })
}

/// Starts an agent.
pub(super) async fn start(beta: LocalRoot) -> Result<(Reached, Option<LocalAgent>), StartError> {
    let system = |error: &dyn std::fmt::Display| StartError::System(error.to_string());
    let root = beta.root;
    let secret = Secret::generate().map_err(|error| system(&error))?;
    let credentials = |role| Credentials::from_secret(&secret, role).map_err(|error| system(&error));
    let options = AgentOptions {
        roots: vec![root.clone()],
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        credentials: credentials(Role::Agent)?,
        durable: false,
    };
    let (started, starting) = oneshot::channel();
    let (stop, stopped) = oneshot::channel();
    let (ended_in, ended) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name("synctl-agent".to_owned())
        .spawn(move || {
            serve(options, started, stopped);
            let _ = ended_in.send(());
        })
        .map_err(|error| system(&error))?;
    let address = starting.await.map_err(|_| system(&"the agent's thread ended"))??;
    let reached = Reached {
        host: address.ip().to_string(),
        port: address.port(),
        root,
        credentials: credentials(Role::Controller)?,
    };
    Ok((reached, Some(LocalAgent { stop: Some(stop), ended, thread })))
}

fn serve(
    options: AgentOptions,
    started: oneshot::Sender<Result<SocketAddr, StartError>>,
    stopped: oneshot::Receiver<()>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = started.send(Err(StartError::System(error.to_string())));
            return;
        }
    };
    runtime.block_on(async {
        match Agent::start(options).await {
            Ok(agent) => {
                if started.send(Ok(agent.local_addr())).is_ok() {
                    // Asked to, or its session is gone.
                    let _ = stopped.await;
                }
                agent.stop().await;
            }
            Err(error) => {
                let _ = started.send(Err(error.into()));
            }
        }
    });
}

impl LocalAgent {
    pub(super) async fn stop(mut self) {
        drop(self.stop.take());
        let _ = (&mut self.ended).await;
        // All that is left of it is its end. A panic has been reported by the thread itself.
        let _ = self.thread.join();
    }
}

/// The path with the part of it that exists resolved.
fn real_path(path: &Path) -> PathBuf {
    let mut existing = path;
    loop {
        if let Ok(real) = existing.canonicalize() {
            let rest = path.strip_prefix(existing).unwrap_or_else(|_| Path::new(""));
            return if rest.as_os_str().is_empty() { real } else { real.join(rest) };
        }
        match existing.parent() {
            Some(parent) => existing = parent,
            None => return path.to_owned(),
        }
    }
}

//! `sync-agent serve`: from arguments to a clean end.

use std::{
    io::{self, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use sync_core::session::{Agent, AgentOptions};

use crate::{
    args::ServeArgs,
    credentials::{self, SECRET_VARIABLE},
    interrupt::Interrupts,
};

/// Serves until a signal. An error means that it could not start.
pub(crate) fn run(args: &ServeArgs) -> anyhow::Result<()> {
    let options = AgentOptions {
        roots: args.roots.iter().map(|root| checked_root(root)).collect::<anyhow::Result<_>>()?,
        listen: args.listen,
        credentials: credentials::agent(args, std::env::var_os(SECRET_VARIABLE).as_deref())?,
        durable: args.durable,
    };
    // One thread: whatever blocks is on threads of the agent's own, and a save is handled where it arrives.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(serve(options));
    runtime.shutdown_background();
    result
}

async fn serve(options: AgentOptions) -> anyhow::Result<()> {
    // Before there is anything to lose by being killed.
    let mut interrupts = Interrupts::listen()?;
    let roots = options.roots.clone();
    let agent = Agent::start(options).await?;
    announce(agent.local_addr());
    tracing::info!(version = env!("CARGO_PKG_VERSION"), addr = %agent.local_addr(), ?roots, "listening");
    let signal = interrupts.next().await;
    tracing::info!(signal, "ending");
    tokio::select! {
        () = agent.stop() => tracing::info!("ended"),
        signal = interrupts.next() => tracing::warn!(signal, "ending at once, without goodbyes"),
    }
    Ok(())
}

/// The line that tells whoever started the agent that it is ready, and where. Nobody has to read it.
fn announce(address: SocketAddr) {
    let mut stdout = io::stdout().lock();
    let written = writeln!(stdout, "listening on {address}").and_then(|()| stdout.flush());
    if let Err(error) = written {
        tracing::debug!(%error, "stdout can't be written");
    }
}

/// A root, absolute. One that does not exist is made later; one that can never be a directory is refused now.
fn checked_root(root: &Path) -> anyhow::Result<PathBuf> {
    let shown = sync_proto::escape::Escaped(root.as_os_str().as_encoded_bytes()).to_string();
    match std::fs::metadata(root) {
        Ok(metadata) if !metadata.is_dir() => bail!("cannot serve {shown}: it is not a directory"),
        // Through a file, or without permission: it would be refused at the first session, hours later.
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot serve {shown}"))
        }
        Ok(_) | Err(_) => std::path::absolute(root).with_context(|| format!("cannot tell where {shown} is")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn a_root_is_a_directory_or_not_there_yet() {
        let dir = tempfile::tempdir().unwrap();
        let (file, missing) = (dir.path().join("file"), dir.path().join("not/yet"));
        std::fs::write(&file, "").unwrap();
        assert_eq!(checked_root(dir.path()).unwrap(), dir.path());
        assert_eq!(checked_root(&missing).unwrap(), missing);
        assert!(!missing.exists(), "it is made when it is asked for, not before");
        assert!(checked_root(Path::new("relative")).unwrap().is_absolute());
        let refused = |path: &Path| crate::complaint::sentence(&checked_root(path).unwrap_err());
        assert!(refused(&file).ends_with("file: it is not a directory"), "{}", refused(&file));
        assert!(refused(&file.join("below")).contains("cannot serve"), "{}", refused(&file.join("below")));
    }
}

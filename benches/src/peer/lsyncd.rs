//! lsyncd: inotify, and an rsync pass over what changed, to a daemon. Its shortest delay is one second.

use anyhow::Result;

use super::rsync::Daemon;
use super::{Follower, Pair, Tool, Tools};
use crate::process::Running;

pub(super) fn start(tools: &Tools, pair: &Pair) -> Result<Follower> {
    let daemon = Daemon::start(tools, pair)?;
    let config = pair.scratch.join("lsyncd.lua");
    let settings = format!(
        "settings {{ nodaemon = true, insist = true, logfile = \"/dev/null\", statusFile = \"{scratch}/lsyncd.status\" }}\n\
         sync {{ default.rsync, source = \"{source}\", target = \"{target}\", delay = 1, rsync = {{ archive = true }} }}\n",
        scratch = pair.scratch.display(),
        source = pair.source.display(),
        target = daemon.url(),
    );
    std::fs::write(&config, settings)?;
    let running = Running::quietly(pair.ends.source(tools.program(Tool::Lsyncd)?).arg(config))?;
    Ok(Follower { source: vec![running], target: vec![daemon.into_running()] })
}

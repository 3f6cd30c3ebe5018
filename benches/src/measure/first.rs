//! The first sync of a tree into an empty target: from the start of the command a person types to its end, agent or
//! daemon already running. The tools take turns, so that none has the quieter machine.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{LIMIT, Plan};
use crate::figures::{Figure, Report};
use crate::peer::{Agent, Daemon, Pair, Tool, Tools, over_tcp};
use crate::process::finish;
use crate::tree;

pub(super) fn measure(plan: &Plan, tools: &Tools, source: &Path, size: usize, report: &mut Report) -> Result<()> {
    let what = format!("first sync, {size} files");
    let contenders: Vec<Tool> = tools.present().into_iter().filter(|tool| tool.is_quick()).collect();
    let mut times: Vec<(Tool, Vec<Duration>)> = contenders.iter().map(|tool| (*tool, Vec::new())).collect();
    // The more files, the less one pass differs from the next.
    let rounds = if size > 20_000 { plan.either(1, 3) } else { plan.either(2, 5) };
    for _ in 0..rounds {
        for (tool, times) in &mut times {
            let pair = Pair::new(source, &plan.folder)?;
            tree::settle_disk();
            match once(tools, *tool, &pair) {
                Ok(time) => times.push(time),
                Err(error) => report.fail(&what, *tool, &error),
            }
        }
    }
    for (tool, times) in times.into_iter().filter(|(_, times)| !times.is_empty()) {
        report.enter(&what, tool, Figure::times(&times));
    }
    Ok(())
}

fn once(tools: &Tools, tool: Tool, pair: &Pair) -> Result<Duration> {
    // Not the end of what serves, which is dropped after.
    let took = match tool {
        Tool::Synctl => {
            let agent = Agent::start(tools, pair)?;
            let mut push = agent.command(tools, "push", pair)?;
            let started = Instant::now();
            finish(&mut push, LIMIT)?;
            started.elapsed()
        }
        Tool::Rsync => {
            let daemon = Daemon::start(tools, pair)?;
            let mut pass = daemon.pass(tools, pair)?;
            let started = Instant::now();
            finish(&mut pass, LIMIT)?;
            started.elapsed()
        }
        _ => {
            let started = Instant::now();
            over_tcp(tools, pair, LIMIT)?;
            started.elapsed()
        }
    };
    ensure!(tree::same(&pair.source, &pair.target), "{} ended, and the trees differ", tool.name());
    Ok(took)
}

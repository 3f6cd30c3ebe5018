//! `synctl resolve`: which version of what is in conflict stays, told to the session that runs.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::{running::PATIENCE, why::beneath};
use crate::{
    args::{Format, KeepArg, ResolveArgs},
    complaint::complain,
    control::{self, Answered, Keep, Question, Request, ResolvedBody},
    exit::Exit,
    options::{self, shown},
    output::{json, units, write_line},
};

pub(super) fn run(args: &ResolveArgs) -> anyhow::Result<Exit> {
    let state_dir = options::state_dir(args.state_dir.as_deref())?
        .context("no HOME and no --state-dir: it can't be told where running sessions are")?;
    let mut resolved = Vec::new();
    for path in &args.paths {
        resolved.extend(resolve(args, &state_dir, path)?);
    }
    let failed = resolved.iter().filter(|body| body.reason.is_some()).count();
    Ok(match failed {
        0 => Exit::Done,
        _ if failed == resolved.len() => Exit::CouldNot,
        _ => Exit::Remains,
    })
}

/// Settles what is in conflict at and beneath `path`, by the one session that has it.
fn resolve(args: &ResolveArgs, state_dir: &Path, path: &Path) -> anyhow::Result<Vec<ResolvedBody>> {
    let (dir, path) = place(path)?;
    // Which session it is, and where its root is: a path is told beneath that.
    let within = Some(control::path_to_hex(&dir));
    let question = Question { within: within.clone(), request: Request::Where };
    let answers = control::ask_all(state_dir, &question, Some(PATIENCE))?;
    let mut roots = answers.into_iter().filter_map(|answer| match answer.result {
        Answered::Root { path_hex } => control::path_from_hex_bytes(&path_hex),
        _ => None,
    });
    let root = roots
        .next()
        .with_context(|| format!("no session of {} is running: start one with `synctl watch`", shown(&dir)))?;
    if roots.next().is_some() {
        bail!("several sessions of {} are running: stop all but one", shown(&dir));
    }
    let beneath = beneath(&root, &path)?;
    let keep = match args.keep {
        KeepArg::Alpha => Keep::Alpha,
        KeepArg::Beta => Keep::Beta,
        KeepArg::Both => Keep::Both,
    };
    let request = Request::Resolve { path: control::sync_path_to_hex(&beneath), keep };
    let mut resolved = Vec::new();
    for answer in control::ask_all(state_dir, &Question { within, request }, Some(PATIENCE))? {
        if args.output == Format::Json {
            write_line(&json::object(&answer))?;
        }
        match answer.result {
            Answered::Resolved { paths } => resolved.extend(paths),
            Answered::Failed { reason } => bail!(reason),
            _ => bail!("the session gave an answer to another question"),
        }
    }
    if resolved.is_empty() {
        bail!("nothing is in conflict at {}: `synctl conflicts` lists what is", shown(&path));
    }
    if args.output == Format::Human {
        tell(&resolved, args.keep)?;
    }
    Ok(resolved)
}

fn tell(resolved: &[ResolvedBody], keep: KeepArg) -> anyhow::Result<()> {
    let which = match keep {
        KeepArg::Alpha => "the source's version stays",
        KeepArg::Beta => "the destination's version stays",
        KeepArg::Both => "both versions stay",
    };
    for body in resolved {
        match &body.reason {
            None => write_line(&format!("{}: {which}", body.path.shown()))?,
            Some(reason) => complain(format!("{}: {reason}", body.path.shown())),
        }
    }
    let settled = resolved.iter().filter(|body| body.reason.is_none()).count();
    if resolved.len() > 1 {
        write_line(&format!("{} settled", units::counted(settled as u64, "conflict")))?;
    }
    Ok(())
}

/// The nearest directory that is there, to find the session by, and the path, absolute. It need not be there: it may be gone
/// on this side.
fn place(path: &Path) -> anyhow::Result<(PathBuf, PathBuf)> {
    let absolute = std::path::absolute(path).with_context(|| format!("cannot tell where {} is", shown(path)))?;
    let is_dir = path.is_dir() && !path.is_symlink();
    if let Some(resolved) = is_dir.then(|| absolute.canonicalize().ok()).flatten() {
        return Ok((resolved.clone(), resolved));
    }
    let mut above = absolute.parent();
    while let Some(dir) = above {
        if let Ok(resolved) = dir.canonicalize() {
            let rest = absolute.strip_prefix(dir).unwrap_or_else(|_| Path::new(""));
            let path = resolved.join(rest);
            return Ok((resolved, path));
        }
        above = dir.parent();
    }
    bail!("cannot tell where {} is", shown(path))
}

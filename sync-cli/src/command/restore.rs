//! `synctl restore`: what was deleted in SRC on the other side's word, listed or brought back. Needs no session, and minds none.

use std::{
    io,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, bail};
use serde::Serialize;
use sync_core::replica::trash::{self, RestoreError, Trashed, TrashedKind};
use sync_proto::SyncPath;

use super::why::beneath;
use crate::{
    args::{Format, RestoreArgs},
    complaint::complain,
    exit::Exit,
    options::shown,
    output::{
        json::{self, PathBody},
        units, write_line,
    },
};

/// One line of `--output json`.
#[derive(Debug, Serialize)]
struct TrashedBody {
    version: u32,
    #[serde(flatten)]
    path: PathBody,
    kind: &'static str,
    size: u64,
    executable: bool,
    deleted_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    restored: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

pub(super) fn run(args: &RestoreArgs) -> anyhow::Result<Exit> {
    let source = std::fs::canonicalize(&args.source).with_context(|| format!("cannot open {}", shown(&args.source)))?;
    if !source.is_dir() {
        bail!("{} is not a directory", shown(&args.source));
    }
    let trashed = trash::list(&source)
        .map_err(|error| error.source)
        .with_context(|| format!("cannot read the trash of {}", shown(&source)))?;
    if args.paths.is_empty() && !args.all {
        if args.to.is_some() {
            bail!("--to says where to, but nothing is to be restored: name a PATH, or say --all");
        }
        list(args.output, &source, &trashed)?;
        return Ok(Exit::Done);
    }
    let wanted = wanted(args, &source, trashed)?;
    if let Some(to) = &args.to {
        std::fs::create_dir_all(to).with_context(|| format!("cannot make {}", shown(to)))?;
    }
    restore_all(args, &source, &wanted)
}

fn list(format: Format, source: &Path, trashed: &[Trashed]) -> io::Result<()> {
    if trashed.is_empty() && matches!(format, Format::Human) {
        return write_line(&format!("the trash of {} is empty", shown(source)));
    }
    let now = SystemTime::now();
    let lines: Vec<_> = trashed.iter().map(|item| line(item, now)).collect();
    let width = |column: fn(&Line) -> &str| lines.iter().map(|line| column(line).len()).max().unwrap_or_default();
    let (age_width, size_width) = (width(|line| &line.age), width(|line| &line.size));
    for (item, line) in trashed.iter().zip(&lines) {
        write_line(&match format {
            Format::Human => format!("{:>age_width$}  {:>size_width$}  {}", line.age, line.size, item.path),
            Format::Json => json::object(&body(item, None)),
        })?;
    }
    Ok(())
}

/// What is shown of something in the trash, beside its path.
struct Line {
    age: String,
    size: String,
}

fn line(item: &Trashed, now: SystemTime) -> Line {
    let age = now.duration_since(item.removed_at).unwrap_or_default();
    let size = match &item.kind {
        TrashedKind::File { len, .. } => units::bytes(*len),
        TrashedKind::Symlink(_) => "symlink".to_owned(),
        TrashedKind::Directory => "directory".to_owned(),
    };
    Line { age: format!("{} ago", units::age(age)), size }
}

/// What is to be restored, in order of path and each once.
fn wanted(args: &RestoreArgs, source: &Path, trashed: Vec<Trashed>) -> anyhow::Result<Vec<Trashed>> {
    let mut wanted = Vec::new();
    let mut named = Vec::new();
    for path in &args.paths {
        let path = beneath(source, path)?;
        if path.is_root() {
            bail!("SRC itself is not in its trash: name a PATH in it, or say --all");
        }
        if !trashed.iter().any(|item| item.path.starts_with(&path)) {
            bail!("{path} is not in the trash of {}: `synctl restore SRC` lists what is", shown(source));
        }
        named.push(path);
    }
    if args.all {
        named.push(SyncPath::root());
    }
    for item in trash::newest(trashed, &SyncPath::root()) {
        if named.iter().any(|path| item.path.starts_with(path)) {
            wanted.push(item);
        }
    }
    Ok(wanted)
}

fn restore_all(args: &RestoreArgs, source: &Path, wanted: &[Trashed]) -> anyhow::Result<Exit> {
    let mut restored = 0;
    for item in wanted {
        let result = trash::restore(source, item, args.to.as_deref());
        restored += usize::from(result.is_ok());
        let reason = result.err().map(|error| sentence(&error, args.to.is_some()));
        match (args.output, reason) {
            (Format::Json, reason) => write_line(&json::object(&body(item, Some(reason))))?,
            (Format::Human, None) => write_line(&format!("restored {}", item.path))?,
            (Format::Human, Some(reason)) => complain(format!("{} is not restored: {reason}", item.path)),
        }
    }
    Ok(match restored {
        _ if restored == wanted.len() => Exit::Done,
        0 => Exit::CouldNot,
        _ => Exit::Remains,
    })
}

/// Why something is not restored, and what to do.
fn sentence(error: &RestoreError, is_elsewhere: bool) -> String {
    let way_on = if is_elsewhere { "say another DIR" } else { "move that away, or say --to DIR" };
    match error {
        RestoreError::Taken | RestoreError::NoDirectory => format!("{error} ({way_on})"),
        RestoreError::Gone | RestoreError::Io(_) => error.to_string(),
    }
}

/// `restored`: `None` where it was not to be; else why it was not, if so.
fn body(item: &Trashed, restored: Option<Option<String>>) -> TrashedBody {
    let (kind, size, executable) = match &item.kind {
        TrashedKind::File { len, executable } => ("file", *len, *executable),
        TrashedKind::Symlink(_) => ("symlink", 0, false),
        TrashedKind::Directory => ("directory", 0, false),
    };
    let deleted = item.removed_at.duration_since(UNIX_EPOCH).unwrap_or_default();
    TrashedBody {
        version: json::VERSION,
        path: (&item.path).into(),
        kind,
        size,
        executable,
        deleted_ms: u64::try_from(deleted.as_millis()).unwrap_or(u64::MAX),
        restored: restored.as_ref().map(Option::is_none),
        reason: restored.flatten(),
    }
}

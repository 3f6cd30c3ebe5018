//! `synctl status`, `flush`, `conflicts`: what sessions that run in other processes are asked.

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use anyhow::Context;

use crate::{
    args::{Format, RunningArgs},
    control::{self, Answer, Answered, Question, Request, StatusBody},
    exit::Exit,
    options,
    output::{human, json, units, write_line},
};

/// How long a session has to say how it stands.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn status(args: &RunningArgs) -> anyhow::Result<Exit> {
    let answers = ask(args, Request::Status, Some(PATIENCE))?;
    for answer in &answers {
        show(args.output, answer, |status| status_lines(answer, status))?;
    }
    end(args, &answers, |result| match result {
        Answered::Status(_) => Exit::Done,
        _ => Exit::CouldNot,
    })
}

pub(super) fn conflicts(args: &RunningArgs) -> anyhow::Result<Exit> {
    let answers = ask(args, Request::Conflicts, Some(PATIENCE))?;
    for answer in &answers {
        show(args.output, answer, |status| {
            let mut lines = conflict_lines(status);
            if !lines.is_empty() {
                lines.push("settle each by `synctl resolve PATH --keep alpha|beta|both`".to_owned());
            }
            lines
        })?;
    }
    end(args, &answers, |result| match result {
        Answered::Status(status) if status.conflicts_total == 0 => Exit::Done,
        Answered::Status(_) => Exit::Remains,
        _ => Exit::CouldNot,
    })
}

pub(super) fn flush(args: &RunningArgs) -> anyhow::Result<Exit> {
    let answers = ask(args, Request::Flush, None)?;
    for answer in &answers {
        show(args.output, answer, |_| Vec::new())?;
    }
    end(args, &answers, |result| match result {
        Answered::Flushed => Exit::Done,
        Answered::Incomplete { .. } => Exit::Remains,
        _ => Exit::CouldNot,
    })
}

pub(super) fn resume(args: &RunningArgs) -> anyhow::Result<Exit> {
    let answers = ask(args, Request::Resume, Some(PATIENCE))?;
    for answer in &answers {
        show(args.output, answer, |_| Vec::new())?;
    }
    end(args, &answers, |result| match result {
        Answered::Resumed => Exit::Done,
        _ => Exit::CouldNot,
    })
}

/// Asks the sessions of SRC, or of the directory that this is called in, or, where `status` is asked and there is none, all.
fn ask(args: &RunningArgs, request: Request, patience: Option<Duration>) -> anyhow::Result<Vec<Answer>> {
    let state_dir = options::state_dir(args.state_dir.as_deref())?
        .context("no HOME and no --state-dir: it can't be told where running sessions are")?;
    let here = args.source.clone().unwrap_or_else(|| PathBuf::from("."));
    let here = here.canonicalize().with_context(|| format!("cannot open {}", options::shown(&here)))?;
    let question = Question { within: Some(control::path_to_hex(&here)), request };
    let answers = control::ask_all(&state_dir, &question, patience)?;
    if answers.is_empty() && args.source.is_none() && matches!(question.request, Request::Status | Request::Conflicts) {
        return control::ask_all(&state_dir, &Question { within: None, ..question }, patience);
    }
    Ok(answers)
}

/// The worst that any of them came to.
fn end(args: &RunningArgs, answers: &[Answer], exit: impl Fn(&Answered) -> Exit) -> anyhow::Result<Exit> {
    if answers.is_empty() {
        let of = args.source.as_deref().map_or_else(String::new, |source| format!(" of {}", options::shown(source)));
        anyhow::bail!("no session{of} is running: start one with `synctl watch`");
    }
    Ok(answers.iter().map(|answer| exit(&answer.result)).max_by_key(|exit| exit.code()).unwrap_or(Exit::CouldNot))
}

fn show(format: Format, answer: &Answer, lines: impl Fn(&StatusBody) -> Vec<String>) -> anyhow::Result<()> {
    if format == Format::Json {
        return Ok(write_line(&json::object(answer))?);
    }
    let lines = match &answer.result {
        Answered::Status(status) => lines(status),
        Answered::Flushed => vec![format!("in sync: {} -> {}", answer.source, answer.destination)],
        Answered::Incomplete { conflicts, problems } => vec![format!(
            "not everything is in sync: {} and {} remain (see `synctl status`); everything else was brought over",
            units::counted(*conflicts as u64, "conflict"),
            units::counted(*problems as u64, "problem")
        )],
        Answered::Failed { reason } => {
            crate::complaint::complain(reason);
            Vec::new()
        }
        Answered::Resumed => vec![format!("told: {} -> {}", answer.source, answer.destination)],
        // Answers to questions that are not asked here.
        Answered::Elsewhere | Answered::Root { .. } | Answered::Resolved { .. } => Vec::new(),
    };
    for line in lines {
        write_line(&line)?;
    }
    Ok(())
}

fn status_lines(answer: &Answer, status: &StatusBody) -> Vec<String> {
    let state = match (&status.halted, status.connected, status.in_sync) {
        (Some(reason), _, _) => format!("halted: {reason}"),
        (None, false, _) => "not connected".to_owned(),
        (None, true, true) => "in sync".to_owned(),
        (None, true, false) => format!(
            "at work: {} and {} to go",
            units::counted(status.operations_left, "operation"),
            units::bytes(status.bytes_left)
        ),
    };
    let head = format!("{} -> {}  (process {})", answer.source, answer.destination, answer.pid);
    let files = format!("  {state}; {}, {}", units::counted(status.files, "file"), units::bytes(status.bytes));
    let mut lines = vec![head, files];
    lines.extend(status.problems.iter().map(|problem| format!("  problem: {}", human::problem_in_brief(problem))));
    lines.extend(conflict_lines(status).into_iter().map(|line| format!("  conflict: {line}")));
    lines.extend(more(status.problems_total, status.problems.len(), "problem"));
    lines
}

fn conflict_lines(status: &StatusBody) -> Vec<String> {
    let now = SystemTime::now();
    let mut lines: Vec<String> =
        status.conflicts.iter().map(|conflict| human::conflict_in_brief(conflict, now)).collect();
    lines.extend(more(status.conflicts_total, status.conflicts.len(), "conflict"));
    lines
}

fn more(total: usize, named: usize, one: &str) -> Option<String> {
    (total > named).then(|| format!("  and {} more", units::counted((total - named) as u64, one)))
}

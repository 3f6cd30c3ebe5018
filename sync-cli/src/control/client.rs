//! The side that asks.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;

use super::{Answer, Answered, LINE_BYTES_MAX, Question, directory};
use crate::output::json;

/// How long a question may take to be written: a session that is stopped (Ctrl-Z) reads nothing.
const WRITE_TIME_MAX: Duration = Duration::from_secs(5);

/// Asks every session whose state is beneath `state_dir`, in order of process number. `patience`: how long each may take to
/// answer; `None`: as long as it takes. Sessions that are not meant, and sockets that nobody listens at, are left out.
///
/// # Errors
/// The directory can't be read, or a session that is meant gives no answer in time.
pub(crate) fn ask_all(
    state_dir: &Path,
    question: &Question,
    patience: Option<Duration>,
) -> anyhow::Result<Vec<Answer>> {
    let mut answers = Vec::new();
    for socket in sockets(&directory(state_dir))? {
        let stream = match UnixStream::connect(&socket) {
            Ok(stream) => stream,
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => {
                // Its session was killed.
                let _ = std::fs::remove_file(&socket);
                continue;
            }
            Err(error) => return Err(error).context("a running session can't be reached"),
        };
        let answer = ask(stream, question, patience).context("a running session gives no answer")?;
        if answer.result != Answered::Elsewhere {
            answers.push(answer);
        }
    }
    answers.sort_by_key(|answer| answer.pid);
    Ok(answers)
}

fn sockets(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).context("the directory of running sessions can't be read"),
    };
    let is_socket = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "sock");
    Ok(entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).filter(is_socket).collect())
}

fn ask(stream: UnixStream, question: &Question, patience: Option<Duration>) -> anyhow::Result<Answer> {
    stream.set_write_timeout(Some(WRITE_TIME_MAX))?;
    stream.set_read_timeout(patience)?;
    let mut line = json::object(question);
    line.push('\n');
    (&stream).write_all(line.as_bytes())?;
    let mut answer = String::new();
    BufReader::new(stream.take(LINE_BYTES_MAX as u64)).read_line(&mut answer)?;
    if answer.is_empty() {
        anyhow::bail!("it has just ended");
    }
    serde_json::from_str(&answer).context("it is of another version of synctl")
}

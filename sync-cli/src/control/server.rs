//! The side that runs the session.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use sync_core::{
    engine::Keep,
    session::{FlushError, Handle},
};
use sync_proto::SyncPath;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::Semaphore,
};

use super::{
    Answer, Answered, LINE_BYTES_MAX, NAMED_MAX, Question, Request, ResolvedBody, StatusBody, directory, path_from_hex,
    path_to_hex,
};
use crate::{options::shown, output::json};

/// Most commands that are answered at once. More wait.
const CONNECTIONS_MAX: usize = 16;
/// How long a command has to say what it wants.
const QUESTION_TIME_MAX: Duration = Duration::from_secs(5);
/// Longest question, in bytes.
const QUESTION_BYTES_MAX: u64 = 64 << 10;

/// Answers for one session for as long as it lives, and takes the socket away with it.
#[derive(Debug)]
pub(crate) struct Server {
    socket: PathBuf,
    task: tokio::task::JoinHandle<()>,
}

/// The session that is answered for.
struct Served {
    handle: Handle,
    source: PathBuf,
    destination: String,
}

impl Server {
    /// Starts to answer for a session of `source`.
    ///
    /// # Errors
    /// The socket can't be made: no such directory can be, or its path is longer than a socket's may be.
    pub(crate) fn start(state_dir: &Path, handle: Handle, source: &Path, destination: String) -> io::Result<Self> {
        let directory = directory(state_dir);
        make_private(&directory)?;
        let socket = directory.join(format!("{}.sock", std::process::id()));
        // One of an earlier process of this number.
        match std::fs::remove_file(&socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(&socket)?;
        let served = Arc::new(Served { handle, source: source.canonicalize()?, destination });
        let task = tokio::spawn(async move {
            let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
            loop {
                let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
                let Ok((stream, _)) = listener.accept().await else {
                    // Out of descriptors: those who are being answered give theirs back.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                };
                let served = Arc::clone(&served);
                tokio::spawn(async move {
                    if let Err(error) = answer(stream, &served).await {
                        tracing::debug!("a command was not answered: {error}");
                    }
                    drop(slot);
                });
            }
        });
        Ok(Self { socket, task })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
        // Left behind it is found to be nobody's.
        let _ = std::fs::remove_file(&self.socket);
    }
}

fn make_private(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    if std::fs::metadata(directory)?.permissions().mode() & 0o077 != 0 {
        std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

async fn answer(stream: UnixStream, served: &Served) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(read.take(QUESTION_BYTES_MAX));
    tokio::time::timeout(QUESTION_TIME_MAX, reader.read_line(&mut line)).await??;
    let result = match serde_json::from_str::<Question>(&line) {
        Ok(question) if !served.is_meant(question.within.as_deref()) => Answered::Elsewhere,
        Ok(question) => served.done(question.request).await,
        Err(error) => {
            Answered::Failed { reason: format!("this version of synctl does not know the question: {error}") }
        }
    };
    let answer = Answer {
        version: json::VERSION,
        pid: std::process::id(),
        source: shown(&served.source),
        destination: served.destination.clone(),
        result,
    };
    let mut text = json::object(&answer);
    text.push('\n');
    debug_assert!(text.len() <= LINE_BYTES_MAX, "an answer's lists are bounded");
    write.write_all(text.as_bytes()).await?;
    write.shutdown().await
}

impl Served {
    /// Whether `within`, if it is given, is this session's source or lies in it.
    fn is_meant(&self, within: Option<&str>) -> bool {
        let source = path_to_hex(&self.source);
        within.is_none_or(|within| {
            within.strip_prefix(source.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with("2f"))
        })
    }

    async fn done(&self, request: Request) -> Answered {
        match request {
            Request::Status => Answered::Status(self.status()),
            Request::Where => Answered::Root { path_hex: path_to_hex(&self.source) },
            Request::Conflicts => {
                let mut status = self.status();
                let versions = self.handle.conflicts().await;
                for conflict in &mut status.conflicts {
                    conflict.date(&versions);
                }
                Answered::Status(status)
            }
            Request::Resolve { path, keep } => match path_from_hex(&path) {
                Some(path) => Answered::Resolved { paths: self.resolve(&path, keep.into()).await },
                None => Answered::Failed { reason: "the path can't be one".to_owned() },
            },
            Request::Resume => {
                self.handle.allow_deletions();
                Answered::Resumed
            }
            Request::Flush => match self.handle.flush().await {
                Ok(()) => Answered::Flushed,
                Err(FlushError::Incomplete { conflicts, problems }) => Answered::Incomplete { conflicts, problems },
                Err(error) => Answered::Failed { reason: error.to_string() },
            },
        }
    }

    /// Settles the conflicts at and beneath `path`.
    async fn resolve(&self, path: &SyncPath, keep: Keep) -> Vec<ResolvedBody> {
        let mut resolved = Vec::new();
        let conflicts = self.handle.status().conflicts;
        for conflict in conflicts.into_iter().filter(|conflict| conflict.path.starts_with(path)).take(NAMED_MAX) {
            let body = (&conflict.path).into();
            let result = self.handle.resolve(conflict.path, keep).await;
            resolved.push(ResolvedBody { path: body, reason: result.err().map(|error| error.to_string()) });
        }
        resolved
    }

    fn status(&self) -> StatusBody {
        let status = self.handle.status();
        StatusBody {
            connected: status.connected,
            in_sync: status.in_sync,
            halted: status.halted,
            files: status.files,
            bytes: status.bytes,
            operations_left: status.progress.total.saturating_sub(status.progress.done),
            bytes_left: status.progress.bytes_total.saturating_sub(status.progress.bytes_done),
            conflicts_total: status.conflicts.len(),
            conflicts: status.conflicts.iter().take(NAMED_MAX).map(Into::into).collect(),
            problems_total: status.problems.len(),
            problems: status.problems.iter().take(NAMED_MAX).map(Into::into).collect(),
        }
    }
}

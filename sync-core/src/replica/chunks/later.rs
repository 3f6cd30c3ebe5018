//! The thread that reads what came whole, when nobody waits for anything.

use std::{
    collections::VecDeque,
    io::{self, Read},
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use sync_proto::{ContentId, SyncPath};

use super::{Shared, kept::Known};
use crate::chunk::{Chunker, Cuts, Mark, sizes};

/// Nothing is read or written until no file has been streamed for so long.
const QUIET: Duration = Duration::from_secs(1);

/// What has replaced another content may soon be replaced itself: it is read when it has been left alone for so long.
const QUIET_AGAIN: Duration = Duration::from_secs(30);

/// Most contents that wait to be read, and most bytes of them: what comes beyond that is not remembered.
const WAITING_MAX: usize = 1024;
const WAITING_BYTES_MAX: u64 = 1 << 30;

/// Files are read in pieces of this many bytes.
const READ_BYTES: usize = 256 << 10;

/// What the thread is told.
pub(super) enum Job {
    /// Read this.
    Read { content: ContentId, path: SyncPath, len: u64, again: bool },
    /// Something is known that is not in the file.
    Save,
    /// Come to an end.
    End,
}

/// The thread. Dropped, it ends by itself.
#[derive(Debug)]
pub(super) struct Worker {
    jobs: Sender<Job>,
    thread: JoinHandle<()>,
}

impl Worker {
    pub(super) fn start(shared: &Arc<Shared>) -> io::Result<Self> {
        let (jobs, inbox) = crossbeam_channel::unbounded();
        let later = Later { shared: Arc::clone(shared), inbox, waiting: VecDeque::new(), unsaved_since: None };
        let thread = std::thread::Builder::new().name("synctl-chunks".to_owned()).spawn(move || later.run())?;
        Ok(Self { jobs, thread })
    }

    pub(super) fn tell(&self, job: Job) {
        // A thread that is gone has no more to do.
        let _ = self.jobs.send(job);
    }

    /// Waits until it has ended.
    pub(super) fn end(self) {
        self.tell(Job::End);
        // A panic has been reported by the thread itself.
        let _ = self.thread.join();
    }
}

struct Later {
    shared: Arc<Shared>,
    inbox: Receiver<Job>,
    waiting: VecDeque<Waiting>,
    unsaved_since: Option<Instant>,
}

struct Waiting {
    content: ContentId,
    path: SyncPath,
    len: u64,
    due: Instant,
}

impl Later {
    fn run(mut self) {
        loop {
            let job = match self.next_due() {
                Some(due) => self.inbox.recv_deadline(due),
                None => self.inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match job {
                Ok(Job::Read { content, path, len, again }) => self.wait(content, path, len, again),
                Ok(Job::Save) => drop(self.unsaved_since.get_or_insert_with(Instant::now)),
                Ok(Job::End) | Err(RecvTimeoutError::Disconnected) => {
                    if self.unsaved_since.is_some() {
                        self.save();
                    }
                    return;
                }
                Err(RecvTimeoutError::Timeout) => self.work(),
            }
        }
    }

    fn wait(&mut self, content: ContentId, path: SyncPath, len: u64, again: bool) {
        // Of a path only the last content counts.
        self.waiting.retain(|waiting| waiting.path != path);
        let bytes: u64 = self.waiting.iter().map(|waiting| waiting.len).sum();
        if self.waiting.len() < WAITING_MAX && bytes.saturating_add(len) <= WAITING_BYTES_MAX {
            let due = Instant::now() + if again { QUIET_AGAIN } else { Duration::ZERO };
            self.waiting.push_back(Waiting { content, path, len, due });
        }
    }

    /// When there is something to do: not while files are streamed.
    fn next_due(&self) -> Option<Instant> {
        let due = self.waiting.iter().map(|waiting| waiting.due).chain(self.unsaved_since).min()?;
        let quiet = QUIET.saturating_sub(self.shared.quiet_for().unwrap_or_default());
        Some(due.max(Instant::now() + quiet))
    }

    fn work(&mut self) {
        if self.shared.quiet_for().is_none() {
            return;
        }
        let now = Instant::now();
        let Some(at) = self.waiting.iter().position(|waiting| waiting.due <= now) else {
            if self.unsaved_since.is_some() {
                self.save();
            }
            return;
        };
        let Some(mut waiting) = self.waiting.remove(at) else { return };
        match self.read(&waiting) {
            Ok(Came::Known) => drop(self.unsaved_since.get_or_insert(now)),
            Ok(Came::Interrupted) => {
                waiting.due = Instant::now();
                self.waiting.push_front(waiting);
            }
            Err(error) => tracing::debug!(path = %waiting.path, "its chunks are not remembered: {error}"),
        }
    }

    fn save(&mut self) {
        self.unsaved_since = None;
        if let Err(error) = self.shared.save() {
            tracing::debug!("the chunk index can't be kept for the next run: {error}");
        }
    }

    fn read(&self, waiting: &Waiting) -> io::Result<Came> {
        let Waiting { content, path, len, .. } = waiting;
        if self.shared.kept().as_mut().is_some_and(|kept| kept.stands(*content, path)) {
            return Ok(Came::Known);
        }
        let (parent, name) = path.split_last().ok_or(io::ErrorKind::NotFound)?;
        let (file, _) = self.shared.root.resolve(&parent)?.open_file(name)?;
        let mut file = file.take(*len);
        let (mut chunker, mut hasher, mut cuts) = (Chunker::new(sizes(*len)), blake3::Hasher::new(), Cuts::default());
        let mut buffer = vec![0; READ_BYTES];
        loop {
            if self.shared.stop.load(Ordering::Relaxed) || self.shared.quiet_for().is_none() {
                return Ok(Came::Interrupted);
            }
            let bytes = match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => buffer.get(..read).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            hasher.update(bytes);
            chunker.push(bytes, |chunk| cuts.push(Mark::of_bytes(chunk)));
        }
        chunker.finish(|chunk| cuts.push(Mark::of_bytes(chunk)));
        let changed = || io::Error::other("it has changed, or is too large");
        if hasher.finalize() != content.0 {
            return Err(changed());
        }
        let cuts = cuts.whole(*len).ok_or_else(changed)?;
        self.shared.put(Known { content: *content, path: path.clone(), cuts });
        Ok(Came::Known)
    }
}

/// What reading a file came to.
enum Came {
    /// Its chunks are known.
    Known,
    /// Something more urgent came: another time.
    Interrupted,
}

//! The threads beside the observer: what takes long is done here, in order, and comes back as commands.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use crossbeam_channel::{Receiver, Sender};
use sync_proto::SyncPath;

use super::{
    Hashed, Work,
    commit::{Commit, Committer},
    hash::{HashBuffer, Keep, hash_file},
    look::{is_recent, now_nanos},
    observer::Command,
    watch::Waker,
};
use crate::{
    sys::DirHandle,
    tree::{Node, Stamp, Tree},
};

/// What can be done beside the observer.
pub(super) enum Job {
    /// Read a large file.
    Hash(SyncPath),
    /// Apply bulk operations, against the index as it stands.
    Apply { tag: u64, work: Work, index: Tree, since: std::time::Instant },
}

/// The threads beside one observer. Dropped, they end; what is being committed is finished before.
pub(super) struct Workers {
    hasher: Option<Sender<Job>>,
    applier: Option<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

impl Workers {
    /// Starts a thread that reads large files, and one that applies bulk where there is a committer: a batch does not wait
    /// for a file, nor a file for a batch. Reading ends in the middle once `stop` is set.
    pub(super) fn start(
        root: &DirHandle,
        committer: Option<&Arc<Committer>>,
        answers: &Sender<Command>,
        waker: &Waker,
        stop: Arc<AtomicBool>,
    ) -> io::Result<Self> {
        let mut workers = Self { hasher: None, applier: None, threads: Vec::new(), stop };
        workers.hasher = Some(workers.thread("synctl-hasher", root, None, answers, waker)?);
        if let Some(committer) = committer {
            workers.applier = Some(workers.thread("synctl-applier", root, Some(committer), answers, waker)?);
        }
        Ok(workers)
    }

    fn thread(
        &mut self,
        name: &str,
        root: &DirHandle,
        committer: Option<&Arc<Committer>>,
        answers: &Sender<Command>,
        waker: &Waker,
    ) -> io::Result<Sender<Job>> {
        let (sender, jobs) = crossbeam_channel::unbounded();
        let answers = Answers { commands: answers.clone(), waker: waker.clone() };
        let stop = Arc::clone(&self.stop);
        self.threads.push(start(name, root.try_clone()?, committer.cloned(), jobs, answers, stop)?);
        Ok(sender)
    }

    /// Has a large file read.
    pub(super) fn hash(&self, path: SyncPath) {
        send(self.hasher.as_ref(), Job::Hash(path));
    }

    /// Has bulk applied.
    pub(super) fn apply(&self, job: Job) {
        send(self.applier.as_ref(), job);
    }
}

/// A thread that is gone has said so by [`Command::Failed`], which ends the observer.
fn send(jobs: Option<&Sender<Job>>, job: Job) {
    if let Some(jobs) = jobs {
        let _ = jobs.send(job);
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.hasher = None;
        self.applier = None;
        for thread in self.threads.drain(..) {
            // A panic has been reported by the thread itself.
            let _ = thread.join();
        }
    }
}

/// Where a thread's answers go. Where it panics, that is its last.
struct Answers {
    commands: Sender<Command>,
    waker: Waker,
}

impl Answers {
    fn send(&self, answer: Command) -> bool {
        let sent = self.commands.send(answer).is_ok();
        self.waker.wake();
        sent
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.send(Command::Failed);
        }
    }
}

/// Starts a thread. It ends when the last sender of jobs is gone.
fn start(
    name: &str,
    root: DirHandle,
    committer: Option<Arc<Committer>>,
    jobs: Receiver<Job>,
    answers: Answers,
    stop: Arc<AtomicBool>,
) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let mut buffer = HashBuffer::stopped_by(stop);
        for job in jobs {
            let answer = match job {
                Job::Hash(path) => Command::Hashed(hash(&root, path, &mut buffer)),
                Job::Apply { tag, work, index, since } => {
                    Command::Done { tag, commits: apply(committer.as_deref(), work, &index), since }
                }
            };
            if !answers.send(answer) {
                return;
            }
        }
    })
}

fn hash(root: &DirHandle, path: SyncPath, buffer: &mut HashBuffer) -> Hashed {
    let begun = now_nanos();
    let mut read = || {
        let (parent, name) = path.split_last().ok_or(io::ErrorKind::IsADirectory)?;
        hash_file(&root.resolve(&parent)?, name, buffer, Keep::Nothing)
    };
    let result: io::Result<(Node, Stamp)> = read();
    let recent = result.as_ref().is_ok_and(|(_, stamp)| is_recent(*stamp, begun));
    Hashed { path, result, recent }
}

/// Carries out work on the disk. Without a committer, which is a replica that only observes, nothing is done.
pub(super) fn apply(committer: Option<&Committer>, work: Work, index: &Tree) -> Vec<Commit> {
    let Some(committer) = committer else { return Vec::new() };
    match work {
        Work::Batch { operations, .. } => committer.apply(index, &operations),
        Work::File { path, expected, entry, partial } => {
            vec![committer.put_partial(index, &path, &expected, &entry, partial)]
        }
    }
}

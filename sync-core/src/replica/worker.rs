//! The thread beside the observer: what takes long is done here, in order, and comes back as commands.

use std::{io, sync::Arc, thread::JoinHandle};

use crossbeam_channel::{Receiver, Sender};
use sync_proto::SyncPath;

use super::{
    Hashed, Work,
    commit::{Commit, Committer},
    hash::{HashBuffer, Keep, hash_file},
    observer::Command,
    watch::Waker,
};
use crate::{
    sys::DirHandle,
    tree::{Node, Tree},
};

/// What can be done beside the observer.
pub(super) enum Job {
    /// Read a large file.
    Hash(SyncPath),
    /// Apply bulk operations, against the index as it stands.
    Apply { tag: u64, work: Work, index: Tree, since: std::time::Instant },
}

/// Starts the thread. It ends when the last sender of jobs is gone.
pub(super) fn start(
    name: &str,
    root: DirHandle,
    committer: Option<Arc<Committer>>,
    jobs: Receiver<Job>,
    answers: Sender<Command>,
    waker: Waker,
) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let mut buffer = HashBuffer::default();
        for job in jobs {
            let answer = match job {
                Job::Hash(path) => Command::Hashed(Hashed { result: hash(&root, &path, &mut buffer), path }),
                Job::Apply { tag, work, index, since } => {
                    Command::Done { tag, commits: apply(committer.as_deref(), work, &index), since }
                }
            };
            if answers.send(answer).is_err() {
                return;
            }
            waker.wake();
        }
    })
}

fn hash(
    root: &DirHandle,
    path: &SyncPath,
    buffer: &mut HashBuffer,
) -> io::Result<(sync_proto::ContentId, u64, bool, crate::tree::Stamp)> {
    let (parent, name) = path.split_last().ok_or_else(|| io::Error::from(io::ErrorKind::IsADirectory))?;
    let dir = root.resolve(&parent)?;
    match hash_file(&dir, name, buffer, Keep::Nothing)? {
        (Node::File { content, len, executable }, stamp) => Ok((content, len, executable, stamp)),
        _ => Err(io::Error::from(io::ErrorKind::InvalidInput)),
    }
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

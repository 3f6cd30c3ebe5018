//! Errors of the file system as problems at paths.

use std::io;

use sync_proto::{
    SyncPath,
    message::{Problem, ProblemKind, Sentence},
};

use super::hash::TooLarge;

/// A fifo, a socket, a device: never opened, never synchronised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a file, a directory or a symlink")]
pub struct UnsupportedKind;

/// A symlink that leads out of the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("symlink to an absolute path or out of the root")]
pub struct LeadsOut;

/// The problem that `error` is at `path`.
pub fn at(path: &SyncPath, error: &io::Error) -> Problem {
    Problem { path: path.clone(), kind: kind(error), detail: Sentence::new(error.to_string()) }
}

/// What kind of obstacle an error is.
pub fn kind(error: &io::Error) -> ProblemKind {
    if let Some(inner) = error.get_ref() {
        if inner.is::<UnsupportedKind>() {
            return ProblemKind::UnsupportedKind;
        }
        if inner.is::<LeadsOut>() {
            return ProblemKind::BadTarget;
        }
        if inner.is::<TooLarge>() {
            return ProblemKind::TooLarge;
        }
    }
    match error.kind() {
        io::ErrorKind::PermissionDenied => ProblemKind::Denied,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ProblemKind::NoSpace,
        io::ErrorKind::ReadOnlyFilesystem => ProblemKind::ReadOnly,
        io::ErrorKind::InvalidFilename => ProblemKind::BadName,
        io::ErrorKind::OutOfMemory => ProblemKind::Exhausted,
        _ => match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
            Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE) => ProblemKind::Exhausted,
            _ => ProblemKind::Io,
        },
    }
}

/// Whether an error says that nothing stands there (any more).
pub fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Whether an obstacle may be gone without an event to tell of it: what it stands at is looked at again after a time.
pub fn may_pass(kind: ProblemKind) -> bool {
    matches!(kind, ProblemKind::Exhausted | ProblemKind::Io)
}

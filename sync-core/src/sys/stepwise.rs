//! Resolving beneath a directory one component at a time, each opened without following a symlink.

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
};

use rustix::fs::Mode;
use sync_proto::SyncPath;

use crate::sys::DIRECTORY;

/// A directory that is moved elsewhere while it is walked stays the directory that was opened: components are names
/// only, never `..`, so that the walk leads down and no further.
pub(super) fn resolve(dir: BorrowedFd<'_>, path: &SyncPath) -> io::Result<OwnedFd> {
    let mut held: Option<OwnedFd> = None;
    for name in path.components() {
        let next = match &held {
            Some(parent) => rustix::fs::openat(parent, name.as_bytes(), DIRECTORY, Mode::empty())?,
            None => rustix::fs::openat(dir, name.as_bytes(), DIRECTORY, Mode::empty())?,
        };
        held = Some(next);
    }
    match held {
        Some(fd) => Ok(fd),
        None => dir.try_clone_to_owned(),
    }
}

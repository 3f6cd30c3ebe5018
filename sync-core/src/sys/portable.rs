//! The twin of `linux` from what every Unix has. Chosen on Linux by the feature `portable`, so that it is tested there.

use std::{
    fs::File,
    io::{self, ErrorKind},
    os::fd::{BorrowedFd, OwnedFd},
    path::PathBuf,
};

use rustix::fs::{Dir, Mode};
use sync_proto::{Name, SyncPath};

use super::{Kind, copy, listed_kind};

#[path = "stepwise.rs"]
mod stepwise;

pub(super) fn resolve(dir: BorrowedFd<'_>, path: &SyncPath) -> io::Result<OwnedFd> {
    stepwise::resolve(dir, path)
}

pub(super) fn list(dir: BorrowedFd<'_>, each: &mut dyn FnMut(&[u8], Option<Kind>)) -> io::Result<()> {
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        each(entry.file_name().to_bytes(), listed_kind(entry.file_type()));
    }
    Ok(())
}

/// macOS has both renames as one call, under another name; the plain twin has neither.
#[cfg(target_os = "macos")]
fn rename_with(
    from: BorrowedFd<'_>,
    name: Name<'_>,
    to: BorrowedFd<'_>,
    to_name: Name<'_>,
    flags: rustix::fs::RenameFlags,
) -> io::Result<()> {
    use rustix::io::Errno;
    match rustix::fs::renameat_with(from, name.as_bytes(), to, to_name.as_bytes(), flags) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => Err(ErrorKind::Unsupported.into()),
        other => Ok(other?),
    }
}

#[cfg(target_os = "macos")]
pub(super) fn rename_noreplace(
    from: BorrowedFd<'_>,
    name: Name<'_>,
    to: BorrowedFd<'_>,
    to_name: Name<'_>,
) -> io::Result<()> {
    rename_with(from, name, to, to_name, rustix::fs::RenameFlags::NOREPLACE)
}

#[cfg(target_os = "macos")]
pub(super) fn exchange(
    one: BorrowedFd<'_>,
    name: Name<'_>,
    other: BorrowedFd<'_>,
    other_name: Name<'_>,
) -> io::Result<()> {
    rename_with(one, name, other, other_name, rustix::fs::RenameFlags::EXCHANGE)
}

#[cfg(not(target_os = "macos"))]
pub(super) fn rename_noreplace(_: BorrowedFd<'_>, _: Name<'_>, _: BorrowedFd<'_>, _: Name<'_>) -> io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}

#[cfg(not(target_os = "macos"))]
pub(super) fn exchange(_: BorrowedFd<'_>, _: Name<'_>, _: BorrowedFd<'_>, _: Name<'_>) -> io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}

pub(super) fn unnamed_file(_: BorrowedFd<'_>, _: Mode) -> io::Result<File> {
    Err(ErrorKind::Unsupported.into())
}

pub(super) fn link_unnamed(_: &File, _: BorrowedFd<'_>, _: Name<'_>) -> io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}

#[cfg(target_os = "macos")]
pub(super) fn watch_path(dir: BorrowedFd<'_>) -> io::Result<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    Ok(std::ffi::OsString::from_vec(rustix::fs::getpath(dir)?.into_bytes()).into())
}

#[cfg(target_os = "linux")]
pub(super) fn watch_path(dir: BorrowedFd<'_>) -> io::Result<PathBuf> {
    use std::os::fd::AsRawFd;
    std::fs::read_link(format!("/proc/self/fd/{}", dir.as_raw_fd()))
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
pub(super) fn watch_path(_: BorrowedFd<'_>) -> io::Result<PathBuf> {
    Err(ErrorKind::Unsupported.into())
}

pub(super) fn sync_fs(_: BorrowedFd<'_>) -> io::Result<()> {
    // One file system alone can't be named here: all of them.
    rustix::fs::sync();
    Ok(())
}

pub(super) fn has_events(_: BorrowedFd<'_>) -> bool {
    true
}

pub(super) fn mount_id(_: BorrowedFd<'_>) -> Option<u64> {
    None
}

pub(super) fn reflink_or_copy(from: &File, to: &File, len: u64) -> io::Result<()> {
    copy::copy_from(from, to, 0, len)
}

pub(super) fn share_blocks(_: &File, _: &File) -> io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}

pub(super) fn reserve(_: &File, _: u64) -> io::Result<()> {
    Ok(())
}

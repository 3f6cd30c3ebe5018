//! What this crate asks of the operating system's files: the only code that knows the platform.
//!
//! Everything is done relative to a held directory, a [`DirHandle`], and by validated names. Invariants:
//!
//! - **No symlink is followed**, in no call, and no `..` is walked: what a [`DirHandle`] reaches lies beneath it. A process
//!   that swaps directories for symlinks meanwhile makes a call fail, not lead elsewhere.
//! - **Nothing blocks on what is not a file**: a fifo without a writer does not hold up [`DirHandle::open_file`].
//! - **Nothing is created but by a call that fails where the name is taken**, so that no foreign file is opened for writing.
//!
//! `linux` uses what only Linux has (`openat2`, `renameat2`, `O_TMPFILE`, `FICLONE`). `portable` is its twin from calls
//! that every Unix has; the feature `portable` chooses it on Linux too.

use std::{
    fs::File,
    io::{self, ErrorKind},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid},
    io::Errno,
};
use sync_proto::{Name, SyncPath, Target};

use crate::tree::Stamp;

mod copy;
#[cfg(all(target_os = "linux", not(feature = "portable")))]
#[path = "sys/linux.rs"]
mod platform;
#[cfg(any(not(target_os = "linux"), feature = "portable"))]
#[path = "sys/portable.rs"]
mod platform;
#[cfg(test)]
mod tests;

pub use copy::{copy, reflink_or_copy};

/// Flags of every directory that is opened.
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Permission bits of a file: no setuid, no setgid, no sticky bit.
const PERMISSIONS: u32 = 0o777;

/// What kind of thing stands at a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A fifo, a socket, a device.
    Other,
}

/// What the file system says of a name, without following it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// What kind of thing it is.
    pub kind: Kind,
    /// Its length in bytes.
    pub len: u64,
    /// Whether its owner may execute it.
    pub executable: bool,
    /// All twelve mode bits.
    pub mode: u32,
    /// What changes when it does.
    pub stamp: Stamp,
    /// The device it lives on.
    pub device: u64,
    /// How many names it has.
    pub links: u64,
    /// The numeric user it belongs to.
    pub owner: u32,
    /// The numeric group it belongs to.
    pub group: u32,
}

/// A held directory, through which everything in it is reached.
///
/// It keeps its meaning when the directory is renamed. [`list`](Self::list) moves a position that clones share: one
/// listing at a time through a handle and its clones. All else may be called from any number of threads.
#[derive(Debug)]
pub struct DirHandle(OwnedFd);

impl DirHandle {
    /// Opens a root. Symlinks in `path` are followed: it is the user's word, not a peer's.
    pub fn open_root(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::open(path, flags, Mode::empty())?))
    }

    /// A second handle on the same directory.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self(self.0.try_clone()?))
    }

    /// Opens a directory beneath this one. A component that is a symlink is an error, wherever it leads.
    pub fn resolve(&self, path: &SyncPath) -> io::Result<Self> {
        if path.is_root() {
            return self.try_clone();
        }
        platform::resolve(self.0.as_fd(), path).map(Self)
    }

    /// Opens a directory in this one.
    pub fn open_dir(&self, name: Name<'_>) -> io::Result<Self> {
        Ok(Self(rustix::fs::openat(&self.0, name.as_bytes(), DIRECTORY, Mode::empty())?))
    }

    /// Calls `each` with every name but `.` and `..`, from the start, in the file system's own order. The kind is `None`
    /// where the file system does not tell it for free.
    pub fn list(&self, each: &mut dyn FnMut(&[u8], Option<Kind>)) -> io::Result<()> {
        platform::list(self.0.as_fd(), &mut |name, kind| {
            if !matches!(name, b"." | b"..") {
                each(name, kind);
            }
        })
    }

    /// What stands at `name`. A symlink is not followed.
    pub fn stat(&self, name: Name<'_>) -> io::Result<Stat> {
        Ok(stat_from(&rustix::fs::statat(&self.0, name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW)?))
    }

    /// This directory itself.
    pub fn stat_self(&self) -> io::Result<Stat> {
        Ok(stat_from(&rustix::fs::fstat(&self.0)?))
    }

    /// Opens a regular file for reading. Never blocks; [`ErrorKind::InvalidInput`] for what is not a regular file.
    pub fn open_file(&self, name: Name<'_>) -> io::Result<(File, Stat)> {
        self.open_regular(name, OFlags::RDONLY)
    }

    /// Opens a regular file that exists for writing in place, without truncating it. For what can't be replaced by a
    /// rename: a file that is a mount point.
    pub fn open_file_for_writing(&self, name: Name<'_>) -> io::Result<(File, Stat)> {
        self.open_regular(name, OFlags::RDWR)
    }

    fn open_regular(&self, name: Name<'_>, access: OFlags) -> io::Result<(File, Stat)> {
        let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file: File = match rustix::fs::openat(&self.0, name.as_bytes(), flags, Mode::empty()) {
            Ok(fd) => fd.into(),
            // A symlink, a socket, a device without a driver, a directory opened for writing: no regular file.
            Err(Errno::LOOP | Errno::NXIO | Errno::NODEV | Errno::ISDIR) => return Err(not_regular()),
            Err(error) => return Err(error.into()),
        };
        let stat = stat_file(&file)?;
        if stat.kind == Kind::File { Ok((file, stat)) } else { Err(not_regular()) }
    }

    /// Where a symlink points.
    pub fn read_link(&self, name: Name<'_>) -> io::Result<Target> {
        let target = rustix::fs::readlinkat(&self.0, name.as_bytes(), Vec::new())?;
        Target::new(target.as_bytes()).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
    }

    /// Makes a directory, with `mode` less the umask.
    pub fn make_dir(&self, name: Name<'_>, mode: u32) -> io::Result<()> {
        Ok(rustix::fs::mkdirat(&self.0, name.as_bytes(), mode_from(mode))?)
    }

    /// Makes a file, with `mode` less the umask, open for reading and writing. Fails where the name is taken.
    pub fn create_new(&self, name: Name<'_>, mode: u32) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.0, name.as_bytes(), flags, mode_from(mode))?.into())
    }

    /// Makes a symlink. Fails where the name is taken.
    pub fn symlink(&self, target: &Target, name: Name<'_>) -> io::Result<()> {
        Ok(rustix::fs::symlinkat(target.as_bytes(), &self.0, name.as_bytes())?)
    }

    /// Renames what stands at `name` to `to_name` in `to`, where nothing may stand.
    ///
    /// Where the file system or the platform lacks this as one call it is made of others: a file by a hard link and an
    /// unlink, which is as safe but for a moment in which both names exist; a directory by a rename, which would replace
    /// an empty directory made in that moment; where hard links are missing a file by a look and a rename, which would
    /// replace what was made in between.
    pub fn rename_noreplace(&self, name: Name<'_>, to: &Self, to_name: Name<'_>) -> io::Result<()> {
        match platform::rename_noreplace(self.0.as_fd(), name, to.0.as_fd(), to_name) {
            Err(error) if error.kind() == ErrorKind::Unsupported => self.link_and_unlink(name, to, to_name),
            other => other,
        }
    }

    fn link_and_unlink(&self, name: Name<'_>, to: &Self, to_name: Name<'_>) -> io::Result<()> {
        if self.stat(name)?.kind != Kind::Directory {
            match rustix::fs::linkat(&self.0, name.as_bytes(), &to.0, to_name.as_bytes(), AtFlags::empty()) {
                Ok(()) => return self.remove_file(name),
                Err(Errno::PERM | Errno::OPNOTSUPP | Errno::MLINK) => {}
                Err(error) => return Err(error.into()),
            }
        }
        match to.stat(to_name) {
            Err(error) if error.kind() == ErrorKind::NotFound => self.rename_replace(name, to, to_name),
            Err(error) => Err(error),
            Ok(_) => Err(ErrorKind::AlreadyExists.into()),
        }
    }

    /// Exchanges what stands at two names, in one step. [`ErrorKind::Unsupported`] where the platform or the file system
    /// can't.
    pub fn exchange(&self, name: Name<'_>, other: &Self, other_name: Name<'_>) -> io::Result<()> {
        platform::exchange(self.0.as_fd(), name, other.0.as_fd(), other_name)
    }

    /// Renames what stands at `name` to `to_name` in `to`, over a file that stands there.
    pub fn rename_replace(&self, name: Name<'_>, to: &Self, to_name: Name<'_>) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.0, name.as_bytes(), &to.0, to_name.as_bytes())?)
    }

    /// Removes the name of anything but a directory.
    pub fn remove_file(&self, name: Name<'_>) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.0, name.as_bytes(), AtFlags::empty())?)
    }

    /// Removes an empty directory.
    pub fn remove_dir(&self, name: Name<'_>) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.0, name.as_bytes(), AtFlags::REMOVEDIR)?)
    }

    /// Sets the permission bits of a file or a directory that its user may read. A symlink is refused.
    pub fn set_mode(&self, name: Name<'_>, mode: u32) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.0, name.as_bytes(), flags, Mode::empty())?;
        Ok(rustix::fs::fchmod(file, mode_from(mode))?)
    }

    /// Makes a file in this directory that has no name yet, with `mode` less the umask. It is gone with its last handle,
    /// also after a crash. [`ErrorKind::Unsupported`] where the platform or the file system can't.
    pub fn unnamed_file(&self, mode: u32) -> io::Result<File> {
        platform::unnamed_file(self.0.as_fd(), mode_from(mode))
    }

    /// Gives an [unnamed file](Self::unnamed_file) its name. Fails where it is taken.
    pub fn link_unnamed(&self, file: &File, name: Name<'_>) -> io::Result<()> {
        platform::link_unnamed(file, self.0.as_fd(), name)
    }

    /// A path that leads to this very directory, for calls that take nothing else. Not to be kept: on Linux it names the
    /// handle, so that no rename can lead it elsewhere, and is good as long as the handle lives.
    pub fn watch_path(&self) -> io::Result<PathBuf> {
        platform::watch_path(self.0.as_fd())
    }

    /// Brings everything written to this file system to the disk.
    pub fn sync_fs(&self) -> io::Result<()> {
        platform::sync_fs(self.0.as_fd())
    }

    /// Brings the names in this directory to the disk. Where a file system can't do that for a directory, all of it is.
    pub fn sync(&self) -> io::Result<()> {
        match rustix::fs::fsync(&self.0) {
            Err(Errno::INVAL | Errno::BADF) => self.sync_fs(),
            result => Ok(result?),
        }
    }

    /// Whether the kernel tells of changes that others make here: not so where they may be made behind its back, on
    /// network file systems and on FUSE.
    pub fn has_events(&self) -> bool {
        platform::has_events(self.0.as_fd())
    }

    /// Tells mounts apart, where the platform can: a rename succeeds only within one. Elsewhere the device.
    pub fn mount_id(&self) -> io::Result<u64> {
        match platform::mount_id(self.0.as_fd()) {
            Some(id) => Ok(id),
            None => Ok(self.stat_self()?.device),
        }
    }

    /// How many bytes are free on this file system for whoever we are.
    pub fn free_bytes(&self) -> io::Result<u64> {
        let free = rustix::fs::fstatvfs(&self.0)?;
        Ok(free.f_bavail.saturating_mul(free.f_frsize))
    }

    /// Takes an exclusive advisory lock on this directory, which ends with the last handle on it, also after a crash.
    /// `Ok(false)`: somebody else has it.
    pub fn try_lock(&self) -> io::Result<bool> {
        self.flock(rustix::fs::FlockOperation::NonBlockingLockExclusive)
    }

    /// The same with a shared lock, which any number may have at a time, and nobody beside an exclusive one.
    pub fn try_lock_shared(&self) -> io::Result<bool> {
        self.flock(rustix::fs::FlockOperation::NonBlockingLockShared)
    }

    fn flock(&self, operation: rustix::fs::FlockOperation) -> io::Result<bool> {
        match rustix::fs::flock(&self.0, operation) {
            Ok(()) => Ok(true),
            Err(Errno::WOULDBLOCK) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for DirHandle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What the file system says of an open file.
pub fn stat_file(file: &File) -> io::Result<Stat> {
    Ok(stat_from(&rustix::fs::fstat(file)?))
}

/// Sets the permission bits of an open file.
pub fn set_file_mode(file: &File, mode: u32) -> io::Result<()> {
    Ok(rustix::fs::fchmod(file, mode_from(mode))?)
}

/// Gives an open file to a user and a group.
pub fn set_file_owner(file: &File, owner: u32, group: u32) -> io::Result<()> {
    Ok(rustix::fs::fchown(file, Some(Uid::from_raw(owner)), Some(Gid::from_raw(group)))?)
}

/// What tells this run of the kernel from all others; `None` where it does not say, as all but Linux.
pub fn boot_id() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let id = text.trim_end();
    let is_one = id.len() == 36 && id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    is_one.then(|| id.to_owned())
}

/// Brings everything that was written to any file system to its disk.
pub fn sync_everything() {
    rustix::fs::sync();
}

/// Makes `to`, an empty file, have the content of `from` by sharing its blocks: nothing is copied, and what is written to
/// one later is not seen in the other. [`ErrorKind::Unsupported`] where the platform or the file system can't.
pub fn share_blocks(from: &File, to: &File) -> io::Result<()> {
    platform::share_blocks(from, to)
}

/// Takes room on the disk for the first `len` bytes of a file, its length unchanged, so that writing them does not run out
/// of it. Where the platform or the file system can't, nothing is done.
pub fn reserve(file: &File, len: u64) -> io::Result<()> {
    platform::reserve(file, len)
}

fn mode_from(mode: u32) -> Mode {
    Mode::from_raw_mode((mode & PERMISSIONS) as rustix::fs::RawMode)
}

fn not_regular() -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, "not a regular file")
}

fn kind_from(kind: FileType) -> Kind {
    match kind {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        _ => Kind::Other,
    }
}

/// The kind a directory listing tells, `None` where it leaves it open.
fn listed_kind(kind: FileType) -> Option<Kind> {
    if kind == FileType::Unknown { None } else { Some(kind_from(kind)) }
}

// The fields differ in width and sign between platforms.
#[allow(clippy::unnecessary_cast, clippy::cast_lossless)]
fn stat_from(stat: &rustix::fs::Stat) -> Stat {
    let mode = stat.st_mode as u32;
    let time_ns = |seconds: i64, nanoseconds: i64| seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds);
    Stat {
        kind: kind_from(FileType::from_raw_mode(stat.st_mode as rustix::fs::RawMode)),
        len: u64::try_from(stat.st_size).unwrap_or(0),
        executable: mode & 0o100 != 0,
        mode: mode & 0o7777,
        stamp: Stamp {
            mtime_ns: time_ns(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            ctime_ns: time_ns(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
            inode: stat.st_ino as u64,
        },
        device: stat.st_dev as u64,
        links: stat.st_nlink as u64,
        owner: stat.st_uid as u32,
        group: stat.st_gid as u32,
    }
}

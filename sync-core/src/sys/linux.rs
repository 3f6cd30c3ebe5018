//! What only Linux has. Each falls back to what every Unix has where the kernel or a sandbox refuses it.

use std::{
    fs::File,
    io::{self, ErrorKind},
    mem::MaybeUninit,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
    path::PathBuf,
};

use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, RawDir, RenameFlags, ResolveFlags, SeekFrom, StatxFlags},
    io::Errno,
};
use sync_proto::{Name, SyncPath};

use super::{DIRECTORY, Kind, copy, listed_kind};

#[path = "stepwise.rs"]
mod stepwise;

/// Bytes of directory entries asked for at once: some 500 names a call. Few directories have more, and on the stack they cost
/// no allocation.
const LIST_BUFFER_BYTES: usize = 16 << 10;

pub(super) fn resolve(dir: BorrowedFd<'_>, path: &SyncPath) -> io::Result<OwnedFd> {
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(dir, path.as_bytes(), DIRECTORY, Mode::empty(), beneath) {
        Ok(fd) => Ok(fd),
        // ENOSYS before Linux 5.6, EPERM under seccomp profiles that don't know it, EAGAIN when a rename anywhere on the
        // machine raced with the walk: the walk by steps needs none of that.
        Err(Errno::NOSYS | Errno::PERM | Errno::AGAIN) => stepwise::resolve(dir, path),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn list(dir: BorrowedFd<'_>, each: &mut dyn FnMut(&[u8], Option<Kind>)) -> io::Result<()> {
    rustix::fs::seek(dir, SeekFrom::Start(0))?;
    let mut buffer = [const { MaybeUninit::<u8>::uninit() }; LIST_BUFFER_BYTES];
    let mut entries = RawDir::new(dir, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        each(entry.file_name().to_bytes(), listed_kind(entry.file_type()));
    }
    Ok(())
}

/// `renameat2` answers EINVAL where the file system does not know the flag, ENOSYS where the kernel does not.
fn or_unsupported(result: rustix::io::Result<()>) -> io::Result<()> {
    match result {
        Err(Errno::INVAL | Errno::NOSYS) => Err(ErrorKind::Unsupported.into()),
        other => Ok(other?),
    }
}

pub(super) fn rename_noreplace(
    from: BorrowedFd<'_>,
    name: Name<'_>,
    to: BorrowedFd<'_>,
    to_name: Name<'_>,
) -> io::Result<()> {
    or_unsupported(rustix::fs::renameat_with(from, name.as_bytes(), to, to_name.as_bytes(), RenameFlags::NOREPLACE))
}

pub(super) fn exchange(
    one: BorrowedFd<'_>,
    name: Name<'_>,
    other: BorrowedFd<'_>,
    other_name: Name<'_>,
) -> io::Result<()> {
    or_unsupported(rustix::fs::renameat_with(one, name.as_bytes(), other, other_name.as_bytes(), RenameFlags::EXCHANGE))
}

pub(super) fn unnamed_file(dir: BorrowedFd<'_>, mode: Mode) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    match rustix::fs::openat(dir, c".", flags, mode) {
        Ok(fd) => Ok(fd.into()),
        // A file system without it answers EOPNOTSUPP, a kernel without it EISDIR or EINVAL.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => Err(ErrorKind::Unsupported.into()),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn link_unnamed(file: &File, dir: BorrowedFd<'_>, name: Name<'_>) -> io::Result<()> {
    // By the descriptor itself this takes a capability before Linux 6.10; by /proc it never does, but takes a /proc.
    match rustix::fs::linkat(file, c"", dir, name.as_bytes(), AtFlags::EMPTY_PATH) {
        Err(Errno::NOENT | Errno::PERM | Errno::INVAL) => {
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            Ok(rustix::fs::linkat(CWD, path, dir, name.as_bytes(), AtFlags::SYMLINK_FOLLOW)?)
        }
        other => Ok(other?),
    }
}

pub(super) fn watch_path(dir: BorrowedFd<'_>) -> io::Result<PathBuf> {
    Ok(format!("/proc/self/fd/{}", dir.as_raw_fd()).into())
}

pub(super) fn sync_fs(dir: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::fs::syncfs(dir)?)
}

/// File systems that are changed by others than this kernel, by the magic number that `statfs` gives.
const WITHOUT_EVENTS: [u32; 13] = [
    0x0000_6969, // NFS
    0x0102_1997, // 9p: WSL, gVisor, virtual machines
    0x6573_5546, // FUSE: sshfs, virtiofs, desktop file sharing
    0xff53_4d42, // CIFS
    0xfe53_4d42, // SMB2
    0x0000_517b, // smbfs
    0x00c3_6400, // Ceph
    0x0bd0_0bd0, // Lustre
    0x4750_4653, // GPFS
    0x786f_4256, // VirtualBox shared folders
    0x7c7c_6673, // Parallels shared folders
    0x00c0_ffee, // hostfs
    0x5346_414f, // AFS
];

pub(super) fn has_events(dir: BorrowedFd<'_>) -> bool {
    // Overlayfs gives a magic number of its own: what is written through it is seen, and its lower layers may not change.
    rustix::fs::fstatfs(dir).is_ok_and(|stat| !WITHOUT_EVENTS.contains(&(stat.f_type as u32)))
}

pub(super) fn mount_id(dir: BorrowedFd<'_>) -> Option<u64> {
    let wanted = StatxFlags::MNT_ID;
    let stat = rustix::fs::statx(dir, c"", AtFlags::EMPTY_PATH, wanted).ok()?;
    (stat.stx_mask & wanted.bits() != 0).then_some(stat.stx_mnt_id)
}

/// Shares the blocks where the file system can, copies inside the kernel where that can.
pub(super) fn reflink_or_copy(from: &File, to: &File, len: u64) -> io::Result<()> {
    if rustix::fs::ioctl_ficlone(to, from).is_ok() {
        // A clone is of the whole source, which may have grown since its length was asked.
        return to.set_len(len);
    }
    let (mut read, mut written) = (0, 0);
    while written < len {
        let wanted = usize::try_from(len - written).unwrap_or(usize::MAX).min(1 << 30);
        match rustix::fs::copy_file_range(from, Some(&mut read), to, Some(&mut written), wanted) {
            // Some file systems say that nothing is left where they mean that they can't.
            Ok(0) | Err(_) => return copy::copy_from(from, to, written, len),
            Ok(_) => {}
        }
    }
    Ok(())
}

pub(super) fn share_blocks(from: &File, to: &File) -> io::Result<()> {
    // Another file system, or one that can't: several errors say so.
    rustix::fs::ioctl_ficlone(to, from).map_err(|_| ErrorKind::Unsupported.into())
}

pub(super) fn reserve(file: &File, len: u64) -> io::Result<()> {
    if len == 0 {
        return Ok(());
    }
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::KEEP_SIZE, 0, len) {
        Err(error @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG)) => Err(error.into()),
        _ => Ok(()),
    }
}

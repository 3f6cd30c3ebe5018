//! A root for one process that writes to it.
//!
//! `.synctl/lock` is locked (flock) as long as its holder lives, and says who that is. The kernel drops the lock with the
//! process, however it ends; what the file says counts only while it is locked, and the file is never removed, so that two
//! can't hold two files of one name. It is held open for reading, so that the file system can still be made read-only; but
//! for network file systems that lock nothing that is not open for writing, which is why it is a file and not the directory
//! itself. Roots inside one another are not seen here.

use std::{
    fmt,
    fs::{File, TryLockError},
    io::{self, ErrorKind, Read, Write},
};

use sync_proto::escape::Escaped;

use super::stage::fixed;
use crate::sys::{self, DirHandle};

/// The file in [`HOME`](super::stage::HOME).
const LOCK: &str = "lock";

/// Bytes of it that are read.
const LOCK_BYTES_MAX: u64 = 256;

/// How often the file is opened anew when it was replaced meanwhile.
const ATTEMPTS: usize = 8;

/// The right to write to a root, until it is dropped.
#[derive(Debug)]
pub struct RootClaim {
    _file: File,
}

/// Who has a root, as far as it says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its process number, where it runs.
    pub pid: Option<u32>,
    /// What it is. Written by another process: escape before it is shown.
    pub role: String,
}

/// Why a root can't be claimed.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Another one has it, of this process or another.
    #[error("{0} has it: stop that one first")]
    Held(Holder),
    /// The file system has no locks, or can't be written to.
    #[error("it can't be locked: {0}")]
    Io(#[from] io::Error),
}

impl RootClaim {
    /// Claims the root that `home` is the directory of ours of. `role` tells others who has it: `an agent`, say.
    pub fn take(home: &DirHandle, role: &str) -> Result<Self, ClaimError> {
        let name = fixed(LOCK);
        for _ in 0..ATTEMPTS {
            let (mut writer, _) = match home.open_file_for_writing(name) {
                Err(error) if error.kind() == ErrorKind::NotFound => match home.create_new(name, 0o600) {
                    Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error.into()),
                    Ok(_) | Err(_) => continue,
                },
                opened => opened?,
            };
            let (reader, _) = home.open_file(name)?;
            let (mut file, locked) = match reader.try_lock() {
                Err(TryLockError::Error(_)) => {
                    let writer = writer.try_clone()?;
                    let locked = writer.try_lock();
                    (writer, locked)
                }
                locked => (reader, locked),
            };
            match locked {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(ClaimError::Held(read(&mut file))),
                Err(TryLockError::Error(error)) => return Err(error.into()),
            }
            // Somebody may have cleared the directory between the opening and the lock: then this is not the file that the
            // next one opens.
            let inode = sys::stat_file(&file)?.stamp.inode;
            if home.stat(name).is_ok_and(|stat| stat.stamp.inode == inode) {
                writer.set_len(0)?;
                writeln!(writer, "{} {role}", std::process::id())?;
                return Ok(Self { _file: file });
            }
        }
        Err(io::Error::from(ErrorKind::ResourceBusy).into())
    }
}

/// What it says can be missing, where its holder has only just taken it.
fn read(file: &mut File) -> Holder {
    let mut text = Vec::new();
    // Nothing can be done where it can't be read: then it is not known who it is.
    file.take(LOCK_BYTES_MAX).read_to_end(&mut text).ok();
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().next().unwrap_or_default();
    let (pid, role) = line.split_once(' ').unwrap_or((line, ""));
    Holder { pid: pid.parse().ok(), role: role.to_owned() }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.pid, self.role.as_str()) {
            (None, _) => f.write_str("another process"),
            (Some(pid), "") => write!(f, "process {pid}"),
            (Some(pid), role) => write!(f, "process {pid} ({})", Escaped(role.as_bytes())),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn home() -> (tempfile::TempDir, DirHandle) {
        let dir = tempfile::tempdir().unwrap();
        let home = DirHandle::open_root(dir.path()).unwrap();
        (dir, home)
    }

    #[track_caller]
    fn check_held(home: &DirHandle, expected: &str) {
        let refused = RootClaim::take(home, "a test").unwrap_err();
        assert_eq!(refused.to_string(), expected);
    }

    #[test]
    fn the_second_is_told_who_has_it_and_comes_after_it() {
        let (dir, home) = home();
        let first = RootClaim::take(&home, "an agent").unwrap();
        let pid = std::process::id();
        check_held(&home, &format!("process {pid} (an agent) has it: stop that one first"));
        drop(first);
        // What a dead one has left says nothing.
        std::fs::write(dir.path().join(LOCK), "1 somebody long gone, with more to say\n").unwrap();
        let second = RootClaim::take(&home, "a session").unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join(LOCK)).unwrap(), format!("{pid} a session\n"));
        check_held(&home, &format!("process {pid} (a session) has it: stop that one first"));
        drop(second);
    }

    #[test]
    fn what_it_says_is_not_believed() {
        let (dir, home) = home();
        let _claim = RootClaim::take(&home, "an agent").unwrap();
        let long = format!("7 {}", "x".repeat(10_000));
        let cut = format!("process 7 ({}) has it: stop that one first", "x".repeat(254));
        for (text, expected) in [
            ("", "another process has it: stop that one first"),
            ("nobody knows", "another process has it: stop that one first"),
            ("7", "process 7 has it: stop that one first"),
            ("7 a \u{1b}[31mred one", "process 7 (a \\u{1b}[31mred one) has it: stop that one first"),
            (&long, &cut),
        ] {
            std::fs::write(dir.path().join(LOCK), text).unwrap();
            check_held(&home, expected);
        }
    }

    #[test]
    fn no_symlink_is_locked_and_nothing_waits_for_a_fifo() {
        let (dir, home) = home();
        let outside = tempfile::NamedTempFile::new().unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join(LOCK)).unwrap();
        assert!(matches!(RootClaim::take(&home, "a test"), Err(ClaimError::Io(_))));
        assert_eq!(std::fs::read(outside.path()).unwrap(), b"");
    }
}

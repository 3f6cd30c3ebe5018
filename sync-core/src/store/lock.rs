//! One session a destination.
//!
//! A destination that is taken is a file under `locks/` in the state directory, locked as long as its holder lives, that
//! names the holder's process and both its roots. The kernel drops the lock with the process, however it ends; the file
//! that it leaves is cleared away by the next that looks. Destinations inside one another are in each other's way like
//! equal ones; sources are not: any number of sessions may read one.
//!
//! It holds among sessions that share a state directory. Beyond these an agent sees to it that each of its roots has one
//! session; here the second is refused sooner, and is told whom to stop.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

use rustix::{fs::FlockOperation, io::Errno};

use super::files;

/// Longest text of a lock that is read, in bytes: two paths and a host fit many times over.
const LOCK_BYTES_MAX: u64 = 64 << 10;

/// The two roots of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    /// The real path of alpha.
    pub(crate) alpha: PathBuf,
    /// Where beta's agent is, as the user wrote it; empty for this machine.
    pub(crate) host: String,
    /// The path of beta there; where that is this machine, its real path.
    pub(crate) beta: PathBuf,
}

/// A destination that can't be taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    /// Another session has it, or a directory that contains it or lies in it.
    #[error("process {pid} has it")]
    Held { holder: Pair, pid: u32 },
    /// The file system refused.
    #[error("can't lock `{}`: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// The right to synchronise to a destination, until it is dropped.
#[derive(Debug)]
pub(crate) struct DestinationLock {
    path: PathBuf,
    _file: File,
}

impl Pair {
    fn clashes_with(&self, other: &Self) -> bool {
        self.host == other.host && (self.beta.starts_with(&other.beta) || other.beta.starts_with(&self.beta))
    }

    /// A file name for the destination.
    fn key(&self) -> String {
        let destination = [self.host.as_bytes(), &[0], self.beta.as_os_str().as_bytes()].concat();
        files::root_key(Path::new(OsStr::from_bytes(&destination)))
    }

    /// Fields end with a zero byte, which no path can hold.
    fn encode(&self, pid: u32) -> Vec<u8> {
        let pid = pid.to_string();
        let fields =
            [pid.as_bytes(), self.alpha.as_os_str().as_bytes(), self.host.as_bytes(), self.beta.as_os_str().as_bytes()];
        fields.into_iter().flat_map(|field| field.iter().copied().chain([0])).collect()
    }

    fn decode(bytes: &[u8]) -> Option<(Self, u32)> {
        let mut fields = bytes.split(|byte| *byte == 0);
        let mut next = || fields.next().map(<[u8]>::to_vec);
        let pid = String::from_utf8(next()?).ok()?.parse().ok()?;
        let alpha = OsString::from_vec(next()?).into();
        let host = String::from_utf8(next()?).ok()?;
        let beta = OsString::from_vec(next()?).into();
        // Without the last zero byte it is not whole.
        next()?;
        Some((Self { alpha, host, beta }, pid))
    }
}

impl DestinationLock {
    /// Takes the destination of `pair` for this process. The state directory is made where it is missing.
    ///
    /// # Errors
    /// Another session, of this process or another, has it or one that overlaps with it.
    pub(crate) fn acquire(state_dir: &Path, pair: &Pair) -> Result<Self, LockError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| LockError::Io { path, source }
        };
        let locks = state_dir.join("locks");
        files::make_private(&locks).map_err(at(&locks))?;
        // Held while looking and taking, so that of two that come at once one sees the other.
        let guard_path = locks.join("guard");
        let guard = files::open_private(&guard_path).map_err(at(&guard_path))?;
        lock(&guard, FlockOperation::LockExclusive).map_err(at(&guard_path))?;

        if let Some((holder, pid)) = find_holder(&locks, pair).map_err(at(&locks))? {
            return Err(LockError::Held { holder, pid });
        }
        let path = locks.join(pair.key()).with_extension("lock");
        let take = || {
            files::remove_if_there(&path)?;
            let mut file = files::create_private(&path)?;
            lock(&file, FlockOperation::NonBlockingLockExclusive)?;
            file.write_all(&pair.encode(std::process::id()))?;
            Ok(file)
        };
        let file = take().map_err(at(&path))?;
        Ok(Self { path, _file: file })
    }
}

impl Drop for DestinationLock {
    fn drop(&mut self) {
        // While the lock is still held: nobody else can have made a file of this name yet.
        let _ = files::remove_if_there(&self.path);
    }
}

/// Who has a destination that overlaps with `pair`'s. Clears away what dead holders left.
fn find_holder(locks: &Path, pair: &Pair) -> io::Result<Option<(Pair, u32)>> {
    for item in fs::read_dir(locks)? {
        let path = item?.path();
        if path.extension().is_none_or(|extension| extension != "lock") {
            continue;
        }
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => {
                files::remove_if_there(&path)?;
                continue;
            }
            Err(Errno::WOULDBLOCK) => {}
            Err(error) => return Err(error.into()),
        }
        let mut text = Vec::new();
        (&mut file).take(LOCK_BYTES_MAX).read_to_end(&mut text)?;
        let Some((holder, pid)) = Pair::decode(&text) else {
            // Held, and nobody can say what: not to be passed over.
            let text = format!("`{}` is locked and does not say by whom", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        };
        if holder.clashes_with(pair) {
            return Ok(Some((holder, pid)));
        }
    }
    Ok(None)
}

fn lock(file: &File, operation: FlockOperation) -> io::Result<()> {
    loop {
        match rustix::fs::flock(file, operation) {
            Err(Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
}

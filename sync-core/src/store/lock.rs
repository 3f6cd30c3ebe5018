//! One session a root.
//!
//! A held root is a file under `locks/` in the state directory, locked as long as its holder lives, that names the
//! holder's process and the root. The kernel drops the lock with the process, however it ends; the file that it leaves
//! is cleared away by the next that looks. Roots inside one another are in each other's way like equal ones.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

use rustix::{fs::FlockOperation, io::Errno};

use super::files;

/// A root that can't be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// A session holds this root, or one that contains it or lies in it.
    #[error("`{}` is in use: process {pid} synchronises `{}`", root.display(), holder.display())]
    Held {
        /// The root that was asked for.
        root: PathBuf,
        /// The root that is held.
        holder: PathBuf,
        /// The process that holds it.
        pid: u32,
    },
    /// The file system refused.
    #[error("can't lock `{}`: {source}", path.display())]
    Io {
        /// The root, or the file of its lock.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// The right to synchronise a root, until it is dropped.
#[derive(Debug)]
pub struct RootLock {
    path: PathBuf,
    root: PathBuf,
    _file: File,
}

impl RootLock {
    /// Takes `root`, an existing directory, for this process. The state directory is made where it is missing.
    ///
    /// # Errors
    /// Another session, of this process or another, has it or a root that overlaps with it.
    pub fn acquire(state_dir: &Path, root: &Path) -> Result<Self, LockError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| LockError::Io { path, source }
        };
        let root = fs::canonicalize(root).map_err(at(root))?;
        let locks = state_dir.join("locks");
        files::make_private(&locks).map_err(at(&locks))?;
        // Held while looking and taking, so that of two that come at once one sees the other.
        let guard_path = locks.join("guard");
        let guard = files::open_private(&guard_path).map_err(at(&guard_path))?;
        lock(&guard, FlockOperation::LockExclusive).map_err(at(&guard_path))?;

        if let Some((holder, pid)) = find_holder(&locks, &root).map_err(at(&locks))? {
            return Err(LockError::Held { root, holder, pid });
        }
        let path = locks.join(files::root_key(&root)).with_extension("lock");
        let take = || {
            files::remove_if_there(&path)?;
            let mut file = files::create_private(&path)?;
            lock(&file, FlockOperation::NonBlockingLockExclusive)?;
            file.write_all(format!("{}\n", std::process::id()).as_bytes())?;
            file.write_all(root.as_os_str().as_bytes())?;
            Ok(file)
        };
        let file = take().map_err(at(&path))?;
        Ok(Self { path, root, _file: file })
    }

    /// The real path of the root.
    pub fn root(&self) -> &Path {
        &self.root
    }
}

impl Drop for RootLock {
    fn drop(&mut self) {
        // While the lock is still held: nobody else can have made a file of this name yet.
        let _ = files::remove_if_there(&self.path);
    }
}

/// Who holds a root that overlaps with `root`. Clears away what dead holders left.
fn find_holder(locks: &Path, root: &Path) -> io::Result<Option<(PathBuf, u32)>> {
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
        (&mut file).take(64 << 10).read_to_end(&mut text)?;
        let mut lines = text.splitn(2, |byte| *byte == b'\n');
        let pid = lines.next().and_then(|pid| str::from_utf8(pid).ok()).and_then(|pid| pid.parse().ok());
        let held = lines.next().map(|held| PathBuf::from(std::ffi::OsString::from_vec(held.to_vec())));
        let (Some(pid), Some(held)) = (pid, held) else {
            // Held, and nobody can say what: not to be passed over.
            let text = format!("`{}` is locked and does not say by whom", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        };
        if held.starts_with(root) || root.starts_with(&held) {
            return Ok(Some((held, pid)));
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

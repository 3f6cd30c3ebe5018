//! State files: private, replaced as a whole or not at all.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, Mode, OFlags},
    io::Errno,
};

use super::{StoreError, record::Fault};

const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);
const DIRECTORY_MODE: u32 = 0o700;

/// A directory of state files, held by one owner.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    /// Open as long as this lives, for the lock on it.
    handle: File,
}

impl Directory {
    /// Makes the directory where it is missing, and takes it.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let open = || {
            make_private(path)?;
            let handle = File::open(path)?;
            if handle.metadata()?.mode() & 0o077 != 0 {
                handle.set_permissions(fs::Permissions::from_mode(DIRECTORY_MODE))?;
            }
            Ok(handle)
        };
        let handle = open().map_err(|source| StoreError::Io { path: path.to_owned(), source })?;
        match rustix::fs::flock(&handle, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { path: path.to_owned(), handle }),
            Err(Errno::WOULDBLOCK) => Err(StoreError::InUse { path: path.to_owned() }),
            Err(error) => Err(StoreError::Io { path: path.to_owned(), source: error.into() }),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn error(&self, source: io::Error) -> StoreError {
        StoreError::Io { path: self.path.clone(), source }
    }

    pub(super) fn error_at(&self, name: &str, source: io::Error) -> StoreError {
        StoreError::Io { path: self.path.join(name), source }
    }

    /// Opens a file to read it; `None` where there is none.
    pub(super) fn read(&self, name: &str) -> Result<Option<File>, Fault> {
        self.open_existing(name, OFlags::RDONLY)
    }

    /// Opens a file to read and write it; `None` where there is none.
    pub(super) fn edit(&self, name: &str) -> Result<Option<File>, Fault> {
        self.open_existing(name, OFlags::RDWR)
    }

    /// Removes a file, if it is there.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.handle, name, rustix::fs::AtFlags::empty()) {
            Ok(()) => self.handle.sync_all(),
            Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Puts what `write` writes in the place of a file: whole, or not at all. Returns the new file. `wait`: it is on the
    /// disk then; else a power cut may leave a part of it.
    pub(super) fn replace(
        &self,
        name: &str,
        wait: bool,
        write: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> io::Result<File> {
        let sync = |file: &File| if wait { file.sync_all() } else { Ok(()) };
        let temporary = format!("{name}.tmp");
        // A file of its own, never what a crash left: that may be open elsewhere, or have another mode.
        self.remove(&temporary)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(&self.handle, temporary.as_str(), flags, FILE_MODE)?);
        let written = write(&mut file).and_then(|()| sync(&file)).and_then(|()| {
            rustix::fs::renameat(&self.handle, temporary.as_str(), &self.handle, name)?;
            sync(&self.handle)
        });
        if let Err(error) = written {
            // The first error is the one to tell; the space matters where the disk is full.
            let _ = self.remove(&temporary);
            return Err(error);
        }
        Ok(file)
    }

    fn open_existing(&self, name: &str, access: OFlags) -> Result<Option<File>, Fault> {
        let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&self.handle, name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(Fault::unknown(format!("the {name} is a symlink"))),
            Err(error) => return Err(Fault::Io(error.into())),
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(Fault::unknown(format!("the {name} is not a file")));
        }
        // What somebody else could have written is no evidence for a deletion.
        if metadata.uid() != rustix::process::geteuid().as_raw() || metadata.mode() & 0o022 != 0 {
            return Err(Fault::unknown(format!("the {name} may have been written by another user")));
        }
        Ok(Some(file))
    }
}

/// Makes a directory, and those above it that are missing, for the user alone.
pub(super) fn make_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path)
}

/// Creates a private file that must not exist yet.
pub(super) fn create_private(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(path, flags, FILE_MODE)?))
}

/// Opens a private file, made where it is missing.
pub(super) fn open_private(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(path, flags, FILE_MODE)?))
}

/// A file name for a root: one for each path, whatever its length and bytes.
pub(super) fn root_key(root: &Path) -> String {
    blake3::hash(root.as_os_str().as_bytes()).to_hex().chars().take(32).collect()
}

/// Removes a file; that it is gone already is fine.
pub(super) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

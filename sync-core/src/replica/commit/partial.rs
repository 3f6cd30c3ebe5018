//! What has arrived of a file that is streamed, kept across connections.
//!
//! `.synctl/partial/<content id in hexadecimal>`. What it holds is believed in nothing: it is a source of chunks, each of
//! which is verified. How many are kept, and for how long, is bounded when the root is opened. Two streams of one content
//! get a file each, of which the second is not kept.

use std::{
    collections::BTreeSet,
    fs::{File, TryLockError},
    io::{self, ErrorKind},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use sync_proto::{ContentId, Name};

use crate::{
    replica::stage::{fixed, names, private_dir},
    sys::DirHandle,
};

/// Most partial files that are kept.
pub const PARTIALS_MAX: usize = 64;

/// How long a partial file is kept after it was last written.
pub const PARTIAL_AGE_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How long the file of a second stream of one content stays when its process has died.
const SECOND_AGE_MAX: Duration = Duration::from_secs(60 * 60);

/// The partial files of a root.
#[derive(Debug)]
pub(super) struct Partials {
    dir: DirHandle,
    /// What streams of this process are writing.
    busy: Mutex<Busy>,
}

#[derive(Debug, Default)]
struct Busy {
    names: BTreeSet<String>,
    next: u64,
}

/// A file that is being received. Dropped, it stays for a later connection.
#[derive(Debug)]
pub struct Partial {
    partials: Arc<Partials>,
    name: String,
    file: File,
    keep: bool,
}

impl Partials {
    /// Opens what is kept in `home`, and removes what is too old or too much.
    pub(super) fn open(home: &DirHandle) -> io::Result<Arc<Self>> {
        let partials = Self { dir: private_dir(home, fixed("partial"))?, busy: Mutex::default() };
        partials.reap()?;
        Ok(Arc::new(partials))
    }

    fn reap(&self) -> io::Result<()> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut kept = Vec::new();
        for bytes in names(&self.dir)? {
            let Ok(name) = Name::new(&bytes) else { continue };
            let written = self.dir.stat(name).map_or(0, |stat| stat.stamp.mtime_ns);
            let age = now.saturating_sub(Duration::from_nanos(u64::try_from(written).unwrap_or(0)));
            let is_kept = parse(&bytes).is_some();
            if age > if is_kept { PARTIAL_AGE_MAX } else { SECOND_AGE_MAX } {
                self.dir.remove_file(name).ok();
            } else if is_kept {
                kept.push((written, bytes));
            }
        }
        kept.sort_unstable_by(|left, right| right.cmp(left));
        for (_, bytes) in kept.iter().skip(PARTIALS_MAX) {
            if let Ok(name) = Name::new(bytes) {
                self.dir.remove_file(name).ok();
            }
        }
        Ok(())
    }

    /// Which contents have a partial file that nobody is writing.
    pub(super) fn list(&self) -> Vec<ContentId> {
        let busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let is_free = |name: &[u8]| std::str::from_utf8(name).is_ok_and(|name| !busy.names.contains(name));
        let names = names(&self.dir).unwrap_or_default();
        let mut ids: Vec<_> = names.iter().filter(|name| is_free(name)).filter_map(|name| parse(name)).collect();
        ids.sort_unstable();
        ids
    }

    pub(super) fn take(self: &Arc<Self>, id: ContentId) -> io::Result<Partial> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let own = hexadecimal(id);
        if busy.names.insert(own.clone()) {
            // The lock tells of streams of other processes on this root, which write the same file.
            match self.open_file(&own) {
                // An error means that this file system has no locks: it goes without.
                Ok(file) if !matches!(file.try_lock(), Err(TryLockError::WouldBlock)) => {
                    return Ok(Partial { partials: Arc::clone(self), name: own, file, keep: true });
                }
                Ok(_) => {}
                Err(error) => {
                    busy.names.remove(&own);
                    return Err(error);
                }
            }
            busy.names.remove(&own);
        }
        loop {
            busy.next += 1;
            let name = format!("{own}.{}.{}", std::process::id(), busy.next);
            match self.dir.create_new(name_of(&name)?, 0o600) {
                Ok(file) => return Ok(Partial { partials: Arc::clone(self), name, file, keep: false }),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn open_file(&self, name: &str) -> io::Result<File> {
        match self.dir.open_file_for_writing(name_of(name)?) {
            Ok((file, _)) => Ok(file),
            Err(error) if error.kind() == ErrorKind::NotFound => self.dir.create_new(name_of(name)?, 0o600),
            Err(error) => Err(error),
        }
    }
}

impl Partial {
    /// The file, open for reading and writing.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Removes it: what it holds is of no use.
    pub fn discard(mut self) {
        self.keep = false;
    }

    /// Where it is.
    pub(super) fn place(&self) -> io::Result<(&DirHandle, Name<'_>)> {
        Ok((&self.partials.dir, name_of(&self.name)?))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        let mut busy = self.partials.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.names.remove(&self.name);
        if !self.keep
            && let Ok(name) = name_of(&self.name)
        {
            // Not there where it was put in its place.
            self.partials.dir.remove_file(name).ok();
        }
    }
}

fn name_of(text: &str) -> io::Result<Name<'_>> {
    Name::new(text.as_bytes()).map_err(|error| io::Error::new(ErrorKind::InvalidFilename, error))
}

fn hexadecimal(id: ContentId) -> String {
    blake3::Hash::from_bytes(id.0).to_hex().to_string()
}

fn parse(name: &[u8]) -> Option<ContentId> {
    blake3::Hash::from_hex(name).ok().map(|hash| ContentId(*hash.as_bytes()))
}

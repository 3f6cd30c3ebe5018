//! Which chunks the large files of a root have: what was sent, received or read of them, kept between runs.
//!
//! It serves both sides of a [transfer](super::transfer). Whoever sends finds in it the chunks of the version that the other
//! side has, and says the next one against them; or learns that some of a new file has gone over before, and that it is worth
//! asking. Whoever receives finds where a chunk that was announced stands in its own root ([`Here`]).
//!
//! It is a hint and nothing else: every chunk is read and hashed before it is used, files may have changed, the whole index
//! may be lost, damaged or another run's. All of that costs bytes on the wire and never content. Bounded by [`CHUNKS_MAX`]
//! and [`INDEX_BYTES_MAX`], the oldest contents go first. It holds contents that took part in a session of this root, and
//! a chunk is only looked for in files that take part in the present one.
//!
//! What comes whole is not cut while it travels, which a first sync would pay for: a thread of the index reads it again some
//! time after, when no file is being streamed, and waits for nothing where there is nothing to do.
//!
//! A crash leaves the file of the last time, or none.

mod file;
mod here;
mod kept;
mod later;
mod promise;

use std::{
    io::{self, ErrorKind, Read, Write},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use sync_proto::{ContentId, Name, SyncPath};

pub use self::here::Here;
use self::{
    kept::{Kept, Known},
    later::{Job, Worker},
};
use super::stage::{fixed, names, private_dir};
use crate::{chunk::Cuts, sys::DirHandle};

/// Most chunks that are remembered: 2 GiB of files of up to 64 MiB, 8 GiB of larger ones. Some 10 MB of memory, once a large
/// file is on its way.
pub const CHUNKS_MAX: usize = 1 << 17;

/// Most bytes of what is remembered, in its file.
pub const INDEX_BYTES_MAX: usize = 4 << 20;

/// Files shorter than this are not remembered, in bytes: they travel in batches.
pub const REMEMBERED_BYTES_MIN: u64 = 1 << 20;

/// Most indexes in a directory of them, and how long one is kept there after it was last written.
const INDEXES_MAX: usize = 32;
const INDEX_AGE_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The directory of indexes of a person's roots, and what one is called in the home of a root.
const CHUNKS: &str = "chunks";

/// The chunk index of one root.
#[derive(Debug)]
pub struct ChunkIndex {
    shared: Arc<Shared>,
    /// Begun with the first file that has to be read.
    worker: Mutex<Option<Worker>>,
}

/// What the index and its thread share.
#[derive(Debug)]
struct Shared {
    home: DirHandle,
    name: String,
    root: DirHandle,
    /// `None`: not read yet.
    kept: Mutex<Option<Kept>>,
    /// How many files are being streamed.
    streams: AtomicUsize,
    /// When the last of them ended, in milliseconds after `began`.
    quiet_since: AtomicU64,
    began: Instant,
    stop: AtomicBool,
}

/// A file is being streamed: what is not urgent waits.
#[derive(Debug)]
pub struct Streaming(Arc<Shared>);

impl ChunkIndex {
    /// The index in `home` of the files beneath `root`. Nothing is read before it is asked for something.
    pub fn new(home: DirHandle, root: DirHandle) -> Self {
        Self::named(home, CHUNKS.to_owned(), root)
    }

    /// The index of the files beneath `root` in the directory of indexes in `home`, which is made where it is missing. `key`
    /// says whose it is: anything that is the same in the next run.
    pub fn among(home: &DirHandle, key: &[u8], root: DirHandle) -> io::Result<Self> {
        let dir = private_dir(home, fixed(CHUNKS))?;
        let name: String = blake3::hash(key).to_hex().chars().take(32).collect();
        reap(&dir, &name)?;
        Ok(Self::named(dir, name, root))
    }

    fn named(home: DirHandle, name: String, root: DirHandle) -> Self {
        let shared = Shared {
            home,
            name,
            root,
            kept: Mutex::default(),
            streams: AtomicUsize::new(0),
            quiet_since: AtomicU64::new(0),
            began: Instant::now(),
            stop: AtomicBool::new(false),
        };
        Self { shared: Arc::new(shared), worker: Mutex::default() }
    }

    /// The chunks of a content, if they are known.
    pub fn cuts(&self, content: ContentId) -> Option<Cuts> {
        self.shared.kept().as_ref()?.of(content).map(|known| known.cuts.clone())
    }

    /// The chunks of a content, which stands at `path` or is about to.
    pub fn note(&self, content: ContentId, path: &SyncPath, cuts: Cuts) {
        if cuts.bytes() < REMEMBERED_BYTES_MIN {
            return;
        }
        self.shared.put(Known { content, path: path.clone(), cuts });
        self.tell(Job::Save);
    }

    /// A content of `len` bytes stands at `path`, or is about to: it is read when there is time. `again`: it has replaced
    /// another, and may soon be replaced itself.
    pub fn note_later(&self, content: ContentId, path: &SyncPath, len: u64, again: bool) {
        if len >= REMEMBERED_BYTES_MIN {
            self.tell(Job::Read { content, path: path.clone(), len, again });
        }
    }

    /// What is known of a content is of no use.
    pub fn forget(&self, content: ContentId) {
        if let Some(kept) = self.shared.kept().as_mut() {
            kept.forget(content);
        }
        self.tell(Job::Save);
    }

    /// Says that a file is being streamed, as long as the value lives.
    pub fn streaming(&self) -> Streaming {
        self.shared.streams.fetch_add(1, Ordering::Relaxed);
        Streaming(Arc::clone(&self.shared))
    }

    /// Ends the thread, and keeps what is known for the next run. Waits for the disk.
    pub fn close(&self) {
        let worker = self.worker().take();
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(worker) = worker {
            worker.end();
        }
    }

    fn tell(&self, job: Job) {
        let mut worker = self.worker();
        if worker.is_none() && !self.shared.stop.load(Ordering::Relaxed) {
            // Without a thread less is remembered.
            *worker = Worker::start(&self.shared).ok();
        }
        if let Some(worker) = &*worker {
            worker.tell(job);
        }
    }

    fn worker(&self) -> MutexGuard<'_, Option<Worker>> {
        self.worker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// What is known, read from its file the first time. It is there.
    fn kept(&self) -> MutexGuard<'_, Option<Kept>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.is_none() {
            *kept = Some(self.load().unwrap_or_default());
        }
        kept
    }

    fn put(&self, known: Known) {
        if let Some(kept) = self.kept().as_mut() {
            kept.put(known);
        }
    }

    fn load(&self) -> Option<Kept> {
        let (file, _) = self.home.open_file(name_of(&self.name).ok()?).ok()?;
        let mut bytes = Vec::new();
        file.take(file::FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).ok()?;
        let kept = file::decode(&bytes);
        if kept.is_none() {
            tracing::debug!("the chunk index is damaged or of another version: it is made anew");
        }
        kept
    }

    /// Writes it, in the place of what stands there. Not synced: what a power cut makes of it is found out.
    fn save(&self) -> io::Result<()> {
        let bytes = match &*self.kept() {
            Some(kept) => file::encode(kept),
            None => return Ok(()),
        };
        let new = format!("{}.new", self.name);
        let (new, own) = (name_of(&new)?, name_of(&self.name)?);
        match self.home.remove_file(new) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = self.home.create_new(new, 0o600)?;
        let done = file.write_all(&bytes).and_then(|()| self.home.rename_replace(new, &self.home, own));
        if done.is_err() {
            // A full disk, mostly: no reason to make it fuller.
            self.home.remove_file(new).ok();
        }
        done
    }

    /// How long nothing has been streamed; `None`: something is.
    fn quiet_for(&self) -> Option<Duration> {
        if self.streams.load(Ordering::Relaxed) > 0 {
            return None;
        }
        let since = Duration::from_millis(self.quiet_since.load(Ordering::Relaxed));
        Some(self.began.elapsed().saturating_sub(since))
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        let now = u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.quiet_since.store(now, Ordering::Relaxed);
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Removes what is too old or too much, but not `own`.
fn reap(dir: &DirHandle, own: &str) -> io::Result<()> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut kept = Vec::new();
    for bytes in names(dir)? {
        let Ok(name) = Name::new(&bytes) else { continue };
        if *bytes == *own.as_bytes() {
            continue;
        }
        let written = dir.stat(name).map_or(0, |stat| stat.stamp.mtime_ns);
        let age = now.saturating_sub(Duration::from_nanos(u64::try_from(written).unwrap_or(0)));
        if age > INDEX_AGE_MAX {
            dir.remove_file(name).ok();
        } else {
            kept.push((written, bytes));
        }
    }
    kept.sort_unstable_by(|left, right| right.cmp(left));
    for (_, bytes) in kept.iter().skip(INDEXES_MAX - 1) {
        if let Ok(name) = Name::new(bytes) {
            dir.remove_file(name).ok();
        }
    }
    Ok(())
}

fn name_of(text: &str) -> io::Result<Name<'_>> {
    Name::new(text.as_bytes()).map_err(|error| io::Error::new(ErrorKind::InvalidFilename, error))
}

/// Reads what a file of an index holds, as far as fuzzing has to know: any bytes, without panic. Whether they were taken.
pub fn is_index(bytes: &[u8]) -> bool {
    file::decode(bytes).is_some()
}

#[cfg(test)]
mod tests;

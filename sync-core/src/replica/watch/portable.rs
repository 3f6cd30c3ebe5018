//! The watcher where inotify is not at hand, made of the `notify` crate.
//!
//! FSEvents and Windows watch a whole tree at once: the root is watched recursively and the table of directories only says
//! which events count. Elsewhere each directory is watched by itself, as on Linux, but by its path.

mod cookie;

use std::{
    collections::BTreeSet,
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, never, select};
use notify::{
    Config, ErrorKind, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode, CreateKind, ModifyKind, RenameMode},
};
use sync_proto::SyncPath;

use self::cookie::Cookies;
use super::{Drained, Hint, WatchError, push};
use crate::sys::DirHandle;

/// Whether the platform watches a tree at once.
const RECURSIVE: bool = cfg!(any(target_os = "macos", target_os = "windows"));

/// Events that wait to be read. What comes on top is dropped and told as [`Hint::Lost`], as the kernel does it on Linux.
const EVENTS_MAX: usize = 16_384;

/// Hints that one call gathers before it returns, about.
const HINTS_PER_WAIT: usize = 8192;

struct Shared {
    root: PathBuf,
    backend: Mutex<RecommendedWatcher>,
    watched: Mutex<BTreeSet<SyncPath>>,
    lost: Arc<AtomicBool>,
    wake: Sender<()>,
}

/// Adds and removes watches. Clones are of one and the same watcher.
#[derive(Clone)]
pub struct Watcher(Arc<Shared>);

/// Reads what the platform tells.
pub struct Events {
    shared: Arc<Shared>,
    events: Receiver<notify::Result<Event>>,
    woken: Receiver<()>,
    cookies: Cookies,
}

/// Ends a wait from another thread.
#[derive(Clone)]
pub struct Waker(Sender<()>);

/// Starts to watch: nothing yet, directories are added one by one. `root` is checked to be a directory.
pub fn watch(root: &Path) -> io::Result<(Watcher, Events)> {
    let root = fs::canonicalize(root)?;
    if !fs::metadata(&root)?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    let (sender, events) = bounded(EVENTS_MAX);
    let (wake, woken) = bounded(1);
    let lost = Arc::new(AtomicBool::new(false));
    let (overflow, overflow_wake) = (lost.clone(), wake.clone());
    let handler = move |event| {
        if let Err(TrySendError::Full(_)) = sender.try_send(event) {
            overflow.store(true, Ordering::Release);
            let _ = overflow_wake.try_send(());
        }
    };
    let backend = RecommendedWatcher::new(handler, Config::default().with_follow_symlinks(false)).map_err(io_error)?;
    let shared =
        Arc::new(Shared { root, backend: Mutex::new(backend), watched: Mutex::new(BTreeSet::new()), lost, wake });
    Ok((Watcher(shared.clone()), Events { shared, events, woken, cookies: Cookies::new()? }))
}

impl Shared {
    fn watched(&self) -> MutexGuard<'_, BTreeSet<SyncPath>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn backend(&self) -> MutexGuard<'_, RecommendedWatcher> {
        self.backend.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn absolute(&self, path: &SyncPath) -> PathBuf {
        let mut absolute = self.root.clone();
        absolute.extend(path.components().map(|name| os_name(name.as_bytes())));
        absolute
    }

    fn unwatch_below(&self, path: &SyncPath) {
        let below: Vec<_> = {
            let mut watched = self.watched();
            let below: Vec<_> =
                watched.range(path.clone()..).take_while(|other| other.starts_with(path)).cloned().collect();
            below.iter().for_each(|path| {
                watched.remove(path);
            });
            below
        };
        for path in below {
            if !RECURSIVE || path.is_root() {
                // One that is gone already is what was wanted.
                let _ = self.backend().unwatch(&self.absolute(&path));
            }
        }
    }
}

impl Watcher {
    /// Watches the directory that stands at `path`. Adding it again is no error. Call this before the directory is listed.
    pub fn add(&self, path: &SyncPath, _dir: &DirHandle) -> Result<(), WatchError> {
        if !RECURSIVE || path.is_root() {
            let mode = if RECURSIVE { RecursiveMode::Recursive } else { RecursiveMode::NonRecursive };
            self.0.backend().watch(&self.0.absolute(path), mode).map_err(watch_error)?;
        }
        self.0.watched().insert(path.clone());
        Ok(())
    }

    /// Ends the watches of a directory and of all beneath it.
    pub fn remove_below(&self, path: &SyncPath) {
        self.0.unwatch_below(path);
    }

    /// Whether the directory that stands at `path`, by all that has been read of the events, is watched.
    pub fn is_watched(&self, path: &SyncPath) -> bool {
        self.0.watched().contains(path)
    }

    /// After [`Hint::Lost`] and the rescan that followed: nothing to do here, where watches go by path.
    pub fn retire_lost(&self) {}

    /// How many directories are watched.
    pub fn watched(&self) -> usize {
        self.0.watched().len()
    }

    /// What ends a wait of the [`Events`].
    pub fn waker(&self) -> Waker {
        Waker(self.0.wake.clone())
    }
}

impl Waker {
    /// Makes the wait under way return, or the next one where there is none.
    pub fn wake(&self) {
        // Full: a wake-up is under way already.
        let _ = self.0.try_send(());
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher").field("watched", &self.watched()).finish_non_exhaustive()
    }
}

impl Events {
    /// Waits for hints, a wake-up or the end of `timeout`, and appends the hints there are.
    pub fn wait(&mut self, timeout: Option<Duration>, hints: &mut Vec<Hint>) -> io::Result<()> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let first = hints.len();
        loop {
            self.take(first, hints)?;
            if hints.len() > first {
                return Ok(());
            }
            let expired = deadline.map_or_else(never, crossbeam_channel::at);
            select! {
                recv(self.events) -> event => match event {
                    Ok(event) => self.decode(event, first, hints)?,
                    Err(_) => return Err(ended()),
                },
                recv(self.woken) -> _ => {
                    return self.take(first, hints);
                }
                recv(expired) -> _ => return Ok(()),
            }
        }
    }

    fn take(&self, first: usize, hints: &mut Vec<Hint>) -> io::Result<()> {
        if self.shared.lost.swap(false, Ordering::AcqRel) {
            push(hints, first, Hint::Lost);
        }
        while hints.len() - first < HINTS_PER_WAIT
            && let Ok(event) = self.events.try_recv()
        {
            self.decode(event, first, hints)?;
        }
        Ok(())
    }

    fn decode(&self, event: notify::Result<Event>, first: usize, hints: &mut Vec<Hint>) -> io::Result<()> {
        let event = event.map_err(io_error)?;
        if event.need_rescan() {
            push(hints, first, Hint::Lost);
        }
        // Both ends of a rename have been told already, one by one.
        if event.kind == EventKind::Modify(ModifyKind::Name(RenameMode::Both)) && cfg!(target_os = "linux") {
            return Ok(());
        }
        let last = event.paths.len().saturating_sub(1);
        for (index, absolute) in event.paths.iter().enumerate() {
            let Ok(below) = absolute.strip_prefix(&self.shared.root) else { continue };
            let Some(path) = sync_path(below) else { continue };
            let hint = match event.kind {
                EventKind::Modify(ModifyKind::Name(RenameMode::Both)) if index < last => Some(Hint::Gone(path)),
                kind => classify(kind, path, absolute),
            };
            if let Some(hint) = hint {
                self.tell(hint, first, hints);
            }
        }
        Ok(())
    }

    /// Passes on what concerns the root or stands in a watched directory.
    fn tell(&self, hint: Hint, first: usize, hints: &mut Vec<Hint>) {
        let (path, leaves) = match &hint {
            Hint::Gone(path) | Hint::Directory(path) => (path, true),
            Hint::Finished(path) | Hint::Modified(path) | Hint::Attributes(path) => (path, false),
            Hint::Moved { .. } | Hint::Lost | Hint::RootGone => return push(hints, first, hint),
        };
        let Some(parent) = path.parent() else {
            if matches!(hint, Hint::Gone(_)) {
                push(hints, first, Hint::RootGone);
            } else if matches!(hint, Hint::Attributes(_)) {
                push(hints, first, hint);
            }
            return;
        };
        if !self.shared.watched().contains(&parent) {
            return;
        }
        if leaves {
            // Watches go by path here: those of a directory that left are of no use to one that comes in its place.
            self.shared.unwatch_below(path);
        }
        push(hints, first, hint);
    }
}

/// What an event of this kind says of a path. Where the platform says little, what stands there now decides.
fn classify(kind: EventKind, path: SyncPath, absolute: &Path) -> Option<Hint> {
    let is_dir = || fs::symlink_metadata(absolute).map(|metadata| metadata.is_dir());
    let appeared = |path: SyncPath, file: fn(SyncPath) -> Hint| match is_dir() {
        Ok(true) => Hint::Directory(path),
        Ok(false) => file(path),
        Err(_) => Hint::Gone(path),
    };
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => Some(Hint::Finished(path)),
        EventKind::Access(_) => None,
        EventKind::Create(CreateKind::Folder) => Some(Hint::Directory(path)),
        EventKind::Create(CreateKind::File) => Some(Hint::Modified(path)),
        EventKind::Create(_) => Some(appeared(path, Hint::Modified)),
        EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(RenameMode::From)) => Some(Hint::Gone(path)),
        // It did appear, whatever became of it since.
        EventKind::Modify(ModifyKind::Name(RenameMode::To)) if is_dir().is_err() => Some(Hint::Finished(path)),
        EventKind::Modify(ModifyKind::Name(_)) => Some(appeared(path, Hint::Finished)),
        EventKind::Modify(ModifyKind::Metadata(_)) => Some(Hint::Attributes(path)),
        // A directory is modified when an entry of it changes, and that is told of the entry.
        EventKind::Modify(_) if is_dir().unwrap_or(false) => None,
        EventKind::Modify(_) | EventKind::Any => Some(Hint::Modified(path)),
        EventKind::Other => None,
    }
}

fn sync_path(below: &Path) -> Option<SyncPath> {
    let mut components = Vec::new();
    for component in below.components() {
        components.push(name_bytes(component.as_os_str())?);
    }
    SyncPath::parse(&components.join(&b'/')).ok()
}

#[cfg(unix)]
fn name_bytes(name: &std::ffi::OsStr) -> Option<&[u8]> {
    Some(std::os::unix::ffi::OsStrExt::as_bytes(name))
}

#[cfg(not(unix))]
fn name_bytes(name: &std::ffi::OsStr) -> Option<&[u8]> {
    name.to_str().map(str::as_bytes)
}

#[cfg(unix)]
fn os_name(name: &[u8]) -> &std::ffi::OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(name)
}

#[cfg(not(unix))]
fn os_name(name: &[u8]) -> std::ffi::OsString {
    String::from_utf8_lossy(name).into_owned().into()
}

fn ended() -> io::Error {
    io::Error::other("the watcher's thread has ended")
}

fn io_error(error: notify::Error) -> io::Error {
    match error.kind {
        ErrorKind::Io(error) => error,
        _ => io::Error::other(error),
    }
}

fn watch_error(error: notify::Error) -> WatchError {
    match error.kind {
        ErrorKind::MaxFilesWatch => WatchError::LimitReached { limit: None },
        ErrorKind::PathNotFound | ErrorKind::WatchNotFound => WatchError::Gone,
        ErrorKind::Io(error) if error.kind() == io::ErrorKind::NotFound => WatchError::Gone,
        ErrorKind::Io(error) => WatchError::Io(error),
        _ => WatchError::Io(io::Error::other(error)),
    }
}

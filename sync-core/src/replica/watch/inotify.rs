//! The watcher on Linux: one inotify watch a directory, decoded in order.

use std::{
    ffi::{CStr, OsStr, OsString},
    io,
    mem::MaybeUninit,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll},
    fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags},
    io::Errno,
};
use sync_proto::SyncPath;

use super::{
    Drained, Hint, WatchError, push,
    table::{Contradiction, NodeId, ROOT, Table},
};
use crate::sys::DirHandle;

/// How long a directory that was moved away is waited for at the other end, where the kernel's two events do not stand in
/// one read. They are queued one right after the other, so that this is waited out only for what left the root.
const RENAME_PAIR_WAIT: Duration = Duration::from_millis(2);

/// Events of one read. The largest event has 16 + 256 bytes.
const READ_BYTES: usize = 64 << 10;

/// Hints that one call gathers before it returns, about. More stay queued in the kernel.
const HINTS_PER_WAIT: usize = 8192;

struct Shared {
    inotify: OwnedFd,
    wake: OwnedFd,
    /// Held while a watch is added, and while events are read and decoded: so an event of a watch that the table does not
    /// know yet can't be decoded, and which events are older than a watch is known to the byte.
    state: Mutex<State>,
    /// The root's own name in the directory above it; `None` for `/`.
    name: Option<OsString>,
}

struct State {
    table: Table,
    /// Bytes of events decoded so far. With what is queued it is the age of a watch.
    decoded: u64,
    /// The watch of the directory above the root.
    above: Option<i32>,
}

/// Adds and removes watches. Clones are of one and the same watcher.
#[derive(Clone)]
pub struct Watcher(Arc<Shared>);

/// Reads what the kernel tells.
pub struct Events {
    shared: Arc<Shared>,
    buffer: Box<[MaybeUninit<u8>]>,
    departed: Vec<Departed>,
}

/// Ends a wait from another thread.
#[derive(Clone)]
pub struct Waker(Arc<Shared>);

/// A directory that was moved away, and may yet turn up elsewhere beneath the root.
struct Departed {
    cookie: u32,
    from: SyncPath,
    node: Option<NodeId>,
    /// Where in the stream of events it was told.
    offset: u64,
    /// Where among the hints the move stands: those from there on may have been named by the old path after the move.
    position: usize,
    deadline: Instant,
}

/// Starts to watch: nothing yet, directories are added one by one. `root` is checked to be a directory.
pub fn watch(root: &Path) -> io::Result<(Watcher, Events)> {
    let root = std::fs::canonicalize(root)?;
    if !std::fs::metadata(&root)?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    let name = root.file_name().map(OsStr::to_owned);
    let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let state = Mutex::new(State { table: Table::new(), decoded: 0, above: None });
    let shared = Arc::new(Shared { inotify, wake, state, name });
    let buffer = vec![MaybeUninit::uninit(); READ_BYTES].into_boxed_slice();
    Ok((Watcher(shared.clone()), Events { shared, buffer, departed: Vec::new() }))
}

impl Shared {
    /// A panic while the lock was held leaves a table that is whole as Rust values go, and hints need no more.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes watches out of the kernel. One that is gone there already is what was wanted.
    fn unwatch(&self, watches: impl IntoIterator<Item = i32>) {
        for watch in watches {
            let _ = inotify::remove_watch(&self.inotify, watch);
        }
    }
}

impl Watcher {
    /// Watches the directory `dir` that stands at `path`. Adding it again, there or elsewhere, is no error: it counts as
    /// standing at the last path given. Call this before the directory is listed.
    pub fn add(&self, path: &SyncPath, dir: &DirHandle) -> Result<(), WatchError> {
        let mut mask = WatchFlags::CLOSE_WRITE
            | WatchFlags::MODIFY
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::ATTRIB
            | WatchFlags::ONLYDIR
            | WatchFlags::EXCL_UNLINK;
        if path.is_root() {
            mask |= WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF;
        }
        let watch_path = dir.watch_path().map_err(WatchError::Io)?;
        let mut state = self.0.state();
        let watch = inotify::add_watch(&self.0.inotify, &watch_path, mask).map_err(|error| match error {
            Errno::NOSPC => WatchError::LimitReached { limit: watch_limit() },
            Errno::NOENT | Errno::NOTDIR => WatchError::Gone,
            other => WatchError::Io(other.into()),
        })?;
        let queued = rustix::io::ioctl_fionread(&self.0.inotify).map_err(|error| WatchError::Io(error.into()))?;
        let since = state.decoded + queued;
        let displaced = state.table.insert(path, watch, since);
        if path.is_root() && state.above.is_none() && self.0.name.is_some() {
            // A directory that someone holds open is not told when it is deleted; the one above it is. Where that can't be
            // watched (not ours to read, the limit, it is watched already) the scan that fails must say it.
            let flags = WatchFlags::DELETE | WatchFlags::MOVED_FROM | WatchFlags::ONLYDIR | WatchFlags::MASK_CREATE;
            state.above = inotify::add_watch(&self.0.inotify, watch_path.join(".."), flags).ok();
        }
        drop(state);
        self.0.unwatch(displaced);
        Ok(())
    }

    /// Ends the watches of a directory and of all beneath it.
    pub fn remove_below(&self, path: &SyncPath) {
        let removed = self.0.state().table.remove_path(path);
        self.0.unwatch(removed);
    }

    /// Whether the directory that stands at `path`, by all that has been read of the events, is watched.
    pub fn is_watched(&self, path: &SyncPath) -> bool {
        self.0.state().table.is_watched(path)
    }

    /// After [`Hint::Lost`] and the rescan that followed: ends the watches of directories that the rescan did not add
    /// again, because they have left the root unseen.
    pub fn retire_lost(&self) {
        let retired = self.0.state().table.retire();
        self.0.unwatch(retired);
    }

    /// How many directories are watched.
    pub fn watched(&self) -> usize {
        self.0.state().table.watched()
    }

    /// What ends a wait of the [`Events`].
    pub fn waker(&self) -> Waker {
        Waker(self.0.clone())
    }
}

impl Waker {
    /// Makes the wait under way return, or the next one where there is none.
    pub fn wake(&self) {
        // The only way to fail is a counter that is full, and then the wait ends anyway.
        let _ = rustix::io::write(&self.0.wake, &1u64.to_ne_bytes());
    }
}

impl Events {
    /// Waits for hints, a wake-up or the end of `timeout`, and appends the hints there are. Without a timeout, and
    /// nothing going on, this process is not woken up.
    pub fn wait(&mut self, timeout: Option<Duration>, hints: &mut Vec<Hint>) -> io::Result<()> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let first = hints.len();
        let mut done = false;
        loop {
            self.read(first, hints, None)?;
            self.give_up_departed(first, hints);
            done |= hints.len() > first;
            // Not before it is known what became of a directory that was moved away: its hints are named by that.
            let pair = self.departed.iter().map(|departed| departed.deadline).min();
            if done && pair.is_none() {
                return Ok(());
            }
            done |= self.poll(pair.or(deadline))?;
            done |= deadline.is_some_and(|deadline| Instant::now() >= deadline);
        }
    }

    /// Appends what the kernel has queued by now, without waiting for more: that is all that has changed. The root is of use
    /// to the twin alone.
    pub fn drain(&mut self, _root: Option<&DirHandle>, hints: &mut Vec<Hint>) -> io::Result<Drained> {
        let first = hints.len();
        let queued = rustix::io::ioctl_fionread(&self.shared.inotify)?;
        self.read(first, hints, Some(queued))?;
        while let Some(pair) = self.departed.iter().map(|departed| departed.deadline).min() {
            self.poll(Some(pair))?;
            self.read(first, hints, None)?;
            self.give_up_departed(first, hints);
        }
        Ok(Drained::Exact)
    }

    /// Waits until there is something to read, a wake-up (then true) or the time has come.
    fn poll(&self, until: Option<Instant>) -> io::Result<bool> {
        let timeout = until.map(|until| until.saturating_duration_since(Instant::now()));
        // A span beyond what the kernel can count is no limit.
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut fds = [PollFd::new(&self.shared.inotify, PollFlags::IN), PollFd::new(&self.shared.wake, PollFlags::IN)];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [_, wake] = fds;
        if wake.revents().is_empty() {
            return Ok(false);
        }
        let mut count = [0; 8];
        match rustix::io::read(&self.shared.wake, &mut count) {
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads and decodes what is queued: at least `bytes`; where that is not said all there is, up to about
    /// [`HINTS_PER_WAIT`].
    fn read(&mut self, first: usize, hints: &mut Vec<Hint>, bytes: Option<u64>) -> io::Result<()> {
        let Self { shared, buffer, departed } = self;
        let mut reader = inotify::Reader::new(shared.inotify.as_fd(), buffer);
        let mut done = 0;
        loop {
            // The lock is held from a read until all that it brought is decoded.
            let mut state = shared.state();
            loop {
                let event = match reader.next() {
                    Ok(event) => event,
                    Err(Errno::AGAIN) => return Ok(()),
                    Err(Errno::INTR) => break,
                    Err(error) => return Err(error.into()),
                };
                let name = event.file_name().map(CStr::to_bytes);
                let State { table, decoded, above } = &mut *state;
                if *above == Some(event.wd()) {
                    let is_root = name.is_some() && name == shared.name.as_ref().map(|name| name.as_bytes());
                    if is_root && event.events().contains(ReadFlags::ISDIR) {
                        push(hints, first, Hint::RootGone);
                    }
                }
                let mut decoder = Decoder { shared, table, offset: *decoded, departed, first, hints };
                decoder.decode(event.wd(), event.events(), event.cookie(), name);
                // As the kernel counts: a header, and the name with its NUL in steps of a header.
                let event_bytes = 16 + name.map_or(0, |name| (name.len() as u64 + 1).next_multiple_of(16));
                *decoded += event_bytes;
                done += event_bytes;
                if reader.is_buffer_empty() {
                    break;
                }
            }
            let enough = match bytes {
                Some(bytes) => done >= bytes,
                None => hints.len() - first >= HINTS_PER_WAIT,
            };
            if enough {
                return Ok(());
            }
        }
    }

    /// Takes directories as gone that did not turn up elsewhere in time.
    fn give_up_departed(&mut self, first: usize, hints: &mut Vec<Hint>) {
        if self.departed.is_empty() {
            return;
        }
        let now = Instant::now();
        let shared = &self.shared;
        self.departed.retain(|departed| {
            let waits = departed.deadline > now;
            if !waits {
                shared.leave(departed);
                push(hints, first, Hint::Gone(departed.from.clone()));
            }
            waits
        });
    }
}

impl Shared {
    /// A directory has left the root: its watches go, or events would come from outside.
    fn leave(&self, departed: &Departed) {
        let table = &mut self.state().table;
        // Unless a scan has met it elsewhere meanwhile.
        if let Some(node) = departed.node.filter(|&node| table.stood_at(node, departed.offset)) {
            self.unwatch(table.remove(node));
        }
    }
}

/// Turns one event into hints.
struct Decoder<'a> {
    shared: &'a Shared,
    table: &'a mut Table,
    offset: u64,
    departed: &'a mut Vec<Departed>,
    first: usize,
    hints: &'a mut Vec<Hint>,
}

impl Decoder<'_> {
    fn decode(&mut self, watch: i32, events: ReadFlags, cookie: u32, name: Option<&[u8]>) {
        if events.contains(ReadFlags::QUEUE_OVERFLOW) {
            return self.lost();
        }
        // Events of a watch that was removed are none of ours any more.
        let Some(node) = self.table.node(watch) else { return };
        if events.contains(ReadFlags::IGNORED) {
            return self.table.dropped(watch);
        }
        if node == ROOT && events.intersects(ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT) {
            return self.push(Hint::RootGone);
        }
        // Longer than a path may be: it can't be synchronised.
        let Some(path) = self.table.path(node, name) else { return };
        let Some(name) = name else {
            if events.contains(ReadFlags::UNMOUNT) {
                // What was hidden beneath the mount is to be watched and seen.
                self.push(Hint::Directory(path));
            } else if node == ROOT && events.contains(ReadFlags::ATTRIB) {
                // Of any other directory its parent tells the same.
                self.push(Hint::Attributes(path));
            }
            return;
        };
        if events.contains(ReadFlags::ISDIR) {
            return self.decode_directory(events, cookie, node, name, path);
        }
        if events.intersects(ReadFlags::CLOSE_WRITE | ReadFlags::MOVED_TO) {
            self.push(Hint::Finished(path));
        } else if events.intersects(ReadFlags::CREATE | ReadFlags::MODIFY) {
            self.push(Hint::Modified(path));
        } else if events.intersects(ReadFlags::DELETE | ReadFlags::MOVED_FROM) {
            self.push(Hint::Gone(path));
        } else if events.contains(ReadFlags::ATTRIB) {
            self.push(Hint::Attributes(path));
        }
    }

    fn decode_directory(&mut self, events: ReadFlags, cookie: u32, parent: NodeId, name: &[u8], path: SyncPath) {
        let node = self.table.child_at(parent, name, self.offset);
        if events.contains(ReadFlags::CREATE) {
            self.push(Hint::Directory(path));
        } else if events.contains(ReadFlags::DELETE) {
            self.forget(node);
            self.push(Hint::Gone(path));
        } else if events.contains(ReadFlags::MOVED_FROM) {
            let deadline = Instant::now() + RENAME_PAIR_WAIT;
            let position = self.hints.len();
            self.departed.push(Departed { cookie, from: path, node, offset: self.offset, position, deadline });
        } else if events.contains(ReadFlags::MOVED_TO) {
            self.arrive(cookie, parent, name, path);
        } else if events.contains(ReadFlags::ATTRIB) {
            self.push(Hint::Attributes(path));
        }
    }

    /// A directory was moved to `path`: from within the root, or from outside.
    fn arrive(&mut self, cookie: u32, parent: NodeId, name: &[u8], path: SyncPath) {
        let Some(index) = self.departed.iter().position(|departed| departed.cookie == cookie) else {
            self.forget(self.table.child_at(parent, name, self.offset));
            return self.push(Hint::Directory(path));
        };
        let departed = self.departed.remove(index);
        // Unless it was not watched, taking no part where it was, or a scan has met it elsewhere meanwhile.
        let Some(node) = departed.node.filter(|&node| self.table.stood_at(node, departed.offset)) else {
            self.push(Hint::Gone(departed.from));
            return self.push(Hint::Directory(path));
        };
        if let Some(displaced) = self.table.child_at(parent, name, self.offset).filter(|&other| other != node) {
            // Onto an empty directory, or two that were exchanged: the kernel tells both alike. Both are watched anew.
            self.forget(Some(displaced));
            self.forget(Some(node));
            self.push(Hint::Gone(departed.from));
            return self.push(Hint::Directory(path));
        }
        match self.table.rename(node, parent, name) {
            Ok(displaced) => self.shared.unwatch(displaced),
            // Renames were missed. Only a rescan knows.
            Err(Contradiction) => return self.lost(),
        }
        // What came between the two events happened after the move, and was named by the old path.
        let position = departed.position.min(self.hints.len());
        for hint in self.hints.iter_mut().skip(position) {
            rebase(hint, &departed.from, &path);
        }
        self.hints.insert(position, Hint::Moved { from: departed.from, to: path });
        for other in self.departed.iter_mut().filter(|other| other.position > position) {
            other.position += 1;
        }
    }

    fn forget(&mut self, node: Option<NodeId>) {
        if let Some(node) = node {
            self.shared.unwatch(self.table.remove(node));
        }
    }

    fn lost(&mut self) {
        self.table.begin_era();
        // Whatever was moved is found by the rescan.
        self.departed.clear();
        self.push(Hint::Lost);
    }

    fn push(&mut self, hint: Hint) {
        // Nothing folds into what was said before a move that is not settled yet.
        let first = self.departed.iter().map(|departed| departed.position).fold(self.first, usize::max);
        push(self.hints, first, hint);
    }
}

/// Names by its new path what is beneath a directory that was moved.
fn rebase(hint: &mut Hint, from: &SyncPath, to: &SyncPath) {
    if let Hint::Finished(path)
    | Hint::Modified(path)
    | Hint::Gone(path)
    | Hint::Directory(path)
    | Hint::Attributes(path) = hint
        && let Some(below) = path.strip_prefix(from).filter(|below| !below.is_root())
        && let Ok(moved) = to.join_path(&below)
    {
        *path = moved;
    }
}

/// How many directories this user may watch.
fn watch_limit() -> Option<u64> {
    // Within a user namespace the smaller of the two counts.
    ["/proc/sys/fs/inotify/max_user_watches", "/proc/sys/user/max_inotify_watches"]
        .iter()
        .filter_map(|path| std::fs::read_to_string(path).ok()?.trim().parse().ok())
        .min()
}

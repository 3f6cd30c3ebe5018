//! A look at a whole subtree: every directory that takes part is watched, listed and put into a tree.
//!
//! Each directory is watched *before* it is listed, so that nothing made in between is missed. Files whose stat data is what
//! it was when they were last hashed are not read again. Work is shared by some threads, a directory or a piece of a large
//! one at a time; the last piece of a directory to be done builds it and hands it to the directory above.
//!
//! What can't be read is a [`Problem`] at its path: neither there nor gone. What vanishes meanwhile is not there.

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use sync_proto::{Name, SyncPath, message::Problem};

use super::{
    hash::{HashBuffer, Keep, hash_file},
    problem,
    watch::{WatchError, Watcher},
};
use crate::{
    ignore::{IgnoreFile, Scope, ignore_file},
    sys::{DirHandle, Kind},
    tree::{Dir, Node, Stamp},
};

/// Files of one directory that one piece of work covers.
const FILES_A_PIECE: usize = 128;
/// Largest ignore file that is read, in bytes. What is beyond is not obeyed.
pub const IGNORE_FILE_BYTES_MAX: u64 = 1 << 20;

/// What a scan works with.
pub struct Scan<'a> {
    /// The root of the replica.
    pub root: &'a DirHandle,
    /// Where directories are watched.
    pub watcher: &'a Watcher,
    /// What becomes of small content.
    pub keep: Keep<'a>,
    /// How many threads share the work.
    pub threads: usize,
    /// Set while it runs, it comes to nothing soon: what it gives then says nothing.
    pub stop: &'a Arc<AtomicBool>,
}

/// What a scan found.
#[derive(Debug, Default)]
pub struct Scanned {
    /// The subtree; `None` where the directory is gone, ignored, or can't be read (then a problem says why).
    pub dir: Option<Dir>,
    /// What could not be looked at.
    pub problems: BTreeMap<SyncPath, Problem>,
    /// Ignore files on the way, with their content.
    pub ignore_files: Vec<(SyncPath, IgnoreFile, Vec<u8>)>,
    /// Directories that could not be watched: to be polled.
    pub unwatched: Vec<SyncPath>,
}

impl Scan<'_> {
    /// Scans `path`, whose rules from above are `scope` (the ignore files in it are read here). `hint` is what stood there
    /// before, or what is known to have been moved there.
    pub fn run(&self, path: &SyncPath, scope: Scope, hint: Option<&Dir>) -> Scanned {
        let handle = match self.root.resolve(path) {
            Ok(handle) => handle,
            Err(error) => return Scanned::failed(path, &error),
        };
        let shared = Shared::default();
        let top = Arc::new(Gathering::new(None, hint.cloned()));
        shared.push(Task::Listing {
            gathering: Arc::clone(&top),
            directory: Directory { handle: Arc::new(handle), path: path.clone(), scope },
            hint: hint.cloned(),
        });
        std::thread::scope(|threads| {
            for _ in 1..self.threads {
                threads.spawn(|| self.work(&shared));
            }
            self.work(&shared);
        });
        let Shared { found, .. } = shared;
        found.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, shared: &Shared) {
        let mut buffer = HashBuffer::stopped_by(Arc::clone(self.stop)).beside(self.threads);
        while let Some(task) = shared.next() {
            // Also where it panics: the other threads would wait for it.
            let _done = Done(shared);
            if self.stop.load(Ordering::Relaxed) {
                continue;
            }
            match task {
                Task::Directory { gathering, parent, name, path, scope, hint } => {
                    match Name::new(&name).map_err(io::Error::other).and_then(|name| parent.open_dir(name)) {
                        Ok(handle) => {
                            let directory = Directory { handle: Arc::new(handle), path, scope };
                            self.list(shared, gathering, directory, hint, &mut buffer);
                        }
                        Err(error) => shared.give_up(&gathering, &path, &error),
                    }
                }
                Task::Listing { gathering, directory, hint } => {
                    self.list(shared, gathering, directory, hint, &mut buffer);
                }
                Task::Files { gathering, directory, files } => {
                    self.files(shared, &gathering, &directory, files, &mut buffer);
                    shared.finish(gathering);
                }
            }
        }
    }

    /// Watches and lists one directory, and shares out what stands in it.
    fn list(
        &self,
        shared: &Shared,
        gathering: Arc<Gathering>,
        mut directory: Directory,
        hint: Option<Dir>,
        buffer: &mut HashBuffer,
    ) {
        match self.watcher.add(&directory.path, &directory.handle) {
            Ok(()) => {}
            Err(WatchError::Gone) => return shared.vanished(gathering),
            Err(_) => shared.found().unwatched.push(directory.path.clone()),
        }
        let mut listed: Vec<(Box<[u8]>, Option<Kind>)> = Vec::new();
        let result = directory.handle.list(&mut |name, kind| listed.push((name.into(), kind)));
        if let Err(error) = result {
            return shared.give_up(&gathering, &directory.path, &error);
        }
        directory.read_ignore_files(shared, &listed);
        let directory = Arc::new(directory);
        let mut files = Vec::new();
        let mut directories = Vec::new();
        let room = problem::name_bytes_max(&directory.path);
        for (name, kind) in listed {
            if name.len() > room {
                shared.too_long(&directory, &name, kind);
                continue;
            }
            let Ok(valid) = Name::new(&name) else { continue };
            let kind = match kind {
                Some(kind) => kind,
                None => match directory.handle.stat(valid) {
                    Ok(stat) => stat.kind,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => {
                        shared.problem(&directory.path, valid, &error);
                        continue;
                    }
                },
            };
            if directory.scope.is_ignored(valid, kind == Kind::Directory) {
                continue;
            }
            let known = hint.as_ref().and_then(|hint| hint.get(valid).map(|node| (node.clone(), hint.stamp(valid))));
            if kind == Kind::Directory {
                directories.push((name, known));
            } else {
                files.push(File { name, kind, known });
            }
        }
        self.share_out(shared, gathering, &directory, files, directories, buffer);
    }

    fn share_out(
        &self,
        shared: &Shared,
        gathering: Arc<Gathering>,
        directory: &Arc<Directory>,
        mut files: Vec<File>,
        directories: Vec<(Box<[u8]>, Option<Known>)>,
        buffer: &mut HashBuffer,
    ) {
        let pieces = if self.threads > 1 { files.len().saturating_sub(1) / FILES_A_PIECE } else { 0 };
        // Set before anything is shared out, so that the last piece, whoever does it, is known to be the last.
        gathering.open.store(1 + pieces + directories.len(), Ordering::Release);
        for (name, known) in directories {
            let Some(path) = Name::new(&name).ok().and_then(|name| directory.path.join(name).ok()) else {
                // Not to be had: all names here have room in a path.
                shared.finish(Arc::clone(&gathering));
                continue;
            };
            let Ok(valid) = Name::new(&name) else { continue };
            let scope = directory.scope.enter(valid);
            let hint = known.and_then(|(node, _)| node.as_dir().cloned());
            shared.push(Task::Directory {
                gathering: Arc::new(Gathering::new(Some((Arc::clone(&gathering), name.clone())), hint.clone())),
                parent: Arc::clone(&directory.handle),
                path,
                scope,
                hint,
                name,
            });
        }
        for _ in 0..pieces {
            let piece = files.split_off(files.len().saturating_sub(FILES_A_PIECE));
            shared.push(Task::Files {
                gathering: Arc::clone(&gathering),
                directory: Arc::clone(directory),
                files: piece,
            });
        }
        self.files(shared, &gathering, directory, files, buffer);
        shared.finish(gathering);
    }

    fn files(
        &self,
        shared: &Shared,
        gathering: &Gathering,
        directory: &Directory,
        files: Vec<File>,
        buffer: &mut HashBuffer,
    ) {
        let mut items = Vec::with_capacity(files.len());
        for file in files {
            let Ok(name) = Name::new(&file.name) else { continue };
            match self.file(directory, name, &file, buffer) {
                Ok((node, stamp)) => items.push((file.name, node, stamp)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => shared.problem(&directory.path, name, &error),
            }
        }
        gathering.items().extend(items);
    }

    fn file(
        &self,
        directory: &Directory,
        name: Name<'_>,
        file: &File,
        buffer: &mut HashBuffer,
    ) -> io::Result<(Node, Option<Stamp>)> {
        let dir = &*directory.handle;
        match file.kind {
            Kind::File => {
                if let Some((node @ Node::File { len, executable, .. }, Some(stamp))) = &file.known {
                    let stat = dir.stat(name)?;
                    let same = (stat.kind, stat.len, stat.executable) == (Kind::File, *len, *executable);
                    if same && stat.stamp == *stamp {
                        return Ok((node.clone(), Some(*stamp)));
                    }
                }
                hash_file(dir, name, buffer, self.keep).map(|(node, stamp)| (node, Some(stamp)))
            }
            Kind::Symlink => {
                let path = directory.path.join(name).map_err(io::Error::other)?;
                super::look::symlink(dir, name, &path).map(|node| (node, None))
            }
            Kind::Directory | Kind::Other => Err(io::Error::other(problem::UnsupportedKind)),
        }
    }
}

impl Scanned {
    fn failed(path: &SyncPath, error: &io::Error) -> Self {
        let mut scanned = Self::default();
        if !problem::is_gone(error) {
            scanned.problems.insert(path.clone(), problem::at(path, error));
        }
        scanned
    }
}

/// What stood at a place when it was last looked at.
type Known = (Node, Option<Stamp>);

/// A name in a directory, and what stands there.
type Item = (Box<[u8]>, Node, Option<Stamp>);

struct File {
    name: Box<[u8]>,
    kind: Kind,
    known: Option<Known>,
}

struct Directory {
    handle: Arc<DirHandle>,
    path: SyncPath,
    scope: Scope,
}

impl Directory {
    fn read_ignore_files(&mut self, shared: &Shared, listed: &[(Box<[u8]>, Option<Kind>)]) {
        let mut files = Vec::new();
        for (name, _) in listed {
            let Ok(name) = Name::new(name) else { continue };
            let Some(kind) = ignore_file(name) else { continue };
            if let Some(bytes) = read_ignore_file(&self.handle, name) {
                files.push((kind, bytes));
            }
        }
        if files.is_empty() {
            return;
        }
        let borrowed: Vec<(IgnoreFile, &[u8])> = files.iter().map(|(kind, bytes)| (*kind, &bytes[..])).collect();
        self.scope = self.scope.with_files(&borrowed);
        shared.found().ignore_files.extend(files.into_iter().map(|(kind, bytes)| (self.path.clone(), kind, bytes)));
    }
}

/// The content of an ignore file, up to [`IGNORE_FILE_BYTES_MAX`]; `None` where there is none to read.
pub(super) fn read_ignore_file(dir: &DirHandle, name: Name<'_>) -> Option<Vec<u8>> {
    use std::io::Read;
    let (file, _) = dir.open_file(name).ok()?;
    let mut bytes = Vec::new();
    file.take(IGNORE_FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// A directory that is being put together.
struct Gathering {
    items: Mutex<Vec<Item>>,
    /// Pieces of it that are not done.
    open: AtomicUsize,
    parent: Option<(Arc<Self>, Box<[u8]>)>,
    /// What stood there before.
    before: Option<Dir>,
}

impl Gathering {
    fn new(parent: Option<(Arc<Self>, Box<[u8]>)>, before: Option<Dir>) -> Self {
        Self { items: Mutex::default(), open: AtomicUsize::new(1), parent, before }
    }

    /// The directory of these items. Where nothing has changed it is the one that stood there before, in its memory and with
    /// its hash: a scan that finds nothing leaves nothing behind.
    fn build(&self, items: Vec<Item>) -> Dir {
        match &self.before {
            Some(before) if is_same(before, &items) => before.clone(),
            _ => Dir::from_sorted(items),
        }
    }

    fn items(&self) -> MutexGuard<'_, Vec<Item>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a directory has just these items, stamps and all that lies beneath them included.
fn is_same(dir: &Dir, items: &[Item]) -> bool {
    let same = |one: &Node, other: &Node| match (one, other) {
        (Node::Directory(one), Node::Directory(other)) => one.is_same(other),
        _ => one == other,
    };
    dir.len() == items.len()
        && dir.iter().zip(items).all(|((name, node, stamp), (found, found_node, found_stamp))| {
            name.as_bytes() == &**found && stamp == *found_stamp && same(node, found_node)
        })
}

enum Task {
    Directory {
        gathering: Arc<Gathering>,
        parent: Arc<DirHandle>,
        name: Box<[u8]>,
        path: SyncPath,
        scope: Scope,
        hint: Option<Dir>,
    },
    Listing {
        gathering: Arc<Gathering>,
        directory: Directory,
        hint: Option<Dir>,
    },
    Files {
        gathering: Arc<Gathering>,
        directory: Arc<Directory>,
        files: Vec<File>,
    },
}

/// A task under way.
struct Done<'a>(&'a Shared);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.done();
    }
}

/// What the threads of one scan share.
#[derive(Default)]
struct Shared {
    /// Last in, first out: depth first, so that few directories are open at once.
    tasks: Mutex<Tasks>,
    changed: Condvar,
    found: Mutex<Scanned>,
}

#[derive(Default)]
struct Tasks {
    waiting: Vec<Task>,
    /// Waiting and under way.
    open: usize,
}

impl Shared {
    fn tasks(&self) -> MutexGuard<'_, Tasks> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn found(&self) -> MutexGuard<'_, Scanned> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, task: Task) {
        let mut tasks = self.tasks();
        tasks.open += 1;
        tasks.waiting.push(task);
        drop(tasks);
        self.changed.notify_one();
    }

    /// The next task; `None` once there will be no more.
    fn next(&self) -> Option<Task> {
        let mut tasks = self.tasks();
        loop {
            if let Some(task) = tasks.waiting.pop() {
                return Some(task);
            }
            if tasks.open == 0 {
                return None;
            }
            tasks = self.changed.wait(tasks).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A task is done, and whatever it pushed stands in the queue.
    fn done(&self) {
        let mut tasks = self.tasks();
        tasks.open -= 1;
        if tasks.open == 0 {
            self.changed.notify_all();
        }
    }

    /// A piece of a directory is done. The last one builds it, and finishes a piece of the directory above.
    fn finish(&self, mut gathering: Arc<Gathering>) {
        while gathering.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            let mut items = std::mem::take(&mut *gathering.items());
            items.sort_unstable_by(|(left, ..), (right, ..)| left.cmp(right));
            let dir = gathering.build(items);
            let Some((parent, name)) = &gathering.parent else {
                self.found().dir = Some(dir);
                return;
            };
            parent.items().push((name.clone(), Node::Directory(dir), None));
            gathering = Arc::clone(parent);
        }
    }

    /// A directory is not there any more, or can't be looked at: it is left out of the one above.
    fn vanished(&self, gathering: Arc<Gathering>) {
        if let Some((parent, _)) = &gathering.parent {
            self.finish(Arc::clone(parent));
        }
    }

    fn give_up(&self, gathering: &Arc<Gathering>, path: &SyncPath, error: &io::Error) {
        if !problem::is_gone(error) {
            self.found().problems.insert(path.clone(), problem::at(path, error));
        }
        self.vanished(Arc::clone(gathering));
    }

    fn problem(&self, directory: &SyncPath, name: Name<'_>, error: &io::Error) {
        match directory.join(name) {
            Ok(path) => {
                let problem = problem::at(&path, error);
                self.found().problems.insert(path, problem);
            }
            // Not to be had: all names here have room in a path.
            Err(_) => tracing::warn!(%directory, %name, "path too long to be synchronised"),
        }
    }

    /// A name that no path can say: other systems have longer ones, and directories can be moved beneath each other to any
    /// depth.
    fn too_long(&self, directory: &Directory, name: &[u8], kind: Option<Kind>) {
        match problem::too_long(&directory.path, name) {
            Some((cut, _)) if directory.scope.is_ignored(cut, kind == Some(Kind::Directory)) => {}
            Some((_, problem)) => drop(self.found().problems.insert(problem.path.clone(), problem)),
            // In a directory that is as deep as can be. Not even a part of the name can be told.
            None => tracing::warn!(directory = %directory.path, "what it holds is too deep to be synchronised"),
        }
    }
}

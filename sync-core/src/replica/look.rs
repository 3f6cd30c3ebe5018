//! A look at one path: what stands there now, and what the index makes of it.

use std::{collections::BTreeMap, io, time::SystemTime};

use sync_proto::{Name, SyncPath, message::Problem};

use super::{
    hash::{Keep, hash_file},
    observer::{Observer, scan_threads},
    pending::{RECHECK, RETRY},
    problem,
    scan::{Scan, read_ignore_file},
};
use crate::{
    ignore::ignore_file,
    sys::{DirHandle, Kind, Stat},
    tree::{Dir, Node, Stamp, diff},
};

/// Files up to this length, in bytes, are hashed where the events are read; longer ones elsewhere, so that they don't keep
/// a save waiting.
const HASH_AT_ONCE_BYTES_MAX: u64 = 2 << 20;
/// A directory with so many entries is scanned by several threads.
const ENTRIES_FOR_THREADS: u64 = 2_000;
/// A file modified within this time of being read may change again without its stat data showing it: the grain of a file
/// system's clock, with room.
const CLOCK_GRAIN_NANOS: u64 = 20_000_000;

/// Whether a file was written to so shortly before `at` (nanoseconds since 1970) that one more write may not show in its
/// stat data. A time in the future is not recent, and neither is one that somebody set.
pub(super) fn is_recent(stamp: Stamp, at: i64) -> bool {
    [stamp.mtime_ns, stamp.ctime_ns].iter().any(|&written| at.abs_diff(written) < CLOCK_GRAIN_NANOS)
}

/// The time as stat data has it: nanoseconds since 1970.
pub(super) fn now_nanos() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)
}

/// What a look at a path came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Looked {
    /// The index has it as it was.
    Same,
    /// The index has changed.
    Changed,
}

/// Reads a symlink at `path` that may be carried: relative, and not out of the root.
pub(super) fn symlink(dir: &DirHandle, name: Name<'_>, path: &SyncPath) -> io::Result<Node> {
    let target = dir.read_link(name)?;
    if target.stays_inside(path) { Ok(Node::Symlink(target)) } else { Err(io::Error::other(problem::LeadsOut)) }
}

/// How many threads scan `path`, of which `hint` was known. What is small is done sooner than threads are started.
fn threads_for(path: &SyncPath, hint: Option<&Dir>) -> usize {
    let is_large = path.is_root() || hint.is_some_and(|hint| hint.entries() >= ENTRIES_FOR_THREADS);
    if is_large { scan_threads() } else { 1 }
}

impl Observer {
    /// Looks at `path` and brings the index up to date.
    pub(super) fn look(&mut self, path: &SyncPath) -> Looked {
        let Some((parent, name)) = path.split_last() else {
            return self.rescan(path);
        };
        let dir = match self.root.resolve(&parent) {
            Ok(dir) => dir,
            Err(error) if problem::is_gone(&error) => return self.gone(path),
            Err(error) => return self.failed(path, &error),
        };
        let looked = match dir.stat(name) {
            Ok(stat) => self.there(path, &dir, name, &stat),
            Err(error) if problem::is_gone(&error) => self.gone(path),
            Err(error) => self.failed(path, &error),
        };
        match ignore_file(name) {
            // One that is itself ignored is obeyed all the same, and the index does not say whether it changed.
            Some(_) if looked == Looked::Changed || self.rules.is_ignored(path, false) => {
                self.reload_rules(&parent, &dir, name)
            }
            _ => looked,
        }
    }

    fn there(&mut self, path: &SyncPath, dir: &DirHandle, name: Name<'_>, stat: &Stat) -> Looked {
        if self.rules.is_ignored(path, stat.kind == Kind::Directory) {
            return self.forget(path);
        }
        match stat.kind {
            // One that is not watched is another than the one in the index: that has gone, with its watch. One with a
            // problem could not be listed.
            Kind::Directory
                if self.index.dir(path).is_some()
                    && self.watcher.is_watched(path)
                    && !self.problems.contains_key(path) =>
            {
                Looked::Same
            }
            Kind::Directory => self.rescan(path),
            Kind::File => self.file(path, dir, name, stat),
            Kind::Symlink => match symlink(dir, name, path) {
                Ok(node) => self.take(path, node, None),
                Err(error) => self.failed(path, &error),
            },
            Kind::Other => self.failed(path, &io::Error::other(problem::UnsupportedKind)),
        }
    }

    fn file(&mut self, path: &SyncPath, dir: &DirHandle, name: Name<'_>, stat: &Stat) -> Looked {
        let known = (self.index.get(path), self.index.stamp(path));
        let same_entry = matches!(known.0, Some(Node::File { len, executable, .. })
            if (*len, *executable) == (stat.len, stat.executable));
        if same_entry && known.1 == Some(stat.stamp) && !self.racy.contains(path) {
            self.solved(path);
            return Looked::Same;
        }
        if stat.len > HASH_AT_ONCE_BYTES_MAX {
            self.hash_elsewhere(path.clone());
            return Looked::Same;
        }
        let contents = self.contents.clone();
        let keep = contents.as_deref().map_or(Keep::Nothing, Keep::Always);
        let begun = now_nanos();
        match hash_file(dir, name, &mut self.buffer, keep) {
            Ok((node, stamp)) => {
                self.recheck_if(path, is_recent(stamp, begun));
                self.take(path, node, Some(stamp))
            }
            Err(error) if problem::is_gone(&error) => self.gone(path),
            Err(error) => self.failed(path, &error),
        }
    }

    /// A file that was written to just before it was read is read once more when it is quiet.
    pub(super) fn recheck_if(&mut self, path: &SyncPath, recent: bool) {
        if recent {
            self.racy.insert(path.clone());
            self.pending.note_later(path.clone(), RECHECK, self.now);
        } else {
            self.racy.remove(path);
        }
    }

    /// The index takes over what stands at `path`.
    pub(super) fn take(&mut self, path: &SyncPath, node: Node, stamp: Option<Stamp>) -> Looked {
        self.solved(path);
        let before = self.index.get(path);
        if before == Some(&node) {
            let _ = self.index.insert(path, node, stamp);
            return Looked::Same;
        }
        if matches!(before, Some(Node::Directory(_))) {
            self.leave(path);
        }
        // Without its directory in the index, that one is pending itself, and will be scanned with all in it.
        match self.index.insert(path, node, stamp) {
            Ok(_) => Looked::Changed,
            Err(_) => Looked::Same,
        }
    }

    /// Nothing stands at `path`.
    pub(super) fn gone(&mut self, path: &SyncPath) -> Looked {
        self.solved_beneath(path);
        self.forget(path)
    }

    /// `path` takes no part, or is not there.
    fn forget(&mut self, path: &SyncPath) -> Looked {
        self.racy.remove(path);
        match self.index.remove(path) {
            Some(Node::Directory(_)) => {
                self.leave(path);
                Looked::Changed
            }
            Some(_) => Looked::Changed,
            None => Looked::Same,
        }
    }

    /// A directory is no longer in the index: neither watched nor pending.
    fn leave(&mut self, path: &SyncPath) {
        self.watcher.remove_below(path);
        self.pending.forget_beneath(path);
        self.rules = self.rules.without_below(path);
        self.unwatched.retain(|unwatched| !unwatched.starts_with(path));
    }

    pub(super) fn failed(&mut self, path: &SyncPath, error: &io::Error) -> Looked {
        let problem = problem::at(path, error);
        self.retry(&problem);
        // What the index has of it stays: it is neither there nor gone, and the problem says so to whoever plans.
        if self.problems.insert(path.clone(), problem.clone()).as_ref() != Some(&problem) {
            return Looked::Changed;
        }
        Looked::Same
    }

    fn retry(&mut self, problem: &Problem) {
        if problem::may_pass(problem.kind) {
            self.pending.note_later(problem.path.clone(), RETRY, self.now);
        }
    }

    fn solved(&mut self, path: &SyncPath) {
        if !self.problems.is_empty() && self.problems.remove(path).is_some() {
            self.changed = true;
        }
    }

    pub(super) fn solved_beneath(&mut self, path: &SyncPath) {
        if self.problems.is_empty() {
            return;
        }
        let before = self.problems.len();
        self.problems.retain(|known, _| !known.starts_with(path));
        self.changed |= self.problems.len() != before;
    }

    /// A scan of `path` found these problems, and no others.
    fn problems_beneath(&mut self, path: &SyncPath, found: BTreeMap<SyncPath, Problem>) {
        let before = self.problems.iter().filter(|(known, _)| known.starts_with(path));
        self.changed |= !before.eq(found.iter());
        self.problems.retain(|known, _| !known.starts_with(path));
        for problem in found.values() {
            self.retry(problem);
        }
        self.problems.extend(found);
    }

    /// Scans `path` and all beneath it, and brings the index up to date.
    pub(super) fn rescan(&mut self, path: &SyncPath) -> Looked {
        self.distrust_racy(path);
        let hint = self.index.dir(path).cloned();
        self.rescan_with(path, hint.as_ref(), threads_for(path, hint.as_ref()))
    }

    /// A file that may have changed without its stat data showing it is read again by the next scan.
    fn distrust_racy(&mut self, path: &SyncPath) {
        for racy in self.racy.range(path..).take_while(|racy| racy.starts_with(path)) {
            if let Some(node @ Node::File { .. }) = self.index.get(racy).cloned() {
                let _ = self.index.insert(racy, node, None);
            }
        }
    }

    /// The same, with what is known to have been there before, or elsewhere.
    pub(super) fn rescan_with(&mut self, path: &SyncPath, hint: Option<&Dir>, threads: usize) -> Looked {
        let scope = match path.split_last() {
            Some((parent, name)) => self.rules.scope(&parent).enter(name),
            None => self.bare_rules.root_scope(),
        };
        let contents = self.contents.clone();
        let keep = contents.as_deref().map_or(Keep::Nothing, Keep::IfRoom);
        let scan = Scan { root: &self.root, watcher: &self.watcher, keep, threads, stop: &self.stop };
        let scanned = scan.run(path, scope, hint);
        if self.is_stopping() {
            // Half a scan says nothing.
            return Looked::Same;
        }

        self.rules = if path.is_root() { self.bare_rules.clone() } else { self.rules.without_below(path) };
        for (dir, kind, bytes) in &scanned.ignore_files {
            self.rules = self.rules.with_file(dir, *kind, Some(bytes));
        }
        self.unwatched.retain(|unwatched| !unwatched.starts_with(path));
        self.note_unwatched(scanned.unwatched);
        self.problems_beneath(path, scanned.problems);
        let before = self.index.dir(path).cloned().unwrap_or_default();
        let Some(dir) = scanned.dir else {
            return if self.problems.contains_key(path) { Looked::Changed } else { self.forget(path) };
        };
        self.unwatch_left(path, &before, &dir);
        if path.is_root() {
            let same = *self.index.root() == dir;
            self.index = crate::tree::Tree::from_root(dir);
            return if same { Looked::Same } else { Looked::Changed };
        }
        self.take_directory(path, dir)
    }

    fn take_directory(&mut self, path: &SyncPath, dir: Dir) -> Looked {
        let node = Node::Directory(dir);
        let same = self.index.get(path) == Some(&node);
        // Even where nothing has changed, its stamps may have.
        let _ = self.index.remove(path);
        match self.index.insert(path, node, None) {
            Ok(_) if same => Looked::Same,
            Ok(_) | Err(_) => Looked::Changed,
        }
    }

    /// Directories that were in the index and are not any more are not watched any more either.
    fn unwatch_left(&self, path: &SyncPath, before: &Dir, after: &Dir) {
        for difference in diff(before, after) {
            let left = matches!(difference.old, Some(Node::Directory(_)))
                && !matches!(difference.new, Some(Node::Directory(_)));
            if left && let Ok(path) = path.join_path(&difference.path) {
                self.watcher.remove_below(&path);
            }
        }
    }

    /// A directory was moved within the root: what is known of it moves along, and it is scanned against that.
    pub(super) fn moved(&mut self, from: &SyncPath, to: &SyncPath) -> Looked {
        self.distrust_racy(from);
        let hint = match self.index.get(from) {
            Some(Node::Directory(dir)) => Some(dir.clone()),
            _ => None,
        };
        self.pending.rebase(from, to, self.now);
        if hint.is_none() && self.index.dir(to).is_some() {
            // Our own move: the index knows.
            return Looked::Same;
        }
        self.racy.retain(|racy| !racy.starts_with(from));
        self.index.remove(from);
        self.solved_beneath(from);
        self.unwatched.retain(|unwatched| !unwatched.starts_with(from));
        self.rules = self.rules.without_below(from);
        if self.rules.is_ignored(to, true) {
            self.watcher.remove_below(to);
            return Looked::Changed;
        }
        self.rescan_with(to, hint.as_ref(), threads_for(to, hint.as_ref()));
        Looked::Changed
    }

    fn reload_rules(&mut self, parent: &SyncPath, dir: &DirHandle, name: Name<'_>) -> Looked {
        let Some(kind) = ignore_file(name) else { return Looked::Same };
        let bytes = read_ignore_file(dir, name);
        self.rules = self.rules.with_file(parent, kind, bytes.as_deref());
        self.rescan(parent);
        Looked::Changed
    }
}

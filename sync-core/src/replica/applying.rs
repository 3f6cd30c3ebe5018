//! Operations on their way through the observer: done by it or by the applier, and taken over into the index.
//!
//! What was committed reaches the index before the events that tell of it are looked at, and what the applier is at is not
//! looked at before it is done, so that our own writes never look like somebody else's.

use std::{collections::BTreeSet, time::Instant};

use sync_proto::{Name, SyncPath, message::Operation};

use super::{
    Applied, Observation, Work,
    commit::{Commit, IndexChange},
    observer::Observer,
    pending::{QUIET_MODIFIED, Urgency},
    worker::{self, Job},
};
use crate::{
    sys::{DirHandle, Kind},
    tree::{Dir, Node, Stamp},
};

impl Observer {
    pub(super) fn apply(&mut self, tag: u64, work: Work, since: Instant) {
        match &work {
            Work::Batch { bulk: false, .. } => {
                let commits = worker::apply(self.committer.as_deref(), work, &self.index);
                self.applied(tag, commits, since);
            }
            Work::Batch { .. } | Work::File { .. } => {
                self.queue.push_back((tag, work, since));
                if self.applying.is_none() {
                    self.apply_next();
                }
            }
        }
    }

    pub(super) fn apply_next(&mut self) {
        let Some((tag, work, since)) = self.queue.pop_front() else { return };
        let paths = match &work {
            Work::Batch { operations, .. } => operations.iter().flat_map(touched).cloned().collect(),
            Work::File { path, .. } => BTreeSet::from([path.clone()]),
        };
        self.applying = Some(paths);
        self.workers.apply(Job::Apply { tag, work, index: self.index.clone(), since });
    }

    /// Takes over what was committed, and tells.
    pub(super) fn applied(&mut self, tag: u64, commits: Vec<Commit>, since: Instant) {
        let mut outcomes = Vec::with_capacity(commits.len());
        let mut made = Vec::new();
        let mut again = Vec::new();
        for Commit { outcome, changes } in commits {
            if !self.moved_by_us(&changes) {
                for change in changes {
                    self.index_change(change, &mut made, &mut again);
                }
            }
            outcomes.push(outcome);
        }
        // The disk need not wait for what follows.
        if self.applying.is_none() {
            self.apply_next();
        }
        // Once the index has all that was put into them: what else they hold is somebody else's.
        for directory in made {
            again.extend(self.watch_new(&directory));
        }
        let took = since.elapsed();
        for path in again {
            self.look_once_applied(&path);
        }
        let view = self.view();
        (self.sink)(Observation::Applied(Applied { tag, outcomes, view, took }));
    }

    /// Takes over a directory that we moved. Its watches follow it when the event comes that tells of the move.
    fn moved_by_us(&mut self, changes: &[IndexChange]) -> bool {
        let [IndexChange { path: from, node: None, .. }, IndexChange { path: to, node: Some(node), .. }] = changes
        else {
            return false;
        };
        if !matches!((self.index.get(from), node), (Some(Node::Directory(_)), Node::Directory(_))) {
            return false;
        }
        self.index.remove(from);
        self.rules = self.rules.renamed(from, to);
        // Without the directory above, that one is pending itself, and will be scanned with all in it.
        let _ = self.index.insert(to, node.clone(), None);
        true
    }

    /// Puts one committed change into the index. Directories that it made are added to `made`, paths that have to be looked
    /// at to `again`.
    fn index_change(&mut self, change: IndexChange, made: &mut Vec<SyncPath>, again: &mut Vec<SyncPath>) {
        let IndexChange { path, node, stamp } = change;
        let Some(node) = node else {
            if let Some(Node::Directory(_)) = self.index.remove(&path) {
                self.watcher.remove_below(&path);
                self.rules = self.rules.without_below(&path);
                self.unwatched.retain(|unwatched| !unwatched.starts_with(&path));
            } else {
                self.obey_if_ignore_file(&path, made);
            }
            return;
        };
        let is_directory = matches!(node, Node::Directory(_));
        if self.index.insert(&path, node, stamp).is_err() {
            again.push(path);
            return;
        }
        self.obey_if_ignore_file(&path, made);
        if is_directory {
            made.push(path);
        }
    }

    /// An ignore file that we wrote or removed ourselves counts like any other.
    fn obey_if_ignore_file(&mut self, path: &SyncPath, made: &[SyncPath]) {
        let Some((parent, name)) = path.split_last() else { return };
        let Some(kind) = crate::ignore::ignore_file(name) else { return };
        let Ok(dir) = self.root.resolve(&parent) else { return };
        let bytes = super::scan::read_ignore_file(&dir, name);
        self.rules = self.rules.with_file(&parent, kind, bytes.as_deref());
        // What it ignores now leaves the index, and what it no longer does comes in, by a scan of the directory. One that
        // was made in the same batch is looked through anyway.
        if !made.iter().any(|made| parent.starts_with(made)) {
            self.rescans.insert(parent.clone());
            self.pending.note(parent, Urgency::Quiet(QUIET_MODIFIED), self.now);
        }
    }

    /// Watches a directory that we made, and finds what others did in it before: what they put into it, and what they changed or
    /// removed of what we had put there. No event tells of that.
    fn watch_new(&mut self, path: &SyncPath) -> Vec<SyncPath> {
        let Ok(dir) = self.root.resolve(path) else { return vec![path.clone()] };
        match self.watcher.add(path, &dir) {
            Ok(()) => {}
            Err(_) => self.note_unwatched(vec![path.clone()]),
        }
        let mut again = Vec::new();
        let known = self.index.dir(path);
        let listed = dir.list(&mut |name, _| {
            if let Ok(name) = Name::new(name)
                && known.is_none_or(|known| known.get(name).is_none())
                && let Ok(path) = path.join(name)
            {
                again.push(path);
            }
        });
        if listed.is_err() {
            return vec![path.clone()];
        }
        let changed =
            known.into_iter().flat_map(Dir::iter).filter(|(name, node, stamp)| !stands(&dir, *name, node, *stamp));
        again.extend(changed.filter_map(|(name, ..)| path.join(name).ok()));
        again
    }
}

/// Whether what the index has of a name is what stands there, as far as the stat data tells.
fn stands(dir: &DirHandle, name: Name<'_>, node: &Node, stamp: Option<Stamp>) -> bool {
    dir.stat(name).is_ok_and(|stat| match node {
        Node::Directory(_) => stat.kind == Kind::Directory,
        Node::File { .. } => stat.kind == Kind::File && stamp == Some(stat.stamp),
        // Its target has to be read.
        Node::Symlink(_) => false,
    })
}

/// The paths that an operation changes.
fn touched(operation: &Operation) -> impl Iterator<Item = &SyncPath> {
    let from = match operation {
        Operation::Move { from, .. } => Some(from),
        _ => None,
    };
    std::iter::once(operation.path()).chain(from)
}

//! Removing what is known, and nothing else.
//!
//! A file is moved aside, looked at where nobody else reaches it, and only then unlinked: what a race has put there is
//! given back. Where what is deleted is kept, it goes to the [trash](crate::replica::trash) instead; elsewhere a large file may be
//! [spared](super::Committer::spare_to). Of a directory exactly the entries go that the index knows and that are still what it knows; whatever else
//! lies in it stays, with the directories above it.

use std::{io::ErrorKind, sync::Arc, time::SystemTime};

use sync_proto::{
    Entry, Name, SyncPath,
    message::{Expected, Outcome},
};

use super::{
    Commit, IndexChange, Stop, Work,
    check::{Known, holds, is_still},
    durable::Unsynced,
    problem::{failed, is_absent, missing},
};
use crate::{
    replica::{bases::Bases, chunks::REMEMBERED_BYTES_MIN, stage::Stage},
    sys::DirHandle,
    tree::{Dir, Node},
};

/// Files shorter than this, in bytes, are not spared: they are sent again.
const SPARED_BYTES_MIN: u64 = REMEMBERED_BYTES_MIN;

/// Most files of one operation that are spared.
const SPARED_MAX: usize = 64;

/// What became of a subtree.
struct Removal<'a> {
    stage: &'a Stage,
    discarding: Discarding,
    changes: Vec<IndexChange>,
    /// Something stays that is not known.
    kept: bool,
    /// Something that could not be given back.
    displaced: Option<SyncPath>,
    /// The first thing that the file system refused.
    problem: Option<Outcome>,
}

impl Work<'_> {
    /// Does one [`Remove`](sync_proto::message::Operation::Remove).
    pub(super) fn remove(&mut self, stage: &Stage, path: &SyncPath, expected: &Expected) -> Result<Commit, Stop> {
        let (dir, name) = self.parent(path)?;
        match expected {
            Expected::Entry(entry @ (Entry::File { .. } | Entry::Symlink(_))) => {
                self.discard_entry(stage, &dir, name, path, entry).map(|outcome| Commit::removed(outcome, path))
            }
            Expected::Tree(hash) => {
                let known = self.subtree(path, *hash).ok_or(Outcome::Mismatch)?;
                self.remove_tree(stage, &dir, name, path, &known)
            }
            Expected::Nothing | Expected::Entry(Entry::Directory) => Err(Outcome::Mismatch.into()),
        }
    }

    /// Removes the file or the symlink `entry` at `path`.
    pub(super) fn discard_entry(
        &mut self,
        stage: &Stage,
        dir: &DirHandle,
        name: Name<'_>,
        path: &SyncPath,
        entry: &Entry,
    ) -> Result<Outcome, Stop> {
        let mut discarding = self.discarding();
        let outcome = remove_entry(stage, dir, name, path, entry, self.known(path), &mut discarding);
        self.unsynced = discarding.unsynced;
        outcome
    }

    fn discarding(&mut self) -> Discarding {
        let spares = self.committer.spares.get().cloned();
        Discarding { now: self.began, unsynced: std::mem::take(&mut self.unsynced), spares, spared: 0 }
    }

    fn remove_tree(
        &mut self,
        stage: &Stage,
        parent: &DirHandle,
        name: Name<'_>,
        path: &SyncPath,
        known: &Dir,
    ) -> Result<Commit, Stop> {
        let dir = parent.open_dir(name).map_err(|error| missing(path, &error))?;
        let mut removal = Removal {
            stage,
            discarding: self.discarding(),
            changes: Vec::new(),
            kept: false,
            displaced: None,
            problem: None,
        };
        self.remove_known(&dir, path, known, &mut removal);
        removal.finish(parent, name, path, known, 0);
        self.unsynced = std::mem::take(&mut removal.discarding.unsynced);
        let outcome = match removal {
            Removal { problem: Some(problem), .. } => problem,
            Removal { displaced: Some(kept), .. } => Outcome::Displaced(kept),
            Removal { kept: true, .. } => Outcome::Kept,
            Removal { .. } => Outcome::Applied,
        };
        Ok(Commit { outcome, changes: removal.changes })
    }

    fn remove_known(&mut self, dir: &DirHandle, path: &SyncPath, known: &Dir, removal: &mut Removal<'_>) {
        for (name, node, stamp) in known.iter() {
            // What the index holds has a path.
            let Ok(below) = path.join(name) else { continue };
            if let Some(refusal) = self.committer.refusal(&below, node.as_dir().is_none()) {
                removal.kept = true;
                removal.problem.get_or_insert(refusal);
                continue;
            }
            match node {
                Node::Directory(known) => match dir.open_dir(name) {
                    Ok(sub) => {
                        let first = removal.changes.len();
                        self.remove_known(&sub, &below, known, removal);
                        removal.finish(dir, name, &below, known, first);
                    }
                    Err(error) => removal.not_there(dir, name, &below, &error),
                },
                Node::File { .. } | Node::Symlink(_) => {
                    let found = Some(Known { node, stamp });
                    let entry = node.entry();
                    let discarding = &mut removal.discarding;
                    let result = match remove_entry(removal.stage, dir, name, &below, &entry, found, discarding) {
                        Err(Stop::OtherMount) => self
                            .committer
                            .mount_stage(path)
                            .map_err(|error| failed(&below, &error).into())
                            .and_then(|other| remove_entry(&other, dir, name, &below, &entry, found, discarding)),
                        result => result,
                    };
                    removal.count(dir, name, below, result);
                }
            }
        }
    }
}

impl Removal<'_> {
    /// Removes the directory itself, of which the known entries are gone. `first` is where its changes begin.
    fn finish(&mut self, parent: &DirHandle, name: Name<'_>, path: &SyncPath, known: &Dir, first: usize) {
        match parent.remove_dir(name) {
            Ok(()) => {
                if known.is_empty() {
                    self.keep_shape(path);
                }
                self.changes.truncate(first);
                self.changes.push(IndexChange::gone(path.clone()));
            }
            Err(error) => self.not_there(parent, name, path, &error),
        }
    }

    /// An empty directory is restored as one. Not worth a problem where that fails: nothing is lost that has content.
    fn keep_shape(&mut self, path: &SyncPath) {
        let Discarding { now, unsynced, .. } = &mut self.discarding;
        if let (Some(trash), Ok(below)) = (self.stage.trash(), self.stage.below(path)) {
            trash.add_directory(&below, *now, &mut |dir| unsynced.dir(dir)).ok();
        }
    }

    fn count(&mut self, dir: &DirHandle, name: Name<'_>, path: SyncPath, result: Result<Outcome, Stop>) {
        match result {
            Ok(Outcome::Displaced(kept)) => {
                self.displaced = Some(kept);
                self.changes.push(IndexChange::gone(path));
            }
            Ok(Outcome::Applied) => self.changes.push(IndexChange::gone(path)),
            Err(Stop::Outcome(problem @ Outcome::Failed(_))) => {
                self.kept = true;
                self.problem.get_or_insert(problem);
            }
            Err(Stop::OtherMount) => self.kept = true,
            _ if dir.stat(name).is_err_and(|error| error.kind() == ErrorKind::NotFound) => {
                self.changes.push(IndexChange::gone(path));
            }
            _ => self.kept = true,
        }
    }

    /// A directory that could not be opened or removed: it is gone, or not empty, or became something else.
    fn not_there(&mut self, dir: &DirHandle, name: Name<'_>, path: &SyncPath, error: &std::io::Error) {
        match error.kind() {
            ErrorKind::NotFound => self.changes.push(IndexChange::gone(path.clone())),
            ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists => self.kept = true,
            _ if is_absent(error) && dir.stat(name).is_ok() => self.kept = true,
            _ => {
                self.kept = true;
                self.problem.get_or_insert_with(|| failed(path, error));
            }
        }
    }
}

/// How something is removed.
struct Discarding {
    /// When the batch began.
    now: SystemTime,
    unsynced: Unsynced,
    /// Where large files go, if anywhere.
    spares: Option<Arc<Bases>>,
    /// How many have.
    spared: usize,
}

impl Discarding {
    /// Keeps a large file for its chunks, if it can. Whether it did.
    fn spare(&mut self, stage: &Stage, name: Name<'_>, expected: &Entry) -> bool {
        let Entry::File { content, len: len @ SPARED_BYTES_MIN.., .. } = expected else { return false };
        let Some(spares) = self.spares.as_ref().filter(|_| stage.trash().is_none() && self.spared < SPARED_MAX) else {
            return false;
        };
        let is_spared = spares.adopt(stage.dir(), name, *content, *len);
        self.spared += usize::from(is_spared);
        is_spared
    }
}

/// Removes a file or a symlink that is `expected`.
fn remove_entry(
    stage: &Stage,
    dir: &DirHandle,
    name: Name<'_>,
    path: &SyncPath,
    expected: &Entry,
    known: Option<Known<'_>>,
    discarding: &mut Discarding,
) -> Result<Outcome, Stop> {
    let held = holds(dir, name, expected, known).map_err(|error| failed(path, &error))?;
    let Some(before) = held else { return Err(Outcome::Mismatch.into()) };
    let mut aside = match stage.move_aside(dir, name) {
        Ok(aside) => aside,
        Err(error) if error.kind() == ErrorKind::CrossesDevices => return Err(Stop::OtherMount),
        Err(error) => return Err(missing(path, &error).into()),
    };
    let refused = if matches!(is_still(stage.dir(), aside.name(), &before, expected), Ok(true)) {
        if discarding.spare(stage, aside.name(), expected) {
            aside.hold();
            return Ok(Outcome::Applied);
        }
        let Discarding { now, unsynced, .. } = discarding;
        match aside.discard(path, before.len, *now, &mut |dir| unsynced.dir(dir)) {
            Ok(()) => return Ok(Outcome::Applied),
            // Not removed where it can't be kept.
            Err(error) => failed(path, &error),
        }
    } else {
        Outcome::Mismatch
    };
    match stage.dir().rename_noreplace(aside.name(), dir, name) {
        Ok(()) => Err(refused.into()),
        Err(_) => Ok(Outcome::Displaced(aside.keep(name))),
    }
}

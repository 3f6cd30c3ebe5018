//! Bringing a batch to the disk.
//!
//! Twice a batch, whatever is in it: once what is staged, before it is renamed to its place, so that after a power cut no
//! path shows a file without its content; and once the names, before the batch is said to be done. What a batch touches is
//! synced one by one where it is little, because to sync a whole file system is to wait for what all programs have written
//! to it; and all at once where it is much: see `docs/design/009-durability.md`.

use std::{collections::BTreeSet, fs::File, io, sync::Arc};

use sync_proto::{SyncPath, message::Outcome};

use super::{
    Commit, Committer,
    problem::{failed, is_absent},
};
use crate::sys::DirHandle;

/// How many files and directories are synced one by one.
pub(super) const SYNCED_ONE_BY_ONE_MAX: usize = 8;

/// What has been changed and may not be on the disk. Beyond [`SYNCED_ONE_BY_ONE_MAX`] it is only known to be much.
#[derive(Debug, Default)]
pub(super) struct Unsynced {
    dirs: Vec<Arc<DirHandle>>,
    files: Vec<File>,
    is_much: bool,
}

impl Unsynced {
    pub(super) fn dir(&mut self, dir: &Arc<DirHandle>) {
        if !self.dirs.iter().any(|noted| Arc::ptr_eq(noted, dir)) && self.has_room() {
            self.dirs.push(Arc::clone(dir));
        }
    }

    pub(super) fn file(&mut self, file: File) {
        if self.has_room() {
            self.files.push(file);
        }
    }

    fn has_room(&mut self) -> bool {
        self.is_much |= self.dirs.len() + self.files.len() == SYNCED_ONE_BY_ONE_MAX;
        !self.is_much
    }

    /// Whether there are more than can be synced one by one, `more` included.
    pub(super) fn is_much(&self, more: usize) -> bool {
        self.is_much || self.dirs.len() + self.files.len() + more > SYNCED_ONE_BY_ONE_MAX
    }

    /// Brings it to the disk: one by one, or, where it is much, by `all`.
    pub(super) fn sync(&self, all: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        if self.is_much(0) {
            return all();
        }
        self.files.iter().try_for_each(File::sync_all)?;
        self.dirs.iter().try_for_each(|dir| dir.sync())
    }
}

impl Committer {
    /// Brings the names of what was done to the disk, where that is promised, and whatever `unsynced` holds.
    pub(super) fn finish(&self, commits: &mut [Commit], unsynced: &Unsynced) {
        if !self.options.durable || commits.iter().all(|commit| commit.changes.is_empty()) {
            return;
        }
        let Err(error) = self.sync_names(commits, unsynced) else { return };
        for commit in commits {
            if let (Outcome::Applied | Outcome::Kept, Some(change)) = (&commit.outcome, commit.changes.first()) {
                commit.outcome = failed(&change.path, &error);
            }
        }
    }

    fn sync_names(&self, commits: &[Commit], unsynced: &Unsynced) -> io::Result<()> {
        let mut dirs: BTreeSet<SyncPath> = BTreeSet::new();
        for commit in commits {
            dirs.extend(commit.changes.iter().filter_map(|change| change.path.parent()));
            if let Outcome::Displaced(kept) = &commit.outcome {
                dirs.extend(kept.parent());
            }
            if unsynced.is_much(dirs.len()) {
                return self.sync_all();
            }
        }
        // What was deleted is on the disk where it is kept before it is gone from where it was.
        unsynced.sync(|| self.sync_all())?;
        for path in dirs {
            match self.root.resolve(&path) {
                Ok(dir) => dir.sync()?,
                // Removed or moved by the same batch: which is a name in a directory above.
                Err(error) if is_absent(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(super) fn sync_all(&self) -> io::Result<()> {
        self.root.sync_fs()?;
        self.other_stages().iter().try_for_each(|stage| stage.dir().sync_fs())
    }
}

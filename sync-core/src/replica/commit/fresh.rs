//! The way of a first sync: a new directory with what is in it, built in the stage and renamed to its place once.
//!
//! Nobody sees it half made, and each file in it costs what it costs `tar x`: it is made, written, asked for its stat data
//! and closed. No file is renamed, and each of them keeps its stat data, because the rename is that of the directory.

use std::{io::ErrorKind, sync::Arc};

use sync_proto::{
    Entry, Name, SyncPath,
    message::{Content, Expected, Operation, Outcome},
};

use super::{
    Commit, Committer, Work,
    content::{self, Here, Wanted},
    durable::Unsynced,
    problem::{failed, missing},
};
use crate::{
    replica::stage::{Stage, Staged},
    sys::DirHandle,
};

/// How many of the operations, the first of which makes a directory, can be done in the stage: those that make something
/// new beneath it. 0 where there is none: then the directory alone is as well made in its place.
pub(super) fn run_len(committer: &Committer, operations: &[Operation]) -> usize {
    let Some((Operation::MakeDirectory { path: top }, rest)) = operations.split_first() else { return 0 };
    if committer.refusal(top, false).is_some() {
        return 0;
    }
    match rest.iter().take_while(|operation| is_fresh(committer, operation, top)).count() {
        0 => 0,
        len => len + 1,
    }
}

fn is_fresh(committer: &Committer, operation: &Operation, top: &SyncPath) -> bool {
    let path = operation.path();
    if path == top || !path.starts_with(top) || committer.refusal_of(operation).is_some() {
        return false;
    }
    match operation {
        Operation::MakeDirectory { .. } => true,
        Operation::Put {
            expected: Expected::Nothing, entry: Entry::File { .. } | Entry::Symlink(_), content, ..
        } => {
            match content {
                Content::None | Content::Raw(_) | Content::Zstd(_) => true,
                // What is in the stage can't be copied by its path yet.
                Content::CopyOf(from) => !from.starts_with(top),
                Content::Delta(_) | Content::Unchanged => false,
            }
        }
        _ => false,
    }
}

/// A new directory in the stage.
pub(super) struct Built<'a> {
    staged: Staged<'a>,
    commits: Vec<Commit>,
}

impl Built<'_> {
    /// Whether everything in it could be made.
    pub(super) fn is_whole(&self) -> bool {
        self.commits.iter().all(|commit| commit.outcome == Outcome::Applied)
    }
}

/// The directories on the way to where the last operation worked, the new one first.
struct Open<'a> {
    top: &'a SyncPath,
    dirs: Vec<(SyncPath, Arc<DirHandle>)>,
}

impl Open<'_> {
    /// The directory at `path`, which lies beneath the new one or is it.
    fn dir(&mut self, path: &SyncPath) -> std::io::Result<&Arc<DirHandle>> {
        // From the first one nothing is ever taken: it is what the rest is reached from.
        while self.dirs.len() > 1 && self.dirs.last().is_some_and(|(open, _)| !path.starts_with(open)) {
            self.dirs.pop();
        }
        let (nearest, dir) = self.dirs.last().ok_or(ErrorKind::NotFound)?;
        if nearest != path {
            let below = path.strip_prefix(nearest).ok_or(ErrorKind::NotFound)?;
            let dir = dir.resolve(&below)?;
            self.dirs.push((path.clone(), Arc::new(dir)));
        }
        self.dirs.last().map(|(_, dir)| dir).ok_or_else(|| ErrorKind::NotFound.into())
    }
}

impl Work<'_> {
    /// Does the operations of a run, the first of which makes the directory that the rest lie beneath. `None`: it lies on
    /// another mount than the stage, nothing was done, and each is to be done by itself. `built`: what has been made of them
    /// already, and is on the disk.
    pub(super) fn fresh(
        &mut self,
        stage: &Stage,
        operations: &[Operation],
        built: Option<Built<'_>>,
    ) -> Option<Vec<Commit>> {
        let top = operations.first()?.path();
        let all = |outcome: Outcome| Some(operations.iter().map(|_| Commit::nothing(outcome.clone())).collect());
        let (parent, name) = match self.parent(top) {
            Ok(found) => found,
            Err(outcome) => return all(outcome),
        };
        // A look first: to find at the end that something stands there would waste all the writing.
        match parent.stat(name) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Ok(_) => return all(Outcome::Mismatch),
            Err(error) => return all(missing(top, &error)),
        }
        let Built { mut staged, commits } = match built {
            Some(built) => built,
            None => {
                let mut unsynced = Unsynced::default();
                let built = self.build_tree(stage, operations, &mut unsynced);
                let is_durable = self.committer.options.durable;
                let synced = if is_durable { unsynced.sync(|| stage.dir().sync_fs()) } else { Ok(()) };
                match (built, synced) {
                    (Ok(built), Ok(())) => built,
                    (Err(outcome), _) => return all(outcome),
                    (_, Err(error)) => return all(failed(top, &error)),
                }
            }
        };
        match stage.dir().rename_noreplace(staged.name(), &parent, name) {
            Ok(()) => {
                staged.hold();
                Some(commits)
            }
            Err(error) if error.kind() == ErrorKind::CrossesDevices => None,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => all(Outcome::Mismatch),
            Err(error) => all(missing(top, &error)),
        }
    }

    /// Builds what a run makes, in the stage.
    pub(super) fn build_tree<'s>(
        &mut self,
        stage: &'s Stage,
        operations: &[Operation],
        unsynced: &mut Unsynced,
    ) -> Result<Built<'s>, Outcome> {
        let Some((first, rest)) = operations.split_first() else { return Err(Outcome::Mismatch) };
        let top = first.path();
        let (staged, dir) = stage.new_directory().map_err(|error| failed(top, &error))?;
        let dir = Arc::new(dir);
        unsynced.dir(&dir);
        let mut open = Open { top, dirs: vec![(top.clone(), dir)] };
        let mut commits = vec![Commit::applied(top, &Entry::Directory, None)];
        for operation in rest {
            commits.push(self.build(&mut open, operation, unsynced).unwrap_or_else(Commit::nothing));
        }
        Ok(Built { staged, commits })
    }

    fn build(
        &mut self,
        open: &mut Open<'_>,
        operation: &Operation,
        unsynced: &mut Unsynced,
    ) -> Result<Commit, Outcome> {
        let path = operation.path();
        let (above, name) = path.split_last().ok_or(Outcome::Mismatch)?;
        debug_assert!(above.starts_with(open.top), "a run lies beneath its top");
        let dir = open.dir(&above).map_err(|error| missing(path, &error))?;
        if self.committer.options.durable {
            unsynced.dir(dir);
        }
        match operation {
            Operation::Put { path, expected, entry, content } => {
                self.build_entry(dir, name, Wanted { path, expected, entry, content }, unsynced)
            }
            _ => {
                dir.make_dir(name, 0o777).map_err(|error| taken(path, &error))?;
                Ok(Commit::applied(path, &Entry::Directory, None))
            }
        }
    }

    fn build_entry(
        &mut self,
        dir: &DirHandle,
        name: Name<'_>,
        wanted: Wanted<'_>,
        unsynced: &mut Unsynced,
    ) -> Result<Commit, Outcome> {
        let path = wanted.path;
        if let Entry::Symlink(target) = wanted.entry {
            dir.symlink(target, name).map_err(|error| taken(path, &error))?;
            return Ok(Commit::applied(path, wanted.entry, None));
        }
        let mut created = false;
        let here = Here { root: self.committer.root(), base: None };
        let written = content::write(&mut self.decoders, here, wanted, |mode| {
            let file = dir.create_new(name, mode)?;
            created = true;
            Ok(((), file))
        });
        match written {
            Ok(((), file, stat)) => {
                if self.committer.options.durable {
                    unsynced.file(file);
                }
                Ok(Commit::applied(path, wanted.entry, Some(stat.stamp)))
            }
            Err(outcome) => {
                // Half written: it must not come to its place with the rest.
                if created {
                    dir.remove_file(name).map_err(|error| failed(path, &error))?;
                    return Err(outcome);
                }
                match dir.stat(name) {
                    // The batch names it twice.
                    Ok(_) => Err(Outcome::Mismatch),
                    Err(_) => Err(outcome),
                }
            }
        }
    }
}

fn taken(path: &SyncPath, error: &std::io::Error) -> Outcome {
    if error.kind() == ErrorKind::AlreadyExists { Outcome::Mismatch } else { missing(path, error) }
}

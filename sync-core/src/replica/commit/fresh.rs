//! The way of a first sync: a new directory with what is in it, built in the stage and renamed to its place once.
//!
//! Nobody sees it half made, and each file in it costs what it costs `tar x`: it is made, written, asked for its stat data
//! and closed. No file is renamed, and each of them keeps its stat data, because the rename is that of the directory.

use std::io::ErrorKind;

use sync_proto::{
    Entry, Name, SyncPath,
    message::{Content, Expected, Operation, Outcome},
};

use super::{
    Commit, Work,
    content::{self, Here, Wanted},
    problem::{failed, missing},
};
use crate::{replica::stage::Stage, sys::DirHandle};

/// How many of the operations, the first of which makes a directory, can be done in the stage: those that make something
/// new beneath it. 0 where there is none: then the directory alone is as well made in its place.
pub(super) fn run_len(operations: &[Operation]) -> usize {
    let Some((Operation::MakeDirectory { path: top }, rest)) = operations.split_first() else { return 0 };
    match rest.iter().take_while(|operation| is_fresh(operation, top)).count() {
        0 => 0,
        len => len + 1,
    }
}

fn is_fresh(operation: &Operation, top: &SyncPath) -> bool {
    let path = operation.path();
    if path == top || !path.starts_with(top) || !super::is_ours_to_write(path) {
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

/// The directories on the way to where the last operation worked, the new one first.
struct Open<'a> {
    top: &'a SyncPath,
    dirs: Vec<(SyncPath, DirHandle)>,
}

impl Open<'_> {
    /// The directory at `path`, which lies beneath the new one or is it.
    fn dir(&mut self, path: &SyncPath) -> std::io::Result<&DirHandle> {
        // From the first one nothing is ever taken: it is what the rest is reached from.
        while self.dirs.len() > 1 && self.dirs.last().is_some_and(|(open, _)| !path.starts_with(open)) {
            self.dirs.pop();
        }
        let (nearest, dir) = self.dirs.last().ok_or(ErrorKind::NotFound)?;
        if nearest != path {
            let below = path.strip_prefix(nearest).ok_or(ErrorKind::NotFound)?;
            let dir = dir.resolve(&below)?;
            self.dirs.push((path.clone(), dir));
        }
        self.dirs.last().map(|(_, dir)| dir).ok_or_else(|| ErrorKind::NotFound.into())
    }
}

impl Work<'_> {
    /// Does the operations of a run, the first of which makes the directory that the rest lie beneath. `None`: it lies on
    /// another mount than the stage, nothing was done, and each is to be done by itself.
    pub(super) fn fresh(&mut self, stage: &Stage, operations: &[Operation]) -> Option<Vec<Commit>> {
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
        let (mut staged, dir) = match stage.new_directory() {
            Ok(made) => made,
            Err(error) => return all(failed(top, &error)),
        };
        let mut open = Open { top, dirs: vec![(top.clone(), dir)] };
        let mut commits = vec![Commit::applied(top, &Entry::Directory, None)];
        for operation in operations.iter().skip(1) {
            commits.push(self.build(&mut open, operation).unwrap_or_else(Commit::nothing));
        }
        drop(open);
        if self.committer.options.durable
            && let Err(error) = stage.dir().sync_fs()
        {
            return all(failed(top, &error));
        }
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

    fn build(&mut self, open: &mut Open<'_>, operation: &Operation) -> Result<Commit, Outcome> {
        let path = operation.path();
        let (above, name) = path.split_last().ok_or(Outcome::Mismatch)?;
        debug_assert!(above.starts_with(open.top), "a run lies beneath its top");
        let dir = open.dir(&above).map_err(|error| missing(path, &error))?;
        match operation {
            Operation::Put { path, expected, entry, content } => {
                self.build_entry(dir, name, Wanted { path, expected, entry, content })
            }
            _ => {
                dir.make_dir(name, 0o777).map_err(|error| taken(path, &error))?;
                Ok(Commit::applied(path, &Entry::Directory, None))
            }
        }
    }

    fn build_entry(&mut self, dir: &DirHandle, name: Name<'_>, wanted: Wanted<'_>) -> Result<Commit, Outcome> {
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
            Ok(((), _, stat)) => Ok(Commit::applied(path, wanted.entry, Some(stat.stamp))),
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

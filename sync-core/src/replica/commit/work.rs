//! One batch on its way through the disk.

use std::{collections::VecDeque, fs::File, io, sync::Arc, time::SystemTime};

use sync_proto::{
    Entry, Name, SyncPath, TreeHash,
    message::{Content, Expected, Operation, Outcome},
};

use super::{
    Commit, Committer, Stop,
    check::Known,
    content::{self, Decoders, Here, NewFile, Wanted},
    durable::Unsynced,
    fresh::{self, Built},
    not_ours,
    problem::{failed, missing},
};
use crate::{
    replica::stage::{Stage, Staged},
    sys::{self, DirHandle, Stat},
    tree::{Dir, Node, Tree},
};

/// What is known while a batch is done.
pub(super) struct Work<'a> {
    pub(super) committer: &'a Committer,
    pub(super) decoders: Decoders,
    /// The index as it was when the batch began.
    before: &'a Tree,
    /// The index with what the first `folded` commits have changed: operations are said to be done in order, and what one
    /// expects may be what another has made. Folded only when it is asked for.
    now: Tree,
    folded: usize,
    commits: Vec<Commit>,
    /// The directory that the last operation was in: the next one is there too, more often than not.
    parent: Option<Parent>,
    pub(super) began: SystemTime,
    pub(super) unsynced: Unsynced,
}

/// What was staged before its turn, whole and on the disk.
enum Prepared<'a> {
    /// Open only where there are few.
    File {
        staged: Staged<'a>,
        stat: Stat,
        file: Option<File>,
    },
    Tree(Built<'a>),
}

struct Parent {
    path: SyncPath,
    dir: Arc<DirHandle>,
    /// The stage to use, where it is not that of the root.
    stage: Option<Arc<Stage>>,
}

impl<'a> Work<'a> {
    pub(super) fn new(committer: &'a Committer, index: &'a Tree) -> Self {
        Self {
            committer,
            decoders: Decoders::default(),
            before: index,
            now: index.clone(),
            folded: 0,
            commits: Vec::new(),
            parent: None,
            began: SystemTime::now(),
            unsynced: Unsynced::default(),
        }
    }

    /// Does the operations, in order. Says what became of them, and what is not on the disk yet.
    pub(super) fn run(mut self, operations: &[Operation]) -> (Vec<Commit>, Unsynced) {
        let committer = self.committer;
        let mut prepared = if committer.options.durable { self.prepare(operations) } else { VecDeque::new() };
        let mut rest = operations;
        while let Some((operation, after)) = rest.split_first() {
            let ready = prepared.pop_front().flatten();
            let run = fresh::run_len(committer, rest);
            if let Some((together, after)) = rest.split_at_checked(run)
                && run > 0
            {
                let built = if let Some(Prepared::Tree(built)) = ready { Some(built) } else { None };
                if let Some(commits) = self.fresh(&committer.stage, together, built) {
                    self.commits.extend(commits);
                    rest = after;
                    continue;
                }
                // On another mount, each by itself: what was prepared is no longer in step.
                prepared.clear();
                let commit = self.one(operation, None);
                self.commits.push(commit);
            } else {
                let file = if let Some(Prepared::File { staged, stat, file }) = ready {
                    new_file(staged, stat, file)
                } else {
                    None
                };
                let commit = self.one(operation, file);
                self.commits.push(commit);
            }
            rest = after;
        }
        (self.commits, self.unsynced)
    }

    /// Stages the content of all operations, and brings it to the disk at once: one turn for a batch. It is verified, so it
    /// is right whatever the operations before it will have done; what can't be staged yet is staged in its turn.
    fn prepare(&mut self, operations: &[Operation]) -> VecDeque<Option<Prepared<'a>>> {
        let stage = &self.committer.stage;
        let (mut unsynced, mut prepared) = (Unsynced::default(), VecDeque::new());
        let mut rest = operations;
        while let Some((operation, after)) = rest.split_first() {
            let run = fresh::run_len(self.committer, rest);
            if let Some((together, after)) = rest.split_at_checked(run)
                && run > 0
            {
                let built = self.build_tree(stage, together, &mut unsynced).ok().filter(Built::is_whole);
                prepared.push_back(built.map(Prepared::Tree));
                rest = after;
                continue;
            }
            prepared.push_back(self.stage_early(stage, operation).map(|NewFile { staged, file, stat }| {
                let copy = file.try_clone().ok();
                unsynced.file(file);
                Prepared::File { staged, stat, file: copy.filter(|_| !unsynced.is_much(0)) }
            }));
            rest = after;
        }
        if unsynced.sync(|| stage.dir().sync_fs()).is_err() {
            // Each tries by itself, in its turn, and says what is wrong.
            prepared.clear();
        }
        prepared
    }

    fn stage_early(&mut self, stage: &'a Stage, operation: &Operation) -> Option<NewFile<'a>> {
        let Operation::Put { path, expected, entry: entry @ Entry::File { .. }, content } = operation else {
            return None;
        };
        if self.committer.refusal(path, true).is_some() || *content == Content::Unchanged {
            return None;
        }
        let (above, name) = path.split_last()?;
        let dir = if matches!(content, Content::Delta(_)) { self.committer.root.resolve(&above).ok() } else { None };
        let here = Here { root: self.committer.root(), base: dir.as_ref().map(|dir| (dir, name)) };
        content::stage(&mut self.decoders, here, stage, Wanted { path, expected, entry, content }).ok()
    }

    fn one(&mut self, operation: &Operation, prepared: Option<NewFile<'a>>) -> Commit {
        let path = operation.path();
        if let Some(refusal) = self.committer.refusal_of(operation) {
            return Commit::nothing(refusal);
        }
        let own = self.stage_of(path);
        let stage: &Stage = own.as_deref().unwrap_or(&self.committer.stage);
        let result = match self.attempt(stage, operation, if own.is_none() { prepared } else { None }) {
            Err(Stop::OtherMount) => self.other_stage(path).and_then(|stage| self.attempt(&stage, operation, None)),
            result => result,
        };
        match result {
            Ok(commit) => commit,
            Err(Stop::Outcome(outcome)) => Commit::nothing(outcome),
            Err(Stop::OtherMount) => Commit::nothing(failed(path, &io::ErrorKind::CrossesDevices.into())),
        }
    }

    fn attempt(&mut self, stage: &Stage, operation: &Operation, prepared: Option<NewFile<'_>>) -> Result<Commit, Stop> {
        match operation {
            Operation::MakeDirectory { path } => self.make_directory(path),
            Operation::Put { path, expected, entry, content } => {
                self.put(stage, Wanted { path, expected, entry, content }, prepared)
            }
            Operation::Remove { path, expected } => {
                let result = self.remove(stage, path, expected);
                self.forget_parent_below(path);
                result
            }
            Operation::Move { from, to, expected } => self.relocate(from, to, expected),
        }
    }

    fn make_directory(&mut self, path: &SyncPath) -> Result<Commit, Stop> {
        let (dir, name) = self.parent(path)?;
        match dir.make_dir(name, 0o777) {
            Ok(()) => Ok(Commit::applied(path, &Entry::Directory, None)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(Outcome::Mismatch.into()),
            Err(error) => Err(missing(path, &error).into()),
        }
    }

    /// Puts a whole file that is on another mount than its path.
    pub(super) fn put_copied(
        &mut self,
        from: &File,
        path: &SyncPath,
        expected: &Expected,
        entry: &Entry,
    ) -> Result<Commit, Outcome> {
        let stage = match self.other_stage(path) {
            Ok(stage) => stage,
            Err(Stop::Outcome(outcome)) => return Err(outcome),
            Err(Stop::OtherMount) => return Err(failed(path, &io::ErrorKind::CrossesDevices.into())),
        };
        let copy = || {
            let from_stat = sys::stat_file(from)?;
            let (staged, file) = stage.new_file(from_stat.mode)?;
            sys::reflink_or_copy(from, &file, from_stat.len)?;
            if self.committer.options.durable {
                file.sync_data()?;
            }
            let stat = sys::stat_file(&file)?;
            Ok(NewFile { staged, file, stat })
        };
        let new = copy().map_err(|error| failed(path, &error))?;
        match self.put_staged(new, path, expected, entry) {
            Ok(commit) => Ok(commit),
            Err(Stop::Outcome(outcome)) => Err(outcome),
            Err(Stop::OtherMount) => Err(failed(path, &io::ErrorKind::CrossesDevices.into())),
        }
    }

    /// The directory that `path` is in, opened, and its name there. Missing: [`Outcome::Mismatch`].
    pub(super) fn parent<'p>(&mut self, path: &'p SyncPath) -> Result<(Arc<DirHandle>, Name<'p>), Outcome> {
        let (above, name) = (path.parent(), path.name());
        let (Some(above), Some(name)) = (above, name) else { return Err(not_ours(path)) };
        if let Some(parent) = &self.parent
            && parent.path == above
        {
            return Ok((Arc::clone(&parent.dir), name));
        }
        let dir = self.committer.root.resolve(&above).map_err(|error| missing(path, &error))?;
        let dir = Arc::new(dir);
        self.parent = Some(Parent { path: above, dir: Arc::clone(&dir), stage: None });
        Ok((dir, name))
    }

    /// Whatever is held may have another path now.
    pub(super) fn forget_parent(&mut self) {
        self.parent = None;
    }

    fn forget_parent_below(&mut self, path: &SyncPath) {
        if self.parent.as_ref().is_some_and(|parent| parent.path.starts_with(path)) {
            self.parent = None;
        }
    }

    fn stage_of(&self, path: &SyncPath) -> Option<Arc<Stage>> {
        let parent = self.parent.as_ref()?;
        (path.parent().as_ref() == Some(&parent.path)).then(|| parent.stage.clone()).flatten()
    }

    /// The stage of the mount that `path` is on, to be used for what else is in its directory.
    fn other_stage(&mut self, path: &SyncPath) -> Result<Arc<Stage>, Stop> {
        let above = path.parent().unwrap_or_default();
        let stage = self.committer.mount_stage(&above).map_err(|error| failed(path, &error))?;
        if let Some(parent) = &mut self.parent
            && parent.path == above
        {
            parent.stage = Some(Arc::clone(&stage));
        }
        Ok(stage)
    }

    /// What the index says of `path`, with what this batch has done.
    pub(super) fn known(&mut self, path: &SyncPath) -> Option<Known<'_>> {
        self.fold();
        let node = self.now.get(path)?;
        Some(Known { node, stamp: self.now.stamp(path) })
    }

    /// The directory at `path` as it is known, if its hash is this one: now, or when the batch began.
    pub(super) fn subtree(&mut self, path: &SyncPath, hash: TreeHash) -> Option<Dir> {
        self.fold();
        let now = self.now.get(path).and_then(Node::as_dir)?;
        let is_expected = now.hash() == hash
            || self.before.get(path).and_then(Node::as_dir).is_some_and(|before| before.hash() == hash);
        is_expected.then(|| now.clone())
    }

    fn fold(&mut self) {
        for change in self.commits.iter().skip(self.folded).flat_map(|commit| &commit.changes) {
            match &change.node {
                // A directory that the index does not hold can't be known in it either.
                Some(node) => drop(self.now.insert(&change.path, node.clone(), change.stamp)),
                None => drop(self.now.remove(&change.path)),
            }
        }
        self.folded = self.commits.len();
    }
}

/// Opens what was staged, where it is not open.
fn new_file<'a>(staged: Staged<'a>, stat: Stat, file: Option<File>) -> Option<NewFile<'a>> {
    let file = match file {
        Some(file) => file,
        None => staged.stage().dir().open_file(staged.name()).ok()?.0,
    };
    Some(NewFile { staged, file, stat })
}

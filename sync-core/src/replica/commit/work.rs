//! One batch on its way through the disk.

use std::{collections::VecDeque, io, sync::Arc};

use sync_proto::{
    Entry, Name, SyncPath, TreeHash,
    message::{Content, Expected, Operation, Outcome},
};

use super::{
    Commit, Committer, Stop,
    check::Known,
    content::{Decoders, NewFile, Wanted},
    fresh, is_ours_to_write, not_ours,
    problem::{failed, missing},
};
use crate::{
    replica::stage::Stage,
    sys::{self, DirHandle},
    tree::{Dir, Node, Tree},
};

/// How many files of a durable batch are staged before they are brought to the disk at once. Each is open meanwhile.
const STAGED_TOGETHER_MAX: usize = 64;

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
        }
    }

    /// Does the operations, in order.
    pub(super) fn run(mut self, operations: &[Operation]) -> Vec<Commit> {
        let committer = self.committer;
        let mut staged: VecDeque<Option<NewFile<'a>>> = VecDeque::new();
        let mut rest = operations;
        while let Some((operation, after)) = rest.split_first() {
            let run = if is_ours_to_write(operation.path()) { fresh::run_len(rest) } else { 0 };
            if let Some((together, after)) = rest.split_at_checked(run)
                && run > 0
                && let Some(commits) = self.fresh(&committer.stage, together)
            {
                self.commits.extend(commits);
                rest = after;
                continue;
            }
            if staged.is_empty() && committer.options.durable {
                staged = self.stage_together(rest);
            }
            let prepared = staged.pop_front().flatten();
            let commit = self.one(operation, prepared);
            self.commits.push(commit);
            rest = after;
        }
        self.commits
    }

    /// Stages the content of the next operations, up to the next new directory, and brings it to the disk at once.
    fn stage_together(&mut self, operations: &[Operation]) -> VecDeque<Option<NewFile<'a>>> {
        let stage = &self.committer.stage;
        let plain = operations
            .iter()
            .enumerate()
            .take_while(|(at, _)| *at == 0 || operations.get(*at..).is_none_or(|rest| fresh::run_len(rest) == 0))
            .take(STAGED_TOGETHER_MAX);
        let mut staged = VecDeque::new();
        for (_, operation) in plain {
            staged.push_back(self.stage_early(stage, operation));
        }
        let count = staged.iter().flatten().count();
        // One file is cheaper by itself, when its turn comes.
        if count < 2 || stage.dir().sync_fs().is_err() {
            staged.iter_mut().for_each(|file| *file = None);
        }
        staged
    }

    /// Stages one file whose content does not depend on what the operations before it do. Where that fails it is tried
    /// again in its turn.
    fn stage_early(&mut self, stage: &'a Stage, operation: &Operation) -> Option<NewFile<'a>> {
        let Operation::Put { path, expected, entry: entry @ Entry::File { .. }, content } = operation else {
            return None;
        };
        if !is_ours_to_write(path) || !matches!(content, Content::None | Content::Raw(_) | Content::Zstd(_)) {
            return None;
        }
        let here = super::content::Here { root: self.committer.root(), base: None };
        super::content::stage(&mut self.decoders, here, stage, Wanted { path, expected, entry, content }).ok()
    }

    fn one(&mut self, operation: &Operation, prepared: Option<NewFile<'a>>) -> Commit {
        let path = operation.path();
        let from = if let Operation::Move { from, .. } = operation { from } else { path };
        if let Some(path) = [path, from].into_iter().find(|path| !is_ours_to_write(path)) {
            return Commit::nothing(not_ours(path));
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
        from: &std::fs::File,
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

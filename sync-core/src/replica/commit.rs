//! Operations done on a real disk, each by compare and swap.
//!
//! An operation names what it expects to find and does nothing where it finds something else. Invariants:
//!
//! - **A path shows whole, verified content only**: it is staged on the same mount, its BLAKE3 checked, and renamed.
//! - **Nothing is lost to a race**: what stood there is looked at after it was taken out of everybody's reach, and given
//!   back, or kept in `.synctl/displaced`, where it was not what was expected.
//! - **Nothing outside the root is reached**, whatever a peer names and whatever is swapped for a symlink meanwhile: every
//!   call is relative to a held directory and follows no link.
//! - What is in the directory of ours is out of a peer's reach, by any spelling of its name.
//! - What is [protected](CommitOptions::protected) is not changed, by any spelling either: the engine plans around it, and here
//!   it is refused even if it did not.
//! - setuid and setgid are never set. A file that replaces one keeps its permissions, and its owner where this user may.
//!
//! What a crash leaves is in the [stage](super::stage) alone: no path is ever half written. The exception is a file that is
//! a mount point of its own (EBUSY), which can only be written in place. With [`CommitOptions::durable`] a batch is on the
//! disk when [`Committer::apply`] returns; without, the disk has it when the kernel likes.
//!
//! What lies beyond: a program that holds a file open while it is replaced goes on writing to the old one, as with every
//! rename over a file.

mod check;
mod content;
mod durable;
mod fresh;
mod partial;
mod power;
mod problem;
mod put;
mod relocate;
mod remove;
mod swap;
#[cfg(test)]
mod tests;
mod work;

use std::{
    collections::BTreeMap,
    io::{self, ErrorKind, Read, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::SystemTime,
};

use sync_proto::{
    ContentId, Entry, Name, SyncPath,
    message::{Expected, Operation, Outcome, ProblemKind, ReplicaId},
    reserved::is_reserved_path,
};

pub use self::{
    content::DELTA_BYTES_MAX,
    partial::{PARTIAL_AGE_MAX, PARTIALS_MAX, Partial},
};
use self::{
    content::NewFile,
    partial::Partials,
    power::Power,
    problem::{failed, refused},
    work::Work,
};
use super::{
    bases::Bases,
    claim::{ClaimError, RootClaim},
    stage::{HOME, Stage, Staged, fixed},
    trash::{Trash, TrashLimits},
};
use crate::{
    ignore::Protected,
    sys::{self, DirHandle},
    tree::{Node, Stamp, Tree},
};

/// How operations are done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CommitOptions {
    /// Whether what was done is on the disk before it is said to be done: so for a person's files.
    pub durable: bool,
    /// What becomes of what is deleted.
    pub removed: Removed,
    /// Names that the other side may not change, whatever the plan says.
    pub protected: Option<Protected>,
}

/// What becomes of what is deleted. What is replaced by another version of the same file is not deleted: no history is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Removed {
    /// It is gone.
    #[default]
    Deleted,
    /// It is kept for a while, in the [trash](super::trash).
    Trashed(TrashLimits),
}

impl CommitOptions {
    /// For files of a person: on the disk when it is said, deletions kept for a week, and `protected` out of reach.
    pub fn for_a_person(protected: Protected) -> Self {
        Self { durable: true, removed: Removed::Trashed(TrashLimits::default()), protected: Some(protected) }
    }
}

/// Why a root can't be written to.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The root itself.
    #[error("can't open the root {}: {source}", path.display())]
    Root {
        /// The root.
        path: PathBuf,
        /// What the file system says.
        source: io::Error,
    },
    /// The directory of ours in it.
    #[error("can't set up {} to stage changes in: {source}", path.display())]
    Stage {
        /// The directory.
        path: PathBuf,
        /// What the file system says.
        source: io::Error,
    },
    /// The file that says which replica this is.
    #[error("can't read or make the replica's id in {}: {source}", path.display())]
    ReplicaId {
        /// The directory that the file is in.
        path: PathBuf,
        /// What the file system or the source of randomness says.
        source: io::Error,
    },
}

/// Does operations on one root. Shared by as many threads as one likes.
#[derive(Debug)]
pub struct Committer {
    path: PathBuf,
    root: DirHandle,
    stage: Stage,
    /// The stages on other mounts within the root, by mount.
    mounts: Mutex<BTreeMap<u64, Arc<Stage>>>,
    partials: Arc<Partials>,
    options: CommitOptions,
    /// The permission bits that the umask leaves.
    mode_mask: u32,
    power: Power,
    /// Where large files go that are removed.
    spares: OnceLock<Arc<Bases>>,
}

/// What became of an operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Commit {
    /// What the peer is told.
    pub outcome: Outcome,
    /// What the index must take over, in order.
    pub changes: Vec<IndexChange>,
}

/// One path that was changed here.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexChange {
    /// Where.
    pub path: SyncPath,
    /// What stands there now; `None`: nothing, and nothing beneath it.
    pub node: Option<Node>,
    /// The stat data of a file; `None` where it is not certain: to be looked at.
    pub stamp: Option<Stamp>,
}

/// Why an operation stops.
enum Stop {
    /// With this outcome, and nothing changed.
    Outcome(Outcome),
    /// It is on another mount than the stage.
    OtherMount,
}

impl From<Outcome> for Stop {
    fn from(outcome: Outcome) -> Self {
        Self::Outcome(outcome)
    }
}

impl Committer {
    /// Opens a root for writing: makes `.synctl` in it, reaps what a crash has left there, and keeps what has arrived of
    /// large files.
    pub fn open(root: &Path, options: CommitOptions) -> Result<Self, OpenError> {
        let path = root.to_path_buf();
        let root = match DirHandle::open_root(root) {
            Ok(root) => root,
            Err(source) => return Err(OpenError::Root { path, source }),
        };
        let set_up = || {
            let mut stage = Stage::open(&root, SyncPath::root())?;
            open_trash(&mut stage, &options)?;
            let partials = Partials::open(stage.home())?;
            let (probe, file) = stage.new_file(0o777)?;
            let mode_mask = sys::stat_file(&file)?.mode & 0o777;
            drop(probe);
            io::Result::Ok((stage, partials, mode_mask))
        };
        match set_up() {
            Ok((stage, partials, mode_mask)) => {
                let (mounts, power, spares) = (Mutex::default(), Power::default(), OnceLock::new());
                Ok(Self { path, root, stage, mounts, partials, options, mode_mask, power, spares })
            }
            Err(source) => Err(OpenError::Stage { path: path.join(HOME), source }),
        }
    }

    /// Which replica this is: an id that was made at random when the root was first opened, and lives and dies with it.
    pub fn replica_id(&self) -> Result<ReplicaId, OpenError> {
        self.read_or_make_id().map_err(|source| OpenError::ReplicaId { path: self.path.join(HOME), source })
    }

    fn read_or_make_id(&self) -> io::Result<ReplicaId> {
        let (home, name) = (self.stage.home(), fixed("replica"));
        if let Some(id) = read_id(home, name)? {
            return Ok(id);
        }
        let (id, mut staged) = self.stage_id()?;
        match self.stage.dir().rename_noreplace(staged.name(), home, name) {
            Ok(()) => {
                staged.hold();
                return Ok(id);
            }
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            Err(_) => {}
        }
        // Somebody else made one just now, or what is there is damaged: then it is not known which replica this was.
        if let Some(id) = read_id(home, name)? {
            return Ok(id);
        }
        self.stage.dir().rename_replace(staged.name(), home, name)?;
        staged.hold();
        Ok(id)
    }

    /// From now on this is another replica: on the disk when it is said.
    fn replace_id(&self) -> io::Result<ReplicaId> {
        let (id, mut staged) = self.stage_id()?;
        self.stage.dir().rename_replace(staged.name(), self.stage.home(), fixed("replica"))?;
        staged.hold();
        self.stage.home().sync()?;
        Ok(id)
    }

    fn stage_id(&self) -> io::Result<(ReplicaId, Staged<'_>)> {
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|error| io::Error::other(error.to_string()))?;
        let (staged, mut file) = self.stage.new_file(0o600)?;
        writeln!(file, "{}", ReplicaId(id))?;
        // It must not be forgotten: an id that is made anew has no past.
        file.sync_all()?;
        Ok((ReplicaId(id), staged))
    }

    /// Takes the root for this process alone, until the claim is dropped. `role` tells others who has it.
    pub fn claim(&self, role: &str) -> Result<RootClaim, ClaimError> {
        RootClaim::take(self.stage.home(), role)
    }

    /// From now on large files that are removed, and not [trashed](Removed::Trashed), are taken in by `bases`: for chunks to be
    /// found in.
    pub fn spare_to(&self, bases: Arc<Bases>) {
        // Once is enough.
        let _ = self.spares.set(bases);
    }

    /// The root.
    pub fn root(&self) -> &DirHandle {
        &self.root
    }

    /// Does operations in order, and says of each what became of it. `index` is the replica's tree as it was last seen:
    /// what has the stat data that stands there is not read again.
    pub fn apply(&self, index: &Tree, operations: &[Operation]) -> Vec<Commit> {
        let (mut commits, unsynced) = Work::new(self, index).run(operations);
        self.finish(&mut commits, &unsynced);
        commits
    }

    /// A file to receive content in, as much as an earlier connection has left of it.
    pub fn partial(&self, id: ContentId) -> io::Result<Partial> {
        self.partials.take(id)
    }

    /// Of which contents there is something from an earlier connection, that no stream is writing now.
    pub fn partials(&self) -> Vec<ContentId> {
        self.partials.list()
    }

    /// Puts a file in its place that was received in `partial`, whole and verified by the caller. Where that fails for
    /// reasons of the file system it is kept for another time.
    pub fn put_partial(
        &self,
        index: &Tree,
        path: &SyncPath,
        expected: &Expected,
        entry: &Entry,
        partial: Partial,
    ) -> Commit {
        let mut work = Work::new(self, index);
        let commit = match self.refusal(path, !matches!(entry, Entry::Directory)) {
            None => self.put_partial_at(&mut work, path, expected, entry, &partial).unwrap_or_else(Commit::nothing),
            Some(refusal) => Commit::nothing(refusal),
        };
        if !matches!(commit.outcome, Outcome::Failed(_)) {
            partial.discard();
        }
        let mut commits = [commit];
        self.finish(&mut commits, &work.unsynced);
        let [commit] = commits;
        commit
    }

    fn put_partial_at(
        &self,
        work: &mut Work<'_>,
        path: &SyncPath,
        expected: &Expected,
        entry: &Entry,
        partial: &Partial,
    ) -> Result<Commit, Outcome> {
        let error = |error: io::Error| failed(path, &error);
        let Entry::File { len, executable, .. } = entry else {
            return Err(refused(path, ProblemKind::Io, "only a file is streamed"));
        };
        let file = partial.file().try_clone().map_err(error)?;
        if sys::stat_file(&file).map_err(error)?.len != *len {
            return Err(Outcome::BaseMissing);
        }
        sys::set_file_mode(&file, if *executable { 0o755 } else { 0o644 } & self.mode_mask).map_err(error)?;
        if self.options.durable {
            file.sync_data().map_err(error)?;
        }
        let (dir, name) = partial.place().map_err(error)?;
        let staged = self.stage.adopt(dir, name).map_err(error)?;
        let stat = sys::stat_file(&file).map_err(error)?;
        let kept = file.try_clone().map_err(error)?;
        let new = NewFile { staged, file, stat };
        match work.put_staged(new, path, expected, entry) {
            Ok(commit) => Ok(commit),
            Err(Stop::Outcome(outcome)) => Err(outcome),
            // Copied once to the mount that it belongs to.
            Err(Stop::OtherMount) => work.put_copied(&kept, path, expected, entry),
        }
    }

    /// The stage of the mount that the directory at `path` is on, which is not that of the root.
    fn mount_stage(&self, path: &SyncPath) -> io::Result<Arc<Stage>> {
        let mount = self.root.resolve(path)?.mount_id()?;
        let (mut top, mut top_dir) = (path.clone(), self.root.resolve(path)?);
        while let Some(above) = top.parent() {
            let dir = self.root.resolve(&above)?;
            if dir.mount_id()? != mount {
                break;
            }
            (top, top_dir) = (above, dir);
        }
        if top.is_root() {
            // One mount, and yet no rename: nothing that another stage would help.
            return Err(ErrorKind::CrossesDevices.into());
        }
        let mut mounts = self.mounts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stage) = mounts.get(&mount) {
            return Ok(Arc::clone(stage));
        }
        if let Some(trash) = self.stage.trash() {
            trash.note_mount(&top)?;
        }
        let mut stage = Stage::open(&top_dir, top)?;
        open_trash(&mut stage, &self.options)?;
        let stage = Arc::new(stage);
        mounts.insert(mount, Arc::clone(&stage));
        Ok(stage)
    }

    fn other_stages(&self) -> Vec<Arc<Stage>> {
        self.mounts.lock().unwrap_or_else(PoisonError::into_inner).values().map(Arc::clone).collect()
    }

    /// Why the other side may not change what is at `path`; `None`: it may. `is_leaf`: it is no directory.
    fn refusal(&self, path: &SyncPath, is_leaf: bool) -> Option<Outcome> {
        if !is_ours_to_write(path) {
            return Some(not_ours(path));
        }
        let rule = self.options.protected.as_ref()?.rule(path, is_leaf)?;
        Some(refused(path, ProblemKind::Refused, &rule.refusal()))
    }

    /// Why the other side may not have this done; `None`: it may.
    fn refusal_of(&self, operation: &Operation) -> Option<Outcome> {
        let is_leaf = |expected: &Expected| !matches!(expected, Expected::Tree(_));
        match operation {
            Operation::MakeDirectory { path } => self.refusal(path, false),
            Operation::Put { path, entry, .. } => {
                self.refusal(path, true).or_else(|| self.refusal_of_target(path, entry))
            }
            Operation::Remove { path, expected } => self.refusal(path, is_leaf(expected)),
            Operation::Move { from, to, expected } => {
                let is_leaf = is_leaf(expected);
                self.refusal(from, is_leaf).or_else(|| self.refusal(to, is_leaf))
            }
        }
    }

    /// On a person's machine no symlink is made that may lead out of the root: what they run would follow it.
    fn refusal_of_target(&self, path: &SyncPath, entry: &Entry) -> Option<Outcome> {
        let Entry::Symlink(target) = entry else { return None };
        let leads_out = self.options.protected.is_some() && !(target.stays_inside(path) && target.goes_up_first());
        leads_out.then(|| {
            let sentence = "a symlink that may lead out of the root is not taken from the other side: it may go up at its \
                            beginning alone";
            refused(path, ProblemKind::BadTarget, sentence)
        })
    }
}

/// Has what is deleted by way of `stage` kept, where that is wanted.
fn open_trash(stage: &mut Stage, options: &CommitOptions) -> io::Result<()> {
    if let Removed::Trashed(limits) = options.removed {
        let trash = Trash::open(stage.home(), limits, SystemTime::now())?;
        stage.set_trash(trash);
    }
    Ok(())
}

impl Commit {
    /// Nothing was changed.
    fn nothing(outcome: Outcome) -> Self {
        Self { outcome, changes: Vec::new() }
    }

    /// `entry` now stands at `path`.
    fn applied(path: &SyncPath, entry: &Entry, stamp: Option<Stamp>) -> Self {
        Self::of(Outcome::Applied, path, entry, stamp)
    }

    /// `entry` now stands at `path`, where the outcome says so.
    fn of(outcome: Outcome, path: &SyncPath, entry: &Entry, stamp: Option<Stamp>) -> Self {
        match outcome {
            Outcome::Applied | Outcome::Displaced(_) => {
                let change = IndexChange { path: path.clone(), node: Some(Node::from_entry(entry.clone())), stamp };
                Self { outcome, changes: vec![change] }
            }
            _ => Self::nothing(outcome),
        }
    }

    /// Nothing stands at `path` any more, where the outcome says so.
    fn removed(outcome: Outcome, path: &SyncPath) -> Self {
        match outcome {
            Outcome::Applied | Outcome::Displaced(_) => {
                Self { outcome, changes: vec![IndexChange::gone(path.clone())] }
            }
            _ => Self::nothing(outcome),
        }
    }
}

impl IndexChange {
    fn gone(path: SyncPath) -> Self {
        Self { path, node: None, stamp: None }
    }
}

/// Why a peer may not change what is at `path`, nor have anything made of it, if so.
pub fn refusal(path: &SyncPath) -> Option<Outcome> {
    (!is_ours_to_write(path)).then(|| not_ours(path))
}

/// Whether a peer may change what is at `path`: not the root itself, nor what is ours, in any spelling.
fn is_ours_to_write(path: &SyncPath) -> bool {
    !path.is_root() && !is_reserved_path(path)
}

fn not_ours(path: &SyncPath) -> Outcome {
    refused(path, ProblemKind::Refused, "the root itself and .synctl are not synchronised")
}

/// Reads an id, `None` where there is none or what is there is none.
fn read_id(home: &DirHandle, name: Name<'_>) -> io::Result<Option<ReplicaId>> {
    let (file, _) = match home.open_file(name) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = String::new();
    if file.take(64).read_to_string(&mut text).is_err() {
        return Ok(None);
    }
    Ok(u128::from_str_radix(text.trim_end(), 16)
        .ok()
        .filter(|_| text.trim_end().len() == 32)
        .map(|id| ReplicaId(id.to_be_bytes())))
}

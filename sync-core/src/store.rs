//! What survives a restart of the controller: the synced tree, with alpha's stamps, and what was sent and not answered.
//!
//! A [`Store`] is one directory for one pair of alpha root and beta replica. It holds a *snapshot*, a whole tree, and a
//! *journal* of what has happened since. `docs/state-format.md` says every byte.
//!
//! Invariants:
//! - What is loaded is a state that the synced tree really had: the last one written, or an earlier one where the end of
//!   the journal was lost. Anything else (a flipped bit, another version, a journal of another snapshot) is *unknown*,
//!   and unknown is a value that the engine can live with: nothing is deleted on its evidence.
//! - To lose the end of the journal is harmless: the engine then finds that both sides agree. So appending does not wait
//!   for the disk; a snapshot does.
//! - After an append that failed the journal is closed, so that it never has a gap; the next snapshot opens a new one.
//!
//! What a crash leaves: a `*.tmp` file, overwritten by the next snapshot; a record cut short at the end of the journal,
//! cut off at the next open; or a new snapshot beside the journal of the one before, which is then passed over.

mod codec;
mod entries;
mod files;
pub(crate) mod index;
mod journal;
mod lock;
mod record;
mod sent;
mod snapshot;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
};

use sync_proto::{SyncPath, message::ReplicaId};

use crate::tree::{Node, Stamp, Tree};

pub(crate) use lock::{DestinationLock, LockError, Pair};

use files::Directory;
use journal::Journal;
use record::{Fault, Link};
use sent::Sent;

const SNAPSHOT: &str = "snapshot";
const JOURNAL: &str = "journal";

/// A journal shorter than this is never worth a snapshot, in bytes: some ten thousand saves, replayed in milliseconds.
const JOURNAL_BYTES_MIN: u64 = 1 << 20;

/// A state directory that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system refused.
    #[error("can't keep state in `{}`: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Another store is open on this directory, in this process or another.
    #[error("state in `{}` is in use by another session", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// Appended to a store without a journal: a snapshot has to come first. See [`Store::wants_snapshot`].
    #[error("state in `{}` needs a snapshot before changes can be appended", path.display())]
    NeedsSnapshot {
        /// The directory.
        path: PathBuf,
    },
    /// The tree has directories nested deeper than a path can be.
    #[error("a tree nested deeper than a path can be is not kept")]
    TooDeep,
}

/// A path, and what both sides have there now: an entry with alpha's stamp, or nothing.
pub type Change = (SyncPath, Option<(Node, Option<Stamp>)>);

/// A path, and what was sent there; `None`: what stood there was to go.
pub type Intent = (SyncPath, Option<Node>);

/// Something to be kept.
#[derive(Debug, Clone, PartialEq)]
pub enum Note {
    /// What both sides have now, in order, a directory before what it holds; a directory stands for everything beneath it.
    Agreed(Vec<Change>),
    /// This is about to be sent, under a number that has not been used since the store was opened.
    Sent(u64, Vec<Intent>),
    /// What was sent under this number was answered, and what came of it has been noted.
    Answered(u64),
    /// All that was ever sent has come to something.
    Settled,
}

/// What a store held when it was opened.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// The synced tree with alpha's stamps; `None`: unknown.
    pub synced: Option<Tree>,
    /// Why it is unknown, for a person.
    pub reason: Option<String>,
    /// Whether it is unknown for the best of reasons: nothing was ever kept here.
    pub is_new: bool,
    /// What was sent and not answered, the oldest first; what a directory was sent with follows it. Nothing where `synced`
    /// is unknown.
    pub sent: Vec<Intent>,
}

/// The synced tree on disk. Holds the directory: a second store on it is refused while this one lives.
#[derive(Debug)]
pub struct Store {
    directory: Directory,
    /// Counts snapshots; 0 before the first.
    generation: u64,
    snapshot_bytes: u64,
    /// `None`: unknown state, or an append that failed.
    journal: Option<Journal>,
    sent: Sent,
    /// Added to the numbers of this opening, which are then none of one before.
    first_number: u64,
    /// Whether what is on disk is not understood.
    is_unknown: bool,
}

impl Store {
    /// Where the state for a pair of root and replica is kept beneath a state directory. `root` must be a real path, as
    /// `std::fs::canonicalize` gives it, or else one root could have several states.
    pub fn directory(state_dir: &Path, root: &Path, replica: ReplicaId) -> PathBuf {
        state_dir.join("roots").join(files::root_key(root)).join(replica.to_string())
    }

    /// Opens the state in `dir`, which is made where it is missing, and loads what is there.
    ///
    /// # Errors
    /// The directory can't be made or read, or is in use. What was once written and can't be understood is no error: it
    /// is unknown, and [`Loaded`] says why.
    pub fn open(dir: &Path) -> Result<(Self, Loaded), StoreError> {
        let directory = Directory::open(dir)?;
        let mut store = Self {
            directory,
            generation: 0,
            snapshot_bytes: 0,
            journal: None,
            sent: Sent::default(),
            first_number: 0,
            is_unknown: false,
        };
        match store.load() {
            Ok(synced) => {
                let is_new = synced.is_none();
                let reason = is_new.then(|| "nothing has been kept for this pair yet".to_owned());
                store.first_number = store.sent.next();
                let sent = store.sent.intents().cloned().collect();
                Ok((store, Loaded { synced, reason, is_new, sent }))
            }
            Err(Fault::Unknown(reason)) => {
                store.journal = None;
                store.sent.clear();
                store.is_unknown = true;
                Ok((store, Loaded { synced: None, reason: Some(reason), ..Loaded::default() }))
            }
            Err(Fault::Io(source)) => Err(store.directory.error(source)),
        }
    }

    /// Adds notes to the journal. Costs O(notes); does not wait for the disk.
    ///
    /// # Errors
    /// The disk refused, or an earlier append failed. Until the next snapshot the store keeps what it had before; what was
    /// sent is in that snapshot, what was agreed on is given to it.
    pub fn append(&mut self, notes: Vec<Note>) -> Result<(), StoreError> {
        let notes = self.news(notes);
        let Some(journal) = &mut self.journal else {
            return Err(StoreError::NeedsSnapshot { path: self.directory.path().to_owned() });
        };
        journal.append(notes.iter()).map_err(|source| {
            self.journal = None;
            self.directory.error_at(JOURNAL, source)
        })
    }

    /// Takes over what was sent and answered. What is left of the notes is what the journal has to say.
    fn news(&mut self, mut notes: Vec<Note>) -> Vec<Note> {
        let answered: BTreeSet<u64> = notes.iter().filter_map(answered).collect();
        notes.retain_mut(|note| match note {
            Note::Agreed(changes) => !changes.is_empty(),
            // What is answered already was never in doubt.
            Note::Sent(number, intents) if answered.contains(number) || !Sent::fits(intents) => false,
            Note::Sent(number, intents) => {
                *number = number.wrapping_add(self.first_number);
                self.sent.add(*number, intents.clone());
                true
            }
            Note::Answered(number) => {
                *number = number.wrapping_add(self.first_number);
                self.sent.answer(*number)
            }
            Note::Settled => {
                let had_any = !self.sent.is_empty();
                self.sent.clear();
                had_any
            }
        });
        notes
    }

    /// Waits until all that was appended is on the disk. For an orderly end; nothing depends on it.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        journal.sync().map_err(|source| self.directory.error_at(JOURNAL, source))
    }

    /// Replaces what both sides have by `tree`: at once, and on the disk when this returns. What was sent and not answered
    /// stays. Costs O(tree).
    ///
    /// # Errors
    /// The disk refused. What was kept before is still kept.
    pub fn snapshot(&mut self, tree: &Tree) -> Result<(), StoreError> {
        // Where nothing was kept there is nothing to lose, and what is sent first must not wait to be noted.
        let wait = self.generation > 0 || self.is_unknown || tree.entries() > 0;
        snapshot::check_depth(tree)?;
        if self.is_unknown {
            // Its number may be anything: it must not be taken for the journal of the new snapshot.
            self.directory.remove(JOURNAL).map_err(|source| self.directory.error_at(JOURNAL, source))?;
        }
        let generation = self.generation + 1;
        let mut written = (0, Link::default());
        self.directory
            .replace(SNAPSHOT, wait, |file| {
                written = snapshot::write(file, generation, tree, &self.sent)?;
                Ok(())
            })
            .map_err(|source| self.directory.error_at(SNAPSHOT, source))?;
        self.journal = None;
        self.is_unknown = false;
        self.generation = generation;
        self.snapshot_bytes = written.0;
        self.start_journal(written.1, wait).map_err(|source| self.directory.error_at(JOURNAL, source))
    }

    /// Whether the journal has grown so long (or is not there) that a snapshot is due.
    pub fn wants_snapshot(&self) -> bool {
        self.journal.as_ref().is_none_or(|journal| journal.bytes() > JOURNAL_BYTES_MIN.max(self.snapshot_bytes / 2))
    }

    /// Reads snapshot and journal; `Ok(None)` where neither was ever written.
    fn load(&mut self) -> Result<Option<Tree>, Fault> {
        let Some(file) = self.directory.read(SNAPSHOT)? else {
            return match self.directory.read(JOURNAL)? {
                None => Ok(None),
                Some(_) => Err(Fault::unknown("the snapshot is missing beside its journal")),
            };
        };
        self.snapshot_bytes = file.metadata()?.len();
        let (header, mut tree, sent, link) = snapshot::read(file)?;
        self.generation = header.generation;
        self.sent = sent;
        let Some(file) = self.directory.edit(JOURNAL)? else {
            self.start_journal(link, true)?;
            return Ok(Some(tree));
        };
        match Journal::open(file, header.generation, link, &mut tree, &mut self.sent)? {
            Some(journal) => self.journal = Some(journal),
            // The crash came after the snapshot and before its journal.
            None => self.start_journal(link, true)?,
        }
        Ok(Some(tree))
    }

    fn start_journal(&mut self, link: Link, wait: bool) -> io::Result<()> {
        let generation = self.generation;
        let file = self.directory.replace(JOURNAL, wait, |file| Journal::write_header(file, generation, link))?;
        self.journal = Some(Journal::fresh(file, generation, link));
        Ok(())
    }
}

fn answered(note: &Note) -> Option<u64> {
    if let Note::Answered(number) = note { Some(*number) } else { None }
}

/// Where state is kept unless the user says otherwise: the XDG state home. The caller reads `XDG_STATE_HOME` and `HOME`;
/// paths that are not absolute count as not set. `None`: neither is known.
pub fn default_state_dir(xdg: Option<&OsStr>, home: Option<&OsStr>) -> Option<PathBuf> {
    let absolute = |value: Option<&OsStr>| value.map(Path::new).filter(|path| path.is_absolute()).map(Path::to_owned);
    let state_home = absolute(xdg).or_else(|| Some(absolute(home)?.join(".local/state")))?;
    Some(state_home.join("synctl"))
}

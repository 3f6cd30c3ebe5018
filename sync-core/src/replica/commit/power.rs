//! What a power cut may have taken back, and how that is found out at the next start.
//!
//! What was written and not synced, by us or by other hands, can be gone after a power cut, or empty, or what it was before.
//! Nobody made these changes, and nothing tells them from changes that somebody made. So as long as such things may be
//! there, an empty file in [`HOME`] says under which run of the kernel: `unsynced-<boot id>`. It has no content that could
//! get lost, and is on the disk before anything is written that might not be. In good order it goes when all that it stands
//! for has been synced. Found under another run of the kernel it means that the root is not what it was: it
//! takes a new replica's id, so that nothing is known of its past, and nothing is deleted or overwritten on its word.

use std::{
    io::{self, ErrorKind},
    sync::{Mutex, MutexGuard, PoisonError},
};

use sync_proto::{Name, message::ReplicaId};

use super::{Committer, OpenError};
use crate::{
    replica::stage::{HOME, names},
    sys,
};

/// What the names of marks begin with.
const MARK: &[u8] = b"unsynced-";

/// What stands for the run of a kernel that has no id: it is never taken for the same.
const NO_BOOT_ID: &str = "unknown";

/// What is marked.
#[derive(Debug, Default)]
pub(super) struct Power(Mutex<Marked>);

#[derive(Debug, Default)]
struct Marked {
    is_marked: bool,
    /// By a process that did not end in good order: on which mounts it wrote is not known.
    is_inherited: bool,
}

impl Power {
    fn lock(&self) -> MutexGuard<'_, Marked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Committer {
    /// Which replica this is, once it is certain that it is what it was: a new one where power may have been cut since it was
    /// written to. For who has [claimed](Self::claim) the root.
    pub fn certain_replica_id(&self) -> Result<ReplicaId, OpenError> {
        self.settle_past().map_err(|source| OpenError::ReplicaId { path: self.path.join(HOME), source })?;
        self.replica_id()
    }

    fn settle_past(&self) -> io::Result<()> {
        let mark = mark();
        let is_known = !mark.ends_with(NO_BOOT_ID.as_bytes());
        let (of_this_run, others): (Vec<_>, Vec<_>) =
            self.marks()?.into_iter().partition(|found| is_known && *found == mark);
        if !of_this_run.is_empty() {
            *self.power.lock() = Marked { is_marked: true, is_inherited: true };
        }
        if others.is_empty() {
            return Ok(());
        }
        self.replace_id()?;
        tracing::warn!(
            root = %self.path.display(),
            "the machine went down before all that was written was on the disk: the root counts as a new replica, so that \
             nothing is deleted or overwritten on its word, and what differs is a conflict"
        );
        // Only when the new id is on the disk: the old one must not come back without a mark.
        self.unmark(&others)
    }

    /// To be said before anything is written here that is not synced before somebody counts on it. Costs something the first
    /// time alone.
    pub fn mark_unsynced(&self) -> io::Result<()> {
        let mut marked = self.power.lock();
        if marked.is_marked {
            return Ok(());
        }
        let home = self.stage.home();
        let mark = mark();
        match home.create_new(name_of(&mark)?, 0o600) {
            Ok(file) => file.sync_all()?,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        home.sync()?;
        marked.is_marked = true;
        Ok(())
    }

    /// Brings all that was written here to the disk, and takes the mark away. To be done at the end, when nobody writes any
    /// more; where it is not, the mark stays.
    pub fn sync_and_unmark(&self) -> io::Result<()> {
        let mut marked = self.power.lock();
        if !marked.is_marked {
            return Ok(());
        }
        if marked.is_inherited {
            sys::sync_everything();
        }
        self.sync_all()?;
        self.unmark(&[mark()])?;
        *marked = Marked::default();
        Ok(())
    }

    fn marks(&self) -> io::Result<Vec<Box<[u8]>>> {
        let mut found = names(self.stage.home())?;
        found.retain(|name| name.starts_with(MARK));
        Ok(found)
    }

    fn unmark(&self, marks: &[Box<[u8]>]) -> io::Result<()> {
        let home = self.stage.home();
        for mark in marks {
            match home.remove_file(name_of(mark)?) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        // Where this is forgotten the mark is found once more, and the past is unknown once more.
        Ok(())
    }
}

/// The name of this run's mark.
fn mark() -> Box<[u8]> {
    let id = sys::boot_id().unwrap_or_else(|| NO_BOOT_ID.to_owned());
    [MARK, id.as_bytes()].concat().into()
}

fn name_of(mark: &[u8]) -> io::Result<Name<'_>> {
    Name::new(mark).map_err(io::Error::other)
}

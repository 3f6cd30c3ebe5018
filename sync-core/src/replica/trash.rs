//! What was deleted here because it was deleted on the other side, kept for a while.
//!
//! `.synctl/trash/<number>-<milliseconds>/<path>`: a *generation* is a directory that holds what was deleted within one
//! second, each under the path that it had, with the mode and the times that it had. Its name says which number it is,
//! counted upwards, and when it was begun, in milliseconds since 1970. There is nothing beside the files that could be lost
//! or be damaged: what is there is what can be restored, also by hand. `mount-<n>` is a symlink that nobody follows: it
//! names a directory within the root that is on another mount, and has a trash of its own.
//!
//! - **A file comes here by one rename**, after it was verified in the [stage](super::stage). A crash leaves it where it
//!   was, in the stage (from where it goes to `displaced`), or here; and at most an empty directory here.
//! - **Bounded** by age, by bytes and by number: the oldest generations go first. A generation is closed when it has a
//!   sixteenth of what is allowed, so what is there exceeds its bounds by one file at most, which goes with the next one.
//! - **Cheap**: a deletion costs a rename more. What is there is counted once, when the first one comes; what is too old is
//!   told by the names of generations alone.
//! - The time is an argument.

mod generation;
mod restore;
#[cfg(test)]
mod tests;

use std::{
    io::{self, ErrorKind},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use sync_proto::{Name, SyncPath, Target};

use self::generation::{Generation, Size, make_path};
pub use self::restore::{RestoreError, TrashError, Trashed, TrashedKind, list, newest, restore};
use super::stage::{fixed, names, private_dir, remove_tree};
use crate::sys::DirHandle;

/// The directory in [`HOME`](super::stage::HOME) that holds it.
const TRASH: &str = "trash";

/// What the names of symlinks to other trashes begin with.
const MOUNT_PREFIX: &str = "mount-";

/// Most other mounts within a root whose trashes are found again.
const MOUNTS_MAX: usize = 1000;

/// How long a generation takes in what is deleted.
const GENERATION_TIME_MAX: Duration = Duration::from_secs(1);

/// The share of what is allowed that one generation takes.
const GENERATION_SHARE: u64 = 16;

/// What is kept, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrashLimits {
    /// How long.
    pub age_max: Duration,
    /// How many bytes of content, on each mount. The last file is kept even where it is larger.
    pub bytes_max: u64,
    /// How many files, symlinks and directories, on each mount.
    pub entries_max: u64,
}

impl Default for TrashLimits {
    /// A week, 1 GiB, 100,000 entries.
    fn default() -> Self {
        Self { age_max: Duration::from_secs(7 * 24 * 60 * 60), bytes_max: 1 << 30, entries_max: 100_000 }
    }
}

/// The trash of one mount, as the one who adds to it sees it.
#[derive(Debug)]
pub(crate) struct Trash {
    dir: Arc<DirHandle>,
    limits: TrashLimits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Oldest first.
    generations: Vec<Generation>,
    /// Whether the sizes of all generations are known.
    is_counted: bool,
    current: Option<Current>,
}

/// The generation that takes in what is deleted now: the last one.
#[derive(Debug)]
struct Current {
    dir: Arc<DirHandle>,
    began: SystemTime,
    /// The directory that the last file came to: the next one goes there too, more often than not.
    last: Option<(SyncPath, Arc<DirHandle>)>,
}

impl Trash {
    /// Opens the trash in `home`, and removes what is too old.
    pub(crate) fn open(home: &DirHandle, limits: TrashLimits, now: SystemTime) -> io::Result<Self> {
        let dir = private_dir(home, fixed(TRASH))?;
        let mut generations: Vec<_> = names(&dir)?.iter().filter_map(|name| Generation::parse(name)).collect();
        generations.sort_unstable_by_key(Generation::order);
        let mut state = State { generations, ..State::default() };
        remove_expired(&dir, &mut state, limits, now);
        Ok(Self { dir: Arc::new(dir), limits, state: Mutex::new(state) })
    }

    /// Takes in what stands at `name` in `from`, which stood at `path` and is `len` bytes long. Where that fails it is still
    /// there. `changed` is told which directories here have a new name in them.
    pub(crate) fn add(
        &self,
        from: &DirHandle,
        name: Name<'_>,
        path: &SyncPath,
        len: u64,
        now: SystemTime,
        changed: &mut dyn FnMut(&Arc<DirHandle>),
    ) -> io::Result<()> {
        let (above, own) = path.split_last().ok_or(ErrorKind::InvalidFilename)?;
        let size = Size { bytes: len, entries: 1 };
        self.take_in(&above, size, now, changed, &|dir| from.rename_noreplace(name, dir, own))
    }

    /// Takes in an empty directory that stood at `path`.
    pub(crate) fn add_directory(
        &self,
        path: &SyncPath,
        now: SystemTime,
        changed: &mut dyn FnMut(&Arc<DirHandle>),
    ) -> io::Result<()> {
        self.take_in(path, Size::default(), now, changed, &|_| Ok(()))
    }

    fn take_in(
        &self,
        above: &SyncPath,
        size: Size,
        now: SystemTime,
        changed: &mut dyn FnMut(&Arc<DirHandle>),
        place: &dyn Fn(&DirHandle) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        if !state.is_counted {
            state.generations.iter_mut().for_each(|generation| generation.count(&self.dir));
            state.is_counted = true;
        }
        if self.current(state, now, above, changed).and_then(|dir| place(&dir)).is_err() {
            // The name is taken there, a file is there where a directory would have to be, or somebody has cleared it away:
            // a new generation has room. Where the reason is another, it is told by the second attempt.
            state.current = None;
            self.current(state, now, above, changed).and_then(|dir| place(&dir))?;
        }
        if let Some(generation) = state.generations.last_mut() {
            generation.size += size;
            if generation.size.exceeds(self.limits, GENERATION_SHARE) {
                state.current = None;
            }
        }
        self.prune(state, now);
        Ok(())
    }

    /// The directory for what stood in `above`, in the current generation, or in a new one where there is none.
    fn current(
        &self,
        state: &mut State,
        now: SystemTime,
        above: &SyncPath,
        changed: &mut dyn FnMut(&Arc<DirHandle>),
    ) -> io::Result<Arc<DirHandle>> {
        let is_open = |current: &Current| now.duration_since(current.began).is_ok_and(|age| age <= GENERATION_TIME_MAX);
        if state.current.as_ref().is_none_or(|current| !is_open(current)) {
            let (generation, dir) = Generation::make(&self.dir, state.generations.last(), now)?;
            state.generations.push(generation);
            state.current = Some(Current { dir: Arc::new(dir), began: now, last: None });
            changed(&self.dir);
        }
        let State { current: Some(current), generations, .. } = state else { return Err(ErrorKind::NotFound.into()) };
        let dir = match &current.last {
            Some((path, dir)) if path == above => Arc::clone(dir),
            _ => match current.dir.resolve(above) {
                Ok(dir) => Arc::new(dir),
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    make_path(&current.dir, above, 0o700, &mut |parent| {
                        changed(parent);
                        if let Some(generation) = generations.last_mut() {
                            generation.size += Size { bytes: 0, entries: 1 };
                        }
                    })?
                }
                Err(error) => return Err(error),
            },
        };
        changed(&dir);
        current.last = Some((above.clone(), Arc::clone(&dir)));
        Ok(dir)
    }

    /// Removes what is too old, and the oldest of what is too much. Somewhat more of the latter, so that it is rare.
    fn prune(&self, state: &mut State, now: SystemTime) {
        remove_expired(&self.dir, state, self.limits, now);
        if !total(&state.generations).exceeds(self.limits, 1) {
            return;
        }
        // Somebody may have restored or cleared away some of it.
        state.generations.iter_mut().for_each(|generation| generation.count(&self.dir));
        let limits = TrashLimits {
            bytes_max: self.limits.bytes_max / 8 * 7,
            entries_max: self.limits.entries_max / 8 * 7,
            ..self.limits
        };
        let mut left = total(&state.generations);
        if !left.exceeds(self.limits, 1) {
            return;
        }
        let last = state.generations.len().saturating_sub(1);
        let mut gone = 0;
        for generation in state.generations.iter().take(last) {
            if !left.exceeds(limits, 1) {
                break;
            }
            remove_tree_of(&self.dir, generation);
            left -= generation.size;
            gone += 1;
        }
        state.generations.drain(..gone);
    }

    /// Notes that the directory at `base`, on another mount, has a trash of its own.
    pub(crate) fn note_mount(&self, base: &SyncPath) -> io::Result<()> {
        let target = Target::new(base.as_bytes()).map_err(|error| io::Error::new(ErrorKind::InvalidFilename, error))?;
        for number in 1..=MOUNTS_MAX {
            let text = format!("{MOUNT_PREFIX}{number}");
            let name = Name::new(text.as_bytes()).map_err(|_| ErrorKind::InvalidFilename)?;
            match self.dir.symlink(&target, name) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    if self.dir.read_link(name).is_ok_and(|noted| noted == target) {
                        return Ok(());
                    }
                }
                result => return result,
            }
        }
        Err(ErrorKind::StorageFull.into())
    }
}

fn remove_expired(dir: &DirHandle, state: &mut State, limits: TrashLimits, now: SystemTime) {
    let is_open = state.current.is_some();
    let last = state.generations.last().map(Generation::order);
    state.generations.retain(|generation| {
        let is_current = is_open && last == Some(generation.order());
        if is_current || generation.age(now) <= limits.age_max {
            return true;
        }
        remove_tree_of(dir, generation);
        false
    });
}

/// What can't be removed now is tried again at the next start.
fn remove_tree_of(dir: &DirHandle, generation: &Generation) {
    let name = generation.name();
    let Ok(name) = Name::new(name.as_bytes()) else { return };
    if let Err(error) = remove_tree(dir, name, crate::sys::Kind::Directory, 0)
        && error.kind() != ErrorKind::NotFound
    {
        tracing::warn!(generation = %generation.name(), %error, "can't clear the trash");
    }
}

fn total(generations: &[Generation]) -> Size {
    let mut total = Size::default();
    generations.iter().for_each(|generation| total += generation.size);
    total
}

//! Where new content waits until it is whole, and where displaced content waits until its fate is decided.
//!
//! Everything lies in `.synctl` (mode 0700) at the top of the root, and of every other mount within it, because a rename
//! succeeds only within one mount:
//!
//! | path | what it holds |
//! | --- | --- |
//! | `stage/<run>/n…` | a new file or symlink; `d…` a new directory with what is in it |
//! | `stage/<run>/x<inode>-…` | that new file, about to be exchanged with what stands at its path; after that, what stood there |
//! | `stage/<run>/g…` | what was moved aside, to be looked at and then removed |
//! | `displaced/<number>-<name>` | what a race displaced. Never removed by this program |
//! | `trash/…` | what was deleted, where that is kept: see [`trash`](super::trash) |
//!
//! A run is locked as long as its process lives. **What a crash leaves** is told apart by its name when the root is
//! opened again: `n`, `d`, and `x` that still is the inode it is named after, are new content of ours and removed; anything
//! else may be the only copy of somebody's bytes and goes to `displaced`.

use std::{
    fs::File,
    io::{self, ErrorKind},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use sync_proto::{Name, SyncPath, Target, limits::NAME_BYTES_MAX};

use super::trash::Trash;
use crate::sys::{DirHandle, Kind};

/// The directory of ours at the top of a root. It takes no part in synchronisation, at any depth.
pub const HOME: &str = sync_proto::reserved::HOME;

/// Bytes of the original name that a staged name carries.
const CARRIED_BYTES_MAX: usize = 180;

/// Deepest directory that is removed from a stage: deeper than any path that is synchronised.
const REMOVE_DEPTH_MAX: usize = 512;

/// Where locks are not to be had, a run is taken for dead when nothing was made or removed in it for so long.
const RUN_AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A stage of this process on one mount.
#[derive(Debug)]
pub struct Stage {
    /// The directory that holds [`HOME`].
    base: SyncPath,
    home: DirHandle,
    runs: DirHandle,
    run: DirHandle,
    run_name: StageName,
    next: AtomicU64,
    /// Where what is deleted goes, if it is to be kept.
    trash: Option<Trash>,
}

/// A name in a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageName(Box<[u8]>);

/// Something in a stage, which is removed with this value unless it is [held](Self::hold).
#[derive(Debug)]
pub struct Staged<'a> {
    stage: &'a Stage,
    name: StageName,
    held: bool,
    /// Where it goes back to, if it came from elsewhere and has not been exchanged.
    origin: Option<(&'a DirHandle, Name<'a>)>,
}

impl StageName {
    fn new(text: String) -> Self {
        Self(text.into_bytes().into())
    }

    fn carrying(prefix: &str, original: Name<'_>) -> Self {
        let original = original.as_bytes();
        let room = original.len().min(CARRIED_BYTES_MAX);
        Self([prefix.as_bytes(), original.get(..room).unwrap_or_default()].concat().into())
    }

    /// The name.
    pub fn name(&self) -> Name<'_> {
        Name::new(&self.0).expect("made of a short prefix and bytes of a name")
    }
}

/// A name that is known to be one.
pub(crate) fn fixed(name: &'static str) -> Name<'static> {
    Name::new(name.as_bytes()).expect("a literal name")
}

/// Opens a directory of ours, made with mode 0700 where it is missing. A symlink there is an error.
pub(crate) fn private_dir(parent: &DirHandle, name: Name<'_>) -> io::Result<DirHandle> {
    match parent.open_dir(name) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        other => return other,
    }
    match parent.make_dir(name, 0o700) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => parent.open_dir(name),
    }
}

impl Stage {
    /// Opens the stage in `parent`, which is the directory at `base`, and reaps what dead runs have left there.
    pub fn open(parent: &DirHandle, base: SyncPath) -> io::Result<Self> {
        let home = private_dir(parent, fixed(HOME))?;
        if home.stat_self()?.mode & 0o777 != 0o700 {
            // Others could put files there. Not ours to change where the owner is another: then it stays as it is.
            parent.set_mode(fixed(HOME), 0o700).ok();
        }
        let runs = private_dir(&home, fixed("stage"))?;
        let (run, run_name) = new_run(&runs)?;
        let stage = Self { base, home, runs, run, run_name, next: AtomicU64::new(0), trash: None };
        stage.reap()?;
        Ok(stage)
    }

    /// The directory of ours that holds the stage.
    pub fn home(&self) -> &DirHandle {
        &self.home
    }

    /// Has what is deleted kept in `trash`, which is that of the same directory.
    pub(crate) fn set_trash(&mut self, trash: Trash) {
        self.trash = Some(trash);
    }

    /// Where what is deleted goes, if it is to be kept.
    pub(crate) fn trash(&self) -> Option<&Trash> {
        self.trash.as_ref()
    }

    /// The path that `path` has beneath the directory that this stage is in.
    pub(crate) fn below(&self, path: &SyncPath) -> io::Result<SyncPath> {
        path.strip_prefix(&self.base).ok_or_else(|| ErrorKind::CrossesDevices.into())
    }

    /// The directory that staged names are in.
    pub fn dir(&self) -> &DirHandle {
        &self.run
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Makes a file for new content, with `mode` less the umask.
    pub fn new_file(&self, mode: u32) -> io::Result<(Staged<'_>, File)> {
        let name = StageName::new(format!("n{}", self.number()));
        let file = self.run.create_new(name.name(), mode)?;
        Ok((self.staged(name), file))
    }

    /// Makes a symlink.
    pub fn new_symlink(&self, target: &Target) -> io::Result<Staged<'_>> {
        let name = StageName::new(format!("n{}", self.number()));
        self.run.symlink(target, name.name())?;
        Ok(self.staged(name))
    }

    /// Makes a directory, with what permissions the umask leaves.
    pub fn new_directory(&self) -> io::Result<(Staged<'_>, DirHandle)> {
        let name = StageName::new(format!("d{}", self.number()));
        self.run.make_dir(name.name(), 0o777)?;
        let staged = self.staged(name);
        let dir = self.run.open_dir(staged.name())?;
        Ok((staged, dir))
    }

    /// Takes new content in from elsewhere on the same mount. Where it finds no place it goes back there.
    pub fn adopt<'a>(&'a self, from: &'a DirHandle, name: Name<'a>) -> io::Result<Staged<'a>> {
        let staged = StageName::new(format!("n{}", self.number()));
        // The name is of this run alone, so nothing can stand there.
        from.rename_replace(name, &self.run, staged.name())?;
        let mut staged = self.staged(staged);
        staged.origin = Some((from, name));
        Ok(staged)
    }

    /// Moves what stands at `name` in `dir` aside, and holds it.
    pub fn move_aside(&self, dir: &DirHandle, name: Name<'_>) -> io::Result<Staged<'_>> {
        let aside = StageName::carrying(&format!("g{}-", self.number()), name);
        // The name is of this run alone, so nothing can stand there; and a plain rename takes exactly one file. Where
        // renaming without replacing is a link and an unlink, a save in between would be what is unlinked.
        dir.rename_replace(name, &self.run, aside.name())?;
        let mut staged = self.staged(aside);
        staged.hold();
        Ok(staged)
    }

    fn staged(&self, name: StageName) -> Staged<'_> {
        Staged { stage: self, name, held: false, origin: None }
    }

    /// Keeps what is staged for good, and says where: relative to the root.
    fn keep(&self, dir: &DirHandle, staged: Name<'_>, original: Name<'_>) -> io::Result<SyncPath> {
        let displaced = private_dir(&self.home, fixed("displaced"))?;
        let mut number = first_free(&displaced)?;
        loop {
            let kept = StageName::carrying(&format!("{number}-"), original);
            match dir.rename_noreplace(staged, &displaced, kept.name()) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(error),
                Ok(()) => return self.path_of(&[fixed(HOME), fixed("displaced"), kept.name()]),
            }
        }
    }

    fn path_of(&self, names: &[Name<'_>]) -> io::Result<SyncPath> {
        names
            .iter()
            .try_fold(self.base.clone(), |path, name| path.join(*name))
            .map_err(|error| io::Error::new(ErrorKind::InvalidFilename, error))
    }

    /// Clears what runs of dead processes have left.
    fn reap(&self) -> io::Result<()> {
        for name in names(&self.runs)? {
            let Ok(name) = Name::new(&name) else { continue };
            if name == self.run_name.name() {
                continue;
            }
            match self.runs.open_dir(name) {
                Ok(run) if is_dead(&run) => {
                    self.reap_run(&run)?;
                    // Fails where something could not be cleared: the next start tries again.
                    self.runs.remove_dir(name).ok();
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) if error.kind() == ErrorKind::NotADirectory => self.runs.remove_file(name)?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn reap_run(&self, run: &DirHandle) -> io::Result<()> {
        for bytes in names(run)? {
            let Ok(name) = Name::new(&bytes) else { continue };
            let stat = match run.stat(name) {
                Ok(stat) => stat,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            match fate(&bytes, stat.stamp.inode) {
                Fate::Remove => remove_tree(run, name, stat.kind, 0)?,
                Fate::Keep(original) => {
                    let original = Name::new(original).unwrap_or(name);
                    let kept = self.keep(run, name, original)?;
                    tracing::warn!(%kept, "kept what stood there when a change was cut short");
                }
            }
        }
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Empty but for what could not be removed: that is left to the next start.
        self.runs.remove_dir(self.run_name.name()).ok();
    }
}

impl<'a> Staged<'a> {
    /// Its name in the stage.
    pub fn name(&self) -> Name<'_> {
        self.name.name()
    }

    /// The stage that it is in.
    pub fn stage(&self) -> &'a Stage {
        self.stage
    }

    /// It has been renamed to its place, or what it was exchanged for must not be lost: dropping the value removes nothing.
    pub fn hold(&mut self) {
        self.held = true;
        self.origin = None;
    }

    /// What is there may be removed with this value.
    pub fn release(&mut self) {
        self.held = false;
    }

    /// Moves it, a file of `len` bytes or a symlink that stood at `path`, to the trash. Where nothing is kept it is to be
    /// removed with this value. Where that fails it is still in the stage.
    pub(crate) fn discard(
        &mut self,
        path: &SyncPath,
        len: u64,
        now: SystemTime,
        changed: &mut dyn FnMut(&Arc<DirHandle>),
    ) -> io::Result<()> {
        match &self.stage.trash {
            None => self.release(),
            Some(trash) => {
                trash.add(&self.stage.run, self.name.name(), &self.stage.below(path)?, len, now, changed)?;
                self.hold();
            }
        }
        Ok(())
    }

    /// Names it for an exchange with what stands at `original`, so that a crash in between loses neither.
    pub fn name_for_exchange(&mut self, inode: u64, original: Name<'_>) -> io::Result<()> {
        let name = StageName::carrying(&format!("x{inode}-{}-", self.stage.number()), original);
        self.stage.run.rename_replace(self.name(), &self.stage.run, name.name())?;
        self.name = name;
        Ok(())
    }

    /// Keeps it for good, and says where: relative to the root. Where even that fails it stays where it is.
    pub fn keep(&mut self, original: Name<'_>) -> SyncPath {
        self.held = true;
        let stage = self.stage;
        stage
            .keep(&stage.run, self.name.name(), original)
            .or_else(|_| stage.path_of(&[fixed(HOME), fixed("stage"), stage.run_name.name(), self.name.name()]))
            .unwrap_or_else(|_| stage.base.clone())
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        if self.held {
            return;
        }
        let run = &self.stage.run;
        if let Some((dir, name)) = self.origin
            && run.rename_noreplace(self.name(), dir, name).is_ok()
        {
            return;
        }
        // What can't be removed now is reaped at the next start. Most are files: try that first.
        if let Err(error) = run.remove_file(self.name())
            && error.kind() != ErrorKind::NotFound
        {
            remove_tree(run, self.name(), Kind::Directory, 0).ok();
        }
    }
}

/// What becomes of what a dead run has left.
enum Fate<'a> {
    Remove,
    /// It stood in the root under this name.
    Keep(&'a [u8]),
}

fn fate(name: &[u8], inode: u64) -> Fate<'_> {
    match name {
        [b'n' | b'd', ..] => Fate::Remove,
        [b'x', rest @ ..] => {
            let mut parts = rest.splitn(3, |&byte| byte == b'-');
            let ours = parts.next().is_some_and(|digits| digits == inode.to_string().as_bytes());
            let original = parts.nth(1).unwrap_or(name);
            if ours { Fate::Remove } else { Fate::Keep(original) }
        }
        _ => Fate::Keep(name.splitn(2, |&byte| byte == b'-').nth(1).unwrap_or(name)),
    }
}

/// Makes a run of a random name and locks it. Another process that reaps may catch it between the two: then it is made
/// again.
fn new_run(runs: &DirHandle) -> io::Result<(DirHandle, StageName)> {
    const ATTEMPTS: usize = 8;
    for _ in 0..ATTEMPTS {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
        let name = StageName::new(format!("{:016x}", u64::from_le_bytes(random)));
        runs.make_dir(name.name(), 0o700)?;
        let Ok(run) = runs.open_dir(name.name()) else { continue };
        // An error means that this file system has no locks: it goes without.
        if !run.try_lock().unwrap_or(true) {
            continue;
        }
        let inode = run.stat_self()?.stamp.inode;
        if runs.stat(name.name()).is_ok_and(|stat| stat.stamp.inode == inode) {
            return Ok((run, name));
        }
    }
    Err(ErrorKind::ResourceBusy.into())
}

/// Whether nobody uses this run. Locks it.
fn is_dead(run: &DirHandle) -> bool {
    run.try_lock().unwrap_or_else(|_| {
        let Ok(stat) = run.stat_self() else { return false };
        let changed = Duration::from_nanos(u64::try_from(stat.stamp.mtime_ns).unwrap_or(0));
        SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .is_ok_and(|now| now.saturating_sub(changed) > RUN_AGE_MAX)
    })
}

/// The names in a directory.
pub(crate) fn names(dir: &DirHandle) -> io::Result<Vec<Box<[u8]>>> {
    let mut names = Vec::new();
    dir.list(&mut |name, _| names.push(name.into()))?;
    Ok(names)
}

/// One above the highest number that a kept file has.
fn first_free(displaced: &DirHandle) -> io::Result<u64> {
    let number = |name: &[u8]| {
        let digits = name.split(|&byte| byte == b'-').next()?;
        std::str::from_utf8(digits).ok()?.parse::<u64>().ok()
    };
    let highest = names(displaced)?.iter().filter_map(|name| number(name)).max();
    Ok(highest.map_or(1, |highest| highest.saturating_add(1)))
}

/// Removes what is ours, with everything beneath it.
pub(crate) fn remove_tree(parent: &DirHandle, name: Name<'_>, kind: Kind, depth: usize) -> io::Result<()> {
    if kind != Kind::Directory {
        return parent.remove_file(name);
    }
    if depth == REMOVE_DEPTH_MAX {
        return Err(ErrorKind::InvalidFilename.into());
    }
    let dir = parent.open_dir(name)?;
    for below in names(&dir)? {
        let Ok(below) = Name::new(&below) else { continue };
        remove_tree(&dir, below, dir.stat(below)?.kind, depth + 1)?;
    }
    parent.remove_dir(name)
}

const _: () = assert!(CARRIED_BYTES_MAX + 2 * 20 + 3 <= NAME_BYTES_MAX);

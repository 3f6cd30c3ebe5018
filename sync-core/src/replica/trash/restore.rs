//! What is in the trash, and taking it out again. By any process, also while another adds to it.

use std::{
    collections::BTreeMap,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use sync_proto::{Name, SyncPath, Target};

use super::{
    MOUNT_PREFIX, TRASH,
    generation::{DEPTH_MAX, Generation, make_path},
};
use crate::{
    replica::stage::{HOME, fixed, names},
    sys::{self, DirHandle, Kind},
};

/// Something that was deleted, and can be restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trashed {
    /// Where it stood, relative to the root.
    pub path: SyncPath,
    /// What it is.
    pub kind: TrashedKind,
    /// When it was deleted, to the second.
    pub removed_at: SystemTime,
    /// The directory that the trash is of.
    base: SyncPath,
    generation: Generation,
}

/// What stood there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrashedKind {
    /// A file.
    File {
        /// Its length in bytes.
        len: u64,
        /// Whether its owner may execute it.
        executable: bool,
    },
    /// A symlink.
    Symlink(Target),
    /// A directory with nothing in it.
    Directory,
}

/// Why it can't be told what is in the trash.
#[derive(Debug, thiserror::Error)]
#[error("can't read the trash of {}: {source}", root.display())]
pub struct TrashError {
    /// The root.
    pub root: PathBuf,
    /// What the file system says.
    pub source: io::Error,
}

/// Why something could not be restored. It is still in the trash.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// Something stands where it would go.
    #[error("something stands there now")]
    Taken,
    /// What stands where a directory would have to be is none.
    #[error("what stands above it now is not a directory")]
    NoDirectory,
    /// It has been restored or cleared away meanwhile.
    #[error("it is no longer in the trash")]
    Gone,
    /// The file system refused.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// What is in the trash of `root`, what was deleted last first. Makes and changes nothing.
pub fn list(root: &Path) -> Result<Vec<Trashed>, TrashError> {
    let failed = |source| TrashError { root: root.to_path_buf(), source };
    let root = DirHandle::open_root(root).map_err(failed)?;
    let mut found = Vec::new();
    for base in std::iter::once(SyncPath::root()).chain(mounts(&root).map_err(failed)?) {
        let Some(trash) = present(open_trash(&root, &base)).map_err(failed)? else { continue };
        for generation in names(&trash).map_err(failed)?.iter().filter_map(|name| Generation::parse(name)) {
            let name = generation.name();
            let Ok(name) = Name::new(name.as_bytes()) else { continue };
            let Some(dir) = present(trash.open_dir(name)).map_err(failed)? else { continue };
            let mut walk = Walk { found: &mut found, base: &base, generation: &generation };
            walk.list(&dir, &SyncPath::root(), 0).map_err(failed)?;
        }
    }
    found.sort_by(|left, right| {
        let order = |item: &Trashed| (item.removed_at, item.generation.order());
        order(right).cmp(&order(left)).then_with(|| left.path.cmp(&right.path))
    });
    Ok(found)
}

/// Of everything at `path` or beneath it what was deleted last, in order of path.
pub fn newest(trashed: Vec<Trashed>, path: &SyncPath) -> Vec<Trashed> {
    let mut newest: BTreeMap<SyncPath, Trashed> = BTreeMap::new();
    for item in trashed.into_iter().filter(|item| item.path.starts_with(path)) {
        match newest.get(&item.path) {
            Some(other) if other.generation.order() >= item.generation.order() => {}
            _ => drop(newest.insert(item.path.clone(), item)),
        }
    }
    newest.into_values().collect()
}

/// Takes something out of the trash of `root` and puts it where it stood, or at the same path beneath `to`. Makes the
/// directories above it, replaces nothing, follows no symlink beneath `root` or `to`.
pub fn restore(root: &Path, item: &Trashed, to: Option<&Path>) -> Result<(), RestoreError> {
    let target = Arc::new(DirHandle::open_root(to.unwrap_or(root))?);
    let root = DirHandle::open_root(root)?;
    let below = item.path.strip_prefix(&item.base).ok_or(RestoreError::Gone)?;
    let (above, name) = below.split_last().ok_or(RestoreError::Gone)?;
    let gone = |error: io::Error| if is_absent(&error) { RestoreError::Gone } else { error.into() };
    let trash = open_trash(&root, &item.base).map_err(gone)?;
    let generation = item.generation.name();
    let generation = Name::new(generation.as_bytes()).map_err(|_| RestoreError::Gone)?;
    let top = trash.open_dir(generation).map_err(gone)?;
    let from = top.resolve(&above).map_err(gone)?;
    if from.stat(name).map_err(gone)?.kind == Kind::Other {
        return Err(RestoreError::Gone);
    }

    let (to_above, to_name) = item.path.split_last().ok_or(RestoreError::Gone)?;
    let to_dir = make_path(&target, &to_above, 0o777, &mut |_| {}).map_err(in_the_way)?;
    place(&from, name, &to_dir, to_name, &item.kind)?;
    tidy(&trash, generation, &top, &above);
    Ok(())
}

fn place(
    from: &DirHandle,
    name: Name<'_>,
    to: &DirHandle,
    to_name: Name<'_>,
    kind: &TrashedKind,
) -> Result<(), RestoreError> {
    if *kind == TrashedKind::Directory {
        // With permissions of its own: in the trash it has those of the trash.
        match to.make_dir(to_name, 0o777) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                if to.stat(to_name)?.kind != Kind::Directory {
                    return Err(RestoreError::Taken);
                }
            }
            result => result?,
        }
        from.remove_dir(name).ok();
        return Ok(());
    }
    match from.rename_noreplace(name, to, to_name) {
        Err(error) if error.kind() == ErrorKind::CrossesDevices => copy(from, name, to, to_name).map_err(taken)?,
        result => result.map_err(taken)?,
    }
    Ok(())
}

/// To another mount: shown under its name when it is whole, and on the disk before it leaves the trash.
fn copy(from: &DirHandle, name: Name<'_>, to: &DirHandle, to_name: Name<'_>) -> io::Result<()> {
    if from.stat(name)?.kind == Kind::Symlink {
        to.symlink(&from.read_link(name)?, to_name)?;
        return from.remove_file(name);
    }
    let (source, stat) = from.open_file(name)?;
    let temporary = format!(".synctl-restore-{}", std::process::id());
    let temporary = Name::new(temporary.as_bytes()).map_err(|_| ErrorKind::InvalidFilename)?;
    let file = to.create_new(temporary, 0o600)?;
    let write = || {
        sys::reflink_or_copy(&source, &file, stat.len)?;
        sys::set_file_mode(&file, stat.mode)?;
        file.sync_all()?;
        to.rename_noreplace(temporary, to, to_name)
    };
    if let Err(error) = write() {
        to.remove_file(temporary).ok();
        return Err(error);
    }
    to.sync().ok();
    from.remove_file(name)
}

/// Removes the directories in the trash that are empty now.
fn tidy(trash: &DirHandle, generation: Name<'_>, top: &DirHandle, emptied: &SyncPath) {
    let mut path = emptied.clone();
    while let Some((above, name)) = path.split_last() {
        if top.resolve(&above).and_then(|dir| dir.remove_dir(name)).is_err() {
            return;
        }
        path = above;
    }
    trash.remove_dir(generation).ok();
}

struct Walk<'a> {
    found: &'a mut Vec<Trashed>,
    base: &'a SyncPath,
    generation: &'a Generation,
}

impl Walk<'_> {
    /// Lists what is in `dir`, which stood at `path`.
    fn list(&mut self, dir: &DirHandle, path: &SyncPath, depth: usize) -> io::Result<()> {
        if depth == DEPTH_MAX {
            return Ok(());
        }
        for bytes in names(dir)? {
            let Ok(name) = Name::new(&bytes) else { continue };
            let Ok(below) = path.join(name) else { continue };
            let Some(stat) = present(dir.stat(name))? else { continue };
            let kind = match stat.kind {
                Kind::File => TrashedKind::File { len: stat.len, executable: stat.executable },
                Kind::Symlink => match dir.read_link(name) {
                    Ok(target) => TrashedKind::Symlink(target),
                    Err(_) => continue,
                },
                Kind::Directory => {
                    let Some(sub) = present(dir.open_dir(name))? else { continue };
                    if !names(&sub)?.is_empty() {
                        self.list(&sub, &below, depth + 1)?;
                        continue;
                    }
                    TrashedKind::Directory
                }
                Kind::Other => continue,
            };
            let Ok(path) = self.base.join_path(&below) else { continue };
            self.found.push(Trashed {
                path,
                kind,
                removed_at: self.generation.at(),
                base: self.base.clone(),
                generation: self.generation.clone(),
            });
        }
        Ok(())
    }
}

/// The directories on other mounts that have a trash of their own.
fn mounts(root: &DirHandle) -> io::Result<Vec<SyncPath>> {
    let Some(trash) = present(open_trash(root, &SyncPath::root()))? else { return Ok(Vec::new()) };
    let mut bases = Vec::new();
    for bytes in names(&trash)?.iter().filter(|name| name.starts_with(MOUNT_PREFIX.as_bytes())) {
        let target = Name::new(bytes).ok().and_then(|name| trash.read_link(name).ok());
        bases.extend(target.and_then(|target| SyncPath::parse(target.as_bytes()).ok()));
    }
    bases.sort_unstable();
    bases.dedup();
    bases.retain(|base| !base.is_root());
    Ok(bases)
}

fn open_trash(root: &DirHandle, base: &SyncPath) -> io::Result<DirHandle> {
    root.resolve(base)?.open_dir(fixed(HOME))?.open_dir(fixed(TRASH))
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn present<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn taken(error: io::Error) -> RestoreError {
    match error.kind() {
        ErrorKind::AlreadyExists => RestoreError::Taken,
        ErrorKind::NotFound => RestoreError::Gone,
        _ => error.into(),
    }
}

fn in_the_way(error: io::Error) -> RestoreError {
    let is_link = error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
    if is_link || error.kind() == ErrorKind::NotADirectory { RestoreError::NoDirectory } else { error.into() }
}

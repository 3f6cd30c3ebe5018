//! A generation of the trash: its name, its size, directories in it.

use std::{
    io::{self, ErrorKind},
    ops::{AddAssign, SubAssign},
    sync::Arc,
    time::{Duration, SystemTime},
};

use sync_proto::{Name, SyncPath};

use super::TrashLimits;
use crate::{
    replica::stage::names,
    sys::{DirHandle, Kind},
};

/// Deepest directory that is counted or listed: deeper than any path that is synchronised.
pub(super) const DEPTH_MAX: usize = sync_proto::limits::PATH_DEPTH_MAX + 1;

/// What is in a generation, or in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) bytes: u64,
    pub(super) entries: u64,
}

/// A generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Generation {
    number: u64,
    at_ms: u64,
    /// As far as it has been counted.
    pub(super) size: Size,
}

impl Size {
    /// Whether it is more than one part in `share` of what is allowed.
    pub(super) fn exceeds(self, limits: TrashLimits, share: u64) -> bool {
        self.bytes > limits.bytes_max / share || self.entries > limits.entries_max / share
    }
}

impl AddAssign for Size {
    fn add_assign(&mut self, other: Self) {
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.entries = self.entries.saturating_add(other.entries);
    }
}

impl SubAssign for Size {
    fn sub_assign(&mut self, other: Self) {
        self.bytes = self.bytes.saturating_sub(other.bytes);
        self.entries = self.entries.saturating_sub(other.entries);
    }
}

impl Generation {
    /// Reads a name; `None` where it is none of a generation.
    pub(super) fn parse(name: &[u8]) -> Option<Self> {
        let (number, at_ms) = std::str::from_utf8(name).ok()?.split_once('-')?;
        let generation = Self { number: number.parse().ok()?, at_ms: at_ms.parse().ok()?, size: Size::default() };
        // One name for one generation.
        (generation.name().as_bytes() == name).then_some(generation)
    }

    /// Makes the one that follows `last`.
    pub(super) fn make(dir: &DirHandle, last: Option<&Self>, now: SystemTime) -> io::Result<(Self, DirHandle)> {
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let at_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let mut number = last.map_or(1, |last| last.number.saturating_add(1));
        loop {
            let generation = Self { number, at_ms, size: Size::default() };
            let text = generation.name();
            let name = Name::new(text.as_bytes()).map_err(|_| ErrorKind::InvalidFilename)?;
            match dir.make_dir(name, 0o700) {
                Ok(()) => return Ok((generation, dir.open_dir(name)?)),
                // Of another process.
                Err(error) if error.kind() == ErrorKind::AlreadyExists && number < u64::MAX => number += 1,
                Err(error) => return Err(error),
            }
        }
    }

    pub(super) fn name(&self) -> String {
        format!("{:08}-{}", self.number, self.at_ms)
    }

    /// Later ones have a higher order, whatever the clock said.
    pub(super) fn order(&self) -> (u64, u64) {
        (self.number, self.at_ms)
    }

    pub(super) fn at(&self) -> SystemTime {
        let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(self.at_ms));
        at.unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// None, where it is of a time to come.
    pub(super) fn age(&self, now: SystemTime) -> Duration {
        now.duration_since(self.at()).unwrap_or_default()
    }

    /// Looks at what is there. What can't be read counts for nothing.
    pub(super) fn count(&mut self, dir: &DirHandle) {
        let text = self.name();
        let opened = Name::new(text.as_bytes()).ok().and_then(|name| dir.open_dir(name).ok());
        self.size = opened.map(|dir| size_of(&dir, 0)).unwrap_or_default();
    }
}

fn size_of(dir: &DirHandle, depth: usize) -> Size {
    let mut size = Size::default();
    if depth == DEPTH_MAX {
        return size;
    }
    for bytes in names(dir).unwrap_or_default() {
        let Ok(name) = Name::new(&bytes) else { continue };
        let Ok(stat) = dir.stat(name) else { continue };
        if stat.kind == Kind::Directory {
            size += Size { bytes: 0, entries: 1 };
            if let Ok(below) = dir.open_dir(name) {
                size += size_of(&below, depth + 1);
            }
        } else {
            size += Size { bytes: stat.len, entries: 1 };
        }
    }
    size
}

/// Opens the directory at `path` beneath `top`, and makes what is missing on the way. Tells of each that it made, and of the
/// one above it.
pub(super) fn make_path(
    top: &Arc<DirHandle>,
    path: &SyncPath,
    mode: u32,
    made: &mut dyn FnMut(&Arc<DirHandle>),
) -> io::Result<Arc<DirHandle>> {
    let mut dir = Arc::clone(top);
    for name in path.components() {
        let below = match dir.open_dir(name) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                match dir.make_dir(name, mode) {
                    Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
                    _ => made(&dir),
                }
                dir.open_dir(name)?
            }
            other => other?,
        };
        dir = Arc::new(below);
    }
    Ok(dir)
}

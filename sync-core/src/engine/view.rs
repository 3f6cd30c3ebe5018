//! What the engine knows of each side.

use std::collections::{BTreeMap, BTreeSet};

use sync_proto::{SyncPath, message::Problem};

use super::parts::part_of;
use crate::{
    ignore::Rules,
    tree::{Dir, Tree},
};

/// What a replica last saw of its root.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// What stands there.
    pub tree: Tree,
    /// Whether the scan saw everything. Nothing is deleted on the evidence of one that did not.
    pub complete: bool,
    /// Paths whose state is not known, and why: neither there nor gone.
    pub problems: BTreeMap<SyncPath, Problem>,
}

impl View {
    /// Whether the state of `path` is not known: a problem stands there, or at a directory above.
    pub fn is_unknown(&self, path: &SyncPath) -> bool {
        !self.problems.is_empty() && has_ancestor_in(&self.problems, path)
    }

    /// Whether a problem stands at `path` or anywhere beneath.
    pub fn has_unknown_beneath(&self, path: &SyncPath) -> bool {
        has_any_beneath(&self.problems, path)
    }
}

/// Which paths take part, as far as the engine must know: what alpha's rules ignore is not evidence of a deletion.
pub trait Scope {
    /// Whether `path`, a directory or not, takes no part.
    fn is_ignored(&self, path: &SyncPath, is_directory: bool) -> bool;

    /// What takes part of a directory that does; `None`: all of it.
    fn part(&self, path: &SyncPath, dir: &Dir) -> Option<Dir> {
        part_of(self, path, dir)
    }
}

impl Scope for Rules {
    fn is_ignored(&self, path: &SyncPath, is_directory: bool) -> bool {
        Self::is_ignored(self, path, is_directory)
    }
}

/// Whether `map` has `path` or a directory above it.
pub(super) fn has_ancestor_in<V>(map: &BTreeMap<SyncPath, V>, path: &SyncPath) -> bool {
    let mut at = Some(path.clone());
    while let Some(here) = at {
        if map.contains_key(&here) {
            return true;
        }
        at = here.parent();
    }
    false
}

/// Whether `map` has `path` or anything beneath it.
pub(super) fn has_any_beneath<V>(map: &BTreeMap<SyncPath, V>, path: &SyncPath) -> bool {
    // The order of paths is by components: what lies beneath follows its directory without a gap.
    map.range(path..).next().is_some_and(|(first, _)| first.starts_with(path))
}

/// Whether `set` has `path` or anything beneath it.
pub(super) fn has_any_in(set: &BTreeSet<SyncPath>, path: &SyncPath) -> bool {
    set.range(path..).next().is_some_and(|first| first.starts_with(path))
}

/// Whether `map` has `path`, a directory above it, or something beneath.
pub(super) fn is_near<V>(map: &BTreeMap<SyncPath, V>, path: &SyncPath) -> bool {
    !map.is_empty() && (has_any_beneath(map, path) || has_ancestor_in(map, path))
}

/// Takes out of `set` what is `path`, above it or beneath it.
pub(super) fn remove_near(set: &mut BTreeSet<SyncPath>, path: &SyncPath) {
    if !set.is_empty() {
        set.retain(|known| !known.starts_with(path) && !path.starts_with(known));
    }
}

//! What takes part of the subtrees that only beta has, remembered from one walk to the next.
//!
//! A tree that comes from beta is taken batch by batch, and each walk has to know what is wanted of all that is left. To ask
//! for every path of it each time would make a first sync take time by the square of its size.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use sync_proto::SyncPath;

use super::view::Scope;
use crate::{
    ignore::Rules,
    tree::{Dir, Node},
};

/// Most subtrees that are remembered: more than one walk finds.
const PARTS_MAX: usize = 32_768;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// Never locked by two: an engine is used by one at a time. It is a walk that looks, and remembers on the way.
    known: Mutex<BTreeMap<SyncPath, Part>>,
}

#[derive(Debug)]
struct Part {
    /// Of this.
    of: Dir,
    /// What takes part; `None`: all of it.
    wanted: Option<Dir>,
}

impl Parts {
    /// What takes part by these rules, remembered here. [`Parts::forget_changed`] says when they are others.
    pub(super) fn by<'a>(&'a self, rules: &'a Rules) -> Remembered<'a, Rules> {
        Remembered { scope: rules, parts: self }
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> Vec<String> {
        self.known().keys().map(ToString::to_string).collect()
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<SyncPath, Part>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets everything: nothing is left to be taken.
    pub(super) fn forget(&mut self) {
        self.known().clear();
    }

    /// Forgets what may be otherwise by new rules.
    pub(super) fn forget_changed(&mut self, before: &Rules, after: &Rules) {
        let mut known = self.known();
        if known.is_empty() {
            return;
        }
        let Some(changed) = after.changed_since(before) else { return known.clear() };
        for dir in changed {
            let mut above = Some(dir.clone());
            while let Some(at) = above {
                known.remove(&at);
                above = at.parent();
            }
            // By components, so that what is beneath follows its directory without a gap.
            let beneath = known.range(&dir..).map(|(path, _)| path.clone()).take_while(|path| path.starts_with(&dir));
            for path in beneath.collect::<Vec<_>>() {
                known.remove(&path);
            }
        }
    }
}

/// A scope that asks another one, and remembers what it said of whole subtrees.
pub(super) struct Remembered<'a, S> {
    pub(super) scope: &'a S,
    pub(super) parts: &'a Parts,
}

impl<S: Scope> Scope for Remembered<'_, S> {
    fn is_ignored(&self, path: &SyncPath, is_directory: bool) -> bool {
        self.scope.is_ignored(path, is_directory)
    }

    fn part(&self, path: &SyncPath, dir: &Dir) -> Option<Dir> {
        if let Some(part) = self.parts.known().get(path)
            && part.of == *dir
        {
            return part.wanted.clone();
        }
        let wanted = self.scope.part(path, dir);
        let mut known = self.parts.known();
        if known.len() >= PARTS_MAX {
            known.clear();
        }
        known.insert(path.clone(), Part { of: dir.clone(), wanted: wanted.clone() });
        wanted
    }
}

/// What of a directory takes part, asked path by path; `None`: all of it.
pub(super) fn part_of<S: Scope + ?Sized>(scope: &S, path: &SyncPath, dir: &Dir) -> Option<Dir> {
    let mut wanted = None;
    for (name, node, _) in dir.iter() {
        let child = path.join(name).ok().filter(|child| !scope.is_ignored(child, node.as_dir().is_some()));
        match (child, node) {
            (None, _) => drop(wanted.get_or_insert_with(|| dir.clone()).remove(name)),
            (Some(child), Node::Directory(below)) => {
                if let Some(below) = part_of(scope, &child, below) {
                    wanted.get_or_insert_with(|| dir.clone()).insert(name, Node::Directory(below), None);
                }
            }
            (Some(_), _) => {}
        }
    }
    wanted
}

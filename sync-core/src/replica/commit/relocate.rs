//! Moving a file, a symlink or a whole subtree to where nothing stands: one rename.
//!
//! Before it every file beneath is compared with the index by its stat data. What somebody writes after that moves along,
//! and is seen at its new path.

use std::io::{self, ErrorKind};

use sync_proto::{
    Entry, Name, SyncPath,
    message::{Expected, Outcome, ProblemKind},
};

use super::{
    Commit, IndexChange, Stop, Work,
    check::{Known, holds, is_still},
    problem::{failed, missing, refused},
};
use crate::{
    sys::{DirHandle, Kind},
    tree::{Dir, Node},
};

impl Work<'_> {
    /// Does one [`Move`](sync_proto::message::Operation::Move).
    pub(super) fn relocate(&mut self, from: &SyncPath, to: &SyncPath, expected: &Expected) -> Result<Commit, Stop> {
        if to.starts_with(from) {
            return Err(refused(to, ProblemKind::BadName, "a directory can't be moved into itself").into());
        }
        let (from_dir, from_name) = self.parent(from)?;
        let (to_dir, to_name) = self.parent(to)?;
        // Handles that are kept would go on to mean what was moved.
        self.forget_parent();
        let ends = Ends { from_dir: &from_dir, from_name, to_dir: &to_dir, to_name, from, to };
        match expected {
            Expected::Entry(entry @ (Entry::File { .. } | Entry::Symlink(_))) => {
                move_entry(&ends, entry, self.known(from))
            }
            Expected::Tree(hash) => {
                let known = self.subtree(from, *hash).ok_or(Outcome::Mismatch)?;
                move_tree(&ends, known)
            }
            Expected::Nothing | Expected::Entry(Entry::Directory) => Err(Outcome::Mismatch.into()),
        }
    }
}

struct Ends<'a> {
    from_dir: &'a DirHandle,
    from_name: Name<'a>,
    to_dir: &'a DirHandle,
    to_name: Name<'a>,
    from: &'a SyncPath,
    to: &'a SyncPath,
}

impl Ends<'_> {
    fn rename(&self) -> Result<(), Outcome> {
        match self.from_dir.rename_noreplace(self.from_name, self.to_dir, self.to_name) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(Outcome::Mismatch),
            // Between mounts nothing is renamed, nor a lower directory of an overlay: its content is to be sent instead.
            Err(error) if error.kind() == ErrorKind::CrossesDevices => Err(Outcome::BaseMissing),
            Err(error) => Err(missing(self.to, &error)),
        }
    }

    fn moved(&self, node: Node, stamp: Option<crate::tree::Stamp>) -> Commit {
        let arrived = IndexChange { path: self.to.clone(), node: Some(node), stamp };
        Commit { outcome: Outcome::Applied, changes: vec![IndexChange::gone(self.from.clone()), arrived] }
    }
}

fn move_entry(ends: &Ends<'_>, expected: &Entry, known: Option<Known<'_>>) -> Result<Commit, Stop> {
    let held = holds(ends.from_dir, ends.from_name, expected, known).map_err(|error| failed(ends.from, &error))?;
    let Some(before) = held else { return Err(Outcome::Mismatch.into()) };
    ends.rename()?;
    if !matches!(is_still(ends.to_dir, ends.to_name, &before, expected), Ok(true)) {
        // Somebody was faster: back, if nothing has come to stand there. If it has, both stay where they are, and the
        // watch tells of both.
        ends.to_dir.rename_noreplace(ends.to_name, ends.from_dir, ends.from_name).ok();
        return Err(Outcome::Mismatch.into());
    }
    // The rename has changed the ctime. What is no longer this very file has no stamp, and is looked at again.
    let stamp = match ends.to_dir.stat(ends.to_name) {
        Ok(now) if now.kind == Kind::File && super::check::same_but_ctime(&before, &now) => Some(now.stamp),
        _ => None,
    };
    Ok(ends.moved(Node::from_entry(expected.clone()), stamp))
}

fn move_tree(ends: &Ends<'_>, known: Dir) -> Result<Commit, Stop> {
    let dir = ends.from_dir.open_dir(ends.from_name).map_err(|error| missing(ends.from, &error))?;
    if !all_hold(&dir, &known).map_err(|error| missing(ends.from, &error))? {
        return Err(Outcome::Mismatch.into());
    }
    let inode = dir.stat_self().map_err(|error| failed(ends.from, &error))?.stamp.inode;
    ends.rename()?;
    if ends.to_dir.stat(ends.to_name).is_ok_and(|now| now.stamp.inode != inode) {
        // Another directory had come to stand there.
        ends.to_dir.rename_noreplace(ends.to_name, ends.from_dir, ends.from_name).ok();
        return Err(Outcome::Mismatch.into());
    }
    Ok(ends.moved(Node::Directory(known), None))
}

/// Whether everything the index knows beneath a directory is still so.
fn all_hold(dir: &DirHandle, known: &Dir) -> io::Result<bool> {
    for (name, node, stamp) in known.iter() {
        let holds = match node {
            Node::Directory(below) => all_hold(&dir.open_dir(name)?, below)?,
            Node::File { .. } | Node::Symlink(_) => {
                holds(dir, name, &node.entry(), Some(Known { node, stamp }))?.is_some()
            }
        };
        if !holds {
            return Ok(false);
        }
    }
    Ok(true)
}

//! Alpha's changes go to beta, and nothing comes back.

use sync_proto::SyncPath;

use super::{Choice, Mode, Side, Step, Walk};
use crate::{
    engine::rule::{Rule, holds},
    tree::{Dir, Node, merge},
};

impl Walk<'_> {
    /// The two differ, and are not both directories.
    pub(super) fn one_way(
        &mut self,
        path: &SyncPath,
        alpha: Option<&Node>,
        beta: Option<&Node>,
        synced: Option<&Node>,
    ) {
        match (alpha, beta) {
            (Some(new), None) => self.create(Side::Beta, path, new.clone()),
            (None, Some(old)) => drop(self.absent_at_alpha(path, old, synced)),
            (Some(new), Some(old)) => self.different(path, new, old, synced),
            (None, None) => {}
        }
    }

    /// Alpha has nothing there. Whether it was deleted, never was, or only can't be seen decides. Says whether something
    /// of what was synced is left there, to go now or later.
    fn absent_at_alpha(&mut self, path: &SyncPath, old: &Node, synced: Option<&Node>) -> bool {
        // Not seen is not gone: ignored paths are left alone on the other side, and so is what a failed scan missed.
        if self.is_out_of_sight(path, old) {
            self.forget(path, synced);
            return false;
        }
        if !self.is_complete(Side::Alpha) {
            return synced.is_some();
        }
        let ours =
            self.is_ours(path, old, synced) || self.mode == Mode::OneWayReplica || !holds(Rule::ChangeBeatsDeletion);
        if ours && self.is_whole(Side::Beta, path, old) {
            self.remove(Side::Beta, path, old);
            return true;
        }
        let directory_was_ours =
            || matches!(synced, Some(Node::Directory(_))) || self.limits.guard.is_our_directory(path);
        match old {
            // A part of it changed, or may not be touched: the rest goes, one by one. The directory itself goes by a later
            // walk, once it is the same on the side where it was changed.
            Node::Directory(beta) if ours || directory_was_ours() => {
                let first = self.found.agreed.len();
                if self.parts(path, beta, synced.and_then(Node::as_dir)) {
                    return true;
                }
                self.found.agreed.truncate(first);
                if beta.is_empty() && self.is_whole(Side::Beta, path, old) {
                    // All that is left of it, because what it held went at beta too.
                    self.remove(Side::Beta, path, old);
                    return true;
                }
                self.forget(path, synced);
                false
            }
            // Changed at beta, deleted at alpha: a change beats a deletion. It stays, and is no longer ours. What was
            // never synced is beta's own.
            _ => {
                self.forget(path, synced);
                false
            }
        }
    }

    /// The same for what lies in a directory that alpha does not have.
    fn parts(&mut self, path: &SyncPath, beta: &Dir, synced: Option<&Dir>) -> bool {
        // What is under way may be about to arrive.
        let mut left = self.limits.guard.is_held_beneath(path);
        for row in merge([None, Some(beta), synced]) {
            if self.is_full() {
                return true;
            }
            let Ok(child) = path.join(row.name) else { continue };
            let [_, old, synced] = row.nodes;
            left |= match old {
                _ if self.is_closed(&child) => synced.is_some(),
                None if !self.is_certain(&child) => true,
                None => {
                    self.forget(&child, synced);
                    false
                }
                Some(old) => self.absent_at_alpha(&child, old, synced),
            };
        }
        left
    }

    /// Both have something there, and not the same; not two directories.
    fn different(&mut self, path: &SyncPath, new: &Node, old: &Node, synced: Option<&Node>) {
        if self.limits.guard.is_held_beneath(path) {
            return;
        }
        let (was, becomes) = (old.as_dir().is_some(), new.as_dir().is_some());
        // Rules may ignore a directory of this name and not a file, or the other way round.
        let ignored = was != becomes && self.is_ignored(path, old);
        let choice = self.limits.guard.choice(path, new, old);
        if let Some(Choice::Aside(to)) = choice {
            return self.step(Side::Beta, Step::Aside { path: path.clone(), old: old.clone(), to });
        }
        // What was changed at beta by other hands since both agreed, or never was agreed on, is not ours to replace.
        let ours = self.is_ours(path, old, synced)
            || self.mode == Mode::OneWayReplica
            || choice == Some(Choice::Keep(Side::Alpha))
            || !holds(Rule::ConflictIsKept);
        if ours && !ignored && self.is_whole(Side::Beta, path, old) {
            self.replace(Side::Beta, path, old, new.clone());
        } else {
            self.conflict(path, new, old);
        }
    }
}

//! What has to be done, from the three trees: the only place that knows modes.
//!
//! [`reconcile`] is a pure function of *alpha*, *beta* and *synced*. It walks the three side by side, skips whatever is
//! equal in all of them unread, and says for each path that is not what shall happen there: a [`Step`], a conflict, or
//! that both sides already agree. Why each branch is safe stands beside it; the rules are those of design.md §5.

use sync_proto::{Entry, SyncPath};

use super::{
    Mode,
    view::{Scope, View},
};
use crate::tree::{Dir, Node, Tree, merge};

/// One thing to be done at beta. Subtrees are whole here: [`super::plan`] takes them apart.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Nothing stands there; this shall.
    Create {
        /// Where.
        path: SyncPath,
        /// What.
        new: Node,
    },
    /// Something stands there that shall give way.
    Replace {
        /// Where.
        path: SyncPath,
        /// What is there.
        old: Node,
        /// What shall be there.
        new: Node,
    },
    /// What stands there shall go.
    Remove {
        /// Where.
        path: SyncPath,
        /// What is there.
        old: Node,
    },
}

/// What one walk over the trees found.
#[derive(Debug, Default)]
pub struct Reconciled {
    /// What is to be done at beta, in order of path.
    pub steps: Vec<Step>,
    /// Paths that both sides changed, with what stands there: left alone.
    pub conflicts: Vec<(SyncPath, Option<Entry>, Option<Entry>)>,
    /// Paths where *synced* takes over what both sides have already, in order.
    pub agreed: Vec<(SyncPath, Option<Node>)>,
    /// Whether the walk ended early because it had found [`Limits::steps_max`].
    pub truncated: bool,
}

/// Where a walk ends early, and what it goes around.
pub struct Limits<'a> {
    /// Most steps to find.
    pub steps_max: usize,
    /// Says of a path that nothing may be planned at it or beneath (a transfer is under way, a failure waits). Asked for
    /// every path on the way down.
    pub held: &'a dyn Fn(&SyncPath) -> bool,
    /// Says of a path that nothing may be planned for it as a whole, because something beneath it is held.
    pub held_beneath: &'a dyn Fn(&SyncPath) -> bool,
}

/// The three trees and what is known about them.
#[derive(Clone, Copy)]
pub struct Sides<'a> {
    /// Alpha, as last seen.
    pub alpha: &'a View,
    /// Beta, as it is or will be when all that is in flight has been done.
    pub beta: &'a View,
    /// What both last agreed on.
    pub synced: &'a Tree,
    /// What takes part, by alpha's rules.
    pub scope: &'a dyn Scope,
}

/// Finds what is to be done, in the whole tree.
pub fn reconcile(sides: Sides<'_>, mode: Mode, limits: &Limits<'_>) -> Reconciled {
    let mut walk = Walk { sides, mode, limits, found: Reconciled::default() };
    walk.directories(
        &SyncPath::root(),
        Some(sides.alpha.tree.root()),
        Some(sides.beta.tree.root()),
        Some(sides.synced.root()),
    );
    walk.found
}

/// Finds what is to be done at `path` and beneath it, provided that both sides have the directory it stands in;
/// otherwise nothing, because then the whole of that directory has to be looked at.
pub fn reconcile_at(sides: Sides<'_>, mode: Mode, limits: &Limits<'_>, path: &SyncPath) -> Reconciled {
    let mut walk = Walk { sides, mode, limits, found: Reconciled::default() };
    let Some(parent) = path.parent() else {
        return reconcile(sides, mode, limits);
    };
    let both_have_parent = sides.alpha.tree.dir(&parent).is_some() && sides.beta.tree.dir(&parent).is_some();
    let unknown = sides.alpha.is_unknown(&parent) || sides.beta.is_unknown(&parent);
    if both_have_parent && !unknown && !ancestors(path).any(|above| (limits.held)(&above)) {
        let [alpha, beta] = [sides.alpha, sides.beta].map(|view| view.tree.get(path));
        walk.visit(path, alpha, beta, sides.synced.get(path));
    }
    walk.found
}

/// The directories above `path`, the nearest first, the root last.
fn ancestors(path: &SyncPath) -> impl Iterator<Item = SyncPath> {
    std::iter::successors(path.parent(), SyncPath::parent)
}

struct Walk<'a> {
    sides: Sides<'a>,
    mode: Mode,
    limits: &'a Limits<'a>,
    found: Reconciled,
}

impl Walk<'_> {
    fn is_full(&mut self) -> bool {
        let full = self.found.steps.len() >= self.limits.steps_max;
        self.found.truncated |= full;
        full
    }

    fn directories(&mut self, path: &SyncPath, alpha: Option<&Dir>, beta: Option<&Dir>, synced: Option<&Dir>) {
        for row in merge([alpha, beta, synced]) {
            if self.is_full() {
                return;
            }
            // A path too long to name can't have been scanned on either side.
            let Ok(child) = path.join(row.name) else { continue };
            let [alpha, beta, synced] = row.nodes;
            self.visit(&child, alpha, beta, synced);
        }
    }

    fn visit(&mut self, path: &SyncPath, alpha: Option<&Node>, beta: Option<&Node>, synced: Option<&Node>) {
        let unknown = |view: &View| view.problems.contains_key(path);
        if (self.limits.held)(path) || unknown(self.sides.alpha) || unknown(self.sides.beta) {
            return;
        }
        if alpha == beta {
            if alpha != synced {
                self.found.agreed.push((path.clone(), alpha.cloned()));
            }
            return;
        }
        match (alpha, beta) {
            (None, None) => {}
            (Some(new), None) => self.create(path, new),
            (None, Some(old)) => self.absent_at_alpha(path, old, synced),
            (Some(Node::Directory(alpha)), Some(Node::Directory(beta))) => {
                let synced = synced.and_then(Node::as_dir);
                if synced.is_none() {
                    self.found.agreed.push((path.clone(), Some(Node::Directory(Dir::new()))));
                }
                self.directories(path, Some(alpha), Some(beta), synced);
            }
            (Some(new), Some(old)) => self.different(path, new, old, synced),
        }
    }

    /// Beta has nothing there: alpha's goes over, in every mode. Nothing can be lost by it.
    fn create(&mut self, path: &SyncPath, new: &Node) {
        if !(self.limits.held_beneath)(path) {
            self.found.steps.push(Step::Create { path: path.clone(), new: new.clone() });
        }
    }

    /// Alpha has nothing there. Whether it was deleted, never was, or only can't be seen decides.
    fn absent_at_alpha(&mut self, path: &SyncPath, old: &Node, synced: Option<&Node>) {
        // Not seen is not gone: ignored paths are left alone on the other side, and so is what a failed scan missed.
        let is_directory = matches!(old, Node::Directory(_));
        if self.sides.scope.is_ignored(path, is_directory) {
            if synced.is_some() {
                self.found.agreed.push((path.clone(), None));
            }
            return;
        }
        if !self.sides.alpha.complete {
            return;
        }
        let unchanged = synced == Some(old);
        if (unchanged || self.mode == Mode::OneWayReplica) && self.is_whole(path, old) {
            self.found.steps.push(Step::Remove { path: path.clone(), old: old.clone() });
            return;
        }
        match (old, synced) {
            // A part of it changed, or may not be touched: its unchanged parts go, one by one. The directory itself
            // goes by a later walk, once it is empty on the side where it was changed.
            (Node::Directory(beta), synced) if unchanged || synced.is_some() || self.mode == Mode::OneWayReplica => {
                let synced = synced.and_then(Node::as_dir);
                self.directories(path, None, Some(beta), synced);
                if synced.is_some() && !unchanged && self.mode == Mode::OneWaySafe {
                    self.forget_if_foreign(path, beta, synced);
                }
            }
            // Changed at beta, deleted at alpha: a change beats a deletion. It stays, and is no longer ours.
            (_, Some(_)) => self.found.agreed.push((path.clone(), None)),
            // Never synced: it is beta's own.
            (_, None) => {}
        }
    }

    /// A directory deleted at alpha of which nothing that was synced is left at beta: what it holds is beta's own.
    fn forget_if_foreign(&mut self, path: &SyncPath, beta: &Dir, synced: Option<&Dir>) {
        let shares_nothing = synced.is_none_or(|synced| synced.iter().all(|(name, _, _)| beta.get(name).is_none()));
        if shares_nothing {
            self.found.agreed.push((path.clone(), None));
        }
    }

    /// Both have something there, and not the same; not two directories.
    fn different(&mut self, path: &SyncPath, new: &Node, old: &Node, synced: Option<&Node>) {
        let unchanged_at_beta = synced == Some(old);
        if self.mode == Mode::OneWaySafe && !unchanged_at_beta {
            // Beta's was changed by other hands since both agreed, or never was agreed on: not ours to replace.
            self.found.conflicts.push((path.clone(), Some(new.entry()), Some(old.entry())));
            return;
        }
        if self.is_whole(path, old) {
            self.found.steps.push(Step::Replace { path: path.clone(), old: old.clone(), new: new.clone() });
        } else {
            self.found.conflicts.push((path.clone(), Some(new.entry()), Some(old.entry())));
        }
    }

    /// Whether what stands at `path` may be removed as one: nothing beneath is held, of unknown state, or ignored.
    fn is_whole(&self, path: &SyncPath, node: &Node) -> bool {
        let Node::Directory(dir) = node else {
            return true;
        };
        !(self.limits.held_beneath)(path)
            && !self.sides.alpha.has_unknown_beneath(path)
            && !self.sides.beta.has_unknown_beneath(path)
            && !self.has_ignored(path, dir)
    }

    fn has_ignored(&self, path: &SyncPath, dir: &Dir) -> bool {
        dir.iter().any(|(name, node, _)| {
            let Ok(child) = path.join(name) else { return true };
            match node {
                Node::Directory(below) => self.sides.scope.is_ignored(&child, true) || self.has_ignored(&child, below),
                Node::File { .. } | Node::Symlink(_) => self.sides.scope.is_ignored(&child, false),
            }
        })
    }
}

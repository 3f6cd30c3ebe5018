//! What has to be done, from the three trees: the only place that knows modes.
//!
//! [`reconcile`] is a pure function of *alpha*, *beta* and *synced*. It walks the three side by side, skips whatever is
//! equal in all of them unread, and says for each path that is not what shall happen there: a [`Step`], a conflict, or
//! that both sides already agree. Why each branch is safe stands beside it; the rules in words are those of [`Mode`].

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

impl Step {
    /// Where.
    pub fn path(&self) -> &SyncPath {
        match self {
            Self::Create { path, .. } | Self::Replace { path, .. } | Self::Remove { path, .. } => path,
        }
    }
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
    /// What it goes around.
    pub guard: &'a dyn Guard,
}

/// What is known of paths beside the three trees. Asked for every path on the way down.
pub trait Guard {
    /// Nothing may be planned at the path or beneath: a transfer is under way, a failure waits.
    fn is_held(&self, _path: &SyncPath) -> bool {
        false
    }

    /// Nothing may be planned for the path as a whole, because a transfer is under way beneath it.
    fn is_held_beneath(&self, _path: &SyncPath) -> bool {
        false
    }

    /// Beta has content at the path or beneath that its index does not show, and does not give it up.
    fn has_kept(&self, _path: &SyncPath) -> bool {
        false
    }

    /// `node`, which stands at the path at beta, was sent there, though beta could not say so before the link was lost.
    fn is_ours(&self, _path: &SyncPath, _node: &Node) -> bool {
        false
    }

    /// The same of a directory, whatever it holds.
    fn is_our_directory(&self, _path: &SyncPath) -> bool {
        false
    }

    /// There is something of that kind at the path, above or beneath.
    fn is_in_doubt(&self, _path: &SyncPath) -> bool {
        false
    }
}

/// Nothing to go around.
impl Guard for () {}

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
    let [alpha, beta, synced] = [&sides.alpha.tree, &sides.beta.tree, sides.synced].map(Tree::root);
    walk.directories(&SyncPath::root(), alpha, beta, Some(synced));
    walk.found
}

/// Finds what is to be done at `path` and beneath it. `None`: that can't be told from there, because one side does not have
/// the directory it stands in, or nothing may be planned in it; the whole of that directory has to be looked at.
pub fn reconcile_at(sides: Sides<'_>, mode: Mode, limits: &Limits<'_>, path: &SyncPath) -> Option<Reconciled> {
    let mut walk = Walk { sides, mode, limits, found: Reconciled::default() };
    let Some(parent) = path.parent() else {
        return Some(reconcile(sides, mode, limits));
    };
    let both_have_parent = sides.alpha.tree.dir(&parent).is_some() && sides.beta.tree.dir(&parent).is_some();
    let unknown = sides.alpha.is_unknown(&parent) || sides.beta.is_unknown(&parent);
    if !both_have_parent || unknown || ancestors(path).any(|above| limits.guard.is_held(&above)) {
        return None;
    }
    if sides.synced.dir(&parent).is_none() {
        // What is agreed on stands in directories that are.
        let mut above: Vec<SyncPath> = ancestors(path).filter(|above| sides.synced.dir(above).is_none()).collect();
        above.reverse();
        walk.found.agreed.extend(above.into_iter().map(|above| (above, Some(Node::Directory(Dir::new())))));
    }
    let [alpha, beta] = [sides.alpha, sides.beta].map(|view| view.tree.get(path));
    walk.visit(path, alpha, beta, sides.synced.get(path));
    Some(walk.found)
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

    fn directories(&mut self, path: &SyncPath, alpha: &Dir, beta: &Dir, synced: Option<&Dir>) {
        for row in merge([Some(alpha), Some(beta), synced]) {
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
        if self.is_closed(path) {
            return;
        }
        match (alpha, beta) {
            _ if alpha == beta => self.same(path, alpha, synced),
            (Some(new), None) => self.create(path, new),
            (None, Some(old)) => {
                self.absent_at_alpha(path, old, synced);
            }
            (Some(Node::Directory(alpha)), Some(Node::Directory(beta))) => {
                let synced = synced.and_then(Node::as_dir);
                if synced.is_none() {
                    self.found.agreed.push((path.clone(), Some(Node::Directory(Dir::new()))));
                }
                self.directories(path, alpha, beta, synced);
            }
            (Some(new), Some(old)) => self.different(path, new, old, synced),
            (None, None) => {}
        }
    }

    /// Whether nothing may be planned here: it is held, or what stands here is not known.
    fn is_closed(&self, path: &SyncPath) -> bool {
        let unknown = |view: &View| view.problems.contains_key(path);
        self.limits.guard.is_held(path) || unknown(self.sides.alpha) || unknown(self.sides.beta)
    }

    /// Whether what neither side shows at `path` or beneath is really on neither.
    fn is_certain(&self, path: &SyncPath) -> bool {
        [self.sides.alpha, self.sides.beta].iter().all(|view| view.complete && !view.has_unknown_beneath(path))
    }

    /// Both have the same.
    fn same(&mut self, path: &SyncPath, both: Option<&Node>, synced: Option<&Node>) {
        if both == synced {
            return;
        }
        match (both, synced) {
            (None, _) if !self.is_certain(path) => {}
            (Some(Node::Directory(both)), Some(Node::Directory(synced))) if !self.is_certain(path) => {
                self.directories(path, both, both, Some(synced));
            }
            _ => self.found.agreed.push((path.clone(), both.cloned())),
        }
    }

    /// Beta has nothing there: alpha's goes over, in every mode. Nothing can be lost by it.
    fn create(&mut self, path: &SyncPath, new: &Node) {
        if !self.limits.guard.is_held_beneath(path) {
            self.found.steps.push(Step::Create { path: path.clone(), new: new.clone() });
        }
    }

    /// Alpha has nothing there. Whether it was deleted, never was, or only can't be seen decides. Says whether something
    /// of what was synced is left there, to go now or later.
    fn absent_at_alpha(&mut self, path: &SyncPath, old: &Node, synced: Option<&Node>) -> bool {
        // Not seen is not gone: ignored paths are left alone on the other side, and so is what a failed scan missed.
        if self.sides.scope.is_ignored(path, old.as_dir().is_some()) {
            return self.forget(path, synced);
        }
        if !self.sides.alpha.complete {
            return synced.is_some();
        }
        let ours = self.is_ours(path, old, synced) || self.mode == Mode::OneWayReplica;
        if ours && self.is_whole(path, old) {
            self.found.steps.push(Step::Remove { path: path.clone(), old: old.clone() });
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
                if beta.is_empty() && self.is_whole(path, old) {
                    // All that is left of it, because what it held went at beta too.
                    self.found.steps.push(Step::Remove { path: path.clone(), old: old.clone() });
                    return true;
                }
                self.forget(path, synced)
            }
            // Changed at beta, deleted at alpha: a change beats a deletion. It stays, and is no longer ours. What was
            // never synced is beta's own.
            _ => self.forget(path, synced),
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
                None => self.forget(&child, synced),
                Some(old) => self.absent_at_alpha(&child, old, synced),
            };
        }
        left
    }

    /// What stands at `path` at beta, if anything, has nothing to do with alpha any more.
    fn forget(&mut self, path: &SyncPath, synced: Option<&Node>) -> bool {
        if synced.is_some() {
            self.found.agreed.push((path.clone(), None));
        }
        false
    }

    /// Both have something there, and not the same; not two directories.
    fn different(&mut self, path: &SyncPath, new: &Node, old: &Node, synced: Option<&Node>) {
        if self.limits.guard.is_held_beneath(path) {
            return;
        }
        let (was, becomes) = (old.as_dir().is_some(), new.as_dir().is_some());
        // Rules may ignore a directory of this name and not a file, or the other way round.
        let ignored = was != becomes && self.sides.scope.is_ignored(path, was);
        // What was changed at beta by other hands since both agreed, or never was agreed on, is not ours to replace.
        let ours = self.is_ours(path, old, synced) || self.mode == Mode::OneWayReplica;
        if ours && !ignored && self.is_whole(path, old) {
            self.found.steps.push(Step::Replace { path: path.clone(), old: old.clone(), new: new.clone() });
        } else {
            self.found.conflicts.push((path.clone(), Some(new.entry()), Some(old.entry())));
        }
    }

    /// Whether beta has what both agreed on, or what was sent there since.
    fn is_ours(&self, path: &SyncPath, old: &Node, synced: Option<&Node>) -> bool {
        if synced == Some(old) || self.limits.guard.is_ours(path, old) {
            return true;
        }
        let Node::Directory(dir) = old else { return false };
        // Some of it may be as it was agreed on, and some of it sent since.
        let synced = synced.and_then(Node::as_dir);
        self.limits.guard.is_in_doubt(path)
            && (synced.is_some() || self.limits.guard.is_our_directory(path))
            && dir.iter().all(|(name, node, _)| {
                let synced = synced.and_then(|synced| synced.get(name));
                path.join(name).is_ok_and(|child| self.is_ours(&child, node, synced))
            })
    }

    /// Whether what stands at `path` may be removed as one: nothing beneath is under way, of unknown state, ignored, or kept
    /// there by beta.
    fn is_whole(&self, path: &SyncPath, node: &Node) -> bool {
        let Node::Directory(dir) = node else {
            return true;
        };
        !self.limits.guard.is_held_beneath(path)
            && !self.limits.guard.has_kept(path)
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

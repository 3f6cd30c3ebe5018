//! What has to be done, from the three trees: the only place that knows modes.
//!
//! [`reconcile`] is a pure function of *alpha*, *beta* and *synced*. It walks the three side by side, skips whatever is
//! equal in all of them unread, and says for each path that is not what shall happen there: a [`Step`] for one of the sides,
//! a conflict, or that both sides already agree. The rules in words are those of [`Mode`]; why each branch is safe stands
//! beside it, in `one_way` and `two_way`. What may be touched at all is said in `evidence`.

mod evidence;
mod one_way;
mod two_way;

use sync_proto::{Entry, SyncPath};

use super::{
    Mode, Side,
    view::{Scope, View},
};
use crate::tree::{Dir, Node, Tree, merge};

/// One thing to be done at one of the sides. Subtrees are whole here: [`super::plan`] takes them apart.
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
    /// What stands there shall stand elsewhere, where nothing does.
    Aside {
        /// Where.
        path: SyncPath,
        /// What is there.
        old: Node,
        /// To where.
        to: SyncPath,
    },
}

impl Step {
    /// Where.
    pub fn path(&self) -> &SyncPath {
        match self {
            Self::Create { path, .. }
            | Self::Replace { path, .. }
            | Self::Remove { path, .. }
            | Self::Aside { path, .. } => path,
        }
    }
}

/// What one walk over the trees found.
#[derive(Debug, Default)]
pub struct Reconciled {
    /// What is to be done at beta, in order of path.
    pub at_beta: Vec<Step>,
    /// What is to be done at alpha, in order of path. Nothing in the one-way modes.
    pub at_alpha: Vec<Step>,
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

    /// The side has content at the path or beneath that its index does not show, and does not give it up.
    fn has_kept(&self, _side: Side, _path: &SyncPath) -> bool {
        false
    }

    /// Beta does not show it, but something stands at that very path on its disk.
    fn is_hidden(&self, _path: &SyncPath) -> bool {
        false
    }

    /// Beta does not show it, and has said when it was asked that nothing stands there.
    fn is_known_gone(&self, _path: &SyncPath) -> bool {
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

    /// What stood at the path at beta, alone or in a subtree, was to be removed there by what was sent.
    fn is_our_removal(&self, _path: &SyncPath) -> bool {
        false
    }

    /// Something was sent to the path at beta that beta could not answer for, and nothing has been agreed on there since.
    fn is_unsettled(&self, _path: &SyncPath) -> bool {
        false
    }

    /// There is something of that kind at the path, above or beneath.
    fn is_in_doubt(&self, _path: &SyncPath) -> bool {
        false
    }

    /// How the user wants the conflict of these two settled.
    fn choice(&self, _path: &SyncPath, _alpha: &Node, _beta: &Node) -> Option<Choice> {
        None
    }
}

/// How a conflict is to be settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// What this side has stays.
    Keep(Side),
    /// What beta has is moved to there.
    Aside(SyncPath),
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
        let full = self.found.at_beta.len() + self.found.at_alpha.len() >= self.limits.steps_max;
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
            (Some(Node::Directory(alpha)), Some(Node::Directory(beta))) => {
                let synced = synced.and_then(Node::as_dir);
                if synced.is_none() {
                    self.found.agreed.push((path.clone(), Some(Node::Directory(Dir::new()))));
                }
                self.directories(path, alpha, beta, synced);
            }
            _ if self.mode.is_two_way() => self.two_way(path, alpha, beta, synced),
            _ => self.one_way(path, alpha, beta, synced),
        }
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

    /// What stands at `path` on one of the sides, if anything, has nothing to do with the other any more.
    fn forget(&mut self, path: &SyncPath, synced: Option<&Node>) {
        if synced.is_some() {
            self.found.agreed.push((path.clone(), None));
        }
    }

    /// The side has nothing there. It can't lose anything by getting something.
    fn create(&mut self, side: Side, path: &SyncPath, new: Node) {
        if !self.limits.guard.is_held_beneath(path) {
            self.step(side, Step::Create { path: path.clone(), new });
        }
    }

    fn replace(&mut self, side: Side, path: &SyncPath, old: &Node, new: Node) {
        self.step(side, Step::Replace { path: path.clone(), old: old.clone(), new });
    }

    fn remove(&mut self, side: Side, path: &SyncPath, old: &Node) {
        self.step(side, Step::Remove { path: path.clone(), old: old.clone() });
    }

    fn conflict(&mut self, path: &SyncPath, alpha: &Node, beta: &Node) {
        self.found.conflicts.push((path.clone(), Some(alpha.entry()), Some(beta.entry())));
    }

    fn step(&mut self, side: Side, step: Step) {
        match side {
            Side::Alpha => self.found.at_alpha.push(step),
            Side::Beta => self.found.at_beta.push(step),
        }
    }

    fn view(&self, side: Side) -> &View {
        match side {
            Side::Alpha => self.sides.alpha,
            Side::Beta => self.sides.beta,
        }
    }
}

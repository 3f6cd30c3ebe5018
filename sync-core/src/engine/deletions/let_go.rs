//! What the user has let go, and could not be removed yet.
//!
//! What is in the way of it may stay so for long, and it is tried again now and then: beta has begun to ignore it and still has
//! it, or nothing can be done in its directory. The user has said that it may go. That holds for what it was said of, until the
//! other side has it again.

use std::collections::BTreeMap;

use sync_proto::SyncPath;

use crate::{
    engine::{
        Side,
        doubtful::at,
        reconcile::{Reconciled, Step},
    },
    tree::{Node, Tree},
};

/// See the module.
#[derive(Debug, Default)]
pub(in crate::engine) struct LetGo {
    at_alpha: BTreeMap<SyncPath, Node>,
    at_beta: BTreeMap<SyncPath, Node>,
}

impl LetGo {
    /// The user lets all of this go.
    pub(super) fn note(&mut self, found: Reconciled) {
        self.at_alpha.extend(found.at_alpha.into_iter().filter_map(removal));
        self.at_beta.extend(found.at_beta.into_iter().filter_map(removal));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.at_alpha.is_empty() && self.at_beta.is_empty()
    }

    /// What of this the user has not let go.
    pub(super) fn rest_of(&self, found: &Reconciled) -> Reconciled {
        let unasked = |side, steps: &[Step]| steps.iter().filter(|step| !self.has(side, step)).cloned().collect();
        Reconciled {
            at_alpha: unasked(Side::Alpha, &found.at_alpha),
            at_beta: unasked(Side::Beta, &found.at_beta),
            truncated: found.truncated,
            ..Reconciled::default()
        }
    }

    fn has(&self, side: Side, step: &Step) -> bool {
        let Step::Remove { path, old } = step else { return false };
        let nodes = match side {
            Side::Alpha => &self.at_alpha,
            Side::Beta => &self.at_beta,
        };
        std::iter::successors(Some(path.clone()), SyncPath::parent).any(|above| {
            let below = path.strip_prefix(&above).unwrap_or_default();
            nodes.get(&above).and_then(|node| at(node, &below)) == Some(old)
        })
    }

    /// All is done that could be: the user's word holds on for what is left as it was, on that side alone.
    pub(super) fn sweep(&mut self, alpha: &Tree, beta: &Tree) {
        let is_left =
            |here: &Tree, there: &Tree, path: &SyncPath| here.get(path).is_some() && there.get(path).is_none();
        self.at_alpha.retain(|path, _| is_left(alpha, beta, path));
        self.at_beta.retain(|path, _| is_left(beta, alpha, path));
    }

    pub(in crate::engine) fn clear(&mut self) {
        *self = Self::default();
    }
}

fn removal(step: Step) -> Option<(SyncPath, Node)> {
    match step {
        Step::Remove { path, old } => Some((path, old)),
        Step::Create { .. } | Step::Replace { .. } | Step::Aside { .. } => None,
    }
}

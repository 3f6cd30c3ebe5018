//! What must come of three small trees, in words made code.

use super::*;

type Children = BTreeMap<&'static str, Small>;
/// What alpha, beta and *synced* have.
type Ends = (Slot, Slot, Slot);

/// The model.
pub(super) struct Expectation {
    pub(super) case: Case,
    pub(super) conflicts: Vec<SyncPath>,
}

impl Expectation {
    fn is_unknown(&self, at: &SyncPath) -> bool {
        [self.case.alpha_problem, self.case.beta_problem].iter().flatten().any(|problem| path(problem) == *at)
    }

    fn has_unknown(&self, at: &SyncPath) -> bool {
        [self.case.alpha_problem, self.case.beta_problem].iter().flatten().any(|problem| path(problem).starts_with(at))
    }

    fn is_ignored(&self, at: &SyncPath, node: &Small) -> bool {
        self.case.is_ignored(at, matches!(node, Small::Dir(_)))
    }

    fn has_ignored(&self, at: &SyncPath, node: &Small) -> bool {
        let Small::Dir(children) = node else { return false };
        children.iter().any(|(name, child)| {
            let at = at.join_path(&path(name)).unwrap();
            self.is_ignored(&at, child) || self.has_ignored(&at, child)
        })
    }

    /// What alpha, beta and *synced* have in the end.
    pub(super) fn end(&mut self, at: &SyncPath, alpha: Slot, beta: Slot, synced: Slot) -> Ends {
        if self.case.mode.is_two_way() {
            return self.two_way(at, alpha, beta, synced);
        }
        let (beta, synced) = self.one_way(at, alpha.clone(), beta, synced);
        (alpha, beta, synced)
    }

    fn one_way(&mut self, at: &SyncPath, alpha: Slot, beta: Slot, synced: Slot) -> (Slot, Slot) {
        if self.is_unknown(at) {
            return (beta, synced);
        }
        let replica = self.case.mode == Mode::OneWayReplica;
        match (alpha, beta) {
            (None, None) => {
                let seen_whole = self.case.alpha_complete && self.case.beta_complete && !self.has_unknown(at);
                (None, if seen_whole { None } else { synced })
            }
            (Some(new), None) => (Some(new.clone()), Some(new)),
            (None, Some(old)) => self.deleted(at, old, synced),
            (Some(Small::Dir(alpha)), Some(Small::Dir(beta))) => {
                let synced = if let Some(Small::Dir(synced)) = synced { synced } else { BTreeMap::new() };
                let (beta, synced) = self.children(at, &alpha, &beta, &synced);
                (Some(Small::Dir(beta)), Some(Small::Dir(synced)))
            }
            (Some(new), Some(old)) if new == old => (Some(old), Some(new)),
            (Some(new), Some(old)) => {
                let ours = replica || synced.as_ref() == Some(&old);
                let is_dir = matches!(old, Small::Dir(_));
                let other_kind = is_dir != matches!(new, Small::Dir(_));
                let untouchable = (other_kind && self.is_ignored(at, &old))
                    || self.has_ignored(at, &old)
                    || (is_dir && self.has_unknown(at));
                if ours && !untouchable {
                    return (Some(new.clone()), Some(new));
                }
                self.conflicts.push(at.clone());
                (Some(old), synced)
            }
        }
    }

    fn children(
        &mut self,
        at: &SyncPath,
        alpha: &BTreeMap<&'static str, Small>,
        beta: &BTreeMap<&'static str, Small>,
        synced: &BTreeMap<&'static str, Small>,
    ) -> (BTreeMap<&'static str, Small>, BTreeMap<&'static str, Small>) {
        let mut result = (BTreeMap::new(), BTreeMap::new());
        for name in NAMES {
            let at = at.join_path(&path(name)).unwrap();
            let [alpha, beta, synced] = [alpha, beta, synced].map(|children| children.get(name).cloned());
            let (beta, synced) = self.one_way(&at, alpha, beta, synced);
            result.0.extend(beta.map(|node| (name, node)));
            result.1.extend(synced.map(|node| (name, node)));
        }
        result
    }

    /// Alpha has nothing there.
    fn deleted(&mut self, at: &SyncPath, old: Small, synced: Slot) -> (Slot, Slot) {
        if self.is_ignored(at, &old) {
            return (Some(old), None);
        }
        if !self.case.alpha_complete {
            return (Some(old), synced);
        }
        let replica = self.case.mode == Mode::OneWayReplica;
        let Small::Dir(beta) = &old else {
            let goes = replica || synced.as_ref() == Some(&old);
            return (if goes { None } else { Some(old) }, None);
        };
        // As one, where nothing speaks against it: that the directory could be removed tells that it held nothing else.
        if (replica || synced.as_ref() == Some(&old)) && !self.has_unknown(at) && !self.has_ignored(at, &old) {
            return (None, None);
        }
        let known = if let Some(Small::Dir(known)) = &synced { Some(known.clone()) } else { None };
        if known.is_none() && !replica {
            return (Some(old), None);
        }
        let (beta, left) = self.children(at, &BTreeMap::new(), beta, &known.unwrap_or_default());
        let stays = !beta.is_empty() || self.has_unknown(at) || !left.is_empty();
        let ours = !left.is_empty();
        (stays.then_some(Small::Dir(beta)), ours.then_some(Small::Dir(left)))
    }

    /// Changes go both ways.
    fn two_way(&mut self, at: &SyncPath, alpha: Slot, beta: Slot, synced: Slot) -> Ends {
        if self.is_unknown(at) {
            return (alpha, beta, synced);
        }
        match (alpha, beta) {
            (None, None) => {
                let certain = self.case.alpha_complete && self.case.beta_complete && !self.has_unknown(at);
                (None, None, if certain { None } else { synced })
            }
            (Some(Small::Dir(alpha)), Some(Small::Dir(beta))) => {
                let synced = if let Some(Small::Dir(synced)) = synced { synced } else { BTreeMap::new() };
                let (alpha, beta, synced) = self.each(at, &alpha, &beta, &synced);
                (Some(Small::Dir(alpha)), Some(Small::Dir(beta)), Some(Small::Dir(synced)))
            }
            (Some(alpha), Some(beta)) if alpha == beta => (Some(alpha.clone()), Some(beta), Some(alpha)),
            (Some(alpha), Some(beta)) => self.both_differ(at, alpha, beta, synced),
            (Some(alpha), None) => {
                let complete = self.case.beta_complete;
                self.one_has(at, alpha, synced, complete, Self::two_way)
            }
            (None, Some(beta)) => {
                let complete = self.case.alpha_complete;
                // The same with the sides changed over.
                let swapped = |this: &mut Self, at: &SyncPath, one: Slot, other: Slot, synced: Slot| {
                    let (alpha, beta, synced) = this.two_way(at, other, one, synced);
                    (beta, alpha, synced)
                };
                let (beta, alpha, synced) = self.one_has(at, beta, synced, complete, swapped);
                (alpha, beta, synced)
            }
        }
    }

    /// Each name that one of them has.
    fn each(
        &mut self,
        at: &SyncPath,
        alpha: &Children,
        beta: &Children,
        synced: &Children,
    ) -> (Children, Children, Children) {
        let mut result = (Children::new(), Children::new(), Children::new());
        for name in NAMES {
            let at = at.join_path(&path(name)).unwrap();
            let [alpha, beta, synced] = [alpha, beta, synced].map(|children| children.get(name).cloned());
            let (alpha, beta, synced) = self.two_way(&at, alpha, beta, synced);
            result.0.extend(alpha.map(|node| (name, node)));
            result.1.extend(beta.map(|node| (name, node)));
            result.2.extend(synced.map(|node| (name, node)));
        }
        result
    }

    /// One side has `node`, the other, whose scan was `complete`, nothing: what the one, the other and *synced* have then.
    fn one_has(
        &mut self,
        at: &SyncPath,
        node: Small,
        synced: Slot,
        complete: bool,
        recurse: fn(&mut Self, &SyncPath, Slot, Slot, Slot) -> Ends,
    ) -> Ends {
        if self.is_ignored(at, &node) {
            return (Some(node), None, None);
        }
        if synced.is_some() && !complete {
            return (Some(node), None, synced);
        }
        let untouchable = self.has_ignored(at, &node) || (matches!(node, Small::Dir(_)) && self.has_unknown(at));
        if synced.as_ref() == Some(&node) && !untouchable {
            // The other side deleted what both had.
            return (None, None, None);
        }
        let (Small::Dir(children), Some(Small::Dir(known))) = (&node, &synced) else {
            // New or changed: a change beats a deletion.
            let wanted = self.taking_part(at, &node);
            let is_bare = |node: &Small| *node == Small::Dir(Children::new());
            if is_bare(&wanted) && !is_bare(&node) {
                return (Some(node), None, synced);
            }
            return (Some(node), Some(wanted.clone()), Some(wanted));
        };
        let mut ends = (Children::new(), Children::new(), Children::new());
        for name in NAMES {
            let at = at.join_path(&path(name)).unwrap();
            let (one, other, synced) = recurse(self, &at, children.get(name).cloned(), None, known.get(name).cloned());
            ends.0.extend(one.map(|node| (name, node)));
            ends.1.extend(other.map(|node| (name, node)));
            ends.2.extend(synced.map(|node| (name, node)));
        }
        let (one, other, synced) = ends;
        if !other.is_empty() {
            return (Some(Small::Dir(one)), Some(Small::Dir(other)), Some(Small::Dir(synced)));
        }
        if one.is_empty() && synced.is_empty() && !self.has_unknown(at) {
            return (None, None, None);
        }
        (Some(Small::Dir(one)), None, Some(Small::Dir(synced)))
    }

    /// Both have something, not the same, and not two directories.
    fn both_differ(&mut self, at: &SyncPath, alpha: Small, beta: Small, synced: Slot) -> Ends {
        let alpha_wins = synced.as_ref() == Some(&beta)
            || (synced.as_ref() != Some(&alpha) && self.case.mode == Mode::TwoWayResolved);
        let beta_wins = !alpha_wins && synced.as_ref() == Some(&alpha);
        let loser = if alpha_wins { &beta } else { &alpha };
        let untouchable = self.is_ignored(at, &beta)
            || self.has_ignored(at, loser)
            || (matches!(loser, Small::Dir(_)) && self.has_unknown(at));
        if alpha_wins && !untouchable {
            return (Some(alpha.clone()), Some(alpha.clone()), Some(alpha));
        }
        if beta_wins && !untouchable {
            let wanted = self.taking_part(at, &beta);
            return (Some(wanted.clone()), Some(beta), Some(wanted));
        }
        self.conflicts.push(at.clone());
        (Some(alpha), Some(beta), synced)
    }

    fn taking_part(&self, at: &SyncPath, node: &Small) -> Small {
        let Small::Dir(children) = node else { return node.clone() };
        let children = children.iter().filter_map(|(name, child)| {
            let at = at.join_path(&path(name)).unwrap();
            (!self.is_ignored(&at, child)).then(|| (*name, self.taking_part(&at, child)))
        });
        Small::Dir(children.collect())
    }
}

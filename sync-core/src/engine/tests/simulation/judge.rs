//! What must be so, while it runs and when all is quiet.

use super::*;
use crate::engine::Recorded;

impl World {
    /// An operation needs evidence, and fits the limits.
    pub(super) fn check_sent(&mut self, id: BatchId, operations: &[Planned]) {
        assert!(self.last_id.is_none_or(|last| last < id), "a number is used twice");
        self.last_id = Some(id);
        self.unanswered.insert(id, touched(operations));
        assert!(self.unanswered.len() <= sync_proto::limits::BATCHES_IN_FLIGHT_MAX);
        assert!(operations.len() <= sync_proto::limits::BATCH_OPERATIONS_MAX);
        self.sent += operations.len();
        for operation in operations {
            let (at, old) = match operation {
                Planned::Remove { path, old } => (path, old),
                Planned::Move { from, node, .. } => (from, node),
                Planned::MakeDirectory { .. } | Planned::Put { .. } => continue,
            };
            let replaced = self.view.tree.get(at).is_some();
            assert!(replaced || self.view.complete, "{at} is removed on the evidence of an incomplete scan");
            assert!(!self.view.is_unknown(at), "{at} is removed, and not known");
            assert!(
                old.as_dir().is_none() || !self.view.has_unknown_beneath(at),
                "{at} is removed, and something in it not known"
            );
            let rules = &self.rules[self.alpha_rules];
            for (below, node) in agent::entries(old) {
                let at = at.join_path(&below).unwrap();
                let ignored = rules.is_ignored(&at, node.as_dir().is_some());
                assert!(!ignored, "{at} is ignored, and removed");
            }
        }
    }

    /// *Synced* takes over what beta has had, and nothing else.
    pub(super) fn record(&mut self, changes: Vec<Recorded>) {
        for (at, node) in changes {
            match node {
                None => {
                    self.recorded.remove(&at).expect("a record of what is there");
                }
                Some((node, _)) => {
                    for (below, node) in agent::entries(&node) {
                        let at = at.join_path(&below).unwrap();
                        let had = self.agent.history.contains(&(at.clone(), node.entry()));
                        assert!(had, "{at} is agreed on, and never was at beta: {node:?}");
                    }
                    self.recorded.insert(&at, node, None).expect("a record in a directory that is agreed on");
                }
            }
        }
    }

    pub(super) fn reported(&mut self, report: Report) {
        match report {
            Report::Failed { problem, .. } => {
                self.told.insert(problem.path);
            }
            Report::Solved { path: at, .. } => assert!(self.told.remove(&at), "{at} is solved, and never was reported"),
            _ => {}
        }
    }

    fn is_excused(&self, at: &SyncPath) -> bool {
        let is_near = |other: &SyncPath| other.starts_with(at) || at.starts_with(other);
        self.excused.iter().any(is_near)
    }

    /// Where it is said that `at` is not as at alpha, if it is.
    fn listed(&self, at: &SyncPath) -> Option<SyncPath> {
        let conflict =
            self.engine.conflicts().map(|(conflict, _, _)| conflict).find(|conflict| at.starts_with(conflict));
        let held = std::iter::successors(Some(at.clone()), SyncPath::parent).find(|at| self.engine.at_beta.held.is_waiting(at));
        assert!(held.as_ref().is_none_or(|held| self.told.contains(held)), "{held:?} waits, and nobody knows");
        conflict.cloned().or(held)
    }

    /// All is quiet.
    pub(super) fn judge(&self) {
        assert_eq!(self.recorded, self.engine.known.synced, "the record of what is synced");
        assert_eq!(self.engine.known.beta, self.agent.index, "what is known of beta");
        if self.engine.halted().is_some() {
            assert_eq!(self.view.tree.entries(), 0, "it is halted");
            return;
        }
        assert!(self.engine.is_in_sync(), "it is quiet, and not in sync");
        let rules = &self.rules[self.alpha_rules];
        let all: BTreeSet<SyncPath> = [&self.view.tree, &self.agent.index, &self.recorded]
            .into_iter()
            .flat_map(|tree| walk(tree.root()).map(|(at, _, _)| at))
            .collect();
        for at in all {
            let get = |tree: &Tree| tree.get(&at).map(Node::entry);
            let (alpha, beta, synced) = (get(&self.view.tree), get(&self.agent.index), get(&self.recorded));
            if let Some(listed) = self.listed(&at) {
                let has_reason = self.is_excused(&listed) || self.told.contains(&listed);
                assert!(has_reason, "{listed} is a conflict, and nobody has touched it");
                continue;
            }
            if alpha == beta {
                assert_eq!(alpha, synced, "{at}: what both have is synced");
                continue;
            }
            assert_eq!(alpha, None, "{at} is not at beta as at alpha: {beta:?}");
            if self.told.iter().any(|told| told.starts_with(&at)) {
                // It goes when what is held in it has gone.
                continue;
            }
            assert_eq!(synced, None, "{at} is synced, and not at alpha");
            let is_dir = self.agent.index.dir(&at).is_some();
            let left_alone = rules.is_ignored(&at, is_dir) || self.has_ignored(&at);
            let own = self.kind.mode == Mode::OneWaySafe && self.is_excused(&at);
            // What held it back may have gone since, unseen.
            let left_alone = left_alone || self.engine.at_beta.kept.contains(&at);
            assert!(left_alone || own, "{at} is left at beta: {beta:?}");
        }
        for told in &self.told {
            assert!(self.listed(told).is_some(), "{told} was reported, and is not solved");
        }
    }

    fn has_ignored(&self, at: &SyncPath) -> bool {
        let rules = &self.rules[self.alpha_rules];
        let beneath = |(below, node): (SyncPath, &Node)| {
            let at = at.join_path(&below).unwrap();
            rules.is_ignored(&at, node.as_dir().is_some())
        };
        let on_disk = self.agent.disk.dir(at);
        on_disk.is_some_and(|dir| walk(dir).any(|(below, node, _)| beneath((below, node))))
    }

    /// Once more: nothing is left to do, not after a reconnection either.
    pub(super) fn again(&mut self) {
        if self.engine.halted().is_some() {
            return;
        }
        let before = self.sent;
        let conflicts: Vec<_> = self.engine.conflicts().map(|(at, _, _)| at.clone()).collect();
        let hot: Vec<_> = walk(self.view.tree.root()).map(|(at, _, _)| at).collect();
        if self.told.is_empty() && self.engine.at_beta.kept.is_empty() {
            let view = self.view.clone();
            self.see(view, hot);
            self.quiet();
            assert_eq!(self.sent, before, "a second round sends something");
        }
        if self.told.is_empty() && self.engine.at_beta.kept.is_empty() {
            self.cut();
            self.quiet();
            self.judge();
            assert_eq!(self.sent, before, "a reconnection sends something");
            let now: Vec<_> = self.engine.conflicts().map(|(at, _, _)| at.clone()).collect();
            assert_eq!(conflicts, now, "conflicts of a reconnection");
        }
    }
}

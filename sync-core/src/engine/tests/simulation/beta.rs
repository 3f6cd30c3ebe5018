//! Beta, the link to it, and what travels on it.

use super::{
    super::mutants::{self, Mutant},
    *,
};

impl World {
    pub(super) fn edit_beta(&mut self) {
        let before = self.agent.disk.tree.clone();
        let aimed = self.aim();
        let tree = &mut self.agent.disk.tree;
        // It has come back since it was said that nothing stands there, and goes again.
        let back = self.engine.described.gone.iter().find(|at| tree.get(at).is_some()).cloned();
        let touched = match aimed {
            _ if back.is_some() && self.random.one_in(2) => {
                tree.remove(back.as_ref().unwrap());
                back.into_iter().collect()
            }
            Some(at) => hand::change_at(tree, &at, &self.recorded, &mut self.random, &mut self.next_content, true),
            None => hand::change(tree, &mut self.random, &mut self.next_content, true),
        };
        self.say(|| format!("beta is changed by other hands: {touched:?}"));
        self.steps += 1;
        self.agent.disk.remember();
        self.ledger.hand(Side::Beta, &before, &self.agent.disk.tree);
        // The directories that were made for it are beta's own, with all that is in them.
        let is_made = |above: &SyncPath| before.dir(above).is_none() && self.agent.disk.tree.dir(above).is_some();
        let above = touched.iter().flat_map(|at| std::iter::successors(at.parent(), SyncPath::parent));
        let made: Vec<SyncPath> = above.filter(is_made).collect();
        self.excused.extend(touched.into_iter().chain(made));
    }

    /// Somebody removes all that there is.
    pub(super) fn empty_beta(&mut self) {
        self.say(|| "somebody empties beta".to_owned());
        let before = std::mem::take(&mut self.agent.disk.tree);
        self.ledger.hand(Side::Beta, &before, &self.agent.disk.tree);
        self.excused.extend(walk(before.root()).map(|(at, _, _)| at));
        self.agent.observe(None);
    }

    /// The next batch of a lane is made ready to go.
    pub(super) fn prepare(&mut self, lane: usize) {
        let Some((id, operations)) = self.preparing[lane].pop_front() else { return };
        self.steps += 1;
        let mut unsent = BTreeSet::new();
        let mut kept = Vec::new();
        for (place, operation) in operations.into_iter().enumerate() {
            if self.is_stale(&operation) && self.random.one_in(2) {
                unsent.insert(place);
            } else {
                kept.push(operation);
            }
        }
        if !unsent.is_empty() {
            self.say(|| format!("{id:?}: unsent {unsent:?}"));
            self.engine.handle_unsent(id, &unsent, self.now);
        }
        if kept.is_empty() {
            self.unanswered.remove(&id);
        } else {
            self.unanswered.insert(id, changed(&kept));
            self.lanes[lane].push_back(Said::Batch(id, kept));
        }
    }

    /// Whether alpha does not have the content of an operation any more.
    fn is_stale(&self, operation: &Planned) -> bool {
        match operation {
            Planned::Put { path, entry, source: Source::Sender | Source::SenderWhole, .. } => {
                self.laptop.disk.tree.get(path).is_none_or(|there| there.entry() != *entry)
            }
            _ => false,
        }
    }

    pub(super) fn deliver(&mut self, lane: usize) {
        let Some(said) = self.lanes[lane].pop_front() else { return };
        self.steps += 1;
        match said {
            Said::Describe(id, paths) => self.agent.describe(id, &paths),
            Said::Request(paths) => self.agent.list(&paths, &mut self.random),
            Said::Batch(id, operations) => {
                self.say(|| format!("{id:?} is done"));
                self.agent.take(Some(id), operations, lane == 1, &mut self.random);
            }
        }
    }

    /// A file that is streamed arrives, or does not.
    pub(super) fn stream(&mut self) {
        if self.streams.is_empty() {
            return;
        }
        let which = self.random.below(self.streams.len());
        let (id, operation) = self.streams.swap_remove(which);
        self.steps += 1;
        let refused = self.agent.disk.faults > 0 && self.random.one_in(4);
        if refused {
            // The agent answers; the sender, whose stream is stopped, gives up.
            let failed = Outcome::Failed(problem(operation.path(), ProblemKind::NoSpace));
            let outcomes = Bounded::new(vec![failed]).unwrap();
            self.agent.say(ToController::Outcomes(Outcomes { batch: id, outcomes, apply_micros: 0 }));
        }
        if refused || self.is_stale(&operation) {
            self.say(|| format!("{id:?}: given up"));
            self.engine.handle_unsent(id, &BTreeSet::from([0]), self.now);
            self.unanswered.remove(&id);
        } else {
            self.say(|| format!("{id:?} has arrived"));
            self.agent.take(Some(id), vec![operation], true, &mut self.random);
        }
    }

    /// The controller hears what the agent says.
    pub(super) fn hear(&mut self) {
        for _ in 0..=self.random.below(4) {
            self.back.extend(self.agent.out.pop_front());
        }
        let Some(message) = self.back.pop_front() else { return };
        self.steps += 1;
        self.say(|| format!("heard {message:?}"));
        match message {
            Heard::Message(ToController::Listing(listing)) => self.engine.handle_listing(listing).unwrap(),
            Heard::Message(ToController::Changes(changes)) => {
                changes
                    .changes
                    .iter()
                    .for_each(|change| crate::engine::view::remove_near(&mut self.gone, &change.path));
                self.engine.handle_changes(changes);
            }
            Heard::Message(ToController::Outcomes(outcomes)) => {
                self.unanswered.remove(&outcomes.batch);
                self.engine.handle_outcomes(outcomes, self.now).unwrap();
            }
            Heard::Message(other) => panic!("the agent does not say {other:?}"),
            Heard::Described(id, paths, there) => {
                self.gone.extend(paths.into_iter().zip(&there).filter(|(_, there)| !**there).map(|(at, _)| at));
                self.engine.handle_described(id, there, self.now).unwrap();
            }
        }
    }

    pub(super) fn connect(&mut self) {
        if self.up {
            return;
        }
        self.up = true;
        self.steps += 1;
        self.back.clear();
        if std::mem::take(&mut self.wiped) && !mutants::is(Mutant::PastOfAnother) {
            self.recorded = Tree::new();
            self.intended.clear();
            self.intended_before.clear();
        }
        self.finish_stale();
        let opened = self.agent.open();
        self.say(|| format!("connected: {:?}", self.agent.index));
        if mutants::is(Mutant::NothingIntended) {
            self.intended_before.clear();
        }
        let past = Past { synced: self.recorded.clone(), sent: self.intended_before.clone() };
        self.engine.handle_opened(&opened, past);
    }

    /// The link is gone: what was on its way has arrived, up to somewhere.
    pub(super) fn cut(&mut self) {
        self.say(|| "cut".to_owned());
        self.steps += 1;
        self.unanswered.clear();
        for lane in &mut self.lanes {
            let arrived = self.random.below(lane.len() + 1);
            let operations = lane.drain(..).take(arrived).filter_map(|said| match said {
                Said::Batch(_, operations) => Some(operations),
                Said::Request(_) | Said::Describe(..) => None,
            });
            self.stale.extend(operations);
            lane.clear();
        }
        self.preparing = Default::default();
        self.streams.clear();
        self.back.clear();
        self.gone.clear();
        self.agent.open();
        self.up = false;
        self.engine.handle_disconnected();
        self.give_up_fetching();
    }

    /// A session begins with all done that the agent had taken before the link was lost.
    pub(super) fn finish_stale(&mut self) {
        self.agent.done();
        while !self.stale.is_empty() {
            self.stale();
            self.agent.done();
        }
    }

    /// The agent does what it had taken before the link was lost.
    pub(super) fn stale(&mut self) {
        if let Some(operations) = self.stale.pop_front() {
            self.steps += 1;
            self.say(|| format!("stale: {operations:?}"));
            self.agent.take(None, operations, false, &mut self.random);
        }
    }
}

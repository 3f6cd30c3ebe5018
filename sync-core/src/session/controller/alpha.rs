//! What alpha's replica observes, and what there is to say while no agent is connected.

use super::{Controller, link::Link};
use crate::{
    engine::{Action, AlphaUpdate},
    replica::{Applied, Observation, Seen},
    session::{FlushError, event::Event},
};

impl Controller {
    /// What alpha's replica observed.
    pub(super) fn observation(&mut self, observation: Observation, link: Option<&mut Link>) {
        match observation {
            Observation::Scanned(seen) => {
                self.reporter.first_scan(&seen.view, self.started.elapsed());
                self.alpha(seen, link);
                // The engine has it: an agent may begin.
                self.is_scanned.send_replace(true);
            }
            Observation::Changed(seen) => self.alpha(seen, link),
            Observation::Flushed(token) => {
                self.flushes.observed(token);
                self.settle_flushes();
            }
            Observation::Warning(message) => self.reporter.tell(Event::Warning { message }),
            Observation::Lost(reason) => {
                let reason = format!("{reason}: nothing is deleted. Put it back and start again");
                self.engine.handle_alpha_lost(reason.clone());
                let halted = FlushError::Halted(reason.clone());
                self.alpha_lost = Some(reason);
                self.flushes.fail(&halted);
                if link.is_none() {
                    self.say_what_there_is();
                }
            }
            Observation::Applied(applied) => self.taken(applied, link),
        }
    }

    /// Alpha's replica has done what it was given.
    pub(super) fn taken(&mut self, applied: Applied, link: Option<&mut Link>) {
        let Applied { tag, outcomes, view, .. } = applied;
        self.view = view;
        let Some(id) = self.taking.as_mut().and_then(|taking| taking.done(tag)) else { return };
        self.reporter.taken(id);
        self.reporter.alpha_view(&self.view);
        let now = self.now();
        self.engine.handle_taken(id, outcomes, self.view.clone(), now);
        match link {
            Some(link) => self.act(link),
            None => self.say_what_there_is(),
        }
    }

    pub(super) fn alpha(&mut self, seen: Seen, link: Option<&mut Link>) {
        self.reporter.alpha(&seen);
        let Seen { view, rules, hot, together, .. } = seen;
        self.together = together;
        self.view.clone_from(&view);
        self.engine.handle_alpha(AlphaUpdate { view, rules, hot });
        match link {
            Some(link) => self.act(link),
            None => self.say_what_there_is(),
        }
        self.reporter.alpha_planned();
    }

    /// Without an agent there is nothing to do, but something to say.
    pub(super) fn say_what_there_is(&mut self) {
        while let Some(action) = self.engine.poll_action() {
            match action {
                Action::Record(changes) => self.memory.record(changes, self.engine.synced()),
                Action::Answered(id) => self.memory.answered(id),
                Action::Settled => self.memory.settled(),
                Action::Report(report) => self.reporter.report(report, self.engine.synced()),
                // Of a connection that is gone.
                _ => {}
            }
        }
        self.reporter.publish(&self.engine);
    }
}

//! What the agent says and streams, on its way to the engine and to alpha.

use std::{sync::Arc, time::Duration};

use sync_proto::message::{Changes, Described, Outcomes, ToAgent, ToController};

use super::{Controller, link::Link};
use crate::session::{
    incoming::Incoming,
    received::{Around, receive_file},
    taking::{Effect, Taking},
};

impl Controller {
    pub(super) fn message(&mut self, message: ToController, link: &mut Link) -> Result<(), String> {
        let fault = |fault: crate::engine::PeerFault| fault.to_string();
        link.announced.count(&message).map_err(fault)?;
        match message {
            ToController::Listing(listing) => self.engine.handle_listing(listing).map_err(fault),
            ToController::Changes(changes) => {
                self.changes(changes, link);
                Ok(())
            }
            ToController::Outcomes(outcomes) => self.outcomes(outcomes, link),
            ToController::Need(need) => {
                // One for a stream that has ended meanwhile says nothing.
                match link.needs.get(&need.batch).map(|needs| needs.try_send(need)) {
                    Some(Err(crossbeam_channel::TrySendError::Full(_))) => {
                        Err(fault(crate::engine::PeerFault::Unasked("needs")))
                    }
                    _ => Ok(()),
                }
            }
            ToController::Pong(_) => Ok(()),
            ToController::Goodbye(sentence) => Err(format!("the agent said goodbye: {sentence}")),
            ToController::Refused(sentence) => Err(sentence.to_string()),
            ToController::Opened(_) => Err("the agent opened the root twice".to_owned()),
            ToController::Fetched(fetched) => self.taking()?.fetched(fetched),
            ToController::Described(described) => {
                let Described { id, found } = &described;
                if let Some(answer) = link.questions.remove(id) {
                    // Nobody may want to know any more.
                    let _ = answer.send(described);
                    return Ok(());
                }
                let there = found.iter().map(Option::is_some).collect();
                self.engine.handle_described(*id, there, self.started.elapsed()).map_err(fault)
            }
            ToController::Flushed(number) => {
                self.flushes.told(number);
                Ok(())
            }
        }
    }

    pub(super) fn outcomes(&mut self, outcomes: Outcomes, link: &mut Link) -> Result<(), String> {
        if link.given_up.remove(&outcomes.batch) {
            return Ok(());
        }
        self.reporter.answered(&outcomes);
        link.needs.remove(&outcomes.batch);
        let now = self.now();
        self.engine.handle_outcomes(outcomes, now).map_err(|fault| fault.to_string())
    }

    pub(super) fn changes(&mut self, changes: Changes, link: &mut Link) {
        self.reporter.beta_problems(&changes.problems);
        let age = Duration::from_micros(changes.age_micros);
        let changes = match &mut self.taking {
            Some(taking) => taking.news(changes),
            None => changes,
        };
        self.reporter.beta_changed(age, link.connected.dialed.connection.rtt());
        self.engine.handle_changes(changes);
        self.act(link);
        self.reporter.beta_planned();
    }

    pub(super) fn taking(&mut self) -> Result<&mut Taking, String> {
        self.taking.as_mut().ok_or_else(|| "the agent sent content that was not asked for".to_owned())
    }

    /// What comes on a stream of the agent's.
    pub(super) fn incoming(&mut self, incoming: Incoming, link: &mut Link) -> Result<(), String> {
        match incoming {
            Incoming::Fetched(fetched) => self.taking()?.fetched(fetched),
            Incoming::File(header, frames, progress) => {
                let taking = self.taking()?;
                let header = taking.stream(header)?;
                let committer = Arc::clone(taking.committer());
                let news = link.received.clone();
                let around = Around { tree: self.view.tree.clone(), past: self.past.clone() };
                self.reporter.stream_begins(header.batch, progress);
                tokio::task::spawn_blocking(move || receive_file(&committer, around, header, frames, &news));
                Ok(())
            }
            Incoming::Fault(fault) => Err(fault),
        }
    }

    /// Does what is to be done for alpha. Whether the engine may want something for it.
    pub(super) fn take_on(&mut self, mut link: Option<&mut Link>) -> bool {
        let mut any = false;
        while let Some(effect) = self.taking.as_mut().and_then(Taking::poll) {
            any = true;
            let now = self.now();
            match (effect, &mut link) {
                (Effect::Give { tag, id, work, wire_bytes }, _) => {
                    self.reporter.given(id, wire_bytes);
                    self.replica.apply(tag, work);
                }
                (Effect::Unfetched(id, places), _) => self.engine.handle_unfetched(id, &places, now),
                (Effect::Failed(id, outcome), _) => {
                    self.engine.handle_taken(id, vec![outcome], self.view.clone(), now);
                }
                (Effect::Ask(fetch), Some(link)) => link.say(&ToAgent::Fetch(fetch)),
                (Effect::Need(need), Some(link)) => link.say(&ToAgent::Need(need)),
                // Of a connection that is gone.
                (Effect::Ask(_) | Effect::Need(_), None) => {}
            }
        }
        any
    }

    /// What has not been given to alpha won't be: its content came from an agent that is gone.
    pub(super) fn give_up_taking(&mut self) {
        if let Some(taking) = &mut self.taking {
            taking.disconnected();
            self.take_on(None);
            self.say_what_there_is();
        }
    }
}

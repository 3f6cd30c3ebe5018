//! What users ask of a session that runs.

use std::{sync::Arc, time::Duration};

use sync_proto::message::ToAgent;
use tokio::sync::oneshot;

use super::{Controller, Request, link::Link};
use crate::{
    link::silent_after,
    session::{FlushError, event::Conflict, report, versions},
};

/// How long an agent may be silent that was asked to flush. A live one acknowledges within a round trip.
const FLUSH_SILENCE_MAX: Duration = Duration::from_secs(2);

impl Controller {
    pub(super) fn request(&mut self, request: Request, link: Option<&mut Link>) {
        match request {
            Request::Flush(answer) => self.flush(answer, link),
            Request::Conflicts(answer) => {
                let synced = self.engine.synced();
                let conflicts = self.engine.conflicts().map(|conflict| report::with_synced(conflict, synced));
                let conflicts: Vec<Conflict> = conflicts.collect();
                let beta = link.and_then(|link| link.ask(versions::question(&conflicts)));
                tokio::spawn(versions::describe(conflicts, Arc::clone(&self.root), beta, answer));
            }
            Request::Resolve(path, keep, answer) => {
                let _ = answer.send(self.engine.handle_resolve(&path, keep));
                self.act_with(link);
            }
            Request::AllowDeletions => {
                self.engine.handle_deletions_allowed();
                self.act_with(link);
            }
            Request::Stop => {}
        }
    }

    pub(super) fn act_with(&mut self, link: Option<&mut Link>) {
        match link {
            Some(link) => self.act(link),
            None => self.say_what_there_is(),
        }
    }

    pub(super) fn flush(&mut self, answer: oneshot::Sender<Result<(), FlushError>>, link: Option<&mut Link>) {
        if let Some(reason) = &self.alpha_lost {
            let _ = answer.send(Err(FlushError::Halted(reason.clone())));
            return;
        }
        let number = self.flushes.add(answer);
        self.replica.flush(number);
        // Without an agent it waits for one, or for the failure to reach it.
        if let Some(link) = link {
            self.flush_beta(link);
        }
    }

    /// Asks the agent for all that had changed at beta before the last flush that waits.
    pub(super) fn flush_beta(&self, link: &mut Link) {
        if let Some(number) = self.flushes.last() {
            link.probe
                .get_or_insert_with(|| Box::pin(silent_after(&link.connected.dialed.connection, FLUSH_SILENCE_MAX)));
            link.say(&ToAgent::Flush(number));
        }
    }

    /// Answers the flushes whose changes have all been applied.
    pub(super) fn settle_flushes(&mut self) {
        if self.flushes.is_empty() {
            return;
        }
        let unsettled = self.engine.unsettled();
        let answer = match self.engine.halted() {
            Some(reason) => Err(FlushError::Halted(reason.to_owned())),
            None if !self.engine.is_in_sync() && unsettled == 0 => return,
            None => self.reporter.flush_result(self.engine.conflicts().count(), unsettled),
        };
        self.flushes.settle(unsettled, &answer);
    }
}

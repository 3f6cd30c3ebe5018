//! What the engine wants done, done: batches prepared and sent, files streamed, what is agreed on remembered.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use sync_proto::{
    Entry,
    message::{BatchId, Bounded, Describe, FileHeader, Gather, ToAgent},
};

use super::{Controller, link::Link};
use crate::{
    engine::{
        Action,
        plan::{PlannedStream, expected_entry},
    },
    session::{
        prepare::{Prepared, Way},
        streams::{self, FileEnd, FileProgress, FileToSend, HowEnded, ToPrepare},
    },
};

/// Most streams that were given up and may yet be answered.
const GIVEN_UP_MAX: usize = 64;

impl Controller {
    /// Does what the engine wants done.
    pub(super) fn act(&mut self, link: &mut Link) {
        loop {
            self.act_for_engine(link);
            if !self.take_on(Some(link)) {
                break;
            }
        }
        self.settle_flushes();
        self.reporter.publish(&self.engine);
    }

    fn act_for_engine(&mut self, link: &mut Link) {
        let mut actions = if std::mem::take(&mut self.together) { self.gather(link) } else { VecDeque::new() };
        while let Some(action) = actions.pop_front().or_else(|| self.engine.poll_action()) {
            match action {
                Action::Request(paths) => link.say(&ToAgent::TreeRequest(Bounded::first(paths))),
                Action::Send { id, urgent, operations } => {
                    self.reporter.sending(id, urgent, &operations);
                    let way = Way { urgent, pace: link.pace() };
                    if urgent && link.urgent_waiting == 0 && link.preparer.is_at_hand(&operations) {
                        let prepared = link.preparer.prepare(id, operations, way);
                        self.prepared(prepared, link);
                    } else {
                        link.urgent_waiting += usize::from(urgent);
                        let thread = if urgent { &link.urgent } else { &link.bulk };
                        // Waits for nothing; `prepared` counts it down again.
                        let _ = thread.send(ToPrepare { id, operations, way });
                    }
                }
                Action::Stream { id, stream } => self.stream(id, stream, link),
                Action::Intend { id, intents } => self.memory.intend(id, intents),
                Action::Take { id, urgent, operations } => {
                    self.reporter.sending(id, urgent, &operations);
                    if let Some(taking) = &mut self.taking {
                        taking.take(id, urgent, operations);
                    }
                }
                Action::TakeStream { id, stream } => {
                    self.reporter.streaming(id, &stream, Arc::default());
                    if let Some(taking) = &mut self.taking {
                        taking.take_stream(id, stream);
                    }
                }
                Action::Describe { id, paths } => {
                    link.say(&ToAgent::Describe(Describe { id, paths: Bounded::first(paths) }));
                }
                Action::Record(changes) => self.memory.record(changes, self.engine.synced()),
                Action::Answered(id) => self.memory.answered(id),
                Action::Settled => self.memory.settled(),
                Action::Report(report) => self.reporter.report(report, self.engine.synced()),
            }
        }
    }

    /// What is to be done now, of which the bulk belongs together: the agent is told so ahead of it.
    fn gather(&mut self, link: &mut Link) -> VecDeque<Action> {
        let actions: VecDeque<Action> = std::iter::from_fn(|| self.engine.poll_action()).collect();
        let bulk = |action: &Action| match action {
            Action::Send { id, urgent: false, .. } => Some(*id),
            _ => None,
        };
        let first = actions.iter().find_map(bulk);
        let last = actions.iter().rev().find_map(bulk);
        if let Some((first, last)) = first.zip(last).filter(|(first, last)| first != last) {
            link.say(&ToAgent::Gather(Gather { first, last }));
            link.gathered = Some(last);
        }
        actions
    }

    fn stream(&mut self, id: BatchId, stream: PlannedStream, link: &mut Link) {
        let progress = Arc::<FileProgress>::default();
        self.reporter.streaming(id, &stream, Arc::clone(&progress));
        let known = stream.entry.content().is_some_and(|content| link.connected.opened.partials.contains(&content));
        // What is replaced, or an earlier part, may have chunks of it; without either, asking is a waste.
        let recipe = known || stream.old.as_ref().is_some_and(|old| old.content_len() > 0);
        let PlannedStream { path, old, entry } = stream;
        let file = FileToSend {
            session: link.connected.session,
            header: FileHeader { batch: id, path, expected: expected_entry(old.as_ref()), entry, recipe },
            pace: link.pace(),
            root: Arc::clone(&self.root),
            replaced: old.as_ref().and_then(Entry::content),
            past: self.past.clone(),
            resumes: known,
            progress,
        };
        let connection = link.connected.dialed.connection.clone();
        link.needs.insert(id, streams::file(connection, file, link.file_ends.clone()));
    }

    /// A batch is ready to go.
    pub(super) fn prepared(&mut self, prepared: Prepared, link: &mut Link) {
        let Prepared { id, urgent, frame, unsent, on_thread } = prepared;
        link.urgent_waiting -= usize::from(urgent && on_thread);
        if !unsent.is_empty() {
            let now = self.now();
            self.engine.handle_unsent(id, &unsent, now);
        }
        if let Some(frame) = frame {
            self.reporter.sent(id, frame.len() as u64, &unsent);
            let stream = if urgent { &link.connected.control } else { &link.connected.bundle };
            // A stream that is gone takes the session with it, by another way.
            let _ = stream.send(frame);
        } else {
            self.reporter.not_sent(id);
            if link.gathered == Some(id) {
                // Those before it wait for it.
                link.say(&ToAgent::Release(id));
            }
        }
    }

    pub(super) fn file_end(&mut self, end: &FileEnd, link: &mut Link) {
        match end.how {
            // It will be answered.
            HowEnded::Sent => {}
            // It has been answered, or the connection is gone.
            HowEnded::Refused => drop(link.needs.remove(&end.id)),
            HowEnded::GivenUp => {
                if link.needs.remove(&end.id).is_none() {
                    // It has been answered meanwhile.
                    return;
                }
                self.reporter.not_sent(end.id);
                link.given_up.insert(end.id);
                if link.given_up.len() > GIVEN_UP_MAX {
                    link.given_up.pop_first();
                }
                let now = self.now();
                self.engine.handle_unsent(end.id, &BTreeSet::from([0]), now);
            }
        }
    }
}

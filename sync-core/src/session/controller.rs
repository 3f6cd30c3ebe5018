//! The task that drives the engine: alpha's observations and the agent's messages in, its actions out.
//!
//! Everything is decided here, one thing at a time, by the engine; whatever waits for a disk or a link does so elsewhere and
//! comes back as an input.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use sync_proto::{
    limits::CONTROL_FRAME_BYTES_MAX,
    message::{BatchId, Bounded, Need, Outcomes, Sentence, ToAgent, ToController},
};
use tokio::sync::{mpsc, oneshot};

use super::{
    FlushError, Shared,
    announced::Announced,
    connect::{Connected, Target, frame},
    content::{Prepared, Preparer, Way},
    event::Event,
    mailbox::Mailbox,
    memory::Memory,
    report::Reporter,
    streams::{self, FileEnd, FileProgress, FileToSend, HowEnded, ToPrepare},
};
use crate::{
    engine::{Action, AlphaUpdate, Engine, plan::PlannedStream},
    link::{Backoff, CloseCode, FrameReader, SILENCE_MAX, close, unheard},
    replica::{Observation, Replica, Seen, contents::Contents},
    store::DestinationLock,
    sys::DirHandle,
};

/// A link whose round trip is shorter than this is faster than compressing.
const COMPRESS_ROUND_TRIP_MIN: Duration = Duration::from_millis(2);
/// How long what is in flight has to be answered when the session ends.
const STOP_TIME_MAX: Duration = Duration::from_secs(1);
/// A connection that held for so long, or got both sides in sync, was a good one: the next failure is the first again.
const GOOD_CONNECTION: Duration = Duration::from_secs(10);
/// How long a flush waits for paths that change whenever they are about to be sent.
const UNSETTLED_TIME_MAX: Duration = Duration::from_secs(3);
/// Messages of the agent that wait to be handled, each of up to a frame.
const MESSAGES_MAX: usize = 8;
/// Most streams that were given up and may yet be answered.
const GIVEN_UP_MAX: usize = 64;

/// What the handle of a session asks for.
#[derive(Debug)]
pub(super) enum Request {
    Flush(oneshot::Sender<Result<(), FlushError>>),
    Stop,
}

/// A session at work.
pub(super) struct Controller {
    pub(super) engine: Engine,
    pub(super) replica: Replica,
    pub(super) root: Arc<DirHandle>,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) contents: Arc<Contents>,
    pub(super) target: Arc<Target>,
    pub(super) memory: Memory,
    pub(super) reporter: Reporter,
    pub(super) shared: Arc<Shared>,
    pub(super) requests: mpsc::UnboundedReceiver<Request>,
    pub(super) started: Instant,
    /// Flushes by number.
    pub(super) flushes: BTreeMap<u64, Flush>,
    pub(super) next_flush: u64,
    /// Why alpha is not observed any more.
    pub(super) alpha_lost: Option<String>,
    /// The right to the destination, let go with the session.
    pub(super) lock: Option<DestinationLock>,
}

/// A flush that waits.
#[derive(Debug)]
pub(super) struct Flush {
    /// When alpha's replica had observed all that was on disk: from then on it waits for the engine.
    observed: Option<Instant>,
    answer: oneshot::Sender<Result<(), FlushError>>,
}

/// How a phase ended.
enum End {
    /// The session is over.
    Stop,
    /// The link is gone, and why.
    Lost(String),
}

/// What exists only while the agent is connected.
struct Link {
    connected: Connected,
    /// The shortest that was seen.
    round_trip: Duration,
    /// Prepares what is at hand in memory, right here.
    preparer: Preparer,
    /// Prepares what has to be read, on a thread each for the two streams.
    urgent: crossbeam_channel::Sender<ToPrepare>,
    bulk: crossbeam_channel::Sender<ToPrepare>,
    /// Urgent batches on the thread: those after them follow there, to keep their order.
    urgent_waiting: usize,
    file_ends: mpsc::UnboundedSender<FileEnd>,
    needs: HashMap<BatchId, crossbeam_channel::Sender<Need>>,
    /// How much of beta's tree the agent has told on this connection.
    announced: Announced,
    /// Streams that were given up: an answer may have been under way.
    given_up: BTreeSet<BatchId>,
}

impl Controller {
    /// Runs until the session is stopped.
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::new();
        let end = loop {
            if let Some(end) = self.wait_for_alpha().await {
                break end;
            }
            self.reporter.tell(Event::Connecting { destination: self.shared.destination.clone() });
            let reason = match self.connect().await {
                Ok(connected) => {
                    let since = Instant::now();
                    let end = self.connected(connected).await;
                    if self.reporter.is_ready() || since.elapsed() >= GOOD_CONNECTION {
                        backoff.reset();
                    }
                    match end {
                        End::Stop => break None,
                        End::Lost(reason) => reason,
                    }
                }
                Err(End::Stop) => break None,
                Err(End::Lost(reason)) => reason,
            };
            self.engine.handle_disconnected();
            let wait = backoff.next(jitter());
            self.reporter.disconnected(reason.clone(), wait);
            self.fail_flushes(&FlushError::Disconnected(reason));
            if let End::Stop = self.pass(wait).await {
                break None;
            }
        };
        self.fail_flushes(&FlushError::Stopped);
        // These end their threads, which may be at work: not on this one.
        let (replica, memory, synced, lock) = (self.replica, self.memory, self.engine.synced().clone(), self.lock);
        let end_threads = move || {
            drop(replica);
            memory.close(&synced);
            drop(lock);
        };
        let _ = tokio::task::spawn_blocking(end_threads).await;
        self.reporter.tell(Event::Stopped { reason: end });
    }

    /// Waits until alpha has been scanned for the first time. `Some`: the session is over.
    async fn wait_for_alpha(&mut self) -> Option<Option<String>> {
        while !self.reporter.scanned() {
            tokio::select! {
                observation = self.mailbox.next() => self.observation(observation, None),
                request = self.requests.recv() => match request {
                    None | Some(Request::Stop) => return Some(None),
                    Some(request) => self.request(request),
                },
            }
        }
        None
    }

    async fn connect(&mut self) -> Result<(Connected, FrameReader), End> {
        let target = Arc::clone(&self.target);
        let attempt = target.connect();
        tokio::pin!(attempt);
        loop {
            tokio::select! {
                result = &mut attempt => return result.map_err(|error| End::Lost(error.0)),
                observation = self.mailbox.next() => self.observation(observation, None),
                request = self.requests.recv() => match request {
                    None | Some(Request::Stop) => return Err(End::Stop),
                    Some(request) => self.request(request),
                },
            }
        }
    }

    /// Lets time pass while not connected.
    async fn pass(&mut self, wait: Duration) -> End {
        let deadline = tokio::time::Instant::now() + wait;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => return End::Lost(String::new()),
                observation = self.mailbox.next() => self.observation(observation, None),
                request = self.requests.recv() => match request {
                    None | Some(Request::Stop) => return End::Stop,
                    Some(request) => self.request(request),
                },
            }
        }
    }

    /// Works with an agent until it is gone or the session over.
    async fn connected(&mut self, connected: (Connected, FrameReader)) -> End {
        let (prepared, mut from_threads) = mpsc::unbounded_channel();
        let (file_ends, mut from_files) = mpsc::unbounded_channel();
        let (messages, mut from_agent) = mpsc::channel(MESSAGES_MAX);
        let (connected, reader) = connected;
        let mut link = match self.link(connected, &prepared, file_ends) {
            Ok(link) => link,
            Err(error) => return End::Lost(format!("a thread could not be started: {error}")),
        };
        let connection = link.connected.dialed.connection.clone();
        let reading = tokio::spawn(read_messages(reader, messages));
        let mailbox = Arc::clone(&self.mailbox);
        let silent = unheard(&connection, SILENCE_MAX);
        tokio::pin!(silent);

        self.reporter.connected(connection.rtt());
        let past = self.memory.recall(link.connected.opened.replica, &self.reporter);
        self.engine.handle_opened(&link.connected.opened, past);
        self.reporter.beta_problems(&link.connected.opened.problems);
        let end = loop {
            self.act(&mut link);
            let timeout = self.timeout();
            tokio::select! {
                biased;
                observation = mailbox.next() => self.observation(observation, Some(&mut link)),
                message = from_agent.recv() => match message {
                    Some(Ok(message)) => {
                        if let Err(reason) = self.message(message, &mut link) {
                            break End::Lost(reason);
                        }
                    }
                    Some(Err(reason)) => break End::Lost(reason),
                    None => break End::Lost("the agent ended the session".to_owned()),
                },
                Some(prepared) = from_threads.recv() => self.prepared(prepared, &mut link),
                Some(end) = from_files.recv() => self.file_end(&end, &mut link),
                request = self.requests.recv() => match request {
                    None | Some(Request::Stop) => break End::Stop,
                    Some(request) => self.request(request),
                },
                () = sleep_until(timeout) => {
                    let now = self.now();
                    self.engine.handle_timeout(now);
                }
                () = &mut silent => break End::Lost("nothing was heard of the agent for 15 s".to_owned()),
            }
        };
        self.say_goodbye(link, &end, from_agent).await;
        reading.abort();
        end
    }

    fn link(
        &self,
        connected: Connected,
        prepared: &mpsc::UnboundedSender<Prepared>,
        file_ends: mpsc::UnboundedSender<FileEnd>,
    ) -> std::io::Result<Link> {
        let preparer = || Preparer::new(Arc::clone(&self.contents), Arc::clone(&self.root));
        Ok(Link {
            round_trip: connected.dialed.connection.rtt(),
            connected,
            preparer: preparer(),
            urgent: streams::preparer("synctl-urgent", preparer(), prepared.clone())?,
            bulk: streams::preparer("synctl-bulk", preparer(), prepared.clone())?,
            urgent_waiting: 0,
            file_ends,
            needs: HashMap::new(),
            announced: Announced::default(),
            given_up: BTreeSet::new(),
        })
    }

    async fn say_goodbye(&self, link: Link, end: &End, mut from_agent: mpsc::Receiver<Result<ToController, String>>) {
        let Connected { dialed, control, bundle, .. } = link.connected;
        if matches!(end, End::Stop)
            && let Ok(goodbye) = frame(&ToAgent::Goodbye(Sentence::new("the session was stopped")))
        {
            let _ = control.send(goodbye);
            drop((control, bundle));
            // The agent ends its side of the session when it has heard; then all is said.
            let heard = async { while let Some(Ok(_)) = from_agent.recv().await {} };
            let _ = tokio::time::timeout(STOP_TIME_MAX, heard).await;
        }
        let reason = match end {
            End::Stop => "the session was stopped",
            End::Lost(reason) => reason,
        };
        close(&dialed.connection, CloseCode::Goodbye, reason);
        let _ = tokio::time::timeout(STOP_TIME_MAX, dialed.endpoint.wait_idle()).await;
    }

    /// What alpha's replica observed.
    fn observation(&mut self, observation: Observation, link: Option<&mut Link>) {
        match observation {
            Observation::Scanned(seen) => {
                self.reporter.first_scan(&seen.view, self.started.elapsed());
                self.alpha(seen, link);
            }
            Observation::Changed(seen) => self.alpha(seen, link),
            Observation::Flushed(token) => {
                if let Some(flush) = self.flushes.get_mut(&token) {
                    flush.observed = Some(Instant::now());
                }
                self.settle_flushes();
            }
            Observation::Warning(message) => self.reporter.tell(Event::Warning { message }),
            Observation::Lost(reason) => {
                let reason = format!("{reason}: nothing is deleted. Put it back and start again");
                self.engine.handle_alpha_lost(reason.clone());
                let halted = FlushError::Halted(reason.clone());
                self.alpha_lost = Some(reason);
                self.fail_flushes(&halted);
                if link.is_none() {
                    self.say_what_there_is();
                }
            }
            // Nothing is applied at alpha in the one-way modes.
            Observation::Applied(_) => {}
        }
    }

    fn alpha(&mut self, seen: Seen, link: Option<&mut Link>) {
        self.reporter.alpha(&seen);
        let Seen { view, rules, hot, .. } = seen;
        self.engine.handle_alpha(AlphaUpdate { view, rules, hot });
        match link {
            Some(link) => self.act(link),
            None => self.say_what_there_is(),
        }
        self.reporter.alpha_planned();
    }

    /// Without an agent there is nothing to do, but something to say.
    fn say_what_there_is(&mut self) {
        while let Some(action) = self.engine.poll_action() {
            match action {
                Action::Record(changes) => self.memory.record(changes, self.engine.synced()),
                Action::Answered(id) => self.memory.answered(id),
                Action::Settled => self.memory.settled(),
                Action::Report(report) => self.reporter.report(report, self.engine.synced()),
                // Of a connection that is gone.
                Action::Request(_) | Action::Intend { .. } | Action::Send { .. } | Action::Stream { .. } => {}
            }
        }
        self.reporter.publish(&self.engine);
    }

    fn message(&mut self, message: ToController, link: &mut Link) -> Result<(), String> {
        let fault = |fault: crate::engine::PeerFault| fault.to_string();
        link.announced.count(&message).map_err(fault)?;
        match message {
            ToController::Listing(listing) => self.engine.handle_listing(listing).map_err(fault),
            ToController::Changes(changes) => {
                self.reporter.beta_problems(&changes.problems);
                self.engine.handle_changes(changes);
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
        }
    }

    fn outcomes(&mut self, outcomes: Outcomes, link: &mut Link) -> Result<(), String> {
        if link.given_up.remove(&outcomes.batch) {
            return Ok(());
        }
        self.reporter.answered(&outcomes);
        link.needs.remove(&outcomes.batch);
        let now = self.now();
        self.engine.handle_outcomes(outcomes, now).map_err(|fault| fault.to_string())
    }

    /// Does what the engine wants done.
    fn act(&mut self, link: &mut Link) {
        while let Some(action) = self.engine.poll_action() {
            match action {
                Action::Request(paths) => {
                    if let Ok(bytes) = frame(&ToAgent::TreeRequest(Bounded::first(paths))) {
                        let _ = link.connected.control.send(bytes);
                    }
                }
                Action::Send { id, urgent, operations } => {
                    self.reporter.sending(id, urgent, &operations);
                    let way = Way { urgent, compress: link.is_slow() };
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
                Action::Record(changes) => self.memory.record(changes, self.engine.synced()),
                Action::Answered(id) => self.memory.answered(id),
                Action::Settled => self.memory.settled(),
                Action::Report(report) => self.reporter.report(report, self.engine.synced()),
            }
        }
        self.settle_flushes();
        self.reporter.publish(&self.engine);
    }

    fn stream(&mut self, id: BatchId, stream: PlannedStream, link: &mut Link) {
        let progress = Arc::<FileProgress>::default();
        self.reporter.streaming(id, &stream, Arc::clone(&progress));
        let known = stream.entry.content().is_some_and(|content| link.connected.opened.partials.contains(&content));
        let file = FileToSend {
            session: link.connected.session,
            id,
            // What is replaced, or an earlier part, may have chunks of it; without either, asking is a waste.
            recipe: known || stream.old.as_ref().is_some_and(|old| old.content_len() > 0),
            stream,
            compress: link.is_slow(),
            root: Arc::clone(&self.root),
            progress,
        };
        let connection = link.connected.dialed.connection.clone();
        link.needs.insert(id, streams::file(connection, file, link.file_ends.clone()));
    }

    /// A batch is ready to go.
    fn prepared(&mut self, prepared: Prepared, link: &mut Link) {
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
        }
    }

    fn file_end(&mut self, end: &FileEnd, link: &mut Link) {
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

    fn request(&mut self, request: Request) {
        let Request::Flush(answer) = request else { return };
        if let Some(reason) = &self.alpha_lost {
            let _ = answer.send(Err(FlushError::Halted(reason.clone())));
            return;
        }
        let token = self.next_flush;
        self.next_flush += 1;
        self.flushes.insert(token, Flush { observed: None, answer });
        self.replica.flush(token);
    }

    /// Answers the flushes whose changes have all been applied.
    fn settle_flushes(&mut self) {
        if self.flushes.is_empty() {
            return;
        }
        let unsettled = self.engine.unsettled();
        // What changed before it could be sent is tried again soon. What does so all the time must not hold others up.
        let patience = if unsettled > 0 { UNSETTLED_TIME_MAX } else { Duration::ZERO };
        let answer = match self.engine.halted() {
            Some(reason) => Err(FlushError::Halted(reason.to_owned())),
            None if !self.engine.is_in_sync() && unsettled == 0 => return,
            None => self.reporter.flush_result(self.engine.conflicts().count(), unsettled),
        };
        let settled: Vec<u64> = self
            .flushes
            .iter()
            .filter(|(_, flush)| flush.observed.is_some_and(|observed| observed.elapsed() >= patience))
            .map(|(token, _)| *token)
            .collect();
        for token in settled {
            if let Some(flush) = self.flushes.remove(&token) {
                let _ = flush.answer.send(answer.clone());
            }
        }
    }

    fn fail_flushes(&mut self, error: &FlushError) {
        for (_, flush) in std::mem::take(&mut self.flushes) {
            let _ = flush.answer.send(Err(error.clone()));
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// When the engine or the progress is due.
    fn timeout(&self) -> Option<tokio::time::Instant> {
        let due = [self.engine.timeout(), self.reporter.next_progress(self.now())].into_iter().flatten().min()?;
        Some(tokio::time::Instant::from_std(self.started + due))
    }
}

impl Link {
    /// Whether the link is slower than compressing. By the shortest round trip seen: under load it looks longer than it is.
    fn is_slow(&mut self) -> bool {
        self.round_trip = self.round_trip.min(self.connected.dialed.connection.rtt());
        self.round_trip >= COMPRESS_ROUND_TRIP_MIN
    }
}

async fn sleep_until(moment: Option<tokio::time::Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

async fn read_messages(mut reader: FrameReader, messages: mpsc::Sender<Result<ToController, String>>) {
    loop {
        let message = match reader.read::<ToController>(CONTROL_FRAME_BYTES_MAX).await {
            Ok(Some(message)) => Ok(message),
            Ok(None) => return,
            Err(error) => Err(error.to_string()),
        };
        let ended = message.is_err();
        if messages.send(message).await.is_err() || ended {
            return;
        }
    }
}

/// Any number, for the backoff.
fn jitter() -> u32 {
    getrandom::u32().unwrap_or_default()
}

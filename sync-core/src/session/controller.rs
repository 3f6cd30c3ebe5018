//! The task that drives the engine: alpha's observations and the agent's messages in, its actions out.
//!
//! Everything is decided here, one thing at a time, by the engine; whatever waits for a disk or a link does so elsewhere and
//! comes back as an input. What comes from beta for alpha goes through `taking`.

mod heard;
mod link;
mod requests;

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use sync_proto::{
    Entry, SyncPath,
    limits::{CONTENT_STREAMS_MAX, CONTROL_FRAME_BYTES_MAX},
    message::{BatchId, Bounded, Describe, FileHeader, Gather, Sentence, ToAgent, ToController},
};
use tokio::sync::{mpsc, oneshot};

use self::link::Link;
use super::{
    FlushError, Shared,
    announced::Announced,
    connect::{Connected, Target, frame},
    event::{ConflictVersions, Event},
    flushes::Flushes,
    incoming::{self, Incoming},
    mailbox::Mailbox,
    memory::Memory,
    past::Past,
    prepare::{Prepared, Preparer, Way},
    received::FileNews,
    report::Reporter,
    streams::{self, FileEnd, FileProgress, FileToSend, HowEnded, ToPrepare},
    taking::Taking,
    windows::Window,
};
use crate::{
    engine::{
        Action, AlphaUpdate, Engine, Keep, NotSettled,
        plan::{PlannedStream, expected_entry},
        view::View,
    },
    link::{Backoff, CloseCode, FrameReader, SILENCE_MAX, close, sentence, unheard},
    replica::{Applied, Observation, Replica, Seen, contents::Contents},
    store::DestinationLock,
    sys::DirHandle,
};

/// How long what is in flight has to be answered when the session ends.
const STOP_TIME_MAX: Duration = Duration::from_secs(1);
/// How long a connection that is over on both sides is kept for its last packet.
const CLOSING_TIME: Duration = Duration::from_millis(5);
/// A connection that held for so long, or got both sides in sync, was a good one: the next failure is the first again.
const GOOD_CONNECTION: Duration = Duration::from_secs(10);
/// Messages of the agent that wait to be handled, each of up to a frame.
const MESSAGES_MAX: usize = 8;
/// Most streams that were given up and may yet be answered.
const GIVEN_UP_MAX: usize = 64;

/// What the handle of a session asks for.
#[derive(Debug)]
pub(super) enum Request {
    Flush(oneshot::Sender<Result<(), FlushError>>),
    Conflicts(oneshot::Sender<Vec<ConflictVersions>>),
    Resolve(SyncPath, Keep, oneshot::Sender<Result<(), NotSettled>>),
    AllowDeletions,
    Stop,
}

/// A session at work.
pub(super) struct Controller {
    pub(super) engine: Engine,
    pub(super) replica: Replica,
    pub(super) root: Arc<DirHandle>,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) contents: Arc<Contents>,
    /// What is kept of large files, where there is a state directory.
    pub(super) past: Past,
    pub(super) target: Arc<Target>,
    /// What the link to it holds.
    pub(super) window: Window,
    pub(super) memory: Memory,
    pub(super) reporter: Reporter,
    pub(super) shared: Arc<Shared>,
    pub(super) requests: mpsc::UnboundedReceiver<Request>,
    pub(super) started: Instant,
    pub(super) flushes: Flushes,
    /// What comes from beta, in the two-way modes.
    pub(super) taking: Option<Taking>,
    /// What alpha's replica last saw.
    pub(super) view: View,
    /// Whether what the engine sends next belongs together.
    pub(super) together: bool,
    /// Why alpha is not observed any more.
    pub(super) alpha_lost: Option<String>,
    /// The right to the destination, let go with the session.
    pub(super) lock: Option<DestinationLock>,
}

/// How a phase ended.
enum End {
    /// The session is over.
    Stop,
    /// The link is gone, and why.
    Lost(String),
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
            self.give_up_taking();
            let wait = backoff.next(jitter());
            self.reporter.disconnected(reason.clone(), wait);
            self.flushes.fail(&FlushError::Disconnected(reason));
            if let End::Stop = self.pass(wait).await {
                break None;
            }
        };
        self.flushes.fail(&FlushError::Stopped);
        // These end their threads, which may be at work: not on this one. The kernel takes its time to end watching, the disk
        // for what is remembered: both at once.
        let (replica, past, memory, synced) = (self.replica, self.past, self.memory, self.engine.synced().clone());
        let ended = tokio::task::spawn_blocking(move || {
            drop(replica);
            past.close();
        });
        let _ = tokio::task::spawn_blocking(move || memory.close(&synced)).await;
        let _ = ended.await;
        drop(self.lock);
        self.reporter.tell(Event::Stopped { reason: end });
    }

    /// Waits until alpha has been scanned for the first time. `Some`: the session is over.
    async fn wait_for_alpha(&mut self) -> Option<Option<String>> {
        while !self.reporter.scanned() {
            tokio::select! {
                observation = self.mailbox.next() => self.observation(observation, None),
                request = self.requests.recv() => match request {
                    None | Some(Request::Stop) => return Some(None),
                    Some(request) => self.request(request, None),
                },
            }
        }
        None
    }

    async fn connect(&mut self) -> Result<(Connected, FrameReader), End> {
        let target = Arc::clone(&self.target);
        let attempt = target.connect(self.window.bytes());
        tokio::pin!(attempt);
        loop {
            tokio::select! {
                result = &mut attempt => return result.map_err(|error| End::Lost(error.0)),
                observation = self.mailbox.next() => self.observation(observation, None),
                request = self.requests.recv() => match request {
                    None | Some(Request::Stop) => return Err(End::Stop),
                    Some(request) => self.request(request, None),
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
                    Some(request) => self.request(request, None),
                },
            }
        }
    }

    /// Works with an agent until it is gone or the session over.
    async fn connected(&mut self, connected: (Connected, FrameReader)) -> End {
        let (prepared, mut from_threads) = mpsc::unbounded_channel();
        let (file_ends, mut from_files) = mpsc::unbounded_channel();
        let (messages, mut from_agent) = mpsc::channel(MESSAGES_MAX);
        let (received, mut from_disk) = mpsc::channel(CONTENT_STREAMS_MAX);
        let (connected, reader) = connected;
        let mut incoming =
            self.taking.is_some().then(|| incoming::accept(&connected.dialed.connection, connected.session));
        let mut link = match self.link(connected, &prepared, file_ends, received) {
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
        self.flushes.told_all();
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
                Some(incoming) = next_incoming(&mut incoming) => {
                    if let Err(reason) = self.incoming(incoming, &mut link) {
                        break End::Lost(reason);
                    }
                }
                Some(news) = from_disk.recv() => {
                    if let Err(reason) = self.taking.as_mut().map_or(Ok(()), |taking| taking.file_news(news)) {
                        break End::Lost(reason);
                    }
                }
                Some(prepared) = from_threads.recv() => self.prepared(prepared, &mut link),
                Some(end) = from_files.recv() => self.file_end(&end, &mut link),
                request = self.requests.recv() => match request {
                    None | Some(Request::Stop) => break End::Stop,
                    Some(request) => self.request(request, Some(&mut link)),
                },
                () = sleep_until(timeout) => {
                    let now = self.now();
                    self.engine.handle_timeout(now);
                }
                is_silent = probe(&mut link.probe) => {
                    link.probe = None;
                    if is_silent {
                        self.flushes.fail(&FlushError::Disconnected("the agent does not answer".to_owned()));
                    }
                }
                () = &mut silent => break End::Lost(match connection.close_reason() {
                    Some(error) => sentence(&error),
                    None => "nothing was heard of the agent for 15 s".to_owned(),
                }),
            }
        };
        let window = link.connected.dialed.connection.stats().path.cwnd;
        self.say_goodbye(link, &end, from_agent).await;
        if let Some(unwritten) = self.window.found(window) {
            // The next connection begins as if nothing were known, and that is all.
            let _ = tokio::task::spawn_blocking(move || unwritten.write()).await;
        }
        reading.abort();
        if let Some((_, accepting)) = incoming {
            accepting.abort();
        }
        end
    }

    fn link(
        &self,
        connected: Connected,
        prepared: &mpsc::UnboundedSender<Prepared>,
        file_ends: mpsc::UnboundedSender<FileEnd>,
        received: mpsc::Sender<FileNews>,
    ) -> std::io::Result<Link> {
        let preparer = || Preparer::new(Arc::clone(&self.contents), Arc::clone(&self.root));
        Ok(Link {
            connected,
            preparer: preparer(),
            urgent: streams::preparer("synctl-urgent", preparer(), prepared.clone())?,
            bulk: streams::preparer("synctl-bulk", preparer(), prepared.clone())?,
            urgent_waiting: 0,
            file_ends,
            needs: HashMap::new(),
            announced: Announced::default(),
            given_up: BTreeSet::new(),
            received,
            questions: HashMap::new(),
            asked: 0,
            gathered: None,
            probe: None,
        })
    }

    async fn say_goodbye(&self, link: Link, end: &End, mut from_agent: mpsc::Receiver<Result<ToController, String>>) {
        let Connected { dialed, control, bundle, .. } = link.connected;
        let mut is_heard = false;
        if matches!(end, End::Stop)
            && let Ok(goodbye) = frame(&ToAgent::Goodbye(Sentence::new("the session was stopped")))
        {
            let _ = control.send(goodbye);
            drop((control, bundle));
            // The agent ends its side of the session when it has heard; then all is said.
            let heard = async { while let Some(Ok(_)) = from_agent.recv().await {} };
            is_heard = tokio::time::timeout(STOP_TIME_MAX, heard).await.is_ok();
        }
        let reason = match end {
            End::Stop => "the session was stopped",
            End::Lost(reason) => reason,
        };
        close(&dialed.connection, CloseCode::Goodbye, reason);
        // To an agent that has said its last word the one packet is enough; were it lost, the agent would drop a connection
        // without a session some time later. QUIC would wait for three time-outs whether anything still comes.
        let patience = if is_heard { CLOSING_TIME } else { STOP_TIME_MAX };
        let _ = tokio::time::timeout(patience, dialed.endpoint.wait_idle()).await;
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
    fn taken(&mut self, applied: Applied, link: Option<&mut Link>) {
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

    fn alpha(&mut self, seen: Seen, link: Option<&mut Link>) {
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
    fn say_what_there_is(&mut self) {
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

    /// Does what the engine wants done.
    fn act(&mut self, link: &mut Link) {
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
            if link.gathered == Some(id) {
                // Those before it wait for it.
                link.say(&ToAgent::Release(id));
            }
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

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// When the engine or the progress is due.
    fn timeout(&self) -> Option<tokio::time::Instant> {
        let due = [self.engine.timeout(), self.reporter.next_progress(self.now())].into_iter().flatten().min()?;
        Some(tokio::time::Instant::from_std(self.started + due))
    }
}

/// Waits for what the agent streams; for ever where it may stream nothing. Cancel-safe.
async fn next_incoming<T>(incoming: &mut Option<(mpsc::Receiver<Incoming>, T)>) -> Option<Incoming> {
    match incoming {
        Some((incoming, _)) => incoming.recv().await,
        None => std::future::pending().await,
    }
}

/// Waits for the end of a probe, if there is one.
async fn probe(probe: &mut Option<Pin<Box<dyn Future<Output = bool> + Send>>>) -> bool {
    match probe {
        Some(probe) => probe.await,
        None => std::future::pending().await,
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

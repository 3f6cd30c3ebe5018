//! The task that drives the engine: alpha's observations and the agent's messages in, its actions out.
//!
//! Everything is decided here, one thing at a time, by the engine; whatever waits for a disk or a link does so elsewhere and
//! comes back as an input. What comes from beta for alpha goes through `taking`.

mod actions;
mod alpha;
mod heard;
mod link;
mod requests;

use std::{
    collections::{BTreeSet, HashMap},
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use sync_proto::{
    SyncPath,
    limits::{CONTENT_STREAMS_MAX, CONTROL_FRAME_BYTES_MAX},
    message::{Sentence, ToAgent, ToController},
};
use tokio::sync::{mpsc, oneshot, watch};

use self::link::Link;
use super::{
    FlushError, Shared,
    announced::Announced,
    connect::{ConnectError, Connected, Target, frame, why_unheard},
    event::{ConflictVersions, Event},
    flushes::Flushes,
    incoming::{self, Incoming},
    mailbox::Mailbox,
    memory::Memory,
    past::Past,
    prepare::{Prepared, Preparer},
    received::FileNews,
    report::Reporter,
    streams::{self, FileEnd},
    taking::Taking,
    windows::Window,
};
use crate::{
    engine::{Engine, Keep, NotSettled, view::View},
    link::{Backoff, CloseCode, FrameReader, SILENCE_MAX, close, unheard, window},
    replica::{Replica, contents::Contents},
    store::DestinationLock,
    sys::DirHandle,
};

/// How long what is in flight has to be answered when the session ends.
const STOP_TIME_MAX: Duration = Duration::from_secs(1);
/// How long a connection that is over on both sides is kept for its last packet.
const CLOSING_TIME: Duration = Duration::from_millis(5);
/// A connection that held for so long, or got both sides in sync, was a good one: the next failure is the first again.
const GOOD_CONNECTION: Duration = Duration::from_secs(10);
/// What an agent is told when the session ends.
const STOPPED: &str = "the session was stopped";
/// Messages of the agent that wait to be handled, each of up to a frame.
const MESSAGES_MAX: usize = 8;

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
    /// Whether alpha has been scanned for the first time: then an agent is told to begin.
    pub(super) is_scanned: watch::Sender<bool>,
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
        loop {
            // While alpha is being scanned the agent does the same at beta.
            self.reporter.tell(Event::Connecting { destination: self.shared.destination.clone() });
            let (reason, stood) = match self.connect().await {
                Ok(connected) => {
                    let since = Instant::now();
                    let end = self.connected(connected).await;
                    if self.reporter.is_ready() || since.elapsed() >= GOOD_CONNECTION {
                        backoff.reset();
                    }
                    match end {
                        End::Stop => break,
                        End::Lost(reason) => (reason, true),
                    }
                }
                Err(None) => break,
                Err(Some(error)) => (error.reason, error.is_loss),
            };
            self.engine.handle_disconnected();
            self.give_up_taking();
            let wait = backoff.next(jitter());
            self.reporter.disconnected(reason.clone(), stood, wait);
            self.flushes.fail(&FlushError::Disconnected(reason));
            if self.meanwhile(tokio::time::sleep(wait)).await.is_none() {
                break;
            }
        }
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
        self.reporter.tell(Event::Stopped { reason: None });
    }

    /// Dials, and opens the root. The answer comes when alpha has been scanned as well. An error of `None`: the session is over.
    async fn connect(&mut self) -> Result<(Connected, FrameReader), Option<ConnectError>> {
        let target = Arc::clone(&self.target);
        let dialed = self.meanwhile(target.dial(self.window.bytes())).await.ok_or(None)??;
        let (connection, endpoint) = (dialed.connection.clone(), dialed.endpoint.clone());
        let Some(opened) = self.meanwhile(target.open(dialed, self.is_scanned.subscribe())).await else {
            // The agent lets go of the root when it has scanned it, and not when it misses this side.
            close(&connection, CloseCode::Goodbye, STOPPED);
            let _ = tokio::time::timeout(CLOSING_TIME, endpoint.wait_idle()).await;
            return Err(None);
        };
        Ok(opened?)
    }

    /// Waits for something while there is no agent to work with. `None`: the session is over.
    async fn meanwhile<T>(&mut self, awaited: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(awaited);
        loop {
            tokio::select! {
                result = &mut awaited => return Some(result),
                observation = self.mailbox.next() => self.observation(observation, None),
                request = self.requests.recv() => match request {
                    None | Some(Request::Stop) => return None,
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
        self.reporter.beta_problems(&link.connected.opened.problems);
        self.flush_beta(&mut link);
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
                () = &mut silent => break End::Lost(why_unheard(&connection)),
            }
        };
        let window = window(&link.connected.dialed.connection);
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
            && let Ok(goodbye) = frame(&ToAgent::Goodbye(Sentence::new(STOPPED)))
        {
            let _ = control.send(goodbye);
            drop((control, bundle));
            // The agent ends its side of the session when it has heard; then all is said.
            let heard = async { while let Some(Ok(_)) = from_agent.recv().await {} };
            is_heard = tokio::time::timeout(STOP_TIME_MAX, heard).await.is_ok();
        }
        let reason = match end {
            End::Stop => STOPPED,
            End::Lost(reason) => reason,
        };
        close(&dialed.connection, CloseCode::Goodbye, reason);
        // To an agent that has said its last word the one packet is enough; were it lost, the agent would drop a connection
        // without a session some time later. QUIC would wait for three time-outs whether anything still comes.
        let patience = if is_heard { CLOSING_TIME } else { STOP_TIME_MAX };
        let _ = tokio::time::timeout(patience, dialed.endpoint.wait_idle()).await;
    }

    pub(super) fn now(&self) -> Duration {
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

//! One session at the agent: what the controller says goes to the replica, what the replica observes goes back.
//!
//! `reported` is the tree that the controller knows: everything it was told, and what it knows of its own operations by
//! their outcomes. What the replica sees beside that was done by other hands. What of it a batch met is told before its
//! outcomes, so that the controller never plans from an outcome that it can't place; what has come to stand since where the
//! batch did something is told after them, because an outcome says what was put there.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use quinn::Connection;
use sync_proto::{
    Entry, SyncPath,
    limits::{BATCHES_IN_FLIGHT_MAX, CONTENT_STREAMS_MAX},
    message::{
        Batch, BatchId, Bounded, Content, FileFrame, FileHeader, Opened as OpenedMessage, Operation, Outcome, Outcomes,
        Problem, Sentence, ToAgent, ToController,
    },
};
use tokio::sync::{Notify, mpsc, oneshot};

use super::{
    effect::{self, Effect},
    gather::Gathering,
    quiet,
    root::{Lease, Opened, ServedRoot},
    supply::{Supplied, Supplier},
};
use crate::{
    engine::view::View,
    link::{FrameWriter, silent_after},
    replica::{Applied, Observation, Work},
    session::{
        received::{Around, FileNews, receive_file},
        streams::FileEnd,
        tell,
    },
    tree::Tree,
};

/// Bulk batches taken off the wire that the disk has not finished.
const BULK_TAKEN_MAX: usize = 4;
/// Bytes of urgent batches that the disk has not finished, from which on nothing more is taken off the control stream.
const URGENT_BYTES_MAX: usize = 16 << 20;
/// The number of the flush that answers [`ToAgent::Rescan`].
const RESCANNED: u64 = u64::MAX - 1;

/// How long a controller may be silent, once it was spoken to, before another may have its root.
/// Less than a newcomer waits.
const PROBE_SILENCE_MAX: Duration = Duration::from_millis(1500);

/// What reaches a session from its streams.
pub(super) enum Input {
    /// A message on the control stream.
    Message(ToAgent),
    /// A bulk batch, and where to say that the next may come.
    Bulk(Batch, oneshot::Sender<()>),
    /// A file that is streamed.
    File(FileHeader, mpsc::Receiver<FileFrame>),
    /// The control stream has ended; the fault, if it was the peer's.
    Ended(Option<String>),
}

/// Scans of the whole root that were asked for. However often, one is made at a time, and one more after it.
#[derive(Clone, Copy)]
enum Rescan {
    None,
    UnderWay,
    Again,
}

struct Session<'a> {
    root: &'a ServedRoot,
    opened: Opened,
    writer: &'a mut FrameWriter,
    reported: Tree,
    told_problems: BTreeMap<SyncPath, Problem>,
    /// What the operations of a batch do to `reported` where they are applied.
    effects: HashMap<u64, Vec<Effect>>,
    /// The batches that the replica is at, by the number that it knows them by.
    tags: HashMap<u64, u64>,
    /// Urgent batches that the replica is at, and about how many bytes each takes.
    urgent: HashMap<u64, usize>,
    rescan: Rescan,
    /// Bulk batches that the replica is at.
    taken: HashSet<u64>,
    /// Bulk batches that have arrived beyond that: one at most for each bundle stream, and what was gathered.
    waiting: VecDeque<(Batch, Option<oneshot::Sender<()>>)>,
    /// Those that wait for others.
    gathering: Gathering,
    /// What lets the bundle streams be read on.
    paused: Vec<oneshot::Sender<()>>,
    files: mpsc::Sender<FileNews>,
    files_open: usize,
    /// Gives content, where the controller takes beta's changes over.
    supplier: Option<Supplier>,
    flush: FlushState,
}

/// A barrier that the controller asked for. One at a time: a later one stands for those before it.
#[derive(Default)]
struct FlushState {
    /// The number it has for the replica, and for the controller.
    under_way: Option<(u64, u64)>,
    next: Option<u64>,
}

/// Runs a session to its end. An error is the peer's fault.
pub(super) async fn run(
    root: &ServedRoot,
    lease: Lease,
    opened: Opened,
    writer: &mut FrameWriter,
    inbox: mpsc::Receiver<Input>,
    connection: &Connection,
    supply: Option<(Supplier, Supplied)>,
) -> Result<(), String> {
    let (supplier, supplied) = supply.unzip();
    let (files, file_news) = mpsc::channel(CONTENT_STREAMS_MAX);
    let mut session = Session {
        root,
        opened,
        writer,
        reported: Tree::new(),
        told_problems: BTreeMap::new(),
        effects: HashMap::new(),
        tags: HashMap::new(),
        urgent: HashMap::new(),
        rescan: Rescan::None,
        taken: HashSet::new(),
        waiting: VecDeque::new(),
        gathering: Gathering::default(),
        paused: Vec::new(),
        files,
        files_open: 0,
        supplier,
        flush: FlushState::default(),
    };
    // A session may be waiting to say something to a peer that does not listen any more: that ends too.
    let speak = Notify::new();
    let result = tokio::select! {
        result = session.work(inbox, file_news, supplied, &speak) => result,
        () = lease.evicted.notified() => Ok(()),
        () = is_dead(&lease, connection, &speak) => Ok(()),
        _ = connection.closed() => Ok(()),
    };
    root.keep(session.opened).await;
    drop(lease);
    result
}

/// What a supplier has for its session.
enum FromSupplier {
    Say(ToController),
    FileEnd(FileEnd),
}

/// Waits for it; for ever where there is none. Cancel-safe.
async fn next_supplied(supplied: &mut Option<Supplied>) -> Option<FromSupplier> {
    let Some(Supplied { said, file_ends }) = supplied else { return std::future::pending().await };
    tokio::select! {
        Some(message) = said.recv() => Some(FromSupplier::Say(message)),
        Some(end) = file_ends.recv() => Some(FromSupplier::FileEnd(end)),
    }
}

/// Waits until somebody else wants the root and the controller that has it gives no sign of life.
async fn is_dead(lease: &Lease, connection: &Connection, speak: &Notify) {
    loop {
        lease.probed.notified().await;
        let silent = silent_after(connection, PROBE_SILENCE_MAX);
        // A session that waits to say something has spoken already.
        speak.notify_one();
        if silent.await {
            return;
        }
    }
}

impl Session<'_> {
    /// May be ended anywhere it waits: what was observed is in `opened` by then.
    async fn work(
        &mut self,
        mut inbox: mpsc::Receiver<Input>,
        mut file_news: mpsc::Receiver<FileNews>,
        mut supplied: Option<Supplied>,
        speak: &Notify,
    ) -> Result<(), String> {
        let mailbox = Arc::clone(&self.opened.mailbox);
        let begins = quiet::begun(&mut self.opened, &mut inbox, self.writer, speak).await?;
        let mut going_on = begins && self.say_opened().await?;
        while going_on {
            // Inputs come first, but whoever sends one after another must not keep everybody else waiting.
            tokio::task::yield_now().await;
            going_on = tokio::select! {
                biased;
                input = inbox.recv(), if self.has_room() => match input {
                    Some(input) => self.input(input).await?,
                    None => false,
                },
                observation = mailbox.next() => self.observation(observation).await?,
                Some(news) = file_news.recv() => self.file_news(news).await?,
                Some(supplied) = next_supplied(&mut supplied) => self.supplied(supplied).await?,
                // Whatever is said, a live controller's end of the link acknowledges it.
                () = speak.notified() => self.say(&ToController::Pong(0)).await?,
            };
        }
        Ok(())
    }

    fn has_room(&self) -> bool {
        self.urgent.values().sum::<usize>() < URGENT_BYTES_MAX
    }

    async fn say(&mut self, message: &ToController) -> Result<bool, String> {
        // A link that is gone ends the session without anybody's fault.
        Ok(self.writer.write(message).await.is_ok())
    }

    async fn say_opened(&mut self) -> Result<bool, String> {
        let view = &self.opened.view;
        self.reported = view.tree.clone();
        self.told_problems.clone_from(&view.problems);
        let partials = self.root.committer().partials();
        let opened = OpenedMessage {
            replica: self.root.id(),
            tree: view.tree.hash(),
            entries: view.tree.entries(),
            complete: view.complete,
            partials: Bounded::first(partials),
            problems: tell::problems(view),
        };
        self.say(&ToController::Opened(opened)).await
    }

    async fn input(&mut self, input: Input) -> Result<bool, String> {
        match input {
            Input::Message(message) => self.message(message).await,
            Input::Bulk(batch, next) => {
                let bytes = batch.operations.iter().map(held_bytes).sum();
                let ready = self.gathering.add(batch, bytes);
                self.go_on_with(ready, Some(next))
            }
            Input::File(header, frames) => self.file(header, frames),
            Input::Ended(None) => Ok(false),
            Input::Ended(Some(fault)) => Err(fault),
        }
    }

    async fn message(&mut self, message: ToAgent) -> Result<bool, String> {
        match message {
            ToAgent::Open(_) => Err("a session opens one root, once".to_owned()),
            ToAgent::Begin => Err("a session begins once".to_owned()),
            ToAgent::TreeRequest(paths) => {
                for path in paths.iter() {
                    for listing in tell::listings(&self.reported, path) {
                        if !self.say(&ToController::Listing(listing)).await? {
                            return Ok(false);
                        }
                    }
                    // Others are served by the same thread.
                    tokio::task::yield_now().await;
                }
                Ok(true)
            }
            ToAgent::Batch(batch) => {
                self.apply(batch, false)?;
                Ok(true)
            }
            ToAgent::Rescan => {
                self.rescan = match self.rescan {
                    Rescan::None => self.begin_rescan(),
                    Rescan::UnderWay | Rescan::Again => Rescan::Again,
                };
                Ok(true)
            }
            ToAgent::Gather(gather) => {
                let ready = self.gathering.begin(gather);
                self.go_on_with(ready, None)
            }
            ToAgent::Release(last) => {
                let ready = self.gathering.release(last);
                self.go_on_with(ready, None)
            }
            ToAgent::Ping(number) => self.say(&ToController::Pong(number)).await,
            ToAgent::Goodbye(_) => Ok(false),
            ToAgent::Fetch(fetch) => self.supplier()?.fetch(fetch).map(|()| true),
            ToAgent::Describe(describe) => self.supplier()?.describe(describe).map(|()| true),
            ToAgent::Need(need) => {
                self.supplier()?.need(need);
                Ok(true)
            }
            ToAgent::Flush(number) => {
                self.flush.next = Some(number);
                self.next_flush();
                Ok(true)
            }
        }
    }

    fn begin_rescan(&self) -> Rescan {
        self.opened.replica.rescan();
        self.opened.replica.flush(RESCANNED);
        Rescan::UnderWay
    }

    fn supplier(&mut self) -> Result<&mut Supplier, String> {
        self.supplier.as_mut().ok_or_else(|| "content was asked for in a session that takes none".to_owned())
    }

    async fn supplied(&mut self, supplied: FromSupplier) -> Result<bool, String> {
        match supplied {
            FromSupplier::Say(message) => self.say(&message).await,
            FromSupplier::FileEnd(end) => {
                self.supplier()?.file_end(&end);
                Ok(true)
            }
        }
    }

    fn next_flush(&mut self) {
        if self.flush.under_way.is_none()
            && let Some(number) = self.flush.next.take()
        {
            let token = self.opened.next_tag;
            self.opened.next_tag += 1;
            self.flush.under_way = Some((token, number));
            self.opened.replica.flush(token);
        }
    }

    /// All that had changed when the replica was asked has been told.
    async fn flushed(&mut self, token: u64) -> Result<bool, String> {
        // Of a session before this one.
        let Some((_, number)) = self.flush.under_way.take_if(|(under_way, _)| *under_way == token) else {
            return Ok(true);
        };
        self.next_flush();
        self.say(&ToController::Flushed(number)).await
    }

    /// Bulk batches may be done. The stream that brought the last of them is read on when there is room for more; at once, if
    /// none is to be done yet.
    fn go_on_with(&mut self, ready: Vec<Batch>, mut next: Option<oneshot::Sender<()>>) -> Result<bool, String> {
        let last = ready.len();
        for (place, batch) in ready.into_iter().enumerate() {
            let next = if place + 1 == last { next.take() } else { None };
            self.waiting.push_back((batch, next));
        }
        if let Some(next) = next {
            // A stream that is over reads on no more.
            let _ = next.send(());
        }
        self.take_bulk()?;
        Ok(true)
    }

    /// Takes bulk batches, as many as the disk is given at once, and lets the next come where there is room for them.
    fn take_bulk(&mut self) -> Result<(), String> {
        while self.taken.len() < BULK_TAKEN_MAX
            && let Some((batch, next)) = self.waiting.pop_front()
        {
            let id = batch.id.0;
            self.apply(batch, true)?;
            self.taken.insert(id);
            self.paused.extend(next);
        }
        if self.taken.len() < BULK_TAKEN_MAX {
            for next in self.paused.drain(..) {
                // A stream that is over reads on no more.
                let _ = next.send(());
            }
        }
        Ok(())
    }

    fn apply(&mut self, batch: Batch, bulk: bool) -> Result<(), String> {
        let Batch { id, operations } = batch;
        if self.effects.len() >= BATCHES_IN_FLIGHT_MAX {
            return Err(format!("more than {BATCHES_IN_FLIGHT_MAX} batches without an answer"));
        }
        let operations = operations.into_vec();
        if !bulk {
            self.urgent.insert(id.0, operations.iter().map(held_bytes).sum());
        }
        let effects = operations.iter().map(Effect::of).collect();
        if self.effects.insert(id.0, effects).is_some() {
            return Err("a batch number used twice".to_owned());
        }
        self.hand_over(id, Work::Batch { operations, bulk });
        Ok(())
    }

    fn hand_over(&mut self, id: BatchId, work: Work) {
        let tag = self.opened.apply(work);
        self.tags.insert(tag, id.0);
    }

    async fn observation(&mut self, observation: Observation) -> Result<bool, String> {
        match observation {
            Observation::Changed(seen) | Observation::Scanned(seen) => {
                self.opened.view = seen.view;
                // A scan is nobody's save.
                let age = if seen.hot.is_empty() { Duration::ZERO } else { seen.since.elapsed() };
                self.changed_to(self.opened.view.tree.clone(), age).await
            }
            Observation::Applied(applied) => self.applied(applied).await,
            Observation::Flushed(RESCANNED) => {
                self.rescan = match self.rescan {
                    Rescan::Again => self.begin_rescan(),
                    Rescan::UnderWay | Rescan::None => Rescan::None,
                };
                self.tell_changes(self.opened.view.tree.clone(), Duration::ZERO).await
            }
            Observation::Flushed(token) => self.flushed(token).await,
            Observation::Warning(message) => {
                tracing::warn!("{message}");
                Ok(true)
            }
            Observation::Lost(reason) => {
                self.opened.is_lost = true;
                self.say(&ToController::Goodbye(Sentence::new(reason))).await?;
                Ok(false)
            }
        }
    }

    /// Tells what other hands have changed.
    async fn changed(&mut self) -> Result<bool, String> {
        self.changed_to(self.opened.view.tree.clone(), Duration::ZERO).await
    }

    /// The same, of what `tree` shows of it, and what first came about so long ago.
    async fn changed_to(&mut self, tree: Tree, age: Duration) -> Result<bool, String> {
        if self.opened.view.problems == self.told_problems && tree.hash() == self.reported.hash() {
            return Ok(true);
        }
        self.tell_changes(tree, age).await
    }

    async fn tell_changes(&mut self, tree: Tree, age: Duration) -> Result<bool, String> {
        let view = View { tree, ..self.opened.view.clone() };
        let (supplier, mut allowance) = (&mut self.supplier, Supplier::allowance());
        let mut push = |old: Option<&Entry>, new: &Entry| supplier.as_mut()?.pushed(old, new, &mut allowance);
        for changes in tell::changes(&self.reported, &view, &mut push, age) {
            if !self.say(&ToController::Changes(changes)).await? {
                return Ok(false);
            }
        }
        let View { tree, problems, .. } = view;
        self.told_problems = problems;
        self.reported = tree;
        Ok(true)
    }

    async fn applied(&mut self, applied: Applied) -> Result<bool, String> {
        let Applied { tag, outcomes, view, took } = applied;
        self.opened.view = view;
        self.opened.under_way = self.opened.under_way.saturating_sub(1);
        // Of a session before this one: its effects are in the view that this one began with, or told as changes.
        let Some(batch) = self.tags.remove(&tag) else { return self.changed().await };
        let effects = self.effects.remove(&batch).unwrap_or_default();
        self.urgent.remove(&batch);
        let is_applied = |outcome: &Outcome| matches!(outcome, Outcome::Applied | Outcome::Displaced(_));
        let done: Vec<Effect> = effects
            .into_iter()
            .zip(&outcomes)
            .filter(|(_, outcome)| is_applied(outcome))
            .map(|(effect, _)| effect)
            .collect();
        // What was met comes before the outcomes, and what has come to stand since where something was done after them: the
        // controller takes all of it over in this order, and ends with what is reported here.
        let beside = effect::beside(&self.opened.view.tree, &self.reported, &done);
        let is_all = beside.is_none();
        if !self.changed_to(beside.unwrap_or_else(|| self.reported.clone()), Duration::ZERO).await? {
            return Ok(false);
        }
        if is_all {
            // The same, and its pages are in memory already.
            self.reported = self.opened.view.tree.clone();
        } else {
            done.iter().for_each(|effect| effect.apply_to(&mut self.reported));
        }
        let message = Outcomes {
            batch: BatchId(batch),
            outcomes: Bounded::first(outcomes),
            apply_micros: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        };
        let going_on = self.say(&ToController::Outcomes(message)).await? && self.changed().await?;
        if self.taken.remove(&batch) {
            self.take_bulk()?;
        }
        Ok(going_on)
    }

    fn file(&mut self, header: FileHeader, frames: mpsc::Receiver<FileFrame>) -> Result<bool, String> {
        if self.files_open >= CONTENT_STREAMS_MAX || self.effects.len() >= BATCHES_IN_FLIGHT_MAX {
            return Err("too many files streamed at once".to_owned());
        }
        let effect = Effect::Put(header.path.clone(), header.entry.clone());
        if self.effects.insert(header.batch.0, vec![effect]).is_some() {
            return Err("a batch number used twice".to_owned());
        }
        self.files_open += 1;
        let committer = Arc::clone(self.root.committer());
        let news = self.files.clone();
        let around = Around { tree: self.opened.view.tree.clone(), past: self.root.past() };
        tokio::task::spawn_blocking(move || receive_file(&committer, around, header, frames, &news));
        Ok(true)
    }

    async fn file_news(&mut self, news: FileNews) -> Result<bool, String> {
        match news {
            FileNews::Need(need) => self.say(&ToController::Need(need)).await,
            FileNews::Complete(header, partial) => {
                self.files_open -= 1;
                let FileHeader { batch, path, expected, entry, .. } = header;
                self.hand_over(batch, Work::File { path, expected, entry, partial });
                Ok(true)
            }
            FileNews::Failed(batch, outcome) => {
                self.files_open -= 1;
                self.effects.remove(&batch.0);
                let Some(outcome) = outcome else { return Ok(true) };
                let outcomes = Bounded::first(vec![outcome]);
                self.say(&ToController::Outcomes(Outcomes { batch, outcomes, apply_micros: 0 })).await
            }
            FileNews::Fault(fault) => Err(fault),
        }
    }
}

/// About how many bytes an operation takes in memory.
fn held_bytes(operation: &Operation) -> usize {
    let content = match operation {
        Operation::Put { content: Content::Raw(bytes) | Content::Zstd(bytes) | Content::Delta(bytes), .. } => {
            bytes.len()
        }
        _ => 0,
    };
    size_of::<Operation>() + operation.path().as_bytes().len() + content
}

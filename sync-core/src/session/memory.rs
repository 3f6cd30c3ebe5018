//! What a session remembers: *synced*, by replica, for as long as it lives and, in the state directory, beyond; and there
//! also what was sent and not answered.
//!
//! Writing is done by a thread, because a snapshot waits for the disk. What is written is an earlier state of *synced* at
//! worst, and to lose the end is harmless (see [`crate::store`]). What is about to be sent is handed to the thread before
//! the frame is made: nobody waits for it, and it is written long before the frame is answered. Not noted is then what is
//! sent in the moment in which the process is killed, or while a snapshot is being written.
//!
//! Without a state directory, or with one that can't be used, nothing is remembered beyond the session: after a restart
//! *synced* is unknown, so that nothing is deleted, and what differs is a conflict. That is said once.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crossbeam_channel::Receiver;
use sync_proto::message::{BatchId, ReplicaId};

use super::{event::Event, queue::Sender, report::Reporter};
use crate::{
    engine::{Intent, Past},
    store::{Change, Loaded, Note, Store, StoreError},
    tree::Tree,
};

/// When writing is tried again after it failed.
const RETRY_INTERVAL: Duration = Duration::from_secs(30);

/// What is remembered of one root.
#[derive(Debug)]
pub(super) struct Memory {
    state_dir: Option<PathBuf>,
    /// The real path of alpha.
    root: PathBuf,
    /// The replica that is, or was last, connected, and what is in sync with it.
    known: Option<(ReplicaId, Tree)>,
    /// What was sent to `known` before this session, for whoever asks first.
    sent: Vec<Intent>,
    /// Whether `known` is of this session; else it is of the last one, and nothing has been added to it.
    met: bool,
    writer: Option<Writer>,
    complaints: Complaints,
}

/// Says once that nothing is kept.
#[derive(Debug, Clone)]
struct Complaints {
    events: Sender,
    said: Arc<AtomicBool>,
}

/// The thread that has a store. Dropped, it ends, with all written that it was given.
#[derive(Debug)]
struct Writer {
    records: Option<crossbeam_channel::Sender<Record>>,
    thread: Option<JoinHandle<()>>,
}

/// What is to be kept.
enum Record {
    /// These changes have led to this tree.
    Changes(Vec<Change>, Tree),
    /// Something else happened.
    Note(Note),
    /// An orderly end with this tree: stamps that were learnt since are worth keeping, with them the next start reads
    /// nothing again.
    Whole(Tree),
}

impl Memory {
    pub(super) fn new(state_dir: Option<PathBuf>, root: &Path, events: Sender) -> Self {
        let complaints = Complaints { events, said: Arc::default() };
        Self { state_dir, root: root.to_owned(), known: None, sent: Vec::new(), met: false, writer: None, complaints }
    }

    /// What was last synced with any replica: files that have the same stat data need not be read again.
    pub(super) fn hint(&mut self) -> Tree {
        let Some(replica) = self.last_replica() else { return Tree::new() };
        match self.open(replica) {
            Ok(Loaded { synced: Some(synced), sent, .. }) => {
                self.known = Some((replica, synced.clone()));
                self.sent = sent;
                synced
            }
            // Whatever is the matter is said when the replica is really met.
            Ok(_) | Err(_) => {
                self.writer = None;
                Tree::new()
            }
        }
    }

    /// What was synced with this replica, empty where it is not known, and what was sent to it before this session.
    pub(super) fn recall(&mut self, replica: ReplicaId, reporter: &Reporter) -> Past {
        self.met = true;
        let sent = std::mem::take(&mut self.sent);
        if let Some((known, synced)) = &self.known
            && *known == replica
        {
            return Past { synced: synced.clone(), sent };
        }
        let past = match self.open(replica) {
            Ok(Loaded { synced, reason, is_new, sent }) => {
                if let (Some(reason), false) = (reason, is_new) {
                    let message = format!(
                        "what was in sync before is not known ({reason}): nothing is deleted, and files that differ are \
                         shown as conflicts"
                    );
                    reporter.tell(Event::Warning { message });
                }
                let begin = synced.clone().unwrap_or_default();
                if let (None, Some(writer)) = (synced, &self.writer) {
                    // From here on every change is kept as it comes, so that a session that is killed in its first moments
                    // is not without memory.
                    writer.write(Record::Whole(begin.clone()));
                }
                Past { synced: begin, sent }
            }
            Err(error) => {
                self.complaints.say(&error);
                Past::default()
            }
        };
        self.known = Some((replica, past.synced.clone()));
        past
    }

    /// Notes what is about to be sent under this number.
    pub(super) fn intend(&self, id: BatchId, intents: Vec<Intent>) {
        self.note(Note::Sent(id.0, intents));
    }

    /// Notes that what was sent under this number is in doubt no more.
    pub(super) fn answered(&self, id: BatchId) {
        self.note(Note::Answered(id.0));
    }

    /// Notes that nothing is in doubt any more.
    pub(super) fn settled(&self) {
        self.note(Note::Settled);
    }

    fn note(&self, note: Note) {
        if let Some(writer) = &self.writer {
            writer.write(Record::Note(note));
        }
    }

    /// Notes changes of *synced*, which is `synced` now.
    pub(super) fn record(&mut self, changes: Vec<Change>, synced: &Tree) {
        if let Some((_, known)) = &mut self.known {
            known.clone_from(synced);
        }
        if let Some(writer) = &self.writer {
            writer.write(Record::Changes(changes, synced.clone()));
        }
    }

    /// An orderly end, with `synced` as it is now. Waits for the disk.
    pub(super) fn close(mut self, synced: &Tree) {
        if let Some(writer) = self.writer.take()
            && self.met
        {
            writer.write(Record::Whole(synced.clone()));
        }
    }

    fn open(&mut self, replica: ReplicaId) -> Result<Loaded, StoreError> {
        // The one before must let go of its directory first.
        self.writer = None;
        let Some(state_dir) = &self.state_dir else { return Ok(Loaded { is_new: true, ..Loaded::default() }) };
        let directory = Store::directory(state_dir, &self.root, replica);
        let (store, loaded) = Store::open(&directory)?;
        let complaints = self.complaints.clone();
        let synced = loaded.synced.clone().unwrap_or_default();
        let writer = Writer::start(store, synced, complaints);
        self.writer = Some(writer.map_err(|source| StoreError::Io { path: directory, source })?);
        Ok(loaded)
    }

    /// The replica that was last synced with.
    fn last_replica(&self) -> Option<ReplicaId> {
        let any = Store::directory(self.state_dir.as_ref()?, &self.root, ReplicaId([0; 16]));
        let entries = std::fs::read_dir(any.parent()?).ok()?;
        let newest = entries
            .filter_map(Result::ok)
            .filter_map(|entry| {
                let replica = entry.file_name().to_str().and_then(ReplicaId::from_hex)?;
                let modified = entry.path().join("snapshot").metadata().and_then(|data| data.modified()).ok()?;
                Some((modified, replica))
            })
            .max_by_key(|(modified, _)| *modified)?;
        Some(newest.1)
    }
}

impl Complaints {
    fn say(&self, error: &StoreError) {
        if !self.said.swap(true, Ordering::Relaxed) {
            let message = format!(
                "{error}; what is in sync is not remembered for the next start. Another place can be given by --state-dir"
            );
            self.events.put(Event::Warning { message });
        }
    }
}

impl Writer {
    fn start(store: Store, synced: Tree, complaints: Complaints) -> std::io::Result<Self> {
        let (records, inbox) = crossbeam_channel::unbounded();
        let thread = std::thread::Builder::new()
            .name("synctl-memory".to_owned())
            .spawn(move || write_all(store, synced, &inbox, &complaints))?;
        Ok(Self { records: Some(records), thread: Some(thread) })
    }

    fn write(&self, record: Record) {
        // A thread that is gone has said why.
        let _ = self.records.as_ref().map(|records| records.send(record));
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.records = None;
        if let Some(thread) = self.thread.take() {
            // A panic has been reported by the thread itself.
            let _ = thread.join();
        }
    }
}

/// Writes what comes, until nothing more does. After a failure the store wants a snapshot; one that fails too is not tried
/// with every save, but some time later, and when the session ends.
fn write_all(mut store: Store, mut synced: Tree, inbox: &Receiver<Record>, complaints: &Complaints) {
    let mut failed: Option<Instant> = None;
    while let Ok(first) = inbox.recv() {
        let (mut notes, mut whole) = (Vec::new(), false);
        // A disk that is slower than the session gets fewer and larger writes.
        for record in std::iter::once(first).chain(inbox.try_iter()) {
            match record {
                Record::Changes(changes, now) => {
                    synced = now;
                    match notes.last_mut() {
                        Some(Note::Agreed(before)) => before.extend(changes),
                        _ => notes.push(Note::Agreed(changes)),
                    }
                }
                Record::Note(note) => notes.push(note),
                Record::Whole(now) => (synced, whole) = (now, true),
            }
        }
        let appended = store.append(notes);
        let result = if !whole && !store.wants_snapshot() {
            appended
        } else if !whole && failed.is_some_and(|failed| failed.elapsed() < RETRY_INTERVAL) {
            continue;
        } else {
            store.snapshot(&synced)
        };
        failed = result.is_err().then(Instant::now);
        if let Err(error) = result {
            complaints.say(&error);
        }
    }
    if let Err(error) = store.sync() {
        tracing::warn!("{error}");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use sync_proto::{ContentId, SyncPath};

    use super::*;
    use crate::{
        session::queue::{Events, queue},
        tree::Node,
    };

    fn tree(names: &[&str]) -> Tree {
        let mut tree = Tree::new();
        for name in names {
            let node = Node::File { content: ContentId([1; 32]), len: 1, executable: false };
            tree.insert(&SyncPath::parse(name.as_bytes()).unwrap(), node, None).unwrap();
        }
        tree
    }

    fn memory(dir: Option<&Path>) -> (Memory, Events) {
        let (sender, events) = queue();
        (Memory::new(dir.map(Path::to_owned), Path::new("/root"), sender), events)
    }

    fn reporter() -> Reporter {
        let shared =
            super::super::Shared { destination: String::new(), started: Instant::now(), status: Default::default() };
        Reporter::new(queue().0, Arc::new(shared))
    }

    fn record(memory: &mut Memory, before: &Tree, name: &str) -> Tree {
        let after = tree(&[name]);
        let path = SyncPath::parse(name.as_bytes()).unwrap();
        let node = after.get(&path).unwrap().clone();
        let mut now = before.clone();
        now.insert(&path, node.clone(), None).unwrap();
        memory.record(vec![(path, Some((node, None)))], &now);
        now
    }

    fn recall(memory: &mut Memory, replica: ReplicaId) -> Tree {
        let Past { synced, sent } = memory.recall(replica, &reporter());
        assert_eq!(sent, []);
        synced
    }

    const ONE: ReplicaId = ReplicaId([1; 16]);
    const TWO: ReplicaId = ReplicaId([2; 16]);

    #[test]
    fn without_a_directory_it_lasts_as_long_as_the_session() {
        let (mut memory, _events) = memory(None);
        assert_eq!(recall(&mut memory, ONE), Tree::new());
        let now = record(&mut memory, &Tree::new(), "a");
        assert_eq!(recall(&mut memory, ONE), now);
        assert_eq!(recall(&mut memory, TWO), Tree::new());
    }

    #[test]
    fn with_a_directory_it_lasts_longer_and_by_replica() {
        let dir = tempfile::tempdir().unwrap();
        let (mut first, _events) = memory(Some(dir.path()));
        assert_eq!(first.hint(), Tree::new());
        first.recall(ONE, &reporter());
        let a = record(&mut first, &Tree::new(), "a");
        let ab = record(&mut first, &a, "b");
        first.close(&ab);

        let (mut second, _events) = memory(Some(dir.path()));
        assert_eq!(second.hint(), ab);
        assert_eq!(recall(&mut second, TWO), Tree::new());
        assert_eq!(recall(&mut second, ONE), ab);
        // Dropped without an end in order: what was recorded is there.
        let abc = record(&mut second, &ab, "c");
        drop(second);
        let (mut third, _events) = memory(Some(dir.path()));
        assert_eq!(recall(&mut third, ONE), abc);
    }

    /// What was sent and not answered comes back once, with the replica that it was sent to, until it is settled.
    #[test]
    fn what_was_sent_is_remembered_until_it_is_answered() {
        let dir = tempfile::tempdir().unwrap();
        let intent = |name: &str| {
            let path = SyncPath::parse(name.as_bytes()).unwrap();
            let node = tree(&[name]).get(&path).cloned();
            (path, node)
        };
        let sent = |memory: &mut Memory, replica| memory.recall(replica, &reporter()).sent;
        for ends_in_order in [false, true] {
            let (mut first, _events) = memory(Some(dir.path()));
            assert_eq!(sent(&mut first, ONE), []);
            first.intend(BatchId(0), vec![intent("a")]);
            first.intend(BatchId(1), vec![intent("b")]);
            first.answered(BatchId(0));
            if ends_in_order {
                first.close(&Tree::new())
            } else {
                drop(first)
            }

            let (mut second, _events) = memory(Some(dir.path()));
            second.hint();
            assert_eq!(sent(&mut second, ONE), [intent("b")], "{ends_in_order}");
            assert_eq!(sent(&mut second, ONE), [], "this session knows itself");
            // Numbers begin anew.
            second.intend(BatchId(1), vec![intent("c")]);
            assert_eq!(sent(&mut second, TWO), []);
            assert_eq!(sent(&mut second, ONE), [intent("b"), intent("c")]);
            second.settled();
            drop(second);
            let (mut third, _events) = memory(Some(dir.path()));
            third.hint();
            assert_eq!(sent(&mut third, ONE), []);
        }
    }

    /// Stopped before the agent was ever reached: an empty *synced* of this session is no news.
    #[test]
    fn a_session_that_met_nobody_forgets_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (mut first, _events) = memory(Some(dir.path()));
        first.recall(ONE, &reporter());
        let a = record(&mut first, &Tree::new(), "a");
        first.close(&a);
        let (mut second, _events) = memory(Some(dir.path()));
        assert_eq!(second.hint(), a);
        second.close(&Tree::new());
        let (mut third, _events) = memory(Some(dir.path()));
        assert_eq!(recall(&mut third, ONE), a);
    }

    #[tokio::test]
    async fn a_directory_that_is_in_use_is_said_once() {
        let dir = tempfile::tempdir().unwrap();
        let (mut first, _events) = memory(Some(dir.path()));
        first.recall(ONE, &reporter());
        let (mut second, mut events) = memory(Some(dir.path()));
        second.recall(ONE, &reporter());
        let now = record(&mut second, &Tree::new(), "a");
        assert_eq!(recall(&mut second, ONE), now);
        drop(second);
        assert!(matches!(events.next().await, Some(Event::Warning { .. })));
        assert_eq!(events.next().await, None);
    }
}

//! What exists only while the agent is connected.

use std::{
    collections::{BTreeSet, HashMap},
    pin::Pin,
};

use sync_proto::{
    SyncPath,
    limits::DESCRIBE_PATHS_MAX,
    message::{BatchId, Bounded, Describe, Described, Need, ToAgent},
};
use tokio::sync::{mpsc, oneshot};

use crate::session::{
    announced::Announced,
    connect::{Connected, frame},
    pace::Pace,
    prepare::Preparer,
    received::FileNews,
    streams::{FileEnd, ToPrepare},
};

/// Most questions of users that the agent has not answered.
const QUESTIONS_MAX: usize = 8;

/// See the module.
pub(super) struct Link {
    pub(super) connected: Connected,
    /// Prepares what is at hand in memory, right here.
    pub(super) preparer: Preparer,
    /// Prepares what has to be read, on a thread each for the two streams.
    pub(super) urgent: crossbeam_channel::Sender<ToPrepare>,
    pub(super) bulk: crossbeam_channel::Sender<ToPrepare>,
    /// Urgent batches on the thread: those after them follow there, to keep their order.
    pub(super) urgent_waiting: usize,
    pub(super) file_ends: mpsc::UnboundedSender<FileEnd>,
    pub(super) needs: HashMap<BatchId, crossbeam_channel::Sender<Need>>,
    /// How much of beta's tree the agent has told on this connection.
    pub(super) announced: Announced,
    /// Streams that were given up: an answer may have been under way.
    pub(super) given_up: BTreeSet<BatchId>,
    /// What threads say that receive files.
    pub(super) received: mpsc::Sender<FileNews>,
    /// What users want to know of beta. Numbered from the other end than the engine's batches.
    pub(super) questions: HashMap<BatchId, oneshot::Sender<Described>>,
    pub(super) asked: u64,
    /// The last of the batches that the agent was told to gather.
    pub(super) gathered: Option<BatchId>,
    /// Whether the agent that was asked to flush is silent.
    pub(super) probe: Option<Pin<Box<dyn Future<Output = bool> + Send>>>,
}

impl Link {
    /// Says something on the control stream. A stream that is gone takes the session with it, by another way.
    pub(super) fn say(&self, message: &ToAgent) {
        match frame(message) {
            Ok(bytes) => drop(self.connected.control.send(bytes)),
            // The engine's bounds keep a message well below a frame's.
            Err(error) => tracing::error!("{error}"),
        }
    }

    /// Asks for a user what stands at some paths. `None`: too many want to know.
    pub(super) fn ask(&mut self, paths: Bounded<SyncPath, DESCRIBE_PATHS_MAX>) -> Option<oneshot::Receiver<Described>> {
        if paths.is_empty() || self.questions.len() >= QUESTIONS_MAX {
            return None;
        }
        let id = BatchId(u64::MAX - self.asked);
        self.asked += 1;
        let (answer, answered) = oneshot::channel();
        self.questions.insert(id, answer);
        self.say(&ToAgent::Describe(Describe { id, paths }));
        Some(answered)
    }

    /// How much time content may take.
    pub(super) fn pace(&self) -> Pace {
        Pace::of(&self.connected.dialed.connection)
    }
}

//! A peer that says what it likes: frames by hand on streams of a connection that authenticated.

use std::path::Path;
use std::time::Duration;

use quinn::{ConnectionError, RecvStream, SendStream};
use sync_core::link::{Credentials, Dialed, FrameReader, Role, Secret, dial, hello_initiate};
use sync_proto::codec::{Message, encode_frame};
use sync_proto::limits::{BUNDLE_FRAME_BYTES_MAX, CONTROL_FRAME_BYTES_MAX};
use sync_proto::message::{
    Batch, BatchId, Blob, Bounded, Content, Expected, FileHeader, IgnoreSettings, Open, Operation, Outcome, ReplicaId,
    SessionId, StreamHeader, ToAgent, ToController,
};
use sync_proto::{ContentId, Entry, SyncPath};
use tokio::time::timeout;

use super::super::lab::{Lab, PATIENCE};

pub(super) fn credentials(lab: &Lab, role: Role) -> Credentials {
    Credentials::from_secret(&Secret::from_file(&lab.secret).unwrap(), role).unwrap()
}

/// Runs a peer. Its own runtime, so that what it does holds up nobody else in this process.
pub(super) fn play<T>(what: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(what)
}

pub(super) fn frame<T: Message>(message: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_frame(message, &mut bytes, BUNDLE_FRAME_BYTES_MAX).unwrap();
    bytes
}

/// A frame around any bytes.
pub(super) fn raw_frame(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_le_bytes()[..], body].concat()
}

pub(super) fn path(text: &str) -> SyncPath {
    SyncPath::parse(text.as_bytes()).unwrap()
}

pub(super) fn blob<const MAX: usize>(bytes: &[u8]) -> Blob<MAX> {
    Blob::new(bytes.to_vec()).unwrap()
}

/// A file of this content, as an entry.
pub(super) fn file(content: &[u8]) -> Entry {
    file_of(content, content.len() as u64)
}

/// A file with the hash of this content, and a length that may be a lie.
pub(super) fn file_of(content: &[u8], len: u64) -> Entry {
    Entry::File { content: ContentId(*blake3::hash(content).as_bytes()), len, executable: false }
}

pub(super) fn put(at: &str, entry: Entry, content: Content) -> Operation {
    Operation::Put { path: path(at), expected: Expected::Nothing, entry, content }
}

pub(super) fn batch(id: u64, operations: Vec<Operation>) -> Batch {
    Batch { id: BatchId(id), operations: Bounded::new(operations).unwrap() }
}

/// A zstd frame of that many zeros.
pub(super) fn bomb(len: usize) -> Vec<u8> {
    zstd::bulk::compress(&vec![0; len], 1).unwrap()
}

/// A connection to an agent that takes this side for a controller.
pub(super) struct Peer {
    pub(super) dialed: Dialed,
}

/// A session that the agent has opened.
pub(super) struct Talk {
    pub(super) send: SendStream,
    pub(super) recv: FrameReader,
}

impl Peer {
    pub(super) async fn dial(lab: &Lab, port: u16) -> Self {
        let credentials = credentials(lab, Role::Controller);
        Self { dialed: dial("127.0.0.1", port, &credentials).await.unwrap() }
    }

    /// A control stream after the hellos.
    pub(super) async fn control(&self) -> (SendStream, RecvStream) {
        let connection = &self.dialed.connection;
        let (mut send, mut recv) = timeout(PATIENCE, connection.open_bi()).await.unwrap().unwrap();
        hello_initiate(connection, &mut send, &mut recv, "hostile 0.0.0").await.unwrap();
        (send, recv)
    }

    pub(super) async fn ask(&self, session: u32, root: &Path) -> (SendStream, FrameReader) {
        let (mut send, recv) = self.control().await;
        send.write_all(&[frame(&open(session, root)), frame(&ToAgent::Begin)].concat()).await.unwrap();
        (send, FrameReader::new(recv))
    }

    /// A session on `root` that is not told to begin.
    pub(super) async fn open_unbegun(&self, root: &Path) -> (SendStream, RecvStream) {
        let (mut send, recv) = self.control().await;
        send.write_all(&frame(&open(0, root))).await.unwrap();
        // Nothing tells that the agent has read it: streams of a session that it does not know are nobody's fault.
        tokio::time::sleep(Duration::from_millis(500)).await;
        (send, recv)
    }

    /// A session on `root`.
    pub(super) async fn open(&self, root: &Path) -> Talk {
        // A session before this one may have to let go of the root.
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let (send, mut recv) = self.ask(0, root).await;
            match read(&mut recv).await {
                ToController::Opened(_) => return Talk { send, recv },
                ToController::Refused(_) if std::time::Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                other => panic!("the root was not opened: {other:?}"),
            }
        }
    }

    /// A unidirectional stream that begins with this header.
    pub(super) async fn stream(&self, header: &StreamHeader) -> SendStream {
        let mut send = timeout(PATIENCE, self.dialed.connection.open_uni()).await.unwrap().unwrap();
        send.write_all(&frame(header)).await.unwrap();
        send
    }

    pub(super) async fn bundle(&self) -> SendStream {
        self.stream(&StreamHeader::Bundle(SessionId(0))).await
    }

    pub(super) async fn file(&self, id: u64, at: &str, entry: Entry, recipe: bool) -> SendStream {
        let header = FileHeader { batch: BatchId(id), path: path(at), expected: Expected::Nothing, entry, recipe };
        self.stream(&StreamHeader::File(SessionId(0), header)).await
    }

    /// How the other side ended the connection: its code, and its sentence.
    pub(super) async fn ended(&self) -> (u64, String) {
        match timeout(Duration::from_secs(30), self.dialed.connection.closed()).await {
            Ok(ConnectionError::ApplicationClosed(close)) => {
                (close.error_code.into_inner(), String::from_utf8_lossy(&close.reason).into_owned())
            }
            Ok(other) => panic!("the connection ended by itself: {other}"),
            Err(_) => panic!("the connection was not ended"),
        }
    }
}

impl Talk {
    pub(super) async fn say(&mut self, message: &ToAgent) {
        self.send.write_all(&frame(message)).await.unwrap();
    }

    /// What becomes of a batch on the control stream.
    pub(super) async fn outcomes(&mut self, id: u64, operations: Vec<Operation>) -> Vec<Outcome> {
        self.say(&ToAgent::Batch(batch(id, operations))).await;
        self.answer(id).await
    }

    pub(super) async fn answer(&mut self, id: u64) -> Vec<Outcome> {
        loop {
            match read(&mut self.recv).await {
                ToController::Outcomes(outcomes) if outcomes.batch == BatchId(id) => {
                    return outcomes.outcomes.into_vec();
                }
                ToController::Changes(_) | ToController::Outcomes(_) => {}
                other => panic!("no answer, but {other:?}"),
            }
        }
    }
}

pub(super) fn open(session: u32, root: &Path) -> ToAgent {
    ToAgent::Open(Open {
        session: SessionId(session),
        controller: ReplicaId(rand()),
        root: blob(root.as_os_str().as_encoded_bytes()),
        ignore: IgnoreSettings::default(),
        push: false,
    })
}

/// Another one each time.
fn rand() -> [u8; 16] {
    static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    (u128::from(count) << 64 | u128::from(std::process::id())).to_le_bytes()
}

pub(super) async fn read(recv: &mut FrameReader) -> ToController {
    timeout(PATIENCE, recv.read::<ToController>(CONTROL_FRAME_BYTES_MAX)).await.unwrap().unwrap().unwrap()
}

//! One connection at the agent: streams taken in and led to the session they belong to.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use quinn::{Connection, RecvStream, SendStream};
use sync_proto::{
    SyncPath,
    escape::Escaped,
    limits::{BUNDLE_FRAME_BYTES_MAX, CONTROL_FRAME_BYTES_MAX, SESSIONS_PER_CONNECTION_MAX, STREAM_HEADER_BYTES_MAX},
    message::{Batch, FileHeader, Open, Sentence, SessionId, StreamHeader, ToAgent, ToController},
};
use tokio::{sync::mpsc, task::JoinSet};

use super::{
    guests::{Guest, Guests},
    root::ServedRoot,
    session::{self, Input},
    supply::Supplier,
};
use crate::{
    link::{self, CloseCode, FrameReader, FrameWriter, close, hello_respond},
    session::{
        SOFTWARE, received,
        streams::{self, FileProgress},
    },
};

/// Messages of the controller that wait for a session, each of up to a frame. Beyond, its streams are not read.
const INPUTS_MAX: usize = 8;

/// A session, as streams find it.
#[derive(Debug)]
struct Reached {
    inputs: mpsc::Sender<Input>,
    /// Whether it has its bundle stream: a batch of it is read ahead, so there is one.
    has_bundle: bool,
}

/// The sessions of a connection, by number.
#[derive(Debug, Default)]
struct Sessions(Mutex<HashMap<SessionId, Reached>>);

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, Reached>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves a connection until it is over.
pub(super) async fn serve(connection: Connection, roots: Arc<[Arc<ServedRoot>]>, guests: Arc<Guests>) {
    let sessions = Arc::new(Sessions::default());
    let guest = guests.arrive(connection.clone());
    let overdue = guest.overdue();
    tokio::pin!(overdue);
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            reason = &mut overdue => {
                tracing::warn!(peer = %connection.remote_address(), "ended a connection: {reason}");
                close(&connection, CloseCode::Busy, &reason);
                break;
            }
            accepted = connection.accept_bi() => match accepted {
                Ok((send, recv)) => {
                    let reached = (Arc::clone(&roots), Arc::clone(&sessions), Arc::clone(&guest));
                    let serving = control(connection.clone(), send, recv, reached);
                    tasks.spawn(end_on_fault(connection.clone(), serving));
                }
                Err(error) => {
                    tracing::info!(peer = %connection.remote_address(), "disconnected: {}", link::sentence(&error));
                    break;
                }
            },
            accepted = connection.accept_uni() => match accepted {
                Ok(recv) => {
                    tasks.spawn(end_on_fault(connection.clone(), content(recv, Arc::clone(&sessions))));
                }
                Err(_) => break,
            },
            Some(_) = tasks.join_next() => {}
        }
    }
    // Sessions end by themselves, in good order, once their streams are gone.
    while tasks.join_next().await.is_some() {}
}

/// A peer that breaks the protocol is disconnected, with the reason.
async fn end_on_fault(connection: Connection, serving: impl Future<Output = Result<(), String>>) {
    if let Err(fault) = serving.await {
        tracing::warn!(peer = %connection.remote_address(), "ended a connection: {fault}");
        close(&connection, CloseCode::Protocol, &fault);
    }
}

async fn control(
    connection: Connection,
    mut send: SendStream,
    mut recv: RecvStream,
    (roots, sessions, guest): (Arc<[Arc<ServedRoot>]>, Arc<Sessions>, Arc<Guest>),
) -> Result<(), String> {
    // A failed hello has closed the connection itself.
    if let Err(error) = hello_respond(&connection, &mut send, &mut recv, SOFTWARE).await {
        tracing::warn!(peer = %connection.remote_address(), "no agreement: {error}");
        return Ok(());
    }
    let mut reader = FrameReader::new(recv);
    let mut writer = FrameWriter::new(send, CONTROL_FRAME_BYTES_MAX);
    let open = match reader.read::<ToAgent>(CONTROL_FRAME_BYTES_MAX).await {
        Ok(Some(ToAgent::Open(open))) => open,
        Ok(Some(_)) => return Err("the first message of a session must open a root".to_owned()),
        Ok(None) => return Ok(()),
        Err(error) => return fault(&error),
    };
    let (inputs, inbox) = mpsc::channel(INPUTS_MAX);
    let id = open.session;
    {
        let mut sessions = sessions.lock();
        if sessions.len() >= SESSIONS_PER_CONNECTION_MAX || sessions.contains_key(&id) {
            return Err("a session number used twice, or too many sessions on a connection".to_owned());
        }
        sessions.insert(id, Reached { inputs: inputs.clone(), has_bundle: false });
    }
    let asked = Asked { open, guest: &guest, connection: &connection };
    let result = opened(asked, &roots, reader, &mut writer, inputs, inbox).await;
    sessions.lock().remove(&id);
    let _ = writer.finish();
    result
}

/// A session that is asked for.
struct Asked<'a> {
    open: Open,
    guest: &'a Arc<Guest>,
    connection: &'a Connection,
}

async fn opened(
    Asked { open, guest, connection }: Asked<'_>,
    roots: &[Arc<ServedRoot>],
    reader: FrameReader,
    writer: &mut FrameWriter,
    inputs: mpsc::Sender<Input>,
    inbox: mpsc::Receiver<Input>,
) -> Result<(), String> {
    let asked = native_path(&open.root);
    let Some(root) = roots.iter().find(|root| root.is_at(&asked)) else {
        let served: Vec<String> = roots.iter().map(|root| root.path.display().to_string()).collect();
        let asked = Escaped(&open.root);
        let sentence = format!("the agent does not serve {asked}: it serves {}", served.join(", "));
        return refuse(writer, sentence).await;
    };
    let lease = match root.lease(open.controller, connection.remote_address().to_string()).await {
        Ok(lease) => lease,
        Err(error) => return refuse(writer, error.to_string()).await,
    };
    let _admission = guest.admit();
    let opened = match root.replica(&open.ignore, open.push).await {
        Ok(opened) => opened,
        Err(reason) => return refuse(writer, reason).await,
    };
    let start = |contents| Supplier::start(root.committer().root(), contents, root.past(), connection, open.session);
    let supply = match opened.contents.as_ref().map(start).transpose() {
        Ok(supply) => supply,
        Err(error) => return refuse(writer, format!("a session can't be started: {error}")).await,
    };
    let _ = writer.set_priority(streams::CONTROL_PRIORITY);
    let reading = tokio::spawn(read_control(reader, inputs));
    let result = session::run(root, lease, opened, writer, inbox, connection, supply).await;
    reading.abort();
    result
}

/// Bytes as a path of this platform.
#[cfg(unix)]
fn native_path(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}

/// Bytes as a path of this platform.
#[cfg(not(unix))]
fn native_path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(String::from_utf8_lossy(bytes).into_owned())
}

async fn refuse(writer: &mut FrameWriter, sentence: String) -> Result<(), String> {
    tracing::warn!("refused a session: {sentence}");
    let _ = writer.write(&ToController::Refused(Sentence::new(sentence))).await;
    Ok(())
}

async fn read_control(mut reader: FrameReader, inputs: mpsc::Sender<Input>) {
    loop {
        let input = match reader.read::<ToAgent>(CONTROL_FRAME_BYTES_MAX).await {
            Ok(Some(message)) => Input::Message(message),
            Ok(None) => Input::Ended(None),
            Err(error) => Input::Ended(fault(&error).err()),
        };
        let ended = matches!(input, Input::Ended(_));
        if inputs.send(input).await.is_err() || ended {
            return;
        }
    }
}

/// What the peer is to blame for is a fault; a connection that is gone is not.
fn fault(error: &link::FrameError) -> Result<(), String> {
    if error.is_peers_fault() { Err(error.to_string()) } else { Ok(()) }
}

/// A content stream.
async fn content(recv: RecvStream, sessions: Arc<Sessions>) -> Result<(), String> {
    let mut reader = FrameReader::new(recv);
    let header = match reader.read::<StreamHeader>(STREAM_HEADER_BYTES_MAX).await {
        Ok(Some(header)) => header,
        Ok(None) => return Ok(()),
        Err(error) => return fault(&error),
    };
    match header {
        // A session that has just ended may still have streams under way: nobody's fault.
        StreamHeader::Bundle(id) => match take_bundle(&sessions, id)? {
            Some(inputs) => bundle(reader, inputs).await,
            None => Ok(()),
        },
        StreamHeader::File(id, header) => match inputs_of(&sessions, id) {
            Some(inputs) => file(reader, header, inputs).await,
            None => Ok(()),
        },
    }
}

fn inputs_of(sessions: &Sessions, id: SessionId) -> Option<mpsc::Sender<Input>> {
    sessions.lock().get(&id).map(|reached| reached.inputs.clone())
}

fn take_bundle(sessions: &Sessions, id: SessionId) -> Result<Option<mpsc::Sender<Input>>, String> {
    match sessions.lock().get_mut(&id) {
        Some(Reached { has_bundle: true, .. }) => Err("a second bundle stream in one session".to_owned()),
        Some(reached) => {
            reached.has_bundle = true;
            Ok(Some(reached.inputs.clone()))
        }
        None => Ok(None),
    }
}

async fn bundle(mut reader: FrameReader, inputs: mpsc::Sender<Input>) -> Result<(), String> {
    loop {
        match reader.read::<Batch>(BUNDLE_FRAME_BYTES_MAX).await {
            Ok(Some(batch)) => {
                // The session says when it takes the next: what is read ahead of the disk is bounded by that.
                let (taken, wait) = tokio::sync::oneshot::channel();
                if inputs.send(Input::Bulk(batch, taken)).await.is_err() || wait.await.is_err() {
                    return Ok(());
                }
            }
            Ok(None) => return Ok(()),
            Err(error) => return fault(&error),
        }
    }
}

async fn file(reader: FrameReader, header: FileHeader, inputs: mpsc::Sender<Input>) -> Result<(), String> {
    if header.path == SyncPath::root() {
        return Err("a file can't be streamed to the root".to_owned());
    }
    let (frames, inbox) = received::frame_queue();
    if inputs.send(Input::File(header, inbox)).await.is_err() {
        return Ok(());
    }
    received::forward(reader, frames, &FileProgress::default(), inputs.closed()).await.or_else(|error| fault(&error))
}

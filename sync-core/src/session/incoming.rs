//! Streams that the agent opens: content for alpha.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use quinn::{Connection, RecvStream, VarInt};
use sync_proto::{
    limits::{BUNDLE_FRAME_BYTES_MAX, CONTENT_STREAMS_MAX, CONTROL_FRAME_BYTES_MAX},
    message::{Fetched, FileFrame, FileHeader, SessionId, StreamHeader},
};
use tokio::{sync::mpsc, task::JoinSet};

use super::{received, streams::FileProgress};
use crate::link::FrameReader;

/// What has come and waits for the session. Beyond, the streams are not read.
const INCOMING_MAX: usize = 2;

/// What comes on a stream.
pub(super) enum Incoming {
    /// Content that was asked for.
    Fetched(Fetched),
    /// A file, its frames, and how far it has got.
    File(FileHeader, mpsc::Receiver<FileFrame>, Arc<FileProgress>),
    /// The agent broke the protocol.
    Fault(String),
}

/// Lets the agent open streams, and reads them until the task is aborted or the connection is gone.
pub(super) fn accept(
    connection: &Connection,
    session: SessionId,
) -> (mpsc::Receiver<Incoming>, tokio::task::JoinHandle<()>) {
    let (inputs, incoming) = mpsc::channel(INCOMING_MAX);
    connection.set_max_concurrent_uni_streams(VarInt::from_u32(CONTENT_STREAMS_MAX as u32));
    let connection = connection.clone();
    let task = tokio::spawn(async move {
        let has_bundle = Arc::<AtomicBool>::default();
        let mut streams = JoinSet::new();
        loop {
            tokio::select! {
                accepted = connection.accept_uni() => match accepted {
                    Ok(recv) => drop(streams.spawn(stream(recv, session, inputs.clone(), Arc::clone(&has_bundle)))),
                    Err(_) => return,
                },
                Some(_) = streams.join_next() => {}
            }
        }
    });
    (incoming, task)
}

async fn stream(recv: RecvStream, session: SessionId, inputs: mpsc::Sender<Incoming>, has_bundle: Arc<AtomicBool>) {
    if let Err(fault) = read(recv, session, &inputs, &has_bundle).await {
        // A session that is over needs no reason.
        let _ = inputs.send(Incoming::Fault(fault)).await;
    }
}

async fn read(
    recv: RecvStream,
    session: SessionId,
    inputs: &mpsc::Sender<Incoming>,
    has_bundle: &AtomicBool,
) -> Result<(), String> {
    let mut reader = FrameReader::new(recv);
    match next::<StreamHeader>(&mut reader, CONTROL_FRAME_BYTES_MAX).await? {
        None => Ok(()),
        Some(StreamHeader::Bundle(id)) if id == session => {
            if has_bundle.swap(true, Ordering::Relaxed) {
                return Err("the agent opened two bundle streams".to_owned());
            }
            while let Some(fetched) = next(&mut reader, BUNDLE_FRAME_BYTES_MAX).await? {
                if inputs.send(Incoming::Fetched(fetched)).await.is_err() {
                    break;
                }
            }
            Ok(())
        }
        Some(StreamHeader::File(id, header)) if id == session => {
            let (frames, inbox) = received::frame_queue();
            let progress = Arc::<FileProgress>::default();
            if inputs.send(Incoming::File(header, inbox, Arc::clone(&progress))).await.is_err() {
                return Ok(());
            }
            received::forward(reader, frames, &progress, inputs.closed()).await.or_else(|error| ended(&error))
        }
        Some(_) => Err("the agent opened a stream for another session".to_owned()),
    }
}

async fn next<T: sync_proto::codec::Message>(reader: &mut FrameReader, max: usize) -> Result<Option<T>, String> {
    match reader.read(max).await {
        Ok(read) => Ok(read),
        Err(error) => ended(&error).map(|()| None),
    }
}

/// What the peer is to blame for is a fault; a connection that is gone is not.
fn ended(error: &crate::link::FrameError) -> Result<(), String> {
    if error.is_peers_fault() { Err(error.to_string()) } else { Ok(()) }
}

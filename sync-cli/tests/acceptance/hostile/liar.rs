//! An agent that says what it likes to a real `synctl`: what it has of a session, and what lies are made of.

use std::net::{Ipv4Addr, SocketAddr};

use quinn::{Connection, SendStream};
use sync_core::link::{FrameReader, Listener, Role, hello_respond};
use sync_core::tree::Tree;
use sync_proto::limits::{BUNDLE_FRAME_BYTES_MAX, CONTROL_FRAME_BYTES_MAX, STREAM_HEADER_BYTES_MAX};
use sync_proto::message::{
    Batch, BatchId, Bounded, Change, Changes, Listed, Listing, Opened, Outcome, Outcomes, Problems, ReplicaId,
    SessionId, StreamHeader, ToAgent, ToController,
};
use sync_proto::{SyncPath, TreeHash};

use super::super::lab::{Lab, Watch};
use super::peer::{credentials, frame};

/// What a liar has of a session: its streams, and what it was told.
pub(super) struct Liar {
    pub(super) connection: Connection,
    pub(super) session: SessionId,
    pub(super) send: SendStream,
    pub(super) recv: FrameReader,
}

/// Where a liar waits, as an agent with the lab's secret.
pub(super) fn listener(lab: &Lab) -> Listener {
    Listener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), &credentials(lab, Role::Agent)).unwrap()
}

impl Liar {
    /// The next session that somebody has opened and begun.
    pub(super) async fn accept(listener: &Listener) -> Self {
        loop {
            let Some(Ok(connection)) = listener.accept().await else { continue };
            let Ok((mut send, mut recv)) = connection.accept_bi().await else { continue };
            if hello_respond(&connection, &mut send, &mut recv, "hostile 0.0.0").await.is_err() {
                continue;
            }
            let mut recv = FrameReader::new(recv);
            let Ok(Some(ToAgent::Open(open))) = recv.read::<ToAgent>(CONTROL_FRAME_BYTES_MAX).await else { continue };
            if let Ok(Some(ToAgent::Begin)) = recv.read::<ToAgent>(CONTROL_FRAME_BYTES_MAX).await {
                return Self { connection, session: open.session, send, recv };
            }
        }
    }

    pub(super) async fn say(&mut self, message: &ToController) {
        // The victim may have hung up already.
        let _ = self.send.write_all(&frame(message)).await;
    }

    /// The next message; `None` where the victim has hung up. Cancel-safe.
    pub(super) async fn hear(&mut self) -> Option<ToAgent> {
        self.recv.read::<ToAgent>(CONTROL_FRAME_BYTES_MAX).await.ok().flatten()
    }

    pub(super) async fn opened(&mut self, tree: TreeHash) {
        self.opened_as(ReplicaId([7; 16]), tree).await;
    }

    pub(super) async fn opened_as(&mut self, replica: ReplicaId, tree: TreeHash) {
        let opened = Opened {
            replica,
            tree,
            entries: 1,
            complete: true,
            partials: Bounded::default(),
            problems: Problems::new([]),
        };
        self.say(&ToController::Opened(opened)).await;
    }

    /// Opened with an empty tree; then the first batch that comes.
    pub(super) async fn first_batch(&mut self) -> (BatchId, usize) {
        self.opened(Tree::new().hash()).await;
        let mut bundle = FrameReader::new(self.connection.accept_uni().await.unwrap());
        let _header = bundle.read::<StreamHeader>(STREAM_HEADER_BYTES_MAX).await.unwrap().unwrap();
        loop {
            tokio::select! {
                batch = bundle.read::<Batch>(BUNDLE_FRAME_BYTES_MAX) => {
                    let batch = batch.unwrap().unwrap();
                    return (batch.id, batch.operations.len());
                }
                message = self.recv.read::<ToAgent>(CONTROL_FRAME_BYTES_MAX) => {
                    if let Ok(Some(ToAgent::Batch(batch))) = message {
                        return (batch.id, batch.operations.len());
                    }
                }
            }
        }
    }
}

/// Whether the end of a session was told in words that have `fault` in them, or one of several, with `|` between.
pub(super) fn is_named(watch: &Watch, fault: &str) -> bool {
    let names = |event: &serde_json::Value| {
        let reason = event["reason"].as_str().unwrap_or_default();
        event["event"] == "disconnected" && fault.split('|').any(|words| reason.contains(words))
    };
    watch.events().iter().any(names)
}

pub(super) fn changes(changes: Vec<Change>) -> ToController {
    let changes = Bounded::new(changes).unwrap();
    ToController::Changes(Changes {
        changes,
        settled: true,
        complete: true,
        problems: Problems::new([]),
        age_micros: 0,
    })
}

pub(super) fn outcomes(batch: BatchId, outcomes: Vec<Outcome>) -> ToController {
    ToController::Outcomes(Outcomes { batch, outcomes: Bounded::new(outcomes).unwrap(), apply_micros: 1 })
}

pub(super) fn listing_of(path: SyncPath, entries: Vec<Listed>, last: bool) -> ToController {
    ToController::Listing(Listing { path, entries: Bounded::new(entries).unwrap(), last })
}

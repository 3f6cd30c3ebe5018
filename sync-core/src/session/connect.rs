//! From a destination to an open root at an agent, or a sentence that says why not.

use std::path::PathBuf;

use quinn::Connection;
use sync_proto::{
    codec::encode_frame,
    limits::{CONTROL_FRAME_BYTES_MAX, PATH_BYTES_MAX},
    message::{Blob, IgnoreSettings, Open, Opened, ReplicaId, SessionId, ToAgent, ToController},
};
use tokio::sync::{mpsc, watch};

use super::{SOFTWARE, streams};
use crate::link::{
    Credentials, Dialed, FIRST_WINDOW_BYTES_MAX, FrameReader, SILENCE_MAX, dial_with_window, hello_initiate, sentence,
    unheard,
};

/// Whom to call, and what for.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) root: PathBuf,
    pub(super) credentials: Credentials,
    pub(super) controller: ReplicaId,
    pub(super) ignore: IgnoreSettings,
    /// Whether beta's changes go to alpha.
    pub(super) push: bool,
}

/// A root that is open at an agent.
#[derive(Debug)]
pub(super) struct Connected {
    pub(super) dialed: Dialed,
    pub(super) session: SessionId,
    pub(super) opened: Opened,
    pub(super) control: mpsc::UnboundedSender<Vec<u8>>,
    pub(super) bundle: mpsc::UnboundedSender<Vec<u8>>,
}

/// A session that can't be, now or at all: a sentence for the user.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub(super) struct ConnectError {
    pub(super) reason: String,
    /// Whether the agent was there and was lost; else it can't be reached, or does not want to.
    pub(super) is_loss: bool,
}

impl ConnectError {
    fn refused(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), is_loss: false }
    }

    fn lost(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), is_loss: true }
    }
}

impl Target {
    /// Dials. The first congestion window is `window` bytes, where the link is known.
    pub(super) async fn dial(&self, window: Option<u64>) -> Result<Dialed, ConnectError> {
        let window = window.unwrap_or(FIRST_WINDOW_BYTES_MAX);
        dial_with_window(&self.host, self.port, &self.credentials, window)
            .await
            .map_err(|error| ConnectError::refused(error.to_string()))
    }

    /// Agrees on a version, and opens the root. The agent scans it at once, and is told to begin when alpha `is_scanned`: where
    /// that is so already, in the same flight.
    pub(super) async fn open(
        &self,
        dialed: Dialed,
        mut is_scanned: watch::Receiver<bool>,
    ) -> Result<(Connected, FrameReader), ConnectError> {
        let connection = &dialed.connection;
        let (mut send, mut recv) =
            connection.open_bi().await.map_err(|error| ConnectError::refused(sentence(&error)))?;
        hello_initiate(connection, &mut send, &mut recv, SOFTWARE)
            .await
            .map_err(|error| ConnectError::refused(error.to_string()))?;
        let session = SessionId(0);
        let open = ToAgent::Open(Open {
            session,
            controller: self.controller,
            root: self.root_bytes()?,
            ignore: self.ignore.clone(),
            push: self.push,
        });
        let control = streams::control(send);
        let _ = control.send(frame(&open)?);
        let mut reader = FrameReader::new(recv);
        let opened = answer(connection, &control, &mut reader, &mut is_scanned).await?;
        let bundle =
            streams::bundle(connection, session).await.map_err(|error| ConnectError::lost(sentence(&error)))?;
        Ok((Connected { session, opened, control, bundle, dialed }, reader))
    }

    fn root_bytes(&self) -> Result<Blob<PATH_BYTES_MAX>, ConnectError> {
        Blob::new(self.root.as_os_str().as_encoded_bytes().to_vec())
            .map_err(|_| ConnectError::refused("the path of the destination is too long"))
    }
}

/// The answer to an opening, which comes after the agent has been told to begin.
async fn answer(
    connection: &Connection,
    control: &mpsc::UnboundedSender<Vec<u8>>,
    reader: &mut FrameReader,
    is_scanned: &mut watch::Receiver<bool>,
) -> Result<Opened, ConnectError> {
    let mut has_begun = false;
    // Alpha may take minutes, and so may beta: who is still there is heard meanwhile.
    let silent = unheard(connection, SILENCE_MAX);
    tokio::pin!(silent);
    loop {
        let answer = tokio::select! {
            biased;
            true = becomes(is_scanned), if !has_begun => {
                let _ = control.send(frame(&ToAgent::Begin)?);
                has_begun = true;
                continue;
            }
            answer = reader.read::<ToController>(CONTROL_FRAME_BYTES_MAX) => answer,
            () = &mut silent => return Err(ConnectError::lost(why_unheard(connection))),
        };
        match answer {
            Ok(Some(ToController::Opened(opened))) if has_begun => return Ok(opened),
            Ok(Some(ToController::Opened(_))) => {
                return Err(ConnectError::refused("the agent opened the root before it was told to begin"));
            }
            Ok(Some(ToController::Refused(sentence) | ToController::Goodbye(sentence))) => {
                return Err(ConnectError::refused(sentence.to_string()));
            }
            // Said so that this end's acknowledgement shows that there is somebody. One after the other they must not keep
            // everything else waiting.
            Ok(Some(ToController::Pong(_))) => tokio::task::yield_now().await,
            Ok(Some(_)) => return Err(ConnectError::refused("the agent did not answer the opening of the root")),
            Ok(None) => return Err(ConnectError::lost(why_closed(connection).await)),
            Err(error) if error.is_peers_fault() => return Err(ConnectError::refused(error.to_string())),
            Err(error) => return Err(ConnectError::lost(error.to_string())),
        }
    }
}

/// A stream that ends without a word is most often followed by the connection, with one.
async fn why_closed(connection: &Connection) -> String {
    match tokio::time::timeout(std::time::Duration::from_secs(1), connection.closed()).await {
        Ok(error) => sentence(&error),
        Err(_) => "the agent ended the session without a reason".to_owned(),
    }
}

/// Waits until it is true. `false`: it never will be. Cancel-safe.
async fn becomes(value: &mut watch::Receiver<bool>) -> bool {
    value.wait_for(|is_true| *is_true).await.is_ok()
}

/// What to say of a peer of which nothing was heard for [`SILENCE_MAX`], or whose connection is closed.
pub(super) fn why_unheard(connection: &Connection) -> String {
    match connection.close_reason() {
        Some(error) => sentence(&error),
        None => format!("nothing was heard of the agent for {} s", SILENCE_MAX.as_secs()),
    }
}

/// A message as a frame of the control stream.
pub(super) fn frame(message: &ToAgent) -> Result<Vec<u8>, ConnectError> {
    let mut bytes = Vec::new();
    encode_frame(message, &mut bytes, CONTROL_FRAME_BYTES_MAX)
        .map_err(|error| ConnectError::refused(format!("a message could not be sent: {error}")))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;

//! From a destination to an open root at an agent, or a sentence that says why not.

use std::path::PathBuf;

use quinn::Connection;
use sync_proto::{
    codec::encode_frame,
    limits::{CONTROL_FRAME_BYTES_MAX, PATH_BYTES_MAX},
    message::{Blob, IgnoreSettings, Open, Opened, ReplicaId, SessionId, ToAgent, ToController},
};
use tokio::sync::mpsc;

use super::{SOFTWARE, streams};
use crate::link::{Credentials, Dialed, FIRST_WINDOW_BYTES_MAX, FrameReader, dial_with_window, hello_initiate};

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
#[error("{0}")]
pub(super) struct ConnectError(pub(super) String);

impl Target {
    /// Dials, agrees on a version, and opens the root.
    /// The first congestion window is `window` bytes, where the link is known.
    pub(super) async fn connect(&self, window: Option<u64>) -> Result<(Connected, FrameReader), ConnectError> {
        let window = window.unwrap_or(FIRST_WINDOW_BYTES_MAX);
        let dialed = dial_with_window(&self.host, self.port, &self.credentials, window)
            .await
            .map_err(|error| ConnectError(error.to_string()))?;
        self.open(dialed).await
    }

    async fn open(&self, dialed: Dialed) -> Result<(Connected, FrameReader), ConnectError> {
        let connection = &dialed.connection;
        let lost = |error: quinn::ConnectionError| ConnectError(crate::link::sentence(&error));
        let (mut send, mut recv) = connection.open_bi().await.map_err(lost)?;
        hello_initiate(connection, &mut send, &mut recv, SOFTWARE)
            .await
            .map_err(|error| ConnectError(error.to_string()))?;
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
        let opened = match reader.read::<ToController>(CONTROL_FRAME_BYTES_MAX).await {
            Ok(Some(ToController::Opened(opened))) => opened,
            Ok(Some(ToController::Refused(sentence) | ToController::Goodbye(sentence))) => {
                return Err(ConnectError(sentence.to_string()));
            }
            Ok(Some(_)) => return Err(ConnectError("the agent did not answer the opening of the root".to_owned())),
            Ok(None) => return Err(ConnectError(self.why_closed(connection).await)),
            Err(error) => return Err(ConnectError(error.to_string())),
        };
        let bundle = streams::bundle(connection, session).await.map_err(lost)?;
        Ok((Connected { session, opened, control, bundle, dialed }, reader))
    }

    /// A stream that ends without a word is most often followed by the connection, with one.
    async fn why_closed(&self, connection: &Connection) -> String {
        match tokio::time::timeout(std::time::Duration::from_secs(1), connection.closed()).await {
            Ok(error) => crate::link::sentence(&error),
            Err(_) => "the agent ended the session without a reason".to_owned(),
        }
    }

    fn root_bytes(&self) -> Result<Blob<PATH_BYTES_MAX>, ConnectError> {
        Blob::new(self.root.as_os_str().as_encoded_bytes().to_vec())
            .map_err(|_| ConnectError("the path of the destination is too long".to_owned()))
    }
}

/// A message as a frame of the control stream.
pub(super) fn frame(message: &ToAgent) -> Result<Vec<u8>, ConnectError> {
    let mut bytes = Vec::new();
    encode_frame(message, &mut bytes, CONTROL_FRAME_BYTES_MAX)
        .map_err(|error| ConnectError(format!("a message could not be sent: {error}")))?;
    Ok(bytes)
}

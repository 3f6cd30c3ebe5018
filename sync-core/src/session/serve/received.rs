//! A file that is streamed to this side: where it goes, and what it may be made of.

use std::io;

use sync_proto::message::{FileFrame, FileHeader};

use crate::replica::{
    commit::{Committer, Partial},
    transfer::{FileReceiver, ReadSeek, ReceiveError, Reply},
};

/// A file on its way into the stage.
pub(super) struct ReceivedFile {
    receiver: FileReceiver<std::fs::File>,
    partial: Partial,
}

/// Why it can't be received.
pub(super) enum Failure {
    /// The disk.
    Disk(io::Error),
    /// What it was to be made of has changed; it can be sent again.
    Again,
    /// The sender gave up.
    Aborted,
    /// The peer broke the protocol.
    Peer(String),
}

impl ReceivedFile {
    /// Begins, with what an earlier transfer left and with the file that is replaced as sources of chunks.
    pub(super) fn begin(committer: &Committer, header: &FileHeader) -> Result<Self, Failure> {
        let content =
            header.entry.content().ok_or_else(|| Failure::Peer("what is streamed is not a file".to_owned()))?;
        let mut resources: Vec<Box<dyn ReadSeek>> = Vec::new();
        if header.recipe
            && let Some((parent, name)) = header.path.split_last()
            && let Ok((file, _)) = committer.root().resolve(&parent).and_then(|dir| dir.open_file(name))
        {
            resources.push(Box::new(file));
        }
        let partial = committer.partial(content).map_err(Failure::Disk)?;
        let output = partial.file().try_clone().map_err(Failure::Disk)?;
        // Without a recipe bytes come unasked, from the first one on. And what is longer than the file is no part of it.
        if !header.recipe || output.metadata().map_err(Failure::Disk)?.len() > header.entry.content_len() {
            output.set_len(0).map_err(Failure::Disk)?;
        }
        let receiver = FileReceiver::new(header, output, resources).map_err(Failure::from)?;
        Ok(Self { receiver, partial })
    }

    pub(super) fn handle(&mut self, frame: FileFrame) -> Result<Reply, Failure> {
        self.receiver.handle(frame).map_err(Failure::from)
    }

    /// It failed. What has arrived is kept for another time, unless it is in the way of everybody else.
    pub(super) fn give_up(self, failure: &Failure) {
        let is_full =
            |error: &io::Error| matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        let partial = self.into_partial();
        if matches!(failure, Failure::Disk(error) if is_full(error)) {
            partial.discard();
        }
    }

    /// The whole file, once it is complete.
    pub(super) fn into_partial(self) -> Partial {
        drop(self.receiver.into_output());
        self.partial
    }
}

impl From<ReceiveError> for Failure {
    fn from(error: ReceiveError) -> Self {
        match error {
            ReceiveError::Output(error) => Self::Disk(error),
            ReceiveError::Aborted => Self::Aborted,
            ReceiveError::SourceChanged | ReceiveError::OutputTooLong { .. } => Self::Again,
            ReceiveError::WrongContent | ReceiveError::Protocol(_) => Self::Peer(error.to_string()),
        }
    }
}

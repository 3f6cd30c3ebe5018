//! A file that is streamed to this side, whichever that is: from its stream into the stage.

use std::{io, sync::atomic::Ordering};

use sync_proto::message::{BatchId, FileFrame, FileHeader, Need, Outcome};
use tokio::sync::mpsc;

use super::{past::Past, streams::FileProgress};
use crate::{
    link::{FrameError, FrameReader},
    replica::{
        commit::{Committer, Partial, refusal},
        problem,
        transfer::{FileReceiver, ReadSeek, ReceiveError, Reply},
    },
    tree::Tree,
};

/// Frames of a file that wait for the disk.
const FILE_FRAMES_MAX: usize = 4;

/// What the threads that receive files say.
pub(super) enum FileNews {
    /// To be said to the sender.
    Need(Need),
    /// The content is whole and verified.
    Complete(FileHeader, Partial),
    /// It can't be received; without an outcome because the sender gave up, and needs no answer.
    Failed(BatchId, Option<Outcome>),
    /// The peer broke the protocol.
    Fault(String),
}

/// A queue for the frames of one file.
pub(super) fn frame_queue() -> (mpsc::Sender<FileFrame>, mpsc::Receiver<FileFrame>) {
    mpsc::channel(FILE_FRAMES_MAX)
}

/// Reads the frames of a file off its stream, as fast as the disk takes them, until it is over or `ended` is.
pub(super) async fn forward(
    mut reader: FrameReader,
    frames: mpsc::Sender<FileFrame>,
    progress: &FileProgress,
    ended: impl Future<Output = ()>,
) -> Result<(), FrameError> {
    tokio::pin!(ended);
    loop {
        let read = tokio::select! {
            read = reader.read_file() => read?,
            // The session is over: what has arrived is left for the next.
            () = &mut ended => return Ok(()),
        };
        let Some(frame) = read else { return Ok(()) };
        count(&frame, progress);
        if frames.send(frame).await.is_err() {
            return Ok(());
        }
    }
}

/// Bytes of a chunk in a recipe, about.
const CHUNK_BYTES: usize = 36;

fn count(frame: &FileFrame, progress: &FileProgress) {
    let (read, wire) = match frame {
        FileFrame::Raw(bytes) => (bytes.len(), bytes.len()),
        FileFrame::Zstd { len, bytes } => (*len as usize, bytes.len()),
        FileFrame::Recipe(page) => (0, CHUNK_BYTES * page.chunks.len()),
        FileFrame::Copy { len, .. } => (usize::try_from(*len).unwrap_or(usize::MAX), 0),
        FileFrame::Delta { len, bytes, .. } => (*len as usize, bytes.len()),
        FileFrame::End | FileFrame::Abort => (0, 0),
    };
    progress.read.fetch_add(read as u64, Ordering::Relaxed);
    progress.wire.fetch_add(wire as u64, Ordering::Relaxed);
}

/// What a file that is received may be taken from, beside the one that it replaces.
pub(super) struct Around {
    /// What stands in the root and takes part.
    pub(super) tree: Tree,
    pub(super) past: Past,
}

/// Receives one file, on a thread that may block on the disk.
pub(super) fn receive_file(
    committer: &Committer,
    around: Around,
    header: FileHeader,
    frames: mpsc::Receiver<FileFrame>,
    news: &mpsc::Sender<FileNews>,
) {
    let batch = header.batch;
    let path = header.path.clone();
    let message = match receive(committer, around, header, frames, news) {
        Ok(complete) => complete,
        Err(Failure::Disk(error)) => FileNews::Failed(batch, Some(Outcome::Failed(problem::at(&path, &error)))),
        Err(Failure::Again) => FileNews::Failed(batch, Some(Outcome::BaseMissing)),
        // What has arrived stays for the next time.
        Err(Failure::Aborted) => FileNews::Failed(batch, None),
        Err(Failure::Peer(fault)) => FileNews::Fault(fault),
    };
    // A session that is gone needs no answer.
    let _ = news.blocking_send(message);
}

fn receive(
    committer: &Committer,
    around: Around,
    header: FileHeader,
    mut frames: mpsc::Receiver<FileFrame>,
    news: &mpsc::Sender<FileNews>,
) -> Result<FileNews, Failure> {
    if let Some(refused) = refusal(&header.path) {
        return Ok(FileNews::Failed(header.batch, Some(refused)));
    }
    let Around { tree, past } = around;
    let _streaming = past.chunks.as_ref().map(|chunks| chunks.streaming());
    let mut file = ReceivedFile::begin(committer, &header)?;
    file.take_from(committer, tree, &past);
    while let Some(frame) = frames.blocking_recv() {
        let reply = match file.handle(frame) {
            Ok(reply) => reply,
            Err(failure) => {
                file.give_up(&failure);
                return Err(failure);
            }
        };
        match reply {
            Reply::None => {}
            Reply::Need(need) => {
                let _ = news.blocking_send(FileNews::Need(need));
            }
            Reply::Complete => {
                file.note(&header, &past);
                return Ok(FileNews::Complete(header, file.into_partial()));
            }
        }
    }
    Err(Failure::Aborted)
}

/// A file on its way into the stage.
struct ReceivedFile {
    receiver: FileReceiver<std::fs::File>,
    partial: Partial,
}

/// Why it can't be received.
enum Failure {
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
    /// Begins, with the file that is replaced and with what an earlier transfer left, to take from.
    fn begin(committer: &Committer, header: &FileHeader) -> Result<Self, Failure> {
        let content =
            header.entry.content().ok_or_else(|| Failure::Peer("what is streamed is not a file".to_owned()))?;
        let mut resources: Vec<Box<dyn ReadSeek>> = Vec::new();
        if let Some((parent, name)) = header.path.split_last()
            && let Ok((file, _)) = committer.root().resolve(&parent).and_then(|dir| dir.open_file(name))
        {
            resources.push(Box::new(file));
        }
        let partial = committer.partial(content).map_err(Failure::Disk)?;
        let output = partial.file().try_clone().map_err(Failure::Disk)?;
        // Without a recipe bytes come unasked, from the first one on. And what is longer than the file is no part of it.
        // An empty file is left as it is: one that was cut to nothing ext4 takes for one that is being replaced, and writes
        // all of it to the disk when it is closed.
        let stood = output.metadata().map_err(Failure::Disk)?.len();
        if stood > 0 && (!header.recipe || stood > header.entry.content_len()) {
            output.set_len(0).map_err(Failure::Disk)?;
        }
        let receiver = FileReceiver::new(header, output, resources).map_err(Failure::from)?;
        Ok(Self { receiver, partial })
    }

    /// Chunks may be anywhere in the root, or in what is kept.
    fn take_from(&mut self, committer: &Committer, tree: Tree, past: &Past) {
        let here = past.chunks.as_ref().zip(committer.root().try_clone().ok());
        if let Some(here) = here.and_then(|(chunks, root)| chunks.here(root, tree, past.bases.clone())) {
            self.receiver.take_from(Box::new(here));
        }
    }

    /// It is whole: the next ones may have chunks of it.
    fn note(&self, header: &FileHeader, past: &Past) {
        let (Some(chunks), Some(content)) = (&past.chunks, header.entry.content()) else { return };
        match self.receiver.cuts() {
            Some(cuts) => chunks.note(content, &header.path, cuts),
            None => {
                // By other means it replaces another for the first time.
                let again = self.receiver.has_deltas();
                chunks.note_later(content, &header.path, header.entry.content_len(), again);
            }
        }
    }

    fn handle(&mut self, frame: FileFrame) -> Result<Reply, Failure> {
        self.receiver.handle(frame).map_err(Failure::from)
    }

    /// It failed. What has arrived is kept for another time, unless it is in the way of everybody else.
    fn give_up(self, failure: &Failure) {
        let is_full =
            |error: &io::Error| matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        let partial = self.into_partial();
        if matches!(failure, Failure::Disk(error) if is_full(error)) {
            partial.discard();
        }
    }

    /// The whole file, once it is complete.
    fn into_partial(self) -> Partial {
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

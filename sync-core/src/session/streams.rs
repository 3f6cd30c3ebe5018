//! What leaves for the other side: frames in order on the control and the bundle stream, and files on streams of their own.
//!
//! Writing waits while the other side's window is full, so each stream has a task of its own; the session only hands over.
//! Preparing bulk reads the disk, so that is done on a thread.

use std::{
    fs::File,
    io::BufReader,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use quinn::{Connection, SendStream};
use sync_proto::{
    ContentId,
    codec::{encode_frame, encode_raw_head},
    limits::{FILE_FRAME_BYTES_MAX, STREAM_HEADER_BYTES_MAX},
    message::{BatchId, FileFrame, FileHeader, Need, SessionId, StreamHeader},
};
use tokio::sync::mpsc;

use super::{
    pace::Pace,
    past::Past,
    prepare::{Prepared, Preparer, Way},
};
use crate::{
    chunk::Cuts,
    engine::plan::Planned,
    replica::{
        bases::NewBase,
        chunks::ChunkIndex,
        transfer::{FileSender, PAGES_IN_FLIGHT_MAX, Step},
    },
    sys::DirHandle,
};

/// Control goes ahead of everything.
pub(super) const CONTROL_PRIORITY: i32 = 10;
/// Small files go ahead of large ones.
const BUNDLE_PRIORITY: i32 = 1;
/// Large files give way to all.
const FILE_PRIORITY: i32 = 0;
/// After how many bytes of a file that is read it is asked anew what its link is worth.
const PACED_BYTES: u64 = 2 << 20;
/// Frames of a bundle that wait for the link, where they are made on demand.
const BUNDLE_FRAMES_MAX: usize = 2;
/// Frames of a file that wait for the link.
const FILE_FRAMES_MAX: usize = 2;

/// Starts to write frames to the control stream, in order.
pub(super) fn control(send: SendStream) -> mpsc::UnboundedSender<Vec<u8>> {
    let _ = send.set_priority(CONTROL_PRIORITY);
    writer(send)
}

/// Opens the bundle stream and starts to write frames to it, in order.
pub(super) async fn bundle(
    connection: &Connection,
    session: SessionId,
) -> Result<mpsc::UnboundedSender<Vec<u8>>, quinn::ConnectionError> {
    let send = connection.open_uni().await?;
    let _ = send.set_priority(BUNDLE_PRIORITY);
    let frames = writer(send);
    let mut header = Vec::new();
    if encode_frame(&StreamHeader::Bundle(session), &mut header, STREAM_HEADER_BYTES_MAX).is_ok() {
        let _ = frames.send(header);
    }
    Ok(frames)
}

/// A task that writes what it is given. What may wait here is bounded by the engine's windows.
fn writer(mut send: SendStream) -> mpsc::UnboundedSender<Vec<u8>> {
    let (frames, mut inbox) = mpsc::unbounded_channel::<Vec<u8>>();
    tokio::spawn(async move {
        while let Some(frame) = inbox.recv().await {
            if send.write_chunk(frame.into()).await.is_err() {
                return;
            }
        }
        end(send).await;
    });
    frames
}

/// The same for a bundle stream whose frames are made no faster than they are read at the other side. It is opened with the
/// first of them.
pub(super) fn bounded_bundle(connection: Connection, session: SessionId) -> mpsc::Sender<Vec<u8>> {
    let (frames, mut inbox) = mpsc::channel::<Vec<u8>>(BUNDLE_FRAMES_MAX);
    tokio::spawn(async move {
        let Some(mut frame) = inbox.recv().await else { return };
        let mut header = Vec::new();
        let Ok(()) = encode_frame(&StreamHeader::Bundle(session), &mut header, STREAM_HEADER_BYTES_MAX) else { return };
        // A connection that is gone takes the session with it, by another way.
        let Ok(mut send) = connection.open_uni().await else { return };
        let _ = send.set_priority(BUNDLE_PRIORITY);
        if send.write_chunk(header.into()).await.is_err() {
            return;
        }
        loop {
            if send.write_chunk(frame.into()).await.is_err() {
                return;
            }
            let Some(next) = inbox.recv().await else { break };
            frame = next;
        }
        end(send).await;
    });
    frames
}

async fn end(mut send: SendStream) {
    let _ = send.finish();
    // Until the other side has it all: dropped now, the last words could be lost with the connection.
    let _ = send.stopped().await;
}

/// A batch to be prepared on a thread.
pub(super) struct ToPrepare {
    pub(super) id: BatchId,
    pub(super) operations: Vec<Planned>,
    pub(super) way: Way,
}

/// Starts the thread that prepares batches. It ends when the sender it gives is dropped.
pub(super) fn preparer(
    name: &str,
    mut preparer: Preparer,
    prepared: mpsc::UnboundedSender<Prepared>,
) -> std::io::Result<crossbeam_channel::Sender<ToPrepare>> {
    let (batches, inbox) = crossbeam_channel::unbounded::<ToPrepare>();
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        for ToPrepare { id, operations, way } in inbox {
            let (all, urgent) = (0..operations.len(), way.urgent);
            let prepare = std::panic::AssertUnwindSafe(|| preparer.prepare(id, operations, way));
            // A bug, which has been reported by the panic itself. The batch is tried again; without an answer the session
            // would wait for it for ever.
            let batch =
                std::panic::catch_unwind(prepare).unwrap_or_else(|_| Prepared::nothing(id, urgent, all.collect()));
            let batch = Prepared { on_thread: true, ..batch };
            if prepared.send(batch).is_err() {
                return;
            }
        }
    })?;
    Ok(batches)
}

/// What a thread that sends a file comes to.
#[derive(Debug)]
pub(super) struct FileEnd {
    pub(super) id: BatchId,
    pub(super) how: HowEnded,
}

/// How the sending of a file ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HowEnded {
    /// All of it was sent: it will be answered.
    Sent,
    /// The receiver reads no more: it has an answer ready, or is gone.
    Refused,
    /// It is not what it was: the receiver was told to forget it. It may have answered before it heard of that.
    GivenUp,
}

/// How far a streamed file has got, in bytes.
#[derive(Debug, Default)]
pub(super) struct FileProgress {
    /// Read from the file that is sent, or come of the file that is received.
    pub(super) read: AtomicU64,
    /// In frames, on the wire.
    pub(super) wire: AtomicU64,
}

/// A file to be streamed.
pub(super) struct FileToSend {
    pub(super) session: SessionId,
    pub(super) header: FileHeader,
    pub(super) pace: Pace,
    pub(super) root: Arc<DirHandle>,
    /// The content that the receiver has there.
    pub(super) replaced: Option<ContentId>,
    /// Whether the receiver has a part of it from an earlier time.
    pub(super) resumes: bool,
    /// What is kept of large files.
    pub(super) past: Past,
    pub(super) progress: Arc<FileProgress>,
}

impl FileToSend {
    /// A copy of what the receiver has there.
    fn base(&self) -> Option<File> {
        // What it is sent itself is there in part at most.
        let id = self.replaced.filter(|id| self.header.entry.content() != Some(*id))?;
        self.past.bases.as_ref()?.find(id)
    }

    /// A base of what is about to be sent, for the next time: one that costs nothing, else one that is written as the file is
    /// read, where the file is one that is changed again and again.
    fn next_base(&self, source: &File) -> (Option<NewBase>, bool) {
        let Some(bases) = &self.past.bases else { return (None, false) };
        let len = self.header.entry.content_len();
        match bases.share(source, len) {
            Some(shared) => (Some(shared), false),
            None => (self.replaced.and_then(|_| bases.begin(len)), true),
        }
    }
}

impl FileToSend {
    /// How it is best said. `source` is the file, if it is there.
    fn way(&self, source: Option<&File>) -> Said {
        if let Some(base) = self.base() {
            return Said::Against(base);
        }
        // Asked for, an earlier part is worth more than the one that is replaced.
        if let Some(cuts) = self.replaced_cuts().filter(|_| !self.resumes) {
            return Said::Known(cuts);
        }
        let is_slow = self.pace.effort().compresses();
        let promises = |chunks: &Arc<ChunkIndex>| {
            source.is_some_and(|source| chunks.is_promising(source, self.header.entry.content_len(), is_slow))
        };
        if self.header.recipe || self.past.chunks.as_ref().is_some_and(promises) { Said::Recipe } else { Said::Whole }
    }

    /// The chunks of what the receiver has there.
    fn replaced_cuts(&self) -> Option<Cuts> {
        let id = self.replaced.filter(|id| self.header.entry.content() != Some(*id))?;
        self.past.chunks.as_ref()?.cuts(id)
    }

    /// Remembers what was sent, and forgets what it was said by: when it was sent, whatever the receiver answers. If that has
    /// another file there, it is not told so twice. And what can't be read is of no use.
    fn note(&self, sent: Sent, content: ContentId, cuts: Option<Cuts>) {
        let Past { bases, chunks } = &self.past;
        if sent != Sent::GivenUp
            && let Some(replaced) = self.replaced.filter(|replaced| *replaced != content)
        {
            if let Some(bases) = bases {
                bases.forget(replaced);
            }
            if let Some(chunks) = chunks {
                chunks.forget(replaced);
            }
        }
        if let (Sent::Whole, Some(chunks)) = (sent, chunks) {
            let FileHeader { path, entry, .. } = &self.header;
            match cuts {
                Some(cuts) => chunks.note(content, path, cuts),
                None => chunks.note_later(content, path, entry.content_len(), self.replaced.is_some()),
            }
        }
    }
}

/// Starts to stream a file. Answers of the receiver go into the sender that comes back.
pub(super) fn file(
    connection: Connection,
    file: FileToSend,
    ends: mpsc::UnboundedSender<FileEnd>,
) -> crossbeam_channel::Sender<Need> {
    // No more pages are announced at a time, so there are no more answers.
    let (needs, inbox) = crossbeam_channel::bounded(PAGES_IN_FLIGHT_MAX);
    tokio::spawn(async move {
        let id = file.header.batch;
        let how = match connection.open_uni().await {
            Ok(send) => stream_file(send, file, inbox).await,
            // The connection is gone, and all that was under way with it.
            Err(_) => HowEnded::Refused,
        };
        let _ = ends.send(FileEnd { id, how });
    });
    needs
}

/// A frame in two pieces, so that content is not copied: what goes before it, and itself.
type Pieces = [Bytes; 2];

async fn stream_file(mut send: SendStream, file: FileToSend, needs: crossbeam_channel::Receiver<Need>) -> HowEnded {
    let _ = send.set_priority(FILE_PRIORITY);
    let progress = Arc::clone(&file.progress);
    let (frames, mut inbox) = mpsc::channel::<Pieces>(FILE_FRAMES_MAX);
    let reading = tokio::task::spawn_blocking(move || read_file(&file, &needs, &frames));
    while let Some(mut pieces) = inbox.recv().await {
        let bytes: usize = pieces.iter().map(Bytes::len).sum();
        progress.wire.fetch_add(bytes as u64, Ordering::Relaxed);
        if send.write_all_chunks(&mut pieces).await.is_err() {
            return HowEnded::Refused;
        }
    }
    let _ = send.finish();
    if reading.await.unwrap_or(false) { HowEnded::Sent } else { HowEnded::GivenUp }
}

/// How a file is said.
enum Said {
    /// Against a copy of what the receiver has there.
    Against(File),
    /// Against the chunks that it has there.
    Known(Cuts),
    /// By its chunks: it says which it lacks.
    Recipe,
    /// All bytes.
    Whole,
}

/// Reads a file into frames, on a thread that may block. Whether it was whole.
fn read_file(file: &FileToSend, needs: &crossbeam_channel::Receiver<Need>, frames: &mpsc::Sender<Pieces>) -> bool {
    let FileHeader { path, entry, .. } = &file.header;
    let _streaming = file.past.chunks.as_ref().map(|chunks| chunks.streaming());
    let opened = path.split_last().and_then(|(parent, name)| {
        let dir = file.root.resolve(&parent).ok()?;
        Some(dir.open_file(name).ok()?.0)
    });
    let said = file.way(opened.as_ref());
    let header = FileHeader { recipe: matches!(said, Said::Recipe), ..file.header.clone() };
    let header = StreamHeader::File(file.session, header);
    let mut frame = Vec::new();
    if encode_frame(&header, &mut frame, STREAM_HEADER_BYTES_MAX).is_err() || !hand_over(frames, frame, Bytes::new()) {
        return false;
    }
    let (Some(source), Some(content)) = (opened, entry.content()) else {
        send(frames, FileFrame::Abort);
        return false;
    };
    let len = entry.content_len();
    let effort = file.pace.effort();
    let (mut next_base, is_written) = file.next_base(&source);
    // What shares its blocks with the file does not change any more.
    let source = next_base.as_ref().filter(|_| !is_written).and_then(|base| base.reader().ok()).unwrap_or(source);
    let source = Counted {
        inner: BufReader::with_capacity(READ_BYTES, source),
        progress: &file.progress.read,
        copy: next_base.as_mut().filter(|_| is_written),
    };
    let sender = match said {
        Said::Against(base) => FileSender::against(source, len, content, Box::new(base), effort).ok(),
        Said::Known(cuts) => Some(FileSender::known(source, len, content, &cuts, effort)),
        Said::Recipe => Some(FileSender::new(source, len, content, true, effort)),
        Said::Whole => Some(FileSender::new(source, len, content, false, effort)),
    };
    let (sent, cuts) = match sender {
        Some(mut sender) => (send_frames(&mut sender, file, needs, frames), sender.cuts()),
        None => (Sent::Unreadable, None),
    };
    if let (Sent::Whole, Some(base)) = (sent, next_base) {
        base.keep(content, len);
    }
    file.note(sent, content, cuts);
    sent == Sent::Whole
}

/// What became of the frames of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    /// All were handed over.
    Whole,
    /// Nobody wants them any more, or the file is not what it was.
    GivenUp,
    /// The disk: it can't be read, or its base.
    Unreadable,
}

/// Sends what a sender makes.
fn send_frames<R: std::io::Read>(
    sender: &mut FileSender<R>,
    file: &FileToSend,
    needs: &crossbeam_channel::Receiver<Need>,
    frames: &mpsc::Sender<Pieces>,
) -> Sent {
    let mut given_up = Sent::GivenUp;
    let mut paced = None;
    loop {
        for need in needs.try_iter() {
            if sender.need(&need).is_err() {
                return Sent::GivenUp;
            }
        }
        // Asking waits for whoever is sending just now, so not with every frame.
        let part = sender.read_bytes() / PACED_BYTES;
        if paced.replace(part) != Some(part) {
            sender.set_effort(file.pace.effort());
        }
        match sender.next() {
            Ok(Step::Send(frame)) => {
                let aborted = frame == FileFrame::Abort;
                if !send(frames, frame) || aborted {
                    return given_up;
                }
            }
            Ok(Step::AwaitNeed) => match needs.recv() {
                Ok(need) => {
                    if sender.need(&need).is_err() {
                        return Sent::GivenUp;
                    }
                }
                // The session is over.
                Err(_) => return Sent::GivenUp,
            },
            Ok(Step::Done) => return Sent::Whole,
            // The next step says so to the receiver.
            Err(error) => {
                tracing::debug!(path = %file.header.path, "{error}");
                given_up = Sent::Unreadable;
            }
        }
    }
}

/// Bytes read from a large file at once.
const READ_BYTES: usize = 256 << 10;

fn send(frames: &mpsc::Sender<Pieces>, frame: FileFrame) -> bool {
    match frame {
        FileFrame::Raw(block) => {
            encode_raw_head(block.len()).is_ok_and(|head| hand_over(frames, head, block.into_vec().into()))
        }
        frame => {
            let mut bytes = Vec::new();
            encode_frame(&frame, &mut bytes, FILE_FRAME_BYTES_MAX).is_ok() && hand_over(frames, bytes, Bytes::new())
        }
    }
}

fn hand_over(frames: &mpsc::Sender<Pieces>, head: Vec<u8>, content: Bytes) -> bool {
    frames.blocking_send([head.into(), content]).is_ok()
}

/// Counts what is read, and copies it where that is wanted and can be done.
struct Counted<'a, R> {
    inner: R,
    progress: &'a AtomicU64,
    copy: Option<&'a mut NewBase>,
}

impl<R: std::io::Read> std::io::Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.progress.fetch_add(read as u64, Ordering::Relaxed);
        let new = buffer.get(..read).unwrap_or_default();
        if self.copy.as_mut().is_some_and(|copy| copy.write(new).is_err()) {
            // A full disk, mostly. What is there is too short to be kept.
            self.copy = None;
        }
        Ok(read)
    }
}

//! Messages on QUIC streams.
//!
//! Both ends are cancel-safe, so that they can stand in a `select!`: what was read stays with the reader until a whole
//! frame is there, and what could not be sent yet goes ahead of the next message.

use bytes::Bytes;
use quinn::{ReadError, RecvStream, SendStream, VarInt, WriteError};
use sync_proto::{
    codec::{self, DecodeError, EncodeError, FRAME_HEADER_BYTES, Message},
    limits::FILE_FRAME_BYTES_MAX,
    message::{Blob, FileFrame},
};

use super::close::sentence;

/// Bytes taken from a stream at a time. Also what a reader holds beyond its frame at most.
const CHUNK_BYTES: usize = 64 << 10;
/// Room that a reader keeps between frames, in bytes.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// Why frames can't go on.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The connection is gone; why, for a person.
    #[error("{}", sentence(.0))]
    Connection(quinn::ConnectionError),
    /// The other side gave up this stream.
    #[error("the other side gave up the stream (code {0})")]
    Stopped(VarInt),
    /// This side has finished or reset the stream.
    #[error("the stream is closed here")]
    Closed,
    /// The peer sent what is no message.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
    /// The stream ended within a frame.
    #[error("the stream ended within a message")]
    Truncated,
    /// This side built a message over its limit.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

impl FrameError {
    /// Whether the peer broke the protocol; else the connection or the stream is just gone.
    pub fn is_peers_fault(&self) -> bool {
        match self {
            Self::Malformed(_) | Self::Truncated => true,
            Self::Connection(_) | Self::Stopped(_) | Self::Closed | Self::Encode(_) => false,
        }
    }
}

/// Reads messages from a stream.
#[derive(Debug)]
pub struct FrameReader {
    stream: RecvStream,
    /// What has been read and not yet been decoded begins at `start`.
    buffer: Vec<u8>,
    start: usize,
    /// Content of a block, and how long it will be: what is ahead of all else.
    block: Option<(Vec<u8>, usize)>,
}

impl FrameReader {
    /// Reads from the start of a frame.
    pub fn new(stream: RecvStream) -> Self {
        Self { stream, buffer: Vec::new(), start: 0, block: None }
    }

    /// The next message, in a frame of at most `max` bytes; `None` where the stream ended after a whole frame.
    /// Cancel-safe. Memory is taken as bytes arrive, not for what a header announces.
    pub async fn read<T: Message>(&mut self, max: usize) -> Result<Option<T>, FrameError> {
        loop {
            if let Some(message) = self.take(max)? {
                return Ok(Some(message));
            }
            if !self.read_on().await? {
                return Ok(None);
            }
        }
    }

    /// Reads what has come. `false`: the stream ended after a whole frame.
    async fn read_on(&mut self) -> Result<bool, FrameError> {
        match self.stream.read_chunk(CHUNK_BYTES, true).await.map_err(read_error)? {
            Some(chunk) => self.push(&chunk.bytes),
            None if self.start == self.buffer.len() => return Ok(false),
            None => return Err(FrameError::Truncated),
        }
        Ok(true)
    }

    /// The next frame of a file, as [`read`](Self::read) would give it, but that the content of a block is copied once, straight
    /// to where it stays. Cancel-safe, if it is this that is called again. Memory: what one block may have is taken as soon
    /// as it is announced.
    pub async fn read_file(&mut self) -> Result<Option<FileFrame>, FrameError> {
        loop {
            if let Some((block, len)) = &mut self.block {
                while block.len() < *len {
                    let most = CHUNK_BYTES.min(*len - block.len());
                    let chunk = self.stream.read_chunk(most, true).await.map_err(read_error)?;
                    block.extend_from_slice(&chunk.ok_or(FrameError::Truncated)?.bytes);
                }
            }
            if let Some(block) = self.block.take().and_then(|(block, _)| Blob::new(block).ok()) {
                return Ok(Some(FileFrame::Raw(block)));
            }
            let unread = self.buffer.get(self.start..).unwrap_or_default();
            if let Some((head, len)) = codec::raw_head(unread) {
                let content = unread.get(head..).unwrap_or_default();
                let here = content.get(..len).unwrap_or(content);
                let mut block = Vec::with_capacity(len);
                block.extend_from_slice(here);
                self.start += head + here.len();
                self.forget_read();
                self.block = Some((block, len));
                continue;
            }
            if let Some(frame) = self.take(FILE_FRAME_BYTES_MAX)? {
                return Ok(Some(frame));
            }
            if !self.read_on().await? {
                return Ok(None);
            }
        }
    }

    /// Tells the other side that nothing more will be read.
    pub fn stop(&mut self, code: VarInt) {
        // A stream that is over needs no stopping.
        let _ = self.stream.stop(code);
    }

    fn take<T: Message>(&mut self, max: usize) -> Result<Option<T>, FrameError> {
        let unread = self.buffer.get(self.start..).unwrap_or_default();
        let Some((header, rest)) = unread.split_first_chunk::<FRAME_HEADER_BYTES>() else { return Ok(None) };
        let len = codec::frame_len(*header, max)?;
        let Some(body) = rest.get(..len) else { return Ok(None) };
        let message = codec::decode(body)?;
        self.start += FRAME_HEADER_BYTES + len;
        self.forget_read();
        Ok(Some(message))
    }

    fn forget_read(&mut self) {
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.buffer.shrink_to(KEPT_BYTES_MAX);
            self.start = 0;
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }
}

/// Writes messages to a stream.
#[derive(Debug)]
pub struct FrameWriter {
    stream: SendStream,
    max: usize,
    encoded: Vec<u8>,
    unsent: Bytes,
}

impl FrameWriter {
    /// Writes frames of at most `max` bytes.
    pub fn new(stream: SendStream, max: usize) -> Self {
        Self { stream, max, encoded: Vec::new(), unsent: Bytes::new() }
    }

    /// Hands a message to the transport, and says how many bytes it took. Waits while the other side's window is full.
    ///
    /// Cancelled, the message is either not begun, or the rest of it goes ahead of what is written next: call
    /// [`flush`](Self::flush) to have it sent.
    pub async fn write<T: Message>(&mut self, message: &T) -> Result<usize, FrameError> {
        self.flush().await?;
        let len = self.queue(message)?;
        self.flush().await?;
        Ok(len)
    }

    /// Encodes a message behind those queued already, to be sent by the next [`flush`](Self::flush) or
    /// [`write`](Self::write); says how many bytes it takes.
    pub fn queue<T: Message>(&mut self, message: &T) -> Result<usize, FrameError> {
        let before = self.encoded.len();
        codec::encode_frame(message, &mut self.encoded, self.max)?;
        Ok(self.encoded.len() - before)
    }

    /// Hands all that is queued to the transport. Cancel-safe.
    pub async fn flush(&mut self) -> Result<(), FrameError> {
        loop {
            if self.unsent.is_empty() {
                if self.encoded.is_empty() {
                    return Ok(());
                }
                // Given away whole: the transport keeps it until it is acknowledged, without a copy.
                self.unsent = Bytes::from(std::mem::take(&mut self.encoded));
            }
            self.stream.write_chunks(std::slice::from_mut(&mut self.unsent)).await.map_err(write_error)?;
        }
    }

    /// Ends the stream after what has been written; the transport delivers it. What is only queued is not sent.
    pub fn finish(&mut self) -> Result<(), FrameError> {
        self.stream.finish().map_err(|_| FrameError::Closed)
    }

    /// Ends the stream and waits until the other side has it all, or does not want it.
    pub async fn finish_and_wait(&mut self) -> Result<(), FrameError> {
        self.finish()?;
        match self.stream.stopped().await {
            Ok(None) => Ok(()),
            Ok(Some(code)) => Err(FrameError::Stopped(code)),
            Err(quinn::StoppedError::ConnectionLost(error)) => Err(FrameError::Connection(error)),
            Err(quinn::StoppedError::ZeroRttRejected) => Err(FrameError::Closed),
        }
    }

    /// Sets the stream's priority over the others of its connection: higher is sent first, 0 is where it starts.
    pub fn set_priority(&self, priority: i32) -> Result<(), FrameError> {
        self.stream.set_priority(priority).map_err(|_| FrameError::Closed)
    }

    /// Gives up the stream: what was not delivered is dropped.
    pub fn reset(&mut self, code: VarInt) {
        let _ = self.stream.reset(code);
    }
}

pub(super) fn read_error(error: ReadError) -> FrameError {
    match error {
        ReadError::Reset(code) => FrameError::Stopped(code),
        ReadError::ConnectionLost(error) => FrameError::Connection(error),
        ReadError::ClosedStream | ReadError::IllegalOrderedRead | ReadError::ZeroRttRejected => FrameError::Closed,
    }
}

pub(super) fn write_error(error: WriteError) -> FrameError {
    match error {
        WriteError::Stopped(code) => FrameError::Stopped(code),
        WriteError::ConnectionLost(error) => FrameError::Connection(error),
        WriteError::ClosedStream | WriteError::ZeroRttRejected => FrameError::Closed,
    }
}

//! The receiver's side of a file that is said against the one it replaces.

use std::io::{self, Read, Seek, SeekFrom};

use sync_proto::limits::{WINDOW_BASE_BYTES_MAX, WINDOW_BYTES_MAX};

use super::{
    error::{ReceiveError, Violation},
    sources::ReadSeek,
};
use crate::delta::Decoder;

/// Copies are made so many bytes at a time.
const COPY_BYTES: usize = 256 << 10;

/// Deltas may refer to so many times the bytes that they say,
const REFERENCES_FACTOR: u64 = 4;

/// and to so many more in all: the first window, and the last.
const REFERENCES_SPARE: u64 = 2 * WINDOW_BASE_BYTES_MAX as u64;

/// The file that is replaced, if there is one. It is believed in as little as the sender: the hash of the whole tells.
pub(super) struct Base {
    file: Option<Box<dyn ReadSeek>>,
    decoder: Decoder,
    /// How many more of its bytes deltas may refer to.
    budget: u64,
    used: bool,
    has_deltas: bool,
}

impl Base {
    pub(super) fn new(file: Option<Box<dyn ReadSeek>>) -> Self {
        Self { file, decoder: Decoder::new(), budget: REFERENCES_SPARE, used: false, has_deltas: false }
    }

    /// Whether anything was taken of it.
    pub(super) fn is_used(&self) -> bool {
        self.used
    }

    /// Whether anything was made of a window of it.
    pub(super) fn has_deltas(&self) -> bool {
        self.has_deltas
    }

    /// Hands a part of it to `take`, piece by piece.
    pub(super) fn copy(
        &mut self,
        offset: u64,
        len: u64,
        mut take: impl FnMut(&[u8]) -> Result<(), ReceiveError>,
    ) -> Result<(), ReceiveError> {
        let file = self.at(offset)?;
        let mut buffer = vec![0; COPY_BYTES.min(usize::try_from(len).unwrap_or(usize::MAX))];
        let mut left = len;
        while left > 0 {
            let piece = left.min(buffer.len() as u64);
            let bytes = buffer.get_mut(..piece as usize).unwrap_or_default();
            file.read_exact(bytes).map_err(|_| ReceiveError::SourceChanged)?;
            take(bytes)?;
            left -= piece;
        }
        Ok(())
    }

    /// The `len` bytes that a delta makes of a window of it.
    pub(super) fn decode(
        &mut self,
        offset: u64,
        base_len: u32,
        len: u32,
        delta: &[u8],
    ) -> Result<Vec<u8>, ReceiveError> {
        if len == 0 || len as usize > WINDOW_BYTES_MAX || base_len as usize > WINDOW_BASE_BYTES_MAX {
            return Err(Violation::Window { len, base: base_len }.into());
        }
        self.budget += REFERENCES_FACTOR * u64::from(len);
        self.budget = self.budget.checked_sub(u64::from(base_len)).ok_or(Violation::TooManyReferences)?;
        self.has_deltas = true;
        let file = self.at(offset)?;
        // Taken as it is read, so that a file that is shorter costs no more than it has.
        let mut window = Vec::new();
        file.take(u64::from(base_len)).read_to_end(&mut window).map_err(|_| ReceiveError::SourceChanged)?;
        // Which of the two is wrong, the delta or the base, can't be told.
        self.decoder.decode(&window, delta, u64::from(len)).map_err(|_| ReceiveError::SourceChanged)
    }

    fn at(&mut self, offset: u64) -> Result<&mut Box<dyn ReadSeek>, ReceiveError> {
        self.used = true;
        let file = self.file.as_mut().ok_or(ReceiveError::SourceChanged)?;
        let seek = |file: &mut Box<dyn ReadSeek>| -> io::Result<u64> { file.seek(SeekFrom::Start(offset)) };
        seek(file).map_err(|_| ReceiveError::SourceChanged)?;
        Ok(file)
    }
}

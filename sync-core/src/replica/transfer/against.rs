//! The sender's side of a file that is said against the one it replaces, which the sender has a copy of.
//!
//! What is the same goes on as one copy, however long; from a difference on a window of the file is made a delta against a
//! window of the base around where it is expected to go on. Where nothing is found in that, landmarks of the whole base
//! are looked for. What is found nowhere travels as it is. Memory is bounded by the two windows, whatever the file's size.

use std::{
    collections::VecDeque,
    io::{self, Read},
    ops::Range,
};

use sync_proto::{
    limits::{BLOCK_BYTES_MAX, WINDOW_BASE_BYTES_MAX, WINDOW_BYTES_MAX},
    message::{Blob, FileFrame},
};

use super::{compress::Compressor, send::Source, sources::ReadSeek};
use crate::delta::{Encoder, Landmarks, common_prefix};

/// The new content and the base are compared so many bytes at a time.
const COMPARE_BYTES: usize = 256 << 10;

/// A window of the base reaches so far, in bytes, to either side of where it is expected to lie.
const SLACK_BYTES: usize = (WINDOW_BASE_BYTES_MAX - WINDOW_BYTES_MAX) / 2;

/// A window of at most so many bytes, the end of a file, is compared with no more than as much on either side of its place:
/// so little is compressed well as it is.
const SHORT_BYTES_MAX: usize = 64 << 10;

/// A delta that is too long for a frame is tried again for a part of its window, of so many bytes at least.
const WINDOW_BYTES_MIN: usize = BLOCK_BYTES_MAX;

/// A landmark is one where so many bytes are the same.
const LANDMARK_BYTES: usize = 256;

/// A stretch of a window that is longer than this, in bytes, and was not found near by, is looked for in all of the base.
const FAR_BYTES_MIN: usize = 64 << 10;

/// All of the base is read for its landmarks once so many times what was not found near by comes to its length: what is
/// appended to a large file is not worth reading all of it.
const LOOK_AROUND_FACTOR: u64 = 256;

/// A file that is being said against a base.
pub(super) struct Against {
    base: Box<dyn ReadSeek>,
    base_len: u64,
    /// Where in the base the next byte is expected.
    at: u64,
    /// What was found to be the same and is not yet said.
    same: Stretch,
    /// Read, and not yet said: the next bytes of the file.
    window: Vec<u8>,
    /// Of the whole base, once they were needed.
    landmarks: Option<Landmarks>,
    /// How much was not found where it was expected, in bytes.
    strayed: u64,
    encoder: Encoder,
    /// Made, and not yet handed out.
    ready: VecDeque<FileFrame>,
}

/// A part of the base.
#[derive(Debug, Clone, Copy, Default)]
struct Stretch {
    offset: u64,
    len: u64,
}

impl Against {
    pub(super) fn new(mut base: Box<dyn ReadSeek>) -> io::Result<Self> {
        let base_len = base.seek(io::SeekFrom::End(0))?;
        Ok(Self {
            base,
            base_len,
            at: 0,
            same: Stretch::default(),
            window: Vec::new(),
            landmarks: None,
            strayed: 0,
            encoder: Encoder::new(),
            ready: VecDeque::new(),
        })
    }

    /// How many bytes of memory hold content.
    pub(super) fn held_bytes(&self) -> usize {
        let length = |frame: &FileFrame| match frame {
            FileFrame::Raw(bytes) | FileFrame::Zstd { bytes, .. } | FileFrame::Delta { bytes, .. } => bytes.len(),
            _ => 0,
        };
        self.window.capacity() + self.ready.iter().map(length).sum::<usize>()
    }

    /// The next frame; `None` where all of the file has been said, or it got shorter.
    pub(super) fn next<R: Read>(
        &mut self,
        source: &mut Source<R>,
        compressor: &mut Compressor,
    ) -> io::Result<Option<FileFrame>> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Ok(Some(frame));
            }
            if self.window.len() < COMPARE_BYTES && !source.fill(&mut self.window, COMPARE_BYTES)? {
                return Ok(None);
            }
            if self.window.is_empty() {
                self.say_same();
                return Ok(self.ready.pop_front());
            }
            if !self.pass_same()? {
                if !source.fill(&mut self.window, WINDOW_BYTES_MAX)? {
                    return Ok(None);
                }
                self.say_same();
                self.say_window(compressor)?;
            }
        }
    }

    /// Passes over what is the same as in the base. Whether that is all of the window.
    fn pass_same(&mut self) -> io::Result<bool> {
        let there = self.read(self.at, self.window.len())?;
        let same = common_prefix(&self.window, &there);
        if same == 0 {
            return Ok(false);
        }
        if self.same.offset + self.same.len != self.at {
            self.say_same();
        }
        if self.same.len == 0 {
            self.same.offset = self.at;
        }
        self.same.len += same as u64;
        self.at += same as u64;
        self.window.drain(..same);
        Ok(same == there.len() || self.window.is_empty())
    }

    fn say_same(&mut self) {
        let Stretch { offset, len } = std::mem::take(&mut self.same);
        if len > 0 {
            self.ready.push_back(FileFrame::Copy { offset, len });
        }
    }

    /// Says the window, or a part of it: as a delta, or as it is up to where the base has it again.
    fn say_window(&mut self, compressor: &mut Compressor) -> io::Result<()> {
        let mut len = self.window.len().min(WINDOW_BYTES_MAX);
        let mut goes_on = None;
        while len > 0 {
            let slack = if len <= SHORT_BYTES_MAX { SHORT_BYTES_MAX } else { SLACK_BYTES };
            let start = self.at.min(self.base_len).saturating_sub(slack as u64);
            let reach = slack + len + (self.at.min(self.base_len) - start) as usize;
            let base = self.read(start, reach.min(WINDOW_BASE_BYTES_MAX))?;
            let new = self.window.get(..len).unwrap_or_default();
            let Some(window) = self.encoder.encode_window(&base, new, compressor.effort()) else { break };
            if goes_on.is_none() && window.fresh.len() >= FAR_BYTES_MIN {
                let start = window.fresh.start;
                if let Some((place, there)) = self.landmark(window.fresh)? {
                    // Up to there, which is where the base has it.
                    (goes_on, len) = (Some(there), start + place);
                    continue;
                }
            }
            if window.delta.len() <= BLOCK_BYTES_MAX {
                let bytes = Blob::new(window.delta).expect("its length was looked at");
                let (base_len, said) = (base.len() as u32, len as u32);
                self.ready.push_back(FileFrame::Delta { offset: start, base_len, len: said, bytes });
                let expected = || window.end.map_or(self.at + len as u64, |end| start + end as u64);
                self.at = goes_on.unwrap_or_else(expected);
                self.window.drain(..len);
                return Ok(());
            }
            if len <= WINDOW_BYTES_MIN {
                break;
            }
            // As much as ought to fit, a little less to be sure.
            let share = len as u64 * BLOCK_BYTES_MAX as u64 / window.delta.len() as u64 / 8 * 7;
            (goes_on, len) = (None, (share as usize).clamp(WINDOW_BYTES_MIN, len - 1));
        }
        match goes_on.filter(|_| len == 0) {
            Some(there) => self.at = there,
            None => self.say_fresh(compressor)?,
        }
        Ok(())
    }

    /// Says the window as it is, up to where it is found again anywhere in the base.
    fn say_fresh(&mut self, compressor: &mut Compressor) -> io::Result<()> {
        let found = self.landmark(1..self.window.len())?.map(|(place, there)| (place + 1, there));
        let fresh = found.map_or(self.window.len(), |(place, _)| place);
        // Where it is not found what comes next is taken to stand in place of as much.
        self.at = found.map_or(self.at + fresh as u64, |(_, there)| there);
        let fresh: Vec<u8> = self.window.drain(..fresh).collect();
        self.ready.extend(fresh.chunks(BLOCK_BYTES_MAX).map(|block| compressor.frame(block.to_vec())));
        Ok(())
    }

    /// The first place in a part of the window that is a landmark of the base; and where that is.
    fn landmark(&mut self, part: Range<usize>) -> io::Result<Option<(usize, u64)>> {
        self.strayed += part.len() as u64;
        let landmarks = match self.landmarks.take() {
            Some(landmarks) => landmarks,
            None if self.strayed.saturating_mul(LOOK_AROUND_FACTOR) < self.base_len => return Ok(None),
            None => self.look_around()?,
        };
        let mut failed = None;
        let base = &mut self.base;
        let window = self.window.get(part).unwrap_or_default();
        let found = landmarks.find(window, |place, there| {
            let mut bytes = [0; LANDMARK_BYTES];
            match window.get(place..place + LANDMARK_BYTES) {
                Some(expected) => match read_at(base, there, &mut bytes) {
                    Ok(read) => bytes.get(..read) == Some(expected),
                    Err(error) => {
                        failed = Some(error);
                        false
                    }
                },
                None => false,
            }
        });
        self.landmarks = Some(landmarks);
        failed.map_or(Ok(found), Err)
    }

    /// Reads all of the base for its landmarks.
    fn look_around(&mut self) -> io::Result<Landmarks> {
        let mut landmarks = Landmarks::new(self.base_len);
        let mut offset = 0;
        while offset < self.base_len {
            let bytes = self.read(offset, COMPARE_BYTES)?;
            if bytes.is_empty() {
                break;
            }
            landmarks.note(offset, &bytes);
            offset += bytes.len() as u64;
        }
        Ok(landmarks)
    }

    fn read(&mut self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let len = self.base_len.saturating_sub(offset).min(len as u64) as usize;
        let mut bytes = vec![0; len];
        let read = read_at(&mut self.base, offset, &mut bytes)?;
        bytes.truncate(read);
        Ok(bytes)
    }
}

/// Reads as much of `bytes` as there is.
fn read_at(base: &mut Box<dyn ReadSeek>, offset: u64, mut bytes: &mut [u8]) -> io::Result<usize> {
    base.seek(io::SeekFrom::Start(offset))?;
    let wanted = bytes.len();
    while !bytes.is_empty() {
        match base.read(bytes) {
            Ok(0) => break,
            Ok(read) => bytes = bytes.get_mut(read..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(wanted - bytes.len())
}

//! The sender's side of a file of whose earlier version it knows the chunks, and not the bytes: what is the same is a copy of
//! the file that is replaced, what is not goes as it is.

use std::{
    collections::{HashMap, VecDeque},
    io::{self, Read},
};

use sync_proto::{limits::BLOCK_BYTES_MAX, message::FileFrame};

use super::{compress::Compressor, send::Source};
use crate::chunk::{Cuts, Mark, Sizes};

/// Read and cut at once: at least a block, and always more than a chunk.
const READ_BYTES: usize = 2 << 20;

/// See the module.
pub(super) struct Known {
    /// Where the chunks of the earlier version are in it: the first of each.
    places: HashMap<Mark, u64>,
    /// What begins where, in the earlier version.
    starts: HashMap<u64, Mark>,
    /// How it was cut.
    sizes: Sizes,
    /// Read, and not yet cut: shorter than the largest chunk.
    tail: Vec<u8>,
    /// What has been cut, and may go on.
    last: Last,
    frames: VecDeque<FileFrame>,
    cuts: Cuts,
}

enum Last {
    Copy {
        offset: u64,
        len: u64,
    },
    /// As it is; never longer than a block.
    Fresh(Vec<u8>),
}

impl Known {
    /// `old` is what the receiver has at the path of the file.
    pub(super) fn new(old: &Cuts) -> Self {
        let mut places = HashMap::with_capacity(old.marks().len());
        for (mark, offset) in old.places() {
            places.entry(mark).or_insert(offset);
        }
        Self {
            places,
            starts: old.places().map(|(mark, offset)| (offset, mark)).collect(),
            sizes: old.sizes(),
            tail: Vec::new(),
            last: Last::Fresh(Vec::new()),
            frames: VecDeque::new(),
            cuts: Cuts::default(),
        }
    }

    /// How many bytes of memory hold content of the file.
    pub(super) fn held_bytes(&self) -> usize {
        let fresh = |frame: &FileFrame| if let FileFrame::Raw(bytes) = frame { bytes.len() } else { 0 };
        let last = if let Last::Fresh(bytes) = &self.last { bytes.capacity() } else { 0 };
        self.tail.capacity() + last + self.frames.iter().map(fresh).sum::<usize>()
    }

    /// The chunks of the file, once it has been read, where it is cut as one of its length is.
    pub(super) fn cuts(&self, sizes: Sizes) -> Option<&Cuts> {
        (sizes == self.sizes).then_some(&self.cuts)
    }

    /// The next frame; `None` where all has been said, or the file got shorter.
    pub(super) fn next<R: Read>(
        &mut self,
        source: &mut Source<R>,
        compressor: &mut Compressor,
    ) -> io::Result<Option<FileFrame>> {
        while self.frames.is_empty() {
            if source.is_read() {
                self.say(compressor);
                return Ok(self.frames.pop_front());
            }
            let mut bytes = std::mem::take(&mut self.tail);
            if !source.fill(&mut bytes, READ_BYTES)? {
                return Ok(None);
            }
            let mut rest = &bytes[..];
            while !rest.is_empty() && (rest.len() >= self.sizes.max() || source.is_read()) {
                let (chunk, after) = rest.split_at(self.sizes.first_cut(rest));
                self.chunk(chunk, compressor);
                rest = after;
            }
            self.tail = rest.to_vec();
        }
        Ok(self.frames.pop_front())
    }

    fn chunk(&mut self, chunk: &[u8], compressor: &mut Compressor) {
        let mark = Mark::of_bytes(chunk);
        self.cuts.push(mark);
        let len = u64::from(mark.len);
        if let Last::Copy { offset, len: copied } = &mut self.last
            && self.starts.get(&(*offset + *copied)) == Some(&mark)
        {
            *copied += len;
            return;
        }
        match (self.places.get(&mark), &mut self.last) {
            (Some(&offset), _) => {
                self.say(compressor);
                self.last = Last::Copy { offset, len };
            }
            (None, Last::Fresh(bytes)) if bytes.len() + chunk.len() <= BLOCK_BYTES_MAX => {
                bytes.extend_from_slice(chunk)
            }
            (None, _) => {
                self.say(compressor);
                self.last = Last::Fresh(chunk.to_vec());
            }
        }
    }

    /// Makes a frame of what was cut last.
    fn say(&mut self, compressor: &mut Compressor) {
        match std::mem::replace(&mut self.last, Last::Fresh(Vec::new())) {
            Last::Fresh(bytes) if bytes.is_empty() => {}
            Last::Fresh(bytes) => self.frames.push_back(compressor.frame(bytes)),
            Last::Copy { offset, len } => self.frames.push_back(FileFrame::Copy { offset, len }),
        }
    }
}

//! Whether it is worth asking what the other side has of a new file: the sender's guess, from what it knows of its own root,
//! which is what the other side has.

use std::{
    collections::HashSet,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
};

use super::{ChunkIndex, REMEMBERED_BYTES_MIN};
use crate::chunk::{Chunker, LARGE_FILE_BYTES, Mark, sizes};

/// On a link that is slower than reading all of the file up to here is looked at.
const LOOKED_AT_BYTES: u64 = 64 << 20;

/// Elsewhere stretches of so many average chunks: one of a file of up to [`ONE_STRETCH_BYTES`], else so many, evenly.
const STRETCH_CHUNKS: usize = 8;
const STRETCHES: u64 = 4;
const ONE_STRETCH_BYTES: u64 = 8 << 20;

/// One byte in so many has to be found. A recipe is one byte in 450, and a round trip.
const FOUND_SHARE: u64 = 64;

const _: () = assert!(ONE_STRETCH_BYTES < LARGE_FILE_BYTES);

impl ChunkIndex {
    /// Whether some of `file`, which has `len` bytes, has gone over before, or some of it twice. `is_slow`: a link on which it
    /// pays to look closely. The file's position is not changed; a file that can't be read promises nothing.
    pub fn is_promising(&self, file: &File, len: u64, is_slow: bool) -> bool {
        let is_empty = || self.shared.kept().as_ref().is_none_or(super::Kept::is_empty);
        if len < REMEMBERED_BYTES_MIN || (!is_slow && is_empty()) {
            return false;
        }
        self.look(file, len, is_slow).unwrap_or(false)
    }

    fn look(&self, mut file: &File, len: u64, is_slow: bool) -> io::Result<bool> {
        let start = file.stream_position()?;
        let mut seen = Seen { index: self, marks: HashSet::new(), bytes: 0, found: 0 };
        let looked = stretches(len, is_slow).into_iter().try_for_each(|(offset, stretch)| {
            file.seek(SeekFrom::Start(offset))?;
            let mut chunker = Chunker::new(sizes(len));
            let mut buffer = vec![0; (256 << 10).min(usize::try_from(stretch).unwrap_or(usize::MAX))];
            let mut rest = file.take(stretch);
            loop {
                match rest.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(read) => chunker.push(buffer.get(..read).unwrap_or_default(), |chunk| seen.chunk(chunk)),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            // The end of a stretch is no cut, unless it is that of the file.
            if offset + stretch == len {
                chunker.finish(|chunk| seen.chunk(chunk));
            }
            Ok(())
        });
        file.seek(SeekFrom::Start(start))?;
        looked.map(|()| seen.found > 0 && seen.found >= seen.bytes / FOUND_SHARE)
    }
}

/// What to look at: where, and how many bytes.
fn stretches(len: u64, is_slow: bool) -> Vec<(u64, u64)> {
    if is_slow {
        return vec![(0, len.min(LOOKED_AT_BYTES))];
    }
    let stretch = ((STRETCH_CHUNKS * sizes(len).avg()) as u64).min(len);
    let count = if len <= ONE_STRETCH_BYTES { 1 } else { STRETCHES };
    (0..count).map(|number| ((len - stretch) / (count - 1).max(1) * number, stretch)).collect()
}

/// What was found of what was looked at.
struct Seen<'a> {
    index: &'a ChunkIndex,
    marks: HashSet<Mark>,
    bytes: u64,
    found: u64,
}

impl Seen<'_> {
    fn chunk(&mut self, chunk: &[u8]) {
        let mark = Mark::of_bytes(chunk);
        self.bytes += u64::from(mark.len);
        let is_known = || self.index.shared.kept().as_mut().is_some_and(|kept| kept.find(mark).is_some());
        if !self.marks.insert(mark) || is_known() {
            self.found += u64::from(mark.len);
        }
    }
}

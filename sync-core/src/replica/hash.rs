//! One file read once: its content id, and the content itself where it is small.

mod parallel;

use std::{
    io::{self, Read},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use sync_proto::{ContentId, Name, limits::FILE_BYTES_MAX};

use super::contents::{CONTENT_KEPT_BYTES_MAX, Contents};
use crate::{
    sys::{DirHandle, Stat},
    tree::{Node, Stamp},
};

/// Bytes read at once from a large file: large enough that BLAKE3 runs at full width, small enough for the cache.
const BLOCK_BYTES: usize = 256 << 10;

/// A buffer that serves many files, and what ends the reading of a large one before its time.
#[derive(Debug)]
pub struct HashBuffer {
    bytes: Vec<u8>,
    stop: Arc<AtomicBool>,
    /// How many threads may hash a large file at once.
    threads: usize,
}

impl Default for HashBuffer {
    fn default() -> Self {
        Self::stopped_by(Arc::default())
    }
}

/// Reading was ended because nobody wants to know any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the replica is ending")]
pub struct Stopped;

impl HashBuffer {
    /// A buffer whose reading ends, in an error, once `stop` is set.
    pub fn stopped_by(stop: Arc<AtomicBool>) -> Self {
        Self { bytes: Vec::new(), stop, threads: parallel::threads() }
    }

    /// As one of so many whose files are read at the same time: together they are to be no more threads than one alone.
    #[must_use]
    pub fn beside(self, readers: usize) -> Self {
        Self { threads: (parallel::THREADS_MAX / readers.max(1)).clamp(1, self.threads), ..self }
    }
}

/// How content that was read is offered to the store of recent content.
#[derive(Debug, Clone, Copy)]
pub enum Keep<'a> {
    /// Not at all.
    Nothing,
    /// Where there is room.
    IfRoom(&'a Contents),
    /// In place of the oldest.
    Always(&'a Contents),
}

/// A file that is too large to be synchronised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{len} bytes long, and at most {FILE_BYTES_MAX} are synchronised")]
pub struct TooLarge {
    len: u64,
}

/// Reads `name` in `dir` and says what it is, with the stat data from *before* the first byte was read: what is written
/// while it is read makes that stat data old, and the next look reads again.
pub fn hash_file(
    dir: &DirHandle,
    name: Name<'_>,
    buffer: &mut HashBuffer,
    keep: Keep<'_>,
) -> io::Result<(Node, Stamp)> {
    let (mut file, stat) = dir.open_file(name)?;
    hash_open(&mut file, &stat, buffer, keep)
}

/// The same for a file that is open.
pub fn hash_open(
    file: &mut std::fs::File,
    stat: &Stat,
    buffer: &mut HashBuffer,
    keep: Keep<'_>,
) -> io::Result<(Node, Stamp)> {
    if stat.len > FILE_BYTES_MAX {
        return Err(io::Error::other(TooLarge { len: stat.len }));
    }
    let (content, len) = if stat.len <= CONTENT_KEPT_BYTES_MAX {
        hash_small(file, stat, buffer, keep)?
    } else {
        hash_large(file, stat.len, buffer)?
    };
    Ok((Node::File { content, len, executable: stat.executable }, stat.stamp))
}

fn hash_small(
    file: &mut std::fs::File,
    stat: &Stat,
    buffer: &mut HashBuffer,
    keep: Keep<'_>,
) -> io::Result<(ContentId, u64)> {
    let HashBuffer { bytes: buffer, stop, .. } = buffer;
    // One byte more than the length: a full buffer means that the file has grown, a short read that it is whole.
    let wanted = usize::try_from(stat.len).unwrap_or(usize::MAX).saturating_add(1);
    if buffer.len() < wanted {
        buffer.resize(wanted, 0);
    }
    let mut filled = 0;
    while let Some(room) = buffer.get_mut(filled..wanted).filter(|room| !room.is_empty()) {
        match file.read(room) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if filled + 1 == wanted {
            // All of it, where there was room for more: no need to be told that this is the end.
            break;
        }
    }
    let bytes = buffer.get(..filled).unwrap_or_default();
    if filled == wanted {
        // It grew: the rest is read as of a large file, after what is here.
        let mut hasher = blake3::Hasher::new();
        hasher.update(bytes);
        let rest = hash_rest(file, &mut hasher, stop)?;
        return Ok((ContentId(*hasher.finalize().as_bytes()), filled as u64 + rest));
    }
    let content = ContentId(*blake3::hash(bytes).as_bytes());
    match keep {
        Keep::Nothing => {}
        Keep::IfRoom(contents) => contents.insert_if_room(content, bytes),
        Keep::Always(contents) => contents.insert(content, bytes),
    }
    Ok((content, filled as u64))
}

/// `file` is at its start, and of about `len` bytes: how long it is, reading finds out.
fn hash_large(file: &mut std::fs::File, len: u64, buffer: &HashBuffer) -> io::Result<(ContentId, u64)> {
    let HashBuffer { stop, threads, .. } = buffer;
    if len >= parallel::PARALLEL_BYTES_MIN
        && *threads > 1
        && let Some(hashed) = hash_in_parts(file, *threads, stop)?
    {
        return Ok(hashed);
    }
    let mut hasher = blake3::Hasher::new();
    let len = hash_rest(file, &mut hasher, stop)?;
    Ok((ContentId(*hasher.finalize().as_bytes()), len))
}

#[cfg(unix)]
fn hash_in_parts(file: &std::fs::File, threads: usize, stop: &AtomicBool) -> io::Result<Option<(ContentId, u64)>> {
    use std::os::unix::fs::FileExt;
    parallel::hash(&|room, offset| file.read_at(room, offset), threads, stop)
}

/// Elsewhere reading at an offset moves where others read.
#[cfg(not(unix))]
fn hash_in_parts(_: &std::fs::File, _: usize, _: &AtomicBool) -> io::Result<Option<(ContentId, u64)>> {
    Ok(None)
}

fn hash_rest(file: &mut std::fs::File, hasher: &mut blake3::Hasher, stop: &AtomicBool) -> io::Result<u64> {
    let mut block = vec![0; BLOCK_BYTES];
    let mut len = 0;
    loop {
        if stop.load(Ordering::Relaxed) {
            return Err(io::Error::other(Stopped));
        }
        match file.read(&mut block) {
            Ok(0) => return Ok(len),
            Ok(read) => {
                hasher.update(block.get(..read).unwrap_or_default());
                len += read as u64;
                if len > FILE_BYTES_MAX {
                    return Err(io::Error::other(TooLarge { len }));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_file_has_one_hash_by_however_many_threads() {
        let dir = tempfile::tempdir().unwrap();
        let root = DirHandle::open_root(dir.path()).unwrap();
        let min = parallel::PARALLEL_BYTES_MIN as usize;
        for len in [min - 1, min, min + 1, 2 * min + 300_001] {
            let bytes: Vec<u8> = (0..len).map(|at| (at / 7 + at * at / 65_536) as u8).collect();
            std::fs::write(dir.path().join("large"), &bytes).unwrap();
            let expected = ContentId(*blake3::hash(&bytes).as_bytes());
            for readers in [1, 2, 4, 64] {
                let mut buffer = HashBuffer::default().beside(readers);
                let name = Name::new(b"large").unwrap();
                let (node, _) = hash_file(&root, name, &mut buffer, Keep::Nothing).unwrap();
                assert_eq!(node, Node::File { content: expected, len: len as u64, executable: false });
            }
        }
    }

    #[test]
    fn many_readers_take_one_thread_each() {
        for readers in 1..=64 {
            let threads = HashBuffer::default().beside(readers).threads;
            assert!(
                threads >= 1 && (threads - 1) * readers <= parallel::THREADS_MAX,
                "{readers} readers, {threads} threads"
            );
        }
    }
}

//! Where chunks can be had without the sender: files that this side has, and the output itself.

use std::{
    collections::HashMap,
    io::{self, Read, Seek, SeekFrom},
};

use sync_proto::{ContentId, message::Chunk};

use crate::chunk::{Chunker, Sizes};

/// Most chunks that are remembered of the files that this side has: 4 GiB of small ones, 16 GiB of large ones. What is
/// beyond is sent again.
const RESOURCE_CHUNKS_MAX: usize = 1 << 18;

/// Most chunks that are remembered in all. About 32 bytes each.
const CHUNKS_MAX: usize = 2 * RESOURCE_CHUNKS_MAX;

/// Files are read in pieces of this many bytes.
const READ_BYTES: usize = 256 << 10;

/// A file to take chunks from.
pub trait ReadSeek: Read + Seek + Send {}

impl<T: Read + Seek + Send> ReadSeek for T {}

/// Where chunks may be beside the file that is replaced. It may be wrong: what is read is verified.
pub trait Elsewhere: Send {
    /// Where a chunk may be, if anywhere.
    fn find(&mut self, chunk: &Chunk) -> Option<Spot>;

    /// Reads as many bytes as `bytes` has room for, at a place that was found.
    fn read(&mut self, spot: Spot, bytes: &mut [u8]) -> io::Result<()>;
}

/// A place elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spot {
    /// Which file: the number is [`Elsewhere`]'s own.
    pub file: usize,
    /// Where in it.
    pub offset: u64,
}

/// Where a chunk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In the file of this index.
    Resource { index: u16, offset: u64 },
    /// In the output, where it is, or will be before it is asked for.
    Output { offset: u64 },
}

/// The chunks that can be had, by their ids.
pub(super) struct Sources {
    resources: Vec<Box<dyn ReadSeek>>,
    /// By the first half of the id and the length. The half is enough to find by: who copies verifies the whole.
    places: HashMap<(u128, u32), Place>,
    indexed: bool,
}

impl Sources {
    pub(super) fn new(mut resources: Vec<Box<dyn ReadSeek>>) -> Self {
        resources.truncate(usize::from(u16::MAX));
        Self { resources, places: HashMap::new(), indexed: false }
    }

    /// Reads the files, once, and remembers their chunks. A file that can't be read is left: that costs bytes on the wire
    /// and nothing else.
    pub(super) fn index(&mut self, sizes: Sizes) {
        if std::mem::replace(&mut self.indexed, true) {
            return;
        }
        for (index, resource) in (0_u16..).zip(&mut self.resources) {
            let mut offset = 0;
            let mut remember = |bytes: &[u8]| {
                if self.places.len() < RESOURCE_CHUNKS_MAX {
                    let chunk = Chunk { id: ContentId(*blake3::hash(bytes).as_bytes()), len: bytes.len() as u32 };
                    self.places.entry(key(&chunk)).or_insert(Place::Resource { index, offset });
                }
                offset += bytes.len() as u64;
                self.places.len() < RESOURCE_CHUNKS_MAX
            };
            // An error ends this file only: what was read of it before is of use.
            let _ = each_chunk(resource, sizes, &mut remember);
        }
    }

    /// Where a chunk is, if anywhere.
    pub(super) fn find(&self, chunk: &Chunk) -> Option<Place> {
        self.places.get(&key(chunk)).copied()
    }

    /// Remembers that a chunk is, or will be, at `offset` of the output.
    pub(super) fn remember(&mut self, chunk: &Chunk, offset: u64) {
        if self.places.len() < CHUNKS_MAX {
            self.places.entry(key(chunk)).or_insert(Place::Output { offset });
        }
    }

    /// Reads from one of the files.
    pub(super) fn read(&mut self, index: u16, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let resource = self.resources.get_mut(usize::from(index)).ok_or(io::ErrorKind::NotFound)?;
        resource.seek(SeekFrom::Start(offset))?;
        resource.read_exact(bytes)
    }
}

fn key(chunk: &Chunk) -> (u128, u32) {
    let half = chunk.id.0.first_chunk::<16>().copied().unwrap_or_default();
    (u128::from_le_bytes(half), chunk.len)
}

/// Hands the chunks of a file to `each`, until that says that it has enough.
fn each_chunk(file: &mut dyn ReadSeek, sizes: Sizes, each: &mut dyn FnMut(&[u8]) -> bool) -> io::Result<()> {
    file.seek(SeekFrom::Start(0))?;
    let mut chunker = Chunker::new(sizes);
    let mut buffer = vec![0; READ_BYTES];
    let mut more = true;
    while more {
        let read = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        chunker.push(buffer.get(..read).unwrap_or_default(), |chunk| more = each(chunk));
    }
    if more {
        chunker.finish(|chunk| {
            each(chunk);
        });
    }
    Ok(())
}

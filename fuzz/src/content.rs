//! Content on its way: deltas, file streams, compressed blocks.

use std::io::{self, Cursor};

use sync_core::{
    delta::{Effort, Encoder, decode as decode_delta},
    replica::transfer::{Elsewhere, FileReceiver, ReadSeek, ReceiveError, Reply, Spot, Violation},
};
use sync_proto::{
    ContentId, Entry, SyncPath, codec,
    limits::BLOCK_BYTES_MAX,
    message::{BatchId, Blob, Chunk, Expected, FileFrame, FileHeader},
};

use crate::{take_bytes, take_u16};

/// The content that [`file_receiver`] is about to receive: `len` bytes, always the same.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len as u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// A declared length, a base, a delta.
pub fn delta_decode(data: &[u8]) {
    let mut rest = data;
    let len = take_u16(&mut rest) as u64;
    let base = take_bytes(&mut rest);
    if let Ok(new) = decode_delta(base, rest, len) {
        assert_eq!(new.len() as u64, len);
        assert_eq!(new.capacity() as u64, len, "more memory was taken than was declared");
    }
    // Nor by a declared length that no one can hold.
    assert!(decode_delta(base, rest, u64::MAX).is_err());
}

/// A base, and new content.
pub fn delta_round_trip(data: &[u8]) {
    let mut rest = data;
    let base = take_bytes(&mut rest);
    let mut encoder = Encoder::new();
    for effort in [Effort::Fast, Effort::Thorough] {
        let delta = encoder.encode(base, rest, effort);
        assert!(delta.len() <= rest.len() + Encoder::OVERHEAD_BYTES_MAX);
        assert_eq!(decode_delta(base, &delta, rest.len() as u64).as_deref(), Ok(rest));
        assert!(decode_delta(base, &delta, rest.len() as u64 + 1).is_err());
    }
}

/// Edits of content that is large enough to be said in sections, four bytes each: what is done, where, how much.
pub fn delta_sections(data: &[u8]) {
    let base = pattern(300_000);
    let mut new = base.clone();
    for edit in data.chunks_exact(4).take(64) {
        let &[what, at_low, at_high, len] = edit else { unreachable!("chunks are exact") };
        let at = (usize::from(u16::from_le_bytes([at_low, at_high])) * 5).min(new.len());
        let len = usize::from(len) * (1 + usize::from(what >> 4));
        let end = (at + len).min(new.len());
        match what % 5 {
            0 => drop(new.splice(at..at, data.iter().cycle().copied().take(len))),
            1 => drop(new.drain(at..end)),
            2 => new[at..end].iter_mut().for_each(|byte| *byte = byte.wrapping_add(what | 1)),
            3 => new.rotate_left(at),
            _ => new.truncate(new.len() - len.min(new.len() / 8)),
        }
    }
    let mut encoder = Encoder::new();
    for effort in [Effort::Fast, Effort::Thorough] {
        let delta = encoder.encode(&base, &new, effort);
        assert!(delta.len() <= new.len() + Encoder::OVERHEAD_BYTES_MAX);
        assert!(decode_delta(&base, &delta, new.len() as u64).as_deref() == Ok(&new[..]), "another content");
        assert!(decode_delta(&base, &delta, new.len() as u64 + 1).is_err());
    }
}

fn header(content: &[u8], recipe: bool) -> FileHeader {
    let content_id = ContentId(*blake3::hash(content).as_bytes());
    FileHeader {
        batch: BatchId(1),
        path: SyncPath::parse(b"file").expect("a path"),
        expected: Expected::Nothing,
        entry: Entry::File { content: content_id, len: content.len() as u64, executable: false },
        recipe,
    }
}

/// A content where chunks are said to stand: mostly wrongly.
struct There(Vec<u8>);

impl Elsewhere for There {
    fn find(&mut self, chunk: &Chunk) -> Option<Spot> {
        // The first chunk is where it belongs, if its id says so.
        let first = u64::from(chunk.id.0[0]);
        Some(Spot { file: 0, offset: if first % 2 == 0 { 0 } else { first } })
    }

    fn read(&mut self, spot: Spot, bytes: &mut [u8]) -> io::Result<()> {
        let there = self.0.get(spot.offset as usize..).and_then(|there| there.get(..bytes.len()));
        bytes.copy_from_slice(there.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// First byte: whether there is a recipe (1), an earlier part (2), a file to copy from (4), chunks elsewhere (8). Then the length of the file,
/// which is [`pattern`], and frames, each with its length.
pub fn file_receiver(data: &[u8]) {
    let Some((&way, mut rest)) = data.split_first() else {
        return;
    };
    let content = pattern(take_u16(&mut rest));
    let part = if way & 2 != 0 { pattern(content.len() / 2) } else { Vec::new() };
    let source: Option<Box<dyn ReadSeek>> = (way & 4 != 0).then(|| Box::new(Cursor::new(pattern(70_000))) as _);
    let header = header(&content, way & 1 != 0);
    let mut receiver =
        FileReceiver::new(&header, Cursor::new(part), source.into_iter().collect()).expect("a header without fault");
    if way & 8 != 0 {
        receiver.take_from(Box::new(There(pattern(70_000))));
    }
    while !rest.is_empty() {
        let Ok(frame) = codec::decode::<FileFrame>(take_bytes(&mut rest)) else {
            return;
        };
        let reply = receiver.handle(frame);
        assert!(receiver.done_bytes() <= content.len() as u64);
        match reply {
            Ok(Reply::None) => {}
            Ok(Reply::Need(need)) => assert_eq!(need.batch, BatchId(1)),
            Ok(Reply::Complete) => {
                assert_eq!(receiver.into_output().into_inner(), content, "invented content");
                return;
            }
            Err(error) => {
                crate::assert_safe_to_show(&error.to_string());
                let again = receiver.handle(FileFrame::End);
                assert!(matches!(again, Err(ReceiveError::Protocol(Violation::AfterEnd))));
                break;
            }
        }
    }
    assert!(receiver.into_output().into_inner().len() <= content.len());
}

/// A declared length, and a zstd frame: as a block of a file stream (with its magic), as the middle of a delta (without).
pub fn zstd_bound(data: &[u8]) {
    let mut rest = data;
    // In steps of 17, to reach a little beyond the limit of a block.
    let len = 17 * take_u16(&mut rest);
    let file = FileHeader {
        entry: Entry::File { content: ContentId([0; 32]), len: BLOCK_BYTES_MAX as u64, executable: false },
        ..header(b"", false)
    };
    let mut receiver = FileReceiver::new(&file, Cursor::new(Vec::new()), Vec::new()).expect("a header without fault");
    let bytes = Blob::new(rest.to_vec()).expect("inputs are small");
    match receiver.handle(FileFrame::Zstd { len: len as u32, bytes }) {
        Ok(_) => assert_eq!(receiver.done_bytes(), len as u64),
        Err(_) => assert_eq!(receiver.done_bytes(), 0),
    }
    let delta = [&[1, 0, 0][..], rest].concat();
    if let Ok(new) = decode_delta(b"", &delta, len as u64) {
        assert_eq!((new.len(), new.capacity()), (len, len));
    }
}

//! Our own deltas, made and applied in this process.

use std::io::Cursor;

use anyhow::{Context, Result, ensure};
use sync_core::{
    delta::{Decoder, Effort, Encoder},
    engine::plan::INLINE_FILE_BYTES_MAX,
    replica::transfer::{FileReceiver, FileSender, ReadSeek, Reply, Step},
};
use sync_proto::{
    ContentId, Entry, SyncPath,
    codec::encode_frame,
    limits::FILE_FRAME_BYTES_MAX,
    message::{BatchId, Expected, FileFrame, FileHeader},
};

use crate::clock::shortest;
use crate::pairs::Pair;
use crate::table::{Cost, Table};

/// Measures every effort, and what it takes to look at as many bytes at all.
pub(crate) fn measure(pair: &Pair, table: &mut Table) -> Result<()> {
    for (name, effort) in [("synctl, fast", Effort::Fast), ("synctl, thorough", Effort::Thorough)] {
        let mut encoder = Encoder::new();
        let (delta, encode) = shortest(|| encoder.encode(&pair.old, &pair.new, effort));
        let mut decoder = Decoder::new();
        let (decoded, decode) = shortest(|| decoder.decode(&pair.old, &delta, pair.new.len() as u64));
        ensure!(decoded? == pair.new, "{name}: what was decoded is not what was encoded");
        table.enter(name, Cost { bytes: Some(delta.len()), encode: Some(encode), decode: Some(decode) });
    }
    if pair.new.len() as u64 > INLINE_FILE_BYTES_MAX {
        streamed(pair, table)?;
    }
    let copy = pair.old.clone();
    let (equal, compare) = shortest(|| pair.old == copy);
    ensure!(equal, "a copy differs");
    table.enter("memcmp", Cost { bytes: None, encode: Some(compare), decode: None });
    Ok(())
}

/// What a session does with files that are too large for a batch: window by window, and with the hash of the whole.
fn streamed(pair: &Pair, table: &mut Table) -> Result<()> {
    let content = ContentId(*blake3::hash(&pair.new).as_bytes());
    let len = pair.new.len() as u64;
    for (name, effort) in [("streamed, fast", Effort::Fast), ("streamed, thorough", Effort::Thorough)] {
        let base = || Cursor::new(pair.old.clone());
        let (frames, encode) = shortest(|| {
            let mut sender = FileSender::against(&pair.new[..], len, content, Box::new(base()), effort)?;
            let mut frames = Vec::new();
            while let Step::Send(frame) = sender.next()? {
                frames.push(frame);
            }
            anyhow::Ok(frames)
        });
        let frames = frames?;
        let (received, decode) = shortest(|| receive(&header(content, len)?, base(), &frames));
        ensure!(received? == pair.new, "{name}: what was received is not what was sent");
        let mut wire = Vec::new();
        for frame in &frames {
            encode_frame(frame, &mut wire, FILE_FRAME_BYTES_MAX)?;
        }
        table.enter(name, Cost { bytes: Some(wire.len()), encode: Some(encode), decode: Some(decode) });
    }
    Ok(())
}

fn header(content: ContentId, len: u64) -> Result<FileHeader> {
    let entry = Entry::File { content, len, executable: false };
    Ok(FileHeader {
        batch: BatchId(1),
        path: SyncPath::parse(b"file")?,
        expected: Expected::Nothing,
        entry,
        recipe: false,
    })
}

fn receive(header: &FileHeader, base: Cursor<Vec<u8>>, frames: &[FileFrame]) -> Result<Vec<u8>> {
    let base: Box<dyn ReadSeek> = Box::new(base);
    let mut receiver = FileReceiver::new(header, Cursor::new(Vec::new()), vec![base])?;
    let (last, before) = frames.split_last().context("no frame")?;
    for frame in before {
        receiver.handle(frame.clone())?;
    }
    ensure!(receiver.handle(last.clone())? == Reply::Complete, "it is not complete");
    Ok(receiver.into_output().into_inner())
}

//! A whole tree in a file, and what was sent and not answered: written once, read once, never changed.

use std::{
    fs::File,
    io::{self, BufReader, Write},
    sync::mpsc::{self, Receiver},
    thread,
};

use sync_proto::{TreeHash, limits::PATH_DEPTH_MAX};

use super::{
    StoreError,
    codec::Take,
    entries::{TreeReader, TreeWriter},
    record::{Fault, HEADER_BYTES, Header, Kind, Link, Record, RecordReader, RecordWriter},
    sent::{self, Sent},
};
use crate::tree::{Dir, Tree};

/// The first byte of a payload says what it is.
const ENTRIES: u8 = 0;
const END: u8 = 1;
const SENT: u8 = 2;

/// How many records may have been read and not yet parsed: what bounds the memory.
const RECORDS_AHEAD: usize = 4;

/// Payload bytes after which a record is closed.
const RECORD_BYTES: usize = 256 << 10;

/// Directories that are looked into without a pause.
const STEPS_IN_A_ROW: usize = 1024;

/// A snapshot of a large tree keeps a core busy for a tenth of a second and more, and nobody waits for it. A save that comes
/// meanwhile needs several threads one after the other, and each of them would wait for the end of a slice of some
/// milliseconds wherever all other cores are busy too.
fn let_others_run() {
    thread::yield_now();
}

/// Refuses a tree that could not be read back.
pub(super) fn check_depth(tree: &Tree) -> Result<(), StoreError> {
    let mut levels = vec![tree.root().iter()];
    let mut steps = 0_usize;
    while let Some(level) = levels.last_mut() {
        steps += 1;
        if steps.is_multiple_of(STEPS_IN_A_ROW) {
            let_others_run();
        }
        match level.find_map(|(_, node, _)| node.as_dir().filter(|dir| !dir.is_empty())) {
            Some(_) if levels.len() >= PATH_DEPTH_MAX => return Err(StoreError::TooDeep),
            Some(dir) => levels.push(dir.iter()),
            None => drop(levels.pop()),
        }
    }
    Ok(())
}

/// Writes `tree` and `sent`; returns the length in bytes and what its journal is tied to.
pub(super) fn write(file: &mut File, generation: u64, tree: &Tree, sent: &Sent) -> io::Result<(u64, Link)> {
    let header = Header { kind: Kind::Snapshot, generation, link: Link::default() };
    file.write_all(&header.to_bytes())?;
    let mut len = HEADER_BYTES as u64;
    let mut records = RecordWriter::new(header, 0);
    let mut entries = TreeWriter::new(tree);
    let mut payload = Vec::with_capacity(RECORD_BYTES + 8192);
    let mut more = true;
    while more {
        payload.clear();
        payload.push(ENTRIES);
        more = entries.fill(&mut payload, RECORD_BYTES);
        len += records.write(&payload, file)?.0;
        let_others_run();
    }
    for (number, intents) in sent.batches() {
        sent::pieces(number, intents, RECORD_BYTES, |piece| {
            payload.clear();
            payload.push(SENT);
            payload.extend_from_slice(piece);
            len += records.write(&payload, file)?.0;
            Ok::<_, io::Error>(())
        })?;
    }
    payload.clear();
    payload.push(END);
    payload.extend_from_slice(&tree.entries().to_le_bytes());
    payload.extend_from_slice(&tree.hash().0);
    let (end, link) = records.write(&payload, file)?;
    Ok((len + end, link))
}

/// Reads a snapshot; what comes out is the very tree that was written, by its hash, and what was sent.
///
/// A million files are to be there in 0.3 s: so records are checked and directories hashed beside the parsing.
pub(super) fn read(file: File) -> Result<(Header, Tree, Sent, Link), Fault> {
    let len = file.metadata()?.len();
    let mut file = BufReader::with_capacity(64 << 10, file);
    let header = Header::read(Kind::Snapshot, &mut file)?;
    let mut records = RecordReader::new(file, header, len.saturating_sub(HEADER_BYTES as u64));
    thread::scope(|scope| {
        let (record, checked) = mpsc::sync_channel(RECORDS_AHEAD);
        scope.spawn(move || {
            loop {
                let next = records.next();
                let is_last = !matches!(next, Ok(Record::Whole(..)));
                if record.send(next).is_err() || is_last {
                    return;
                }
            }
        });
        let (finished, directories) = mpsc::channel::<Vec<Dir>>();
        scope.spawn(move || {
            directories.iter().flatten().for_each(|dir| {
                dir.hash();
            });
        });
        let (tree, sent, link) = parse(&checked, TreeReader::new(finished))?;
        Ok((header, tree, sent, link))
    })
}

fn parse(records: &Receiver<io::Result<Record>>, mut tree: TreeReader) -> Result<(Tree, Sent, Link), Fault> {
    let damaged = || Fault::unknown("the snapshot is damaged");
    let mut sent = Sent::default();
    loop {
        let (payload, check) = match records.recv().map_err(|_| damaged())?? {
            Record::Whole(payload, check) => (payload, check),
            Record::End | Record::CutShort => return Err(Fault::unknown("the snapshot is cut short")),
            Record::Damaged => return Err(damaged()),
        };
        match payload.split_first() {
            Some((&ENTRIES, entries)) => tree.read(entries).map_err(|_| damaged())?,
            Some((&SENT, piece)) => sent.read(piece).ok_or_else(damaged)?,
            Some((&END, end)) => {
                let (tree, entries) = tree.finish().map_err(|_| damaged())?;
                let mut end = Take(end);
                let is_whole = end.long() == Some(entries) && end.array().map(TreeHash) == Some(tree.hash());
                let is_last = matches!(records.recv(), Ok(Ok(Record::End)));
                return if is_whole && is_last && end.is_empty() { Ok((tree, sent, check)) } else { Err(damaged()) };
            }
            _ => return Err(damaged()),
        }
    }
}

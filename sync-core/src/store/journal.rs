//! What has happened since the snapshot: records of notes, appended with one write each time.

use std::{
    fs::File,
    io::{self, BufReader, Seek, SeekFrom, Write},
};

use super::{
    Change, Note,
    codec::{Take, put_at},
    record::{Fault, HEADER_BYTES, Header, Kind, Link, OVERHEAD_BYTES, Record, RecordReader, RecordWriter},
    sent::{self, Sent},
};
use crate::tree::{self, Node, Tree};

/// The first byte of a payload says what it is.
const AGREED: u8 = 0;
const SENT: u8 = 1;
const ANSWERED: u8 = 2;
const SETTLED: u8 = 3;

/// Payload bytes after which a record is closed. One note is one record up to this length.
const RECORD_BYTES: usize = 1 << 20;

/// A journal that can be appended to.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    bytes: u64,
    records: RecordWriter,
    /// Records that are to be written.
    out: Vec<u8>,
    /// Whether anything may have been appended that is not on the disk.
    is_unsynced: bool,
}

impl Journal {
    /// Writes the start of a journal for a snapshot.
    pub(super) fn write_header(file: &mut File, generation: u64, link: Link) -> io::Result<()> {
        file.write_all(&Header { kind: Kind::Journal, generation, link }.to_bytes())
    }

    /// A journal of which only the header has been written.
    pub(super) fn fresh(file: File, generation: u64, link: Link) -> Self {
        let header = Header { kind: Kind::Journal, generation, link };
        Self {
            file,
            bytes: HEADER_BYTES as u64,
            records: RecordWriter::new(header, 0),
            out: Vec::new(),
            is_unsynced: false,
        }
    }

    /// Applies a journal to what its snapshot says, and cuts off what was not written whole. `None`: it belongs to an
    /// earlier snapshot, and this one has all that it says.
    pub(super) fn open(
        file: File,
        generation: u64,
        link: Link,
        tree: &mut Tree,
        sent: &mut Sent,
    ) -> Result<Option<Self>, Fault> {
        let len = file.metadata()?.len();
        let mut reader = BufReader::with_capacity(64 << 10, file);
        let header = Header::read(Kind::Journal, &mut reader)?;
        if header.generation < generation {
            return Ok(None);
        }
        if header != (Header { kind: Kind::Journal, generation, link }) {
            return Err(Fault::unknown("the journal belongs to another snapshot"));
        }
        let mut records = RecordReader::new(&mut reader, header, len.saturating_sub(HEADER_BYTES as u64));
        let mut bytes = HEADER_BYTES as u64;
        loop {
            match records.next()? {
                Record::Whole(payload, _) => {
                    replay(&payload, tree, sent)
                        .ok_or_else(|| Fault::unknown("the journal does not fit its snapshot"))?;
                    bytes += payload.len() as u64 + OVERHEAD_BYTES;
                }
                Record::End | Record::CutShort => break,
                Record::Damaged => return Err(Fault::unknown("the journal is damaged")),
            }
        }
        let number = records.number();
        let mut file = reader.into_inner();
        if bytes < len {
            file.set_len(bytes)?;
        }
        file.seek(SeekFrom::Start(bytes))?;
        Ok(Some(Self { file, bytes, records: RecordWriter::new(header, number), out: Vec::new(), is_unsynced: true }))
    }

    /// Appends notes. After an error the journal must not be used again; what was appended before is still whole.
    pub(super) fn append<'a>(&mut self, notes: impl Iterator<Item = &'a Note>) -> io::Result<()> {
        for note in notes {
            self.is_unsynced = true;
            match note {
                Note::Agreed(changes) => self.agreed(changes)?,
                Note::Sent(number, intents) => sent::pieces(*number, intents, RECORD_BYTES, |piece| {
                    let mut payload = vec![SENT];
                    payload.extend_from_slice(piece);
                    self.record(&payload)
                })?,
                Note::Answered(number) => {
                    let mut payload = vec![ANSWERED];
                    payload.extend_from_slice(&number.to_le_bytes());
                    self.record(&payload)?;
                }
                Note::Settled => self.record(&[SETTLED])?,
            }
        }
        self.write()
    }

    fn agreed(&mut self, changes: &[Change]) -> io::Result<()> {
        let mut payload = vec![AGREED];
        for (path, change) in changes {
            put_at(path, change.as_ref().map(|(node, stamp)| (node, *stamp)), &mut payload);
            if let Some((Node::Directory(dir), _)) = change {
                for (below, node, stamp) in tree::walk(dir) {
                    // Too long to be a path: then nobody can say it, and it is not synchronised either.
                    let Ok(path) = path.join_path(&below) else { continue };
                    put_at(&path, Some((node, stamp)), &mut payload);
                    self.record_full(&mut payload)?;
                }
            }
            self.record_full(&mut payload)?;
        }
        if payload.len() > 1 { self.record(&payload) } else { Ok(()) }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Waits until all that was appended is on the disk.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if self.is_unsynced {
            self.file.sync_data()?;
            self.is_unsynced = false;
        }
        Ok(())
    }

    /// Makes appends fail.
    #[cfg(test)]
    pub(super) fn replace_file(&mut self, file: File) {
        self.file = file;
    }

    fn record_full(&mut self, payload: &mut Vec<u8>) -> io::Result<()> {
        if payload.len() >= RECORD_BYTES {
            self.record(payload)?;
            payload.truncate(1);
        }
        Ok(())
    }

    fn record(&mut self, payload: &[u8]) -> io::Result<()> {
        self.records.frame(payload, &mut self.out)?;
        if self.out.len() >= RECORD_BYTES { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> io::Result<()> {
        if let Err(error) = self.file.write_all(&self.out) {
            // Not needed for the next open, which cuts off the rest itself; but the disk may be full.
            let _ = self.file.set_len(self.bytes);
            return Err(error);
        }
        self.bytes += self.out.len() as u64;
        self.out.clear();
        Ok(())
    }
}

/// Applies one record; `None` where it can't be.
fn replay(payload: &[u8], tree: &mut Tree, sent: &mut Sent) -> Option<()> {
    let (kind, rest) = payload.split_first()?;
    let mut bytes = Take(rest);
    match *kind {
        AGREED => {
            while !bytes.is_empty() {
                match bytes.at()? {
                    (path, None) => drop(tree.remove(&path)),
                    (path, Some((node, stamp))) => drop(tree.insert(&path, node, stamp).ok()?),
                }
            }
        }
        SENT => sent.read(rest)?,
        ANSWERED => {
            sent.answer(bytes.long()?);
        }
        SETTLED => sent.clear(),
        _ => return None,
    }
    Some(())
}

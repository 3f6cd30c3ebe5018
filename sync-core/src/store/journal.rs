//! What has changed since the snapshot: records of changes, appended with one write each time.

use std::{
    fs::File,
    io::{self, BufReader, Seek, SeekFrom, Write},
};

use sync_proto::SyncPath;

use super::{
    Change,
    codec::{NOTHING, Take, put_entry, tag},
    record::{Fault, HEADER_BYTES, Header, Kind, Link, OVERHEAD_BYTES, Record, RecordReader, RecordWriter},
};
use crate::tree::{self, Node, Stamp, Tree};

/// Payload bytes after which a record is closed. One append is one record up to this length.
const RECORD_BYTES: usize = 1 << 20;

/// A journal that can be appended to.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    bytes: u64,
    records: RecordWriter,
}

impl Journal {
    /// Writes the start of a journal for a snapshot.
    pub(super) fn write_header(file: &mut File, generation: u64, link: Link) -> io::Result<()> {
        file.write_all(&Header { kind: Kind::Journal, generation, link }.to_bytes())
    }

    /// A journal of which only the header has been written.
    pub(super) fn fresh(file: File, generation: u64, link: Link) -> Self {
        let header = Header { kind: Kind::Journal, generation, link };
        Self { file, bytes: HEADER_BYTES as u64, records: RecordWriter::new(header, 0) }
    }

    /// Applies a journal to the tree of its snapshot, and cuts off what was not written whole. `None`: it belongs to an
    /// earlier snapshot, and this one has all that it says.
    pub(super) fn open(file: File, generation: u64, link: Link, tree: &mut Tree) -> Result<Option<Self>, Fault> {
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
                    replay(&payload, tree).ok_or_else(|| Fault::unknown("the journal does not fit its snapshot"))?;
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
        Ok(Some(Self { file, bytes, records: RecordWriter::new(header, number) }))
    }

    /// Appends changes. After an error the journal must not be used again; what was appended before is still whole.
    pub(super) fn append(&mut self, changes: &[Change]) -> io::Result<()> {
        let mut payload = Vec::new();
        let mut out = Vec::new();
        for (path, change) in changes {
            match change {
                Some((node, stamp)) => put_change(path, Some((node, *stamp)), &mut payload),
                None => put_change(path, None, &mut payload),
            }
            if let Some((Node::Directory(dir), _)) = change {
                for (below, node, stamp) in tree::walk(dir) {
                    // Too long to be a path: then nobody can say it, and it is not synchronised either.
                    let Ok(path) = path.join_path(&below) else { continue };
                    put_change(&path, Some((node, stamp)), &mut payload);
                    self.write_full(&mut payload, &mut out)?;
                }
            }
            self.write_full(&mut payload, &mut out)?;
        }
        if !payload.is_empty() {
            self.write_record(&mut payload, &mut out)?;
        }
        Ok(())
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Makes appends fail.
    #[cfg(test)]
    pub(super) fn replace_file(&mut self, file: File) {
        self.file = file;
    }

    fn write_full(&mut self, payload: &mut Vec<u8>, out: &mut Vec<u8>) -> io::Result<()> {
        if payload.len() < RECORD_BYTES { Ok(()) } else { self.write_record(payload, out) }
    }

    fn write_record(&mut self, payload: &mut Vec<u8>, out: &mut Vec<u8>) -> io::Result<()> {
        out.clear();
        self.records.frame(payload, out)?;
        if let Err(error) = self.file.write_all(out) {
            // Not needed for the next open, which cuts off the rest itself; but the disk may be full.
            let _ = self.file.set_len(self.bytes);
            return Err(error);
        }
        self.bytes += out.len() as u64;
        payload.clear();
        Ok(())
    }
}

fn put_change(path: &SyncPath, change: Option<(&Node, Option<Stamp>)>, out: &mut Vec<u8>) {
    // A path has at most 4095 bytes.
    out.extend_from_slice(&(path.as_bytes().len() as u16).to_le_bytes());
    out.extend_from_slice(path.as_bytes());
    match change {
        None => out.push(NOTHING),
        Some((node, stamp)) => {
            out.push(tag(node, stamp));
            put_entry(node, stamp, out);
        }
    }
}

/// Applies the changes of one record; `None` where they can't be.
fn replay(payload: &[u8], tree: &mut Tree) -> Option<()> {
    let mut bytes = Take(payload);
    while !bytes.is_empty() {
        let len = bytes.short()?;
        let path = SyncPath::parse(bytes.bytes(usize::from(len))?).ok()?;
        match bytes.byte()? {
            NOTHING => drop(tree.remove(&path)),
            tag => {
                let (node, stamp) = bytes.entry(tag)?;
                tree.insert(&path, node, stamp).ok()?;
            }
        }
    }
    Some(())
}

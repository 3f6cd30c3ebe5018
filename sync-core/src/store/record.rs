//! What snapshot and journal are both made of: a header, then numbered records, each with checks of its own.
//!
//! All checks of a file are keyed by its header, so that a record of another file or generation is never taken for one
//! of this. The head of a record has a check apart from that of its payload: a length is believed before its payload is
//! there, which tells an end that was cut off from damage in the middle.

use std::io::{self, Read, Write};

/// The first bytes of every state file, in every version to come.
const MAGIC: &[u8; 8] = b"synctlST";
/// The version of everything in a state file after the magic and the version itself.
pub(super) const VERSION: u32 = 2;

/// Length of a header, in bytes: magic, version, kind, generation, link, check.
pub(super) const HEADER_BYTES: usize = 8 + 4 + 4 + 8 + 32 + 32;
/// Length of the head of a record, in bytes: payload length, number, check of the two.
const HEAD_BYTES: usize = 4 + 8 + 8;
/// Length of the check behind a payload, in bytes.
const CHECK_BYTES: usize = 32;
/// What a record adds to its payload, in bytes.
pub(super) const OVERHEAD_BYTES: u64 = (HEAD_BYTES + CHECK_BYTES) as u64;
/// Longest payload, in bytes. Writers stay well below it.
pub(super) const PAYLOAD_BYTES_MAX: usize = 16 << 20;

/// Why state can't be loaded.
#[derive(Debug)]
pub(super) enum Fault {
    /// It is not there as it was written: unknown, and why.
    Unknown(String),
    /// The disk refused to read it.
    Io(io::Error),
}

impl Fault {
    pub(super) fn unknown(reason: impl Into<String>) -> Self {
        Self::Unknown(reason.into())
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// What ties a journal to its snapshot: the last check in the snapshot.
pub(super) type Link = [u8; 32];

/// Which of the two a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Snapshot = 1,
    Journal = 2,
}

/// The first bytes of a state file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    /// Counts snapshots. A journal has the number of the snapshot that it continues.
    pub(super) generation: u64,
    /// For a journal its snapshot; zero for a snapshot.
    pub(super) link: Link,
}

impl Header {
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&(self.kind as u32).to_le_bytes());
        bytes.extend_from_slice(&self.generation.to_le_bytes());
        bytes.extend_from_slice(&self.link);
        let check = blake3::hash(&bytes);
        bytes.extend_from_slice(check.as_bytes());
        bytes
    }

    /// Reads and checks the header of a file that should be of `kind`.
    pub(super) fn read(kind: Kind, file: &mut impl Read) -> Result<Self, Fault> {
        let name = if kind == Kind::Snapshot { "snapshot" } else { "journal" };
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        file.take(HEADER_BYTES as u64).read_to_end(&mut bytes)?;
        let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| Fault::unknown(format!("the {name} is not one")))?;
        let damaged = || Fault::unknown(format!("the {name} has a damaged header"));
        let version = rest.first_chunk().map(|bytes| u32::from_le_bytes(*bytes)).ok_or_else(damaged)?;
        if version != VERSION {
            return Err(Fault::unknown(format!("the {name} has format {version}, and this version knows {VERSION}")));
        }
        let (checked, check) = bytes.split_at_checked(HEADER_BYTES - CHECK_BYTES).ok_or_else(damaged)?;
        if blake3::hash(checked).as_bytes() != check {
            return Err(damaged());
        }
        let field = checked.get(16..24).and_then(|bytes| bytes.first_chunk()).ok_or_else(damaged)?;
        let link = *checked.last_chunk().ok_or_else(damaged)?;
        let header = Self { kind, generation: u64::from_le_bytes(*field), link };
        if header.to_bytes() != bytes { Err(damaged()) } else { Ok(header) }
    }

    /// The key of all checks in the file.
    fn key(self) -> [u8; 32] {
        blake3::derive_key("synctl state file, format 2", &self.to_bytes())
    }
}

/// Frames payloads as records.
#[derive(Debug)]
pub(super) struct RecordWriter {
    key: [u8; 32],
    number: u64,
}

impl RecordWriter {
    /// For the records of a file from `number` on.
    pub(super) fn new(header: Header, number: u64) -> Self {
        Self { key: header.key(), number }
    }

    /// Appends the next record to `out`, and returns the check of its payload.
    pub(super) fn frame(&mut self, payload: &[u8], out: &mut Vec<u8>) -> io::Result<Link> {
        let len = u32::try_from(payload.len()).ok().filter(|_| payload.len() <= PAYLOAD_BYTES_MAX);
        let len = len.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a state record too long"))?;
        let head = head(&self.key, len, self.number);
        let check = payload_check(&self.key, self.number, payload);
        out.extend_from_slice(&head);
        out.extend_from_slice(payload);
        out.extend_from_slice(&check);
        self.number += 1;
        Ok(check)
    }

    /// Writes the next record, and returns how many bytes it took and the check of its payload.
    pub(super) fn write(&mut self, payload: &[u8], out: &mut impl Write) -> io::Result<(u64, Link)> {
        let mut bytes = Vec::with_capacity(payload.len() + HEAD_BYTES + CHECK_BYTES);
        let check = self.frame(payload, &mut bytes)?;
        out.write_all(&bytes)?;
        Ok((bytes.len() as u64, check))
    }
}

/// The next record of a file, as far as there is one.
pub(super) enum Record {
    /// A whole one, and the check of its payload.
    Whole(Vec<u8>, Link),
    /// None: the file ends here.
    End,
    /// One that was cut short, with nothing behind it.
    CutShort,
    /// One that is not as it was written.
    Damaged,
}

/// Takes records out of a file.
pub(super) struct RecordReader<R> {
    file: R,
    key: [u8; 32],
    number: u64,
    /// Bytes of the file that are still ahead.
    left: u64,
}

impl<R: Read> RecordReader<R> {
    /// For the records behind the header, of a file that has `left` bytes behind it.
    pub(super) fn new(file: R, header: Header, left: u64) -> Self {
        Self { file, key: header.key(), number: 0, left }
    }

    /// How many records have been read whole.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Reads the next record. After anything but a whole one there is no use in going on.
    pub(super) fn next(&mut self) -> io::Result<Record> {
        if self.left == 0 {
            return Ok(Record::End);
        }
        let head = self.bytes(HEAD_BYTES)?;
        let Some(len) = head.first_chunk::<4>().filter(|_| head.len() == HEAD_BYTES) else {
            return Ok(Record::CutShort);
        };
        let len = u32::from_le_bytes(*len);
        if head != self::head(&self.key, len, self.number) || len as usize > PAYLOAD_BYTES_MAX {
            return self.zeros_or_damage();
        }
        let whole = self.left >= u64::from(len) + CHECK_BYTES as u64;
        let payload = self.bytes(len as usize)?;
        let check = self.bytes(CHECK_BYTES)?;
        if !whole || check.len() < CHECK_BYTES || payload.len() < len as usize {
            return Ok(Record::CutShort);
        }
        let right = payload_check(&self.key, self.number, &payload);
        if right[..] != check[..] {
            // The last one may have been on its way to the disk, its length ahead of its bytes.
            return self.zeros_or_damage();
        }
        self.number += 1;
        Ok(Record::Whole(payload, right))
    }

    /// A file system may keep the new length of a file and lose the bytes: then zeros are all that follows.
    fn zeros_or_damage(&mut self) -> io::Result<Record> {
        let mut zeros = true;
        while zeros && self.left > 0 {
            zeros = self.bytes(64 << 10)?.iter().all(|byte| *byte == 0);
        }
        Ok(if zeros { Record::CutShort } else { Record::Damaged })
    }

    /// Up to `len` bytes: fewer at the end of the file. Never takes more memory than the file has bytes.
    fn bytes(&mut self, len: usize) -> io::Result<Vec<u8>> {
        let len = (len as u64).min(self.left);
        let mut bytes = Vec::with_capacity(len as usize);
        (&mut self.file).take(len).read_to_end(&mut bytes)?;
        // A file that ends before its length has shrunk under our hands: an end like any other.
        self.left = if (bytes.len() as u64) < len { 0 } else { self.left - len };
        Ok(bytes)
    }
}

fn head(key: &[u8; 32], len: u32, number: u64) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    let (fields, check) = head.split_at_mut(12);
    let (first, second) = fields.split_at_mut(4);
    first.copy_from_slice(&len.to_le_bytes());
    second.copy_from_slice(&number.to_le_bytes());
    let hash = blake3::keyed_hash(key, fields);
    check.iter_mut().zip(hash.as_bytes()).for_each(|(to, from)| *to = *from);
    head
}

fn payload_check(key: &[u8; 32], number: u64, payload: &[u8]) -> Link {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(payload);
    hasher.update(&number.to_le_bytes());
    hasher.finalize().into()
}

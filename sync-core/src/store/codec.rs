//! Entries as bytes. Shared by snapshot and journal.

use sync_proto::{ContentId, SyncPath, Target};

use super::Change;
use crate::tree::{Dir, Node, Stamp};

/// What a tag byte says, beside [`HAS_STAMP`].
pub(super) const NOTHING: u8 = 0;
pub(super) const DIRECTORY: u8 = 1;
const FILE: u8 = 2;
const EXECUTABLE: u8 = 3;
const SYMLINK: u8 = 4;
/// Set in a tag whose entry has a stamp.
const HAS_STAMP: u8 = 0x80;

/// The tag byte of an entry.
pub(super) fn tag(node: &Node, stamp: Option<Stamp>) -> u8 {
    let kind = match node {
        Node::Directory(_) => DIRECTORY,
        Node::File { executable: false, .. } => FILE,
        Node::File { executable: true, .. } => EXECUTABLE,
        Node::Symlink(_) => SYMLINK,
    };
    if stamp.is_some() { kind | HAS_STAMP } else { kind }
}

/// What follows a tag (and a name, in a snapshot): the stamp, then the entry; nothing of what a directory holds.
pub(super) fn put_entry(node: &Node, stamp: Option<Stamp>, out: &mut Vec<u8>) {
    if let Some(stamp) = stamp {
        out.extend_from_slice(&stamp.mtime_ns.to_le_bytes());
        out.extend_from_slice(&stamp.ctime_ns.to_le_bytes());
        out.extend_from_slice(&stamp.inode.to_le_bytes());
    }
    match node {
        Node::Directory(_) => {}
        Node::File { content, len, .. } => {
            out.extend_from_slice(&content.0);
            out.extend_from_slice(&len.to_le_bytes());
        }
        Node::Symlink(target) => {
            // A target has at most 4095 bytes.
            out.extend_from_slice(&(target.as_bytes().len() as u16).to_le_bytes());
            out.extend_from_slice(target.as_bytes());
        }
    }
}

/// A path, and what stands there; nothing of what a directory holds.
pub(super) fn put_at(path: &SyncPath, node: Option<(&Node, Option<Stamp>)>, out: &mut Vec<u8>) {
    // A path has at most 4095 bytes.
    out.extend_from_slice(&(path.as_bytes().len() as u16).to_le_bytes());
    out.extend_from_slice(path.as_bytes());
    match node {
        None => out.push(NOTHING),
        Some((node, stamp)) => {
            out.push(tag(node, stamp));
            put_entry(node, stamp, out);
        }
    }
}

/// Takes values off the front of bytes; `None` where they are not there, or are none.
pub(super) struct Take<'a>(pub(super) &'a [u8]);

impl<'a> Take<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn short(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn long(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// What [`put_at`] put.
    pub(super) fn at(&mut self) -> Option<Change> {
        let len = self.short()?;
        let path = SyncPath::parse(self.bytes(usize::from(len))?).ok()?;
        let node = match self.byte()? {
            NOTHING => None,
            tag => Some(self.entry(tag)?),
        };
        Some((path, node))
    }

    /// What [`put_entry`] put behind `tag`; a directory is empty.
    pub(super) fn entry(&mut self, tag: u8) -> Option<(Node, Option<Stamp>)> {
        let stamp = match tag & HAS_STAMP {
            0 => None,
            _ => Some(Stamp {
                mtime_ns: self.array().map(i64::from_le_bytes)?,
                ctime_ns: self.array().map(i64::from_le_bytes)?,
                inode: self.long()?,
            }),
        };
        let node = match tag & !HAS_STAMP {
            DIRECTORY => Node::Directory(Dir::new()),
            kind @ (FILE | EXECUTABLE) => {
                let content = ContentId(self.array()?);
                Node::File { content, len: self.long()?, executable: kind == EXECUTABLE }
            }
            SYMLINK => {
                let len = self.short()?;
                Node::Symlink(Target::new(self.bytes(usize::from(len))?).ok()?)
            }
            _ => return None,
        };
        Some((node, stamp))
    }
}

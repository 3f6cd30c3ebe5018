//! What a tree holds at a name.

use sync_proto::{ContentId, Entry, Target};

use super::dir::Dir;

/// The stat data under which a file was hashed. While it holds, the content need not be read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// Time of the last change of the content, in nanoseconds since the epoch.
    pub mtime_ns: i64,
    /// Time of the last change of the inode, in nanoseconds since the epoch. No program can set it back.
    pub ctime_ns: i64,
    /// The inode number.
    pub inode: u64,
}

/// What stands at a name, a directory with everything beneath it. Equality of directories is equality of their hashes.
#[derive(Clone, PartialEq, Debug)]
pub enum Node {
    /// A directory.
    Directory(Dir),
    /// A regular file.
    File {
        /// BLAKE3 of its content.
        content: ContentId,
        /// Its length in bytes.
        len: u64,
        /// Whether its owner may execute it.
        executable: bool,
    },
    /// A symbolic link.
    Symlink(Target),
}

impl Node {
    /// The entry alone, without what lies beneath it.
    pub fn entry(&self) -> Entry {
        match self {
            Self::Directory(_) => Entry::Directory,
            Self::File { content, len, executable } => {
                Entry::File { content: *content, len: *len, executable: *executable }
            }
            Self::Symlink(target) => Entry::Symlink(target.clone()),
        }
    }

    /// The node of an entry; a directory is empty.
    pub fn from_entry(entry: Entry) -> Self {
        match entry {
            Entry::Directory => Self::Directory(Dir::new()),
            Entry::File { content, len, executable } => Self::File { content, len, executable },
            Entry::Symlink(target) => Self::Symlink(target),
        }
    }

    /// The directory, where it is one.
    pub fn as_dir(&self) -> Option<&Dir> {
        match self {
            Self::Directory(dir) => Some(dir),
            Self::File { .. } | Self::Symlink(_) => None,
        }
    }

    /// Whether nothing tells the two apart, not even stamps within: a directory is the same only if its memory is.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Directory(left), Self::Directory(right)) => left.is_same(right),
            _ => self == other,
        }
    }

    /// How many entries this is: itself and all beneath it.
    pub fn entries(&self) -> u64 {
        1 + self.as_dir().map_or(0, Dir::entries)
    }

    /// How many bytes of file content this is.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Directory(dir) => dir.bytes(),
            Self::File { len, .. } => *len,
            Self::Symlink(_) => 0,
        }
    }
}

//! What stands at a path.

use std::fmt;

use bincode::{Decode, Encode};

use crate::{limits::TARGET_BYTES_MAX, path::SyncPath};

/// BLAKE3 over the whole content of a file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct ContentId(pub [u8; 32]);

/// The hash of a directory and everything beneath it, as `SPEC.md` defines it. Equal hashes mean equal subtrees.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct TreeHash(pub [u8; 32]);

/// Where a symlink points: 1 to [`TARGET_BYTES_MAX`] bytes without NUL, carried as they are and never followed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target(Box<[u8]>);

/// Bytes that can't be a symlink target: empty, over-long, or with a NUL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("symlink target is empty, longer than {TARGET_BYTES_MAX} bytes, or holds a NUL")]
pub struct TargetError;

impl Target {
    /// Checks that `bytes` can be a symlink target.
    pub fn new(bytes: &[u8]) -> Result<Self, TargetError> {
        if bytes.is_empty() || bytes.len() > TARGET_BYTES_MAX || bytes.contains(&0) {
            return Err(TargetError);
        }
        Ok(Self(bytes.into()))
    }

    /// The bytes, as they stand in the link.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether a symlink at `path` with this target names a place beneath the root, by its text alone: what other symlinks
    /// on the way do is not looked at.
    pub fn stays_inside(&self, path: &SyncPath) -> bool {
        if self.0.starts_with(b"/") {
            return false;
        }
        let mut depth = path.depth().saturating_sub(1);
        for component in self.components() {
            match component {
                b".." if depth == 0 => return false,
                b".." => depth -= 1,
                _ => depth += 1,
            }
        }
        true
    }

    /// Whether it goes up at its beginning alone. Where all symlinks do, and [stay inside](Self::stays_inside) by their text,
    /// none leads out through another one.
    pub fn goes_up_first(&self) -> bool {
        self.components().skip_while(|component| *component == b"..").all(|component| component != b"..")
    }

    fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|&byte| byte == b'/').filter(|component| !matches!(*component, b"" | b"."))
    }
}

/// What stands at a path, as far as it is synchronised: not owner, not mtime, not setuid, no xattr.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum Entry {
    /// A directory. What it holds are entries of their own.
    Directory,
    /// A regular file.
    File {
        /// BLAKE3 of its content.
        content: ContentId,
        /// Its length in bytes.
        len: u64,
        /// Whether its owner may execute it.
        executable: bool,
    },
    /// A symbolic link, carried as a link.
    Symlink(Target),
}

impl Entry {
    /// The length of the content in bytes; 0 for what has none.
    pub fn content_len(&self) -> u64 {
        match self {
            Self::File { len, .. } => *len,
            Self::Directory | Self::Symlink(_) => 0,
        }
    }

    /// The content id of a file.
    pub fn content(&self) -> Option<ContentId> {
        match self {
            Self::File { content, .. } => Some(*content),
            Self::Directory | Self::Symlink(_) => None,
        }
    }
}

/// Writes the first bytes in hexadecimal: enough to tell hashes apart in a log.
fn write_short_hex(bytes: &[u8; 32], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().take(6).try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Debug for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_short_hex(&self.0, f)
    }
}

impl fmt::Debug for TreeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_short_hex(&self.0, f)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", crate::escape::Escaped(&self.0).to_string())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        crate::escape::Escaped(&self.0).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn where_a_symlink_leads_by_its_text() {
        let check = |path: &str, target: &str, inside: bool, up_first: bool| {
            let target = Target::new(target.as_bytes()).unwrap();
            let found = target.stays_inside(&SyncPath::parse(path.as_bytes()).unwrap());
            assert_eq!((found, target.goes_up_first()), (inside, up_first), "{path} -> {target}");
        };
        check("a", "b", true, true);
        check("a", "a", true, true);
        check("a", "./b/c", true, true);
        check("d/a", "../b", true, true);
        check("d/a", ".//.././b", true, true);
        check("d/a", "../../b", false, true);
        check("a", "..", false, true);
        check("a", "/etc/passwd", false, true);
        check("a", "b/..", true, false);
        check("d/e/a", "x/../../../b", true, false);
        check("d/e/a", "x/../../../../b", false, false);
        check("d/e/a", "../x/../b", true, false);
    }
}

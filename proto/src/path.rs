//! Names and paths that can't leave the root.
//!
//! A path is a list of components, bytes rather than text: what a Unix file system can hold is carried as it is, whatever
//! its encoding. The empty list is the root itself. A value of these types is valid by construction; whoever has one
//! needs no further check before resolving it beneath the root.

use std::fmt;

use crate::{
    escape::Escaped,
    limits::{NAME_BYTES_MAX, PATH_BYTES_MAX, PATH_DEPTH_MAX},
};

/// Why bytes are not a name or a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// A component was empty: `a//b`, a leading or a trailing slash.
    #[error("empty path component")]
    Empty,
    /// A component was `.` or `..`.
    #[error("path component `.` or `..`")]
    Dots,
    /// A component held a NUL byte or a slash.
    #[error("path component with a NUL or a slash")]
    Forbidden,
    /// A component was longer than [`NAME_BYTES_MAX`].
    #[error("path component longer than {NAME_BYTES_MAX} bytes")]
    NameTooLong,
    /// The whole was longer than [`PATH_BYTES_MAX`] or deeper than [`PATH_DEPTH_MAX`].
    #[error("path longer than {PATH_BYTES_MAX} bytes or deeper than {PATH_DEPTH_MAX} components")]
    PathTooLong,
}

/// One component of a path: 1 to [`NAME_BYTES_MAX`] bytes, not `.` or `..`, without NUL and slash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name<'a>(&'a [u8]);

impl<'a> Name<'a> {
    /// Checks that `bytes` are a name.
    pub fn new(bytes: &'a [u8]) -> Result<Self, PathError> {
        match bytes {
            [] => Err(PathError::Empty),
            b"." | b".." => Err(PathError::Dots),
            _ if bytes.len() > NAME_BYTES_MAX => Err(PathError::NameTooLong),
            _ if bytes.iter().any(|byte| matches!(byte, 0 | b'/')) => Err(PathError::Forbidden),
            _ => Ok(Self(bytes)),
        }
    }

    /// The bytes, as they stand in the file system.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.0
    }
}

impl fmt::Debug for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", Escaped(self.0).to_string())
    }
}

impl fmt::Display for Name<'_> {
    /// Control characters and bytes that are not UTF-8 are escaped: safe on a terminal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Escaped(self.0).fmt(f)
    }
}

/// A path beneath the root, as components joined by `/`. The empty path is the root.
///
/// Order is by components, not by bytes: a directory comes before what it holds, and what it holds before its next
/// sibling (`a`, `a/b`, `a.b`).
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct SyncPath(Box<[u8]>);

impl SyncPath {
    /// The root itself.
    pub fn root() -> Self {
        Self::default()
    }

    /// Reads a path written with `/` between its components. Empty bytes are the root.
    pub fn parse(bytes: &[u8]) -> Result<Self, PathError> {
        if bytes.is_empty() {
            return Ok(Self::root());
        }
        if bytes.len() > PATH_BYTES_MAX {
            return Err(PathError::PathTooLong);
        }
        let mut depth = 0;
        for component in bytes.split(|&byte| byte == b'/') {
            Name::new(component)?;
            depth += 1;
        }
        if depth > PATH_DEPTH_MAX {
            return Err(PathError::PathTooLong);
        }
        Ok(Self(bytes.into()))
    }

    /// The path of `name` in this directory. Fails where the whole gets too long or too deep.
    pub fn join(&self, name: Name<'_>) -> Result<Self, PathError> {
        if self.is_root() {
            return Ok(Self(name.as_bytes().into()));
        }
        if self.0.len() + 1 + name.as_bytes().len() > PATH_BYTES_MAX || self.depth() >= PATH_DEPTH_MAX {
            return Err(PathError::PathTooLong);
        }
        Ok(Self([&self.0, name.as_bytes()].join(&b'/').into()))
    }

    /// The path with `components` appended: `self` joined with every component of `below`.
    pub fn join_path(&self, below: &Self) -> Result<Self, PathError> {
        if self.is_root() || below.is_root() {
            return Ok(if self.is_root() { below.clone() } else { self.clone() });
        }
        if self.0.len() + 1 + below.0.len() > PATH_BYTES_MAX || self.depth() + below.depth() > PATH_DEPTH_MAX {
            return Err(PathError::PathTooLong);
        }
        Ok(Self([&self.0[..], &below.0[..]].join(&b'/').into()))
    }

    /// The directory that holds this path; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        self.split_last().map(|(parent, _)| parent)
    }

    /// The last component; `None` for the root.
    pub fn name(&self) -> Option<Name<'_>> {
        self.components().next_back()
    }

    /// Parent and last component; `None` for the root.
    pub fn split_last(&self) -> Option<(Self, Name<'_>)> {
        let name = self.name()?;
        let parent_len = self.0.len().saturating_sub(name.as_bytes().len() + 1);
        Some((Self(self.0.get(..parent_len).unwrap_or_default().into()), name))
    }

    /// The components, from the root down.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = Name<'_>> + Clone {
        // An empty slice splits into one empty component, which a path never has: that is the root.
        self.0.split(|&byte| byte == b'/').filter(|component| !component.is_empty()).map(Name)
    }

    /// How many components there are; 0 for the root.
    pub fn depth(&self) -> usize {
        self.components().count()
    }

    /// Whether this is the root itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this is `ancestor` or lies beneath it.
    pub fn starts_with(&self, ancestor: &Self) -> bool {
        ancestor.is_root()
            || self.0.strip_prefix(&ancestor.0[..]).is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
    }

    /// What remains of this path beneath `ancestor`; `None` where it does not lie there.
    pub fn strip_prefix(&self, ancestor: &Self) -> Option<Self> {
        if ancestor.is_root() {
            return Some(self.clone());
        }
        match self.0.strip_prefix(&ancestor.0[..])? {
            [] => Some(Self::root()),
            [b'/', rest @ ..] => Some(Self(rest.into())),
            _ => None,
        }
    }

    /// The bytes with `/` between components; empty for the root.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl PartialOrd for SyncPath {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SyncPath {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // By components, as `/` sorts before every other byte: so a directory comes right before what is in it. Read off
        // the bytes, because maps of paths do little else.
        let (left, right) = (&self.0[..], &other.0[..]);
        match left.iter().zip(right).position(|(left, right)| left != right) {
            None => left.len().cmp(&right.len()),
            Some(place) => {
                let key = |path: &[u8]| path.get(place).map(|&byte| (byte != b'/', byte));
                key(left).cmp(&key(right))
            }
        }
    }
}

impl fmt::Debug for SyncPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

impl fmt::Display for SyncPath {
    /// Safe on a terminal; the root is shown as `.`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() { f.write_str(".") } else { Escaped(&self.0).fmt(f) }
    }
}

#[cfg(test)]
mod tests;

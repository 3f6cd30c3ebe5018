//! A whole tree as a run of entries: each directory followed by what it holds, in order of name, up to an end mark.

use std::sync::mpsc::Sender;

use sync_proto::{Name, limits::PATH_DEPTH_MAX};

use super::codec::{NOTHING, Take, put_entry, tag};
use crate::tree::{Builder, Dir, Iter, Node, Stamp, Tree};

/// Puts a tree into bytes, as many at a time as are wanted.
pub(super) struct TreeWriter<'a> {
    levels: Vec<Iter<'a>>,
}

impl<'a> TreeWriter<'a> {
    pub(super) fn new(tree: &'a Tree) -> Self {
        Self { levels: vec![tree.root().iter()] }
    }

    /// Appends whole entries to `out` until it has `bytes` of them. False when the tree is done.
    pub(super) fn fill(&mut self, out: &mut Vec<u8>, bytes: usize) -> bool {
        while out.len() < bytes {
            let Some(level) = self.levels.last_mut() else { return false };
            let Some((name, node, stamp)) = level.next() else {
                self.levels.pop();
                out.push(NOTHING);
                continue;
            };
            out.push(tag(node, stamp));
            // A name has at most 255 bytes.
            out.push(name.as_bytes().len() as u8);
            out.extend_from_slice(name.as_bytes());
            put_entry(node, stamp, out);
            if let Node::Directory(dir) = node {
                self.levels.push(dir.iter());
            }
        }
        true
    }
}

/// Directories that are handed over at once: to wake who hashes them costs more than to hash a few.
const FINISHED_AT_ONCE: usize = 64;

/// A directory that has not ended: its name and stamp, and what its parent held before it.
type Above = (Box<[u8]>, Option<Stamp>, Builder);

/// Makes a tree out of the same bytes, as they come.
pub(super) struct TreeReader {
    /// The directories that are open, outermost first. The root is not among them.
    above: Vec<Above>,
    /// What the innermost open directory holds so far; `None` once the root has ended.
    open: Option<Builder>,
    /// Of directories that have ended, for the next ones.
    spare: Vec<Builder>,
    entries: u64,
    root: Dir,
    /// Complete, and not handed over.
    complete: Vec<Dir>,
    finished: Sender<Vec<Dir>>,
}

/// Bytes that no tree was written as.
pub(super) struct Malformed;

impl TreeReader {
    /// `finished` is given every directory soon after it is complete, those in it before it.
    pub(super) fn new(finished: Sender<Vec<Dir>>) -> Self {
        let (above, spare, complete) = (Vec::new(), Vec::new(), Vec::new());
        Self { above, open: Some(Builder::default()), spare, entries: 0, root: Dir::new(), complete, finished }
    }

    /// Takes the entries in `bytes`, which must be whole ones.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        let mut bytes = Take(bytes);
        while !bytes.is_empty() {
            self.step(&mut bytes).ok_or(Malformed)?;
        }
        Ok(())
    }

    /// The tree and its number of entries, once its last entry has been taken.
    pub(super) fn finish(self) -> Result<(Tree, u64), Malformed> {
        if self.open.is_some() { Err(Malformed) } else { Ok((Tree::from_root(self.root), self.entries)) }
    }

    fn step(&mut self, bytes: &mut Take<'_>) -> Option<()> {
        let tag = bytes.byte()?;
        if tag == NOTHING {
            return self.end_directory();
        }
        let len = bytes.byte()?;
        let name = Name::new(bytes.bytes(usize::from(len))?).ok()?;
        let (node, stamp) = bytes.entry(tag)?;
        let open = self.open.as_mut()?;
        if self.above.len() >= PATH_DEPTH_MAX {
            return None;
        }
        self.entries += 1;
        if !matches!(node, Node::Directory(_)) {
            return open.push(name, node, stamp).then_some(());
        }
        let within = self.spare.pop().unwrap_or_default();
        self.above.push((name.as_bytes().into(), stamp, std::mem::replace(open, within)));
        Some(())
    }

    fn end_directory(&mut self) -> Option<()> {
        let mut ended = self.open.take()?;
        let dir = ended.finish();
        self.spare.push(ended);
        self.complete.push(dir.clone());
        if self.above.is_empty() || self.complete.len() >= FINISHED_AT_ONCE {
            // Nobody may be listening: that costs time later, nothing else.
            let _ = self.finished.send(std::mem::take(&mut self.complete));
        }
        match self.above.pop() {
            Some((name, stamp, mut parent)) => {
                let is_next = parent.push(Name::new(&name).ok()?, Node::Directory(dir), stamp);
                self.open = Some(parent);
                is_next.then_some(())
            }
            None => {
                self.root = dir;
                Some(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::mpsc;

    use super::*;

    /// Whoever hashes them is not woken for each one.
    #[test]
    fn directories_are_handed_over_many_at_once_and_those_within_first() {
        const DIRECTORIES: usize = 1000;
        let leaf = |n: u64| {
            let content = sync_proto::ContentId([1; 32]);
            let file = (Box::from(&b"file"[..]), Node::File { content, len: n, executable: false }, None);
            (format!("{n:04}").into_bytes().into(), Node::Directory(Dir::from_sorted(vec![file])), None)
        };
        let tree = Tree::from_root(Dir::from_sorted((0..DIRECTORIES as u64).map(leaf).collect()));
        let mut bytes = Vec::new();
        assert!(!TreeWriter::new(&tree).fill(&mut bytes, usize::MAX), "all of it at once");
        let (finished, directories) = mpsc::channel();
        let mut reader = TreeReader::new(finished);
        assert!(reader.read(&bytes).is_ok());
        let (read, entries) = reader.finish().unwrap_or_else(|_| panic!("it is whole"));
        assert_eq!((read.hash(), entries), (tree.hash(), 2 * DIRECTORIES as u64));
        let messages: Vec<Vec<Dir>> = directories.iter().collect();
        assert!(messages.len() <= DIRECTORIES / FINISHED_AT_ONCE + 1, "{} messages", messages.len());
        let all: Vec<Dir> = messages.into_iter().flatten().collect();
        assert_eq!(all.len(), DIRECTORIES + 1);
        assert!(all.last().unwrap().is_same(read.root()));
    }
}

//! A whole tree as a run of entries: each directory followed by what it holds, in order of name, up to an end mark.

use std::sync::mpsc::Sender;

use sync_proto::{Name, limits::PATH_DEPTH_MAX};

use super::codec::{NOTHING, Take, put_entry, tag};
use crate::tree::{Dir, Iter, Node, Stamp, Tree};

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

type Item = (Box<[u8]>, Node, Option<Stamp>);

/// A directory that has not ended: its name and stamp, and what its parent held before it.
type Above = (Box<[u8]>, Option<Stamp>, Vec<Item>);

/// Makes a tree out of the same bytes, as they come.
pub(super) struct TreeReader {
    /// The directories that are open, outermost first. The root is not among them.
    above: Vec<Above>,
    /// What the innermost open directory holds so far; `None` once the root has ended.
    items: Option<Vec<Item>>,
    entries: u64,
    root: Dir,
    finished: Sender<Dir>,
}

/// Bytes that no tree was written as.
pub(super) struct Malformed;

impl TreeReader {
    /// `finished` is given every directory as soon as it is complete, those in it before it.
    pub(super) fn new(finished: Sender<Dir>) -> Self {
        Self { above: Vec::new(), items: Some(Vec::new()), entries: 0, root: Dir::new(), finished }
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
        if self.items.is_some() { Err(Malformed) } else { Ok((Tree::from_root(self.root), self.entries)) }
    }

    fn step(&mut self, bytes: &mut Take<'_>) -> Option<()> {
        let tag = bytes.byte()?;
        if tag == NOTHING {
            return self.end_directory();
        }
        let len = bytes.byte()?;
        let name = Name::new(bytes.bytes(usize::from(len))?).ok()?;
        let (node, stamp) = bytes.entry(tag)?;
        let items = self.items.as_mut()?;
        if self.above.len() >= PATH_DEPTH_MAX {
            return None;
        }
        if items.last().is_some_and(|(last, ..)| &last[..] >= name.as_bytes()) {
            return None;
        }
        self.entries += 1;
        match node {
            Node::Directory(_) => self.above.push((name.as_bytes().into(), stamp, std::mem::take(items))),
            node => items.push((name.as_bytes().into(), node, stamp)),
        }
        Some(())
    }

    fn end_directory(&mut self) -> Option<()> {
        let dir = Dir::from_sorted(self.items.take()?);
        // Nobody may be listening: that costs time later, nothing else.
        let _ = self.finished.send(dir.clone());
        match self.above.pop() {
            Some((name, stamp, mut items)) => {
                items.push((name, Node::Directory(dir), stamp));
                self.items = Some(items);
            }
            None => self.root = dir,
        }
        Some(())
    }
}

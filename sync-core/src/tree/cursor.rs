//! A place in a directory that moves forward, over entries or over whole pages.

use std::sync::Arc;

use sync_proto::Name;

use super::{
    dir::Dir,
    node::{Node, Stamp},
    page::{Inner, Leaf, Page},
};

/// What a cursor stands before.
#[derive(Clone, Copy)]
pub(super) enum Head<'a> {
    /// A page that has not been opened, and its first name.
    Page(&'a Arc<Page>, &'a [u8]),
    /// An entry of a leaf, and its name.
    Entry(&'a Leaf, usize, &'a [u8]),
    /// Nothing: the directory is done.
    End,
}

/// A place in a directory.
pub(super) struct Cursor<'a> {
    /// Opened pages above the head, each with the index of its next child. Not allocated for a directory of one leaf.
    above: Vec<(&'a Inner, usize)>,
    head: Head<'a>,
}

impl<'a> Cursor<'a> {
    /// Before everything in `dir`, nothing opened.
    pub(super) fn new(dir: Option<&'a Dir>) -> Self {
        Self { above: Vec::new(), head: Self::unopened(dir.and_then(Dir::top)) }
    }

    pub(super) fn head(&self) -> Head<'a> {
        self.head
    }

    /// The next name, whether its page has been opened or not.
    pub(super) fn name(&self) -> Option<&'a [u8]> {
        match self.head {
            Head::Page(_, name) | Head::Entry(_, _, name) => Some(name),
            Head::End => None,
        }
    }

    /// Opens the page ahead by one level: the head becomes its first child or entry.
    pub(super) fn open(&mut self) {
        if let Head::Page(page, first) = self.head {
            self.head = match &**page {
                Page::Leaf(leaf) => Head::Entry(leaf, 0, first),
                Page::Inner(inner) => {
                    self.above.push((inner, 1));
                    Self::unopened(inner.children.first())
                }
            };
        }
    }

    /// Moves past the entry or the whole page ahead.
    pub(super) fn advance(&mut self) {
        if let Head::Entry(leaf, index, _) = self.head
            && let Some(name) = leaf.names.get(index + 1)
        {
            self.head = Head::Entry(leaf, index + 1, name);
            return;
        }
        self.head = Head::End;
        while let Some((inner, next)) = self.above.last_mut() {
            if let Some(child) = inner.children.get(*next) {
                *next += 1;
                self.head = Self::unopened(Some(child));
                return;
            }
            self.above.pop();
        }
    }

    fn unopened(page: Option<&'a Arc<Page>>) -> Head<'a> {
        page.and_then(|page| Some(Head::Page(page, page.first_name()?))).unwrap_or(Head::End)
    }
}

/// A name that comes out of a page.
pub(super) fn stored(name: &[u8]) -> Name<'_> {
    Name::new(name).expect("names are checked before they come into a page")
}

/// Entries directly in a directory, in byte order of name. See [`Dir::iter`].
pub struct Iter<'a> {
    cursor: Cursor<'a>,
    left: usize,
}

impl<'a> Iter<'a> {
    pub(super) fn new(dir: &'a Dir) -> Self {
        Self { cursor: Cursor::new(Some(dir)), left: dir.len() }
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = (Name<'a>, &'a Node, Option<Stamp>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.cursor.head() {
                Head::End => return None,
                Head::Page(..) => self.cursor.open(),
                Head::Entry(leaf, index, name) => {
                    self.cursor.advance();
                    self.left = self.left.saturating_sub(1);
                    return Some((stored(name), leaf.nodes.get(index)?, leaf.stamp(index)));
                }
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Iter<'_> {}

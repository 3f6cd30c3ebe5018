//! A directory put together from its entries as they come, in order of name.
//!
//! Columns are gathered in memory that is used again, page after page and directory after directory, and what stays is
//! allocated once, in the size that it needs: an entry costs no allocation of its own.

use std::sync::Arc;

use sync_proto::Name;

use super::{
    dir::Dir,
    edit, hash,
    names::Names,
    node::{Node, Stamp},
    page::{Leaf, Page},
};

/// A directory that is being put together.
#[derive(Default)]
pub(crate) struct Builder {
    /// The names of the page that has not ended, one after the other, and where each of them ends.
    names: Vec<u8>,
    ends: Vec<usize>,
    nodes: Vec<Node>,
    stamps: Vec<Option<Stamp>>,
    /// Leaves that have ended.
    pages: Vec<Arc<Page>>,
}

impl Builder {
    /// Takes the next entry. False: its name does not come behind the last one, and it is not taken.
    pub(crate) fn push(&mut self, name: Name<'_>, node: Node, stamp: Option<Stamp>) -> bool {
        let name = name.as_bytes();
        if self.last_name().is_some_and(|last| last >= name) {
            return false;
        }
        self.append(name, node, stamp);
        true
    }

    /// The same for a name that is known to come behind the last one.
    pub(super) fn append(&mut self, name: &[u8], node: Node, stamp: Option<Stamp>) {
        self.names.extend_from_slice(name);
        self.ends.push(self.names.len());
        self.nodes.push(node);
        self.stamps.push(stamp);
        if hash::rank(name) > 0 {
            self.end_page();
        }
    }

    /// The directory of all that was taken. Leaves it empty, for the next one.
    pub(crate) fn finish(&mut self) -> Dir {
        if !self.nodes.is_empty() {
            self.end_page();
        }
        Dir::from_top(edit::top(std::mem::take(&mut self.pages)))
    }

    fn end_page(&mut self) {
        let names = Names::packed(&self.ends, &self.names);
        self.names.clear();
        self.ends.clear();
        self.pages.push(Arc::new(Page::Leaf(Leaf::take(names, &mut self.nodes, &mut self.stamps))));
    }

    fn last_name(&self) -> Option<&[u8]> {
        match self.ends.split_last() {
            Some((_, before)) => self.names.get(before.last().copied().unwrap_or(0)..),
            None => self.pages.last()?.last_name(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use sync_proto::ContentId;

    use super::*;

    fn file(content: u8) -> Node {
        Node::File { content: ContentId([content; 32]), len: 1, executable: false }
    }

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|n| format!("{n:05}")).collect()
    }

    /// Also where the last name is in a page that has ended.
    #[test]
    fn a_name_that_does_not_come_behind_the_last_one_is_not_taken() {
        let mut builder = Builder::default();
        let names = names(200);
        let mut ended = 0;
        for name in &names {
            assert!(builder.push(Name::new(name.as_bytes()).unwrap(), file(1), None));
            ended += usize::from(builder.nodes.is_empty());
            for refused in [name, "00"] {
                assert!(!builder.push(Name::new(refused.as_bytes()).unwrap(), file(2), None), "{refused} after {name}");
            }
        }
        assert!(ended > 1, "pages end");
        let items = names.iter().map(|name| (name.as_bytes().into(), file(1), None)).collect();
        assert_eq!(builder.finish(), Dir::from_sorted(items));
    }

    /// An entry allocates nothing of its own: the columns of the largest page serve all that follow.
    #[test]
    fn what_is_gathered_in_is_used_again() {
        let mut builder = Builder::default();
        let mut built = || {
            for name in names(1000) {
                assert!(builder.push(Name::new(name.as_bytes()).unwrap(), file(1), None));
            }
            let dir = builder.finish();
            let room = (builder.names.capacity(), builder.ends.capacity(), builder.nodes.capacity());
            (dir, room, builder.stamps.capacity(), builder.nodes.as_ptr())
        };
        let first = built();
        assert_eq!(first.0.len(), 1000);
        assert!((1..1000).contains(&first.2), "room for a page, not for a directory: {}", first.2);
        assert_eq!(built(), first);
    }
}

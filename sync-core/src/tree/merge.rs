//! Several directories side by side, without looking at what is equal in all of them.

use sync_proto::Name;

use super::{
    cursor::{Cursor, Head, stored},
    dir::Dir,
    node::Node,
    page,
};

/// One name, and what stands there in each of the directories.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a, const N: usize> {
    /// The name.
    pub name: Name<'a>,
    /// What each directory has there.
    pub nodes: [Option<&'a Node>; N],
}

/// The rows in which `dirs` differ, in byte order of name. A directory that is `None` is one without entries.
///
/// What is equal in all of them is left out, page by page where pages are equal: the cost is in the differences, not in
/// the size. Of a single directory nothing differs.
pub fn merge<'a, const N: usize>(dirs: [Option<&'a Dir>; N]) -> Merge<'a, N> {
    Merge { cursors: dirs.map(Cursor::new), pages_opened: 0, rows_compared: 0 }
}

/// See [`merge`].
pub struct Merge<'a, const N: usize> {
    cursors: [Cursor<'a>; N],
    pages_opened: usize,
    rows_compared: usize,
}

impl<'a, const N: usize> Merge<'a, N> {
    /// How many pages it has had to look into so far: what it has cost.
    pub fn pages_opened(&self) -> usize {
        self.pages_opened
    }

    /// How many rows it has compared so far, those left out as equal included.
    pub fn rows_compared(&self) -> usize {
        self.rows_compared
    }

    /// Opens the pages ahead that begin with `name` and are of at least `level`.
    fn open(&mut self, name: &[u8], level: u8) {
        for cursor in &mut self.cursors {
            if let Head::Page(page, first) = cursor.head()
                && first == name
                && page.level() >= level
            {
                cursor.open();
                self.pages_opened += 1;
            }
        }
    }

    /// With all cursors before `name`: passes what is equal, or opens what is to be compared further down. False where
    /// all of them stand before an entry.
    fn narrow(&mut self, name: &[u8]) -> bool {
        let heads = self.cursors.each_ref().map(Cursor::head);
        let level = |head: &Head<'_>| match head {
            Head::Page(page, _) => Some(page.level()),
            Head::Entry(..) | Head::End => None,
        };
        let Some(highest) = heads.iter().filter_map(level).max() else { return false };
        let mut pages = heads.iter().filter_map(|head| match head {
            Head::Page(page, _) if page.level() == highest => Some(*page),
            _ => None,
        });
        let is_aligned = heads.iter().all(|head| level(head) == Some(highest));
        let is_equal = is_aligned
            && pages.next().is_some_and(|first| {
                let mut rest = pages;
                rest.all(|page| page::same(first, page))
            });
        if is_equal {
            self.cursors.iter_mut().for_each(Cursor::advance);
        } else {
            self.open(name, highest);
        }
        true
    }

    /// The row at `name`: the cursors that stand before it move on.
    fn take(&mut self, name: &'a [u8]) -> Row<'a, N> {
        self.rows_compared += 1;
        let nodes = self.cursors.each_mut().map(|cursor| match cursor.head() {
            Head::Entry(leaf, index, found) if found == name => {
                cursor.advance();
                leaf.nodes.get(index)
            }
            _ => None,
        });
        Row { name: stored(name), nodes }
    }
}

impl<'a, const N: usize> Iterator for Merge<'a, N> {
    type Item = Row<'a, N>;

    fn next(&mut self) -> Option<Row<'a, N>> {
        loop {
            let name = self.cursors.iter().filter_map(Cursor::name).min()?;
            let is_everywhere = self.cursors.iter().all(|cursor| cursor.name() == Some(name));
            if is_everywhere {
                if self.narrow(name) {
                    continue;
                }
            } else {
                // Only what begins with this very name: a page further on may turn out to be equal.
                while self.cursors.iter().any(|cursor| matches!(cursor.head(), Head::Page(_, first) if first == name)) {
                    self.open(name, 0);
                }
            }
            let row = self.take(name);
            let is_equal = is_everywhere && row.nodes.iter().all(|node| node == row.nodes.first().unwrap_or(&None));
            if !is_equal {
                return Some(row);
            }
        }
    }
}

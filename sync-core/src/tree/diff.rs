//! What differs between two directories, and what is in one, with paths.

use sync_proto::SyncPath;

use super::{
    cursor::Iter,
    dir::Dir,
    merge::{Merge, merge},
    node::{Node, Stamp},
};

/// One path at which two trees differ.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference<'a> {
    /// Where, beneath the directories that are compared.
    pub path: SyncPath,
    /// What stood there.
    pub old: Option<&'a Node>,
    /// What stands there now.
    pub new: Option<&'a Node>,
}

/// What differs between `old` and `new`: parents first, in order of path. Where both have a directory only what differs
/// inside is named; a directory that came or went is one item. Entries too deep to have a path are left out.
pub fn diff<'a>(old: &'a Dir, new: &'a Dir) -> Diff<'a> {
    Diff { levels: vec![(SyncPath::root(), merge([Some(old), Some(new)]))] }
}

/// See [`diff`].
pub struct Diff<'a> {
    levels: Vec<(SyncPath, Merge<'a, 2>)>,
}

impl<'a> Iterator for Diff<'a> {
    type Item = Difference<'a>;

    fn next(&mut self) -> Option<Difference<'a>> {
        loop {
            let (parent, rows) = self.levels.last_mut()?;
            let Some(row) = rows.next() else {
                self.levels.pop();
                continue;
            };
            let Ok(path) = parent.join(row.name) else { continue };
            match row.nodes {
                [Some(Node::Directory(old)), Some(Node::Directory(new))] => {
                    self.levels.push((path, merge([Some(old), Some(new)])));
                }
                [old, new] => return Some(Difference { path, old, new }),
            }
        }
    }
}

/// Everything beneath `dir`, depth first: parents before what they hold, in order of name. Entries too deep to have a
/// path are left out.
pub fn walk(dir: &Dir) -> Walk<'_> {
    Walk { levels: vec![(SyncPath::root(), dir.iter())] }
}

/// See [`walk`].
pub struct Walk<'a> {
    levels: Vec<(SyncPath, Iter<'a>)>,
}

impl<'a> Iterator for Walk<'a> {
    type Item = (SyncPath, &'a Node, Option<Stamp>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (parent, entries) = self.levels.last_mut()?;
            let Some((name, node, stamp)) = entries.next() else {
                self.levels.pop();
                continue;
            };
            let Ok(path) = parent.join(name) else { continue };
            if let Node::Directory(dir) = node {
                self.levels.push((path.clone(), dir.iter()));
            }
            return Some((path, node, stamp));
        }
    }
}

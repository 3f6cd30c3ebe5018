//! What operations do to what the controller knows of this side.

use sync_proto::{Entry, SyncPath, message::Operation};

use crate::tree::{Dir, Node, Tree};

/// What an operation does to a tree where it is applied.
#[derive(Debug)]
pub(super) enum Effect {
    Put(SyncPath, Entry),
    Remove(SyncPath),
    Move(SyncPath, SyncPath),
}

impl Effect {
    pub(super) fn of(operation: &Operation) -> Self {
        match operation {
            Operation::MakeDirectory { path } => Self::Put(path.clone(), Entry::Directory),
            Operation::Put { path, entry, .. } => Self::Put(path.clone(), entry.clone()),
            Operation::Remove { path, .. } => Self::Remove(path.clone()),
            Operation::Move { from, to, .. } => Self::Move(from.clone(), to.clone()),
        }
    }

    pub(super) fn apply_to(&self, tree: &mut Tree) {
        // Where the tree does not have the directory above, the difference to what is there tells it all the same.
        match self {
            Self::Put(path, Entry::Directory) => drop(tree.insert(path, Node::Directory(Dir::new()), None)),
            Self::Put(path, entry) => drop(tree.insert(path, Node::from_entry(entry.clone()), None)),
            Self::Remove(path) => drop(tree.remove(path)),
            Self::Move(from, to) => {
                if let Some(node) = tree.remove(from) {
                    drop(tree.insert(to, node, None));
                }
            }
        }
    }

    fn paths(&self) -> impl Iterator<Item = &SyncPath> {
        let (path, other) = match self {
            Self::Put(path, _) | Self::Remove(path) => (path, None),
            Self::Move(from, to) => (from, Some(to)),
        };
        std::iter::once(path).chain(other)
    }
}

/// What is `seen` now beside what was done: at the paths of the effects, and beneath them, it is what was `reported`. `None`
/// where all that is seen was done, as nearly always.
pub(super) fn beside(seen: &Tree, reported: &Tree, done: &[Effect]) -> Option<Tree> {
    let mut foreseen = reported.clone();
    done.iter().for_each(|effect| effect.apply_to(&mut foreseen));
    if foreseen.hash() == seen.hash() {
        return None;
    }
    let mut beside = seen.clone();
    for path in done.iter().flat_map(Effect::paths) {
        match reported.get(path) {
            Some(node) => drop(beside.insert(path, node.clone(), None)),
            None => drop(beside.remove(path)),
        }
    }
    Some(beside)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use sync_proto::ContentId;

    use super::*;

    fn path(text: &str) -> SyncPath {
        SyncPath::parse(text.as_bytes()).unwrap()
    }

    fn entry(content: u8) -> Entry {
        Entry::File { content: ContentId([content; 32]), len: 1, executable: false }
    }

    fn tree(items: &[(&str, Entry)]) -> Tree {
        let mut tree = Tree::new();
        for (at, entry) in items {
            tree.insert(&path(at), Node::from_entry(entry.clone()), None).unwrap();
        }
        tree
    }

    /// What is told before the outcomes, and what after.
    fn told(seen: &Tree, reported: &Tree, done: &[Effect]) -> (Vec<String>, Vec<String>) {
        let paths = |from: &Tree, to: &Tree| {
            crate::tree::diff(from.root(), to.root()).map(|difference| difference.path.to_string()).collect()
        };
        let before = beside(seen, reported, done).unwrap_or_else(|| reported.clone());
        let mut after = before.clone();
        done.iter().for_each(|effect| effect.apply_to(&mut after));
        (paths(reported, &before), paths(&after, seen))
    }

    #[test]
    fn what_was_done_is_not_told() {
        let reported = tree(&[("a", entry(1)), ("c", entry(3))]);
        let seen = tree(&[("a", entry(2)), ("d", entry(3))]);
        let done = [Effect::Put(path("a"), entry(2)), Effect::Move(path("c"), path("d"))];
        assert_eq!(told(&seen, &reported, &done), (vec![], vec![]));
    }

    #[test]
    fn what_was_met_is_told_before_and_what_came_since_after() {
        let reported = tree(&[("a", entry(1)), ("b", entry(1))]);
        let seen = tree(&[("a", entry(2)), ("b", entry(9)), ("made", Entry::Directory), ("made/theirs", entry(9))]);
        let done = [Effect::Put(path("a"), entry(2)), Effect::Put(path("made"), Entry::Directory)];
        assert_eq!(told(&seen, &reported, &done), (vec!["b".to_owned()], vec!["made/theirs".to_owned()]));
    }

    #[test]
    fn what_replaced_what_was_done_is_told_after() {
        let reported = tree(&[("a", entry(1)), ("b", entry(1))]);
        let seen = tree(&[("a", entry(9)), ("b", entry(9))]);
        let done = [Effect::Put(path("a"), entry(2)), Effect::Remove(path("b"))];
        assert_eq!(told(&seen, &reported, &done), (vec![], vec!["a".to_owned(), "b".to_owned()]));
    }
}

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod cost;
mod model;
mod vectors;

use std::sync::{Arc, LazyLock};

use sync_proto::{ContentId, Name, SyncPath, Target};

use super::{Dir, Node, Stamp, Tree, hash, page::Page};

fn name(bytes: &[u8]) -> Name<'_> {
    Name::new(bytes).unwrap()
}

fn path(text: &str) -> SyncPath {
    SyncPath::parse(text.as_bytes()).unwrap()
}

fn file(content: u64) -> Node {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&content.to_le_bytes());
    Node::File { content: ContentId(id), len: content, executable: content.is_multiple_of(7) }
}

fn stamp(seed: u64) -> Stamp {
    Stamp { mtime_ns: seed as i64, ctime_ns: seed as i64 + 1, inode: seed }
}

/// A directory of files called by numbers.
fn numbered(count: u64) -> Dir {
    let items = (0..count).map(|n| (number(n).into_boxed_slice(), file(n), Some(stamp(n)))).collect();
    Dir::from_sorted(items)
}

fn number(n: u64) -> Vec<u8> {
    format!("{n:07}.rs").into_bytes()
}

/// Names of every rank up to 3, so that small sets of them make every shape: many of the higher ranks, which cut pages.
static POOL: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let mut left = [40, 40, 24, 8];
    let mut pool: Vec<_> = (0u64..)
        .map(|n| format!("{:x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).into_bytes())
        .filter(|name| {
            let rank = usize::from(hash::rank(name)).min(3);
            let wanted = left[rank] > 0;
            left[rank] -= i32::from(wanted);
            wanted
        })
        .take(112)
        .collect();
    pool.sort();
    pool
});

/// Every invariant of the shape, from the top down.
fn validate(dir: &Dir) {
    if let Some(top) = dir.top() {
        let names: Vec<_> = dir.iter().map(|(name, ..)| name).collect();
        assert!(names.is_sorted_by(|left, right| left < right), "names out of order");
        assert_eq!(dir.len(), names.len());
        if let Page::Inner(inner) = &**top {
            assert!(inner.children.len() > 1, "a page too many on top");
        }
        validate_page(top, true);
    }
}

fn validate_page(page: &Arc<Page>, is_last: bool) {
    assert!(page.len() > 0, "an empty page");
    assert!(is_last || page.is_closed(), "a page that ends without a boundary");
    let ends = |name: &[u8]| hash::rank(name) > page.level();
    match &**page {
        Page::Leaf(leaf) => {
            assert_eq!(leaf.names.len(), leaf.nodes.len());
            assert!(leaf.names.iter().take(leaf.names.len() - 1).all(|name| !ends(name)), "a leaf not cut");
            leaf.nodes.iter().filter_map(Node::as_dir).for_each(validate);
        }
        Page::Inner(inner) => {
            let count = inner.children.len();
            assert_eq!(inner.last_names.len(), count);
            assert_eq!(inner.len, inner.children.iter().map(|child| child.len()).sum::<usize>());
            for (index, child) in inner.children.iter().enumerate() {
                assert_eq!(child.level() + 1, inner.level);
                assert_eq!(inner.last_names.get(index), child.last_name());
                assert!(index + 1 == count || !ends(child.last_name().unwrap()), "an inner page not cut");
                validate_page(child, is_last && index + 1 == count);
            }
        }
    }
}

#[test]
fn a_tree_by_paths() {
    let mut tree = Tree::new();
    assert_eq!(tree.insert(&SyncPath::root(), Node::Directory(Dir::new()), None).unwrap_err().path, SyncPath::root());
    assert_eq!(
        tree.insert(&path("a/b"), file(1), None).unwrap_err().to_string(),
        "`a/b` does not lie in a directory of the tree"
    );
    assert_eq!(tree.insert(&path("a"), Node::Directory(Dir::new()), None), Ok(None));
    assert_eq!(tree.insert(&path("a/b"), file(1), Some(stamp(1))), Ok(None));
    assert_eq!(tree.insert(&path("a/b"), file(2), Some(stamp(2))), Ok(Some(file(1))));
    assert!(tree.insert(&path("a/b/c"), file(1), None).is_err());
    let link = Node::Symlink(Target::new(b"b").unwrap());
    tree.insert(&path("a/link"), link.clone(), None).unwrap();
    assert_eq!(tree.get(&path("a/b")), Some(&file(2)));
    assert_eq!(tree.stamp(&path("a/b")), Some(stamp(2)));
    assert_eq!(tree.stamp(&path("a/link")), None);
    assert_eq!(tree.get(&SyncPath::root()), None);
    assert_eq!(tree.stamp(&SyncPath::root()), None);
    assert_eq!(tree.dir(&SyncPath::root()), Some(tree.root()));
    assert_eq!(tree.dir(&path("a")).unwrap().len(), 2);
    assert_eq!(tree.dir(&path("a/b")), None);
    assert_eq!((tree.entries(), tree.root().bytes()), (3, 2));

    assert_eq!(tree.remove(&SyncPath::root()), None);
    assert_eq!(tree.remove(&path("a/x")), None);
    assert_eq!(tree.remove(&path("a/b/c")), None);
    assert_eq!(tree.remove(&path("a/link")), Some(link));
    assert_eq!(tree.entries(), 2);
    assert_eq!(tree.remove(&path("a")).unwrap().entries(), 2);
    assert_eq!(tree, Tree::new());
    assert_eq!(tree.hash(), Tree::new().hash());
}

#[test]
fn from_sorted_takes_what_comes() {
    let item = |name: &[u8], content| (Box::from(name), file(content), None);
    let dir = Dir::from_sorted(vec![
        item(b"b", 1),
        item(b"a", 2),
        item(b"b", 3),
        item(b"..", 4),
        item(b"", 5),
        item(b"x/y", 6),
    ]);
    let found: Vec<_> = dir.iter().map(|(name, node, _)| (name.as_bytes(), node.clone())).collect();
    assert_eq!(found, [(&b"a"[..], file(2)), (&b"b"[..], file(3))]);
}

#[test]
fn entries_of_different_kinds_hash_differently() {
    let one = |node| Dir::from_sorted(vec![(Box::from(&b"n"[..]), node, None)]).hash();
    let Node::File { content, len, .. } = file(1) else { unreachable!() };
    let hashes = [
        one(Node::Directory(Dir::new())),
        one(Node::Directory(numbered(1))),
        one(Node::File { content, len, executable: false }),
        one(Node::File { content, len, executable: true }),
        one(Node::File { content, len: len + 1, executable: false }),
        one(file(2)),
        one(Node::Symlink(Target::new(b"t").unwrap())),
        one(Node::Symlink(Target::new(b"u").unwrap())),
        Dir::new().hash(),
    ];
    for (index, hash) in hashes.iter().enumerate() {
        assert!(!hashes[..index].contains(hash), "{index}");
    }
}

/// The addresses of all pages of a directory itself, children of its own not included.
fn page_pointers(dir: &Dir) -> Vec<usize> {
    fn collect(page: &Arc<Page>, found: &mut Vec<usize>) {
        found.push(Arc::as_ptr(page).addr());
        if let Page::Inner(inner) = &**page {
            inner.children.iter().for_each(|child| collect(child, found));
        }
    }
    let mut found = Vec::new();
    dir.top().into_iter().for_each(|top| collect(top, &mut found));
    found
}

/// Whether no page beneath `dir` would have to be hashed.
fn all_summaries_known(dir: &Dir) -> bool {
    fn known(page: &Page) -> bool {
        page.has_summary()
            && match page {
                Page::Leaf(leaf) => leaf.nodes.iter().filter_map(Node::as_dir).all(all_summaries_known),
                Page::Inner(inner) => inner.children.iter().all(|child| known(child)),
            }
    }
    dir.top().is_none_or(|top| known(top))
}

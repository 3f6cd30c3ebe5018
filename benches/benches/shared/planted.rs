//! Trees in memory for the benches: files a hundred in a directory, a hundred directories in each above.

use sync_core::tree::{Dir, Node, Stamp, Tree};
use sync_proto::{ContentId, SyncPath};

/// A name, what stands there, and alpha's stamp: what a directory is made of.
pub(crate) type Item = (Box<[u8]>, Node, Option<Stamp>);

/// A file of 4 KB whose content is told apart by `seed`.
pub(crate) fn file(seed: u64) -> Node {
    Node::File { content: ContentId(*blake3::hash(&seed.to_le_bytes()).as_bytes()), len: 4_096, executable: false }
}

pub(crate) fn stamp(seed: u64) -> Stamp {
    Stamp { mtime_ns: seed as i64, ctime_ns: seed as i64, inode: seed }
}

/// `count` files with seeds from `first`, for one directory.
pub(crate) fn files(first: u64, count: u64) -> Vec<Item> {
    let named = |n: u64| (format!("module{n:06}.rs").into_bytes().into(), file(first + n), Some(stamp(first + n)));
    (0..count).map(named).collect()
}

/// A tree of `count` files, hashed. Two of them are equal and share no memory.
pub(crate) fn tree(count: u64) -> Tree {
    let directory =
        |name: String, items: Vec<Item>| (name.into_bytes().into(), Node::Directory(Dir::from_sorted(items)), None);
    let directories = count / 100;
    let group = |n: u64| {
        let packages = n * 100..directories.min((n + 1) * 100);
        let package = |n: u64| directory(format!("package{n:06}"), files(n * 100, 100));
        directory(format!("group{n:03}"), packages.map(package).collect())
    };
    let tree = Tree::from_root(Dir::from_sorted((0..directories.div_ceil(100)).map(group).collect()));
    assert_eq!(tree.entries(), count + directories + directories.div_ceil(100));
    tree.hash();
    tree
}

/// Where the file of a number stands in [`tree`].
pub(crate) fn path(number: u64) -> SyncPath {
    let text = format!("group{:03}/package{:06}/module{:06}.rs", number / 10_000, number / 100, number % 100);
    SyncPath::parse(text.as_bytes()).expect("a short path of plain names")
}

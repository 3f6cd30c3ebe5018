//! A million files, measured: `cargo test -p sync-core --release -- --ignored --nocapture million`. `FILES_PER_DIRECTORY`
//! says how wide (20 unless set); one width a process, because freed memory does not go back to the kernel.

use std::{fs, time::Instant};

use sync_proto::{ContentId, SyncPath};

use super::{Store, Tree};
use crate::tree::{Dir, Node, Stamp, diff};

/// Memory of this process that is in use, in bytes, as the kernel counts it.
fn resident() -> Option<i64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<i64>().ok()? * 1024)
}

/// A million files, `breadth` in a directory, a hundred directories in each above.
fn million(breadth: u64) -> Tree {
    let directories = 1_000_000 / breadth;
    let leaf = |directory: u64| {
        let item = |n: u64| {
            let n = directory * breadth + n;
            let content = ContentId(*blake3::hash(&n.to_le_bytes()).as_bytes());
            let stamp = Stamp { mtime_ns: n as i64, ctime_ns: n as i64, inode: n };
            let node = Node::File { content, len: n % 10_000, executable: false };
            (format!("module{n:07}.rs").into_bytes().into(), node, Some(stamp))
        };
        (
            format!("package{directory:06}").into_bytes().into(),
            Node::Directory(Dir::from_sorted((0..breadth).map(item).collect())),
            None,
        )
    };
    let group = |n: u64| {
        let items = (n * 100..directories.min((n + 1) * 100)).map(leaf).collect();
        (format!("group{n:05}").into_bytes().into(), Node::Directory(Dir::from_sorted(items)), None)
    };
    Tree::from_root(Dir::from_sorted((0..directories.div_ceil(100)).map(group).collect()))
}

#[test]
#[ignore = "a measurement: takes seconds and 200 MB"]
fn million_files() {
    let breadth = std::env::var("FILES_PER_DIRECTORY").map_or(20, |breadth| breadth.parse().unwrap());
    let before = resident();
    let tree = million(breadth);
    tree.hash();
    if let (Some(before), Some(after)) = (before, resident()) {
        println!("{breadth} files a directory: {} bytes a file", (after - before) / 1_000_000);
    }
    let path = tree.root().iter().next().and_then(|(group, ..)| SyncPath::root().join(group).ok()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(dir.path()).unwrap();
    let start = Instant::now();
    store.snapshot(&tree).unwrap();
    let written = start.elapsed();
    drop(store);
    let start = Instant::now();
    let (_store, loaded) = Store::open(dir.path()).unwrap();
    let read = start.elapsed();
    let mut loaded = loaded.synced.unwrap();
    assert_eq!(loaded.hash(), tree.hash());

    let bytes = fs::metadata(dir.path().join(super::SNAPSHOT)).unwrap().len();
    println!("    snapshot {bytes} bytes, written in {written:.0?}, read in {read:.0?}");
    let start = Instant::now();
    loaded = loaded.shared_with(&tree);
    println!("    shared in {:.0?}", start.elapsed());
    let file = loaded.dir(&path).and_then(|dir| dir.iter().next()).and_then(|(name, ..)| path.join(name).ok()).unwrap();
    let file = loaded.dir(&file).and_then(|dir| dir.iter().next()).and_then(|(name, ..)| file.join(name).ok()).unwrap();
    let start = Instant::now();
    loaded.insert(&file, super::file(1), None).unwrap();
    let found: Vec<_> = diff(tree.root(), loaded.root()).map(|difference| difference.path).collect();
    println!("    one edit, hashed and found by diff, in {:.0?}", start.elapsed());
    assert_eq!(found, [file]);
}

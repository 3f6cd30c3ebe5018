//! What the tree costs: an edit, a stamp, a comparison, at three sizes. The edit of one file should hardly grow.

#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use sync_core::tree::{Dir, Node, Stamp, Tree, diff, merge, walk};
use sync_proto::{ContentId, Name, SyncPath};

type Item = (Box<[u8]>, Node, Option<Stamp>);

const SIZES: [u64; 3] = [1_000, 10_000, 100_000];

fn file(seed: u64) -> Node {
    Node::File { content: ContentId(*blake3::hash(&seed.to_le_bytes()).as_bytes()), len: seed, executable: false }
}

fn stamp(seed: u64) -> Stamp {
    Stamp { mtime_ns: seed as i64, ctime_ns: seed as i64, inode: seed }
}

fn files(count: u64) -> Vec<Item> {
    (0..count).map(|n| (format!("module{n:06}.rs").into_bytes().into(), file(n), Some(stamp(n)))).collect()
}

fn directory(name: String, items: Vec<Item>) -> Item {
    (name.into_bytes().into(), Node::Directory(Dir::from_sorted(items)), None)
}

/// Files, a hundred in a directory, a hundred directories in each above.
fn tree(count: u64) -> Tree {
    let directories = count / 100;
    let group = |n: u64| {
        let packages = n * 100..directories.min((n + 1) * 100);
        directory(format!("group{n:03}"), packages.map(|n| directory(format!("package{n:06}"), files(100))).collect())
    };
    let tree = Tree::from_root(Dir::from_sorted((0..directories.div_ceil(100)).map(group).collect()));
    assert_eq!(tree.entries(), count + directories + directories.div_ceil(100));
    tree.hash();
    tree
}

fn edits(criterion: &mut Criterion) {
    let path = SyncPath::parse(b"group000/package000003/module000050.rs").unwrap();
    let mut group = criterion.benchmark_group("tree");
    for size in SIZES {
        let synced = tree(size);
        // Above all that is in the tree, so that every edit is one.
        let mut seed = 1_000_000;
        group.bench_function(BenchmarkId::new("edit_hash_diff", size), |bencher| {
            bencher.iter(|| {
                seed += 1;
                let mut alpha = synced.clone();
                alpha.insert(&path, file(seed), Some(stamp(seed))).unwrap();
                assert_eq!(diff(synced.root(), alpha.root()).count(), 1);
            });
        });
        group.bench_function(BenchmarkId::new("stamp_alone", size), |bencher| {
            let mut alpha = synced.clone();
            bencher.iter(|| {
                seed += 1;
                alpha.insert(&path, file(50), Some(stamp(seed))).unwrap();
                black_box(alpha.hash())
            });
        });
        group.bench_function(BenchmarkId::new("get", size), |bencher| {
            bencher.iter(|| black_box(synced.get(black_box(&path))));
        });
        group.bench_function(BenchmarkId::new("walk", size), |bencher| {
            bencher.iter(|| black_box(walk(synced.root()).count()));
        });
    }
    group.finish();
}

fn one_directory(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("directory_of_10000");
    let synced = Dir::from_sorted(files(10_000));
    synced.hash();
    let name = Name::new(b"module005000.rs").unwrap();
    group.bench_function("build_and_hash", |bencher| {
        let build = |items| black_box(Dir::from_sorted(items).hash());
        bencher.iter_batched(|| files(10_000), build, BatchSize::LargeInput);
    });
    let mut seed = 0;
    group.bench_function("edit_shared_and_hash", |bencher| {
        bencher.iter(|| {
            seed += 1;
            let mut alpha = synced.clone();
            alpha.insert(name, file(seed), None);
            black_box(alpha.hash())
        });
    });
    let mut alpha = synced.clone();
    alpha.insert(name, file(0), None);
    group.bench_function("merge_of_three_with_one_edit", |bencher| {
        bencher.iter(|| assert_eq!(merge([Some(&synced), Some(&alpha), Some(&synced)]).count(), 1));
    });
    group.finish();
}

criterion_group!(benches, edits, one_directory);
criterion_main!(benches);

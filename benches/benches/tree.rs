//! What the tree costs: an edit, a stamp, a comparison, at three sizes. The edit of one file should hardly grow.

#![allow(missing_docs, clippy::unwrap_used)]

#[path = "shared/planted.rs"]
mod planted;

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use sync_core::tree::{Dir, diff, merge, walk};
use sync_proto::Name;

use planted::{file, files, stamp, tree};

const SIZES: [u64; 3] = [1_000, 10_000, 100_000];

fn edits(criterion: &mut Criterion) {
    let path = planted::path(350);
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
                alpha.insert(&path, file(350), Some(stamp(seed))).unwrap();
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
    let synced = Dir::from_sorted(files(0, 10_000));
    synced.hash();
    let name = Name::new(b"module005000.rs").unwrap();
    group.bench_function("build_and_hash", |bencher| {
        let build = |items| black_box(Dir::from_sorted(items).hash());
        bencher.iter_batched(|| files(0, 10_000), build, BatchSize::LargeInput);
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

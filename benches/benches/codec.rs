//! Messages to frames and back, as a session sends them: a save, many small files, a page of a directory, outcomes.

#![allow(missing_docs, clippy::unwrap_used)]

#[expect(dead_code, reason = "not every bench needs all of it")]
#[path = "shared/planted.rs"]
mod planted;

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sync_proto::{
    Entry, SyncPath, TreeHash,
    codec::{self, FRAME_HEADER_BYTES},
    limits::{BUNDLE_FRAME_BYTES_MAX, CONTROL_FRAME_BYTES_MAX},
    message::{
        Batch, BatchId, Blob, Bounded, Content, Expected, Listed, Listing, Operation, Outcome, Outcomes, ToAgent,
        ToController,
    },
};

fn entry(seed: u64) -> Entry {
    planted::file(seed).entry()
}

/// A save: one file replaced, by a delta of 48 bytes.
fn save() -> ToAgent {
    let operation = Operation::Put {
        path: planted::path(350),
        expected: Expected::Entry(entry(350)),
        entry: entry(1),
        content: Content::Delta(Blob::new(vec![7; 48]).unwrap()),
    };
    ToAgent::Batch(Batch { id: BatchId(1_000), operations: Bounded::new(vec![operation]).unwrap() })
}

/// `count` new files of 4 KB, which compress to 1.2.
fn small_files(count: u64) -> Batch {
    let put = |n: u64| Operation::Put {
        path: planted::path(n),
        expected: Expected::Nothing,
        entry: entry(n),
        content: Content::Zstd(Blob::new(vec![7; 1_200]).unwrap()),
    };
    Batch { id: BatchId(1_000), operations: Bounded::new((0..count).map(put).collect()).unwrap() }
}

fn listing(count: u64) -> ToController {
    let listed = |n: u64| Listed {
        name: SyncPath::parse(format!("module{n:06}.rs").as_bytes()).unwrap(),
        entry: entry(n),
        tree: TreeHash([0; 32]),
    };
    let entries = Bounded::new((0..count).map(listed).collect()).unwrap();
    ToController::Listing(Listing { path: planted::path(350).parent().unwrap(), entries, last: true })
}

fn outcomes(count: usize) -> ToController {
    let outcomes = Bounded::new(vec![Outcome::Applied; count]).unwrap();
    ToController::Outcomes(Outcomes { batch: BatchId(1_000), outcomes, apply_micros: 140 })
}

fn both_ways<T: codec::Message + PartialEq>(criterion: &mut Criterion, name: &str, message: &T, max: usize) {
    let mut group = criterion.benchmark_group("codec");
    let mut frame = Vec::new();
    codec::encode_frame(message, &mut frame, max).unwrap();
    let body = frame.split_off(FRAME_HEADER_BYTES);
    assert!(codec::decode::<T>(&body).unwrap() == *message);
    println!("codec {name}: {} bytes", body.len());
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function(BenchmarkId::new("encode", name), |bencher| {
        let mut out = Vec::new();
        bencher.iter(|| {
            out.clear();
            codec::encode_frame(black_box(message), &mut out, max).unwrap();
            out.len()
        });
    });
    group.bench_function(BenchmarkId::new("decode", name), |bencher| {
        bencher.iter_with_large_drop(|| codec::decode::<T>(black_box(&body)).unwrap());
    });
    group.finish();
}

fn messages(criterion: &mut Criterion) {
    both_ways(criterion, "save", &save(), CONTROL_FRAME_BYTES_MAX);
    both_ways(criterion, "batch_of_1000", &small_files(1_000), BUNDLE_FRAME_BYTES_MAX);
    both_ways(criterion, "listing_of_100", &listing(100), CONTROL_FRAME_BYTES_MAX);
    both_ways(criterion, "listing_of_10000", &listing(10_000), CONTROL_FRAME_BYTES_MAX);
    both_ways(criterion, "outcomes_of_1", &outcomes(1), CONTROL_FRAME_BYTES_MAX);
    both_ways(criterion, "outcomes_of_1000", &outcomes(1_000), CONTROL_FRAME_BYTES_MAX);
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(600));
    targets = messages
}
criterion_main!(benches);

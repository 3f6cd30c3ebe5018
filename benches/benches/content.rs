//! What is done with the content of files: chunking, hashing, deltas.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use std::{hint::black_box, time::Duration};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sync_core::{
    chunk::{self, Chunker},
    delta::{Decoder, Effort, Encoder},
};

/// Bytes without structure.
fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

/// Text that looks like source.
fn source(len: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(len + 80);
    let mut state = 7_u32;
    while text.len() < len {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let word = ["index", "path", "entry", "stage", "commit"][(state >> 13) as usize % 5];
        text.extend_from_slice(
            format!("    let {word}_{} = self.{word}.get({})?;\n", state >> 20, state % 977).as_bytes(),
        );
    }
    text.truncate(len);
    text
}

fn edit(base: &[u8], at: usize, removed: usize, inserted: &[u8]) -> Vec<u8> {
    let mut new = base.to_vec();
    new.splice(at..at + removed, inserted.iter().copied());
    new
}

fn chunking(c: &mut Criterion) {
    let data = noise(16 << 20);
    let mut group = c.benchmark_group("chunk");
    group.throughput(Throughput::Bytes(data.len() as u64));
    for (name, file_len) in [("16KiB", 16 << 20), ("64KiB", 1 << 30)] {
        let sizes = chunk::sizes(file_len);
        group.bench_function(BenchmarkId::new("cut", name), |b| {
            b.iter(|| chunk::cut(black_box(&data), &sizes).map(|chunk| chunk.len()).max());
        });
        group.bench_function(BenchmarkId::new("push", name), |b| {
            b.iter(|| {
                let mut longest = 0;
                let mut chunker = Chunker::new(sizes);
                for piece in data.chunks(256 << 10) {
                    chunker.push(black_box(piece), |chunk| longest = longest.max(chunk.len()));
                }
                chunker.finish(|chunk| longest = longest.max(chunk.len()));
                longest
            });
        });
    }
    group.finish();
}

fn hashing(c: &mut Criterion) {
    let data = noise(1 << 20);
    let mut group = c.benchmark_group("blake3");
    for len in [4 << 10, 16 << 10, 64 << 10, 1 << 20] {
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(BenchmarkId::from_parameter(len), |b| b.iter(|| blake3::hash(black_box(&data[..len]))));
    }
    group.finish();
}

fn deltas(c: &mut Criterion) {
    let mut group = c.benchmark_group("delta");
    for (size, len) in [("4KB", 4_000), ("18KB", 18_000), ("300KB", 300_000), ("4MB", 4_000_000)] {
        let base = source(len);
        let line = edit(&base, len / 2, 41, b"    let outcome = self.commit(path, entry)?;");
        let two =
            edit(&edit(&base, len * 4 / 5, 10, b"renamed_here"), len / 10, 0, b"use std::collections::BTreeMap;\n");
        for (what, new) in [("one-line", &line), ("two-places", &two)] {
            let mut encoder = Encoder::new();
            let delta = encoder.encode(&base, new, Effort::Fast);
            println!("delta {size} {what}: {} bytes of payload", delta.len());
            group.bench_function(BenchmarkId::new("encode", format!("{size}/{what}")), |b| {
                b.iter(|| encoder.encode(black_box(&base), black_box(new), Effort::Fast));
            });
            let mut decoder = Decoder::new();
            group.bench_function(BenchmarkId::new("decode", format!("{size}/{what}")), |b| {
                b.iter(|| decoder.decode(black_box(&base), black_box(&delta), new.len() as u64).unwrap());
            });
        }
    }
    group.finish();
}

criterion_group! {
    name = content;
    config = Criterion::default().sample_size(20).warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(600));
    targets = chunking, hashing, deltas
}
criterion_main!(content);

//! What is done with the content of files: chunking, hashing, deltas.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use std::{
    hint::black_box,
    io::{self, Cursor, Read, Seek, SeekFrom, Write},
    time::Duration,
};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sync_core::{
    chunk::{self, Chunker, Cuts, Mark},
    delta::{Decoder, Effort, Encoder},
    replica::transfer::{FileReceiver, FileSender, ReadSeek, Reply, Step},
};
use sync_proto::{
    ContentId, Entry, SyncPath,
    message::{BatchId, Expected, FileHeader},
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

/// Takes what is written, and has none of it.
struct Nowhere(u64);

impl Read for Nowhere {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Ok(0)
    }
}

impl Write for Nowhere {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Nowhere {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        if let SeekFrom::Start(at) = to {
            self.0 = at;
        }
        Ok(self.0)
    }
}

/// Both halves of a transfer, without a link and a disk: how the file is said, and what the receiver has.
fn transfer(mut sender: FileSender<&[u8]>, content: ContentId, len: u64, recipe: bool, there: Option<&[u8]>) {
    let header = FileHeader {
        batch: BatchId(1),
        path: SyncPath::parse(b"file").unwrap(),
        expected: Expected::Nothing,
        entry: Entry::File { content, len, executable: false },
        recipe,
    };
    let there: Option<Box<dyn ReadSeek>> = there.map(|bytes| Box::new(Cursor::new(bytes.to_vec())) as _);
    let mut receiver = FileReceiver::new(&header, Nowhere(0), there.into_iter().collect()).unwrap();
    loop {
        match sender.next().unwrap() {
            Step::Send(frame) => {
                if let Reply::Need(need) = receiver.handle(frame).unwrap() {
                    sender.need(&need).unwrap();
                }
            }
            Step::AwaitNeed => panic!("it has been answered"),
            Step::Done => return,
        }
    }
}

/// What it costs to say a large file: whole, by a recipe of which nothing is known, and by the chunks of the one before.
fn transfers(c: &mut Criterion) {
    let base = noise(48 << 20);
    let new = edit(&base, 20 << 20, 0, b"inserted");
    let (len, content) = (new.len() as u64, ContentId(*blake3::hash(&new).as_bytes()));
    let mut cuts = Cuts::default();
    for range in chunk::cut(&base, &chunk::sizes(base.len() as u64)) {
        cuts.push(Mark::of_bytes(&base[range]));
    }
    let mut group = c.benchmark_group("transfer");
    group.throughput(Throughput::Bytes(len)).sample_size(10);
    for (name, recipe, there) in
        [("whole", false, None), ("recipe", true, None), ("recipe of the edit", true, Some(&base[..]))]
    {
        group.bench_function(name, |b| {
            b.iter(|| {
                transfer(FileSender::new(&new[..], len, content, recipe, Effort::Fast), content, len, recipe, there);
            });
        });
    }
    group.bench_function("known chunks", |b| {
        b.iter(|| {
            let sender = FileSender::known(&new[..], len, content, black_box(&cuts), Effort::Fast);
            transfer(sender, content, len, false, Some(&base));
        });
    });
    group.finish();
}

criterion_group! {
    name = content;
    config = Criterion::default().sample_size(20).warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(600));
    targets = chunking, hashing, transfers, deltas
}
criterion_main!(content);

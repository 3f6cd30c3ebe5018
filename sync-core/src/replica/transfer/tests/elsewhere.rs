//! Chunks that this side has elsewhere, and files said by the chunks of the one before.

use std::sync::{Arc, Mutex};

use super::*;
use crate::chunk::{Cuts, Mark, cut, sizes};

/// A content that is said to stand elsewhere, and what is read there.
struct There {
    said: Vec<u8>,
    real: Vec<u8>,
    reads: Arc<Mutex<Vec<u64>>>,
}

impl Elsewhere for There {
    fn find(&mut self, chunk: &Chunk) -> Option<Spot> {
        let offset = ranges(&self.said).find(|range| id(&self.said[range.clone()]) == chunk.id)?.start as u64;
        Some(Spot { file: 0, offset })
    }

    fn read(&mut self, spot: Spot, bytes: &mut [u8]) -> io::Result<()> {
        self.reads.lock().unwrap().push(spot.offset);
        let start = spot.offset as usize;
        bytes.copy_from_slice(self.real.get(start..start + bytes.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

fn ranges(bytes: &[u8]) -> impl Iterator<Item = std::ops::Range<usize>> {
    let all: Vec<_> = cut(bytes, &sizes(bytes.len() as u64)).collect();
    all.into_iter()
}

/// Sends `new` to a receiver that takes `said` for what stands elsewhere, where `real` does. How many bytes came, and how many
/// chunks were looked at elsewhere.
fn check(new: &[u8], said: &[u8], real: &[u8]) -> (u64, usize) {
    let reads = Arc::default();
    let there = There { said: said.to_vec(), real: real.to_vec(), reads: Arc::clone(&reads) };
    let len = new.len() as u64;
    let mut sender = FileSender::new(new, len, id(new), true, Effort::Fast);
    let mut receiver = FileReceiver::new(&header(id(new), len, true), Cursor::new(Vec::new()), Vec::new()).unwrap();
    receiver.take_from(Box::new(there));
    loop {
        match sender.next().unwrap() {
            Step::Send(frame) => {
                if let Reply::Need(need) = receiver.handle(frame).unwrap() {
                    sender.need(&need).unwrap();
                }
            }
            Step::AwaitNeed => panic!("it has been answered"),
            Step::Done => break,
        }
    }
    let cuts = receiver.cuts().unwrap();
    assert_eq!(Some(&cuts), sender.cuts().as_ref(), "both know its chunks");
    assert_eq!(cuts.marks().len(), ranges(new).count());
    let received = receiver.received_bytes();
    assert!(receiver.into_output().into_inner() == new, "what arrived is not what was sent");
    let reads = reads.lock().unwrap().len();
    (received, reads)
}

#[test]
fn what_stands_elsewhere_is_not_sent_and_what_is_not_what_it_was_is() {
    let there = noise(9 << 20, 1);
    let mut new = there.clone();
    new.splice(5_000_000..5_000_000, *b"inserted");
    let (received, _) = check(&new, &there, &there);
    assert!(received < 200_000, "{received} bytes");
    // Half of it has changed since.
    let mut real = there.clone();
    real[..4 << 20].fill(7);
    let (received, reads) = check(&new, &there, &real);
    assert!(received > 1 << 20, "{received} bytes");
    assert!(reads < 2 * ranges(&new).count());
}

#[test]
fn false_hits_are_soon_looked_for_no_more() {
    let said = noise(9 << 20, 1);
    for real in [noise(9 << 20, 2), Vec::new()] {
        let (received, reads) = check(&said, &said, &real);
        assert_eq!((received, reads), (9 << 20, 64));
    }
}

#[test]
fn a_chunk_that_changes_after_it_was_promised_is_found_out() {
    /// The first look is right.
    struct Fickle(Vec<u8>, usize);
    impl Elsewhere for Fickle {
        fn find(&mut self, _: &Chunk) -> Option<Spot> {
            Some(Spot { file: 0, offset: 0 })
        }
        fn read(&mut self, _: Spot, bytes: &mut [u8]) -> io::Result<()> {
            bytes.copy_from_slice(&self.0);
            self.1 += 1;
            if self.1 > 1 {
                bytes[0] ^= 1;
            }
            Ok(())
        }
    }
    let content = noise(60_000, 1);
    let mut receiver =
        FileReceiver::new(&header(id(&content), 60_000, true), Cursor::new(Vec::new()), Vec::new()).unwrap();
    receiver.take_from(Box::new(Fickle(content.clone(), 0)));
    assert!(matches!(receiver.handle(page(0, &[&content])), Err(ReceiveError::SourceChanged)));
}

fn cuts(bytes: &[u8]) -> Cuts {
    let mut cuts = Cuts::default();
    ranges(bytes).for_each(|range| cuts.push(Mark::of_bytes(&bytes[range])));
    cuts
}

/// Says `new` by the chunks of `old`: bytes of content on the wire, and frames.
fn known(old: &[u8], new: &[u8]) -> (usize, usize) {
    let len = new.len() as u64;
    let mut sender = FileSender::known(new, len, id(new), &cuts(old), Effort::Fast);
    let mut receiver =
        FileReceiver::new(&header(id(new), len, false), Cursor::new(Vec::new()), resources(&[old.to_vec()])).unwrap();
    let (mut wire, mut frames) = (0, 0);
    loop {
        assert!(sender.held_bytes() <= 6 << 20, "{}", sender.held_bytes());
        match sender.next().unwrap() {
            Step::Send(frame) => {
                frames += 1;
                wire += if let FileFrame::Raw(bytes) = &frame { bytes.len() } else { 0 };
                receiver.handle(frame).unwrap();
            }
            Step::AwaitNeed => panic!("nothing is asked for"),
            Step::Done => break,
        }
    }
    assert!(receiver.into_output().into_inner() == new, "what arrived is not what was sent");
    let same = sizes(old.len() as u64) == sizes(len);
    assert_eq!(sender.cuts(), same.then(|| cuts(new)));
    (wire, frames)
}

#[test]
fn by_the_chunks_of_the_version_before_only_what_has_changed_goes() {
    let old = noise(20 << 20, 1);
    let check = |new: &[u8], wire_max: usize, frames_max: usize| {
        let (wire, frames) = known(&old, new);
        assert!(wire <= wire_max && frames <= frames_max, "{wire} bytes, {frames} frames");
    };
    check(&old, 0, 2);
    let mut new = old.clone();
    new.splice(9_000_000..9_000_000, *b"inserted");
    new[15_000_000] ^= 1;
    check(&new, 200_000, 6);
    let turned = [&old[10 << 20..], &old[..10 << 20]].concat();
    check(&turned, 200_000, 8);
    check(&old[..1 << 20], 64 << 10, 3);
    check(&[], 0, 1);
    check(&noise(5 << 20, 2), 5 << 20, 8);
    // Other sizes of chunks would be its own.
    check(&[&old[..], &noise(45 << 20, 3)].concat(), (45 << 20) + 200_000, 60);
}

#[test]
fn where_the_version_before_is_another_it_is_found_out() {
    let (old, other) = (noise(2 << 20, 1), noise(2 << 20, 2));
    let len = old.len() as u64;
    let mut sender = FileSender::known(&old[..], len, id(&old), &cuts(&old), Effort::Fast);
    let mut receiver =
        FileReceiver::new(&header(id(&old), len, false), Cursor::new(Vec::new()), resources(&[other])).unwrap();
    let last = loop {
        match sender.next().unwrap() {
            Step::Send(frame) => match receiver.handle(frame) {
                Ok(_) => {}
                Err(error) => break error,
            },
            step => panic!("{step:?}"),
        }
    };
    assert!(matches!(last, ReceiveError::SourceChanged), "{last}");
}

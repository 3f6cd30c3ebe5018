//! A large file hashed by several threads at once.
//!
//! BLAKE3 is a tree: of parts whose length is a power of two each is hashed by itself, and the results are merged in
//! pairs (section 2.1 of its specification; [`blake3::hazmat`]). Each thread reads the next part that nobody has taken, by
//! its offset: nobody waits for another.

use std::{
    io,
    num::NonZero,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

use blake3::{
    Hasher,
    hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root},
};
use sync_proto::{ContentId, limits::FILE_BYTES_MAX};

use super::{Stopped, TooLarge};

/// What is hashed by itself, in bytes: a power of two, as the tree asks for, and short enough for a core's own cache.
const PART_BYTES: usize = 256 << 10;
/// More threads than this find the memory busy rather than the processor.
pub(super) const THREADS_MAX: usize = 4;
/// For less, threads take longer to begin than they save.
pub(super) const PARALLEL_BYTES_MIN: u64 = 4 << 20;

/// Reads at an offset as much as there is room for, or as there is.
type ReadAt<'a> = &'a (dyn Fn(&mut [u8], u64) -> io::Result<usize> + Sync);

/// A part of a file.
struct Part {
    number: u64,
    len: usize,
    value: ChainingValue,
}

/// How many threads a large file is worth where nothing else is being read: all but one, which is left to saves, where there are
/// more than two.
pub(super) fn threads() -> usize {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    if processors > 2 { (processors - 1).min(THREADS_MAX) } else { processors }
}

/// The hash and the length of all that can be read, by so many threads. `None` where it is so short that there is nothing
/// to share, or was not of one length while it was read.
///
/// Memory: a part for each thread, and about 100 bytes for each part: 1.6 MiB at 4 GiB, 400 MiB at [`FILE_BYTES_MAX`].
pub(super) fn hash(read: ReadAt<'_>, threads: usize, stop: &AtomicBool) -> io::Result<Option<(ContentId, u64)>> {
    let next = AtomicU64::new(0);
    let work = || {
        let parts = work(read, &next, stop);
        if parts.is_err() {
            // Nothing is left for the others.
            next.store(u64::MAX / 2, Ordering::Relaxed);
        }
        parts
    };
    let mut parts = thread::scope(|scope| {
        // One that the system does not give is done without.
        let other = |_| thread::Builder::new().name("synctl-hash".to_owned()).spawn_scoped(scope, work).ok();
        let others: Vec<_> = (1..threads).map_while(other).collect();
        let mut parts = work()?;
        for other in others {
            parts.append(&mut other.join().map_err(|_| io::Error::other("a thread that hashed has ended"))??);
        }
        io::Result::Ok(parts)
    })?;
    parts.sort_unstable_by_key(|part| part.number);
    let len: u64 = parts.iter().map(|part| part.len as u64).sum();
    // What grew or shrank may have a hole, or a short part before others.
    let is_whole = parts.last().is_none_or(|last| last.number * PART_BYTES as u64 + last.len as u64 == len);
    let values: Vec<_> = parts.into_iter().map(|part| part.value).collect();
    Ok(root(&values).filter(|_| is_whole).map(|hash| (ContentId(*hash.as_bytes()), len)))
}

/// Reads and hashes until there is nothing left.
fn work(read: ReadAt<'_>, next: &AtomicU64, stop: &AtomicBool) -> io::Result<Vec<Part>> {
    let mut parts = Vec::new();
    let mut bytes = vec![0; PART_BYTES];
    loop {
        if stop.load(Ordering::Relaxed) {
            return Err(io::Error::other(Stopped));
        }
        let number = next.fetch_add(1, Ordering::Relaxed);
        let offset = number.saturating_mul(PART_BYTES as u64);
        let len = fill(read, &mut bytes, offset)?;
        if len == 0 {
            return Ok(parts);
        }
        if offset + len as u64 > FILE_BYTES_MAX {
            return Err(io::Error::other(TooLarge { len: offset + len as u64 }));
        }
        let content = bytes.get(..len).unwrap_or_default();
        parts.push(Part {
            number,
            len,
            value: Hasher::new().set_input_offset(offset).update(content).finalize_non_root(),
        });
        if len < PART_BYTES {
            return Ok(parts);
        }
    }
}

fn fill(read: ReadAt<'_>, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    if offset > FILE_BYTES_MAX {
        return Ok(0);
    }
    while let Some(room) = bytes.get_mut(filled..).filter(|room| !room.is_empty()) {
        match read(room, offset + filled as u64) {
            Ok(0) => break,
            Ok(some) => filled += some,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The hash of a file of these parts. `None` where it has fewer than two: the root is hashed in another way than a part.
fn root(parts: &[ChainingValue]) -> Option<blake3::Hash> {
    let (left, right) = halves(parts)?;
    Some(merge_subtrees_root(&merged(left)?, &merged(right)?, Mode::Hash))
}

fn merged(parts: &[ChainingValue]) -> Option<ChainingValue> {
    match halves(parts) {
        Some((left, right)) => Some(merge_subtrees_non_root(&merged(left)?, &merged(right)?, Mode::Hash)),
        None => parts.first().copied(),
    }
}

/// At the left as many as a power of two, and at least one at the right.
fn halves(parts: &[ChainingValue]) -> Option<(&[ChainingValue], &[ChainingValue])> {
    let left = parts.len().checked_sub(1).filter(|rest| *rest > 0)?.ilog2();
    parts.split_at_checked(1 << left)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    /// Bytes that differ from part to part.
    fn content(len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        Hasher::new().update(b"parallel").finalize_xof().fill(&mut bytes);
        bytes
    }

    fn read_at(content: &[u8], room: &mut [u8], offset: u64) -> usize {
        let rest = content.get(offset as usize..).unwrap_or_default();
        let some = rest.len().min(room.len());
        room[..some].copy_from_slice(&rest[..some]);
        some
    }

    #[test]
    fn the_hash_is_that_of_one_thread_at_every_length_around_a_part() {
        let bytes = content(9 * PART_BYTES + 1);
        let stop = AtomicBool::new(false);
        for parts in 0..=9 {
            for beside in -1..=1 {
                let Some(len) = (parts * PART_BYTES).checked_add_signed(beside) else { continue };
                let bytes = &bytes[..len];
                for threads in 1..=THREADS_MAX {
                    // Gives less than it is asked for, and is interrupted now and then.
                    let calls = AtomicU64::new(0);
                    let read = |room: &mut [u8], offset: u64| {
                        if calls.fetch_add(1, Ordering::Relaxed) % 5 == 4 {
                            return Err(io::ErrorKind::Interrupted.into());
                        }
                        let some = room.len().min(100_003);
                        Ok(read_at(bytes, &mut room[..some], offset))
                    };
                    let found = hash(&read, threads, &stop).unwrap();
                    let expected = (ContentId(*blake3::hash(bytes).as_bytes()), len as u64);
                    assert_eq!(found, (len > PART_BYTES).then_some(expected), "{len} bytes, {threads} threads");
                }
            }
        }
    }

    #[test]
    fn what_was_not_of_one_length_has_no_hash() {
        let long = content(8 * PART_BYTES);
        let stop = AtomicBool::new(false);
        for shorter in [0, 1, PART_BYTES, PART_BYTES + 1, 5 * PART_BYTES - 1] {
            let calls = AtomicU64::new(0);
            // Short for the second part that is asked for, and long again.
            let read = |room: &mut [u8], offset: u64| {
                let is_short = (1..3).contains(&calls.fetch_add(1, Ordering::Relaxed));
                let len = if is_short { shorter } else { long.len() };
                Ok(read_at(&long[..len], room, offset))
            };
            for threads in 2..=THREADS_MAX {
                calls.store(0, Ordering::Relaxed);
                let found = hash(&read, threads, &stop).unwrap();
                // Who found an end may have left the rest to the others, who found all of it.
                let whole = |len: u64| ContentId(*blake3::hash(&long[..len as usize]).as_bytes());
                assert!(found.is_none_or(|(id, len)| id == whole(len)), "{shorter}, {threads} threads");
            }
        }
    }

    #[test]
    fn an_error_ends_all_threads_and_is_told() {
        let bytes = content(9 * PART_BYTES);
        let stop = AtomicBool::new(false);
        let calls = AtomicU64::new(0);
        let read = |room: &mut [u8], offset: u64| {
            calls.fetch_add(1, Ordering::Relaxed);
            if offset >= 5 * PART_BYTES as u64 {
                return Err(io::Error::from_raw_os_error(5));
            }
            Ok(read_at(&bytes, room, offset))
        };
        for threads in 1..=THREADS_MAX {
            calls.store(0, Ordering::Relaxed);
            let error = hash(&read, threads, &stop).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(5), "{threads} threads");
            assert!(calls.load(Ordering::Relaxed) <= 5 + threads as u64, "{threads} threads");
        }
    }

    #[test]
    fn what_is_of_one_length_has_a_hash_whatever_it_was_said_to_be() {
        let bytes = content(5 * PART_BYTES + 7);
        let read = |room: &mut [u8], offset: u64| Ok(read_at(&bytes, room, offset));
        let (id, len) = hash(&read, 2, &AtomicBool::new(false)).unwrap().unwrap();
        assert_eq!((id, len), (ContentId(*blake3::hash(&bytes).as_bytes()), bytes.len() as u64));
    }

    #[test]
    fn who_is_ending_does_not_read() {
        let stop = AtomicBool::new(true);
        let read = |_: &mut [u8], _: u64| -> io::Result<usize> { panic!("read") };
        let error = hash(&read, 2, &stop).unwrap_err();
        assert!(error.downcast::<Stopped>().is_ok());
    }
}

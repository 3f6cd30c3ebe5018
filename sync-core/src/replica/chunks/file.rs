//! The chunk index as a file: a header, the contents, and a check over all of it. What is not exactly as it was written is
//! not there.

use sync_proto::{ContentId, SyncPath, limits::PATH_BYTES_MAX};

use super::{
    INDEX_BYTES_MAX,
    kept::{Kept, Known},
};
use crate::chunk::{CUTS_MAX, Cuts, Mark};

/// The first bytes; the last of them is the version.
const MAGIC: &[u8; 8] = b"synctlC\x01";
/// Of a check, at the end.
const CHECK_BYTES: usize = 32;
/// Of a content without its path and chunks.
const KNOWN_BYTES: usize = 32 + 2 + 4;
/// Of a chunk.
const MARK_BYTES: usize = 16 + 4;
/// Longest file that is read.
pub(super) const FILE_BYTES_MAX: usize = MAGIC.len() + INDEX_BYTES_MAX + CHECK_BYTES;

/// How many bytes a content takes in the file.
pub(super) fn size_of_known(known: &Known) -> usize {
    KNOWN_BYTES + known.path.as_bytes().len() + known.cuts.marks().len() * MARK_BYTES
}

/// The bytes of the file.
pub(super) fn encode(kept: &Kept) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FILE_BYTES_MAX.min(1 << 20));
    bytes.extend_from_slice(MAGIC);
    for known in kept.iter() {
        let path = known.path.as_bytes();
        bytes.extend_from_slice(&known.content.0);
        bytes.extend_from_slice(&(path.len() as u16).to_le_bytes());
        bytes.extend_from_slice(path);
        bytes.extend_from_slice(&(known.cuts.marks().len() as u32).to_le_bytes());
        for mark in known.cuts.marks() {
            bytes.extend_from_slice(&mark.half);
            bytes.extend_from_slice(&mark.len.to_le_bytes());
        }
    }
    let check = blake3::hash(&bytes);
    bytes.extend_from_slice(check.as_bytes());
    bytes
}

/// What the file holds; `None` where it is damaged, or of another version.
pub(super) fn decode(bytes: &[u8]) -> Option<Kept> {
    let (body, check) = bytes.split_last_chunk::<CHECK_BYTES>()?;
    if bytes.len() > FILE_BYTES_MAX || blake3::hash(body) != *check {
        return None;
    }
    let mut rest = body.strip_prefix(MAGIC)?;
    let mut kept = Kept::default();
    while !rest.is_empty() {
        kept.put(next(&mut rest)?);
    }
    Some(kept)
}

fn next(rest: &mut &[u8]) -> Option<Known> {
    let content = ContentId(take(rest)?);
    let path_len = usize::from(u16::from_le_bytes(take(rest)?));
    if path_len > PATH_BYTES_MAX {
        return None;
    }
    let (path, after) = rest.split_at_checked(path_len)?;
    *rest = after;
    let path = SyncPath::parse(path).ok()?;
    let count = u32::from_le_bytes(take(rest)?) as usize;
    // Before memory is taken for them.
    if count > CUTS_MAX || rest.len() / MARK_BYTES < count {
        return None;
    }
    let mut cuts = Cuts::default();
    for _ in 0..count {
        cuts.push(Mark { half: take(rest)?, len: u32::from_le_bytes(take(rest)?) });
    }
    let len = cuts.bytes();
    Some(Known { content, path, cuts: cuts.whole(len)? })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn kept(files: &[(u8, usize)]) -> Kept {
        let mut kept = Kept::default();
        for (content, chunks) in files {
            let mut cuts = Cuts::default();
            for number in 0..*chunks {
                cuts.push(Mark { half: [*content ^ number as u8; 16], len: 4096 + number as u32 });
            }
            let path = SyncPath::parse(format!("dir/{content}").as_bytes()).unwrap();
            kept.put(Known { content: ContentId([*content; 32]), path, cuts });
        }
        kept
    }

    fn same(one: &Kept, other: &Kept) -> bool {
        one.iter().eq(other.iter())
    }

    #[test]
    fn it_is_read_as_it_was_written_or_not_at_all() {
        let kept = kept(&[(1, 3), (2, 0), (3, 100)]);
        let bytes = encode(&kept);
        assert!(same(&decode(&bytes).unwrap(), &kept));
        for at in 0..bytes.len() {
            assert!(decode(&bytes[..at]).is_none(), "cut off at {at}");
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(decode(&damaged).is_none(), "damaged at {at}");
        }
        assert!(decode(&[&bytes[..], b"more"].concat()).is_none());
    }

    /// Bytes with a check that fits them.
    fn checked(body: &[u8]) -> Vec<u8> {
        [body, blake3::hash(body).as_bytes().as_slice()].concat()
    }

    #[test]
    fn what_was_not_written_by_this_version_is_refused() {
        let check = |body: &[u8], expected: bool| assert_eq!(decode(&checked(body)).is_some(), expected, "{body:?}");
        let content = [7_u8; 32].as_slice();
        let file = |path_len: u16, path: &[u8], count: u32, marks: &[u8]| {
            [MAGIC, content, &path_len.to_le_bytes(), path, &count.to_le_bytes(), marks].concat()
        };
        let mark = [&[1; 16][..], &9_u32.to_le_bytes()].concat();
        check(MAGIC, true);
        check(&file(1, b"a", 1, &mark), true);
        check(b"synctlC\x02", false);
        check(b"", false);
        check(&file(5000, &[b'a'; 5000], 1, &mark), false);
        check(&file(2, b"..", 1, &mark), false);
        check(&file(1, b"a", u32::MAX, &mark), false);
        check(&file(1, b"a", 2, &mark), false);
        check(&file(1, b"a", 1, &[0; 20]), false);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_are_read_without_panic(body in vec(any::<u8>(), 0..400), files in vec((any::<u8>(), 0_usize..40), 0..5)) {
            let _ = decode(&body);
            let _ = decode(&checked(&[&MAGIC[..], &body].concat()));
            let kept = kept(&files);
            prop_assert!(same(&decode(&encode(&kept)).unwrap(), &kept));
        }
    }
}

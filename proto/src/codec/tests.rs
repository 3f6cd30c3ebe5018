#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod messages;

use std::fmt::Debug;

use proptest::prelude::*;

use super::{
    DecodeError, EncodeError, FRAME_HEADER_BYTES, Message, decode, encode_frame, encode_raw_head, frame_len, raw_head,
};
use crate::{
    entry::{ContentId, Entry, Target},
    limits::*,
    message::*,
    path::SyncPath,
};

/// The body of a message.
fn body<T: Message>(message: &T) -> Vec<u8> {
    let mut frame = Vec::new();
    encode_frame(message, &mut frame, usize::MAX).unwrap();
    frame.split_off(FRAME_HEADER_BYTES)
}

fn malformed<T: Message + Debug>(body: &[u8]) -> String {
    match decode::<T>(body) {
        Err(DecodeError::Malformed(why)) => why,
        other => panic!("{other:?}"),
    }
}

/// A length as the wire has it, without the items.
fn count(len: u64) -> Vec<u8> {
    match len {
        0..251 => vec![len as u8],
        251..0x1_0000 => [&[251][..], &(len as u16).to_le_bytes()].concat(),
        0x1_0000..0x1_0000_0000 => [&[252][..], &(len as u32).to_le_bytes()].concat(),
        _ => [&[253][..], &len.to_le_bytes()].concat(),
    }
}

#[test]
fn a_frame_is_a_length_and_a_body() {
    let mut out = b"before".to_vec();
    encode_frame(&ToAgent::Ping(300), &mut out, 100).unwrap();
    assert_eq!(out, b"before\x04\0\0\0\x04\xfb\x2c\x01");
    assert_eq!(frame_len([4, 0, 0, 0], 4), Ok(4));
    assert_eq!(frame_len([5, 0, 0, 0], 4), Err(DecodeError::FrameTooLarge { len: 5, max: 4 }));
    let over = (BUNDLE_FRAME_BYTES_MAX as u32 + 1).to_le_bytes();
    assert!(frame_len(over, usize::MAX).is_err(), "no stream allows more than the largest frame");
}

#[test]
fn a_message_over_the_limit_leaves_nothing_behind() {
    let mut out = b"before".to_vec();
    assert_eq!(encode_frame(&ToAgent::Ping(300), &mut out, 3), Err(EncodeError { len: 4, max: 3 }));
    assert_eq!(out, b"before");
}

#[test]
fn the_head_of_a_block_and_the_block_are_its_frame() {
    for len in [0, 1, 250, 251, 0xffff, 0x1_0000, BLOCK_BYTES_MAX] {
        let block = vec![7; len];
        let mut frame = Vec::new();
        encode_frame(&FileFrame::Raw(Blob::new(block.clone()).unwrap()), &mut frame, FILE_FRAME_BYTES_MAX).unwrap();
        let head = encode_raw_head(len).unwrap();
        assert_eq!(raw_head(&frame), Some((head.len(), len)));
        assert_eq!(raw_head(&head), Some((head.len(), len)));
        assert!((0..head.len()).all(|short| raw_head(&head[..short]).is_none()), "{len} bytes");
        assert!([head, block].concat() == frame, "{len} bytes");
    }
    assert!(encode_raw_head(BLOCK_BYTES_MAX + 1).is_err());
    assert!(encode_raw_head(usize::MAX).is_err());
}

#[test]
fn trailing_bytes_are_refused() {
    assert_eq!(decode::<ToAgent>(&[4, 7]), Ok(ToAgent::Ping(7)));
    assert_eq!(decode::<ToAgent>(&[4, 7, 0]), Err(DecodeError::Trailing(1)));
    assert!(matches!(decode::<ToAgent>(&[]), Err(DecodeError::Malformed(_))));
}

#[test]
fn unknown_tags_are_refused() {
    malformed::<ToAgent>(&[6]);
    malformed::<ToController>(&[8]);
    malformed::<Entry>(&[3]);
    malformed::<Operation>(&[4]);
    malformed::<ProblemKind>(&[11]);
    malformed::<FileFrame>(&[5]);
    // A bool and an option are one byte, 0 or 1.
    malformed::<IgnoreSettings>(&[0, 2, 0, 0]);
    malformed::<Change>(&[0, 2]);
}

/// The memory a count claims is not there: it is refused before it is taken, whatever the frame's own limit.
#[test]
fn counts_over_their_limit_are_refused() {
    let over = |max: usize| count(max as u64 + 1);
    let check = |why: String, max: usize| assert!(why.contains(&format!("at most {max} ")), "{why}");
    check(malformed::<Bounded<u8, 10>>(&over(10)), 10);
    check(malformed::<Blob<10>>(&over(10)), 10);
    check(malformed::<Sentence>(&over(SENTENCE_BYTES_MAX)), SENTENCE_BYTES_MAX);
    check(malformed::<Target>(&over(TARGET_BYTES_MAX)), TARGET_BYTES_MAX);
    check(malformed::<SyncPath>(&over(PATH_DEPTH_MAX)), PATH_DEPTH_MAX);
    check(malformed::<SyncPath>(&[&[1], &over(NAME_BYTES_MAX)[..]].concat()), NAME_BYTES_MAX);
    check(malformed::<Batch>(&[&[0], &over(BATCH_OPERATIONS_MAX)[..]].concat()), BATCH_OPERATIONS_MAX);
    for huge in [count(u64::MAX), count(u64::from(u32::MAX)), count(1 << 40)] {
        malformed::<Sentence>(&huge);
        malformed::<Bounded<Operation, BATCH_OPERATIONS_MAX>>(&huge);
        malformed::<Blob<BLOCK_BYTES_MAX>>(&huge);
    }
}

/// Within their limit, but more than the frame holds.
#[test]
fn counts_over_what_is_there_are_refused() {
    malformed::<Blob<BLOCK_BYTES_MAX>>(&[count(BLOCK_BYTES_MAX as u64), vec![0; 9]].concat());
    malformed::<Bounded<u64, 1000>>(&[count(1000), vec![0; 999]].concat());
    malformed::<SyncPath>(&[2, 1, b'a']);
    malformed::<SyncPath>(&[1, 2, b'a']);
}

#[test]
fn paths_that_leave_the_root_do_not_decode() {
    let wire = |names: &[&[u8]]| {
        let mut out = count(names.len() as u64);
        for name in names {
            out.extend(count(name.len() as u64));
            out.extend_from_slice(name);
        }
        out
    };
    assert_eq!(decode(&wire(&[])), Ok(SyncPath::root()));
    assert_eq!(decode(&wire(&[b"a", b"\xff"])), Ok(SyncPath::parse(b"a/\xff").unwrap()));
    let bad: [&[&[u8]]; 9] = [
        &[b".."],
        &[b"a", b"..", b"b"],
        &[b"."],
        &[b""],
        &[b"a", b""],
        &[b"a/b"],
        &[b"/etc"],
        &[b"a\0b"],
        // As one path this would pass.
        &[b"a", b"b/c"],
    ];
    for names in bad {
        malformed::<SyncPath>(&wire(names));
    }
    let long = [b'n'; NAME_BYTES_MAX];
    decode::<SyncPath>(&wire(&[&long[..]; 16])).unwrap();
    malformed::<SyncPath>(&wire(&[&long[..]; 17]));
    malformed::<SyncPath>(&wire(&[&[&long[..]; 16][..], &[b"x"]].concat()));
    decode::<SyncPath>(&wire(&[&b"d"[..]; PATH_DEPTH_MAX])).unwrap();
}

#[test]
fn targets_and_sentences_are_checked() {
    malformed::<Target>(&[0]);
    malformed::<Target>(&[3, b'a', 0, b'b']);
    malformed::<Sentence>(&[1, 0xff]);
    assert_eq!(decode(&[2, 0xc3, 0xa9]), Ok(Sentence::new("é")));
}

/// What is allowed to be sent can be received: the largest frame, made of the smallest parts.
#[test]
fn the_largest_frames_decode() {
    let operation = |bytes: usize| Operation::Put {
        path: SyncPath::parse(b"d/f").unwrap(),
        expected: Expected::Nothing,
        entry: Entry::File { content: ContentId([7; 32]), len: bytes as u64, executable: false },
        content: Content::Raw(Blob::new(vec![1; bytes]).unwrap()),
    };
    let batch = |bytes: usize| Batch {
        id: BatchId(1),
        operations: Bounded::new(vec![operation(bytes); BATCH_OPERATIONS_MAX]).unwrap(),
    };
    // As much content as fits beside the rest.
    let rest = body(&batch(300)).len() - 300 * BATCH_OPERATIONS_MAX;
    let full = batch((BUNDLE_FRAME_BYTES_MAX - rest) / BATCH_OPERATIONS_MAX);
    let encoded = body(&full);
    assert!(
        encoded.len() <= BUNDLE_FRAME_BYTES_MAX && encoded.len() > BUNDLE_FRAME_BYTES_MAX - 2 * BATCH_OPERATIONS_MAX
    );
    assert_eq!(decode(&encoded), Ok(full));

    let page = RecipePage {
        page: 0,
        chunks: Bounded::new(vec![Chunk { id: ContentId([3; 32]), len: 1 }; RECIPE_CHUNKS_MAX]).unwrap(),
    };
    assert_eq!(decode(&body(&page)), Ok(page));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn messages_to_the_agent_read_back(message in messages::to_agent()) {
        prop_assert_eq!(decode(&body(&message)), Ok(message));
    }

    #[test]
    fn messages_to_the_controller_read_back(message in messages::to_controller()) {
        prop_assert_eq!(decode(&body(&message)), Ok(message));
    }

    #[test]
    fn content_streams_read_back(
        header in messages::stream_header(),
        frame in messages::file_frame(),
        fetched in messages::fetched(),
    ) {
        prop_assert_eq!(decode(&body(&header)), Ok(header));
        prop_assert_eq!(decode(&body(&frame)), Ok(frame));
        prop_assert_eq!(decode(&body(&fetched)), Ok(fetched));
    }

    /// A message cut short or with a byte flipped is refused or is another message, which reads back as itself.
    #[test]
    fn spoilt_messages_do_no_harm(message in messages::to_agent(), at: prop::sample::Index, bit in 0..8, cut: bool) {
        let mut bytes = body(&message);
        let index = at.index(bytes.len());
        if cut {
            bytes.truncate(index);
            prop_assert!(decode::<ToAgent>(&bytes).is_err());
        } else {
            bytes[index] ^= 1u8 << bit;
            if let Ok(other) = decode::<ToAgent>(&bytes) {
                prop_assert_eq!(decode(&body(&other)), Ok(other));
            }
        }
    }

    #[test]
    fn no_bytes_make_decoding_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode::<ToAgent>(&bytes);
        let _ = decode::<ToController>(&bytes);
        let _ = decode::<StreamHeader>(&bytes);
        let _ = decode::<FileFrame>(&bytes);
        let _ = decode::<Batch>(&bytes);
    }
}

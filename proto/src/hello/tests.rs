#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::{Agreement, HELLO_BYTES, Hello, HelloError, VERSION_MAX, VERSION_MIN};

fn speaking(version_min: u16, version_max: u16) -> Hello {
    Hello { version_min, version_max, features: 0b101, software: "synctl 0.1".to_owned() }
}

#[test]
fn the_layout_never_changes() {
    let hello =
        Hello { version_min: 1, version_max: 0x0203, features: 0x0102_0304_0506_0708, software: "ab".to_owned() };
    let mut expected = b"synctl\r\n\x01\x00\x03\x02\x08\x07\x06\x05\x04\x03\x02\x01\x02ab".to_vec();
    expected.resize(85, 0);
    assert_eq!(HELLO_BYTES, 85);
    assert_eq!(hello.encode()[..], expected[..]);
    assert_eq!(Hello::decode(&hello.encode()), Ok(hello));
}

#[test]
fn malformed_hellos_are_refused() {
    let check = |spoil: &dyn Fn(&mut [u8; HELLO_BYTES]), expected| {
        let mut bytes = speaking(1, 1).encode();
        spoil(&mut bytes);
        assert_eq!(Hello::decode(&bytes).map(|_| ()), expected);
    };
    check(&|_| {}, Ok(()));
    check(&|bytes| bytes[0] = b'S', Err(HelloError::NotSynctl));
    check(&|bytes| bytes[6] = b'\n', Err(HelloError::NotSynctl));
    check(&|bytes| bytes[20] = 65, Err(HelloError::Malformed));
    check(&|bytes| bytes[20] = 255, Err(HelloError::Malformed));
    check(&|bytes| bytes[21] = 0xff, Err(HelloError::Malformed));
    check(&|bytes| bytes[8] = 2, Err(HelloError::Malformed));
    // What stands in the padding belongs to nobody, and is left to later versions.
    check(&|bytes| bytes[HELLO_BYTES - 1] = 7, Ok(()));
}

#[test]
fn the_highest_common_version_is_taken_or_the_older_side_told_to_upgrade() {
    let agree = |ours: (u16, u16), theirs: (u16, u16)| speaking(ours.0, ours.1).agree(&speaking(theirs.0, theirs.1));
    assert_eq!(agree((1, 3), (2, 5)), Ok(Agreement { version: 3, features: 0b101 }));
    assert_eq!(agree((2, 5), (1, 3)), Ok(Agreement { version: 3, features: 0b101 }));
    assert_eq!(agree((1, 1), (1, 1)), Ok(Agreement { version: 1, features: 0b101 }));
    assert!(matches!(agree((2, 3), (1, 1)), Err(HelloError::PeerTooOld { theirs: 1, ours: 2, .. })));
    assert!(matches!(agree((1, 1), (2, 3)), Err(HelloError::SelfTooOld { theirs: 2, ours: 1, .. })));
    let older = Hello { features: 0b110, ..speaking(1, 1) };
    assert_eq!(speaking(1, 1).agree(&older).unwrap().features, 0b100);
}

#[test]
fn what_the_peer_calls_itself_is_escaped_and_cut() {
    let peer = Hello { software: "\x1b[2Jevil".to_owned(), ..speaking(7, 7) };
    let told = speaking(1, 1).agree(&peer).unwrap_err().to_string();
    assert!(told.contains("\\u{1b}[2Jevil") && !told.contains('\x1b'), "{told}");
    // 63 bytes and a character of two: cut before it, not within.
    let long = format!("{}é and more", "x".repeat(63));
    for hello in [Hello::current(&long), Hello { software: long.clone(), ..speaking(1, 1) }] {
        assert_eq!(Hello::decode(&hello.encode()).unwrap().software, "x".repeat(63));
    }
    assert_eq!((Hello::current("x").version_min, Hello::current("x").version_max), (VERSION_MIN, VERSION_MAX));
}

proptest! {
    #[test]
    fn hellos_read_back(min in 0u16.., more in 0u16..9, features: u64, software in "[ -~é]{0,32}") {
        let hello = Hello { version_min: min, version_max: min.saturating_add(more), features, software };
        prop_assert_eq!(Hello::decode(&hello.encode()), Ok(hello));
    }

    #[test]
    fn no_bytes_make_decoding_panic(head: [u8; 32], tail: [u8; 32]) {
        let mut bytes = speaking(1, 1).encode();
        bytes[8..40].copy_from_slice(&head);
        bytes[40..72].copy_from_slice(&tail);
        let _ = Hello::decode(&bytes);
    }

    /// Both sides come to the same conclusion, each from its own end.
    #[test]
    fn agreement_is_mutual(a in 0u16..6, b in 0u16..6, c in 0u16..6, d in 0u16..6) {
        let (ours, theirs) = (speaking(a.min(b), a.max(b)), speaking(c.min(d), c.max(d)));
        match (ours.agree(&theirs), theirs.agree(&ours)) {
            (Ok(one), Ok(other)) => {
                prop_assert_eq!(one, other);
                prop_assert!((ours.version_min..=ours.version_max).contains(&one.version));
                prop_assert!((theirs.version_min..=theirs.version_max).contains(&one.version));
            }
            (Err(HelloError::PeerTooOld { .. }), Err(HelloError::SelfTooOld { .. }))
            | (Err(HelloError::SelfTooOld { .. }), Err(HelloError::PeerTooOld { .. })) => {}
            other => prop_assert!(false, "{:?}", other),
        }
    }
}

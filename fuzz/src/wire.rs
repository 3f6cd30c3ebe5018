//! What comes from a peer: messages, paths, the hello.

use bincode::{Decode, Encode};
use sync_proto::{
    Name, SyncPath, Target,
    codec::{FRAME_HEADER_BYTES, decode, encode_frame, frame_len},
    escape::Escaped,
    hello::{HELLO_BYTES, Hello},
    limits::{BUNDLE_FRAME_BYTES_MAX, CONTROL_FRAME_BYTES_MAX},
    message::{Batch, Fetched, FileFrame, StreamHeader, ToAgent, ToController},
};

/// First byte: which message; its highest bit: whether a frame's header comes before the body.
pub fn messages(data: &[u8]) {
    let Some((&kind, mut body)) = data.split_first() else {
        return;
    };
    if kind & 0x80 != 0 {
        let Some((header, rest)) = body.split_first_chunk::<FRAME_HEADER_BYTES>() else {
            return;
        };
        let Ok(len) = frame_len(*header, CONTROL_FRAME_BYTES_MAX) else {
            return;
        };
        assert!(len <= CONTROL_FRAME_BYTES_MAX);
        let Some(whole) = rest.get(..len) else {
            return;
        };
        body = whole;
    }
    match kind & 0x7f {
        0 => message::<ToAgent>(body),
        1 => message::<ToController>(body),
        2 => message::<StreamHeader>(body),
        3 => message::<FileFrame>(body),
        4 => message::<Batch>(body),
        5 => message::<Fetched>(body),
        _ => {}
    }
}

/// What decodes is said again and decodes to the same.
fn message<T: Encode + Decode<()> + PartialEq>(body: &[u8]) {
    let message = match decode::<T>(body) {
        Ok(message) => message,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let mut frame = Vec::new();
    encode_frame(&message, &mut frame, BUNDLE_FRAME_BYTES_MAX).expect("what decoded can be encoded");
    assert!(frame.len() <= FRAME_HEADER_BYTES + body.len(), "the shortest form is longer than what was read");
    assert!(decode::<T>(&frame[FRAME_HEADER_BYTES..]).expect("what was encoded decodes") == message);
}

/// The bytes as a path, a name, a symlink target.
pub fn paths(data: &[u8]) {
    crate::assert_safe_to_show(&Escaped(data).to_string());
    if let Ok(name) = Name::new(data) {
        assert_eq!(name.as_bytes(), data);
        assert!(!data.is_empty() && data != b"." && data != b".." && !data.contains(&b'/') && !data.contains(&0));
    }
    if let Ok(target) = Target::new(data) {
        assert_eq!(target.as_bytes(), data);
    }
    let Ok(path) = SyncPath::parse(data) else {
        return;
    };
    assert_eq!(path.as_bytes(), data);
    crate::assert_safe_to_show(&path.to_string());
    let mut joined = SyncPath::root();
    for name in path.components() {
        assert!(path.starts_with(&joined));
        assert_eq!(joined.join_path(&path.strip_prefix(&joined).expect("it starts with it")).as_ref(), Ok(&path));
        joined = joined.join(name).expect("a part of a path is a path");
    }
    assert_eq!(joined, path);
    assert_eq!(path.components().count(), path.depth());
    match path.split_last() {
        Some((parent, name)) => {
            assert_eq!(parent.join(name).as_ref(), Ok(&path));
            assert!(parent < path);
        }
        None => assert!(path.is_root()),
    }
}

/// The bytes, filled up with zeros, as a hello.
pub fn hello(data: &[u8]) {
    let mut bytes = [0; HELLO_BYTES];
    for (to, from) in bytes.iter_mut().zip(data) {
        *to = *from;
    }
    let hello = match Hello::decode(&bytes) {
        Ok(hello) => hello,
        Err(error) => return crate::assert_safe_to_show(&error.to_string()),
    };
    assert_eq!(Hello::decode(&hello.encode()).as_ref(), Ok(&hello));
    let current = Hello::current("synctl 0.0.0");
    match current.agree(&hello) {
        Ok(agreement) => {
            assert!((current.version_min..=current.version_max).contains(&agreement.version));
            assert!((hello.version_min..=hello.version_max).contains(&agreement.version));
            assert_eq!(hello.agree(&current), Ok(agreement));
        }
        Err(error) => {
            crate::assert_safe_to_show(&error.to_string());
            assert!(hello.agree(&current).is_err());
        }
    }
}

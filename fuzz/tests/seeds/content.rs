//! Deltas, edits, file streams and compressed frames: good ones, and good ones gone bad.

use sync_core::{
    delta::{Effort, Encoder},
    replica::transfer::{FileReceiver, FileSender, Reply, Step},
};
use sync_fuzz::pattern;
use sync_proto::{
    ContentId, Entry, SyncPath,
    codec::{FRAME_HEADER_BYTES, encode_frame},
    limits::BUNDLE_FRAME_BYTES_MAX,
    message::{BatchId, Expected, FileFrame, FileHeader},
};

use crate::{counted, numbered};

const BASE: &[u8] = b"fn main() {\n    let path = args().nth(1);\n    let entry = stat(path);\n    print(entry);\n}\n";

fn edited() -> Vec<u8> {
    let text = String::from_utf8(BASE.to_vec()).unwrap();
    text.replacen("main()", "main() -> Result<(), Error>", 1)
        .replace("print(entry);", "show(entry)?;\n    Ok(())")
        .into()
}

pub(crate) fn edits() -> Vec<(String, Vec<u8>)> {
    let seed = |base: &[u8], new: &[u8]| [counted(base), new.to_vec()].concat();
    numbered([
        seed(BASE, &edited()),
        seed(BASE, BASE),
        seed(b"", BASE),
        seed(BASE, b""),
        seed(&[0; 500], &[0; 700]),
        seed(&BASE.repeat(30), &edited().repeat(29)),
        seed(b"\x37\xa4\x30\xec as a dictionary begins", b"\x37\xa4\x30\xed as a dictionary begins, and some more"),
    ])
}

pub(crate) fn deltas() -> Vec<(String, Vec<u8>)> {
    let seed = |base: &[u8], new: &[u8]| {
        let delta = Encoder::new().encode(base, new, Effort::Fast);
        [&(new.len() as u16).to_le_bytes()[..], &counted(base), &delta].concat()
    };
    let raw = |len: u16, base: &[u8], delta: &[u8]| [&len.to_le_bytes()[..], &counted(base), delta].concat();
    numbered([
        seed(BASE, &edited()),
        seed(BASE, BASE),
        seed(b"", BASE),
        seed(&BASE.repeat(30), &edited().repeat(29)),
        seed(&[0; 500], &[0; 60_000]),
        // Of the kind that refers to a part of its base.
        raw(8, b"abc", &[2, 3, 0, 1, 2, 0x20, 5, 0x2b, 0, 0, b'z']),
        raw(500, b"abc", &[0, 0x80, 0x80, 0]),
        raw(500, b"\x37\xa4\x30\xecabcd", &[1, 0, 0, 0x20, 2, 0x11, 0, 0, b'x', b'y']),
        // In sections.
        raw(6, b"abcdefgh", &[3, 2, 0, 6, 1, 2, 3, 0, 9, 2, 1, b'X']),
        raw(8, b"abcdefgh", &[3, 1, 2, 3, 5, 0, 3, 6, 0x20, 5, 0x2b, 0, 0, b'z']),
        raw(5, b"abcdefgh", &[3, 1, 0, 3, 0, 0, 2, 0, 1, 0, 3, 1, 0, 2, 1, b'X']),
    ])
}

pub(crate) fn sections() -> Vec<(String, Vec<u8>)> {
    numbered([
        vec![0, 0, 40, 9],
        vec![0, 0, 40, 9, 0, 0, 90, 3, 0xf1, 0, 150, 255, 3, 0, 100, 0],
        // Overwritten in many places.
        (0..60).flat_map(|place| [2, 17, place * 4, 12]).collect(),
        // One long stretch after the other gone, and turned around.
        (0..12).flat_map(|place| [0xf1, 99, place * 9, 200, 3, 7, 31, 0]).collect(),
        vec![4, 0, 0, 255, 0xf4, 0, 0, 255, 0xf0, 0, 255, 255],
    ])
}

/// A whole file stream to [`pattern`], as the target takes it.
fn stream(way: u8, len: usize) -> Vec<u8> {
    let content = pattern(len);
    let id = ContentId(*blake3::hash(&content).as_bytes());
    let recipe = way & 1 != 0;
    let header = FileHeader {
        batch: BatchId(1),
        path: SyncPath::parse(b"file").unwrap(),
        expected: Expected::Nothing,
        entry: Entry::File { content: id, len: len as u64, executable: false },
        recipe,
    };
    let mut receiver = FileReceiver::new(&header, std::io::Cursor::new(Vec::new()), Vec::new()).unwrap();
    let mut sender = FileSender::new(&content[..], len as u64, id, recipe, Effort::Thorough);
    let mut seed = [&[way][..], &(len as u16).to_le_bytes()].concat();
    while let Step::Send(frame) = sender.next().unwrap() {
        seed.append(&mut counted(&body(&frame)));
        if let Reply::Need(need) = receiver.handle(frame).unwrap() {
            sender.need(&need).unwrap();
        }
    }
    seed
}

fn body(frame: &FileFrame) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_frame(frame, &mut bytes, BUNDLE_FRAME_BYTES_MAX).unwrap();
    bytes.split_off(FRAME_HEADER_BYTES)
}

pub(crate) fn files() -> Vec<(String, Vec<u8>)> {
    let aborted = [&[0, 9, 0][..], &counted(&body(&FileFrame::Abort))].concat();
    let mut swapped = stream(1, 400);
    swapped.reverse();
    numbered([
        stream(0, 300),
        stream(1, 300),
        stream(1, 0),
        stream(0, 0),
        stream(7, 600),
        stream(3, 600),
        aborted,
        swapped,
    ])
}

pub(crate) fn frames() -> Vec<(String, Vec<u8>)> {
    let magic = 4;
    let frame = |bytes: &[u8]| zstd::bulk::compress(bytes, 3).unwrap();
    // The length goes in steps of 17.
    let seed = |steps: u16, frame: &[u8]| [&steps.to_le_bytes()[..], frame].concat();
    let text = BASE.repeat(17);
    let steps = (text.len() / 17) as u16;
    numbered([
        seed(steps, &frame(&text)),
        seed(steps, &frame(&text)[magic..]),
        seed(steps - 1, &frame(&text)),
        seed(1, &frame(&vec![0; 1 << 20])),
        seed(61_680, &frame(&vec![0; 61_680 * 17])),
        seed(61_680, &frame(&vec![0; 61_680 * 17])[magic..]),
        seed(1, &[0x20, 17, 0x8b, 0, 0, b'z']),
        seed(u16::MAX, b"\x28\xb5\x2f\xfd\xa0\xff\xff\xff\xff"),
    ])
}

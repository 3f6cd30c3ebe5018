//! Content that proves itself, and the plainest ways to save it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// A file's content: a line that says its length and sum, then text. Any cut, mixture or invention is found by
/// `is_whole`. Equal seeds give equal content; neighbouring seeds differ in every line.
pub(in super::super) fn body(seed: u64, size: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(size + 64);
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while text.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.extend_from_slice(format!("{seed}: let value_{} = {state:x};\n", text.len()).as_bytes());
    }
    text.truncate(size);
    let mut content = format!("{:016x} {}\n", sum(&text), text.len()).into_bytes();
    content.append(&mut text);
    content
}

/// Whether this is exactly what some call of `body` gave.
pub(super) fn is_whole(content: &[u8]) -> bool {
    let Some(line) = content.iter().position(|byte| *byte == b'\n') else { return false };
    let (head, text) = (&content[..line], &content[line + 1..]);
    head == format!("{:016x} {}", sum(text), text.len()).as_bytes()
}

/// FNV-1a.
fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// `directories` × `files` files of some hundred to some thousand bytes: `d<n>/sub/f<m>.rs`.
pub(in super::super) fn plant(root: &Path, directories: usize, files: usize) {
    for directory in 0..directories {
        let path = root.join(format!("d{directory}/sub"));
        fs::create_dir_all(&path).unwrap();
        for file in 0..files {
            let seed = (directory * files + file) as u64;
            fs::write(path.join(format!("f{file}.rs")), body(seed, 200 + (file * 397) % 6_000)).unwrap();
        }
    }
}

pub(in super::super) fn executable(path: &Path, yes: bool) {
    fs::set_permissions(path, fs::Permissions::from_mode(if yes { 0o755 } else { 0o644 })).unwrap();
}

/// Truncate, write, close: `echo > file`, and editors that keep the inode.
pub(in super::super) fn save_in_place(path: &Path, content: &[u8]) {
    fs::write(path, content).unwrap();
}

/// A large file that is there whole at once, written in `elsewhere` on the same file system: of one that is written in place,
/// a part is carried over wherever the writing pauses.
pub(in super::super) fn save_whole(elsewhere: &Path, path: &Path, content: &[u8]) {
    let whole = elsewhere.join("whole");
    fs::write(&whole, content).unwrap();
    fs::rename(&whole, path).unwrap();
}

/// Write beside it, rename over it: editors that replace the file.
pub(in super::super) fn save_beside(path: &Path, content: &[u8]) {
    let name = format!(".{}.tmp-{}", path.file_name().unwrap().to_str().unwrap(), content.len());
    let beside = path.with_file_name(name);
    let mut file = fs::File::create(&beside).unwrap();
    file.write_all(content).unwrap();
    if let Ok(metadata) = path.metadata() {
        file.set_permissions(metadata.permissions()).unwrap();
    }
    drop(file);
    fs::rename(&beside, path).unwrap();
}

#[test]
fn content_proves_itself() {
    let content = body(7, 5_000);
    assert!(is_whole(&content) && is_whole(&body(0, 0)));
    assert!(!is_whole(b"") && !is_whole(&content[..4_000]) && !is_whole(&[&content[..], b"x"].concat()));
    let mut mixed = body(8, 5_000);
    mixed.splice(2_000.., content[2_000..].iter().copied());
    assert!(!is_whole(&mixed));
}

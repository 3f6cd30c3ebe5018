//! Trees that look like sources, made the same way every time, and whether two trees hold the same.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// The directory that all of a tree's files stand beneath.
pub(crate) const TOP: &str = "tree";

/// Files in one directory.
const DIRECTORY_FILES: usize = 50;

/// Text like a program's: words that come back, numbers that don't. Compresses as sources do, about 4 to 1.
pub(crate) fn text(seed: u64, size: usize) -> Vec<u8> {
    const WORDS: [&str; 16] = [
        "let",
        "mut",
        "self",
        "return",
        "match",
        "buffer",
        "index",
        "Result",
        "pub fn",
        "impl",
        "struct",
        "value",
        "path",
        "entry",
        "if let Some",
        "for",
    ];
    let mut random = Random::new(seed);
    let mut text = Vec::with_capacity(size + 80);
    while text.len() < size {
        let indent = random.below(4) * 4;
        text.extend(std::iter::repeat_n(b' ', indent));
        for _ in 0..2 + random.below(5) {
            text.extend_from_slice(WORDS.get(random.below(WORDS.len())).copied().unwrap_or_default().as_bytes());
            text.push(b' ');
        }
        text.extend_from_slice(format!("{:x};\n", random.next() >> 44).as_bytes());
    }
    text.truncate(size);
    text
}

/// A small generator of numbers: equal seeds, equal trees.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap_or_default()
    }
}

/// The path of a tree's file, relative to its root.
pub(crate) fn file(number: usize) -> PathBuf {
    let directory = number / DIRECTORY_FILES;
    PathBuf::from(format!("{TOP}/crate{}/src/module{directory}/file{}.rs", directory / 20, number % DIRECTORY_FILES))
}

/// Plants `files` files of 0.5 to 8 KB, 4 KB on average.
pub(crate) fn plant(root: &Path, files: usize) -> Result<()> {
    for number in 0..files {
        let path = root.join(file(number));
        if number % DIRECTORY_FILES == 0 {
            let directory = path.parent().context("a file stands in a directory")?;
            fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
        }
        let size = 512 + Random::new(number as u64).below(7_168);
        fs::write(&path, text(number as u64, size)).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// The content of a file with one line in its middle changed, 4 KB of it: a save. No two edits that follow each other
/// have the same length: rsync takes a file of the same length and the same second for unchanged.
pub(crate) fn edited(number: usize, edit: u64) -> Vec<u8> {
    let mut content = text(number as u64, 4_096);
    let length = usize::try_from(edit % 61).unwrap_or_default();
    let line = format!("    let edited = {edit}; // changed here{}\n", ".".repeat(length));
    let middle = content.iter().skip(2_048).position(|byte| *byte == b'\n').map_or(2_048, |offset| 2_048 + offset + 1);
    content.splice(middle..(middle + 40).min(content.len()), line.bytes());
    content
}

/// Truncate, write, close. The moment just before the close is the moment of the save.
pub(crate) fn save_in_place(path: &Path, content: &[u8]) -> Result<Instant> {
    let mut file = fs::File::create(path)?;
    file.write_all(content)?;
    let saved = Instant::now();
    drop(file);
    Ok(saved)
}

/// Write beside it, rename over it. The moment just before the rename is the moment of the save.
pub(crate) fn save_by_rename(path: &Path, content: &[u8]) -> Result<Instant> {
    let beside = path.with_extension("rs~");
    fs::write(&beside, content)?;
    let saved = Instant::now();
    fs::rename(&beside, path)?;
    Ok(saved)
}

/// The number of files beneath a directory, what tools keep for themselves left out.
pub(crate) fn count(root: &Path) -> usize {
    files(root).len()
}

/// The files beneath a directory, what tools keep for themselves left out.
fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if name == ".synctl" || name == ".stfolder" || name == ".git" {
                continue;
            }
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => open.push(entry.path()),
                Ok(_) => found.push(entry.path()),
                Err(_) => {}
            }
        }
    }
    found
}

/// Whether two trees hold the same files with the same content: read, not believed.
pub(crate) fn same(source: &Path, target: &Path) -> bool {
    let expected = files(source);
    let twin = |path: &Path| path.strip_prefix(source).map(|relative| target.join(relative));
    let equal = |path: &PathBuf| twin(path).is_ok_and(|twin| fs::read(path).ok() == fs::read(twin).ok());
    expected.len() == count(target) && expected.iter().all(equal)
}

/// Waits until both trees are the same. Looks at the numbers first, at the content only where they agree.
pub(crate) fn wait_same(source: &Path, target: &Path, limit: Duration) -> Result<()> {
    let deadline = Instant::now() + limit;
    let expected = count(source);
    loop {
        if count(target) == expected && same(source, target) {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "the trees are not equal after {limit:?}: {} of {expected} files",
            count(target)
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Writes what the page cache owes to the disk, so that one measure does not pay for another.
pub(crate) fn settle_disk() {
    rustix::fs::sync();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_are_made_alike_and_told_apart() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        plant(&a, 120)?;
        plant(&b, 120)?;
        assert!(same(&a, &b) && count(&a) == 120);
        save_by_rename(&b.join(file(70)), &edited(70, 1))?;
        assert!(!same(&a, &b));
        save_in_place(&a.join(file(70)), &edited(70, 1))?;
        assert!(same(&a, &b));
        fs::remove_file(a.join(file(3)))?;
        assert!(!same(&a, &b));
        assert_ne!(edited(3, 1).len(), edited(3, 2).len());
        Ok(())
    }
}

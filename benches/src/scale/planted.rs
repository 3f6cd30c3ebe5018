//! The large tree: directories are numbered, eight in each, 20 files in every one; so a small tree is the beginning of a
//! large one, with the same paths.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result, anyhow};

use crate::tree::{Random, TOP, text};

/// Files in one directory.
pub(super) const DIRECTORY_FILES: usize = 20;
/// Directories in one directory.
const DIRECTORY_DIRECTORIES: usize = 8;

/// The path of a directory, relative to the root.
pub(super) fn directory(number: usize) -> PathBuf {
    match number.checked_sub(1) {
        Some(before) => directory(before / DIRECTORY_DIRECTORIES).join(format!("module{number}")),
        None => PathBuf::from(TOP),
    }
}

/// The first directory in a directory.
pub(super) fn first_within(number: usize) -> usize {
    number * DIRECTORY_DIRECTORIES + 1
}

/// The path of a file, relative to the root.
pub(super) fn file(number: usize) -> PathBuf {
    directory(number / DIRECTORY_FILES).join(format!("file{}.rs", number % DIRECTORY_FILES))
}

/// How many directories a tree has, without its root.
pub(super) fn directories(files: usize) -> usize {
    files.div_ceil(DIRECTORY_FILES)
}

/// Plants `files` files of 0.1 to 1 KB beneath `root`.
pub(super) fn plant(root: &Path, files: usize) -> Result<()> {
    println!("planting {files} files");
    for number in 0..directories(files) {
        let path = root.join(directory(number));
        fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
    }
    let some = |first: usize| {
        for number in (first..files).step_by(2) {
            let path = root.join(file(number));
            let size = 100 + Random::new(number as u64).below(900);
            fs::write(&path, text(number as u64, size)).with_context(|| path.display().to_string())?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let other = scope.spawn(|| some(1));
        some(0).and(other.join().map_err(|_| anyhow!("a thread panicked"))?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_tree_is_the_beginning_of_a_large_one() -> Result<()> {
        let folder = tempfile::tempdir()?;
        plant(folder.path(), 205)?;
        assert_eq!(crate::tree::count(folder.path()), 205);
        assert_eq!(directory(first_within(1)), Path::new("tree/module1/module9"));
        assert_eq!(file(0), Path::new("tree/file0.rs"));
        assert_eq!(file(204), Path::new("tree/module1/module10/file4.rs"));
        assert!(folder.path().join(file(204)).is_file());
        Ok(())
    }
}

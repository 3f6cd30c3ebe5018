//! What stands beneath a directory, byte by byte.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Everything beneath a directory but what is synctl's own: what stands at each path.
pub(super) type Snapshot = BTreeMap<PathBuf, Stands>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stands {
    Directory,
    /// Whether it is executable, and its content.
    File(bool, Vec<u8>),
    Symlink(PathBuf),
}

pub(super) fn snapshot(root: &Path) -> Snapshot {
    let mut found = Snapshot::new();
    look(root, Path::new(""), &mut found);
    found
}

fn look(root: &Path, at: &Path, found: &mut Snapshot) {
    for entry in fs::read_dir(root.join(at)).unwrap() {
        let path = at.join(entry.unwrap().file_name());
        if path == Path::new(".synctl") {
            continue;
        }
        let meta = fs::symlink_metadata(root.join(&path)).unwrap();
        let stands = if meta.is_dir() {
            look(root, &path, found);
            Stands::Directory
        } else if meta.is_symlink() {
            Stands::Symlink(fs::read_link(root.join(&path)).unwrap())
        } else {
            Stands::File(meta.mode() & 0o100 != 0, fs::read(root.join(&path)).unwrap())
        };
        found.insert(path, stands);
    }
}

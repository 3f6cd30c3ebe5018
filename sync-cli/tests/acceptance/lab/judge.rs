//! Whether two trees are equal. Content, kinds, executable bits and the targets of symlinks count. Times, owners and
//! other bits of the mode are not carried, by design, and hard links are copies at the other side.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::{finish, installed};

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    Directory,
    File { len: u64, sum: u64, executable: bool },
    Link(PathBuf),
    Other,
}

/// Everything beneath `root` that takes part by default, by path. What vanishes while it is read is left out.
fn tree(root: &Path) -> BTreeMap<Vec<u8>, Item> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for path in entries.flatten().map(|entry| entry.path()) {
            let name = path.file_name().unwrap_or_default();
            if name == ".git" || name == ".synctl" {
                continue;
            }
            let Some(item) = item(&path) else { continue };
            if item == Item::Directory {
                open.push(path.clone());
            }
            found.insert(path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec(), item);
        }
    }
    found
}

fn item(path: &Path) -> Option<Item> {
    let metadata = fs::symlink_metadata(path).ok()?;
    Some(if metadata.is_dir() {
        Item::Directory
    } else if metadata.is_symlink() {
        Item::Link(fs::read_link(path).ok()?)
    } else if metadata.is_file() {
        let (len, sum) = summed(path)?;
        Item::File { len, sum, executable: metadata.permissions().mode() & 0o100 != 0 }
    } else {
        Item::Other
    })
}

fn summed(path: &Path) -> Option<(u64, u64)> {
    let mut file = fs::File::open(path).ok()?;
    let mut hasher = DefaultHasher::new();
    let mut buffer = vec![0; 1 << 16];
    let mut len = 0;
    loop {
        match file.read(&mut buffer).ok()? {
            0 => return Some((len, hasher.finish())),
            read => {
                hasher.write(&buffer[..read]);
                len += read as u64;
            }
        }
    }
}

/// What differs between two trees, in words. What stands at or beneath the paths `left_out` does not count.
pub(in super::super) fn differences(source: &Path, target: &Path, left_out: &[&str]) -> Vec<String> {
    let (source, target) = (tree(source), tree(target));
    let counts = |path: &[u8]| {
        let path = Path::new(std::ffi::OsStr::from_bytes(path));
        !left_out.iter().any(|left_out| path.starts_with(left_out))
    };
    let show = |path: &[u8]| path.escape_ascii().to_string();
    let missing = source.iter().filter(|(path, item)| target.get(*path) != Some(item));
    let missing = missing.map(|(path, item)| (path, format!("{}: {item:?}, but {:?}", show(path), target.get(path))));
    let extra = target.keys().filter(|path| !source.contains_key(*path));
    let extra = extra.map(|path| (path, format!("{}: at the target only", show(path))));
    missing.chain(extra).filter(|(path, _)| counts(path)).map(|(_, what)| what).collect()
}

/// The independent judge. `--no-times`, and `-E` in place of `-p`: neither times nor whole modes are carried.
/// `None` where rsync is not installed.
pub(in super::super) fn rsync_differences(source: &Path, target: &Path) -> Option<String> {
    if !installed("rsync") {
        return None;
    }
    let with_slash = |path: &Path| format!("{}/", path.to_str().unwrap());
    let mut command = Command::new("rsync");
    command.args(["-rlEnic", "--delete", "--no-times", "--exclude=/.synctl", "--exclude=.git"]);
    let judged = finish(command.arg(with_slash(source)).arg(with_slash(target)), Duration::from_secs(120));
    assert_eq!(judged.code, Some(0), "rsync: {judged:?}");
    Some(judged.stdout)
}

#[test]
fn both_judges_see_what_differs() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    for root in [&a, &b] {
        fs::create_dir_all(root.join("sub/.git")).unwrap();
        fs::write(root.join("sub/file"), b"same").unwrap();
        symlink("sub/file", root.join("link")).unwrap();
    }
    let check = |expected: bool| {
        assert_eq!(differences(&a, &b, &[]).is_empty(), expected);
        assert!(rsync_differences(&a, &b).is_none_or(|found| found.is_empty() == expected));
    };
    fs::write(b.join("sub/.git/HEAD"), b"ignored").unwrap();
    check(true);
    fs::write(b.join("sub/file"), b"lame").unwrap();
    check(false);
    assert!(differences(&a, &b, &["sub"]).is_empty());
    fs::write(b.join("sub/file"), b"same").unwrap();
    fs::set_permissions(b.join("sub/file"), fs::Permissions::from_mode(0o755)).unwrap();
    check(false);
    fs::set_permissions(b.join("sub/file"), fs::Permissions::from_mode(0o600)).unwrap();
    check(true);
    fs::remove_file(a.join("link")).unwrap();
    check(false);
    symlink("sub/other", a.join("link")).unwrap();
    check(false);
}

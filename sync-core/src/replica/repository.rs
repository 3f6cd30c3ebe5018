//! Where git says that it is rewriting the files of a root.
//!
//! git makes `index.lock` before it touches the first file of a working tree, and takes it away when the last is in place:
//! with a checkout, a merge, each step of a rebase, a stash, a reset. Nothing is read but that file's stat data, and nothing
//! in a repository is ever written.

use std::{fs, io::Read, path::Path};

use sync_proto::{Name, SyncPath};

use crate::{sys::DirHandle, tree::Stamp};

/// The directory, or in a working tree of its own a file that says where that is.
const GIT: &str = ".git";
const LOCK: &str = "index.lock";
/// Longest `.git` file that is read, in bytes.
const GIT_FILE_BYTES_MAX: u64 = 8192;

/// Where the repository of a root is, if it has one.
#[derive(Debug, Default)]
pub struct Repository {
    /// A directory, and the repository's own in it.
    place: Option<(DirHandle, SyncPath)>,
}

impl Repository {
    /// That of a person's root: in it, or in a directory around it, or where a `.git` file leads. Where there is none yet,
    /// the one that may come to be in the root.
    pub fn around(root: &Path) -> Self {
        let real = root.canonicalize().unwrap_or_else(|_| root.to_owned());
        let found = real.ancestors().find_map(|dir| {
            let kind = fs::symlink_metadata(dir.join(GIT)).ok()?.file_type();
            if kind.is_dir() {
                return Some(Self::within(dir));
            }
            let elsewhere = kind.is_file().then(|| leads_to(dir)).flatten()?;
            Some(Self { place: Some((elsewhere, SyncPath::root())) })
        });
        found.unwrap_or_else(|| Self::within(&real))
    }

    /// The one in a root itself, and no other: nothing beyond it is looked at.
    pub fn within(root: &Path) -> Self {
        let git = SyncPath::parse(GIT.as_bytes()).ok();
        Self { place: DirHandle::open_root(root).ok().zip(git) }
    }

    /// The stat data of the lock, while git holds it.
    pub(super) fn lock(&self) -> Option<Stamp> {
        let (dir, git) = self.place.as_ref()?;
        let stat = dir.resolve(git).ok()?.stat(Name::new(LOCK.as_bytes()).ok()?).ok()?;
        Some(stat.stamp)
    }
}

/// The directory that a `.git` file names.
fn leads_to(dir: &Path) -> Option<DirHandle> {
    let mut text = String::new();
    fs::File::open(dir.join(GIT)).ok()?.take(GIT_FILE_BYTES_MAX).read_to_string(&mut text).ok()?;
    let named = text.strip_prefix("gitdir:")?.trim();
    DirHandle::open_root(&dir.join(named)).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_lock_is_found_in_the_root_around_it_and_where_a_file_leads() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("a/b");
        fs::create_dir_all(&root).unwrap();
        let check = |git: &Path| {
            let (around, within) = (Repository::around(&root), Repository::within(&root));
            let is_own = git.starts_with(&root) && root.join(GIT).is_dir();
            assert!(around.lock().is_none() && within.lock().is_none());
            fs::write(git.join(LOCK), "").unwrap();
            assert!(around.lock().is_some(), "{}", git.display());
            assert_eq!(within.lock().is_some(), is_own, "{}", git.display());
            fs::remove_file(git.join(LOCK)).unwrap();
            assert!(around.lock().is_none());
        };
        fs::create_dir(dir.path().join("a/.git")).unwrap();
        check(&dir.path().join("a/.git"));
        let elsewhere = dir.path().join("worktrees/b");
        fs::create_dir_all(&elsewhere).unwrap();
        for named in ["../../worktrees/b".to_owned(), elsewhere.display().to_string()] {
            fs::write(root.join(GIT), format!("gitdir: {named}\n")).unwrap();
            check(&elsewhere);
        }
        fs::remove_file(root.join(GIT)).unwrap();
        fs::create_dir(root.join(GIT)).unwrap();
        check(&root.join(GIT));
    }

    #[test]
    fn a_repository_that_comes_later_is_found_in_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let repository = Repository::around(dir.path());
        fs::create_dir(dir.path().join(GIT)).unwrap();
        fs::write(dir.path().join(GIT).join(LOCK), "").unwrap();
        assert!(repository.lock().is_some());
    }

    #[test]
    fn a_link_in_its_place_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (root, other) = (dir.path().join("root"), dir.path().join("other"));
        fs::create_dir(&root).unwrap();
        fs::create_dir(&other).unwrap();
        fs::write(other.join(LOCK), "").unwrap();
        std::os::unix::fs::symlink(&other, root.join(GIT)).unwrap();
        assert!(Repository::around(&root).lock().is_none() && Repository::within(&root).lock().is_none());
    }
}

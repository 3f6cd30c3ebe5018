#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod cost;
mod crash;
mod disks;
mod person;
#[cfg(target_os = "linux")]
mod power;
mod races;
mod single;
mod stage;
mod swaps;
mod table;
mod trees;

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::PathBuf,
};

use sync_proto::{Target, TreeHash, message::Content};

use super::*;
use crate::{
    sys::Kind,
    tree::{Dir, walk},
};

/// A root on the disk with a committer on it.
struct Fixture {
    _dir: Option<tempfile::TempDir>,
    root: PathBuf,
    committer: Committer,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir(&root).unwrap();
        Self { committer: open(&root), root, _dir: Some(dir) }
    }

    /// On a directory that stands.
    fn at(root: PathBuf) -> Self {
        Self { committer: open(&root), root, _dir: None }
    }

    fn at_path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    fn write(&self, path: &str, content: &[u8]) {
        let path = self.at_path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn read(&self, path: &str) -> Vec<u8> {
        fs::read(self.at_path(path)).unwrap()
    }

    fn exists(&self, path: &str) -> bool {
        fs::symlink_metadata(self.at_path(path)).is_ok()
    }

    fn mode(&self, path: &str) -> u32 {
        fs::symlink_metadata(self.at_path(path)).unwrap().mode() & 0o7777
    }

    fn chmod(&self, path: &str, mode: u32) {
        fs::set_permissions(self.at_path(path), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Sets the mtime of a file into the past, so that its stat data is trusted.
    fn age(&self, path: &str) {
        let file = fs::File::options().read(true).open(self.at_path(path)).unwrap();
        file.set_modified(SystemTime::now() - std::time::Duration::from_secs(3600)).unwrap();
    }

    /// What stands there, as a scan would see it.
    fn index(&self) -> Tree {
        Tree::from_root(scan(self.committer.root()))
    }

    fn one(&self, index: &Tree, operation: Operation) -> Commit {
        let mut commits = self.committer.apply(index, &[operation]);
        assert_eq!(commits.len(), 1);
        let commit = commits.remove(0);
        self.check_changes(index, std::slice::from_ref(&commit));
        self.check_stage();
        commit
    }

    fn batch(&self, index: &Tree, operations: &[Operation]) -> Vec<Outcome> {
        let commits = self.committer.apply(index, operations);
        assert_eq!(commits.len(), operations.len());
        self.check_changes(index, &commits);
        self.check_stage();
        commits.into_iter().map(|commit| commit.outcome).collect()
    }

    /// The index with the changes taken over says of every changed path what stands there, and under which stat data.
    fn check_changes(&self, index: &Tree, commits: &[Commit]) {
        let mut told = index.clone();
        for change in commits.iter().flat_map(|commit| &commit.changes) {
            match &change.node {
                Some(node) => drop(told.insert(&change.path, node.clone(), change.stamp).unwrap()),
                None => drop(told.remove(&change.path)),
            }
        }
        let seen = self.index();
        for change in commits.iter().flat_map(|commit| &commit.changes) {
            let path = &change.path;
            assert_eq!(told.get(path), seen.get(path), "{path}");
            if let Some(stamp) = told.stamp(path) {
                assert_eq!(Some(stamp), seen.stamp(path), "{path}");
            }
            if let Some(dir) = told.dir(path) {
                for (below, _, stamp) in walk(dir) {
                    let below = path.join_path(&below).unwrap();
                    assert!(stamp.is_none() || stamp == seen.stamp(&below), "{below}");
                }
            }
        }
    }

    /// Nothing is left in the stage.
    fn check_stage(&self) {
        let left = crate::replica::stage::names(self.committer.stage.dir()).unwrap();
        assert_eq!(left, Vec::<Box<[u8]>>::new(), "left in the stage");
    }

    fn displaced(&self) -> Vec<Vec<u8>> {
        let Ok(list) = fs::read_dir(self.at_path(".synctl/displaced")) else { return Vec::new() };
        list.map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect()
    }
}

fn open(root: &Path) -> Committer {
    Committer::open(root, CommitOptions::default()).unwrap()
}

/// Reads a directory as a scan would.
fn scan(dir: &DirHandle) -> Dir {
    let mut seen = Dir::new();
    for bytes in crate::replica::stage::names(dir).unwrap() {
        let name = Name::new(&bytes).unwrap();
        if bytes[..] == *HOME.as_bytes() {
            continue;
        }
        let stat = dir.stat(name).unwrap();
        match stat.kind {
            Kind::Directory => seen.insert(name, Node::Directory(scan(&dir.open_dir(name).unwrap())), None),
            Kind::Symlink => seen.insert(name, Node::Symlink(dir.read_link(name).unwrap()), None),
            Kind::File => {
                let (mut file, stat) = dir.open_file(name).unwrap();
                let content = check::hash(&mut file).unwrap();
                seen.insert(name, Node::File { content, len: stat.len, executable: stat.executable }, Some(stat.stamp))
            }
            Kind::Other => None,
        };
    }
    seen
}

fn path(text: &str) -> SyncPath {
    SyncPath::parse(text.as_bytes()).unwrap()
}

fn id(content: &[u8]) -> ContentId {
    ContentId(*blake3::hash(content).as_bytes())
}

fn file(content: &[u8]) -> Entry {
    Entry::File { content: id(content), len: content.len() as u64, executable: false }
}

fn program(content: &[u8]) -> Entry {
    Entry::File { content: id(content), len: content.len() as u64, executable: true }
}

fn link(target: &str) -> Entry {
    Entry::Symlink(Target::new(target.as_bytes()).unwrap())
}

fn raw(content: &[u8]) -> Content {
    Content::Raw(sync_proto::message::Blob::new(content.to_vec()).unwrap())
}

fn put(at: &str, expected: Expected, content: &[u8]) -> Operation {
    Operation::Put { path: path(at), expected, entry: file(content), content: raw(content) }
}

fn put_entry(at: &str, expected: Expected, entry: Entry, content: Content) -> Operation {
    Operation::Put { path: path(at), expected, entry, content }
}

fn make(at: &str) -> Operation {
    Operation::MakeDirectory { path: path(at) }
}

fn remove(at: &str, expected: Expected) -> Operation {
    Operation::Remove { path: path(at), expected }
}

fn relocate(from: &str, to: &str, expected: Expected) -> Operation {
    Operation::Move { from: path(from), to: path(to), expected }
}

fn tree_hash(index: &Tree, at: &str) -> TreeHash {
    index.dir(&path(at)).unwrap().hash()
}

fn is_failed(outcome: &Outcome, kind: ProblemKind) -> bool {
    matches!(outcome, Outcome::Failed(problem) if problem.kind == kind)
}

/// Runs one ignored test of this binary under `strace`, on a root. `None`, with a word why, where that can't be done.
fn strace(arguments: &[&str], test: &str, root: &Path, what: &str) -> Option<std::process::Output> {
    let run = std::process::Command::new("strace")
        .args(["-f", "-qq"])
        .args(arguments)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &format!("replica::commit::tests::{test}"), "--ignored", "--test-threads=1"])
        .env("SYNCTL_TEST_ROOT", root)
        .env("SYNCTL_TEST_COUNTED", what)
        .output();
    match run {
        Ok(output) if String::from_utf8_lossy(&output.stderr).contains("ptrace") => {
            crate::skipped::skipped("may not trace")
        }
        Ok(output) => return Some(output),
        Err(error) => crate::skipped::skipped(&format!("no strace here: {error}")),
    }
    None
}

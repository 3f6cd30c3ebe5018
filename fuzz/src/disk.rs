//! Batches of a controller that means no good, on a real disk.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use sync_core::{
    delta::{Effort, Encoder},
    replica::commit::{CommitOptions, Committer},
    tree::Tree,
};
use sync_proto::{
    Entry, TreeHash,
    message::{Blob, Content, Expected, Operation, Outcome},
};

use crate::vocabulary::{Choices, file};

const BATCHES_MAX: usize = 12;

/// Choices of batches of operations.
pub fn batches_on_disk(data: &[u8]) {
    let mut choices = Choices(data);
    let dir = tempfile::tempdir().expect("a directory");
    let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
    for made in [&root, &outside] {
        fs::create_dir(made).expect("made");
    }
    fs::write(outside.join("canary"), "canary").expect("written");
    symlink("../outside", root.join("out")).expect("made");
    // To wait for the disk would find nothing more, and is slow.
    let committer =
        Committer::open(&root, CommitOptions { durable: false, ..CommitOptions::default() }).expect("opened");
    let ours = everything(&root.join(".synctl"));
    let mut index = Tree::new();
    for _ in 0..BATCHES_MAX {
        if choices.is_empty() {
            break;
        }
        let operations: Vec<Operation> = (0..1 + choices.of(6)).map(|_| operation(&mut choices, &index)).collect();
        let leads_out = || fs::symlink_metadata(root.join("out")).is_ok_and(|out| out.is_symlink());
        let led_out = leads_out();
        let commits = committer.apply(&index, &operations);
        // The symlink may have given way to a directory, in the batch or before it: what is in that is inside.
        let led_out = led_out && leads_out();
        assert_eq!(commits.len(), operations.len());
        for (operation, commit) in operations.iter().zip(commits) {
            if matches!(commit.outcome, Outcome::Applied | Outcome::Displaced(_)) {
                let reserved = sync_proto::reserved::is_reserved_path(operation.path());
                assert!(!reserved && !(led_out && operation.path().is_canary()), "{operation:?}");
            }
            for change in commit.changes {
                match change.node {
                    Some(node) => drop(index.insert(&change.path, node, change.stamp)),
                    None => drop(index.remove(&change.path)),
                }
            }
        }
        assert_eq!(everything(&outside), ["canary"], "something outside was changed");
        assert_eq!(fs::read(outside.join("canary")).expect("there"), b"canary");
        assert_eq!(everything(&root.join(".synctl")), ours, "something of ours was changed, or left");
    }
    drop(committer);
}

trait Outside {
    /// Whether it lies where the symlink leads out.
    fn is_canary(&self) -> bool;
}

impl Outside for sync_proto::SyncPath {
    fn is_canary(&self) -> bool {
        self.as_bytes() == b"out/canary"
    }
}

fn operation(choices: &mut Choices<'_>, index: &Tree) -> Operation {
    let path = choices.path();
    let known = index.get(&path);
    let expected = match choices.of(5) {
        0 => Expected::Nothing,
        1 => Expected::Entry(choices.entry()),
        2 => Expected::Tree(TreeHash([7; 32])),
        _ => match known {
            None => Expected::Nothing,
            Some(node) => match node.as_dir() {
                Some(dir) => Expected::Tree(dir.hash()),
                None => Expected::Entry(node.entry()),
            },
        },
    };
    match choices.of(6) {
        0 => Operation::MakeDirectory { path },
        1 => Operation::Remove { path, expected },
        2 => Operation::Move { from: path, to: choices.path(), expected },
        _ => {
            let body = choices.content();
            let entry = match choices.of(6) {
                0 => choices.entry(),
                _ => file(&body, choices.of(4) == 0),
            };
            let content = content(choices, &body, &entry);
            Operation::Put { path, expected, entry, content }
        }
    }
}

fn content(choices: &mut Choices<'_>, body: &[u8], entry: &Entry) -> Content {
    let blob = |bytes: Vec<u8>| Blob::new(bytes).expect("short");
    match choices.of(7) {
        0 => Content::None,
        1 => Content::Zstd(blob(body.to_vec())),
        2 => Content::Delta(blob(Encoder::new().encode(&choices.content(), body, Effort::Fast))),
        3 => Content::CopyOf(choices.path()),
        4 => Content::Unchanged,
        _ if matches!(entry, Entry::File { .. }) => Content::Raw(blob(body.to_vec())),
        _ => Content::None,
    }
}

/// The names of all that stands beneath, in order.
fn everything(root: &Path) -> Vec<String> {
    let mut all = Vec::new();
    let mut left = vec![PathBuf::new()];
    while let Some(at) = left.pop() {
        for entry in fs::read_dir(root.join(&at)).expect("a directory") {
            let entry = entry.expect("an entry");
            let path = at.join(entry.file_name());
            all.push(path.to_string_lossy().into_owned());
            if entry.file_type().expect("a kind").is_dir() {
                left.push(path);
            }
        }
    }
    all.sort();
    all
}

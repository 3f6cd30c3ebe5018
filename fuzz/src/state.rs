//! What is kept between runs: files that anything may have happened to.

use std::{fs, path::Path, sync::OnceLock};

use sync_core::{
    replica::chunks::is_index,
    store::{Change, Note, Store},
    tree::{Dir, Node, Stamp, Tree},
};
use sync_proto::{ContentId, Entry, SyncPath, Target};

use crate::take_u16;

/// A state that was kept in order: its files, and every tree that it ever was.
struct Kept {
    snapshot: Vec<u8>,
    journal: Vec<u8>,
    states: Vec<Tree>,
}

fn path(text: &str) -> SyncPath {
    SyncPath::parse(text.as_bytes()).expect("a path")
}

fn kept() -> &'static Kept {
    static KEPT: OnceLock<Kept> = OnceLock::new();
    KEPT.get_or_init(|| keep().expect("a state that can be kept"))
}

fn keep() -> Result<Kept, Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let (mut store, _) = Store::open(dir.path())?;
    let mut tree = Tree::new();
    let file =
        |content: u8| Node::from_entry(Entry::File { content: ContentId([content; 32]), len: 5, executable: true });
    let stamp = Some(Stamp { mtime_ns: 3, ctime_ns: 4, inode: 5 });
    tree.insert(&path("dir"), Node::Directory(Dir::new()), None).ok();
    tree.insert(&path("dir/file"), file(1), stamp).ok();
    store.snapshot(&tree)?;
    let mut states = vec![tree.clone()];
    let link = Node::from_entry(Entry::Symlink(Target::new(b"../there")?));
    let changes: [Change; 4] = [
        (path("dir/other"), Some((file(2), stamp))),
        (path("link"), Some((link, None))),
        (path("dir"), None),
        (path("new"), Some((file(3), stamp))),
    ];
    for change in changes {
        match &change.1 {
            Some((node, stamp)) => drop(tree.insert(&change.0, node.clone(), *stamp)),
            None => drop(tree.remove(&change.0)),
        }
        states.push(tree.clone());
        store.append(vec![Note::Agreed(vec![change])])?;
    }
    drop(store);
    Ok(Kept {
        snapshot: fs::read(dir.path().join("snapshot"))?,
        journal: fs::read(dir.path().join("journal"))?,
        states,
    })
}

/// An index of chunks: any bytes, and with a check that fits them.
fn chunk_index(bytes: &[u8]) {
    let checked = [bytes, blake3::hash(bytes).as_bytes()].concat();
    is_index(&checked);
    assert!(!is_index(bytes) || bytes.len() >= 40, "nothing is taken for an index");
}

/// First byte: whether the rest is the snapshot (0), the journal (1), or damage to what was kept in order: where, and which
/// bits, again and again; a place beyond the end cuts the file there.
pub fn state_files(data: &[u8]) {
    let Some((&way, rest)) = data.split_first() else {
        return;
    };
    chunk_index(rest);
    let Kept { snapshot, journal, states } = kept();
    let (mut snapshot, mut journal) = (snapshot.clone(), journal.clone());
    match way {
        0 => snapshot = rest.to_vec(),
        1 => journal = rest.to_vec(),
        _ => {
            damage(&mut snapshot, &mut journal, rest);
        }
    }
    let dir = tempfile::tempdir().expect("a directory");
    let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).expect("written");
    write("snapshot", &snapshot);
    write("journal", &journal);
    // What nobody kept is never read out of it.
    let first = load(dir.path(), states);
    // And reading it has changed nothing about that.
    assert!(first == load(dir.path(), states), "read otherwise the second time");
}

fn load(dir: &Path, states: &[Tree]) -> Option<usize> {
    let (_, loaded) = Store::open(dir).expect("damage is no error");
    match loaded.synced {
        Some(tree) => {
            let found = states.iter().position(|state| state.hash() == tree.hash());
            assert!(found.is_some(), "a state that never was");
            found
        }
        None => {
            assert!(loaded.reason.is_some_and(|reason| !reason.is_empty()));
            None
        }
    }
}

fn damage(snapshot: &mut Vec<u8>, journal: &mut Vec<u8>, mut rest: &[u8]) {
    while let [bits, ..] = *rest {
        rest = &rest[1..];
        let at = take_u16(&mut rest);
        let file = if at & 0x8000 == 0 { &mut *snapshot } else { &mut *journal };
        let at = at & 0x7fff;
        if bits == 0 {
            file.truncate(at);
        } else if let Some(byte) = file.get_mut(at) {
            *byte ^= bits;
        }
    }
}

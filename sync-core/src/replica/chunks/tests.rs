#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::{fs, path::Path};

use sync_proto::message::Chunk;

use super::*;
use crate::{
    chunk::{Mark, cut, sizes},
    replica::{
        bases::Bases,
        transfer::{Elsewhere, Spot},
    },
    tree::{Dir, Node, Tree},
};

const BYTES: usize = 3 << 20;
const PATIENCE: Duration = Duration::from_secs(30);

fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn id(bytes: &[u8]) -> ContentId {
    ContentId(*blake3::hash(bytes).as_bytes())
}

fn path(text: &str) -> SyncPath {
    SyncPath::parse(text.as_bytes()).unwrap()
}

fn cuts(bytes: &[u8]) -> Cuts {
    let mut cuts = Cuts::default();
    for chunk in cut(bytes, &sizes(bytes.len() as u64)) {
        cuts.push(Mark::of_bytes(&bytes[chunk]));
    }
    cuts
}

/// The chunk of `bytes` that begins at or after `offset`.
fn chunk(bytes: &[u8], offset: usize) -> (Chunk, Vec<u8>) {
    let range = cut(bytes, &sizes(bytes.len() as u64)).find(|range| range.start >= offset).unwrap();
    let bytes = bytes[range].to_vec();
    (Chunk { id: id(&bytes), len: bytes.len() as u32 }, bytes)
}

/// A root with its index in a directory beside it.
struct Scene(tempfile::TempDir);

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("root")).unwrap();
        fs::create_dir(dir.path().join("home")).unwrap();
        Self(dir)
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join("root").join(name)
    }

    fn home(&self) -> DirHandle {
        DirHandle::open_root(&self.0.path().join("home")).unwrap()
    }

    fn root(&self) -> DirHandle {
        DirHandle::open_root(&self.0.path().join("root")).unwrap()
    }

    fn index(&self) -> ChunkIndex {
        ChunkIndex::new(self.home(), self.root())
    }
}

fn tree(files: &[(&str, &[u8])]) -> Tree {
    let mut tree = Tree::new();
    for (at, content) in files {
        if let Some(parent) = path(at).parent().filter(|parent| !parent.is_root()) {
            tree.insert(&parent, Node::Directory(Dir::new()), None).unwrap();
        }
        let node = Node::File { content: id(content), len: content.len() as u64, executable: false };
        tree.insert(&path(at), node, None).unwrap();
    }
    tree
}

fn wait_for(index: &ChunkIndex, content: &[u8]) {
    let deadline = Instant::now() + PATIENCE;
    while index.cuts(id(content)).is_none() {
        assert!(Instant::now() < deadline, "it is not read");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_came_whole_is_read_when_nothing_is_streamed() {
    let scene = Scene::new();
    let (one, other) = (noise(BYTES, 1), noise(BYTES, 2));
    fs::write(scene.at("one"), &one).unwrap();
    fs::write(scene.at("changed"), &one[1..]).unwrap();
    let index = scene.index();
    let streaming = index.streaming();
    index.note_later(id(&other), &path("changed"), BYTES as u64, false);
    index.note_later(id(&one), &path("one"), BYTES as u64, false);
    index.note_later(id(b"little"), &path("little"), 6, false);
    std::thread::sleep(Duration::from_millis(1_300));
    assert!(index.cuts(id(&one)).is_none(), "while a file is streamed");
    drop(streaming);
    wait_for(&index, &one);
    assert_eq!(index.cuts(id(&one)), Some(cuts(&one)));
    index.close();
    let again = scene.index();
    assert_eq!(again.cuts(id(&one)), Some(cuts(&one)), "in the next run");
    assert!(again.cuts(id(&other)).is_none(), "what stands there is not that");
    again.forget(id(&one));
    again.close();
    assert!(scene.index().cuts(id(&one)).is_none());
}

#[test]
fn a_file_that_is_damaged_is_as_none() {
    let scene = Scene::new();
    let content = noise(BYTES, 1);
    let index = scene.index();
    index.note(id(&content), &path("file"), cuts(&content));
    index.close();
    let file = scene.0.path().join("home").join(CHUNKS);
    let bytes = fs::read(&file).unwrap();
    let check = |bytes: &[u8], expected: bool| {
        fs::write(&file, bytes).unwrap();
        assert_eq!(scene.index().cuts(id(&content)).is_some(), expected);
    };
    check(&bytes, true);
    check(&bytes[..bytes.len() - 1], false);
    check(&[], false);
    check(&[&bytes[..], &[0; 9]].concat(), false);
    check(&vec![0; file::FILE_BYTES_MAX + 9], false);
}

/// What is read where the chunk at the middle of `content` is found, if anywhere.
fn read(scene: &Scene, index: &ChunkIndex, tree: Tree, bases: Option<Arc<Bases>>, content: &[u8]) -> Option<bool> {
    let mut here = index.here(scene.root(), tree, bases)?;
    let (chunk, expected) = chunk(content, BYTES / 2);
    let spot = here.find(&chunk)?;
    let mut bytes = vec![0; expected.len()];
    Some(here.read(spot, &mut bytes).is_ok() && bytes == expected)
}

#[test]
fn a_chunk_is_found_where_its_file_is_now_and_only_in_what_takes_part() {
    let scene = Scene::new();
    let content = noise(BYTES, 1);
    let index = scene.index();
    let empty = index.here(scene.root(), Tree::new(), None);
    assert!(empty.is_none(), "nothing is known");
    index.note(id(&content), &path("file"), cuts(&content));
    fs::write(scene.at("file"), &content).unwrap();
    let check = |tree: Tree, bases: Option<Arc<Bases>>, expected: Option<bool>| {
        assert_eq!(read(&scene, &index, tree, bases, &content), expected);
    };
    check(tree(&[("file", &content)]), None, Some(true));
    // It stands there and is ignored: nobody is told of it.
    check(tree(&[("other", b"")]), None, None);
    // Changed since, in part: what is where it was can be had, the rest is found out by who reads.
    let mut edited = content.clone();
    edited[0] ^= 1;
    fs::write(scene.at("file"), &edited).unwrap();
    check(tree(&[("file", &edited)]), None, Some(true));
    fs::write(scene.at("file"), noise(BYTES, 2)).unwrap();
    check(tree(&[("file", &noise(BYTES, 2))]), None, Some(false));
    // Moved.
    fs::create_dir(scene.at("dir")).unwrap();
    fs::write(scene.at("dir/moved"), &content).unwrap();
    check(tree(&[("file", &noise(BYTES, 2)), ("dir/moved", &content)]), None, Some(true));
    check(tree(&[("dir/moved", &content)]), None, Some(true));
    // Removed, and kept.
    let bases = Arc::new(Bases::open(&scene.home(), 1 << 30).unwrap());
    check(Tree::new(), Some(Arc::clone(&bases)), None);
    assert!(bases.adopt(
        &DirHandle::open_root(&scene.at("dir")).unwrap(),
        name_of("moved").unwrap(),
        id(&content),
        BYTES as u64
    ));
    check(Tree::new(), Some(bases), Some(true));
}

#[test]
fn what_was_never_found_is_not_read() {
    let scene = Scene::new();
    let content = noise(BYTES, 1);
    let index = scene.index();
    index.note(id(&content), &path("file"), cuts(&content));
    let mut here = index.here(scene.root(), tree(&[("file", &content)]), None).unwrap();
    assert_eq!(here.find(&chunk(&content, 0).0), None, "the file is not there");
    assert_eq!(here.find(&chunk(&noise(BYTES, 9), 0).0), None);
    assert!(here.read(Spot { file: 0, offset: 0 }, &mut [0]).is_err());
    assert!(here.read(Spot { file: 99, offset: 0 }, &mut [0]).is_err());
}

#[test]
fn a_file_promises_what_has_gone_over_before() {
    let scene = Scene::new();
    let known = noise(24 << 20, 1);
    let index = scene.index();
    let check = |content: &[u8], is_slow: bool, expected: bool| {
        fs::write(scene.at("file"), content).unwrap();
        let mut file = fs::File::open(scene.at("file")).unwrap();
        assert_eq!(index.is_promising(&file, content.len() as u64, is_slow), expected, "slow: {is_slow}");
        let mut whole = Vec::new();
        file.read_to_end(&mut whole).unwrap();
        assert!(whole == content, "it is where it was");
    };
    check(&known, false, false);
    index.note(id(&known), &path("known"), cuts(&known));
    check(&noise(24 << 20, 2), false, false);
    check(&noise(24 << 20, 2), true, false);
    let moved = [b"put before", &known[..]].concat();
    check(&moved, false, true);
    check(&moved, true, true);
    // Only a part of it, in the middle of another: seen where all is looked at.
    let within = [&noise(8 << 20, 3)[..], &known[(6 << 20) + 77..8 << 20], &noise(8 << 20, 4)].concat();
    check(&within, true, true);
    // The same twice.
    let twice = [&noise(2 << 20, 5)[..], &noise(2 << 20, 5), &noise(4 << 20, 6)].concat();
    check(&twice, true, true);
    check(&known[..1 << 19], true, false);
    index.close();
}

#[test]
fn of_many_indexes_the_oldest_go() {
    let scene = Scene::new();
    for number in 0..INDEXES_MAX + 3 {
        let index = ChunkIndex::among(&scene.home(), &number.to_le_bytes(), scene.root()).unwrap();
        let content = noise(1 << 20, number as u64);
        index.note(id(&content), &path("file"), cuts(&content));
        index.close();
    }
    let there = |dir: &Path| fs::read_dir(dir).unwrap().count();
    let home = scene.0.path().join("home").join(CHUNKS);
    assert!(there(&home) <= INDEXES_MAX, "{}", there(&home));
    let last = ChunkIndex::among(&scene.home(), &(INDEXES_MAX + 2).to_le_bytes(), scene.root()).unwrap();
    assert!(last.cuts(id(&noise(1 << 20, INDEXES_MAX as u64 + 2))).is_some());
}

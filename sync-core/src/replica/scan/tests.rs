#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::{fs, os::unix::fs::symlink, path::Path, sync::atomic::AtomicBool};

use sync_proto::{
    ContentId, Entry,
    message::{IgnoreSettings, ProblemKind},
};

use super::*;
use crate::{
    ignore::Rules,
    replica::{contents::Contents, watch::watch},
    tree::{Tree, walk},
};

fn scan(root: &Path, hint: Option<&Dir>, threads: usize, keep: Keep<'_>) -> (Scanned, usize) {
    let (watcher, _events) = watch(root).unwrap();
    let handle = DirHandle::open_root(root).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let rules = Rules::new(&IgnoreSettings::default()).unwrap();
    let scan = Scan { root: &handle, watcher: &watcher, keep, threads, stop: &stop };
    let mut scanned = scan.run(&SyncPath::root(), rules.root_scope(), hint);
    scanned.ignore_files.sort();
    (scanned, watcher.watched())
}

fn write(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// Small and large directories, nested, with all kinds of things in them.
fn populate(root: &Path) {
    for number in 0..700 {
        write(&root.join(format!("many/{number}")), &format!("{number}"));
    }
    for number in 0..200 {
        write(&root.join(format!("{}/{}/x{number}", number % 7, number % 11)), &format!("{number}"));
    }
    write(&root.join("many/.gitignore"), "1*\n");
    write(&root.join("3/.syncignore"), "/5/\n");
    write(&root.join(".git/HEAD"), "ref");
    fs::create_dir_all(root.join("empty/in/empty")).unwrap();
    symlink("../many", root.join("3/link")).unwrap();
    symlink("/etc", root.join("3/out")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        root.join("4/fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
}

/// What a scan must find, written down without one.
fn model(root: &Path) -> Vec<(String, Entry)> {
    let mut found = Vec::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            if name.starts_with("many/1") || name == "3/5" || name == ".git" {
                continue;
            }
            let data = path.symlink_metadata().unwrap();
            if data.is_dir() {
                waiting.push(path);
                found.push((name, Entry::Directory));
            } else if data.is_file() {
                let content = ContentId(*blake3::hash(&fs::read(&path).unwrap()).as_bytes());
                found.push((name, Entry::File { content, len: data.len(), executable: false }));
            } else if name == "3/link" {
                found.push((name, Entry::Symlink(sync_proto::Target::new(b"../many").unwrap())));
            }
        }
    }
    found.sort_by(|left, right| left.0.cmp(&right.0));
    found
}

#[test]
fn threads_find_what_one_finds_and_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    populate(dir.path());
    let (alone, watched) = scan(dir.path(), None, 1, Keep::Nothing);
    let mut listed: Vec<(String, Entry)> = walk(alone.dir.as_ref().unwrap())
        .map(|(path, node, stamp)| {
            assert_eq!(stamp.is_some(), matches!(node, Node::File { .. }), "{path}");
            (path.to_string(), node.entry())
        })
        .collect();
    listed.sort_by(|left, right| left.0.cmp(&right.0));
    let expected = model(dir.path());
    assert_eq!(listed, expected);
    let directories = expected.iter().filter(|(_, entry)| *entry == Entry::Directory).count();
    assert_eq!(watched, directories + 1);
    let problems: Vec<_> = alone.problems.iter().map(|(path, problem)| (path.to_string(), problem.kind)).collect();
    assert_eq!(
        problems,
        [("3/out".to_owned(), ProblemKind::BadTarget), ("4/fifo".to_owned(), ProblemKind::UnsupportedKind)]
    );
    assert_eq!(alone.ignore_files.len(), 2);

    for threads in [2, 5] {
        let (together, watched_together) = scan(dir.path(), None, threads, Keep::Nothing);
        assert!(together.dir == alone.dir && together.problems == alone.problems);
        assert!(together.ignore_files == alone.ignore_files && watched_together == watched);
    }
}

#[test]
fn a_file_is_read_only_where_its_stat_data_is_new() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a", "b", "d/c"] {
        write(&dir.path().join(name), name);
    }
    let (first, _) = scan(dir.path(), None, 2, Keep::Nothing);
    // Under each file's own stamp stands what nobody can have read.
    let mut lie = Tree::from_root(first.dir.clone().unwrap());
    for (path, node, stamp) in walk(first.dir.as_ref().unwrap()) {
        if let Node::File { len, executable, .. } = node {
            let node = Node::File { content: ContentId([7; 32]), len: *len, executable: *executable };
            lie.insert(&path, node, stamp).unwrap();
        }
    }
    fs::write(dir.path().join("b"), "B").unwrap();
    let contents = Contents::new(1 << 20);
    let (second, _) = scan(dir.path(), Some(lie.root()), 2, Keep::IfRoom(&contents));
    let second = Tree::from_root(second.dir.unwrap());
    let content =
        |name: &str| second.get(&SyncPath::parse(name.as_bytes()).unwrap()).unwrap().entry().content().unwrap();
    assert_eq!((content("a"), content("d/c")), (ContentId([7; 32]), ContentId([7; 32])));
    let read = ContentId(*blake3::hash(b"B").as_bytes());
    assert_eq!(content("b"), read);
    assert_eq!(contents.get(read).as_deref(), Some(&b"B"[..]));
    assert_eq!(contents.get(ContentId(*blake3::hash(b"a").as_bytes())), None);
}

#[test]
fn a_scan_that_is_stopped_gives_nothing() {
    let dir = tempfile::tempdir().unwrap();
    populate(dir.path());
    let (watcher, _events) = watch(dir.path()).unwrap();
    let handle = DirHandle::open_root(dir.path()).unwrap();
    let stop = Arc::new(AtomicBool::new(true));
    let rules = Rules::new(&IgnoreSettings::default()).unwrap();
    let scan = Scan { root: &handle, watcher: &watcher, keep: Keep::Nothing, threads: 3, stop: &stop };
    let scanned = scan.run(&SyncPath::root(), rules.root_scope(), None);
    assert!(scanned.dir.is_none() && scanned.problems.is_empty());
}

#[test]
fn what_is_gone_is_no_problem() {
    let dir = tempfile::tempdir().unwrap();
    let (watcher, _events) = watch(dir.path()).unwrap();
    let handle = DirHandle::open_root(dir.path()).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let rules = Rules::new(&IgnoreSettings::default()).unwrap();
    let scan = Scan { root: &handle, watcher: &watcher, keep: Keep::Nothing, threads: 1, stop: &stop };
    let gone = SyncPath::parse(b"not/there").unwrap();
    let scanned = scan.run(&gone, rules.scope(&gone), None);
    assert!(scanned.dir.is_none() && scanned.problems.is_empty());
}

/// Directories in which nothing has changed are the very ones that stood there before: no memory, and no hashing.
#[test]
fn what_has_not_changed_is_shared_with_what_was_there_before() {
    let dir = tempfile::tempdir().unwrap();
    populate(dir.path());
    let at = |scanned: &Scanned, path: &str| {
        Tree::from_root(scanned.dir.clone().unwrap()).dir(&SyncPath::parse(path.as_bytes()).unwrap()).unwrap().clone()
    };
    let (first, _) = scan(dir.path(), None, 2, Keep::Nothing);
    for threads in [1, 3] {
        let (second, _) = scan(dir.path(), first.dir.as_ref(), threads, Keep::Nothing);
        assert!(first.dir.as_ref().unwrap().is_same(second.dir.as_ref().unwrap()));
    }
    // As long as before, so that the stamp alone tells.
    fs::write(dir.path().join("2/3/x58"), "85").unwrap();
    let changed = scan(dir.path(), first.dir.as_ref(), 3, Keep::Nothing).0;
    for (path, same) in [("2/3", false), ("2", false), ("2/4", true), ("3", true), ("many", true), ("empty", true)] {
        assert_eq!(at(&first, path).is_same(&at(&changed, path)), same, "{path}");
    }
    // A file that is touched keeps its content, and the directory must not keep the old stamp.
    fs::File::options()
        .write(true)
        .open(dir.path().join("many/5"))
        .unwrap()
        .set_modified(std::time::UNIX_EPOCH)
        .unwrap();
    fs::remove_dir(dir.path().join("empty/in/empty")).unwrap();
    let touched = scan(dir.path(), first.dir.as_ref(), 3, Keep::Nothing).0;
    assert!(at(&first, "many") == at(&touched, "many") && !at(&first, "many").is_same(&at(&touched, "many")));
    assert!(at(&touched, "empty/in").is_empty());
    assert!(touched.dir == scan(dir.path(), None, 1, Keep::Nothing).0.dir);
}

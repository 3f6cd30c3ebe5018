#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    os::unix::fs::{MetadataExt, symlink},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use super::*;

fn name(text: &str) -> Name<'_> {
    Name::new(text.as_bytes()).unwrap()
}

fn path(text: &str) -> SyncPath {
    SyncPath::parse(text.as_bytes()).unwrap()
}

fn root() -> (tempfile::TempDir, DirHandle) {
    let dir = tempfile::tempdir().unwrap();
    let handle = DirHandle::open_root(dir.path()).unwrap();
    (dir, handle)
}

#[test]
fn resolves_beneath_and_never_through_a_symlink() {
    let (dir, root) = root();
    fs::create_dir_all(dir.path().join("a/b/c")).unwrap();
    symlink("a", dir.path().join("inside")).unwrap();
    symlink("/etc", dir.path().join("outside")).unwrap();
    symlink("../..", dir.path().join("a/up")).unwrap();
    fs::write(dir.path().join("file"), "").unwrap();

    let inode = |path: &str| fs::metadata(dir.path().join(path)).unwrap().ino();
    assert_eq!(root.resolve(&path("a/b/c")).unwrap().stat_self().unwrap().stamp.inode, inode("a/b/c"));
    assert_eq!(root.resolve(&SyncPath::root()).unwrap().stat_self().unwrap().stamp.inode, inode(""));
    for refused in
        ["inside", "inside/b", "outside", "outside/ssl", "a/up", "a/up/a", "file", "file/x", "none", "a/none/x"]
    {
        assert!(root.resolve(&path(refused)).is_err(), "{refused}");
    }
    for refused in ["inside", "outside", "file", "none"] {
        assert!(root.open_dir(name(refused)).is_err(), "{refused}");
    }
}

#[test]
fn lists_every_name_with_its_kind_again_and_again() {
    let (dir, root) = root();
    let mut expected = BTreeMap::new();
    for n in 0..3000 {
        // Long names, so that several buffers are needed.
        let name = format!("{n:0200}");
        fs::write(dir.path().join(&name), "").unwrap();
        expected.insert(name.into_bytes(), Kind::File);
    }
    fs::create_dir(dir.path().join("dir")).unwrap();
    symlink("x", dir.path().join("link")).unwrap();
    rustix::fs::mkfifoat(&root, "fifo", Mode::from_raw_mode(0o600)).unwrap();
    expected.extend([
        (b"dir".to_vec(), Kind::Directory),
        (b"link".to_vec(), Kind::Symlink),
        (b"fifo".to_vec(), Kind::Other),
    ]);
    for _ in 0..2 {
        let mut seen = BTreeMap::new();
        root.list(&mut |entry, kind| {
            let kind = kind.unwrap_or_else(|| root.stat(Name::new(entry).unwrap()).unwrap().kind);
            assert_eq!(seen.insert(entry.to_vec(), kind), None);
        })
        .unwrap();
        assert_eq!(seen, expected);
    }
}

#[test]
fn opens_regular_files_alone_and_never_blocks() {
    let (dir, root) = root();
    fs::write(dir.path().join("file"), "content").unwrap();
    fs::create_dir(dir.path().join("dir")).unwrap();
    symlink("file", dir.path().join("link")).unwrap();
    rustix::fs::mkfifoat(&root, "fifo", Mode::from_raw_mode(0o600)).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();

    let (mut file, stat) = root.open_file(name("file")).unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!((text.as_str(), stat.len, stat.kind), ("content", 7, Kind::File));
    assert_eq!(stat, root.stat(name("file")).unwrap());
    let started = Instant::now();
    for refused in ["dir", "link", "fifo", "socket"] {
        assert_eq!(root.open_file(name(refused)).unwrap_err().kind(), ErrorKind::InvalidInput, "{refused}");
        assert_eq!(root.open_file_for_writing(name(refused)).unwrap_err().kind(), ErrorKind::InvalidInput, "{refused}");
    }
    assert_eq!(root.open_file(name("none")).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn stat_tells_what_changed() {
    let (dir, root) = root();
    fs::write(dir.path().join("file"), "content").unwrap();
    symlink("file", dir.path().join("link")).unwrap();
    let stat = root.stat(name("file")).unwrap();
    let meta = fs::metadata(dir.path().join("file")).unwrap();
    assert_eq!(stat.stamp.mtime_ns, meta.mtime() * 1_000_000_000 + meta.mtime_nsec());
    assert_eq!(stat.stamp.ctime_ns, meta.ctime() * 1_000_000_000 + meta.ctime_nsec());
    assert_eq!((stat.stamp.inode, stat.device, stat.links, stat.owner), (meta.ino(), meta.dev(), 1, meta.uid()));
    assert!(!stat.executable);
    root.set_mode(name("file"), 0o6755).unwrap();
    let stat = root.stat(name("file")).unwrap();
    assert!(stat.executable);
    assert_eq!(stat.mode, 0o755, "setuid and setgid are never set");
    assert!(root.set_mode(name("link"), 0o777).is_err());
    assert_eq!(root.stat(name("link")).unwrap().kind, Kind::Symlink);
    assert_eq!(root.read_link(name("link")).unwrap(), Target::new(b"file").unwrap());
    assert_eq!(root.read_link(name("file")).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn renames_never_replace_but_when_asked() {
    let (dir, root) = root();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir(at("sub")).unwrap();
    let sub = root.open_dir(name("sub")).unwrap();
    for taken in ["file", "dir", "link"] {
        fs::write(at("new"), "new").unwrap();
        match taken {
            "file" => fs::write(at("sub/file"), "old").unwrap(),
            "dir" => fs::create_dir(at("sub/dir")).unwrap(),
            _ => symlink("nowhere", at("sub/link")).unwrap(),
        }
        let error = root.rename_noreplace(name("new"), &sub, name(taken)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{taken}");
        assert_eq!(fs::read(at("new")).unwrap(), b"new");
    }
    assert_eq!(fs::read(at("sub/file")).unwrap(), b"old");
    root.rename_noreplace(name("new"), &sub, name("free")).unwrap();
    assert!(!at("new").exists());
    assert_eq!(fs::read(at("sub/free")).unwrap(), b"new");
    fs::create_dir_all(at("tree/below")).unwrap();
    root.rename_noreplace(name("tree"), &sub, name("tree")).unwrap();
    assert!(at("sub/tree/below").exists());
    assert!(root.rename_noreplace(name("sub"), &sub, name("itself")).is_err());
    sub.rename_replace(name("free"), &sub, name("file")).unwrap();
    assert_eq!(fs::read(at("sub/file")).unwrap(), b"new");

    fs::write(at("one"), "1").unwrap();
    match root.exchange(name("one"), &sub, name("file")) {
        Ok(()) => {
            assert_eq!((fs::read(at("one")).unwrap(), fs::read(at("sub/file")).unwrap()), (b"new".into(), b"1".into()))
        }
        Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported),
    }
    assert!(root.exchange(name("one"), &sub, name("none")).is_err());
}

#[test]
fn an_unnamed_file_appears_whole_and_replaces_nothing() {
    let (dir, root) = root();
    let mut file = match root.unnamed_file(0o644) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            return crate::skipped::skipped("no unnamed files here");
        }
        Err(error) => panic!("{error}"),
    };
    file.write_all(b"whole").unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    root.link_unnamed(&file, name("file")).unwrap();
    assert_eq!(fs::read(dir.path().join("file")).unwrap(), b"whole");
    let other = root.unnamed_file(0o644).unwrap();
    assert_eq!(root.link_unnamed(&other, name("file")).unwrap_err().kind(), ErrorKind::AlreadyExists);
}

#[test]
fn creates_only_where_nothing_stands() {
    let (dir, root) = root();
    symlink("elsewhere", dir.path().join("link")).unwrap();
    assert_eq!(root.create_new(name("link"), 0o644).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(root.make_dir(name("link"), 0o755).unwrap_err().kind(), ErrorKind::AlreadyExists);
    let target = Target::new(b"../\xff").unwrap();
    assert_eq!(root.symlink(&target, name("link")).unwrap_err().kind(), ErrorKind::AlreadyExists);
    root.symlink(&target, name("other")).unwrap();
    assert_eq!(root.read_link(name("other")).unwrap(), target);
    assert_eq!(root.remove_dir(name("other")).unwrap_err().kind(), ErrorKind::NotADirectory);
    root.remove_file(name("other")).unwrap();
    root.make_dir(name("dir"), 0o777).unwrap();
    assert!(root.remove_file(name("dir")).is_err());
    root.remove_dir(name("dir")).unwrap();
    assert!(!dir.path().join("elsewhere").exists());
}

#[test]
fn copies_as_much_as_asked() {
    let (dir, root) = root();
    let content: Vec<u8> = (0..1_000_003_u32).map(|n| (n % 251) as u8).collect();
    fs::write(dir.path().join("from"), &content).unwrap();
    let (from, stat) = root.open_file(name("from")).unwrap();
    for (n, len) in [0, 1, 300_000, stat.len].into_iter().enumerate() {
        let to = root.create_new(name(&n.to_string()), 0o600).unwrap();
        reflink_or_copy(&from, &to, len).unwrap();
        assert_eq!(fs::read(dir.path().join(n.to_string())).unwrap(), content[..usize::try_from(len).unwrap()]);
    }
    let to = root.create_new(name("long"), 0o600).unwrap();
    assert_eq!(reflink_or_copy(&from, &to, stat.len + 1).unwrap_err().kind(), ErrorKind::UnexpectedEof);
}

#[test]
fn a_held_directory_is_locked_once() {
    let (dir, root) = root();
    assert!(root.try_lock().unwrap());
    let other = DirHandle::open_root(dir.path()).unwrap();
    assert!(!other.try_lock().unwrap());
    drop(root);
    assert!(other.try_lock().unwrap());
}

#[test]
fn the_watch_path_leads_to_the_same_directory() {
    let (dir, root) = root();
    fs::create_dir(dir.path().join("sub")).unwrap();
    let sub = root.open_dir(name("sub")).unwrap();
    fs::rename(dir.path().join("sub"), dir.path().join("renamed")).unwrap();
    let inode = fs::metadata(sub.watch_path().unwrap()).unwrap().ino();
    assert_eq!(inode, sub.stat_self().unwrap().stamp.inode);
    assert!(sub.has_events());
    assert_eq!(sub.mount_id().unwrap(), root.mount_id().unwrap());
    sub.sync_fs().unwrap();
}

/// A process swaps a directory for a symlink that leads out, over and over: what is resolved is never out there.
#[test]
fn a_race_with_a_symlink_leads_nowhere() {
    let (dir, root) = root();
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir(outside.path().join("b")).unwrap();
    fs::create_dir_all(dir.path().join("a/b")).unwrap();
    symlink(outside.path(), dir.path().join("trap")).unwrap();
    let forbidden = [outside.path().join("b"), outside.path().into()].map(|path| fs::metadata(path).unwrap().ino());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let swapper = DirHandle::open_root(dir.path()).unwrap();
            let at = |text: &str| dir.path().join(text);
            while !stop.load(Ordering::Relaxed) {
                if swapper.exchange(name("a"), &swapper, name("trap")).is_err() {
                    fs::rename(at("a"), at("aside")).unwrap();
                    fs::rename(at("trap"), at("a")).unwrap();
                    fs::rename(at("a"), at("trap")).unwrap();
                    fs::rename(at("aside"), at("a")).unwrap();
                }
            }
        });
        let (mut resolved, mut refused) = (0, 0);
        let deadline = Instant::now() + Duration::from_millis(300);
        while Instant::now() < deadline {
            match root.resolve(&path("a/b")) {
                Ok(found) => {
                    assert!(!forbidden.contains(&found.stat_self().unwrap().stamp.inode));
                    resolved += 1;
                }
                Err(_) => refused += 1,
            }
        }
        stop.store(true, Ordering::Relaxed);
        println!("{resolved} resolved, {refused} refused");
    });
}

//! One set of scenarios for both watchers. What only inotify does is marked so.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::fs::{PermissionsExt, symlink},
    path::PathBuf,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::*;
use crate::sys::DirHandle;

const EXACT: bool = cfg!(all(target_os = "linux", not(feature = "portable")));

struct Scene {
    directory: TempDir,
    root: DirHandle,
    watcher: Watcher,
    events: Events,
}

fn path(text: &str) -> SyncPath {
    SyncPath::parse(text.as_bytes()).unwrap()
}

impl Scene {
    /// A root with these directories, all of them watched.
    fn new(directories: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = DirHandle::open_root(directory.path()).unwrap();
        let (watcher, events) = watch(directory.path()).unwrap();
        let scene = Self { directory, root, watcher, events };
        scene.add("");
        for directory in directories {
            fs::create_dir(scene.at(directory)).unwrap();
            scene.add(directory);
        }
        let mut scene = scene;
        scene.hints();
        // They were made before they were added, and each was told as a new one: the twin wants it added again after that.
        directories.iter().for_each(|directory| scene.add(directory));
        scene
    }

    fn at(&self, text: &str) -> PathBuf {
        self.directory.path().join(text)
    }

    fn add(&self, text: &str) {
        let path = path(text);
        self.watcher.add(&path, &self.root.resolve(&path).unwrap()).unwrap();
    }

    /// All that is told of what has been done so far: a file made last is told last.
    fn hints(&mut self) -> Vec<Hint> {
        let mut hints = Vec::new();
        if EXACT {
            assert_eq!(self.events.drain(None, &mut hints).unwrap(), Drained::Exact);
            return hints;
        }
        let marker = Hint::Gone(path("marker"));
        let start = Instant::now();
        fs::create_dir(self.at("marker")).unwrap();
        fs::remove_dir(self.at("marker")).unwrap();
        while !hints.contains(&marker) {
            assert!(start.elapsed() < Duration::from_secs(20), "the marker was not told: {hints:?}");
            self.events.wait(Some(Duration::from_secs(1)), &mut hints).unwrap();
        }
        hints.retain(|hint| *hint != marker && *hint != Hint::Directory(path("marker")));
        hints
    }

    #[track_caller]
    fn check(&mut self, expected: &[&str]) {
        let hints: Vec<_> = self.hints().iter().map(shown).collect();
        assert_eq!(hints, expected);
    }
}

fn shown(hint: &Hint) -> String {
    match hint {
        Hint::Finished(path) => format!("finished {path}"),
        Hint::Modified(path) => format!("modified {path}"),
        Hint::Gone(path) => format!("gone {path}"),
        Hint::Directory(path) => format!("directory {path}"),
        Hint::Moved { from, to } => format!("moved {from} {to}"),
        Hint::Attributes(path) => format!("attributes {path}"),
        Hint::Lost => "lost".to_owned(),
        Hint::RootGone => "root gone".to_owned(),
    }
}

#[test]
fn a_save_in_place_is_one_hint() {
    let mut scene = Scene::new(&["a"]);
    fs::write(scene.at("a/file"), "new").unwrap();
    scene.check(&["finished a/file"]);
    fs::write(scene.at("a/file"), "again").unwrap();
    scene.check(&["finished a/file"]);
    OpenOptions::new().append(true).open(scene.at("a/file")).unwrap().write_all(b"more").unwrap();
    scene.check(&["finished a/file"]);
    fs::set_permissions(scene.at("a/file"), fs::Permissions::from_mode(0o755)).unwrap();
    scene.check(&["attributes a/file"]);
    fs::remove_file(scene.at("a/file")).unwrap();
    scene.check(&["gone a/file"]);
    fs::read_dir(scene.at("a")).unwrap().count();
    scene.check(&[]);
}

#[test]
fn fault_04_truncate_pause_write() {
    let mut scene = Scene::new(&[]);
    fs::write(scene.at("file"), "old").unwrap();
    scene.hints();
    let mut file = File::create(scene.at("file")).unwrap();
    // Emptied, not finished: not to be looked at yet.
    scene.check(&["modified file"]);
    file.write_all(b"new").unwrap();
    scene.check(&["modified file"]);
    drop(file);
    scene.check(&["finished file"]);
}

#[test]
fn fault_05_vim_rename_backup() {
    let mut scene = Scene::new(&[]);
    fs::write(scene.at("file"), "old").unwrap();
    scene.hints();
    fs::write(scene.at("4913"), "").unwrap();
    fs::remove_file(scene.at("4913")).unwrap();
    fs::rename(scene.at("file"), scene.at("file~")).unwrap();
    fs::write(scene.at("file"), "new").unwrap();
    fs::set_permissions(scene.at("file"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::remove_file(scene.at("file~")).unwrap();
    // The deletion and the save stand in one drain: whoever looks after it finds the file.
    scene.check(&[
        "finished 4913",
        "gone 4913",
        "gone file",
        "finished file~",
        "finished file",
        "attributes file",
        "gone file~",
    ]);
}

#[test]
fn fault_06_jetbrains_safe_write() {
    let mut scene = Scene::new(&[]);
    fs::write(scene.at("x"), "old").unwrap();
    scene.hints();
    fs::write(scene.at("x___jb_tmp___"), "new").unwrap();
    fs::rename(scene.at("x"), scene.at("x___jb_old___")).unwrap();
    fs::rename(scene.at("x___jb_tmp___"), scene.at("x")).unwrap();
    fs::remove_file(scene.at("x___jb_old___")).unwrap();
    scene.check(&[
        "finished x___jb_tmp___",
        "gone x",
        "finished x___jb_old___",
        "gone x___jb_tmp___",
        "finished x",
        "gone x___jb_old___",
    ]);
}

#[test]
fn fault_07_emacs_lock_symlinks() {
    let mut scene = Scene::new(&[]);
    symlink("user@host.1:2", scene.at(".#file")).unwrap();
    fs::remove_file(scene.at(".#file")).unwrap();
    scene.check(&["modified .#file", "gone .#file"]);
}

#[test]
fn fault_08_sed_in_place() {
    let mut scene = Scene::new(&[]);
    fs::write(scene.at("file"), "old").unwrap();
    scene.hints();
    fs::write(scene.at("sedAbCdE"), "new").unwrap();
    fs::set_permissions(scene.at("sedAbCdE"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(scene.at("sedAbCdE"), scene.at("file")).unwrap();
    scene.check(&["finished sedAbCdE", "attributes sedAbCdE", "gone sedAbCdE", "finished file"]);
}

#[test]
fn links_are_told_when_they_appear() {
    let mut scene = Scene::new(&["a"]);
    fs::write(scene.at("file"), "x").unwrap();
    scene.hints();
    fs::hard_link(scene.at("file"), scene.at("a/hard")).unwrap();
    symlink("file", scene.at("a/soft")).unwrap();
    symlink("file", scene.at("a/tmp")).unwrap();
    fs::rename(scene.at("a/tmp"), scene.at("a/soft")).unwrap();
    scene.check(&["modified a/hard", "modified a/soft", "modified a/tmp", "gone a/tmp", "finished a/soft"]);
}

#[test]
fn what_is_not_added_is_not_told() {
    let mut scene = Scene::new(&[]);
    fs::create_dir(scene.at("ignored")).unwrap();
    fs::write(scene.at("ignored/file"), "x").unwrap();
    scene.check(&["directory ignored"]);
    scene.add("ignored");
    assert_eq!(scene.watcher.watched(), 2);
    fs::write(scene.at("ignored/file"), "y").unwrap();
    scene.check(&["finished ignored/file"]);
    scene.watcher.remove_below(&path("ignored"));
    assert_eq!(scene.watcher.watched(), 1);
    fs::write(scene.at("ignored/file"), "z").unwrap();
    scene.check(&[]);
}

/// Whoever adds a watch first and lists then misses nothing, at whatever moment the directory is found.
#[test]
fn fault_03_files_created_right_after_mkdir() {
    let mut scene = Scene::new(&[]);
    let base = scene.directory.path().to_owned();
    let writer = std::thread::spawn(move || {
        fs::create_dir(base.join("new")).unwrap();
        for number in 0..1000 {
            fs::write(base.join(format!("new/{number}")), "x").unwrap();
        }
    });
    let mut seen = std::collections::BTreeSet::new();
    let start = Instant::now();
    while seen.len() < 1000 {
        assert!(start.elapsed() < Duration::from_secs(20), "{} of 1000 files seen", seen.len());
        let mut hints = Vec::new();
        scene.events.wait(Some(Duration::from_secs(1)), &mut hints).unwrap();
        for hint in hints {
            match hint {
                Hint::Directory(path) => {
                    scene.add(&path.to_string());
                    for entry in fs::read_dir(scene.at("new")).unwrap() {
                        seen.insert(format!("new/{}", entry.unwrap().file_name().to_string_lossy()));
                    }
                }
                Hint::Finished(path) | Hint::Modified(path) => {
                    seen.insert(path.to_string());
                }
                other => panic!("{other:?}"),
            }
        }
    }
    writer.join().unwrap();
}

#[test]
fn a_renamed_directory_takes_its_watches_along() {
    let mut scene = Scene::new(&["a", "a/b", "a/b/c", "other"]);
    fs::write(scene.at("a/b/c/before"), "x").unwrap();
    fs::rename(scene.at("a/b"), scene.at("other/new")).unwrap();
    fs::write(scene.at("other/new/c/after"), "x").unwrap();
    if EXACT {
        scene.check(&["finished a/b/c/before", "moved a/b other/new", "finished other/new/c/after"]);
        assert_eq!(scene.watcher.watched(), 5);
    } else {
        // The directory that moved may say so as well, by the name that it had, if its watch lives long enough.
        let hints: Vec<_> = scene.hints().iter().map(shown).collect();
        assert_eq!(hints[..3], ["finished a/b/c/before", "gone a/b", "directory other/new"]);
        assert!(hints[3..].iter().all(|hint| hint == "gone a/b"), "{hints:?}");
        assert_eq!(scene.watcher.watched(), 3);
        scene.add("other/new");
        scene.add("other/new/c");
    }
    fs::write(scene.at("other/new/c/later"), "x").unwrap();
    fs::create_dir(scene.at("a/b")).unwrap();
    scene.check(&["finished other/new/c/later", "directory a/b"]);
}

#[test]
fn a_directory_that_leaves_the_root_is_gone_and_silent() {
    let outside = tempfile::tempdir().unwrap();
    let mut scene = Scene::new(&["a", "a/b"]);
    fs::rename(scene.at("a"), outside.path().join("a")).unwrap();
    scene.check(&["gone a"]);
    assert_eq!(scene.watcher.watched(), 1);
    fs::write(outside.path().join("a/b/file"), "x").unwrap();
    scene.check(&[]);
    fs::rename(outside.path().join("a"), scene.at("back")).unwrap();
    scene.check(&["directory back"]);
}

#[test]
fn deleted_directories_are_forgotten() {
    let mut scene = Scene::new(&["a", "a/b"]);
    fs::remove_dir_all(scene.at("a")).unwrap();
    let hints = scene.hints();
    assert_eq!(hints.last(), Some(&Hint::Gone(path("a"))), "{hints:?}");
    assert_eq!(scene.watcher.watched(), 1);
    fs::create_dir(scene.at("a")).unwrap();
    scene.check(&["directory a"]);
}

#[test]
fn the_root_itself() {
    let outside = tempfile::tempdir().unwrap();
    let mut scene = Scene::new(&[]);
    let root = scene.directory.path().to_owned();
    fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
    scene.check(&["attributes ."]);
    if EXACT {
        fs::rename(&root, outside.path().join("moved")).unwrap();
        scene.check(&["root gone"]);
        fs::rename(outside.path().join("moved"), &root).unwrap();
        scene.hints();
        // Although it is held open, by the scene.
        fs::remove_dir(&root).unwrap();
        scene.check(&["root gone"]);
    }
    assert!(watch(&outside.path().join("missing")).is_err());
    fs::write(outside.path().join("file"), "").unwrap();
    assert!(watch(&outside.path().join("file")).is_err());
}

#[test]
fn a_wait_ends_by_time_and_by_a_wake_up() {
    let mut scene = Scene::new(&[]);
    let mut hints = Vec::new();
    let start = Instant::now();
    scene.events.wait(Some(Duration::from_millis(30)), &mut hints).unwrap();
    assert!(hints.is_empty() && start.elapsed() >= Duration::from_millis(30));
    let waker = scene.watcher.waker();
    waker.wake();
    waker.wake();
    scene.events.wait(None, &mut hints).unwrap();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        waker.wake();
    });
    scene.events.wait(None, &mut hints).unwrap();
    thread.join().unwrap();
    assert!(hints.is_empty());
    // Both calls made one wake-up; nothing is left over.
    let start = Instant::now();
    scene.events.wait(Some(Duration::from_millis(30)), &mut hints).unwrap();
    assert!(hints.is_empty() && start.elapsed() >= Duration::from_millis(30));
}

#[cfg(all(target_os = "linux", feature = "portable"))]
mod cookie;

#[cfg(all(target_os = "linux", not(feature = "portable")))]
mod inotify_only {
    use super::*;

    #[test]
    fn fault_01_queue_overflow_is_told() {
        let mut scene = Scene::new(&["a", "a/b", "gone"]);
        let outside = tempfile::tempdir().unwrap();
        let queue: usize =
            fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
        if queue > 100_000 {
            crate::skipped::skipped(&format!("a queue of {queue} events takes too long to fill"));
            return;
        }
        for number in 0..queue / 2 + 100 {
            fs::write(scene.at(&format!("a/{}", number % 3000)), "x").unwrap();
        }
        // These two are lost.
        fs::rename(scene.at("a"), scene.at("moved")).unwrap();
        fs::rename(scene.at("gone"), outside.path().join("gone")).unwrap();
        let mut hints = scene.hints();
        assert_eq!(hints.pop(), Some(Hint::Lost));
        assert!(hints.len() > 1000 && !hints.contains(&Hint::Lost));
        // The rescan adds what it finds; each watch is where its directory is, and what left is silent.
        for directory in ["", "moved", "moved/b"] {
            scene.add(directory);
        }
        assert_eq!(scene.watcher.watched(), 4);
        scene.watcher.retire_lost();
        assert_eq!(scene.watcher.watched(), 3);
        fs::write(scene.at("moved/b/file"), "x").unwrap();
        fs::write(outside.path().join("gone/file"), "x").unwrap();
        scene.check(&["finished moved/b/file"]);
    }

    #[test]
    fn a_rename_onto_an_empty_directory_replaces_it() {
        let mut scene = Scene::new(&["a", "a/x", "b"]);
        fs::rename(scene.at("a"), scene.at("b")).unwrap();
        scene.check(&["gone a", "directory b"]);
        assert_eq!(scene.watcher.watched(), 1);
    }

    #[test]
    fn names_exchanged_and_given_again() {
        let mut scene = Scene::new(&["a", "a/x", "b", "b/y"]);
        rustix::fs::renameat_with(
            rustix::fs::CWD,
            scene.at("a"),
            rustix::fs::CWD,
            scene.at("b"),
            rustix::fs::RenameFlags::EXCHANGE,
        )
        .unwrap();
        // Not two moves, the second of which would undo the first.
        scene.check(&["gone a", "directory b", "gone b", "directory a"]);
        for directory in ["a", "a/y", "b", "b/x"] {
            scene.add(directory);
        }
        assert_eq!(scene.watcher.watched(), 5);
        for (file, expected) in [("a/y/1", "finished a/y/1"), ("b/x/1", "finished b/x/1"), ("a/1", "finished a/1")] {
            fs::write(scene.at(file), "x").unwrap();
            scene.check(&[expected]);
        }
    }

    /// A scan that meets a renamed directory, or another under its old name, before the events of the rename are read.
    #[test]
    fn a_scan_that_is_ahead_of_the_events() {
        let mut scene = Scene::new(&["a", "a/x"]);
        fs::rename(scene.at("a"), scene.at("b")).unwrap();
        fs::create_dir(scene.at("a")).unwrap();
        for directory in ["a", "b", "b/x"] {
            scene.add(directory);
        }
        // Not a move: the scan has seen both as they are, and `a` is not what moved.
        scene.check(&["gone a", "directory b", "directory a"]);
        assert_eq!(scene.watcher.watched(), 4);
        fs::write(scene.at("a/1"), "x").unwrap();
        fs::write(scene.at("b/x/1"), "x").unwrap();
        scene.check(&["finished a/1", "finished b/x/1"]);

        // The old name only, with the rename still to be told: the new directory is not dragged along.
        fs::rename(scene.at("b"), scene.at("c")).unwrap();
        fs::create_dir(scene.at("b")).unwrap();
        scene.add("b");
        scene.check(&["gone b", "directory c", "directory b"]);
        fs::write(scene.at("b/1"), "x").unwrap();
        scene.check(&["finished b/1"]);
    }

    #[test]
    fn adding_again_changes_nothing() {
        let mut scene = Scene::new(&["a"]);
        scene.add("a");
        scene.add("");
        assert_eq!(scene.watcher.watched(), 2);
        fs::write(scene.at("a/1"), "x").unwrap();
        scene.check(&["finished a/1"]);
    }

    #[test]
    fn an_idle_wait_sleeps() {
        let mut scene = Scene::new(&["a"]);
        let switches = || -> u64 {
            let status = fs::read_to_string("/proc/thread-self/status").unwrap();
            let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches")).unwrap();
            line.split_whitespace().last().unwrap().parse().unwrap()
        };
        let mut idle = || {
            let waker = scene.watcher.waker();
            let thread = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(250));
                waker.wake();
            });
            let before = switches();
            let mut hints = Vec::new();
            scene.events.wait(None, &mut hints).unwrap();
            let switches = switches() - before;
            thread.join().unwrap();
            assert!(hints.is_empty());
            switches
        };
        // One to fall asleep. A busy machine adds some of its own, but not every time.
        let fewest = (0..8).map(|_| idle()).find(|&switches| switches <= 2);
        assert!(fewest.is_some(), "woken up while nothing happened");
    }

    #[test]
    fn fault_02_watch_limit() {
        if crate::skipped::has_few_watches(6, "replica::watch::tests::inotify_only::fault_02_watch_limit") {
            limited();
        }
    }

    /// Six are allowed: the root, the directory above it, and four.
    fn limited() {
        let mut scene = Scene::new(&["0", "1", "2", "3"]);
        fs::create_dir(scene.at("4")).unwrap();
        scene.check(&["directory 4"]);
        let refused = path("4");
        let error = scene.watcher.add(&refused, &scene.root.resolve(&refused).unwrap()).unwrap_err();
        assert!(matches!(error, WatchError::LimitReached { limit: Some(6) }), "{error:?}");
        let sentence =
            "no more directories can be watched (the limit is 6): raise fs.inotify.max_user_watches (sysctl)";
        assert_eq!(error.to_string(), sentence);
        // The others go on, and room that is made is room.
        fs::write(scene.at("3/file"), "x").unwrap();
        scene.check(&["finished 3/file"]);
        scene.watcher.remove_below(&path("0"));
        scene.add("4");
        assert_eq!(scene.watcher.watched(), 5);
    }

    /// Not a test of speed on a busy machine: prints what it measured. Run with `--ignored --nocapture`, in release.
    #[test]
    #[ignore = "measures"]
    fn measure_set_up() {
        const COUNT: u32 = 20_000;
        let scene = Scene::new(&[]);
        let paths: Vec<_> = (0..COUNT).map(|number| path(&format!("{}/{}", number % 100, number))).collect();
        let handles = |path: &SyncPath| scene.root.resolve(path).unwrap();
        for path in &paths {
            fs::create_dir_all(scene.at(&path.to_string())).unwrap();
        }
        let start = Instant::now();
        for path in &paths {
            drop(handles(path));
        }
        let opening = start.elapsed();
        let start = Instant::now();
        for path in &paths {
            scene.watcher.add(path, &handles(path)).unwrap();
        }
        let adding = start.elapsed() - opening;
        let start = Instant::now();
        scene.watcher.remove_below(&SyncPath::root());
        let (opening, adding, removing) = (opening / COUNT, adding / COUNT, start.elapsed() / COUNT);
        println!("a directory: {adding:?} to add (beside {opening:?} to open it), {removing:?} to remove");
    }
}

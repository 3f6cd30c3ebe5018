//! Other processes that write, swap and remove while operations run: nothing is lost, nothing outside is touched.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use super::*;

/// How long a race goes on, and how much longer where nothing has come of it: on a busy machine one of the two may not
/// get its turn in that time.
const RACE: Duration = Duration::from_millis(400);
const RACE_MAX: Duration = Duration::from_secs(60);

/// Ends the other's turns, also where ours panics.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs `other` beside `ours`, over and over, until the time is up and each has said at least once that something came of
/// its turn. That it comes to that is asserted: a race that was none shows nothing.
fn race(mut ours: impl FnMut(u64) -> bool, mut other: impl FnMut(u64) -> bool + Send) {
    let (stop, other_had) = (AtomicBool::new(false), AtomicBool::new(false));
    let mut ours_had = false;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 0;
            while !stop.load(Ordering::Relaxed) {
                other_had.fetch_or(other(n), Ordering::Relaxed);
                n += 1;
            }
        });
        let _stopped = Stop(&stop);
        let start = Instant::now();
        let mut n = 0;
        let raced = |ours_had: bool| ours_had && other_had.load(Ordering::Relaxed);
        while start.elapsed() < RACE || (!raced(ours_had) && start.elapsed() < RACE_MAX) {
            ours_had |= ours(n);
            n += 1;
        }
    });
    assert!(ours_had && other_had.into_inner(), "nothing came of a race of {RACE_MAX:?}");
}

/// Whether exchanges are to be had: without them a window remains in which a write can be lost, which is documented.
fn has_exchange(fixture: &Fixture) -> bool {
    let (dir, name) = (fixture.committer.root(), Name::new(b".synctl").unwrap());
    let exchange = dir.exchange(name, dir, name);
    let has = !exchange.is_err_and(|error| error.kind() == ErrorKind::Unsupported);
    if !has {
        crate::skipped::skipped("nothing can be exchanged here");
    }
    has
}

/// An editor saves by renaming over the file, each save with bytes of its own, while we replace what we believe is there.
/// Every save must be found: at the path, among what we saw and replaced as expected, or beside the stage.
#[test]
fn no_save_by_rename_is_lost() {
    let fixture = Fixture::new();
    if !has_exchange(&fixture) {
        return;
    }
    fixture.write("it", b"start");
    let saves = Mutex::new(BTreeSet::new());
    let mut replaced = BTreeSet::new();
    let mut kept = 0_u32;
    race(
        |n| {
            // What a scan would have seen just before.
            let Ok(seen) = fs::read(fixture.at_path("it")) else { return false };
            let ours = format!("ours {n}").into_bytes();
            let commit = &fixture.committer.apply(&Tree::new(), &[put("it", Expected::Entry(file(&seen)), &ours)])[0];
            match &commit.outcome {
                Outcome::Applied => drop(replaced.insert(seen)),
                Outcome::Displaced(at) => {
                    assert!(at.starts_with(&path(".synctl/displaced")));
                    kept += 1;
                }
                Outcome::Mismatch => return false,
                other => panic!("{other:?}"),
            }
            true
        },
        |n| {
            let theirs = format!("theirs {n}").into_bytes();
            let temporary = fixture.at_path("it.tmp");
            fs::write(&temporary, &theirs).unwrap();
            // What the editor itself replaces is the editor's to lose.
            saves.lock().unwrap().insert(theirs);
            let over = fs::read(fixture.at_path("it"));
            fs::rename(&temporary, fixture.at_path("it")).unwrap();
            drop(over);
            std::thread::sleep(Duration::from_micros(200));
            true
        },
    );
    // The editor replaces its own saves, which may so be gone; the last one was replaced by nobody but us.
    let last = saves.lock().unwrap().iter().max_by_key(|save| save.len() * 1000 + number(save)).cloned().unwrap();
    let now = fixture.read("it");
    let found = now == last || replaced.contains(&last) || fixture.displaced().contains(&last);
    assert!(found, "{:?} is lost; now {:?}", String::from_utf8_lossy(&last), String::from_utf8_lossy(&now));
    fixture.check_stage();
    println!("{} saves, {} replaced, {kept} displaced", saves.lock().unwrap().len(), replaced.len());
}

fn number(save: &[u8]) -> usize {
    let text = String::from_utf8_lossy(save);
    text.rsplit(' ').next().unwrap().parse::<usize>().unwrap() % 1000
}

/// Somebody makes the file anew whenever it is gone, never over another. We replace and remove it. Each of theirs is
/// either there, or was given up knowingly by us, or kept.
#[test]
fn no_new_file_is_lost() {
    let fixture = Fixture::new();
    if !has_exchange(&fixture) {
        return;
    }
    let made = Mutex::new(Vec::new());
    let mut given_up = BTreeSet::new();
    race(
        |n| {
            let Ok(seen) = fs::read(fixture.at_path("it")) else {
                let commits = fixture.committer.apply(&Tree::new(), &[put("it", Expected::Nothing, b"ours")]);
                assert!(matches!(commits[0].outcome, Outcome::Applied | Outcome::Mismatch));
                return false;
            };
            let expected = Expected::Entry(file(&seen));
            let operation = match n % 3 {
                0 => put("it", expected, b"ours"),
                1 => remove("it", expected),
                _ => relocate("it", &format!("moved{n}"), expected),
            };
            match &fixture.committer.apply(&Tree::new(), &[operation])[0].outcome {
                Outcome::Applied | Outcome::Displaced(_) => drop(given_up.insert(seen)),
                Outcome::Mismatch => return false,
                other => panic!("{other:?}"),
            }
            true
        },
        |n| {
            let theirs = format!("theirs {n}").into_bytes();
            let temporary = fixture.at_path("theirs.tmp");
            fs::write(&temporary, &theirs).unwrap();
            // A hard link takes a free name only.
            let is_made = fs::hard_link(&temporary, fixture.at_path("it")).is_ok();
            if is_made {
                made.lock().unwrap().push(theirs);
            }
            fs::remove_file(&temporary).unwrap();
            is_made
        },
    );
    let now: BTreeSet<_> = fs::read_dir(&fixture.root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| fs::read(path).unwrap())
        .chain(fixture.displaced())
        .collect();
    let made = made.into_inner().unwrap();
    for theirs in &made {
        assert!(now.contains(theirs) || given_up.contains(theirs), "{:?} is lost", String::from_utf8_lossy(theirs));
    }
    fixture.check_stage();
}

/// A directory on the way is swapped for a symlink that leads out, over and over.
#[test]
fn a_swapped_directory_leads_nowhere() {
    let fixture = Fixture::new();
    let outside = tempfile::tempdir().unwrap();
    for base in [fixture.root.as_path(), outside.path()] {
        fs::create_dir_all(base.join("a/b")).unwrap();
        fs::write(base.join("a/b/it"), "it").unwrap();
        fs::write(base.join("a/b/secret"), "secret").unwrap();
    }
    let before = fs::read_dir(outside.path().join("a/b")).unwrap().count();
    symlink(outside.path().join("a"), fixture.at_path("trap")).unwrap();
    let index = fixture.index();
    let expected = || Expected::Entry(file(b"it"));
    let mut applied = 0;
    race(
        |n| {
            let operations = [
                put("a/b/it", expected(), b"ours"),
                put("a/b/it", Expected::Entry(file(b"ours")), b"it"),
                put(&format!("a/b/new{n}"), Expected::Nothing, b"ours"),
                make(&format!("a/b/dir{n}")),
                put(&format!("a/b/dir{n}/x"), Expected::Nothing, b"ours"),
                put_entry(&format!("a/b/copy{n}"), Expected::Nothing, file(b"it"), Content::CopyOf(path("a/b/it"))),
                relocate(&format!("a/b/new{n}"), &format!("a/b/moved{n}"), Expected::Entry(file(b"ours"))),
                remove(&format!("a/b/moved{n}"), Expected::Entry(file(b"ours"))),
                remove("a", Expected::Tree(index.hash())),
            ];
            let commits = fixture.committer.apply(&index, &operations);
            let before = applied;
            applied += commits.iter().filter(|commit| commit.outcome == Outcome::Applied).count();
            applied > before
        },
        |_| {
            let at = |name: &str| fixture.at_path(name);
            let root = fixture.committer.root();
            let (a, trap) = (Name::new(b"a").unwrap(), Name::new(b"trap").unwrap());
            if root.exchange(a, root, trap).is_err() {
                fs::rename(at("a"), at("aside")).unwrap();
                fs::rename(at("trap"), at("a")).unwrap();
                std::thread::yield_now();
                fs::rename(at("a"), at("trap")).unwrap();
                fs::rename(at("aside"), at("a")).unwrap();
            }
            true
        },
    );
    assert_eq!(fs::read_dir(outside.path().join("a/b")).unwrap().count(), before, "something was made outside");
    for name in ["it", "secret"] {
        let inside = fs::read(outside.path().join("a/b").join(name)).unwrap();
        assert_eq!(inside, name.as_bytes(), "something was changed outside");
    }
    println!("{applied} applied");
}

/// Files of a tree that is being removed are edited meanwhile: what was edited stays.
#[test]
fn an_edit_in_a_tree_that_is_removed_stays() {
    for _ in 0..5 {
        let fixture = Fixture::new();
        for n in 0..200 {
            fixture.write(&format!("dir/f{n}"), b"old");
        }
        let index = fixture.index();
        let edited = Mutex::new(Vec::new());
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in (0..200).rev() {
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                    let (temporary, it) = (fixture.at_path("tmp"), fixture.at_path(&format!("dir/f{n}")));
                    fs::write(&temporary, format!("edited {n}")).unwrap();
                    // An editor replaces what it has open: after it is gone there is nothing to save over.
                    if it.exists() && fs::rename(&temporary, &it).is_ok() {
                        edited.lock().unwrap().push(n);
                    }
                }
            });
            let operation = remove("dir", Expected::Tree(tree_hash(&index, "dir")));
            fixture.committer.apply(&index, &[operation]);
            done.store(true, Ordering::Relaxed);
        });
        let displaced = fixture.displaced();
        for n in edited.into_inner().unwrap() {
            let wanted = format!("edited {n}").into_bytes();
            let there = fs::read(fixture.at_path(&format!("dir/f{n}"))).is_ok_and(|found| found == wanted);
            assert!(there || displaced.contains(&wanted), "{n} is lost");
        }
        fixture.check_stage();
    }
}

/// Several threads on one committer, each in a directory of its own and all in one.
#[test]
fn threads_share_a_committer() {
    let fixture = Fixture::new();
    let index = fixture.index();
    let taken = Mutex::new(0_u32);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (fixture, index, taken) = (&fixture, &index, &taken);
            scope.spawn(move || {
                let own = format!("t{thread}");
                let mut operations = vec![make(&own)];
                operations.extend((0..50).map(|n| put(&format!("{own}/{n}"), Expected::Nothing, own.as_bytes())));
                operations.extend((0..50).map(|n| put(&format!("shared{n}"), Expected::Nothing, own.as_bytes())));
                let commits = fixture.committer.apply(index, &operations);
                let applied = commits.iter().filter(|commit| commit.outcome == Outcome::Applied).count();
                *taken.lock().unwrap() += u32::try_from(applied).unwrap();
            });
        }
    });
    // Each shared name was taken once.
    assert_eq!(taken.into_inner().unwrap(), 4 * 51 + 50);
    fixture.check_stage();
}

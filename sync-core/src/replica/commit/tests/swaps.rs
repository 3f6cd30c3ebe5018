//! A local process that swaps what is on the way for symlinks that lead out, as fast as it can, while operations are done:
//! directories above, the name itself, and the directories of ours. Nothing outside is changed, and nothing of it comes in.
//!
//! `SYNCTL_SWAP_SECONDS` (1): how long each kind of operation is attacked. `cargo test -p sync-core --release --lib swaps` with
//! 15 is the command of its own.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant, SystemTime},
};

use super::*;

const INSIDE: &[u8] = b"inside, and longer than what is outside";
/// Stands at the same paths outside. Whatever names it as expected can be done only by whoever follows a symlink.
const OUTSIDE: &[u8] = b"canary";

/// Everything of a tree that a write could change.
fn everything(root: &Path) -> BTreeMap<PathBuf, (u32, u64, Option<SystemTime>, Vec<u8>)> {
    let mut all = BTreeMap::new();
    let mut left = vec![root.to_owned()];
    while let Some(at) = left.pop() {
        let data = fs::symlink_metadata(&at).unwrap();
        let content = if data.is_file() { fs::read(&at).unwrap() } else { Vec::new() };
        if data.is_dir() {
            left.extend(fs::read_dir(&at).unwrap().map(|entry| entry.unwrap().path()));
        }
        all.insert(at, (data.mode(), data.nlink(), data.modified().ok(), content));
    }
    all
}

/// Exchanges two names, by whatever is to be had.
fn swap(dir: &DirHandle, one: &str, other: &str) {
    let name = |text: &'static str| Name::new(text.as_bytes()).unwrap();
    let (one, other): (Name<'_>, Name<'_>) = (Name::new(one.as_bytes()).unwrap(), Name::new(other.as_bytes()).unwrap());
    if dir.exchange(one, dir, other).is_err() {
        // Each may be missing for a moment, or have been taken by an operation.
        let aside = name("aside");
        let _ = dir.rename_replace(one, dir, aside);
        let _ = dir.rename_replace(other, dir, one);
        let _ = dir.rename_replace(aside, dir, other);
    }
}

/// Attacks what `ours` does, over and over, and says how much of it was done all the same.
fn attack(ours: impl Fn(&Fixture, u64) -> Vec<Outcome>) {
    let seconds = std::env::var("SYNCTL_SWAP_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let fixture = Fixture::new();
    let outside = tempfile::tempdir().unwrap();
    for (base, content) in [(fixture.root.as_path(), INSIDE), (outside.path(), OUTSIDE)] {
        fs::create_dir_all(base.join("a/b/tree/sub")).unwrap();
        for name in ["a/b/it", "a/b/tree/it", "a/b/tree/sub/it"] {
            fs::write(base.join(name), content).unwrap();
        }
    }
    for name in ["stage", "displaced", "partial"] {
        fs::create_dir_all(outside.path().join("home").join(name)).unwrap();
    }
    symlink(outside.path().join("a"), fixture.at_path("trap")).unwrap();
    symlink(outside.path().join("a/b/it"), fixture.at_path("a/b/trap")).unwrap();
    symlink(outside.path().join("a/b/tree"), fixture.at_path("a/b/tree-trap")).unwrap();
    symlink(outside.path().join("home/displaced"), fixture.at_path(".synctl/trap")).unwrap();
    symlink(outside.path().join("home"), fixture.at_path(".home-trap")).unwrap();
    let before = everything(outside.path());
    let stop = AtomicBool::new(false);
    let (mut applied, mut tried) = (0_u64, 0_u64);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let root = DirHandle::open_root(&fixture.root).unwrap();
            let below = DirHandle::open_root(&fixture.at_path("a/b")).unwrap();
            let home = DirHandle::open_root(&fixture.at_path(".synctl")).unwrap();
            // Each swap is undone by the next of its kind.
            for round in 0_u64.. {
                swap(&root, "a", "trap");
                match round % 8 {
                    0 | 1 => swap(&below, "it", "trap"),
                    2 | 3 => swap(&below, "tree", "tree-trap"),
                    4 | 5 => swap(&home, "displaced", "trap"),
                    _ => swap(&root, ".synctl", ".home-trap"),
                }
                if stop.load(Ordering::Relaxed) && round % 8 == 7 {
                    return;
                }
                if round % 3 == 0 {
                    std::thread::yield_now();
                }
            }
        });
        let deadline = Instant::now() + Duration::from_secs(seconds);
        // On a machine that is busy it may take longer until one gets through.
        let patience = deadline + Duration::from_secs(30);
        while Instant::now() < deadline || (applied == 0 && Instant::now() < patience) {
            let outcomes = ours(&fixture, tried);
            tried += 1;
            applied += u64::from(outcomes.iter().any(|outcome| matches!(outcome, Outcome::Applied)));
        }
        stop.store(true, Ordering::Relaxed);
    });
    let after = everything(outside.path());
    for path in before.keys().chain(after.keys()) {
        assert_eq!(before.get(path), after.get(path), "{} was touched", path.display());
    }
    // No copy of what stands outside was made inside.
    let brought_in = everything(&fixture.root).into_iter().find(|(_, (.., content))| content == OUTSIDE);
    assert!(brought_in.is_none(), "brought in: {brought_in:?}");
    println!("{applied} of {tried} were applied");
    assert!(applied > 0, "nothing was ever applied: {tried} attempts");
}

fn inside() -> Expected {
    Expected::Entry(file(INSIDE))
}

fn outside() -> Expected {
    Expected::Entry(file(OUTSIDE))
}

/// Does operations against the index as it is not known: every look is at the disk.
fn apply(fixture: &Fixture, operations: &[Operation]) -> Vec<Outcome> {
    fixture.committer.apply(&Tree::new(), operations).into_iter().map(|commit| commit.outcome).collect()
}

/// None of these was done: they can be only outside.
#[track_caller]
fn never(outcomes: Vec<Outcome>) {
    for outcome in outcomes {
        assert!(!matches!(outcome, Outcome::Applied | Outcome::Displaced(_)), "done outside: {outcome:?}");
    }
}

#[test]
fn put() {
    attack(|fixture, n| {
        let put = |at: &str| super::put(&format!("a/b/{at}{n}"), Expected::Nothing, b"ours");
        apply(fixture, &[put("new"), make(&format!("a/b/dir{n}")), put(&format!("dir{n}/x"))])
    });
}

#[test]
fn put_in_a_new_directory() {
    attack(|fixture, n| {
        // Built in the stage, renamed to its place.
        let dir = format!("a/b/fresh{n}");
        apply(fixture, &[make(&dir), super::put(&format!("{dir}/x"), Expected::Nothing, b"ours")])
    });
}

#[test]
fn replace() {
    attack(|fixture, _| {
        never(apply(fixture, &[super::put("a/b/it", outside(), b"ours")]));
        apply(
            fixture,
            &[super::put("a/b/it", inside(), b"ours"), super::put("a/b/it", Expected::Entry(file(b"ours")), INSIDE)],
        )
    });
}

#[test]
fn replace_by_a_symlink() {
    attack(|fixture, _| {
        never(apply(fixture, &[put_entry("a/b/it", outside(), link("x"), Content::None)]));
        let back = put_entry("a/b/it", Expected::Entry(link("x")), file(INSIDE), raw(INSIDE));
        apply(fixture, &[put_entry("a/b/it", inside(), link("x"), Content::None), back])
    });
}

#[test]
fn change_of_mode() {
    attack(|fixture, _| {
        never(apply(fixture, &[put_entry("a/b/it", outside(), program(OUTSIDE), Content::Unchanged)]));
        let back = put_entry("a/b/it", Expected::Entry(program(INSIDE)), file(INSIDE), Content::Unchanged);
        apply(fixture, &[put_entry("a/b/it", inside(), program(INSIDE), Content::Unchanged), back])
    });
}

#[test]
fn remove() {
    attack(|fixture, _| {
        never(apply(fixture, &[super::remove("a/b/it", outside())]));
        apply(fixture, &[super::remove("a/b/it", inside()), super::put("a/b/it", Expected::Nothing, INSIDE)])
    });
}

/// The index of what stands under this content at `a/b/tree`.
fn tree_of(content: &[u8]) -> Tree {
    let mut tree = Tree::new();
    for at in ["a", "a/b", "a/b/tree", "a/b/tree/sub"] {
        tree.insert(&path(at), Node::Directory(Dir::new()), None).unwrap();
    }
    for at in ["a/b/tree/it", "a/b/tree/sub/it"] {
        tree.insert(&path(at), Node::from_entry(file(content)), None).unwrap();
    }
    tree
}

#[test]
fn remove_a_tree() {
    let (ours, theirs) = (tree_of(INSIDE), tree_of(OUTSIDE));
    attack(|fixture, _| {
        let gone = |tree: &Tree| super::remove("a/b/tree", Expected::Tree(tree_hash(tree, "a/b/tree")));
        fixture.committer.apply(&theirs, &[gone(&theirs)]);
        let outcomes =
            fixture.committer.apply(&ours, &[gone(&ours)]).into_iter().map(|commit| commit.outcome).collect();
        let put = |at: &str| super::put(at, Expected::Nothing, INSIDE);
        apply(fixture, &[make("a/b/tree"), put("a/b/tree/it"), make("a/b/tree/sub"), put("a/b/tree/sub/it")]);
        outcomes
    });
}

#[test]
fn move_a_file() {
    attack(|fixture, _| {
        never(apply(fixture, &[relocate("a/b/it", "a/moved", outside())]));
        apply(fixture, &[relocate("a/b/it", "a/moved", inside()), relocate("a/moved", "a/b/it", inside())])
    });
}

#[test]
fn move_a_tree() {
    let (ours, theirs) = (tree_of(INSIDE), tree_of(OUTSIDE));
    let mut back = Tree::new();
    back.insert(&path("a"), Node::Directory(Dir::new()), None).unwrap();
    back.insert(&path("a/moved"), ours.get(&path("a/b/tree")).unwrap().clone(), None).unwrap();
    attack(|fixture, _| {
        let go = |from: &str, to: &str, tree: &Tree| relocate(from, to, Expected::Tree(tree_hash(tree, from)));
        let outcomes = |commits: Vec<Commit>| commits.into_iter().map(|commit| commit.outcome).collect();
        never(outcomes(fixture.committer.apply(&theirs, &[go("a/b/tree", "a/moved", &theirs)])));
        let moved = outcomes(fixture.committer.apply(&ours, &[go("a/b/tree", "a/moved", &ours)]));
        fixture.committer.apply(&back, &[go("a/moved", "a/b/tree", &back)]);
        moved
    });
}

#[test]
fn copy() {
    attack(|fixture, n| {
        let copy = |content: &[u8]| {
            let at = format!("a/copy{n}");
            put_entry(&at, Expected::Nothing, file(content), Content::CopyOf(path("a/b/it")))
        };
        never(apply(fixture, &[copy(OUTSIDE)]));
        apply(fixture, &[copy(INSIDE)])
    });
}

#[test]
fn base_of_a_delta() {
    attack(|fixture, _| {
        // The first byte of the base, then one of ours.
        let delta = |base: &[u8], expected: Expected| {
            let new = [&base[..1], b"!"].concat();
            put_entry(
                "a/b/it",
                expected,
                file(&new),
                Content::Delta(sync_proto::message::Blob::new(vec![0, 1, 0, b'!']).unwrap()),
            )
        };
        never(apply(fixture, &[delta(OUTSIDE, outside())]));
        let new = Expected::Entry(file(&[&INSIDE[..1], b"!"].concat()));
        apply(fixture, &[delta(INSIDE, inside()), super::put("a/b/it", new, INSIDE)])
    });
}

#[test]
fn streamed_file() {
    attack(|fixture, n| {
        let stream = |expected: &Expected, at: &str| {
            let partial = fixture.committer.partial(id(b"streamed")).unwrap();
            partial.file().try_clone().unwrap().write_all(b"streamed").unwrap();
            fixture.committer.put_partial(&Tree::new(), &path(at), expected, &file(b"streamed"), partial).outcome
        };
        never(vec![stream(&outside(), "a/b/it")]);
        vec![stream(&Expected::Nothing, &format!("a/b/streamed{n}"))]
    });
}

/// A new stage, and what is kept when a root is opened, while `.synctl` itself is swapped.
#[test]
fn opening_the_root() {
    attack(|fixture, _| match Committer::open(&fixture.root, CommitOptions::default()) {
        Ok(committer) => {
            let entry = file(b"opened");
            let operations = [
                put_entry("opened", Expected::Nothing, entry.clone(), raw(b"opened")),
                super::remove("opened", Expected::Entry(entry)),
            ];
            let outcomes = committer.apply(&Tree::new(), &operations);
            outcomes.into_iter().map(|commit| commit.outcome).collect()
        }
        // A symlink in its place is refused.
        Err(_) => Vec::new(),
    });
}

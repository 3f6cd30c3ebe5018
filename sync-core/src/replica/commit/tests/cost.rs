//! What an operation costs in system calls, counted by `strace`.

use std::{collections::BTreeMap, process::Command};

use super::*;

const FILES: usize = 200;

/// Run by the tests below, in a process of its own under `strace`.
#[test]
#[ignore = "only counted from outside"]
fn counted() {
    let (Ok(what), Ok(root)) = (std::env::var("SYNCTL_TEST_COUNTED"), std::env::var("SYNCTL_TEST_ROOT")) else {
        return;
    };
    let options = match what.as_str() {
        "little" | "much" => CommitOptions::for_a_person(Protected::default()),
        _ => CommitOptions::default(),
    };
    let committer = Committer::open(Path::new(&root), options).unwrap();
    let content = [b'x'; 4096];
    let in_dir = |n: usize| format!("dir/file{n}");
    let mut index = Tree::new();
    if what != "baseline" && what != "fresh" {
        fs::create_dir(Path::new(&root).join("dir")).unwrap();
    }
    if what == "over" {
        for n in 0..FILES {
            let at = Path::new(&root).join(in_dir(n));
            fs::write(&at, b"old").unwrap();
            let old = SystemTime::now() - std::time::Duration::from_secs(3600);
            fs::File::options().write(true).open(at).unwrap().set_modified(old).unwrap();
        }
        index = Tree::from_root(scan(committer.root()));
    }
    let (little, much) = (3, 100);
    if what == "little" || what == "much" {
        for n in 0..much {
            fs::write(Path::new(&root).join(format!("gone{n}")), b"old").unwrap();
            fs::write(Path::new(&root).join(in_dir(n)), b"old").unwrap();
        }
        index = Tree::from_root(scan(committer.root()));
    }
    // All that there is: new files, others in place of old ones, new directories, removals, an executable bit.
    let mixed = |count: usize| -> Vec<Operation> {
        let mut operations = Vec::new();
        for n in 0..count {
            operations.push(put(&format!("new{n}"), Expected::Nothing, &content));
            operations.push(put(&in_dir(n), Expected::Entry(file(b"old")), &content));
            operations.push(remove(&format!("gone{n}"), Expected::Entry(file(b"old"))));
        }
        operations.extend((0..count / 10).flat_map(|n| {
            let dir = format!("dir{n}");
            let inner = put(&format!("{dir}/file"), Expected::Nothing, &content);
            [make(&dir), inner]
        }));
        operations
    };
    let operations: Vec<_> = match what.as_str() {
        "little" => mixed(little).split_off(little * 3 - 3),
        "much" => mixed(much),
        "fresh" => std::iter::once(make("dir"))
            .chain((0..FILES).map(|n| put(&in_dir(n), Expected::Nothing, &content)))
            .collect(),
        "new" => (0..FILES).map(|n| put(&in_dir(n), Expected::Nothing, &content)).collect(),
        "over" => (0..FILES).map(|n| put(&in_dir(n), Expected::Entry(file(b"old")), &content)).collect(),
        _ => Vec::new(),
    };
    // Marks in the trace where it begins and ends.
    let mark = || drop(fs::metadata("/synctl-mark"));
    mark();
    let commits = committer.apply(&index, &operations);
    mark();
    assert!(commits.iter().all(|commit| commit.outcome == Outcome::Applied));
}

/// The system calls of one kind of batch, by name; `None` where there is no `strace`.
fn count(what: &str) -> Option<BTreeMap<String, usize>> {
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    let root = dir.path().join("root");
    fs::create_dir(&root).unwrap();
    let output = strace(&["-o", trace.to_str().unwrap()], "cost::counted", &root, what)?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let trace = fs::read_to_string(trace).unwrap();
    let between = trace.split("/synctl-mark").nth(1).unwrap_or_default();
    let mut calls = BTreeMap::new();
    for line in between.lines().skip(1) {
        let Some(call) = line.split_whitespace().nth(1).and_then(|rest| rest.split('(').next()) else { continue };
        // Memory and locks are not what is counted, nor what std checks of descriptors in debug builds.
        if line.contains('(')
            && !["fcntl", "brk", "mmap", "munmap", "mremap", "futex", "madvise", "mprotect"].contains(&call)
        {
            *calls.entry(call.to_owned()).or_default() += 1;
        }
    }
    Some(calls)
}

#[test]
fn a_file_in_a_new_directory_costs_four_system_calls() {
    let Some(calls) = count("fresh") else { return };
    println!("{calls:?}");
    let total: usize = calls.values().sum();
    assert!(total >= 4 * FILES, "nothing was counted: {calls:?}");
    assert!(total <= 4 * FILES + 16, "{total} for {FILES} files: {calls:?}");
}

#[test]
fn a_new_file_costs_six_system_calls_and_one_in_place_of_another_ten() {
    if cfg!(feature = "portable") {
        return crate::skipped::skipped("the twin makes one rename of several calls");
    }
    let Some(calls) = count("new") else { return };
    println!("{calls:?}");
    let total: usize = calls.values().sum();
    assert!((6 * FILES..=6 * FILES + 16).contains(&total), "{total}: {calls:?}");
    let Some(calls) = count("over") else { return };
    println!("{calls:?}");
    let total: usize = calls.values().sum();
    assert!((10 * FILES..=10 * FILES + 16).contains(&total), "{total}: {calls:?}");
}

/// Whatever is in a batch, it is brought to the disk twice: the content before it is renamed, and the names at the end.
#[test]
fn a_durable_batch_costs_two_turns() {
    if cfg!(feature = "portable") {
        return crate::skipped::skipped("the twin has no call that syncs one file system");
    }
    let syncs = |what: &str| {
        let calls = count(what)?;
        println!("{calls:?}");
        let of = |name: &str| calls.get(name).copied().unwrap_or_default();
        Some((of("syncfs"), of("fsync") + of("fdatasync")))
    };
    let (Some(little), Some(much)) = (syncs("little"), syncs("much")) else { return };
    assert_eq!(much, (2, 0), "100 new files, 100 replaced, 100 removed, 10 new directories");
    // Two contents; three directories of the trash (it, the generation) and of the tree (the root, `dir`).
    assert_eq!(little, (0, 2 + 2 + 2), "a new file, one replaced, one removed");
}

/// The fast path against `tar x` of the same files on the same disk. Run by hand: the figure is of the machine.
#[test]
#[ignore = "a measurement"]
fn measure_against_tar() {
    const COUNT: usize = 5000;
    let dir = tempfile::tempdir().unwrap();
    let content = [b'x'; 4096];
    let mut operations = Vec::new();
    for n in 0..COUNT {
        if n % 100 == 0 {
            operations.push(make(&format!("d{}", n / 100)));
        }
        operations.push(put(&format!("d{}/file{n}", n / 100), Expected::Nothing, &content));
    }
    let root = dir.path().join("source");
    fs::create_dir(&root).unwrap();
    let index = Tree::new();
    let apply = |root: &Path| {
        let committer = open(root);
        let started = std::time::Instant::now();
        let applied = operations
            .chunks(1000)
            .flat_map(|chunk| committer.apply(&index, chunk))
            .filter(|commit| commit.outcome == Outcome::Applied)
            .count();
        assert_eq!(applied, operations.len());
        started.elapsed()
    };
    apply(&root);
    let archive = dir.path().join("archive.tar");
    let tar = |arguments: &[&std::ffi::OsStr]| {
        let started = std::time::Instant::now();
        assert!(Command::new("tar").args(arguments).status().unwrap().success());
        started.elapsed()
    };
    tar(&["-cf".as_ref(), archive.as_ref(), "-C".as_ref(), root.as_ref(), "--exclude=.synctl".as_ref(), ".".as_ref()]);
    for round in 0..5 {
        let (ours, theirs) = (dir.path().join(format!("o{round}")), dir.path().join(format!("t{round}")));
        fs::create_dir(&ours).unwrap();
        fs::create_dir(&theirs).unwrap();
        let rate = |elapsed: std::time::Duration| COUNT as f64 / elapsed.as_secs_f64();
        let a = rate(apply(&ours));
        let b = rate(tar(&["-xf".as_ref(), archive.as_ref(), "-C".as_ref(), theirs.as_ref()]));
        println!("fast path {a:.0} files/s, tar x {b:.0} files/s, ratio {:.2}", a / b);
    }
}

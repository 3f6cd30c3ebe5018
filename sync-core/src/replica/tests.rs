//! A replica at work on a real directory, seen from outside.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::{fs, sync::mpsc};

use sync_proto::{
    ContentId, TreeHash,
    message::{Blob, Content, IgnoreSettings},
};
use tempfile::TempDir;

use super::{commit::CommitOptions, *};

/// How long anything may take on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(20);

struct Lab {
    dir: TempDir,
    replica: Replica,
    observations: mpsc::Receiver<Observation>,
    tree: Tree,
}

impl Lab {
    /// A replica of what `populate` makes, scanned.
    fn start(populate: impl Fn(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        populate(dir.path());
        let (replica, observations) = start(dir.path());
        let mut lab = Self { dir, replica, observations, tree: Tree::new() };
        while !matches!(lab.next(), Observation::Scanned(_)) {}
        lab
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn next(&mut self) -> Observation {
        let observation = self.observations.recv_timeout(PATIENCE).unwrap();
        match &observation {
            Observation::Changed(seen) | Observation::Scanned(seen) => self.tree = seen.view.tree.clone(),
            Observation::Applied(applied) => self.tree = applied.view.tree.clone(),
            _ => {}
        }
        observation
    }

    /// Flushes; gives what was told until then.
    fn flush(&mut self) -> Vec<Observation> {
        self.replica.flush(1);
        let mut told = Vec::new();
        loop {
            match self.next() {
                Observation::Flushed(1) => return told,
                observation => told.push(observation),
            }
        }
    }

    fn entry(&self, name: &str) -> Option<Entry> {
        self.tree.get(&path(name)).map(Node::entry)
    }

    /// What the index has is what is there.
    fn assert_true(&self) {
        let (fresh, observations) = start(self.dir.path());
        let Observation::Scanned(seen) = observations.recv_timeout(PATIENCE).unwrap() else { panic!("no scan") };
        drop(fresh);
        assert_eq!(hash(&self.tree), hash(&seen.view.tree));
    }
}

fn hash(tree: &Tree) -> TreeHash {
    tree.hash()
}

fn start(root: &Path) -> (Replica, mpsc::Receiver<Observation>) {
    start_with(root, Some(Committer::open(root, CommitOptions::default()).unwrap()))
}

fn start_with(root: &Path, committer: Option<Committer>) -> (Replica, mpsc::Receiver<Observation>) {
    let (sender, observations) = mpsc::channel();
    let options = ReplicaOptions {
        rules: Rules::new(&IgnoreSettings::default()).unwrap(),
        contents: None,
        hint: Tree::new(),
        committer: committer.map(Arc::new),
        repository: Repository::within(root),
    };
    let replica = Replica::start(root, options, move |observation| drop(sender.send(observation))).unwrap();
    (replica, observations)
}

fn path(name: &str) -> SyncPath {
    SyncPath::parse(name.as_bytes()).unwrap()
}

fn file(content: &str) -> Entry {
    let id = ContentId(*blake3::hash(content.as_bytes()).as_bytes());
    Entry::File { content: id, len: content.len() as u64, executable: false }
}

fn put(name: &str, old: Option<Entry>, content: &str) -> Operation {
    Operation::Put {
        path: path(name),
        expected: old.map_or(Expected::Nothing, Expected::Entry),
        entry: file(content),
        content: Content::Raw(Blob::new(content.as_bytes().to_vec()).unwrap()),
    }
}

#[test]
fn a_flush_drains_all_that_was_written_before_it() {
    let mut lab = Lab::start(|root| fs::write(root.join("a"), "0").unwrap());
    for round in 0..50 {
        let content = format!("{round:03}");
        fs::write(lab.path("a"), &content).unwrap();
        fs::create_dir_all(lab.path(&format!("d/{round}/e"))).unwrap();
        fs::write(lab.path(&format!("d/{round}/e/f")), &content).unwrap();
        lab.flush();
        assert_eq!(lab.entry("a"), Some(file(&content)));
        assert_eq!(lab.entry(&format!("d/{round}/e/f")), Some(file(&content)));
    }
    lab.assert_true();
}

/// A scan of everything is told without any path that was to be looked at.
fn is_scan(observation: &Observation) -> bool {
    matches!(observation, Observation::Changed(seen) if seen.hot.is_empty())
}

#[test]
fn a_flush_of_a_root_that_is_written_to_scans_nothing() {
    const ROUNDS: usize = 20;
    let mut lab = Lab::start(|root| fs::create_dir(root.join("d")).unwrap());
    let mut scans = 0;
    for round in 0..ROUNDS {
        if round % 2 == 0 {
            fs::write(lab.path("d/file"), format!("{round:03}")).unwrap();
        }
        scans += lab.flush().iter().filter(|told| is_scan(told)).count();
        assert_eq!(lab.entry("d/file"), Some(file(&format!("{:03}", round / 2 * 2))));
    }
    // The twin waits for its cookie for so long, and a machine that is busy with other things may take longer.
    let most = if cfg!(feature = "portable") { ROUNDS / 4 } else { 0 };
    assert!(scans <= most, "{scans} scans in {ROUNDS} flushes");
}

/// Alpha in the one-way modes: not even for a barrier, and even where there is a directory of ours.
#[test]
fn a_flush_of_a_root_that_is_only_observed_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join(".synctl");
    fs::create_dir(&home).unwrap();
    let before = fs::metadata(&home).unwrap().modified().unwrap();
    let (replica, observations) = start_with(dir.path(), None);
    for round in 0..5 {
        let content = format!("{round:03}");
        fs::write(dir.path().join("file"), &content).unwrap();
        replica.flush(round);
        let mut seen = None;
        loop {
            match observations.recv_timeout(PATIENCE).unwrap() {
                Observation::Scanned(told) | Observation::Changed(told) => {
                    seen = told.view.tree.get(&path("file")).map(Node::entry)
                }
                Observation::Flushed(token) if token == round => break,
                _ => {}
            }
        }
        assert_eq!(seen, Some(file(&content)));
    }
    assert_eq!(fs::metadata(&home).unwrap().modified().unwrap(), before);
}

#[test]
fn fault_02_a_flush_looks_where_there_are_no_events() {
    const LIMIT: usize = 2;
    if !crate::skipped::has_few_watches(LIMIT, "replica::tests::fault_02_a_flush_looks_where_there_are_no_events") {
        return;
    }
    let mut lab = Lab::start(|root| {
        for name in ["a", "b", "c"] {
            fs::create_dir(root.join(name)).unwrap();
        }
    });
    for round in 0..20 {
        let content = format!("{round:03}");
        for name in ["a/file", "b/file", "c/file"] {
            fs::write(lab.path(name), &content).unwrap();
        }
        lab.flush();
        let seen = ["a/file", "b/file", "c/file"].map(|name| lab.entry(name));
        assert_eq!(seen, [(); 3].map(|()| Some(file(&content))), "round {round}");
    }
}

#[test]
fn own_writes_are_never_told_as_somebody_else_s() {
    let mut lab = Lab::start(|root| fs::create_dir(root.join("d")).unwrap());
    let mut before: Option<String> = None;
    for (tag, bulk) in [(0, false), (1, true), (2, false), (3, true)] {
        let new = format!("new {tag}");
        let mut operations = vec![
            put(&format!("d/{tag}"), None, &new),
            Operation::MakeDirectory { path: path(&new) },
            put(&format!("{new}/x"), None, "x"),
            put(&format!("{new}/.gitignore"), None, "*.log\n"),
        ];
        if let Some(before) = &before {
            operations.push(put("d/0", Some(file(before)), &new));
        }
        before = Some(new);
        lab.replica.apply(tag, Work::Batch { operations, bulk });
        let applied = loop {
            match lab.next() {
                Observation::Applied(applied) => break applied,
                Observation::Changed(seen) => panic!("told as another hand's: {:?}", seen.hot),
                _ => {}
            }
        };
        assert_eq!(applied.tag, tag);
        assert!(applied.outcomes.iter().all(|outcome| *outcome == Outcome::Applied), "{:?}", applied.outcomes);
        let ours = hash(&lab.tree);
        for told in lab.flush() {
            if let Observation::Changed(seen) = told {
                assert_eq!(hash(&seen.view.tree), ours, "{:?}", seen.hot);
            }
        }
    }
    lab.assert_true();
}

/// Another hand writes where we write, at the same time: the index ends up with what is there.
#[test]
fn the_index_stays_true_under_both_hands() {
    let mut lab = Lab::start(|root| fs::create_dir(root.join("d")).unwrap());
    for round in 0..30 {
        let operations = (0..40).map(|number| put(&format!("d/{round}.{number}"), None, "ours")).collect();
        lab.replica.apply(round, Work::Batch { operations, bulk: round % 2 == 0 });
        for number in (0..40).step_by(7) {
            fs::write(lab.path(&format!("d/{round}.{number}")), "theirs").unwrap();
        }
        let _ = fs::remove_file(lab.path(&format!("d/{round}.3")));
    }
    let mut applied = 0;
    while applied < 30 {
        applied += u64::from(matches!(lab.next(), Observation::Applied(_)));
    }
    lab.flush();
    lab.replica.rescan();
    let before = hash(&lab.tree);
    lab.flush();
    // A scan of everything finds nothing that was not known.
    assert_eq!(hash(&lab.tree), before);
    lab.assert_true();
}

/// Another hand changes what we have just put into a new directory, before it can be watched: no event tells of that.
#[test]
fn what_changes_in_a_new_directory_before_it_is_watched_is_found() {
    let mut lab = Lab::start(|_| {});
    for round in 0..40_u64 {
        let directory = format!("d{round}");
        let at = |number: u64| format!("{directory}/sub/{number}");
        let mut operations = vec![
            Operation::MakeDirectory { path: path(&directory) },
            Operation::MakeDirectory { path: path(&format!("{directory}/sub")) },
        ];
        operations.extend((0..20).map(|number| put(&at(number), None, "ours")));
        let [first, replaced, written, removed] = [0, 3, 5, 7].map(|number| lab.path(&at(number)));
        fs::write(lab.path("beside"), "theirs").unwrap();
        let beside = lab.path("beside");
        let other_hand = std::thread::spawn(move || {
            while !first.exists() {}
            fs::rename(beside, replaced).unwrap();
            fs::remove_file(removed).unwrap();
            fs::write(written, "theirs too").unwrap();
        });
        lab.replica.apply(round, Work::Batch { operations, bulk: round % 2 == 0 });
        while !matches!(lab.next(), Observation::Applied(_)) {}
        other_hand.join().unwrap();
        lab.flush();
        let seen = [3, 5, 7].map(|number| lab.entry(&at(number)));
        assert_eq!(seen, [Some(file("theirs")), Some(file("theirs too")), None], "round {round}");
    }
    lab.assert_true();
}

#[test]
fn a_moved_directory_is_followed() {
    let mut lab = Lab::start(|root| {
        fs::create_dir_all(root.join("a/b/c")).unwrap();
        fs::write(root.join("a/b/c/file"), "1").unwrap();
    });
    fs::rename(lab.path("a/b"), lab.path("moved")).unwrap();
    fs::write(lab.path("moved/c/new"), "2").unwrap();
    lab.flush();
    assert_eq!((lab.entry("moved/c/file"), lab.entry("moved/c/new")), (Some(file("1")), Some(file("2"))));
    assert_eq!(lab.entry("a/b"), None);
    fs::write(lab.path("moved/c/file"), "3").unwrap();
    lab.flush();
    assert_eq!(lab.entry("moved/c/file"), Some(file("3")));

    // By ourselves, with something of another hand's on its way in.
    let expected = Expected::Tree(lab.tree.dir(&path("moved")).unwrap().hash());
    lab.replica.apply(
        1,
        Work::Batch {
            operations: vec![Operation::Move { from: path("moved"), to: path("a/back"), expected }],
            bulk: false,
        },
    );
    lab.flush();
    assert_eq!(lab.entry("a/back/c/file"), Some(file("3")));
    fs::write(lab.path("a/back/c/file"), "4").unwrap();
    fs::write(lab.path("a/back/c/later"), "5").unwrap();
    lab.flush();
    assert_eq!((lab.entry("a/back/c/file"), lab.entry("a/back/c/later")), (Some(file("4")), Some(file("5"))));
    lab.assert_true();
}

/// What stands at a path is another directory than before, and nobody tells of what was in the old one.
#[test]
fn a_directory_that_takes_another_s_place_is_scanned_and_watched() {
    let mut lab = Lab::start(|root| {
        fs::create_dir_all(root.join("d/e")).unwrap();
        fs::write(root.join("d/e/old"), "old").unwrap();
    });
    let outside = tempfile::tempdir_in(lab.dir.path().parent().unwrap()).unwrap();
    for round in 0..5 {
        fs::rename(lab.path("d"), outside.path().join(format!("{round}"))).unwrap();
        fs::create_dir(lab.path("d")).unwrap();
        fs::write(lab.path("d/new"), format!("{round}")).unwrap();
        lab.flush();
        assert_eq!((lab.entry("d/e"), lab.entry("d/new")), (None, Some(file(&format!("{round}")))));
        fs::create_dir(lab.path("d/e")).unwrap();
        fs::write(lab.path("d/e/old"), "old").unwrap();
        lab.flush();
        assert_eq!(lab.entry("d/e/old"), Some(file("old")));
    }
    lab.assert_true();
}

#[test]
fn a_large_file_that_goes_while_it_is_read_leaves_no_ghost() {
    let mut lab = Lab::start(|_| {});
    for round in 0..5 {
        fs::write(lab.path("large"), vec![round; 6 << 20]).unwrap();
        std::thread::sleep(Duration::from_millis(u64::from(round) * 5));
        fs::remove_file(lab.path("large")).unwrap();
        lab.flush();
        assert_eq!(lab.entry("large"), None, "round {round}");
    }
    fs::write(lab.path("large"), vec![1; 6 << 20]).unwrap();
    fs::write(lab.path("small"), "small").unwrap();
    fs::rename(lab.path("small"), lab.path("large")).unwrap();
    lab.flush();
    assert_eq!(lab.entry("large"), Some(file("small")));
    lab.assert_true();
}

/// A file that takes long to read does not hold up the end, neither in the first scan nor after it.
#[test]
fn an_end_does_not_wait_for_a_large_file() {
    const LARGE_BYTES: u64 = 64 << 30;
    let sparse = |path: &Path| fs::File::create(path).unwrap().set_len(LARGE_BYTES);
    let dir = tempfile::tempdir().unwrap();
    if sparse(&dir.path().join("large")).is_err() {
        crate::skipped::skipped("no sparse files here");
        return;
    }
    let (replica, _observations) = start(dir.path());
    std::thread::sleep(Duration::from_millis(50));
    let begun = Instant::now();
    drop(replica);
    fs::remove_file(dir.path().join("large")).unwrap();

    let (replica, observations) = start(dir.path());
    assert!(matches!(observations.recv_timeout(PATIENCE), Ok(Observation::Scanned(_))));
    sparse(&dir.path().join("large")).unwrap();
    fs::write(dir.path().join("small"), "a save does not wait for it either").unwrap();
    while !matches!(observations.recv_timeout(PATIENCE).unwrap(), Observation::Changed(seen) if seen.view.tree.get(&path("small")).is_some())
    {
    }
    std::thread::sleep(Duration::from_millis(200));
    drop(replica);
    // Reading it once takes ten times as long.
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

/// What of the tree has been told, by the number of files beneath `d`.
fn files_told(lab: &Lab) -> usize {
    lab.tree.dir(&path("d")).map_or(0, |dir| dir.len())
}

fn rewrite(lab: &Lab, numbers: std::ops::Range<u32>) {
    for number in numbers {
        fs::write(lab.path(&format!("d/{number}")), number.to_string()).unwrap();
    }
}

#[test]
fn what_git_rewrites_is_told_when_it_is_whole() {
    let mut lab = Lab::start(|root| ["d", ".git"].iter().for_each(|name| fs::create_dir(root.join(name)).unwrap()));
    for switch in 0..3 {
        fs::write(lab.path(".git/index.lock"), "").unwrap();
        rewrite(&lab, switch * 40..switch * 40 + 20);
        let nothing = lab.observations.recv_timeout(Duration::from_millis(150));
        assert!(nothing.is_err(), "{nothing:?}");
        if switch > 0 {
            fs::remove_file(lab.path(&format!("d/{}", switch - 1))).unwrap();
        }
        rewrite(&lab, switch * 40 + 20..switch * 40 + 40);
        fs::rename(lab.path(".git/index.lock"), lab.path(".git/index")).unwrap();
        let Observation::Changed(seen) = lab.next() else { panic!("no news") };
        assert!(seen.together && seen.hot.is_empty());
        let there = usize::try_from(switch * 40 + 40 - switch).unwrap();
        assert_eq!(files_told(&lab), there);
    }
    // A save is told as ever.
    fs::write(lab.path("d/save"), "1").unwrap();
    let Observation::Changed(seen) = lab.next() else { panic!("no news") };
    assert!(!seen.together && seen.hot == [path("d/save")]);
    lab.assert_true();
}

#[test]
fn a_flush_waits_for_no_lock_and_a_save_not_for_long() {
    let mut lab = Lab::start(|root| ["d", ".git"].iter().for_each(|name| fs::create_dir(root.join(name)).unwrap()));
    fs::write(lab.path(".git/index.lock"), "").unwrap();
    rewrite(&lab, 0..30);
    lab.flush();
    assert_eq!(files_told(&lab), 30);
    // The same lock holds nothing any more.
    rewrite(&lab, 30..40);
    while files_told(&lab) < 40 {
        lab.next();
    }
    fs::remove_file(lab.path(".git/index.lock")).unwrap();
    fs::write(lab.path("d/40"), "40").unwrap();
    lab.next();
    // Another one, which somebody's commit message keeps for minutes.
    fs::write(lab.path(".git/index.lock"), "").unwrap();
    for number in 41..50 {
        rewrite(&lab, number..number + 1);
        let Observation::Changed(seen) = lab.next() else { panic!("no news") };
        assert!(!seen.together);
        assert_eq!(seen.hot, [path(&format!("d/{number}"))]);
    }
    lab.assert_true();
}

#[test]
fn a_root_that_is_gone_is_told() {
    let lab = Lab::start(|root| fs::create_dir(root.join("root")).unwrap());
    let (replica, observations) = start(&lab.path("root"));
    assert!(matches!(observations.recv_timeout(PATIENCE), Ok(Observation::Scanned(_))));
    fs::rename(lab.path("root"), lab.path("away")).unwrap();
    replica.flush(1);
    loop {
        match observations.recv_timeout(PATIENCE).unwrap() {
            Observation::Lost(reason) => break assert!(reason.contains("root"), "{reason}"),
            Observation::Flushed(_) | Observation::Changed(_) => {}
            other => panic!("{other:?}"),
        }
    }
    drop(replica);
}

//! Killed before each system call that changes names: after a restart every path has its old content or its new, whole.

use std::os::unix::process::ExitStatusExt;

use super::*;

/// Calls that change what is at a name. Killed before each of them, what the one before did stands alone.
const CALLS: [&str; 6] = ["renameat2", "renameat", "unlinkat", "mkdirat", "symlinkat", "linkat"];

fn operations(index: &Tree) -> Vec<Operation> {
    let old = |at: &str| Expected::Entry(file(at.as_bytes()));
    vec![
        put("over", old("over"), b"new over"),
        put("new", Expected::Nothing, b"new new"),
        put_entry("link", Expected::Nothing, link("x"), Content::None),
        remove("gone", old("gone")),
        relocate("from", "to", old("from")),
        make("dir"),
        make("dir/sub"),
        put("dir/sub/file", Expected::Nothing, b"new dir/sub/file"),
        make("alone"),
        remove("tree", Expected::Tree(tree_hash(index, "tree"))),
        put_entry("kind", old("kind"), link("x"), Content::None),
    ]
}

fn populate(root: &Path) {
    for at in ["over", "gone", "from", "tree/a", "tree/sub/b", "kind"] {
        let path = root.join(at);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, at).unwrap();
    }
}

/// Run by the test below, in a process of its own under `strace`.
#[test]
#[ignore = "only killed from outside"]
fn killed() {
    let Ok(root) = std::env::var("SYNCTL_TEST_ROOT") else { return };
    let keeps = std::env::var("SYNCTL_TEST_COUNTED").is_ok_and(|what| what == "kept");
    let options = if keeps { CommitOptions::for_a_person(Protected::default()) } else { CommitOptions::default() };
    let committer = Committer::open(Path::new(&root), options).unwrap();
    let index = Tree::from_root(scan(committer.root()));
    let commits = committer.apply(&index, &operations(&index));
    assert!(commits.iter().all(|commit| commit.outcome == Outcome::Applied));
}

/// Looks at a root after a crash: every file is whole, and what is there no more was replaced or removed, or is kept.
fn check(fixture: &Fixture, when: &str) {
    for (_, at) in files(&fixture.root) {
        let content = fixture.read(&at);
        let allowed = [at.clone(), format!("new {at}"), at.replace("to", "from")];
        assert!(allowed.iter().any(|allowed| allowed.as_bytes() == content), "{when}: {at} is {content:?}");
    }
    let displaced = fixture.displaced();
    for (at, or) in [("over", "over"), ("from", "to")] {
        let somewhere = fixture.exists(at) || fixture.exists(or);
        assert!(somewhere, "{when}: {at} is nowhere");
    }
    for content in displaced {
        assert!([&b"over"[..], b"gone", b"tree/", b"kind"].iter().any(|begin| content.starts_with(begin)), "{when}");
    }
    assert_eq!(fs::read_dir(fixture.at_path(".synctl/stage")).unwrap().count(), 1, "{when}");
    fixture.check_stage();
}

/// What was to be deleted is at its place, beside the stage, or in the trash: whole, and once.
fn check_kept(fixture: &Fixture, when: &str) {
    let trashed = person::trashed(fixture);
    let displaced = fixture.displaced();
    for at in ["gone", "tree/a", "tree/sub/b", "kind"] {
        let stands = fs::symlink_metadata(fixture.at_path(at)).is_ok_and(|meta| meta.is_file());
        let places = usize::from(stands)
            + displaced.iter().filter(|content| **content == at.as_bytes()).count()
            + usize::from(trashed.get(at).is_some_and(|content| content == at.as_bytes()));
        // The twin moves by a second link, and then takes the first away.
        let most = if cfg!(feature = "portable") { 2 } else { 1 };
        assert!((1..=most).contains(&places), "{when}: {at} is in {places} places");
    }
}

fn files(root: &Path) -> Vec<(u64, String)> {
    let mut found = Vec::new();
    let mut queue = vec![root.to_path_buf()];
    while let Some(dir) = queue.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with(HOME) {
                queue.push(path);
            } else if path.is_file() {
                let meta = fs::metadata(&path).unwrap();
                found.push((meta.len(), path.strip_prefix(root).unwrap().to_str().unwrap().to_owned()));
            }
        }
    }
    found
}

#[test]
fn fault_41_killed_at_every_step() {
    kill_at_every_step("", 15, check);
}

#[test]
fn killed_at_every_step_what_is_deleted_is_kept() {
    let check = |fixture: &Fixture, when: &str| {
        check(fixture, when);
        check_kept(fixture, when);
    };
    kill_at_every_step("kept", 25, check);
}

fn kill_at_every_step(what: &str, kills_min: usize, check: impl Fn(&Fixture, &str)) {
    let mut kills = 0;
    for call in CALLS {
        for when in 1.. {
            let dir = tempfile::tempdir().unwrap();
            let root = dir.path().join("root");
            populate(&root);
            let (trace, inject) = (format!("trace={call}"), format!("inject={call}:signal=KILL:when={when}"));
            let arguments = ["-o", "/dev/null", "-e", &trace, "-e", &inject];
            let Some(output) = strace(&arguments, "crash::killed", &root, what) else { return };
            let whole = output.status.success();
            if !whole {
                assert_eq!(output.status.signal(), Some(9), "{}", String::from_utf8_lossy(&output.stderr));
                kills += 1;
            }
            let fixture = Fixture::at(root);
            check(&fixture, &format!("{call} {when}"));
            if whole {
                assert!(fixture.exists("alone") && !fixture.exists("tree"));
                break;
            }
        }
    }
    println!("killed {kills} times");
    assert!(kills >= kills_min, "killed {kills} times only");
}

//! Faults 9 and 10: git rewrites a tree while it is followed, and keeps its own in `.git`.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::lab::{Lab, PATIENCE, Watch, body, finish, installed, plant, skipped, works};

/// Commits of this repository that are replayed.
const COMMITS: usize = 100;

fn git(directory: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command.arg("-C").arg(directory).args(["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "gc.auto=0"]);
    command.args(["-c", "init.defaultBranch=main", "-c", "commit.gpgsign=false"]).args(arguments);
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    let done = finish(&mut command, PATIENCE);
    assert_eq!(done.code, Some(0), "git {arguments:?}: {done:?}");
    done.stdout
}

/// A history is checked out commit by commit, back and forth, as fast as git can.
#[test]
fn fault_09_git_checkout_storm() {
    if !installed("git") {
        return skipped("a checkout storm: git is not installed");
    }
    let lab = Lab::new();
    plant(&lab.source, 10, 15);
    git(&lab.source, &["init", "-q"]);
    for commit in 0..20_u64 {
        for change in 0..12 {
            let path = lab.source.join(format!("d{}/sub/f{}.rs", (commit + change) % 10, change));
            match (commit + change) % 5 {
                0 if path.exists() => fs::remove_file(path).unwrap(),
                _ => fs::write(path, body(commit * 100 + change, 1_500)).unwrap(),
            }
        }
        if commit % 6 == 5 {
            fs::rename(lab.source.join("d9"), lab.source.join("d9-aside")).unwrap();
        } else if commit % 6 == 0 && commit > 0 {
            fs::remove_dir_all(lab.source.join("d9")).unwrap();
            fs::rename(lab.source.join("d9-aside"), lab.source.join("d9")).unwrap();
        }
        fs::create_dir_all(lab.source.join("d9/sub")).unwrap();
        git(&lab.source, &["add", "-A"]);
        git(&lab.source, &["commit", "-q", "-m", &commit.to_string()]);
    }
    let commits = git(&lab.source, &["rev-list", "HEAD"]);
    let agent = lab.agent();
    let watch = lab.watch(&agent);
    for commit in commits.lines().chain(commits.lines().rev()) {
        git(&lab.source, &["checkout", "-q", commit]);
    }
    lab.settle();
    lab.assert_equal();
    nothing_of_git(&lab, &watch);
    drop(agent);
}

/// The last hundred commits of this project, checked out one after the other, oldest first, and back again.
#[test]
fn fault_09_replay_of_a_real_history() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    if !works("git", &["-C", own.to_str().unwrap(), "rev-parse", "HEAD"]) {
        return skipped(
            "fault_09_replay_of_a_real_history: git, or a clone of this project that it may read, is not here",
        );
    }
    let lab = Lab::new();
    git(lab.base(), &["clone", "-q", "--no-checkout", own.to_str().unwrap(), lab.source.to_str().unwrap()]);
    let commits = git(&lab.source, &["rev-list", "--first-parent", &format!("--max-count={COMMITS}"), "HEAD"]);
    let commits: Vec<&str> = commits.lines().collect();
    let Some(oldest) = commits.last() else { return skipped("a real history: it has no commits") };
    git(&lab.source, &["checkout", "-q", oldest]);
    let agent = lab.agent();
    // Early commits have few of the files of late ones: who does this says so.
    let mut command = lab.command("watch", agent.port);
    command.args(["--max-deletions", "100"]);
    let watch = Watch::start(command);
    watch.wait_for("ready");
    for commit in commits.iter().rev() {
        git(&lab.source, &["checkout", "-q", commit]);
    }
    lab.settle();
    lab.assert_equal();
    git(&lab.source, &["checkout", "-q", oldest]);
    lab.settle();
    lab.assert_equal();
    nothing_of_git(&lab, &watch);
    drop(agent);
}

fn nothing_of_git(lab: &Lab, watch: &Watch) {
    assert!(!lab.target.join(".git").exists());
    let leaked: Vec<_> =
        watch.synced_since(0).into_iter().filter(|path| path.split('/').any(|name| name == ".git")).collect();
    assert!(leaked.is_empty(), "{leaked:?}");
}

/// git adds and commits all the time, with `index.lock` coming and going: at the other side there is never a `.git`.
#[test]
fn fault_10_git_directories_stay_at_home() {
    if !installed("git") {
        return skipped("fault_10_git_directories_stay_at_home: git is not installed");
    }
    let lab = Lab::new();
    plant(&lab.source, 2, 4);
    for repository in [&lab.source, &lab.source.join("d1")] {
        git(repository, &["init", "-q"]);
    }
    // What stands there of another clone's is nobody's but its own.
    fs::create_dir(lab.target.join(".git")).unwrap();
    fs::write(lab.target.join(".git/config"), b"theirs").unwrap();
    let agent = lab.agent();
    let watch = lab.watch(&agent);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let mut seen = 0;
            while !over.load(Ordering::Relaxed) {
                let own = fs::read_dir(lab.target.join(".git")).map_or(0, Iterator::count);
                seen += u64::from(own != 1) + u64::from(lab.target.join("d1/.git").exists());
                std::thread::sleep(Duration::from_micros(200));
            }
            seen
        });
        let (started, mut round) = (Instant::now(), 0);
        while started.elapsed() < Duration::from_secs(2) {
            fs::write(lab.source.join("d1/sub/f1.rs"), body(round, 2_000)).unwrap();
            for repository in [&lab.source.join("d1"), &lab.source] {
                git(repository, &["add", "-A"]);
                git(repository, &["commit", "-q", "--allow-empty", "-m", &round.to_string()]);
            }
            round += 1;
        }
        over.store(true, Ordering::Relaxed);
        assert!(round > 3, "{round} rounds only");
        assert_eq!(looking.join().unwrap(), 0, "something of .git was seen at the other side");
    });
    lab.settle();
    assert_eq!(fs::read(lab.target.join(".git/config")).unwrap(), b"theirs");
    let of_git = |path: &String| path.contains(".git");
    assert!(!watch.synced_since(0).iter().any(of_git), "{:?}", watch.synced_since(0));
    drop(agent);
}

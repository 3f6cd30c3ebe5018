//! What takes no part, and what that means when it changes.

use std::fs;

use sync_core::session::SessionOptions;

use super::lab::{Lab, a_moment, eventually, ignoring, options};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_source_of_rules_is_obeyed() {
    let lab = Lab::new();
    lab.write(".gitignore", "*.log\n/build/\n");
    lab.write("deep/.gitignore", "!keep.log\nlocal\n");
    lab.write(".syncignore", "*.secret\n!wanted.secret\n");
    for name in ["a.log", "build/x", "deep/keep.log", "deep/other.log", "deep/local", "x.secret", "wanted.secret"] {
        lab.write(name, name);
    }
    for name in [".git/HEAD", "deep/.git/HEAD", ".hg/store", "id_rsa", "by pattern.tmp", "plain"] {
        lab.write(name, name);
    }
    let running = lab.start_with(SessionOptions { ignore: ignoring(&["*.tmp"]), ..options() }).await;
    running.ready().await;
    for name in [".gitignore", "deep/.gitignore", ".syncignore", "deep/keep.log", "wanted.secret", "plain"] {
        assert!(lab.beta(name).exists(), "{name}");
    }
    for name in ["a.log", "build", "deep/other.log", "deep/local", "x.secret", ".git", "deep/.git", ".hg", "id_rsa"] {
        assert!(!lab.beta(name).exists(), "{name}");
    }
    assert!(!lab.beta("by pattern.tmp").exists());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_that_becomes_ignored_is_left_alone() {
    let lab = Lab::new();
    for name in ["sub/out/a", "sub/out/b", "sub/in", "top.log"] {
        lab.write(name, "1");
    }
    let running = lab.start().await;
    running.flush().await;
    lab.write("sub/.gitignore", "out\n");
    running.flush().await;
    lab.write("sub/out/a", "2");
    fs::remove_file(lab.alpha("sub/out/b")).unwrap();
    lab.write("sub/out/c", "new");
    running.flush().await;
    assert_eq!(fs::read_to_string(lab.beta("sub/out/a")).unwrap(), "1");
    assert!(lab.beta("sub/out/b").exists() && !lab.beta("sub/out/c").exists());

    // Its directory goes: what is ignored stays, at the other side too.
    fs::remove_dir_all(lab.alpha("sub")).unwrap();
    eventually("the rest is gone", || !lab.beta("sub/in").exists()).await;
    a_moment().await;
    assert_eq!(fs::read_to_string(lab.beta("sub/out/a")).unwrap(), "1");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_that_is_no_longer_ignored_comes_over() {
    let lab = Lab::new();
    lab.write("sub/.gitignore", "*.log\nout/\n");
    for name in ["sub/a.log", "sub/out/x", "sub/out/deep/y", "sub/in"] {
        lab.write(name, name);
    }
    let running = lab.start().await;
    running.flush().await;
    assert!(!lab.beta("sub/a.log").exists() && !lab.beta("sub/out").exists());
    lab.write("sub/.gitignore", "*.log\n");
    running.flush().await;
    assert!(lab.beta("sub/out/deep/y").exists());
    assert!(!lab.beta("sub/a.log").exists());
    fs::remove_file(lab.alpha("sub/.gitignore")).unwrap();
    running.flush().await;
    lab.assert_same();
    // And it is watched from then on.
    lab.write("sub/out/deep/y", "edited");
    running.flush().await;
    lab.assert_same();
    running.stop().await;
}

/// Beta has content of its own under a rule that goes: it is seen there, so that nothing is overwritten unseen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beta_obeys_the_rules_that_come_over() {
    let lab = Lab::new();
    lab.write("sub/.gitignore", "*.log\n");
    lab.write("sub/in", "in");
    let running = lab.start().await;
    running.flush().await;
    lab.write_beta("sub/b.log", "beta's");
    a_moment().await;
    assert_eq!(running.session.status().conflicts, []);
    fs::remove_file(lab.alpha("sub/.gitignore")).unwrap();
    lab.write("sub/b.log", "alpha's");
    eventually("a conflict", || running.session.status().conflicts.len() == 1).await;
    assert_eq!(fs::read_to_string(lab.beta("sub/b.log")).unwrap(), "beta's");
    eventually("no problems", || running.session.status().problems.is_empty()).await;
    running.stop().await;
}

/// The same by an edit of the rules, in a directory that is not the root.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beta_looks_again_when_its_rules_are_edited() {
    let lab = Lab::new();
    lab.write("sub/.gitignore", "*.log\n");
    lab.write("sub/in", "in");
    let running = lab.start().await;
    running.flush().await;
    lab.write_beta("sub/b.log", "beta's");
    lab.write("sub/b.log", "alpha's");
    running.flush().await;
    lab.write("sub/.gitignore", "# nothing\n");
    eventually("a conflict", || running.session.status().conflicts.len() == 1).await;
    assert_eq!(fs::read_to_string(lab.beta("sub/b.log")).unwrap(), "beta's");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn version_control_comes_along_when_it_is_asked_for() {
    let lab = Lab::new();
    lab.write(".git/HEAD", "ref");
    lab.write("a", "a");
    let ignore = sync_proto::message::IgnoreSettings { vcs: true, ..ignoring(&[]) };
    let running = lab.start_with(SessionOptions { ignore, ..options() }).await;
    running.flush().await;
    lab.assert_same();
    running.stop().await;
}

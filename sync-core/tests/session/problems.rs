//! What can't be synchronised is said, holds nothing else up, and is over when it is.

use std::io::Write;
use std::{fs, os::unix::fs::symlink, path::Path};

use sync_core::session::{
    FlushError,
    event::{Event, Side},
};
use sync_proto::message::ProblemKind;

use super::lab::{Lab, PATIENCE, eventually};

fn make_fifo(path: &Path) {
    assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
}

fn problem(path: &str, kind: ProblemKind) -> impl Fn(&Event) -> bool {
    move |event| match event {
        Event::Problem(problem) => {
            problem.path.to_string() == path && problem.kind == kind && problem.side == Side::Alpha
        }
        _ => false,
    }
}

fn solved(path: &str) -> impl Fn(&Event) -> bool {
    move |event| matches!(event, Event::ProblemSolved { path: at, .. } if at.to_string() == path)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn problems_are_told_and_so_is_their_end() {
    let lab = Lab::new();
    make_fifo(&lab.alpha("there from the start"));
    lab.write("d/fine", "fine");
    let running = lab.start().await;
    running.event("a problem", problem("there from the start", ProblemKind::UnsupportedKind)).await;
    make_fifo(&lab.alpha("d/fifo"));
    running.event("a problem", problem("d/fifo", ProblemKind::UnsupportedKind)).await;
    symlink("../../etc/passwd", lab.alpha("d/leads out")).unwrap();
    running.event("a problem", problem("d/leads out", ProblemKind::BadTarget)).await;
    symlink("/etc/passwd", lab.alpha("absolute")).unwrap();
    running.event("a problem", problem("absolute", ProblemKind::BadTarget)).await;

    lab.write("d/fine", "finer");
    let incomplete = running.session.flush().await.unwrap_err();
    assert_eq!(incomplete, FlushError::Incomplete { conflicts: 0, problems: 4 });
    assert_eq!(fs::read_to_string(lab.beta("d/fine")).unwrap(), "finer");
    assert!(!lab.beta("d/fifo").exists() && lab.beta("absolute").symlink_metadata().is_err());
    assert_eq!(running.session.status().problems.len(), 4);

    fs::remove_file(lab.alpha("there from the start")).unwrap();
    running.event("its end", solved("there from the start")).await;
    // A directory that is renamed takes its problems along.
    fs::rename(lab.alpha("d"), lab.alpha("e")).unwrap();
    running.event("its end", solved("d/fifo")).await;
    running.event("a problem", problem("e/fifo", ProblemKind::UnsupportedKind)).await;
    fs::remove_file(lab.alpha("e/fifo")).unwrap();
    lab.write("e/fifo", "a file now");
    running.event("its end", solved("e/fifo")).await;
    fs::remove_file(lab.alpha("e/leads out")).unwrap();
    fs::remove_file(lab.alpha("absolute")).unwrap();
    running.flush().await;
    lab.assert_same();
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_t_be_read_is_not_deleted() {
    if rustix::process::geteuid().is_root() {
        let _ = writeln!(std::io::stderr(), "SKIPPED what_can_t_be_read_is_not_deleted: root reads everything");
        return;
    }
    use std::os::unix::fs::PermissionsExt;
    let lab = Lab::new();
    lab.write("d/a", "a");
    lab.write("b", "b");
    let running = lab.start().await;
    running.ready().await;
    for path in ["d", "b"] {
        fs::set_permissions(lab.alpha(path), fs::Permissions::from_mode(0o000)).unwrap();
        running.event("a problem", problem(path, ProblemKind::Denied)).await;
    }
    assert!(running.session.flush().await.is_err());
    assert!(lab.beta("d/a").exists() && lab.beta("b").exists());
    fs::set_permissions(lab.alpha("d"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(lab.alpha("b"), fs::Permissions::from_mode(0o644)).unwrap();
    running.flush().await;
    running.stop().await;
}

/// A fifo takes the place of a file: what was there stays at the other side until it is known what is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_is_neither_there_nor_gone() {
    let lab = Lab::new();
    lab.write("a", "a");
    lab.write("b", "b");
    let running = lab.start().await;
    running.ready().await;
    make_fifo(&lab.path("fifo"));
    fs::rename(lab.path("fifo"), lab.alpha("a")).unwrap();
    running.event("a problem", problem("a", ProblemKind::UnsupportedKind)).await;
    let error = tokio::time::timeout(PATIENCE, running.session.flush()).await.unwrap().unwrap_err();
    assert!(matches!(error, FlushError::Incomplete { .. }));
    assert!(lab.beta("a").exists());
    fs::remove_file(lab.alpha("a")).unwrap();
    eventually("it is gone", || !lab.beta("a").exists()).await;
    running.flush().await;
    running.stop().await;
}

/// An obstacle at the destination: the operation fails, the rest goes on, and it is tried again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_obstacle_at_the_destination_is_told_and_tried_again() {
    let lab = Lab::new();
    let running = lab.start().await;
    running.ready().await;
    // Unknown to the agent's tree, because it can't be synchronised, and in the way.
    make_fifo(&lab.beta("a"));
    running.event("a problem at beta", |event| {
        matches!(event, Event::Problem(problem) if problem.side == Side::Beta && problem.path.to_string() == "a")
    })
    .await;
    lab.write("a", "a");
    lab.write("b", "b");
    eventually("b", || lab.beta("b").exists()).await;
    assert!(!lab.beta("a").is_file());
    fs::remove_file(lab.beta("a")).unwrap();
    eventually("a", || lab.beta("a").is_file()).await;
    running.flush().await;
    lab.assert_same();
    running.stop().await;
}

//! Nothing is left of a session that has ended.

use std::{fs, time::Duration};

use sync_core::session::event::Event;

use super::lab::{Lab, PATIENCE, Served, eventually, noise};

/// Threads of this process that are a session's or an agent's.
fn threads() -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with("synctl")).collect()
}

fn open_files() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// In a process of its own, where no other test's threads are counted.
#[test]
fn no_threads_and_no_files_are_left() {
    if !cfg!(target_os = "linux") {
        return;
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "session::endings::alone", "--ignored", "--nocapture"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by no_threads_and_no_files_are_left"]
async fn alone() {
    let files = open_files();
    for stopped in [true, false, true, false] {
        let lab = Lab::new();
        for number in 0..50 {
            lab.write(&format!("{number}"), "x");
        }
        lab.write("large", noise(8 << 20, 1));
        let running = lab.start().await;
        running.flush().await;
        assert!(threads().len() >= 2, "{:?}", threads());
        // Something is under way when it ends.
        lab.write("large", noise(16 << 20, 2));
        if stopped {
            running.stop().await;
            assert_eq!(threads(), Vec::<String>::new());
        } else {
            drop(running);
        }
        eventually("no threads are left", || threads().is_empty()).await;
    }
    let served = Served::start(&[Lab::new().path("beta")]).await;
    drop(served);
    eventually("no threads are left", || threads().is_empty()).await;
    eventually("no files are left open", || open_files() <= files + 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_event_is_that_it_has_ended() {
    let lab = Lab::new();
    let running = lab.start().await;
    running.ready().await;
    let (session, events) = (running.session.flush(), running.mark());
    session.await.unwrap();
    assert!(events > 0);
    let (session, mut events) = sync_core::session::Session::start(
        &lab.path("alpha"),
        sync_core::session::Destination::Local(lab.path("gamma")),
        super::lab::options(),
    )
    .await
    .unwrap();
    session.stop().await;
    let mut last = None;
    while let Some(event) = events.next().await {
        last = Some(event);
    }
    assert_eq!(last, Some(Event::Stopped { reason: None }));
    running.stop().await;
}

/// A session that is stopped in the middle of its first sync ends soon, and the agent holds nothing back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_can_be_stopped_at_any_moment() {
    let lab = Lab::new();
    for number in 0..400 {
        lab.write(&format!("{}/{number}", number % 10), "x".repeat(2000));
    }
    let served = Served::start(&[lab.path("beta")]).await;
    for round in 0..6 {
        let running = served.session(&lab.path("alpha"), &lab.path("beta")).await;
        tokio::time::sleep(Duration::from_millis(round * 25)).await;
        tokio::time::timeout(PATIENCE, running.session.stop()).await.unwrap();
    }
    let running = served.session(&lab.path("alpha"), &lab.path("beta")).await;
    running.flush_when_connected().await;
    lab.assert_same();
    running.stop().await;
}

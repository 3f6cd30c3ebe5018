//! The controller is stopped and started again, with and without a state directory.

use std::fs;

use sync_core::session::{SessionOptions, event::Event};

use super::lab::{Lab, eventually, options};

fn remembering(lab: &Lab) -> SessionOptions {
    SessionOptions { state_dir: Some(lab.path("state")), ..options() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_changed_meanwhile_goes_over() {
    let lab = Lab::new();
    for name in ["edited", "removed", "dir/removed too", "kept"] {
        lab.write(name, "1");
    }
    let running = lab.start_with(remembering(&lab)).await;
    running.flush().await;
    running.stop().await;
    for round in 0..3 {
        lab.write("edited", format!("{round}"));
        lab.write(&format!("new {round}"), "new");
        let _ = fs::remove_file(lab.alpha("removed"));
        let _ = fs::remove_dir_all(lab.alpha("dir"));
        let running = lab.start_with(remembering(&lab)).await;
        running.flush().await;
        lab.assert_same();
        let told = running.events();
        assert!(!told.iter().any(|event| matches!(event, Event::Conflict(_) | Event::Warning { .. })), "{told:?}");
        lab.write("while it runs", format!("{round}"));
        running.flush().await;
        running.stop().await;
    }
    assert!(!lab.beta("removed").exists() && !lab.beta("dir").exists());
}

/// Dropped, not stopped, as by a crash: what was recorded is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_without_goodbye_forgets_nothing() {
    let lab = Lab::new();
    lab.write("edited", "1");
    lab.write("removed", "1");
    let running = lab.start_with(remembering(&lab)).await;
    running.flush().await;
    drop(running);
    lab.write("edited", "2");
    fs::remove_file(lab.alpha("removed")).unwrap();
    // The session before may still be ending, with its hands on the state: then nothing is remembered, which it says.
    let mut running = lab.start_with(remembering(&lab)).await;
    running.event("Connected", |event| matches!(event, Event::Connected { .. })).await;
    while running.events().iter().any(|event| matches!(event, Event::Warning { .. })) {
        running.stop().await;
        running = lab.start_with(remembering(&lab)).await;
        running.event("Connected", |event| matches!(event, Event::Connected { .. })).await;
    }
    running.flush().await;
    lab.assert_same();
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_past_nothing_is_deleted_or_overwritten() {
    let lab = Lab::new();
    for name in ["edited", "removed", "kept"] {
        lab.write(name, "1");
    }
    let running = lab.start().await;
    running.flush().await;
    running.stop().await;
    lab.write("edited", "2");
    fs::remove_file(lab.alpha("removed")).unwrap();
    let running = lab.start().await;
    eventually("a conflict", || running.session.status().conflicts.len() == 1).await;
    assert!(running.session.flush().await.is_err());
    assert_eq!(fs::read_to_string(lab.beta("edited")).unwrap(), "1");
    assert!(lab.beta("removed").exists());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn state_that_can_t_be_kept_is_said_once_and_stops_nothing() {
    let lab = Lab::new();
    fs::write(lab.path("state"), "a file is in the way").unwrap();
    lab.write("a", "1");
    let running = lab.start_with(remembering(&lab)).await;
    running.flush().await;
    for round in 0..5 {
        lab.write("a", format!("{round}"));
        running.flush().await;
    }
    lab.assert_same();
    let warnings = running.events().iter().filter(|event| matches!(event, Event::Warning { .. })).count();
    assert_eq!(warnings, 1, "{:?}", running.events());
    running.stop().await;
}

/// The state is damaged: said, and taken for no state at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_state_is_no_state() {
    let lab = Lab::new();
    lab.write("edited", "1");
    lab.write("removed", "1");
    let running = lab.start_with(remembering(&lab)).await;
    running.flush().await;
    running.stop().await;
    let mut damaged = 0;
    let mut waiting = vec![lab.path("state")];
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.file_name().unwrap() == "snapshot" {
                let mut bytes = fs::read(&path).unwrap();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                fs::write(&path, bytes).unwrap();
                damaged += 1;
            }
        }
    }
    assert_eq!(damaged, 1);
    lab.write("edited", "2");
    fs::remove_file(lab.alpha("removed")).unwrap();
    let running = lab.start_with(remembering(&lab)).await;
    running
        .event("a warning", |event| matches!(event, Event::Warning { message } if message.contains("not known")))
        .await;
    eventually("a conflict", || running.session.status().conflicts.len() == 1).await;
    assert!(lab.beta("removed").exists());
    running.stop().await;
}

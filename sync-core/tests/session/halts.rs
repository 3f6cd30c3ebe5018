//! Where a source is not to be believed.

use std::fs;

use sync_core::session::{FlushError, event::Event};

use super::lab::{Lab, PATIENCE, Served, a_moment};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_source_halts_until_it_is_filled_again() {
    let lab = Lab::new();
    for number in 0..20 {
        lab.write(&format!("d/{number}"), "x");
    }
    let running = lab.start().await;
    running.ready().await;
    // At once, as when a volume goes: file by file it would be a person's doing.
    fs::rename(lab.alpha("d"), lab.path("kept")).unwrap();
    running.event("Halted", |event| matches!(event, Event::Halted { .. })).await;
    let error = tokio::time::timeout(PATIENCE, running.session.flush()).await.unwrap().unwrap_err();
    assert!(matches!(error, FlushError::Halted(_)), "{error:?}");
    assert!(running.session.status().halted.is_some());
    a_moment().await;
    assert_eq!(fs::read_dir(lab.beta("d")).unwrap().count(), 20);
    fs::rename(lab.path("kept"), lab.alpha("d")).unwrap();
    lab.write("new", "new");
    running.event("Resumed", |event| matches!(event, Event::Resumed)).await;
    running.flush().await;
    lab.assert_same();
    assert_eq!(running.session.status().halted, None);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_is_gone_halts() {
    let lab = Lab::new();
    lab.write("a", "a");
    let running = lab.start().await;
    running.ready().await;
    fs::rename(lab.path("alpha"), lab.path("away")).unwrap();
    running.event("Halted", |event| matches!(event, Event::Halted { .. })).await;
    for _ in 0..2 {
        let error = tokio::time::timeout(PATIENCE, running.session.flush()).await.unwrap().unwrap_err();
        assert!(matches!(error, FlushError::Halted(_)), "{error:?}");
    }
    assert!(lab.beta("a").exists());
    assert!(running.session.status().halted.is_some());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_was_deleted_deletes_nothing() {
    let lab = Lab::new();
    lab.write("a", "a");
    lab.write("d/b", "b");
    let running = lab.start().await;
    running.ready().await;
    fs::remove_dir_all(lab.path("alpha")).unwrap();
    running.event("Halted", |event| matches!(event, Event::Halted { .. })).await;
    a_moment().await;
    // One by one: what went before the last may have been taken for a person's doing. The last is not.
    assert!(lab.beta("a").exists() || lab.beta("d").exists());
    running.stop().await;
}

/// Not connected: it is said all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_goes_while_nobody_is_connected_is_told() {
    let lab = Lab::new();
    lab.write("a", "a");
    let mut served = Served::start(&[lab.path("beta")]).await;
    let running = served.session(&lab.path("alpha"), &lab.path("beta")).await;
    running.ready().await;
    served.stop().await;
    running.event("Disconnected", |event| matches!(event, Event::Disconnected { .. })).await;
    fs::rename(lab.path("alpha"), lab.path("away")).unwrap();
    running.event("Halted", |event| matches!(event, Event::Halted { .. })).await;
    assert!(running.session.status().halted.is_some());
    served.start_again().await;
    let error = tokio::time::timeout(PATIENCE, running.session.flush()).await.unwrap().unwrap_err();
    assert!(matches!(error, FlushError::Halted(_)), "{error:?}");
    running.stop().await;
}

//! The agent goes and comes back while the session lives.

use std::fs;

use sync_core::session::event::Event;

use super::lab::{Lab, Running, Served, eventually};

fn connections(running: &Running) -> Vec<&'static str> {
    let name = |event: &Event| match event {
        Event::Connected { .. } => Some("connected"),
        Event::Disconnected { .. } => Some("disconnected"),
        _ => None,
    };
    let mut names: Vec<_> = running.events().iter().filter_map(name).collect();
    names.dedup();
    names
}

/// Without a state directory too: what is in sync is known for as long as the session lives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_outlives_its_agent() {
    let lab = Lab::new();
    lab.write("edited", "1");
    lab.write("removed", "1");
    lab.write("kept", "1");
    let mut served = Served::start(&[lab.path("beta")]).await;
    let running = served.session(&lab.path("alpha"), &lab.path("beta")).await;
    running.ready().await;
    for round in 0..3 {
        let mark = running.mark();
        served.stop().await;
        let event = running.event_from(mark, "Disconnected", |event| matches!(event, Event::Disconnected { .. })).await;
        // Not that it was silent, which it was not.
        assert!(matches!(&event, Event::Disconnected { reason, .. } if reason.contains("stopped")), "{event:?}");
        assert!(!running.session.status().connected);
        lab.write("edited", format!("{round}, while the agent was away"));
        lab.write(&format!("new {round}"), "new");
        let _ = fs::remove_file(lab.alpha("removed"));
        served.start_again().await;
        running.event_from(mark, "Connected", |event| matches!(event, Event::Connected { .. })).await;
        running.flush().await;
        lab.assert_same();
        assert_eq!(running.session.status().conflicts, []);
    }
    assert_eq!(
        connections(&running),
        ["connected", "disconnected", "connected", "disconnected", "connected", "disconnected", "connected"]
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_comes_later_is_found() {
    let lab = Lab::new();
    lab.write("a", "a");
    let mut served = Served::start(&[lab.path("beta")]).await;
    served.stop().await;
    let running = served.session(&lab.path("alpha"), &lab.path("beta")).await;
    running.event("Disconnected", |event| matches!(event, Event::Disconnected { .. })).await;
    served.start_again().await;
    running.ready().await;
    lab.assert_same();
    running.stop().await;
}

/// What another hand changes at beta while nobody is connected is found, and not overwritten.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_at_beta_meanwhile_are_conflicts() {
    let lab = Lab::new();
    lab.write("a", "1");
    lab.write("b", "1");
    let mut served = Served::start(&[lab.path("beta")]).await;
    let running = served.session(&lab.path("alpha"), &lab.path("beta")).await;
    running.ready().await;
    served.stop().await;
    lab.write_beta("a", "beta's");
    lab.write("a", "alpha's");
    fs::remove_file(lab.beta("b")).unwrap();
    served.start_again().await;
    eventually("a conflict", || running.session.status().conflicts.len() == 1).await;
    // What was deleted at beta alone comes back: nothing goes the other way.
    eventually("b is back", || lab.beta("b").exists()).await;
    assert_eq!(fs::read_to_string(lab.beta("a")).unwrap(), "beta's");
    running.stop().await;
}

/// A pod with an empty volume is a new replica: filled, and nothing is deleted at alpha.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_volume_is_filled_again() {
    let lab = Lab::new();
    for number in 0..50 {
        lab.write(&format!("d/{number}"), format!("{number}"));
    }
    let mut served = Served::start(&[lab.path("beta")]).await;
    let running = served.session(&lab.path("alpha"), &lab.path("beta")).await;
    running.ready().await;
    served.stop().await;
    fs::remove_dir_all(lab.path("beta")).unwrap();
    let mark = running.mark();
    served.start_again().await;
    running.event_from(mark, "Ready", |event| matches!(event, Event::Ready { files: 50, .. })).await;
    lab.assert_same();
    assert_eq!(fs::read_dir(lab.alpha("d")).unwrap().count(), 50);
    running.stop().await;
}

/// The agent is stopped in the middle of the first sync, again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_sync_survives_its_agent() {
    let lab = Lab::new();
    for number in 0..1500 {
        lab.write(&format!("{}/{number}", number % 20), format!("{number} ").repeat(300));
    }
    let mut served = Served::start(&[lab.path("beta")]).await;
    let running = served.session(&lab.path("alpha"), &lab.path("beta")).await;
    for round in 0..3 {
        let some = format!("{}", round * 5);
        eventually("something has arrived", || lab.beta(&some).exists()).await;
        served.stop().await;
        served.start_again().await;
    }
    running.flush_when_connected().await;
    lab.assert_same();
    assert_eq!(running.session.status().conflicts, []);
    running.stop().await;
}

//! How processes end, and what the other side makes of it.

use std::time::Duration;

use rustix::process::Signal;

use super::lab::{Lab, Watch, body, plant, save_in_place};

#[test]
fn ctrl_c_ends_watch_cleanly() {
    let lab = Lab::new();
    plant(&lab.source, 3, 5);
    let agent = lab.agent();
    let watch = lab.watch(&agent);
    let (finished, events) = watch.interrupt(Duration::from_secs(2));
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(events.last().map(|event| &event["event"]), Some(&"stopped".into()), "{events:?}");
    assert!(!finished.stderr.contains("panicked"), "{finished:?}");
    // The next session finds no lock in its way.
    drop(lab.watch(&agent));
}

/// Also while it tries to reach an agent that is not there.
#[test]
fn ctrl_c_ends_watch_that_is_not_connected() {
    let lab = Lab::new();
    let watch = Watch::start(lab.command("watch", super::lab::free_port()));
    std::thread::sleep(Duration::from_millis(500));
    let (finished, _) = watch.interrupt(Duration::from_secs(2));
    assert_eq!(finished.code, Some(0), "{finished:?}");
}

#[test]
fn sigterm_ends_watch_as_ctrl_c_does() {
    let lab = Lab::new();
    plant(&lab.source, 1, 3);
    let agent = lab.agent();
    let watch = lab.watch(&agent);
    watch.signal(Signal::TERM);
    let (finished, events) = watch.end(Duration::from_secs(2));
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(events.last().map(|event| &event["event"]), Some(&"stopped".into()), "{events:?}");
}

/// With a session on it. The session says so, waits, and goes on with the next agent.
#[test]
fn sigterm_ends_the_agent_cleanly_and_watch_goes_on() {
    let lab = Lab::new();
    plant(&lab.source, 3, 5);
    let agent = lab.agent();
    let watch = lab.watch(&agent);
    let (port, mark) = (agent.port, watch.mark());
    let (code, log) = agent.terminate(Duration::from_secs(3));
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("panicked"), "{log}");
    watch.wait_since(mark, "disconnected", |event| event["event"] == "disconnected");
    let content = body(1, 2_000);
    save_in_place(&lab.source.join("d1/sub/f1.rs"), &content);
    let agent = lab.agent_on(port);
    lab.arrives("d1/sub/f1.rs", &content);
    lab.settle();
    drop(agent);
}

//! The agent looks at its side while this one is being looked at.
//!
//! A scan takes as long as a test wants: a file of nothing is half a terabyte long, until it is cut off.

use std::{fs, path::Path};

use sync_core::{
    engine::Mode,
    session::{SessionOptions, event::Event},
};

use super::{
    lab::{Lab, Running, Served, a_moment, destination, eventually},
    takeover::Proxy,
};

/// What holds the scan of alpha up.
const ENDLESS: &str = "endless";

fn hold_up(lab: &Lab) {
    fs::File::create(lab.alpha(ENDLESS)).unwrap().set_len(512 << 30).unwrap();
}

fn let_go(lab: &Lab) {
    fs::File::options().write(true).open(lab.alpha(ENDLESS)).unwrap().set_len(1).unwrap();
}

fn is_scanned(running: &Running) -> bool {
    running.events().iter().any(|event| matches!(event, Event::Scanned { .. }))
}

/// Waits until the agent has scanned its root: then it keeps its index.
async fn beta_is_scanned(root: &Path) {
    let index = root.join(".synctl/index");
    eventually("beta is scanned", || index.exists()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beta_is_scanned_while_alpha_is() {
    let lab = Lab::new();
    lab.write("mine", "mine");
    lab.write_beta("theirs", "theirs");
    hold_up(&lab);
    let beta = lab.path("beta");
    let mut served = Served::start(std::slice::from_ref(&beta)).await;
    let running = served.session(&lab.path("alpha"), &beta).await;
    beta_is_scanned(&beta).await;
    a_moment().await;
    // It is quiet, and nothing is done there.
    assert!(!is_scanned(&running) && !running.session.status().connected, "{:?}", running.events());
    assert!(!lab.beta("mine").exists());
    let_go(&lab);
    running.ready().await;
    assert_eq!(fs::read_to_string(lab.beta("mine")).unwrap(), "mine");
    let events = running.events();
    let at = |wanted: fn(&Event) -> bool| events.iter().position(wanted).unwrap();
    let order = [
        at(|event| matches!(event, Event::Connecting { .. })),
        at(|event| matches!(event, Event::Scanned { files: 2, .. })),
        at(|event| matches!(event, Event::Connected { .. })),
        at(|event| matches!(event, Event::Ready { .. })),
    ];
    assert!(order.is_sorted(), "{events:?}");
    running.stop().await;
    served.stop().await;
}

/// A flush that is asked for while alpha is scanned waits for beta's state too, and for all that follows from it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_during_the_scan_waits_for_both_sides() {
    let lab = Lab::new();
    lab.write("mine", "mine");
    lab.write_beta("theirs", "theirs");
    hold_up(&lab);
    let beta = lab.path("beta");
    let mut served = Served::start(std::slice::from_ref(&beta)).await;
    let options = SessionOptions { mode: Mode::TwoWaySafe, ..served.options() };
    let running = Running::start(&lab.path("alpha"), served.destination(&beta), options).await;
    beta_is_scanned(&beta).await;
    for number in 0..200 {
        lab.write_beta(&format!("late/{number}"), "late");
    }
    let handle = running.session.handle();
    let mut flush = tokio::spawn(async move { handle.flush().await });
    let early = tokio::time::timeout(std::time::Duration::from_millis(300), &mut flush).await;
    assert!(early.is_err(), "{early:?}: {:?}", running.events());
    assert!(!is_scanned(&running), "{:?}", running.events());
    let_go(&lab);
    tokio::time::timeout(super::lab::PATIENCE, flush).await.unwrap().unwrap().unwrap();
    lab.assert_same();
    assert_eq!(fs::read_dir(lab.alpha("late")).unwrap().count(), 200);
    running.stop().await;
    served.stop().await;
}

/// The agent lets go of the root with the session that was stopped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_is_stopped_during_the_scan_leaves_the_agent_free() {
    let lab = Lab::new();
    hold_up(&lab);
    let beta = lab.path("beta");
    let mut served = Served::start(std::slice::from_ref(&beta)).await;
    let running = served.session(&lab.path("alpha"), &beta).await;
    eventually("the agent has opened its root", || running.events().len() == 1 && lab.beta(".synctl").exists()).await;
    a_moment().await;
    assert!(!is_scanned(&running), "{:?}", running.events());
    running.stop().await;

    let_go(&lab);
    let running = served.session(&lab.path("alpha"), &beta).await;
    running.ready().await;
    assert!(
        !running.events().iter().any(|event| matches!(event, Event::Disconnected { .. })),
        "{:?}",
        running.events()
    );
    running.stop().await;
    served.stop().await;
}

/// An agent that goes while alpha is scanned is called again, like at any other time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_goes_during_the_scan_is_called_again() {
    let lab = Lab::new();
    lab.write_beta("theirs", "theirs");
    hold_up(&lab);
    let beta = lab.path("beta");
    let mut served = Served::start(std::slice::from_ref(&beta)).await;
    let running = served.session(&lab.path("alpha"), &beta).await;
    beta_is_scanned(&beta).await;
    served.stop().await;
    let lost = running.event("Disconnected", |event| matches!(event, Event::Disconnected { .. })).await;
    assert!(matches!(&lost, Event::Disconnected { reason, .. } if reason.contains("stopped")), "{lost:?}");
    let mark = running.mark();
    served.start_again().await;
    running.event_from(mark, "Connecting", |event| matches!(event, Event::Connecting { .. })).await;
    assert!(!is_scanned(&running), "{:?}", running.events());
    let_go(&lab);
    running.ready().await;
    assert!(lab.beta(ENDLESS).exists());
    running.stop().await;
    served.stop().await;
}

/// A link that goes dark while alpha is scanned is missed, and another one made, which takes the place of the first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_is_lost_during_the_scan_is_missed() {
    let lab = Lab::new();
    lab.write_beta("theirs", "theirs");
    hold_up(&lab);
    let beta = lab.path("beta");
    let mut served = Served::start(std::slice::from_ref(&beta)).await;
    let proxy = Proxy::start(served.address);
    let running = Running::start(&lab.path("alpha"), destination(proxy.address, &beta), served.options()).await;
    beta_is_scanned(&beta).await;
    proxy.cut();
    let lost = running.event("Disconnected", |event| matches!(event, Event::Disconnected { .. })).await;
    assert!(matches!(&lost, Event::Disconnected { reason, .. } if reason.contains("nothing was heard")), "{lost:?}");
    assert!(!is_scanned(&running), "{:?}", running.events());
    let_go(&lab);
    running.ready().await;
    running.stop().await;
    served.stop().await;
}

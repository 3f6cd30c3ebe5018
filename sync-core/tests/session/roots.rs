//! Which roots an agent serves, and to whom.

use std::fs;

use sync_core::session::{Destination, Session, StartError, event::Event};

use super::lab::{Lab, Running, Served, eventually, options};

fn reason(event: &Event) -> &str {
    match event {
        Event::Disconnected { reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}

async fn refusal(running: &Running) -> String {
    let event = running.event("Disconnected", |event| matches!(event, Event::Disconnected { .. })).await;
    reason(&event).to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_serves_its_roots_side_by_side() {
    let lab = Lab::new();
    fs::create_dir(lab.path("alpha2")).unwrap();
    let roots = [lab.path("beta"), lab.path("not/yet/there")];
    let served = Served::start(&roots).await;
    let one = served.session(&lab.path("alpha"), &roots[0]).await;
    let two = served.session(&lab.path("alpha2"), &roots[1]).await;
    lab.write("one", "1");
    super::lab::write(&lab.path("alpha2/two"), "2");
    one.flush().await;
    two.flush().await;
    lab.assert_same();
    super::lab::pretty_same(&lab.path("alpha2"), &roots[1]);
    one.stop().await;
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_root_that_is_not_served_is_refused_naming_those_that_are() {
    let lab = Lab::new();
    let served = Served::start(&[lab.path("beta"), lab.path("gamma")]).await;
    let running = served.session(&lab.path("alpha"), &lab.path("elsewhere")).await;
    let reason = refusal(&running).await;
    for named in ["elsewhere", "beta", "gamma"] {
        assert!(reason.contains(lab.path(named).to_str().unwrap()), "{reason}");
    }
    assert!(!lab.path("elsewhere").exists());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_controller_is_refused_until_the_first_has_gone() {
    let lab = Lab::new();
    fs::create_dir(lab.path("other")).unwrap();
    let served = Served::start(&[lab.path("beta")]).await;
    let first = served.session(&lab.path("alpha"), &lab.path("beta")).await;
    first.ready().await;
    let second = served.session(&lab.path("other"), &lab.path("beta")).await;
    let reason = refusal(&second).await;
    assert!(reason.contains("in use by another session, from 127.0.0.1:"), "{reason}");
    lab.write("a", "the first goes on");
    first.flush().await;
    lab.assert_same();
    first.stop().await;
    second.event("Connected", |event| matches!(event, Event::Connected { .. })).await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roots_that_can_t_be_are_refused_at_the_start() {
    let lab = Lab::new();
    lab.write("file", "");
    fs::create_dir(lab.alpha("inner")).unwrap();
    let start = async |source: &str, destination: &str| {
        let destination = Destination::Local(lab.path(destination));
        match Session::start(&lab.path(source), destination, options()).await {
            Ok(_) => panic!("started"),
            Err(error) => error,
        }
    };
    assert!(matches!(start("missing", "beta").await, StartError::SourceMissing(_)));
    assert!(matches!(start("alpha/file", "beta").await, StartError::SourceNotDirectory(_)));
    for (source, destination, words) in [
        ("alpha", "alpha", "are the same directory, "),
        ("alpha", "alpha/inner", "/alpha/inner lies inside the source "),
        ("alpha/inner", "alpha", "/alpha/inner lies inside the destination "),
    ] {
        let error = start(source, destination).await;
        assert!(matches!(error, StartError::Overlap { .. }));
        assert!(error.to_string().contains(words), "{error}");
    }
    assert!(matches!(start("beta", "alpha/file").await, StartError::Destination(_)));
    let nowhere = Destination::Quic { host: "127.0.0.1".to_owned(), port: 1, path: lab.path("beta") };
    let keyless = Session::start(&lab.path("alpha"), nowhere, options()).await;
    assert!(matches!(keyless, Err(StartError::NoCredentials)));
}

/// The root goes while it is served: that is said, and nothing hangs when it is asked for again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_served_root_that_was_removed_is_not_made_up_for() {
    let lab = Lab::new();
    lab.write("a", "a");
    let served = Served::start(&[lab.path("beta")]).await;
    let running = served.session(&lab.path("alpha"), &lab.path("beta")).await;
    running.ready().await;
    fs::rename(lab.path("beta"), lab.path("away")).unwrap();
    running.event("Disconnected", |event| matches!(event, Event::Disconnected { .. })).await;
    running
        .event("a refusal", |event| {
            matches!(event, Event::Disconnected { reason, .. } if reason.contains("is gone") && reason.contains("beta"))
        })
        .await;
    // Another directory in its place is another replica: an agent that was started with it may serve it.
    fs::create_dir(lab.path("beta")).unwrap();
    running
        .event(
            "a refusal",
            |event| matches!(event, Event::Disconnected { reason, .. } if reason.contains("not the directory")),
        )
        .await;
    assert_eq!(fs::read_dir(lab.path("beta")).unwrap().count(), 0);
    // The same directory, back in its place, is served again.
    fs::remove_dir(lab.path("beta")).unwrap();
    let mark = running.mark();
    fs::rename(lab.path("away"), lab.path("beta")).unwrap();
    running.event_from(mark, "Ready", |event| matches!(event, Event::Ready { .. })).await;
    lab.write("b", "b");
    running.flush().await;
    lab.assert_same();
    running.stop().await;
}

/// Other ignore rules: the agent looks at its root anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_root_is_opened_again_with_other_rules() {
    let lab = Lab::new();
    lab.write("a.log", "log");
    lab.write("b", "b");
    let served = Served::start(&[lab.path("beta")]).await;
    let session = async |patterns: &[&str]| {
        let ignore = super::lab::ignoring(patterns);
        let options = sync_core::session::SessionOptions { ignore, ..served.options() };
        Running::start(&lab.path("alpha"), served.destination(&lab.path("beta")), options).await
    };
    let first = session(&["*.log"]).await;
    first.flush().await;
    assert!(!lab.beta("a.log").exists());
    first.stop().await;
    let second = session(&[]).await;
    second.flush().await;
    lab.assert_same();
    second.stop().await;
    let staged = || {
        let runs = fs::read_dir(lab.beta(".synctl/stage")).unwrap();
        runs.map(|run| fs::read_dir(run.unwrap().path()).map_or(0, Iterator::count)).sum::<usize>()
    };
    eventually("the stage is empty", || staged() == 0).await;
}

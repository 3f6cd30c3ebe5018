//! The first sync, every kind of change after it, and several sessions beside each other.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    time::Duration,
};

use sync_core::{
    engine::Mode,
    session::{
        SessionOptions,
        event::{Action, Event, Side},
    },
};

use super::lab::{Lab, a_moment, eventually, noise, options};

pub(super) type Change<'a> = Box<dyn Fn() + 'a>;

pub(super) fn populate(lab: &Lab) {
    for number in 0..300 {
        lab.write(&format!("many/{}/{number}.txt", number % 7), format!("file {number}\n").repeat(number));
    }
    lab.write("deep/er/and/deep.er", "deep");
    lab.write("empty file", "");
    lab.write("tool.sh", "#!/bin/sh\n");
    fs::set_permissions(lab.alpha("tool.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    lab.write("three megabytes", noise(3 << 20, 1));
    fs::create_dir(lab.alpha("empty directory")).unwrap();
    symlink("deep/er", lab.alpha("link")).unwrap();
    symlink("nowhere", lab.alpha("dangling")).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_sync_brings_everything_over() {
    let lab = Lab::new();
    populate(&lab);
    let running = lab.start().await;
    running.ready().await;
    lab.assert_same();
    running.flush().await;

    let status = running.session.status();
    assert!(status.connected && status.in_sync, "{status:?}");
    assert_eq!((status.files, status.halted, status.conflicts, status.problems), (304, None, vec![], vec![]));
    let events = running.events();
    let at = |wanted: fn(&Event) -> bool| events.iter().position(wanted).unwrap();
    let order = [
        at(|event| matches!(event, Event::Connecting { .. })),
        at(|event| matches!(event, Event::Scanned { files: 304, .. })),
        at(|event| matches!(event, Event::Connected { .. })),
        at(|event| matches!(event, Event::Ready { files: 304, .. })),
    ];
    assert!(order.is_sorted(), "{events:?}");
    running.stop().await;
}

/// Everything that a hand can do to the tree that [`populate`] makes, on the side whose root has this name.
#[expect(clippy::too_many_lines, reason = "a table")]
pub(super) fn changes<'a>(lab: &'a Lab, root: &'static str) -> Vec<(&'static str, Change<'a>)> {
    let at = move |name: &str| lab.path(root).join(name);
    let write = move |name: &str, content: &dyn AsRef<[u8]>| super::lab::write(&at(name), content);
    vec![
        ("a new file", Box::new(move || write("new", &"new"))),
        ("an edit", Box::new(move || write("new", &"edited"))),
        ("an edit of the same length", Box::new(move || write("new", &"EDITED"))),
        ("an appended line", Box::new(move || write("many/3/3.txt", &"file 3\n".repeat(4)))),
        ("a truncated file", Box::new(move || write("many/3/3.txt", &""))),
        (
            "a rename over",
            Box::new(move || {
                write(".new.tmp", &"by rename");
                fs::rename(at(".new.tmp"), at("new")).unwrap();
            }),
        ),
        ("a renamed file", Box::new(move || fs::rename(at("new"), at("deep/newer")).unwrap())),
        (
            "an executable bit",
            Box::new(move || {
                fs::set_permissions(at("deep/newer"), fs::Permissions::from_mode(0o755)).unwrap();
            }),
        ),
        (
            "the bit taken away",
            Box::new(move || {
                fs::set_permissions(at("deep/newer"), fs::Permissions::from_mode(0o644)).unwrap();
            }),
        ),
        ("a hard link", Box::new(move || fs::hard_link(at("deep/newer"), at("hard")).unwrap())),
        ("a symlink", Box::new(move || symlink("hard", at("soft")).unwrap())),
        (
            "a symlink that points elsewhere",
            Box::new(move || {
                fs::remove_file(at("soft")).unwrap();
                symlink("deep/newer", at("soft")).unwrap();
            }),
        ),
        ("a new directory", Box::new(move || write("d/e/f/g", &"far down"))),
        ("a renamed directory", Box::new(move || fs::rename(at("d"), at("many/d")).unwrap())),
        ("a change in a renamed directory", Box::new(move || write("many/d/e/f/g", &"further down"))),
        (
            "a file in place of a directory",
            Box::new(move || {
                fs::remove_dir_all(at("many/d")).unwrap();
                write("many/d", &"flat");
            }),
        ),
        (
            "a directory in place of a file",
            Box::new(move || {
                fs::remove_file(at("many/d")).unwrap();
                write("many/d/again", &"nested");
            }),
        ),
        (
            "a directory in place of a symlink",
            Box::new(move || {
                fs::remove_file(at("link")).unwrap();
                write("link/real", &"real");
            }),
        ),
        (
            "a directory made anew",
            Box::new(move || {
                fs::remove_dir_all(at("many/d")).unwrap();
                write("many/d/other", &"other");
            }),
        ),
        ("a file in a directory made anew", Box::new(move || write("many/d/later", &"later"))),
        (
            "a directory moved out and made anew",
            Box::new(move || {
                fs::rename(at("many/d"), lab.path("outside")).unwrap();
                fs::create_dir(at("many/d")).unwrap();
            }),
        ),
        ("a file in a directory that stands where one was moved out", Box::new(move || write("many/d/new", &"new"))),
        ("a directory moved in", Box::new(move || fs::rename(lab.path("outside"), at("inside")).unwrap())),
        ("a file in a directory moved in", Box::new(move || write("inside/another", &"another"))),
        (
            "two directories exchanged",
            Box::new(move || {
                fs::rename(at("inside"), at("swap")).unwrap();
                fs::rename(at("many/d"), at("inside")).unwrap();
                fs::rename(at("swap"), at("many/d")).unwrap();
            }),
        ),
        ("a removed file", Box::new(move || fs::remove_file(at("hard")).unwrap())),
        (
            "so many new files that the next is no mass deletion",
            Box::new(move || (0..320).for_each(|number| write(&format!("more/{number}"), &"more"))),
        ),
        ("a removed tree", Box::new(move || fs::remove_dir_all(at("many")).unwrap())),
        ("a large file edited", Box::new(move || write("three megabytes", &noise(3 << 20, 2)))),
        ("a large file made small", Box::new(move || write("three megabytes", &"small"))),
        ("a small file made large", Box::new(move || write("three megabytes", &noise(5 << 20, 3)))),
        (
            "a large file moved away while it is read",
            Box::new(move || {
                write("moved", &noise(20 << 20, 4));
                fs::rename(at("moved"), lab.path("out of here")).unwrap();
            }),
        ),
        (
            "a large file replaced by a small one while it is read",
            Box::new(move || {
                write("three megabytes", &noise(20 << 20, 5));
                write("small.tmp", &"small again");
                fs::rename(at("small.tmp"), at("three megabytes")).unwrap();
            }),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_change_goes_over() {
    let lab = Lab::new();
    populate(&lab);
    let running = lab.start().await;
    running.ready().await;
    for (what, change) in changes(&lab, "alpha") {
        eprintln!("{what}");
        change();
        running.flush().await;
        lab.assert_same();
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn saves_are_told_with_what_was_done_and_how_long_it_took() {
    let lab = Lab::new();
    lab.write("a", "one");
    let running = lab.start().await;
    running.ready().await;
    let check = async |change: &dyn Fn(), path: &str, action: Action| {
        let mark = running.mark();
        change();
        let event = running
            .event_from(mark, "Synced", |event| match event {
                Event::Synced(synced) => {
                    synced.paths.iter().any(|at| at.path.to_string() == path && at.action == action)
                }
                _ => false,
            })
            .await;
        let Event::Synced(synced) = event else { unreachable!() };
        synced
    };
    let synced = check(&|| lab.write("a", "two"), "a", Action::Modified).await;
    assert_eq!(synced.content_bytes, 3);
    assert!(synced.wire_bytes > 0);
    let latency = synced.latency.unwrap();
    let sum = latency.detect + latency.hash + latency.send + latency.apply + latency.ack;
    assert_eq!(sum, latency.total, "{latency:?}");
    check(&|| lab.write("b", "b"), "b", Action::Created).await;
    check(&|| fs::remove_file(lab.alpha("b")).unwrap(), "b", Action::Removed).await;
    lab.write("dir/x", "x".repeat(1000));
    running.flush().await;
    // The twin is told of a directory that went and of one that came.
    if !cfg!(feature = "portable") {
        let from = sync_proto::SyncPath::parse(b"dir").unwrap();
        let moved =
            check(&|| fs::rename(lab.alpha("dir"), lab.alpha("dir2")).unwrap(), "dir2", Action::Moved { from }).await;
        assert!(moved.wire_bytes < 200, "{moved:?}");
    }
    running.stop().await;
}

/// The bulk of the first sync is told as progress. What someone saves in the midst of it is told at once, as ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_save_during_the_first_sync_is_told() {
    let lab = Lab::new();
    lab.write("saved", "0");
    for number in 0..16 {
        lab.write(&format!("bulk/large {number}"), noise(12 << 20, number));
    }
    let running = lab.start().await;
    running.event("Connected", |event| matches!(event, Event::Connected { .. })).await;
    let is_ready = |event: &Event| matches!(event, Event::Ready { .. });
    let mut saves = 0;
    while !running.events().iter().any(is_ready) {
        saves += 1;
        lab.write("saved", format!("{saves}"));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let events = running.events();
    let before = events.iter().take_while(|event| !is_ready(event));
    let told: Vec<_> =
        before.filter_map(|event| if let Event::Synced(synced) = event { Some(synced) } else { None }).collect();
    assert!(!told.is_empty(), "none of {saves} saves was told before {:#?}", events.last());
    for synced in told {
        assert!(synced.paths.iter().all(|synced| synced.path.as_bytes() == b"saved"), "{synced:?}");
        assert!(synced.latency.is_some(), "{synced:?}");
    }
    running.flush().await;
    lab.assert_same();
    running.stop().await;
}

/// Not a benchmark: says that a save is not held up by a timer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_save_is_there_without_a_quiet_time() {
    let lab = Lab::new();
    lab.write("a", "0");
    let running = lab.start().await;
    running.ready().await;
    let mut took = Vec::new();
    for number in 1..=30 {
        let content = format!("{number}");
        let begun = std::time::Instant::now();
        lab.write("a", &content);
        eventually("the save", || fs::read_to_string(lab.beta("a")).is_ok_and(|there| there == content)).await;
        took.push(begun.elapsed());
    }
    took.sort();
    // The least quiet time is 25 ms.
    assert!(took[took.len() / 4] < Duration::from_millis(25), "{took:?}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_sessions_in_one_process_don_t_meet() {
    let (one, two) = (Lab::new(), Lab::new());
    one.write("one", "1");
    two.write("two", "2");
    let first = one.start().await;
    let second = two.start().await;
    first.ready().await;
    second.ready().await;
    for round in 0..20 {
        one.write("shared name", format!("one {round}"));
        two.write("shared name", format!("two {round}"));
        let ((), ()) = tokio::join!(first.flush(), second.flush());
        one.assert_same();
        two.assert_same();
    }
    assert!(!one.beta("two").exists() && !two.beta("one").exists());
    first.stop().await;
    two.write("after", "the first has ended");
    second.flush().await;
    two.assert_same();
    second.stop().await;
}

/// One source, two destinations.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_source_goes_to_two_places() {
    let lab = Lab::new();
    lab.write("a", "1");
    let to = |name: &str| sync_core::session::Destination::Local(lab.path(name));
    let first = super::lab::Running::start(&lab.path("alpha"), to("beta"), options()).await;
    let second = super::lab::Running::start(&lab.path("alpha"), to("gamma"), options()).await;
    lab.write("d/b", "2");
    first.flush().await;
    second.flush().await;
    lab.assert_same();
    super::lab::pretty_same(&lab.path("alpha"), &lab.path("gamma"));
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_safe_mode_leaves_beta_s_own_alone() {
    let lab = Lab::new();
    lab.write("both", "alpha's");
    lab.write("d/x", "x");
    lab.write_beta("both", "beta's");
    lab.write_beta("own", "beta's own");
    let running = lab.start().await;
    let conflict = running.event("Conflict", |event| matches!(event, Event::Conflict(_))).await;
    let Event::Conflict(conflict) = conflict else { unreachable!() };
    assert_eq!((conflict.path.to_string().as_str(), conflict.synced), ("both", None));
    eventually("d/x", || lab.beta("d/x").exists()).await;
    assert_eq!(fs::read_to_string(lab.beta("both")).unwrap(), "beta's");
    assert!(lab.beta("own").exists());

    // What another hand changes at beta after it was synced is not overwritten either.
    lab.write_beta("d/x", "changed at beta");
    let known = || running.session.status().conflicts.into_iter().find(|conflict| conflict.path.to_string() == "d/x");
    eventually("beta's change is known", || known().is_some()).await;
    let conflict = known().unwrap();
    assert_eq!(conflict.synced, conflict.alpha, "beta alone has changed");
    assert_ne!(conflict.synced, conflict.beta);
    lab.write("d/x", "changed at alpha");
    let incomplete = running.session.flush().await.unwrap_err();
    assert!(incomplete.to_string().contains("2 conflicts"), "{incomplete}");
    assert_eq!(fs::read_to_string(lab.beta("d/x")).unwrap(), "changed at beta");

    // The same on both sides is agreement.
    lab.write_beta("d/x", "changed at alpha");
    lab.write("both", "beta's");
    eventually("no conflicts", || running.session.status().conflicts.is_empty()).await;
    running.flush().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_replica_mode_puts_beta_right() {
    let lab = Lab::new();
    lab.write("both", "alpha's");
    lab.write("d/x", "x");
    lab.write_beta("both", "beta's");
    lab.write_beta("own/deep", "beta's own");
    let running = lab.start_with(SessionOptions { mode: Mode::OneWayReplica, ..options() }).await;
    running.ready().await;
    lab.assert_same();
    lab.write_beta("d/x", "changed at beta");
    lab.write_beta("new at beta", "new");
    fs::remove_file(lab.beta("both")).unwrap();
    eventually("beta is put right", || super::lab::same(&lab.path("alpha"), &lab.path("beta"))).await;
    running.stop().await;
}

/// What the agent writes itself must not come back as somebody's change.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn own_writes_don_t_echo() {
    let lab = Lab::new();
    populate(&lab);
    let running = lab.start().await;
    running.ready().await;
    for round in 0..10 {
        lab.write("a", format!("{round}"));
        lab.write(&format!("fresh {round}/x/y"), "y");
        running.flush().await;
    }
    fs::rename(lab.alpha("many"), lab.alpha("lots")).unwrap();
    running.flush().await;
    a_moment().await;
    let mark = running.mark();
    a_moment().await;
    let after = running.events();
    assert_eq!(after.len(), mark, "{:?}", &after[mark..]);
    let told = |side| after.iter().any(|event| matches!(event, Event::Problem(problem) if problem.side == side));
    assert!(!told(Side::Alpha) && !told(Side::Beta));
    assert!(!after.iter().any(|event| matches!(event, Event::Conflict(_) | Event::Displaced { .. })));
    running.stop().await;
}

/// A directory that the agent moved is still watched there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beta_sees_changes_beneath_what_was_moved() {
    let lab = Lab::new();
    lab.write("d/e/f", "deep down, and long enough to be moved");
    let running = lab.start().await;
    running.ready().await;
    fs::rename(lab.alpha("d"), lab.alpha("moved")).unwrap();
    running.flush().await;
    lab.assert_same();
    a_moment().await;
    lab.write_beta("moved/e/f", "by another hand");
    eventually("beta's change is a conflict", || running.session.status().conflicts.len() == 1).await;
    running.stop().await;
}

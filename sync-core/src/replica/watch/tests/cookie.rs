//! The barrier of the twin.

use std::collections::BTreeSet;

use super::*;

/// A scene whose root this program writes to.
fn served(directories: &[&str]) -> Scene {
    let mut scene = Scene::new(directories);
    fs::create_dir(scene.at(".synctl")).unwrap();
    scene.check(&["directory .synctl"]);
    scene
}

fn drain(scene: &mut Scene) -> (Drained, Vec<Hint>) {
    let mut hints = Vec::new();
    let drained = scene.events.drain(Some(&scene.root), &mut hints).unwrap();
    (drained, hints)
}

fn listed(scene: &Scene, directory: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(scene.at(directory)).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn all_that_was_changed_before_a_drain_is_told_by_it() {
    const ROUNDS: usize = 40;
    let directories = ["a", "a/b", "c", "d"];
    let mut scene = served(&directories);
    let mut exact = 0;
    for round in 0..ROUNDS {
        // After one write the reader of the queue is just waking up, after thousands it lags behind.
        let files = [1, 10, 100, 2000][round % 4];
        let paths: Vec<_> = (0..files).map(|number| format!("{}/{round}.{number}", directories[number % 4])).collect();
        for path in &paths {
            fs::write(scene.at(path), "x").unwrap();
        }
        let (drained, hints) = drain(&mut scene);
        let told: BTreeSet<_> = hints.iter().map(shown).collect();
        assert!(told.iter().all(|hint| !hint.contains("cookie")), "{told:?}");
        assert!(listed(&scene, ".synctl").is_empty(), "it is removed");
        if drained == Drained::Exact {
            exact += 1;
            let missed = paths.iter().filter(|path| !told.contains(&format!("finished {path}"))).count();
            assert_eq!(missed, 0, "round {round}, {} hints", hints.len());
        } else {
            scene.hints();
        }
    }
    // A machine that is busy with other things may be too slow for it now and then.
    assert!(exact > ROUNDS / 2, "{exact} of {ROUNDS} drains were exact");
    // What is told of the cookies after they were awaited is no news either.
    scene.check(&[]);
}

/// A wait leaves the rest to the next one.
#[test]
fn a_drain_reads_more_than_a_wait_does() {
    const WRITES: usize = 4500;
    let mut scene = served(&[]);
    let mut exact = 0;
    for round in 0..3 {
        let mut files = ["a", "b"].map(|name| File::create(scene.at(name)).unwrap());
        for _ in 0..WRITES {
            // In turns, so that no two events are folded into one.
            files.iter_mut().for_each(|file| file.write_all(b"x").unwrap());
        }
        let last = format!("last {round}");
        fs::write(scene.at(&last), "x").unwrap();
        let (drained, hints) = drain(&mut scene);
        if drained == Drained::Exact {
            exact += 1;
            assert!(hints.len() > 2 * WRITES && hints.contains(&Hint::Finished(path(&last))), "{} hints", hints.len());
        }
        drop(files);
        scene.hints();
    }
    assert!(exact > 0);
}

#[test]
fn without_a_place_for_a_cookie_nothing_is_promised_and_none_is_made() {
    #[track_caller]
    fn check(scene: &mut Scene, directory: &str) {
        let before = listed(scene, directory);
        fs::write(scene.at("a/file"), "x").unwrap();
        assert_eq!(drain(scene).0, Drained::BestEffort);
        assert_eq!(listed(scene, directory), before);
        assert!(scene.hints().iter().all(|hint| !shown(hint).contains("cookie")));
    }
    let mut absent = Scene::new(&["a"]);
    check(&mut absent, "");
    let mut file = Scene::new(&["a"]);
    fs::write(file.at(".synctl"), "not ours").unwrap();
    check(&mut file, "");
    let mut link = Scene::new(&["a", "b"]);
    symlink("b", link.at(".synctl")).unwrap();
    check(&mut link, "b");

    let mut only_observed = served(&["a"]);
    let before = fs::metadata(only_observed.at(".synctl")).unwrap().modified().unwrap();
    assert_eq!(only_observed.events.drain(None, &mut Vec::new()).unwrap(), Drained::BestEffort);
    assert_eq!(fs::metadata(only_observed.at(".synctl")).unwrap().modified().unwrap(), before);

    let mut read_only = served(&["a"]);
    fs::set_permissions(read_only.at(".synctl"), fs::Permissions::from_mode(0o500)).unwrap();
    if File::create(read_only.at(".synctl/probe")).is_ok() {
        return crate::skipped::skipped("root may write to a read-only directory");
    }
    check(&mut read_only, ".synctl");
    fs::set_permissions(read_only.at(".synctl"), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(drain(&mut read_only).0, Drained::Exact);
}

/// It is made where no events are told of: in a directory that another one has taken the place of.
#[test]
fn a_cookie_that_is_not_told_is_given_up() {
    let elsewhere = served(&[]);
    let mut scene = served(&[]);
    for _ in 0..2 {
        fs::write(scene.at("file"), "x").unwrap();
        let start = Instant::now();
        let mut hints = Vec::new();
        assert_eq!(scene.events.drain(Some(&elsewhere.root), &mut hints).unwrap(), Drained::BestEffort);
        let took = start.elapsed();
        assert!(took >= Duration::from_millis(400) && took < Duration::from_secs(10), "{took:?}");
        assert_eq!(hints, [Hint::Finished(path("file"))]);
        assert!(listed(&elsewhere, ".synctl").is_empty(), "it is removed");
    }
}

#[test]
fn what_a_killed_process_has_left_is_removed() {
    let mut scene = served(&[]);
    let pid = std::process::id();
    for left in ["cookie-1-0123456789abcdef-0", &format!("cookie-{pid}-0-7"), "cookie-", "lock", "a-cookie-1-0-0"] {
        fs::write(scene.at(".synctl").join(left), "").unwrap();
    }
    assert_eq!(scene.events.drain(None, &mut Vec::new()).unwrap(), Drained::BestEffort);
    assert_eq!(listed(&scene, ".synctl").len(), 5, "where nothing may be written nothing is removed");
    assert_eq!(drain(&mut scene).0, Drained::Exact);
    assert_eq!(listed(&scene, ".synctl"), ["a-cookie-1-0-0", "lock"].map(str::to_owned).into());
    scene.check(&[]);
}

#[test]
fn a_drain_goes_on_when_our_directory_is_made_anew() {
    let mut scene = served(&["a"]);
    for round in 0..5 {
        fs::write(scene.at("a/file"), "x").unwrap();
        assert_eq!(drain(&mut scene), (Drained::Exact, vec![Hint::Finished(path("a/file"))]), "round {round}");
        fs::rename(scene.at(".synctl"), scene.at(&format!("a/{round}"))).unwrap();
        fs::create_dir(scene.at(".synctl")).unwrap();
        scene.hints();
    }
}

#[test]
fn fault_01_events_that_were_dropped_are_told_and_not_waited_for() {
    // More than the queue of the twin has room for, at three events and more each.
    const FILES: usize = 8000;
    let mut scene = served(&[]);
    for number in 0..FILES {
        fs::write(scene.at(&format!("{}", number % 1000)), "x").unwrap();
    }
    let (drained, hints) = drain(&mut scene);
    assert_eq!(drained, Drained::Exact);
    assert!(hints.contains(&Hint::Lost), "{} hints", hints.len());
}

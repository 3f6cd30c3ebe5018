//! What a root says after a power cut.

use super::*;

const OTHER: &str = "unsynced-00000000-0000-4000-8000-000000000000";

fn marks(fixture: &Fixture) -> Vec<String> {
    let entries = fs::read_dir(fixture.at_path(".synctl")).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.starts_with("unsynced-"));
    names
}

fn of_this_run() -> String {
    format!("unsynced-{}", sys::boot_id().expect("Linux has one"))
}

#[test]
fn the_mark_lives_from_the_first_write_to_an_orderly_end() {
    let fixture = Fixture::new();
    let id = fixture.committer.certain_replica_id().unwrap();
    assert!(marks(&fixture).is_empty(), "nothing was written");
    fixture.committer.sync_and_unmark().unwrap();
    for _ in 0..2 {
        fixture.committer.mark_unsynced().unwrap();
        assert_eq!(marks(&fixture), [of_this_run()]);
    }
    fixture.committer.sync_and_unmark().unwrap();
    assert!(marks(&fixture).is_empty());
    assert_eq!(fixture.committer.certain_replica_id().unwrap(), id);
    // And from the next session on again.
    fixture.committer.mark_unsynced().unwrap();
    assert_eq!(marks(&fixture), [of_this_run()]);
}

#[test]
fn a_mark_of_the_same_kernel_is_taken_over() {
    let fixture = Fixture::new();
    let id = fixture.committer.certain_replica_id().unwrap();
    fixture.committer.mark_unsynced().unwrap();
    let next = Fixture::at(fixture.root.clone());
    assert_eq!(next.committer.certain_replica_id().unwrap(), id);
    next.committer.mark_unsynced().unwrap();
    assert_eq!(marks(&next), [of_this_run()]);
    next.committer.sync_and_unmark().unwrap();
    assert!(marks(&next).is_empty());
}

#[test]
fn a_mark_of_another_kernel_makes_another_replica() {
    let this = of_this_run();
    for (before, after) in [
        (vec![OTHER], vec![]),
        // Of a kernel without an id.
        (vec!["unsynced-unknown"], vec![]),
        (vec!["unsynced-", OTHER], vec![]),
        // Killed after the new id was made, and again since.
        (vec![OTHER, &this], vec![this.clone()]),
    ] {
        let fixture = Fixture::new();
        let id = fixture.committer.certain_replica_id().unwrap();
        for mark in &before {
            fs::write(fixture.at_path(&format!(".synctl/{mark}")), b"").unwrap();
        }
        let next = Fixture::at(fixture.root.clone());
        let new = next.committer.certain_replica_id().unwrap();
        assert_ne!(new, id, "{before:?}");
        assert_eq!(marks(&next), after, "{before:?}");
        // Once.
        assert_eq!(Fixture::at(fixture.root.clone()).committer.certain_replica_id().unwrap(), new, "{before:?}");
    }
}

#[test]
fn a_root_that_never_had_an_id_gets_one() {
    let fixture = Fixture::new();
    fs::write(fixture.at_path(&format!(".synctl/{OTHER}")), b"").unwrap();
    let id = fixture.committer.certain_replica_id().unwrap();
    assert_eq!(fixture.committer.replica_id().unwrap(), id);
    assert!(marks(&fixture).is_empty());
}

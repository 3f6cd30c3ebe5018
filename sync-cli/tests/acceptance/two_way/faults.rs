//! Faults 15, 17, 19, 32, 40 in two ways: both sides are changed at once, and what would be lost at alpha is looked for there.

use std::fs;
use std::time::Duration;

use super::super::lab::{
    Lab, Ledger, Mount, PATIENCE, Watch, body, plant, run, save_in_place, save_whole, until, with_own_mounts,
};
use super::{listed, resolve, settle_but_conflicts};

fn assert_nothing_lost(lab: &Lab, ledger: &Ledger) {
    let lost = ledger.lost(&[&lab.source, &lab.target]);
    assert!(lost.is_empty(), "of {} contents {} are nowhere: {lost:#?}", ledger.count(), lost.len());
}

/// Each file is removed on one side and saved on the other at nearly the same moment: the edit wins, and comes back.
#[test]
fn fault_15_two_way_delete_against_concurrent_edit() {
    const FILES: u64 = 150;
    let lab = Lab::new();
    let ledger = Ledger::new(lab.base());
    let hands = [ledger.hand(&lab.source), ledger.hand(&lab.target)];
    fs::create_dir(lab.source.join("d")).unwrap();
    let name = |number: u64| format!("d/f{number}");
    (0..FILES).for_each(|number| assert!(hands[0].save_beside(&name(number), &body(number, 1_500))));
    let agent = lab.agent();
    let mut command = lab.command("watch", agent.port);
    command.args(["--max-deletions", "100"]);
    let watch = Watch::start(command);
    watch.wait_for("ready");
    for (remover, editor) in [(0, 1), (1, 0)] {
        lab.settle();
        let seed = 1_000 * (1 + remover as u64);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..FILES {
                    hands[remover].remove(&name(number));
                    std::thread::sleep(Duration::from_millis(8));
                }
            });
            for number in 0..FILES {
                // Where the deletion was faster than the edit the file is made anew.
                let content = body(seed + number, 1_500);
                until("it is saved", || hands[editor].save_beside(&name(number), &content));
                // 0 to 16 ms: now behind the deletion, now ahead of it.
                std::thread::sleep(Duration::from_millis(number % 3 * 8));
            }
        });
        let conflicts = settle_but_conflicts(&lab);
        assert_nothing_lost(&lab, &ledger);
        assert_eq!(conflicts, [""; 0], "a change beats a deletion");
    }
    drop((watch, agent));
}

/// Kinds change on one side, and on both at once: what can't be had both ways is a conflict that keeps both.
#[test]
fn fault_17_two_way_file_becomes_directory_and_back() {
    let lab = Lab::new();
    plant(&lab.source, 3, 4);
    let ledger = Ledger::new(lab.base());
    ledger.note(&lab.source);
    let (alpha, beta) = (ledger.hand(&lab.source), ledger.hand(&lab.target));
    let agent = lab.agent();
    let watch = lab.watch(&agent);
    lab.settle();
    for round in 0..4 {
        let (one, other) = if round % 2 == 0 { (&beta, &alpha) } else { (&alpha, &beta) };
        assert!(one.remove("d1/sub/f1.rs") && one.make_dir("d1/sub/f1.rs"));
        assert!(one.save_beside("d1/sub/f1.rs/inside", &body(round, 2_000)));
        lab.settle();
        assert!(other.remove("d1/sub/f1.rs") && other.save_beside("d1/sub/f1.rs", &body(10 + round, 2_000)));
        lab.settle();
    }
    // While nobody carries anything over: other kinds on both sides.
    watch.interrupt(PATIENCE);
    assert!(alpha.remove("d0/sub/f0.rs") && alpha.make_dir("d0/sub/f0.rs"));
    assert!(alpha.save_beside("d0/sub/f0.rs/inside", &body(20, 2_000)));
    assert!(beta.save_beside("d0/sub/f0.rs", &body(21, 2_000)));
    assert!(beta.remove("d2") && beta.save_beside("d2", &body(22, 2_000)));
    assert!(alpha.save_in_place("d2/sub/f2.rs", &body(23, 2_000)));
    let watch = lab.watch(&agent);
    assert_eq!(settle_but_conflicts(&lab), ["d0/sub/f0.rs", "d2"]);
    assert_nothing_lost(&lab, &ledger);
    assert_eq!(resolve(&lab, "d0/sub/f0.rs", "alpha").code, Some(0));
    assert_eq!(resolve(&lab, "d2", "beta").code, Some(0));
    lab.settle();
    lab.assert_equal();
    assert_eq!(fs::read(lab.target.join("d0/sub/f0.rs/inside")).unwrap(), body(20, 2_000));
    assert_eq!(fs::read(lab.source.join("d2")).unwrap(), body(22, 2_000));
    drop((watch, agent));
}

/// a → b/a at alpha while b → a/b at beta, at moments around each other.
#[test]
fn fault_19_two_way_crossed_moves() {
    let lab = Lab::new();
    fs::write(lab.source.join("stays"), b"here").unwrap();
    let ledger = Ledger::new(lab.base());
    let (alpha, beta) = (ledger.hand(&lab.source), ledger.hand(&lab.target));
    let agent = lab.agent();
    let mut command = lab.command("watch", agent.port);
    command.args(["--max-deletions", "100"]);
    let watch = Watch::start(command);
    watch.wait_for("ready");
    for round in 0..10_u64 {
        let (a, b) = (format!("a{round}"), format!("b{round}"));
        for directory in [&a, &b] {
            assert!(alpha.make_dir(directory) && alpha.make_dir(&format!("{directory}/sub")));
            for file in 0..5 {
                let seed = 100 * round + 10 * u64::from(*directory == a) + file;
                assert!(alpha.save_beside(&format!("{directory}/sub/f{file}"), &body(seed, 1_500)));
            }
        }
        lab.settle();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(round % 5 * 6));
                alpha.rename(&a, &format!("{b}/a"))
            });
            std::thread::sleep(Duration::from_millis(12));
            beta.rename(&b, &format!("{a}/b"));
        });
        let conflicts = settle_but_conflicts(&lab);
        assert_nothing_lost(&lab, &ledger);
        if !conflicts.is_empty() {
            assert_eq!(resolve(&lab, ".", "alpha").code, Some(0));
            lab.settle();
        }
    }
    assert!(!watch.events().iter().any(|event| event["event"] == "halted"));
    drop((watch, agent));
}

/// Alpha's disk is full: what stands there is intact, and the rest comes when there is room.
#[test]
fn fault_32_two_way_no_space_left_at_alpha() {
    with_own_mounts("two_way::faults::fault_32_two_way_no_space_left_at_alpha", || {
        let lab = Lab::new();
        let Some(mount) = Mount::tmpfs(&lab.source, "size=4m") else { return };
        plant(&lab.source, 2, 5);
        fs::write(lab.source.join("d0/grows"), body(1, 1_000_000)).unwrap();
        let agent = lab.agent();
        let watch = lab.watch(&agent);
        lab.settle();
        let mark = watch.mark();
        save_whole(lab.base(), &lab.target.join("d0/grows"), &body(2, 8_000_000));
        let told = watch.wait_since(mark, "that there is no space", |event| {
            event["event"] == "problem" && event["kind"] == "no_space"
        });
        assert_eq!((&told["side"], &told["path"]), (&"alpha".into(), &"d0/grows".into()), "{told}");
        assert_eq!(fs::read(lab.source.join("d0/grows")).unwrap(), body(1, 1_000_000), "the old file is intact");
        assert_eq!(fs::read(lab.target.join("d0/grows")).unwrap(), body(2, 8_000_000), "and the new one too");
        // What has room goes on meanwhile, both ways.
        save_in_place(&lab.target.join("d1/sub/f1.rs"), b"small");
        save_in_place(&lab.source.join("d1/sub/f2.rs"), b"smaller");
        lab.settle_but(&["d0/grows"]);
        mount.remount("size=64m");
        lab.settle();
        lab.assert_equal();
        drop((watch, agent));
    });
}

/// Without its state, and with a journal or snapshot that is damaged: the union on both sides, and conflicts.
#[test]
fn fault_40_two_way_state_is_lost() {
    for damage in ["all", "snapshot", "journal"] {
        let lab = Lab::new();
        plant(&lab.source, 4, 6);
        let ledger = Ledger::new(lab.base());
        ledger.note(&lab.source);
        let (alpha, beta) = (ledger.hand(&lab.source), ledger.hand(&lab.target));
        let agent = lab.agent();
        let watch = lab.watch(&agent);
        assert!(
            alpha.save_beside("d1/sub/f1.rs", &body(1, 2_000)) && beta.save_beside("d1/sub/f2.rs", &body(2, 2_000))
        );
        lab.settle();
        watch.interrupt(PATIENCE);
        assert!(alpha.remove("d2/sub/f1.rs") && beta.remove("d2/sub/f2.rs") && beta.remove("d3"));
        assert!(
            alpha.save_beside("d0/sub/f1.rs", &body(3, 2_000)) && beta.save_beside("d0/sub/f2.rs", &body(4, 2_000))
        );
        if damage == "all" {
            fs::remove_dir_all(lab.base().join("state")).unwrap();
        } else {
            // From its middle on nothing is right.
            let files = run(
                {
                    let mut find = std::process::Command::new("find");
                    find.arg(lab.base().join("state")).args(["-name", damage, "-type", "f"]);
                    find
                },
                PATIENCE,
            );
            for file in files.stdout.lines() {
                let mut content = fs::read(file).unwrap();
                let at = content.len() / 2;
                content[at..].iter_mut().for_each(|byte| *byte ^= 0x5a);
                fs::write(file, content).unwrap();
            }
        }
        let watch = lab.watch(&agent);
        let conflicts = settle_but_conflicts(&lab);
        assert_nothing_lost(&lab, &ledger);
        if damage != "journal" {
            assert_eq!(conflicts, ["d0/sub/f1.rs", "d0/sub/f2.rs"], "{damage}");
            for path in ["d2/sub/f1.rs", "d2/sub/f2.rs", "d3/sub/f5.rs"] {
                assert!(lab.source.join(path).exists() && lab.target.join(path).exists(), "{damage}: {path} went");
            }
        }
        assert!(!listed(&lab).iter().any(|path| path.starts_with("d1")), "{damage}");
        drop((watch, agent));
    }
}

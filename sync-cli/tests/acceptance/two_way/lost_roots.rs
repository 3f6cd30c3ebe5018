//! Faults 38, 39 and 42 in two ways: a root that is empty, gone or another, and alpha's own power cut.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::lab::{
    Lab, Ledger, Mount, PATIENCE, Watch, body, differences, finish, plant, save_in_place, with_own_mounts,
};
use super::super::power::{cut_power, disk, possible};
use super::{resolve, settle_but_conflicts};

fn copied(from: &Path, to: &Path) -> PathBuf {
    assert_eq!(finish(Command::new("cp").arg("-a").arg(from).arg(to), PATIENCE).code, Some(0));
    to.to_owned()
}

fn assert_untouched(before: &Path, root: &Path, when: &str) {
    assert_eq!(differences(before, root, &[]), [""; 0], "{when}: something was changed");
}

/// All that a person sees of a root goes, by other hands than ours.
fn empty(root: &Path) {
    for path in fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()) {
        match path.file_name().unwrap().to_str() {
            Some(".synctl") => {}
            _ if path.is_dir() => fs::remove_dir_all(path).unwrap(),
            _ => fs::remove_file(path).unwrap(),
        }
    }
}

/// A pod that comes back with nothing, and one that comes back with its image's files.
#[test]
fn fault_38_two_way_pod_with_an_empty_volume() {
    let lab = Lab::new();
    plant(&lab.source, 20, 10);
    let mut agent = lab.agent();
    let watch = lab.watch(&agent);
    for from_image in [false, true] {
        lab.settle();
        let before = copied(&lab.source, &lab.base().join(format!("before-{from_image}")));
        let port = agent.kill();
        fs::remove_dir_all(&lab.target).unwrap();
        fs::create_dir(&lab.target).unwrap();
        if from_image {
            copied(&lab.source.join("d1"), &lab.target.join("d1"));
            fs::write(lab.target.join("from-the-image"), b"theirs").unwrap();
            fs::write(lab.target.join("d1/sub/f1.rs"), b"the image's").unwrap();
        }
        let mark = watch.mark();
        agent = lab.agent_on(port);
        watch.wait_since(mark, "ready", |event| event["event"] == "ready");
        let conflicts = settle_but_conflicts(&lab);
        if from_image {
            assert_eq!(conflicts, ["d1/sub/f1.rs"]);
            assert_eq!(fs::read(lab.source.join("from-the-image")).unwrap(), b"theirs", "a union");
            fs::remove_file(lab.source.join("from-the-image")).unwrap();
        }
        assert_untouched(&before, &lab.source, "a new volume");
    }
    drop((watch, agent));
}

/// Either side is emptied under a running session, and while none runs: it halts, and nothing is deleted on the other.
#[test]
fn fault_39_two_way_a_root_is_emptied() {
    for emptied_is_beta in [true, false] {
        for running in [true, false] {
            let when = format!("emptied: beta {emptied_is_beta}, running {running}");
            let lab = Lab::new();
            plant(&lab.source, 5, 8);
            let agent = lab.agent();
            let watch = lab.watch(&agent);
            lab.settle();
            let before = copied(&lab.source, &lab.base().join("before"));
            let (gone, other) = if emptied_is_beta { (&lab.target, &lab.source) } else { (&lab.source, &lab.target) };
            let watch = if running {
                empty(gone);
                watch
            } else {
                watch.interrupt(PATIENCE);
                empty(gone);
                Watch::start(lab.command("watch", agent.port))
            };
            watch.wait_for("halted");
            std::thread::sleep(std::time::Duration::from_millis(300));
            let left: Vec<String> = differences(&before, other, &[]);
            // What went piece by piece, each before the next was seen, may be gone; never all of it, and at alpha it is in the trash.
            let kept = fs::read_dir(other).unwrap().count();
            assert!(kept > 1, "{when}: {left:?}");
            if emptied_is_beta {
                let ledger = Ledger::new(lab.base());
                ledger.note(&before);
                assert_eq!(ledger.lost(&[other]), [""; 0], "{when}");
            }
            assert!(running || left.is_empty(), "{when}: {left:?}");
            // It comes back as it was, and all is well.
            for directory in 0..5 {
                copied(&before.join(format!("d{directory}")), gone);
            }
            settle_but_conflicts(&lab);
            if left.is_empty() {
                assert_untouched(&before, other, &when);
            }
        }
    }
}

/// The directory that is beta is another one now, and then its volume is not mounted: alpha keeps all.
#[test]
fn fault_39_two_way_target_is_replaced() {
    let lab = Lab::new();
    plant(&lab.source, 10, 8);
    let agent = lab.agent();
    let watch = lab.watch(&agent);
    lab.settle();
    let before = copied(&lab.source, &lab.base().join("before"));
    let mark = watch.mark();
    fs::rename(&lab.target, lab.base().join("away")).unwrap();
    fs::create_dir(&lab.target).unwrap();
    fs::write(lab.target.join("another"), b"another project").unwrap();
    watch.wait_since(mark, "why it does not go on", |event| {
        event["reason"].as_str().unwrap_or_default().contains(lab.target.to_str().unwrap())
    });
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_untouched(&before, &lab.source, "beta was replaced");
    assert_eq!(fs::read_dir(&lab.target).unwrap().count(), 1, "written into what is not the root");
    fs::remove_dir_all(&lab.target).unwrap();
    fs::rename(lab.base().join("away"), &lab.target).unwrap();
    save_in_place(&lab.target.join("d1/sub/f1.rs"), &body(1, 3_000));
    lab.settle();
    assert_eq!(fs::read(lab.source.join("d1/sub/f1.rs")).unwrap(), body(1, 3_000));
    drop((watch, agent));
}

/// Alpha's volume goes under the session, and the session ends; the next one begins on the bare mount point.
#[test]
fn fault_39_two_way_source_is_unmounted() {
    with_own_mounts("two_way::lost_roots::fault_39_two_way_source_is_unmounted", || {
        let lab = Lab::new();
        let volume = lab.base().join("volume");
        fs::create_dir(&volume).unwrap();
        plant(&volume, 5, 8);
        let Some(mount) = Mount::bind(&lab.source, &volume) else { return };
        let agent = lab.agent();
        let watch = lab.watch(&agent);
        lab.settle();
        let before = copied(&lab.target, &lab.base().join("before"));
        drop(mount);
        save_in_place(&lab.target.join("d1/sub/f1.rs"), &body(1, 3_000));
        std::thread::sleep(std::time::Duration::from_millis(500));
        assert_eq!(fs::read_dir(&lab.source).unwrap().count(), 0, "written beneath the mount");
        watch.interrupt(PATIENCE);
        fs::copy(lab.target.join("d1/sub/f1.rs"), before.join("d1/sub/f1.rs")).unwrap();
        let watch = Watch::start(lab.command("watch", agent.port));
        watch.wait_for("halted");
        assert_untouched(&before, &lab.target, "without its volume");
        watch.interrupt(PATIENCE);
        let Some(mount) = Mount::bind(&lab.source, &volume) else { return };
        let watch = lab.watch(&agent);
        lab.settle();
        assert_untouched(&before, &lab.source, "with its volume again");
        drop((watch, mount, agent));
    });
}

/// What came from beta and was told as received is on alpha's disk, whole; and what a cut takes of what was not, comes again.
#[test]
fn fault_42_two_way_power_cut_at_alpha() {
    const TEST: &str = "two_way::lost_roots::fault_42_two_way_power_cut_at_alpha";
    if possible(TEST) {
        with_own_mounts(TEST, alpha_loses_power);
    }
}

fn alpha_loses_power() {
    let lab = Lab::new();
    let Some(mut mount) = disk(&lab, &lab.source) else { return };
    plant(&lab.source, 6, 8);
    finish(&mut Command::new("sync"), PATIENCE);
    let agent = lab.agent();
    for life in 0..4_u64 {
        let watch = lab.watch(&agent);
        let mut confirmed = Vec::new();
        for save in 0..10_u64 {
            let path = format!("d{}/sub/f{}.rs", (life + save) % 6, save % 8);
            let content = body(100 * life + save, 7_000);
            let mark = watch.mark();
            save_in_place(&lab.target.join(&path), &content);
            if save < 7 {
                watch
                    .wait_since(mark, &path, |event| event["event"] == "received" && event.to_string().contains(&path));
                confirmed.push((path, content));
            }
        }
        fs::create_dir(lab.target.join(format!("new{life}"))).unwrap();
        fs::write(lab.target.join(format!("new{life}/file")), body(life, 4_000)).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(life * 7));
        let expected = copied(&lab.target, &lab.base().join(format!("expected{life}")));
        assert!(cut_power(&lab.source), "the disk could not be shut down");
        watch.signal(rustix::process::Signal::KILL);
        watch.end(PATIENCE);
        drop(mount);
        let image = lab.base().join("image");
        mount = Mount::image(&lab.source, &image).unwrap_or_else(|| panic!("it can't be mounted again"));
        for (path, content) in confirmed {
            assert_eq!(fs::read(lab.source.join(&path)).ok(), Some(content), "{path} was received, and is gone");
        }
        let watch = lab.watch(&agent);
        let conflicts = settle_but_conflicts(&lab);
        assert_untouched(&expected, &lab.target, "what a power cut did at alpha came to beta");
        if !conflicts.is_empty() {
            assert_eq!(resolve(&lab, ".", "beta").code, Some(0));
        }
        lab.settle();
        assert_untouched(&expected, &lab.source, "all of it comes again");
        drop(watch);
    }
    drop((agent, mount));
}

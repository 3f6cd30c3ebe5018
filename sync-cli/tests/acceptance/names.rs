//! Faults 20–22: names that are two here and one there, that differ in nothing one sees, that another system refuses.

use std::fs;
use std::path::{Path, PathBuf};

use super::lab::{
    Lab, Mount, PATIENCE, body, finish, formatted, is_root, plant, save_in_place, skipped, until, with_own_mounts,
};

/// `README` becomes `Readme` and back, also a directory's name, where both sides tell them apart.
#[test]
fn fault_20_case_only_rename() {
    let lab = Lab::new();
    plant(&lab.source, 2, 4);
    fs::write(lab.source.join("README"), body(1, 2_000)).unwrap();
    let agent = lab.agent();
    let watch = lab.watch(&agent);
    for (from, to) in [("README", "Readme"), ("Readme", "README"), ("d1", "D1"), ("D1/sub", "D1/Sub"), ("D1", "d1")] {
        fs::rename(lab.source.join(from), lab.source.join(to)).unwrap();
        lab.settle();
    }
    // And both at once.
    fs::write(lab.source.join("readme"), body(2, 2_000)).unwrap();
    lab.settle();
    lab.assert_equal();
    let unwanted = |event: &serde_json::Value| event["event"] == "problem" || event["event"] == "conflict";
    assert!(!watch.events().iter().any(unwanted), "{:?}", watch.events());
    drop(agent);
}

/// A device with the file system in `image`, for as long as this lives: FUSE drivers want one.
struct Device(PathBuf);

impl Device {
    fn of(image: &Path) -> Option<Self> {
        let done = finish(std::process::Command::new("losetup").args(["--find", "--show"]).arg(image), PATIENCE);
        if done.code != Some(0) {
            skipped("a block device of a file: it is not permitted here");
        }
        (done.code == Some(0)).then(|| Self(done.stdout.trim().into()))
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        finish(std::process::Command::new("losetup").arg("--detach").arg(&self.0), PATIENCE);
    }
}

/// The other side is exFAT: `Makefile` and `makefile` are one file there. The second is told, and neither is lost.
#[test]
fn fault_20_names_that_are_one_at_the_other_side() {
    const TEST: &str = "names::fault_20_names_that_are_one_at_the_other_side";
    if !is_root() {
        return skipped(&format!("{TEST}: mounting a block device takes root"));
    }
    with_own_mounts(TEST, || {
        let lab = Lab::new();
        let image = lab.base().join("image");
        let Some(()) = formatted(&image, 64, "mkfs.exfat", &[]) else { return };
        let Some(device) = Device::of(&image) else { return };
        let Some(mount) = Mount::by("mount.exfat-fuse", &["-o", "fmask=0133"], device.0.as_os_str(), &lab.target)
        else {
            return;
        };
        plant(&lab.source, 2, 3);
        fs::write(lab.source.join("Makefile"), body(1, 900)).unwrap();
        let agent = lab.agent();
        let watch = lab.watch(&agent);
        lab.arrives("Makefile", &body(1, 900));
        let mark = watch.mark();
        fs::write(lab.source.join("makefile"), body(2, 800)).unwrap();
        watch.wait_since(mark, "that one is in the way of the other", |event| {
            let kind = event["event"].as_str().unwrap_or_default();
            ["problem", "conflict"].contains(&kind) && event["path"].as_str().is_some_and(|path| path == "makefile")
        });
        assert_eq!(fs::read(lab.target.join("Makefile")).unwrap(), body(1, 900), "one was taken for the other");
        save_in_place(&lab.source.join("Makefile"), &body(3, 700));
        lab.arrives("Makefile", &body(3, 700));
        // With one of them gone there is nothing in the way any more.
        fs::remove_file(lab.source.join("makefile")).unwrap();
        save_in_place(&lab.source.join("Makefile"), &body(4, 600));
        lab.arrives("Makefile", &body(4, 600));
        lab.settle();
        // And a rename in case alone comes to that name, or is told; the content is there under one of them.
        fs::rename(lab.source.join("Makefile"), lab.source.join("makefile")).unwrap();
        until("the content is there under its new name", || {
            fs::read(lab.target.join("makefile")).is_ok_and(|found| found == body(4, 600))
        });
        drop((watch, agent, mount, device));
    });
}

/// `é` as one character and as two: other bytes, so another name, and neither is turned into the other.
#[test]
fn fault_21_composed_and_decomposed_names() {
    let lab = Lab::new();
    let (composed, decomposed) = ("caf\u{e9}", "cafe\u{301}");
    fs::create_dir(lab.source.join("both")).unwrap();
    for (number, name) in [composed, decomposed].into_iter().enumerate() {
        fs::write(lab.source.join("both").join(name), body(number as u64, 500)).unwrap();
    }
    let agent = lab.agent();
    let _watch = lab.watch(&agent);
    fs::write(lab.source.join(composed), body(3, 500)).unwrap();
    lab.settle();
    fs::rename(lab.source.join(composed), lab.source.join(decomposed)).unwrap();
    lab.settle();
    lab.assert_equal();
    assert_eq!(fs::read_dir(lab.target.join("both")).unwrap().count(), 2);
    drop(agent);
}

/// The other side refuses what Windows refuses (NTFS, mounted so): told at each path, and the rest goes on.
#[test]
fn fault_22_names_that_windows_refuses() {
    const TEST: &str = "names::fault_22_names_that_windows_refuses";
    if !is_root() {
        return skipped(&format!("{TEST}: mounting takes root"));
    }
    with_own_mounts(TEST, || {
        let lab = Lab::new();
        let image = lab.base().join("image");
        let Some(()) = formatted(&image, 64, "mkfs.ntfs", &["-Q", "-F"]) else { return };
        let options = ["-o", "windows_names,permissions"];
        let Some(mount) = Mount::by("ntfs-3g", &options, image.as_os_str(), &lab.target) else { return };
        plant(&lab.source, 2, 3);
        let refused = ["a:b", "con", "trailing dot.", "what?"];
        for name in refused {
            fs::write(lab.source.join(name), name).unwrap();
        }
        let agent = lab.agent();
        let watch = lab.watch(&agent);
        for name in refused {
            watch.wait_since(0, name, |event| event["event"] == "problem" && event["path"] == name);
        }
        lab.settle_but(&refused);
        let mark = watch.mark();
        fs::rename(lab.source.join("a:b"), lab.source.join("a-b")).unwrap();
        watch.wait_since(mark, "that it is solved", |event| {
            event["event"] == "problem_solved" && event["path"] == "a:b"
        });
        lab.arrives("a-b", b"a:b");
        drop((watch, agent, mount));
    });
}

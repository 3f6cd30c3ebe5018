//! Faults 32 and 33: no room, no permission to write, a disk that fails. Reported, the old file intact, resumed by itself.

use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::lab::{
    Agent, Lab, Mount, PATIENCE, body, finish, formatted, is_root, plant, save_in_place, save_whole, skipped,
    with_own_mounts,
};

/// An event that tells of trouble in these words.
fn tells(event: &Value, words: &[&str]) -> bool {
    let text = event.to_string().to_lowercase();
    ["problem", "halted", "warning"].iter().any(|kind| event["event"] == *kind)
        && words.iter().any(|word| text.contains(word))
}

#[test]
fn fault_32_no_space_left() {
    with_own_mounts("space::fault_32_no_space_left", no_space_left);
}

fn no_space_left() {
    let lab = Lab::new();
    let Some(mount) = Mount::tmpfs(&lab.target, "size=4m") else { return };
    plant(&lab.source, 2, 5);
    fs::write(lab.source.join("d0/grows"), body(1, 1_000_000)).unwrap();
    let agent = lab.agent();
    let watch = lab.watch(&agent);
    lab.settle();
    let mark = watch.mark();
    save_whole(lab.base(), &lab.source.join("d0/grows"), &body(2, 8_000_000));
    let told = watch.wait_since(mark, "that there is no space", |event| tells(event, &["space", "full"]));
    assert!(told.to_string().contains("d0/grows"), "it names the path: {told}");
    assert_eq!(fs::read(lab.target.join("d0/grows")).unwrap(), body(1, 1_000_000), "the old file is intact");
    // What has room goes on meanwhile.
    save_in_place(&lab.source.join("d1/sub/f1.rs"), b"small");
    lab.arrives("d1/sub/f1.rs", b"small");
    mount.remount("size=64m");
    lab.settle();
    lab.assert_equal();
    drop((watch, agent));
}

/// Room for bytes, but not for files.
#[test]
fn fault_32_no_inodes_left() {
    with_own_mounts("space::fault_32_no_inodes_left", || {
        let lab = Lab::new();
        let Some(mount) = Mount::tmpfs(&lab.target, "size=16m,nr_inodes=40") else { return };
        plant(&lab.source, 2, 5);
        let agent = lab.agent();
        let watch = lab.watch(&agent);
        lab.settle();
        let mark = watch.mark();
        plant(&lab.source, 6, 12);
        watch.wait_since(mark, "that there is no room", |event| tells(event, &["no_space"]));
        mount.remount("nr_inodes=400");
        lab.settle();
        lab.assert_equal();
        drop((watch, agent));
    });
}

/// The disk has room, and this user may have no more of it (a quota of btrfs).
#[test]
fn fault_32_quota() {
    const TEST: &str = "space::fault_32_quota";
    if !is_root() {
        return skipped(&format!("{TEST}: mounting takes root"));
    }
    with_own_mounts(TEST, || {
        let lab = Lab::new();
        let image = lab.base().join("image");
        let Some(()) = formatted(&image, 256, "mkfs.btrfs", &["-q"]) else { return };
        let Some(mount) = Mount::image(&lab.target, &image) else { return };
        let btrfs = |arguments: &[&str]| {
            let done = finish(Command::new("btrfs").args(arguments).arg(&lab.target), PATIENCE);
            assert_eq!(done.code, Some(0), "btrfs {arguments:?}: {done:?}");
        };
        btrfs(&["quota", "enable"]);
        btrfs(&["qgroup", "limit", "8M"]);
        plant(&lab.source, 2, 5);
        fs::write(lab.source.join("d0/grows"), body(1, 1_000_000)).unwrap();
        let agent = lab.agent();
        let watch = lab.watch(&agent);
        lab.settle();
        let mark = watch.mark();
        save_whole(lab.base(), &lab.source.join("d0/grows"), &body(2, 20_000_000));
        let told = watch.wait_since(mark, "that the quota is used up", |event| tells(event, &["no_space"]));
        assert!(told.to_string().contains("d0/grows"), "it names the path: {told}");
        assert_eq!(fs::read(lab.target.join("d0/grows")).unwrap(), body(1, 1_000_000), "the old file is intact");
        btrfs(&["qgroup", "limit", "none"]);
        lab.settle();
        lab.assert_equal();
        drop((watch, agent, mount));
    });
}

/// Writing back fails, and the kernel turns the file system read-only: ext4 in a file that the disk beneath has no room
/// for. Nothing is said to be synced that the disk refused.
#[test]
fn fault_33_target_s_disk_fails() {
    const TEST: &str = "space::fault_33_target_s_disk_fails";
    if !is_root() {
        return skipped(&format!("{TEST}: a block device of a file takes root"));
    }
    with_own_mounts(TEST, || {
        let lab = Lab::new();
        let beneath = lab.base().join("beneath");
        fs::create_dir(&beneath).unwrap();
        let Some(small) = Mount::tmpfs(&beneath, "size=12m") else { return };
        let image = beneath.join("image");
        let Some(()) = formatted(&image, 64, "mkfs.ext4", &["-q", "-E", "lazy_itable_init=1"]) else { return };
        let Some(mount) = Mount::image(&lab.target, &image) else { return };
        fs::remove_dir(lab.target.join("lost+found")).unwrap();
        plant(&lab.source, 2, 5);
        let mut command = lab.agent_command(0);
        command.arg("--durable");
        let agent = Agent::start(command);
        let watch = lab.watch(&agent);
        lab.settle();
        let mark = watch.mark();
        // Each fits the file system; what lies beneath it is full before they are through.
        for file in 0..10 {
            fs::write(lab.source.join(format!("d0/large{file}")), body(file, 4_000_000)).unwrap();
        }
        let words = ["io", "read_only", "no_space"].map(|kind| format!("\"kind\":\"{kind}\""));
        let words = words.each_ref().map(String::as_str);
        watch.wait_since(mark, "that the disk fails", |event| tells(event, &words));
        let before = ticks(watch.pid()) + ticks(agent.pid());
        std::thread::sleep(Duration::from_secs(2));
        let spent = ticks(watch.pid()) + ticks(agent.pid()) - before;
        assert!(spent < 60, "it spins: {spent} ticks of CPU in 2 s");
        let confirmed = watch.synced_since(mark);
        assert!(confirmed.len() < 10, "confirmed what the disk refused: {confirmed:?}");
        let halted = watch.since(mark).iter().any(|event| event["event"] == "halted");
        assert!(!halted && !watch.events().is_empty(), "{:?}", watch.since(mark));
        drop((watch, agent, mount, small));
    });
}

#[test]
fn fault_33_read_only_target() {
    with_own_mounts("space::fault_33_read_only_target", read_only_target);
}

fn read_only_target() {
    let lab = Lab::new();
    let Some(mount) = Mount::tmpfs(&lab.target, "size=16m") else { return };
    plant(&lab.source, 2, 5);
    let agent = lab.agent();
    let watch = lab.watch(&agent);
    lab.settle();
    let (mark, old) = (watch.mark(), fs::read(lab.target.join("d1/sub/f1.rs")).unwrap());
    mount.remount("ro");
    let content = body(9, 5_000);
    save_in_place(&lab.source.join("d1/sub/f1.rs"), &content);
    watch.wait_since(mark, "that it is read-only", |event| tells(event, &["read_only", "read-only", "read only"]));
    assert_eq!(fs::read(lab.target.join("d1/sub/f1.rs")).unwrap(), old);
    let busy = |pid: u32| ticks(pid);
    let before = busy(watch.pid()) + busy(agent.pid());
    std::thread::sleep(Duration::from_secs(2));
    let spent = busy(watch.pid()) + busy(agent.pid()) - before;
    assert!(spent < 30, "it spins: {spent} ticks of CPU in 2 s");
    mount.remount("rw");
    lab.arrives("d1/sub/f1.rs", &content);
    lab.settle();
    drop((watch, agent));
}

/// CPU time of a process so far, in hundredths of a second.
pub(super) fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let fields: Vec<u64> = fields.split(' ').map(|field| field.parse().unwrap_or(0)).collect();
    fields[11] + fields[12]
}

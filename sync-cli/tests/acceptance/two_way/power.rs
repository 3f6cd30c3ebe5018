//! Fault 42 in two ways: what a power cut at beta takes back is no change that anybody made, and must not come to alpha.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::lab::{
    Agent, Lab, Mount, PATIENCE, Watch, body, differences, finish, plant, save_in_place, until, with_own_mounts,
};
use super::super::power::{cut_power, disk, possible};
use super::{conflicts, resolve};

/// The marks of an agent that may have written what is not on the disk.
fn marks(lab: &Lab) -> Vec<PathBuf> {
    let entries = fs::read_dir(lab.target.join(".synctl")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("unsynced-")).collect()
}

/// What was marked, was marked by another run of the kernel: as after a reboot.
fn reboot(lab: &Lab) {
    for mark in marks(lab) {
        fs::rename(mark, lab.target.join(".synctl/unsynced-00000000-0000-4000-8000-000000000000")).unwrap();
    }
}

fn copied(from: &Path, to: &Path) {
    assert_eq!(finish(Command::new("cp").arg("-a").arg(from).arg(to), PATIENCE).code, Some(0));
}

fn listed(lab: &Lab) -> Vec<String> {
    let told = conflicts(lab);
    let listed = told["conflicts"].as_array().unwrap_or_else(|| panic!("{told}"));
    listed.iter().map(|conflict| conflict["path"].as_str().unwrap().to_owned()).collect()
}

/// Agents with and without `--durable`: what other hands write at beta is synced by neither.
#[test]
fn fault_42_two_way_power_cut_takes_back_what_was_written() {
    for durable in [false, true] {
        let lab = Lab::new();
        plant(&lab.source, 4, 6);
        let start = |port: u16| {
            let mut command = lab.agent_command(port);
            command.args(durable.then_some("--durable"));
            Agent::start(command)
        };
        let agent = start(0);
        let watch = lab.watch(&agent);
        let old = fs::read(lab.source.join("d1/sub/f1.rs")).unwrap();
        save_in_place(&lab.source.join("d1/sub/f1.rs"), &body(1, 3_000));
        save_in_place(&lab.target.join("d0/sub/f0.rs"), &body(2, 3_000));
        lab.settle();
        let port = agent.kill();
        // Emptied, as it was before, gone, and a directory whose name never reached the disk.
        fs::write(lab.target.join("d0/sub/f0.rs"), b"").unwrap();
        fs::write(lab.target.join("d1/sub/f1.rs"), old).unwrap();
        fs::remove_file(lab.target.join("d2/sub/f2.rs")).unwrap();
        fs::remove_dir_all(lab.target.join("d3")).unwrap();
        reboot(&lab);
        let before = lab.base().join("before");
        copied(&lab.source, &before);
        let mark = watch.mark();
        let agent = start(port);
        watch.wait_since(mark, "ready", |event| event["event"] == "ready");
        let torn = ["d0/sub/f0.rs", "d1/sub/f1.rs"];
        lab.settle_but(&torn);
        assert_eq!(differences(&before, &lab.source, &[]), [""; 0], "what a power cut did came to alpha");
        assert_eq!(listed(&lab), torn);
        assert_eq!(resolve(&lab, ".", "alpha").code, Some(0));
        lab.settle();
        assert_eq!(differences(&before, &lab.source, &[]), [""; 0]);
        // In good order, and with another kernel: what was done meanwhile is what somebody did.
        assert_eq!(marks(&lab).len(), 1);
        assert_eq!(agent.terminate(PATIENCE).0, Some(0));
        assert!(marks(&lab).is_empty());
        fs::remove_file(lab.target.join("d2/sub/f3.rs")).unwrap();
        save_in_place(&lab.target.join("d2/sub/f2.rs"), &body(3, 2_000));
        let _agent = start(port);
        lab.settle();
        assert_eq!(fs::read(lab.source.join("d2/sub/f2.rs")).unwrap(), body(3, 2_000));
        assert!(!lab.source.join("d2/sub/f3.rs").exists());
    }
}

/// The agent alone dies, and is started again by the same kernel: nothing is lost, and its past is known.
#[test]
fn fault_42_two_way_a_killed_agent_is_no_power_cut() {
    let lab = Lab::new();
    plant(&lab.source, 2, 4);
    let agent = lab.agent();
    let watch = lab.watch(&agent);
    save_in_place(&lab.target.join("d0/sub/f0.rs"), &body(2, 3_000));
    lab.settle();
    let port = agent.kill();
    fs::remove_file(lab.target.join("d1/sub/f1.rs")).unwrap();
    save_in_place(&lab.target.join("d1/sub/f2.rs"), &body(3, 3_000));
    let agent = lab.agent_on(port);
    lab.settle();
    assert!(!lab.source.join("d1/sub/f1.rs").exists());
    assert_eq!(fs::read(lab.source.join("d1/sub/f2.rs")).unwrap(), body(3, 3_000));
    // The dead one's mark is the living one's.
    assert_eq!(marks(&lab).len(), 1);
    assert_eq!(agent.terminate(PATIENCE).0, Some(0));
    assert!(marks(&lab).is_empty());
    drop(watch);
}

/// The real thing, but for the kernel, which says that it is another one: ext4 forgets what it was not asked to keep.
#[test]
fn fault_42_two_way_power_cut_at_beta() {
    const TEST: &str = "two_way::power::fault_42_two_way_power_cut_at_beta";
    if possible(TEST) {
        with_own_mounts(TEST, beta_loses_power);
    }
}

fn beta_loses_power() {
    let lab = Lab::new();
    let Some(mut mount) = disk(&lab, &lab.target) else { return };
    plant(&lab.source, 6, 8);
    let mut agent = lab.agent();
    let watch = Watch::start(lab.command("watch", agent.port));
    watch.wait_for("ready");
    let mut kernels = Vec::new();
    for life in 0..4_u64 {
        let before = lab.base().join(format!("before{life}"));
        for save in 0..8_u64 {
            let path = format!("d{}/sub/f{save}.rs", (life + save) % 6);
            let side = if save % 2 == 0 { &lab.source } else { &lab.target };
            save_in_place(&side.join(&path), &body(100 * life + save, 7_000));
        }
        fs::create_dir_all(lab.source.join(format!("new{life}"))).unwrap();
        fs::write(lab.source.join(format!("new{life}/file")), body(life, 4_000)).unwrap();
        lab.settle();
        copied(&lab.source, &before);
        if life % 2 == 0 {
            // Names have reached the disk, and content has not.
            std::thread::sleep(std::time::Duration::from_millis(1_500));
        }
        assert!(cut_power(&lab.target), "the disk could not be shut down");
        let port = agent.kill();
        drop(mount);
        let image = lab.base().join("image");
        mount = Mount::image(&lab.target, &image).unwrap_or_else(|| panic!("it can't be mounted again"));
        let Some(kernel) = another_kernel(&lab, life) else { return };
        kernels.push(kernel);
        let mark = watch.mark();
        agent = lab.agent_on(port);
        watch.wait_since(mark, "ready", |event| event["event"] == "ready");
        let mut left_out = Vec::new();
        until("what is not a conflict is equal", || {
            left_out = listed(&lab);
            let paths: Vec<&str> = left_out.iter().map(String::as_str).collect();
            differences(&lab.source, &lab.target, &paths).is_empty()
        });
        println!("power cut {life}: {} conflicts", left_out.len());
        assert_eq!(differences(&before, &lab.source, &[]), [""; 0], "what a power cut did came to alpha");
        if !left_out.is_empty() {
            assert_eq!(resolve(&lab, ".", "alpha").code, Some(0));
        }
        lab.settle();
        assert_eq!(differences(&before, &lab.source, &[]), [""; 0]);
    }
    lab.assert_equal();
    drop((watch, agent, mount, kernels));
}

/// The kernel has another id from now on.
fn another_kernel(lab: &Lab, number: u64) -> Option<Mount> {
    let id = lab.base().join(format!("boot{number}"));
    fs::write(&id, format!("{number:08}-0000-4000-8000-000000000000\n")).unwrap();
    Mount::bind(Path::new("/proc/sys/kernel/random/boot_id"), &id)
}

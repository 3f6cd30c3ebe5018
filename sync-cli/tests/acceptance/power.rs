//! Fault 42: the power goes. A file system that loses everything it was not asked to keep: ext4 on a loop device, shut down
//! as its own tests do it, without writing anything back, and mounted again.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::lab::{
    Agent, Lab, Mount, PATIENCE, Witness, body, differences, finish, formatted, is_root, plant, run, save_beside,
    save_in_place, skipped, until, with_own_mounts, works,
};

/// What the kernel calls `EXT4_IOC_SHUTDOWN` with `NOLOGFLUSH`: from here on nothing is written.
const CUT: &str = "
import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))
";

pub(super) fn cut_power(disk: &Path) -> bool {
    finish(Command::new("python3").args(["-c", CUT]).arg(disk), PATIENCE).code == Some(0)
}

/// A disk of the lab's, with its mount.
pub(super) fn disk(lab: &Lab, at: &Path) -> Option<Mount> {
    let image = lab.base().join("image");
    formatted(&image, 256, "mkfs.ext4", &["-q"])?;
    let mount = Mount::image(at, &image)?;
    fs::remove_dir(at.join("lost+found")).unwrap();
    finish(&mut Command::new("sync"), PATIENCE);
    Some(mount)
}

pub(super) fn possible(test: &str) -> bool {
    let possible = is_root() && works("python3", &["-c", "import fcntl"]);
    if !possible {
        skipped(&format!("{test}: it takes root, and python3 to call the kernel"));
    }
    possible
}

/// The pod's node dies in the middle of a first sync and of saves. With `--durable` what was confirmed is there, and all comes
/// to be equal by itself. Without, the disk may show what nobody ever wrote; who was the author of that can't be told, so that
/// it is a conflict at worst, and alpha's own word settles it.
fn beta_loses_power(durable: bool) {
    let lab = Lab::new();
    let Some(mut mount) = disk(&lab, &lab.target) else { return };
    plant(&lab.source, 10, 12);
    fs::write(lab.source.join("large.bin"), body(5, 9_000_000)).unwrap();
    let start = |port: u16| {
        let mut command = lab.agent_command(port);
        if durable {
            command.arg("--durable");
        }
        Agent::start(command)
    };
    let mut agent = start(0);
    // For the kernel there was no cut, so that in two ways a disk that has lost all halts the session. That is tried elsewhere, with
    // a reboot.
    let mut command = lab.command("watch", agent.port);
    command.args(["--mode", "one-way-safe"]);
    let watch = super::lab::Watch::start(command);
    let mut began = 0;
    for life in 0..4_u64 {
        std::thread::sleep(std::time::Duration::from_millis(60 + 90 * life));
        let mut confirmed = None;
        if life > 1 {
            // Who says something learns at once that the other side was restarted.
            save_in_place(&lab.source.join(format!("d9/more{life}")), &body(life, 1_000));
            watch.wait_since(began, "ready", |event| event["event"] == "ready");
        }
        for save in 0..6_u64 {
            let path = format!("d{}/sub/f{save}.rs", life * 2);
            let content = body(1_000 * (life + 1) + save, 7_000);
            let pattern = if save % 2 == 0 { save_in_place } else { save_beside };
            let mark = watch.mark();
            pattern(&lab.source.join(&path), &content);
            if durable && life > 1 && save < 4 {
                lab.arrives(&path, &content);
                watch.wait_since(mark, &path, |event| event["event"] == "synced" && event.to_string().contains(&path));
                confirmed = Some((path, content));
            }
        }
        let port = agent.port;
        if life % 2 == 0 {
            // Names have reached the disk, and content has not.
            std::thread::sleep(std::time::Duration::from_millis(1_500));
        }
        assert!(cut_power(&lab.target), "the disk could not be shut down");
        agent.kill();
        drop(mount);
        let Some(again) = Mount::image(&lab.target, &lab.base().join("image")) else {
            panic!("it can't be mounted again")
        };
        mount = again;
        if let Some((path, content)) = confirmed.filter(|_| durable) {
            assert_eq!(fs::read(lab.target.join(&path)).ok(), Some(content), "{path} was confirmed, and is gone");
        }
        if durable {
            assert_eq!(
                Witness::start(&lab.target).finish().partial,
                [""; 0],
                "after a power cut partial files stand there"
            );
        }
        began = watch.mark();
        agent = start(port);
    }
    if !durable {
        save_in_place(&lab.source.join("d9/last"), &body(9, 1_000));
        watch.wait_since(began, "ready", |event| event["event"] == "ready");
        watch.interrupt(PATIENCE);
        settle_what_was_torn(&lab, &agent);
        lab.assert_equal();
        drop((agent, mount));
        return;
    }
    lab.settle();
    lab.assert_equal();
    drop((watch, agent, mount));
}

/// Whatever differs is listed, and goes by the mode in which alpha wins.
fn settle_what_was_torn(lab: &Lab, agent: &Agent) {
    let pushed = lab.push(agent);
    assert!(matches!(pushed.code, Some(0 | 1)), "{pushed:?}");
    let events = pushed.stdout.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let conflicts = events.filter(|event| event["event"] == "conflict");
    let listed: Vec<String> = conflicts.filter_map(|event| Some(event["path"].as_str()?.to_owned())).collect();
    let listed: Vec<&str> = listed.iter().map(String::as_str).collect();
    assert_eq!(differences(&lab.source, &lab.target, &listed), [""; 0], "torn, and not listed");
    let mut settling = lab.command("push", agent.port);
    settling.args(["--mode", "one-way-replica"]);
    let settled = run(settling, PATIENCE);
    assert_eq!(settled.code, Some(0), "{settled:?}");
}

#[test]
fn fault_42_power_cut_at_beta_durable() {
    const TEST: &str = "power::fault_42_power_cut_at_beta_durable";
    if possible(TEST) {
        with_own_mounts(TEST, || beta_loses_power(true));
    }
}

#[test]
fn fault_42_power_cut_at_beta() {
    const TEST: &str = "power::fault_42_power_cut_at_beta";
    if possible(TEST) {
        with_own_mounts(TEST, || beta_loses_power(false));
    }
}

/// The laptop dies, and with it what the state directory had not written back: an earlier state, or none, never a wrong one.
#[test]
fn fault_42_power_cut_at_alpha() {
    const TEST: &str = "power::fault_42_power_cut_at_alpha";
    if !possible(TEST) {
        return;
    }
    with_own_mounts(TEST, || {
        let lab = Lab::new();
        let state = lab.base().join("state");
        fs::create_dir_all(&state).unwrap();
        let Some(mut mount) = disk(&lab, &state) else { return };
        plant(&lab.source, 6, 8);
        fs::write(lab.target.join("theirs"), b"never synced").unwrap();
        let agent = lab.agent();
        for life in 0..4_u64 {
            let watch = lab.watch(&agent);
            for save in 0..10 {
                let path = format!("d{}/sub/f{save}.rs", life % 6);
                if save % 8 == 7 {
                    let _ = fs::remove_file(lab.source.join(path));
                } else {
                    save_in_place(&lab.source.join(path), &body(100 * life + save, 3_000));
                }
            }
            until("the saves are there", || {
                fs::read(lab.target.join(format!("d{}/sub/f6.rs", life % 6)))
                    .is_ok_and(|found| found == body(100 * life + 6, 3_000))
            });
            assert!(cut_power(&state), "the disk could not be shut down");
            watch.signal(rustix::process::Signal::KILL);
            watch.end(PATIENCE);
            drop(mount);
            let Some(again) = Mount::image(&state, &lab.base().join("image")) else {
                panic!("it can't be mounted again")
            };
            mount = again;
        }
        // What is not known to have been synced is a conflict at worst, and a mode in which alpha wins settles it.
        let pushed = lab.push(&agent);
        assert!(matches!(pushed.code, Some(0 | 1)), "{pushed:?}");
        assert_eq!(fs::read(lab.target.join("theirs")).unwrap(), b"never synced");
        let mut settling = lab.command("push", agent.port);
        settling.args(["--mode", "one-way-replica"]);
        assert_eq!(run(settling, PATIENCE).code, Some(0));
        lab.assert_equal();
        drop((agent, mount));
    });
}

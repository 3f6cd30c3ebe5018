//! The agent dies without warning, again and again, during the first sync and during saves. It converges, and no
//! partial file is ever seen at a final path: every file proves itself, and a witness reads them all, all the time.

use std::fs;
use std::time::Duration;

use super::kill_points::stage_is_empty;
use super::lab::{Lab, Witness, body, plant, save_beside, save_in_place};

/// Fault 41.
#[test]
fn fault_41_agent_killed_during_first_sync_and_saves() {
    let lab = Lab::new();
    plant(&lab.source, 40, 30);
    fs::write(lab.source.join("large.bin"), body(5, 24_000_000)).unwrap();
    let witness = Witness::start(&lab.target);
    let mut agent = lab.agent();
    let watch = super::lab::Watch::start(lab.command("watch", agent.port));
    // Each life is a little longer than the one before: the kills come at every stage of the first sync.
    for life in 0..6 {
        std::thread::sleep(Duration::from_millis(15 + 45 * life));
        let port = agent.kill();
        agent = lab.agent_on(port);
    }
    lab.settle();
    for round in 0..6_u64 {
        let port = agent.port;
        for save in 0..20_u64 {
            let path = lab.source.join(format!("d{}/sub/f{}.rs", (round * 7 + save) % 40, save));
            let pattern = if save % 2 == 0 { save_in_place } else { save_beside };
            pattern(&path, &body(1_000 * (round + 1) + save, 20_000));
            if save == round * 3 {
                agent.kill();
                agent = lab.agent_on(port);
            }
        }
        fs::remove_file(lab.source.join(format!("d{round}/sub/f29.rs"))).unwrap();
    }
    lab.settle();
    let seen = witness.finish();
    assert_eq!(seen.partial, [""; 0], "partial files were visible");
    assert!(seen.whole > 1_000, "the witness saw {seen:?} only");
    assert!(watch.events().iter().any(|event| event["event"] == "disconnected"), "the kills went unnoticed");
    stage_is_empty(&lab);
    lab.assert_equal();
}

/// The controller dies instead: the next one does the rest. It knows what the dead one had sent and not noted as done, so that
/// an edit made in between is no conflict.
#[test]
fn synctl_killed_during_first_sync_and_saves() {
    let lab = Lab::new();
    plant(&lab.source, 20, 20);
    fs::write(lab.source.join("large.bin"), body(6, 12_000_000)).unwrap();
    let witness = Witness::start(&lab.target);
    let agent = lab.agent();
    for life in 0..5_u64 {
        let watch = super::lab::Watch::start(lab.command("watch", agent.port));
        std::thread::sleep(Duration::from_millis(40 + 60 * life));
        for save in 0..10 {
            save_in_place(&lab.source.join(format!("d{save}/sub/f{life}.rs")), &body(100 * life + save, 9_000));
        }
        fs::remove_file(lab.source.join(format!("d{life}/sub/f19.rs"))).unwrap();
        watch.signal(rustix::process::Signal::KILL);
    }
    let pushed = lab.push(&agent);
    assert_eq!(pushed.code, Some(0), "{pushed:?}");
    assert_eq!(witness.finish().partial, [""; 0], "partial files were visible");
    lab.assert_equal();
}

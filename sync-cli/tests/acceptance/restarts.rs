//! Starting again: what has not changed is not read again, on either side, however the one before has ended.

use std::fs;
use std::time::Duration;

use super::lab::{Lab, PATIENCE, Watch, body, save_in_place};

/// Bytes that a process has read so far, of files and of everything else.
fn bytes_read(pid: u32) -> u64 {
    let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    io.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

#[test]
fn what_has_not_changed_is_not_read_again() {
    const FILES: u64 = 400;
    const FILE_BYTES: usize = 50_000;
    let lab = Lab::new();
    for number in 0..FILES {
        let path = lab.source.join(format!("d{}/f{number}", number % 7));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, body(number, FILE_BYTES)).unwrap();
    }
    let mut agent = lab.agent();
    let watch = lab.watch(&agent);
    let everything = FILES * FILE_BYTES as u64;
    assert!(bytes_read(watch.pid()) > everything, "this test can't tell what was read");
    lab.settle();
    // What changed within the last moments before an index is kept is looked at again.
    std::thread::sleep(Duration::from_millis(100));
    let (_, _) = watch.interrupt(PATIENCE);
    for round in 0..3_u64 {
        // In order, then killed: the index is that of the start before.
        let port = if round == 0 {
            let port = agent.port;
            assert_eq!(agent.terminate(PATIENCE).0, Some(0));
            port
        } else {
            agent.kill()
        };
        agent = lab.agent_on(port);
        let watch = lab.watch(&agent);
        lab.settle();
        let read = [bytes_read(agent.pid()), bytes_read(watch.pid())];
        assert!(
            read.iter().all(|read| *read < everything / 4),
            "round {round}: {read:?} of {everything} bytes were read"
        );
        // Small enough to be read again.
        save_in_place(&lab.source.join("d1/f1"), &body(1_000 + round, 10_000));
        save_in_place(&lab.target.join("d2/f2"), &body(2_000 + round, 10_000));
        lab.settle();
        let (_, _) = watch.interrupt(PATIENCE);
    }
    // A damaged index costs time, and nothing else.
    fs::write(lab.target.join(".synctl/index"), b"damaged").unwrap();
    let port = agent.kill();
    agent = lab.agent_on(port);
    save_in_place(&lab.target.join("d3/f3"), b"changed meanwhile");
    let watch = Watch::start(lab.command("watch", agent.port));
    watch.wait_for("ready");
    lab.settle();
    assert_eq!(fs::read(lab.source.join("d3/f3")).unwrap(), b"changed meanwhile");
}

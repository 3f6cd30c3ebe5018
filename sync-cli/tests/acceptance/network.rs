//! Faults 36 and 37: the network goes away, changes, loses, repeats and reorders. It converges by itself, and what was under
//! way goes on where it was.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::lab::{Lab, Proxy, Watch, Weather, Witness, body, plant, save_in_place, save_whole};

#[test]
fn fault_37_loss_reorder_duplication_and_small_packets() {
    let lab = Lab::new();
    plant(&lab.source, 20, 15);
    fs::write(lab.source.join("large.bin"), body(5, 6_000_000)).unwrap();
    let agent = lab.agent();
    // The least that QUIC is promised is 1,200 bytes.
    let proxy = Proxy::start(agent.port, Weather { lost: 40, repeated: 40, late: 80, len_max: 1_252 });
    let witness = Witness::start(&lab.target);
    let watch = lab.watch_port(proxy.port);
    for round in 0..30_u64 {
        let (path, content) = (format!("d{}/sub/f{}.rs", round % 20, round % 15), body(100 + round, 4_000));
        save_in_place(&lab.source.join(&path), &content);
        lab.arrives(&path, &content);
    }
    lab.settle();
    assert_eq!(witness.finish().partial, [""; 0], "partial files were visible");
    let (passed, spoilt) = proxy.counts();
    assert!(spoilt > 200, "the weather was fine: {spoilt} of {passed}");
    lab.assert_equal();
    drop((watch, agent));
}

/// How long the dark lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dark {
    /// For a moment, which nobody is told of.
    Moment,
    /// Until somebody is told, and so much longer.
    ToldAnd(Duration),
}

/// Silent for so long, and then told: after 15 s without a word, counted from when the last one was read.
const TOLD_AFTER: std::ops::Range<Duration> = Duration::from_secs(10)..Duration::from_secs(40);

/// Dark, with another port afterwards, in the middle of a large file and with saves meanwhile.
fn goes_dark(dark: Dark) {
    let lab = Lab::new();
    plant(&lab.source, 4, 5);
    let agent = lab.agent();
    let proxy = Proxy::start(agent.port, Weather::default());
    let witness = Witness::start(&lab.target);
    let watch = lab.watch_port(proxy.port);
    save_whole(lab.base(), &lab.source.join("large.bin"), &body(7, 40_000_000));
    // While it goes over.
    std::thread::sleep(Duration::from_millis(150));
    let mark = watch.mark();
    proxy.go_dark(true);
    save_in_place(&lab.source.join("d1/sub/f1.rs"), &body(8, 3_000));
    fs::remove_file(lab.source.join("d2/sub/f2.rs")).unwrap();
    fs::rename(lab.source.join("d3"), lab.source.join("d0/moved")).unwrap();
    let began = Instant::now();
    let told = || watch.since(mark).iter().any(|event| event["event"] == "disconnected");
    match dark {
        Dark::Moment => std::thread::sleep(Duration::from_secs(2)),
        Dark::ToldAnd(longer) => {
            while !told() && began.elapsed() < TOLD_AFTER.end {
                std::thread::sleep(Duration::from_millis(100));
            }
            assert!(TOLD_AFTER.contains(&began.elapsed()), "told after {:?}", began.elapsed());
            std::thread::sleep(longer);
        }
    }
    proxy.change_port();
    proxy.go_dark(false);
    let light = Instant::now();
    lab.arrives("d1/sub/f1.rs", &body(8, 3_000));
    let after = light.elapsed();
    lab.settle();
    lab.assert_equal();
    assert!(after < Duration::from_secs(20), "it took {after:?} to come back after the dark ({dark:?})");
    let unwanted = |event: &serde_json::Value| event["event"] == "halted" || event["event"] == "conflict";
    assert!(!watch.since(mark).iter().any(unwanted), "{:?}", watch.since(mark));
    assert_eq!(told(), dark != Dark::Moment, "told of the dark, and not of a moment");
    assert_eq!(witness.finish().partial, [""; 0], "partial files were visible");
    drop(agent);
}

/// The network changes: a moment of nothing, then another port. The connection outlives it.
#[test]
fn fault_36_network_changes() {
    goes_dark(Dark::Moment);
}

/// Longer than anyone believes in a silent peer: told, dialled again, resumed.
#[test]
fn fault_36_network_goes_dark() {
    goes_dark(Dark::ToldAnd(Duration::from_secs(2)));
}

/// Longer than the connection lives.
#[test]
#[ignore = "takes more than a minute"]
fn fault_36_network_goes_dark_for_70_seconds() {
    goes_dark(Dark::ToldAnd(Duration::from_secs(55)));
}

/// The laptop sleeps: its process stands still, time and the source go on without it.
#[test]
fn fault_36_laptop_sleeps() {
    let lab = Lab::new();
    plant(&lab.source, 3, 5);
    let agent = lab.agent();
    let watch: Watch = lab.watch(&agent);
    watch.signal(Signal::STOP);
    std::thread::sleep(Duration::from_secs(3));
    save_in_place(&lab.source.join("d1/sub/f1.rs"), &body(1, 3_000));
    fs::remove_dir_all(lab.source.join("d2")).unwrap();
    watch.signal(Signal::CONT);
    lab.settle();
    lab.assert_equal();
    drop(agent);
}

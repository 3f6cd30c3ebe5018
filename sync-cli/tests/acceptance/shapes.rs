//! Faults 15–19: files that go while they are edited or travel, that turn into directories, directories that move.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use super::lab::{Lab, Watch, body, plant, save_beside, save_in_place, until};

/// Each file is removed at the source and saved at the target at nearly the same moment: whichever came first, the edit is
/// there in the end, or is kept where the event says.
#[test]
fn fault_15_delete_against_concurrent_edit() {
    const FILES: u64 = 150;
    let lab = Lab::new();
    fs::create_dir(lab.source.join("d")).unwrap();
    let name = |number: u64| format!("d/f{number}");
    for number in 0..FILES {
        fs::write(lab.source.join(name(number)), body(number, 1_500)).unwrap();
    }
    let agent = lab.agent();
    let mut command = lab.command("watch", agent.port);
    command.args(["--mode", "one-way-safe", "--max-deletions", "100"]);
    let watch = Watch::start(command);
    watch.wait_for("ready");
    lab.settle();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..FILES {
                fs::remove_file(lab.source.join(name(number))).unwrap();
                std::thread::sleep(Duration::from_millis(8));
            }
        });
        for number in 0..FILES {
            save_beside(&lab.target.join(name(number)), &body(1_000 + number, 1_500));
            // 0 to 16 ms: now behind the deletion, now ahead of it. Its quiet time is 25 ms.
            std::thread::sleep(Duration::from_millis(number % 3 * 8));
        }
    });
    // A last save goes over after them all.
    fs::write(lab.source.join("last"), b"last").unwrap();
    lab.arrives("last", b"last");
    std::thread::sleep(Duration::from_millis(500));
    let kept = |event: &Value| {
        let path = event["kept"]["path"].as_str()?;
        fs::read(lab.target.join(path)).ok()
    };
    let kept: Vec<Vec<u8>> = watch.events().iter().filter_map(kept).collect();
    let lost: Vec<u64> = (0..FILES)
        .filter(|number| {
            let edit = body(1_000 + number, 1_500);
            fs::read(lab.target.join(name(*number))).ok().as_ref() != Some(&edit) && !kept.contains(&edit)
        })
        .collect();
    assert!(lost.is_empty(), "{} edits were lost: {lost:?}", lost.len());
    drop(agent);
}

#[test]
fn fault_16_file_deleted_while_it_is_sent() {
    let lab = Lab::new();
    plant(&lab.source, 2, 5);
    let agent = lab.agent();
    let watch = lab.watch(&agent);
    for (round, pause) in [0, 20, 60, 150].into_iter().enumerate() {
        let large = lab.source.join("large.bin");
        fs::write(&large, body(round as u64, 40_000_000)).unwrap();
        std::thread::sleep(Duration::from_millis(pause));
        fs::remove_file(&large).unwrap();
        let content = body(100 + round as u64, 2_000);
        save_in_place(&lab.source.join("d1/sub/f1.rs"), &content);
        lab.arrives("d1/sub/f1.rs", &content);
    }
    lab.settle();
    let halted: Vec<_> = watch.events().into_iter().filter(|event| event["event"] == "halted").collect();
    assert!(halted.is_empty(), "{halted:?}");
    drop(agent);
}

#[test]
fn fault_17_file_becomes_directory_and_back() {
    let lab = Lab::new();
    plant(&lab.source, 2, 4);
    let agent = lab.agent();
    let _watch = lab.watch(&agent);
    let path = lab.source.join("d1/sub/f1.rs");
    for round in 0..4 {
        fs::remove_file(&path).unwrap();
        fs::create_dir_all(path.join("deeper")).unwrap();
        fs::write(path.join("deeper/inside"), format!("{round}")).unwrap();
        // Every other time both steps come faster than anyone can follow.
        if round % 2 == 0 {
            lab.settle();
        }
        fs::remove_dir_all(&path).unwrap();
        fs::write(&path, format!("a file again, {round}")).unwrap();
        lab.settle();
    }
    // A file becomes a symlink, and a directory becomes one.
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("f2.rs", &path).unwrap();
    fs::rename(lab.source.join("d0"), lab.source.join("d0-real")).unwrap();
    std::os::unix::fs::symlink("d0-real", lab.source.join("d0")).unwrap();
    lab.settle();
    lab.assert_equal();
    drop(agent);
}

/// 10,000 files move by one operation: nothing of them goes over the wire again.
#[test]
fn fault_18_rename_of_a_large_directory() {
    let lab = Lab::new();
    plant(&lab.source.join("many"), 100, 100);
    plant(&lab.source, 2, 4);
    let agent = lab.agent();
    let watch = lab.watch(&agent);
    lab.settle();
    let mark = watch.mark();
    fs::rename(lab.source.join("many"), lab.source.join("d1/renamed")).unwrap();
    until("the directory moved", || lab.target.join("d1/renamed/d99/sub/f99.rs").exists());
    lab.settle();
    watch.wait_since(mark, "synced", |event| event["event"] == "synced");
    let wire = watch.sum_since(mark, "wire_bytes");
    assert!(wire < 4_096, "{wire} bytes went over the wire for a rename");
    // Its files are still followed under the new name.
    let content = body(1, 2_000);
    save_in_place(&lab.source.join("d1/renamed/d50/sub/f50.rs"), &content);
    lab.arrives("d1/renamed/d50/sub/f50.rs", &content);
    lab.assert_equal();
    drop(agent);
}

/// Names change hands in a circle, and what was inside comes to be outside.
#[test]
fn fault_19_crossed_moves() {
    let lab = Lab::new();
    plant(&lab.source, 4, 6);
    let agent = lab.agent();
    let watch = lab.watch(&agent);
    let rename = |from: &str, to: &str| fs::rename(lab.source.join(from), lab.source.join(to)).unwrap();
    for round in 0..4 {
        // d0/sub above d0; d1 and d2 exchanged; a circle of three files.
        rename("d0/sub", "aside");
        rename("d0", "aside/sub");
        rename("aside", "d0");
        rename("d1", "aside");
        rename("d2", "d1");
        rename("aside", "d2");
        rename("d3/sub/f0.rs", "aside");
        rename("d3/sub/f1.rs", "d3/sub/f0.rs");
        rename("d3/sub/f2.rs", "d3/sub/f1.rs");
        rename("aside", "d3/sub/f2.rs");
        if round % 2 == 0 {
            lab.settle();
        }
    }
    lab.settle();
    lab.assert_equal();
    let unwanted = |event: &Value| ["problem", "conflict", "halted"].iter().any(|kind| event["event"] == *kind);
    assert!(!watch.events().iter().any(unwanted), "{:?}", watch.events());
    drop(agent);
}

//! Faults 16–18: files that go while they travel, that turn into directories, directories that move.

use std::fs;
use std::time::Duration;

use super::lab::{Lab, body, plant, save_in_place, until};

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

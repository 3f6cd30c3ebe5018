//! Names and content out of the ordinary.

use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt};

use super::lab::{Lab, noise};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_bytes() {
    let lab = Lab::new();
    let names: [&[u8]; 6] =
        [b"esc\x1b[31m", b"line\nbreak", b"\xff\xfe not utf-8", b" leading and trailing ", b"-rf", b"back\\slash"];
    let running = lab.start().await;
    for name in names {
        let dir = lab.alpha("").join(OsStr::from_bytes(name));
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join(OsStr::from_bytes(name)), name).unwrap();
    }
    running.flush().await;
    lab.assert_same();
    // Where they are shown they are escaped.
    let shown: Vec<String> =
        running.synced_from(0).iter().flat_map(|synced| &synced.paths).map(|synced| synced.path.to_string()).collect();
    assert!(shown.iter().all(|path| !path.contains(['\x1b', '\n'])), "{shown:?}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sizes_about_the_bounds_go_over_and_change() {
    let lab = Lab::new();
    let sizes = [0, 1, 4095, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 2 << 20, (2 << 20) + 1];
    for (number, size) in sizes.into_iter().enumerate() {
        lab.write(&format!("{number}"), noise(size, 1));
    }
    let running = lab.start().await;
    running.ready().await;
    lab.assert_same();
    for (number, size) in sizes.into_iter().rev().enumerate() {
        lab.write(&format!("{number}"), noise(size, 2));
    }
    running.flush().await;
    lab.assert_same();
    running.stop().await;
}

//! Large files that are changed again and again: said against a copy of what was sent last.

use std::{fs, path::PathBuf};

use sync_core::{
    engine::Mode,
    session::{
        SessionOptions,
        event::{Event, Synced},
    },
};

use super::lab::{Lab, Running, noise};

const LARGE_BYTES: usize = 24 << 20;

fn options(lab: &Lab, mode: Mode) -> SessionOptions {
    SessionOptions { mode, state_dir: Some(lab.path("state")), ..SessionOptions::default() }
}

/// At once: what takes long to write may be seen half written, for a moment.
fn put(lab: &Lab, path: PathBuf, content: &[u8]) {
    fs::write(lab.path("being written"), content).unwrap();
    fs::rename(lab.path("being written"), path).unwrap();
}

/// Bytes on the wire until `path` has gone over.
async fn wire_bytes(running: &Running, mark: usize, path: &str) -> u64 {
    let event = running
        .event_from(mark, "Synced", |event| match event {
            Event::Synced(synced) => synced.paths.iter().any(|at| at.path.to_string() == path),
            _ => false,
        })
        .await;
    let Event::Synced(Synced { wire_bytes, .. }) = event else { unreachable!() };
    wire_bytes
}

/// Puts it at alpha, and gives the bytes on the wire once beta has it.
async fn save(lab: &Lab, running: &Running, content: &[u8]) -> u64 {
    let mark = running.mark();
    put(lab, lab.alpha("large"), content);
    running.flush().await;
    assert!(fs::read(lab.beta("large")).unwrap() == content);
    wire_bytes(running, mark, "large").await
}

fn kept(dir: PathBuf) -> Vec<PathBuf> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_the_second_edit_on_a_large_file_costs_what_has_changed() {
    let lab = Lab::new();
    let running = lab.start_with(options(&lab, Mode::OneWaySafe)).await;
    running.ready().await;
    let mut content = noise(LARGE_BYTES, 1);
    assert!(save(&lab, &running, &content).await >= LARGE_BYTES as u64);
    content.splice(1000..1000, *b"first");
    let first = save(&lab, &running, &content).await;
    assert!((10_000..1 << 20).contains(&first), "chunks: {first} bytes");
    content.splice(LARGE_BYTES / 2..LARGE_BYTES / 2, *b"second");
    content.splice(2000..2500, *b"second");
    let second = save(&lab, &running, &content).await;
    assert!(second < 1_000, "{second} bytes");
    // One copy is kept, private, and it is that of the last.
    let bases = kept(lab.path("state").join("bases"));
    assert!(matches!(&bases[..], [base] if fs::read(base).unwrap() == content), "{bases:?}");

    // Also after a restart.
    running.stop().await;
    let running = lab.start_with(options(&lab, Mode::OneWaySafe)).await;
    running.ready().await;
    let last = content.len() - 7;
    content[last] ^= 1;
    let third = save(&lab, &running, &content).await;
    assert!(third < 1_000, "{third} bytes");

    // A copy that is damaged is found out, and what it is worth is only bytes.
    let bases = kept(lab.path("state").join("bases"));
    let mut damaged = content.clone();
    damaged[77] ^= 1;
    fs::write(&bases[0], damaged).unwrap();
    content.truncate(20 << 20);
    let mark = running.mark();
    save(&lab, &running, &content).await;
    let told = running.events().split_off(mark);
    assert!(!told.iter().any(|event| matches!(event, Event::Disconnected { .. } | Event::Problem(_))), "{told:?}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_beta_changes_again_and_again_costs_no_more() {
    let lab = Lab::new();
    let mut content = noise(LARGE_BYTES, 1);
    lab.write("large", &content);
    let running = lab.start_with(options(&lab, Mode::TwoWaySafe)).await;
    running.ready().await;
    running.flush().await;
    for (round, bytes_max) in [(1_usize, 1 << 20), (2, 1_000), (3, 1_000)] {
        content.splice(round * 1_000_000..round * 1_000_000, *b"by a hand");
        let mark = running.mark();
        put(&lab, lab.beta("large"), &content);
        running.flush().await;
        assert!(fs::read(lab.alpha("large")).unwrap() == content);
        let bytes = running.event_from(mark, "Received", |event| matches!(event, Event::Received(_))).await;
        let Event::Received(received) = bytes else { unreachable!() };
        assert!(received.wire_bytes < bytes_max, "{received:?}");
    }
    let bases = kept(lab.beta(".synctl/bases"));
    assert!(matches!(&bases[..], [base] if fs::read(base).unwrap() == content), "{bases:?}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_state_directory_nothing_is_kept() {
    let lab = Lab::new();
    let options = SessionOptions { mode: Mode::OneWaySafe, ..SessionOptions::default() };
    let running = lab.start_with(options).await;
    running.ready().await;
    let mut content = noise(4 << 20, 1);
    for byte in 0..3 {
        content[500_000] = byte;
        let bytes = save(&lab, &running, &content).await;
        assert!(bytes > 10_000, "chunks: {bytes} bytes");
    }
    running.stop().await;
}

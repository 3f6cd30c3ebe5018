//! What has gone over before does not travel again, in whatever file it comes.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use sync_core::{
    engine::Mode,
    session::{SessionOptions, event::Event},
};

use super::lab::{Lab, PATIENCE, Running, Served, noise};

const LARGE_BYTES: usize = 24 << 20;
/// One byte in a hundred.
const FEW: u64 = LARGE_BYTES as u64 / 100;

fn options(lab: &Lab, mode: Mode) -> SessionOptions {
    SessionOptions { mode, state_dir: Some(lab.path("state")), ..SessionOptions::default() }
}

/// At once: what takes long to write may be seen half written, for a moment.
fn put(lab: &Lab, path: PathBuf, content: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(lab.path("being written"), content).unwrap();
    fs::rename(lab.path("being written"), path).unwrap();
}

/// Which side a file is put at.
#[derive(Clone, Copy, PartialEq)]
enum From {
    Alpha,
    Beta,
}

/// Puts it at one side, and gives the bytes on the wire once the other has it.
async fn save(lab: &Lab, running: &Running, from: From, path: &str, content: &[u8]) -> u64 {
    let mark = running.mark();
    let (here, there) = match from {
        From::Alpha => (lab.alpha(path), lab.beta(path)),
        From::Beta => (lab.beta(path), lab.alpha(path)),
    };
    put(lab, here, content);
    running.flush().await;
    assert!(fs::read(there).unwrap() == content, "{path} is not what it was");
    let is_it = |at: &sync_core::session::event::SyncedPath| at.path.to_string() == path;
    let event = running.event_from(mark, "Synced or Received", |event| match event {
        Event::Synced(synced) => synced.paths.iter().any(is_it),
        Event::Received(_) => from == From::Beta,
        _ => false,
    });
    match event.await {
        Event::Synced(synced) => synced.wire_bytes,
        Event::Received(received) => received.wire_bytes,
        _ => unreachable!(),
    }
}

/// The indexes of both sides.
fn indexes(lab: &Lab) -> Vec<PathBuf> {
    let of_alpha = fs::read_dir(lab.path("state/chunks")).into_iter().flatten();
    let mut paths: Vec<PathBuf> = of_alpha.map(|entry| entry.unwrap().path()).collect();
    paths.push(lab.beta(".synctl/chunks"));
    paths
}

/// Waits until both sides have kept what they know since they had `before`.
async fn kept(lab: &Lab, before: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let now: Vec<Vec<u8>> = indexes(lab).iter().filter_map(|path| fs::read(path).ok()).collect();
        if now.len() == 2
            && now.iter().zip(before.iter().chain([&Vec::new(), &Vec::new()])).all(|(new, old)| new != old)
        {
            return now;
        }
        assert!(Instant::now() < deadline, "the chunks are not kept: {:?}", indexes(lab));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn edited(content: &[u8], round: usize) -> Vec<u8> {
    let mut edited = content.to_vec();
    edited.splice(round * 1_000_000..round * 1_000_000, format!("edit {round}").into_bytes());
    edited
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_artefact_under_another_name_travels_as_references() {
    let lab = Lab::new();
    let content = noise(LARGE_BYTES, 1);
    let mut running = lab.start_with(options(&lab, Mode::OneWaySafe)).await;
    running.ready().await;
    assert!(save(&lab, &running, From::Alpha, "artefact", &content).await >= LARGE_BYTES as u64);
    kept(&lab, &[]).await;
    for round in 1..4 {
        let path = format!("other/{round}");
        let bytes = save(&lab, &running, From::Alpha, &path, &edited(&content, round)).await;
        assert!(bytes < FEW, "round {round}: {bytes} bytes");
        // Also in the next session, with an agent that was started anew.
        running.stop().await;
        running = lab.start_with(options(&lab, Mode::OneWaySafe)).await;
        running.ready().await;
    }
    // Moved meanwhile.
    fs::rename(lab.alpha("other"), lab.alpha("elsewhere")).unwrap();
    fs::remove_file(lab.alpha("artefact")).unwrap();
    running.flush().await;
    let bytes = save(&lab, &running, From::Alpha, "new", &edited(&content, 5)).await;
    assert!(bytes < FEW, "after a move: {bytes} bytes");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_it_does_from_beta_and_what_one_side_has_sent_the_other_finds() {
    let lab = Lab::new();
    let content = noise(LARGE_BYTES, 1);
    let running = lab.start_with(options(&lab, Mode::TwoWaySafe)).await;
    running.ready().await;
    assert!(save(&lab, &running, From::Beta, "artefact", &content).await >= LARGE_BYTES as u64);
    kept(&lab, &[]).await;
    for (round, from) in [(1, From::Beta), (2, From::Alpha), (3, From::Beta)] {
        let bytes = save(&lab, &running, from, &format!("{round}"), &edited(&content, round)).await;
        assert!(bytes < FEW, "round {round}: {bytes} bytes");
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_on_another_machine_has_its_own() {
    let lab = Lab::new();
    let content = noise(LARGE_BYTES, 1);
    let mut served = Served::start(&[lab.path("beta")]).await;
    let options = || SessionOptions { state_dir: Some(lab.path("state")), ..served.options() };
    let running = Running::start(&lab.path("alpha"), served.destination(&lab.path("beta")), options()).await;
    running.ready().await;
    save(&lab, &running, From::Alpha, "artefact", &content).await;
    kept(&lab, &[]).await;
    let mark = running.mark();
    served.stop().await;
    running.event_from(mark, "Disconnected", |event| matches!(event, Event::Disconnected { .. })).await;
    let mark = running.mark();
    served.start_again().await;
    running.event_from(mark, "Ready", |event| matches!(event, Event::Ready { .. })).await;
    let bytes = save(&lab, &running, From::Alpha, "other", &edited(&content, 1)).await;
    assert!(bytes < FEW, "{bytes} bytes");
    running.stop().await;
    served.stop().await;
}

/// Writes where an index is, as another hand might.
fn spoil(path: &Path, how: &dyn Fn(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    how(&mut bytes);
    fs::write(path, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_remembered_wrongly_costs_bytes_alone() {
    let lab = Lab::new();
    let content = noise(LARGE_BYTES, 1);
    let running = lab.start_with(options(&lab, Mode::OneWaySafe)).await;
    running.ready().await;
    save(&lab, &running, From::Alpha, "artefact", &content).await;
    kept(&lab, &[]).await;
    // Most of it is another now, and what it was is nowhere.
    let mut other = noise(LARGE_BYTES, 2);
    other[LARGE_BYTES / 2..].copy_from_slice(&content[LARGE_BYTES / 2..]);
    save(&lab, &running, From::Alpha, "artefact", &other).await;
    let mark = running.mark();
    let bytes = save(&lab, &running, From::Alpha, "old", &edited(&content, 1)).await;
    assert!(bytes > LARGE_BYTES as u64 / 3, "half of it is still there: {bytes}");
    running.stop().await;

    for index in indexes(&lab) {
        spoil(&index, &|bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        });
    }
    let running = lab.start_with(options(&lab, Mode::OneWaySafe)).await;
    running.ready().await;
    let bytes = save(&lab, &running, From::Alpha, "again", &edited(&content, 2)).await;
    assert!(bytes >= LARGE_BYTES as u64, "damaged, it is not used: {bytes}");
    let told = running.events().split_off(mark.min(running.events().len()));
    assert!(!told.iter().any(|event| matches!(event, Event::Disconnected { .. } | Event::Problem(_))), "{told:?}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_edit_is_said_by_what_is_known_of_the_version_before() {
    let lab = Lab::new();
    let mut content = noise(LARGE_BYTES, 1);
    let mut running = lab.start_with(options(&lab, Mode::TwoWaySafe)).await;
    running.ready().await;
    for (from, path) in [(From::Alpha, "ours"), (From::Beta, "theirs")] {
        save(&lab, &running, from, path, &content).await;
        content = noise(LARGE_BYTES, 2);
    }
    kept(&lab, &[]).await;
    running.stop().await;
    for (from, path, seed) in [(From::Alpha, "ours", 1), (From::Beta, "theirs", 2)] {
        running = lab.start_with(options(&lab, Mode::TwoWaySafe)).await;
        running.ready().await;
        let mut content = noise(LARGE_BYTES, seed);
        content.splice(9_000_000..9_000_000, *b"inserted");
        content[17_000_000] ^= 1;
        let bytes = save(&lab, &running, from, path, &content).await;
        // Two or three chunks, and no recipe: that alone would be 54,000 bytes.
        assert!(bytes < 200_000, "{path}: {bytes} bytes");
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_removed_and_is_made_again_travels_as_references() {
    let lab = Lab::new();
    let content = noise(LARGE_BYTES, 1);
    let running = lab.start_with(options(&lab, Mode::OneWaySafe)).await;
    running.ready().await;
    save(&lab, &running, From::Alpha, "build/artefact", &content).await;
    save(&lab, &running, From::Alpha, "other", b"stays").await;
    kept(&lab, &[]).await;
    fs::remove_dir_all(lab.alpha("build")).unwrap();
    running.flush().await;
    assert!(!lab.beta("build").exists());
    // In the same session, and in the next.
    let bytes = save(&lab, &running, From::Alpha, "build/artefact", &edited(&content, 1)).await;
    assert!(bytes < FEW, "{bytes} bytes");
    fs::remove_dir_all(lab.alpha("build")).unwrap();
    running.flush().await;
    running.stop().await;
    let running = lab.start_with(options(&lab, Mode::OneWaySafe)).await;
    running.ready().await;
    let bytes = save(&lab, &running, From::Alpha, "build/artefact", &edited(&content, 2)).await;
    assert!(bytes < FEW, "{bytes} bytes");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_just_edited_is_known_as_it_is_now() {
    let lab = Lab::new();
    let content = noise(LARGE_BYTES, 1);
    let running = lab.start_with(options(&lab, Mode::OneWaySafe)).await;
    running.ready().await;
    save(&lab, &running, From::Alpha, "artefact", &content).await;
    let before = kept(&lab, &[]).await;
    let new = edited(&content, 3);
    save(&lab, &running, From::Alpha, "artefact", &new).await;
    kept(&lab, &before).await;
    let bytes = save(&lab, &running, From::Alpha, "other", &edited(&new, 9)).await;
    assert!(bytes < FEW, "{bytes} bytes");
    running.stop().await;
}

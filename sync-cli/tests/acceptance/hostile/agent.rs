//! What an agent may say that no agent says, to a real `synctl`.

use std::fs;
use std::time::Duration;

use sync_proto::message::{
    BatchId, Bounded, Change, Changes, Listed, Need, Outcome, Problem, ProblemKind, Problems, Sentence, ToAgent,
    ToController,
};
use sync_proto::{ContentId, Entry, SyncPath, TreeHash};
use tokio::time::timeout;

use super::super::lab::{Lab, PATIENCE, Watch, plant};
use super::honest::{Memory, listing};
use super::liar::{Liar, changes, is_named, listener, listing_of, outcomes};
use super::peer::{blob, frame, path, play, raw_frame};
use super::{GROWTH_BYTES_MAX, scale};

/// More than a stream's window takes, so that the sending of it does not end before an agent reads it.
const LARGE_BYTES: usize = 40 << 20;

/// Bytes that can't be compressed.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..len / 8).flat_map(|_| next()).collect()
}

/// Has `synctl watch` talk to an agent that plays `lie` in each session. It must end one in words that have `fault` in
/// them, stay within its memory, leave alpha alone, and end well when it is asked to. Empty: no session need end.
fn check(fault: &str, lie: impl AsyncFn(&mut Liar)) {
    let lab = Lab::new();
    plant(&lab.source, 2, 4);
    fs::write(lab.source.join("large"), noise(LARGE_BYTES)).unwrap();
    let (watch, grown) = play(async {
        let listener = listener(&lab);
        // In this mode nothing at all is written at alpha, whatever it says.
        let mut command = lab.command("watch", listener.local_addr().port());
        command.args(["--mode", "one-way-safe"]);
        let watch = Watch::start(command);
        let memory = Memory::of(watch.pid());
        let lying = async {
            loop {
                let mut liar = Liar::accept(&listener).await;
                lie(&mut liar).await;
                if fault.is_empty() {
                    return;
                }
                let _ = timeout(Duration::from_secs(20), liar.connection.closed()).await;
            }
        };
        let named = async {
            while fault.is_empty() || !is_named(&watch, fault) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        // One that does much, and ends by itself, takes its time on a busy machine.
        let patience = if fault.is_empty() { 4 * PATIENCE } else { PATIENCE };
        tokio::select! {
            () = lying => {}
            () = named => {}
            () = tokio::time::sleep(patience) => panic!("`{fault}` was not named, but: {:#?}", watch.events()),
        }
        let grown = memory.grown();
        (watch, grown)
    });
    eprintln!("{fault}: grew by {} MiB", grown >> 20);
    assert!(grown <= GROWTH_BYTES_MAX, "{fault}: synctl grew by {} MiB", grown >> 20);
    let (finished, _) = watch.interrupt(Duration::from_secs(10));
    assert!(finished.code.is_some() && !finished.stderr.contains("panicked"), "{fault}: {finished:?}");
    assert_eq!(listing(&lab.source), ["d0", "d1", "large"], "{fault}: alpha was touched");
}

/// Says bytes as they are after `Opened`.
fn check_said(fault: &str, bytes: &[u8]) {
    check(fault, async |liar| {
        liar.opened(TreeHash([1; 32])).await;
        let _ = liar.send.write_all(bytes).await;
        let _ = liar.send.finish();
    });
}

fn directory(name: &str, hash: u64) -> Listed {
    let mut tree = [9; 32];
    tree[..8].copy_from_slice(&hash.to_le_bytes());
    Listed { name: path(name), entry: Entry::Directory, tree: TreeHash(tree) }
}

#[test]
fn fault_45_an_agent_whose_frames_are_none() {
    check_said("over the limit", &[0xff, 0xff, 0xff, 0xff, 1]);
    check_said("malformed message", &raw_frame(&[200]));
    check_said("left after the message", &raw_frame(&[6, 1, 1]));
    check_said("within a message", &[100, 0, 0, 0, 3]);
    // A listing of a name that leads elsewhere: path, count, name of two components.
    check_said("a listed name|malformed", &raw_frame(&[2, 0, 1, 1, 2, b'.', b'.', 0]));
}

#[test]
fn fault_45_an_agent_that_answers_what_was_not_asked() {
    check("answer the opening", async |liar| liar.say(&ToController::Flushed(1)).await);
    check("opened the root twice", async |liar| {
        liar.opened(TreeHash([1; 32])).await;
        liar.opened(TreeHash([1; 32])).await;
    });
    check("outcomes that was not asked for", async |liar| {
        liar.opened(TreeHash([1; 32])).await;
        liar.say(&outcomes(BatchId(77), vec![Outcome::Applied])).await;
    });
    check("outcomes that was not asked for", async |liar| {
        let (id, count) = liar.first_batch().await;
        for _ in 0..2 {
            liar.say(&outcomes(id, vec![Outcome::Applied; count])).await;
        }
    });
    check("the number of outcomes", async |liar| {
        let (id, count) = liar.first_batch().await;
        liar.say(&outcomes(id, vec![Outcome::Applied; count + 1])).await;
    });
    check("a listing that was not asked for", async |liar| {
        liar.opened(TreeHash([1; 32])).await;
        liar.say(&listing_of(path("nobody/asked"), vec![], true)).await;
    });
    check("the order of a listing", async |liar| {
        liar.opened(TreeHash([1; 32])).await;
        liar.say(&listing_of(SyncPath::root(), vec![directory("b", 1), directory("a", 1)], true)).await;
    });
    check("a listed name", async |liar| {
        liar.opened(TreeHash([1; 32])).await;
        liar.say(&listing_of(SyncPath::root(), vec![directory("a/b", 1)], true)).await;
    });
    // Chunks that nobody asked about, for a file that is being streamed and never read: not kept without bound.
    check("needs that was not asked for", async |liar| {
        liar.opened(sync_core::tree::Tree::new().hash()).await;
        // Until its window is full.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let missing = blob(&[0xff; 2048]);
        for page in 0..4000 * scale() as u32 {
            for batch in 0..4 {
                liar.say(&ToController::Need(Need { batch: BatchId(batch), page, missing: missing.clone() })).await;
            }
            if liar.connection.close_reason().is_some() {
                return;
            }
        }
    });
}

#[test]
fn fault_45_an_agent_whose_tree_has_no_end() {
    // Each directory holds one that has the hash of the one above.
    check("a listed path", async |liar| {
        liar.opened(TreeHash([1; 32])).await;
        while let Some(message) = liar.hear().await {
            let ToAgent::TreeRequest(paths) = message else { continue };
            for path in paths.iter() {
                liar.say(&listing_of(path.clone(), vec![directory("deeper", 1)], true)).await;
            }
        }
    });
    // Each of many directories holds as many again, of names as long as can be: asked for a few at a time.
    check("", async |liar| {
        liar.opened(TreeHash([1; 32])).await;
        let name = "n".repeat(240);
        let entries: Vec<_> = (0..1000).map(|at| directory(&format!("{name}{at:08}"), at)).collect();
        let mut left = 150 * scale();
        while left > 0 {
            let Ok(message) = timeout(Duration::from_secs(5), liar.hear()).await else { panic!("nothing was asked") };
            let Some(ToAgent::TreeRequest(paths)) = message else { continue };
            for path in paths.iter().take(left) {
                liar.say(&listing_of(path.clone(), entries.clone(), true)).await;
            }
            left = left.saturating_sub(paths.len());
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    });
    // A directory whose pages never end.
    check("", async |liar| {
        liar.opened(TreeHash([1; 32])).await;
        for page in 0..40 * scale() as u64 {
            let from = page * 8192;
            let entries = (from..from + 8192).map(|at| Listed {
                name: path(&format!("wide{at:012}")),
                entry: Entry::File { content: ContentId([3; 32]), len: at, executable: false },
                tree: TreeHash([0; 32]),
            });
            liar.say(&listing_of(SyncPath::root(), entries.collect(), false)).await;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    });
}

#[test]
fn fault_45_an_agent_that_floods_and_stalls() {
    check("", async |liar| {
        liar.opened(TreeHash([1; 32])).await;
        let pongs: Vec<u8> = (0..1000).flat_map(|number| frame(&ToController::Pong(number))).collect();
        for _ in 0..300 * scale() {
            let _ = liar.send.write_all(&pongs).await;
        }
    });
    // As many problems as a message can have, other ones each time.
    check("", async |liar| {
        liar.opened(sync_core::tree::Tree::new().hash()).await;
        for round in 0..200 * scale() {
            let problem = |at: usize| Problem {
                path: path(&format!("{}/{round}/{at}", "p".repeat(200))),
                kind: ProblemKind::Io,
                detail: Sentence::new("\x1b[2J".repeat(100)),
            };
            let problems = Problems::new((0..256).map(problem));
            let changes =
                Changes { changes: Bounded::default(), settled: true, complete: false, problems, age_micros: 0 };
            liar.say(&ToController::Changes(changes)).await;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    });
    // Paths that come and go.
    check("", async |liar| {
        liar.opened(sync_core::tree::Tree::new().hash()).await;
        for round in 0..50 * scale() {
            let change = |at: usize| Change {
                path: path(&format!("{}{at}", "c".repeat(200))),
                entry: (round % 2 == 0).then_some(Entry::File {
                    content: ContentId([1; 32]),
                    len: 1,
                    executable: false,
                }),
                content: None,
            };
            liar.say(&changes((0..4096).map(change).collect())).await;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    });
    // It opens, and neither reads nor answers anything.
    check("", async |liar| {
        liar.opened(sync_core::tree::Tree::new().hash()).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
    });
    // It never opens. Whoever waits for it can be interrupted.
    check("", async |_| tokio::time::sleep(Duration::from_secs(2)).await);
    // What it says is shown, and shown only.
    check("\\u{1b}[31m|x1b", async |liar| liar.say(&ToController::Refused(Sentence::new("\x1b[31mred\n"))).await);
}

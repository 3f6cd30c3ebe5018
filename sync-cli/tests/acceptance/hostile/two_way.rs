//! What an agent may say that no agent says, to a real `synctl watch` that takes its changes over: there it may cause writes
//! at alpha, within what it is trusted with.
//!
//! Each lie is told by an agent that was honest until then: it was sent all that alpha has. Whatever it tells, nothing is
//! touched outside the root, and what stood at alpha stands there, or is in the trash, byte by byte.

mod content;
mod deletions;
mod floods;
mod paths;
mod snapshot;

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sync_core::link::{FrameReader, Listener};
use sync_core::tree::Tree;
use sync_proto::limits::{BUNDLE_FRAME_BYTES_MAX, FILE_FRAME_BYTES_MAX, STREAM_HEADER_BYTES_MAX};
use sync_proto::message::{
    Batch, BatchId, Bounded, Change, Described, Fetch, Fetched, FileFrame, Outcome, Pushed, StreamHeader, Supply,
    ToAgent, ToController,
};
use sync_proto::{ContentId, Entry, SyncPath};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::super::lab::{Lab, PATIENCE, Watch, plant};
use super::GROWTH_BYTES_MAX;
use super::honest::{Memory, listing};
use super::liar::{Liar, changes, is_named, listener, listing_of, outcomes};
use super::peer::{blob, file, path, play};
use snapshot::{Snapshot, snapshot};

/// Files of alpha that `plant` makes: enough for deletions to be counted.
const PLANTED: usize = 30;
/// How long a session is left alone after a lie, for what it might still do.
const AFTER: Duration = Duration::from_millis(300);

/// What a liar is told: a message, a batch, or that a file was streamed to it as a batch of this number.
enum Heard {
    Message(ToAgent),
    Batch(Batch),
    Streamed(BatchId),
}

/// A liar in sync with a real `synctl watch`, which trusts it as far as it trusts any agent.
struct Act<'a> {
    lab: &'a Lab,
    watch: &'a Watch,
    listener: &'a Listener,
    outside: &'a Path,
    liar: Liar,
    streams: mpsc::Receiver<Heard>,
    /// What it can give when it is asked for.
    contents: HashMap<ContentId, Vec<u8>>,
    /// How often it was honest.
    honest: usize,
}

/// What a lie left behind.
struct Aftermath {
    lab: Lab,
    before: Snapshot,
    after: Snapshot,
}

/// Has `synctl watch` with these arguments talk to an agent that gets into sync and then plays `lie`.
fn check(name: &str, arguments: &[&str], lie: impl AsyncFnOnce(&mut Act<'_>)) -> Aftermath {
    let lab = Lab::new();
    let outside = lab.base().join("outside");
    furnish(&lab, &outside);
    let (before, around) = (snapshot(&lab.source), snapshot(&outside));
    let (watch, grown) = play(async {
        let listener = listener(&lab);
        let mut command = lab.command("watch", listener.local_addr().port());
        command.args(["--mode", "two-way-safe"]).args(arguments);
        let watch = Watch::start(command);
        let liar = Liar::accept(&listener).await;
        let streams = streams(&liar);
        let (lab, watch_ref, outside) = (&lab, &watch, &outside);
        let contents = HashMap::new();
        let mut act = Act { lab, watch: watch_ref, listener: &listener, outside, liar, streams, contents, honest: 0 };
        act.liar.opened(Tree::new().hash()).await;
        act.until("it is ready", |act| act.watch.events().iter().any(|event| event["event"] == "ready")).await;
        let memory = Memory::of(watch.pid());
        lie(&mut act).await;
        (watch, memory.grown())
    });
    eprintln!("{name}: grew by {} MiB", grown >> 20);
    assert!(grown <= GROWTH_BYTES_MAX, "{name}: synctl grew by {} MiB", grown >> 20);
    let (finished, _) = watch.interrupt(PATIENCE);
    assert!(finished.code.is_some() && !finished.stderr.contains("panicked"), "{name}: {finished:?}");
    assert_eq!(snapshot(&outside), around, "{name}: something outside was touched");
    let beside = listing(lab.base());
    assert_eq!(beside, ["home", "outside", "secret", "source", "state", "target"], "{name}: something was put beside");
    let own = ["cookie-", "displaced", "index", "lock", "partial", "replica", "stage", "trash", "unsynced-"];
    let is_own = |found: &String| own.iter().any(|own| found == own || own.ends_with('-') && found.starts_with(own));
    let strange: Vec<_> = listing(&lab.source.join(".synctl")).into_iter().filter(|found| !is_own(found)).collect();
    assert_eq!(strange, [""; 0], "{name}: something was put beneath .synctl");
    let after = snapshot(&lab.source);
    Aftermath { lab, before, after }
}

/// What a person has: sources, hooks and settings that run programs, and a symlink that leads elsewhere.
fn furnish(lab: &Lab, outside: &Path) {
    plant(&lab.source, 3, PLANTED / 3);
    for (at, content) in [
        (".git/config", "[core]\n"),
        (".git/hooks/pre-push", "#!/bin/sh\n"),
        (".envrc", "export A=1\n"),
        (".vscode/settings.json", "{}\n"),
    ] {
        let at = lab.source.join(at);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::write(at, content).unwrap();
    }
    fs::create_dir(outside).unwrap();
    fs::write(outside.join("canary"), "canary").unwrap();
    symlink(outside, lab.source.join("way")).unwrap();
}

impl Aftermath {
    /// All that stood at alpha stands there as it did, and nothing else but `new` and what an honest agent told.
    fn unchanged_but(&self, new: &[&str]) {
        let Self { before, after, .. } = self;
        let gone: Vec<_> = before.iter().filter(|(path, stands)| after.get(*path) != Some(stands)).collect();
        assert!(
            gone.is_empty(),
            "gone or changed at alpha: {:?}",
            gone.iter().map(|(path, _)| path).collect::<Vec<_>>()
        );
        let is_known = |path: &&PathBuf| {
            let name = path.to_str().unwrap_or_default();
            before.contains_key(*path) || name.starts_with("honest") || new.contains(&name)
        };
        let strange: Vec<_> = after.keys().filter(|path| !is_known(path)).collect();
        assert!(strange.is_empty(), "new at alpha: {strange:?}");
    }
}

/// What comes on streams that the controller opens.
fn streams(liar: &Liar) -> mpsc::Receiver<Heard> {
    let (heard, streams) = mpsc::channel(16);
    let connection = liar.connection.clone();
    tokio::spawn(async move {
        while let Ok(recv) = connection.accept_uni().await {
            let heard = heard.clone();
            tokio::spawn(async move {
                let mut reader = FrameReader::new(recv);
                let Ok(Some(header)) = reader.read::<StreamHeader>(STREAM_HEADER_BYTES_MAX).await else { return };
                match header {
                    StreamHeader::Bundle(_) => {
                        while let Ok(Some(batch)) = reader.read::<Batch>(BUNDLE_FRAME_BYTES_MAX).await {
                            let _ = heard.send(Heard::Batch(batch)).await;
                        }
                    }
                    StreamHeader::File(_, header) => {
                        while let Ok(Some(_)) = reader.read::<FileFrame>(FILE_FRAME_BYTES_MAX).await {}
                        let _ = heard.send(Heard::Streamed(header.batch)).await;
                    }
                }
            });
        }
    });
    streams
}

impl Act<'_> {
    async fn say(&mut self, message: &ToController) {
        self.liar.say(message).await;
    }

    /// What is told within a moment.
    async fn hear(&mut self) -> Option<Heard> {
        let either = async {
            tokio::select! {
                message = self.liar.hear() => match message {
                    Some(ToAgent::Batch(batch)) => Some(Heard::Batch(batch)),
                    Some(message) => Some(Heard::Message(message)),
                    // Hung up.
                    None => std::future::pending().await,
                },
                Some(heard) = self.streams.recv() => Some(heard),
            }
        };
        timeout(Duration::from_millis(20), either).await.ok().flatten()
    }

    /// Answers as an honest agent does whose disk is empty but for `contents`.
    fn honestly(&self, heard: &Heard) -> Option<ToController> {
        Some(match heard {
            Heard::Batch(batch) => outcomes(batch.id, vec![Outcome::Applied; batch.operations.len()]),
            Heard::Streamed(id) => outcomes(*id, vec![Outcome::Applied]),
            Heard::Message(ToAgent::Fetch(fetch)) => self.fetched(fetch),
            Heard::Message(ToAgent::Describe(describe)) => {
                let found = Bounded::new(vec![None; describe.paths.len()]).unwrap();
                ToController::Described(Described { id: describe.id, found })
            }
            Heard::Message(ToAgent::TreeRequest(paths)) => listing_of(paths.first().unwrap().clone(), vec![], true),
            Heard::Message(ToAgent::Ping(number)) => ToController::Pong(*number),
            Heard::Message(ToAgent::Flush(number)) => ToController::Flushed(*number),
            Heard::Message(_) => return None,
        })
    }

    fn fetched(&self, fetch: &Fetch) -> ToController {
        let supply = |entry: &Entry| {
            let content = entry.content().and_then(|content| self.contents.get(&content));
            content.map_or(Supply::Changed, |content| Supply::Raw(blob(content)))
        };
        let contents = Bounded::new(fetch.files.iter().map(|wanted| supply(&wanted.entry)).collect()).unwrap();
        ToController::Fetched(Fetched { id: fetch.id, first: 0, contents })
    }

    /// Answers honestly but for what `lie` answers, until `over`.
    async fn lying(
        &mut self,
        what: &str,
        mut lie: impl FnMut(&Heard) -> Option<Vec<ToController>>,
        over: impl Fn(&Self) -> bool,
    ) {
        let deadline = Instant::now() + PATIENCE;
        while !over(self) {
            assert!(Instant::now() < deadline, "it did not come to pass that {what}: {:#?}", self.watch.events());
            let Some(heard) = self.hear().await else { continue };
            let answers = lie(&heard).unwrap_or_else(|| self.honestly(&heard).into_iter().collect());
            for answer in answers {
                self.say(&answer).await;
            }
        }
    }

    /// Answers honestly until `over`.
    async fn until(&mut self, what: &str, over: impl Fn(&Self) -> bool) {
        self.lying(what, |_| None, over).await;
    }

    /// Answers honestly for a while.
    async fn rests(&mut self) {
        let end = Instant::now() + AFTER;
        self.until("time passes", |_| Instant::now() > end).await;
    }

    /// Until the session has ended, in words that have `fault` in them.
    async fn is_dropped(&mut self, fault: &str) {
        self.until(fault, |act| is_named(act.watch, fault)).await;
        let code = timeout(PATIENCE, self.liar.connection.closed()).await;
        assert!(code.is_ok(), "{fault}: the connection was not ended");
    }

    /// All that was said has been read, and the session goes on: what an honest agent tells is taken over.
    async fn goes_on(&mut self) {
        self.goes_on_but(|_| None).await;
    }

    /// The same with what `lie` answers.
    async fn goes_on_but(&mut self, mut lie: impl FnMut(&Heard) -> Option<Vec<ToController>>) {
        self.honest += 1;
        let name = format!("honest{}", self.honest);
        let content = format!("honest content {}", self.honest).into_bytes();
        self.say(&changes(vec![news(&name, &content)])).await;
        let at = self.lab.source.join(name);
        let arrived = |_: &Self| fs::read(&at).is_ok_and(|found| found == content);
        self.lying("honest news are taken over", &mut lie, arrived).await;
        let end = Instant::now() + AFTER;
        self.lying("time passes", lie, |_| Instant::now() > end).await;
        assert!(!self.watch.events().iter().any(|event| event["event"] == "disconnected"), "the session ended");
    }

    /// Whether a problem was told of this kind, at `path` or above it.
    fn has_problem(&self, kind: &str, path: &str) -> bool {
        let covers = |told: &str| Path::new(path).starts_with(told);
        let is_it = |event: &serde_json::Value| {
            event["event"] == "problem" && event["kind"] == kind && event["path"].as_str().is_some_and(covers)
        };
        self.watch.events().iter().any(is_it)
    }

    /// Another session of the same watch, which sees this replica with a tree of this hash.
    async fn meets_again(&mut self) {
        let closing = self.liar.connection.clone();
        closing.close(0_u32.into(), b"again");
        self.liar = timeout(PATIENCE, Liar::accept(self.listener)).await.unwrap();
        self.streams = streams(&self.liar);
    }
}

/// News of a file, with its content.
fn news(at: &str, content: &[u8]) -> Change {
    pushed(at, file(content), Pushed::Raw(blob(content)))
}

fn pushed(at: &str, entry: Entry, content: Pushed) -> Change {
    Change { path: path(at), entry: Some(entry), content: Some(content) }
}

/// News of what stands at a path, or that nothing does.
fn stands(at: &str, entry: impl Into<Option<Entry>>) -> Change {
    Change { path: path(at), entry: entry.into(), content: None }
}

/// News of the directories above a path, the outermost first.
fn above(at: &str) -> Vec<Change> {
    let parents = std::iter::successors(path(at).parent(), SyncPath::parent).filter(|parent| !parent.is_root());
    let mut found: Vec<Change> =
        parents.map(|path| Change { path, entry: Some(Entry::Directory), content: None }).collect();
    found.reverse();
    found
}

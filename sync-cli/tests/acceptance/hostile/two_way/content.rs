//! Content that is not what it was said to be, or never comes.

use std::fs;
use std::time::{Duration, Instant};

use quinn::SendStream;
use sync_proto::Entry;
use sync_proto::message::{
    BatchId, Bounded, Change, Content, Expected, Fetch, Fetched, FileFrame, FileHeader, Operation, Pushed, RecipePage,
    SessionId, StreamHeader, Supply, ToAgent, ToController, Wanted,
};

use super::super::liar::changes;
use super::super::peer::{blob, bomb, file, file_of, frame, path};
use super::{Act, Heard, check, pushed, stands};

/// What a bomb comes to: more than the victim may grow by.
const BOMB_BYTES: usize = 512 << 20;
/// The length of a file that is streamed.
const LARGE_BYTES: u64 = 40 << 20;

fn fetched(id: BatchId, first: u32, contents: Vec<Supply>) -> ToController {
    ToController::Fetched(Fetched { id, first, contents: Bounded::new(contents).unwrap() })
}

/// Gives this for the content of `at`, and nothing for any other.
fn giving(at: &str, supply: &Supply) -> impl FnMut(&Heard) -> Option<Vec<ToController>> {
    let (at, supply) = (path(at), supply.clone());
    move |heard| match heard {
        Heard::Message(ToAgent::Fetch(fetch)) => {
            let given = |wanted: &Wanted| if wanted.path == at { supply.clone() } else { Supply::Changed };
            Some(vec![fetched(fetch.id, 0, fetch.files.iter().map(given).collect())])
        }
        _ => None,
    }
}

impl Act<'_> {
    /// Tells news, and waits until content is asked for.
    async fn is_asked(&mut self, news: Change) -> Fetch {
        self.say(&changes(vec![news])).await;
        let asked = std::cell::RefCell::new(None);
        let note = |heard: &Heard| match heard {
            Heard::Message(ToAgent::Fetch(fetch)) => {
                *asked.borrow_mut() = Some(fetch.clone());
                Some(Vec::new())
            }
            _ => None,
        };
        self.lying("content is asked for", note, |_| asked.borrow().is_some()).await;
        asked.into_inner().unwrap()
    }
}

#[test]
fn fault_45_two_way_content_that_is_other() {
    let explosive = bomb(BOMB_BYTES);
    let other = vec![b'x'; 60 << 10];
    let raw = |bytes: &[u8]| (Pushed::Raw(blob(bytes)), Supply::Raw(blob(bytes)));
    let zstd = |bytes: &[u8]| (Pushed::Zstd(blob(bytes)), Supply::Zstd(blob(bytes)));
    let told = check("content that is other", &[], async |act| {
        let window = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0xff, 0xff, 0xff, b'x'];
        let of_len = |len: usize| file_of(b"never", len as u64);
        let len = other.len();
        for (at, (pushed_content, supply), entry) in [
            ("lie0", raw(&other), of_len(len)),
            ("lie1", (Pushed::Raw(blob(b"short")), Supply::Raw(blob(&other))), of_len(len)),
            ("lie2", zstd(&explosive), of_len(len)),
            ("lie3", zstd(b"no frame"), of_len(len)),
            ("lie4", zstd(&window), of_len(1 << 20)),
            ("lie5", zstd(&zstd::bulk::compress(&other, 1).unwrap()), of_len(len)),
            ("lie6", zstd(&zstd::bulk::compress(&other, 1).unwrap()), of_len(len + 1)),
            ("d0/sub/f0.rs", raw(&other), of_len(len)),
        ] {
            act.say(&changes(vec![pushed(at, entry, pushed_content)])).await;
            act.goes_on_but(giving(at, &supply)).await;
            assert!(act.has_problem("io", at), "{at}: {:#?}", act.watch.events());
        }
    });
    told.unchanged_but(&[]);
    // Against what stands there: beyond it, and to lengths that nobody holds.
    for delta in [
        &[0xff; 64][..],
        &[],
        &[0, 0x80, 0x80, 0x80, 0x01, 0],
        &[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0],
        &[&[1, 0, 0][..], &explosive[4..]].concat(),
    ] {
        let told = check("a delta that is none", &[], async |act| {
            let at = "d0/sub/f1.rs";
            let base = file(&fs::read(act.lab.source.join(at)).unwrap()).content().unwrap();
            let entry = file_of(b"never", other.len() as u64);
            // As it was pushed, and as it is given when it is asked for.
            for news in [
                pushed(at, entry.clone(), Pushed::Delta { base, delta: blob(delta) }),
                stands(at, file_of(b"never either", other.len() as u64)),
            ] {
                act.say(&changes(vec![news])).await;
                let give = |heard: &Heard| {
                    let Heard::Message(ToAgent::Fetch(fetch)) = heard else { return None };
                    let whole = || Supply::Raw(blob(&other));
                    let given = |wanted: &Wanted| wanted.base.map_or_else(whole, |_| Supply::Delta(blob(delta)));
                    Some(vec![fetched(fetch.id, 0, fetch.files.iter().map(given).collect())])
                };
                act.goes_on_but(give).await;
                assert!(act.has_problem("io", at), "{delta:?}: {:#?}", act.watch.events());
            }
        });
        told.unchanged_but(&[]);
    }
}

/// Answers the question for the content of one small file, and is dropped for it.
fn check_fetched(fault: &str, answer: impl Fn(BatchId) -> Vec<ToController>) {
    let told = check(fault, &[], async |act| {
        let asked = act.is_asked(stands("lie", file_of(b"never", 100))).await;
        for message in answer(asked.id) {
            act.say(&message).await;
        }
        act.is_dropped(fault).await;
    });
    told.unchanged_but(&[]);
}

#[test]
fn fault_45_two_way_content_that_was_not_asked_for() {
    let raw = |len: usize| Supply::Raw(blob(&vec![b'x'; len]));
    check_fetched("content of another length", |id| vec![fetched(id, 0, vec![raw(99)])]);
    check_fetched("content of another length", |id| vec![fetched(id, 0, vec![raw(3 << 20)])]);
    check_fetched("content of another length", |id| vec![fetched(id, 0, vec![Supply::Zstd(blob(&[0; 101]))])]);
    check_fetched("content of another length", |id| vec![fetched(id, 0, vec![Supply::Delta(blob(&[0; 9]))])]);
    check_fetched("more content than was asked for", |id| vec![fetched(id, 0, vec![raw(100); 2])]);
    check_fetched("content that was not asked for", |id| vec![fetched(id, 1, vec![raw(100)])]);
    check_fetched("content that was not asked for", |id| vec![fetched(id, 0, vec![])]);
    check_fetched("content that was not asked for", |id| vec![fetched(BatchId(id.0 + 1), 0, vec![raw(100)])]);
    check_fetched("content that was not asked for", |id| vec![fetched(id, 0, vec![raw(100)]); 2]);
}

/// Streams a large file that was asked for, in these frames, beginning with what `header` makes of the right one.
async fn streams(
    act: &mut Act<'_>,
    header: impl Fn(&mut SessionId, &mut FileHeader),
    frames: &[FileFrame],
) -> SendStream {
    let entry = file_of(b"never", LARGE_BYTES);
    let asked = act.is_asked(stands("lie", entry.clone())).await;
    let mut right =
        FileHeader { batch: asked.id, path: path("lie"), expected: Expected::Nothing, entry, recipe: false };
    let mut session = act.liar.session;
    header(&mut session, &mut right);
    let mut stream = act.liar.connection.open_uni().await.unwrap();
    let _ = stream.write_all(&frame(&StreamHeader::File(session, right))).await;
    for said in frames {
        // Ended before all was said.
        if stream.write_all(&frame(said)).await.is_err() {
            break;
        }
    }
    stream
}

fn check_streamed(fault: &str, header: impl Fn(&mut SessionId, &mut FileHeader), frames: &[FileFrame]) {
    let told = check(fault, &[], async |act| {
        let _stream = streams(act, &header, frames).await;
        act.is_dropped(fault).await;
    });
    told.unchanged_but(&[]);
}

#[test]
fn fault_45_two_way_files_that_are_streamed_wrongly() {
    let right = |_: &mut SessionId, _: &mut FileHeader| {};
    let block = FileFrame::Raw(blob(&[b'x'; 1 << 20]));
    let whole = vec![block.clone(); LARGE_BYTES as usize >> 20];
    check_streamed("another session", |session, _| session.0 += 1, &[]);
    check_streamed("a file that was not asked for", |_, header| header.batch.0 += 1, &[]);
    check_streamed("a file that was not asked for", |_, header| header.path = path("d0/sub/f0.rs"), &[]);
    check_streamed("a file that was not asked for", |_, header| header.entry = file_of(b"never", 1 << 40), &[]);
    check_streamed("a file that was not asked for", |_, header| header.entry = Entry::Directory, &[]);
    check_streamed("does not have the hash", right, &[&whole[..], &[FileFrame::End]].concat());
    // Without end.
    check_streamed("more than the declared", right, &[&whole[..], &whole[..]].concat());
    check_streamed("after 1048576 of 41943040", right, &[block.clone(), FileFrame::End]);
    let zstd = |len: u32, bytes: &[u8]| FileFrame::Zstd { len, bytes: blob(bytes) };
    check_streamed("damaged or of another length", right, &[zstd(1 << 20, &bomb(BOMB_BYTES))]);
    check_streamed("a block of 4294967295", right, &[zstd(u32::MAX, &bomb(1 << 20))]);
    let page = FileFrame::Recipe(RecipePage { page: 7, chunks: Bounded::default() });
    check_streamed("without recipe", right, std::slice::from_ref(&page));
    check_streamed("page 7 where page 0", |_, header| header.recipe = true, &[page]);
    let told = check("two bundle streams", &[], async |act| {
        let header = frame(&StreamHeader::Bundle(act.liar.session));
        let mut kept = Vec::new();
        for _ in 0..2 {
            let mut stream = act.liar.connection.open_uni().await.unwrap();
            let _ = stream.write_all(&header).await;
            kept.push(stream);
        }
        act.is_dropped("two bundle streams").await;
    });
    told.unchanged_but(&[]);
}

/// That the save was told as done.
fn is_saved(event: &serde_json::Value) -> bool {
    event["event"] == "synced" && event["paths"][0]["path"] == "honest save"
}

/// A save at alpha is sent, whatever else is not answered.
async fn sends_a_save(act: &mut Act<'_>) {
    fs::write(act.lab.source.join("honest save"), "saved").unwrap();
    let is_save = |operation: &Operation| {
        matches!(operation, Operation::Put { path, content: Content::Raw(bytes), .. }
            if path.as_bytes() == b"honest save" && **bytes == *b"saved")
    };
    let sent = std::cell::Cell::new(false);
    let note = |heard: &Heard| match heard {
        Heard::Batch(batch) => {
            sent.set(sent.get() || batch.operations.iter().any(is_save));
            None
        }
        // Never answered.
        Heard::Message(ToAgent::Fetch(_)) => Some(Vec::new()),
        _ => None,
    };
    act.lying("a save is sent", note, |_| sent.get()).await;
}

#[test]
fn fault_45_two_way_content_that_never_comes() {
    let silent = |heard: &Heard| matches!(heard, Heard::Message(ToAgent::Fetch(_))).then(Vec::new);
    let told = check("content that never comes", &[], async |act| {
        for at in 0..100 {
            act.say(&changes(vec![stands(&format!("lie{at}"), file_of(b"never", 1 + at))])).await;
        }
        sends_a_save(act).await;
        act.lying("time passes", silent, |act| act.watch.events().iter().any(is_saved)).await;
    });
    told.unchanged_but(&[]);
    let told = check("a stream that stands still", &[], async |act| {
        let block = FileFrame::Raw(blob(&[b'x'; 1 << 20]));
        let _stream = streams(act, |_, _| {}, &[block]).await;
        act.goes_on_but(silent).await;
        sends_a_save(act).await;
    });
    told.unchanged_but(&[]);
    let told = check("a stream that is given up", &[], async |act| {
        let _stream = streams(act, |_, _| {}, &[FileFrame::Abort]).await;
        act.goes_on_but(silent).await;
        sends_a_save(act).await;
    });
    told.unchanged_but(&[]);
    // Not to be had each time: asked for again after a while that grows.
    let told = check("content that is another each time", &[], async |act| {
        act.say(&changes(vec![stands("lie", file_of(b"never", 100))])).await;
        let asked = std::cell::Cell::new(0);
        let note = |heard: &Heard| {
            asked.set(asked.get() + usize::from(matches!(heard, Heard::Message(ToAgent::Fetch(_)))));
            None
        };
        let end = Instant::now() + Duration::from_secs(4);
        act.lying("time passes", note, |_| Instant::now() > end).await;
        let asked = asked.get();
        assert!((2..=4).contains(&asked), "asked {asked} times in 4 s");
        act.goes_on().await;
    });
    told.unchanged_but(&[]);
}

//! What a controller may say that no controller says.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use quinn::SendStream;
use sync_proto::limits::{BLOCK_BYTES_MAX, FILE_BYTES_MAX};
use sync_proto::message::{
    BatchId, Bounded, Chunk, Content, Expected, FileFrame, Operation, Outcome, ProblemKind, RecipePage, SessionId,
    StreamHeader, ToAgent, ToController,
};
use sync_proto::{ContentId, Entry, SyncPath};

use super::honest::{Scene, listing};
use super::peer::{Peer, Talk, batch, blob, bomb, file, file_of, frame, open, path, play, put, raw_frame};

/// Codes of a close, as in the specification.
const VERSION: u64 = 1;
const PROTOCOL: u64 = 2;
/// Named where something is asked for of a session that was not told to begin.
const BEFORE_IT_BEGAN: &str = "before the session was begun";

/// Plays one lie on a connection of its own. It must be ended with this code, in words that have `fault` in them.
fn check(scene: &mut Scene, fault: &str, code: u64, lie: impl AsyncFnOnce(&Peer, &Path)) {
    let (found, said) = play(async {
        let peer = Peer::dial(&scene.lab, scene.port()).await;
        lie(&peer, &scene.prey).await;
        peer.ended().await
    });
    assert_eq!(found, code, "{fault}: {said}");
    assert!(said.contains(fault), "not `{fault}`, but: {said}");
    scene.check_memory(fault);
}

/// Says bytes as they are on the control stream of an open session.
fn check_said(scene: &mut Scene, fault: &str, bytes: &[u8]) {
    check(scene, fault, PROTOCOL, async |peer, root| {
        let mut talk = peer.open(root).await;
        // The answer may come before all is written.
        let _ = talk.send.write_all(bytes).await;
        let _ = talk.send.finish();
    });
}

/// A path as it is encoded, of any components.
fn raw_path(components: &[&[u8]]) -> Vec<u8> {
    let mut bytes = number(components.len() as u64);
    for component in components {
        bytes.extend(number(component.len() as u64));
        bytes.extend_from_slice(component);
    }
    bytes
}

fn number(number: u64) -> Vec<u8> {
    match u16::try_from(number) {
        Ok(small @ 0..251) => vec![small as u8],
        Ok(medium) => [&[251][..], &medium.to_le_bytes()].concat(),
        Err(_) => [&[253][..], &number.to_le_bytes()].concat(),
    }
}

/// A batch on the control stream that makes a directory at this path.
fn raw_make_directory(components: &[&[u8]]) -> Vec<u8> {
    raw_frame(&[&[2, 1, 1, 0][..], &raw_path(components)].concat())
}

#[test]
fn fault_45_frames_that_are_none() {
    let mut scene = Scene::new();
    check_said(&mut scene, "over the limit", &[0xff, 0xff, 0xff, 0xff, 1]);
    check_said(&mut scene, "malformed message", &raw_frame(&[200]));
    check_said(&mut scene, "left after the message", &raw_frame(&[&[3], &[0; 9][..]].concat()));
    check_said(&mut scene, "at most 4096 are allowed", &raw_frame(&[&[1], &number(1_000_000)[..]].concat()));
    check_said(&mut scene, "malformed message", &raw_frame(&[&[5], &number(u64::MAX)[..]].concat()));
    check_said(&mut scene, "within a message", &[100, 0, 0, 0, 3]);
    check_said(&mut scene, "malformed message", &raw_frame(&[]));
    scene.finish(&["over the limit", "malformed message", "within a message", "left after the message"]);
}

#[test]
fn fault_45_what_is_said_out_of_turn() {
    let mut scene = Scene::new();
    let first = "the first message of a session must open a root";
    for said in [ToAgent::Ping(1), ToAgent::Begin] {
        check(&mut scene, first, PROTOCOL, async |peer, _| {
            let (mut send, _recv) = peer.control().await;
            send.write_all(&frame(&said)).await.unwrap();
            std::mem::forget(send);
        });
    }
    check(&mut scene, "no hello of the synctl protocol", PROTOCOL, async |peer, _| {
        let (mut send, recv) = peer.dialed.connection.open_bi().await.unwrap();
        send.write_all(&b"GET / HTTP/1.1\r\nHost: agent\r\n".repeat(8)).await.unwrap();
        std::mem::forget((send, recv));
    });
    check(&mut scene, "no hello came in time", PROTOCOL, async |peer, _| {
        let (mut send, recv) = peer.dialed.connection.open_bi().await.unwrap();
        send.write_all(b"SYN").await.unwrap();
        std::mem::forget((send, recv));
    });
    check(&mut scene, "upgrade", VERSION, async |peer, _| {
        let (mut send, recv) = peer.dialed.connection.open_bi().await.unwrap();
        let mut hello = sync_proto::hello::Hello::current("hostile");
        (hello.version_min, hello.version_max) = (900, 901);
        send.write_all(&hello.encode()).await.unwrap();
        std::mem::forget((send, recv));
    });
    check(&mut scene, "opens one root, once", PROTOCOL, async |peer, root| {
        let mut talk = peer.open(root).await;
        talk.say(&open(1, root)).await;
    });
    check(&mut scene, "begins once", PROTOCOL, async |peer, root| {
        let mut talk = peer.open(root).await;
        talk.say(&ToAgent::Begin).await;
    });
    let make = Operation::MakeDirectory { path: path("early") };
    for early in [ToAgent::Ping(1), ToAgent::Rescan, ToAgent::Flush(1), ToAgent::Batch(batch(1, vec![make]))] {
        check(&mut scene, BEFORE_IT_BEGAN, PROTOCOL, async |peer, root| {
            let (mut send, _recv) = peer.control().await;
            send.write_all(&[frame(&open(0, root)), frame(&early), frame(&ToAgent::Begin)].concat()).await.unwrap();
            peer.dialed.connection.closed().await;
        });
    }
    check(&mut scene, BEFORE_IT_BEGAN, PROTOCOL, async |peer, root| {
        let (_send, _recv) = peer.open_unbegun(root).await;
        let mut bundle = peer.bundle().await;
        let _ = bundle.write_all(&frame(&batch(1, vec![Operation::MakeDirectory { path: path("early") }]))).await;
        peer.dialed.connection.closed().await;
    });
    check(&mut scene, BEFORE_IT_BEGAN, PROTOCOL, async |peer, root| {
        let (_send, _recv) = peer.open_unbegun(root).await;
        let _file = peer.file(1, "early", file(b"x"), false).await;
        peer.dialed.connection.closed().await;
    });
    assert!(!scene.prey.join("early").exists());
    check(&mut scene, "a session number used twice", PROTOCOL, async |peer, root| {
        let _talk = peer.open(root).await;
        let _second = peer.ask(0, root).await;
    });
    check(&mut scene, "a batch number used twice", PROTOCOL, async |peer, root| {
        let mut talk = peer.open(root).await;
        let make = |name: &str| Operation::MakeDirectory { path: path(name) };
        let twice = [batch(7, vec![make("one")]), batch(7, vec![make("two")])].map(ToAgent::Batch);
        talk.send.write_all(&twice.map(|said| frame(&said)).concat()).await.unwrap();
    });
    check(&mut scene, "a file can't be streamed to the root", PROTOCOL, async |peer, root| {
        let _talk = peer.open(root).await;
        let header = sync_proto::message::FileHeader {
            batch: BatchId(1),
            path: SyncPath::root(),
            expected: Expected::Nothing,
            entry: file(b"x"),
            recipe: false,
        };
        let _file = peer.stream(&StreamHeader::File(SessionId(0), header)).await;
    });
    // For a root that is not served, or that another session has, there is a word, and no harm.
    play(async {
        let peer = Peer::dial(&scene.lab, scene.port()).await;
        for (session, root, word) in [(1, Path::new("/etc"), "does not serve"), (2, &scene.lab.target, "in use")] {
            let (_send, mut recv) = peer.ask(session, root).await;
            let said = format!("{:?}", super::peer::read(&mut recv).await);
            assert!(said.contains("Refused") && said.contains(word), "{said}");
        }
    });
    scene.finish(&[first, "did not say hello", "opens one root, once", "a batch number used twice"]);
}

#[test]
fn fault_45_paths_that_lead_elsewhere() {
    let mut scene = Scene::new();
    let long = [b'x'; 256];
    let deep: Vec<&[u8]> = vec![b"d"; 257];
    let wide: Vec<&[u8]> = vec![&long[..255]; 17];
    check_said(&mut scene, "`.` or `..`", &raw_make_directory(&[b"..", b"outside", b"d"]));
    check_said(&mut scene, "`.` or `..`", &raw_make_directory(&[b"."]));
    check_said(&mut scene, "empty path component", &raw_make_directory(&[b"", b"etc"]));
    check_said(&mut scene, "a NUL or a slash", &raw_make_directory(&[b"../outside"]));
    check_said(&mut scene, "a NUL or a slash", &raw_make_directory(&[b"/etc/x"]));
    check_said(&mut scene, "a NUL or a slash", &raw_make_directory(&[b"a\0b"]));
    check_said(&mut scene, "bytes of name where at most 255", &raw_make_directory(&[&long]));
    check_said(&mut scene, "path components where at most 256", &raw_make_directory(&deep));
    check_said(&mut scene, "longer than 4095 bytes", &raw_make_directory(&wide));
    scene.finish(&["`.` or `..`", "a NUL or a slash", "longer than 4095 bytes"]);
}

/// Every way of changing something at `at`, or of taking something from there.
fn ways(at: &str) -> Vec<Operation> {
    let (path, entry) = (path(at), file(b"canary"));
    let expected = || Expected::Entry(entry.clone());
    let link = Entry::Symlink(sync_proto::Target::new(b"/etc").unwrap());
    let raw = || Content::Raw(blob(b"canary"));
    let free = || super::peer::path("taken");
    vec![
        Operation::MakeDirectory { path: path.clone() },
        put(at, entry.clone(), raw()),
        put(at, link, Content::None),
        Operation::Put {
            path: path.clone(),
            expected: expected(),
            entry: file(b"other"),
            content: Content::Raw(blob(b"other")),
        },
        Operation::Remove { path: path.clone(), expected: expected() },
        Operation::Move { from: path.clone(), to: free(), expected: expected() },
        Operation::Put {
            path: free(),
            expected: Expected::Nothing,
            entry: entry.clone(),
            content: Content::CopyOf(path.clone()),
        },
        Operation::Move { from: super::peer::path("mine"), to: path, expected: Expected::Entry(file(b"mine")) },
    ]
}

#[test]
fn fault_45_what_is_ours_and_what_lies_below_a_symlink() {
    let mut scene = Scene::new();
    symlink(&scene.outside, scene.prey.join("out")).unwrap();
    fs::write(scene.prey.join("mine"), "mine").unwrap();
    fs::write(scene.prey.join(".synctl/canary"), "canary").unwrap();
    let reserved = [
        ".synctl/canary",
        ".synctl/new",
        ".SyncTL/canary",
        "deep/.synctl/x",
        ".synctl",
        // What some file systems take for the same name: case folding beyond ASCII, code points that are not compared,
        // endings that are dropped, short names, streams.
        ".\u{17f}ynctl/canary",
        ".syn\u{200c}ctl/canary",
        "\u{feff}.synctl/canary",
        ".synctl./canary",
        ".synctl /canary",
        ".synctl::$INDEX_ALLOCATION/canary",
        "synctl~1/canary",
    ];
    play(async {
        let peer = Peer::dial(&scene.lab, scene.port()).await;
        let mut talk = peer.open(&scene.prey).await;
        let mut id = 0;
        for at in reserved.into_iter().chain(["out/canary", "out/new", "out"]) {
            for operation in ways(at) {
                // What stands in the root itself may be looked at and moved; what it leads to may not.
                if at == "out" && !matches!(operation, Operation::Put { content: Content::CopyOf(_), .. }) {
                    continue;
                }
                id += 1;
                let outcomes = talk.outcomes(id, vec![operation.clone()]).await;
                let refused = match &outcomes[..] {
                    [Outcome::Failed(problem)] if !at.starts_with("out") => problem.kind == ProblemKind::Refused,
                    [Outcome::Failed(_) | Outcome::Mismatch | Outcome::BaseMissing] => at.starts_with("out"),
                    _ => false,
                };
                assert!(refused, "{at}: {operation:?} came to {outcomes:?}");
            }
            // As a file of its own, and as what a stream is made of.
            for recipe in [false, true] {
                id += 1;
                let mut file = peer.file(id, at, file(b"canary"), recipe).await;
                let whole = [frame(&FileFrame::Raw(blob(b"canary"))), frame(&FileFrame::End)].concat();
                let chunk = Chunk { id: ContentId(*blake3::hash(b"canary").as_bytes()), len: 6 };
                let page = RecipePage { page: 0, chunks: Bounded::new(vec![chunk]).unwrap() };
                let page = if recipe { frame(&FileFrame::Recipe(page)) } else { Vec::new() };
                let _ = file.write_all(&[page, whole].concat()).await;
                let outcomes = streamed(&mut talk, at, id).await;
                assert!(!matches!(outcomes[..], [Outcome::Applied | Outcome::Displaced(_)]), "{at}: {outcomes:?}");
            }
        }
    });
    assert_eq!(fs::read(scene.prey.join(".synctl/canary")).unwrap(), b"canary");
    assert_eq!(fs::read(scene.prey.join("mine")).unwrap(), b"mine");
    assert_eq!(listing(&scene.prey), [".synctl", "mine", "out"]);
    scene.check_memory("reserved names");
    scene.finish(&[]);
}

/// What becomes of a streamed file. Whether one of its chunks was found here, which tells of what is there, must not show.
async fn streamed(talk: &mut Talk, at: &str, id: u64) -> Vec<Outcome> {
    loop {
        match super::peer::read(&mut talk.recv).await {
            ToController::Need(need) => assert_eq!(need.missing[..], [1], "{at}: the chunk was found"),
            ToController::Outcomes(outcomes) if outcomes.batch == BatchId(id) => return outcomes.outcomes.into_vec(),
            ToController::Outcomes(_) | ToController::Changes(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn fault_45_content_that_is_not_what_it_is_said_to_be() {
    let mut scene = Scene::new();
    let base = vec![b'b'; 1 << 20];
    let other = |len: usize, content| Operation::Put {
        path: path("base"),
        expected: Expected::Entry(file(&vec![b'b'; 1 << 20])),
        entry: file_of(b"never", len as u64),
        content,
    };
    // A frame without a content size that asks for a window of 2 GiB, and one block that repeats a byte.
    let window = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0xff, 0xff, 0xff, b'x'];
    let large = usize::try_from(sync_core::replica::commit::DELTA_BYTES_MAX).unwrap();
    let whole = bomb(256 << 20);
    let lies = vec![
        put("new", file(b"other"), Content::Raw(blob(b"content"))),
        put("new", file_of(b"content", 1 << 40), Content::Raw(blob(b"content"))),
        put("new", file_of(b"", 100), Content::Zstd(blob(&bomb(1 << 30)))),
        put("new", file_of(b"", 4 << 20), Content::Zstd(blob(&bomb(1 << 30)))),
        put("new", file_of(b"", u64::MAX), Content::Zstd(blob(&bomb(1 << 20)))),
        put("new", file_of(b"", 4 << 20), Content::Zstd(blob(&window))),
        put("new", file_of(b"", 4 << 20), Content::Zstd(blob(b"no frame"))),
        put("new", file_of(b"", 10), Content::Unchanged),
        put("new", file_of(b"", 10), Content::Delta(blob(&[0, 1, 1, b'x']))),
        put("new", Entry::Directory, Content::Raw(blob(b"content"))),
        put("new", file(b"x"), Content::CopyOf(path("nowhere"))),
        // Beyond the base, with numbers of any length, and to lengths that nobody holds.
        other(1 << 21, Content::Delta(blob(&[0, 0x80, 0x80, 0x80, 0x01, 0]))),
        other(1 << 20, Content::Delta(blob(&[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0]))),
        other(1 << 20, Content::Delta(blob(&[0xff; 64]))),
        other(1 << 20, Content::Delta(blob(&[]))),
        other(usize::MAX, Content::Delta(blob(&[0, 1, 1, b'x']))),
        other(256 << 20, Content::Delta(blob(&[&[1, 0, 0][..], &whole[4..]].concat()))),
        other(large, Content::Delta(blob(&[&[1, 0, 0][..], &whole[4..]].concat()))),
        other(1 << 20, Content::Delta(blob(&[&[1, 0, 0][..], &window[4..]].concat()))),
    ];
    let count = lies.len() as u64;
    play(async {
        let peer = Peer::dial(&scene.lab, scene.port()).await;
        let mut talk = peer.open(&scene.prey).await;
        assert_eq!(
            talk.outcomes(0, vec![put("base", file(&base), Content::Raw(blob(&base)))]).await,
            [Outcome::Applied]
        );
        for (id, lie) in (1..).zip(lies) {
            let outcomes = talk.outcomes(id, vec![lie]).await;
            assert!(
                matches!(outcomes[..], [Outcome::BaseMissing | Outcome::Mismatch | Outcome::Failed(_)]),
                "lie {id}: {outcomes:?}"
            );
        }
        // A whole batch of bombs.
        let bombs = vec![put("new", file_of(b"", 4 << 20), Content::Zstd(blob(&bomb(4 << 20)))); 4096];
        let outcomes = talk.outcomes(count + 1, bombs).await;
        assert!(outcomes.iter().all(|outcome| *outcome == Outcome::BaseMissing));
    });
    assert_eq!(listing(&scene.prey), [".synctl", "base"]);
    assert!(fs::read(scene.prey.join("base")).unwrap() == base);
    scene.check_memory("content");
    scene.finish(&[]);
}

/// Streams a file that is declared to be this entry, in these frames.
fn check_stream(scene: &mut Scene, fault: &str, entry: Entry, recipe: bool, frames: &[FileFrame]) {
    check(scene, fault, PROTOCOL, async |peer, root| {
        let _talk = peer.open(root).await;
        let entry = entry.clone();
        let mut stream: SendStream = peer.file(1, "streamed", entry, recipe).await;
        for said in frames {
            // Ended before all was said.
            if stream.write_all(&frame(said)).await.is_err() {
                break;
            }
        }
        peer.dialed.connection.closed().await;
        drop(stream);
    });
    assert_eq!(listing(&scene.prey), [".synctl"]);
}

fn page(page: u32, chunks: Vec<Chunk>) -> FileFrame {
    FileFrame::Recipe(RecipePage { page, chunks: Bounded::new(chunks).unwrap() })
}

#[test]
fn fault_45_files_that_are_streamed_wrongly() {
    let mut owned = Scene::new();
    let scene = &mut owned;
    let raw = |bytes: &[u8]| FileFrame::Raw(blob(bytes));
    let chunk = |content: &[u8], len: u32| Chunk { id: ContentId(*blake3::hash(content).as_bytes()), len };
    let long = || file_of(b"", 1 << 30);
    check_stream(scene, "over the limit of", file_of(b"", FILE_BYTES_MAX + 1), false, &[]);
    check_stream(scene, "not a file", Entry::Directory, false, &[]);
    check_stream(scene, "does not have the hash", file(b"abc"), false, &[raw(b"xyz"), FileFrame::End]);
    check_stream(scene, "more than the declared 3 bytes", file(b"abc"), false, &[raw(b"abcd")]);
    check_stream(scene, "after 2 of 3", file(b"abc"), false, &[raw(b"ab"), FileFrame::End]);
    check_stream(scene, "a block of 0 bytes", long(), false, &[raw(b"")]);
    let zstd = |len: u32, bytes: &[u8]| FileFrame::Zstd { len, bytes: blob(bytes) };
    check_stream(scene, "damaged or of another length", long(), false, &[zstd(1 << 20, &bomb(1 << 30))]);
    check_stream(scene, "damaged or of another length", long(), false, &[zstd(1 << 20, b"no frame")]);
    check_stream(scene, "a block of 4294967295", long(), false, &[zstd(u32::MAX, &bomb(BLOCK_BYTES_MAX))]);
    check_stream(scene, "without recipe", long(), false, &[page(0, vec![chunk(b"x", 1)])]);
    check_stream(scene, "page 7 where page 0", long(), true, &[page(7, vec![chunk(b"x", 1 << 15)])]);
    check_stream(scene, "a chunk of 0 bytes", long(), true, &[page(0, vec![chunk(b"x", 0)])]);
    check_stream(scene, "a chunk of 4294967295", long(), true, &[page(0, vec![chunk(b"x", u32::MAX)])]);
    check_stream(scene, "a recipe page of 0 bytes", long(), true, &[page(0, vec![])]);
    check_stream(scene, "a recipe page of 4294967296", long(), true, &[page(0, vec![chunk(b"x", 1 << 18); 16_384])]);
    check_stream(
        scene,
        "more than the declared",
        file_of(b"", 1 << 18),
        true,
        &[page(0, vec![chunk(b"x", 1 << 18); 3])],
    );
    let pages: Vec<FileFrame> = (0..4).map(|at| page(at, vec![chunk(b"x", 1 << 18); 16])).collect();
    check_stream(scene, "more than 3 recipe pages at once", long(), true, &pages);
    let wrong = [&pages[..1], &[raw(&[1; 1 << 18])]].concat();
    check_stream(scene, "does not have the hash", long(), true, &wrong);
    // Chunks so short that what is remembered of them is more than they are.
    let tiny = vec![chunk(b"x", 1); 16_384];
    check_stream(scene, "a chunk of 1 bytes", long(), true, &[page(0, tiny)]);
    owned.finish(&["does not have the hash", "a recipe page of", "a chunk of 1 bytes"]);
}

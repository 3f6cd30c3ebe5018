//! Too much, too little, and at the wrong time: floods, stalls and streams without end, from a controller with a valid key.

use std::time::Duration;

use quinn::SendStream;
use sync_proto::ContentId;
use sync_proto::SyncPath;
use sync_proto::limits::{
    BUNDLE_FRAME_BYTES_MAX, CONTENT_STREAMS_MAX, FILE_FRAME_BYTES_MAX, IGNORE_PATTERNS_MAX, INLINE_CONTENT_BYTES_MAX,
};
use sync_proto::message::{
    Blob, Bounded, Chunk, Content, FileFrame, IgnoreSettings, Open, Operation, Outcome, RecipePage, ReplicaId,
    SessionId, ToAgent,
};
use tokio::time::timeout;

use super::honest::Scene;
use super::peer::{Peer, Talk, batch, blob, file, file_of, frame, path, play, put, read};
use super::scale;

/// How long the victim has to choke on what it was sent.
const CHOKE: Duration = Duration::from_millis(1500);

/// Lets a peer do its worst, and looks how much the agent has grown.
fn attack(scene: &mut Scene, name: &str, worst: impl AsyncFnOnce(&Peer, Talk)) {
    play(async {
        let peer = Peer::dial(&scene.lab, scene.port()).await;
        let talk = peer.open(&scene.prey).await;
        worst(&peer, talk).await;
    });
    scene.check_memory(name);
}

/// Writes as much as goes in a while.
async fn pour(send: &mut SendStream, bytes: &[u8]) {
    let _ = timeout(CHOKE, send.write_all(bytes)).await;
}

#[test]
fn fault_45_floods() {
    let mut scene = Scene::new();
    attack(&mut scene, "a million tiny frames, answers never read", async |_, mut talk| {
        let pings: Vec<u8> = (0..1000).flat_map(|number| frame(&ToAgent::Ping(number))).collect();
        for _ in 0..1000 * scale() {
            if timeout(CHOKE, talk.send.write_all(&pings)).await.is_err() {
                break;
            }
        }
    });
    attack(&mut scene, "scans asked for again and again", async |_, mut talk| {
        let rescans = frame(&ToAgent::Rescan).repeat(100_000);
        pour(&mut talk.send, &rescans).await;
        tokio::time::sleep(CHOKE).await;
    });
    attack(&mut scene, "the same listing 4096 times, over and over", async |_, mut talk| {
        let request = ToAgent::TreeRequest(Bounded::new(vec![SyncPath::root(); 4096]).unwrap());
        pour(&mut talk.send, &frame(&request).repeat(200)).await;
        tokio::time::sleep(CHOKE).await;
    });
    attack(&mut scene, "urgent batches as large as can be", async |_, mut talk| {
        let content = vec![b'x'; INLINE_CONTENT_BYTES_MAX - 1000];
        for id in 0..100 * scale() as u64 {
            let put = put(&format!("large{}", id % 4), file(&content), Content::Raw(blob(&content)));
            let said = frame(&ToAgent::Batch(batch(id, vec![put])));
            if !matches!(timeout(CHOKE, talk.send.write_all(&said)).await, Ok(Ok(()))) {
                break;
            }
        }
    });
    attack(&mut scene, "as many operations as a batch can have", async |peer, _talk| {
        let mut bundle = peer.bundle().await;
        for id in 0..60 {
            let make = |at: usize| Operation::MakeDirectory { path: path(&format!("{}/{at}", "long".repeat(60))) };
            let said = frame(&batch(id, (0..4096).map(make).collect()));
            if timeout(CHOKE, bundle.write_all(&said)).await.is_err() {
                break;
            }
        }
    });
    scene.finish(&[]);
}

fn check_second_bundle(scene: &mut Scene) {
    let (code, said) = play(async {
        let peer = Peer::dial(&scene.lab, scene.port()).await;
        let _talk = peer.open(&scene.prey).await;
        let _streams = (peer.bundle().await, peer.bundle().await);
        peer.ended().await
    });
    assert!(code == 2 && said.contains("a second bundle stream"), "{code}: {said}");
}

#[test]
fn fault_45_stalls() {
    let mut scene = Scene::new();
    attack(&mut scene, "half a frame on the control stream", async |_, mut talk| {
        let half = [&(4_u32 << 20).to_le_bytes()[..], &vec![0; (4 << 20) - 1]].concat();
        talk.send.write_all(&half).await.unwrap();
        tokio::time::sleep(CHOKE).await;
    });
    attack(&mut scene, "half a frame on every stream there is credit for", async |peer, mut talk| {
        let half = |max: usize| [&(max as u32).to_le_bytes()[..], &vec![0; max - 1]].concat();
        let mut streams = vec![peer.bundle().await];
        streams[0].write_all(&half(BUNDLE_FRAME_BYTES_MAX)).await.unwrap();
        for id in 1..CONTENT_STREAMS_MAX as u64 {
            let mut stream = peer.file(id, "streamed", file_of(b"", 1 << 40), false).await;
            stream.write_all(&half(FILE_FRAME_BYTES_MAX)).await.unwrap();
            streams.push(stream);
        }
        let more = timeout(Duration::from_millis(200), peer.dialed.connection.open_uni()).await;
        assert!(more.is_err(), "there is credit for more streams");
        // The session goes on meanwhile.
        let outcomes = talk.outcomes(1000, vec![put("small", file(b"x"), Content::Raw(blob(b"x")))]).await;
        assert_eq!(outcomes, [Outcome::Applied]);
    });
    check_second_bundle(&mut scene);
    attack(&mut scene, "a header that never ends, on every stream", async |peer, _talk| {
        let half = [&(4_u32 << 20).to_le_bytes()[..], &vec![0; (4 << 20) - 1]].concat();
        let mut streams = Vec::new();
        while let Ok(Ok(mut send)) = timeout(Duration::from_millis(200), peer.dialed.connection.open_uni()).await {
            let _ = timeout(CHOKE, send.write_all(&half)).await;
            streams.push(send);
        }
    });
    attack(&mut scene, "streams that are opened and never written", async |peer, _talk| {
        let mut streams = Vec::new();
        while let Ok(Ok(send)) = timeout(Duration::from_millis(200), peer.dialed.connection.open_uni()).await {
            streams.push(send);
        }
        tokio::time::sleep(CHOKE).await;
    });
    attack(&mut scene, "files that begin and never go on", async |peer, mut talk| {
        let mut streams = Vec::new();
        for id in 0..=CONTENT_STREAMS_MAX as u64 {
            match timeout(CHOKE, peer.file(id, &format!("f{id}"), file_of(b"", 1 << 40), true)).await {
                Ok(stream) => streams.push(stream),
                Err(_) => break,
            }
        }
        let outcomes = talk.outcomes(1000, vec![put("other", file(b"x"), Content::Raw(blob(b"x")))]).await;
        assert_eq!(outcomes.len(), 1);
    });
    attack(&mut scene, "chunks without number", async |peer, _talk| {
        // As short as they may be, all different, each sent: what is remembered of them is bounded.
        let mut stream = peer.file(1, "chunks", file_of(b"", 1 << 40), true).await;
        for at in 0..40_u32 * scale() as u32 {
            let content = |chunk: u32| [&(at * 512 + chunk).to_le_bytes()[..], &[0; (16 << 10) - 4]].concat();
            let chunks = (0..512)
                .map(|chunk| Chunk { id: ContentId(*blake3::hash(&content(chunk)).as_bytes()), len: 16 << 10 })
                .collect();
            let mut said = frame(&FileFrame::Recipe(RecipePage { page: at, chunks: Bounded::new(chunks).unwrap() }));
            for block in 0..8_u32 {
                let bytes: Vec<u8> = (0..64).flat_map(|chunk| content(block * 64 + chunk)).collect();
                let zstd = blob(&zstd::bulk::compress(&bytes, 1).unwrap());
                said.extend(frame(&FileFrame::Zstd { len: bytes.len() as u32, bytes: zstd }));
            }
            if !matches!(timeout(4 * CHOKE, stream.write_all(&said)).await, Ok(Ok(()))) {
                break;
            }
        }
    });
    scene.finish(&[]);
}

#[test]
fn fault_45_connections_and_rules() {
    let mut scene = Scene::new();
    play(async {
        // Connections that open nothing give way to those that come after; there is always a place for a friend.
        let mut crowd = Vec::new();
        for _ in 0..100 {
            crowd.push(Peer::dial(&scene.lab, scene.port()).await);
        }
        tokio::time::sleep(CHOKE).await;
        let open = crowd.iter().filter(|peer| peer.dialed.connection.close_reason().is_none()).count();
        assert!(open <= 20, "{open} connections without a session");
        let friend = Peer::dial(&scene.lab, scene.port()).await;
        friend.open(&scene.prey).await;
    });
    scene.check_memory("a hundred connections");
    play(async {
        // Patterns that take as long to compile as any do.
        let peer = Peer::dial(&scene.lab, scene.port()).await;
        let pattern =
            |number: usize| -> Blob<4096> { blob(format!("**/{number}{}", "[!a-y]*?".repeat(120)).as_bytes()) };
        let patterns = Bounded::new((0..IGNORE_PATTERNS_MAX).map(pattern).collect()).unwrap();
        let (mut send, recv) = peer.control().await;
        let root = blob(scene.prey.as_os_str().as_encoded_bytes());
        let ignore = IgnoreSettings { patterns, ..IgnoreSettings::default() };
        let open = Open { session: SessionId(0), controller: ReplicaId([9; 16]), root, ignore, push: false };
        send.write_all(&[frame(&ToAgent::Open(open)), frame(&ToAgent::Begin)].concat()).await.unwrap();
        let mut recv = sync_core::link::FrameReader::new(recv);
        let said = read(&mut recv).await;
        eprintln!("many patterns: {}", format!("{said:?}").chars().take(200).collect::<String>());
    });
    scene.check_memory("patterns");
    scene.finish(&["too many connections without a session"]);
}

//! Hellos and frames over a real connection.

use std::time::Duration;

use quinn::{Connection, RecvStream, SendStream};
use sync_proto::{
    codec::DecodeError,
    hello::{Hello, HelloError},
    limits::{BLOCK_BYTES_MAX, FILE_FRAME_BYTES_MAX},
    message::{Blob, FileFrame, Sentence, ToAgent},
};

use super::{
    super::{
        FrameError, FrameReader, FrameWriter, HelloFailure,
        congestion::CAP_MIN,
        hello::{initiate, respond},
        hello_initiate, hello_respond, unheard,
    },
    PATIENCE, connected,
};

/// Both ends of a stream; the first byte goes through before it is accepted, so the opener has to speak first.
pub(super) async fn stream(from: &Connection, to: &Connection) -> ((SendStream, RecvStream), (SendStream, RecvStream)) {
    let (mut send, recv) = from.open_bi().await.unwrap();
    send.write_all(b"!").await.unwrap();
    let (answer, mut incoming) = to.accept_bi().await.unwrap();
    incoming.read_exact(&mut [0; 1]).await.unwrap();
    ((send, recv), (answer, incoming))
}

async fn exchange(ours: &Hello, theirs: &Hello) -> (Result<u16, HelloFailure>, Result<u16, HelloFailure>) {
    let (_listener, dialed, accepted) = connected().await;
    let ((mut send, mut recv), (mut answer, mut incoming)) = stream(&dialed.connection, &accepted).await;
    let (one, other) = tokio::join!(
        initiate(&dialed.connection, &mut send, &mut recv, ours),
        respond(&accepted, &mut answer, &mut incoming, theirs)
    );
    (one.map(|agreed| agreed.version), other.map(|agreed| agreed.version))
}

fn speaking(version_min: u16, version_max: u16) -> Hello {
    Hello { version_min, version_max, features: 0, software: format!("synctl 0.{version_max}") }
}

#[tokio::test]
async fn hellos_agree() {
    let (_listener, dialed, accepted) = connected().await;
    let ((mut send, mut recv), (mut answer, mut incoming)) = stream(&dialed.connection, &accepted).await;
    let (one, other) = tokio::join!(
        hello_initiate(&dialed.connection, &mut send, &mut recv, "synctl 0.1"),
        hello_respond(&accepted, &mut answer, &mut incoming, "sync-agent 0.1")
    );
    assert_eq!(one.unwrap(), other.unwrap());
    let (one, other) = exchange(&speaking(1, 3), &speaking(2, 5)).await;
    assert_eq!((one.unwrap(), other.unwrap()), (3, 3));
}

#[tokio::test]
async fn hellos_that_disagree_tell_each_side_what_to_upgrade() {
    let (one, other) = exchange(&speaking(1, 1), &speaking(2, 3)).await;
    let told = one.unwrap_err().to_string();
    assert!(told.contains("synctl 0.3") && told.contains("upgrade this side"), "{told}");
    let told = other.unwrap_err().to_string();
    assert!(told.contains("synctl 0.1") && told.contains("upgrade the other side"), "{told}");

    let (one, other) = exchange(&speaking(4, 5), &speaking(2, 3)).await;
    let told = one.unwrap_err().to_string();
    assert!(told.contains("upgrade the other side"), "{told}");
    assert!(matches!(other, Err(HelloFailure::Disagree(HelloError::SelfTooOld { .. }))), "{other:?}");
}

#[tokio::test]
async fn what_is_no_hello_closes_the_connection() {
    let (_listener, dialed, accepted) = connected().await;
    let ((mut send, _recv), (mut answer, mut incoming)) = stream(&dialed.connection, &accepted).await;
    send.write_all(&[b'x'; 200]).await.unwrap();
    let error = hello_respond(&accepted, &mut answer, &mut incoming, "test").await.unwrap_err();
    assert!(matches!(error, HelloFailure::Disagree(HelloError::NotSynctl)), "{error:?}");
    let told = super::super::sentence(&dialed.connection.closed().await);
    assert!(told.contains("no hello"), "{told}");
}

#[tokio::test]
async fn messages_go_through_whole_and_in_order() {
    let (_listener, dialed, accepted) = connected().await;
    let ((send, _recv), (_answer, incoming)) = stream(&dialed.connection, &accepted).await;
    let (mut writer, mut reader) = (FrameWriter::new(send, 4096), FrameReader::new(incoming));
    let writing = async move {
        let mut bytes = 0;
        for number in 0..2000 {
            bytes += writer.write(&ToAgent::Ping(number)).await.unwrap();
        }
        bytes += writer.queue(&ToAgent::Rescan).unwrap();
        bytes += writer.write(&ToAgent::Goodbye(Sentence::new("x".repeat(1000)))).await.unwrap();
        writer.finish_and_wait().await.unwrap();
        bytes
    };
    let reading = async move {
        for number in 0..2000 {
            assert_eq!(reader.read(4096).await.unwrap(), Some(ToAgent::Ping(number)));
        }
        assert_eq!(reader.read(4096).await.unwrap(), Some(ToAgent::Rescan));
        assert!(matches!(reader.read(4096).await.unwrap(), Some(ToAgent::Goodbye(_))));
        assert_eq!(reader.read::<ToAgent>(4096).await.unwrap(), None);
    };
    let (bytes, ()) = tokio::time::timeout(PATIENCE, async { tokio::join!(writing, reading) }).await.unwrap();
    // 4 + 1 + 1 bytes below 251, two more for the longer numbers; 5 for Rescan; 4 + 1 + 3 + 1000.
    assert_eq!(bytes, 251 * 6 + (2000 - 251) * 8 + 5 + 1008);
}

/// A reader in a `select!` is dropped over and over while a frame arrives in pieces.
#[tokio::test]
async fn a_cancelled_read_loses_nothing() {
    let (_listener, dialed, accepted) = connected().await;
    let ((mut send, _recv), (_answer, incoming)) = stream(&dialed.connection, &accepted).await;
    let mut reader = FrameReader::new(incoming);
    let mut frame = Vec::new();
    sync_proto::codec::encode_frame(&ToAgent::Goodbye(Sentence::new("piece by piece")), &mut frame, 100).unwrap();
    for piece in frame.chunks(3) {
        let early = tokio::time::timeout(Duration::from_millis(5), reader.read::<ToAgent>(100)).await;
        assert!(early.is_err(), "{early:?}");
        send.write_all(piece).await.unwrap();
    }
    let message = tokio::time::timeout(PATIENCE, reader.read::<ToAgent>(100)).await.unwrap().unwrap();
    assert_eq!(message, Some(ToAgent::Goodbye(Sentence::new("piece by piece"))));
}

#[tokio::test]
async fn frames_of_a_file_come_as_they_were_sent_however_they_are_cut() {
    let (_listener, dialed, accepted) = connected().await;
    let block = |len: usize| Blob::new((0..len).map(|at| (at * 7 + len) as u8).collect()).unwrap();
    let mut frames: Vec<_> =
        [0, 1, 250, 251, 70_000, BLOCK_BYTES_MAX].into_iter().map(|len| FileFrame::Raw(block(len))).collect();
    frames.insert(2, FileFrame::Zstd { len: 9, bytes: block(300) });
    frames.insert(4, FileFrame::Copy { offset: 1 << 40, len: 3 });
    frames.push(FileFrame::End);
    let mut bytes = Vec::new();
    for frame in &frames {
        sync_proto::codec::encode_frame(frame, &mut bytes, FILE_FRAME_BYTES_MAX).unwrap();
    }
    for piece_len in [1, 3, 7, 1_000, 50_001, bytes.len()] {
        let ((mut send, _recv), (_answer, incoming)) = stream(&dialed.connection, &accepted).await;
        let mut reader = FrameReader::new(incoming);
        // The tiniest pieces for the first frames alone: a message each would take long.
        let bytes = bytes.get(..piece_len * 3_000).unwrap_or(&bytes);
        let writing = async {
            for piece in bytes.chunks(piece_len) {
                send.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            send.finish().unwrap();
        };
        let reading = async {
            let mut read = Vec::new();
            loop {
                // Broken off now and then, as in a `select!`.
                match tokio::time::timeout(Duration::from_micros(200), reader.read_file()).await {
                    Ok(Ok(Some(frame))) => read.push(frame),
                    Ok(Ok(None)) => break (read, true),
                    Ok(Err(FrameError::Truncated)) => break (read, false),
                    Ok(Err(error)) => panic!("{error}"),
                    Err(_) => {}
                }
            }
        };
        let ((read, is_whole), ()) =
            tokio::time::timeout(PATIENCE, async { tokio::join!(reading, writing) }).await.unwrap();
        assert!(read == frames[..read.len()], "in pieces of {piece_len}");
        assert_eq!(is_whole, piece_len > 7, "in pieces of {piece_len}");
        assert!(read.len() > 3 && (!is_whole || read.len() == frames.len()), "in pieces of {piece_len}");
    }
}

#[tokio::test]
async fn a_block_that_says_more_than_it_may_is_refused() {
    let (_listener, dialed, accepted) = connected().await;
    let ((mut send, _recv), (_answer, incoming)) = stream(&dialed.connection, &accepted).await;
    let mut frame = Vec::new();
    sync_proto::codec::encode_frame(&FileFrame::Raw(Blob::new(vec![7; 300]).unwrap()), &mut frame, 1 << 20).unwrap();
    // The length of the content is one more than what is left of the frame.
    assert_eq!(frame[6..8], 300_u16.to_le_bytes());
    frame[6] += 1;
    send.write_all(&frame).await.unwrap();
    send.finish().unwrap();
    let error = FrameReader::new(incoming).read_file().await.unwrap_err();
    assert!(matches!(error, FrameError::Malformed(_)), "{error:?}");
}

/// A cancelled write is made up for by the next one: frames stay whole.
#[tokio::test]
async fn a_cancelled_write_tears_no_frame() {
    let (_listener, dialed, accepted) = connected().await;
    let ((send, _recv), (_answer, incoming)) = stream(&dialed.connection, &accepted).await;
    let (mut writer, mut reader) = (FrameWriter::new(send, 4096), FrameReader::new(incoming));
    let big = ToAgent::Goodbye(Sentence::new("y".repeat(1000)));
    // Nobody reads: the stream's window fills, and a write hangs half way.
    let mut written = 0;
    while tokio::time::timeout(Duration::from_millis(300), writer.write(&big)).await.is_ok() {
        written += 1;
    }
    assert!(written > 10_000, "{written}");
    let reading = async {
        let mut count = 0;
        while let Some(message) = reader.read::<ToAgent>(4096).await.unwrap() {
            assert_eq!(message, big);
            count += 1;
        }
        count
    };
    let finishing = async {
        writer.flush().await.unwrap();
        writer.finish().unwrap();
    };
    let (count, ()) = tokio::time::timeout(PATIENCE, async { tokio::join!(reading, finishing) }).await.unwrap();
    assert_eq!(count, written + 1);
}

#[tokio::test]
async fn bad_frames_are_refused() {
    type Check = fn(&FrameError) -> bool;
    let cases: [(&[u8], Check); 5] = [
        (&[0xff, 0xff, 0xff, 0x7f], |e| matches!(e, FrameError::Malformed(DecodeError::FrameTooLarge { .. }))),
        (&[101, 0, 0, 0, 3], |e| matches!(e, FrameError::Malformed(DecodeError::FrameTooLarge { len: 101, max: 100 }))),
        (&[2, 0, 0, 0, 3, 0], |e| matches!(e, FrameError::Malformed(DecodeError::Trailing(1)))),
        (&[1, 0, 0, 0, 250], |e| matches!(e, FrameError::Malformed(DecodeError::Malformed(_)))),
        (&[9, 0, 0, 0, 3], |e| matches!(e, FrameError::Truncated)),
    ];
    let (_listener, dialed, accepted) = connected().await;
    for (bytes, check) in cases {
        let ((mut send, _recv), (_answer, incoming)) = stream(&dialed.connection, &accepted).await;
        send.write_all(bytes).await.unwrap();
        send.finish().unwrap();
        let error = FrameReader::new(incoming).read::<ToAgent>(100).await.unwrap_err();
        assert!(check(&error), "{bytes:?}: {error:?}");
    }
}

#[tokio::test]
async fn a_message_over_its_limit_is_not_sent() {
    let (_listener, dialed, accepted) = connected().await;
    let ((send, _recv), (_answer, incoming)) = stream(&dialed.connection, &accepted).await;
    let mut writer = FrameWriter::new(send, 100);
    let error = writer.write(&ToAgent::Goodbye(Sentence::new("z".repeat(101)))).await.unwrap_err();
    assert!(matches!(error, FrameError::Encode(_)), "{error:?}");
    writer.write(&ToAgent::Ping(7)).await.unwrap();
    assert_eq!(FrameReader::new(incoming).read(100).await.unwrap(), Some(ToAgent::Ping(7)));
}

/// What the agent may not do it has no credit for.
#[tokio::test]
async fn the_agent_opens_no_streams() {
    let (_listener, dialed, accepted) = connected().await;
    let wait = Duration::from_millis(200);
    assert!(tokio::time::timeout(wait, accepted.open_bi()).await.is_err());
    assert!(tokio::time::timeout(wait, accepted.open_uni()).await.is_err());
    drop(dialed);
}

#[tokio::test]
async fn silence_is_told_from_quiet() {
    let (_listener, dialed, accepted) = connected().await;
    // Quiet: nothing is said by either side, but keep-alives are far apart, so say something below the limit.
    let limit = Duration::from_millis(900);
    let talking = async {
        for _ in 0..10 {
            let mut stream = dialed.connection.open_uni().await.unwrap();
            stream.write_all(b"x").await.unwrap();
            stream.finish().unwrap();
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    };
    tokio::select! {
        () = unheard(&accepted, limit) => panic!("the peer talks"),
        () = talking => {}
    }
    tokio::time::timeout(PATIENCE, unheard(&accepted, limit)).await.unwrap();
    assert!(accepted.close_reason().is_none(), "silence closes nothing by itself");
}

#[tokio::test]
async fn bulk_on_a_short_link_keeps_little_in_flight() {
    let (_listener, dialed, accepted) = connected().await;
    let ((mut send, _recv), (_answer, mut incoming)) = stream(&dialed.connection, &accepted).await;
    let reading = tokio::spawn(async move {
        let mut bytes = 0;
        while let Ok(Some(chunk)) = incoming.read_chunk(usize::MAX, true).await {
            bytes += chunk.bytes.len();
        }
        bytes
    });
    let (block, blocks) = (vec![7; 1 << 20], 64);
    for _ in 0..blocks {
        send.write_all(&block).await.unwrap();
        let window = dialed.connection.stats().path.cwnd;
        assert!(window <= CAP_MIN, "{window} bytes may be in flight");
    }
    send.finish().unwrap();
    assert_eq!(reading.await.unwrap(), blocks * block.len());
}

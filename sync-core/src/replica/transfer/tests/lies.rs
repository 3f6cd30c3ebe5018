//! A receiver under a sender that lies: every lie ends in an error that names it.

use super::*;

/// Hands `frames` to a receiver of `content`; what the last of them led to.
fn last(content: &[u8], recipe: bool, frames: Vec<FileFrame>) -> Result<Reply, ReceiveError> {
    let header = header(id(content), content.len() as u64, recipe);
    let mut receiver = FileReceiver::new(&header, Cursor::new(Vec::new()), Vec::new()).unwrap();
    let mut last = Ok(Reply::None);
    for frame in frames {
        assert!(last.is_ok(), "an earlier frame was refused: {last:?}");
        last = receiver.handle(frame);
    }
    if !matches!(last, Ok(Reply::None | Reply::Need(_))) {
        let again = receiver.handle(FileFrame::End);
        assert!(matches!(again, Err(ReceiveError::Protocol(Violation::AfterEnd))), "{again:?}");
    }
    assert!(receiver.into_output().into_inner().len() <= content.len());
    last
}

fn check(content: &[u8], recipe: bool, frames: Vec<FileFrame>, expected: Violation) {
    match last(content, recipe, frames) {
        Err(ReceiveError::Protocol(violation)) => assert_eq!(violation, expected),
        other => panic!("{other:?} where {expected:?} was due"),
    }
}

#[test]
fn headers() {
    let check = |entry: Entry, stood: usize, expected: &str| {
        let header = FileHeader { entry, ..header(id(b""), 0, false) };
        let error = FileReceiver::new(&header, Cursor::new(vec![0; stood]), Vec::new()).unwrap_err();
        assert!(format!("{error:?}").contains(expected), "{error:?}");
    };
    let file = |len| Entry::File { content: id(b""), len, executable: false };
    check(Entry::Directory, 0, "NotAFile");
    check(file(FILE_BYTES_MAX + 1), 0, "FileTooLarge");
    check(file(5), 6, "OutputTooLong");
}

#[test]
fn blocks() {
    let content = noise(100, 1);
    let zstd = |len: u32, bytes: Vec<u8>| FileFrame::Zstd { len, bytes: Blob::new(bytes).unwrap() };
    let packed = |bytes: &[u8]| zstd::bulk::compress(bytes, 1).unwrap();
    check(&content, false, vec![raw(b"")], Violation::BlockBytes { len: 0 });
    check(&content, false, vec![zstd(0, packed(b""))], Violation::BlockBytes { len: 0 });
    let large = BLOCK_BYTES_MAX + 1;
    check(&content, false, vec![zstd(large as u32, packed(&[0; 9]))], Violation::BlockBytes { len: large });
    check(&content, false, vec![zstd(u32::MAX, packed(&[0; 9]))], Violation::BlockBytes { len: u32::MAX as usize });
    // Shorter and longer than declared; 1 GiB in a few bytes; no zstd at all.
    check(&content, false, vec![zstd(10, packed(&[0; 9]))], Violation::DamagedBlock);
    check(&content, false, vec![zstd(8, packed(&[0; 9]))], Violation::DamagedBlock);
    check(&content, false, vec![zstd(100, packed(&vec![0; 1 << 26]))], Violation::DamagedBlock);
    check(&content, false, vec![zstd(100, b"anything".to_vec())], Violation::DamagedBlock);
    check(&content, false, vec![raw(&[0; 101])], Violation::TooLong { declared: 100 });
    check(&content, false, vec![raw(&content), raw(b"x")], Violation::TooLong { declared: 100 });
    check(
        &content,
        false,
        vec![raw(&content[..99]), FileFrame::End],
        Violation::Incomplete { received: 99, declared: 100 },
    );
    check(&content, false, vec![page(0, &[&content])], Violation::UnexpectedPage);
    assert!(matches!(last(&content, false, vec![raw(&[0; 100]), FileFrame::End]), Err(ReceiveError::WrongContent)));
    assert!(matches!(last(&content, false, vec![raw(b"x"), FileFrame::Abort]), Err(ReceiveError::Aborted)));
    assert!(matches!(last(&content, false, vec![raw(&content), FileFrame::End]), Ok(Reply::Complete)));
}

#[test]
fn pages() {
    let content = noise(1000, 1);
    let (head, tail) = content.split_at(600);
    let with_len = |len| {
        let chunks = Bounded::new(vec![Chunk { len, ..chunk(head) }]).unwrap();
        FileFrame::Recipe(RecipePage { page: 0, chunks })
    };
    check(&content, true, vec![page(1, &[&content])], Violation::PageOutOfOrder { page: 1, expected: 0 });
    check(&content, true, vec![page(0, &[head]), page(0, &[tail])], Violation::PageOutOfOrder { page: 0, expected: 1 });
    check(&content, true, vec![page(0, &[])], Violation::PageBytes { bytes: 0 });
    check(&content, true, vec![with_len(0)], Violation::ChunkBytes { len: 0 });
    let large = CHUNK_BYTES_MAX as u32 + 1;
    check(&content, true, vec![with_len(large)], Violation::ChunkBytes { len: large });
    check(&content, true, vec![page(0, &[&content, b"x"])], Violation::TooLong { declared: 1000 });
    check(&content, true, vec![page(0, &[head]), page(1, &[tail, b"x"])], Violation::TooLong { declared: 1000 });
    let many: Vec<&[u8]> = content.chunks(10).collect();
    let pages = (0..).zip(&many).take(PAGES_IN_FLIGHT_MAX + 1).map(|(number, bytes)| page(number, &[bytes])).collect();
    check(&content, true, pages, Violation::TooManyPages);
    let zeros = vec![0; 64 << 20];
    let wide: Vec<&[u8]> = zeros.chunks(CHUNK_BYTES_MAX).take(PAGE_BYTES_MAX / CHUNK_BYTES_MAX + 1).collect();
    check(
        &zeros,
        true,
        vec![page(0, &wide)],
        Violation::PageBytes { bytes: (PAGE_BYTES_MAX + CHUNK_BYTES_MAX) as u64 },
    );
}

#[test]
fn chunks() {
    let content = noise(1000, 1);
    let (head, tail) = content.split_at(600);
    check(&content, true, vec![raw(&content)], Violation::Unasked);
    check(&content, true, vec![page(0, &[head]), raw(&content)], Violation::Unasked);
    check(&content, true, vec![page(0, &[head, tail]), raw(&[0; 600])], Violation::WrongChunk { offset: 0 });
    check(
        &content,
        true,
        vec![page(0, &[head, tail]), raw(head), raw(&[0; 400])],
        Violation::WrongChunk { offset: 600 },
    );
    let end = vec![page(0, &[head, tail]), raw(&content[..700]), FileFrame::End];
    check(&content, true, end, Violation::Incomplete { received: 600, declared: 1000 });
    let end = vec![page(0, &[head]), raw(head), FileFrame::End];
    check(&content, true, end, Violation::Incomplete { received: 600, declared: 1000 });
    // Every chunk is what it says, the whole is not.
    let swapped = vec![page(0, &[tail, head]), raw(tail), raw(head), FileFrame::End];
    assert!(matches!(last(&content, true, swapped), Err(ReceiveError::WrongContent)));
    let honest = vec![page(0, &[head, tail]), raw(&content[..1]), raw(&content[1..999]), raw(&content[999..])];
    assert!(matches!(last(&content, true, honest.clone()), Ok(Reply::None)));
    assert!(matches!(last(&content, true, [honest, vec![FileFrame::End]].concat()), Ok(Reply::Complete)));
}

#[test]
fn a_source_that_changes_after_its_chunk_was_promised() {
    /// Says something else from the second reading on.
    struct Fickle(Cursor<Vec<u8>>, usize);
    impl Read for Fickle {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            let read = self.0.read(bytes)?;
            if self.1 > 1 {
                bytes.fill(9);
            }
            Ok(read)
        }
    }
    impl io::Seek for Fickle {
        fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
            self.1 += 1;
            self.0.seek(to)
        }
    }
    let content = noise(1000, 1);
    let header = header(id(&content), 1000, true);
    let source: Box<dyn ReadSeek> = Box::new(Fickle(Cursor::new(content.clone()), 0));
    let mut receiver = FileReceiver::new(&header, Cursor::new(Vec::new()), vec![source]).unwrap();
    assert!(matches!(receiver.handle(page(0, &[&content])), Err(ReceiveError::SourceChanged)));
}

#[test]
fn a_cut_leaves_a_prefix() {
    let content = noise(3 << 20, 1);
    let header = header(id(&content), content.len() as u64, false);
    let mut receiver = FileReceiver::new(&header, Cursor::new(Vec::new()), Vec::new()).unwrap();
    receiver.handle(raw(&content[..1 << 20])).unwrap();
    receiver.handle(raw(&content[1 << 20..][..100])).unwrap();
    receiver.handle(FileFrame::Abort).unwrap_err();
    assert_eq!(receiver.into_output().into_inner(), &content[..(1 << 20) + 100]);
}

/// Frames of some sense, put together without any.
fn frame() -> impl Strategy<Value = FileFrame> {
    let piece = (0_usize..6).prop_map(|seed| noise(100 * seed, seed as u64));
    prop_oneof![
        (0_u32..3, vec(piece.clone(), 0..4)).prop_map(|(number, pieces)| {
            let pieces: Vec<&[u8]> = pieces.iter().map(|piece| &piece[..]).collect();
            page(number, &pieces)
        }),
        piece.clone().prop_map(|bytes| raw(&bytes)),
        (piece, 0_u32..600).prop_map(|(bytes, len)| {
            let bytes = zstd::bulk::compress(&bytes, 1).unwrap();
            FileFrame::Zstd { len, bytes: Blob::new(bytes).unwrap() }
        }),
        (vec(any::<u8>(), 0..50), any::<u32>())
            .prop_map(|(bytes, len)| FileFrame::Zstd { len, bytes: Blob::new(bytes).unwrap() }),
        Just(FileFrame::End),
        Just(FileFrame::Abort),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_frames_end_in_an_error_or_in_the_declared_content(frames in vec(frame(), 0..12), recipe: bool, len in 0_usize..1500) {
        let content = noise(len, 1);
        let header = header(id(&content), len as u64, recipe);
        let stood = Cursor::new(noise(len / 2, 2));
        let mut receiver = FileReceiver::new(&header, stood, resources(&[noise(300, 3)])).unwrap();
        for frame in frames {
            match receiver.handle(frame) {
                Ok(Reply::Complete) => {
                    prop_assert_eq!(receiver.into_output().into_inner(), content);
                    return Ok(());
                }
                Ok(_) => prop_assert!(receiver.done_bytes() <= len as u64),
                Err(error) => {
                    prop_assert!(!error.to_string().is_empty());
                    break;
                }
            }
        }
        prop_assert!(receiver.into_output().into_inner().len() <= len);
    }
}

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::io::{self, Cursor, Read};

use proptest::{collection::vec, prelude::*};
use sync_proto::{
    ContentId, Entry, SyncPath,
    limits::{BLOCK_BYTES_MAX, CHUNK_BYTES_MAX, FILE_BYTES_MAX},
    message::{BatchId, Blob, Bounded, Chunk, Expected, FileFrame, FileHeader, Need, RecipePage},
};

use super::*;
use crate::delta::Effort;

fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn id(bytes: &[u8]) -> ContentId {
    ContentId(*blake3::hash(bytes).as_bytes())
}

fn chunk(bytes: &[u8]) -> Chunk {
    Chunk { id: id(bytes), len: bytes.len() as u32 }
}

fn page(page: u32, chunks: &[&[u8]]) -> FileFrame {
    let chunks = Bounded::new(chunks.iter().map(|bytes| chunk(bytes)).collect()).unwrap();
    FileFrame::Recipe(RecipePage { page, chunks })
}

fn raw(bytes: &[u8]) -> FileFrame {
    FileFrame::Raw(Blob::new(bytes.to_vec()).unwrap())
}

fn header(content: ContentId, len: u64, recipe: bool) -> FileHeader {
    FileHeader {
        batch: BatchId(7),
        path: SyncPath::parse(b"large").unwrap(),
        expected: Expected::Nothing,
        entry: Entry::File { content, len, executable: false },
        recipe,
    }
}

/// How a transfer is done.
#[derive(Clone, Default)]
struct Way {
    recipe: bool,
    /// For a link that is faster than compressing.
    fast: bool,
    stood: Vec<u8>,
    resources: Vec<Vec<u8>>,
}

/// What a transfer cost.
#[derive(Debug, Default, PartialEq, Eq)]
struct Cost {
    /// Bytes of content on the wire, as encoded.
    wire: usize,
    /// Of the source, decoded.
    content: u64,
    pages: usize,
    frames: usize,
}

fn resources(contents: &[Vec<u8>]) -> Vec<Box<dyn ReadSeek>> {
    contents.iter().map(|bytes| Box::new(Cursor::new(bytes.clone())) as Box<dyn ReadSeek>).collect()
}

/// Sends `content`, checks that it arrives and what the sender holds, and says what it cost. Answers travel as late as
/// they can.
fn check(content: &[u8], way: &Way) -> Cost {
    let len = content.len() as u64;
    let effort = if way.fast { Effort::Fast } else { Effort::Thorough };
    let mut sender = FileSender::new(content, len, id(content), way.recipe, effort);
    let out = Cursor::new(way.stood.clone());
    let mut receiver =
        FileReceiver::new(&header(id(content), len, way.recipe), out, resources(&way.resources)).unwrap();
    let mut cost = Cost::default();
    let mut needs: std::collections::VecDeque<Need> = Default::default();
    let mut complete = false;
    loop {
        assert!(sender.held_bytes() <= PAGES_IN_FLIGHT_MAX * PAGE_BYTES_MAX + CHUNK_BYTES_MAX);
        let frame = match sender.next().unwrap() {
            Step::Send(frame) => frame,
            Step::AwaitNeed => {
                sender.need(&needs.pop_front().expect("the sender waits for an answer that it has had")).unwrap();
                continue;
            }
            Step::Done => break,
        };
        cost.frames += 1;
        match &frame {
            FileFrame::Recipe(_) => cost.pages += 1,
            FileFrame::Raw(bytes) | FileFrame::Zstd { bytes, .. } => cost.wire += bytes.len(),
            FileFrame::Copy { .. } | FileFrame::Delta { .. } => panic!("there is no base"),
            FileFrame::End | FileFrame::Abort => {}
        }
        match receiver.handle(frame).unwrap() {
            Reply::None => {}
            Reply::Need(need) => needs.push_back(need),
            Reply::Complete => complete = true,
        }
    }
    assert!(complete && needs.is_empty());
    assert_eq!(sender.read_bytes(), len);
    assert_eq!(receiver.done_bytes(), len);
    cost.content = receiver.received_bytes();
    assert!(receiver.into_output().into_inner() == content, "what arrived is not what was sent");
    cost
}

#[test]
fn without_recipe_all_bytes_go_unasked() {
    let content = noise(5 << 20, 1);
    let cost = check(&content, &Way::default());
    assert_eq!(cost, Cost { wire: 5 << 20, content: 5 << 20, pages: 0, frames: 6 });
}

#[test]
fn with_recipe_only_what_is_missing_goes() {
    let old = noise(20 << 20, 1);
    let mut new = old.clone();
    new.splice(9_000_000..9_000_003, *b"other");
    let way = Way { recipe: true, resources: vec![noise(100, 3), old], ..Way::default() };
    let cost = check(&new, &way);
    assert_eq!(cost.pages, 3);
    assert!(cost.content <= 192 << 10, "{} bytes", cost.content);
    // Once more, with nothing to begin with.
    assert_eq!(check(&new, &Way { recipe: true, ..Way::default() }).content, new.len() as u64);
}

#[test]
fn an_earlier_part_is_not_sent_again() {
    let content = noise(20 << 20, 1);
    for recipe_cost in [11 << 20, 20 << 20] {
        let way = Way { recipe: true, stood: content[..recipe_cost].to_vec(), ..Way::default() };
        let left = (content.len() - recipe_cost) as u64;
        let cost = check(&content, &way);
        assert!((left..=left + (64 << 10)).contains(&cost.content), "{} of {left} bytes", cost.content);
    }
    // A part with a hole in it, as power loss may leave it.
    let mut stood = content.clone();
    stood[5 << 20..6 << 20].fill(0);
    let cost = check(&content, &Way { recipe: true, stood, ..Way::default() });
    assert!((1 << 20..=(1 << 20) + (128 << 10)).contains(&cost.content), "{} bytes", cost.content);
    // And what stands there does no harm where there is no recipe.
    check(&content, &Way { stood: noise(3 << 20, 9), ..Way::default() });
}

#[test]
fn what_repeats_within_a_file_goes_once() {
    let block = noise(1 << 20, 1);
    let cost = check(&block.repeat(30), &Way { recipe: true, ..Way::default() });
    assert!(cost.content <= (1 << 20) + (256 << 10), "{} bytes", cost.content);
    // A sparse file is one chunk, over and over, and the shorter one at its end.
    let cost = check(&vec![0; 40_000_000], &Way { recipe: true, ..Way::default() });
    assert!(cost.content <= 128 << 10, "{} bytes", cost.content);
}

#[test]
fn a_link_that_turns_out_slow_is_compressed_for_from_there_on() {
    let content = vec![7; 4 * BLOCK_BYTES_MAX];
    let mut sender = FileSender::new(&content[..], content.len() as u64, id(&content), false, Effort::Fast);
    let mut compressed = Vec::new();
    for effort in [Effort::Fast, Effort::Thorough, Effort::Fast, Effort::Medium] {
        sender.set_effort(effort);
        match sender.next().unwrap() {
            Step::Send(frame) => compressed.push(matches!(frame, FileFrame::Zstd { .. })),
            step => panic!("{step:?}"),
        }
    }
    assert_eq!(compressed, [false, true, false, true]);
}

#[test]
fn content_is_compressed_where_that_helps() {
    let text: Vec<u8> = (0_u32..600_000).flat_map(|number| format!("line {number}\n").into_bytes()).collect();
    for recipe in [false, true] {
        let cost = check(&text, &Way { recipe, ..Way::default() });
        assert!(cost.wire < text.len() / 3, "{} of {}", cost.wire, text.len());
        let off = check(&text, &Way { recipe, fast: true, ..Way::default() });
        assert_eq!(off.wire, text.len());
    }
    let mixed = [noise(3 << 20, 1), text].concat();
    let cost = check(&mixed, &Way::default());
    assert!(cost.wire < mixed.len() * 3 / 4, "{} of {}: compression was given up for good", cost.wire, mixed.len());
}

#[test]
fn small_and_empty_files() {
    for recipe in [false, true] {
        for len in [0, 1, 4095, 65_535, 65_536, 65_537] {
            check(&noise(len, 4), &Way { recipe, ..Way::default() });
            check(&vec![0; len], &Way { recipe, ..Way::default() });
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn what_is_sent_arrives(
        blocks in vec((0_usize..400_000, 0_u64..4, any::<bool>()), 0..8),
        edit in any::<prop::sample::Index>(),
        recipe: bool,
        part in any::<prop::sample::Index>(),
        damage: bool,
    ) {
        let old: Vec<u8> =
            blocks.iter().flat_map(|&(len, seed, zero)| if zero { vec![0; len] } else { noise(len, seed) }).collect();
        let mut new = old.clone();
        new.splice(edit.index(old.len() + 1)..edit.index(old.len() + 1), *b"an edit");
        let mut stood = new[..part.index(new.len())].to_vec();
        if damage {
            stood.iter_mut().step_by(100_001).for_each(|byte| *byte ^= 1);
        }
        check(&new, &Way { recipe, stood, resources: vec![old], ..Way::default() });
    }
}

#[test]
fn a_sender_waits_with_three_pages_in_memory() {
    let content = noise(60 << 20, 5);
    let mut sender = FileSender::new(&content[..], content.len() as u64, id(&content), true, Effort::Fast);
    for _ in 0..PAGES_IN_FLIGHT_MAX {
        assert!(matches!(sender.next().unwrap(), Step::Send(FileFrame::Recipe(_))));
    }
    assert_eq!(sender.next().unwrap(), Step::AwaitNeed);
    assert_eq!(sender.next().unwrap(), Step::AwaitNeed);
    assert!(sender.read_bytes() <= (PAGES_IN_FLIGHT_MAX * PAGE_BYTES_MAX) as u64);
    assert!(sender.held_bytes() <= PAGES_IN_FLIGHT_MAX * PAGE_BYTES_MAX + CHUNK_BYTES_MAX);
}

/// Every answer of the sender until it is done.
fn frames<R: Read>(sender: &mut FileSender<R>) -> Vec<Result<Step, SendError>> {
    let mut steps = Vec::new();
    while !matches!(steps.last(), Some(Ok(Step::Done | Step::AwaitNeed))) {
        steps.push(sender.next());
    }
    steps
}

#[test]
fn a_file_that_changed_ends_in_an_abort() {
    let content = noise(100_000, 1);
    for recipe in [false, true] {
        let check = |source: &[u8], len: usize, last: FileFrame| {
            let mut sender = FileSender::new(source, len as u64, id(&content), recipe, Effort::Thorough);
            let mut steps = frames(&mut sender);
            if let Some(Ok(Step::AwaitNeed)) = steps.last() {
                let missing = Blob::new(vec![0]).unwrap();
                sender.need(&Need { batch: BatchId(0), page: 0, missing }).unwrap();
                steps.append(&mut frames(&mut sender));
            }
            let [.., Ok(Step::Send(end)), Ok(Step::Done)] = &steps[..] else { panic!("{steps:?}") };
            assert_eq!(*end, last);
        };
        check(&content, content.len(), FileFrame::End);
        // It grew: what was to be sent is there.
        check(&[&content[..], b"more"].concat(), content.len(), FileFrame::End);
        check(&content[1..], content.len(), FileFrame::Abort);
        check(&[], content.len(), FileFrame::Abort);
        check(&noise(100_000, 2), content.len(), FileFrame::Abort);
    }
}

#[test]
fn a_file_that_cannot_be_read_ends_in_an_abort() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("bad sector"))
        }
    }
    for recipe in [false, true] {
        let mut sender = FileSender::new(Failing, 100_000, id(b""), recipe, Effort::Fast);
        let steps = frames(&mut sender);
        assert!(
            matches!(&steps[..], [Err(SendError::Read(_)), Ok(Step::Send(FileFrame::Abort)), Ok(Step::Done)]),
            "{steps:?}"
        );
    }
}

#[test]
fn answers_out_of_turn_are_refused() {
    let content = noise(100_000, 1);
    let need = |page, missing: &[u8]| Need { batch: BatchId(0), page, missing: Blob::new(missing.to_vec()).unwrap() };
    let mut sender = FileSender::new(&content[..], 100_000, id(&content), true, Effort::Fast);
    assert!(matches!(sender.need(&need(0, &[])), Err(SendError::UnexpectedNeed { page: 0 })));
    let Step::Send(FileFrame::Recipe(page)) = sender.next().unwrap() else { panic!() };
    assert!(page.chunks.len() < 8);
    assert!(matches!(sender.need(&need(1, &[0])), Err(SendError::UnexpectedNeed { page: 1 })));
    assert!(matches!(sender.need(&need(0, &[0, 0])), Err(SendError::MalformedNeed { page: 0 })));
    assert!(matches!(sender.need(&need(0, &[0xff])), Err(SendError::MalformedNeed { page: 0 })));
    sender.need(&need(0, &[1])).unwrap();
    assert!(matches!(sender.need(&need(0, &[1])), Err(SendError::UnexpectedNeed { page: 0 })));
    let mut plain = FileSender::new(&content[..], 100_000, id(&content), false, Effort::Fast);
    assert!(matches!(plain.need(&need(0, &[1])), Err(SendError::UnexpectedNeed { page: 0 })));
}

mod against;
mod elsewhere;
mod lies;

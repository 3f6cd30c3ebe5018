//! Files that are said against the one they replace.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use sync_proto::limits::{WINDOW_BASE_BYTES_MAX, WINDOW_BYTES_MAX};

use super::*;

/// Content on the wire, and how it was said.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    wire: usize,
    copies: usize,
    deltas: usize,
    blocks: usize,
}

fn frames(base: &[u8], new: &[u8], effort: Effort) -> Vec<FileFrame> {
    let base = Box::new(Cursor::new(base.to_vec()));
    let mut sender = FileSender::against(new, new.len() as u64, id(new), base, effort).unwrap();
    let mut frames = Vec::new();
    loop {
        // The window, and the frames of a window that is said as it is.
        assert!(sender.held_bytes() <= 2 * WINDOW_BYTES_MAX + BLOCK_BYTES_MAX, "{}", sender.held_bytes());
        match sender.next().unwrap() {
            Step::Send(frame) => frames.push(frame),
            Step::AwaitNeed => panic!("nothing is asked for"),
            Step::Done => return frames,
        }
    }
}

fn receive(base: Option<&[u8]>, new: &[u8], frames: &[FileFrame]) -> Result<(), ReceiveError> {
    let there = base.map(|base| vec![base.to_vec()]).unwrap_or_default();
    let out = Cursor::new(Vec::new());
    let mut receiver = FileReceiver::new(&header(id(new), new.len() as u64, false), out, resources(&there)).unwrap();
    let last = frames.iter().try_fold(Reply::None, |_, frame| receiver.handle(frame.clone()))?;
    assert_eq!(last, Reply::Complete);
    assert!(receiver.into_output().into_inner() == new, "what arrived is not what was sent");
    Ok(())
}

fn check(base: &[u8], new: &[u8]) -> Said {
    receive(Some(base), new, &frames(base, new, Effort::Thorough)).unwrap();
    let frames = frames(base, new, Effort::Fast);
    receive(Some(base), new, &frames).unwrap();
    let mut said = Said::default();
    for frame in &frames {
        match frame {
            FileFrame::Copy { .. } => said.copies += 1,
            FileFrame::Delta { bytes, .. } => {
                said.deltas += 1;
                said.wire += bytes.len();
            }
            FileFrame::Raw(bytes) => {
                said.blocks += 1;
                said.wire += bytes.len();
            }
            _ => {}
        }
    }
    said
}

#[test]
fn only_what_differs_travels() {
    let base = noise(40 << 20, 1);
    let cut = |from: usize, to: usize| &base[from..to];
    let end = base.len();

    let same = check(&base, &base);
    assert_eq!(same, Said { copies: 1, ..Said::default() });
    let inserted = check(&base, &[cut(0, 9_000_000), b"new", cut(9_000_000, end)].concat());
    assert_eq!((inserted.copies, inserted.deltas, inserted.blocks), (2, 1, 0));
    assert!(inserted.wire < 100, "{inserted:?}");
    let removed = check(&base, &[cut(0, 9_000_000), cut(12_000_000, end)].concat());
    assert!(removed.wire < 100, "{removed:?}");
    let appended = check(&base, &[&base[..], b"more"].concat());
    assert_eq!((appended.copies, appended.blocks <= 1), (1, true));
    assert!(appended.wire < 100, "{appended:?}");
    let cut_off = check(&base, cut(0, 5_000_000));
    assert_eq!(cut_off, Said { copies: 1, ..Said::default() });

    // Many places, all over the file.
    let mut scattered = base.clone();
    for place in (0..end).step_by(100_000) {
        scattered[place..place + 20].copy_from_slice(&noise(20, place as u64));
    }
    let said = check(&base, &scattered);
    assert!(said.deltas <= 6 && said.wire < 40 * end / 100_000, "{said:?}");
}

#[test]
fn what_has_moved_far_is_found_again() {
    let base = noise(60 << 20, 1);
    let fresh = noise(20 << 20, 2);
    // Farther than a window reaches: put in, left out, and put elsewhere.
    let inserted = check(&base, &[&base[..1 << 20], &fresh, &base[1 << 20..]].concat());
    assert!(inserted.wire < fresh.len() + (64 << 10), "{inserted:?}");
    let removed = check(&base, &[&base[..1 << 20], &base[30 << 20..]].concat());
    assert!(removed.wire < 64 << 10, "{removed:?}");
    let moved = check(&base, &[&base[40 << 20..], &base[..40 << 20]].concat());
    assert!(moved.wire < 64 << 10, "{moved:?}");
    // A part of a window that is there otherwise.
    let mut parted = base[..50 << 20].to_vec();
    parted.splice(10 << 20..10 << 20, base[52 << 20..53 << 20].iter().copied());
    let parted = check(&base, &parted);
    assert!(parted.wire < 32 << 10, "{parted:?}");
    // Nothing is the same.
    let said = check(&base, &fresh);
    assert_eq!((said.copies, said.deltas, said.wire), (0, 0, fresh.len()));
}

#[test]
fn what_is_appended_is_not_worth_reading_all_of_a_large_file() {
    let base = noise(48 << 20, 1);
    let new = [&base[..], &noise(100_000, 2)].concat();
    let read = Arc::<AtomicUsize>::default();
    let counted = Box::new(Counted(Cursor::new(base), Arc::clone(&read)));
    let mut sender = FileSender::against(&new[..], new.len() as u64, id(&new), counted, Effort::Fast).unwrap();
    while let Step::Send(frame) = sender.next().unwrap() {
        assert!(!matches!(frame, FileFrame::Abort));
    }
    // Once to compare, and what lies near the end.
    assert!(read.load(Ordering::Relaxed) <= (52 << 20), "{read:?}");
}

#[test]
fn empty_bases_and_empty_files() {
    let content = noise(3 << 20, 1);
    assert_eq!(check(&[], &content).wire, content.len());
    assert_eq!(check(&content, &[]), Said::default());
    assert_eq!(check(&[], &[]), Said::default());
}

#[test]
fn a_delta_too_long_for_a_frame_is_said_in_parts() {
    // Every other stretch is fresh: half of each window.
    let base = noise(16 << 20, 1);
    let fresh = noise(16 << 20, 2);
    let mixed: Vec<u8> =
        base.chunks(64 << 10).zip(fresh.chunks(64 << 10)).flat_map(|(old, new)| [old, new].concat()).collect();
    let said = check(&base, &mixed);
    assert!(said.deltas >= 16 && said.wire < (17 << 20), "{said:?}");
}

#[test]
fn another_file_than_the_senders_is_found_out() {
    let base = noise(3 << 20, 1);
    let new = [&base[..1 << 20], b"new", &base[1 << 20..]].concat();
    let frames = frames(&base, &new, Effort::Fast);
    let mut other = base.clone();
    other[5] ^= 1;
    for there in [None, Some(&other[..]), Some(&base[..1000]), Some(&[])] {
        let failed = receive(there, &new, &frames);
        assert!(matches!(failed, Err(ReceiveError::SourceChanged)), "{failed:?}");
    }
}

#[test]
fn a_file_that_changes_while_it_is_read_is_given_up() {
    let base = noise(3 << 20, 1);
    let new = [&base[..], b"new"].concat();
    let against = |source: &[u8], len| {
        let base = Box::new(Cursor::new(base.clone()));
        let mut sender = FileSender::against(source, len as u64, id(&new), base, Effort::Fast).unwrap();
        let mut last = None;
        while let Step::Send(frame) = sender.next().unwrap() {
            last = Some(frame);
        }
        last
    };
    assert_eq!(against(&new, new.len()), Some(FileFrame::End));
    // Shorter, and other.
    assert_eq!(against(&new[..new.len() - 1], new.len()), Some(FileFrame::Abort));
    assert_eq!(against(&base, base.len()), Some(FileFrame::Abort));
}

#[test]
fn lies_about_the_base() {
    let content = noise(1 << 20, 1);
    let check = |recipe: bool, frame: FileFrame, expected: Violation| {
        let header = header(id(&content), content.len() as u64, recipe);
        let there = resources(std::slice::from_ref(&content));
        let mut receiver = FileReceiver::new(&header, Cursor::new(Vec::new()), there).unwrap();
        match receiver.handle(frame) {
            Err(ReceiveError::Protocol(violation)) => assert_eq!(violation, expected),
            other => panic!("{expected}: {other:?}"),
        }
    };
    let declared = content.len() as u64;
    let delta = |base_len: usize, len: usize| FileFrame::Delta {
        offset: 0,
        base_len: base_len as u32,
        len: len as u32,
        bytes: Blob::new(vec![0, 0, 0]).unwrap(),
    };
    check(true, FileFrame::Copy { offset: 0, len: 1 }, Violation::UnexpectedReference);
    check(true, delta(1, 1), Violation::UnexpectedReference);
    check(false, FileFrame::Copy { offset: 0, len: 0 }, Violation::EmptyCopy);
    check(false, FileFrame::Copy { offset: 0, len: declared + 1 }, Violation::TooLong { declared });
    check(false, FileFrame::Copy { offset: u64::MAX, len: u64::MAX }, Violation::TooLong { declared });
    check(false, delta(1, content.len() + 1), Violation::TooLong { declared });
    check(false, delta(1, 0), Violation::Window { len: 0, base: 1 });
    let base = WINDOW_BASE_BYTES_MAX as u32 + 1;
    check(false, delta(base as usize, 1), Violation::Window { len: 1, base });
    // Beyond what is there it can't be told who is wrong.
    let header = header(id(&content), declared, false);
    for frame in [FileFrame::Copy { offset: u64::MAX, len: 1 }, FileFrame::Copy { offset: 1, len: declared }] {
        let mut receiver =
            FileReceiver::new(&header, Cursor::new(Vec::new()), resources(std::slice::from_ref(&content))).unwrap();
        assert!(matches!(receiver.handle(frame), Err(ReceiveError::SourceChanged)));
    }
}

/// Counts how much of it is read.
struct Counted(Cursor<Vec<u8>>, Arc<AtomicUsize>);

impl Read for Counted {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(bytes)?;
        self.1.fetch_add(read, Ordering::Relaxed);
        Ok(read)
    }
}

impl io::Seek for Counted {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

#[test]
fn short_deltas_can_not_make_a_receiver_read_for_ever() {
    let base = noise(16 << 20, 1);
    let len = 64 << 20;
    let read = Arc::<AtomicUsize>::default();
    let resource = Box::new(Counted(Cursor::new(base.clone()), Arc::clone(&read)));
    let mut receiver =
        FileReceiver::new(&header(id(&base), len, false), Cursor::new(Vec::new()), vec![resource]).unwrap();
    // One byte of it, and a reference to all of the base.
    let bytes = Blob::new(vec![0, 1, 0]).unwrap();
    let frame = FileFrame::Delta { offset: 0, base_len: WINDOW_BASE_BYTES_MAX as u32, len: 1, bytes };
    let failed = (0..100).find_map(|_| receiver.handle(frame.clone()).err());
    assert!(matches!(failed, Some(ReceiveError::Protocol(Violation::TooManyReferences))), "{failed:?}");
    assert!(read.load(Ordering::Relaxed) <= 3 * WINDOW_BASE_BYTES_MAX);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_edit_arrives(
        len in 0_usize..600_000,
        edits in vec((any::<u32>(), 0_usize..100_000, 0_usize..100_000, any::<bool>()), 0..6),
        thorough: bool,
    ) {
        let base = noise(len, 1);
        let mut new = base.clone();
        for (place, removed, inserted, from_base) in edits {
            let place = place as usize % (new.len() + 1);
            let end = (place + removed).min(new.len());
            let put = if from_base { base[..inserted.min(len)].to_vec() } else { noise(inserted, place as u64) };
            new.splice(place..end, put);
        }
        let effort = if thorough { Effort::Thorough } else { Effort::Fast };
        receive(Some(&base), &new, &frames(&base, &new, effort)).unwrap();
    }
}

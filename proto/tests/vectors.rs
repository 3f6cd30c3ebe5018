//! `vectors/messages.txt` pins what every message looks like on the wire: a line a message, its name and the body of its
//! frame in hexadecimal. Lines are added, never changed: a change breaks every deployed peer.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, fmt::Debug};

use sync_proto::{
    ContentId, Entry, SyncPath, Target, TreeHash,
    codec::{FRAME_HEADER_BYTES, Message, decode, encode_frame},
    hello::Hello,
    message::*,
};

const VECTORS: &str = include_str!("../vectors/messages.txt");

/// Compares messages with the lines of the file, and remembers which were seen.
struct Check {
    pinned: BTreeMap<&'static str, &'static str>,
    wrong: Vec<String>,
}

impl Check {
    fn message<T: Message + PartialEq + Debug>(&mut self, name: &'static str, message: T) {
        let mut frame = Vec::new();
        encode_frame(&message, &mut frame, usize::MAX).unwrap();
        let body = frame.split_off(FRAME_HEADER_BYTES);
        self.bytes(name, &body);
        assert_eq!(decode::<T>(&body).as_ref(), Ok(&message), "{name}");
    }

    fn bytes(&mut self, name: &'static str, bytes: &[u8]) {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        if self.pinned.remove(name) != Some(hex.as_str()) {
            self.wrong.push(format!("{name} {hex}"));
        }
    }
}

fn path(text: &str) -> SyncPath {
    SyncPath::parse(text.as_bytes()).unwrap()
}

fn list<T, const MAX: usize>(items: Vec<T>) -> Bounded<T, MAX> {
    Bounded::new(items).unwrap()
}

fn blob<const MAX: usize>(bytes: &[u8]) -> Blob<MAX> {
    Blob::new(bytes.to_vec()).unwrap()
}

fn file() -> Entry {
    Entry::File { content: ContentId([0xc1; 32]), len: 70_000, executable: true }
}

fn link() -> Entry {
    Entry::Symlink(Target::new(b"../x").unwrap())
}

fn problem(kind: ProblemKind) -> Problem {
    Problem { path: path("a/\u{e9}"), kind, detail: Sentence::new("why") }
}

#[test]
fn every_message_is_what_it_always_was() {
    let pinned =
        VECTORS.lines().filter(|line| !line.starts_with('#')).map(|line| line.split_once(' ').unwrap()).collect();
    let mut check = Check { pinned, wrong: Vec::new() };
    let hello = Hello { version_min: 1, version_max: 2, features: 3, software: "synctl 0.1.0".to_owned() };
    check.bytes("hello", &hello.encode());
    integers_and_words(&mut check);
    to_agent(&mut check);
    operations(&mut check);
    to_controller(&mut check);
    content_streams(&mut check);
    assert!(check.wrong.is_empty(), "not what is pinned:\n{}\n", check.wrong.join("\n"));
    assert!(check.pinned.is_empty(), "pinned, but not checked: {:?}", check.pinned.keys());
}

fn integers_and_words(check: &mut Check) {
    let numbers = [
        ("u64-0", 0),
        ("u64-250", 250),
        ("u64-251", 251),
        ("u64-65535", 65_535),
        ("u64-65536", 65_536),
        ("u64-4294967295", u64::from(u32::MAX)),
        ("u64-4294967296", 1 << 32),
        ("u64-max", u64::MAX),
    ];
    numbers.into_iter().for_each(|(name, number)| check.message(name, BatchId(number)));
    check.message("path-root", SyncPath::root());
    check.message("path", path("src/main.rs"));
    check.message("path-bytes", SyncPath::parse(b"\xff/\x1b").unwrap());
    check.message("sentence", Sentence::new("na\u{ef}ve"));
    check.message("entry-directory", Entry::Directory);
    check.message("entry-file", file());
    check.message("entry-symlink", link());
    check.message("expected-nothing", Expected::Nothing);
    check.message("expected-entry", Expected::Entry(file()));
    check.message("expected-tree", Expected::Tree(TreeHash([0xd1; 32])));
}

fn to_agent(check: &mut Check) {
    let ignore = IgnoreSettings { patterns: list(vec![blob(b"*.o")]), vcs: false, gitignore: true, defaults: true };
    let (session, controller) = (SessionId(1), ReplicaId([0x2d; 16]));
    let open = Open { session, controller, root: blob(b"/srv/app"), ignore, push: true };
    check.message("to-agent-open", ToAgent::Open(open));
    check.message("to-agent-tree-request", ToAgent::TreeRequest(list(vec![path(""), path("a")])));
    let operations = list(vec![Operation::MakeDirectory { path: path("a") }]);
    check.message("to-agent-batch", ToAgent::Batch(Batch { id: BatchId(9), operations }));
    check.message("to-agent-rescan", ToAgent::Rescan);
    check.message("to-agent-ping", ToAgent::Ping(300));
    check.message("to-agent-goodbye", ToAgent::Goodbye(Sentence::new("bye")));
    let wanted = |base| Wanted { path: path("f"), entry: file(), base };
    let files = list(vec![wanted(None), wanted(Some(ContentId([0xc0; 32])))]);
    check.message("to-agent-fetch", ToAgent::Fetch(Fetch { id: BatchId(9), urgent: true, files }));
    let paths = list(vec![path("a"), path("a/f")]);
    check.message("to-agent-describe", ToAgent::Describe(Describe { id: BatchId(9), paths }));
    let need = Need { batch: BatchId(9), page: 1, missing: blob(&[0b101]) };
    check.message("to-agent-need", ToAgent::Need(need));
    check.message("to-agent-flush", ToAgent::Flush(300));
    check.message("to-agent-gather", ToAgent::Gather(Gather { first: BatchId(9), last: BatchId(300) }));
    check.message("to-agent-release", ToAgent::Release(BatchId(300)));
    check.message("to-agent-begin", ToAgent::Begin);
}

fn operations(check: &mut Check) {
    let put = |content| Operation::Put { path: path("f"), expected: Expected::Nothing, entry: file(), content };
    check.message("operation-make-directory", Operation::MakeDirectory { path: path("a/b") });
    check.message("operation-put-none", put(Content::None));
    check.message("operation-put-raw", put(Content::Raw(blob(b"raw"))));
    check.message("operation-put-zstd", put(Content::Zstd(blob(b"zstd"))));
    check.message("operation-put-delta", put(Content::Delta(blob(b"delta"))));
    check.message("operation-put-copy-of", put(Content::CopyOf(path("g"))));
    check.message("operation-put-unchanged", put(Content::Unchanged));
    check.message("operation-remove", Operation::Remove { path: path("f"), expected: Expected::Entry(link()) });
    let expected = Expected::Tree(TreeHash([0xd1; 32]));
    check.message("operation-move", Operation::Move { from: path("f"), to: path("a/f"), expected });
}

fn to_controller(check: &mut Check) {
    let problems = Problems { named: list(vec![problem(ProblemKind::Denied)]), more: 2 };
    let opened = Opened {
        replica: ReplicaId([0x1d; 16]),
        tree: TreeHash([0xd1; 32]),
        entries: 1000,
        complete: true,
        partials: list(vec![ContentId([0xc1; 32])]),
        problems: problems.clone(),
    };
    check.message("to-controller-opened", ToController::Opened(opened));
    check.message("to-controller-refused", ToController::Refused(Sentence::new("no")));
    let listed = |name, entry, tree| Listed { name: path(name), entry, tree: TreeHash([tree; 32]) };
    let entries = list(vec![listed("d", Entry::Directory, 0xd1), listed("f", file(), 0)]);
    check.message("to-controller-listing", ToController::Listing(Listing { path: path("a"), entries, last: true }));
    let change = |at, entry, content| Change { path: path(at), entry, content };
    let changes = list(vec![change("f", Some(file()), None), change("gone", None, None)]);
    let all = Changes { changes, settled: true, complete: false, problems, age_micros: 300 };
    check.message("to-controller-changes", ToController::Changes(all));
    let pushed = |content| change("f", Some(file()), Some(content));
    check.message("change-raw", pushed(Pushed::Raw(blob(b"raw"))));
    check.message("change-zstd", pushed(Pushed::Zstd(blob(b"zstd"))));
    check.message("change-delta", pushed(Pushed::Delta { base: ContentId([0xc0; 32]), delta: blob(b"delta") }));
    let outcomes = list(vec![
        Outcome::Applied,
        Outcome::Displaced(path(".synctl/displaced/1-f")),
        Outcome::Mismatch,
        Outcome::Kept,
        Outcome::BaseMissing,
        Outcome::Failed(problem(ProblemKind::NoSpace)),
    ]);
    let outcomes = Outcomes { batch: BatchId(9), outcomes, apply_micros: 250 };
    check.message("to-controller-outcomes", ToController::Outcomes(outcomes));
    let need = Need { batch: BatchId(9), page: 1, missing: blob(&[0b101]) };
    check.message("to-controller-need", ToController::Need(need));
    check.message("to-controller-pong", ToController::Pong(300));
    check.message("to-controller-goodbye", ToController::Goodbye(Sentence::new("bye")));
    let contents = list(vec![
        Supply::Raw(blob(b"raw")),
        Supply::Zstd(blob(b"zstd")),
        Supply::Delta(blob(b"delta")),
        Supply::Changed,
        Supply::Failed(problem(ProblemKind::Denied)),
    ]);
    check.message("to-controller-fetched", ToController::Fetched(Fetched { id: BatchId(9), first: 7, contents }));
    let found = |kind| Some(Found { kind, len: 70_000, modified: 1_700_000_000 });
    let found = list(vec![
        None,
        found(FoundKind::File),
        found(FoundKind::Directory),
        found(FoundKind::Symlink),
        found(FoundKind::Other),
        found(FoundKind::Unknown),
    ]);
    check.message("to-controller-described", ToController::Described(Described { id: BatchId(9), found }));
    check.message("to-controller-flushed", ToController::Flushed(300));
    let kinds = [
        ("problem-denied", ProblemKind::Denied),
        ("problem-unsupported-kind", ProblemKind::UnsupportedKind),
        ("problem-no-space", ProblemKind::NoSpace),
        ("problem-read-only", ProblemKind::ReadOnly),
        ("problem-bad-name", ProblemKind::BadName),
        ("problem-name-collision", ProblemKind::NameCollision),
        ("problem-bad-target", ProblemKind::BadTarget),
        ("problem-too-large", ProblemKind::TooLarge),
        ("problem-exhausted", ProblemKind::Exhausted),
        ("problem-io", ProblemKind::Io),
        ("problem-refused", ProblemKind::Refused),
    ];
    kinds.into_iter().for_each(|(name, kind)| check.message(name, problem(kind)));
}

fn content_streams(check: &mut Check) {
    check.message("stream-bundle", StreamHeader::Bundle(SessionId(1)));
    let header =
        FileHeader { batch: BatchId(9), path: path("f"), expected: Expected::Nothing, entry: file(), recipe: true };
    check.message("stream-file", StreamHeader::File(SessionId(1), header));
    let chunks = list(vec![Chunk { id: ContentId([0xc2; 32]), len: 16_384 }]);
    check.message("file-recipe", FileFrame::Recipe(RecipePage { page: 0, chunks }));
    check.message("file-raw", FileFrame::Raw(blob(b"raw")));
    check.message("file-zstd", FileFrame::Zstd { len: 1 << 20, bytes: blob(b"zstd") });
    check.message("file-end", FileFrame::End);
    check.message("file-abort", FileFrame::Abort);
    check.message("file-copy", FileFrame::Copy { offset: 7, len: 1 << 32 });
    let delta = FileFrame::Delta { offset: 1 << 20, base_len: 1 << 24, len: 1 << 23, bytes: blob(b"delta") };
    check.message("file-delta", delta);
}

#[test]
fn the_specification_names_every_limit() {
    let spec = include_str!("../SPEC.md");
    let names =
        include_str!("../src/limits.rs").lines().filter_map(|line| line.strip_prefix("pub const ")?.split(':').next());
    let missing: Vec<&str> = names.filter(|name| !spec.contains(&format!("`{name}` |"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

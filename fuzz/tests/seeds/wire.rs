//! One of each message, and of what is in it.

use sync_proto::{
    ContentId, Entry, SyncPath, Target, TreeHash,
    codec::{FRAME_HEADER_BYTES, encode_frame},
    hello::Hello,
    limits::BUNDLE_FRAME_BYTES_MAX,
    message::{
        Batch, BatchId, Blob, Bounded, Change, Changes, Chunk, Content, Describe, Described, Expected, Fetch, Fetched,
        FileFrame, FileHeader, Found, FoundKind, IgnoreSettings, Listed, Listing, Need, Open, Opened, Operation,
        Outcome, Outcomes, Problem, ProblemKind, Problems, Pushed, RecipePage, ReplicaId, Sentence, SessionId,
        StreamHeader, Supply, ToAgent, ToController, Wanted,
    },
};

use crate::numbered;

fn path(text: &str) -> SyncPath {
    SyncPath::parse(text.as_bytes()).unwrap()
}

fn file() -> Entry {
    Entry::File { content: ContentId([7; 32]), len: 300, executable: true }
}

fn link() -> Entry {
    Entry::Symlink(Target::new(b"../target").unwrap())
}

fn list<T, const MAX: usize>(items: Vec<T>) -> Bounded<T, MAX> {
    Bounded::new(items).unwrap_or_else(|_| panic!("too many items"))
}

fn blob<const MAX: usize>(bytes: &[u8]) -> Blob<MAX> {
    Blob::new(bytes.to_vec()).unwrap()
}

fn problem() -> Problem {
    Problem { path: path("dev/fifo"), kind: ProblemKind::UnsupportedKind, detail: Sentence::new("a fifo") }
}

fn batch() -> Batch {
    let put = |expected, entry, content| Operation::Put { path: path("src/main.rs"), expected, entry, content };
    let operations = list(vec![
        Operation::MakeDirectory { path: path("src") },
        put(Expected::Nothing, file(), Content::Raw(blob(b"fn main() {}"))),
        put(Expected::Entry(file()), file(), Content::Zstd(blob(b"frame"))),
        put(Expected::Entry(file()), file(), Content::Delta(blob(&[0, 1, 1, b'x']))),
        put(Expected::Nothing, file(), Content::CopyOf(path("other"))),
        put(Expected::Entry(file()), file(), Content::Unchanged),
        put(Expected::Nothing, link(), Content::None),
        Operation::Remove { path: path("old"), expected: Expected::Tree(TreeHash([1; 32])) },
        Operation::Move { from: path("a"), to: path("b/c"), expected: Expected::Entry(file()) },
    ]);
    Batch { id: BatchId(300), operations }
}

fn to_agent() -> Vec<ToAgent> {
    let ignore = IgnoreSettings { patterns: list(vec![blob(b"*.log"), blob(b"!keep")]), ..IgnoreSettings::default() };
    vec![
        ToAgent::Open(Open {
            session: SessionId(1),
            controller: ReplicaId([3; 16]),
            root: blob(b"/work"),
            ignore,
            push: true,
        }),
        ToAgent::TreeRequest(list(vec![SyncPath::root(), path("src")])),
        ToAgent::Batch(batch()),
        ToAgent::Rescan,
        ToAgent::Ping(70_000),
        ToAgent::Goodbye(Sentence::new("done")),
        ToAgent::Fetch(Fetch {
            id: BatchId(301),
            urgent: true,
            files: list(vec![wanted(None), wanted(Some(ContentId([7; 32])))]),
        }),
        ToAgent::Describe(Describe { id: BatchId(302), paths: list(vec![path("src"), path("src/main.rs")]) }),
        ToAgent::Need(Need { batch: BatchId(1), page: 0, missing: blob(&[5]) }),
        ToAgent::Flush(70_000),
        ToAgent::Begin,
    ]
}

fn to_controller() -> Vec<ToController> {
    let problems = || Problems::new([problem()]);
    let listed = |name, entry| Listed { name: path(name), entry, tree: TreeHash([0; 32]) };
    let outcomes = vec![
        Outcome::Applied,
        Outcome::Displaced(path("displaced/1-main.rs")),
        Outcome::Mismatch,
        Outcome::Kept,
        Outcome::BaseMissing,
        Outcome::Failed(problem()),
    ];
    let change = |entry, content| Change { path: path("changed"), entry, content };
    let found = Found { kind: FoundKind::File, len: 70_000, modified: 1_700_000_000 };
    vec![
        ToController::Opened(Opened {
            replica: ReplicaId([3; 16]),
            tree: TreeHash([4; 32]),
            entries: 5,
            complete: true,
            partials: list(vec![ContentId([6; 32])]),
            problems: problems(),
        }),
        ToController::Refused(Sentence::new("no such root")),
        ToController::Listing(Listing {
            path: path("src"),
            entries: list(vec![listed("a", Entry::Directory), listed("b", file()), listed("c", link())]),
            last: true,
        }),
        ToController::Changes(Changes {
            changes: list(vec![
                change(Some(file()), None),
                change(Some(file()), Some(Pushed::Raw(blob(b"bytes")))),
                change(Some(file()), Some(Pushed::Delta { base: ContentId([7; 32]), delta: blob(b"delta") })),
                change(None, None),
            ]),
            settled: true,
            complete: false,
            problems: problems(),
            age_micros: 300,
        }),
        ToController::Outcomes(Outcomes { batch: BatchId(300), outcomes: list(outcomes), apply_micros: 250 }),
        ToController::Need(Need { batch: BatchId(1), page: 0, missing: blob(&[5]) }),
        ToController::Pong(70_000),
        ToController::Goodbye(Sentence::new("shutting down")),
        ToController::Fetched(fetched()),
        ToController::Described(Described { id: BatchId(302), found: list(vec![None, Some(found)]) }),
        ToController::Flushed(70_000),
    ]
}

fn wanted(base: Option<ContentId>) -> Wanted {
    Wanted { path: path("src/main.rs"), entry: file(), base }
}

fn fetched() -> Fetched {
    let contents = vec![
        Supply::Raw(blob(b"bytes")),
        Supply::Zstd(blob(&zstd::bulk::compress(&[1; 500], 3).unwrap())),
        Supply::Delta(blob(b"delta")),
        Supply::Changed,
        Supply::Failed(problem()),
    ];
    Fetched { id: BatchId(301), first: 0, contents: list(contents) }
}

fn stream_headers() -> Vec<StreamHeader> {
    let header =
        FileHeader { batch: BatchId(2), path: path("large"), expected: Expected::Nothing, entry: file(), recipe: true };
    vec![StreamHeader::Bundle(SessionId(1)), StreamHeader::File(SessionId(1), header)]
}

fn file_frames() -> Vec<FileFrame> {
    let chunk = Chunk { id: ContentId([8; 32]), len: 16_384 };
    vec![
        FileFrame::Recipe(RecipePage { page: 1, chunks: list(vec![chunk; 3]) }),
        FileFrame::Raw(blob(b"bytes")),
        FileFrame::Zstd { len: 500, bytes: blob(&zstd::bulk::compress(&[1; 500], 3).unwrap()) },
        FileFrame::End,
        FileFrame::Abort,
    ]
}

pub(crate) fn messages() -> Vec<(String, Vec<u8>)> {
    fn seeds<T: bincode::Encode>(kind: u8, messages: &[T]) -> Vec<Vec<u8>> {
        let frame = |message: &T| {
            let mut frame = Vec::new();
            encode_frame(message, &mut frame, BUNDLE_FRAME_BYTES_MAX).unwrap();
            frame
        };
        messages.iter().map(|message| [&[kind], &frame(message)[FRAME_HEADER_BYTES..]].concat()).collect()
    }
    let mut all = seeds(0, &to_agent());
    all.append(&mut seeds(1, &to_controller()));
    all.append(&mut seeds(2, &stream_headers()));
    all.append(&mut seeds(3, &file_frames()));
    all.append(&mut seeds(4, &[batch()]));
    all.append(&mut seeds(5, &[fetched()]));
    // With the header of a frame: one that is whole, one whose length lies.
    all.push(vec![0x80, 1, 0, 0, 0, 3]);
    all.push(vec![0x81, 0xff, 0xff, 0xff, 0xff, 3]);
    numbered(all)
}

pub(crate) fn paths() -> Vec<(String, Vec<u8>)> {
    numbered(
        [
            &b"src/main.rs"[..],
            b"",
            b".",
            b"a/../b",
            b"a//b",
            b"/a",
            b"a/",
            b"\xff\xfe",
            b"a\0b",
            b"\x1b[31m\n",
            b"con.txt ",
        ]
        .into_iter()
        .map(<[u8]>::to_vec)
        .chain([vec![b'x'; 256], [&b"d/"[..]; 300].concat(), "a\u{202e}b\u{9b}".into()]),
    )
}

pub(crate) fn hellos() -> Vec<(String, Vec<u8>)> {
    let current = Hello::current("synctl 0.1.0");
    let versions = |version_min, version_max| Hello { version_min, version_max, ..current.clone() };
    let mut all: Vec<Vec<u8>> = [
        current.clone(),
        versions(2, 9),
        versions(0, 0),
        versions(0, 7),
        Hello { software: "\x1b[2J".into(), ..versions(3, 3) },
    ]
    .iter()
    .map(|hello| hello.encode().to_vec())
    .collect();
    let mut unlike = current.encode().to_vec();
    unlike[0] = b'S';
    all.push(unlike);
    let mut long = current.encode().to_vec();
    long[20] = 200;
    all.push(long);
    all.push(b"GET / HTTP/1.1\r\n\r\n".to_vec());
    numbered(all)
}

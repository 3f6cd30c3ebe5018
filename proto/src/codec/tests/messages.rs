//! Any message.

#![allow(clippy::unwrap_used)]

use proptest::{collection::vec, option, prelude::*};

use crate::{
    entry::{ContentId, Entry, Target, TreeHash},
    message::*,
    path::SyncPath,
};

fn bounded<T: std::fmt::Debug, const MAX: usize>(
    item: impl Strategy<Value = T>,
) -> impl Strategy<Value = Bounded<T, MAX>> {
    vec(item, 0..4).prop_map(|items| Bounded::new(items).unwrap())
}

fn blob<const MAX: usize>() -> impl Strategy<Value = Blob<MAX>> {
    vec(any::<u8>(), 0..300).prop_map(|bytes| Blob::new(bytes).unwrap())
}

fn sentence() -> impl Strategy<Value = Sentence> {
    ".{0,40}".prop_map(Sentence::new)
}

fn path() -> impl Strategy<Value = SyncPath> {
    let name = vec(any::<u8>().prop_filter("allowed", |byte| !matches!(byte, 0 | b'/' | b'.')), 1..20);
    vec(name, 0..4).prop_map(|names| SyncPath::parse(&names.join(&b'/')).unwrap())
}

fn hash() -> impl Strategy<Value = TreeHash> {
    any::<[u8; 32]>().prop_map(TreeHash)
}

fn entry() -> impl Strategy<Value = Entry> {
    prop_oneof![
        Just(Entry::Directory),
        any::<([u8; 32], u64, bool)>().prop_map(|(id, len, executable)| Entry::File {
            content: ContentId(id),
            len,
            executable
        }),
        vec(1..=u8::MAX, 1..50).prop_map(|bytes| Entry::Symlink(Target::new(&bytes).unwrap())),
    ]
}

fn expected() -> impl Strategy<Value = Expected> {
    prop_oneof![Just(Expected::Nothing), entry().prop_map(Expected::Entry), hash().prop_map(Expected::Tree)]
}

fn content() -> impl Strategy<Value = Content> {
    prop_oneof![
        Just(Content::None),
        blob().prop_map(Content::Raw),
        blob().prop_map(Content::Zstd),
        blob().prop_map(Content::Delta),
        path().prop_map(Content::CopyOf),
        Just(Content::Unchanged),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        path().prop_map(|path| Operation::MakeDirectory { path }),
        (path(), expected(), entry(), content()).prop_map(|(path, expected, entry, content)| Operation::Put {
            path,
            expected,
            entry,
            content
        }),
        (path(), expected()).prop_map(|(path, expected)| Operation::Remove { path, expected }),
        (path(), path(), expected()).prop_map(|(from, to, expected)| Operation::Move { from, to, expected }),
    ]
}

fn batch() -> impl Strategy<Value = Batch> {
    (any::<u64>(), bounded(operation())).prop_map(|(id, operations)| Batch { id: BatchId(id), operations })
}

fn ignore() -> impl Strategy<Value = IgnoreSettings> {
    (bounded(blob()), any::<bool>(), any::<bool>(), any::<bool>())
        .prop_map(|(patterns, vcs, gitignore, defaults)| IgnoreSettings { patterns, vcs, gitignore, defaults })
}

fn problem_kind() -> impl Strategy<Value = ProblemKind> {
    use ProblemKind::*;
    prop::sample::select(vec![
        Denied,
        UnsupportedKind,
        NoSpace,
        ReadOnly,
        BadName,
        NameCollision,
        BadTarget,
        TooLarge,
        Exhausted,
        Io,
    ])
}

fn problem() -> impl Strategy<Value = Problem> {
    (path(), problem_kind(), sentence()).prop_map(|(path, kind, detail)| Problem { path, kind, detail })
}

fn problems() -> impl Strategy<Value = Problems> {
    (bounded(problem()), any::<u64>()).prop_map(|(named, more)| Problems { named, more })
}

fn opened() -> impl Strategy<Value = Opened> {
    let partials = bounded(any::<[u8; 32]>().prop_map(ContentId));
    (any::<[u8; 16]>(), hash(), any::<u64>(), any::<bool>(), partials, problems()).prop_map(
        |(replica, tree, entries, complete, partials, problems)| Opened {
            replica: ReplicaId(replica),
            tree,
            entries,
            complete,
            partials,
            problems,
        },
    )
}

fn listing() -> impl Strategy<Value = Listing> {
    let listed = (path(), entry(), hash()).prop_map(|(name, entry, tree)| Listed { name, entry, tree });
    (path(), bounded(listed), any::<bool>()).prop_map(|(path, entries, last)| Listing { path, entries, last })
}

fn changes() -> impl Strategy<Value = Changes> {
    let pushed = prop_oneof![
        blob().prop_map(Pushed::Raw),
        blob().prop_map(Pushed::Zstd),
        (any::<[u8; 32]>(), blob()).prop_map(|(base, delta)| Pushed::Delta { base: ContentId(base), delta }),
    ];
    let change = (path(), option::of(entry()), option::of(pushed)).prop_map(|(path, entry, content)| Change {
        path,
        entry,
        content,
    });
    (bounded(change), any::<bool>(), any::<bool>(), problems(), any::<u64>()).prop_map(
        |(changes, settled, complete, problems, age_micros)| Changes {
            changes,
            settled,
            complete,
            problems,
            age_micros,
        },
    )
}

fn outcomes() -> impl Strategy<Value = Outcomes> {
    let outcome = prop_oneof![
        Just(Outcome::Applied),
        path().prop_map(Outcome::Displaced),
        Just(Outcome::Mismatch),
        Just(Outcome::Kept),
        Just(Outcome::BaseMissing),
        problem().prop_map(Outcome::Failed),
    ];
    (any::<u64>(), bounded(outcome), any::<u64>()).prop_map(|(batch, outcomes, apply_micros)| Outcomes {
        batch: BatchId(batch),
        outcomes,
        apply_micros,
    })
}

fn need() -> impl Strategy<Value = Need> {
    (any::<u64>(), any::<u32>(), blob()).prop_map(|(batch, page, missing)| Need {
        batch: BatchId(batch),
        page,
        missing,
    })
}

fn fetch() -> impl Strategy<Value = Fetch> {
    let wanted = (path(), entry(), option::of(any::<[u8; 32]>())).prop_map(|(path, entry, base)| Wanted {
        path,
        entry,
        base: base.map(ContentId),
    });
    (any::<u64>(), any::<bool>(), bounded(wanted)).prop_map(|(id, urgent, files)| Fetch {
        id: BatchId(id),
        urgent,
        files,
    })
}

pub(super) fn fetched() -> impl Strategy<Value = Fetched> {
    let supply = prop_oneof![
        blob().prop_map(Supply::Raw),
        blob().prop_map(Supply::Zstd),
        blob().prop_map(Supply::Delta),
        Just(Supply::Changed),
        problem().prop_map(Supply::Failed),
    ];
    (any::<u64>(), any::<u32>(), bounded(supply)).prop_map(|(id, first, contents)| Fetched {
        id: BatchId(id),
        first,
        contents,
    })
}

fn described() -> impl Strategy<Value = Described> {
    let kind = prop::sample::select(vec![
        FoundKind::File,
        FoundKind::Directory,
        FoundKind::Symlink,
        FoundKind::Other,
        FoundKind::Unknown,
    ]);
    let found = (kind, any::<u64>(), any::<u64>()).prop_map(|(kind, len, modified)| Found { kind, len, modified });
    (any::<u64>(), bounded(option::of(found))).prop_map(|(id, found)| Described { id: BatchId(id), found })
}

pub(super) fn to_agent() -> impl Strategy<Value = ToAgent> {
    let open = (any::<u32>(), any::<[u8; 16]>(), blob(), ignore(), any::<bool>()).prop_map(
        |(session, controller, root, ignore, push)| {
            let (session, controller) = (SessionId(session), ReplicaId(controller));
            Open { session, controller, root, ignore, push }
        },
    );
    prop_oneof![
        open.prop_map(ToAgent::Open),
        bounded(path()).prop_map(ToAgent::TreeRequest),
        batch().prop_map(ToAgent::Batch),
        Just(ToAgent::Rescan),
        any::<u64>().prop_map(ToAgent::Ping),
        sentence().prop_map(ToAgent::Goodbye),
        fetch().prop_map(ToAgent::Fetch),
        (any::<u64>(), bounded(path())).prop_map(|(id, paths)| ToAgent::Describe(Describe { id: BatchId(id), paths })),
        need().prop_map(ToAgent::Need),
        any::<u64>().prop_map(ToAgent::Flush),
        any::<[u64; 2]>()
            .prop_map(|[first, last]| ToAgent::Gather(Gather { first: BatchId(first), last: BatchId(last) })),
        any::<u64>().prop_map(|id| ToAgent::Release(BatchId(id))),
        Just(ToAgent::Begin),
    ]
}

pub(super) fn to_controller() -> impl Strategy<Value = ToController> {
    prop_oneof![
        opened().prop_map(ToController::Opened),
        sentence().prop_map(ToController::Refused),
        listing().prop_map(ToController::Listing),
        changes().prop_map(ToController::Changes),
        outcomes().prop_map(ToController::Outcomes),
        need().prop_map(ToController::Need),
        any::<u64>().prop_map(ToController::Pong),
        sentence().prop_map(ToController::Goodbye),
        fetched().prop_map(ToController::Fetched),
        described().prop_map(ToController::Described),
        any::<u64>().prop_map(ToController::Flushed),
    ]
}

pub(super) fn stream_header() -> impl Strategy<Value = StreamHeader> {
    let file = (any::<u64>(), path(), expected(), entry(), any::<bool>()).prop_map(
        |(batch, path, expected, entry, recipe)| FileHeader { batch: BatchId(batch), path, expected, entry, recipe },
    );
    prop_oneof![
        any::<u32>().prop_map(|session| StreamHeader::Bundle(SessionId(session))),
        (any::<u32>(), file).prop_map(|(session, file)| StreamHeader::File(SessionId(session), file)),
    ]
}

pub(super) fn file_frame() -> impl Strategy<Value = FileFrame> {
    let chunk = any::<([u8; 32], u32)>().prop_map(|(id, len)| Chunk { id: ContentId(id), len });
    let recipe = (any::<u32>(), bounded(chunk)).prop_map(|(page, chunks)| RecipePage { page, chunks });
    prop_oneof![
        recipe.prop_map(FileFrame::Recipe),
        blob().prop_map(FileFrame::Raw),
        (any::<u32>(), blob()).prop_map(|(len, bytes)| FileFrame::Zstd { len, bytes }),
        Just(FileFrame::End),
        Just(FileFrame::Abort),
    ]
}

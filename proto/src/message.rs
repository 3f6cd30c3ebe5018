//! Everything that is said after the hello.
//!
//! The *controller* is the side with the plan (alpha's process); the *agent* holds beta. A session has one bidirectional
//! control stream, on which the controller says [`ToAgent`] and the agent [`ToController`], and unidirectional content
//! streams: a bundle stream carries frames of [`Batch`] to the agent or of [`Fetched`] to the controller, a file stream a
//! [`FileHeader`] and then frames of [`FileFrame`]. Which kind it is stands in its first frame, a [`StreamHeader`].
//!
//! Types here are for the wire alone: no map, no `usize`, every list [`Bounded`].

mod supply;

use std::ops::Deref;

use bincode::{Decode, Encode};

use crate::{
    entry::{ContentId, Entry, TreeHash},
    limits::{
        BATCH_OPERATIONS_MAX, BLOCK_BYTES_MAX, CHANGES_MAX, IGNORE_PATTERN_BYTES_MAX, IGNORE_PATTERNS_MAX,
        INLINE_CONTENT_BYTES_MAX, LISTING_ENTRIES_MAX, NAME_BYTES_MAX, PATH_BYTES_MAX, PROBLEMS_MAX, RECIPE_CHUNKS_MAX,
        SENTENCE_BYTES_MAX, TREE_REQUEST_PATHS_MAX,
    },
    path::SyncPath,
};

pub use supply::{Describe, Described, Fetch, Fetched, Found, FoundKind, Pushed, Supply, Wanted};

/// A list of at most `MAX` items. The count is checked before anything is allocated for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounded<T, const MAX: usize>(pub(crate) Vec<T>);

/// Text for a person, at most [`SENTENCE_BYTES_MAX`] bytes. From a peer: show it through [`crate::escape::Escaped`] only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sentence(pub(crate) String);

/// Bytes of content as they travel: at most `MAX` of them.
#[derive(Clone, PartialEq, Eq)]
pub struct Blob<const MAX: usize>(pub(crate) Vec<u8>);

/// Numbers one batch, one streamed file or one question within a session. Chosen by the controller, never used twice in a
/// connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct BatchId(pub u64);

/// Tells replicas apart; lives and dies with the content of the root. Random.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct ReplicaId(pub [u8; 16]);

/// Numbers a session within its connection. Chosen by the controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct SessionId(pub u32);

/// What the controller says on the control stream.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ToAgent {
    /// Asks for a root. The first message of a session, and only that. Answered by [`ToController::Refused`] at once, or by
    /// [`ToController::Opened`] when the root has been scanned and [`ToAgent::Begin`] has come.
    Open(Open),
    /// Asks what stands in these directories. Answered by one or more [`Listing`]s for each.
    TreeRequest(Bounded<SyncPath, TREE_REQUEST_PATHS_MAX>),
    /// Operations to do now, ahead of all bulk. Answered by [`Outcomes`].
    Batch(Batch),
    /// Asks for a fresh scan of the whole root. Answered by [`Changes`], the last of them with `settled` set.
    Rescan,
    /// Asks for a [`ToController::Pong`] with the same number.
    Ping(u64),
    /// The session ends, and why.
    Goodbye(Sentence),
    /// Asks for contents. Answered by [`Fetched`], on this stream or on a bundle stream, or by a file stream.
    Fetch(Fetch),
    /// Asks what stands at some paths. Answered by [`Described`].
    Describe(Describe),
    /// Which chunks of a recipe page are missing here: for a file that the agent streams.
    Need(Need),
    /// Asks for all that changed at beta before this to be told. Answered by [`ToController::Flushed`] with this number, or
    /// a later one, after the last of it. Numbers ascend.
    Flush(u64),
    /// Bulk batches belong together: to be done when the last of them is there, as far as the agent likes to hold so much.
    Gather(Gather),
    /// No more comes of what is gathered up to this number.
    Release(BatchId),
    /// This side has been looked at: the session begins. Said once, and nothing but [`ToAgent::Goodbye`] before it.
    Begin,
}

/// What the agent says on the control stream.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ToController {
    /// The root is open, and this is its state.
    Opened(Opened),
    /// The session can't be: why, and what to do.
    Refused(Sentence),
    /// A page of a directory.
    Listing(Listing),
    /// What changed at beta by other hands.
    Changes(Changes),
    /// What became of a batch.
    Outcomes(Outcomes),
    /// Which chunks of a recipe page are missing here.
    Need(Need),
    /// The answer to [`ToAgent::Ping`]; or with number 0 a word that asks for nothing but the link's acknowledgement.
    Pong(u64),
    /// The session ends, and why.
    Goodbye(Sentence),
    /// Contents that were asked for.
    Fetched(Fetched),
    /// What stands at paths that were asked about.
    Described(Described),
    /// The answer to [`ToAgent::Flush`].
    Flushed(u64),
}

/// Bulk batches that belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Gather {
    /// The number of the first.
    pub first: BatchId,
    /// The number of the last.
    pub last: BatchId,
}

/// Asks for a root.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Open {
    /// Names the session on content streams.
    pub session: SessionId,
    /// Who opens it: chosen at random once for a session's whole life. The same one coming back takes its place over from
    /// a connection that is dead but not known to be; any other is refused while the root is taken.
    pub controller: ReplicaId,
    /// The absolute path of the root at the agent, as bytes. It must be one that the agent serves.
    pub root: Blob<PATH_BYTES_MAX>,
    /// What takes no part, beside what the ignore files in the tree say.
    pub ignore: IgnoreSettings,
    /// Whether beta's changes go to alpha, so that their content is wanted.
    pub push: bool,
}

/// What takes no part, beside what the ignore files in the tree say.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct IgnoreSettings {
    /// Patterns in gitignore syntax, over all others, the last one that matches wins.
    pub patterns: Bounded<Blob<IGNORE_PATTERN_BYTES_MAX>, IGNORE_PATTERNS_MAX>,
    /// Whether `.git`, `.hg`, `.svn` and the like take part.
    pub vcs: bool,
    /// Whether `.gitignore` files are obeyed.
    pub gitignore: bool,
    /// Whether the default list of secrets and temporaries is left out.
    pub defaults: bool,
}

/// An open root and its state.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Opened {
    /// Which replica this is.
    pub replica: ReplicaId,
    /// The hash of its tree.
    pub tree: TreeHash,
    /// How many entries the tree has.
    pub entries: u64,
    /// Whether the scan saw everything. Without that nothing may be deleted on its evidence.
    pub complete: bool,
    /// Content ids of files of which an earlier transfer left a part behind.
    pub partials: Bounded<ContentId, PROBLEMS_MAX>,
    /// What could not be scanned.
    pub problems: Problems,
}

/// Problems at paths. More than fit are counted, not named.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Problems {
    /// The first of them.
    pub named: Bounded<Problem, PROBLEMS_MAX>,
    /// How many more there are.
    pub more: u64,
}

/// A path that can't be synchronised, and why.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Problem {
    /// Where.
    pub path: SyncPath,
    /// What kind of obstacle.
    pub kind: ProblemKind,
    /// What happened, for a person. From a peer: escape before it is shown.
    pub detail: Sentence,
}

/// Kinds of obstacle. What to do about each is said by whoever shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum ProblemKind {
    /// Permission denied.
    Denied,
    /// A fifo, a socket, a device.
    UnsupportedKind,
    /// No space or no quota left.
    NoSpace,
    /// A read-only file system.
    ReadOnly,
    /// A name that this side can't hold: too long, or invalid on its platform.
    BadName,
    /// Two names that are one on this side (case or Unicode form).
    NameCollision,
    /// A symlink that this side can't hold.
    BadTarget,
    /// A file that is larger than [`crate::limits::FILE_BYTES_MAX`].
    TooLarge,
    /// Out of file descriptors or memory: tried again later.
    Exhausted,
    /// Any other error of the file system.
    Io,
    /// This side does not let the other one change a name like this.
    Refused,
}

/// A page of a directory.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Listing {
    /// Which directory.
    pub path: SyncPath,
    /// Its entries, in order of name, after those of the pages before.
    pub entries: Bounded<Listed, LISTING_ENTRIES_MAX>,
    /// Whether this is its last page. A directory that is gone has one page, empty and last.
    pub last: bool,
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Listed {
    /// Its name: a path of one component.
    pub name: SyncPath,
    /// What stands there.
    pub entry: Entry,
    /// For a directory the hash of its subtree; all zero for the rest.
    pub tree: TreeHash,
}

/// What changed at beta by other hands than the session's own.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Changes {
    /// In order: a directory before what it holds.
    pub changes: Bounded<Change, CHANGES_MAX>,
    /// Whether all that was seen has now been said.
    pub settled: bool,
    /// Whether the last scan saw everything.
    pub complete: bool,
    /// What can't be synchronised there now; replaces what was said before.
    pub problems: Problems,
    /// How long ago the first event for any of it was read there, in microseconds; 0 where no event led to it.
    pub age_micros: u64,
}

/// One path that changed.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Change {
    /// Where.
    pub path: SyncPath,
    /// What stands there now; `None`: nothing, and nothing beneath it.
    pub entry: Option<Entry>,
    /// The content of a small file, where the session was opened with [`Open::push`] and it was at hand.
    pub content: Option<Pushed>,
}

/// Operations sent as one unit, done in order.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Batch {
    /// Its number.
    pub id: BatchId,
    /// What to do. Answered by one outcome each, in the same order.
    pub operations: Bounded<Operation, BATCH_OPERATIONS_MAX>,
}

/// One thing to do at beta. Each says what it expects to find, and does nothing where it finds something else.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Operation {
    /// Makes a directory where nothing stands.
    MakeDirectory {
        /// Where.
        path: SyncPath,
    },
    /// Puts a file or a symlink, new or in place of a file or a symlink.
    Put {
        /// Where.
        path: SyncPath,
        /// What it replaces.
        expected: Expected,
        /// What shall stand there: a file or a symlink.
        entry: Entry,
        /// How its content travels. [`Content::None`] for a symlink and an empty file.
        content: Content,
    },
    /// Removes what stands there; of a directory only what `expected` covers, so that unknown content stays, with the
    /// directories above it.
    Remove {
        /// Where.
        path: SyncPath,
        /// What it removes.
        expected: Expected,
    },
    /// Moves a file, a symlink or a whole subtree to where nothing stands.
    Move {
        /// From where.
        from: SyncPath,
        /// To where.
        to: SyncPath,
        /// What it moves.
        expected: Expected,
    },
}

/// What an operation expects to find at its path.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Expected {
    /// Nothing.
    Nothing,
    /// A file or a symlink, equal to this one.
    Entry(Entry),
    /// A directory whose subtree has this hash.
    Tree(TreeHash),
}

/// How the content of a file travels.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Content {
    /// There is none to send: a symlink, an empty file.
    None,
    /// The bytes themselves.
    Raw(Blob<INLINE_CONTENT_BYTES_MAX>),
    /// One zstd frame; its decoded length is the entry's.
    Zstd(Blob<INLINE_CONTENT_BYTES_MAX>),
    /// A delta, as `SPEC.md` defines it, against the content that is replaced. Only with a file as `expected`.
    Delta(Blob<INLINE_CONTENT_BYTES_MAX>),
    /// The same bytes as those of the file at this path at beta.
    CopyOf(SyncPath),
    /// The same bytes as those that are replaced: only the executable bit changes.
    Unchanged,
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Outcomes {
    /// Which batch.
    pub batch: BatchId,
    /// One for each operation, in order.
    pub outcomes: Bounded<Outcome, BATCH_OPERATIONS_MAX>,
    /// From the last byte of the batch received to the last operation done, in microseconds.
    pub apply_micros: u64,
}

/// What became of one operation.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Outcome {
    /// Done.
    Applied,
    /// Done, but what a race had put there meanwhile was displaced: it is kept beneath the root's stage, at this path.
    Displaced(SyncPath),
    /// Not done: something else stood there. Nothing was changed.
    Mismatch,
    /// A directory was removed but for content that was not known, which stays.
    Kept,
    /// Not done: the content to build on (a delta's base, a copy's source) is not what the sender took it for, or what
    /// came out did not have the right hash. To be sent whole.
    BaseMissing,
    /// Not done: the file system refused.
    Failed(Problem),
}

/// The first frame of a content stream, whoever opened it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum StreamHeader {
    /// Frames of [`Batch`] follow, or of [`Fetched`] where the agent opened it, any number.
    Bundle(SessionId),
    /// One file follows, in frames of [`FileFrame`].
    File(SessionId, FileHeader),
}

/// A file that is streamed: one operation, a batch of its own; or the answer to a [`Fetch`] of one file.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct FileHeader {
    /// Its batch, answered by [`Outcomes`] with one outcome; or the number of the [`Fetch`], not answered.
    pub batch: BatchId,
    /// Where.
    pub path: SyncPath,
    /// What it replaces. Without meaning from the agent: the controller knows what it replaces.
    pub expected: Expected,
    /// What shall stand there: a file.
    pub entry: Entry,
    /// Whether recipe pages come before their blocks, each answered by a [`Need`]; without, all blocks come unasked.
    pub recipe: bool,
}

/// What follows on a file stream.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum FileFrame {
    /// The next chunks of the file, in order.
    Recipe(RecipePage),
    /// The next bytes that the receiver lacks, as they are.
    Raw(Blob<BLOCK_BYTES_MAX>),
    /// The next bytes that the receiver lacks, as one zstd frame that decodes to `len` bytes, at most [`BLOCK_BYTES_MAX`].
    Zstd {
        /// The decoded length.
        len: u32,
        /// The frame.
        bytes: Blob<BLOCK_BYTES_MAX>,
    },
    /// The file is complete.
    End,
    /// The sender can't go on (the file changed while it was read). The receiver drops what it has.
    Abort,
    /// The next bytes are `len` bytes, from `offset` on, of the file that is replaced. Only without a recipe.
    Copy {
        /// Where in the file that is replaced, in bytes.
        offset: u64,
        /// How many.
        len: u64,
    },
    /// The next bytes are what a delta makes of a window of the file that is replaced. Only without a recipe.
    Delta {
        /// Where in the file that is replaced the window begins, in bytes.
        offset: u64,
        /// How long the window is, at most [`WINDOW_BASE_BYTES_MAX`](crate::limits::WINDOW_BASE_BYTES_MAX).
        base_len: u32,
        /// How many bytes come of it, at most [`WINDOW_BYTES_MAX`](crate::limits::WINDOW_BYTES_MAX).
        len: u32,
        /// The delta.
        bytes: Blob<BLOCK_BYTES_MAX>,
    },
}

/// The next chunks of a file.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RecipePage {
    /// Counts the pages of one file from 0.
    pub page: u32,
    /// The chunks, in order.
    pub chunks: Bounded<Chunk, RECIPE_CHUNKS_MAX>,
}

/// A chunk of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Chunk {
    /// BLAKE3 of its bytes.
    pub id: ContentId,
    /// Its length in bytes, 1 to [`crate::limits::CHUNK_BYTES_MAX`].
    pub len: u32,
}

/// Which chunks of a recipe page are missing.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Need {
    /// The file's batch.
    pub batch: BatchId,
    /// Which page of its recipe.
    pub page: u32,
    /// One bit a chunk, in order, the lowest bit of a byte first; set: send it. ⌈chunks ÷ 8⌉ bytes.
    pub missing: Blob<{ RECIPE_CHUNKS_MAX.div_ceil(8) }>,
}

/// More items than a list may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{len} where at most {max} are allowed")]
pub struct TooMany {
    /// How many there were.
    pub len: usize,
    /// How many there may be.
    pub max: usize,
}

impl<T, const MAX: usize> Bounded<T, MAX> {
    /// Checks the count.
    pub fn new(items: Vec<T>) -> Result<Self, TooMany> {
        if items.len() > MAX { Err(TooMany { len: items.len(), max: MAX }) } else { Ok(Self(items)) }
    }

    /// Takes as many as may be, and leaves out the rest.
    pub fn first(mut items: Vec<T>) -> Self {
        items.truncate(MAX);
        Self(items)
    }

    /// The items.
    pub fn into_vec(self) -> Vec<T> {
        self.0
    }
}

impl<T, const MAX: usize> Default for Bounded<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T, const MAX: usize> Deref for Bounded<T, MAX> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<const MAX: usize> Blob<MAX> {
    /// Checks the length.
    pub fn new(bytes: Vec<u8>) -> Result<Self, TooMany> {
        if bytes.len() > MAX { Err(TooMany { len: bytes.len(), max: MAX }) } else { Ok(Self(bytes)) }
    }

    /// The bytes.
    pub fn into_vec(self) -> Vec<u8> {
        self.0
    }
}

impl<const MAX: usize> Deref for Blob<MAX> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl<const MAX: usize> std::fmt::Debug for Blob<MAX> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl ReplicaId {
    /// Reads what its `Display` writes: 32 hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 16];
        if text.len() != 2 * bytes.len() || !text.is_ascii() {
            return None;
        }
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl std::fmt::Debug for ReplicaId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Sentence {
    /// Takes text, cut at a character boundary where it is longer than [`SENTENCE_BYTES_MAX`] bytes.
    pub fn new(text: impl Into<String>) -> Self {
        let mut text = text.into();
        text.truncate(text.floor_char_boundary(SENTENCE_BYTES_MAX));
        Self(text)
    }

    /// The text as it came. From a peer: not safe to show.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Sentence {
    /// Escaped: safe to show.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        crate::escape::Escaped(self.0.as_bytes()).fmt(f)
    }
}

impl Default for IgnoreSettings {
    /// No patterns; VCS directories out; `.gitignore` obeyed; the default list out.
    fn default() -> Self {
        Self { patterns: Bounded::default(), vcs: false, gitignore: true, defaults: true }
    }
}

impl Problems {
    /// Names the first [`PROBLEMS_MAX`] and counts the rest.
    pub fn new(problems: impl IntoIterator<Item = Problem>) -> Self {
        let mut problems = problems.into_iter();
        let named = Bounded(problems.by_ref().take(PROBLEMS_MAX).collect());
        Self { named, more: problems.count() as u64 }
    }
}

impl Operation {
    /// The path that the operation changes; for a move, where it leads.
    pub fn path(&self) -> &SyncPath {
        match self {
            Self::MakeDirectory { path } | Self::Put { path, .. } | Self::Remove { path, .. } => path,
            Self::Move { to, .. } => to,
        }
    }
}

const _: () = assert!(NAME_BYTES_MAX < PATH_BYTES_MAX);

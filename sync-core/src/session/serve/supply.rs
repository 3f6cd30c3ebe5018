//! Content of beta's files for alpha: pushed with the news where it is small and at hand, given when asked for, streamed
//! where it is large.
//!
//! What waits for a controller that does not read is bounded: [`PUSHED_BYTES_MAX`] in the message that is being said, two
//! frames of at most [`FRAME_CONTENT_BYTES`] and one file for the bundle stream and as much for the control stream, and
//! of each streamed file what `transfer` holds. Of requests there are [`FETCHES_IN_FLIGHT_MAX`] at most.

use std::{
    collections::HashMap,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use quinn::Connection;
use sync_proto::{
    Entry, SyncPath,
    codec::encode_frame,
    limits::{BUNDLE_FRAME_BYTES_MAX, FETCHED_FILE_BYTES_MAX, FETCHES_IN_FLIGHT_MAX, PUSHED_CONTENT_BYTES_MAX},
    message::{
        BatchId, Blob, Bounded, Describe, Described, Expected, Fetch, Fetched, FileHeader, Found, FoundKind, Need,
        Problem, ProblemKind, Pushed, Sentence, SessionId, Supply, ToController, Wanted,
    },
};
use tokio::sync::mpsc;

use crate::{
    delta::Effort,
    replica::{contents::Contents, problem},
    session::{
        content::{ContentSource, Encoded, Unavailable},
        pace::Pace,
        past::Past,
        streams::{self, FileEnd, FileToSend},
    },
    sys::{DirHandle, Kind},
};

/// Most bytes of content that are pushed with the news of one moment. What a burst brings beyond that is asked for in bulk,
/// behind the saves that come after it.
const PUSHED_BYTES_MAX: usize = 1 << 20;
/// Bytes of content in one frame, about: one file may go over it by its own length.
const FRAME_CONTENT_BYTES: usize = 2 << 20;
/// Most bytes of files that are given on the control stream, ahead of all bulk.
const URGENT_BYTES_MAX: u64 = 256 << 10;
/// Counted for an answer beside its bytes.
const SUPPLY_BYTES: usize = 16;

/// Gives content to one session.
pub(super) struct Supplier {
    /// For what is pushed: memory alone is looked into.
    source: ContentSource,
    root: Arc<DirHandle>,
    /// What is kept of large files.
    past: Past,
    connection: Connection,
    session: SessionId,
    pace: Pace,
    /// A thread each, so that what is urgent does not wait for bulk.
    urgent: crossbeam_channel::Sender<ToGive>,
    bulk: crossbeam_channel::Sender<ToGive>,
    said: mpsc::Sender<ToController>,
    /// Requests without an answer.
    open: Arc<AtomicUsize>,
    needs: HashMap<BatchId, crossbeam_channel::Sender<Need>>,
    file_ends: mpsc::UnboundedSender<FileEnd>,
}

/// What the threads of a supplier have for the session.
pub(super) struct Supplied {
    /// To be said on the control stream.
    pub(super) said: mpsc::Receiver<ToController>,
    /// Streams that are over.
    pub(super) file_ends: mpsc::UnboundedReceiver<FileEnd>,
}

/// A request on its way to a thread.
struct ToGive {
    fetch: Fetch,
    pace: Pace,
    /// On the control stream; else on the bundle stream.
    on_control: bool,
}

/// Where a thread's answers go.
struct Outlet {
    said: mpsc::Sender<ToController>,
    bundle: mpsc::Sender<Vec<u8>>,
    open: Arc<AtomicUsize>,
}

impl Supplier {
    /// Begins to give what stands in `root`. Without a thread or a handle there is no session.
    pub(super) fn start(
        root: &DirHandle,
        contents: &Arc<Contents>,
        past: Past,
        connection: &Connection,
        session: SessionId,
    ) -> io::Result<(Self, Supplied)> {
        let root = Arc::new(root.try_clone()?);
        let source = || ContentSource::new(Arc::clone(contents), Arc::clone(&root));
        let (said, to_say) = mpsc::channel(2);
        let (file_ends, ended) = mpsc::unbounded_channel();
        let open = Arc::<AtomicUsize>::default();
        let bundle = streams::bounded_bundle(connection.clone(), session);
        let thread = |name: &str| {
            let (requests, inbox) = crossbeam_channel::unbounded::<ToGive>();
            let outlet = Outlet { said: said.clone(), bundle: bundle.clone(), open: Arc::clone(&open) };
            let mut source = source();
            std::thread::Builder::new().name(name.to_owned()).spawn(move || {
                for request in inbox {
                    if give(&mut source, request, &outlet).is_none() {
                        return;
                    }
                }
            })?;
            io::Result::Ok(requests)
        };
        let supplier = Self {
            urgent: thread("synctl-supply-urgent")?,
            bulk: thread("synctl-supply-bulk")?,
            source: source(),
            root: Arc::clone(&root),
            past,
            connection: connection.clone(),
            session,
            pace: Pace::of(connection),
            said: said.clone(),
            open: Arc::clone(&open),
            needs: HashMap::new(),
            file_ends,
        };
        Ok((supplier, Supplied { said: to_say, file_ends: ended }))
    }

    /// What may be pushed from here on: a number for [`Self::pushed`] to count down.
    pub(super) fn allowance() -> usize {
        PUSHED_BYTES_MAX
    }

    /// The content of what changed to `new`, where it is small, at hand, and within what is left of the allowance.
    pub(super) fn pushed(&mut self, old: Option<&Entry>, new: &Entry, allowance: &mut usize) -> Option<Pushed> {
        let Entry::File { content, len: len @ 1.., .. } = new else { return None };
        let len = usize::try_from(*len).ok().filter(|len| *len <= PUSHED_CONTENT_BYTES_MAX && *len <= *allowance)?;
        let base = old.and_then(Entry::content);
        if base == Some(*content) {
            // Only the executable bit has changed.
            return None;
        }
        let encoded = self.source.encode_at_hand(*content, base, self.pace.effort())?;
        let blob = |bytes| Blob::new(bytes).ok();
        let pushed = match (encoded, base) {
            (Encoded::Raw(bytes), _) => Pushed::Raw(blob(bytes)?),
            (Encoded::Zstd(bytes), _) => Pushed::Zstd(blob(bytes)?),
            (Encoded::Delta(delta), Some(base)) => Pushed::Delta { base, delta: blob(delta)? },
            (Encoded::Delta(_), None) => return None,
        };
        *allowance -= len;
        Some(pushed)
    }

    /// Begins to answer a request. An error is the peer's fault.
    pub(super) fn fetch(&mut self, fetch: Fetch) -> Result<(), String> {
        self.count()?;
        let mut bytes = 0_u64;
        for wanted in fetch.files.iter() {
            let Entry::File { len, .. } = wanted.entry else {
                return Err("the content of what is not a file was asked for".to_owned());
            };
            if len > FETCHED_FILE_BYTES_MAX && fetch.files.len() > 1 {
                return Err("a file that has to be streamed was asked for among others".to_owned());
            }
            bytes = bytes.saturating_add(len);
        }
        match fetch.files.first() {
            Some(wanted) if wanted.entry.content_len() > FETCHED_FILE_BYTES_MAX => self.stream(fetch.id, wanted),
            _ => {
                let urgent = fetch.urgent;
                let request =
                    ToGive { fetch, pace: self.pace.clone(), on_control: urgent && bytes <= URGENT_BYTES_MAX };
                // A thread that is gone has no session any more.
                let _ = if urgent { &self.urgent } else { &self.bulk }.send(request);
                Ok(())
            }
        }
    }

    fn stream(&mut self, id: BatchId, wanted: &Wanted) -> Result<(), String> {
        if self.needs.contains_key(&id) {
            return Err("a number used twice".to_owned());
        }
        let Wanted { path, entry, base } = wanted.clone();
        let entry_content = entry.content();
        let file = FileToSend {
            session: self.session,
            header: FileHeader { batch: id, path, expected: Expected::Nothing, entry, recipe: base.is_some() },
            pace: self.pace.clone(),
            root: Arc::clone(&self.root),
            replaced: base,
            past: self.past.clone(),
            resumes: base == entry_content,
            progress: Arc::default(),
        };
        self.needs.insert(id, streams::file(self.connection.clone(), file, self.file_ends.clone()));
        Ok(())
    }

    /// A stream is over, however: that was its answer.
    pub(super) fn file_end(&mut self, end: &FileEnd) {
        self.needs.remove(&end.id);
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// Which chunks of a streamed file are wanted. One for a stream that has ended meanwhile says nothing.
    pub(super) fn need(&self, need: Need) {
        if let Some(needs) = self.needs.get(&need.batch) {
            let _ = needs.send(need);
        }
    }

    /// Begins to look what stands at some paths. An error is the peer's fault.
    pub(super) fn describe(&self, describe: Describe) -> Result<(), String> {
        self.count()?;
        let (root, said, open) = (Arc::clone(&self.root), self.said.clone(), Arc::clone(&self.open));
        tokio::task::spawn_blocking(move || {
            let Describe { id, paths } = describe;
            let found = Bounded::first(paths.iter().map(|path| find(&root, path)).collect());
            let _ = said.blocking_send(ToController::Described(Described { id, found }));
            open.fetch_sub(1, Ordering::Relaxed);
        });
        Ok(())
    }

    fn count(&self) -> Result<(), String> {
        // Questions count among them: there are as many more.
        if self.open.fetch_add(1, Ordering::Relaxed) >= 2 * FETCHES_IN_FLIGHT_MAX {
            return Err(format!("more than {FETCHES_IN_FLIGHT_MAX} requests without an answer"));
        }
        Ok(())
    }
}

/// Answers one request. `None`: nobody wants to know any more.
fn give(source: &mut ContentSource, request: ToGive, outlet: &Outlet) -> Option<()> {
    let ToGive { fetch: Fetch { id, files, .. }, pace, on_control } = request;
    let (mut first, mut contents, mut bytes) = (0, Vec::new(), 0);
    for wanted in files.iter() {
        let supply = catch_unwind(AssertUnwindSafe(|| supply(source, wanted, pace.effort())));
        // A bug, which has been reported by the panic itself.
        let supply = supply.unwrap_or_else(|_| failed(wanted, ProblemKind::Io, "it can't be read because of a bug"));
        if bytes > 0 && bytes + size(&supply) > FRAME_CONTENT_BYTES {
            let piece: Vec<Supply> = std::mem::take(&mut contents);
            let next = first + u32::try_from(piece.len()).unwrap_or(u32::MAX);
            outlet.say(Fetched { id, first, contents: Bounded::first(piece) }, on_control)?;
            (first, bytes) = (next, 0);
        }
        bytes += size(&supply);
        contents.push(supply);
    }
    // Counted before it leaves: whoever has it may ask again.
    outlet.open.fetch_sub(1, Ordering::Relaxed);
    outlet.say(Fetched { id, first, contents: Bounded::first(contents) }, on_control)
}

impl Outlet {
    fn say(&self, fetched: Fetched, on_control: bool) -> Option<()> {
        if on_control {
            return self.said.blocking_send(ToController::Fetched(fetched)).ok();
        }
        let mut frame = Vec::new();
        match encode_frame(&fetched, &mut frame, BUNDLE_FRAME_BYTES_MAX) {
            Ok(()) => self.bundle.blocking_send(frame).ok(),
            Err(error) => {
                // It is cut well below a frame.
                tracing::error!("content could not be sent: {error}");
                None
            }
        }
    }
}

fn supply(source: &mut ContentSource, wanted: &Wanted, effort: Effort) -> Supply {
    let Wanted { path, entry, base } = wanted;
    let too_long = |_| failed(wanted, ProblemKind::TooLarge, "too long to be sent in one piece");
    match source.encode(path, entry, *base, effort) {
        Ok(Encoded::Raw(bytes)) => Blob::new(bytes).map_or_else(too_long, Supply::Raw),
        Ok(Encoded::Zstd(bytes)) => Blob::new(bytes).map_or_else(too_long, Supply::Zstd),
        Ok(Encoded::Delta(bytes)) => Blob::new(bytes).map_or_else(too_long, Supply::Delta),
        Err(Unavailable::Changed) => Supply::Changed,
        Err(Unavailable::Failed(error)) => Supply::Failed(problem::at(path, &error)),
    }
}

fn failed(wanted: &Wanted, kind: ProblemKind, detail: &str) -> Supply {
    Supply::Failed(Problem { path: wanted.path.clone(), kind, detail: Sentence::new(detail) })
}

fn size(supply: &Supply) -> usize {
    SUPPLY_BYTES
        + match supply {
            Supply::Raw(bytes) | Supply::Zstd(bytes) | Supply::Delta(bytes) => bytes.len(),
            Supply::Changed => 0,
            Supply::Failed(problem) => problem.path.as_bytes().len() + problem.detail.as_str().len(),
        }
}

/// What stands at `path`, without following any link.
fn find(root: &DirHandle, path: &SyncPath) -> Option<Found> {
    let stat = match path.split_last() {
        Some((parent, name)) => root.resolve(&parent).and_then(|dir| dir.stat(name)),
        None => root.stat_self(),
    };
    match stat {
        Ok(stat) => {
            let kind = match stat.kind {
                Kind::File => FoundKind::File,
                Kind::Directory => FoundKind::Directory,
                Kind::Symlink => FoundKind::Symlink,
                Kind::Other => FoundKind::Other,
            };
            let len = if kind == FoundKind::File { stat.len } else { 0 };
            let modified = u64::try_from(stat.stamp.mtime_ns / 1_000_000_000).unwrap_or(0);
            Some(Found { kind, len, modified })
        }
        Err(error) if problem::is_gone(&error) => None,
        Err(_) => Some(Found { kind: FoundKind::Unknown, len: 0, modified: 0 }),
    }
}

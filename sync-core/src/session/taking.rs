//! What comes from beta on its way to alpha: content gathered, asked for where it was not pushed, and given to alpha's
//! replica.
//!
//! A state machine beside the engine: what happens is told by its methods, what is to be done comes out of
//! [`Taking::poll`]. What has been given to alpha's replica is answered also when the agent is gone meanwhile; what has not
//! is given up with the connection. Content that waits here is bounded by what the engine lets be under way to alpha, and by
//! the length that each file was said to have.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use sync_proto::{
    Entry,
    limits::FETCHES_IN_FLIGHT_MAX,
    message::{
        BatchId, Bounded, Changes, Content, Fetch, Fetched, FileHeader, Need, Operation, Outcome, Supply, Wanted,
    },
};

use super::{
    prepare::{operation, sent_file},
    pushed::PushedContents,
    received::FileNews,
};
use crate::{
    engine::plan::{Planned, PlannedStream, Source, expected_entry},
    replica::{Work, commit::Committer},
};

/// Something to be done by the controller.
pub(super) enum Effect {
    /// Ask the agent.
    Ask(Fetch),
    /// Say which chunks are missing.
    Need(Need),
    /// Have alpha's replica do this.
    Give {
        /// The number that it has there.
        tag: u64,
        /// The engine's.
        id: BatchId,
        /// What is to be done.
        work: Work,
        /// Bytes of content that came for it.
        wire_bytes: u64,
    },
    /// These places of a batch won't be given to alpha.
    Unfetched(BatchId, BTreeSet<usize>),
    /// A streamed file could not be received here: that is its outcome.
    Failed(BatchId, Outcome),
}

/// See the module.
pub(super) struct Taking {
    committer: Arc<Committer>,
    /// What alpha's replica is at, by the number that it has there.
    given: HashMap<u64, BatchId>,
    next_tag: u64,
    pushed: PushedContents,
    gathering: BTreeMap<BatchId, Gathering>,
    streams: HashMap<BatchId, PlannedStream>,
    /// Requests that wait until fewer are unanswered.
    urgent: VecDeque<BatchId>,
    bulk: VecDeque<BatchId>,
    /// Requests without an answer.
    asked: BTreeSet<BatchId>,
    effects: VecDeque<Effect>,
}

/// A batch whose content is not all here.
struct Gathering {
    urgent: bool,
    operations: Vec<Planned>,
    /// By place: content that is here.
    contents: BTreeMap<usize, Content>,
    /// Places whose content is asked for, in the order of asking.
    wanted: Vec<usize>,
    /// How many of these have been answered.
    answered: usize,
    /// Places whose content is not to be had.
    lost: BTreeSet<usize>,
}

impl Taking {
    pub(super) fn new(committer: Arc<Committer>) -> Self {
        Self {
            committer,
            given: HashMap::new(),
            next_tag: 0,
            pushed: PushedContents::default(),
            gathering: BTreeMap::new(),
            streams: HashMap::new(),
            urgent: VecDeque::new(),
            bulk: VecDeque::new(),
            asked: BTreeSet::new(),
            effects: VecDeque::new(),
        }
    }

    /// The next thing to do.
    pub(super) fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    pub(super) fn committer(&self) -> &Arc<Committer> {
        &self.committer
    }

    /// Beta's news: their content is kept, the rest is for the engine.
    pub(super) fn news(&mut self, news: Changes) -> Changes {
        self.pushed.keep(news)
    }

    /// The engine wants these done at alpha.
    pub(super) fn take(&mut self, id: BatchId, urgent: bool, operations: Vec<Planned>) {
        let mut contents = BTreeMap::new();
        let mut wanted = Vec::new();
        for (place, planned) in operations.iter().enumerate() {
            let Some(content) = sent_file(planned).and_then(Entry::content) else { continue };
            // What had to be sent whole has failed in another form before.
            let pushed = base(planned).and_then(|old| self.pushed.get(content, old));
            match pushed {
                Some(content) => drop(contents.insert(place, content)),
                None => wanted.push(place),
            }
        }
        let gathering = Gathering { urgent, operations, contents, wanted, answered: 0, lost: BTreeSet::new() };
        if gathering.wanted.is_empty() {
            return self.give(id, gathering);
        }
        if urgent { &mut self.urgent } else { &mut self.bulk }.push_back(id);
        self.gathering.insert(id, gathering);
        self.ask();
    }

    /// The engine wants a large file at alpha.
    pub(super) fn take_stream(&mut self, id: BatchId, stream: PlannedStream) {
        self.streams.insert(id, stream);
        self.bulk.push_back(id);
        self.ask();
    }

    fn ask(&mut self) {
        while self.asked.len() < FETCHES_IN_FLIGHT_MAX
            && let Some(id) = self.urgent.pop_front().or_else(|| self.bulk.pop_front())
        {
            let fetch = match (self.gathering.get(&id), self.streams.get(&id)) {
                (Some(gathering), _) => Fetch { id, urgent: gathering.urgent, files: gathering.files() },
                (None, Some(stream)) => Fetch { id, urgent: false, files: self.file(stream) },
                (None, None) => continue,
            };
            self.asked.insert(id);
            self.effects.push_back(Effect::Ask(fetch));
        }
    }

    fn file<const MAX: usize>(&self, stream: &PlannedStream) -> Bounded<Wanted, MAX> {
        let PlannedStream { path, old, entry } = stream;
        // What is replaced, or an earlier part, may have chunks of it; without either, asking is a waste.
        let part = || entry.content().filter(|content| self.committer.partials().contains(content));
        let base = old.as_ref().filter(|old| old.content_len() > 0).and_then(Entry::content).or_else(part);
        Bounded::first(vec![Wanted { path: path.clone(), entry: entry.clone(), base }])
    }

    /// Content that was asked for. An error is the agent's fault.
    pub(super) fn fetched(&mut self, fetched: Fetched) -> Result<(), String> {
        let Fetched { id, first, contents } = fetched;
        let unasked = || "the agent sent content that was not asked for".to_owned();
        let gathering = self.gathering.get_mut(&id).filter(|_| self.asked.contains(&id)).ok_or_else(unasked)?;
        if usize::try_from(first).ok() != Some(gathering.answered) || contents.is_empty() {
            return Err(unasked());
        }
        for supply in contents.into_vec() {
            gathering.supply(supply)?;
        }
        if gathering.answered == gathering.wanted.len()
            && let Some(gathering) = self.gathering.remove(&id)
        {
            self.asked.remove(&id);
            self.give(id, gathering);
            self.ask();
        }
        Ok(())
    }

    fn give(&mut self, id: BatchId, gathering: Gathering) {
        let Gathering { urgent, operations, mut contents, lost, .. } = gathering;
        let operations: Vec<Operation> = operations
            .into_iter()
            .enumerate()
            .filter(|(place, _)| !lost.contains(place))
            .map(|(place, planned)| operation(planned, contents.remove(&place)))
            .collect();
        if !lost.is_empty() {
            self.effects.push_back(Effect::Unfetched(id, lost));
        }
        if !operations.is_empty() {
            let wire_bytes = operations.iter().map(wire_bytes).sum();
            self.work(id, Work::Batch { operations, bulk: !urgent }, wire_bytes);
        }
    }

    fn work(&mut self, id: BatchId, work: Work, wire_bytes: u64) {
        let tag = self.next_tag;
        self.next_tag += 1;
        self.given.insert(tag, id);
        self.effects.push_back(Effect::Give { tag, id, work, wire_bytes });
    }

    /// A file begins to come on a stream of its own. What it is to replace is not the agent's to say. An error is its fault.
    pub(super) fn stream(&mut self, header: FileHeader) -> Result<FileHeader, String> {
        let unasked = || "the agent streamed a file that was not asked for".to_owned();
        let stream = self.streams.get(&header.batch).ok_or_else(unasked)?;
        if !self.asked.contains(&header.batch) || header.path != stream.path || header.entry != stream.entry {
            return Err(unasked());
        }
        Ok(FileHeader { expected: expected_entry(stream.old.as_ref()), ..header })
    }

    /// What has become of a file that is streamed. An error is the agent's fault.
    pub(super) fn file_news(&mut self, news: FileNews) -> Result<(), String> {
        match news {
            FileNews::Need(need) => self.effects.push_back(Effect::Need(need)),
            FileNews::Complete(header, partial) => {
                let FileHeader { batch, path, expected, entry, .. } = header;
                self.end_stream(batch);
                self.work(batch, Work::File { path, expected, entry, partial }, 0);
            }
            FileNews::Failed(id, outcome) => {
                self.end_stream(id);
                self.effects.push_back(match outcome {
                    Some(outcome) => Effect::Failed(id, outcome),
                    None => Effect::Unfetched(id, BTreeSet::from([0])),
                });
            }
            FileNews::Fault(fault) => return Err(fault),
        }
        self.ask();
        Ok(())
    }

    fn end_stream(&mut self, id: BatchId) {
        self.streams.remove(&id);
        self.asked.remove(&id);
    }

    /// Alpha's replica has done what it was given under this number.
    pub(super) fn done(&mut self, tag: u64) -> Option<BatchId> {
        self.given.remove(&tag)
    }

    /// The agent is gone: what has not been given to alpha never will be.
    pub(super) fn disconnected(&mut self) {
        self.effects.retain(|effect| !matches!(effect, Effect::Ask(_) | Effect::Need(_)));
        for (id, gathering) in std::mem::take(&mut self.gathering) {
            self.effects.push_back(Effect::Unfetched(id, (0..gathering.operations.len()).collect()));
        }
        for (id, _) in std::mem::take(&mut self.streams) {
            self.effects.push_back(Effect::Unfetched(id, BTreeSet::from([0])));
        }
        self.urgent.clear();
        self.bulk.clear();
        self.asked.clear();
    }
}

impl Gathering {
    fn files<const MAX: usize>(&self) -> Bounded<Wanted, MAX> {
        let wanted = self.wanted.iter().filter_map(|place| {
            let planned = self.operations.get(*place)?;
            let entry = sent_file(planned)?.clone();
            Some(Wanted { path: planned.path().clone(), entry, base: base(planned).flatten() })
        });
        Bounded::first(wanted.collect())
    }

    /// The next answer. An error is the agent's fault.
    fn supply(&mut self, supply: Supply) -> Result<(), String> {
        let place = self.wanted.get(self.answered).copied();
        let planned = place.and_then(|place| self.operations.get(place));
        let (Some(place), Some(planned)) = (place, planned) else {
            return Err("the agent sent more content than was asked for".to_owned());
        };
        self.answered += 1;
        let len = sent_file(planned).map_or(0, Entry::content_len);
        let may_differ = base(planned).flatten().is_some();
        let (fits, content) = match supply {
            Supply::Raw(bytes) => (bytes.len() as u64 == len, Content::Raw(bytes)),
            Supply::Zstd(bytes) => (bytes.len() as u64 <= len, Content::Zstd(bytes)),
            Supply::Delta(bytes) => (may_differ && bytes.len() as u64 <= len, Content::Delta(bytes)),
            Supply::Changed => {
                self.lost.insert(place);
                return Ok(());
            }
            Supply::Failed(problem) => {
                // The agent's replica tells of what it can't read by itself.
                tracing::debug!(path = %problem.path, "not to be had: {}", problem.detail);
                self.lost.insert(place);
                return Ok(());
            }
        };
        if !fits {
            return Err("the agent sent content of another length than it had said".to_owned());
        }
        self.contents.insert(place, content);
        Ok(())
    }
}

fn wire_bytes(operation: &Operation) -> u64 {
    match operation {
        Operation::Put { content: Content::Raw(bytes) | Content::Zstd(bytes) | Content::Delta(bytes), .. } => {
            bytes.len() as u64
        }
        _ => 0,
    }
}

/// The content that an operation replaces, where what it puts may come as a difference from that. `None`: it has to come
/// whole.
#[expect(clippy::option_option, reason = "whether there may be a base, and which")]
fn base(planned: &Planned) -> Option<Option<sync_proto::ContentId>> {
    match planned {
        Planned::Put { old, source: Source::Sender, .. } => Some(old.as_ref().and_then(Entry::content)),
        _ => None,
    }
}

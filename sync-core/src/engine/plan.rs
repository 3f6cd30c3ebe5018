//! Steps made into operations for one side: subtrees taken apart, moves and copies found, batches bounded.
//!
//! The same for either side: the *receiver* is where operations are done, the other one sends the content.

use std::collections::{BTreeSet, HashMap};

use sync_proto::{ContentId, Entry, SyncPath, TreeHash, limits::BATCH_OPERATIONS_MAX, message::Expected};

pub use super::copies::Copies;
use super::reconcile::Step;
use crate::tree::{Dir, Node, Tree};

/// Files longer than this, in bytes, have a stream of their own; shorter ones travel inside a batch.
pub const INLINE_FILE_BYTES_MAX: u64 = 1 << 20;
/// Most bytes of content in one batch, by the files' lengths. One file may go over it by its own length.
pub const BATCH_CONTENT_BYTES_MAX: u64 = 2 << 20;
/// Most bytes of names and targets in one batch. With the content they stay well below a frame of the bundle stream.
pub const BATCH_TEXT_BYTES_MAX: u64 = 3 << 20;
/// Most bytes of content, by the files' lengths, that a batch on the urgent lane puts.
const URGENT_BYTES_MAX: u64 = 256 << 10;
/// Most entries that a batch on the urgent lane puts, moves or removes.
const URGENT_ENTRIES_MAX: u64 = 512;
/// Most bytes of names and targets in a batch on the urgent lane, which has to fit a frame of the control stream.
const URGENT_TEXT_BYTES_MAX: u64 = 1 << 20;
/// What an operation takes on the wire beside its paths, targets and content, at most.
const OPERATION_BYTES: u64 = 160;

/// One operation as the engine plans it. Where its content comes from is said, not the content itself.
#[derive(Debug, Clone, PartialEq)]
pub enum Planned {
    /// Makes a directory where nothing stands.
    MakeDirectory {
        /// Where.
        path: SyncPath,
    },
    /// Puts a file or a symlink.
    Put {
        /// Where.
        path: SyncPath,
        /// What it replaces.
        old: Option<Entry>,
        /// What shall stand there.
        entry: Entry,
        /// Where the content comes from.
        source: Source,
    },
    /// Removes a file, a symlink, or a subtree that is known.
    Remove {
        /// Where.
        path: SyncPath,
        /// What stands there.
        old: Node,
    },
    /// Moves what stands at `from`.
    Move {
        /// From where.
        from: SyncPath,
        /// To where.
        to: SyncPath,
        /// What is moved.
        node: Node,
    },
}

/// Where the content of a file comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// There is none: a symlink, an empty file.
    None,
    /// The other side sends it; as a delta against what is replaced, where it has that at hand.
    Sender,
    /// The other side sends it whole: a delta or a copy has failed before.
    SenderWhole,
    /// The side where it is put has it, at this path.
    Receiver(SyncPath),
    /// The side where it is put has it, at the very path: only the executable bit changes.
    Unchanged,
}

/// A file that gets a stream of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedStream {
    /// Where.
    pub path: SyncPath,
    /// What it replaces.
    pub old: Option<Entry>,
    /// What shall stand there: a file.
    pub entry: Entry,
}

/// What one round of planning comes to.
#[derive(Debug, Default)]
pub struct Plan {
    /// What goes into a batch, in order.
    pub operations: Vec<Planned>,
    /// Bytes of content that the batch carries, by the files' lengths.
    pub content_bytes: u64,
    /// Bytes of names, targets and all else but content.
    pub text_bytes: u64,
    /// The receiver as it will be when the operations have been done.
    pub after: Tree,
    /// Files that get streams of their own. Not in `operations`; each once the directory it goes into is there.
    pub streams: Vec<PlannedStream>,
    /// Whether steps are left over for a later round.
    pub truncated: bool,
}

impl Plan {
    /// Whether it is small enough to go ahead of all bulk.
    pub(super) fn is_light(&self) -> bool {
        !self.truncated
            && self.text_bytes <= URGENT_TEXT_BYTES_MAX
            && self.operations.iter().map(Planned::entries).sum::<u64>() <= URGENT_ENTRIES_MAX
            && self.operations.iter().map(Planned::content_bytes).sum::<u64>() <= URGENT_BYTES_MAX
    }
}

impl Planned {
    /// The path that it changes; for a move, where it leads.
    pub fn path(&self) -> &SyncPath {
        match self {
            Self::MakeDirectory { path } | Self::Put { path, .. } | Self::Remove { path, .. } => path,
            Self::Move { to, .. } => to,
        }
    }

    /// Every path that it reads or changes.
    pub fn touches(&self) -> impl Iterator<Item = &SyncPath> {
        let other = match self {
            Self::Move { from, .. } => Some(from),
            Self::Put { source: Source::Receiver(from), .. } => Some(from),
            _ => None,
        };
        std::iter::once(self.path()).chain(other)
    }

    /// Bytes of content that it puts, whether they are sent or found there.
    pub fn content_bytes(&self) -> u64 {
        match self {
            Self::Put { entry, .. } => entry.content_len(),
            _ => 0,
        }
    }

    /// How many entries it puts, moves or removes.
    pub fn entries(&self) -> u64 {
        match self {
            Self::MakeDirectory { .. } | Self::Put { .. } => 1,
            Self::Remove { old: node, .. } | Self::Move { node, .. } => node.entries(),
        }
    }

    fn text_bytes(&self) -> u64 {
        let target = |entry: &Entry| match entry {
            Entry::Symlink(target) => target.as_bytes().len(),
            Entry::Directory | Entry::File { .. } => 0,
        };
        let targets = match self {
            Self::Put { old, entry, .. } => old.as_ref().map_or(0, target) + target(entry),
            Self::Remove { old: node, .. } | Self::Move { node, .. } => target(&node.entry()),
            Self::MakeDirectory { .. } => 0,
        };
        let paths: usize = self.touches().map(|path| path.as_bytes().len()).sum();
        (paths + targets) as u64 + OPERATION_BYTES
    }

    /// Whether the sender, whose tree this is, still has what the operation was to bring.
    pub(super) fn is_wanted(&self, sender: &Tree) -> bool {
        let there = sender.get(self.path());
        match self {
            Self::Put { entry, .. } => there.is_some_and(|there| there.entry() == *entry),
            Self::MakeDirectory { .. } => there.is_some_and(|there| there.as_dir().is_some()),
            Self::Move { node, .. } => there == Some(node),
            Self::Remove { .. } => there.is_none(),
        }
    }

    /// Whether a tree has what it expects, so that it would be applied there.
    pub fn is_possible(&self, tree: &Tree) -> bool {
        let is_free = |path: &SyncPath| {
            tree.get(path).is_none() && path.parent().is_some_and(|parent| tree.dir(&parent).is_some())
        };
        match self {
            Self::MakeDirectory { path } | Self::Put { path, old: None, .. } => is_free(path),
            Self::Put { path, old: Some(old), .. } => tree.get(path).is_some_and(|node| node.entry() == *old),
            Self::Remove { path, old } => tree.get(path) == Some(old),
            Self::Move { from, to, node } => tree.get(from) == Some(node) && is_free(to),
        }
    }

    /// Whether a tree has at its path what it was to bring, or to bring about.
    pub(super) fn has_come_about(&self, tree: &Tree) -> bool {
        self.is_wanted(tree)
    }

    /// Does it to a tree, as if it had been applied. What the tree has no directory for is left out.
    pub fn apply_to(&self, tree: &mut Tree) {
        match self {
            Self::MakeDirectory { path } => drop(tree.insert(path, Node::Directory(Dir::new()), None)),
            Self::Put { path, entry, .. } => drop(tree.insert(path, Node::from_entry(entry.clone()), None)),
            Self::Remove { path, .. } => drop(tree.remove(path)),
            Self::Move { from, to, node } => {
                tree.remove(from);
                drop(tree.insert(to, node.clone(), None));
            }
        }
    }
}

/// What an operation expects, of what is known to stand there.
pub fn expected(node: Option<&Node>) -> Expected {
    match node {
        None => Expected::Nothing,
        Some(Node::Directory(dir)) => Expected::Tree(dir.hash()),
        Some(node) => Expected::Entry(node.entry()),
    }
}

/// What an operation that puts a file or a symlink expects to replace.
pub fn expected_entry(old: Option<&Entry>) -> Expected {
    old.map_or(Expected::Nothing, |entry| Expected::Entry(entry.clone()))
}

/// Makes a plan of `steps`, which were found in `there`, the receiver's tree. `truncated`: there are more.
///
/// What is created comes before what is removed, so that content can be copied from what is about to go. `whole` says of
/// a path that nothing but the sender's own bytes will do.
pub fn plan(
    steps: Vec<Step>,
    truncated: bool,
    there: &Tree,
    copies: &mut Copies,
    whole: &dyn Fn(&SyncPath) -> bool,
) -> Plan {
    let mut planner = Planner {
        whole,
        copies,
        movable: HashMap::new(),
        moved: Vec::new(),
        plan: Plan { truncated, after: there.clone(), ..Plan::default() },
    };
    planner.look_around(&steps, there);
    let (removals, others): (Vec<_>, Vec<_>) = steps.into_iter().partition(|step| matches!(step, Step::Remove { .. }));
    // Removals wait until all that could be copied from them has been planned. Where there is nothing else they don't.
    let only_removals = others.is_empty();
    for step in others {
        if planner.is_full() {
            planner.plan.truncated = true;
            break;
        }
        match step {
            Step::Create { path, new } => planner.create(&path, &new),
            Step::Replace { path, old, new } => planner.replace(&path, &old, &new),
            Step::Aside { path, old, to } => planner.push(Planned::Move { from: path, to, node: old }),
            Step::Remove { .. } => {}
        }
    }
    if only_removals || !planner.plan.truncated {
        planner.removals(removals);
    }
    planner.plan
}

/// What makes one subtree as good as another.
#[derive(PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum MoveKey {
    Directory(TreeHash),
    File(ContentId, bool),
}

impl MoveKey {
    pub(super) fn of(node: &Node) -> Option<Self> {
        match node {
            // Empty directories and files are all alike: making one is as cheap as moving one.
            Node::Directory(dir) if !dir.is_empty() => Some(Self::Directory(dir.hash())),
            Node::File { content, len, executable } if *len > 0 => Some(Self::File(*content, *executable)),
            _ => None,
        }
    }
}

/// What a removal would leave for another path.
pub(super) fn moved_from(step: &Step) -> Option<MoveKey> {
    if let Step::Remove { old, .. } = step { MoveKey::of(old) } else { None }
}

/// What would be moved there, if it were removed elsewhere.
pub(super) fn moved_to(step: &Step) -> Option<MoveKey> {
    if let Step::Create { new, .. } = step { MoveKey::of(new) } else { None }
}

struct Planner<'a> {
    whole: &'a dyn Fn(&SyncPath) -> bool,
    copies: &'a mut Copies,
    /// Roots of what the plan removes: what is created equal to one of them is that one, moved.
    movable: HashMap<MoveKey, SyncPath>,
    /// What has been moved so far, from where and to where.
    moved: Vec<(SyncPath, SyncPath)>,
    plan: Plan,
}

impl Planner<'_> {
    /// Finds out what the receiver has already of what is to be created there.
    fn look_around(&mut self, steps: &[Step], there: &Tree) {
        for step in steps {
            if let Step::Remove { path, old } = step
                && let Some(key) = MoveKey::of(old)
            {
                self.movable.entry(key).or_insert_with(|| path.clone());
            }
        }
        // What is moved as a whole needs no content. Of several that are alike one is.
        let mut moves: BTreeSet<MoveKey> = BTreeSet::new();
        let mut is_moved = |path: &SyncPath, new: &Node| {
            !(self.whole)(path)
                && MoveKey::of(new).is_some_and(|key| self.movable.contains_key(&key) && moves.insert(key))
        };
        let new = |step: &Step| match step {
            Step::Create { path, new } if is_moved(path, new) => 0,
            Step::Create { new, .. } | Step::Replace { new, .. } => new.bytes(),
            Step::Remove { .. } | Step::Aside { .. } => 0,
        };
        let wanted = steps.iter().map(new).sum();
        if wanted == 0 {
            return;
        }
        for step in steps {
            if let Step::Remove { path, old } = step {
                self.copies.search_removed(path, old, wanted);
            }
        }
        self.copies.search(there, wanted);
    }

    fn is_full(&self) -> bool {
        // Room for the two operations of a replacement.
        self.plan.operations.len() + 2 > BATCH_OPERATIONS_MAX
            || self.plan.content_bytes >= BATCH_CONTENT_BYTES_MAX
            || self.plan.text_bytes >= BATCH_TEXT_BYTES_MAX
    }

    fn push(&mut self, operation: Planned) {
        operation.apply_to(&mut self.plan.after);
        self.plan.text_bytes += operation.text_bytes();
        self.plan.operations.push(operation);
    }

    fn create(&mut self, path: &SyncPath, new: &Node) {
        if !(self.whole)(path)
            && let Some(from) = MoveKey::of(new).and_then(|key| self.movable.remove(&key))
        {
            self.push(Planned::Move { from: from.clone(), to: path.clone(), node: new.clone() });
            self.moved.push((from, path.clone()));
            return;
        }
        let Node::Directory(dir) = new else {
            return self.put(path, None, new.entry());
        };
        self.push(Planned::MakeDirectory { path: path.clone() });
        // Files first: they are staged together with the new directory and appear with it at once.
        for directories in [false, true] {
            for (name, node, _) in dir.iter() {
                if node.as_dir().is_some() != directories {
                    continue;
                }
                if self.is_full() {
                    self.plan.truncated = true;
                    return;
                }
                if let Ok(child) = path.join(name) {
                    self.create(&child, node);
                }
            }
        }
    }

    fn replace(&mut self, path: &SyncPath, old: &Node, new: &Node) {
        match (old, new) {
            (Node::Directory(_), _) | (_, Node::Directory(_)) => {
                self.push(Planned::Remove { path: path.clone(), old: old.clone() });
                self.create(path, new);
            }
            (old, new) => self.put(path, Some(old.entry()), new.entry()),
        }
    }

    fn put(&mut self, path: &SyncPath, old: Option<Entry>, entry: Entry) {
        let source = self.source(path, old.as_ref(), &entry);
        let sends = matches!(source, Source::Sender | Source::SenderWhole);
        if sends && entry.content_len() > INLINE_FILE_BYTES_MAX {
            self.plan.streams.push(PlannedStream { path: path.clone(), old, entry });
            return;
        }
        if sends {
            self.plan.content_bytes += entry.content_len();
            self.copies.add(path, &Node::from_entry(entry.clone()));
        }
        self.push(Planned::Put { path: path.clone(), old, entry, source });
    }

    fn source(&self, path: &SyncPath, old: Option<&Entry>, entry: &Entry) -> Source {
        let content = match entry {
            Entry::File { content, len: 1.., .. } => *content,
            _ => return Source::None,
        };
        if (self.whole)(path) {
            return Source::SenderWhole;
        }
        if old.and_then(Entry::content) == Some(content) {
            return Source::Unchanged;
        }
        self.copy_of(content).map_or(Source::Sender, Source::Receiver)
    }

    /// Where the content is once all before has been done.
    fn copy_of(&self, content: ContentId) -> Option<SyncPath> {
        let known = self.copies.find(content)?;
        let moved = self.moved.iter().filter_map(|(from, to)| to.join_path(&known.strip_prefix(from)?).ok());
        let is_there = |path: &SyncPath| {
            self.plan
                .after
                .get(path)
                .is_some_and(|node| matches!(node, Node::File { content: there, .. } if *there == content))
        };
        std::iter::once(known.clone()).chain(moved).find(is_there)
    }

    /// Removes what is left of it.
    fn removals(&mut self, removals: Vec<Step>) {
        for step in removals {
            let Step::Remove { path, old } = step else { continue };
            if self.is_full() {
                self.plan.truncated = true;
                return;
            }
            // What has been moved is gone.
            if self.plan.after.get(&path).is_some() {
                self.push(Planned::Remove { path, old });
            }
        }
    }
}

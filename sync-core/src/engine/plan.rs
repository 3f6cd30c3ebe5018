//! Steps made into operations that can be sent: subtrees taken apart, moves and copies found, batches bounded.

use std::collections::HashMap;

use sync_proto::{ContentId, Entry, SyncPath, TreeHash, limits::BATCH_OPERATIONS_MAX, message::Expected};

use super::reconcile::Step;
use crate::tree::{Dir, Node, Tree, walk};

/// Files longer than this, in bytes, have a stream of their own; shorter ones travel inside a batch.
pub const INLINE_FILE_BYTES_MAX: u64 = 1 << 20;
/// Most bytes of content in one batch, by the files' lengths. One file may go over it by its own length.
pub const BATCH_CONTENT_BYTES_MAX: u64 = 2 << 20;
/// A search for content elsewhere at beta costs a look at every entry; it is done where at least this many bytes to be
/// sent stand against each entry looked at.
const SEARCH_BYTES_PER_ENTRY: u64 = 64;

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
    /// Alpha sends it; as a delta against what is replaced, where it has that at hand.
    Alpha,
    /// Alpha sends it whole: a delta or a copy has failed before.
    AlphaWhole,
    /// Beta has it, at this path.
    Beta(SyncPath),
    /// Beta has it, at the very path: only the executable bit changes.
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
    /// Files that get streams of their own. Not in `operations`; each once the directory it goes into is there.
    pub streams: Vec<PlannedStream>,
    /// Whether steps are left over for a later round.
    pub truncated: bool,
}

impl Planned {
    /// The path that it changes; for a move, where it leads.
    pub fn path(&self) -> &SyncPath {
        match self {
            Self::MakeDirectory { path } | Self::Put { path, .. } | Self::Remove { path, .. } => path,
            Self::Move { to, .. } => to,
        }
    }

    /// Every path that it reads or changes at beta.
    pub fn touches(&self) -> impl Iterator<Item = &SyncPath> {
        let other = match self {
            Self::Move { from, .. } => Some(from),
            Self::Put { source: Source::Beta(from), .. } => Some(from),
            _ => None,
        };
        std::iter::once(self.path()).chain(other)
    }

    /// Bytes of content that it puts at beta, whether they are sent or found there.
    pub fn content_bytes(&self) -> u64 {
        match self {
            Self::Put { entry, .. } => entry.content_len(),
            _ => 0,
        }
    }

    /// Does it to a tree, as if it had been applied. `false` where the tree does not have what it builds on.
    pub fn apply_to(&self, tree: &mut Tree) -> bool {
        match self {
            Self::MakeDirectory { path } => tree.insert(path, Node::Directory(Dir::new()), None).is_ok(),
            Self::Put { path, entry, .. } => tree.insert(path, Node::from_entry(entry.clone()), None).is_ok(),
            Self::Remove { path, .. } => tree.remove(path).is_some(),
            Self::Move { from, to, node } => {
                tree.remove(from);
                tree.insert(to, node.clone(), None).is_ok()
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

/// Makes a plan of `steps`, against `beta` as it will be when it is done.
///
/// What is created comes before what is removed, so that content can be copied from what is about to go. `whole` says of
/// a path that nothing but alpha's own bytes will do.
pub fn plan(steps: Vec<Step>, truncated: bool, beta: &Tree, whole: &dyn Fn(&SyncPath) -> bool) -> Plan {
    let mut planner =
        Planner { beta, whole, found: Found::in_steps(&steps, beta), plan: Plan { truncated, ..Plan::default() } };
    let (removals, others): (Vec<_>, Vec<_>) = steps.into_iter().partition(|step| matches!(step, Step::Remove { .. }));
    for step in others {
        if planner.is_full() {
            planner.plan.truncated = true;
            break;
        }
        match step {
            Step::Create { path, new } => planner.create(&path, &new),
            Step::Replace { path, old, new } => planner.replace(&path, &old, &new),
            Step::Remove { .. } => {}
        }
    }
    // Removals wait until all that could be copied from them has been planned.
    if !planner.plan.truncated {
        planner.removals(removals);
    }
    planner.plan
}

/// Content and subtrees that beta has already.
#[derive(Default)]
struct Found {
    /// Roots of what the plan removes: what is created equal to one of them is that one, moved.
    movable: HashMap<MoveKey, SyncPath>,
    /// Files whose content can be copied.
    copyable: HashMap<ContentId, SyncPath>,
}

#[derive(PartialEq, Eq, Hash)]
enum MoveKey {
    Directory(TreeHash),
    File(ContentId, bool),
}

impl MoveKey {
    fn of(node: &Node) -> Option<Self> {
        match node {
            // Empty directories and files are all alike: making one is as cheap as moving one.
            Node::Directory(dir) if !dir.is_empty() => Some(Self::Directory(dir.hash())),
            Node::File { content, len, executable } if *len > 0 => Some(Self::File(*content, *executable)),
            _ => None,
        }
    }
}

impl Found {
    fn in_steps(steps: &[Step], beta: &Tree) -> Self {
        let mut found = Self::default();
        let mut wanted_bytes = 0_u64;
        for step in steps {
            match step {
                Step::Create { new, .. } | Step::Replace { new, .. } => wanted_bytes += bytes_of(new),
                Step::Remove { .. } => {}
            }
        }
        if wanted_bytes == 0 {
            return found;
        }
        for step in steps {
            if let Step::Remove { path, old } = step {
                found.removed(path, old);
            }
        }
        if wanted_bytes / SEARCH_BYTES_PER_ENTRY > beta.entries() && beta.entries() > 0 {
            for (path, node, _) in walk(beta.root()) {
                found.file(&path, node);
            }
        }
        found
    }

    fn removed(&mut self, path: &SyncPath, old: &Node) {
        if let Some(key) = MoveKey::of(old) {
            self.movable.entry(key).or_insert_with(|| path.clone());
        }
        self.file(path, old);
        if let Node::Directory(dir) = old {
            for (below, node, _) in walk(dir) {
                if let Ok(path) = path.join_path(&below) {
                    self.file(&path, node);
                }
            }
        }
    }

    fn file(&mut self, path: &SyncPath, node: &Node) {
        if let Node::File { content, len: 1.., .. } = node {
            self.copyable.entry(*content).or_insert_with(|| path.clone());
        }
    }
}

fn bytes_of(node: &Node) -> u64 {
    match node {
        Node::Directory(dir) => dir.bytes(),
        Node::File { len, .. } => *len,
        Node::Symlink(_) => 0,
    }
}

struct Planner<'a> {
    beta: &'a Tree,
    whole: &'a dyn Fn(&SyncPath) -> bool,
    found: Found,
    plan: Plan,
}

impl Planner<'_> {
    fn is_full(&self) -> bool {
        // Room for the two operations of a replacement.
        self.plan.operations.len() + 2 > BATCH_OPERATIONS_MAX || self.plan.content_bytes >= BATCH_CONTENT_BYTES_MAX
    }

    fn create(&mut self, path: &SyncPath, new: &Node) {
        if self.is_full() {
            self.plan.truncated = true;
            return;
        }
        if !(self.whole)(path)
            && let Some(from) = MoveKey::of(new).and_then(|key| self.found.movable.remove(&key))
        {
            self.plan.operations.push(Planned::Move { from, to: path.clone(), node: new.clone() });
            return;
        }
        match new {
            Node::Directory(dir) => {
                self.plan.operations.push(Planned::MakeDirectory { path: path.clone() });
                // Files first: they are staged together with the new directory and appear with it at once.
                for directories in [false, true] {
                    for (name, node, _) in dir.iter() {
                        if matches!(node, Node::Directory(_)) == directories
                            && let Ok(child) = path.join(name)
                        {
                            self.create(&child, node);
                        }
                    }
                }
            }
            file => self.put(path, None, file.entry()),
        }
    }

    fn replace(&mut self, path: &SyncPath, old: &Node, new: &Node) {
        match (old, new) {
            (Node::Directory(_), _) | (_, Node::Directory(_)) => {
                self.plan.operations.push(Planned::Remove { path: path.clone(), old: old.clone() });
                self.create(path, new);
            }
            (old, new) => self.put(path, Some(old.entry()), new.entry()),
        }
    }

    fn put(&mut self, path: &SyncPath, old: Option<Entry>, entry: Entry) {
        let source = self.source(path, old.as_ref(), &entry);
        let sends = matches!(source, Source::Alpha | Source::AlphaWhole);
        if sends && entry.content_len() > INLINE_FILE_BYTES_MAX {
            self.plan.streams.push(PlannedStream { path: path.clone(), old, entry });
            return;
        }
        if sends {
            self.plan.content_bytes += entry.content_len();
        }
        self.plan.operations.push(Planned::Put { path: path.clone(), old, entry, source });
    }

    fn source(&self, path: &SyncPath, old: Option<&Entry>, entry: &Entry) -> Source {
        let content = match entry {
            Entry::File { content, len: 1.., .. } => *content,
            _ => return Source::None,
        };
        if (self.whole)(path) {
            return Source::AlphaWhole;
        }
        if old.and_then(Entry::content) == Some(content) {
            return Source::Unchanged;
        }
        match self.found.copyable.get(&content) {
            Some(from) => Source::Beta(from.clone()),
            None => Source::Alpha,
        }
    }

    /// Removes what is left, each against what will stand there once all before it has been done.
    fn removals(&mut self, removals: Vec<Step>) {
        let mut beta = self.beta.clone();
        let mut moved = false;
        for operation in &self.plan.operations {
            if matches!(operation, Planned::Move { .. }) {
                moved = true;
                operation.apply_to(&mut beta);
            }
        }
        for step in removals {
            let Step::Remove { path, old } = step else { continue };
            if self.plan.operations.len() >= BATCH_OPERATIONS_MAX {
                self.plan.truncated = true;
                return;
            }
            let now = if moved { beta.get(&path).cloned() } else { Some(old) };
            if let Some(old) = now {
                self.plan.operations.push(Planned::Remove { path, old });
            }
        }
    }
}

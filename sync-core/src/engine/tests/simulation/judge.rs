//! What must be so, while it runs and when all is quiet.

use super::*;
use crate::engine::Recorded;

/// With fewer files on a side any number may go.
const FILES_MIN: usize = 20;
/// How often deletions have to be allowed until they are, at most.
const ALLOWANCES_MAX: usize = 3;
/// How many files are replaced by directories in one go, at most.
const REPLACED: usize = 3;

impl World {
    pub(super) fn check_number(&mut self, id: BatchId) {
        assert!(self.last_id.is_none_or(|last| last < id), "a number is used twice");
        self.last_id = Some(id);
    }

    /// What may overtake something on its way to beta does not touch it: a batch no file that is streamed, an urgent one nothing
    /// that is bulk.
    pub(super) fn check_order(&mut self, id: BatchId, urgent: bool, operations: &[Planned]) {
        self.unhurried.retain(|id| self.unanswered.contains_key(id));
        let is_streamed = |id: &BatchId| self.streams.iter().any(|(streamed, _)| streamed == id);
        let overtaken = self.unhurried.iter().filter(|id| urgent || is_streamed(id));
        // What beta's hands have taken the directory away from will not be done.
        let is_possible = |at: &&SyncPath| at.parent().is_none_or(|above| self.engine.known.beta.dir(&above).is_some());
        for touched in overtaken.flat_map(|id| &self.unanswered[id]).filter(is_possible) {
            let overtakes =
                changed(operations).into_iter().find(|at| at.starts_with(touched) || touched.starts_with(at));
            assert!(overtakes.is_none(), "{overtakes:?} overtakes {touched}");
        }
        if !urgent {
            self.unhurried.insert(id);
        }
    }

    /// An operation at beta needs evidence, and fits the limits.
    pub(super) fn check_sent(&mut self, id: BatchId, operations: &[Planned]) {
        for operation in operations {
            match operation {
                Planned::Put { path, entry, .. } => drop(self.had.insert((path.clone(), entry.clone()))),
                // What is moved aside is beta's own.
                Planned::Move { to, node, .. } if !self.engine.known.asides.contains(to) => {
                    let moved = entries(node).map(|(below, node)| (to.join_path(&below).unwrap(), node.entry()));
                    self.had.extend(moved);
                }
                Planned::MakeDirectory { .. } | Planned::Remove { .. } | Planned::Move { .. } => {}
            }
        }
        self.check_number(id);
        self.unanswered.insert(id, changed(operations));
        assert!(self.unanswered.len() <= sync_proto::limits::BATCHES_IN_FLIGHT_MAX);
        assert!(operations.len() <= sync_proto::limits::BATCH_OPERATIONS_MAX);
        self.sent += operations.len();
        Self::check_apart(operations, self.laptop.under_way());
        self.note_overruled(operations);
        let view = &self.laptop.view;
        for operation in operations {
            let (at, old) = match operation {
                Planned::Remove { path, old } => (path, old),
                Planned::Move { from, to, node } => {
                    if self.engine.known.asides.contains(to) {
                        // All of it is beta's own now.
                        self.excused.insert(to.clone());
                    }
                    (from, node)
                }
                Planned::MakeDirectory { .. } | Planned::Put { .. } => continue,
            };
            let replaced = view.tree.get(at).is_some();
            assert!(replaced || view.complete, "{at} is removed on the evidence of an incomplete scan");
            self.check_emptied(at, &view.tree);
            assert!(!view.is_unknown(at), "{at} is removed, and not known");
            assert!(
                old.as_dir().is_none() || !view.has_unknown_beneath(at),
                "{at} is removed, and something in it not known"
            );
            if !matches!(operation, Planned::Move { .. }) {
                self.check_ignored(at, old);
            }
        }
    }

    /// Where alpha has a version of its own, beta's is given up by the mode, whatever alpha has when it is done.
    fn note_overruled(&mut self, operations: &[Planned]) {
        if self.kind.mode != Mode::TwoWayResolved {
            return;
        }
        for operation in operations {
            let (at, old) = match operation {
                Planned::Put { path, old: Some(old), .. } => (path, Node::from_entry(old.clone())),
                Planned::Remove { path, old } => (path, old.clone()),
                Planned::MakeDirectory { .. } | Planned::Put { .. } | Planned::Move { .. } => continue,
            };
            if self.laptop.view.tree.get(at).is_some() {
                self.ledger.give_up(Some(&old));
            }
        }
    }

    /// The same for alpha: what is removed there has to be gone at beta, by its own word.
    pub(super) fn check_taken(&mut self, id: BatchId, operations: &[Planned]) {
        let idle = !self.kind.foreign && !self.kind.crashes && !self.kind.blind && !self.kind.faults;
        for operation in operations.iter().filter(|_| idle) {
            if let Planned::Put { path, entry, .. } = operation {
                let had = self.had.contains(&(path.clone(), entry.clone()));
                assert!(
                    !had,
                    "{path} comes back to alpha, which took it away, from beta, where nobody has changed anything"
                );
            }
        }
        assert!(self.kind.mode.is_two_way(), "nothing is done at alpha");
        self.check_number(id);
        assert!(operations.len() <= sync_proto::limits::BATCH_OPERATIONS_MAX);
        self.sent += operations.len();
        Self::check_apart(operations, self.unanswered.values().flatten().cloned());
        let beta = &self.engine.known.ahead;
        for operation in operations {
            match operation {
                Planned::MakeDirectory { path } => self.check_ignored(path, &directory()),
                Planned::Put { path, entry, .. } => self.check_ignored(path, &Node::from_entry(entry.clone())),
                Planned::Remove { path: at, old } | Planned::Move { from: at, node: old, .. } => {
                    let replaced = beta.tree.get(at).is_some();
                    self.check_emptied(at, &self.engine.known.beta);
                    assert!(replaced || self.gone.contains(at), "{at} is removed at alpha, and beta has not said why");
                    assert!(
                        replaced || beta.complete,
                        "{at} is removed at alpha on the evidence of an incomplete scan"
                    );
                    let unknown = beta.is_unknown(at) || (old.as_dir().is_some() && beta.has_unknown_beneath(at));
                    assert!(!unknown, "{at} is removed at alpha, and not known at beta");
                }
            }
        }
    }

    /// Nothing goes on a side because the other one has nothing at all, unless the user has said so.
    fn check_emptied(&self, at: &SyncPath, other: &Tree) {
        let emptied = other.entries() == 0 && self.recorded.entries() > 0;
        assert!(!emptied || self.allowed, "{at} is removed, the other side is empty, and nobody was asked");
    }

    fn check_ignored(&self, at: &SyncPath, node: &Node) {
        let rules = &self.rules[self.laptop.rules];
        for (below, node) in entries(node) {
            let at = at.join_path(&below).unwrap();
            let ignored = rules.is_ignored(&at, node.as_dir().is_some());
            assert!(!ignored, "{at} is ignored, and touched");
        }
    }

    /// What is done at one side is nowhere near what is under way to the other.
    fn check_apart(operations: &[Planned], other: impl Iterator<Item = SyncPath>) {
        let changed = changed(operations);
        for other in other {
            let is_near = |at: &&SyncPath| other.starts_with(at) || at.starts_with(&other);
            let near = changed.iter().find(is_near);
            assert!(near.is_none(), "{near:?} is near {other}, which is under way the other way");
        }
    }

    /// Nothing that a hand has written is gone by an operation, unless a hand has given it up. What takes no part stays.
    pub(super) fn check_destroyed(&mut self) {
        let gone = [
            (Side::Alpha, std::mem::take(&mut self.laptop.disk.destroyed)),
            (Side::Beta, std::mem::take(&mut self.agent.disk.destroyed)),
        ];
        for (side, at, node) in
            gone.into_iter().flat_map(|(side, gone)| gone.into_iter().map(move |(at, node)| (side, at, node)))
        {
            let is_dir = node.as_dir().is_some();
            let rules = match side {
                Side::Alpha => self.laptop.rules,
                Side::Beta => self.agent.ignores,
            };
            // With other rules than those that it was planned by, the hand of the clock is all that there is against it.
            let ignored = rules == 0 && self.rules[0].is_ignored(&at, is_dir);
            assert!(!ignored, "{at} is ignored at {side:?}, and destroyed");
            if self.may_lose(&node) {
                continue;
            }
            let left = [&self.laptop.disk.tree, &self.agent.disk.tree];
            // The very bytes that were sent there, put there again by a hand, are not to be told from what was sent. Nor are those
            // that were agreed on before something else had come to alpha that a controller did not live to note.
            let was_agreed = |at: &SyncPath, content| {
                self.excused.contains(at)
                    && self.recorded.get(at).is_some_and(|node| node.entry().content() == Some(content))
            };
            let was_sent = |at: &SyncPath, content| {
                let had = || self.had.iter().any(|(had, entry)| had == at && entry.content() == Some(content));
                side == Side::Beta && (had() || was_agreed(at, content))
            };
            let missed = self.ledger.missed(side, &at, &node, left, &self.recorded, was_sent);
            assert!(missed.is_none(), "{at}: content of {side:?} is lost: {missed:?}");
        }
    }

    /// Whether the mode says that what a hand wrote there gives way.
    fn may_lose(&self, node: &Node) -> bool {
        match self.kind.mode {
            Mode::OneWayReplica => true,
            Mode::OneWaySafe => !hand::is_foreign(node),
            Mode::TwoWaySafe | Mode::TwoWayResolved => false,
        }
    }

    /// What operations remove at a side, until nothing more is being removed.
    pub(super) fn note_removed(&mut self, action: &Action) {
        let (side, id, operations) = match action {
            Action::Send { id, operations, .. } => (Side::Beta, id, operations),
            Action::Take { id, operations, .. } => (Side::Alpha, id, operations),
            Action::Stream { stream, .. } => return self.note_put(Side::Beta, stream),
            Action::TakeStream { stream, .. } => return self.note_put(Side::Alpha, stream),
            _ => return,
        };
        let let_go = &self.let_go;
        let disk = if side == Side::Alpha { &self.laptop.disk } else { &self.agent.disk };
        // What hands there have taken away before is not removed by us.
        let is_there = |(at, entry): &(SyncPath, Entry)| disk.tree.get(at).is_some_and(|node| node.entry() == *entry);
        let removed = self.removed.entry(side).or_default();
        let is_first = removed.gone.is_empty();
        for operation in operations {
            match operation {
                Planned::Put { path, entry, .. } => {
                    removed.gone.remove(path);
                    removed.put.insert(entry.clone());
                }
                Planned::Move { to, node, .. } => {
                    self.removing.insert(*id);
                    removed.put.extend(entries(node).map(|(_, node)| node.entry()));
                    removed.gone.remove(to);
                }
                Planned::Remove { path, old } => {
                    self.removing.insert(*id);
                    let files = entries(old).filter(|(_, node)| node.as_dir().is_none());
                    let files = files.map(|(below, node)| (path.join_path(&below).unwrap(), node.entry()));
                    let is_asked =
                        |(at, entry): &(SyncPath, Entry)| let_go.contains(&(side, at.clone(), entry.clone()));
                    removed.gone.extend(files.filter(|file| !is_asked(file) && is_there(file)));
                }
                Planned::MakeDirectory { .. } => {}
            }
        }
        if is_first {
            let (alpha, beta) = (&self.laptop.view.tree, &self.engine.known.beta);
            let tree = if side == Side::Alpha { alpha } else { beta };
            removed.there = walk(tree.root()).map(|(at, _, _)| at).chain(removed.gone.keys().cloned()).collect();
            removed.of = match side {
                Side::Alpha => files(&self.laptop.view.tree),
                // What has just been planned is done in what will be. What is still under way to there does not count.
                Side::Beta => {
                    let known = &self.engine.known;
                    files(&known.beta).min(files(&known.ahead.tree) + removed.gone.len())
                }
            };
        }
    }

    fn note_put(&mut self, side: Side, stream: &PlannedStream) {
        let removed = self.removed.entry(side).or_default();
        removed.gone.remove(&stream.path);
        removed.put.insert(stream.entry.clone());
    }

    /// Most files of a side go only when the user has said so.
    pub(super) fn check_removed(&mut self) {
        for (side, Removed { of, there, gone, put }) in &self.removed {
            if *of < FILES_MIN {
                continue;
            }
            // What hands have put elsewhere, on either side, is moved too.
            let disks = [&self.laptop.disk, &self.agent.disk];
            let elsewhere = disks.into_iter().flat_map(|disk| walk(disk.tree.root()));
            let elsewhere: BTreeSet<Entry> =
                elsewhere.filter(|(at, _, _)| !gone.contains_key(at)).map(|(_, node, _)| node.entry()).collect();
            let is_moved = |entry: &Entry| put.contains(entry) || elsewhere.contains(entry);
            // What the other side has again comes back.
            let other = if *side == Side::Alpha { &self.agent.disk.tree } else { &self.laptop.disk.tree };
            let is_back = |at: &SyncPath, entry: &Entry| other.get(at).is_some_and(|node| node.entry() == *entry);
            let is_gone = |at: &SyncPath, entry: &Entry| there.contains(at) && !is_moved(entry) && !is_back(at, entry);
            let gone = gone.iter().filter(|(at, entry)| is_gone(at, entry)).count();
            // A file that gives way to a directory is removed here, and replaced for the engine.
            let most = gone * 2 > *of + 2 * REPLACED;
            assert!(!most || self.allowed, "{gone} of {of} files of {side:?} go, and nobody was asked");
        }
        let disks = [&self.laptop.disk, &self.agent.disk];
        for ((stood, last), disk) in self.stood.iter_mut().zip(disks) {
            if stood.len() < FILES_MIN && !last.root().is_same(disk.tree.root()) {
                let there = walk(disk.tree.root()).filter(|(_, node, _)| node.as_dir().is_none());
                stood.extend(there.map(|(at, _, _)| at));
                *last = disk.tree.clone();
            }
        }
        let (beta, alpha) = (&self.unanswered, &self.laptop.taken);
        self.removing.retain(|id| beta.contains_key(id) || alpha.iter().any(|taken| taken.id == *id));
        if self.removing.is_empty() && !self.engine.described.is_waiting() {
            self.removed.values_mut().for_each(|removed| removed.gone.clear());
        }
        if self.engine.is_in_sync() || self.allowed {
            self.removed.clear();
        }
    }

    /// The next process is told no more of what was sent: nothing of it is at beta where this one has been told that it can't see it.
    /// What the agent is at does not count: it is told of when it is done.
    pub(super) fn check_settled(&self) {
        if self.agent.is_applying() {
            return;
        }
        let known = &self.engine.known;
        for (at, node) in self.intents() {
            let is_heard = self.agent.reported.get(at) == known.beta.get(at);
            let is_hidden =
                node.is_some() && self.agent.disk.tree.get(at) == node.as_ref() && known.beta.get(at).is_none();
            let is_ignored = self.rules.iter().any(|rules| rules.is_ignored(at, true));
            assert!(
                !is_hidden || !is_heard || is_ignored || self.is_excused(at),
                "{at} was sent, and is forgotten while it can't be seen"
            );
        }
    }

    /// *Synced* takes over what both sides have had, and nothing else; and nothing of alpha that may not outlast a power cut.
    pub(super) fn record(&mut self, changes: Vec<Recorded>) {
        for (at, node) in changes {
            // A directory alone says nothing of what is in it.
            let alone = matches!(&node, Some((node, _)) if *node == directory());
            let volatile = self.laptop.under_way().find(|other| *other == at || !alone && other.starts_with(&at));
            assert!(volatile.is_none() || self.wiped, "{at} is agreed on, and {volatile:?} not durable");
            match node {
                None => {
                    self.recorded.remove(&at).expect("a record of what is there");
                }
                Some((node, _)) => {
                    for (below, node) in entries(&node) {
                        let at = at.join_path(&below).unwrap();
                        for side in [Side::Alpha, Side::Beta] {
                            self.let_go.remove(&(side, at.clone(), node.entry()));
                        }
                        let known = (at.clone(), node.entry());
                        // Until it is met, the replica that is gone is the one that is agreed with.
                        let had =
                            |disk: &Disk| disk.history.contains(&known) || (self.wiped && disk.former.contains(&known));
                        assert!(had(&self.agent.disk), "{at} is agreed on, and never was at beta: {node:?}");
                        assert!(had(&self.laptop.disk), "{at} is agreed on, and never was at alpha: {node:?}");
                    }
                    self.recorded.insert(&at, node, None).expect("a record in a directory that is agreed on");
                }
            }
        }
    }

    pub(super) fn reported(&mut self, report: Report) {
        match report {
            Report::Failed { side, problem, .. } => {
                self.told.insert((side, problem.path));
            }
            Report::Solved { side, path } => {
                let at = (side, path);
                assert!(self.told.remove(&at), "{at:?} is solved, and never was reported");
            }
            // It holds for as long as there is nothing else.
            Report::InSync => self.allowed = self.engine.emptied().is_some(),
            Report::Conflict { path, .. } => assert!(
                self.engine.halted().is_some()
                    || self.engine.conflicts().all(|(at, _, _)| *at != path)
                    || self.is_excused(&path)
                    || self.is_told(&path)
                    || self.was_hidden_at_beta(&path),
                "{path} is a conflict, and nobody has touched it at beta"
            ),
            _ => {}
        }
    }

    fn is_excused(&self, at: &SyncPath) -> bool {
        let is_near = |other: &SyncPath| other.starts_with(at) || at.starts_with(other);
        self.excused.iter().any(is_near)
    }

    fn is_told(&self, at: &SyncPath) -> bool {
        self.told.iter().any(|(_, told)| told == at)
    }

    /// Something there could not be read at beta: to the engine it is not what was agreed on, until it hears more.
    fn was_hidden_at_beta(&self, at: &SyncPath) -> bool {
        self.hidden.iter().any(|hidden| hidden.starts_with(at) || at.starts_with(hidden))
    }

    /// Where it is said that `at` is not the same on both sides, if it is.
    fn listed(&self, at: &SyncPath) -> Option<SyncPath> {
        let conflict =
            self.engine.conflicts().map(|(conflict, _, _)| conflict).find(|conflict| at.starts_with(conflict));
        let waits = |at: &SyncPath| self.engine.at_beta.held.is_waiting(at) || self.engine.at_alpha.held.is_waiting(at);
        let held = std::iter::successors(Some(at.clone()), SyncPath::parent).find(waits);
        assert!(held.as_ref().is_none_or(|held| self.is_told(held)), "{held:?} waits, and nobody knows");
        conflict.cloned().or(held)
    }

    /// All is quiet.
    pub(super) fn judge(&self) {
        assert_eq!(self.recorded, self.engine.known.synced, "the record of what is synced");
        assert_eq!(self.engine.known.beta, self.agent.index, "what is known of beta");
        let (alpha, beta) = (&self.laptop.view.tree, &self.agent.index);
        if self.engine.halted().is_some() {
            let is_empty = alpha.entries() == 0 || (self.kind.mode.is_two_way() && beta.entries() == 0);
            let are_enough = self.stood.iter().any(|(stood, _)| stood.len() >= FILES_MIN);
            assert!(is_empty || are_enough, "it is halted");
            return;
        }
        assert!(self.engine.is_in_sync(), "it is quiet, and not in sync");
        assert_eq!(self.engine.unsettled(), 0);
        let all: BTreeSet<SyncPath> =
            [alpha, beta, &self.recorded].into_iter().flat_map(|tree| walk(tree.root()).map(|(at, _, _)| at)).collect();
        let mut same = true;
        for at in all {
            let get = |tree: &Tree| tree.get(&at).map(Node::entry);
            let (here, there, synced) = (get(alpha), get(beta), get(&self.recorded));
            if let Some(listed) = self.listed(&at) {
                let has_reason = self.is_excused(&listed) || self.is_told(&listed);
                assert!(has_reason, "{listed} is a conflict, and nobody has touched it");
                same = false;
                continue;
            }
            if here == there {
                assert_eq!(here, synced, "{at}: what both have is synced");
                continue;
            }
            same &= !self.kind.mode.is_two_way();
            match (here, there) {
                (None, Some(there)) => self.judge_beta_alone(&at, &there, synced),
                (Some(here), None) if self.kind.mode.is_two_way() => self.judge_alpha_alone(&at, &here),
                (here, there) => panic!("{at} is not the same on both sides: {here:?} {there:?}"),
            }
        }
        if same && self.kind.mode.is_two_way() {
            assert_eq!(self.engine.outstanding(), (0, 0));
        }
        for (side, told) in &self.told {
            assert!(self.listed(told).is_some(), "{told} was reported for {side:?}, and is not solved");
        }
    }

    fn judge_beta_alone(&self, at: &SyncPath, there: &Entry, synced: Option<Entry>) {
        if self.told.iter().any(|(_, told)| told.starts_with(at)) {
            // It goes when what is held in it has gone.
            return;
        }
        let rules = &self.rules[self.laptop.rules];
        let is_dir = self.agent.index.dir(at).is_some();
        let left_alone = rules.is_ignored(at, is_dir) || has_ignored(&self.agent.disk.tree, rules, at);
        // What held it back may have gone since, unseen.
        let left_alone = left_alone || self.engine.at_beta.has_kept(at);
        if self.kind.mode.is_two_way() {
            assert!(left_alone, "{at} is left at beta alone: {there:?}");
            return;
        }
        assert_eq!(synced, None, "{at} is synced, and not at alpha");
        let own = self.kind.mode == Mode::OneWaySafe && self.is_excused(at);
        assert!(left_alone || own, "{at} is left at beta: {there:?}");
    }

    fn judge_alpha_alone(&self, at: &SyncPath, here: &Entry) {
        if self.told.iter().any(|(_, told)| told.starts_with(at)) {
            return;
        }
        let is_dir = |tree: &Tree| tree.dir(at).is_some();
        let rules = &self.agent.rules;
        // Beta has it, and does not show it; or alpha has something in it that it does not show.
        let hidden = std::iter::successors(Some(at.clone()), SyncPath::parent).filter(|at| !at.is_root()).any(|at| {
            let there = self.agent.disk.tree.get(&at);
            there.is_some_and(|node| rules.is_ignored(&at, node.as_dir().is_some()))
        });
        let left_alone = hidden
            || rules.is_ignored(at, is_dir(&self.laptop.disk.tree))
            || has_ignored(&self.laptop.disk.tree, &self.rules[self.laptop.rules], at)
            || has_ignored(&self.agent.disk.tree, rules, at)
            || self.engine.at_alpha.has_kept(at);
        assert!(left_alone, "{at} is left at alpha alone: {here:?}");
    }

    /// Once more: nothing is left to do, not after a reconnection either.
    pub(super) fn again(&mut self) {
        if !self.is_clean() {
            return;
        }
        let before = self.sent;
        let conflicts: Vec<_> = self.engine.conflicts().map(|(at, _, _)| at.clone()).collect();
        let hot: Vec<_> = walk(self.laptop.view.tree.root()).map(|(at, _, _)| at).collect();
        let view = self.laptop.view.clone();
        self.see(view, hot);
        self.quiet();
        assert_eq!(self.sent, before, "a second round sends something");
        if self.is_clean() {
            self.cut();
            self.quiet();
            self.judge();
            assert_eq!(self.sent, before, "a reconnection sends something");
            let now: Vec<_> = self.engine.conflicts().map(|(at, _, _)| at.clone()).collect();
            assert_eq!(conflicts, now, "conflicts of a reconnection");
        }
    }

    fn is_clean(&self) -> bool {
        let receivers = [&self.engine.at_alpha, &self.engine.at_beta];
        self.engine.halted().is_none() && self.told.is_empty() && receivers.iter().all(|side| side.kept.is_empty())
    }

    /// Where deletions were allowed before: the next ones are asked about again.
    pub(super) fn finish_again(&mut self) {
        let disks = [&self.laptop.disk, &self.agent.disk];
        let is_taken = disks.iter().any(|disk| disk.tree.get(&path("m")).is_some());
        if !self.ever_allowed || self.engine.halted().is_some() || is_taken {
            return;
        }
        self.plant_many();
        self.laptop.disk.remember();
        self.quiet();
        let agreed = self.recorded.get(&path("m")).and_then(Node::as_dir).map_or(0, |dir| dir.entries());
        if agreed < MANY as u64 || files(&self.agent.index) >= 2 * MANY {
            return;
        }
        self.laptop.disk.tree.remove(&path("m"));
        self.quiet();
        assert!(
            self.engine.halted().is_some(),
            "{MANY} of {} files go, and nobody was asked again",
            files(&self.agent.index)
        );
    }

    /// The user settles every conflict, and lets deletions go: nothing is left but what takes no part.
    pub(super) fn finish(&mut self) {
        if !self.kind.mode.is_two_way() {
            return;
        }
        for _ in 0..ALLOWANCES_MAX {
            // What was held, or not to be seen, at the time may be another reason later.
            if self.engine.halted().is_some() {
                self.allow();
                self.quiet();
            }
        }
        assert!(self.engine.halted().is_none(), "it was allowed");
        for _ in 0..8 {
            let conflicts: Vec<SyncPath> = self.engine.conflicts().map(|(at, _, _)| at.clone()).collect();
            for at in conflicts {
                let keep = *self.random.pick(&[Keep::Alpha, Keep::Beta, Keep::Both]);
                self.settle(&at, keep);
            }
            self.quiet();
            self.judge();
        }
        // Only what may not be touched as a whole is still a conflict.
        for (at, _, _) in self.engine.conflicts() {
            let rules = &self.rules;
            let ignored = |disk: &Disk| rules.iter().any(|rules| has_ignored(&disk.tree, rules, at));
            let is_ignored = rules.iter().any(|rules| rules.is_ignored(at, true));
            let is_reason = is_ignored || ignored(&self.agent.disk) || ignored(&self.laptop.disk) || self.is_told(at);
            assert!(is_reason || self.engine.halted().is_some(), "{at} is settled, and still a conflict");
        }
    }
}

fn files(tree: &Tree) -> usize {
    walk(tree.root()).filter(|(_, node, _)| node.as_dir().is_none()).count()
}

/// Whether something beneath takes no part.
fn has_ignored(disk: &Tree, rules: &Rules, at: &SyncPath) -> bool {
    let beneath = |(below, node): (SyncPath, &Node)| {
        let at = at.join_path(&below).unwrap();
        rules.is_ignored(&at, node.as_dir().is_some())
    };
    disk.dir(at).is_some_and(|dir| walk(dir).any(|(below, node, _)| beneath((below, node))))
}

//! The controller, as a pure state machine.
//!
//! The engine holds three trees (alpha, beta, *synced*) and what is in flight. It knows no clock, file or socket: what
//! happens is told by [`Engine::handle_alpha`] and the other `handle_*`, with the time now where it matters (since any fixed moment);
//! what is to be done comes out of [`Engine::poll_action`], to be called after each of them until it gives `None`; and
//! [`Engine::timeout`] says when to call [`Engine::handle_timeout`]. The same inputs give the same actions.
//!
//! # How it plans
//!
//! Beside beta as it is, the engine keeps beta *as it will be* when all that is in flight has been done (`ahead`), and
//! reconciles alpha against that. A save that comes while others are under way is thus planned and sent at once, and a
//! burst becomes batches by itself. Where an outcome is not what was hoped for, `ahead` falls back to beta at that path,
//! and the next round plans from what is really there: an operation that meets something unexpected changes nothing, so a
//! wrong guess costs a round trip, never content.
//!
//! # Invariants
//!
//! - *synced* takes over an entry only after beta has said `Applied`, or where both sides have it already.
//! - Nothing is planned before both sides are known, nor while the session is halted.
//! - Operations of one lane are done in order; an operation that touches a path which another lane has in flight follows
//!   it on that lane.
//!
//! What is **not** here: how content is read, encoded or sent (`session`), and what becomes of an operation on a disk
//! (`replica`).

mod action;
mod advance;
mod compare;
mod copies;
mod doubtful;
mod flight;
mod held;
mod known;
mod outcome;
pub mod plan;
pub mod reconcile;
#[cfg(test)]
mod tests;
pub mod view;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use sync_proto::{
    Entry, SyncPath,
    message::{Changes, Listing, Opened, Problem, ReplicaId},
};

pub use self::{
    action::{Action, Recorded, Report},
    doubtful::{Intent, Past},
};
use self::{
    compare::{Comparison, apply_change},
    copies::Copies,
    doubtful::Doubtful,
    flight::Flight,
    held::Held,
    known::Known,
    view::{View, remove_near},
};
use crate::{
    ignore::Rules,
    tree::{Tree, diff},
};

/// What goes which way. Names and meanings are those that developers know from Mutagen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Alpha's changes go to beta. What changed at beta is never overwritten or deleted: it is shown as a conflict, or
    /// left alone where alpha has nothing there.
    #[default]
    OneWaySafe,
    /// Beta is kept an exact copy of alpha. What was changed, added or deleted at beta is put right; ignored content stays.
    OneWayReplica,
}

/// Most paths of one update that are planned ahead of everything else.
const HOT_PATHS_MAX: usize = 2048;

/// What the peer did wrong. The session ends with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerFault {
    /// It answered what was not asked.
    #[error("the agent sent {0} that was not asked for")]
    Unasked(&'static str),
    /// It said something that can't be.
    #[error("the agent sent something malformed: {0}")]
    Malformed(&'static str),
    /// It went over a limit.
    #[error("the agent sent more {0} than this side takes")]
    TooMany(&'static str),
}

/// News from alpha's replica.
#[derive(Debug, Clone)]
pub struct AlphaUpdate {
    /// What stands there now.
    pub view: View,
    /// What takes part now.
    pub rules: Rules,
    /// Paths that just changed by somebody's hand: planned first. Empty after a scan.
    pub hot: Vec<SyncPath>,
}

#[derive(Debug)]
enum Link {
    Down,
    Comparing(Comparison),
    Up,
}

/// The controller of one session. See the module.
#[derive(Debug)]
pub struct Engine {
    mode: Mode,
    alpha: Option<(View, Rules)>,
    link: Link,
    /// Which replica was last connected.
    replica: Option<ReplicaId>,
    known: Known,
    flight: Flight,
    hot: Vec<SyncPath>,
    held: Held,
    /// Directories at beta that stay, because of content in them that takes no part.
    kept: BTreeSet<SyncPath>,
    doubtful: Doubtful,
    /// Mismatches in a row that nothing explains.
    mismatches: BTreeMap<SyncPath, u32>,
    /// Paths for which nothing but alpha's own bytes will do.
    whole: BTreeSet<SyncPath>,
    copies: Copies,
    conflicts: BTreeMap<SyncPath, (Option<Entry>, Option<Entry>)>,
    halted: Option<String>,
    in_sync: bool,
    actions: VecDeque<Action>,
}

impl Engine {
    /// An engine that knows nothing yet.
    pub fn new(mode: Mode) -> Self {
        Self {
            mode,
            alpha: None,
            link: Link::Down,
            replica: None,
            known: Known::default(),
            flight: Flight::default(),
            hot: Vec::new(),
            held: Held::default(),
            kept: BTreeSet::new(),
            doubtful: Doubtful::default(),
            mismatches: BTreeMap::new(),
            whole: BTreeSet::new(),
            copies: Copies::default(),
            conflicts: BTreeMap::new(),
            halted: None,
            in_sync: false,
            actions: VecDeque::new(),
        }
    }

    /// The next thing to do; `None`: nothing until something is handled.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Engine::handle_timeout`] is due.
    pub fn timeout(&self) -> Option<Duration> {
        self.held.next()
    }

    /// Whether all that is known has been done.
    pub fn is_in_sync(&self) -> bool {
        self.in_sync
    }

    /// How many paths are all that is left to do, and wait to be tried again without anybody having been told of a problem:
    /// their content changes whenever it is about to be sent.
    pub fn unsettled(&self) -> usize {
        if self.flight.is_empty() { self.held.silent() } else { 0 }
    }

    /// Why the session is halted, if it is.
    pub fn halted(&self) -> Option<&str> {
        self.halted.as_deref()
    }

    /// What both sides last agreed on.
    pub fn synced(&self) -> &Tree {
        &self.known.synced
    }

    /// Conflicts, in order of path, with what alpha and beta have.
    pub fn conflicts(&self) -> impl Iterator<Item = (&SyncPath, &Option<Entry>, &Option<Entry>)> {
        self.conflicts.iter().map(|(path, (alpha, beta))| (path, alpha, beta))
    }

    /// Operations and bytes still to be done, counted over the whole difference. O(what differs).
    pub fn outstanding(&self) -> (u64, u64) {
        let Some((alpha, rules)) = &self.alpha else { return (0, 0) };
        let mut count = (0, 0);
        for difference in diff(self.known.beta.root(), alpha.tree.root()) {
            let path = &difference.path;
            match (difference.new, difference.old) {
                _ if self.conflicts.contains_key(path) => {}
                (Some(node), _) => {
                    count.0 += node.entries();
                    count.1 += node.bytes();
                }
                (None, Some(old)) => {
                    let goes = self.mode == Mode::OneWayReplica || self.known.synced.get(path).is_some();
                    count.0 += u64::from(goes && !rules.is_ignored(path, old.as_dir().is_some()));
                }
                (None, None) => {}
            }
        }
        count
    }

    /// Alpha was scanned, or changed.
    pub fn handle_alpha(&mut self, update: AlphaUpdate) {
        let AlphaUpdate { view, rules, hot } = update;
        // Somebody tries again.
        hot.iter().for_each(|path| remove_near(&mut self.kept, path));
        match &self.alpha {
            _ if self.held.is_empty() => {}
            Some((before, _)) => {
                diff(before.tree.root(), view.tree.root()).for_each(|difference| self.held.release(&difference.path));
                hot.iter().for_each(|path| self.held.release(path));
            }
            None => self.held.release_all(),
        }
        if self.hot.len() + hot.len() <= HOT_PATHS_MAX {
            self.hot.extend(hot);
        }
        self.alpha = Some((view, rules));
        self.advance();
    }

    /// Alpha's root is gone, or can't be trusted: nothing is done until [`Engine::handle_alpha`] says otherwise.
    pub fn handle_alpha_lost(&mut self, reason: String) {
        self.alpha = None;
        self.halt(reason);
    }

    /// Beta is there. `past` is what is remembered of this very replica, empty where it is not known.
    pub fn handle_opened(&mut self, opened: &Opened, past: impl Into<Past>) {
        let Past { synced, sent } = past.into();
        self.disconnect();
        if self.replica.replace(opened.replica) != Some(opened.replica) {
            // What was sent went to another one.
            self.doubtful.clear();
        }
        sent.into_iter().for_each(|intent| self.doubtful.remember(intent));
        self.known = Known::new(synced);
        self.known.ahead.complete = opened.complete;
        self.known.ahead.problems = by_path(opened.problems.named.iter());
        let alpha = self.alpha_tree().cloned().unwrap_or_default();
        self.link = Link::Comparing(Comparison::new(opened.tree, &alpha, &self.known.synced));
        self.compare();
        self.advance();
    }

    /// Beta answered a request.
    pub fn handle_listing(&mut self, listing: Listing) -> Result<(), PeerFault> {
        let alpha = self.alpha_tree().cloned().unwrap_or_default();
        let Link::Comparing(comparison) = &mut self.link else {
            return Err(PeerFault::Unasked("a listing"));
        };
        comparison.listing(listing, &alpha, &self.known.synced)?;
        self.compare();
        self.advance();
        Ok(())
    }

    fn compare(&mut self) {
        let Link::Comparing(comparison) = &mut self.link else { return };
        while let Some(request) = comparison.requests() {
            self.actions.push_back(Action::Request(request));
        }
        if let Some(tree) = comparison.finished() {
            self.known.beta = tree;
            self.known.foresee(&self.flight);
            self.link = Link::Up;
        }
    }

    /// Beta changed by other hands. What is said before the outcomes of a batch was so before the batch, or without it.
    pub fn handle_changes(&mut self, changes: Changes) {
        self.known.ahead.complete = changes.complete;
        self.known.ahead.problems = by_path(changes.problems.named.iter());
        let mut unforeseen = false;
        for change in changes.changes.into_vec() {
            match &mut self.link {
                Link::Down => return,
                Link::Comparing(comparison) => comparison.change(change),
                Link::Up => {
                    self.held.release(&change.path);
                    remove_near(&mut self.kept, &change.path);
                    if self.flight.batch_touches(&change.path) {
                        unforeseen = true;
                    } else {
                        apply_change(&mut self.known.ahead.tree, change.clone());
                    }
                    apply_change(&mut self.known.beta, change);
                }
            }
        }
        if unforeseen {
            self.known.foresee(&self.flight);
        }
        self.advance();
    }

    /// Beta is gone, and with it all that was in flight.
    pub fn handle_disconnected(&mut self) {
        self.disconnect();
    }

    /// Some time has passed.
    pub fn handle_timeout(&mut self, now: Duration) {
        if self.held.expire(now) {
            self.advance();
        }
    }

    fn disconnect(&mut self) {
        self.link = Link::Down;
        let doubtful = &mut self.doubtful;
        self.flight.abandon().for_each(|operation| doubtful.note(&operation));
        // What was to be sent on the link that is gone must not go out on the next one.
        let is_of_link = |action: &Action| {
            matches!(action, Action::Request(_) | Action::Intend { .. } | Action::Send { .. } | Action::Stream { .. })
        };
        self.actions.retain(|action| !is_of_link(action));
        self.held.release_all();
        self.kept.clear();
        self.mismatches.clear();
        self.whole.clear();
        self.copies.clear();
        self.in_sync = false;
    }

    fn halt(&mut self, reason: String) {
        if self.halted.as_ref() != Some(&reason) {
            self.actions.push_back(Action::Report(Report::Halted(reason.clone())));
            self.halted = Some(reason);
        }
        self.in_sync = false;
    }

    fn alpha_tree(&self) -> Option<&Tree> {
        self.alpha.as_ref().map(|(view, _)| &view.tree)
    }
}

fn by_path<'a>(problems: impl Iterator<Item = &'a Problem>) -> BTreeMap<SyncPath, Problem> {
    problems.map(|problem| (problem.path.clone(), problem.clone())).collect()
}

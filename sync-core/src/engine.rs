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
//! What changes at beta goes to alpha without foresight: paths that an operation under way at alpha touches are left alone, in
//! both directions, until alpha has answered and shows what has come of it. Before anything is removed at alpha, beta is
//! asked whether it is really gone there (`described`).
//!
//! # Invariants
//!
//! - *synced* takes over an entry only after beta has said `Applied`, where alpha has and shows what came from beta, or where
//!   both sides have it already.
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
mod deletions;
mod described;
mod doubtful;
mod flight;
mod held;
mod known;
mod outcome;
mod parts;
pub mod plan;
mod receiver;
pub mod reconcile;
mod resolve;
mod rule;
mod taking;
#[cfg(test)]
mod tests;
pub mod view;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use sync_proto::{
    Entry, SyncPath,
    message::{BatchId, Changes, Listing, Opened, Problem, Problems, ReplicaId},
};

pub use self::{
    action::{Action, Keep, NotSettled, Recorded, Report, Side},
    deletions::GONE_PERCENT_MAX,
    doubtful::{Intent, Past},
};
use self::{
    compare::{Comparison, apply_change},
    deletions::{LetGo, Sweep},
    described::Described,
    doubtful::Doubtful,
    flight::Flight,
    known::Known,
    parts::Parts,
    receiver::Receiver,
    resolve::Choices,
    rule::{Rule, holds},
    taking::Taking,
    view::View,
};
use crate::{
    engine::plan::Planned,
    ignore::Rules,
    tree::{Node, Tree, diff},
};

/// What goes which way. Names and meanings are those that developers know from Mutagen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Changes go both ways. What both sides changed differently is a conflict: shown, and left alone.
    TwoWaySafe,
    /// Changes go both ways. Where both sides changed the same, alpha's version goes to beta.
    TwoWayResolved,
    /// Alpha's changes go to beta. What changed at beta is never overwritten or deleted: it is shown as a conflict, or
    /// left alone where alpha has nothing there.
    #[default]
    OneWaySafe,
    /// Beta is kept an exact copy of alpha. What was changed, added or deleted at beta is put right; ignored content stays.
    OneWayReplica,
}

impl Mode {
    /// Whether beta's changes come to alpha.
    pub fn is_two_way(self) -> bool {
        matches!(self, Self::TwoWaySafe | Self::TwoWayResolved)
    }
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
    parts: Parts,
    /// The number of the next batch or question. None is used twice.
    next: u64,
    /// What is under way to beta.
    flight: Flight,
    /// What is under way to alpha.
    taking: Taking,
    hot: Vec<SyncPath>,
    at_beta: Receiver,
    at_alpha: Receiver,
    described: Described,
    doubtful: Doubtful,
    settled: Choices,
    gone_percent_max: u64,
    /// Whether the user lets deletions go that would halt the session, until all is done.
    deletions_allowed: bool,
    let_go: LetGo,
    /// Whether what is deleted has been counted as a whole since something changed.
    deletions_counted: bool,
    sweep: Option<Sweep>,
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
            parts: Parts::default(),
            next: 0,
            flight: Flight::default(),
            taking: Taking::default(),
            hot: Vec::new(),
            at_beta: Receiver::default(),
            at_alpha: Receiver::default(),
            described: Described::default(),
            doubtful: Doubtful::default(),
            settled: Choices::default(),
            gone_percent_max: u64::from(GONE_PERCENT_MAX),
            deletions_allowed: false,
            let_go: LetGo::default(),
            deletions_counted: false,
            sweep: None,
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
        [self.at_beta.held.next(), self.at_alpha.held.next(), self.described.next()].into_iter().flatten().min()
    }

    /// Whether all that is known has been done.
    pub fn is_in_sync(&self) -> bool {
        self.in_sync
    }

    /// How many paths are all that is left to do, and wait to be tried again without anybody having been told of a problem:
    /// their content changes whenever it is about to be sent.
    pub fn unsettled(&self) -> usize {
        if self.is_waiting() { 0 } else { self.at_beta.held.silent() + self.at_alpha.held.silent() }
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

    /// Whether an answer is awaited, of either side.
    fn is_waiting(&self) -> bool {
        !self.flight.is_empty() || !self.taking.is_empty() || self.described.is_waiting()
    }

    /// Operations and bytes still to be done, counted over the whole difference. O(what differs).
    pub fn outstanding(&self) -> (u64, u64) {
        let Some((alpha, rules)) = &self.alpha else { return (0, 0) };
        let mut count = (0, 0);
        for difference in diff(self.known.beta.root(), alpha.tree.root()) {
            let path = &difference.path;
            let synced = self.known.synced.get(path);
            let comes = |node: &Node| self.mode.is_two_way() && synced != Some(node);
            // What is to be put somewhere, or is to be removed.
            let (put, gone) = match (difference.new, difference.old) {
                _ if self.conflicts.contains_key(path) => (None, false),
                (None, Some(beta)) if rules.is_ignored(path, beta.as_dir().is_some()) => (None, false),
                (None, Some(beta)) if comes(beta) => (Some(beta), false),
                (None, Some(_)) => {
                    let goes = self.mode == Mode::OneWayReplica || synced.is_some();
                    (None, goes && !self.at_beta.has_kept(path))
                }
                (Some(alpha), None) if self.mode.is_two_way() && synced == Some(alpha) => {
                    (None, !self.at_alpha.has_kept(path) && !self.described.is_hidden(path))
                }
                (Some(alpha), Some(beta)) if synced == Some(alpha) && comes(beta) => (Some(beta), false),
                (Some(alpha), _) => (Some(alpha), false),
                (None, None) => (None, false),
            };
            count.0 += put.map_or(0, Node::entries) + u64::from(gone);
            count.1 += put.map_or(0, Node::bytes);
        }
        count
    }

    /// Alpha was scanned, or changed.
    pub fn handle_alpha(&mut self, update: AlphaUpdate) {
        let AlphaUpdate { view, rules, hot } = update;
        // Somebody tries again.
        hot.iter().for_each(|path| {
            self.at_beta.release(path);
            self.at_alpha.release(path);
            self.described.release(path);
        });
        self.see_alpha(view, Some(rules));
        self.note_hot(hot);
        self.advance();
    }

    /// Takes over what alpha's replica sees.
    fn see_alpha(&mut self, view: View, rules: Option<Rules>) {
        let Self { alpha, at_beta, at_alpha, described, parts, .. } = self;
        let Some(rules) = rules.or_else(|| alpha.as_ref().map(|(_, rules)| rules.clone())) else {
            // It is lost, and has to be seen as a whole first.
            return;
        };
        if let Some((before, rules_before)) = alpha {
            parts.forget_changed(rules_before, &rules);
            for difference in diff(before.tree.root(), view.tree.root()) {
                at_beta.held.release(&difference.path);
                at_alpha.held.release(&difference.path);
                described.release(&difference.path);
                self.deletions_counted = false;
            }
        } else {
            parts.forget();
            at_beta.held.release_all();
            at_alpha.held.release_all();
            self.deletions_counted = false;
        }
        self.alpha = Some((view, rules));
    }

    fn note_hot(&mut self, hot: Vec<SyncPath>) {
        if self.hot.len() + hot.len() <= HOT_PATHS_MAX {
            self.hot.extend(hot);
        }
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
            // What was sent went to another one, and what is under way comes from it.
            self.doubtful.clear();
            if holds(Rule::OtherReplica) {
                self.taking.disown();
            }
            self.sweep = None;
            self.let_go.clear();
        }
        sent.into_iter().for_each(|intent| self.doubtful.remember(intent));
        self.known = Known::new(synced);
        self.note_beta(opened.complete, &opened.problems);
        self.deletions_counted = false;
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
        self.note_beta(changes.complete, &changes.problems);
        let changes = changes.changes.into_vec();
        let paths: Vec<SyncPath> = changes.iter().map(|change| change.path.clone()).collect();
        let mut unforeseen = false;
        for change in changes {
            match &mut self.link {
                Link::Down => return,
                Link::Comparing(comparison) => comparison.change(change),
                Link::Up => {
                    self.at_beta.release(&change.path);
                    self.at_alpha.release(&change.path);
                    self.described.release(&change.path);
                    self.doubtful.note_shown(&change, &self.known.synced);
                    if self.flight.batch_touches(&change.path) {
                        unforeseen = true;
                    } else {
                        apply_change(&mut self.known.ahead.tree, change.clone());
                    }
                    apply_change(&mut self.known.beta, change);
                }
            }
        }
        self.deletions_counted = false;
        if unforeseen {
            self.known.foresee(&self.flight);
        }
        if self.mode.is_two_way() {
            self.note_hot(paths);
        }
        self.advance();
    }

    /// Beta is gone, and with it all that was in flight to it, and every question.
    ///
    /// What is under way to alpha stays so until [`Engine::handle_taken`] or [`Engine::handle_unfetched`] says what has come of
    /// it: the latter, for all its operations, where they had not been given to alpha yet and now never will be.
    pub fn handle_disconnected(&mut self) {
        self.disconnect();
    }

    /// Some time has passed.
    pub fn handle_timeout(&mut self, now: Duration) {
        let expired = [self.at_beta.held.expire(now), self.at_alpha.held.expire(now), self.described.expire(now)];
        if expired.contains(&true) {
            self.advance();
        }
    }

    fn disconnect(&mut self) {
        self.link = Link::Down;
        let Self { doubtful, known, .. } = self;
        for operation in self.flight.abandon() {
            match operation {
                // What is moved aside is beta's own, and stays so.
                Planned::Move { from, to, .. } if known.asides.contains(&to) => doubtful.note_removal(from),
                operation => doubtful.note(&operation),
            }
        }
        known.asides.clear();
        // What was to be sent on the link that is gone must not go out on the next one.
        for action in std::mem::take(&mut self.actions) {
            match action {
                Action::Record(_) | Action::Report(_) | Action::Answered(_) | Action::Settled => {
                    self.actions.push_back(action);
                }
                Action::Take { id, .. } | Action::TakeStream { id, .. } => self.taking.withdraw(id),
                Action::Request(_)
                | Action::Intend { .. }
                | Action::Send { .. }
                | Action::Stream { .. }
                | Action::Describe { .. } => {}
            }
        }
        self.at_beta.start_over();
        self.at_alpha.start_over();
        self.described = Described::default();
        self.in_sync = false;
    }

    /// A number that was never used.
    fn number(&mut self) -> BatchId {
        self.next += 1;
        BatchId(self.next - 1)
    }

    /// What beta says of itself as a whole. Problems that it could not name may be anywhere.
    fn note_beta(&mut self, complete: bool, problems: &Problems) {
        self.known.ahead.complete = complete && problems.more == 0;
        self.known.ahead.problems = by_path(problems.named.iter());
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

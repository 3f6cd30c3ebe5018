//! The evidence for removing something at alpha: what beta said when it was asked.
//!
//! Beta's index does not show what its rules ignore, what it can't read and what has only just been made. So before anything
//! is removed at alpha because beta shows nothing there, beta is asked what stands at that very path on its disk. "Nothing"
//! lets that one removal go; anything else hides the path from removals for a while, or until something changes near it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use sync_proto::{SyncPath, message::BatchId};

use super::{
    PeerFault,
    held::Held,
    rule::{Rule, holds},
    view::remove_near,
};

/// Most paths in one question.
const PATHS_MAX: usize = 4096;
/// Most bytes of paths in one question, which has to fit a frame of the control stream.
const TEXT_BYTES_MAX: usize = 1 << 20;
/// Most questions that are unanswered.
const QUESTIONS_MAX: usize = 4;
/// How often a path is asked about again by itself. What beta was about to see has been seen long before.
const ATTEMPTS_MAX: u32 = 5;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Described {
    pub(super) asked: BTreeMap<BatchId, Vec<SyncPath>>,
    /// Where beta has nothing.
    pub(super) gone: BTreeSet<SyncPath>,
    /// Where beta has something that it does not show.
    hidden: Held,
}

impl Described {
    /// What is to be asked, of those paths for which it has not been.
    pub(super) fn question(&self, paths: impl Iterator<Item = SyncPath>) -> Option<Vec<SyncPath>> {
        if self.asked.len() >= QUESTIONS_MAX {
            return None;
        }
        let asked: BTreeSet<&SyncPath> = self.asked.values().flatten().collect();
        let mut bytes = 0;
        let fits = |path: &SyncPath| {
            bytes += path.as_bytes().len();
            bytes <= TEXT_BYTES_MAX
        };
        let question: Vec<SyncPath> =
            paths.filter(|path| !asked.contains(path)).take(PATHS_MAX).take_while(fits).collect();
        (!question.is_empty()).then_some(question)
    }

    pub(super) fn ask(&mut self, id: BatchId, paths: Vec<SyncPath>) {
        self.asked.insert(id, paths);
    }

    /// Beta's answer.
    pub(super) fn answer(&mut self, id: BatchId, there: &[bool], now: Duration) -> Result<(), PeerFault> {
        let paths = self.asked.remove(&id).ok_or(PeerFault::Unasked("a description"))?;
        if paths.len() != there.len() {
            return Err(PeerFault::Malformed("the number of descriptions"));
        }
        for (path, is_there) in paths.into_iter().zip(there) {
            if *is_there {
                let again = self.hidden.attempts(&path) < ATTEMPTS_MAX;
                self.hidden.hold(&path, None, again.then_some(now));
            } else {
                self.gone.insert(path);
            }
        }
        Ok(())
    }

    /// Whether beta has said that nothing stands there.
    pub(super) fn is_gone(&self, path: &SyncPath) -> bool {
        self.gone.contains(path)
    }

    /// Whether beta has said that something stands there.
    pub(super) fn is_hidden(&self, path: &SyncPath) -> bool {
        self.hidden.is_waiting(path)
    }

    /// What beta said has been acted on.
    pub(super) fn use_up(&mut self, path: &SyncPath) {
        self.gone.remove(path);
    }

    /// Something changed there: what beta said of it is old.
    pub(super) fn release(&mut self, path: &SyncPath) {
        if holds(Rule::AnswersAge) {
            remove_near(&mut self.gone, path);
        }
        self.hidden.release(path);
    }

    /// Nothing is wanted any more of what could be removed.
    pub(super) fn rest(&mut self) {
        self.gone.clear();
        self.hidden.sweep();
    }

    /// Whether an answer is awaited.
    pub(super) fn is_waiting(&self) -> bool {
        !self.asked.is_empty()
    }

    pub(super) fn next(&self) -> Option<Duration> {
        self.hidden.next()
    }

    pub(super) fn expire(&mut self, now: Duration) -> bool {
        self.hidden.expire(now)
    }
}

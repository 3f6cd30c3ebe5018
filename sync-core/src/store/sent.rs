//! What was sent to beta and is not known to have been answered, by the number of its batch.
//!
//! It is the write-ahead note of the session: what beta was told to do is here before beta does it, and goes when *synced*
//! has taken over what came of it. Too much here costs nothing but memory; too little, a question to the user.

use std::{borrow::Cow, collections::BTreeMap};

use super::{
    Intent,
    codec::{Take, put_at},
};
use crate::tree::{self, Node};

/// Most paths that are kept. Beyond them the oldest batches are forgotten.
const PATHS_MAX: u64 = 1 << 17;

/// Batches without an answer.
#[derive(Debug, Default)]
pub(super) struct Sent {
    batches: BTreeMap<u64, Vec<Intent>>,
    /// Counted with what directories hold.
    paths: u64,
}

impl Sent {
    /// Whether a batch of these can be kept at all.
    pub(super) fn fits(intents: &[Intent]) -> bool {
        count(intents) <= PATHS_MAX
    }

    /// A batch was sent, or more of it.
    pub(super) fn add(&mut self, number: u64, intents: Vec<Intent>) {
        self.paths += count(&intents);
        self.batches.entry(number).or_default().extend(intents);
        while self.paths > PATHS_MAX
            && let Some((_, oldest)) = self.batches.pop_first()
        {
            self.paths -= count(&oldest);
        }
    }

    /// Whether there was something under this number.
    pub(super) fn answer(&mut self, number: u64) -> bool {
        let answered = self.batches.remove(&number);
        self.paths -= answered.as_deref().map_or(0, count);
        answered.is_some()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// The first number that none of these has.
    pub(super) fn next(&self) -> u64 {
        self.batches.last_key_value().map_or(0, |(last, _)| last.wrapping_add(1))
    }

    pub(super) fn batches(&self) -> impl Iterator<Item = (u64, &[Intent])> {
        self.batches.iter().map(|(number, intents)| (*number, &intents[..]))
    }

    /// All of them, the oldest first.
    pub(super) fn intents(&self) -> impl Iterator<Item = &Intent> {
        self.batches.values().flatten()
    }

    /// Takes a batch out of a piece that [`pieces`] made; `None` where they are none.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Option<()> {
        let mut bytes = Take(bytes);
        let number = bytes.long()?;
        let mut intents = Vec::new();
        while !bytes.is_empty() {
            let (path, node) = bytes.at()?;
            intents.push((path, node.map(|(node, _)| node)));
        }
        self.add(number, intents);
        Some(())
    }
}

fn count(intents: &[Intent]) -> u64 {
    intents.iter().map(|(_, node)| node.as_ref().map_or(1, Node::entries)).sum()
}

/// A batch as bytes, in pieces that [`Sent::read`] takes: each names the batch, what directories hold follows them.
pub(super) fn pieces<E>(
    number: u64,
    intents: &[Intent],
    bytes_max: usize,
    mut write: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let start = number.to_le_bytes();
    let mut piece = start.to_vec();
    for (path, node) in intents {
        let beneath = node.as_ref().and_then(Node::as_dir).into_iter().flat_map(tree::walk);
        // Too long to be a path: then nobody was told of it either.
        let beneath =
            beneath.filter_map(|(below, node, _)| Some((Cow::Owned(path.join_path(&below).ok()?), Some(node))));
        for (path, node) in std::iter::once((Cow::Borrowed(path), node.as_ref())).chain(beneath) {
            put_at(&path, node.map(|node| (node, None)), &mut piece);
            if piece.len() >= bytes_max {
                write(&piece)?;
                piece.truncate(start.len());
            }
        }
    }
    if piece.len() > start.len() { write(&piece) } else { Ok(()) }
}

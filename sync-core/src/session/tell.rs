//! What a replica sees, in messages: changes, listings, problems, in pieces that fit their limits.

use std::time::Duration;

use sync_proto::{
    Entry, SyncPath, TreeHash,
    limits::{CHANGES_MAX, LISTING_ENTRIES_MAX},
    message::{Bounded, Change, Changes, Listed, Listing, Problems, Pushed},
};

use crate::{
    engine::view::View,
    tree::{Dir, Node, Tree, diff, walk},
};

/// Bytes of paths and targets in one message, about: well below a frame of the control stream.
const MESSAGE_BYTES: usize = 1 << 20;
/// Counted for an item beside its path.
const ITEM_BYTES: usize = 96;

/// What can't be synchronised.
pub(super) fn problems(view: &View) -> Problems {
    Problems::new(view.problems.values().cloned())
}

/// Finds the content that goes along with a change from the first entry, if any, to the second.
pub(super) type Push<'a> = &'a mut dyn FnMut(Option<&Entry>, &Entry) -> Option<Pushed>;

/// What is different in `view` from what was `reported`, in one message or more. The first event for it was read so long
/// ago.
pub(super) fn changes(reported: &Tree, view: &View, push: Push<'_>, age: Duration) -> Vec<Changes> {
    let mut all = Vec::new();
    for difference in diff(reported.root(), view.tree.root()) {
        let entry = difference.new.map(Node::entry);
        let old = difference.old.map(Node::entry);
        let content = entry.as_ref().and_then(|new| push(old.as_ref(), new));
        all.push(Change { path: difference.path.clone(), entry, content });
        if let Some(Node::Directory(dir)) = difference.new {
            all.extend(walk(dir).filter_map(|(below, node, _)| {
                let path = difference.path.join_path(&below).ok()?;
                let entry = node.entry();
                let content = push(None, &entry);
                Some(Change { path, entry: Some(entry), content })
            }));
        }
    }
    let age_micros = u64::try_from(age.as_micros()).unwrap_or(u64::MAX);
    let pieces = in_pieces(all, CHANGES_MAX, |change| {
        change.path.as_bytes().len() + target_bytes(change.entry.as_ref()) + pushed_bytes(change.content.as_ref())
    });
    let last = pieces.len().saturating_sub(1);
    pieces
        .into_iter()
        .enumerate()
        .map(|(number, changes)| Changes {
            changes: Bounded::first(changes),
            settled: number == last,
            complete: view.complete,
            problems: problems(view),
            age_micros,
        })
        .collect()
}

/// What stands in the directory at `path`, in one page or more.
pub(super) fn listings(tree: &Tree, path: &SyncPath) -> Vec<Listing> {
    let nothing = Dir::new();
    let dir = tree.dir(path).unwrap_or(&nothing);
    let listed = dir.iter().filter_map(|(name, node, _)| {
        let hash = node.as_dir().map_or(TreeHash([0; 32]), Dir::hash);
        Some(Listed { name: SyncPath::root().join(name).ok()?, entry: node.entry(), tree: hash })
    });
    let pieces = in_pieces(listed.collect(), LISTING_ENTRIES_MAX, |listed| {
        listed.name.as_bytes().len() + target_bytes(Some(&listed.entry))
    });
    let last = pieces.len().saturating_sub(1);
    pieces
        .into_iter()
        .enumerate()
        .map(|(number, entries)| Listing { path: path.clone(), entries: Bounded::first(entries), last: number == last })
        .collect()
}

fn target_bytes(entry: Option<&Entry>) -> usize {
    match entry {
        Some(Entry::Symlink(target)) => target.as_bytes().len(),
        _ => 0,
    }
}

fn pushed_bytes(content: Option<&Pushed>) -> usize {
    content.map_or(0, |content| match content {
        Pushed::Raw(bytes) | Pushed::Zstd(bytes) | Pushed::Delta { delta: bytes, .. } => bytes.len(),
    })
}

/// Cuts a list where it reaches `items_max` items or [`MESSAGE_BYTES`]. There is always a first piece.
fn in_pieces<T>(items: Vec<T>, items_max: usize, bytes: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let mut pieces = vec![Vec::new()];
    let mut filled = 0;
    for item in items {
        let size = bytes(&item) + ITEM_BYTES;
        let full = pieces.last().is_some_and(|piece| piece.len() >= items_max || filled + size > MESSAGE_BYTES);
        if full {
            pieces.push(Vec::new());
            filled = 0;
        }
        filled += size;
        if let Some(piece) = pieces.last_mut() {
            piece.push(item);
        }
    }
    pieces
}

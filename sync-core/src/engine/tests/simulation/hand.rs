//! A hand that changes a tree at random: a developer at alpha, or somebody in the pod.

use super::{
    super::{directory, link, path},
    random::Random,
};
use crate::tree::{Node, Tree, walk};
use sync_proto::{ContentId, SyncPath};

/// `o.o` is ignored by both sides.
const NAMES: [&str; 5] = ["a", "b", "c", "d", "o.o"];
/// Content numbers that are a multiple of this are of files that have a stream of their own.
const LARGE_EVERY: u64 = 7;
/// The same for files that are too large to be urgent.
const BULKY_EVERY: u64 = 5;

/// From how many files in a directory on a hand may remove so many at once.
const CROWD: usize = 8;

/// A file with this content: the same number, the same content.
pub(super) fn content(number: u64, foreign: bool) -> Node {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&number.to_le_bytes());
    id[31] = u8::from(foreign);
    let len = match number {
        _ if number.is_multiple_of(LARGE_EVERY) => 3 << 20,
        _ if number.is_multiple_of(BULKY_EVERY) => 300 << 10,
        _ => 100,
    };
    Node::File { content: ContentId(id), len, executable: false }
}

/// Whether a foreign hand wrote this.
pub(super) fn is_foreign(node: &Node) -> bool {
    matches!(node, Node::File { content, .. } if content.0[31] == 1)
}

pub(super) fn any_path(random: &mut Random) -> SyncPath {
    let depth = 1 + random.below(3);
    let names: Vec<&str> = (0..depth).map(|_| *random.pick(&NAMES)).collect();
    path(&names.join("/"))
}

fn any_existing(tree: &Tree, random: &mut Random) -> Option<SyncPath> {
    let all: Vec<SyncPath> = walk(tree.root()).map(|(path, _, _)| path).collect();
    (!all.is_empty()).then(|| random.pick(&all).clone())
}

/// Puts `node` there, with directories above it, whatever stood in their way.
fn put(tree: &mut Tree, at: &SyncPath, node: Node) {
    let mut above: Vec<SyncPath> = std::iter::successors(at.parent(), SyncPath::parent).collect();
    above.reverse();
    for above in above.iter().filter(|above| !above.is_root()) {
        if tree.dir(above).is_none() {
            tree.insert(above, directory(), None).unwrap();
        }
    }
    tree.insert(at, node, None).unwrap();
}

/// One change at `at`, which may be to put back what stood there `before`. The paths that it touched.
pub(super) fn change_at(
    tree: &mut Tree,
    at: &SyncPath,
    before: &Tree,
    random: &mut Random,
    next: &mut u64,
    foreign: bool,
) -> Vec<SyncPath> {
    let node = match (random.below(4), before.get(at)) {
        (0, _) => None,
        (1..=2, Some(node)) => Some(node.clone()),
        _ => {
            *next += 1;
            Some(content(*next, foreign))
        }
    };
    match node {
        Some(node) => put(tree, at, node),
        None => drop(tree.remove(at)),
    }
    vec![at.clone()]
}

/// One change. The paths that it touched.
pub(super) fn change(tree: &mut Tree, random: &mut Random, next: &mut u64, foreign: bool) -> Vec<SyncPath> {
    let existing = any_existing(tree, random);
    match (random.below(12), existing) {
        (0..=3, Some(at)) if tree.dir(&at).is_none() => {
            // An edit, mostly of a file; sometimes to content that is elsewhere too.
            *next += 1;
            let number = if random.one_in(5) { *next / 2 } else { *next };
            tree.insert(&at, content(number, foreign), None).unwrap();
            vec![at]
        }
        (4, Some(at)) => {
            if let Some(Node::File { content, len, executable }) = tree.get(&at).cloned() {
                tree.insert(&at, Node::File { content, len, executable: !executable }, None).unwrap();
            }
            vec![at]
        }
        (5..=6, Some(at)) => {
            tree.remove(&at);
            let parent = at.parent().unwrap();
            let beside: Vec<SyncPath> = tree.dir(&parent).into_iter().flat_map(walk).map(|(at, _, _)| at).collect();
            if beside.len() < CROWD || random.one_in(2) {
                return vec![at];
            }
            // Many at once.
            let first = random.below(beside.len() / 2);
            let more = beside[first..].iter().take(CROWD).map(|below| parent.join_path(below).unwrap());
            let gone: Vec<SyncPath> = more.chain([at]).collect();
            gone.iter().for_each(|at| drop(tree.remove(at)));
            gone
        }
        (7..=8, Some(from)) => {
            // A rename, of a directory or over something.
            let to = any_path(random);
            if to.starts_with(&from) || from.starts_with(&to) {
                return Vec::new();
            }
            let node = tree.remove(&from).unwrap();
            put(tree, &to, node);
            vec![from, to]
        }
        (9, _) => {
            let at = any_path(random);
            put(tree, &at, directory());
            vec![at]
        }
        (10, _) => {
            let at = any_path(random);
            let target = if foreign { "foreign" } else { *random.pick(&NAMES) };
            put(tree, &at, link(target));
            vec![at]
        }
        _ => {
            let at = any_path(random);
            *next += 1;
            put(tree, &at, content(*next, foreign));
            vec![at]
        }
    }
}

//! Edits of pages: inserting, removing.
//!
//! All of them leave the one shape that the set of names has. A page ends after a name whose rank is above the page's
//! level. So a new name of rank r splits the r lowest pages it falls into; a name that goes makes them one with their
//! right neighbours again. A directory has as many levels as it takes to have one page on top.

use std::sync::Arc;

use super::{
    dir::Dir,
    hash,
    node::{Node, Stamp},
    page::{Inner, Leaf, Page},
};

/// Pages of one level, which are all of a directory, brought under one.
pub(super) fn top(mut pages: Vec<Arc<Page>>) -> Option<Arc<Page>> {
    while pages.len() > 1 {
        let level = pages.first().map_or(0, |page| page.level()) + 1;
        pages = group(level, pages).into_iter().map(|inner| Arc::new(Page::Inner(inner))).collect();
    }
    pages.pop()
}

/// Cuts `children` into pages of `level`.
fn group(level: u8, children: Vec<Arc<Page>>) -> Vec<Inner> {
    let mut groups = Vec::new();
    let mut group = Vec::new();
    for child in children {
        let is_end = child.last_name().is_some_and(|name| hash::rank(name) > level);
        group.push(child);
        if is_end {
            groups.push(Inner::new(level, std::mem::take(&mut group)));
        }
    }
    if !group.is_empty() {
        groups.push(Inner::new(level, group));
    }
    groups
}

/// Puts an entry beneath `page`. Returns what it replaces, and the pages that were split off to the right of `page`.
pub(super) fn insert(
    page: &mut Arc<Page>,
    name: &[u8],
    node: Node,
    stamp: Option<Stamp>,
) -> (Option<Node>, Vec<Arc<Page>>) {
    match Arc::make_mut(page) {
        Page::Leaf(leaf) => match leaf.names.search(name) {
            Ok(index) => {
                leaf.set_stamp(index, stamp);
                (leaf.node_mut(index, false).map(|slot| std::mem::replace(slot, node)), Vec::new())
            }
            Err(index) => {
                leaf.insert(index, name, node, stamp);
                let cut = cut_after_insert(leaf, index);
                (None, cut.map(|at| Arc::new(Page::Leaf(leaf.split_off(at)))).into_iter().collect())
            }
        },
        Page::Inner(inner) => {
            let index = inner.child_of(name);
            let Some(child) = inner.child_mut(index, false) else { return (None, Vec::new()) };
            let (old, split) = insert(child, name, node, stamp);
            if split.is_empty() {
                inner.len += usize::from(old.is_none());
                if inner.last_names.get(index).is_some_and(|last| last < name) {
                    inner.last_names = inner.last_names.without(index).with(index, name);
                }
                return (old, split);
            }
            let mut children = std::mem::take(&mut inner.children).into_vec();
            children.splice(index + 1..index + 1, split);
            let mut pages = group(inner.level, children).into_iter();
            if let Some(first) = pages.next() {
                *inner = first;
            }
            (old, pages.map(|inner| Arc::new(Page::Inner(inner))).collect())
        }
    }
}

/// Where a leaf is to be cut now that the name at `index` has come in.
fn cut_after_insert(leaf: &Leaf, index: usize) -> Option<usize> {
    let ends = |index| leaf.names.get(index).is_some_and(|name| hash::rank(name) > 0);
    if index + 1 < leaf.names.len() {
        ends(index).then_some(index + 1)
    } else {
        // Behind the last name of the directory, which may have been the end of its page.
        index.checked_sub(1).is_some_and(ends).then_some(index)
    }
}

/// Takes out an entry beneath `page`. Afterwards the page may be empty, or open at its end: whoever holds it then drops
/// it, or joins it with its right neighbour.
pub(super) fn remove(page: &mut Arc<Page>, name: &[u8]) -> Option<Node> {
    match Arc::make_mut(page) {
        Page::Leaf(leaf) => leaf.names.search(name).ok().map(|index| leaf.remove(index)),
        Page::Inner(inner) => {
            let index = inner.child_of(name);
            let was_last = inner.last_names.get(index) == Some(name);
            let child = inner.child_mut(index, false)?;
            let old = remove(child, name)?;
            if !was_last {
                inner.len -= 1;
                return Some(old);
            }
            let (is_empty, is_closed) = (child.len() == 0, child.is_closed());
            let mut children = std::mem::take(&mut inner.children).into_vec();
            if is_empty {
                children.remove(index);
            } else if !is_closed && index + 1 < children.len() {
                let next = children.remove(index + 1);
                if let Some(child) = children.get_mut(index) {
                    join(child, &next);
                }
            }
            inner.children = children.into_boxed_slice();
            inner.children_changed();
            Some(old)
        }
    }
}

/// Appends `next`, the right neighbour of the same level, to `page`.
fn join(page: &mut Arc<Page>, next: &Arc<Page>) {
    match (Arc::make_mut(page), &**next) {
        (Page::Leaf(leaf), Page::Leaf(next)) => leaf.append(next),
        (Page::Inner(inner), Page::Inner(next)) => {
            let mut children = std::mem::take(&mut inner.children).into_vec();
            let mut following = next.children.iter();
            match children.last_mut() {
                Some(last) if !last.is_closed() => {
                    if let Some(first) = following.next() {
                        join(last, first);
                    }
                }
                _ => {}
            }
            children.extend(following.cloned());
            inner.children = children.into_boxed_slice();
            inner.children_changed();
        }
        _ => unreachable!("neighbours are of one level"),
    }
}

/// Takes off pages on top that hold a single page; `None` where nothing is left.
pub(super) fn collapse(mut page: Arc<Page>) -> Option<Arc<Page>> {
    while let Page::Inner(inner) = &*page
        && let [child] = &*inner.children
    {
        page = Arc::clone(child);
    }
    (page.len() > 0).then_some(page)
}

/// Puts a node that is equal to the one at `name`, with its stamp (and those in it), and keeps every hash.
pub(super) fn refresh(page: &mut Arc<Page>, name: &[u8], node: Node, stamp: Option<Stamp>) -> Option<Node> {
    match Arc::make_mut(page) {
        Page::Leaf(leaf) => {
            let index = leaf.names.search(name).ok()?;
            leaf.set_stamp(index, stamp);
            Some(std::mem::replace(leaf.node_mut(index, true)?, node))
        }
        Page::Inner(inner) => refresh(inner.child_mut(inner.child_of(name), true)?, name, node, stamp),
    }
}

/// The directory called `name`, unshared along the way.
pub(super) fn dir_mut<'a>(page: &'a mut Arc<Page>, name: &[u8], keep_hashes: bool) -> Option<&'a mut Dir> {
    match Arc::make_mut(page) {
        Page::Leaf(leaf) => match leaf.node_mut(leaf.names.search(name).ok()?, keep_hashes)? {
            Node::Directory(dir) => Some(dir),
            Node::File { .. } | Node::Symlink(_) => None,
        },
        Page::Inner(inner) => dir_mut(inner.child_mut(inner.child_of(name), keep_hashes)?, name, keep_hashes),
    }
}

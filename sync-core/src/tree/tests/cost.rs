//! What edits and comparisons cost, counted in pages.

use std::{collections::HashSet, sync::Arc};

use sync_proto::SyncPath;

use super::{
    super::{diff, merge},
    Dir, Node, Tree, file, name, number, numbered, page_pointers, path, stamp,
};

/// Pages of `after` that are not pages of `before`.
fn fresh(before: &Dir, after: &Dir) -> usize {
    let known: HashSet<_> = page_pointers(before).into_iter().collect();
    page_pointers(after).iter().filter(|page| !known.contains(*page)).count()
}

#[test]
fn an_edit_among_10_000_entries_touches_one_page_a_level() {
    let before = numbered(10_000);
    let pages = page_pointers(&before).len();
    assert!((250..450).contains(&pages), "{pages} pages");
    let levels = usize::from(before.top().unwrap().level()) + 1;
    assert!(levels <= 4, "{levels} levels");

    let mut most = 0;
    for n in (0..10_000).step_by(97) {
        let mut replaced = before.clone();
        replaced.insert(name(&number(n)), file(77_777), None);
        assert_eq!(fresh(&before, &replaced), levels);

        let mut inserted = before.clone();
        inserted.insert(name(&[&number(n)[..], b"~"].concat()), file(n), None);
        let mut removed = before.clone();
        removed.remove(name(&number(n)));
        most = most.max(fresh(&before, &inserted)).max(fresh(&before, &removed));
    }
    // A name that cuts a page adds its other half.
    assert!(most <= 2 * levels, "{most} pages");
}

#[test]
fn what_changes_nothing_copies_nothing() {
    let mut tree = Tree::new();
    tree.insert(&path("dir"), Node::Directory(numbered(1000)), None).unwrap();
    let before = tree.clone();
    let first = in_dir(7);
    tree.insert(&first, file(7), Some(stamp(7))).unwrap();
    tree.remove(&path("dir/none"));
    tree.insert(&path("none/x"), file(7), None).unwrap_err();
    assert!(Arc::ptr_eq(before.root().top().unwrap(), tree.root().top().unwrap()));
}

/// The path of file `n` in the directory `dir`.
fn in_dir(n: u64) -> SyncPath {
    path("dir").join(name(&number(n))).unwrap()
}

#[test]
fn a_stamp_alone_keeps_every_hash() {
    let mut tree = Tree::new();
    tree.insert(&path("dir"), Node::Directory(numbered(10_000)), None).unwrap();
    let (before, hash) = (tree.clone(), tree.hash());
    tree.insert(&in_dir(5000), file(5000), Some(stamp(1))).unwrap();
    assert_eq!(tree.stamp(&in_dir(5000)), Some(stamp(1)));
    assert_eq!(before.stamp(&in_dir(5000)), Some(stamp(5000)));
    // Nothing has to be hashed again: every page still knows its summary.
    assert!(super::all_summaries_known(tree.root()));
    assert_eq!(tree.hash(), hash);
    tree.insert(&in_dir(5000), file(1), Some(stamp(1))).unwrap();
    assert!(!super::all_summaries_known(tree.root()));
    assert_ne!(tree.hash(), hash);
}

#[test]
fn a_directory_with_other_stamps_alone_is_taken_over() {
    let mut tree = Tree::new();
    tree.insert(&path("dir"), Node::Directory(numbered(1000)), None).unwrap();
    let hash = tree.hash();
    let mut other = numbered(1000);
    other.insert(name(&number(7)), file(7), Some(stamp(99)));
    assert_eq!(tree.insert(&path("dir"), Node::Directory(other), None), Ok(Some(Node::Directory(numbered(1000)))));
    assert_eq!(tree.stamp(&in_dir(7)), Some(stamp(99)));
    assert!(super::all_summaries_known(tree.root()));
    assert_eq!(tree.hash(), hash);
}

#[test]
fn an_unshared_page_is_edited_in_place() {
    let mut dir = numbered(10_000);
    let before = page_pointers(&dir);
    dir.insert(name(&number(5000)), file(1), None);
    assert_eq!(page_pointers(&dir), before);
    let _shared = dir.clone();
    dir.insert(name(&number(5000)), file(2), None);
    assert_ne!(page_pointers(&dir), before);
}

#[test]
fn merge_opens_only_pages_that_differ() {
    let synced = numbered(10_000);
    for apart in [false, true] {
        // Equal by pointer, or built apart and equal by hash.
        let mut alpha = if apart { numbered(10_000) } else { synced.clone() };
        let beta = if apart { numbered(10_000) } else { synced.clone() };
        let mut rows = merge([Some(&synced), Some(&alpha), Some(&beta)]);
        assert!(rows.next().is_none());
        assert_eq!((rows.pages_opened(), rows.rows_compared()), (0, 0));

        alpha.insert(name(&number(5000)), file(1), None);
        let mut rows = merge([Some(&synced), Some(&alpha), Some(&beta)]);
        assert_eq!(rows.by_ref().map(|row| row.name.as_bytes().to_vec()).collect::<Vec<_>>(), [number(5000)]);
        let levels = usize::from(synced.top().unwrap().level()) + 1;
        assert_eq!(rows.pages_opened(), 3 * levels);
        assert!(rows.rows_compared() <= 200, "{} rows", rows.rows_compared());

        // Insertions and removals move nothing but their own page, also where they cut one or join two.
        for n in (0..10_000).step_by(1111) {
            let mut alpha = synced.clone();
            alpha.remove(name(&number(n)));
            alpha.insert(name(&[&number(n)[..], b"~"].concat()), file(n), None);
            let mut rows = merge([Some(&synced), Some(&alpha), Some(&beta)]);
            assert_eq!(rows.by_ref().count(), 2);
            assert!(rows.pages_opened() <= 4 * 3 * levels, "{} pages", rows.pages_opened());
        }
    }
}

#[test]
fn a_cut_at_the_very_front_leaves_the_rest_unread() {
    let old = numbered(10_000);
    let mut new = old.clone();
    for n in 0..100 {
        new.remove(name(&number(n)));
    }
    let mut rows = merge([Some(&old), Some(&new)]);
    assert_eq!(rows.by_ref().count(), 100);
    assert!(rows.pages_opened() < 30, "{} pages", rows.pages_opened());
}

#[test]
fn diff_skips_equal_subtrees() {
    let mut tree = Tree::new();
    for n in 0..100 {
        tree.insert(&path(&format!("d{n}")), Node::Directory(numbered(100)), None).unwrap();
    }
    let old = tree.clone();
    tree.insert(&path("d50/0000050.rs"), file(1), None).unwrap();
    tree.remove(&path("d7"));
    let found: Vec<_> = diff(old.root(), tree.root()).map(|difference| difference.path).collect();
    assert_eq!(found, [path("d50/0000050.rs"), path("d7")]);
}

#[test]
fn sharing_leaves_no_page_of_its_own_where_equal() {
    let (left, right) = (Tree::from_root(numbered(10_000)), Tree::from_root(numbered(10_000)));
    let mut edited = left.clone();
    edited.insert(&path("x"), file(1), None).unwrap();
    assert_eq!(fresh(right.root(), left.shared_with(&right).root()), 0);
    let levels = usize::from(edited.root().top().unwrap().level()) + 1;
    assert!(fresh(right.root(), edited.shared_with(&right).root()) <= 2 * levels);
}

/// Nobody chooses names by chance who wants to do harm: pages without a boundary, and boundaries without a page between.
#[test]
fn names_chosen_to_harm_cost_but_do_not_break() {
    let chosen = |wanted: fn(u8) -> bool, count| {
        let names = (0u64..).map(number).filter(|name| wanted(super::hash::rank(name))).take(count);
        names.map(|name| (name.into_boxed_slice(), file(1), None)).collect::<Vec<_>>()
    };
    for items in [chosen(|rank| rank == 0, 3000), chosen(|rank| rank > 0, 300), chosen(|rank| rank > 1, 40)] {
        let built = Dir::from_sorted(items.clone());
        super::validate(&built);
        let mut grown = Dir::new();
        for (key, node, _) in items.iter().rev() {
            grown.insert(name(key), node.clone(), None);
        }
        super::validate(&grown);
        assert_eq!(built.hash(), grown.hash());
        for (index, (key, ..)) in items.iter().enumerate() {
            grown.remove(name(key));
            if index % 29 == 0 {
                super::validate(&grown);
                assert_eq!(grown.hash(), Dir::from_sorted(items[index + 1..].to_vec()).hash());
            }
        }
        assert!(grown.is_empty());
    }
}

#[test]
fn names_beyond_64_kib_in_one_page() {
    let mut items: Vec<_> = (0u32..)
        .map(|n| format!("{n:0255}").into_bytes())
        .filter(|name| super::hash::rank(name) == 0)
        .take(300)
        .map(|name| (name.into_boxed_slice(), file(1), Some(stamp(1))))
        .collect();
    let last = items.pop().unwrap();
    let mut dir = Dir::from_sorted(items.clone());
    super::validate(&dir);
    assert_eq!(dir.top().unwrap().level(), 0);
    let hash = dir.hash();
    dir.insert(name(&last.0), last.1, None);
    assert_eq!(dir.len(), 300);
    dir.remove(name(&last.0));
    assert_eq!(dir.hash(), hash);
}

//! What takes part of what only beta has: asked about once.

use std::cell::Cell;

use super::*;
use crate::{
    engine::{
        parts::{Parts, Remembered},
        reconcile::{Limits, Sides, Step, reconcile},
        view::Scope,
    },
    ignore::IgnoreFile,
};

/// Ignores what ends so, and counts how often it was asked.
struct Asked(Cell<usize>);

impl Scope for Asked {
    fn is_ignored(&self, path: &SyncPath, _: bool) -> bool {
        self.0.set(self.0.get() + 1);
        path.as_bytes().ends_with(b".o")
    }
}

/// Files at these paths, each with content of its own.
fn files(paths: impl IntoIterator<Item = String>) -> Tree {
    let paths: Vec<String> = paths.into_iter().collect();
    let items: Vec<_> = paths.iter().zip(1..).map(|(at, content)| (at.as_str(), file(content))).collect();
    tree(&items)
}

fn paths_of(dir: &Dir, above: &str, all: &mut Vec<String>) {
    for (name, node, _) in dir.iter() {
        let at = format!("{above}{}", String::from_utf8_lossy(name.as_bytes()));
        if let Some(below) = node.as_dir() {
            paths_of(below, &format!("{at}/"), all);
        }
        all.push(at);
    }
}

#[test]
fn a_tree_from_beta_is_asked_about_a_few_times_and_not_with_each_batch() {
    const FILES: usize = 6_000;
    let name = |n: usize| {
        let end = if n.is_multiple_of(10) { ".o" } else { "" };
        format!("a{}/b{}/c{}/{n:05}{end}", n / 2_000, n / 400, n / 20)
    };
    let beta = seen(&files((0..FILES).map(name)));
    let asked = Asked(Cell::new(0));
    let parts = Parts::default();
    let scope = Remembered { scope: &asked, parts: &parts };
    let mut alpha = Tree::default();
    let mut rounds = 0;
    loop {
        let now = seen(&alpha);
        let sides = Sides { alpha: &now, beta: &beta, synced: &Tree::default(), scope: &scope };
        let found = reconcile(sides, Mode::TwoWaySafe, &Limits { steps_max: 1_000, guard: &() });
        // A batch: a hundred entries of what is to be made.
        let mut made = 0;
        let mut make = Vec::new();
        for step in &found.at_alpha {
            let Step::Create { path, new } = step else { panic!("{step:?}") };
            make.push((path.clone(), new.clone()));
        }
        make.reverse();
        while made < 100
            && let Some((at, new)) = make.pop()
        {
            made += 1;
            let Node::Directory(dir) = &new else {
                alpha.insert(&at, new, None).unwrap();
                continue;
            };
            alpha.insert(&at, Node::Directory(Dir::new()), None).unwrap();
            let mut below: Vec<_> = dir.iter().map(|(name, node, _)| (at.join(name).unwrap(), node.clone())).collect();
            below.reverse();
            make.extend(below);
        }
        if made == 0 {
            break;
        }
        rounds += 1;
    }
    assert!(rounds > 50, "{rounds}");
    let mut there = Vec::new();
    paths_of(alpha.root(), "", &mut there);
    assert!(there.iter().all(|at| !at.ends_with(".o")));
    assert_eq!(alpha.root().entries(), (FILES * 9 / 10 + 3 + 15 + 300) as u64);
    // Three levels, and what is left of a directory that has begun to come.
    let asked = asked.0.get();
    assert!(asked < FILES * 12, "asked {asked} times for {FILES} files in {rounds} rounds");
}

#[test]
fn new_rules_are_obeyed_and_the_rest_is_still_known() {
    let before = rules(&[]);
    let tree = files(["a/b/c/x.o", "a/b/c/y", "a/d/x.o", "e/x.o"].map(String::from));
    let dir = |at: &str| tree.dir(&path(at)).unwrap().clone();
    let mut parts = Parts::default();
    let all = ["a", "a/b", "a/b/c", "a/d", "e"];
    for at in all {
        assert_eq!(parts.by(&before).part(&path(at), &dir(at)), None);
    }
    let after = before.with_file(&path("a/b"), IgnoreFile::Gitignore, Some(b"*.o\n"));
    parts.forget_changed(&before, &after);
    assert_eq!(parts.remembered(), ["a/d", "e"]);
    let wanted = parts.by(&after).part(&path("a"), &dir("a")).unwrap();
    let mut there = Vec::new();
    paths_of(&wanted, "a/", &mut there);
    assert_eq!(there, ["a/b/c/y", "a/b/c", "a/b", "a/d/x.o", "a/d"]);
    // What the same rules say again is nothing new.
    parts.forget_changed(&after, &after.clone());
    assert_eq!(parts.remembered().len(), 3);
    // Other settings: all of it.
    let other = rules(&["x"]);
    parts.forget_changed(&after, &other);
    assert!(parts.remembered().is_empty());
}

#[test]
fn what_beta_has_otherwise_now_is_asked_about_again() {
    let asked = Asked(Cell::new(0));
    let parts = Parts::default();
    let scope = Remembered { scope: &asked, parts: &parts };
    let mut tree = files(["a/x", "a/y.o"].map(String::from));
    let dir = |tree: &Tree| tree.dir(&path("a")).unwrap().clone();
    assert_eq!(scope.part(&path("a"), &dir(&tree)).unwrap().len(), 1);
    assert_eq!(scope.part(&path("a"), &dir(&tree)).unwrap().len(), 1);
    assert_eq!(asked.0.get(), 2);
    tree.insert(&path("a/z"), file(9), None).unwrap();
    assert_eq!(scope.part(&path("a"), &dir(&tree)).unwrap().len(), 2);
    assert_eq!(asked.0.get(), 5);
}

//! Trees against plain maps.

use std::collections::BTreeMap;

use proptest::{collection::vec, prelude::*};
use sync_proto::SyncPath;

use super::{
    super::{Difference, diff, merge, walk},
    Dir, Node, POOL, Stamp, Tree, file, name, stamp, validate,
};

type Model = BTreeMap<Vec<u8>, (Node, Option<Stamp>)>;

/// Index of a name in the pool, and what to put there; `None` removes.
type Edit = (usize, Option<(u64, bool)>);

fn edits(len: usize) -> impl Strategy<Value = Vec<Edit>> {
    vec((0..POOL.len(), prop_oneof![2 => Just(None), 3 => (0..3u64, any::<bool>()).prop_map(Some)]), 0..len)
}

fn apply(dir: &mut Dir, model: &mut Model, edits: &[Edit]) {
    for &(index, put) in edits {
        let key = &POOL[index];
        match put {
            Some((content, stamped)) => {
                let value = (file(content), stamped.then(|| stamp(content)));
                let old = dir.insert(name(key), value.0.clone(), value.1);
                assert_eq!(old, model.insert(key.clone(), value).map(|(node, _)| node));
            }
            None => assert_eq!(dir.remove(name(key)), model.remove(key).map(|(node, _)| node)),
        }
    }
}

fn built(model: &Model) -> Dir {
    Dir::from_sorted(model.iter().map(|(name, (node, stamp))| (name.clone().into(), node.clone(), *stamp)).collect())
}

fn listed(dir: &Dir) -> Model {
    dir.iter().map(|(name, node, stamp)| (name.as_bytes().to_vec(), (node.clone(), stamp))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_of_a_set_gives_its_one_shape(steps in edits(400)) {
        let (mut dir, mut model) = (Dir::new(), Model::new());
        for step in steps.chunks(40) {
            let (before, before_listed) = (dir.clone(), listed(&dir));
            apply(&mut dir, &mut model, step);
            validate(&dir);
            prop_assert_eq!(dir.hash(), built(&model).hash());
            prop_assert_eq!(&listed(&dir), &model);
            prop_assert_eq!(dir.entries(), model.len() as u64);
            prop_assert_eq!(dir.is_empty(), model.is_empty());
            // What was shared has not moved.
            prop_assert_eq!(listed(&before), before_listed);
        }
        for key in POOL.iter() {
            prop_assert_eq!(dir.get(name(key)), model.get(key).map(|(node, _)| node));
            prop_assert_eq!(dir.stamp(name(key)), model.get(key).and_then(|(_, stamp)| *stamp));
        }
        for key in model.keys() {
            prop_assert!(dir.remove(name(key)).is_some());
            validate(&dir);
        }
        prop_assert_eq!(dir.hash(), Dir::new().hash());
        prop_assert!(dir.is_empty());
    }

    #[test]
    fn merge_gives_the_rows_that_differ(common in edits(300), own in [edits(12), edits(12), edits(12)], apart in any::<bool>()) {
        let (mut dir, mut model) = (Dir::new(), Model::new());
        apply(&mut dir, &mut model, &common);
        let three: Vec<(Dir, Model)> = own.iter().map(|edits| {
            let (mut dir, mut model) = (dir.clone(), model.clone());
            apply(&mut dir, &mut model, edits);
            // Equal by pointer, or by hash alone.
            (if apart { built(&model) } else { dir }, model)
        }).collect();
        let expected: Vec<_> = POOL.iter().map(|key| (key.clone(), [0, 1, 2].map(|i: usize| three[i].1.get(key).map(|(node, _)| node.clone()))))
            .filter(|(_, [a, b, c])| a != b || b != c).collect();
        let found: Vec<_> = merge([Some(&three[0].0), Some(&three[1].0), Some(&three[2].0)])
            .map(|row| (row.name.as_bytes().to_vec(), row.nodes.map(|node| node.cloned()))).collect();
        prop_assert_eq!(found, expected);

        let against_nothing: Vec<_> = merge([None, Some(&three[0].0), None]).map(|row| (row.name.as_bytes().to_vec(), row.nodes[1].cloned())).collect();
        let all: Vec<_> = three[0].1.iter().map(|(key, (node, _))| (key.clone(), Some(node.clone()))).collect();
        prop_assert_eq!(against_nothing, all);
    }

    #[test]
    fn sharing_keeps_the_entries(common in edits(300), own in edits(12), other in edits(12)) {
        let (mut left, mut model) = (Dir::new(), Model::new());
        apply(&mut left, &mut model, &common);
        let (mut right, mut right_model) = (left.clone(), model.clone());
        apply(&mut left, &mut model, &own);
        apply(&mut right, &mut right_model, &other);
        let (left, right) = (Tree::from_root(built(&model)), Tree::from_root(right));
        let shared = left.shared_with(&right);
        validate(shared.root());
        prop_assert_eq!(shared.hash(), left.hash());
        for (key, (node, own_stamp)) in &model {
            let theirs = right_model.get(key).filter(|(theirs, _)| theirs == node);
            let path = SyncPath::parse(key).unwrap();
            prop_assert_eq!(shared.stamp(&path), theirs.map_or(*own_stamp, |(_, stamp)| *stamp));
        }
    }

    #[test]
    fn whole_directories_are_shared_and_the_entries_kept(
        history in vec(nested_edit(), 0..200),
        own in vec(nested_edit(), 0..12),
        other in vec(nested_edit(), 0..12),
    ) {
        let (mut left, mut model) = (Tree::new(), BTreeMap::new());
        history.iter().chain(&own).for_each(|edit| apply_nested(&mut left, &mut model, edit));
        let (mut right, mut right_model) = (Tree::new(), BTreeMap::new());
        history.iter().chain(&other).for_each(|edit| apply_nested(&mut right, &mut right_model, edit));
        let shared = left.with_directories_of(&right);
        validate(shared.root());
        prop_assert_eq!(shared.hash(), left.hash());
        for (at, node, _) in walk(shared.root()) {
            if let (Some(dir), Some(Node::Directory(theirs))) = (node.as_dir(), right.get(&at)) {
                prop_assert!(dir.is_same(theirs) || dir != theirs, "{} is equal and not shared", at);
            }
        }
    }

    #[test]
    fn diff_and_walk_of_nested_trees(history in vec(nested_edit(), 0..200), later in vec(nested_edit(), 0..12)) {
        let (mut tree, mut model) = (Tree::new(), BTreeMap::new());
        history.iter().for_each(|edit| apply_nested(&mut tree, &mut model, edit));
        let (old, old_model) = (tree.clone(), model.clone());
        later.iter().for_each(|edit| apply_nested(&mut tree, &mut model, edit));
        validate(tree.root());

        let walked: Vec<_> = walk(tree.root()).map(|(path, node, _)| (path, node.entry())).collect();
        prop_assert_eq!(&walked, &model.clone().into_iter().collect::<Vec<_>>());
        prop_assert_eq!(tree.entries(), model.len() as u64);

        // Applied to the old tree, the differences give the new one; and none of them is idle.
        let mut patched = old.clone();
        let differences: Vec<_> = diff(old.root(), tree.root()).collect();
        prop_assert!(differences.is_sorted_by(|left, right| left.path < right.path));
        for Difference { path, old: before, new: after } in &differences {
            prop_assert!(before != after);
            prop_assert_eq!(before.map(Node::entry), old_model.get(path).cloned());
            prop_assert_eq!(after.map(Node::entry), model.get(path).cloned());
            let replaced = match after {
                Some(node) => patched.insert(path, (*node).clone(), None).unwrap(),
                None => patched.remove(path),
            };
            prop_assert_eq!(replaced.as_ref(), *before);
        }
        prop_assert_eq!(&patched, &tree);
        prop_assert_eq!(patched.hash(), tree.hash());
        prop_assert_eq!(old_model == model, differences.is_empty());
    }
}

fn nested_edit() -> impl Strategy<Value = (SyncPath, Option<Option<u64>>)> {
    let component = prop_oneof!["[ab.]c", Just("x".to_owned())];
    let path = vec(component, 1..4).prop_map(|names| SyncPath::parse(names.join("/").as_bytes()).unwrap());
    (path, prop_oneof![Just(None), Just(Some(None)), (0..3u64).prop_map(|n| Some(Some(n)))])
}

fn apply_nested(
    tree: &mut Tree,
    model: &mut BTreeMap<SyncPath, sync_proto::Entry>,
    (path, put): &(SyncPath, Option<Option<u64>>),
) {
    let parent = path.parent().unwrap();
    let has_parent = parent.is_root() || model.get(&parent) == Some(&sync_proto::Entry::Directory);
    let node = put.map(|content| content.map_or_else(|| Node::Directory(Dir::new()), file));
    let Some(node) = node else {
        assert_eq!(tree.remove(path).map(|node| node.entry()), model.get(path).cloned());
        model.retain(|key, _| !key.starts_with(path));
        return;
    };
    let entry = node.entry();
    match tree.insert(path, node, None) {
        Ok(old) => {
            assert!(has_parent);
            assert_eq!(old.map(|node| node.entry()), model.get(path).cloned());
            model.retain(|key, _| !key.starts_with(path));
            model.insert(path.clone(), entry);
        }
        Err(_) => assert!(!has_parent),
    }
}

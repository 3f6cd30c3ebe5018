#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod cost;
mod deletions;
mod failures;
mod intents;
mod lanes;
pub(super) mod mutants;
mod parts;
mod planning;
mod plans;
mod reconciled;
mod simulation;

use std::{collections::BTreeMap, time::Duration};

use sync_proto::{
    ContentId, Entry, SyncPath, Target,
    message::{
        BatchId, Blob, Bounded, Change, Changes, IgnoreSettings, Opened, Outcome, Outcomes, Problem, ProblemKind,
        Problems, ReplicaId, Sentence,
    },
};

use super::{Action, AlphaUpdate, Engine, Mode, Report, Side, plan::Planned, view::View};
use crate::{
    ignore::Rules,
    tree::{Dir, Node, Tree},
};

fn path(text: &str) -> SyncPath {
    SyncPath::parse(text.as_bytes()).unwrap()
}

/// A file whose content has this number, and 100 bytes.
fn file(content: u64) -> Node {
    sized(content, 100)
}

fn sized(content: u64, len: u64) -> Node {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&content.to_le_bytes());
    Node::File { content: ContentId(id), len, executable: false }
}

fn link(target: &str) -> Node {
    Node::Symlink(Target::new(target.as_bytes()).unwrap())
}

fn directory() -> Node {
    Node::Directory(Dir::new())
}

/// A tree of these, with the directories above them.
fn tree(items: &[(&str, Node)]) -> Tree {
    let mut tree = Tree::new();
    for (at, node) in items {
        let at = path(at);
        let mut above: Vec<SyncPath> = std::iter::successors(at.parent(), SyncPath::parent).collect();
        above.reverse();
        for above in above.iter().filter(|above| !above.is_root()) {
            if tree.dir(above).is_none() {
                tree.insert(above, directory(), None).unwrap();
            }
        }
        tree.insert(&at, node.clone(), None).unwrap();
    }
    tree
}

fn rules(patterns: &[&str]) -> Rules {
    let patterns = patterns.iter().map(|pattern| Blob::new(pattern.as_bytes().to_vec()).unwrap()).collect();
    let settings = IgnoreSettings { patterns: Bounded::new(patterns).unwrap(), ..IgnoreSettings::default() };
    Rules::new(&settings).unwrap()
}

fn seen(tree: &Tree) -> View {
    View { tree: tree.clone(), complete: true, problems: BTreeMap::new() }
}

fn problem(at: &SyncPath, kind: ProblemKind) -> Problem {
    Problem { path: at.clone(), kind, detail: Sentence::new("injected") }
}

fn opened(tree: &Tree) -> Opened {
    Opened {
        replica: ReplicaId([7; 16]),
        tree: tree.hash(),
        entries: tree.entries(),
        complete: true,
        partials: Bounded::default(),
        problems: Problems::new([]),
    }
}

fn changes(changes: Vec<(&str, Option<Entry>)>) -> Changes {
    let changes = changes.into_iter().map(|(at, entry)| Change { path: path(at), entry, content: None }).collect();
    let changes = Bounded::new(changes).unwrap();
    Changes { changes, settled: true, complete: true, problems: Problems::new([]), age_micros: 0 }
}

fn update(tree: &Tree, hot: &[&str]) -> AlphaUpdate {
    AlphaUpdate { view: seen(tree), rules: rules(&[]), hot: hot.iter().map(|at| path(at)).collect() }
}

/// An engine whose three trees are all `tree`.
fn in_sync(mode: Mode, tree: &Tree) -> Engine {
    let mut engine = Engine::new(mode);
    engine.handle_alpha(update(tree, &[]));
    engine.handle_opened(&opened(tree), tree.clone());
    assert_eq!(drain(&mut engine), [Action::Report(Report::InSync)]);
    engine
}

/// What there is to do, but for what is to be kept in mind.
fn drain(engine: &mut Engine) -> Vec<Action> {
    let is_kept = |action: &Action| matches!(action, Action::Intend { .. } | Action::Answered(_) | Action::Settled);
    std::iter::from_fn(|| engine.poll_action()).filter(|action| !is_kept(action)).collect()
}

/// The one batch among the actions.
fn batch(actions: &[Action]) -> (BatchId, bool, &[Planned]) {
    let mut sent = actions.iter().filter_map(|action| match action {
        Action::Send { id, urgent, operations } => Some((*id, *urgent, &operations[..])),
        _ => None,
    });
    let first = sent.next().unwrap();
    assert!(sent.next().is_none(), "{actions:?}");
    first
}

fn answer(engine: &mut Engine, batch: BatchId, outcomes: Vec<Outcome>, now: Duration) {
    let outcomes = Outcomes { batch, outcomes: Bounded::new(outcomes).unwrap(), apply_micros: 1 };
    engine.handle_outcomes(outcomes, now).unwrap();
}

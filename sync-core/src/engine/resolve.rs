//! Conflicts that the user has settled.

use std::collections::BTreeMap;

use sync_proto::{Name, SyncPath, limits::NAME_BYTES_MAX};

use super::{
    Engine, Keep, NotSettled, Side,
    reconcile::Choice,
    rule::{Rule, holds},
};
use crate::tree::Node;

/// What marks a version that was moved aside.
const MARK: &str = "beta";

/// A choice, and the versions that it was made of.
#[derive(Debug)]
struct Settled {
    choice: Choice,
    alpha: Node,
    beta: Node,
}

/// What the user has chosen, by path. Each holds as long as both versions are those that were shown.
#[derive(Debug, Default)]
pub(super) struct Choices(BTreeMap<SyncPath, Settled>);

impl Choices {
    pub(super) fn get(&self, path: &SyncPath, alpha: &Node, beta: &Node) -> Option<&Choice> {
        let settled = self.0.get(path)?;
        let as_shown = settled.alpha == *alpha && settled.beta == *beta;
        (as_shown || !holds(Rule::ChoiceOfVersions)).then_some(&settled.choice)
    }

    /// Whether `path` is where something was, or is to be, moved aside to.
    pub(super) fn is_aside(&self, path: &SyncPath) -> bool {
        self.0.values().any(|settled| settled.choice == Choice::Aside(path.clone()))
    }

    /// It did not work, or is done.
    pub(super) fn forget(&mut self, path: &SyncPath) {
        self.0.remove(path);
    }

    /// Forgets what was chosen of versions that are no more.
    pub(super) fn sweep<'a>(&mut self, both: impl Fn(&SyncPath) -> [Option<&'a Node>; 2]) {
        self.0.retain(|path, settled| both(path) == [Some(&settled.alpha), Some(&settled.beta)]);
    }
}

impl Engine {
    /// The user settles a conflict, as it was last reported. It is done when both sides are there, if both versions are
    /// still the same then.
    pub fn handle_resolve(&mut self, path: &SyncPath, keep: Keep) -> Result<(), NotSettled> {
        let (shown_alpha, shown_beta) = self.conflicts.get(path).ok_or(NotSettled::NoConflict)?;
        let nodes = (self.alpha_tree().and_then(|alpha| alpha.get(path)), self.known.ahead.tree.get(path));
        let (Some(alpha), Some(beta)) = nodes else { return Err(NotSettled::NoConflict) };
        if *shown_alpha != Some(alpha.entry()) || *shown_beta != Some(beta.entry()) {
            return Err(NotSettled::NoConflict);
        }
        let choice = match keep {
            Keep::Beta if !self.mode.is_two_way() => return Err(NotSettled::OneWay),
            Keep::Alpha => Choice::Keep(Side::Alpha),
            Keep::Beta => Choice::Keep(Side::Beta),
            Keep::Both => Choice::Aside(self.aside(path, beta).ok_or(NotSettled::NoName)?),
        };
        let settled = Settled { choice, alpha: alpha.clone(), beta: beta.clone() };
        self.settled.0.insert(path.clone(), settled);
        self.hot.push(path.clone());
        self.advance();
        Ok(())
    }

    /// A name beside `path` that nobody has: `notes.beta.txt`, `notes.beta-2.txt` and so on.
    fn aside(&self, path: &SyncPath, node: &Node) -> Option<SyncPath> {
        let (alpha, rules) = self.alpha.as_ref()?;
        let parent = path.parent()?;
        let name = path.components().last()?.as_bytes();
        let is_dir = node.as_dir().is_some();
        let dot = name.iter().rposition(|byte| *byte == b'.').filter(|dot| *dot > 0 && !is_dir);
        let (stem, extension) = name.split_at(dot.unwrap_or(name.len()));
        let beside = |number: u32| {
            let mark = if number == 1 { format!(".{MARK}") } else { format!(".{MARK}-{number}") };
            let room = NAME_BYTES_MAX.checked_sub(mark.len() + extension.len())?;
            let name = [stem.get(..stem.len().min(room))?, mark.as_bytes(), extension].concat();
            parent.join(Name::new(&name).ok()?).ok()
        };
        let trees = [&alpha.tree, &self.known.beta, &self.known.ahead.tree, &self.known.synced];
        let is_free = |path: &SyncPath| {
            trees.iter().all(|tree| tree.get(path).is_none())
                && !rules.is_ignored(path, is_dir)
                && !self.settled.is_aside(path)
        };
        (1..=u32::from(u8::MAX)).filter_map(beside).find(is_free)
    }
}

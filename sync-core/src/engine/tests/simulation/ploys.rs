//! What chance alone seldom finds: a few things that happen one right after another, each of which can.

use super::*;

impl World {
    /// A ploy. Whatever else is under way stays so.
    pub(super) fn ploy(&mut self) {
        let agreed: Vec<SyncPath> = walk(self.recorded.root())
            .filter(|(at, _, _)| self.recorded.get(at) == self.laptop.disk.tree.get(at))
            .map(|(at, _, _)| at)
            .collect();
        if agreed.is_empty() || self.engine.halted().is_some() {
            return;
        }
        let at = self.random.pick(&agreed).clone();
        let is_dir = self.recorded.dir(&at).is_some();
        match self.random.below(5) {
            0 if !is_dir && self.kind.foreign => self.put_back_in_doubt(&at),
            1 if is_dir && self.kind.foreign => self.put_back_a_directory(&at),
            2 => self.switch_to_and_fro(&at),
            3 => self.keep_both_and_look(),
            4 if !is_dir && self.kind.blind => self.hide_what_was_sent(&at),
            _ => {}
        }
    }

    /// Alpha's hand puts `node` there, or nothing, and alpha is looked at.
    fn put_at_alpha(&mut self, at: &SyncPath, node: Option<Node>) {
        let before = self.laptop.disk.tree.clone();
        self.say(|| format!("alpha has {node:?} at {at} now"));
        set(&mut self.laptop.disk.tree, at, node);
        self.steps += 1;
        self.laptop.disk.remember();
        self.ledger.hand(Side::Alpha, &before, &self.laptop.disk.tree);
        let view = self.laptop.seen(&self.rules);
        self.see(view, vec![at.clone()]);
        self.pump();
    }

    /// The same at beta, which is not looked at.
    fn put_at_beta(&mut self, at: &SyncPath, node: Option<Node>) {
        let before = self.agent.disk.tree.clone();
        self.say(|| format!("beta has {node:?} at {at} now"));
        set(&mut self.agent.disk.tree, at, node);
        self.steps += 1;
        self.agent.disk.remember();
        self.ledger.hand(Side::Beta, &before, &self.agent.disk.tree);
        self.excused.insert(at.clone());
    }

    fn fresh(&mut self, foreign: bool) -> Node {
        self.next_content += 1;
        hand::content(self.next_content, foreign)
    }

    fn deliver_all(&mut self) {
        for lane in [0, 1] {
            while !self.preparing[lane].is_empty() {
                self.prepare(lane);
            }
            while !self.lanes[lane].is_empty() {
                self.deliver(lane);
            }
        }
    }

    /// A file is sent, and beta gets it and changes it while nobody can say so; meanwhile alpha has again what was agreed on.
    fn put_back_in_doubt(&mut self, at: &SyncPath) {
        let agreed = self.laptop.disk.tree.get(at).cloned();
        let (sent, changed) = (self.fresh(false), self.fresh(true));
        self.put_at_alpha(at, Some(sent.clone()));
        self.deliver_all();
        self.agent.done();
        if self.agent.disk.tree.get(at) != Some(&sent) {
            return;
        }
        self.put_at_beta(at, Some(changed));
        self.cut();
        self.pump();
        self.put_at_alpha(at, agreed);
        self.agent.observe(None);
    }

    /// A directory goes, and is there again before beta has said that it had to stay.
    fn put_back_a_directory(&mut self, at: &SyncPath) {
        let Ok(inside) = at.join_path(&path("o.o")) else { return };
        if self.agent.disk.tree.dir(at).is_none() {
            return;
        }
        let agreed = self.laptop.disk.tree.get(at).cloned();
        let ignored = self.fresh(true);
        self.put_at_beta(&inside, Some(ignored));
        self.put_at_alpha(at, None);
        self.put_at_alpha(at, agreed);
        self.deliver_all();
        self.agent.observe(Some(at));
    }

    /// To another branch, back, and there again, faster than beta answers; and beta is looked at in the middle of it.
    fn switch_to_and_fro(&mut self, at: &SyncPath) {
        let agreed = self.laptop.disk.tree.get(at).cloned();
        let other = self.random.one_in(2).then(|| self.fresh(false));
        let last = self.random.one_in(2).then(|| self.fresh(false));
        for node in [other, agreed, last] {
            self.put_at_alpha(at, node);
        }
        for _ in 0..2 {
            self.prepare(0);
        }
        self.deliver(0);
        self.agent.observe(Some(at));
        for _ in 0..4 {
            self.hear();
            self.pump();
        }
    }

    /// Both versions of a conflict are kept, and beta's is seen where it goes before beta has answered.
    fn keep_both_and_look(&mut self) {
        let Some(at) = self.engine.conflicts().map(|(at, _, _)| at.clone()).next() else { return };
        self.settle(&at, Keep::Both);
        self.pump();
        self.deliver_all();
        self.agent.observe(None);
        for _ in 0..4 {
            self.hear();
            self.pump();
        }
    }

    /// What was sent arrives, nobody says so, and then beta can't look at it.
    fn hide_what_was_sent(&mut self, at: &SyncPath) {
        let sent = self.fresh(false);
        self.put_at_alpha(at, Some(sent.clone()));
        self.deliver_all();
        self.agent.done();
        if self.agent.disk.tree.get(at) != Some(&sent) || !self.agent.problems.is_empty() {
            return;
        }
        self.cut();
        self.pump();
        self.agent.problems.insert(at.clone(), problem(at, ProblemKind::Denied));
        self.agent.observe(None);
        self.connect();
        self.pump();
    }
}

fn set(tree: &mut Tree, at: &SyncPath, node: Option<Node>) {
    match node {
        // Where the directory for it has gone, it can't be put.
        Some(node) => drop(tree.insert(at, node, None)),
        None => drop(tree.remove(at)),
    }
}

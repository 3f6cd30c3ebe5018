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
        match self.random.below(11) {
            0 if !is_dir && self.kind.foreign => self.put_back_in_doubt(&at),
            1 if is_dir && self.kind.foreign => self.put_back_a_directory(&at),
            2 => self.switch_to_and_fro(&at),
            3 => self.keep_both_and_look(&at),
            4 if !is_dir && self.kind.blind => self.hide_what_was_sent(&at),
            5 => self.move_to_and_fro(&at),
            6 if self.kind.foreign => self.answer_late(),
            7 if self.kind.foreign => self.change_what_was_chosen(&at),
            8 if self.kind.foreign && self.kind.mode.is_two_way() => self.remove_around_what_comes(&at),
            9 if self.kind.crashes => self.lose_the_replica(),
            10 if !is_dir => self.remove_late(&at),
            _ => {}
        }
    }

    /// Alpha's hand puts `node` there, or nothing, and alpha is looked at.
    fn put_at_alpha(&mut self, at: &SyncPath, node: Option<Node>) {
        let before = self.laptop.disk.tree.clone();
        self.say(|| format!("alpha has {node:?} at {at} now"));
        set(&mut self.laptop.disk.tree, at, node);
        self.note_alpha(&before, vec![at.clone()]);
    }

    fn note_alpha(&mut self, before: &Tree, hot: Vec<SyncPath>) {
        self.steps += 1;
        self.laptop.disk.remember();
        self.ledger.hand(Side::Alpha, before, &self.laptop.disk.tree);
        let view = self.laptop.seen(&self.rules);
        self.see(view, hot);
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

    /// A conflict: one that there is, or one at a file that both sides change.
    fn any_conflict(&mut self, at: &SyncPath) -> Option<SyncPath> {
        let any = |world: &Self| world.engine.conflicts().map(|(at, _, _)| at.clone()).next();
        let is_file = self.recorded.get(at).is_some_and(|node| node.as_dir().is_none());
        if any(self).is_none() && is_file && self.kind.foreign {
            let (here, there) = (self.fresh(false), self.fresh(true));
            self.put_at_beta(at, Some(there));
            self.put_at_alpha(at, Some(here));
            self.deliver_all();
            self.agent.done();
            self.agent.observe(None);
            self.hear_much();
        }
        any(self)
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

    /// A directory goes, and is there again before beta has said that it had to stay. What is sent anew fails.
    fn put_back_a_directory(&mut self, at: &SyncPath) {
        let Ok(inside) = at.join_path(&path("o.o")) else { return };
        if self.agent.disk.tree.dir(at).is_none() {
            return;
        }
        let agreed = self.laptop.disk.tree.get(at).cloned();
        let ignored = self.fresh(true);
        self.put_at_beta(&inside, Some(ignored));
        self.put_at_alpha(at, None);
        let faults = self.agent.disk.faults;
        self.deliver_all();
        self.put_at_alpha(at, agreed);
        self.agent.disk.faults = if self.random.one_in(2) { 1 } else { faults };
        self.deliver_all();
        self.agent.done();
        self.agent.disk.faults = faults;
        self.agent.observe(Some(at));
    }

    /// Something is moved, and back, and then something else is done, faster than beta answers; and beta is looked at where it went.
    fn move_to_and_fro(&mut self, at: &SyncPath) {
        let to = path("to");
        let Some(node) = self.laptop.disk.tree.get(at).cloned() else { return };
        if self.laptop.disk.tree.get(&to).is_some() {
            return;
        }
        for (from, to) in [(at, &to), (&to, at)] {
            let before = self.laptop.disk.tree.clone();
            self.laptop.disk.tree.remove(from);
            set(&mut self.laptop.disk.tree, to, Some(node.clone()));
            self.note_alpha(&before, vec![from.clone(), to.clone()]);
        }
        let last = self.fresh(false);
        self.put_at_alpha(&path("last"), Some(last));
        while !self.preparing[0].is_empty() {
            self.prepare(0);
        }
        self.deliver(0);
        self.agent.observe(Some(&to));
        self.hear_much();
        self.deliver_all();
        self.hear_much();
    }

    /// Beta is asked whether a file is gone; before it has answered alpha has changed it, and when that has come it is deleted.
    fn answer_late(&mut self) {
        let tree = &self.laptop.disk.tree;
        let is_file = |at: &&SyncPath| tree.get(at).is_some_and(|node| node.as_dir().is_none());
        let Some(at) = self.engine.described.asked.values().flatten().find(is_file).cloned() else { return };
        let changed = self.fresh(false);
        self.put_at_alpha(&at, Some(changed));
        self.deliver_all();
        self.agent.done();
        self.hear_much();
        if self.agent.disk.tree.get(&at).is_some() {
            self.put_at_beta(&at, None);
            self.agent.observe(None);
            self.hear_much();
        }
    }

    /// A conflict is settled, and beta's version is another one by the time that it is overwritten.
    fn change_what_was_chosen(&mut self, at: &SyncPath) {
        let Some(at) = self.any_conflict(at) else { return };
        let is_file = |tree: &Tree| tree.get(&at).is_some_and(|node| node.as_dir().is_none());
        if !is_file(&self.agent.disk.tree) || !is_file(&self.laptop.disk.tree) {
            return;
        }
        self.settle(&at, Keep::Alpha);
        self.pump();
        let changed = self.fresh(true);
        self.put_at_beta(&at, Some(changed));
        for _ in 0..2 {
            self.deliver_all();
            self.agent.done();
            self.agent.observe(None);
            self.hear_much();
        }
    }

    /// A file comes from beta while alpha removes or replaces the directory that it is for.
    fn remove_around_what_comes(&mut self, at: &SyncPath) {
        let Some(above) = at.parent().filter(|above| !above.is_root()) else { return };
        if self.agent.disk.tree.dir(&above).is_none() {
            return;
        }
        let changed = self.fresh(true);
        self.put_at_beta(at, Some(changed));
        self.agent.observe(None);
        self.hear_much();
        let instead = self.random.one_in(2).then(|| self.fresh(false));
        self.put_at_alpha(&above, instead);
    }

    /// What comes from beta is still under way when beta is another replica.
    fn lose_the_replica(&mut self) {
        if self.laptop.taken.is_empty() {
            return;
        }
        self.fetch();
        self.lose_beta();
        self.connect();
        self.pump();
        self.do_at_alpha();
        self.answer_at_alpha();
    }

    /// A removal is done at beta long after the link has been lost on which it was sent, and alpha has had the file again since.
    fn remove_late(&mut self, at: &SyncPath) {
        let agreed = self.laptop.disk.tree.get(at).cloned();
        if self.agent.disk.tree.get(at) != agreed.as_ref() {
            return;
        }
        self.put_at_alpha(at, None);
        while !self.preparing[0].is_empty() {
            self.prepare(0);
        }
        self.cut();
        self.pump();
        self.put_at_alpha(at, agreed);
        self.connect();
        for _ in 0..3 {
            self.pump();
            self.deliver_all();
            self.hear_much();
        }
        while !self.stale.is_empty() {
            self.stale();
        }
        self.agent.done();
        self.agent.observe(None);
        self.hear_much();
        self.deliver_all();
        self.hear_much();
    }

    fn hear_much(&mut self) {
        for _ in 0..8 {
            self.hear();
            self.pump();
        }
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
        self.hear_much();
    }

    /// Both versions of a conflict are kept, and beta's is seen where it goes before beta has answered.
    fn keep_both_and_look(&mut self, at: &SyncPath) {
        let Some(at) = self.any_conflict(at) else { return };
        self.settle(&at, Keep::Both);
        self.pump();
        let sent = self.preparing.iter().flatten().flat_map(|(_, operations)| operations);
        let aside = sent.filter_map(|operation| match operation {
            Planned::Move { from, to, .. } if *from == at => Some(to.clone()),
            _ => None,
        });
        let Some(aside) = aside.max() else { return };
        self.deliver_all();
        self.agent.observe(Some(&aside));
        self.hear_much();
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
        self.hidden.insert(at.clone());
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

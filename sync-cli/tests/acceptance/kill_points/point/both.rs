//! A kill in two ways: a hand on each side, and a ledger of what they wrote.

use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use super::super::super::lab::{Hand, Lab, Ledger, PATIENCE, Witness, body, differences, executable};
use super::super::super::two_way::{resolve, settle_but_conflicts};
use super::{LARGE_BYTES, Phase, Point, Sides, Verdict, stage_is_empty_in};

type Step = fn(&Hand, &Hand);

/// `directories` × 4 files of their own content: `NAME/sub<n>/f<m>`.
fn grow(hand: &Hand, name: &str, directories: u64, seed: u64) {
    assert!(hand.make_dir(name));
    for directory in 0..directories {
        assert!(hand.make_dir(&format!("{name}/sub{directory}")));
        for file in 0..4 {
            let content = body(seed + 10 * directory + file, 300 + 700 * file as usize);
            assert!(hand.save_beside(&format!("{name}/sub{directory}/f{file}"), &content));
        }
    }
}

/// One deed of each hand at a time: what one of them made the other one changes.
const SAVES: [Step; 8] = [
    |alpha, beta| {
        alpha.save_beside("d0/sub0/f0", &body(1_000, 3_000));
        beta.save_beside("d1/sub0/f1", &body(1_001, 5_000));
    },
    |alpha, beta| {
        alpha.save_beside("new-alpha", &body(1_002, 2_000));
        beta.save_beside("new-beta", &body(1_003, 2_000));
    },
    |alpha, beta| {
        executable(&beta.root.join("d1/sub1/f2"), true);
        symlink("d1/sub0/f1", beta.root.join("link")).unwrap();
        executable(&alpha.root.join("d0/sub1/f2"), true);
    },
    |alpha, beta| {
        beta.rename("d1/sub0/f2", "d1/sub1/moved-at-beta");
        alpha.rename("d0/sub0/f2", "d0/sub1/moved-at-alpha");
    },
    |alpha, beta| {
        beta.remove("d0/sub0/f3");
        alpha.remove("d1/sub0/f3");
    },
    |alpha, beta| {
        assert!(beta.make_dir("made") && beta.make_dir("made/deep"));
        beta.save_beside("made/deep/file", &body(1_004, 1_000));
        alpha.save_beside("new-beta", &body(1_005, 3_000));
    },
    |alpha, beta| {
        beta.rename("d1/sub1", "made/moved");
        alpha.save_beside("d0/sub1/f0", &body(1_006, 1_000));
    },
    |alpha, beta| {
        beta.remove("d0/sub1");
        beta.save_beside("new-alpha", &body(1_007, 2_500));
        alpha.remove("made/deep");
    },
];

/// Much at once, on both sides.
const BULK: [Step; 3] = [
    |alpha, beta| {
        grow(beta, "bulk-beta", 4, 2_000);
        grow(alpha, "bulk-alpha", 4, 3_000);
        beta.save_beside("large-beta", &body(2_900, LARGE_BYTES));
    },
    |alpha, beta| {
        for file in 0..16 {
            let at = |name: &str| format!("{name}/sub{}/f{}", file % 4, file / 4);
            beta.save_beside(&at("bulk-alpha"), &body(4_000 + file, 3_000));
            alpha.save_beside(&at("bulk-beta"), &body(5_000 + file, 3_000));
        }
        alpha.save_beside("large-beta", &body(5_900, LARGE_BYTES));
    },
    |alpha, beta| {
        beta.remove("bulk-alpha/sub1");
        beta.rename("bulk-alpha/sub2", "bulk-moved");
        alpha.remove("bulk-beta/sub3");
        beta.save_beside("large-beta", &body(6_900, LARGE_BYTES + 1));
    },
];

impl Point {
    /// All comes to be equal again but for listed conflicts, and no content is lost, whoever died.
    pub(super) fn run_both(self) -> Verdict {
        let lab = Lab::new();
        let ledger = Ledger::new(lab.base());
        let (alpha, beta) = (ledger.hand(&lab.source), ledger.hand(&lab.target));
        grow(&alpha, "d0", 2, 100);
        grow(&alpha, "d1", 2, 200);
        grow(&alpha, "d2", 1, 300);
        if self.phase == Phase::Start {
            grow(&beta, "b0", 3, 400);
            alpha.save_beside("large-alpha", &body(500, LARGE_BYTES));
            beta.save_beside("large-beta", &body(501, LARGE_BYTES));
        }
        let witnesses = [&lab.source, &lab.target].map(|root| Witness::start(root));
        let mut sides = self.start(&lab);
        let steps: &[Step] = match self.phase {
            Phase::Start => &[|_, _| {}],
            Phase::Saves => &SAVES,
            Phase::Bulk => &BULK,
        };
        for step in steps {
            if sides.is_dead(self.side) {
                break;
            }
            step(&alpha, &beta);
            self.carried_over(&lab, &mut sides);
        }
        let killed = sides.die(self.side);
        // Life goes on while one is dead, where something was under way too.
        for (number, hand) in [(0, &alpha), (1, &beta)] {
            hand.save_beside(&format!("d2/sub0/f{number}"), &body(900 + number, 4_000));
            hand.save_beside(&format!("d0/sub0/f{}", 1 - number), &body(910 + number, 3_000));
        }
        sides.again(&lab, self.side);
        if sides.watch.is_none() {
            sides.watch = Some(lab.watch(sides.agent.as_ref().unwrap()));
        }
        let conflicts = settle_but_conflicts(&lab);
        for witness in witnesses {
            assert_eq!(witness.finish().partial, [""; 0], "{self:?}: partial files were visible");
        }
        let lost = ledger.lost(&[&lab.source, &lab.target]);
        assert!(
            lost.is_empty(),
            "{self:?}, {conflicts:?}: of {} contents these are nowhere: {lost:#?}",
            ledger.count()
        );
        if !conflicts.is_empty() {
            assert_eq!(resolve(&lab, ".", "beta").code, Some(0));
        }
        lab.settle();
        lab.assert_equal();
        [&lab.source, &lab.target].into_iter().for_each(|root| stage_is_empty_in(root));
        match (killed, conflicts.is_empty()) {
            (false, _) => Verdict::NotReached,
            (true, true) => Verdict::Converged,
            (true, false) => Verdict::Listed,
        }
    }

    /// Waits until both sides are equal, or the victim is dead.
    fn carried_over(self, lab: &Lab, sides: &mut Sides) {
        let deadline = Instant::now() + PATIENCE;
        while !sides.is_dead(self.side) {
            let different = differences(&lab.source, &lab.target, &[]);
            if different.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "{self:?}: nobody was killed, and there remains {different:?}");
            std::thread::sleep(Duration::from_millis(3));
        }
    }
}

//! One kill: the workload, the death, the new start, the judgement.

mod both;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::super::lab::{
    Agent, Finished, Lab, PATIENCE, Watch, Witness, body, differences, executable, plant, run, save_beside,
    save_in_place, until, wrapped,
};

/// Who dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Agent,
    Controller,
}

/// What is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The process starts, and the first sync is made.
    Start,
    /// One change after the other.
    Saves,
    /// Many changes at once, and large files.
    Bulk,
}

/// Whose changes are carried over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ways {
    /// The source's.
    One,
    /// Those of both sides.
    Both,
}

/// Where somebody dies: entering the `when`-th of these calls that any of its threads makes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Point {
    pub(super) ways: Ways,
    pub(super) side: Side,
    pub(super) phase: Phase,
    pub(super) calls: &'static str,
    pub(super) when: u32,
}

/// Larger than what travels in a batch: it has a stream of its own.
const LARGE_BYTES: usize = 2_300_000;

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The workload went through, and there was nobody to kill.
    NotReached,
    /// All came to be equal by itself.
    Converged,
    /// Nothing was lost; something was listed for the person to decide.
    Listed,
}

impl Point {
    pub(super) fn run(self) -> Verdict {
        match self.ways {
            Ways::One => self.run_one(),
            Ways::Both => self.run_both(),
        }
    }

    fn run_one(self) -> Verdict {
        let lab = Lab::new();
        plant(&lab.source, 4, 4);
        if self.phase == Phase::Start {
            fs::write(lab.source.join("large.bin"), body(4, LARGE_BYTES)).unwrap();
        }
        let witness = Witness::start(&lab.target);
        let mut sides = self.start(&lab);
        self.work(&lab, &mut sides);
        let killed = sides.die(self.side);
        sides.again(&lab, self.side);
        // Life goes on, also for what was under way.
        save_beside(&lab.source.join("d3/sub/f3.rs"), &body(900, 4_000));
        let listed = match self.side {
            Side::Agent => {
                lab.settle();
                false
            }
            Side::Controller => self.settle_after_controller(&lab, &mut sides),
        };
        let partial = witness.finish().partial;
        assert_eq!(partial, [""; 0], "{self:?}: partial files were visible");
        lab.assert_equal();
        stage_is_empty(&lab);
        match (killed, listed) {
            (false, _) => Verdict::NotReached,
            (true, false) => Verdict::Converged,
            (true, true) => Verdict::Listed,
        }
    }

    fn tracer(self) -> Vec<String> {
        let calls = self.calls;
        let inject = format!("inject={calls}:signal=KILL:when={}", self.when);
        ["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={calls}"), "-e", &inject].map(str::to_owned).to_vec()
    }

    /// `command`, traced from its first call on; the tracer is not its parent, so that it stays the child it was.
    fn traced(self, command: &Command) -> Command {
        let mut arguments = vec!["-D".to_owned()];
        arguments.extend(self.tracer());
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        wrapped("strace", &arguments, command)
    }

    fn start(self, lab: &Lab) -> Sides {
        let from_the_start = |side| self.phase == Phase::Start && self.side == side;
        let command = lab.agent_command(0);
        let agent = if from_the_start(Side::Agent) {
            Agent::start_unless_it_ends(self.traced(&command))
        } else {
            Some(Agent::start(command))
        };
        let port = agent.as_ref().map(|agent| agent.port);
        let watch = port.map(|port| {
            let command = lab.command("watch", port);
            Watch::start(if from_the_start(Side::Controller) { self.traced(&command) } else { command })
        });
        let mut sides = Sides { agent, watch, tracer: None };
        if self.phase != Phase::Start {
            lab.settle();
            sides.watch.as_ref().unwrap().wait_for("ready");
            sides.tracer = Some(attach(&self.tracer(), sides.pid(self.side)));
        }
        sides
    }

    /// The workload, until it is done or its victim is dead.
    fn work(self, lab: &Lab, sides: &mut Sides) {
        let at = |path: &str| lab.source.join(path);
        let steps: Vec<Box<dyn Fn() + '_>> = match self.phase {
            Phase::Start => vec![Box::new(|| {})],
            Phase::Saves => vec![
                Box::new(|| save_in_place(&at("d0/sub/f0.rs"), &body(100, 3_000))),
                Box::new(|| save_beside(&at("d1/sub/f1.rs"), &body(101, 5_000))),
                Box::new(|| fs::write(at("new"), body(102, 2_000)).unwrap()),
                Box::new(|| executable(&at("d2/sub/f2.rs"), true)),
                Box::new(|| symlink("d1/sub/f1.rs", at("link")).unwrap()),
                Box::new(|| fs::rename(at("d1/sub/f2.rs"), at("d2/renamed")).unwrap()),
                Box::new(|| fs::remove_file(at("d1/sub/f3.rs")).unwrap()),
                Box::new(|| fs::create_dir_all(at("made/deep")).unwrap()),
                Box::new(|| fs::write(at("made/deep/file"), body(103, 1_000)).unwrap()),
                Box::new(|| fs::rename(at("d2"), at("made/moved")).unwrap()),
                Box::new(|| fs::remove_dir_all(at("d0")).unwrap()),
                Box::new(|| save_in_place(&at("new"), &body(104, 2_500))),
            ],
            Phase::Bulk => vec![
                Box::new(|| {
                    // Whole at once: what is listed while it is written may be read half written, as anywhere.
                    plant(&lab.base().join("bulk"), 4, 8);
                    fs::rename(lab.base().join("bulk"), at("bulk")).unwrap();
                }),
                Box::new(|| {
                    for file in 0..16 {
                        save_in_place(
                            &at(&format!("bulk/d{}/sub/f{}.rs", file % 4, file / 4)),
                            &body(200 + file, 3_000),
                        );
                    }
                    save_beside(&at("large.bin"), &body(5, LARGE_BYTES));
                }),
                Box::new(|| {
                    fs::remove_dir_all(at("bulk/d1")).unwrap();
                    fs::rename(at("bulk/d2"), at("bulk-moved")).unwrap();
                    fs::write(lab.base().join("large"), body(6, LARGE_BYTES)).unwrap();
                    fs::rename(lab.base().join("large"), at("large.bin")).unwrap();
                }),
            ],
        };
        for step in steps {
            step();
            let deadline = Instant::now() + PATIENCE;
            while !sides.is_dead(self.side) && !differences(&lab.source, &lab.target, &[]).is_empty() {
                assert!(Instant::now() < deadline, "{self:?}: nobody was killed, and it does not converge");
                std::thread::sleep(Duration::from_millis(3));
            }
        }
    }

    /// The next controller knows what the dead one had sent, all but the last moment. What it can't know of is a conflict at
    /// worst where it was edited since, and stays at worst where it was deleted since; a mode in which alpha wins settles
    /// both. Whether that was needed.
    fn settle_after_controller(self, lab: &Lab, sides: &mut Sides) -> bool {
        drop(sides.watch.take());
        let port = sides.agent.as_ref().unwrap().port;
        let pushed = run(lab.command("push", port), PATIENCE);
        let listed = listed_conflicts(&pushed);
        let listed: Vec<&str> = listed.iter().map(String::as_str).collect();
        assert_eq!(pushed.code, Some(i32::from(!listed.is_empty())), "{self:?}: {pushed:?}");
        let mut others = differences(&lab.source, &lab.target, &listed);
        let stay = others.len();
        others.retain(|difference| !difference.ends_with("at the target only"));
        assert_eq!(others, [""; 0], "{self:?}: {pushed:?}");
        let needed = !listed.is_empty() || stay > 0;
        if needed {
            let mut settling = lab.command("push", port);
            settling.args(["--mode", "one-way-replica"]);
            let settled = run(settling, PATIENCE);
            assert_eq!(settled.code, Some(0), "{self:?}: {settled:?}");
        }
        needed
    }
}

fn listed_conflicts(pushed: &Finished) -> Vec<String> {
    let events = pushed.stdout.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let conflicts = events.filter(|event| event["event"] == "conflict");
    conflicts.filter_map(|event| Some(event["path"].as_str()?.to_owned())).collect()
}

/// Both sides, each as long as it lives, and who watches one of them.
struct Sides {
    agent: Option<Agent>,
    watch: Option<Watch>,
    tracer: Option<Child>,
}

impl Sides {
    fn pid(&self, side: Side) -> u32 {
        match side {
            Side::Agent => self.agent.as_ref().unwrap().pid(),
            Side::Controller => self.watch.as_ref().unwrap().pid(),
        }
    }

    fn is_dead(&mut self, side: Side) -> bool {
        match side {
            Side::Agent => self.agent.as_mut().is_none_or(Agent::has_ended),
            Side::Controller => self.watch.as_mut().is_none_or(Watch::has_ended),
        }
    }

    /// It is dead from here on. Whether it was before.
    fn die(&mut self, side: Side) -> bool {
        let was = self.is_dead(side);
        // The tracer first: it would hold a process that ends.
        if let Some(mut tracer) = self.tracer.take() {
            let _ = tracer.kill();
            let _ = tracer.wait();
        }
        was
    }

    fn again(&mut self, lab: &Lab, side: Side) {
        if side == Side::Agent {
            let port = self.agent.take().map(Agent::kill);
            self.agent = Some(lab.agent_on(port.unwrap_or_default()));
            if self.watch.is_none() {
                self.watch = Some(lab.watch(self.agent.as_ref().unwrap()));
            }
        } else {
            drop(self.watch.take());
        }
    }
}

impl Drop for Sides {
    fn drop(&mut self) {
        if let Some(mut tracer) = self.tracer.take() {
            let _ = tracer.kill();
            let _ = tracer.wait();
        }
    }
}

/// A tracer of all threads of a running process, when it has them all.
fn attach(arguments: &[String], pid: u32) -> Child {
    let mut command = Command::new("strace");
    command.args(arguments).args(["-p", &pid.to_string()]);
    let tracer = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("every thread is traced", || {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        let mut statuses =
            threads.map(|thread| fs::read_to_string(thread.unwrap().path().join("status")).unwrap_or_default());
        statuses.all(|status| !status.contains("TracerPid:\t0\n"))
    });
    tracer
}

/// What a crash left in the stage is gone. The agent that runs has a directory of its own there, with nothing in it.
pub(in super::super) fn stage_is_empty(lab: &Lab) {
    stage_is_empty_in(&lab.target);
}

fn stage_is_empty_in(root: &Path) {
    let stage = root.join(".synctl/stage");
    let entries = |path: &Path| fs::read_dir(path).map_or(Vec::new(), |entries| entries.flatten().collect());
    until("the stage is empty", || {
        let runs = entries(&stage);
        runs.len() <= 1 && runs.iter().all(|run| entries(&run.path()).is_empty())
    });
}

//! The bystander: an honest session of the agent that is attacked, which saves all the time and measures how long it takes;
//! and the memory of whoever is attacked.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::super::lab::{Agent, Lab, Watch, plant, until};
use super::GROWTH_BYTES_MAX;

/// Longest that a save of the bystander may take, on a machine that others load too.
const SAVE_TIME_MAX: Duration = Duration::from_secs(5);
/// Fewest saves that it makes beside an attack.
const SAVES_MIN: usize = 5;
const PAUSE: Duration = Duration::from_millis(20);

/// An agent that serves two roots: the target of an honest session, and one for the attacker.
pub(super) struct Scene {
    pub(super) lab: Lab,
    pub(super) agent: Agent,
    /// The root that is attacked.
    pub(super) prey: PathBuf,
    /// Beside the roots: nobody may change or read it.
    pub(super) outside: PathBuf,
    watch: Watch,
    memory: Memory,
    saver: Option<Saver>,
}

/// Saves until told to stop.
struct Saver {
    stop: Arc<AtomicBool>,
    saved: Arc<AtomicUsize>,
    thread: JoinHandle<Vec<Duration>>,
}

impl Scene {
    pub(super) fn new() -> Self {
        let lab = Lab::new();
        plant(&lab.source, 2, 5);
        let (prey, outside) = (lab.base().join("prey"), lab.base().join("outside"));
        fs::create_dir(&prey).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("canary"), "canary").unwrap();
        let agent = lab.agent_of(&[&lab.target, &prey]);
        let watch = lab.watch(&agent);
        let memory = Memory::of(agent.pid());
        let saver = Some(Saver::start(&lab));
        Self { lab, agent, prey, outside, watch, memory, saver }
    }

    pub(super) fn port(&self) -> u16 {
        self.agent.port
    }

    /// Fails where the agent has grown beyond what one attack may make it grow; begins to count anew.
    pub(super) fn check_memory(&mut self, attack: &str) {
        let grown = self.memory.grown();
        eprintln!("{attack}: grew by {} MiB", grown >> 20);
        assert!(grown <= GROWTH_BYTES_MAX, "{attack}: the agent grew by {} MiB", grown >> 20);
        self.memory = Memory::of(self.agent.pid());
    }

    /// The bystander never noticed, the agent is whole, and its log names each of `faults`.
    pub(super) fn finish(mut self, faults: &[&str]) {
        let latencies = self.saver.take().unwrap().finish(SAVES_MIN);
        let longest = latencies.iter().max().copied().unwrap_or_default();
        eprintln!("{} saves of the bystander, the longest took {longest:?}", latencies.len());
        assert!(longest <= SAVE_TIME_MAX, "a save of the bystander took {longest:?}");
        let lost = self.watch.events().into_iter().find(|event| event["event"] == "disconnected");
        assert_eq!(lost, None, "the bystander was disconnected");
        self.lab.settle();
        let (finished, _) = self.watch.interrupt(Duration::from_secs(10));
        assert_eq!(finished.code, Some(0), "{finished:?}");
        assert_eq!(listing(&self.outside), ["canary"], "something outside was touched");
        assert_eq!(fs::read(self.outside.join("canary")).unwrap(), b"canary");
        let (code, log) = self.agent.terminate(Duration::from_secs(10));
        assert_eq!(code, Some(0), "{log}");
        assert!(!log.contains("panicked"), "{log}");
        for fault in faults {
            assert!(log.contains(fault), "the log does not name `{fault}`:\n{log}");
        }
    }
}

impl Saver {
    fn start(lab: &Lab) -> Self {
        let (from, to) = (lab.source.join("beat"), lab.target.join("beat"));
        let stop = Arc::new(AtomicBool::new(false));
        let saved = Arc::new(AtomicUsize::new(0));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&saved));
        let thread = std::thread::spawn(move || {
            let mut latencies = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let content = format!("beat {}", latencies.len());
                let begun = Instant::now();
                fs::write(&from, &content).unwrap();
                while !fs::read(&to).is_ok_and(|found| found == content.as_bytes()) {
                    if begun.elapsed() > 2 * SAVE_TIME_MAX {
                        break;
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
                latencies.push(begun.elapsed());
                count.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(PAUSE);
            }
            latencies
        });
        Self { stop, saved, thread }
    }

    /// What each of the saves took, of which there are so many at least.
    fn finish(self, saves: usize) -> Vec<Duration> {
        until("the bystander saves", || self.saved.load(Ordering::Relaxed) >= saves);
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// The names in a directory, in order.
pub(super) fn listing(path: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// How much memory a process has taken at most since now.
pub(super) struct Memory {
    pid: u32,
    before: u64,
}

impl Memory {
    pub(super) fn of(pid: u32) -> Self {
        // The high water mark falls to what is taken now.
        fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
        Self { pid, before: peak(pid) }
    }

    /// By how many bytes it has grown at most.
    pub(super) fn grown(&self) -> u64 {
        peak(self.pid).saturating_sub(self.before)
    }
}

fn peak(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    1024 * line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
}

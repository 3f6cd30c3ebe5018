//! Faults 2, 14, 31, 34: where the system gives no watch, no event, no listing, no descriptor. Said once, found by
//! looking, and never taken for a deletion.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};

use super::lab::{
    Agent, Lab, PATIENCE, Watch, after, body, plant, run, save_beside, save_in_place, skipped, until, works, wrapped,
};

/// `command`, allowed this many inotify watches: the limit is the namespace's, so nobody else feels it.
fn with_watches(command: &Command, watches: usize) -> Command {
    wrapped("unshare", &["-Ur"], &after(&format!("echo {watches} > /proc/sys/user/max_inotify_watches"), command))
}

/// The kernel gives watches for some directories only. It is said once with what to raise; the others are polled.
#[test]
fn fault_02_watch_limit() {
    let lab = Lab::new();
    if !works("unshare", &["-Ur", "sh", "-c", "echo 5 > /proc/sys/user/max_inotify_watches"]) {
        return skipped("fault_02_watch_limit: a limit of one's own is not permitted here");
    }
    plant(&lab.source, 20, 3);
    let agent = lab.agent();
    let watch = Watch::start(with_watches(&lab.command("watch", agent.port), 12));
    watch.wait_for("ready");
    let told = watch.wait_for("warning");
    let message = told["message"].as_str().unwrap_or_default();
    assert!(message.contains("fs.inotify.max_user_watches") && message.contains("polled"), "{told}");
    // Every directory is followed, by an event or by a look; those by an event at once.
    let saves: Vec<_> = (0..20).map(|d| (format!("d{d}/sub/f1.rs"), body(500 + d, 2_000))).collect();
    for (path, content) in &saves {
        save_in_place(&lab.source.join(path), content);
    }
    let arrived =
        |(path, content): &&(String, Vec<u8>)| fs::read(lab.target.join(path)).is_ok_and(|found| found == *content);
    // Less than the two seconds from poll to poll.
    std::thread::sleep(Duration::from_millis(400));
    let at_once = saves.iter().filter(arrived).count();
    for (path, content) in &saves {
        lab.arrives(path, content);
    }
    assert!(at_once >= 3, "{at_once} directories of 20 are watched: the limit left room for more");
    fs::create_dir_all(lab.source.join("made/later")).unwrap();
    fs::write(lab.source.join("made/later/file"), b"no watch is left for it").unwrap();
    fs::remove_file(lab.source.join("d19/sub/f2.rs")).unwrap();
    lab.settle();
    let warnings = watch.events().iter().filter(|event| event["event"] == "warning").count();
    assert_eq!(warnings, 1, "said once");
    drop(agent);
}

/// Writes into a mapping of a file, and keeps it mapped: the kernel tells of the file only when it is mapped no more.
const WRITE_BY_MAPPING: &str = "
import mmap, sys
with open(sys.argv[1], 'r+b') as file:
    mapping = mmap.mmap(file.fileno(), 0)
mapping[100:107] = b'MAPPING'
mapping.flush()
print('written', flush=True)
sys.stdin.read()
";

/// A process that has a file mapped, as long as this lives.
struct Mapping(Child);

impl Mapping {
    fn write(path: &Path) -> Option<Self> {
        if !works("python3", &["-c", "import mmap"]) {
            skipped("a write through a mapping: python3 is not installed");
            return None;
        }
        let mut command = Command::new("python3");
        command.args(["-c", WRITE_BY_MAPPING]).arg(path).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut mapping = Self(command.spawn().unwrap());
        let mut said = [0; 8];
        mapping.0.stdout.take().unwrap().read_exact(&mut said).unwrap();
        assert!(fs::read(path).unwrap()[100..].starts_with(b"MAPPING"));
        Some(mapping)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // Either fails only where it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Found by the next look at everything: the one that follows an overflow of the queue, and the one of a start; or by the
/// event that comes when it is mapped no more.
#[test]
fn fault_14_write_through_a_mapping() {
    let lab = Lab::new();
    plant(&lab.source, 2, 3);
    let agent = lab.agent();
    let watch = lab.watch(&agent);
    let (ended, kept, before) = ("d0/sub/f0.rs", "d0/sub/f1.rs", "d1/sub/f0.rs");
    let Some(mapping) = Mapping::write(&lab.source.join(ended)) else { return };
    std::thread::sleep(Duration::from_millis(300));
    assert_ne!(
        fs::read(lab.target.join(ended)).unwrap(),
        fs::read(lab.source.join(ended)).unwrap(),
        "an event told of it"
    );
    drop(mapping);
    lab.settle();
    let mapping = Mapping::write(&lab.source.join(kept));
    if super::storms::overflow(&lab, &watch) {
        lab.settle();
    }
    watch.interrupt(PATIENCE);
    let other = Mapping::write(&lab.source.join(before));
    let pushed = lab.push(&agent);
    assert_eq!(pushed.code, Some(0), "{pushed:?}");
    lab.assert_equal();
    drop((mapping, other));
}

/// Without anything else that makes it look: the stated bound is ten minutes, so this takes as long.
#[test]
#[ignore = "takes ten minutes"]
fn fault_14_write_through_a_mapping_within_ten_minutes() {
    let lab = Lab::new();
    plant(&lab.source, 2, 3);
    let agent = lab.agent();
    let watch = lab.watch(&agent);
    let path = lab.source.join("d0/sub/f1.rs");
    let Some(mapping) = Mapping::write(&path) else { return };
    let (content, written) = (fs::read(&path).unwrap(), Instant::now());
    while fs::read(lab.target.join("d0/sub/f1.rs")).unwrap() != content {
        assert!(written.elapsed() < Duration::from_secs(640), "a write through a mapping was not found");
        std::thread::sleep(Duration::from_secs(1));
    }
    println!("found after {} s", written.elapsed().as_secs());
    drop((watch, agent, mapping));
}

/// The scan of a start fails to list directories, one after the other: what was in them is unknown, not gone.
#[test]
fn fault_31_errors_within_a_scan() {
    if !works("strace", &["-o", "/dev/null", "true"]) {
        return skipped("fault_31_errors_within_a_scan: strace is not installed, or may not trace");
    }
    let lab = Lab::new();
    plant(&lab.source, 6, 4);
    let agent = lab.agent();
    assert_eq!(lab.push(&agent).code, Some(0));
    let mut told = 0;
    for (when, error) in [("2..3", "EIO"), ("4..6", "EACCES"), ("7+", "EIO"), ("3", "ENOMEM"), ("1+", "EIO")] {
        // Gone indeed, and possibly in a directory that can't be listed: it may go or stay, and nothing else goes.
        fs::write(lab.source.join("d3/sub/goes"), b"x").unwrap();
        lab.push(&agent);
        fs::remove_file(lab.source.join("d3/sub/goes")).unwrap();
        let inject = format!("inject=getdents64:error={error}:when={when}");
        let arguments = ["-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=getdents64", "-e", &inject];
        let pushed = run(wrapped("strace", &arguments, &lab.command("push", agent.port)), PATIENCE);
        told += u32::from(pushed.stdout.contains("\"event\":\"problem\""));
        assert!(pushed.code.is_some(), "{pushed:?}");
        for directory in 0..6 {
            for file in 0..4 {
                let name = format!("d{directory}/sub/f{file}.rs");
                assert!(lab.target.join(&name).exists(), "{name} was deleted on {error} at listing {when}: {pushed:?}");
            }
        }
    }
    assert!(told >= 2, "a directory that can't be listed is a problem: told {told} times");
    let pushed = lab.push(&agent);
    assert_eq!(pushed.code, Some(0), "{pushed:?}");
    lab.assert_equal();
}

/// The same at the other side, at its start: what could not be listed there is neither overwritten nor taken for gone.
#[test]
fn fault_31_errors_within_the_other_side_s_scan() {
    if !works("strace", &["-o", "/dev/null", "true"]) {
        return skipped("fault_31_errors_within_the_other_side_s_scan: strace is not installed, or may not trace");
    }
    let lab = Lab::new();
    plant(&lab.source, 6, 4);
    fs::create_dir_all(lab.target.join("d2/sub")).unwrap();
    fs::write(lab.target.join("d2/sub/theirs"), b"never synced").unwrap();
    let agent = lab.agent();
    lab.push(&agent);
    let mut port = agent.kill();
    for (when, error) in [("2..3", "EIO"), ("4..6", "EACCES"), ("1+", "EIO")] {
        let inject = format!("inject=getdents64:error={error}:when={when}");
        let arguments = ["-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=getdents64", "-e", &inject];
        let Some(agent) = Agent::start_unless_it_ends(wrapped("strace", &arguments, &lab.agent_command(port))) else {
            continue;
        };
        let content = body(when.len() as u64, 3_000);
        save_in_place(&lab.source.join("d3/sub/f1.rs"), &content);
        let watch = Watch::start(lab.command("watch", port));
        watch.wait_since(0, "an answer", |event| {
            ["ready", "problem", "disconnected", "halted"].iter().any(|kind| event["event"] == *kind)
        });
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(fs::read(lab.target.join("d2/sub/theirs")).unwrap(), b"never synced", "{error} at listing {when}");
        for directory in 0..6 {
            for file in 0..4 {
                let name = format!("d{directory}/sub/f{file}.rs");
                assert!(
                    lab.target.join(&name).exists(),
                    "{name} went on {error} at listing {when}: {:?}",
                    watch.events()
                );
            }
        }
        watch.interrupt(PATIENCE);
        port = agent.kill();
    }
    let agent = lab.agent_on(port);
    lab.push(&agent);
    lab.settle_but(&["d2/sub/theirs"]);
}

/// The process may open hardly any more files: it says so or waits, does not spin, and goes on when it may.
#[test]
fn fault_34_out_of_descriptors_at_the_agent() {
    out_of_descriptors("agent", 32);
}

#[test]
fn fault_34_out_of_descriptors_at_the_controller() {
    // A session has 31 when it stands; its scan and its link come about at the same time.
    out_of_descriptors("controller", 40);
}

/// Begins with so many that it gets both sides in sync, and hardly more.
fn out_of_descriptors(side: &str, enough: u32) {
    let lab = Lab::new();
    plant(&lab.source, 12, 6);
    let limited = |command: &Command, limits: bool| {
        if limits { after(&format!("ulimit -Sn {enough}"), command) } else { after("true", command) }
    };
    let agent = Agent::start(limited(&lab.agent_command(0), side == "agent"));
    let watch = Watch::start(limited(&lab.command("watch", agent.port), side == "controller"));
    let pid = if side == "agent" { agent.pid() } else { watch.pid() };
    watch.wait_for("ready");
    lab.settle();
    // Fewer than it has open already: from here on every open fails.
    set_descriptors(pid, 8);
    let mark = watch.mark();
    let content = body(9, 4_000);
    save_beside(&lab.source.join("d3/sub/f1.rs"), &content);
    fs::create_dir(lab.source.join("d3/more")).unwrap();
    fs::write(lab.source.join("d3/more/file"), &content).unwrap();
    let before = super::space::ticks(pid);
    std::thread::sleep(Duration::from_millis(1_500));
    let spent = super::space::ticks(pid) - before;
    assert!(spent < 50, "{side}: it spins: {spent} ticks of CPU in 1.5 s");
    let known = lab.target.join("d5/sub/f3.rs");
    assert!(known.exists(), "{side}: what can't be opened was taken for deleted");
    set_descriptors(pid, 256);
    lab.arrives("d3/sub/f1.rs", &content);
    until("the new directory is there too", || lab.target.join("d3/more/file").exists());
    lab.settle();
    let halted = watch.since(mark).iter().any(|event| event["event"] == "halted");
    assert!(!halted, "{side}: halted for want of descriptors: {:?}", watch.since(mark));
    watch.signal(Signal::INT);
}

/// Lowers or raises how many files a running process may have open.
fn set_descriptors(pid: u32, current: u64) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap());
    let limit = Rlimit { current: Some(current), maximum: Some(256) };
    prlimit(pid, Resource::Nofile, limit).unwrap();
}

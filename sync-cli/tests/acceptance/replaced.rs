//! Faults 38–40, 43, 44: a root, a volume or the state is not what it was, or somebody has it already. Nothing is deleted
//! on the word of what is empty, gone, damaged or another's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::lab::{
    Agent, Lab, Mount, PATIENCE, Watch, body, differences, finish, plant, run, save_in_place, with_own_mounts,
};

fn copied(from: &Path, to: &Path) {
    assert_eq!(finish(Command::new("cp").arg("-a").arg(from).arg(to), PATIENCE).code, Some(0));
}

fn halted(event: &Value) -> bool {
    event["event"] == "halted"
}

/// A pod that comes back with nothing: no files, and no memory of who it was. Twice, the second time with something of
/// its image's.
#[test]
fn fault_38_pod_with_an_empty_volume() {
    let lab = Lab::new();
    plant(&lab.source, 20, 10);
    let before = lab.base().join("before");
    copied(&lab.source, &before);
    let mut agent = lab.agent();
    let watch = lab.watch(&agent);
    for from_image in [false, true] {
        lab.settle();
        let port = agent.kill();
        fs::remove_dir_all(&lab.target).unwrap();
        fs::create_dir(&lab.target).unwrap();
        if from_image {
            copied(&lab.source.join("d1"), &lab.target.join("d1"));
            fs::write(lab.target.join("from-the-image"), b"theirs").unwrap();
        }
        agent = lab.agent_on(port);
        // Who says something learns at once that nobody is there who knows it; who does not, within some seconds.
        save_in_place(&lab.source.join("d2/sub/f1.rs"), &body(u64::from(from_image), 2_000));
        fs::copy(lab.source.join("d2/sub/f1.rs"), before.join("d2/sub/f1.rs")).unwrap();
    }
    lab.settle();
    assert_eq!(fs::read(lab.target.join("from-the-image")).unwrap(), b"theirs");
    assert_eq!(differences(&before, &lab.source, &["from-the-image"]), [""; 0], "something was changed at the laptop");
    drop((watch, agent));
}

/// Everything that was at the target, once more: nothing of it may have gone.
fn assert_nothing_went(lab: &Lab, before: &Path, when: &str) {
    let gone: Vec<String> =
        differences(before, &lab.target, &[]).into_iter().filter(|what| !what.contains("at the target only")).collect();
    assert_eq!(gone, [""; 0], "{when}: the target lost something");
}

/// The source's volume is unmounted under a running session, and comes back; then a session begins without it.
#[test]
fn fault_39_source_is_unmounted() {
    with_own_mounts("replaced::fault_39_source_is_unmounted", || {
        let lab = Lab::new();
        let (volume, before) = (lab.base().join("volume"), lab.base().join("before"));
        fs::create_dir(&volume).unwrap();
        plant(&volume, 10, 8);
        let Some(mount) = Mount::bind(&lab.source, &volume) else { return };
        let agent = lab.agent();
        let watch = lab.watch(&agent);
        lab.settle();
        copied(&lab.target, &before);
        drop(mount);
        assert_eq!(fs::read_dir(&lab.source).unwrap().count(), 0, "the mount point is empty");
        // The volume lives on elsewhere, so that the kernel tells of nothing: what is held open is still followed.
        std::thread::sleep(Duration::from_millis(500));
        assert_nothing_went(&lab, &before, "when its volume was unmounted");
        watch.interrupt(PATIENCE);
        let pushed = lab.push(&agent);
        assert_eq!(pushed.code, Some(2), "an empty mount point was taken for an emptied source: {pushed:?}");
        assert!(pushed.stdout.contains("\"event\":\"halted\""), "{pushed:?}");
        assert_nothing_went(&lab, &before, "without its volume");
        let Some(mount) = Mount::bind(&lab.source, &volume) else { return };
        assert_eq!(lab.push(&agent).code, Some(0));
        lab.assert_equal();
        drop((mount, agent));
    });
}

/// A source that has its own file system (tmpfs), which goes for good.
#[test]
fn fault_39_source_s_file_system_goes() {
    with_own_mounts("replaced::fault_39_source_s_file_system_goes", || {
        let lab = Lab::new();
        let Some(mount) = Mount::tmpfs(&lab.source, "size=16m") else { return };
        plant(&lab.source, 10, 8);
        let agent = lab.agent();
        let watch = lab.watch(&agent);
        lab.settle();
        let before = lab.base().join("before");
        copied(&lab.target, &before);
        drop(mount);
        fs::write(lab.source.join("beneath"), b"in the directory under the mount").unwrap();
        std::thread::sleep(Duration::from_secs(1));
        assert_nothing_went(&lab, &before, "when its file system went");
        assert!(!lab.target.join("beneath").exists(), "what lies under the mount is not the source");
        drop((watch, agent));
    });
}

/// The source is renamed away, removed, and another directory put in its place, under a running session.
#[test]
fn fault_39_source_is_replaced() {
    for removed in [false, true] {
        let lab = Lab::new();
        plant(&lab.source, 10, 8);
        let agent = lab.agent();
        let watch = lab.watch(&agent);
        lab.settle();
        let (before, mark) = (lab.base().join("before"), watch.mark());
        copied(&lab.target, &before);
        fs::rename(&lab.source, lab.base().join("away")).unwrap();
        if !removed {
            fs::create_dir(&lab.source).unwrap();
            fs::write(lab.source.join("another"), b"another project").unwrap();
        }
        watch.wait_since(mark, "that it halts", halted);
        std::thread::sleep(Duration::from_millis(300));
        assert_nothing_went(&lab, &before, "when the source was replaced");
        watch.interrupt(PATIENCE);
        if !removed {
            fs::remove_dir_all(&lab.source).unwrap();
        }
        fs::rename(lab.base().join("away"), &lab.source).unwrap();
        assert_eq!(lab.push(&agent).code, Some(0));
        lab.assert_equal();
    }
}

/// The target's volume is replaced under the agent: refused, and nothing is written into what stands there.
#[test]
fn fault_39_target_is_replaced() {
    let lab = Lab::new();
    plant(&lab.source, 10, 8);
    let agent = lab.agent();
    let watch = lab.watch(&agent);
    lab.settle();
    let mark = watch.mark();
    fs::rename(&lab.target, lab.base().join("away")).unwrap();
    fs::create_dir(&lab.target).unwrap();
    save_in_place(&lab.source.join("d1/sub/f1.rs"), &body(1, 3_000));
    watch.wait_since(mark, "why it does not go on", |event| {
        let reason = event["reason"].as_str().unwrap_or_default();
        reason.contains(lab.target.to_str().unwrap())
    });
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(fs::read_dir(&lab.target).unwrap().count(), 0, "written into a directory that is not the root");
    fs::remove_dir(&lab.target).unwrap();
    fs::rename(lab.base().join("away"), &lab.target).unwrap();
    lab.arrives("d1/sub/f1.rs", &body(1, 3_000));
    lab.settle();
    lab.assert_equal();
    drop(agent);
}

/// The volume is taken from under the agent: what is saved then is not written into the directory that it was mounted on.
#[test]
fn fault_39_target_is_unmounted() {
    with_own_mounts("replaced::fault_39_target_is_unmounted", || {
        let lab = Lab::new();
        let volume = lab.base().join("volume");
        fs::create_dir(&volume).unwrap();
        let Some(mount) = Mount::bind(&lab.target, &volume) else { return };
        plant(&lab.source, 10, 8);
        let agent = lab.agent();
        let watch = lab.watch(&agent);
        lab.settle();
        drop(mount);
        let mark = watch.mark();
        save_in_place(&lab.source.join("d1/sub/f1.rs"), &body(1, 3_000));
        watch.wait_since(mark, "that it went over, or why not", |event| {
            ["synced", "disconnected", "halted", "problem"].iter().any(|kind| event["event"] == *kind)
        });
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(fs::read_dir(&lab.target).unwrap().count(), 0, "written beneath the mount");
        let Some(mount) = Mount::bind(&lab.target, &volume) else { return };
        lab.arrives("d1/sub/f1.rs", &body(1, 3_000));
        lab.settle();
        lab.assert_equal();
        drop((watch, agent, mount));
    });
}

/// Files of the controller's state.
fn state_files(lab: &Lab) -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![lab.base().join("state")]);
    while let Some(directory) = open.pop() {
        for path in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() { open.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

/// A session's end, and edits after it, with something at the target that was never synced.
struct Past {
    lab: Lab,
    agent: Agent,
    state: PathBuf,
}

impl Past {
    fn new() -> Self {
        let lab = Lab::new();
        plant(&lab.source, 4, 6);
        let agent = lab.agent();
        let watch = lab.watch(&agent);
        for save in 0..6 {
            save_in_place(&lab.source.join(format!("d1/sub/f{save}.rs")), &body(100 + save, 2_000));
        }
        lab.settle();
        watch.interrupt(PATIENCE);
        let state = lab.base().join("state-kept");
        copied(&lab.base().join("state"), &state);
        fs::write(lab.target.join("theirs"), b"never synced").unwrap();
        save_in_place(&lab.source.join("d2/sub/f1.rs"), b"edited since");
        fs::remove_file(lab.source.join("d2/sub/f2.rs")).unwrap();
        Self { lab, agent, state }
    }

    /// As it was before.
    fn rewind(&self) {
        let _ = fs::remove_dir_all(self.lab.base().join("state"));
        copied(&self.state, &self.lab.base().join("state"));
        fs::write(self.lab.target.join("d2/sub/f1.rs"), body(13, 200 + 397)).unwrap();
        fs::write(self.lab.target.join("d2/sub/f2.rs"), body(14, 200 + 2 * 397)).unwrap();
    }

    /// Pushes with the state as it now is. Nothing was deleted or overwritten but what the state allows.
    fn check(&self, when: &str) -> bool {
        let pushed = self.lab.push(&self.agent);
        assert!(matches!(pushed.code, Some(0 | 1)), "{when}: {pushed:?}");
        let read = |path: &str| fs::read(self.lab.target.join(path)).ok();
        assert_eq!(read("theirs").as_deref(), Some(&b"never synced"[..]), "{when}");
        let edited = read("d2/sub/f1.rs").unwrap_or_default();
        assert!(edited == b"edited since" || edited == body(13, 200 + 397), "{when}: neither one nor the other");
        let others = ["d2/sub/f1.rs", "d2/sub/f2.rs", "theirs"];
        assert_eq!(differences(&self.lab.source, &self.lab.target, &others), [""; 0], "{when}");
        let known = pushed.code == Some(0);
        assert_eq!(known, edited == b"edited since", "{when}: {pushed:?}");
        // Deleted on the evidence that it was synced, or still there.
        assert!(known || read("d2/sub/f2.rs").is_some(), "{when}: deleted without evidence");
        known
    }
}

#[test]
fn fault_40_state_is_lost() {
    let past = Past::new();
    assert!(past.check("with the state as it was"), "what is known to be synced goes over");
    past.rewind();
    fs::remove_dir_all(past.lab.base().join("state")).unwrap();
    assert!(!past.check("without state"), "what is not known to be synced is a conflict");
    for path in ["snapshot", "journal"] {
        past.rewind();
        for file in state_files(&past.lab).iter().filter(|file| file.file_name().is_some_and(|name| name == path)) {
            fs::remove_file(file).unwrap();
        }
        past.check(&format!("without the {path}"));
    }
}

/// Bits flip, files are cut, and a version comes that is not known.
#[test]
fn fault_40_state_is_corrupt() {
    let past = Past::new();
    let files = state_files(&past.lab);
    assert!(!files.is_empty());
    let (mut unknown, mut runs) = (0, 0);
    for file in &files {
        let whole = fs::read(file).unwrap();
        for step in 0..7 {
            if whole.is_empty() {
                continue;
            }
            past.rewind();
            let mut content = whole.clone();
            // At the start, where the version is said, at the end, and in between.
            let at = (content.len() - 1) * step / 6;
            if step % 3 == 2 {
                content.truncate(at)
            } else {
                content[at] ^= 1 << step
            }
            fs::write(file, content).unwrap();
            runs += 1;
            unknown += u32::from(!past.check(&format!("{} damaged at byte {at}", file.display())));
        }
    }
    assert!(unknown > 0, "of {runs} damages none was seen");
}

/// State that a later version wrote is not read, and not lost on the way back either.
#[test]
fn fault_43_state_of_another_version() {
    let past = Past::new();
    let snapshots: Vec<PathBuf> =
        state_files(&past.lab).into_iter().filter(|path| path.ends_with("snapshot")).collect();
    assert!(!snapshots.is_empty());
    for file in snapshots {
        let mut content = fs::read(&file).unwrap();
        // docs/state-format.md: eight bytes of magic, then the version.
        content[8] = content[8].wrapping_add(1);
        fs::write(&file, content).unwrap();
    }
    assert!(!past.check("with the state of another version"));
}

/// Somebody keeps a directory already, on this machine: another session to it, into it, or around it (where that was a root
/// before) is refused, before it has changed anything. Also where the two share no state directory, so that nothing but
/// the directories themselves tells them of each other.
#[test]
fn fault_44_one_root_in_another() {
    let lab = Lab::new();
    plant(&lab.source, 2, 3);
    let other = lab.base().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("another"), b"another project").unwrap();
    let (around, root, inside) = (lab.target.clone(), lab.target.join("a/root"), lab.target.join("a/root/d0/sub"));
    let local = |verb: &str, source: &Path, target: &Path, state: &str| {
        let mut command = lab.synctl([verb]);
        command.arg(source).arg(target).arg("--state-dir").arg(lab.base().join(state)).args(["--output", "json"]);
        command
    };
    assert_eq!(run(local("push", &other, &around, "state"), PATIENCE).code, Some(0));
    fs::remove_file(around.join("another")).unwrap();
    let watch = Watch::start(local("watch", &lab.source, &root, "state"));
    watch.wait_for("ready");
    let keeper = format!("process {}", watch.pid());
    let from_outside =
        [(&root, "(an agent) has it"), (&inside, root.to_str().unwrap()), (&around, "serves a directory in it")];
    let by_claim = [&root, &inside, &around].map(|target| (target, "state", keeper.as_str()));
    let by_lock = from_outside.map(|(target, named)| (target, "state of another", named));
    // Each waits a moment for the first to end; those of one kind would be in each other's way.
    std::thread::scope(|scope| {
        for refusals in [by_claim, by_lock] {
            let refused = |(target, state, named): (&PathBuf, &str, &str)| {
                let second = run(local("push", &other, target, state), PATIENCE);
                assert_eq!(second.code, Some(2), "{}: {second:?}", target.display());
                let said = second.stderr.contains(target.to_str().unwrap()) && second.stderr.contains(named);
                assert!(said, "{}: {second:?}", target.display());
                assert!(!target.join("another").exists());
            };
            scope.spawn(move || refusals.into_iter().for_each(refused));
        }
    });
    // What lies beside it is free, and so is all when it has ended.
    assert_eq!(run(local("push", &other, &lab.target.join("a/beside"), "state"), PATIENCE).code, Some(0));
    watch.interrupt(PATIENCE);
    assert_eq!(run(local("push", &other, &inside, "state"), PATIENCE).code, Some(0));
    let mut nested = lab.agent_command(0);
    nested.arg("--root").arg(&root);
    let nested = run(nested, PATIENCE);
    assert!(nested.code == Some(2) && nested.stderr.contains("lies in the other"), "{nested:?}");
}

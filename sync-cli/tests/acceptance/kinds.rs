//! Faults 23–30: names and kinds of files that are not what one expects.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::lab::{
    Lab, PATIENCE, Watch, body, differences, finish, installed, is_root, plant, run, save_beside, save_in_place,
    skipped,
};

#[test]
fn fault_23_names_that_are_not_utf8() {
    let lab = Lab::new();
    let name = OsStr::from_bytes(b"caf\xe9 \xff.txt");
    fs::create_dir(lab.source.join(OsStr::from_bytes(b"dir\xfe"))).unwrap();
    fs::write(lab.source.join(OsStr::from_bytes(b"dir\xfe")).join(name), b"first").unwrap();
    let agent = lab.agent();
    let watch = lab.watch(&agent);
    lab.settle();
    fs::write(lab.source.join(name), b"later").unwrap();
    lab.settle();
    lab.assert_equal();
    let hex: String = name.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    watch.wait_since(0, "all bytes of the name", |event| {
        event.to_string().contains(&format!("\"path_bytes_hex\":\"{hex}\""))
    });
    drop(agent);
}

#[test]
fn fault_24_control_characters_are_escaped_wherever_shown() {
    let lab = Lab::new();
    let names = ["red\x1b[31m.txt", "two\nlines", "bell\x07", "csi\u{9b}2J", "rtl\u{202e}gpj.exe"];
    for name in names {
        fs::write(lab.source.join(name), name).unwrap();
    }
    let agent = lab.agent();
    // A fifo of such a name is shown as a problem.
    run_ok(Command::new("mkfifo").arg(lab.source.join("pipe\x1b]0;title\x07")));
    let json = lab.push(&agent);
    assert_eq!(json.code, Some(1), "a problem remains: {json:?}");
    lab.settle_but(&["pipe\x1b]0;title\x07"]);
    for line in json.stdout.lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "not one object a line: {line}");
    }
    for name in names {
        save_in_place(&lab.source.join(name), b"shown once more");
    }
    let mut command = lab.synctl(["push"]);
    command.arg(&lab.source).arg(lab.destination(agent.port)).arg("--secret-file").arg(&lab.secret);
    command.arg("--state-dir").arg(lab.base().join("state"));
    let human = run(command, PATIENCE);
    // JSON carries the names as they are, for programs; whatever is text for a person is escaped.
    let shown = json.stderr + &human.stdout + &human.stderr;
    let raw = shown.chars().find(|c| (c.is_control() && !['\n', '\r', '\t'].contains(c)) || *c == '\u{202e}');
    assert_eq!(raw, None, "shown as it is: {shown:?}");
    assert!(
        human.stderr.contains("pipe") || human.stdout.contains("pipe"),
        "the problem is shown to a person: {human:?}"
    );
}

#[test]
fn fault_25_symlinks_are_never_followed() {
    let lab = Lab::new();
    plant(&lab.source, 2, 3);
    let outside = lab.base().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("private"), b"not to be read").unwrap();
    symlink("loop", lab.source.join("loop")).unwrap();
    symlink("sub/f1.rs", lab.source.join("d0/inside")).unwrap();
    symlink("../outside", lab.source.join("escape")).unwrap();
    symlink("../../../../../../etc", lab.source.join("d0/etc")).unwrap();
    symlink(&outside, lab.source.join("absolute")).unwrap();
    // At the target a directory of the tree's is a link to the outside: nothing may be written through it.
    symlink(&outside, lab.target.join("d1")).unwrap();
    let agent = lab.agent();
    let pushed = lab.push(&agent);
    assert!(matches!(pushed.code, Some(0 | 1)), "{pushed:?}");
    let found = |name: &str| fs::symlink_metadata(lab.target.join(name)).ok().map(|metadata| metadata.is_symlink());
    assert_eq!(found("loop"), Some(true));
    assert_eq!(fs::read_link(lab.target.join("d0/inside")).unwrap(), Path::new("sub/f1.rs"));
    for name in ["escape", "d0/etc", "absolute"] {
        assert_eq!(found(name), None, "{name} leads out of the root, and was carried or followed");
        let told =
            pushed.stdout.lines().any(|line| line.contains(&format!("\"{name}\"")) && line.contains("bad_target"));
        assert!(told, "{name}: {pushed:?}");
    }
    let names: Vec<_> = fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["private"], "something was written outside of the root");
}

#[test]
fn fault_26_hard_links_are_copies() {
    let lab = Lab::new();
    fs::write(lab.source.join("a"), b"one inode").unwrap();
    fs::hard_link(lab.source.join("a"), lab.source.join("b")).unwrap();
    let outside = lab.base().join("outside");
    fs::write(&outside, b"one inode").unwrap();
    fs::hard_link(&outside, lab.target.join("a")).unwrap();
    let agent = lab.agent();
    let watch = lab.watch(&agent);
    lab.settle();
    let (a, b) = (fs::metadata(lab.target.join("a")).unwrap(), fs::metadata(lab.target.join("b")).unwrap());
    assert_ne!(a.ino(), b.ino(), "they are copies at the target");
    save_beside(&lab.source.join("a"), b"another inode");
    lab.arrives("a", b"another inode");
    assert_eq!(fs::read(lab.target.join("b")).unwrap(), b"one inode");
    assert_eq!(fs::read(&outside).unwrap(), b"one inode", "writing a path broke another name of its file");
    fs::hard_link(lab.source.join("b"), lab.source.join("c")).unwrap();
    lab.settle();
    // The kernel names one name only; a scan finds the other.
    save_in_place(&lab.source.join("c"), b"two names at once");
    lab.arrives("c", b"two names at once");
    watch.interrupt(PATIENCE);
    let pushed = lab.push(&agent);
    assert_eq!(pushed.code, Some(0), "{pushed:?}");
    lab.settle();
}

/// A sparse file is equal, and takes no more room in memory or on the disk than any other.
fn sparse_file(bytes: u64, limit: Duration) {
    let lab = Lab::new();
    let file = fs::File::create(lab.source.join("sparse")).unwrap();
    file.set_len(bytes).unwrap();
    drop(file);
    let agent = lab.agent();
    let watch = Watch::start(lab.command("watch", agent.port));
    let (arrived, began) = (lab.target.join("sparse"), Instant::now());
    while !arrived.exists() {
        assert!(began.elapsed() < limit, "it has not arrived after {limit:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    let compared = finish(Command::new("cmp").arg(lab.source.join("sparse")).arg(&arrived), limit);
    assert_eq!(compared.code, Some(0), "{compared:?}");
    for pid in [watch.pid(), agent.pid()] {
        let peak = peak_kib(pid);
        assert!(peak < 200 << 10, "process {pid} took {peak} KiB for a sparse file");
    }
    let taken = fs::metadata(&arrived).unwrap().blocks() * 512;
    assert!(taken < bytes / 100, "{bytes} bytes of nothing take {taken} of the target's disk");
}

#[test]
fn fault_27_sparse_file() {
    sparse_file(300 << 20, PATIENCE);
}

#[test]
#[ignore = "takes a minute with optimised programs (`SYNCTL_BIN_DIR`), and many without"]
fn fault_27_sparse_file_of_10_gigabytes() {
    sparse_file(10 << 30, PATIENCE * 30);
}

/// The most memory a process has had.
fn peak_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn fault_28_fifo_and_socket_are_problems() {
    let lab = Lab::new();
    plant(&lab.source, 1, 3);
    run_ok(Command::new("mkfifo").arg(lab.source.join("pipe")));
    let _socket = UnixListener::bind(lab.source.join("socket")).unwrap();
    let agent = lab.agent();
    let watch = lab.watch(&agent);
    for name in ["pipe", "socket"] {
        watch.wait_since(0, name, |event| event["event"] == "problem" && event["path"] == name);
    }
    run_ok(Command::new("mkfifo").arg(lab.source.join("d0/later")));
    // Only root makes a device, and not everywhere.
    if finish(Command::new("mknod").arg(lab.source.join("device")).args(["c", "1", "5"]), PATIENCE).code == Some(0) {
        watch.wait_since(0, "device", |event| event["event"] == "problem" && event["path"] == "device");
    }
    save_in_place(&lab.source.join("d0/sub/f1.rs"), b"not held up");
    lab.arrives("d0/sub/f1.rs", b"not held up");
    watch.wait_since(0, "d0/later", |event| event["event"] == "problem" && event["path"] == "d0/later");
    let left_out = ["pipe", "socket", "d0/later", "device"];
    lab.settle_but(&left_out);
    assert!(left_out.iter().all(|name| fs::symlink_metadata(lab.target.join(name)).is_err()));
    watch.interrupt(PATIENCE);
    let pushed = lab.push(&agent);
    assert_eq!(pushed.code, Some(1), "problems remain: {pushed:?}");
}

#[test]
fn fault_29_setuid_is_stripped() {
    let lab = Lab::new();
    for (name, mode) in [("setuid", 0o4755), ("setgid", 0o2755), ("sticky", 0o1644), ("plain", 0o644)] {
        fs::write(lab.source.join(name), name).unwrap();
        fs::set_permissions(lab.source.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    let agent = lab.agent();
    assert_eq!(lab.push(&agent).code, Some(0));
    lab.assert_equal();
    for (name, executable) in [("setuid", true), ("setgid", true), ("sticky", false), ("plain", false)] {
        let mode = fs::metadata(lab.target.join(name)).unwrap().permissions().mode();
        assert_eq!((mode & 0o7000, mode & 0o100 != 0), (0, executable), "{name}: {mode:o}");
    }
}

/// Attributes and access lists are not carried; those that the other side has are not taken from it by a look.
#[test]
fn fault_29_attributes_stay_at_home() {
    let lab = Lab::new();
    plant(&lab.source, 1, 3);
    let file = "d0/sub/f1.rs";
    let agent = lab.agent();
    let watch = lab.watch(&agent);
    let set = |root: &Path, value: &str| {
        finish(Command::new("setfattr").args(["-n", "user.origin", "-v", value]).arg(root.join(file)), PATIENCE)
    };
    if !installed("setfattr") || !installed("setfacl") || set(&lab.source, "laptop").code != Some(0) {
        return skipped("fault_29_attributes_stay_at_home: setfattr or setfacl is not installed, or not possible here");
    }
    run_ok(Command::new("setfacl").args(["-m", "u:12345:rwx"]).arg(lab.source.join("d0/sub/f2.rs")));
    lab.settle();
    save_in_place(&lab.source.join("d0/sub/f0.rs"), b"after them");
    lab.arrives("d0/sub/f0.rs", b"after them");
    let names = |path: &str| {
        let shown =
            finish(Command::new("getfattr").args(["-m", "-", "--absolute-names"]).arg(lab.target.join(path)), PATIENCE);
        shown.stdout
    };
    for path in [file, "d0/sub/f2.rs"] {
        assert_eq!(names(path), "", "{path}");
    }
    assert_eq!(set(&lab.target, "pod").code, Some(0));
    std::thread::sleep(Duration::from_millis(300));
    lab.settle();
    assert!(names(file).contains("user.origin"), "{}", names(file));
    let unwanted = |event: &serde_json::Value| event["event"] == "problem" || event["event"] == "conflict";
    assert!(!watch.events().iter().any(unwanted), "{:?}", watch.events());
    drop(agent);
}

/// Synced once, then unreadable: a problem at that path, and no deletion.
#[test]
fn fault_30_unreadable_file() {
    let lab = Lab::new();
    plant(&lab.source, 2, 3);
    let agent = lab.agent();
    assert_eq!(lab.push(&agent).code, Some(0));
    let kept = fs::read(lab.target.join("d0/sub/f1.rs")).unwrap();
    for name in ["d0/sub/f1.rs", "d1/sub"] {
        fs::set_permissions(lab.source.join(name), fs::Permissions::from_mode(0o000)).unwrap();
    }
    let mut command = lab.command("watch", agent.port);
    if is_root() {
        let Some(program) = as_nobody(&lab) else {
            return skipped("an unreadable file: root reads all, and nobody can't be taken");
        };
        let mut unprivileged = Command::new(program);
        unprivileged
            .args(command.get_args())
            .env("HOME", lab.base().join("home"))
            .current_dir("/")
            .uid(65_534)
            .gid(65_534);
        command = unprivileged;
    }
    let watch = Watch::start(command);
    watch.wait_since(0, "the unreadable file", |event| event["event"] == "problem" && event["path"] == "d0/sub/f1.rs");
    watch.wait_since(0, "the unreadable directory", |event| event["event"] == "problem" && event["path"] == "d1/sub");
    fs::write(lab.source.join("d0/new"), b"the rest goes on").unwrap();
    lab.arrives("d0/new", b"the rest goes on");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(fs::read(lab.target.join("d0/sub/f1.rs")).unwrap(), kept, "unreadable was taken for deleted");
    assert!(lab.target.join("d1/sub/f1.rs").exists(), "unreadable was taken for deleted");
    for (name, mode) in [("d0/sub/f1.rs", 0o644), ("d1/sub", 0o755)] {
        fs::set_permissions(lab.source.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    lab.settle();
    drop(agent);
}

/// Gives the lab's source, secret and state to nobody, and a copy of the program where nobody can reach it.
fn as_nobody(lab: &Lab) -> Option<PathBuf> {
    let program = lab.base().join("synctl");
    let original = lab.synctl([""; 0]).get_program().to_owned();
    fs::copy(original, &program).unwrap();
    fs::set_permissions(lab.base(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut chown = Command::new("chown");
    chown
        .args(["-R", "65534:65534"])
        .arg(&lab.source)
        .arg(&lab.secret)
        .arg(lab.base().join("state"))
        .arg(lab.base().join("home"));
    (run(chown, PATIENCE).code == Some(0)).then_some(program)
}

/// The longest name there is has to leave room for the stage's own; a path may be longer than the system's limit.
#[test]
fn long_names_and_paths() {
    let lab = Lab::new();
    fs::write(lab.source.join("é".repeat(127)), body(1, 100)).unwrap();
    fs::write(lab.source.join("n".repeat(255)), body(2, 100)).unwrap();
    let agent = lab.agent();
    let watch = lab.watch(&agent);
    lab.settle();
    save_in_place(&lab.source.join("n".repeat(255)), &body(3, 100));
    lab.settle();
    // Deeper than PATH_MAX: made and moved in two halves, for no path can name it whole.
    let name = "d".repeat(200);
    let half: PathBuf = std::iter::repeat_n(name.as_str(), 12).collect();
    fs::create_dir_all(lab.source.join("x").join(&half)).unwrap();
    fs::create_dir_all(lab.source.join("y").join(&half)).unwrap();
    fs::write(lab.source.join("y").join(&half).join("deep"), b"deep").unwrap();
    lab.settle();
    let mark = watch.mark();
    fs::rename(lab.source.join("y"), lab.source.join("x").join(&half).join("y")).unwrap();
    let told = watch.wait_since(mark, "the path that is too long", |event| event["event"] == "problem");
    assert_eq!((&told["kind"], &told["side"]), (&"bad_name".into(), &"alpha".into()), "{told}");
    assert!(told["path"].as_str().unwrap().starts_with("x/ddd"), "{told}");
    save_in_place(&lab.source.join("n".repeat(255)), &body(4, 100));
    lab.arrives(&"n".repeat(255), &body(4, 100));
    // What can be named is equal, and the session lives.
    assert!(differences(&lab.source, &lab.target, &["x", "y"]).is_empty());
    let halted: Vec<_> = watch.events().into_iter().filter(|event| event["event"] == "halted").collect();
    assert!(halted.is_empty(), "{halted:?}");
    fs::rename(lab.source.join("x").join(&half).join("y"), lab.source.join("y")).unwrap();
    watch.wait_since(mark, "that it fits again", |event| event["event"] == "problem_solved");
    lab.settle();
    drop(agent);
}

/// A destination deep down: what is long enough already with the path of its root before it is carried all the same, for
/// no call names it whole.
#[test]
fn long_paths_below_a_long_destination() {
    let lab = Lab::new();
    let parts = |number: usize| -> PathBuf { std::iter::repeat_n("d".repeat(200), number).collect() };
    let (target, below) = (lab.target.join(parts(14)), parts(19).join("f".repeat(150)));
    fs::create_dir_all(&target).unwrap();
    fs::create_dir_all(lab.source.join(below.parent().unwrap())).unwrap();
    fs::write(lab.source.join(&below), body(1, 5_000)).unwrap();
    let mut command = lab.synctl(["push"]);
    command.arg(&lab.source).arg(&target).arg("--state-dir").arg(lab.base().join("state"));
    let pushed = run(command, PATIENCE);
    assert_eq!(pushed.code, Some(0), "{pushed:?}");
    let root = fs::File::open(&target).unwrap();
    let arrived = PathBuf::from(format!("/proc/self/fd/{}", root.as_raw_fd())).join(&below);
    assert!(target.join(&below).as_os_str().len() > 4_096, "not too long for one call");
    assert_eq!(fs::read(arrived).unwrap(), body(1, 5_000));
}

/// NTFS has names of 255 UTF-16 units, which are up to 765 bytes; here a name has 255 bytes. Such a name is a problem at
/// its path, cut; everything else is synced.
#[test]
fn names_that_are_too_long_for_the_other_side() {
    let lab = Lab::new();
    let Some(volume) = Volume::ntfs(&lab) else {
        return skipped(
            "names longer than 255 bytes: ntfs-3g or /dev/fuse is missing, or mounting is not permitted here",
        );
    };
    plant(&volume.0, 2, 3);
    let (long, longer) = ("é".repeat(200), "文".repeat(255));
    fs::write(volume.0.join(&long), b"long").unwrap();
    fs::create_dir(volume.0.join("d0").join(&longer)).unwrap();
    fs::write(volume.0.join("d0").join(&longer).join("inside"), b"inside").unwrap();
    let agent = lab.agent();
    let mut command = lab.synctl(["push"]);
    command.arg(&volume.0).arg(lab.destination(agent.port)).arg("--secret-file").arg(&lab.secret);
    command.arg("--state-dir").arg(lab.base().join("state"));
    let person = finish(&mut command, PATIENCE);
    let program = finish(command.args(["--output", "json"]), PATIENCE);
    assert_eq!((person.code, program.code), (Some(1), Some(1)), "problems remain: {person:?} {program:?}");
    for (text, bytes) in [("é", 400), ("文", 765)] {
        let line = person.stdout.lines().find(|line| line.starts_with("problem:") && line.contains(text)).unwrap();
        assert!(line.contains(&format!("a name of {bytes} bytes")) && line.contains("rename it"), "{line}");
    }
    let events = program.stdout.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let told: Vec<_> = events.filter(|event| event["event"] == "problem").collect();
    let paths: Vec<_> = told.iter().map(|problem| problem["path"].as_str().unwrap().to_owned()).collect();
    assert_eq!(paths, [format!("d0/{}", "文".repeat(85)), "é".repeat(127)]);
    assert!(told.iter().all(|problem| problem["kind"] == "bad_name"), "{told:?}");
    assert_eq!(differences(&volume.0, &lab.target, &[&long, &format!("d0/{longer}")]), [""; 0]);
    // Under a name that can be held it is as any other.
    fs::rename(volume.0.join(&long), volume.0.join("short")).unwrap();
    fs::remove_dir_all(volume.0.join("d0").join(&longer)).unwrap();
    assert_eq!(finish(&mut command, PATIENCE).code, Some(0));
    assert_eq!(differences(&volume.0, &lab.target, &[]), [""; 0]);
}

/// A file system in a file, mounted as long as this lives.
struct Volume(PathBuf);

impl Volume {
    /// `None` where this can't be done here.
    fn ntfs(lab: &Lab) -> Option<Self> {
        let (image, mounted) = (lab.base().join("image"), lab.base().join("mounted"));
        fs::create_dir(&mounted).unwrap();
        fs::File::create(&image).unwrap().set_len(32 << 20).unwrap();
        let mut make = Command::new("mkfs.ntfs");
        make.args(["-F", "-q", "-Q"]).arg(&image);
        let mut mount = Command::new("ntfs-3g");
        mount.arg(&image).arg(&mounted);
        let done = |command: &mut Command, program| installed(program) && finish(command, PATIENCE).code == Some(0);
        (done(&mut make, "mkfs.ntfs") && done(&mut mount, "ntfs-3g")).then_some(Self(mounted))
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // Lazily: a process of the test's may still hold it.
        finish(Command::new("umount").arg("-l").arg(&self.0), PATIENCE);
    }
}

fn run_ok(command: &mut Command) {
    let done = finish(command, PATIENCE);
    assert_eq!(done.code, Some(0), "{command:?}: {done:?}");
}

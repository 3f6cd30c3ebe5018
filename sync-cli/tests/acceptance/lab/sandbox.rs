//! What takes privileges, or must not be felt outside: a test that runs again inside namespaces of its own, file systems
//! mounted there, limits on a process. Nothing of it outlives the test.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::{PATIENCE, finish, installed, is_root, run, skipped};

/// Says to a test that it is inside already.
const INSIDE: &str = "SYNCTL_TEST_SANDBOX";

/// Runs `body` in a process of its own whose mounts nobody else sees; as root of a user namespace where the tests are not
/// run by root. `test` is the name of the calling test, with its module. Left out with a word where that is not permitted.
pub(in super::super) fn with_own_mounts(test: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some_and(|inside| inside == test) {
        return body();
    }
    let namespaces = if is_root() { "-m" } else { "-Urm" };
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args([namespaces, "--propagation", "private"]);
        command
    };
    if !installed("unshare") || finish(unshare().arg("true"), PATIENCE).code != Some(0) {
        return skipped(&format!("{test}: mounts of one's own are not permitted here"));
    }
    let mut again = unshare();
    again.arg(std::env::current_exe().unwrap()).args(["--exact", &format!("acceptance::{test}"), "--nocapture"]);
    let done = run_inside(again.env(INSIDE, test));
    assert!(done.0.contains("1 passed"), "{test} failed inside:\n{}\n{}", done.0, done.1);
    for what in done.1.lines().filter_map(|line| line.strip_prefix("SKIPPED ")) {
        skipped(what);
    }
}

fn run_inside(command: &mut Command) -> (String, String) {
    let done = finish(command, PATIENCE * 3);
    (done.stdout, done.stderr)
}

/// A file system over a directory, for as long as this lives. To be made inside `with_own_mounts`.
pub(in super::super) struct Mount(PathBuf);

impl Mount {
    /// `None`, with a word, where this may not be done here.
    pub(in super::super) fn tmpfs(path: &Path, options: &str) -> Option<Self> {
        Self::new(path, &["-t", "tmpfs", "-o", options, "tmpfs"])
    }

    /// The ext4 in the file `image`, by the kernel's own driver. Names are on the disk after a second, content much later:
    /// what a power cut between the two leaves is worst.
    pub(in super::super) fn image(path: &Path, image: &Path) -> Option<Self> {
        Self::new(path, &["-o", "loop,commit=1", image.to_str().unwrap()])
    }

    /// Another directory, once more.
    pub(in super::super) fn bind(path: &Path, from: &Path) -> Option<Self> {
        Self::new(path, &["--bind", from.to_str().unwrap()])
    }

    /// By a program that serves a file system over FUSE: its name, its options, and what it is to serve.
    pub(in super::super) fn by(program: &str, options: &[&str], image: &OsStr, path: &Path) -> Option<Self> {
        let mounted = finish(Command::new(program).args(options).arg(image).arg(path), PATIENCE).code == Some(0);
        Self::if_so(mounted, path)
    }

    fn new(path: &Path, arguments: &[&str]) -> Option<Self> {
        Self::if_so(mount(arguments, path), path)
    }

    fn if_so(mounted: bool, path: &Path) -> Option<Self> {
        if !mounted {
            skipped(&format!("a file system at {}: mounting it is not permitted here", path.display()));
        }
        mounted.then(|| Self(path.to_owned()))
    }

    /// Other options, of a tmpfs: all that `mount` is to know is said, for it would add owners that a user namespace lacks.
    pub(in super::super) fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        let arguments = ["-t", "tmpfs", "-o", &options, "tmpfs"];
        // Read-only only when nobody is writing.
        let tried = (0..100).any(|_| mount(&arguments, &self.0) || pause());
        assert!(tried, "mount -o {options} failed");
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: a process of the test's may still hold it.
        finish(Command::new("umount").arg("-l").arg(&self.0), PATIENCE);
    }
}

fn mount(arguments: &[&str], path: &Path) -> bool {
    finish(Command::new("mount").args(arguments).arg(path), PATIENCE).code == Some(0)
}

fn pause() -> bool {
    std::thread::sleep(Duration::from_millis(20));
    false
}

/// A sparse file of `mib` MiB with a fresh file system that `program` makes. `None`, with a word, where it is missing.
pub(in super::super) fn formatted(image: &Path, mib: u64, program: &str, options: &[&str]) -> Option<()> {
    std::fs::File::create(image).unwrap().set_len(mib << 20).unwrap();
    if !installed(program) && !Path::new("/usr/sbin").join(program).is_file() {
        skipped(&format!("a file system of {program}: it is not installed"));
        return None;
    }
    let mut command = Command::new(program);
    let path = std::env::var("PATH").unwrap_or_default();
    let done = finish(command.args(options).arg(image).env("PATH", format!("{path}:/usr/sbin:/sbin")), PATIENCE);
    assert_eq!(done.code, Some(0), "{program}: {done:?}");
    Some(())
}

/// `command` run by a shell after `first`: to set a limit that holds for it alone.
pub(in super::super) fn after(first: &str, command: &Command) -> Command {
    wrapped("sh", &["-c", &format!("{first} && exec \"$@\""), "sh"], command)
}

/// `command` as an argument of another program, in the same environment and directory.
pub(in super::super) fn wrapped(program: &str, arguments: &[&str], command: &Command) -> Command {
    let mut outer = Command::new(program);
    outer.args(arguments).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        outer.current_dir(directory);
    }
    outer
}

/// Whether a program does what it is asked to: for what may be installed and yet not permitted.
pub(in super::super) fn works(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments);
    installed(program) && run(command, PATIENCE).code == Some(0)
}

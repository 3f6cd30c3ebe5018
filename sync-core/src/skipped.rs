//! For tests: to say what this machine can't show.

use std::{env, io::Write, process::Command};

/// Says that this test leaves something out, and why; past the runner, which keeps what a test that passes prints to itself.
pub(crate) fn skipped(why: &str) {
    let thread = std::thread::current();
    // The runner names threads after tests.
    let _ = writeln!(std::io::stderr(), "SKIPPED {}: {why}", thread.name().unwrap_or("a test"));
}

/// Whether the kernel allows just `count` inotify watches here. If not, runs `test`, which asks, once more where it is so: the
/// limit is per user and namespace, so in a namespace of its own.
pub(crate) fn has_few_watches(count: usize, test: &str) -> bool {
    const INNER: &str = "SYNCTL_TEST_FEW_WATCHES";
    if env::var_os(INNER).is_some() {
        return true;
    }
    let script = format!("echo {count} > /proc/sys/user/max_inotify_watches && exec \"$@\"");
    let mut command = Command::new("unshare");
    command.args(["-Ur", "sh", "-c", &script, "sh"]);
    let Ok(program) = env::current_exe() else { panic!("this test doesn't know its program") };
    command.arg(program).args(["--exact", test, "--nocapture"]).env(INNER, "1");
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => {
            skipped(&format!("unshare: {error}"));
            return false;
        }
    };
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() {
        assert!(stdout.contains("1 passed"), "{test} is not the name of a test");
    } else if stdout.contains("panicked") || stderr.contains("panicked") {
        panic!("{stdout}{stderr}");
    } else {
        skipped(&stderr);
    }
    false
}

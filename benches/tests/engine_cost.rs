//! The engine's instructions for one save are held to a bound: a regression shows as a number, on any machine and however
//! busy it is. Left out where valgrind is not installed.

use std::process::{Command, Stdio};

/// Instructions for one save among 100,000 files, as tests are built (sync-core with optimisation and its own assertions).
/// A third above what was measured last; a release build needs fewer. Raise it only with a reason in the commit.
const INSTRUCTIONS_MAX: u64 = 1_200_000;

const SAVES: u64 = 200;

fn instructions(saves: u64) -> u64 {
    let folder = tempfile::tempdir().expect("a directory for what is counted");
    let out = folder.path().join("counted");
    let mut command = Command::new("valgrind");
    command.arg("--tool=callgrind").arg(format!("--callgrind-out-file={}", out.display()));
    command.arg(env!("CARGO_BIN_EXE_side-by-side")).args(["engine-saves", "--saves", &saves.to_string()]);
    let output = command.output().expect("valgrind starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let counted = std::fs::read_to_string(&out).expect("callgrind writes what it has counted");
    let total = counted.lines().find_map(|line| line.strip_prefix("totals: ").or_else(|| line.strip_prefix("summary: ")));
    total.and_then(|total| total.split(' ').next()?.parse().ok()).expect("callgrind says how many")
}

#[test]
fn a_save_costs_the_engine_no_more_than_its_bound() {
    let version = Command::new("valgrind").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !version.is_ok_and(|status| status.success()) {
        println!("SKIPPED: valgrind is not installed, so that instructions can't be counted");
        return;
    }
    let each = (instructions(SAVES) - instructions(0)) / SAVES;
    println!("{each} instructions for a save, at most {INSTRUCTIONS_MAX}");
    assert!(each <= INSTRUCTIONS_MAX, "a save costs the engine {each} instructions, more than {INSTRUCTIONS_MAX}");
    // Else it counts something else.
    assert!(each > INSTRUCTIONS_MAX / 10, "a save costs the engine {each} instructions: lower the bound");
}

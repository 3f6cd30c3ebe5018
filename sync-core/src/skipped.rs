//! For tests: to say what this machine can't show.

use std::io::Write;

/// Says that this test leaves something out, and why; past the runner, which keeps what a test that passes prints to itself.
pub(crate) fn skipped(why: &str) {
    let thread = std::thread::current();
    // The runner names threads after tests.
    let _ = writeln!(std::io::stderr(), "SKIPPED {}: {why}", thread.name().unwrap_or("a test"));
}

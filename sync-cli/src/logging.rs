//! The log: on stderr, for whoever looks for a fault. What a user needs to know is an event, not a log line.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

/// The variable that sets the filter, in the syntax of `tracing_subscriber::EnvFilter`: `debug`, `sync_core::session=trace`.
const VARIABLE: &str = "SYNCTL_LOG";
/// What is logged where it is not set.
const DEFAULT: &str = "error";

/// Whether the user asked for a log. It shares the terminal with the progress bar, which then stays away.
pub(crate) fn is_asked_for() -> bool {
    std::env::var_os(VARIABLE).is_some_and(|filter| !filter.is_empty())
}

/// Starts to log. A filter that can't be read is named, and the default used.
pub(crate) fn start() {
    let asked = std::env::var(VARIABLE).unwrap_or_default();
    let filter = EnvFilter::try_new(if asked.is_empty() { DEFAULT } else { &asked }).unwrap_or_else(|error| {
        crate::complaint::complain(format!("{VARIABLE} is not a log filter ({error}); using {DEFAULT}"));
        EnvFilter::new(DEFAULT)
    });
    let ansi = io::stderr().is_terminal() && !crate::output::color_is_unwanted();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(ansi).init();
}

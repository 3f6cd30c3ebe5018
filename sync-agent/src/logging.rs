//! The log, on stderr.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

/// The variable that sets the filter, in the syntax of `tracing_subscriber::EnvFilter`.
const VARIABLE: &str = "SYNCTL_LOG";
/// What is logged where it is not set.
const DEFAULT: &str = "info";

/// Starts to log. A filter that can't be read is named, and the default used.
pub(crate) fn start() {
    let asked = std::env::var(VARIABLE).unwrap_or_default();
    let filter = EnvFilter::try_new(if asked.is_empty() { DEFAULT } else { &asked }).unwrap_or_else(|error| {
        crate::complaint::complain(format!("{VARIABLE} is not a log filter ({error}); using {DEFAULT}"));
        EnvFilter::new(DEFAULT)
    });
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let ansi = io::stderr().is_terminal() && !no_color;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(ansi).init();
}

//! `synctl ignored`: what is left out where nobody says anything else.

use serde::Serialize;
use sync_core::ignore;

use crate::{
    args::{Format, IgnoredArgs},
    exit::Exit,
    output::{json, write_line},
};

/// One line of `--output json`.
#[derive(Debug, Serialize)]
struct Ignored<'a> {
    version: u32,
    pattern: &'a str,
    why: &'a str,
    list: &'static str,
}

pub(super) fn run(args: &IgnoredArgs) -> anyhow::Result<Exit> {
    let lists = [("default", ignore::default_patterns()), ("vcs", ignore::vcs_patterns())];
    let patterns =
        || lists.iter().flat_map(|(list, patterns)| patterns.iter().map(move |(pattern, why)| (list, pattern, why)));
    let width = patterns().map(|(_, pattern, _)| pattern.chars().count()).max().unwrap_or_default();
    for (list, pattern, why) in patterns() {
        let line = match args.output {
            Format::Human => format!("{pattern:width$}  {why}"),
            Format::Json => json::object(&Ignored { version: json::VERSION, pattern, why, list }),
        };
        write_line(&line)?;
    }
    Ok(Exit::Done)
}

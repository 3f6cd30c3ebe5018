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
}

pub(super) fn run(args: &IgnoredArgs) -> anyhow::Result<Exit> {
    let patterns = ignore::default_patterns();
    let width = patterns.iter().map(|(pattern, _)| pattern.chars().count()).max().unwrap_or_default();
    for (pattern, why) in patterns {
        let line = match args.output {
            Format::Human => format!("{pattern:width$}  {why}"),
            Format::Json => json::object(&Ignored { version: json::VERSION, pattern, why }),
        };
        write_line(&line)?;
    }
    Ok(Exit::Done)
}

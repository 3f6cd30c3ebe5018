//! `synctl ignored`: what is left out where nobody says anything else, and what the other side can't change.

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
    let ignored = lists
        .into_iter()
        .flat_map(|(list, patterns)| patterns.iter().map(move |(pattern, why)| (list, *pattern, *why)));
    let protected = ignore::protected_names().map(|rule| ("protected", rule.name, rule.why));
    let patterns: Vec<_> = ignored.chain(protected).collect();
    let width = patterns.iter().map(|(_, pattern, _)| pattern.chars().count()).max().unwrap_or_default();
    for (list, pattern, why) in patterns {
        let line = match args.output {
            Format::Human if list == "protected" => format!("{pattern:width$}  not taken from DEST: {why}"),
            Format::Human => format!("{pattern:width$}  {why}"),
            Format::Json => json::object(&Ignored { version: json::VERSION, pattern, why, list }),
        };
        write_line(&line)?;
    }
    Ok(Exit::Done)
}

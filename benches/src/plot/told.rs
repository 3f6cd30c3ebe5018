//! Figures as Markdown: where and when, one table of medians with how many times synctl's they are, the plots, what is
//! missing. And its place in a file of others' making.

use std::fmt::Write as _;

use anyhow::{Context, Result};

use super::drawn::charts;
use super::figures::Figures;
use crate::figures::Report;

/// Between these the text of a file is ours.
const BEGIN: &str = "<!-- plot: begin -->\n";
const END: &str = "<!-- plot: end -->\n";

/// What makes all of it again.
const COMMAND: &str =
    "cargo run --release -p sync-benches --bin side-by-side -- plot --lab DIR --out docs/plots --readme README.md";

/// `prefix`: what the names of the plots begin with.
pub(super) fn markdown(figures: &Figures, prefix: &str) -> String {
    let mut text = format!(
        "Save → visible, in place: from the save's last system call until its content was read at the other side; one save at a \
         time. {}, {}; both sides on this machine. Medians, with how many times synctl's they are.\n\n",
        figures.date, figures.machine
    );
    let mut report = Report::new(figures.tools());
    for ((place, tool), saves) in &figures.saves {
        report.put(&place.to_string(), *tool, saves.figure());
    }
    text.push_str(&report.table());
    for (name, chart) in charts(figures) {
        let _ = write!(text, "\n![{}]({prefix}{name})\n", chart.title);
    }
    text.push_str(
        "\nPoints are medians; a bar reaches up to the 99th percentile, of fewer than 100 saves to the longest.\n",
    );
    let _ = writeln!(text, "The command: `{COMMAND}`.");
    if !figures.left_out.is_empty() {
        let _ = writeln!(text, "\nLeft out: {}.", figures.left_out.join("; "));
    }
    text
}

/// The file's text with `part` between the marks.
pub(super) fn put(text: &str, part: &str) -> Result<String> {
    let marks = || {
        let (before, rest) = text.split_once(BEGIN)?;
        let (_, after) = rest.split_once(END)?;
        Some((before, after))
    };
    let (before, after) = marks().context("it lacks the lines `<!-- plot: begin -->` and `<!-- plot: end -->`")?;
    Ok(format!("{before}{BEGIN}\n{part}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::some;
    use super::*;

    #[test]
    fn the_table_has_a_row_a_place_and_a_column_a_tool() {
        let text = markdown(&some(), "docs/plots/");
        let has = |line: &str| assert!(text.contains(line), "{line} in {text}");
        has("2026-11-22, 2 cores, Linux 6.8.0, ext4;");
        has(
            "| median | synctl | rsync | Unison |\n| --- | --- | --- | --- |\n| 1,000 files, loopback | 1.00 ms, p99 1.00 ms (n 100) | ",
        );
        has("| 100 ms, p99 100 ms (n 100) (100×) | 1.00 s, p99 1.00 s (n 100) (1000×) |");
        has("| 1,000 files, round trip 50 ms | 26.0 ms, p99 26.0 ms (n 100) | 500 ms, p99 500 ms (n 100) (19×) | – |");
        has("](docs/plots/save-by-files.svg)");
        has("](docs/plots/save-by-round-trip.svg)");
        has("Left out: Unison: 100,000 files: <too slow>.");
    }

    #[test]
    fn a_part_takes_the_place_of_the_one_before() {
        let file = format!("before\n{BEGIN}old\n{END}after\n");
        let once = put(&file, "new\n").expect("it has the marks");
        assert_eq!(once, format!("before\n{BEGIN}\nnew\n\n{END}after\n"));
        assert_eq!(put(&once, "new\n").expect("it has them still"), once);
        assert!(put("no marks\n", "new\n").is_err());
    }
}

//! What was measured, as it is kept in a file: every save of every tool in every place, and what was left out.
//!
//! Lines of fields with tabs between them: files, round trip in milliseconds, tool, saves that were lost, and the others in
//! microseconds with blanks between them. Lines that begin with `#` say the day, the machine, what was left out.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use crate::figures::Figure;
use crate::peer::Tool;

/// The first line of the file; another form has another number.
const HEAD: &str = "# save to visible, figures 1";

/// Where saves were measured. Without a round trip: both sides on one machine, over loopback.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) round_trip_ms: usize,
    pub(super) files: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.round_trip_ms {
            0 => write!(f, "{} files, loopback", grouped(self.files)),
            ms => write!(f, "{} files, round trip {ms} ms", grouped(self.files)),
        }
    }
}

/// A number as people write it.
pub(super) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The saves of one tool in one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Saves {
    pub(super) micros: Vec<u64>,
    pub(super) lost: usize,
}

impl Saves {
    pub(super) fn new(times: &[Duration], lost: usize) -> Self {
        let micros = times.iter().map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX)).collect();
        Self { micros, lost }
    }

    pub(super) fn figure(&self) -> Figure {
        let times: Vec<Duration> = self.micros.iter().map(|micros| Duration::from_micros(*micros)).collect();
        Figure::latencies(&times, self.lost)
    }
}

/// All of a run.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Figures {
    pub(super) date: String,
    pub(super) machine: String,
    pub(super) left_out: Vec<String>,
    pub(super) saves: BTreeMap<(Place, Tool), Saves>,
}

impl Figures {
    pub(super) fn new(date: String, machine: String) -> Self {
        Self { date, machine, left_out: Vec::new(), saves: BTreeMap::new() }
    }

    /// Says it at once, too. One line: an error may have several.
    pub(super) fn leave_out(&mut self, what: &str) {
        let what = what.split_whitespace().collect::<Vec<_>>().join(" ");
        println!("left out: {what}");
        self.left_out.push(what);
    }

    /// The places, sorted.
    pub(super) fn places(&self) -> Vec<Place> {
        let mut places: Vec<Place> = self.saves.keys().map(|(place, _)| *place).collect();
        places.dedup();
        places
    }

    /// The tools, in their order.
    pub(super) fn tools(&self) -> Vec<Tool> {
        let mut tools: Vec<Tool> = self.saves.keys().map(|(_, tool)| *tool).collect();
        tools.sort();
        tools.dedup();
        tools
    }

    pub(super) fn text(&self) -> String {
        let mut text = format!("{HEAD}\n# date\t{}\n# machine\t{}\n", self.date, self.machine);
        for what in &self.left_out {
            let _ = writeln!(text, "# left out\t{what}");
        }
        for ((place, tool), saves) in &self.saves {
            let micros: Vec<String> = saves.micros.iter().map(u64::to_string).collect();
            let Place { files, round_trip_ms } = place;
            let name = tool.name().to_lowercase();
            let _ = writeln!(text, "{files}\t{round_trip_ms}\t{name}\t{}\t{}", saves.lost, micros.join(" "));
        }
        text
    }

    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut figures = Self::new(String::new(), String::new());
        let mut lines = text.lines();
        ensure!(lines.next() == Some(HEAD), "these are no figures of this version: the first line must be {HEAD:?}");
        for line in lines {
            match line.split_once('\t') {
                Some(("# date", date)) => date.clone_into(&mut figures.date),
                Some(("# machine", machine)) => machine.clone_into(&mut figures.machine),
                Some(("# left out", what)) => figures.left_out.push(what.to_owned()),
                _ => {
                    let (at, saves) = parse_line(line).with_context(|| format!("a line of figures: {line:?}"))?;
                    ensure!(figures.saves.insert(at, saves).is_none(), "twice in the figures: {line:?}");
                }
            }
        }
        Ok(figures)
    }
}

fn parse_line(line: &str) -> Result<((Place, Tool), Saves)> {
    let mut fields = line.split('\t');
    let mut field = || fields.next().context("a field is missing");
    let place = Place { files: field()?.parse()?, round_trip_ms: field()?.parse()? };
    let tool = Tool::from_str(field()?, true).map_err(anyhow::Error::msg)?;
    let lost = field()?.parse()?;
    let micros = field()?.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    Ok(((place, tool), Saves { micros, lost }))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// synctl and rsync in four places, Unison in one.
    pub(in crate::plot) fn some() -> Figures {
        let mut figures = Figures::new("2026-11-22".to_owned(), "2 cores, Linux 6.8.0, ext4".to_owned());
        figures.left_out.push("Unison: 100,000 files: <too slow>".to_owned());
        let mut enter = |files, round_trip_ms, tool, micros: u64| {
            let saves = Saves { micros: vec![micros; 100], lost: 0 };
            figures.saves.insert((Place { round_trip_ms, files }, tool), saves);
        };
        enter(1_000, 0, Tool::Synctl, 1_000);
        enter(1_000, 0, Tool::Rsync, 100_000);
        enter(1_000, 0, Tool::Unison, 1_000_000);
        enter(100_000, 0, Tool::Synctl, 1_000);
        enter(100_000, 0, Tool::Rsync, 500_000);
        for ms in [10, 50] {
            enter(1_000, ms, Tool::Synctl, ms as u64 * 500 + 1_000);
            enter(1_000, ms, Tool::Rsync, 100_000 + ms as u64 * 8_000);
        }
        figures
    }

    #[test]
    fn figures_are_read_as_they_were_written() {
        let figures = some();
        assert_eq!(Figures::parse(&figures.text()).expect("they are figures"), figures);
    }

    #[test]
    fn other_files_are_refused() {
        let check = |text: &str| assert!(Figures::parse(text).is_err(), "{text}");
        check("");
        check("files\ttime");
        check(&format!("{HEAD}\n1000\t0\tsynctl\t0"));
        check(&format!("{HEAD}\n1000\t0\tnobody\t0\t1"));
        check(&format!("{HEAD}\n1000\t0\tsynctl\t0\t1\n1000\t0\tsynctl\t0\t1"));
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(
            (grouped(999), grouped(1_000), grouped(1_234_567)),
            ("999".into(), "1,000".into(), "1,234,567".into())
        );
    }
}

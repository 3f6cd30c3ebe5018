//! Figures, and the table they are shown in: a row a measure, a column a tool; medians, and how many times as much the
//! others take.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::peer::Tool;

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Seconds,
    Bytes,
    /// Part of one core.
    Share,
    Count,
}

/// Several measurements of the same.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    unit: Unit,
    sorted: Vec<f64>,
    /// Shows the 99th percentile beside the median.
    tail: bool,
    /// Measurements that did not come to an end.
    lost: usize,
}

impl Figure {
    pub(crate) fn new(unit: Unit, values: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        Self { unit, sorted, tail: false, lost: 0 }
    }

    pub(crate) fn times(times: &[Duration]) -> Self {
        Self::new(Unit::Seconds, times.iter().map(Duration::as_secs_f64))
    }

    /// Latencies: the tail counts as much as the median.
    pub(crate) fn latencies(times: &[Duration], lost: usize) -> Self {
        Self { tail: true, lost, ..Self::times(times) }
    }

    /// The smallest value that `percent` of the values do not exceed.
    pub(crate) fn percentile(&self, percent: usize) -> Option<f64> {
        let rank = (self.sorted.len() * percent).div_ceil(100).max(1);
        self.sorted.get(rank - 1).copied()
    }

    pub(crate) fn show(&self) -> String {
        let Some(median) = self.percentile(50) else { return format!("lost {}", self.lost) };
        let mut text = self.unit.show(median);
        if let Some(tail) = self.percentile(99).filter(|_| self.tail) {
            // The 99th of a hundred and less is the largest.
            let name = if self.sorted.len() < 100 { "max" } else { "p99" };
            let _ = write!(text, ", {name} {} (n {})", self.unit.show(tail), self.sorted.len());
        }
        if self.lost > 0 {
            let _ = write!(text, ", lost {}", self.lost);
        }
        text
    }
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::Seconds if value < 0.000_995 => format!("{:.0} µs", value * 1e6),
            Self::Seconds if value < 0.009_95 => format!("{:.2} ms", value * 1e3),
            Self::Seconds if value < 0.099_5 => format!("{:.1} ms", value * 1e3),
            Self::Seconds if value < 0.995 => format!("{:.0} ms", value * 1e3),
            Self::Seconds => format!("{value:.2} s"),
            Self::Bytes if value < 9_950.0 => format!("{value:.0} B"),
            Self::Bytes if value < 999_500.0 => format!("{:.0} KB", value / 1e3),
            Self::Bytes => format!("{:.1} MB", value / 1e6),
            Self::Count => format!("{value:.1}"),
            Self::Share => format!("{:.2} %", value * 100.0),
        }
    }
}

/// The table as it grows.
#[derive(Debug)]
pub(crate) struct Report {
    tools: Vec<Tool>,
    rows: Vec<(String, BTreeMap<Tool, Figure>)>,
    failures: Vec<String>,
}

impl Report {
    pub(crate) fn new(tools: Vec<Tool>) -> Self {
        Self { tools, rows: Vec::new(), failures: Vec::new() }
    }

    /// Enters a figure, and says it at once: a long run is worth watching.
    pub(crate) fn enter(&mut self, what: &str, tool: Tool, figure: Figure) {
        println!("{what:58} {:10} {}", tool.name(), figure.show());
        self.put(what, tool, figure);
    }

    pub(crate) fn put(&mut self, what: &str, tool: Tool, figure: Figure) {
        match self.rows.iter_mut().find(|(row, _)| row == what) {
            Some((_, cells)) => drop(cells.insert(tool, figure)),
            None => self.rows.push((what.to_owned(), BTreeMap::from([(tool, figure)]))),
        }
    }

    /// Notes that a figure could not be had.
    pub(crate) fn fail(&mut self, what: &str, tool: Tool, error: &anyhow::Error) {
        println!("{what:58} {:10} failed: {error:#}", tool.name());
        self.failures.push(format!("{what}, {}: {error:#}", tool.name()));
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.failures.is_empty()
    }

    pub(crate) fn table(&self) -> String {
        let used: Vec<Tool> = self
            .tools
            .iter()
            .copied()
            .filter(|tool| self.rows.iter().any(|(_, cells)| cells.contains_key(tool)))
            .collect();
        let mut table = String::from("| median |");
        for tool in &used {
            let _ = write!(table, " {} |", tool.name());
        }
        let _ = writeln!(table, "\n| --- |{}", " --- |".repeat(used.len()));
        for (what, cells) in &self.rows {
            let _ = write!(table, "| {what} |");
            let ours = cells.get(&Tool::Synctl).and_then(|figure| figure.percentile(50));
            for tool in &used {
                let shown = cells.get(tool).map_or_else(|| "–".to_owned(), |figure| cell(*tool, figure, ours));
                let _ = write!(table, " {shown} |");
            }
            table.push('\n');
        }
        for failure in &self.failures {
            let _ = writeln!(table, "\nnot measured: {failure}");
        }
        table
    }
}

/// A figure, and for a peer how many times ours it is.
fn cell(tool: Tool, figure: &Figure, ours: Option<f64>) -> String {
    let ratio =
        ours.filter(|ours| *ours > 0.0 && tool != Tool::Synctl).and_then(|ours| Some(figure.percentile(50)? / ours));
    match ratio {
        Some(ratio) if ratio >= 10.0 => format!("{} ({ratio:.0}×)", figure.show()),
        Some(ratio) if ratio < 0.1 => format!("{} ({ratio:.3}×)", figure.show()),
        Some(ratio) => format!("{} ({ratio:.2}×)", figure.show()),
        None => figure.show(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_and_units() {
        let figure = Figure::new(Unit::Seconds, (1..=200).rev().map(f64::from));
        assert_eq!((figure.percentile(50), figure.percentile(99)), (Some(100.0), Some(198.0)));
        assert_eq!(Figure::new(Unit::Bytes, []).percentile(50), None);
        let check = |unit: Unit, value: f64, expected: &str| assert_eq!(unit.show(value), expected);
        check(Unit::Seconds, 0.000_61, "610 µs");
        check(Unit::Seconds, 0.0021, "2.10 ms");
        check(Unit::Seconds, 0.0263, "26.3 ms");
        check(Unit::Seconds, 0.124, "124 ms");
        check(Unit::Seconds, 6.3, "6.30 s");
        check(Unit::Bytes, 48.0, "48 B");
        check(Unit::Share, 0.006, "0.60 %");
    }

    #[test]
    fn the_table_compares_with_synctl() {
        let mut report = Report::new(vec![Tool::Synctl, Tool::Rsync, Tool::Mutagen]);
        report.enter("a save", Tool::Synctl, Figure::latencies(&[Duration::from_millis(1); 100], 0));
        report.enter("a save", Tool::Rsync, Figure::latencies(&[Duration::from_millis(150); 10], 1));
        let table = report.table();
        assert!(table.contains("| median | synctl | rsync |\n| --- | --- | --- |\n"), "{table}");
        let row = "| a save | 1.00 ms, p99 1.00 ms (n 100) | 150 ms, max 150 ms (n 10), lost 1 (150×) |";
        assert!(table.contains(row), "{table}");
    }
}

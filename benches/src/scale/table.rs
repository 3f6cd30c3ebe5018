//! The table of a run: each figure with what it stands beside and the goal it is held to.

use std::fmt::Write as _;

/// Rows in the order in which they were measured.
#[derive(Debug, Default)]
pub(super) struct Table(Vec<Row>);

#[derive(Debug)]
struct Row {
    what: String,
    figure: String,
    beside: String,
    goal: String,
    met: Option<bool>,
}

impl Table {
    /// A figure that is held to a goal.
    pub(super) fn enter(&mut self, what: &str, figure: String, beside: String, goal: &str, met: bool) {
        self.push(Row { what: what.to_owned(), figure, beside, goal: goal.to_owned(), met: Some(met) });
    }

    /// A figure without a goal.
    pub(super) fn note(&mut self, what: &str, figure: String, beside: String) {
        self.push(Row { what: what.to_owned(), figure, beside, goal: String::new(), met: None });
    }

    /// What could not be measured here.
    pub(super) fn leave_out(&mut self, what: &str, why: &str) {
        self.push(Row {
            what: what.to_owned(),
            figure: format!("left out: {why}"),
            beside: String::new(),
            goal: String::new(),
            met: None,
        });
    }

    /// Says a row at once, too: a long run is worth watching.
    fn push(&mut self, row: Row) {
        println!("{:60} {} | {} | {} {}", row.what, row.figure, row.beside, row.goal, row.verdict());
        self.0.push(row);
    }

    pub(super) fn show(&self) -> String {
        let mut table = String::from("| what | figure | beside it | goal | met |\n| --- | --- | --- | --- | --- |\n");
        for row in &self.0 {
            let Row { what, figure, beside, goal, .. } = row;
            let _ = writeln!(table, "| {what} | {figure} | {beside} | {goal} | {} |", row.verdict());
        }
        table
    }
}

impl Row {
    fn verdict(&self) -> &'static str {
        match self.met {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "",
        }
    }
}

/// The smallest value that `percent` of the values do not exceed.
pub(super) fn percentile(values: &[f64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

pub(super) fn median(values: &[f64]) -> f64 {
    percentile(values, 50)
}

/// Seconds for a person.
pub(super) fn seconds(value: f64) -> String {
    if value < 0.009_95 {
        format!("{:.2} ms", value * 1e3)
    } else if value < 1.0 {
        format!("{:.0} ms", value * 1e3)
    } else {
        format!("{value:.2} s")
    }
}

/// Bytes for a person.
pub(super) fn bytes(value: f64) -> String {
    if value.abs() < 9_950.0 {
        format!("{value:.0} B")
    } else if value.abs() < 999_500.0 {
        format!("{:.0} KB", value / 1e3)
    } else {
        format!("{:.1} MB", value / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_what_is_met() {
        let mut table = Table::default();
        table.enter("a", seconds(0.001_5), bytes(12_000.0), "≤ 2 ms", true);
        table.note("b", seconds(2.0), String::new());
        let shown = table.show();
        assert!(
            shown.contains("| a | 1.50 ms | 12 KB | ≤ 2 ms | yes |") && shown.contains("| b | 2.00 s |"),
            "{shown}"
        );
        assert_eq!((median(&[3.0, 1.0, 2.0]), percentile(&[3.0, 1.0, 2.0], 99), median(&[])), (2.0, 3.0, 0.0));
    }
}

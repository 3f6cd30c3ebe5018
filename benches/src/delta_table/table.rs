//! The table as it grows: a row a tool, beneath each pair.

use std::fmt::Write as _;
use std::time::Duration;

use crate::pairs::{Goal, Pair};

/// What a delta costs.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cost {
    pub(crate) bytes: Option<usize>,
    pub(crate) encode: Option<Duration>,
    pub(crate) decode: Option<Duration>,
}

#[derive(Debug)]
struct Section {
    title: String,
    goal: Goal,
    rows: Vec<(&'static str, Cost)>,
}

#[derive(Debug, Default)]
pub(crate) struct Table {
    sections: Vec<Section>,
    failures: Vec<String>,
}

impl Table {
    pub(crate) fn begin(&mut self, pair: &Pair) {
        let title = format!("{} ({} to {} B)", pair.name, grouped(pair.old.len()), grouped(pair.new.len()));
        println!("{title}");
        self.sections.push(Section { title, goal: pair.goal, rows: Vec::new() });
    }

    /// Enters a row of the pair that was begun last, and says it at once.
    pub(crate) fn enter(&mut self, tool: &'static str, cost: Cost) {
        println!("  {tool:24} {}", cost.show());
        if let Some(section) = self.sections.last_mut() {
            section.rows.push((tool, cost));
        }
    }

    /// Notes that a pair could not be measured.
    pub(crate) fn fail(&mut self, what: &str, error: &anyhow::Error) {
        println!("{what}: {error:#}");
        self.failures.push(format!("{what}: {error:#}"));
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.failures.is_empty()
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text = String::from("| pair | tool | bytes | of the goal | encode, CPU | decode, CPU |\n");
        text.push_str("| --- | --- | --- | --- | --- | --- |\n");
        for section in &self.sections {
            let goal = section.goal_bytes();
            for (index, (tool, cost)) in section.rows.iter().enumerate() {
                let title = if index == 0 { &section.title } else { "" };
                let share = cost.bytes.zip(goal).map(|(bytes, goal)| format!("{:.2}", bytes as f64 / goal));
                let share = share.as_deref().unwrap_or("–");
                let _ = writeln!(
                    text,
                    "| {title} | {tool} | {} | {share} | {} | {} |",
                    bytes(cost.bytes),
                    time(cost.encode),
                    time(cost.decode)
                );
            }
        }
        for failure in &self.failures {
            let _ = writeln!(text, "\nnot measured: {failure}");
        }
        text
    }
}

impl Section {
    /// What the goal comes to, where that can be said.
    fn goal_bytes(&self) -> Option<f64> {
        match self.goal {
            Goal::Bytes(bytes) => Some(bytes as f64),
            Goal::OfXdelta(times) => {
                let (_, cost) = self.rows.iter().find(|(tool, _)| *tool == "xdelta3 -9")?;
                Some(cost.bytes? as f64 * times)
            }
        }
    }
}

impl Cost {
    fn show(&self) -> String {
        format!("{:>12} B  encode {:>10}  decode {:>10}", bytes(self.bytes), time(self.encode), time(self.decode))
    }
}

fn bytes(bytes: Option<usize>) -> String {
    bytes.map_or_else(|| "–".to_owned(), grouped)
}

fn time(time: Option<Duration>) -> String {
    time.map_or_else(|| "–".to_owned(), |time| format!("{:.2} ms", time.as_secs_f64() * 1e3))
}

/// A number with a comma after each three digits.
fn grouped(number: usize) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_goal_may_depend_on_a_row() {
        let rows = vec![
            ("synctl, fast", Cost { bytes: Some(1_200), ..Cost::default() }),
            ("xdelta3 -9", Cost { bytes: Some(1_000), ..Cost::default() }),
        ];
        let section = Section { title: "pair".to_owned(), goal: Goal::OfXdelta(1.2), rows };
        let table = Table { sections: vec![section], failures: Vec::new() };
        let markdown = table.markdown();
        assert!(markdown.contains("| pair | synctl, fast | 1,200 | 1.00 | – | – |"), "{markdown}");
        assert!(markdown.contains("|  | xdelta3 -9 | 1,000 | 0.83 | – | – |"), "{markdown}");
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([5, 999, 1_000, 1_234_567].map(grouped), ["5", "999", "1,000", "1,234,567"]);
    }
}

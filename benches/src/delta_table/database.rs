//! A SQLite file, and what it is after some rows were updated.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process::{finish, installed};
use crate::tree::Random;

const ROWS: usize = 100_000;
const UPDATES: usize = 700;
/// Words of a row's text: with them the file has about 41 MB.
const ROW_WORDS: usize = 40;

const WORDS: [&str; 16] = [
    "index", "path", "entry", "stage", "commit", "tree", "delta", "chunk", "engine", "replica", "session", "link",
    "store", "batch", "plan", "base",
];

fn words(random: &mut Random, count: usize) -> String {
    let mut text = String::new();
    for _ in 0..count {
        let word = WORDS.get(random.below(WORDS.len())).copied().unwrap_or_default();
        let _ = write!(text, "{word}{} ", random.below(1_000));
    }
    text
}

/// Writes the file before and after the updates.
pub(crate) fn make(old: &Path, new: &Path) -> Result<()> {
    let mut random = Random::new(1);
    let mut rows =
        String::from("BEGIN; CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT, amount INTEGER, note TEXT);\n");
    for row in 0..ROWS {
        let (amount, note) = (random.next() >> 34, words(&mut random, ROW_WORDS));
        let _ = writeln!(rows, "INSERT INTO item VALUES({row}, 'item {row}', {amount}, '{note}');");
    }
    rows.push_str("CREATE INDEX by_amount ON item(amount); COMMIT;\n");
    let mut updates = String::from("BEGIN;\n");
    for _ in 0..UPDATES {
        let (amount, note, row) = (random.next() >> 34, words(&mut random, 4), random.below(ROWS));
        let _ = writeln!(
            updates,
            "UPDATE item SET amount = {amount}, note = '{note}' || substr(note, {}) WHERE id = {row};",
            note.len() + 1
        );
    }
    updates.push_str("COMMIT;\n");
    let _ = std::fs::remove_file(old);
    execute(old, &rows)?;
    std::fs::copy(old, new)?;
    execute(new, &updates)
}

/// By the program `sqlite3`, or by the module that Python brings along.
fn execute(database: &Path, statements: &str) -> Result<()> {
    let script = database.with_extension("sql");
    std::fs::write(&script, statements)?;
    let mut command = if let Some(program) = installed("sqlite3") {
        let mut command = Command::new(program);
        command.arg("-bail").arg(database).arg(format!(".read {}", script.display()));
        command
    } else {
        let python =
            installed("python3").context("neither sqlite3 nor python3 is installed: no SQLite file can be made")?;
        let mut command = Command::new(python);
        command
            .arg("-c")
            .arg("import sqlite3, sys; sqlite3.connect(sys.argv[1]).executescript(open(sys.argv[2]).read())");
        command.arg(database).arg(&script);
        command
    };
    finish(&mut command, Duration::from_secs(300))?;
    std::fs::remove_file(script)?;
    Ok(())
}

//! A program that is built, and built again after an edit: a megabyte of machine code in which nearly every address moves.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process::finish;

/// Parts of the program: about 30 KB of code each.
const PARTS: usize = 35;

/// Types of fields, and values of them. `#` becomes a number.
const FIELDS: [(&str, &str); 10] = [
    ("u8", "7"),
    ("u16", "300"),
    ("u32", "70_0#"),
    ("u64", "5_000_000_0#"),
    ("i32", "-5#"),
    ("String", "\"text #\".to_owned()"),
    ("Vec<u8>", "vec![1, 2, #]"),
    ("Option<u32>", "Some(#)"),
    ("(u16, String)", "(4, \"pair #\".to_owned())"),
    ("char", "'q'"),
];

/// The program's text; where `edited`, a constant is another and one part has one function more.
fn text(edited: bool) -> String {
    let mut text: String = (0..PARTS).map(part).collect();
    let (sum, added) = if edited { (43, "sum += part_17::added(&input).len();") } else { (42, "") };
    if edited {
        let function = "pub fn added(input: &str) -> Vec<String> {
            let mut words: Vec<String> = input.split(',').map(|word| word.trim().to_uppercase()).collect();
            words.sort();
            words.dedup();
            words
        }";
        text = text.replace("mod part_17 {", &format!("mod part_17 {{ {function}"));
    }
    let calls: String = (0..PARTS).map(|number| format!("sum += part_{number}::run(&input);\n")).collect();
    let input = "std::env::args().collect::<Vec<_>>().join(\" \")";
    let _ = write!(
        text,
        "fn main() {{ let input = {input}; let mut sum = {sum}; {calls} {added} println!(\"{{sum}}\"); }}"
    );
    text
}

/// A record with some fields, and what is done with many of it: maps, sorting, formatting, each of a type of its own.
fn part(number: usize) -> String {
    let chosen =
        (0..3 + number % 3).filter_map(|field| FIELDS.get((number * 7 + field * 3 + number / 10) % FIELDS.len()));
    let (mut fields, mut values) = (String::new(), String::new());
    for (field, (kind, value)) in chosen.enumerate() {
        let _ = write!(fields, "f{field}: {kind}, ");
        let _ = write!(values, "f{field}: {}, ", value.replace('#', &(number + field).to_string()));
    }
    format!(
        "mod part_{number} {{
            use std::collections::{{BTreeMap, HashMap}};
            use std::fmt::Write as _;
            #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
            pub struct Record{number} {{ {fields} }}
            pub fn run(input: &str) -> usize {{
                let (mut ordered, mut seen) = (BTreeMap::new(), HashMap::<Record{number}, usize>::new());
                for (index, word) in input.split_whitespace().enumerate() {{
                    let record = Record{number} {{ {values} }};
                    ordered.insert((word.len() * {}, record.clone()), index);
                    *seen.entry(record).or_default() += word.len();
                }}
                let mut text = String::new();
                for (key, value) in &ordered {{ let _ = writeln!(text, \"part {number} {{key:?}} {{value:>8}}\"); }}
                let mut all: Vec<_> = seen.into_iter().collect();
                all.sort_by(|a, b| b.cmp(a));
                text.len() + all.len()
            }}
        }}\n",
        number + 3
    )
}

/// Writes both builds.
pub(crate) fn make(old: &Path, new: &Path) -> Result<()> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    for (path, edited) in [(old, false), (new, true)] {
        let source = path.with_extension("rs");
        std::fs::write(&source, text(edited))?;
        let mut command = Command::new(&rustc);
        command.args([
            "--edition=2021",
            "--crate-name=rebuilt",
            "-Copt-level=1",
            "-Cstrip=symbols",
            "-Ccodegen-units=1",
        ]);
        finish(command.arg("-o").arg(path).arg(&source), Duration::from_secs(600)).context("a program to rebuild")?;
    }
    Ok(())
}

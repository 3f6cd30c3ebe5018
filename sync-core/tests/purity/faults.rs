//! `docs/faults.md` has a row for each fault, and names tests that exist: all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::workspace;

/// How many faults there are.
const FAULTS: usize = 45;
/// Where tests are.
const SOURCES: [&str; 3] = ["sync-cli/tests", "sync-core/src", "sync-core/tests"];

/// The tests that each row names, by number.
fn rows(document: &str) -> Vec<(usize, BTreeSet<String>)> {
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let rows = document.lines().map(cells).filter(|cells| cells.len() == 7);
    rows.filter_map(|cells| Some((cells[1].parse().ok()?, names(&cells[3])))).collect()
}

fn names(cell: &str) -> BTreeSet<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The functions of a source that are marked as tests.
fn tests(source: &str) -> BTreeSet<String> {
    let marked = |block: &str| {
        let line = block.lines().find(|line| line.trim_start().starts_with("fn ") || line.contains("async fn "))?;
        let (_, rest) = line.split_once("fn ")?;
        Some(rest.split('(').next()?.to_owned())
    };
    source.split("test]\n").skip(1).filter_map(marked).collect()
}

fn all_tests(directory: &Path, found: &mut BTreeSet<String>) {
    for path in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            all_tests(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.extend(tests(&fs::read_to_string(&path).unwrap()));
        }
    }
}

/// What is wrong with the table, in words.
fn faults(document: &str, tests: &BTreeSet<String>) -> Vec<String> {
    let rows = rows(document);
    let mut wrong = Vec::new();
    let numbers: Vec<usize> = rows.iter().map(|(number, _)| *number).collect();
    if numbers != (1..=FAULTS).collect::<Vec<_>>() {
        wrong.push(format!("the rows are {numbers:?}"));
    }
    let rows: BTreeMap<usize, BTreeSet<String>> = rows.into_iter().collect();
    for (number, named) in &rows {
        let missing = named.difference(tests).map(|name| format!("{number}: there is no test {name}"));
        wrong.extend(missing);
        if named.is_empty() {
            wrong.push(format!("{number}: no test"));
        }
    }
    for test in tests {
        let number = test.strip_prefix("fault_").and_then(|rest| rest.split('_').next()?.parse().ok());
        if number.is_some_and(|number: usize| !rows.get(&number).is_some_and(|named| named.contains(test))) {
            wrong.push(format!("{test} is in no row of its number"));
        }
    }
    wrong
}

#[test]
fn every_fault_has_a_row_and_every_row_its_tests() {
    let root = workspace();
    let mut tests = BTreeSet::new();
    for source in SOURCES {
        all_tests(&root.join(source), &mut tests);
    }
    assert!(tests.len() > 100, "only {} tests are seen", tests.len());
    let wrong = faults(&fs::read_to_string(root.join("docs/faults.md")).unwrap(), &tests);
    assert!(wrong.is_empty(), "docs/faults.md:\n{}", wrong.join("\n"));
}

#[test]
fn faults_of_the_table_are_found() {
    let row = |number: usize, test: &str| format!("| {number} | fault | `{test}` | what happens | |\n");
    let whole: String = (1..=FAULTS).map(|number| row(number, &format!("fault_{number:02}_x"))).collect();
    let tests: BTreeSet<String> = (1..=FAULTS).map(|number| format!("fault_{number:02}_x")).collect();
    let check = |document: &str, expected: usize| {
        assert_eq!(faults(document, &tests).len(), expected, "{:?}", faults(document, &tests));
    };
    check(&whole, 0);
    check(&whole.replace("`fault_07_x`", ""), 2);
    check(&whole.replace("fault_07_x", "fault_07_y"), 2);
    check(&whole.replace(&row(9, "fault_09_x"), ""), 2);
    assert_eq!(
        tests_of("#[test]\n#[ignore = \"x\"]\nfn one() {}\n#[tokio::test]\nasync fn two(a: u8) {}\nfn no() {}"),
        ["one", "two"]
    );
}

fn tests_of(source: &str) -> Vec<String> {
    tests(source).into_iter().collect()
}

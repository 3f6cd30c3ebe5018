//! The pairs: a file as it was and as it is, and what its delta may cost.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::tree::Random;
use crate::{crates, database, program};

/// What was edited, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// One line of a source file of 18 KB
    Line,
    /// The next release of a crate's sources, as a tar
    Tar,
    /// A program of 1.2 MB, built again
    Binary,
    /// 700 updates in a SQLite file of 41 MB
    Sqlite,
    /// A byte inserted into 100 MB without structure
    Inserted,
    /// Insertions, removals and a move in 100 MB without structure
    Edits,
}

/// What the payload is to be at most.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Goal {
    Bytes(usize),
    /// So many times what `xdelta3 -9` makes of it.
    OfXdelta(f64),
}

/// A pair that can be made.
#[derive(Debug)]
pub(crate) struct Planned {
    kind: Kind,
    name: String,
    directory: PathBuf,
    releases: Option<crates::Releases>,
}

/// A pair that is there.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) name: String,
    pub(crate) goal: Goal,
    pub(crate) old_path: PathBuf,
    pub(crate) new_path: PathBuf,
    pub(crate) old: Vec<u8>,
    pub(crate) new: Vec<u8>,
}

impl Kind {
    pub(crate) const ALL: [Self; 6] = [Self::Line, Self::Tar, Self::Binary, Self::Sqlite, Self::Inserted, Self::Edits];

    fn goal(self) -> Goal {
        match self {
            Self::Line => Goal::Bytes(100),
            Self::Tar => Goal::OfXdelta(1.4),
            Self::Binary => Goal::OfXdelta(1.0),
            Self::Sqlite => Goal::OfXdelta(1.1),
            Self::Inserted => Goal::Bytes(1_000),
            Self::Edits => Goal::OfXdelta(1.1),
        }
    }

    /// The pairs of this kind, `tars` of those that there are several of.
    pub(crate) fn plan(self, directory: &Path, tars: usize) -> Vec<Planned> {
        let planned = |name: &str, releases| {
            let directory = directory.join(name.replace(' ', "-"));
            Planned { kind: self, name: name.to_owned(), directory, releases }
        };
        match self {
            Self::Line => vec![planned("one line in 18 KB", None)],
            Self::Tar => match crates::neighbours(tars) {
                Ok(found) => found
                    .into_iter()
                    .map(|it| {
                        planned(&format!("tar of {} {} to {}", it.name, it.old.version, it.new.version), Some(it))
                    })
                    .collect(),
                // Says itself, when it is made, what is missing.
                Err(_) => vec![planned("tar", None)],
            },
            Self::Binary => vec![planned("rebuilt binary", None)],
            Self::Sqlite => vec![planned("700 updates in SQLite", None)],
            Self::Inserted => vec![planned("1 byte in 100 MB", None)],
            Self::Edits => vec![planned("12 edits in 100 MB", None)],
        }
    }
}

impl Planned {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Makes the files, unless they are there.
    pub(crate) fn make(&self) -> Result<Pair> {
        let (old_path, new_path) = (self.directory.join("old"), self.directory.join("new"));
        if !old_path.is_file() || !new_path.is_file() {
            // Under another name until both are whole.
            let unfinished = self.directory.with_extension("unfinished");
            let _ = fs::remove_dir_all(&unfinished);
            fs::create_dir_all(&unfinished)?;
            self.write(&unfinished.join("old"), &unfinished.join("new"))?;
            fs::rename(&unfinished, &self.directory).with_context(|| self.directory.display().to_string())?;
        }
        let (old, new) = (fs::read(&old_path)?, fs::read(&new_path)?);
        Ok(Pair { name: self.name.clone(), goal: self.kind.goal(), old_path, new_path, old, new })
    }

    fn write(&self, old: &Path, new: &Path) -> Result<()> {
        match self.kind {
            Kind::Binary => return program::make(old, new),
            Kind::Sqlite => return database::make(old, new),
            _ => {}
        }
        let (before, after) = match self.kind {
            Kind::Line => line()?,
            Kind::Inserted => inserted(),
            Kind::Edits => edits(),
            _ => {
                let it = self.releases.as_ref().context("cargo has no two releases of one crate at hand")?;
                (it.old.tar()?, it.new.tar()?)
            }
        };
        fs::write(old, before)?;
        fs::write(new, after)?;
        Ok(())
    }
}

/// A source file, and the same with a line in the middle that says something else.
fn line() -> Result<(Vec<u8>, Vec<u8>)> {
    let old = fs::read_to_string(crates::source_of_about(18_000)?)?;
    let (first, second) = old.split_at(old.char_indices().nth(old.chars().count() / 2).context("an empty source")?.0);
    let line = second.lines().skip(1).map(str::trim).find(|line| line.len() > 20).context("no line to speak of")?;
    let new = format!("{first}{}", second.replacen(line, "let outcome = self.commit(path, entry)?;", 1));
    Ok((old.into_bytes(), new.into_bytes()))
}

const NOISE_BYTES: usize = 100_000_000;

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut noise: Vec<u8> = (0..len.div_ceil(8)).flat_map(|_| random.next().to_le_bytes()).collect();
    noise.truncate(len);
    noise
}

fn inserted() -> (Vec<u8>, Vec<u8>) {
    let old = noise(3, NOISE_BYTES);
    let mut new = old.clone();
    new.insert(NOISE_BYTES / 2, b'x');
    (old, new)
}

/// Twelve edits, spread over the whole, by which nearly all moves: no trim and no block at its old place finds it.
fn edits() -> (Vec<u8>, Vec<u8>) {
    let old = noise(4, NOISE_BYTES);
    let mut new = old.clone();
    for edit in 1..=11 {
        let at = NOISE_BYTES / 12 * edit;
        let inserted = noise(edit as u64, 100 * edit);
        new.splice(at..at + 50 * (edit % 3), inserted);
    }
    let moved: Vec<u8> = new.drain(20_000_000..21_000_000).collect();
    new.splice(70_000_000..70_000_000, moved);
    (old, new)
}

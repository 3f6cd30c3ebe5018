//! The compiled lines of one ignore file: which of them, if any, decides over a path.

use std::sync::Arc;

use globset::{Candidate, GlobBuilder, GlobSet, GlobSetBuilder};
use sync_proto::limits::{IGNORE_PATTERN_BYTES_MAX, IGNORE_PATTERNS_MAX};

use super::{
    IGNORE_FILE_BYTES_MAX,
    budget::{Budget, Spent, cost},
    pattern::{self, PatternError},
};

/// Globs that are compiled together, and what they may cost. Bounded, so that no file makes one automaton too large to
/// build: what building takes is far more than what is kept.
const GLOBS_PER_SET_MAX: usize = 256;
const COST_PER_SET_MAX: usize = 128 << 10;

/// A line that takes part in matching.
#[derive(Debug)]
pub(super) struct Line {
    /// Counts from 1.
    pub(super) number: u32,
    /// As it was written, trimmed.
    pub(super) text: Box<[u8]>,
    pub(super) negated: bool,
    directory_only: bool,
}

/// The lines of one ignore file. Immutable; shared by every snapshot of the rules that has the file.
#[derive(Debug, Default)]
pub(super) struct PatternSet {
    /// In file order, with the lines that their globs came from at the same index.
    sets: Vec<(GlobSet, Vec<Line>)>,
    problems: Vec<(u32, PatternError)>,
    /// Recognises the same content when it is read again.
    source: Option<blake3::Hash>,
    /// What it cost, given back when it is dropped.
    spent: Spent,
}

impl PatternSet {
    /// Compiles the content of a file. What is beyond [`IGNORE_FILE_BYTES_MAX`] or can't be understood matches nothing
    /// and is listed in [`Self::problems`].
    pub(super) fn from_file(bytes: &[u8], budget: &Budget) -> Self {
        let source = Some(blake3::hash(bytes));
        let obeyed = match bytes.get(..IGNORE_FILE_BYTES_MAX) {
            // A pattern cut in two would be another pattern: the last, partial line goes.
            Some(head) if bytes.len() > head.len() => {
                head.iter().rposition(|&byte| byte == b'\n').and_then(|end| head.get(..end)).unwrap_or_default()
            }
            _ => bytes,
        };
        let text = obeyed.strip_prefix(b"\xef\xbb\xbf").unwrap_or(obeyed);
        let mut set = Self { source, ..Self::from_lines(text.split(|&byte| byte == b'\n'), budget) };
        if obeyed.len() < bytes.len() {
            let cut_at = obeyed.iter().filter(|&&byte| byte == b'\n').count() + 2;
            set.problems.push((u32::try_from(cut_at).unwrap_or(u32::MAX), PatternError::TooLarge));
        }
        set
    }

    /// Compiles lines in gitignore syntax, as long as the budget lasts.
    pub(super) fn from_lines<'a>(lines: impl IntoIterator<Item = &'a [u8]>, budget: &Budget) -> Self {
        let mut set = Self::default();
        let mut spent = budget.begin();
        let mut pending = Vec::new();
        let mut pending_cost = 0;
        let mut count = 0;
        for (number, line) in (1..=u32::MAX).zip(lines) {
            let text = pattern::trim(line);
            let parsed = match pattern::parse(text) {
                Ok(None) => continue,
                Ok(Some(_)) if count >= IGNORE_PATTERNS_MAX || text.len() > IGNORE_PATTERN_BYTES_MAX => {
                    Err(PatternError::TooLarge)
                }
                Ok(Some(_)) if !spent.spend(text) => {
                    set.problems.push((number, PatternError::TooMuch));
                    break;
                }
                Ok(Some(parsed)) => Ok(parsed),
                Err(error) => Err(error),
            };
            let compiled = parsed.and_then(|parsed| {
                let glob = GlobBuilder::new(&parsed.glob).literal_separator(true).backslash_escape(true).build();
                glob.map(|glob| (glob, parsed)).map_err(|_| PatternError::Refused)
            });
            match compiled {
                Ok((glob, parsed)) => {
                    count += 1;
                    let (negated, directory_only) = (parsed.negated, parsed.directory_only);
                    pending.push((glob, Line { number, text: text.into(), negated, directory_only }));
                    pending_cost += cost(text);
                    if pending.len() == GLOBS_PER_SET_MAX || pending_cost >= COST_PER_SET_MAX {
                        set.compile(std::mem::take(&mut pending));
                        pending_cost = 0;
                    }
                }
                // One line too many is reported once, not once a line.
                Err(PatternError::TooLarge) if count >= IGNORE_PATTERNS_MAX => {
                    set.problems.push((number, PatternError::TooLarge));
                    break;
                }
                Err(error) => set.problems.push((number, error)),
            }
        }
        set.compile(pending);
        set.spent = spent;
        set
    }

    /// Adds globs behind those that are there. Where they are too much for one automaton, in smaller parts.
    fn compile(&mut self, mut globs: Vec<(globset::Glob, Line)>) {
        if globs.is_empty() {
            return;
        }
        let mut builder = GlobSetBuilder::new();
        for (glob, _) in &globs {
            builder.add(glob.clone());
        }
        match builder.build() {
            Ok(set) => self.sets.push((set, globs.into_iter().map(|(_, line)| line).collect())),
            Err(_) if globs.len() > 1 => {
                let rest = globs.split_off(globs.len() / 2);
                self.compile(globs);
                self.compile(rest);
            }
            Err(_) => self.problems.extend(globs.iter().map(|(_, line)| (line.number, PatternError::Refused))),
        }
    }

    /// The line that decides over a path relative to the file's directory: the last that matches.
    pub(super) fn decide(&self, path: &Candidate<'_>, is_dir: bool) -> Option<&Line> {
        // Without a match no memory is taken, and no match is the rule.
        let mut matches = Vec::new();
        self.sets.iter().rev().find_map(|(set, lines)| {
            set.matches_candidate_into(path, &mut matches);
            matches.iter().rev().filter_map(|&index| lines.get(index)).find(|line| is_dir || !line.directory_only)
        })
    }

    /// Lines that match nothing, by number, and why.
    pub(super) fn problems(&self) -> &[(u32, PatternError)] {
        &self.problems
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sets.is_empty()
    }

    /// This set again where `bytes` are what it was compiled from, else a new one.
    pub(super) fn reuse_or_compile(known: Option<&Arc<Self>>, bytes: &[u8], budget: &Budget) -> Arc<Self> {
        match known {
            Some(known) if known.source == Some(blake3::hash(bytes)) => known.clone(),
            _ => Arc::new(Self::from_file(bytes, budget)),
        }
    }
}

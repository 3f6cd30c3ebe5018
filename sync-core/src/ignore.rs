//! Which paths take part in synchronisation.
//!
//! Strongest first: the session's own patterns (`--ignore`), `.syncignore` files, `.gitignore` files (of each, a deeper
//! directory's before a shallower's), the default list, version control directories. The first of these with a pattern that
//! matches a path decides; in one file the last line that matches. A `!` brings a path back against everything weaker,
//! but nothing comes back beneath a directory that is left out: such a directory is never entered. Patterns have git's
//! syntax and meaning; `.git/info/exclude`, `core.excludesFile` and ignore files above the root are not read.
//!
//! `.synctl`, in any spelling of its case and at any depth, takes no part whatever the patterns say: it is this program's own.
//!
//! [`Protected`] is another question: what the other side may not change on a person's machine, whether it takes part or not.
//!
//! [`Scope`] answers for one directory and is what a scan carries downwards, from several threads at once. [`Rules`]
//! answers for any path and is the immutable result of a scan: live edits of an ignore file make new rules, old
//! snapshots go on answering as before. Nothing here reads the disk: content of ignore files is an argument.

mod alias;
mod budget;
mod defaults;
mod pattern;
mod pattern_set;
mod protected;
mod rules;
mod scope;
#[cfg(test)]
mod tests;

use std::fmt;

use sync_proto::{Name, SyncPath, escape::Escaped};

pub use self::{
    defaults::{default_patterns, vcs_patterns},
    pattern::PatternError,
    protected::{NotProtected, Protected, ProtectedName, protected_names},
    rules::{Rules, RulesBuilder},
    scope::Scope,
};

/// How much of an ignore file is obeyed, in bytes.
pub const IGNORE_FILE_BYTES_MAX: usize = 1 << 20;

/// The kinds of ignore files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IgnoreFile {
    /// `.gitignore`: git's own, obeyed unless the session says otherwise.
    Gitignore,
    /// `.syncignore`: the same syntax, for synchronisation alone. Stronger than `.gitignore`.
    Syncignore,
}

/// Which kind of ignore file has this name, if any.
pub fn ignore_file(name: Name<'_>) -> Option<IgnoreFile> {
    match name.as_bytes() {
        b".gitignore" => Some(IgnoreFile::Gitignore),
        b".syncignore" => Some(IgnoreFile::Syncignore),
        _ => None,
    }
}

impl IgnoreFile {
    /// The name of such a file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gitignore => ".gitignore",
            Self::Syncignore => ".syncignore",
        }
    }
}

/// A pattern of the session that can't be obeyed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("ignore pattern `{pattern}`: {source}")]
pub struct IgnoreError {
    /// The pattern, safe to show.
    pub pattern: String,
    /// What is wrong with it.
    pub source: PatternError,
}

/// A line of an ignore file that is not obeyed. The others are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IgnoreProblem {
    /// The directory of the file.
    pub dir: SyncPath,
    /// Which of its ignore files.
    pub file: IgnoreFile,
    /// The line, counted from 1. With [`PatternError::TooLarge`] it may be the first of all that follow.
    pub line: u32,
    /// What is wrong with it.
    pub error: PatternError,
}

impl fmt::Display for IgnoreProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, line {}: {}", FileName(&self.dir, self.file), self.line, self.error)
    }
}

/// Why a path takes no part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// The path that is left out: the one asked for or the directory above it that holds it back.
    pub path: SyncPath,
    /// The pattern that does it, as it was written.
    pub pattern: Box<[u8]>,
    /// Where the pattern stands.
    pub source: Source,
}

/// Where a pattern stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// In the session's own patterns.
    Session,
    /// In an ignore file.
    File {
        /// The directory of the file.
        dir: SyncPath,
        /// Which of its ignore files.
        file: IgnoreFile,
        /// The line, counted from 1.
        line: u32,
    },
    /// In the default list, and what it is there for.
    Default(&'static str),
    /// In the list of version control directories.
    Vcs,
    /// This program's own directory.
    Reserved,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is ignored by `{}` ", self.path, Escaped(&self.pattern))?;
        match &self.source {
            Source::Session => write!(f, "given with --ignore"),
            Source::File { dir, file, line } => write!(f, "in {}, line {line}", FileName(dir, *file)),
            Source::Default(why) => write!(f, "in the default list ({why})"),
            Source::Vcs => write!(f, "in the list of version control directories"),
            Source::Reserved => write!(f, "which is never synchronised"),
        }
    }
}

/// The path of an ignore file, as shown.
struct FileName<'a>(&'a SyncPath, IgnoreFile);

impl fmt::Display for FileName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_root() { f.write_str(self.1.name()) } else { write!(f, "{}/{}", self.0, self.1.name()) }
    }
}

//! The rules as they are for one directory.

use std::sync::Arc;

use globset::Candidate;
use sync_proto::{
    Name, SyncPath,
    message::IgnoreSettings,
    reserved::{HOME, is_reserved},
};

use super::{
    IgnoreError, IgnoreFile, IgnoreProblem, Reason, Source,
    budget::Budget,
    defaults::{default_patterns, vcs_patterns},
    pattern,
    pattern_set::{Line, PatternSet},
};

/// What is the same in every directory.
#[derive(Debug)]
pub(super) struct Base {
    session: PatternSet,
    defaults: PatternSet,
    vcs: PatternSet,
    gitignore: bool,
    /// For all patterns of the tree.
    pub(super) budget: Budget,
}

/// The ignore files that stand in one directory.
#[derive(Debug, Clone, Default)]
pub(super) struct Files {
    pub(super) gitignore: Option<Arc<PatternSet>>,
    pub(super) syncignore: Option<Arc<PatternSet>>,
}

/// A directory with ignore files, and the nearest such directory above it.
#[derive(Debug)]
struct Level {
    dir: SyncPath,
    files: Files,
    above: Option<Arc<Self>>,
}

/// What a scan carries down: the rules as they are for the entries of one directory. A clone is O(1).
#[derive(Debug, Clone)]
pub struct Scope {
    base: Arc<Base>,
    dir: SyncPath,
    level: Option<Arc<Level>>,
    /// The reason why the directory itself takes no part. Then nothing in it does.
    excluded: Option<Arc<Reason>>,
}

impl Base {
    pub(super) fn new(settings: &IgnoreSettings) -> Result<Self, IgnoreError> {
        let budget = Budget::new();
        let session = PatternSet::from_lines(settings.patterns.iter().map(|pattern| &pattern[..]), &budget);
        if let Some(&(number, source)) = session.problems().first() {
            let index = usize::try_from(number).unwrap_or(usize::MAX).saturating_sub(1);
            let pattern = settings.patterns.get(index).map(|pattern| pattern::trim(pattern)).unwrap_or_default();
            return Err(IgnoreError { pattern: sync_proto::escape::Escaped(pattern).to_string(), source });
        }
        let list = |enabled: bool, patterns: &'static [(&'static str, &'static str)]| {
            let patterns = if enabled { patterns } else { &[] };
            PatternSet::from_lines(patterns.iter().map(|(pattern, _)| pattern.as_bytes()), &budget)
        };
        let defaults = list(settings.defaults, default_patterns());
        let vcs = list(!settings.vcs, vcs_patterns());
        Ok(Self { session, defaults, vcs, gitignore: settings.gitignore, budget })
    }

    /// Whether files of this kind are obeyed.
    pub(super) fn obeys(&self, file: IgnoreFile) -> bool {
        file == IgnoreFile::Syncignore || self.gitignore
    }
}

impl Files {
    pub(super) fn get(&self, file: IgnoreFile) -> Option<&Arc<PatternSet>> {
        match file {
            IgnoreFile::Gitignore => self.gitignore.as_ref(),
            IgnoreFile::Syncignore => self.syncignore.as_ref(),
        }
    }

    pub(super) fn set(&mut self, file: IgnoreFile, patterns: Option<Arc<PatternSet>>) {
        match file {
            IgnoreFile::Gitignore => self.gitignore = patterns,
            IgnoreFile::Syncignore => self.syncignore = patterns,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.gitignore.is_none() && self.syncignore.is_none()
    }

    /// Whether both were compiled once.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        [IgnoreFile::Gitignore, IgnoreFile::Syncignore].into_iter().all(|file| {
            match (self.get(file), other.get(file)) {
                (None, None) => true,
                (Some(left), Some(right)) => Arc::ptr_eq(left, right),
                _ => false,
            }
        })
    }
}

impl Scope {
    pub(super) fn new(base: Arc<Base>) -> Self {
        Self { base, dir: SyncPath::root(), level: None, excluded: None }
    }

    /// The directory that this scope is for.
    pub fn dir(&self) -> &SyncPath {
        &self.dir
    }

    /// Whether an entry of this directory takes no part.
    pub fn is_ignored(&self, name: Name<'_>, is_dir: bool) -> bool {
        self.excluded.is_some()
            || self.decide(name, is_dir).is_some_and(|(_, line)| line.is_none_or(|line| !line.negated))
    }

    /// Why an entry of this directory takes no part; `None`: it does.
    pub fn why(&self, name: Name<'_>, is_dir: bool) -> Option<Reason> {
        if let Some(excluded) = &self.excluded {
            return Some((**excluded).clone());
        }
        let (source, line) = self.decide(name, is_dir)?;
        let pattern = match line {
            Some(line) if line.negated => return None,
            Some(line) => line.text.clone(),
            None => HOME.as_bytes().into(),
        };
        let source = match (source, line) {
            (Layer::Session, _) => Source::Session,
            (Layer::File(dir, file), line) => {
                Source::File { dir: dir.clone(), file, line: line.map_or(0, |line| line.number) }
            }
            (Layer::Default, _) => {
                let why = default_patterns().iter().find(|(text, _)| text.as_bytes() == &pattern[..]);
                Source::Default(why.map_or("", |(_, why)| why))
            }
            (Layer::Vcs, _) => Source::Vcs,
            (Layer::Reserved, _) => Source::Reserved,
        };
        // A path too long to exist is not asked for by anyone who found it on a disk.
        let path = self.dir.join(name).unwrap_or_else(|_| self.dir.clone());
        Some(Reason { path, pattern, source })
    }

    /// The scope of a directory in this one. Its own ignore files are still to be added by [`Self::with_files`].
    ///
    /// A directory that takes no part need not be entered; in a scope that was, nothing takes part.
    pub fn enter(&self, name: Name<'_>) -> Self {
        let excluded = self.excluded.clone().or_else(|| self.why(name, true).map(Arc::new));
        match self.dir.join(name) {
            Ok(dir) => Self { base: self.base.clone(), dir, level: self.level.clone(), excluded },
            // Beyond the longest path nothing can be synchronised, so nothing takes part.
            Err(_) => {
                let reason =
                    Reason { path: self.dir.clone(), pattern: name.as_bytes().into(), source: Source::Reserved };
                Self { excluded: excluded.or_else(|| Some(Arc::new(reason))), ..self.clone() }
            }
        }
    }

    /// This scope with exactly these ignore files in its very directory, in place of those it had there. Files whose
    /// content is what it was before are not compiled again.
    pub fn with_files(&self, files: &[(IgnoreFile, &[u8])]) -> Self {
        let known = self.own_level().map(|level| &level.files);
        let mut new = Files::default();
        for &(file, bytes) in files {
            if self.base.obeys(file) {
                let known = known.and_then(|known| known.get(file));
                let patterns = PatternSet::reuse_or_compile(known, bytes, &self.base.budget);
                new.set(file, Some(patterns));
            }
        }
        self.with_own_files(new)
    }

    /// What can't be obeyed in the ignore files of this very directory.
    pub fn problems(&self) -> impl Iterator<Item = IgnoreProblem> + '_ {
        self.own_level().into_iter().flat_map(|level| problems(&level.dir, &level.files))
    }

    pub(super) fn with_own_files(&self, files: Files) -> Self {
        let above = match self.own_level() {
            Some(own) => own.above.clone(),
            None => self.level.clone(),
        };
        let level =
            if files.is_empty() { above } else { Some(Arc::new(Level { dir: self.dir.clone(), files, above })) };
        Self { level, ..self.clone() }
    }

    /// The ignore files in this very directory.
    pub(super) fn own_files(&self) -> Option<&Files> {
        self.own_level().map(|level| &level.files)
    }

    fn own_level(&self) -> Option<&Arc<Level>> {
        self.level.as_ref().filter(|level| level.dir == self.dir)
    }

    fn levels(&self) -> impl Iterator<Item = &Level> {
        std::iter::successors(self.level.as_deref(), |level| level.above.as_deref())
    }

    /// The strongest layer with an opinion on an entry of this directory, and the line that says it.
    fn decide(&self, name: Name<'_>, is_dir: bool) -> Option<(Layer<'_>, Option<&Line>)> {
        if is_reserved(name) {
            return Some((Layer::Reserved, None));
        }
        let mut path = Vec::with_capacity(self.dir.as_bytes().len() + 1 + name.as_bytes().len());
        path.extend_from_slice(self.dir.as_bytes());
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.as_bytes());
        let whole = Candidate::from_bytes(&path);
        let of_file = |file: IgnoreFile| {
            self.levels().find_map(|level| {
                let patterns = level.files.get(file).filter(|patterns| !patterns.is_empty())?;
                let line = patterns.decide(&relative(&path, &level.dir), is_dir)?;
                Some((Layer::File(&level.dir, file), Some(line)))
            })
        };
        let session = self.base.session.decide(&whole, is_dir).map(|line| (Layer::Session, Some(line)));
        session
            .or_else(|| of_file(IgnoreFile::Syncignore))
            .or_else(|| of_file(IgnoreFile::Gitignore))
            .or_else(|| self.base.defaults.decide(&whole, is_dir).map(|line| (Layer::Default, Some(line))))
            .or_else(|| self.base.vcs.decide(&whole, is_dir).map(|line| (Layer::Vcs, Some(line))))
    }
}

/// Where a decision came from.
#[derive(Debug, Clone, Copy)]
enum Layer<'a> {
    Reserved,
    Session,
    File(&'a SyncPath, IgnoreFile),
    Default,
    Vcs,
}

/// The path as the ignore files of `dir`, which it lies in, see it.
fn relative<'a>(path: &'a [u8], dir: &SyncPath) -> Candidate<'a> {
    let above_len = if dir.is_root() { 0 } else { dir.as_bytes().len() + 1 };
    Candidate::from_bytes(path.get(above_len..).unwrap_or(path))
}

pub(super) fn problems<'a>(dir: &'a SyncPath, files: &'a Files) -> impl Iterator<Item = IgnoreProblem> + 'a {
    [IgnoreFile::Gitignore, IgnoreFile::Syncignore].into_iter().flat_map(move |file| {
        let problems = files.get(file).map(|patterns| patterns.problems()).unwrap_or_default();
        problems.iter().map(move |&(line, error)| IgnoreProblem { dir: dir.clone(), file, line, error })
    })
}

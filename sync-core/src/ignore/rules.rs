//! The rules of a whole tree, as an immutable snapshot.

use std::{collections::BTreeMap, sync::Arc};

use sync_proto::{Name, SyncPath, message::IgnoreSettings};

use super::{
    IgnoreError, IgnoreFile, IgnoreProblem, Reason,
    pattern_set::PatternSet,
    scope::{self, Base, Files, Scope},
};

/// Which paths take part, for a whole tree. Immutable; a clone is O(1).
///
/// What makes changed rules copies the list of directories that have ignore files, and shares what was compiled. For
/// many changes at once use [`Self::edit`].
#[derive(Debug, Clone)]
pub struct Rules {
    base: Arc<Base>,
    files: Arc<BTreeMap<SyncPath, Files>>,
}

/// Assembles [`Rules`] from the ignore files of a tree, in any order.
#[derive(Debug)]
pub struct RulesBuilder {
    base: Arc<Base>,
    files: BTreeMap<SyncPath, Files>,
}

impl Rules {
    /// The rules of a tree without ignore files. Fails on a pattern of the session that can't be obeyed.
    pub fn new(settings: &IgnoreSettings) -> Result<Self, IgnoreError> {
        Ok(Self { base: Arc::new(Base::new(settings)?), files: Arc::default() })
    }

    /// Whether a path takes no part, by itself or with a directory above it. The root always does.
    pub fn is_ignored(&self, path: &SyncPath, is_dir: bool) -> bool {
        path.split_last().is_some_and(|(parent, name)| self.scope(&parent).is_ignored(name, is_dir))
    }

    /// Why a path takes no part; `None`: it does.
    pub fn why(&self, path: &SyncPath, is_dir: bool) -> Option<Reason> {
        let (parent, name) = path.split_last()?;
        self.scope(&parent).why(name, is_dir)
    }

    /// The scope of the root, with the ignore files that stand there.
    pub fn root_scope(&self) -> Scope {
        let scope = Scope::new(self.base.clone());
        match self.files.get(&SyncPath::root()) {
            Some(files) => scope.with_own_files(files.clone()),
            None => scope,
        }
    }

    /// The scope of a directory, with the ignore files that stand there and above.
    pub fn scope(&self, dir: &SyncPath) -> Scope {
        dir.components().fold(self.root_scope(), |scope, name| self.enter(&scope, name))
    }

    fn enter(&self, scope: &Scope, name: Name<'_>) -> Scope {
        let scope = scope.enter(name);
        match self.files.get(scope.dir()) {
            Some(files) => scope.with_own_files(files.clone()),
            None => scope,
        }
    }

    /// The rules with one ignore file replaced, or removed where there is no content.
    pub fn with_file(&self, dir: &SyncPath, file: IgnoreFile, content: Option<&[u8]>) -> Self {
        let mut builder = self.edit();
        match content {
            Some(content) => builder.insert(dir, file, content),
            None => builder.remove(dir, file),
        }
        builder.build()
    }

    /// The rules of the same session with exactly the ignore files that these scopes have in their own directories.
    pub fn with_scopes(&self, scopes: impl IntoIterator<Item = Scope>) -> Self {
        let mut builder = RulesBuilder { base: self.base.clone(), files: BTreeMap::new() };
        for scope in scopes {
            builder.insert_scope(&scope);
        }
        builder.build()
    }

    /// The rules without the ignore files in a directory and beneath it.
    pub fn without_below(&self, dir: &SyncPath) -> Self {
        let mut builder = self.edit();
        builder.remove_below(dir);
        builder.build()
    }

    /// The rules after a directory was renamed, its ignore files with it. What was known at `to` is forgotten.
    pub fn renamed(&self, from: &SyncPath, to: &SyncPath) -> Self {
        let mut builder = self.edit();
        builder.rename(from, to);
        builder.build()
    }

    /// A builder that starts with these rules, for many changes at once.
    pub fn edit(&self) -> RulesBuilder {
        RulesBuilder { base: self.base.clone(), files: (*self.files).clone() }
    }

    /// Directories whose own ignore files are others than in `before`; beneath all else nothing is otherwise. `None`: these are
    /// the rules of another session. O(1) where nothing has changed.
    pub fn changed_since(&self, before: &Self) -> Option<Vec<SyncPath>> {
        if !Arc::ptr_eq(&self.base, &before.base) {
            return None;
        }
        if Arc::ptr_eq(&self.files, &before.files) {
            return Some(Vec::new());
        }
        let other = |(dir, files): &(&SyncPath, &Files), than: &Self| {
            than.files.get(*dir).is_none_or(|there| !there.is_same(files))
        };
        let new = self.files.iter().filter(|item| other(item, before));
        let gone = before.files.iter().filter(|(dir, _)| !self.files.contains_key(*dir));
        Some(new.chain(gone).map(|(dir, _)| dir.clone()).collect())
    }

    /// Lines in ignore files that can't be obeyed.
    pub fn problems(&self) -> impl Iterator<Item = IgnoreProblem> + '_ {
        self.files.iter().flat_map(|(dir, files)| scope::problems(dir, files))
    }

    /// How many directories have ignore files.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether no directory has an ignore file.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }
}

impl RulesBuilder {
    /// Starts without ignore files. Fails on a pattern of the session that can't be obeyed.
    pub fn new(settings: &IgnoreSettings) -> Result<Self, IgnoreError> {
        Rules::new(settings).map(|rules| rules.edit())
    }

    /// Puts the content of an ignore file in place. Content that is what it was before is not compiled again.
    pub fn insert(&mut self, dir: &SyncPath, file: IgnoreFile, content: &[u8]) {
        if self.base.obeys(file) {
            let files = self.files.entry(dir.clone()).or_default();
            let patterns = PatternSet::reuse_or_compile(files.get(file), content, &self.base.budget);
            files.set(file, Some(patterns));
        }
    }

    /// Takes over the ignore files that a scope has in its own directory, compiled as they are.
    pub fn insert_scope(&mut self, scope: &Scope) {
        match scope.own_files() {
            Some(files) => self.files.insert(scope.dir().clone(), files.clone()),
            None => self.files.remove(scope.dir()),
        };
    }

    /// Forgets an ignore file.
    pub fn remove(&mut self, dir: &SyncPath, file: IgnoreFile) {
        if let Some(files) = self.files.get_mut(dir) {
            files.set(file, None);
            if files.is_empty() {
                self.files.remove(dir);
            }
        }
    }

    /// Forgets the ignore files in a directory and beneath it.
    pub fn remove_below(&mut self, dir: &SyncPath) {
        self.take_below(dir);
    }

    /// Follows the rename of a directory.
    pub fn rename(&mut self, from: &SyncPath, to: &SyncPath) {
        let moved = self.take_below(from);
        self.remove_below(to);
        for (dir, files) in moved {
            // Where the new path is too long to exist there is nothing to have rules for.
            if let Some(Ok(dir)) = dir.strip_prefix(from).map(|below| to.join_path(&below)) {
                self.files.insert(dir, files);
            }
        }
    }

    /// The rules as they are now.
    pub fn build(self) -> Rules {
        Rules { base: self.base, files: Arc::new(self.files) }
    }

    fn take_below(&mut self, dir: &SyncPath) -> Vec<(SyncPath, Files)> {
        // Order is by components, so that what is beneath a directory follows it without a gap.
        let below: Vec<_> = self
            .files
            .range(dir.clone()..)
            .map(|(path, _)| path.clone())
            .take_while(|path| path.starts_with(dir))
            .collect();
        below.into_iter().filter_map(|path| self.files.remove_entry(&path)).collect()
    }
}

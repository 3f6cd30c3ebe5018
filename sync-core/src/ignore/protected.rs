//! What the other side may not change on a person's machine.
//!
//! A peer that may write a project's files may write its programs; those run when their developer runs them. On this list
//! is what makes a machine run something *without being asked to*: by opening, entering or looking at a directory, or as a
//! side effect of a command that is about something else. What is a project's content (a Makefile, `build.rs`,
//! `package.json`, `flake.nix`, `node_modules`) can't be on it: to change that is what synchronisation is for. A home
//! directory has more of the kind than a list could name: it is not to be kept in sync two ways.
//!
//! A rule is a name, and stands for it at any depth, with everything beneath it, under [every spelling](super::alias) that a
//! file system takes for it. Any is taken off the list by its name. Pure.

use std::{collections::BTreeMap, fmt};

use sync_proto::{SyncPath, escape::Escaped};

use super::alias;

/// A name that the other side may not change, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProtectedName {
    /// The name in lower case; with `*` in front the end of one.
    pub name: &'static str,
    /// What would happen.
    pub why: &'static str,
    /// It is harmless as the name of a directory.
    leaf_only: bool,
}

/// The names that are out of the other side's reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protected {
    rules: BTreeMap<&'static str, ProtectedName>,
}

/// A name that was to be allowed, and is not on the list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is not protected, so there is nothing to allow")]
pub struct NotProtected {
    /// The name, safe to show.
    pub name: String,
}

impl Default for Protected {
    /// All that [`protected_names`] tells.
    fn default() -> Self {
        Self { rules: protected_names().map(|rule| (rule.name, rule)).collect() }
    }
}

impl Protected {
    /// Takes `name` off the list. A slash at its end is not minded.
    pub fn allow(&mut self, name: &str) -> Result<(), NotProtected> {
        let wanted = name.strip_suffix('/').unwrap_or(name).to_ascii_lowercase();
        match self.rules.remove(wanted.as_str()) {
            Some(_) => Ok(()),
            None => Err(NotProtected { name: Escaped(name.as_bytes()).to_string() }),
        }
    }

    /// Which rule keeps the other side from changing `path`. `is_leaf`: what stands or is to stand there is no directory.
    pub fn rule(&self, path: &SyncPath, is_leaf: bool) -> Option<ProtectedName> {
        let last = path.depth().checked_sub(1)?;
        path.components().enumerate().find_map(|(depth, name)| {
            let forms = alias::forms(name.as_bytes());
            let parts = forms.len();
            forms.iter().enumerate().find_map(|(part, form)| {
                let rule = self.rule_for(form)?;
                let at_leaf = is_leaf && depth == last && part + 1 == parts;
                (at_leaf || !rule.leaf_only).then_some(rule)
            })
        })
    }

    fn rule_for(&self, form: &str) -> Option<ProtectedName> {
        if let Some(rule) = self.rules.get(form) {
            return Some(*rule);
        }
        let is_meant = |rule: &&ProtectedName| match rule.name.strip_prefix('*') {
            Some(end) => form.ends_with(end),
            None => alias::is_short_for(form, rule.name),
        };
        // Most names have neither an end that is on the list nor the form of a short name.
        let may_be_short = form.contains('~');
        self.rules.values().filter(|rule| may_be_short || rule.name.starts_with('*')).find(is_meant).copied()
    }
}

impl ProtectedName {
    /// Why a change is refused, and how it is allowed. For a person.
    pub fn refusal(&self) -> String {
        format!("`{}` is not taken from the other side: {self}; if it is to be, say --allow '{}'", self.name, self.name)
    }
}

impl fmt::Display for ProtectedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.why)
    }
}

/// The whole list.
pub fn protected_names() -> impl Iterator<Item = ProtectedName> {
    let leaves = LEAVES.iter().map(|(name, why)| ProtectedName { name, why, leaf_only: true });
    NAMES.iter().map(|(name, why)| ProtectedName { name, why, leaf_only: false }).chain(leaves)
}

/// Files of this name alone: directories so called are somebody's components.
const LEAVES: &[(&str, &str)] = &[(
    "head",
    "with `objects` and `refs` beside it, it makes any directory a git repository, whose config names programs",
)];

const NAMES: &[(&str, &str)] = &[
    // Version control: hooks, and configuration that names programs, run by any command, by prompts and by editors.
    (".git", "git runs its hooks, and what its config names, also from a prompt"),
    (".hg", "hg runs the hooks in its hgrc"),
    (".sl", "sl runs the hooks in its config"),
    (".jj", "jj runs what its config names"),
    (".pijul", "pijul runs the hooks in its config"),
    (".bzr", "bzr runs what its branch.conf names"),
    ("_darcs", "darcs runs the hooks in its preferences"),
    (".husky", "git runs these hooks on a commit"),
    (".githooks", "git runs these hooks on a commit, where they are set up"),
    (".pre-commit-config.yaml", "pre-commit runs what it names on a commit"),
    (".lefthook", "lefthook runs these hooks on a commit"),
    (".lefthook.yml", "lefthook runs what it names on a commit"),
    ("lefthook.yml", "lefthook runs what it names on a commit"),
    (".overcommit.yml", "overcommit runs what it names on a commit"),
    // Shells and what hooks into them: run by entering a directory.
    (".envrc", "direnv runs it on entering the directory"),
    (".direnv", "direnv runs what is cached here without asking again"),
    (".autoenv.zsh", "autoenv runs it on entering the directory"),
    (".autoenv", "autoenv runs it on entering the directory"),
    ("mise.toml", "mise sets the environment, and runs hooks, on entering the directory"),
    (".mise.toml", "mise sets the environment, and runs hooks, on entering the directory"),
    (".mise", "mise sets the environment, and runs hooks, on entering the directory"),
    ("rust-toolchain", "it may name a directory whose rustc every prompt and editor then runs"),
    ("rust-toolchain.toml", "it may name a directory whose rustc every prompt and editor then runs"),
    (".venv", "editors run the Python in it on opening the directory"),
    (".bashrc", "bash runs it, in a home directory"),
    (".bash_profile", "bash runs it, in a home directory"),
    (".bash_login", "bash runs it, in a home directory"),
    (".bash_logout", "bash runs it, in a home directory"),
    (".profile", "shells run it, in a home directory"),
    (".zshenv", "zsh runs it, in a home directory"),
    (".zshrc", "zsh runs it, in a home directory"),
    (".zprofile", "zsh runs it, in a home directory"),
    (".zlogin", "zsh runs it, in a home directory"),
    (".ssh", "its config names programs, its keys let others in"),
    // Editors: tasks, servers and interpreters that are run on opening a directory.
    (".vscode", "Visual Studio Code runs its tasks and the programs that its settings name"),
    ("*.code-workspace", "Visual Studio Code runs its tasks and the programs that its settings name"),
    (".idea", "JetBrains editors run its startup tasks and the programs that its settings name"),
    (".fleet", "Fleet runs the programs that its settings name"),
    (".vs", "Visual Studio runs the tasks in it"),
    (".zed", "Zed runs the programs that its settings name"),
    (".helix", "Helix runs the language servers that its settings name"),
    (".nova", "Nova runs its tasks"),
    (".theia", "Theia runs its tasks"),
    (".devcontainer", "editors run its commands on this machine before they start the container"),
    (".devcontainer.json", "editors run its commands on this machine before they start the container"),
    (".exrc", "vim runs it on opening the directory, where it is allowed to"),
    (".vimrc", "vim runs it on opening the directory, where it is allowed to"),
    ("_vimrc", "vim runs it on opening the directory, where it is allowed to"),
    (".nvimrc", "Neovim runs it on opening the directory"),
    (".nvim.lua", "Neovim runs it on opening the directory"),
    (".lvimrc", "a vim plugin runs it on opening a file"),
    (".dir-locals.el", "Emacs evaluates it on opening a file"),
    (".dir-locals-2.el", "Emacs evaluates it on opening a file"),
    (".ycm_extra_conf.py", "YouCompleteMe runs it on opening a file"),
    ("hie.yaml", "the Haskell language server runs what it names"),
    (".ghci", "GHCi runs it, also for an editor"),
    (".merlin", "the OCaml language server runs the preprocessors that it names"),
    (".bsp", "editors run the build servers that it names"),
    (".externaltoolbuilders", "Eclipse runs these on opening the project"),
    (".rprofile", "R runs it on opening the project"),
    (".renviron", "it may name a profile that R runs on opening the project"),
    (".rdata", "R loads it on opening the project, with the functions in it"),
    (".gdbinit", "gdb runs it, where it is allowed to"),
    (".lldbinit", "lldb runs it, where it is allowed to"),
    // Assistants: servers and hooks that they start.
    (".mcp.json", "assistants start the servers that it names"),
    (".cursor", "the editor starts the servers that it names"),
    (".windsurf", "the editor starts the servers that it names"),
    (".claude", "the assistant runs the hooks in its settings"),
    (".gemini", "the assistant starts the servers that its settings name"),
    (".codex", "the assistant starts the servers that its settings name"),
    // Configuration of tools that editors run by themselves, and that names programs.
    (".cargo", "its config names programs that every cargo runs, also that of an editor"),
    (".npmrc", "it names programs that every npm runs, also that of an editor, and where packages come from"),
    (".yarnrc", "it names a program that every yarn runs, also that of an editor"),
    (".yarnrc.yml", "it names a program that every yarn runs, also that of an editor"),
    (".mvn", "it names extensions that every Maven loads, also that of an editor"),
    (".bundle", "its config names where every bundler, also that of an editor, loads programs from"),
    // File managers: read by looking at a directory.
    ("desktop.ini", "Explorer loads what it names on showing the directory"),
    ("autorun.inf", "Windows runs what it names"),
    (".directory", "Dolphin has run what it names on showing the directory"),
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn check(protected: &Protected, path: &str, is_leaf: bool, expected: Option<&str>) {
        let parsed = SyncPath::parse(path.as_bytes()).unwrap();
        let found = protected.rule(&parsed, is_leaf).map(|rule| rule.name);
        assert_eq!(found, expected, "{path:?}");
    }

    #[test]
    fn names_are_found_at_any_depth_and_in_any_spelling() {
        let all = Protected::default();
        for (path, expected) in [
            (".git", ".git"),
            (".git/hooks/pre-commit", ".git"),
            ("vendor/a/.git/config", ".git"),
            ("a/.GIT/x", ".git"),
            ("a/GIT~1/hooks/x", ".git"),
            ("a/.g\u{200d}it/x", ".git"),
            ("a\\.git\\config", ".git"),
            ("a/.git /x", ".git"),
            (".envrc", ".envrc"),
            ("sub/.Envrc", ".envrc"),
            ("ENVRC~1", ".envrc"),
            (".VSCode/tasks.json", ".vscode"),
            ("a.code-workspace", "*.code-workspace"),
            ("x/A.Code-Workspace.", "*.code-workspace"),
            (".Rprofile", ".rprofile"),
            ("bare/HEAD", "head"),
            ("bare/HEAD.", "head"),
        ] {
            check(&all, path, true, Some(expected));
        }
        for path in [
            "src/main.rs",
            ".gitignore",
            ".gitattributes",
            "Makefile",
            "git",
            "idea",
            "components/Head/index.tsx",
            ".env",
        ] {
            check(&all, path, true, None);
        }
        check(&all, "components/Head", false, None);
        check(&all, ".git", false, Some(".git"));
        check(&all, "", false, None);
    }

    #[test]
    fn a_name_is_allowed_alone() {
        let mut some = Protected::default();
        some.allow(".vscode/").unwrap();
        some.allow("HEAD").unwrap();
        check(&some, ".vscode/tasks.json", true, None);
        check(&some, "bare/HEAD", true, None);
        check(&some, ".git/HEAD", true, Some(".git"));
        check(&some, ".idea/x", true, Some(".idea"));
        let again = some.allow(".vscode").unwrap_err();
        assert_eq!(again.to_string(), "`.vscode` is not protected, so there is nothing to allow");
        assert!(some.allow("src\u{1b}").unwrap_err().name.is_ascii());
        assert!(some.allow("").is_err());
    }

    #[test]
    fn the_list_is_well_made() {
        let mut names = Vec::new();
        for rule in protected_names() {
            assert_eq!(rule.name, rule.name.to_lowercase());
            assert!(!rule.name.contains('/') && !rule.why.is_empty() && !rule.why.ends_with('.'), "{rule:?}");
            let refusal = rule.refusal();
            assert!(refusal.len() < 300 && refusal.contains(&format!("--allow '{}'", rule.name)), "{refusal}");
            names.push(rule.name);
        }
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "a name is on it twice");
        for named in [".git", ".envrc", ".vscode", ".idea", ".husky", ".devcontainer", ".npmrc", ".cargo"] {
            assert!(names.contains(&named), "{named}");
        }
    }
}

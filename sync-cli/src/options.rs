//! Arguments to a session's options. What is wrong with them is said here, before anything is opened.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

use anyhow::Context;
use sync_core::{
    engine::Mode,
    ignore::Protected,
    session::{Destination, SessionOptions},
};
use sync_proto::{
    limits::{IGNORE_PATTERN_BYTES_MAX, IGNORE_PATTERNS_MAX},
    message::{Blob, Bounded, IgnoreSettings},
};

use crate::{
    args::{IgnoreArgs, SessionArgs},
    credentials::{self, SECRET_VARIABLE},
};

/// What a session is started with.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// Alpha, absolute.
    pub(crate) source: PathBuf,
    /// Beta, absolute.
    pub(crate) destination: Destination,
    /// The rest.
    pub(crate) options: SessionOptions,
}

/// Reads the environment and the files that `args` name. `mode`: where they name none.
pub(crate) fn prepare(args: &SessionArgs, mode: Mode) -> anyhow::Result<Prepared> {
    let variable = |name| std::env::var_os(name);
    let credentials = match &args.destination.0 {
        Destination::Local(_) => None,
        Destination::Quic { .. } => Some(credentials::controller(&args.trust, variable(SECRET_VARIABLE).as_deref())?),
    };
    let state_dir = state_dir(args.state_dir.as_deref())?;
    if state_dir.is_none() {
        crate::complaint::complain(
            "no HOME and no --state-dir: what is known of this session is forgotten when it ends",
        );
    }
    let destination = match &args.destination.0 {
        Destination::Local(path) => Destination::Local(absolute(path)?),
        remote @ Destination::Quic { .. } => remote.clone(),
    };
    let mut protected = Protected::default();
    for name in &args.allow {
        protected.allow(name).context("--allow: see `synctl ignored`")?;
    }
    let mode = args.mode.map_or(mode, Into::into);
    let ignore = ignore_settings(&args.ignore)?;
    let gone_percent_max = args.max_deletions;
    let options = SessionOptions { mode, ignore, protected, gone_percent_max, credentials, state_dir };
    Ok(Prepared { source: absolute(&args.source)?, destination, options })
}

/// Where state is kept, if it can be anywhere.
pub(crate) fn state_dir(given: Option<&Path>) -> anyhow::Result<Option<PathBuf>> {
    let variable = |name| std::env::var_os(name);
    given.map(absolute).transpose().map(|given| {
        given.or_else(|| xdg(variable("XDG_STATE_HOME").as_deref(), variable("HOME").as_deref(), ".local/state"))
    })
}

fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("cannot tell where {} is", shown(path)))
}

/// A path as it can be shown on a terminal.
pub(crate) fn shown(path: &Path) -> String {
    sync_proto::escape::Escaped(path.as_os_str().as_encoded_bytes()).to_string()
}

/// What takes no part, within the bounds of the protocol.
pub(crate) fn ignore_settings(args: &IgnoreArgs) -> anyhow::Result<IgnoreSettings> {
    let pattern = |text: &std::ffi::OsString| {
        let bytes = text.as_encoded_bytes().to_vec();
        Blob::new(bytes).with_context(|| format!("an --ignore pattern is longer than {IGNORE_PATTERN_BYTES_MAX} bytes"))
    };
    let patterns = args.ignore.iter().map(pattern).collect::<anyhow::Result<Vec<_>>>()?;
    let patterns = Bounded::new(patterns).with_context(|| {
        format!("more than {IGNORE_PATTERNS_MAX} --ignore patterns: put them in a .syncignore file")
    })?;
    Ok(IgnoreSettings { patterns, vcs: args.vcs, gitignore: !args.no_gitignore, defaults: !args.no_default_ignores })
}

/// Where keys are kept.
pub(crate) fn default_config_dir() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name);
    xdg(variable("XDG_CONFIG_HOME").as_deref(), variable("HOME").as_deref(), ".config")
}

/// Our directory by the XDG rules: a variable that is not absolute counts as not set.
fn xdg(variable: Option<&OsStr>, home: Option<&OsStr>, below_home: &str) -> Option<PathBuf> {
    let absolute = |value: Option<&OsStr>| value.map(PathBuf::from).filter(|path| path.is_absolute());
    Some(absolute(variable).or_else(|| Some(absolute(home)?.join(below_home)))?.join("synctl"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn patterns_keep_their_order_and_their_bytes() {
        let args = IgnoreArgs {
            ignore: vec!["*.log".into(), "!keep.log".into()],
            vcs: true,
            no_gitignore: true,
            no_default_ignores: false,
        };
        let settings = ignore_settings(&args).unwrap();
        let patterns: Vec<&[u8]> = settings.patterns.iter().map(|pattern| &pattern[..]).collect();
        assert_eq!(patterns, [&b"*.log"[..], b"!keep.log"]);
        assert_eq!((settings.vcs, settings.gitignore, settings.defaults), (true, false, true));
    }

    #[test]
    fn patterns_beyond_the_limits_are_refused_in_a_sentence() {
        let args = |ignore| IgnoreArgs { ignore, vcs: false, no_gitignore: false, no_default_ignores: false };
        let long = ignore_settings(&args(vec!["x".repeat(IGNORE_PATTERN_BYTES_MAX + 1).into()])).unwrap_err();
        assert!(long.to_string().contains("longer than"), "{long}");
        let many = ignore_settings(&args(vec!["x".into(); IGNORE_PATTERNS_MAX + 1])).unwrap_err();
        assert!(many.to_string().contains(".syncignore"), "{many}");
    }

    #[test]
    fn directories_follow_xdg() {
        let check = |variable: Option<&str>, home: Option<&str>, expected: Option<&str>| {
            let found = xdg(variable.map(OsStr::new), home.map(OsStr::new), ".local/state");
            assert_eq!(found.as_deref(), expected.map(Path::new));
        };
        check(Some("/s"), Some("/h"), Some("/s/synctl"));
        check(Some("s"), Some("/h"), Some("/h/.local/state/synctl"));
        check(None, Some("/h"), Some("/h/.local/state/synctl"));
        check(Some(""), Some(""), None);
        check(None, None, None);
    }
}

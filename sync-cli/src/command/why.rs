//! `synctl why`: whether a path takes part, and which pattern decided. Reads ignore files, and nothing else.

use std::{
    fs::File,
    io::{self, Read},
    path::{Component, Path},
};

use anyhow::{Context, bail};
use serde::Serialize;
use sync_core::ignore::{IGNORE_FILE_BYTES_MAX, IgnoreFile, Reason, Rules, RulesBuilder, Source};
use sync_proto::{Name, SyncPath, message::IgnoreSettings};

use crate::{
    args::{Format, WhyArgs},
    exit::Exit,
    options::{ignore_settings, shown},
    output::{
        json::{self, PathBody},
        write_line,
    },
};

/// The line of `--output json`.
#[derive(Debug, Serialize)]
struct Why {
    version: u32,
    #[serde(flatten)]
    path: PathBody,
    ignored: bool,
    reason: Option<ReasonBody>,
}

/// What leaves a path out.
#[derive(Debug, Serialize)]
struct ReasonBody {
    /// The path itself, or the directory above it that holds it back.
    #[serde(flatten)]
    path: PathBody,
    pattern: String,
    source: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
}

pub(super) fn run(args: &WhyArgs) -> anyhow::Result<Exit> {
    let source = std::fs::canonicalize(&args.source).with_context(|| format!("cannot open {}", shown(&args.source)))?;
    if !source.is_dir() {
        bail!("{} is not a directory", shown(&args.source));
    }
    let path = beneath(&source, &args.path)?;
    if path.is_root() {
        bail!("SRC itself always takes part: give a path in it");
    }
    let is_dir = ends_in_slash(&args.path) || is_directory(&source, &path);
    let rules = rules_above(&source, &path, &ignore_settings(&args.ignore)?)?;
    for problem in rules.problems() {
        crate::complaint::complain(problem);
    }
    let reason = rules.why(&path, is_dir);
    write_line(&match args.output {
        Format::Human => match &reason {
            Some(reason) => reason.to_string(),
            None => format!("{path} takes part"),
        },
        Format::Json => json::object(&Why {
            version: json::VERSION,
            path: (&path).into(),
            ignored: reason.is_some(),
            reason: reason.as_ref().map(Into::into),
        }),
    })?;
    Ok(if reason.is_some() { Exit::Remains } else { Exit::Done })
}

impl From<&Reason> for ReasonBody {
    fn from(reason: &Reason) -> Self {
        let (source, file, line) = match &reason.source {
            Source::Session => ("session", None, None),
            Source::File { dir, file, line } => {
                let name = Name::new(file.name().as_bytes()).ok();
                ("file", name.and_then(|name| dir.join(name).ok()), Some(*line))
            }
            Source::Default(_) => ("default", None, None),
            Source::Vcs => ("vcs", None, None),
            Source::Reserved => ("reserved", None, None),
        };
        Self {
            path: (&reason.path).into(),
            pattern: String::from_utf8_lossy(&reason.pattern).into_owned(),
            source,
            file: file.as_ref().map(Into::into),
            line,
        }
    }
}

/// `path` as a path beneath the root: relative to it, or absolute and in it. By its name alone: it need not exist.
pub(super) fn beneath(source: &Path, path: &Path) -> anyhow::Result<SyncPath> {
    let relative = if path.is_absolute() {
        // SRC may have been given through a symlink, and PATH too.
        let by_name = path.strip_prefix(source).map(Path::to_path_buf);
        let resolved = || {
            let parent = std::fs::canonicalize(path.parent()?).ok()?;
            Some(parent.strip_prefix(source).ok()?.join(path.file_name()?))
        };
        by_name.ok().or_else(resolved).with_context(|| format!("{} does not lie in {}", shown(path), shown(source)))?
    } else {
        path.to_path_buf()
    };
    let mut bytes = Vec::new();
    for component in relative.components() {
        match component {
            Component::Normal(name) => {
                if !bytes.is_empty() {
                    bytes.push(b'/');
                }
                bytes.extend_from_slice(name.as_encoded_bytes());
            }
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                bail!("{} has `..` in it: give it relative to {}", shown(path), shown(source))
            }
        }
    }
    SyncPath::parse(&bytes).with_context(|| format!("{} can't be synchronised", shown(path)))
}

fn ends_in_slash(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(b"/")
}

fn is_directory(source: &Path, path: &SyncPath) -> bool {
    std::fs::symlink_metadata(source.join(native(path))).is_ok_and(|metadata| metadata.is_dir())
}

#[cfg(unix)]
fn native(path: &SyncPath) -> std::path::PathBuf {
    use std::os::unix::ffi::OsStrExt;
    std::ffi::OsStr::from_bytes(path.as_bytes()).into()
}

#[cfg(not(unix))]
fn native(path: &SyncPath) -> std::path::PathBuf {
    String::from_utf8_lossy(path.as_bytes()).into_owned().into()
}

/// The rules with the ignore files of every directory above `path`.
fn rules_above(source: &Path, path: &SyncPath, settings: &IgnoreSettings) -> anyhow::Result<Rules> {
    let mut rules = RulesBuilder::new(settings)?;
    let mut dir = SyncPath::root();
    for name in path.components() {
        for kind in [IgnoreFile::Gitignore, IgnoreFile::Syncignore] {
            let file = source.join(native(&dir)).join(kind.name());
            let read = read_ignore_file(&file).with_context(|| format!("cannot read {}", shown(&file)))?;
            if let Some(content) = read {
                rules.insert(&dir, kind, &content);
            }
        }
        dir = dir.join(name)?;
    }
    Ok(rules.build())
}

/// The file's content, and enough beyond the limit for it to be seen; `None` where there is no regular file: a symlink is not followed, and a fifo
/// would block.
fn read_ignore_file(file: &Path) -> io::Result<Option<Vec<u8>>> {
    match std::fs::symlink_metadata(file) {
        Ok(metadata) if metadata.is_file() => {
            let mut bytes = Vec::new();
            File::open(file)?.take(IGNORE_FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
            Ok(Some(bytes))
        }
        Ok(_) => Ok(None),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn a_path_is_taken_beneath_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(dir.path()).unwrap();
        let check = |path: &str, expected: &str| {
            assert_eq!(beneath(&root, Path::new(path)).unwrap().as_bytes(), expected.as_bytes());
        };
        check("a/b", "a/b");
        check("./a//b/.", "a/b");
        check("a/", "a");
        check(".", "");
        check(root.join("x/y").to_str().unwrap(), "x/y");
        for outside in ["../a", "a/../../b", "/nowhere/x"] {
            assert!(beneath(&root, Path::new(outside)).is_err(), "{outside}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn an_absolute_path_may_come_through_a_symlink() {
        let dir = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(dir.path()).unwrap().join("root");
        std::fs::create_dir_all(root.join("sub")).unwrap();
        let alias = dir.path().join("alias");
        std::os::unix::fs::symlink(&root, &alias).unwrap();
        assert_eq!(beneath(&root, &alias.join("sub/x")).unwrap().as_bytes(), b"sub/x");
    }

    #[test]
    fn only_regular_ignore_files_are_read_and_no_more_than_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(".gitignore");
        assert_eq!(read_ignore_file(&file).unwrap(), None);
        std::fs::write(&file, vec![b'x'; IGNORE_FILE_BYTES_MAX + 10]).unwrap();
        assert_eq!(read_ignore_file(&file).unwrap().unwrap().len(), IGNORE_FILE_BYTES_MAX + 1);
        assert_eq!(read_ignore_file(&file.join("x")).unwrap(), None);
        assert_eq!(read_ignore_file(dir.path()).unwrap(), None);
    }

    #[test]
    fn the_files_above_a_path_decide() {
        let dir = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(dir.path()).unwrap();
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::write(root.join(".gitignore"), "*.log\nbuild/\n").unwrap();
        std::fs::write(root.join("a/.syncignore"), "!keep.log\n").unwrap();
        let settings = IgnoreSettings::default();
        let check = |text: &str, expected: Option<(&str, &str, &str, u32)>| {
            let path = SyncPath::parse(text.as_bytes()).unwrap();
            let reason = rules_above(&root, &path, &settings).unwrap().why(&path, false);
            let body = reason.as_ref().map(ReasonBody::from);
            let found = body.map(|body| {
                let file = serde_json::to_value(&body.file).unwrap()["path"].as_str().unwrap_or_default().to_owned();
                (
                    serde_json::to_value(&body.path).unwrap()["path"].as_str().unwrap().to_owned(),
                    body.pattern,
                    file,
                    body.line,
                )
            });
            let expected = expected.map(|(path, pattern, file, line)| {
                (path.to_owned(), pattern.to_owned(), file.to_owned(), (line > 0).then_some(line))
            });
            assert_eq!(found, expected, "{text}");
        };
        check("a/b/c.rs", None);
        check("a/b/c.log", Some(("a/b/c.log", "*.log", ".gitignore", 1)));
        check("a/b/keep.log", None);
        check("build/deep/x", Some(("build", "build/", ".gitignore", 2)));
        check(".DS_Store", Some((".DS_Store", ".DS_Store", "", 0)));
    }
}

//! `synctl why`: whether a path takes part, and which pattern decided. Reads ignore files, and nothing else.

use std::{
    fs::File,
    io::{self, Read},
    path::{Component, Path},
};

use anyhow::{Context, bail};
use serde::Serialize;
use sync_core::ignore::{IgnoreFile, Rules};
use sync_proto::SyncPath;

use crate::{
    args::{Format, WhyArgs},
    exit::Exit,
    options::{ignore_settings, shown},
    output::{
        json::{self, PathBody},
        write_line,
    },
};

/// More of an ignore file is not obeyed, as in a session.
const IGNORE_FILE_BYTES_MAX: u64 = 1 << 20;

/// The line of `--output json`.
#[derive(Debug, Serialize)]
struct Why {
    version: u32,
    #[serde(flatten)]
    path: PathBody,
    ignored: bool,
    pattern: Option<String>,
    source: Option<String>,
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
    let rules = rules_above(&source, &path, Rules::new(&ignore_settings(&args.ignore)?)?)?;
    let ignored = rules.is_ignored(&path, is_dir);
    let reason = rules.why(&path, is_dir);
    write_line(&match args.output {
        Format::Human => {
            let verdict = if ignored { "is left out" } else { "takes part" };
            match &reason {
                Some(reason) => format!("{path} {verdict}: {reason}"),
                None => format!("{path} {verdict}: no pattern says otherwise"),
            }
        }
        Format::Json => json::object(&Why {
            version: json::VERSION,
            path: (&path).into(),
            ignored,
            pattern: reason.as_ref().map(|reason| reason.pattern.to_string()),
            source: reason.as_ref().map(|reason| reason.source.to_string()),
        }),
    })?;
    Ok(if ignored { Exit::Remains } else { Exit::Done })
}

/// `path` as a path beneath the root: relative to it, or absolute and in it. By its name alone: it need not exist.
fn beneath(source: &Path, path: &Path) -> anyhow::Result<SyncPath> {
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
fn rules_above(source: &Path, path: &SyncPath, mut rules: Rules) -> anyhow::Result<Rules> {
    let mut dir = SyncPath::root();
    for name in path.components() {
        for (kind, file_name) in [(IgnoreFile::Gitignore, ".gitignore"), (IgnoreFile::Syncignore, ".syncignore")] {
            let file = source.join(native(&dir)).join(file_name);
            let read = read_ignore_file(&file).with_context(|| format!("cannot read {}", shown(&file)))?;
            if let Some(bytes) = read {
                rules = rules.with_file(&dir, kind, Some(&bytes));
            }
        }
        dir = dir.join(name)?;
    }
    Ok(rules)
}

/// The file's content, up to the limit; `None` where there is no regular file: a symlink is not followed, and a fifo
/// would block.
fn read_ignore_file(file: &Path) -> io::Result<Option<Vec<u8>>> {
    match std::fs::symlink_metadata(file) {
        Ok(metadata) if metadata.is_file() => {
            let mut bytes = Vec::new();
            File::open(file)?.take(IGNORE_FILE_BYTES_MAX).read_to_end(&mut bytes)?;
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
        std::fs::write(&file, vec![b'x'; IGNORE_FILE_BYTES_MAX as usize + 10]).unwrap();
        assert_eq!(read_ignore_file(&file).unwrap().unwrap().len() as u64, IGNORE_FILE_BYTES_MAX);
        assert_eq!(read_ignore_file(&file.join("x")).unwrap(), None);
        assert_eq!(read_ignore_file(dir.path()).unwrap(), None);
    }
}

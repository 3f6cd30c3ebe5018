//! How editors save, system call by system call.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::tree::Random;

/// A way to save.
#[derive(Debug, Clone, Copy)]
pub(super) enum Editor {
    InPlace,
    ByRename,
    TruncatePauseWrite,
    Vim,
    JetBrains,
    Emacs,
    Append,
}

pub(super) const ALL: [Editor; 7] = [
    Editor::InPlace,
    Editor::ByRename,
    Editor::TruncatePauseWrite,
    Editor::Vim,
    Editor::JetBrains,
    Editor::Emacs,
    Editor::Append,
];

impl Editor {
    /// Saves the file with a line of it changed.
    pub(super) fn save(self, path: &Path, save: usize, random: &mut Random) -> Result<()> {
        let mut content = fs::read(path)?;
        let line = format!("// saved by {self:?}, {save}, {}\n", random.next());
        let at = random.below(content.len() + 1);
        content.splice(at..(at + random.below(40)).min(content.len()), line.bytes());
        match self {
            Self::InPlace => fs::write(path, &content)?,
            Self::ByRename => {
                let beside = named(path, "", "~");
                fs::write(&beside, &content)?;
                replace(&beside, path)?;
            }
            Self::TruncatePauseWrite => {
                let mut file = fs::OpenOptions::new().write(true).truncate(true).open(path)?;
                std::thread::sleep(Duration::from_millis(random.below(4) as u64));
                file.write_all(&content)?;
            }
            Self::Vim => {
                let (backup, probe) = (named(path, "", "~"), path.with_file_name("4913"));
                fs::write(&probe, b"")?;
                fs::remove_file(&probe)?;
                fs::rename(path, &backup)?;
                write_like(path, &content, &backup)?;
                fs::remove_file(&backup)?;
            }
            Self::JetBrains => {
                let (new, old) = (named(path, "", "___jb_tmp___"), named(path, "", "___jb_old___"));
                write_like(&new, &content, path)?;
                fs::rename(path, &old)?;
                fs::rename(&new, path)?;
                fs::remove_file(&old)?;
            }
            Self::Emacs => {
                let (lock, backup) = (named(path, ".#", ""), named(path, "", "~"));
                symlink("someone@laptop.4242:1700000000", &lock)?;
                fs::rename(path, &backup)?;
                write_like(path, &content, &backup)?;
                fs::remove_file(&backup)?;
                fs::remove_file(&lock)?;
            }
            Self::Append => fs::OpenOptions::new().append(true).open(path)?.write_all(line.as_bytes())?,
        }
        Ok(())
    }
}

/// Another name in the same directory.
fn named(path: &Path, before: &str, after: &str) -> PathBuf {
    let mut name = std::ffi::OsString::from(before);
    name.push(path.file_name().unwrap_or_default());
    name.push(after);
    path.with_file_name(name)
}

fn write_like(path: &Path, content: &[u8], like: &Path) -> Result<()> {
    fs::write(path, content)?;
    Ok(fs::set_permissions(path, fs::metadata(like)?.permissions())?)
}

fn replace(beside: &Path, path: &Path) -> Result<()> {
    fs::set_permissions(beside, fs::metadata(path)?.permissions())?;
    Ok(fs::rename(beside, path)?)
}

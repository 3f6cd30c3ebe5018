//! The sources of crates on this machine: found through cargo, which knows where it keeps them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::process::finish;

/// Bytes of a block of a tar.
const BLOCK_BYTES: usize = 512;

/// A crate whose content is smaller than this, in bytes, says little.
const CRATE_BYTES_MIN: u64 = 512 << 10;
/// A crate whose content is larger than this, in bytes, is generated rather than written.
const CRATE_BYTES_MAX: u64 = 6 << 20;

/// Two releases of one crate that follow each other among those on this machine.
#[derive(Debug, Clone)]
pub(crate) struct Releases {
    pub(crate) name: String,
    pub(crate) old: Release,
    pub(crate) new: Release,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Release {
    /// Major, minor, patch.
    numbers: [u64; 3],
    pub(crate) version: String,
    directory: PathBuf,
}

/// The directories that hold unpacked crates, those of this workspace's own dependencies among them.
fn directories() -> Result<Vec<PathBuf>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let mut command = Command::new(cargo);
    command.args(["metadata", "--format-version", "1", "--offline", "--manifest-path"]).arg(manifest);
    let metadata: serde_json::Value = serde_json::from_str(&finish(&mut command, Duration::from_secs(60))?)?;
    let packages = metadata.get("packages").and_then(serde_json::Value::as_array).context("no packages")?;
    let fetched = packages.iter().filter(|package| package.get("source").is_some_and(|source| !source.is_null()));
    let mut found: Vec<PathBuf> = fetched
        .filter_map(|package| Some(Path::new(package.get("manifest_path")?.as_str()?).parent()?.parent()?.to_owned()))
        .collect();
    found.sort();
    found.dedup();
    Ok(found)
}

/// Every unpacked crate on this machine, by name.
fn releases() -> Result<BTreeMap<String, Vec<Release>>> {
    let mut all = BTreeMap::<String, Vec<Release>>::new();
    for directory in directories()? {
        for entry in fs::read_dir(&directory).with_context(|| directory.display().to_string())?.flatten() {
            if let Some((name, version)) = entry.file_name().to_str().and_then(named)
                && let Some(numbers) = numbers(version)
            {
                let release = Release { numbers, version: version.to_owned(), directory: entry.path() };
                all.entry(name.to_owned()).or_default().push(release);
            }
        }
    }
    all.values_mut().for_each(|releases| releases.sort());
    Ok(all)
}

/// Name and version of the directory of a crate.
fn named(directory: &str) -> Option<(&str, &str)> {
    let dashes = directory.match_indices('-').map(|(at, _)| at);
    // A name may hold a number between dashes, but no version.
    dashes.filter_map(|at| Some((directory.get(..at)?, directory.get(at + 1..)?))).find(|(_, it)| numbers(it).is_some())
}

fn numbers(version: &str) -> Option<[u64; 3]> {
    let core = version.split(['+', '-']).next()?;
    let mut parts = core.split('.').map(str::parse);
    Some([parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?])
}

/// Releases that cargo takes for compatible are edits of each other; others may be written anew.
fn compatible(old: &Release, new: &Release) -> bool {
    let ([old_major, old_minor, _], [new_major, new_minor, _]) = (old.numbers, new.numbers);
    old_major == new_major && (old_major > 0 || old_minor == new_minor)
}

/// The `count` largest pairs of releases.
pub(crate) fn neighbours(count: usize) -> Result<Vec<Releases>> {
    let mut found = Vec::new();
    for (name, all) in releases()? {
        // The newest pair of a crate.
        let pair = all.iter().zip(all.iter().skip(1)).rfind(|(old, new)| compatible(old, new));
        if let Some((old, new)) = pair {
            let len: u64 =
                files(&old.directory)?.iter().filter_map(|path| fs::metadata(path).ok()).map(|m| m.len()).sum();
            if (CRATE_BYTES_MIN..CRATE_BYTES_MAX).contains(&len) {
                found.push((len, Releases { name: name.clone(), old: old.clone(), new: new.clone() }));
            }
        }
    }
    ensure!(!found.is_empty(), "cargo has no two releases of one crate at hand");
    found.sort_by_key(|(len, _)| std::cmp::Reverse(*len));
    Ok(found.into_iter().take(count).map(|(_, releases)| releases).collect())
}

/// The Rust source file whose length is nearest to `len`, in bytes.
pub(crate) fn source_of_about(len: u64) -> Result<PathBuf> {
    let mut nearest = None;
    for release in releases()?.into_values().flatten() {
        for path in files(&release.directory)?.into_iter().filter(|path| path.extension() == Some(OsStr::new("rs"))) {
            let distance = fs::metadata(&path)?.len().abs_diff(len);
            if nearest.as_ref().is_none_or(|(nearest, _)| distance < *nearest) {
                nearest = Some((distance, path));
            }
        }
    }
    nearest.map(|(_, path)| path).context("cargo has no sources at hand")
}

/// All files beneath a directory, by name.
fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let (mut found, mut open) = (Vec::new(), vec![directory.to_owned()]);
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).with_context(|| directory.display().to_string())? {
            let entry = entry?;
            match entry.file_type()? {
                kind if kind.is_dir() => open.push(entry.path()),
                kind if kind.is_file() => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found.sort();
    Ok(found)
}

impl Release {
    /// The sources as a tar, with nothing in it that depends on the machine.
    pub(crate) fn tar(&self) -> Result<Vec<u8>> {
        let mut tar = Vec::new();
        for path in files(&self.directory)? {
            let name = Path::new("crate").join(path.strip_prefix(&self.directory)?);
            let content = fs::read(&path)?;
            tar.extend_from_slice(&header(name.to_str().context("a name that is no text")?, content.len()));
            tar.extend_from_slice(&content);
            tar.resize(tar.len().next_multiple_of(BLOCK_BYTES), 0);
        }
        tar.resize(tar.len() + 2 * BLOCK_BYTES, 0);
        Ok(tar)
    }
}

/// The header of a plain file, of the form `ustar`.
fn header(name: &str, len: usize) -> Vec<u8> {
    let slashes = name.match_indices('/').map(|(at, _)| (name.get(..at).unwrap_or_default(), at + 1));
    // What does not fit is cut off, as nobody unpacks this.
    let (prefix, rest) =
        slashes.take_while(|_| name.len() > 100).find(|(_, at)| name.len() - at <= 100).unwrap_or(("", 0));
    let name = name.get(rest..).unwrap_or_default();
    let fields = |sum: &str| {
        let mut header = Vec::with_capacity(BLOCK_BYTES);
        for (field, width) in [
            (name, 100),
            ("0000644", 8),
            ("0000000", 8),
            ("0000000", 8),
            (&format!("{len:011o}"), 12),
            ("00000000000", 12),
            (sum, 8),
            ("0", 1),
            ("", 100),
            ("ustar", 6),
            ("00", 2),
            ("root", 32),
            ("root", 32),
            ("0000000", 8),
            ("0000000", 8),
            (prefix, 155),
        ] {
            let end = header.len() + width;
            header.extend(field.bytes().take(width));
            header.resize(end, 0);
        }
        header.resize(BLOCK_BYTES, 0);
        header
    };
    let sum: u32 = fields("        ").iter().copied().map(u32::from).sum();
    fields(&format!("{sum:06o}\0 "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_read_as_cargo_names_them() {
        assert_eq!(named("zstd-sys-2.0.16+zstd.1.5.7"), Some(("zstd-sys", "2.0.16+zstd.1.5.7")));
        assert_eq!(named("a-2-b-1.0.0-rc.1"), Some(("a-2-b", "1.0.0-rc.1")));
        assert_eq!(named("target"), None);
        assert_eq!(numbers("2.0.16+zstd.1.5.7"), Some([2, 0, 16]));
    }

    #[test]
    fn headers_are_blocks_with_a_sum() {
        let header = header(&format!("crate/{}/lib.rs", "long/".repeat(30)), 8);
        assert_eq!(header.len(), BLOCK_BYTES);
        assert_eq!(header.get(124..136), Some(&b"00000000010\0"[..]));
        let sum =
            header.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) });
        assert_eq!(header.get(148..154), Some(format!("{:06o}", sum.sum::<u32>()).as_bytes()));
    }
}

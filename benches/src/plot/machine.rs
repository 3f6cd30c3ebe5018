//! Where and when figures were measured: as much as is needed to judge them, no names and no paths.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::process::finish;

/// The day, in UTC.
pub(super) fn date() -> Result<String> {
    Ok(finish(Command::new("date").args(["-u", "+%Y-%m-%d"]), Duration::from_secs(10))?.trim().to_owned())
}

/// Cores, kernel, and the file system that holds `folder`.
pub(super) fn describe(folder: &Path) -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let plural = if cores == 1 { "" } else { "s" };
    format!("{cores} core{plural}, {}, {}", kernel_version(&kernel), file_system(&mounts, folder))
}

/// The version alone: what follows it is whoever built it.
fn kernel_version(release: &str) -> String {
    let version: String = release.chars().take_while(|letter| letter.is_ascii_digit() || *letter == '.').collect();
    if version.is_empty() { std::env::consts::OS.to_owned() } else { format!("Linux {version}") }
}

/// The type of the mount that is nearest above.
fn file_system(mounts: &str, folder: &Path) -> String {
    let nearest = mounts.lines().filter_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let point = mount.split(' ').nth(4)?;
        folder.starts_with(point).then_some((point.len(), kind.split(' ').next()?))
    });
    // Of two at one place the later covers the earlier.
    nearest
        .max_by_key(|(length, _)| *length)
        .map_or_else(|| "file system unknown".to_owned(), |(_, kind)| kind.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_told_without_its_names() {
        assert_eq!(kernel_version("6.8.0-45-somebody\n"), "Linux 6.8.0");
        let mounts = "22 1 8:1 / / rw - ext4 /dev/disk rw\n30 22 0:5 / /tmp rw - tmpfs tmpfs rw\n";
        let check = |folder: &str, kind: &str| assert_eq!(file_system(mounts, Path::new(folder)), kind);
        check("/tmp/plot-1", "tmpfs");
        check("/tmpfiles", "ext4");
        assert_eq!(file_system("", Path::new("/")), "file system unknown");
    }
}

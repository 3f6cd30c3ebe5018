//! Key files: small, of text, and not for others to read.
//!
//! A private file is accepted where nobody but its owner may read or write it and the owner is this user or root. One
//! exception is made: in a Kubernetes secret volume the kubelet sets the mode (0644, or 0440 with `fsGroup`), and the pod
//! is the wall around it. Such a volume is known by its layout: the file is a symlink through `..data` in its own
//! directory. There, only write access for others is refused.
//!
//! On platforms without Unix modes nothing is checked: there the directory's access list has to do it.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::identity::PublicKey;

/// Largest key file that is read, in bytes.
const KEY_FILE_BYTES_MAX: u64 = 256 << 10;

/// Why text is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not the line of a public key.
    #[error("not a public key: a line `synctl-ed25519 <base64>` is expected")]
    NotAPublicKey,
    /// A private key where a public one belongs.
    #[error("a private key where a public key is expected: replace it, and make a new one, it may have been seen")]
    PrivateForPublic,
    /// A public key where a private one belongs.
    #[error("a public key where the key pair is expected")]
    PublicForPrivate,
    /// Not the line of a key pair.
    #[error("not a key pair: make one with `synctl keygen`")]
    NotAKeyPair,
    /// Not the line of a secret.
    #[error("not a secret: a line `synctl-secret-1:…` is expected, make one with `synctl keygen --secret`")]
    NotASecret,
    /// A secret that could be guessed.
    #[error("the secret is shorter than 128 bits: make one with `synctl keygen --secret`")]
    ShortSecret,
    /// Characters that are not base64.
    #[error("malformed base64 (was the line cut or wrapped?)")]
    BadBase64,
    /// Too many or too few bytes.
    #[error("wrong length (was the line cut?)")]
    BadLength,
    /// No line with a key in it.
    #[error("no key in it")]
    Empty,
    /// More lines than one where one key is expected.
    #[error("more than one key where one is expected")]
    Several,
    /// The system gives no random bytes.
    #[error("the system's random source fails")]
    NoRandomness,
}

/// Why a key file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It can't be opened or read.
    #[error("key file {}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It can't be written.
    #[error("key file {} can't be written: {source}", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is there already.
    #[error("key file {} exists already and is kept: remove it first or choose another name", path.display())]
    Exists {
        /// Which file.
        path: PathBuf,
    },
    /// A directory, a fifo, a device.
    #[error("key file {} is not a regular file", path.display())]
    NotRegular {
        /// Which file.
        path: PathBuf,
    },
    /// Others can read or write it.
    #[error("key file {} is open to others (mode {mode:04o}): run `chmod 600 {}`", path.display(), path.display())]
    TooOpen {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It belongs to another user.
    #[error("key file {} belongs to user {owner}: it must belong to the user that runs this, or to root", path.display())]
    ForeignOwner {
        /// Which file.
        path: PathBuf,
        /// The user id of its owner.
        owner: u32,
    },
    /// It is larger than any key file.
    #[error("key file {} is larger than {} KiB", path.display(), KEY_FILE_BYTES_MAX >> 10)]
    TooLarge {
        /// Which file.
        path: PathBuf,
    },
    /// What it holds is not what it should hold.
    #[error("key file {}: {source}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: KeyError,
    },
    /// A line of a list of public keys is none.
    #[error("key file {}, line {line}: {source}", path.display())]
    MalformedLine {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong.
        source: KeyError,
    },
}

/// Reads a file of public keys (`authorized_keys`, `known_agents`): one a line, as [`PublicKey`] has it, with an optional
/// comment; empty lines and lines that begin with `#` are skipped. The file may be readable by all, but writable by its
/// owner alone (this user or root): who can write it decides who may connect.
pub fn read_public_keys(path: &Path) -> Result<Vec<PublicKey>, KeyFileError> {
    let text = read_checked(path, WRITE_BY_OTHERS)?;
    let mut keys = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| is_content(line)) {
        let key = line.parse().map_err(|source| KeyFileError::MalformedLine {
            path: path.to_owned(),
            line: index + 1,
            source,
        })?;
        keys.push(key);
    }
    if keys.is_empty() {
        return Err(KeyFileError::Malformed { path: path.to_owned(), source: KeyError::Empty });
    }
    Ok(keys)
}

/// Permission bits that let others than the owner write.
const WRITE_BY_OTHERS: u32 = 0o022;
/// Permission bits that let others than the owner do anything.
const ANY_BY_OTHERS: u32 = 0o077;

/// Reads a file that others must not read.
pub(super) fn read_private(path: &Path) -> Result<Zeroizing<String>, KeyFileError> {
    let forbidden = if is_in_secret_volume(path) { WRITE_BY_OTHERS } else { ANY_BY_OTHERS };
    read_checked(path, forbidden)
}

/// The one line of `text` that is neither empty nor a comment.
pub(super) fn only_line(text: &str) -> Result<&str, KeyError> {
    let mut lines = text.lines().filter(|line| is_content(line));
    let line = lines.next().ok_or(KeyError::Empty)?;
    if lines.next().is_some() { Err(KeyError::Several) } else { Ok(line) }
}

/// Writes a new file that others can't read, and has it on disk when this returns.
pub(super) fn write_private(path: &Path, content: &[u8]) -> Result<(), KeyFileError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => KeyFileError::Exists { path: path.to_owned() },
        _ => KeyFileError::Write { path: path.to_owned(), source },
    };
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).map_err(failed)?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    if let Err(source) = written {
        // A part of a key is no key: better none than one that fails to parse next time.
        let _ = std::fs::remove_file(path);
        return Err(failed(source));
    }
    Ok(())
}

fn is_content(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with('#')
}

fn read_checked(path: &Path, forbidden: u32) -> Result<Zeroizing<String>, KeyFileError> {
    let failed = |source| KeyFileError::Read { path: path.to_owned(), source };
    let file = open(path).map_err(failed)?;
    check(&file, path, forbidden)?;
    let mut text = Zeroizing::new(String::new());
    // Room at once: a string that grows leaves copies of what it held behind.
    text.reserve_exact(file.metadata().map_err(failed)?.len().min(KEY_FILE_BYTES_MAX) as usize + 1);
    file.take(KEY_FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > KEY_FILE_BYTES_MAX {
        return Err(KeyFileError::TooLarge { path: path.to_owned() });
    }
    Ok(text)
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    // A fifo would block the open until somebody writes to it.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, rustix::fs::OFlags::NONBLOCK.bits() as i32);
    options.open(path)
}

/// Checks what was opened, not what stands at the path: nothing can be swapped in between.
fn check(file: &File, path: &Path, forbidden: u32) -> Result<(), KeyFileError> {
    let metadata = file.metadata().map_err(|source| KeyFileError::Read { path: path.to_owned(), source })?;
    if !metadata.is_file() {
        return Err(KeyFileError::NotRegular { path: path.to_owned() });
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
        if owner != 0 && owner != rustix::process::geteuid().as_raw() {
            return Err(KeyFileError::ForeignOwner { path: path.to_owned(), owner });
        }
        if mode & forbidden != 0 {
            return Err(KeyFileError::TooOpen { path: path.to_owned(), mode });
        }
    }
    #[cfg(not(unix))]
    let _ = forbidden;
    Ok(())
}

/// Whether `path` is `<volume>/<name>`, a symlink to `..data/<name>`, as the kubelet lays secret volumes out.
fn is_in_secret_volume(path: &Path) -> bool {
    std::fs::read_link(path).is_ok_and(|target| target.starts_with("..data"))
}

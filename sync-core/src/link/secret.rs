//! One secret that both sides are given, from which both key pairs are derived.
//!
//! Whoever knows it can be either side, so it is treated as a private key: files are checked as theirs are, and it is
//! never shown. It is not a password: what is derived from it can be tried offline by anyone who can dial the agent, so
//! 128 bits of randomness are the least that is taken.

use std::{fmt, path::Path};

use base64ct::{Base64UrlUnpadded, Encoding};
use ring::hkdf;
use zeroize::Zeroizing;

use super::{
    credentials::Role,
    identity::{Identity, KEY_BYTES},
    keyfile::{self, KeyError, KeyFileError},
};

/// What a secret begins with, in text.
const PREFIX: &str = "synctl-secret-1:";
/// Least length, in bytes.
const SECRET_BYTES_MIN: usize = 16;
/// Greatest length, in bytes.
const SECRET_BYTES_MAX: usize = 128;
/// Length of a new one, in bytes.
const SECRET_BYTES_NEW: usize = 32;

/// A secret of at least 128 bits that both sides share. As text: one line, `synctl-secret-1:<base64url>`.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// A new secret of 256 bits, from the system's random source. Fails where that does.
    pub fn generate() -> Result<Self, KeyError> {
        let mut bytes = Zeroizing::new(vec![0; SECRET_BYTES_NEW]);
        getrandom::fill(&mut bytes).map_err(|_| KeyError::NoRandomness)?;
        Ok(Self(bytes))
    }

    /// Reads the line that [`to_line`](Self::to_line) writes; white space around it is ignored.
    pub fn parse(line: &str) -> Result<Self, KeyError> {
        let encoded = line.trim().strip_prefix(PREFIX).ok_or(KeyError::NotASecret)?;
        let mut room = Zeroizing::new([0; SECRET_BYTES_MAX]);
        let bytes = Base64UrlUnpadded::decode(encoded, &mut room[..]).map_err(|error| match error {
            base64ct::Error::InvalidEncoding => KeyError::BadBase64,
            base64ct::Error::InvalidLength => KeyError::BadLength,
        })?;
        if bytes.len() < SECRET_BYTES_MIN {
            return Err(KeyError::ShortSecret);
        }
        Ok(Self(Zeroizing::new(bytes.to_vec())))
    }

    /// Reads a file of one such line; empty lines and lines that begin with `#` are skipped. The file must be one that only
    /// its owner can read (this user or root), or one in a Kubernetes secret volume, as for [`Identity::from_file`].
    pub fn from_file(path: &Path) -> Result<Self, KeyFileError> {
        let text = keyfile::read_private(path)?;
        keyfile::only_line(&text)
            .and_then(Self::parse)
            .map_err(|source| KeyFileError::Malformed { path: path.to_owned(), source })
    }

    /// Writes the line to a new file of mode 0600. A file that exists is left as it is, and an error.
    pub fn to_file(&self, path: &Path) -> Result<(), KeyFileError> {
        let text = Zeroizing::new(format!("{}\n", *self.to_line()));
        keyfile::write_private(path, text.as_bytes())
    }

    /// The line to keep, without its end. Wiped when dropped.
    pub fn to_line(&self) -> Zeroizing<String> {
        let encoded = Zeroizing::new(Base64UrlUnpadded::encode_string(&self.0));
        Zeroizing::new(format!("{PREFIX}{}", *encoded))
    }

    /// The key pair of `role`: HKDF-SHA256 over the secret, as `SPEC.md` says.
    pub(super) fn identity(&self, role: Role) -> Result<Identity, KeyError> {
        let info = match role {
            Role::Controller => b"controller ed25519 seed".as_slice(),
            Role::Agent => b"agent ed25519 seed".as_slice(),
        };
        derive(b"synctl-secret-1", &self.0, info).and_then(Identity::from_seed)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// 32 bytes by HKDF-SHA256 (RFC 5869).
pub(super) fn derive(salt: &[u8], key: &[u8], info: &[u8]) -> Result<Zeroizing<[u8; KEY_BYTES]>, KeyError> {
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    hkdf::Salt::new(hkdf::HKDF_SHA256, salt)
        .extract(key)
        .expand(&[info], hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(&mut bytes[..]))
        .map_err(|_| KeyError::BadLength)?;
    Ok(bytes)
}

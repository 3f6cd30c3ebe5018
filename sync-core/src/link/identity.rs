//! An Ed25519 key pair, and the public half that the other side pins.

use std::{fmt, path::Path, str::FromStr};

use base64ct::{Base64, Encoding};
use ring::signature::{Ed25519KeyPair, KeyPair};
use zeroize::Zeroizing;

use super::keyfile::{self, KeyError, KeyFileError};

/// What a public key begins with, in text.
const PUBLIC_KIND: &str = "synctl-ed25519";
/// What a key pair begins with, in its file.
const PRIVATE_KIND: &str = "synctl-ed25519-private";
/// Length of a seed and of a public key, in bytes.
pub(super) const KEY_BYTES: usize = 32;

/// The public half of an [`Identity`]. As text: `synctl-ed25519 <base64>`, and after it an optional comment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; KEY_BYTES]);

/// One side's key pair. Wiped from memory when dropped, and never shown.
#[derive(Clone)]
pub struct Identity {
    seed: Zeroizing<[u8; KEY_BYTES]>,
    public: PublicKey,
}

impl PublicKey {
    /// The key's 32 bytes, as RFC 8032 has them.
    pub fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    pub(super) fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(line: &str) -> Result<Self, KeyError> {
        let mut words = line.split_whitespace();
        match words.next() {
            Some(PUBLIC_KIND) => decode_key(words.next().unwrap_or_default()).map(|bytes| Self(*bytes)),
            Some(PRIVATE_KIND) => Err(KeyError::PrivateForPublic),
            _ => Err(KeyError::NotAPublicKey),
        }
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PUBLIC_KIND} {}", Base64::encode_string(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Identity {
    /// A new key pair, from the system's random source. Fails where that does.
    pub fn generate() -> Result<Self, KeyError> {
        let mut seed = Zeroizing::new([0; KEY_BYTES]);
        getrandom::fill(&mut seed[..]).map_err(|_| KeyError::NoRandomness)?;
        Self::from_seed(seed)
    }

    pub(super) fn from_seed(seed: Zeroizing<[u8; KEY_BYTES]>) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed[..]).map_err(|_| KeyError::BadLength)?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| KeyError::BadLength)?;
        Ok(Self { seed, public: PublicKey(public) })
    }

    /// Reads the file that [`to_file`](Self::to_file) writes. It must be a regular file that only its owner can read, and
    /// the owner this user or root; or one in a Kubernetes secret volume.
    pub fn from_file(path: &Path) -> Result<Self, KeyFileError> {
        let text = keyfile::read_private(path)?;
        let malformed = |source| KeyFileError::Malformed { path: path.to_owned(), source };
        let mut words = keyfile::only_line(&text).map_err(malformed)?.split_whitespace();
        match words.next() {
            Some(PRIVATE_KIND) => {
                decode_key(words.next().unwrap_or_default()).and_then(Self::from_seed).map_err(malformed)
            }
            Some(PUBLIC_KIND) => Err(malformed(KeyError::PublicForPrivate)),
            _ => Err(malformed(KeyError::NotAKeyPair)),
        }
    }

    /// Writes the key pair to a new file of mode 0600. A file that exists is left as it is, and an error.
    pub fn to_file(&self, path: &Path) -> Result<(), KeyFileError> {
        let encoded = Zeroizing::new(Base64::encode_string(&self.seed[..]));
        let text = Zeroizing::new(format!("# public: {}\n{PRIVATE_KIND} {}\n", self.public, *encoded));
        keyfile::write_private(path, text.as_bytes())
    }

    /// The public half, to be given to the other side.
    pub fn public_key(&self) -> PublicKey {
        self.public
    }

    pub(super) fn seed(&self) -> &[u8; KEY_BYTES] {
        &self.seed
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("public", &self.public).finish_non_exhaustive()
    }
}

fn decode_key(encoded: &str) -> Result<Zeroizing<[u8; KEY_BYTES]>, KeyError> {
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    // One byte more than a key fits here, so that a longer one is seen to be longer.
    let mut room = Zeroizing::new([0; KEY_BYTES + 1]);
    let decoded = Base64::decode(encoded, &mut room[..]).map_err(|error| match error {
        base64ct::Error::InvalidEncoding => KeyError::BadBase64,
        base64ct::Error::InvalidLength => KeyError::BadLength,
    })?;
    if decoded.len() != KEY_BYTES {
        return Err(KeyError::BadLength);
    }
    bytes.copy_from_slice(decoded);
    Ok(bytes)
}

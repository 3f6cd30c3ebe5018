//! The first bytes of a session, and the choice of a version.
//!
//! A hello has a fixed layout of its own, older than any codec, and never changes: whatever else a later version does,
//! two sides can always tell each other why they can't talk.
//!
//! | offset | bytes | field |
//! | --- | --- | --- |
//! | 0 | 8 | magic, `synctl\r\n` |
//! | 8 | 2 | lowest version spoken, little-endian |
//! | 10 | 2 | highest version spoken |
//! | 12 | 8 | feature bits |
//! | 20 | 1 | length of the software's name and version, at most 64 |
//! | 21 | 64 | that text, UTF-8, padded with zeros |

use crate::limits::SOFTWARE_BYTES_MAX;

/// Length of a hello on the wire, in bytes.
pub const HELLO_BYTES: usize = 21 + SOFTWARE_BYTES_MAX;
/// The first bytes of every hello. The line end shows up a link that rewrites text.
pub const MAGIC: [u8; 8] = *b"synctl\r\n";
/// Lowest protocol version that this crate speaks.
pub const VERSION_MIN: u16 = 1;
/// Highest protocol version that this crate speaks.
pub const VERSION_MAX: u16 = 1;

/// What one side says of itself before anything else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Lowest version spoken.
    pub version_min: u16,
    /// Highest version spoken.
    pub version_max: u16,
    /// Optional abilities. Unknown bits are ignored; a feature is on where both sides set its bit. None is defined yet.
    pub features: u64,
    /// Program and version, for people. From a peer: escape before it is shown.
    pub software: String,
}

/// What two hellos agree on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreement {
    /// The highest version that both speak.
    pub version: u16,
    /// The features that both have.
    pub features: u64,
}

/// Why there is no agreement. Each says who has to do what.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// The first bytes are not a hello.
    #[error("the other side does not speak the synctl protocol")]
    NotSynctl,
    /// The fields contradict each other.
    #[error("the other side sent a malformed hello")]
    Malformed,
    /// The peer is too old.
    #[error(
        "the other side ({software}) speaks protocol versions up to {theirs}, this side needs {ours}: upgrade the other side"
    )]
    PeerTooOld {
        /// What it says it is, escaped.
        software: String,
        /// Its highest version.
        theirs: u16,
        /// Our lowest.
        ours: u16,
    },
    /// This side is too old.
    #[error(
        "the other side ({software}) needs protocol version {theirs}, this side speaks up to {ours}: upgrade this side"
    )]
    SelfTooOld {
        /// What it says it is, escaped.
        software: String,
        /// Its lowest version.
        theirs: u16,
        /// Our highest.
        ours: u16,
    },
}

impl Hello {
    /// What this crate speaks, said by `software` (cut to 64 bytes).
    pub fn current(software: &str) -> Self {
        let software = software.get(..software.floor_char_boundary(SOFTWARE_BYTES_MAX)).unwrap_or_default();
        Self { version_min: VERSION_MIN, version_max: VERSION_MAX, features: 0, software: software.to_owned() }
    }

    /// The bytes on the wire.
    pub fn encode(&self) -> [u8; HELLO_BYTES] {
        // Cut between characters: half of one would make the hello malformed.
        let end = self.software.floor_char_boundary(SOFTWARE_BYTES_MAX);
        let text = self.software.get(..end).unwrap_or_default().as_bytes();
        let mut bytes = Vec::with_capacity(HELLO_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&self.version_min.to_le_bytes());
        bytes.extend_from_slice(&self.version_max.to_le_bytes());
        bytes.extend_from_slice(&self.features.to_le_bytes());
        bytes.push(text.len() as u8);
        bytes.extend_from_slice(text);
        bytes.resize(HELLO_BYTES, 0);
        let mut out = [0; HELLO_BYTES];
        out.copy_from_slice(&bytes);
        out
    }

    /// Reads a hello. Any magic but ours, an empty version range and a text that is not UTF-8 are refused.
    pub fn decode(bytes: &[u8; HELLO_BYTES]) -> Result<Self, HelloError> {
        let (magic, rest) = bytes.split_first_chunk::<8>().ok_or(HelloError::Malformed)?;
        if *magic != MAGIC {
            return Err(HelloError::NotSynctl);
        }
        let (version_min, rest) = rest.split_first_chunk::<2>().ok_or(HelloError::Malformed)?;
        let (version_max, rest) = rest.split_first_chunk::<2>().ok_or(HelloError::Malformed)?;
        let (features, rest) = rest.split_first_chunk::<8>().ok_or(HelloError::Malformed)?;
        let (&len, rest) = rest.split_first().ok_or(HelloError::Malformed)?;
        let text = rest.get(..usize::from(len)).ok_or(HelloError::Malformed)?;
        let software = std::str::from_utf8(text).map_err(|_| HelloError::Malformed)?.to_owned();
        let (version_min, version_max) = (u16::from_le_bytes(*version_min), u16::from_le_bytes(*version_max));
        if version_min > version_max {
            return Err(HelloError::Malformed);
        }
        Ok(Self { version_min, version_max, features: u64::from_le_bytes(*features), software })
    }

    /// The highest version that both speak, or a sentence that says which side to upgrade.
    pub fn agree(&self, peer: &Self) -> Result<Agreement, HelloError> {
        let version = self.version_max.min(peer.version_max);
        let software = || crate::escape::Escaped(peer.software.as_bytes()).to_string();
        if peer.version_max < self.version_min {
            return Err(HelloError::PeerTooOld {
                software: software(),
                theirs: peer.version_max,
                ours: self.version_min,
            });
        }
        if peer.version_min > self.version_max {
            return Err(HelloError::SelfTooOld {
                software: software(),
                theirs: peer.version_min,
                ours: self.version_max,
            });
        }
        Ok(Agreement { version, features: self.features & peer.features })
    }
}

#[cfg(test)]
mod tests;

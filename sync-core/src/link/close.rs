//! How a connection ends: with a code for programs and a sentence for people.

use quinn::{ConnectionError, VarInt};
use sync_proto::{escape::Escaped, limits::SENTENCE_BYTES_MAX};

/// Why a side closed the connection. The numbers are part of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseCode {
    /// All is said. Also what QUIC says for a process that just drops its connection.
    Goodbye = 0,
    /// The hellos don't agree.
    Version = 1,
    /// The other side broke the protocol.
    Protocol = 2,
    /// This side has too much to do.
    Busy = 3,
}

/// TLS alerts, as QUIC carries them (RFC 9001, 4.8): 0x100 and the alert.
const CRYPTO_ERRORS: std::ops::Range<u64> = 0x100..0x200;
/// The alert for an application protocol that the other side does not speak.
const NO_APPLICATION_PROTOCOL: u64 = 0x178;

/// Closes the connection; the other side shows `sentence`. What was not delivered yet is lost.
pub fn close(connection: &quinn::Connection, code: CloseCode, sentence: &str) {
    connection.close(code.into(), cut(sentence));
}

impl From<CloseCode> for VarInt {
    fn from(code: CloseCode) -> Self {
        Self::from_u32(code as u32)
    }
}

/// The part of a sentence that fits, as bytes.
pub(super) fn cut(sentence: &str) -> &[u8] {
    sentence.get(..sentence.floor_char_boundary(SENTENCE_BYTES_MAX)).unwrap_or_default().as_bytes()
}

/// What an authentication failure is, seen from the side that gets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rejection {
    /// This side did not accept the other's key.
    ByUs,
    /// The other side did not accept this one's.
    ByPeer,
    /// They speak different protocols.
    Protocol,
}

/// Whether a connection failed because of who is at its ends, rather than what lies between.
pub(super) fn rejection(error: &ConnectionError) -> Option<Rejection> {
    let (code, by) = match error {
        ConnectionError::TransportError(error) => (u64::from(error.code), Rejection::ByUs),
        ConnectionError::ConnectionClosed(frame) => (u64::from(frame.error_code), Rejection::ByPeer),
        ConnectionError::VersionMismatch => return Some(Rejection::Protocol),
        _ => return None,
    };
    match code {
        NO_APPLICATION_PROTOCOL => Some(Rejection::Protocol),
        _ if CRYPTO_ERRORS.contains(&code) => Some(by),
        _ => None,
    }
}

/// Says why a connection ended, for a person. What the peer said is escaped.
pub fn sentence(error: &ConnectionError) -> String {
    match (rejection(error), error) {
        (Some(Rejection::Protocol), _) => {
            "the other side does not speak this version of synctl: upgrade the older of the two".to_owned()
        }
        (Some(Rejection::ByPeer), _) => {
            "the other side does not accept this side's key: check that both were given the \
            same secret, or that this side's public key is in the list that the other side was given"
                .to_owned()
        }
        (Some(Rejection::ByUs), _) => {
            "the other side's key is not one that this side accepts: check that both were given \
            the same secret, or that its public key is in the list that this side was given"
                .to_owned()
        }
        (None, ConnectionError::ApplicationClosed(close)) if close.reason.is_empty() => {
            "the other side closed the connection".to_owned()
        }
        (None, ConnectionError::ApplicationClosed(close)) => {
            let said = close.reason.get(..close.reason.len().min(SENTENCE_BYTES_MAX)).unwrap_or_default();
            Escaped(said).to_string()
        }
        (None, ConnectionError::TimedOut) => "the other side does not answer any more".to_owned(),
        (None, ConnectionError::Reset) => "the other side was restarted".to_owned(),
        (None, ConnectionError::LocallyClosed) => "the connection was closed here".to_owned(),
        (None, error) => format!("the connection failed: {}", Escaped(error.to_string().as_bytes())),
    }
}

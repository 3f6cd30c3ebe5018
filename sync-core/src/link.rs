//! What carries a session between the two sides: who may talk, how they find each other, and frames on streams.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `identity` | an Ed25519 key pair and the public half that others pin |
//! | `secret` | one shared secret, from which both sides' key pairs are derived |
//! | `keyfile` | the files both live in, and who else may read them |
//! | `credentials` | one side's key and exactly the keys it accepts |
//! | `tls` | TLS 1.3 with raw public keys (RFC 7250), mutual, no resumption, no 0-RTT |
//! | `transport` | the settings of QUIC that were measured to matter |
//! | `congestion` | how much may be in flight, so that a save does not wait behind bulk; how fast the link is |
//! | `socket` | UDP sockets with large buffers, and what lets a restarted agent reset its old connections |
//! | `listener`, `dial` | the two ends of a connection |
//! | `close` | how a connection ends, in a sentence |
//! | `hello` | the first bytes of a stream, before any frame |
//! | `frames` | messages on streams |
//! | `liveness` | when to try again, and when to believe that the other side is gone |
//!
//! Invariants: a [`quinn::Connection`] that leaves this module has an authenticated peer, whose key is one that was
//! given; no byte of a stream is read before. Nothing a stranger sends takes more than a bounded amount of memory, or
//! keeps others out. Text from the peer is escaped before it is part of an error. Nothing here outlives a crash: the
//! only files are the key files, written whole and never changed.

mod close;
mod congestion;
mod credentials;
mod dial;
mod frames;
mod hello;
mod identity;
mod keyfile;
mod listener;
mod liveness;
mod secret;
mod socket;
mod tls;
mod transport;

#[cfg(test)]
mod tests;

pub use close::{CloseCode, close, sentence};
pub use congestion::{Speed, speed, window};
pub use credentials::{Credentials, Role};
pub use dial::{DIAL_TIME_MAX, DialError, Dialed, dial, dial_with_window};
pub use frames::{FrameError, FrameReader, FrameWriter};
pub use hello::{HELLO_TIME_MAX, HelloFailure, hello_initiate, hello_respond};
pub use identity::{Identity, PublicKey};
pub use keyfile::{KeyError, KeyFileError, read_public_keys};
pub use listener::{AcceptError, HANDSHAKE_TIME_MAX, HANDSHAKES_MAX, ListenError, Listener};
pub use liveness::{Backoff, SILENCE_MAX, silent_after, unheard};
pub use secret::Secret;
pub use tls::peer_key;
pub use transport::{FIRST_WINDOW_BYTES_MAX, allow};

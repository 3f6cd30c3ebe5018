//! What is said between the two sides of a synctl session: paths, entries, ids, messages, their bytes and their limits.
//!
//! This crate is pure. It opens no file and no socket, reads no clock and draws no random number; it decides nothing
//! about *when* something is said or what is done about it (that is `sync-core`). `SPEC.md` beside this crate says
//! every byte that travels, and `vectors/` pins them.
//!
//! ```
//! use sync_proto::{Name, SyncPath};
//!
//! let path = SyncPath::parse(b"src/main.rs")?;
//! assert_eq!(path.name(), Some(Name::new(b"main.rs")?));
//! assert!(SyncPath::parse(b"src/../etc").is_err());
//! # Ok::<(), sync_proto::PathError>(())
//! ```
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`path`] | names and paths that can't leave the root |
//! | [`entry`] | what stands at a path, and content ids |
//! | [`hello`] | the first bytes of a session, older than any codec, and version negotiation |
//! | [`message`] | everything said after it |
//! | [`codec`] | messages to frames and back |
//! | [`limits`] | every bound, by name |
//! | [`escape`] | peer text made safe to show |
//! | [`reserved`] | which names are this program's own, in any spelling |

pub mod codec;
pub mod entry;
pub mod escape;
pub mod hello;
pub mod limits;
pub mod message;
pub mod path;
pub mod reserved;

pub use entry::{ContentId, Entry, Target, TreeHash};
pub use path::{Name, PathError, SyncPath};

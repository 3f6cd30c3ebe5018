//! File synchronisation for cloud development, as a library to embed.
//!
//! A [`session::Session`] keeps a directory elsewhere like one here for as long as it lives: each save is there about a
//! round trip later, whatever the size of the tree and whatever else is on the wire, and what another hand changes there is
//! never overwritten unseen. The other side is a [`session::Agent`], in a pod or in the same process.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use sync_core::{
//!     engine::Mode,
//!     session::{Destination, Session, SessionOptions, event::Event},
//! };
//!
//! # async fn embed() -> Result<(), Box<dyn std::error::Error>> {
//! let destination = Destination::Local("/srv/copy".into());
//! let options =
//!     SessionOptions { mode: Mode::OneWaySafe, ..SessionOptions::default() };
//! let (session, mut events) = Session::start(Path::new("/home/me/work"), destination, options).await?;
//!
//! // All that was on disk at the call has been applied at the other side.
//! session.flush().await?;
//! while let Some(event) = events.next().await {
//!     if let Event::Synced(synced) = event {
//!         tracing::info!(paths = synced.paths.len(), "synced");
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! `examples/embed.rs` has two sessions in one process.
//!
//! # What it does not do
//!
//! It prints nothing, reads no environment variable and no configuration, installs no handler of signals and no logger
//! (it tells by `tracing` what a developer of it would want to know), and holds no global state. It starts no runtime: a
//! session runs on the one of tokio that it is started on, with threads of its own for what blocks on disks; the agent of a
//! local destination alone has a small one to itself. It keeps no history of files, and does not follow symlinks.
//!
//! # Where what is
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`session`] | the public face: sessions, agents, events, status, flush |
//! | [`engine`] | what is to be done, decided from three trees. Pure |
//! | [`tree`] | directories as immutable trees that share what is equal. Pure |
//! | [`delta`], [`chunk`] | content against content that the other side has. Pure |
//! | [`replica`] | one side in the real world: scan, watch, read, stage, commit |
//! | [`ignore`] | which paths take part |
//! | [`link`] | identity, QUIC, who may talk to whom |
//! | [`store`] | what survives a restart |
//! | [`sys`] | the only code that differs by platform, and the only unsafe code |
//!
//! What is pure knows no file system, no socket, no task and no clock. Most programs need [`session`], [`engine::Mode`] and
//! [`link::Credentials`].

pub mod chunk;
pub mod delta;
pub mod engine;
pub mod ignore;
pub mod link;
pub mod replica;
pub mod session;
#[cfg(test)]
mod skipped;
pub mod store;
pub mod sys;
pub mod tree;

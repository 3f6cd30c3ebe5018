//! File synchronisation for cloud development, as a library to embed.
pub mod chunk;
pub mod delta;
pub mod engine;
pub mod ignore;
pub mod link;
pub mod replica;
pub mod session;
pub mod store;
pub mod sys;
pub mod tree;

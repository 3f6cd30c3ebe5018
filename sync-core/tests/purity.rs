//! The house's invariants that no compiler checks, read from the sources themselves:
//!
//! - the pure modules (`sync-proto` and tree, delta, chunk, engine of `sync-core`) name no file system, socket, task,
//!   thread, clock or random source, and none of the modules that do;
//! - the arrows between the crates point one way;
//! - the documents name only paths that exist, and the table of faults only tests that do.
//!
//! Each check is first shown to fail on a bad example, so that a reader that sees nothing can't pass.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod purity {
    mod arrows;
    mod documents;
    mod faults;
    mod modules;
    mod paths;

    use std::path::{Path, PathBuf};

    /// The workspace, which the package's directory stands in.
    fn workspace() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
    }
}

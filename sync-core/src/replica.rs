//! One side in the real world: scan, watch, read, stage, commit.
pub mod commit;
pub mod scan;
pub mod stage;
pub mod transfer;
pub mod watch;

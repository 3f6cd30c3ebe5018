//! engine

/// What goes which way. Names and meanings are those that developers know from Mutagen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Alpha's changes go to beta. What changed at beta is never overwritten or deleted: it is shown as a conflict, or
    /// left alone where alpha has nothing there.
    #[default]
    OneWaySafe,
    /// Beta is kept an exact copy of alpha. What was changed, added or deleted at beta is put right; ignored content stays.
    OneWayReplica,
}

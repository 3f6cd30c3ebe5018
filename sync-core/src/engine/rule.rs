//! The rules that keep what people have written, by name.
//!
//! A build for tests can switch one of them off, to show that the simulation finds out. In any other build all of them hold,
//! and asking costs nothing.

/// A rule, which stands where [`holds`] asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// What beta shows nothing of is removed at alpha only when beta has said that nothing stands there.
    AskedFirst,
    /// What beta has said is old when something changes there.
    AnswersAge,
    /// What a side is said to have beside what it shows is not removed on the other one.
    HiddenIsThere,
    /// An incomplete scan is evidence of nothing.
    CompleteScan,
    /// What is of unknown state is neither there nor gone.
    UnknownIsNoEvidence,
    /// What takes no part has not gone.
    IgnoredIsNotGone,
    /// What takes no part stays, whatever becomes of the directory that it is in.
    IgnoredStays,
    /// What was changed since both agreed is not removed because the other side has removed it.
    ChangeBeatsDeletion,
    /// What both sides changed is left alone.
    ConflictIsKept,
    /// What was chosen of a conflict holds for the versions that were shown.
    ChoiceOfVersions,
    /// What is moved aside is beta's own where it goes.
    AsideIsBetas,
    /// Nothing is agreed on that beta has not answered.
    AgreedWhenAnswered,
    /// Nothing is agreed on that alpha has not made durable.
    AgreedWhenDurable,
    /// What was not applied changes nothing that is known.
    AppliedOnly,
    /// What came from another replica was never agreed on with this one.
    OtherReplica,
    /// Nothing is planned where something is under way to alpha.
    HeldAtAlpha,
    /// Nothing is planned for a directory while something is under way to alpha beneath.
    HeldBeneathAtAlpha,
    /// Nothing is planned where a stream is under way to beta.
    HeldByStream,
    /// Nothing is done at alpha near what is under way to beta.
    Apart,
    /// What is near something in flight follows it on its lane.
    LanesKeepOrder,
    /// A directory that stays, because of what it holds unseen, is not removed again and again.
    KeptStays,
    /// What was sent to beta is no change by other hands, though beta could not say so.
    SentIsOurs,
    /// The same of what was to be removed there.
    RemovalIsOurs,
    /// What may have been at the other side, unanswered, and was changed there since, gives way to nothing that was agreed on before.
    UnsettledIsKept,
    /// What was sent and comes about late is agreed on only when it is answered for.
    LateIsUnsettled,
    /// What has gone out of a directory that stayed went by us.
    GoneByUs,
    /// What is beta's own is moved aside once.
    AsideOnce,
    /// What was sent is out of mind only when all is known.
    InMindUntilKnown,
    /// An emptied root is taken for an accident.
    EmptyRootHalts,
    /// So is what removes most files of a side.
    ManyDeletionsHalt,
    /// What is removed in pieces adds up.
    PiecesAddUp,
    /// Deletions are allowed once.
    AllowedOnce,
}

/// Whether a rule holds. It does.
#[cfg(not(test))]
pub(super) const fn holds(_rule: Rule) -> bool {
    true
}

#[cfg(test)]
pub(super) use super::tests::mutants::holds;

//! Both versions of what is in conflict: what stands there, and since when.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use sync_proto::{
    Entry, SyncPath,
    limits::DESCRIBE_PATHS_MAX,
    message::{Bounded, Described, Found},
};
use tokio::sync::oneshot;

use super::event::{Conflict, ConflictVersions, Version};
use crate::sys::DirHandle;

/// How long the agent has to say what it has.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(3);
/// Bytes of paths in one question, about: well below a frame of the control stream.
const QUESTION_BYTES: usize = 1 << 20;

/// The paths that are asked about: of very many conflicts the first.
pub(super) fn question(conflicts: &[Conflict]) -> Bounded<SyncPath, DESCRIBE_PATHS_MAX> {
    let mut bytes = 0;
    let fits = |path: &SyncPath| {
        bytes += path.as_bytes().len();
        bytes <= QUESTION_BYTES
    };
    Bounded::first(conflicts.iter().map(|conflict| conflict.path.clone()).take_while(fits).collect())
}

/// Finds out since when what is in conflict stands there. `beta`: what the agent will say, where it was asked.
pub(super) async fn describe(
    conflicts: Vec<Conflict>,
    root: Arc<DirHandle>,
    beta: Option<oneshot::Receiver<Described>>,
    answer: oneshot::Sender<Vec<ConflictVersions>>,
) {
    let described = match beta {
        Some(beta) => tokio::time::timeout(ANSWER_TIME_MAX, beta).await.ok().and_then(Result::ok),
        None => None,
    };
    let found = described.map_or_else(Vec::new, |described| described.found.into_vec());
    let look = move || {
        let beta = found.into_iter().chain(std::iter::repeat(None));
        let versions = conflicts.into_iter().zip(beta).map(|(conflict, beta)| {
            let Conflict { path, alpha, beta: entry, .. } = conflict;
            let alpha = alpha.map(|entry| Version { entry, modified: modified_at(&root, &path) });
            ConflictVersions { alpha, beta: entry.map(|entry| version(entry, beta)), path }
        });
        versions.collect()
    };
    if let Ok(versions) = tokio::task::spawn_blocking(look).await {
        let _ = answer.send(versions);
    }
}

fn version(entry: Entry, found: Option<Found>) -> Version {
    // Zero: not known there.
    let modified = found.map(|found| found.modified).filter(|seconds| *seconds > 0);
    Version { entry, modified: modified.and_then(|seconds| after_epoch(Duration::from_secs(seconds))) }
}

fn modified_at(root: &DirHandle, path: &SyncPath) -> Option<SystemTime> {
    let (parent, name) = path.split_last()?;
    let stat = root.resolve(&parent).and_then(|dir| dir.stat(name)).ok()?;
    after_epoch(Duration::from_nanos(u64::try_from(stat.stamp.mtime_ns).ok()?))
}

fn after_epoch(since: Duration) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(since)
}

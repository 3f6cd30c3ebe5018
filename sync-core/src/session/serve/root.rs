//! A root that is served: its committer, and its replica for as long as sessions want it with the same ignore rules.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use sync_proto::{
    Name,
    message::{IgnoreSettings, ReplicaId},
};
use tokio::sync::Notify;

use super::{AgentError, kept};
use crate::{
    engine::view::View,
    ignore::Rules,
    replica::{
        Observation, Replica, ReplicaOptions, Work,
        bases::{AGENT_BASES_BYTES_MAX, Bases},
        chunks::ChunkIndex,
        claim::{ClaimError, RootClaim},
        commit::{CommitOptions, Committer},
        contents::Contents,
        repository::Repository,
        stage::HOME,
    },
    session::{CONTENTS_BYTES_MAX, mailbox::Mailbox, past::Past},
    sys::DirHandle,
    tree::Tree,
};

/// How long a session that is being taken over has to let go.
const TAKE_OVER_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a newcomer waits while it is found out whether the controller that has the root is still there: one that was
/// killed says nothing, and its connection would live on for a minute.
const PROBE_TIME_MAX: Duration = Duration::from_secs(4);

/// How long an agent waits for a root that another one holds, and how often it looks.
const LOCK_TIME_MAX: Duration = Duration::from_secs(2);
const LOCK_INTERVAL: Duration = Duration::from_millis(50);

/// How long an agent that ends waits for the disk.
const SYNC_TIME_MAX: Duration = Duration::from_secs(10);

/// A root that the agent was started with.
#[derive(Debug)]
pub(super) struct ServedRoot {
    /// As it was given: what sessions name.
    pub(super) path: PathBuf,
    real: PathBuf,
    committer: Arc<Committer>,
    durable: bool,
    /// Which replica it is, once the agent serves.
    id: OnceLock<ReplicaId>,
    /// Kept from all other processes, once the agent serves.
    claim: Mutex<Option<RootClaim>>,
    /// The root's `.synctl`, held open for the lock on it that roots within see.
    home: DirHandle,
    /// The same of roots that this one lies in, locked with others.
    above: OnceLock<Vec<DirHandle>>,
    tenant: Mutex<Option<Tenant>>,
    freed: Notify,
    /// Counts who asked for the root. Of those who wait for it only the last is meant: the others may be as dead as the one
    /// they wait for.
    asked: AtomicU64,
    /// Copies of large files that were given to a controller, and large files that were removed.
    bases: OnceLock<Option<Arc<Bases>>>,
    /// Which chunks its large files have.
    chunks: Option<Arc<ChunkIndex>>,
    /// Held while the index is written.
    keeping: Mutex<()>,
    /// The replica of the last session, while nobody uses it.
    idle: Mutex<Option<Opened>>,
}

/// Who has the root.
#[derive(Debug)]
struct Tenant {
    controller: ReplicaId,
    peer: String,
    /// Asks it to let go.
    evict: Arc<Notify>,
    /// Asks it to find out whether its controller is still there, and to let go if not.
    probe: Arc<Notify>,
}

/// A replica at work, and where it tells what it observes.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) replica: Arc<Replica>,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) settings: IgnoreSettings,
    /// Recent small content, where sessions want to have it.
    pub(super) contents: Option<Arc<Contents>>,
    pub(super) view: View,
    /// Numbers the work of all sessions that the replica serves: what one of them left under way is not taken for
    /// another's.
    pub(super) next_tag: u64,
    /// How much of it is not answered.
    pub(super) under_way: usize,
    /// The replica has ended by itself: its root is gone.
    pub(super) is_lost: bool,
}

/// A root lent to one session. Gives it back when dropped.
#[derive(Debug)]
pub(super) struct Lease {
    root: Arc<ServedRoot>,
    pub(super) evicted: Arc<Notify>,
    pub(super) probed: Arc<Notify>,
}

/// Why a root can't be had. For the controller, as a sentence.
#[derive(Debug, thiserror::Error)]
pub(super) enum LeaseError {
    #[error("the root is in use by another session, from {0}: stop that one first")]
    InUse(String),
    #[error("the earlier connection of this session does not let go of the root; it is tried again")]
    NotFreed,
}

/// Opens every root, makes those that don't exist, and refuses roots that lie in one another.
pub(super) fn open_all(paths: Vec<PathBuf>, durable: bool) -> Result<Arc<[Arc<ServedRoot>]>, AgentError> {
    let mut roots: Vec<Arc<ServedRoot>> = Vec::with_capacity(paths.len());
    for path in paths {
        let root =
            ServedRoot::open(&path, durable).map_err(|reason| AgentError::Root { root: path.clone(), reason })?;
        let clash = roots.iter().find(|other| other.real.starts_with(&root.real) || root.real.starts_with(&other.real));
        if let Some(other) = clash {
            let reason = format!("it is the same as {} or one lies in the other", other.path.display());
            return Err(AgentError::Root { root: path, reason });
        }
        roots.push(Arc::new(root));
    }
    Ok(roots.into())
}

impl ServedRoot {
    fn open(path: &Path, durable: bool) -> Result<Self, String> {
        if !path.is_absolute() {
            return Err("a root must be an absolute path".to_owned());
        }
        std::fs::create_dir_all(path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => "it is not a directory".to_owned(),
            _ => format!("it can't be made: {error}"),
        })?;
        let real = path.canonicalize().map_err(|error| error.to_string())?;
        let committer = Committer::open(&real, CommitOptions { durable, ..CommitOptions::default() })
            .map_err(|error| error.to_string())?;
        let home = home_of(&committer).map_err(|error| error.to_string())?;
        let chunks = home.try_clone().and_then(|home| Ok(ChunkIndex::new(home, committer.root().try_clone()?)));
        Ok(Self {
            path: path.to_owned(),
            real,
            claim: Mutex::default(),
            home,
            committer: Arc::new(committer),
            durable,
            id: OnceLock::new(),
            above: OnceLock::new(),
            tenant: Mutex::default(),
            freed: Notify::new(),
            asked: AtomicU64::new(0),
            bases: OnceLock::new(),
            chunks: chunks.ok().map(Arc::new),
            keeping: Mutex::default(),
            idle: Mutex::default(),
        })
    }

    /// Takes the root for this agent alone, and keeps others from serving one around it that was served before. Another agent
    /// that is just ending has a moment to let go; one that was killed holds nothing.
    pub(super) async fn lock(&self) -> Result<(), AgentError> {
        let refused = |reason| AgentError::Root { root: self.path.clone(), reason };
        let deadline = tokio::time::Instant::now() + LOCK_TIME_MAX;
        loop {
            let reason = match self.committer.claim("an agent") {
                Ok(claim) => match self.lock_nested() {
                    Ok(above) => {
                        let id = self.committer.certain_replica_id().map_err(|error| refused(error.to_string()))?;
                        let _ = (self.above.set(above), self.id.set(id));
                        if let Some(bases) = self.past().bases {
                            self.committer.spare_to(bases);
                        }
                        *self.claim.lock().unwrap_or_else(PoisonError::into_inner) = Some(claim);
                        return Ok(());
                    }
                    Err(reason) => reason,
                },
                Err(error @ ClaimError::Held(_)) => error.to_string(),
                Err(ClaimError::Io(error)) => return Err(refused(ClaimError::Io(error).to_string())),
            };
            if tokio::time::Instant::now() >= deadline {
                return Err(refused(reason));
            }
            tokio::time::sleep(LOCK_INTERVAL).await;
        }
    }

    /// Keeps roots around this one and within it from being served by others. `Err`: one is.
    fn lock_nested(&self) -> Result<Vec<DirHandle>, String> {
        // A file system without locks on directories can't tell; the root itself is claimed by other means.
        if !self.home.try_lock().unwrap_or(true) {
            return Err("another agent on this machine serves a directory in it: stop that one first".to_owned());
        }
        lock_above(&self.real).map_err(|root| {
            format!("another agent on this machine serves {}, which it lies in: stop that one first", root.display())
        })
    }

    /// Whether a controller that names `path` means this root.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        self.path == path || self.real == path
    }

    pub(super) fn id(&self) -> ReplicaId {
        *self.id.get().expect("sessions come when the root is locked, and that sets it")
    }

    /// What is kept of large files, as far as it can be.
    pub(super) fn past(&self) -> Past {
        let bases = self.bases.get_or_init(|| Bases::open(&self.home, AGENT_BASES_BYTES_MAX).ok().map(Arc::new));
        Past { bases: bases.clone(), chunks: self.chunks.clone() }
    }

    pub(super) fn committer(&self) -> &Arc<Committer> {
        &self.committer
    }

    /// Lends the root to a session. The same controller takes its place over from itself, and anyone from a controller
    /// that is dead.
    pub(super) async fn lease(self: &Arc<Self>, controller: ReplicaId, peer: String) -> Result<Lease, LeaseError> {
        let start = tokio::time::Instant::now();
        let turn = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        self.freed.notify_waiters();
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            // Registered before looking, so that a lease given back in between is not missed.
            freed.as_mut().enable();
            let (wait, refused) = match &mut *self.tenant() {
                Some(tenant) if self.asked.load(Ordering::Relaxed) != turn => {
                    return Err(LeaseError::InUse(tenant.peer.clone()));
                }
                Some(tenant) if tenant.controller == controller => {
                    tenant.evict.notify_one();
                    (TAKE_OVER_TIME_MAX, LeaseError::NotFreed)
                }
                Some(tenant) => {
                    tenant.probe.notify_one();
                    (PROBE_TIME_MAX, LeaseError::InUse(tenant.peer.clone()))
                }
                free => {
                    if self.asked.load(Ordering::Relaxed) != turn {
                        return Err(LeaseError::NotFreed);
                    }
                    let (evicted, probed) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
                    *free = Some(Tenant { controller, peer, evict: Arc::clone(&evicted), probe: Arc::clone(&probed) });
                    return Ok(Lease { root: Arc::clone(self), evicted, probed });
                }
            };
            tokio::time::timeout_at(start + wait, freed).await.map_err(|_| refused)?;
        }
    }

    fn tenant(&self) -> MutexGuard<'_, Option<Tenant>> {
        self.tenant.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle(&self) -> MutexGuard<'_, Option<Opened>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The root with these rules: the replica of the session before where it had the same, else a new one, scanned. It keeps
    /// small content that it reads where `keep` is set.
    pub(super) async fn replica(self: &Arc<Self>, settings: &IgnoreSettings, keep: bool) -> Result<Opened, String> {
        self.mark_unsynced(keep).await?;
        let before = self.idle().take();
        let mut hint = None;
        if let Some(mut opened) = before {
            // What has been observed since is waiting; all of it is in the last view.
            if opened.settings == *settings && opened.contents.is_some() == keep && opened.catch_up().await.is_ok() {
                return Ok(opened);
            }
            hint = Some(opened.view.tree.clone());
            close_replica(opened).await;
        }
        let hint = match hint {
            Some(hint) => hint,
            None => self.load_index().await,
        };
        let known = hint.hash();
        self.check()?;
        // A peer's patterns may take long to compile: not on a thread that others wait for.
        let asked = settings.clone();
        let rules = tokio::task::spawn_blocking(move || Rules::new(&asked)).await.map_err(|error| error.to_string())?;
        let rules = rules.map_err(|error| error.to_string())?;
        let mailbox = Arc::new(Mailbox::default());
        let sink = Arc::clone(&mailbox);
        let contents = keep.then(|| Arc::new(Contents::new(CONTENTS_BYTES_MAX)));
        let committer = Some(Arc::clone(&self.committer));
        let repository = Repository::within(&self.real);
        let options = ReplicaOptions { rules, contents: contents.clone(), hint, committer, repository };
        let replica = Replica::start(&self.real, options, move |observation| sink.put(observation))
            .map_err(|error| format!("the root can't be opened: {error}"))?;
        let mut opened = Opened {
            replica: Arc::new(replica),
            mailbox,
            settings: settings.clone(),
            contents,
            view: View::default(),
            next_tag: 0,
            under_way: 0,
            is_lost: false,
        };
        opened.first_scan().await?;
        if opened.view.complete && opened.view.tree.hash() != known {
            // An agent that is killed has it too.
            drop(self.save_index(&opened.view.tree));
        }
        Ok(opened)
    }

    async fn load_index(self: &Arc<Self>) -> Tree {
        let root = Arc::clone(self);
        tokio::task::spawn_blocking(move || kept::load(&root.home, root.id())).await.unwrap_or_default()
    }

    /// Keeps the index for the next start, which would read everything again without it.
    fn save_index(self: &Arc<Self>, tree: &Tree) -> tokio::task::JoinHandle<()> {
        let (root, tree) = (Arc::clone(self), tree.clone());
        tokio::task::spawn_blocking(move || {
            let _turn = root.keeping.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = kept::save(&root.home, root.id(), &tree) {
                tracing::warn!(root = %root.path.display(), "the index can't be kept for the next start: {error}");
            }
        })
    }

    /// What a session leaves unsynced: all that it writes, where the agent does not sync; and where beta's changes are taken
    /// over, those of other hands, which nobody syncs.
    async fn mark_unsynced(&self, takes_changes: bool) -> Result<(), String> {
        if self.durable && !takes_changes {
            return Ok(());
        }
        let committer = Arc::clone(&self.committer);
        let marked = tokio::task::spawn_blocking(move || committer.mark_unsynced()).await;
        marked
            .map_err(|error| error.to_string())?
            .map_err(|error| format!("it can't be noted in the root that it is written to: {error}"))
    }

    /// Whether the root is still the directory that was opened. Another in its place (a mount point without its volume,
    /// say) is another replica, and nothing to be filled unasked.
    fn check(&self) -> Result<(), String> {
        let shown = self.path.display();
        let now =
            DirHandle::open_root(&self.real).and_then(|root| root.stat_self()).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                    format!("the root {shown} is gone: put it back, or restart the agent to make it anew")
                }
                _ => format!("the root {shown} can't be opened: {error}"),
            })?;
        let opened = self.committer.root().stat_self().map_err(|error| error.to_string())?;
        if (now.device, now.stamp.inode) == (opened.device, opened.stamp.inode) {
            return Ok(());
        }
        Err(format!(
            "what stands at {shown} is not the directory that the agent was started with: put that back, or restart \
                     the agent to serve this one"
        ))
    }

    /// Keeps the replica for the next session, unless it is of no use any more.
    pub(super) async fn keep(&self, opened: Opened) {
        if opened.is_lost {
            close_replica(opened).await;
        } else {
            *self.idle() = Some(opened);
        }
    }

    pub(super) async fn close(self: &Arc<Self>) {
        let idle = self.idle().take();
        if let Some(mut opened) = idle {
            if opened.catch_up().await.is_ok() && opened.view.complete {
                let _ = self.save_index(&opened.view.tree).await;
            }
            close_replica(opened).await;
        }
        let past = self.past();
        let _ = tokio::task::spawn_blocking(move || past.close()).await;
        if self.tenant().is_some() {
            // A session that did not end in time may still write: it is as if the agent were killed.
            return;
        }
        let committer = Arc::clone(&self.committer);
        // Nobody else may have the root, and count on the mark, before this is done, however long it takes.
        let claim = self.claim.lock().unwrap_or_else(PoisonError::into_inner).take();
        let synced = tokio::task::spawn_blocking(move || {
            let _claim = claim;
            committer.sync_and_unmark()
        });
        match tokio::time::timeout(SYNC_TIME_MAX, synced).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => {
                tracing::warn!(root = %self.path.display(), "not all of it may be on the disk: {error}")
            }
            Ok(Err(_)) | Err(_) => tracing::warn!(root = %self.path.display(), "not all of it may be on the disk yet"),
        }
    }
}

fn home_of(committer: &Committer) -> io::Result<DirHandle> {
    let name = Name::new(b".synctl").map_err(io::Error::other)?;
    committer.root().open_dir(name)
}

/// Locks the homes of all roots that `real` lies in, together with others that do so. `Err`: one that is being served.
fn lock_above(real: &Path) -> Result<Vec<DirHandle>, PathBuf> {
    let mut held = Vec::new();
    for above in real.ancestors().skip(1) {
        // Mostly there is none: it never was a root. One that may not be looked at or locked is no reason to serve nothing.
        let Ok(home) = DirHandle::open_root(&above.join(HOME)) else { continue };
        match home.try_lock_shared() {
            Ok(true) => held.push(home),
            Ok(false) => return Err(above.to_owned()),
            Err(_) => {}
        }
    }
    Ok(held)
}

/// Ends a replica. It finishes what it is doing, which blocks.
async fn close_replica(opened: Opened) {
    let _ = tokio::task::spawn_blocking(move || drop(opened)).await;
}

impl Opened {
    async fn first_scan(&mut self) -> Result<(), String> {
        loop {
            let observation = self.mailbox.next().await;
            let is_scan = matches!(observation, Observation::Scanned(_));
            self.heed(observation)?;
            if is_scan {
                return Ok(());
            }
        }
    }

    /// Hands over work, and gives the number that it has.
    pub(super) fn apply(&mut self, work: Work) -> u64 {
        let tag = self.next_tag;
        self.next_tag += 1;
        self.under_way += 1;
        self.replica.apply(tag, work);
        tag
    }

    /// Reads what has been observed while nobody listened, and waits until all is done that earlier sessions have left: what came
    /// about in the middle of the next one, it would take for a change by other hands.
    async fn catch_up(&mut self) -> Result<(), String> {
        const TOKEN: u64 = u64::MAX;
        self.replica.flush(TOKEN);
        let mut is_flushed = false;
        while !is_flushed || self.under_way > 0 {
            let observation = self.mailbox.next().await;
            is_flushed |= matches!(observation, Observation::Flushed(TOKEN));
            self.heed(observation)?;
        }
        Ok(())
    }

    /// Takes over what was observed while nobody is told. `Err`: the root is gone, and why.
    pub(super) fn heed(&mut self, observation: Observation) -> Result<(), String> {
        match observation {
            Observation::Scanned(seen) | Observation::Changed(seen) => self.view = seen.view,
            // Of a session that is gone: nobody waits for the outcomes, but the view counts.
            Observation::Applied(applied) => {
                self.under_way = self.under_way.saturating_sub(1);
                self.view = applied.view;
            }
            Observation::Flushed(_) => {}
            Observation::Lost(reason) => {
                self.is_lost = true;
                return Err(reason);
            }
            Observation::Warning(message) => tracing::warn!("{message}"),
        }
        Ok(())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        *self.root.tenant() = None;
        self.root.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use sync_proto::{
        ContentId, Entry, SyncPath,
        message::{Blob, Content, Expected, Operation},
    };

    use super::*;

    const BATCHES: usize = 4;
    const FILES: usize = 400;

    fn put(batch: usize, number: usize) -> Operation {
        let content = format!("{batch} {number}").into_bytes();
        Operation::Put {
            path: SyncPath::parse(format!("{batch}-{number}").as_bytes()).unwrap(),
            expected: Expected::Nothing,
            entry: Entry::File {
                content: ContentId(*blake3::hash(&content).as_bytes()),
                len: content.len() as u64,
                executable: false,
            },
            content: Content::Raw(Blob::new(content).unwrap()),
        }
    }

    #[tokio::test]
    async fn a_session_begins_with_all_done_that_the_one_before_left() {
        let dir = tempfile::tempdir().unwrap();
        let root = Arc::new(ServedRoot::open(dir.path(), false).unwrap());
        root.lock().await.unwrap();
        let settings = IgnoreSettings::default();
        let mut opened = root.replica(&settings, false).await.unwrap();
        for batch in 0..BATCHES {
            let operations = (0..FILES).map(|number| put(batch, number)).collect();
            opened.apply(Work::Batch { operations, bulk: true });
        }
        root.keep(opened).await;
        let opened = root.replica(&settings, false).await.unwrap();
        assert_eq!((opened.under_way, opened.view.tree.entries()), (0, (BATCHES * FILES) as u64));
        drop(opened);
    }
}

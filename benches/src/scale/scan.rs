//! A warm rescan and the setting up of watches, in this process.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use ignore::{WalkBuilder, WalkState};
use notify::{RecursiveMode, Watcher as _};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::time::{ClockId, clock_gettime};
use sync_core::ignore::Rules;
use sync_core::replica::hash::Keep;
use sync_core::replica::scan::Scan;
use sync_core::replica::watch::{Watcher, watch};
use sync_core::sys::DirHandle;
use sync_core::tree::{Dir, diff};
use sync_proto::SyncPath;
use sync_proto::message::IgnoreSettings;

use super::planted;
use super::table::{Table, median, seconds};

/// As many as there are cores where the goals are set.
const THREADS: usize = 2;

/// Wall and CPU time in seconds.
#[derive(Debug, Default)]
struct Times {
    wall: Vec<f64>,
    cpu: Vec<f64>,
}

impl Times {
    fn take<T>(&mut self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let (wall, cpu) = (Instant::now(), cpu());
        let result = work()?;
        self.wall.push(wall.elapsed().as_secs_f64());
        self.cpu.push(self::cpu() - cpu);
        Ok(result)
    }

    fn show(&self) -> String {
        format!("{} (CPU {})", seconds(median(&self.wall)), seconds(median(&self.cpu)))
    }
}

/// CPU time of this process so far, in seconds.
fn cpu() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Scans as the observer does it: watches made sure of, every file's stat data looked at, the result compared with what was
/// there before.
struct Scanner {
    root: DirHandle,
    watcher: Watcher,
    rules: Rules,
    stop: Arc<AtomicBool>,
}

impl Scanner {
    fn new(root: &Path) -> Result<Self> {
        let (watcher, _) = watch(root)?;
        let rules = Rules::new(&IgnoreSettings::default())?;
        Ok(Self { root: DirHandle::open_root(root)?, watcher, rules, stop: Arc::default() })
    }

    fn scan(&self, before: Option<&Dir>) -> Result<Dir> {
        let scan =
            Scan { root: &self.root, watcher: &self.watcher, keep: Keep::Nothing, threads: THREADS, stop: &self.stop };
        let scanned = scan.run(&SyncPath::root(), self.rules.root_scope(), before);
        ensure!(scanned.problems.is_empty() && scanned.unwatched.is_empty(), "not all of it could be scanned");
        let dir = scanned.dir.context("the root is there")?;
        let before = before.unwrap_or(&dir);
        ensure!(diff(before, &dir).next().is_none() && *before == dir, "nothing has changed between two scans");
        Ok(dir)
    }
}

/// Looks at the stat data of every file, as ripgrep's walker is at its fastest: it obeys nothing.
fn walk(root: &Path) -> usize {
    let found = AtomicUsize::new(0);
    let walk = WalkBuilder::new(root).standard_filters(false).threads(THREADS).build_parallel();
    walk.run(|| {
        Box::new(|entry| {
            if entry.is_ok_and(|entry| entry.metadata().is_ok_and(|metadata| metadata.is_file())) {
                found.fetch_add(1, Ordering::Relaxed);
            }
            WalkState::Continue
        })
    });
    found.into_inner()
}

pub(super) fn rescan(root: &Path, files: usize, rounds: usize, table: &mut Table) -> Result<()> {
    let scanner = Scanner::new(root)?;
    let started = Instant::now();
    let mut index = scanner.scan(None)?;
    table.note(&format!("first scan, {files} files read"), seconds(started.elapsed().as_secs_f64()), String::new());
    let (mut ours, mut theirs) = (Times::default(), Times::default());
    for _ in 0..rounds {
        let found = theirs.take(|| Ok(walk(root)))?;
        ensure!(found == files, "{found} of {files} files were walked");
        index = ours.take(|| scanner.scan(Some(&index)))?;
    }
    let met = median(&ours.wall) <= median(&theirs.wall);
    let beside = format!("`WalkParallel` {}", theirs.show());
    table.enter(&format!("warm rescan, {files} files, {THREADS} threads"), ours.show(), beside, "≤ the walk", met);
    Ok(())
}

pub(super) fn watches(root: &Path, files: usize, rounds: usize, table: &mut Table) -> Result<()> {
    let directories = planted::directories(files);
    let paths: Vec<_> = (0..directories).map(planted::directory).collect();
    let (mut ours, mut bare, mut notifies) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        ours.push(watched_by_us(root, &paths)?);
        bare.push(watched_barely(root, &paths)?);
        let started = Instant::now();
        let mut watcher = notify::recommended_watcher(|_| {})?;
        watcher.watch(root, RecursiveMode::Recursive)?;
        notifies.push(started.elapsed().as_secs_f64());
    }
    let each = |times: &[f64]| median(times) / directories as f64 * 1e6;
    let beside = format!("notify, recursive {:.1} µs; the call alone, by path {:.1} µs", each(&notifies), each(&bare));
    let what = format!("watch set-up a directory, {directories} directories");
    table.enter(&what, format!("{:.1} µs", each(&ours)), beside, "≤ 6 µs", each(&ours) <= 6.0);
    Ok(())
}

/// The roots of both sides, and what was found there.
pub(super) struct Both(Vec<(PathBuf, Dir)>);

impl Both {
    pub(super) fn new(source: &Path, target: &Path) -> Result<Self> {
        let read = |root: &Path| -> Result<_> { Ok((root.to_owned(), Scanner::new(root)?.scan(None)?)) };
        Ok(Self(vec![read(source)?, read(target)?]))
    }

    /// Scans one after the other, with new watches: the least that a start takes where both are on this machine.
    pub(super) fn scan(&self) -> Result<f64> {
        let started = Instant::now();
        for (root, index) in &self.0 {
            drop(Scanner::new(root)?.scan(Some(index))?);
        }
        Ok(started.elapsed().as_secs_f64())
    }
}

/// Directories that are held open at once.
const BATCH: usize = 256;

/// The time that the watcher takes for directories that a scan has opened.
fn watched_by_us(root: &Path, paths: &[PathBuf]) -> Result<f64> {
    let (handle, (watcher, _events)) = (DirHandle::open_root(root)?, watch(root)?);
    let mut took = 0.0;
    for batch in paths.chunks(BATCH) {
        let open = |path: &PathBuf| -> Result<_> {
            let path = SyncPath::parse(path.as_os_str().as_encoded_bytes()).map_err(|error| anyhow!("{error}"))?;
            Ok((handle.resolve(&path)?, path))
        };
        let opened = batch.iter().map(open).collect::<Result<Vec<_>>>()?;
        let started = Instant::now();
        for (directory, path) in &opened {
            watcher.add(path, directory)?;
        }
        took += started.elapsed().as_secs_f64();
    }
    ensure!(watcher.watched() >= paths.len(), "not everything is watched");
    Ok(took)
}

fn watched_barely(root: &Path, paths: &[PathBuf]) -> Result<f64> {
    let queue = inotify::init(CreateFlags::CLOEXEC)?;
    let paths: Vec<_> = paths.iter().map(|path| root.join(path)).collect();
    let started = Instant::now();
    for path in &paths {
        inotify::add_watch(&queue, path, WatchFlags::CLOSE_WRITE | WatchFlags::CREATE | WatchFlags::DELETE)?;
    }
    Ok(started.elapsed().as_secs_f64())
}

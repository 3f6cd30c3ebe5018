//! How far the work has got: a bar on a terminal, a line now and then elsewhere.

use std::{
    io,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use sync_core::session::event::Progress;

use super::{
    human,
    units::{bytes, count, counted},
};

/// Where there is no terminal: how long between two lines.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Once in sync, only work with at least so much left gets a bar: for less it would just flash.
const BAR_OPERATIONS_MIN: u64 = 1000;
/// The same in bytes.
const BAR_BYTES_MIN: u64 = 8 << 20;

/// The bar: files, bytes, rate, time left.
#[derive(Debug, Default)]
pub(crate) struct Bar {
    shown: Option<Shown>,
}

/// A bar that is on the terminal.
#[derive(Debug)]
struct Shown {
    bar: ProgressBar,
    since: Instant,
    /// Bytes that were done when it came: what the rate is counted from.
    bytes_before: u64,
}

impl Bar {
    /// Shows how far the work is; the bar comes with work to do and goes when it is done.
    pub(crate) fn show(&mut self, progress: &Progress, ready: bool, now: Instant) {
        if progress.done >= progress.total && progress.bytes_done >= progress.bytes_total {
            return self.clear();
        }
        if self.shown.is_none() && ready && !is_worth_a_bar(progress) {
            return;
        }
        let shown = self.shown.get_or_insert_with(|| Shown {
            bar: new_bar(message(progress, 0, Duration::ZERO)),
            since: now,
            bytes_before: progress.bytes_done,
        });
        let (done, total) = position(progress);
        shown.bar.set_length(total);
        shown.bar.set_position(done);
        let bytes_since = progress.bytes_done.saturating_sub(shown.bytes_before);
        shown.bar.set_message(message(progress, bytes_since, now.saturating_duration_since(shown.since)));
    }

    /// Takes the bar off the terminal.
    pub(crate) fn clear(&mut self) {
        if let Some(shown) = self.shown.take() {
            shown.bar.finish_and_clear();
        }
    }

    /// Writes lines without tearing the bar.
    pub(crate) fn suspend(&self, write: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        match &self.shown {
            Some(shown) => shown.bar.suspend(write),
            None => write(),
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.clear();
    }
}

fn new_bar(message: String) -> ProgressBar {
    let style = ProgressStyle::with_template("[{wide_bar}] {percent:>3}%  {msg}  {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ");
    ProgressBar::new(0).with_style(style).with_message(message)
}

/// Done and total, in one unit: a small file costs about as much as 16 KiB of a large one, whatever its length, so that
/// neither ten thousand tiny files nor one huge one make the time left a lie.
fn position(progress: &Progress) -> (u64, u64) {
    const OPERATION_BYTES: u64 = 16 << 10;
    let weigh = |operations: u64, bytes: u64| bytes.saturating_add(operations.saturating_mul(OPERATION_BYTES));
    (weigh(progress.done, progress.bytes_done), weigh(progress.total, progress.bytes_total))
}

fn is_worth_a_bar(progress: &Progress) -> bool {
    progress.total.saturating_sub(progress.done) >= BAR_OPERATIONS_MIN
        || progress.bytes_total.saturating_sub(progress.bytes_done) >= BAR_BYTES_MIN
}

/// `1,234/10,000 files  12.3 MB/39.1 MB  41.0 MB/s`; the rate is the mean since the bar came.
fn message(progress: &Progress, bytes_since: u64, since: Duration) -> String {
    let Progress { done, total, bytes_done, bytes_total } = *progress;
    let rate = bytes_since as f64 / since.as_secs_f64().max(0.1);
    format!(
        "{}/{}  {}/{}  {}/s",
        count(done),
        counted(total, "file"),
        bytes(bytes_done),
        bytes(bytes_total),
        bytes(rate as u64)
    )
}

/// Lines in place of a bar.
#[derive(Debug, Default)]
pub(crate) struct SparseLines {
    last: Option<Instant>,
}

impl SparseLines {
    /// The line to write, if it is time for one. Work that is done in less than [`LINE_EVERY`] gets none.
    pub(crate) fn next(&mut self, progress: &Progress, now: Instant) -> Option<String> {
        if progress.done >= progress.total {
            self.last = None;
            return None;
        }
        let last = *self.last.get_or_insert(now);
        if now.saturating_duration_since(last) < LINE_EVERY {
            return None;
        }
        self.last = Some(now);
        Some(human::progress_line(progress))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    fn progress(done: u64, total: u64) -> Progress {
        Progress { done, total, bytes_done: done * 1_000_000, bytes_total: total * 1_000_000 }
    }

    #[test]
    fn without_a_terminal_a_line_comes_now_and_then() {
        let start = Instant::now();
        let mut lines = SparseLines::default();
        let mut told = Vec::new();
        for second in 0..35 {
            told.extend(lines.next(&progress(second * 10, 1000), start + Duration::from_secs(second)));
        }
        assert_eq!(told.len(), 3);
        assert_eq!(told[0], "progress: 100 of 1,000 files, 100.0 MB of 1.0 GB");
        assert_eq!(lines.next(&progress(1000, 1000), start + Duration::from_secs(60)), None);
        // The next work starts its own time.
        assert_eq!(lines.next(&progress(1, 10), start + Duration::from_secs(90)), None);
    }

    #[test]
    fn the_bar_tells_files_bytes_and_rate() {
        let text = message(&progress(1234, 10_000), 1_000_000_000, Duration::from_secs(2));
        assert_eq!(text, "1,234/10,000 files  1.2 GB/10.0 GB  500.0 MB/s");
    }

    #[test]
    fn the_bar_moves_for_files_and_for_bytes() {
        let small = Progress { done: 50, total: 100, bytes_done: 0, bytes_total: 0 };
        assert_eq!(position(&small).0 * 2, position(&small).1);
        let large = Progress { done: 0, total: 1, bytes_done: 1 << 29, bytes_total: 1 << 30 };
        let (done, total) = position(&large);
        assert!(done * 2 <= total && done * 2 > total - total / 100);
    }

    #[test]
    fn a_bar_comes_for_much_work_and_goes_when_it_is_done() {
        let now = Instant::now();
        let mut bar = Bar::default();
        bar.show(&Progress { done: 0, total: 3, bytes_done: 0, bytes_total: 300 }, true, now);
        assert!(bar.shown.is_none(), "a few files once in sync");
        bar.show(&progress(0, 10), true, now);
        assert!(bar.shown.is_some(), "10 MB");
        bar.show(&progress(10, 10), true, now);
        assert!(bar.shown.is_none(), "done");
        bar.show(&progress(0, 1), false, now);
        assert!(bar.shown.is_some(), "the first sync has one whatever its size");
    }
}

//! CPU time: of this thread, and of programs that were waited for.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A tick of `/proc`, which Linux shows as a hundredth of a second on every machine.
const TICK: Duration = Duration::from_millis(10);

/// The CPU time of this thread so far.
fn thread() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let part = |part: i64| u64::try_from(part).unwrap_or_default();
    Duration::from_secs(part(time.tv_sec)) + Duration::from_nanos(part(time.tv_nsec))
}

/// Runs `work` at least once, and again while that is cheap; the shortest time is the one least disturbed.
pub(crate) fn shortest<T>(mut work: impl FnMut() -> T) -> (T, Duration) {
    let begin = thread();
    let mut result = work();
    let first = thread() - begin;
    let mut shortest = first;
    let again = (Duration::from_millis(500).as_nanos() / first.as_nanos().max(1)).min(20);
    for _ in 0..again {
        let begin = thread();
        result = work();
        shortest = shortest.min(thread() - begin);
    }
    (result, shortest)
}

/// The CPU time of all programs that were started from here and have ended. `None` where the system does not say.
pub(crate) fn children() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program, in brackets, may hold anything.
    let (_, fields) = stat.rsplit_once(") ")?;
    let ticks: u32 = fields.split(' ').skip(13).take(2).filter_map(|field| field.parse::<u32>().ok()).sum();
    Some(TICK * ticks)
}

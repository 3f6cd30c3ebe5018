//! How much time content may take to become shorter, by what it saves on the link.

use std::time::Duration;

/// A link slower than this, in bytes a second, is worth more time: [`Effort::Thorough`] takes about that much longer for
/// the bytes it saves. 11 ms for 23 KB of a crate's next release, 5 ms for 24 KB of a database, 7 ms for 8 KB of a rebuilt
/// program.
const THOROUGH_BYTES_PER_SECOND_MAX: u64 = 2_500_000;
/// A link slower than this, in bytes a second (500 Mbit/s), is worth compressing for what is new: [`Effort::Medium`].
const MEDIUM_BYTES_PER_SECOND_MAX: u64 = 62_500_000;
/// With a round trip shorter than this a link of which nothing else is known is taken for fast, else for slow.
const NEAR: Duration = Duration::from_millis(2);

/// How much time content may take to become shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Effort {
    /// For a fast link: a delta takes some microseconds for a source file, and what is new goes as it is.
    #[default]
    Fast,
    /// For a link that is slower than compressing: so are deltas, and what is new is compressed.
    Medium,
    /// For a slow link: up to some milliseconds for a delta of a source file, for one that is a little smaller.
    Thorough,
}

impl Effort {
    /// The one that brings content soonest over a link that carries so many bytes a second, where that is known, and has such a
    /// round trip.
    pub fn for_link(bytes_per_second: Option<u64>, round_trip: Duration) -> Self {
        match bytes_per_second {
            Some(..=THOROUGH_BYTES_PER_SECOND_MAX) => Self::Thorough,
            Some(..=MEDIUM_BYTES_PER_SECOND_MAX) => Self::Medium,
            Some(_) => Self::Fast,
            None if round_trip < NEAR => Self::Fast,
            None => Self::Thorough,
        }
    }

    /// Whether what is new is worth compressing.
    pub fn compresses(self) -> bool {
        self != Self::Fast
    }

    /// The zstd level where the match finder's tables hold all of the base.
    pub(super) fn level(self) -> i32 {
        match self {
            Self::Fast | Self::Medium => 3,
            Self::Thorough => 12,
        }
    }

    /// The zstd level for the sections of a large file. 4 takes 3 % longer than 3, and saves 14 % of a database; 12 takes
    /// twice as long as 9 and saves nothing worth it.
    pub(super) fn level_near(self) -> i32 {
        match self {
            Self::Fast | Self::Medium => 4,
            Self::Thorough => 9,
        }
    }

    /// The zstd level beside long-distance matching. Level 1 is the faster one and finds more than level 3: 766 bytes in
    /// 5 ms for two edits in 8 MiB of noise, instead of 11,322 in 8. 12 takes four times as long as 9 for the same bytes.
    pub(super) fn level_far(self) -> i32 {
        match self {
            Self::Fast | Self::Medium => 1,
            Self::Thorough => 9,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes_per_second: Option<u64>, micros: u64, expected: Effort) {
        assert_eq!(Effort::for_link(bytes_per_second, Duration::from_micros(micros)), expected, "{bytes_per_second:?}");
    }

    #[test]
    fn a_slow_link_is_worth_more_time_whatever_its_round_trip() {
        for micros in [100, 50_000] {
            // 10 Mbit/s of a DSL line, 100 of Wi-Fi, 1 Gbit/s of an office.
            check(Some(0), micros, Effort::Thorough);
            check(Some(1_250_000), micros, Effort::Thorough);
            check(Some(12_500_000), micros, Effort::Medium);
            check(Some(118_000_000), micros, Effort::Fast);
            check(Some(u64::MAX), micros, Effort::Fast);
        }
    }

    #[test]
    fn the_distance_decides_where_nothing_else_is_known() {
        check(None, 100, Effort::Fast);
        check(None, 1_999, Effort::Fast);
        check(None, 2_000, Effort::Thorough);
        check(None, 100_000, Effort::Thorough);
    }
}

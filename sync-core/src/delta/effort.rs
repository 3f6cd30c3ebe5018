//! How much time a delta may take.

/// A link slower than this, in bytes a second, is worth more time: [`Effort::Thorough`] takes about that much longer for
/// the bytes it saves. 11 ms for 23 KB of a crate's next release, 5 ms for 24 KB of a database, 7 ms for 8 KB of a rebuilt
/// program.
const THOROUGH_BYTES_PER_SECOND_MAX: u64 = 2_500_000;

/// How much time a delta may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Effort {
    /// For a fast link: some microseconds for a source file.
    #[default]
    Fast,
    /// For a slow link: up to some milliseconds for a source file, for a payload that is a little smaller.
    Thorough,
}

impl Effort {
    /// The one that brings content over a link of so many bytes a second soonest.
    pub fn for_link(bytes_per_second: u64) -> Self {
        if bytes_per_second <= THOROUGH_BYTES_PER_SECOND_MAX { Self::Thorough } else { Self::Fast }
    }

    /// The zstd level where the match finder's tables hold all of the base.
    pub(super) fn level(self) -> i32 {
        match self {
            Self::Fast => 3,
            Self::Thorough => 12,
        }
    }

    /// The zstd level for the sections of a large file. 4 takes 3 % longer than 3, and saves 14 % of a database; 12 takes
    /// twice as long as 9 and saves nothing worth it.
    pub(super) fn level_near(self) -> i32 {
        match self {
            Self::Fast => 4,
            Self::Thorough => 9,
        }
    }

    /// The zstd level beside long-distance matching. Level 1 is the faster one and finds more than level 3: 766 bytes in
    /// 5 ms for two edits in 8 MiB of noise, instead of 11,322 in 8. 12 takes four times as long as 9 for the same bytes.
    pub(super) fn level_far(self) -> i32 {
        match self {
            Self::Fast => 1,
            Self::Thorough => 9,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_link_is_worth_more_time() {
        // 10 Mbit/s of a DSL line, 1 Gbit/s of an office.
        assert_eq!([0, 1_250_000, 125_000_000, u64::MAX].map(Effort::for_link), {
            use Effort::{Fast, Thorough};
            [Thorough, Thorough, Fast, Fast]
        });
    }
}

//! Numbers as people read them.

use std::time::Duration;

/// `999 B`, `1.2 kB`, `39.1 MB`: powers of 1000, as disks and links are sold.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if count < 1000 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1000.0;
    let mut unit = "kB";
    for next in UNITS.into_iter().skip(1) {
        // 999.95 would be shown as 1000.0.
        if value < 999.95 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

/// `0.62 ms`, `12.3 ms`, `123 ms`, `1.20 s`, `12.3 s`, `2 min 5 s`, `1 h 2 min`.
pub(crate) fn duration(duration: Duration) -> String {
    let ms = duration.as_secs_f64() * 1e3;
    match ms {
        ..9.995 => format!("{ms:.2} ms"),
        ..99.95 => format!("{ms:.1} ms"),
        ..999.5 => format!("{ms:.0} ms"),
        ..9_995.0 => format!("{:.2} s", ms / 1e3),
        ..59_950.0 => format!("{:.1} s", ms / 1e3),
        _ => {
            let seconds = (ms / 1e3).round() as u64;
            let (minutes, seconds) = (seconds / 60, seconds % 60);
            if minutes < 60 {
                format!("{minutes} min {seconds} s")
            } else {
                format!("{} h {} min", minutes / 60, minutes % 60)
            }
        }
    }
}

/// `12 s`, `5 min`, `3 h 2 min`, `6 days 4 h`: as long ago as a person cares to know.
pub(crate) fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} min"),
        3600..86_400 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{} {} h", counted(days, "day"), hours % 24),
    }
}

/// `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 file`, `2 files`.
pub(crate) fn counted(number: u64, one: &str) -> String {
    format!("{} {one}{}", count(number), if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_a_unit_that_fits() {
        let check = |number, expected: &str| assert_eq!(bytes(number), expected);
        check(0, "0 B");
        check(999, "999 B");
        check(1000, "1.0 kB");
        check(1234, "1.2 kB");
        check(999_949, "999.9 kB");
        check(999_950, "1.0 MB");
        check(39_100_000, "39.1 MB");
        check(5_000_000_000, "5.0 GB");
        check(u64::MAX, "18.4 EB");
    }

    #[test]
    fn durations_have_three_figures() {
        let check = |micros, expected: &str| assert_eq!(duration(Duration::from_micros(micros)), expected);
        check(0, "0.00 ms");
        check(620, "0.62 ms");
        check(9_994, "9.99 ms");
        check(9_996, "10.0 ms");
        check(12_340, "12.3 ms");
        check(99_960, "100 ms");
        check(123_400, "123 ms");
        check(999_600, "1.00 s");
        check(1_200_000, "1.20 s");
        check(12_340_000, "12.3 s");
        check(59_960_000, "1 min 0 s");
        check(125_000_000, "2 min 5 s");
        check(3_720_000_000, "1 h 2 min");
    }

    #[test]
    fn ages_are_coarse() {
        let check = |seconds, expected: &str| assert_eq!(age(Duration::from_secs(seconds)), expected);
        check(0, "0 s");
        check(59, "59 s");
        check(60, "1 min");
        check(3599, "59 min");
        check(3600, "1 h 0 min");
        check(86_399, "23 h 59 min");
        check(86_400, "1 day 0 h");
        check(6 * 86_400 + 4 * 3600 + 59, "6 days 4 h");
    }

    #[test]
    fn counts_are_grouped_and_agree_with_their_word() {
        let check = |number, expected: &str| assert_eq!(count(number), expected);
        check(0, "0");
        check(999, "999");
        check(1000, "1,000");
        check(1_234_567, "1,234,567");
        assert_eq!([counted(0, "file"), counted(1, "file"), counted(2, "file")], ["0 files", "1 file", "2 files"]);
    }
}

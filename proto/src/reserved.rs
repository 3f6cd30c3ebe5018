//! Which names are this program's own: `.synctl`, and whatever a file system may take for it.
//!
//! Some compare names by more than their bytes: they fold case (ext4 and f2fs where asked to, APFS, HFS+, NTFS), leave out
//! code points that are not shown (ext4, HFS+), drop dots and blanks at the end, know short names and streams (NTFS). What
//! could be the same name on any of them is reserved on all, so that no side depends on the other's file system.

use crate::path::{Name, SyncPath};

/// The directory of ours at the top of a root.
pub const HOME: &str = ".synctl";
/// What NTFS makes of it where it keeps short names, up to the number that follows.
const HOME_SHORT: &str = "synctl~";

/// Whether a name is [`HOME`], in any spelling that some file system takes for the same. It takes no part in synchronisation,
/// at any depth.
pub fn is_reserved(name: Name<'_>) -> bool {
    // What is not UTF-8 is compared by its bytes everywhere.
    let Ok(text) = std::str::from_utf8(name.as_bytes()) else { return false };
    match rest_after(text, HOME) {
        Some(rest) => rest.starts_with(':') || rest.chars().all(|left| matches!(left, '.' | ' ') || is_ignorable(left)),
        None => rest_after(text, HOME_SHORT).is_some_and(|rest| rest.starts_with(|digit: char| digit.is_ascii_digit())),
    }
}

/// Whether any component of a path [is reserved](is_reserved).
pub fn is_reserved_path(path: &SyncPath) -> bool {
    path.components().any(is_reserved)
}

/// What is left of `text` after `start`, which is in lower case, where it begins so in any spelling.
fn rest_after<'a>(text: &'a str, start: &str) -> Option<&'a str> {
    let mut rest = text.chars();
    for wanted in start.chars() {
        let found = rest.find(|&next| !is_ignorable(next))?;
        if fold(found) != wanted {
            return None;
        }
    }
    Some(rest.as_str())
}

/// Folds case as far as the letters of [`HOME`] need it: the long s alone is another form of one of them.
fn fold(letter: char) -> char {
    if letter == '\u{17f}' { 's' } else { letter.to_ascii_lowercase() }
}

/// Code points that Unicode says may be left out where they are not supported (`Default_Ignorable_Code_Point`).
fn is_ignorable(point: char) -> bool {
    matches!(point,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_spelling_is_ours_and_nothing_else_is() {
        let check = |name: &str, reserved: bool| {
            assert_eq!(is_reserved(Name::new(name.as_bytes()).unwrap()), reserved, "{name:?}");
        };
        for name in [
            ".synctl",
            ".SyncTL",
            ".\u{17f}ynctl",
            ".syn\u{200b}ctl",
            "\u{feff}.synctl",
            ".synctl\u{200d}",
            ".synctl.",
            ".synctl . .",
            ".synctl:stream",
            ".synctl::$INDEX_ALLOCATION",
            "SYNCTL~1",
            "synctl~23",
        ] {
            check(name, true);
        }
        for name in [
            "synctl",
            ".synctl2",
            ".synctl-x",
            ".synct",
            ".sync\u{301}tl",
            "synctl~",
            "x.synctl",
            ".synctl.toml",
            "\u{200b}",
        ] {
            check(name, false);
        }
        assert!(!is_reserved(Name::new(b".synctl\xff").unwrap()));
        assert!(is_reserved_path(&SyncPath::parse(b"a/.SYNCTL/b").unwrap()));
        assert!(!is_reserved_path(&SyncPath::root()));
    }
}

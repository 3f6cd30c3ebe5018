//! Names that some file system takes for another name.
//!
//! Whoever wants a name that is refused tries its other spellings. All of them are refused wherever this runs, because a
//! directory may lie on a file system of another system: upper and lower case in all of Unicode (`.GIT`, `.Kube` with the
//! Kelvin sign); code points that HFS+ and ext4 with case folding pass over (`.g\u{200c}it`); what Windows drops from the
//! end or takes for a stream (`.git. .`, `.git::$INDEX_ALLOCATION`), for a separator (`a\.git`), and its short names
//! (`GIT~1`). So a name may be refused that would have been harmless; none of these is one that people give.

use std::borrow::Cow;

/// Characters of a short name before `~`, and bytes of its extension.
const SHORT_STEM_MAX: usize = 8;
const SHORT_EXTENSION_MAX: usize = 3;

/// What a file system may take `name` for, in lower case, but for short names: one name for each part of what Windows takes
/// for a path.
pub(super) fn forms(name: &[u8]) -> Vec<Cow<'_, str>> {
    if is_plain(name) {
        let text = String::from_utf8_lossy(name);
        let is_lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
        return vec![if is_lower { text } else { Cow::Owned(text.to_ascii_lowercase()) }];
    }
    let text = String::from_utf8_lossy(name);
    let folded: String = text
        .chars()
        .filter(|&char| !is_passed_over(char))
        // There and back: both a long s and an S become an s.
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
        .collect();
    let parts = folded.split('\\').map(|part| {
        let before_stream = part.split(':').next().unwrap_or_default();
        Cow::<str>::Owned(before_stream.trim_end_matches(['.', ' ']).to_owned())
    });
    parts.filter(|part| !part.is_empty()).collect()
}

/// Whether nothing but the case of its letters can make it another name.
fn is_plain(name: &[u8]) -> bool {
    name.iter().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'~' | b':' | b'\\'))
        && name.last().is_some_and(|byte| *byte != b'.')
}

/// Code points that some file systems leave out of a comparison: those that Unicode calls ignorable.
fn is_passed_over(char: char) -> bool {
    matches!(
        char,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
    )
}

/// Whether `form` may be the short name that Windows gives to `text`: the first letters, `~`, a number, and the first letters
/// of the extension; after some of the same kind two letters and four hexadecimal digits.
pub(super) fn is_short_for(form: &str, text: &str) -> bool {
    let Some((stem, rest)) = form.split_once('~') else { return false };
    let (digits, extension) = rest.split_once('.').unwrap_or((rest, ""));
    if digits.is_empty() || digits.len() > SHORT_STEM_MAX - 2 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return false;
    }
    // Dots at the beginning are left out, and all but the last one.
    let text = text.trim_start_matches('.');
    let (long_stem, long_extension) = text.rsplit_once('.').unwrap_or((text, ""));
    let letters = |text: &str| -> String {
        text.chars()
            .filter(|char| !matches!(char, '.' | ' '))
            .map(|char| if char == '+' { '_' } else { char })
            .collect()
    };
    let (long_stem, long_extension) = (letters(long_stem), letters(long_extension));
    if !long_extension.chars().take(SHORT_EXTENSION_MAX).eq(extension.chars()) {
        return false;
    }
    let room = SHORT_STEM_MAX - 1 - digits.len();
    if long_stem.chars().take(room).eq(stem.chars()) {
        return true;
    }
    let (Some(first), Some(hash)) = (stem.get(..2), stem.get(2..)) else { return false };
    hash.len() == 4 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) && long_stem.starts_with(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_spellings_are_seen_through() {
        let may_mean =
            |name: &[u8], text: &str| forms(name).iter().any(|form| form == text || is_short_for(form, text));
        let check = |name: &str, text: &str, expected: bool| {
            assert_eq!(may_mean(name.as_bytes(), text), expected, "{name:?} and {text}");
        };
        for name in [
            ".git",
            ".GIT",
            ".Git",
            ".git.",
            ".git ",
            ".git . .",
            ".git:x",
            ".git::$INDEX_ALLOCATION",
            ".git.:x",
            "git~1",
            "GIT~1",
            "Git~12",
            "GIT~1.",
            "GI7EBA~1",
            ".g\u{200c}it",
            "\u{feff}.gıt",
            ".GI\u{2060}T\u{206f}",
            "a\\.git",
            ".git\\hooks\\x",
            ".git \\x",
        ] {
            check(name, ".git", true);
        }
        for name in
            ["git", ".gita", "x.git", ".gi", "..git", ".git.x", "gitx~1", "g~1", "git~", "git~x", "git~1.txt", ".g it"]
        {
            check(name, ".git", false);
        }
        check(".vſcode", ".vscode", true);
        check(".\u{212a}ube", ".kube", true);
        check("VSCODE~1", ".vscode", true);
        check("VSCOD~10", ".vscode", true);
        check("DEVCON~2", ".devcontainer", true);
        check("MISE~1.TOM", "mise.toml", true);
        check("MISE~1", "mise.toml", false);
        assert!(!may_mean(b".git\xff", ".git"));
        assert!(may_mean(b"\xff\\.git", ".git"));
    }
}

//! Peer text made safe to show: control characters and bytes that are not UTF-8 become escapes.

use std::fmt;

/// Shows bytes on a terminal or in a log: UTF-8 as it is, except that control characters (C0, DEL, C1), bidirectional
/// overrides and backslashes become `\n`, `\u{9b}`, `\\`, and bytes outside UTF-8 become `\xff`.
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a>(pub &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                match character {
                    '\\' => f.write_str("\\\\")?,
                    _ if character.is_control() || is_bidi_control(character) => {
                        write!(f, "{}", character.escape_default())?
                    }
                    _ => write!(f, "{character}")?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// Characters that reorder the text around them, by which one name can be made to look like another.
fn is_bidi_control(character: char) -> bool {
    matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::Escaped;

    #[test]
    fn shows_text_and_escapes_the_rest() {
        let check = |bytes: &[u8], expected: &str| assert_eq!(Escaped(bytes).to_string(), expected);
        check(b"plain.rs", "plain.rs");
        check("Zoë".as_bytes(), "Zoë");
        check(b"a\x1b[31mb", "a\\u{1b}[31mb");
        check(b"a\nb", "a\\nb");
        check(b"a\\nb", "a\\\\nb");
        check(b"a\xffb", "a\\xffb");
        check("a\u{202e}b".as_bytes(), "a\\u{202e}b");
        check("a\u{61c}b".as_bytes(), "a\\u{61c}b");
        check("a\u{9b}b".as_bytes(), "a\\u{9b}b");
    }
}

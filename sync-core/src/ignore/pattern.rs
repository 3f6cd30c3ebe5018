//! One line of an ignore file, read as git reads it, and written anew as a glob of the matcher.
//!
//! The matcher's globs are not git's: braces are alternatives there and plain characters here, classes know neither
//! `[:alpha:]` nor an escape, a trailing blank is part of the pattern or not by other rules. So a line is parsed to git's
//! meaning, byte by byte, and a glob is written that has this meaning.

/// What a line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    /// Brings back instead of leaving out.
    pub(super) negated: bool,
    /// Matches directories alone.
    pub(super) directory_only: bool,
    /// The matcher's glob, against the path relative to the directory of the ignore file.
    pub(super) glob: String,
}

/// Why a line matches nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// The matcher takes patterns in UTF-8 alone; names may be anything.
    #[error("the pattern is not UTF-8")]
    NotUtf8,
    /// `[` without its `]`. Git takes the pattern for one that never matches.
    #[error("`[` without `]`")]
    UnclosedClass,
    /// A class such as `[[:nothing:]]`.
    #[error("unknown character class")]
    UnknownClass,
    /// A class with characters beyond ASCII, which git matches byte by byte.
    #[error("a class with characters beyond ASCII")]
    WideClass,
    /// The line ends in a backslash that escapes nothing.
    #[error("a backslash at the end")]
    DanglingEscape,
    /// Two slashes in a row, which no path has.
    #[error("two slashes in a row")]
    EmptyComponent,
    /// The line is too long, or there are too many of them.
    #[error("too long, or one pattern too many")]
    TooLarge,
    /// The patterns of the tree cost more than all of them may.
    #[error(
        "the ignore patterns of this tree are too many or too complex: this line and those after it are not obeyed"
    )]
    TooMuch,
    /// The matcher refused the glob.
    #[error("the pattern can't be compiled")]
    Refused,
}

/// The line without its line ending and the blanks that don't count: trailing ones that no backslash escapes.
pub(super) fn trim(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut end = 0;
    let mut at = 0;
    while let Some(&byte) = line.get(at) {
        match byte {
            // An escape protects the byte behind it.
            b'\\' => {
                at += 2;
                end = at.min(line.len());
            }
            b' ' => at += 1,
            _ => {
                at += 1;
                end = at;
            }
        }
    }
    line.get(..end).unwrap_or(line)
}

/// Reads a trimmed line. `None`: an empty line or a comment.
pub(super) fn parse(line: &[u8]) -> Result<Option<Pattern>, PatternError> {
    if line.is_empty() || line.starts_with(b"#") {
        return Ok(None);
    }
    let (negated, body) = match line.strip_prefix(b"!") {
        Some(rest) => (true, rest),
        None => (false, line),
    };
    let (directory_only, body) = match body.strip_suffix(b"/") {
        Some(rest) => (true, rest),
        None => (false, body),
    };
    // A slash at the start or within ties the pattern to the directory of its file; without one it is for any depth.
    let anchored = body.contains(&b'/');
    let body = body.strip_prefix(b"/").unwrap_or(body);
    if body.is_empty() {
        return Ok(None);
    }
    let body = std::str::from_utf8(body).map_err(|_| PatternError::NotUtf8)?;
    let glob = Translator { rest: body, previous: None, glob: String::with_capacity(body.len() + 4) }.run(anchored)?;
    Ok(Some(Pattern { negated, directory_only, glob }))
}

/// Goes through a pattern from left to right and writes the glob.
struct Translator<'a> {
    rest: &'a str,
    previous: Option<char>,
    glob: String,
}

impl Translator<'_> {
    fn run(mut self, anchored: bool) -> Result<String, PatternError> {
        if !anchored {
            self.glob.push_str("**/");
        }
        while let Some(character) = self.next() {
            let previous = self.previous.replace(character);
            match character {
                '?' => self.glob.push('?'),
                '*' => self.stars(anchored, previous),
                '[' => {
                    let class = self.class()?;
                    class.write(&mut self.glob);
                }
                '\\' => {
                    let escaped = self.next().ok_or(PatternError::DanglingEscape)?;
                    self.previous = Some(escaped);
                    self.literal(escaped, previous)?;
                }
                literal => self.literal(literal, previous)?,
            }
        }
        if self.previous == Some('/') {
            return Err(PatternError::EmptyComponent);
        }
        // `a/**` is what is inside of `a`, at any depth, and not `a` itself.
        if self.glob.ends_with("/**") {
            self.glob.push_str("/*");
        }
        Ok(self.glob)
    }

    fn literal(&mut self, literal: char, previous: Option<char>) -> Result<(), PatternError> {
        if literal == '/' && matches!(previous, None | Some('/')) {
            return Err(PatternError::EmptyComponent);
        }
        push_literal(&mut self.glob, literal);
        Ok(())
    }

    fn next(&mut self) -> Option<char> {
        let character = self.rest.chars().next()?;
        self.rest = self.rest.get(character.len_utf8()..).unwrap_or_default();
        Some(character)
    }

    /// A run of stars whose first has been taken. Two or more that fill a whole component cross slashes; any other
    /// number is one star.
    fn stars(&mut self, anchored: bool, previous: Option<char>) {
        let rest = self.rest.trim_start_matches('*');
        let run = self.rest.len() - rest.len() + 1;
        self.rest = rest;
        let fills_component = matches!(previous, None | Some('/')) && (rest.is_empty() || rest.starts_with('/'));
        self.glob.push_str(if anchored && run > 1 && fills_component { "**" } else { "*" });
    }

    /// A class whose `[` has been taken.
    fn class(&mut self) -> Result<Class, PatternError> {
        let mut class = Class { negated: false, members: [false; 128] };
        if let Some(rest) = self.rest.strip_prefix(['!', '^']) {
            class.negated = true;
            self.rest = rest;
        }
        let mut first = true;
        let mut start = None;
        loop {
            let member = match self.next().ok_or(PatternError::UnclosedClass)? {
                ']' if !first => return Ok(class),
                '[' if self.rest.starts_with(':') && self.rest.contains(":]") => {
                    self.posix_class(&mut class)?;
                    (first, start) = (false, None);
                    continue;
                }
                '-' if start.is_some() && !self.rest.starts_with(']') => {
                    let end = self.class_character()?;
                    class.add(start.take().unwrap_or(end)..=end)?;
                    continue;
                }
                '\\' => self.next().ok_or(PatternError::UnclosedClass)?,
                member => member,
            };
            first = false;
            start = Some(member);
            class.add(member..=member)?;
        }
    }

    fn class_character(&mut self) -> Result<char, PatternError> {
        match self.next().ok_or(PatternError::UnclosedClass)? {
            '\\' => self.next().ok_or(PatternError::UnclosedClass),
            character => Ok(character),
        }
    }

    /// `[:name:]` within a class, from its colon on.
    fn posix_class(&mut self, class: &mut Class) -> Result<(), PatternError> {
        let (name, rest) =
            self.rest.get(1..).and_then(|rest| rest.split_once(":]")).ok_or(PatternError::UnclosedClass)?;
        let holds: fn(&char) -> bool = match name {
            "alnum" => char::is_ascii_alphanumeric,
            "alpha" => char::is_ascii_alphabetic,
            "blank" => |character| matches!(character, ' ' | '\t'),
            "cntrl" => char::is_ascii_control,
            "digit" => char::is_ascii_digit,
            "graph" => char::is_ascii_graphic,
            "lower" => char::is_ascii_lowercase,
            "print" => |character| character.is_ascii_graphic() || *character == ' ',
            "punct" => char::is_ascii_punctuation,
            "space" => |character| matches!(character, ' ' | '\t'..='\r'),
            "upper" => char::is_ascii_uppercase,
            "xdigit" => char::is_ascii_hexdigit,
            _ => return Err(PatternError::UnknownClass),
        };
        self.rest = rest;
        ('\0'..='\x7f').filter(holds).try_for_each(|character| class.add(character..=character))
    }
}

/// A set of ASCII characters, or all bytes but those.
struct Class {
    negated: bool,
    members: [bool; 128],
}

impl Class {
    fn add(&mut self, range: std::ops::RangeInclusive<char>) -> Result<(), PatternError> {
        for character in range {
            let index = usize::try_from(u32::from(character)).unwrap_or(usize::MAX);
            *self.members.get_mut(index).ok_or(PatternError::WideClass)? = true;
        }
        Ok(())
    }

    /// Writes the class in the matcher's syntax, which has no escapes: the place of a character says what it is. A
    /// class never matches a slash.
    fn write(mut self, glob: &mut String) {
        if let Some(slash) = self.members.get_mut(usize::from(b'/')) {
            *slash = self.negated;
        }
        let mut members: Vec<char> =
            ('\0'..='\x7f').zip(self.members).filter(|(_, is_member)| *is_member).map(|(member, _)| member).collect();
        members.sort_by_key(|member| match member {
            ']' => 0,
            '!' | '^' => 2,
            '-' => 3,
            _ => 1,
        });
        match (&members[..], self.negated) {
            ([], _) => glob.push_str("[/]"),
            ([member], false) => push_literal(glob, *member),
            (['!' | '^', ..], false) => {
                glob.push('{');
                for (index, member) in members.into_iter().enumerate() {
                    if index > 0 {
                        glob.push(',');
                    }
                    push_literal(glob, member);
                }
                glob.push('}');
            }
            (_, negated) => {
                glob.push_str(if negated { "[!" } else { "[" });
                glob.extend(members);
                glob.push(']');
            }
        }
    }
}

fn push_literal(glob: &mut String, literal: char) {
    if matches!(literal, '*' | '?' | '[' | ']' | '{' | '}' | ',' | '\\' | '!' | '^' | '-') {
        glob.push('\\');
    }
    glob.push(literal);
}

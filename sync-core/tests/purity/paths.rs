//! A reader of Rust that knows just enough: it leaves out comments, literals and what is compiled for tests only, and
//! gives every path that the rest names, with the groups of `use` spelled out.

/// A piece of source: a word, or one punctuation mark (`::` counts as one).
type Token = String;

/// Every path of two and more segments in `source`, and every name brought in alone (`use tokio;`, `extern crate`).
/// A renamed segment is given as it is named at its origin; a glob ends in `*`.
pub(super) fn named(source: &str) -> Vec<String> {
    let tokens = without_tests(&tokens(source));
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if !is_word(&tokens[at]) || matches!(tokens[at].as_str(), "use" | "pub" | "in") {
            at += 1;
            continue;
        }
        let alone =
            at > 0 && (tokens[at - 1] == "use" || tokens[at - 1] == "crate" && at > 1 && tokens[at - 2] == "extern");
        let before = found.len();
        let end = path(&tokens, at, "", &mut found);
        if found.len() == before + 1 && !found[before].contains("::") && !alone {
            found.pop();
        }
        at = end.max(at + 1);
    }
    found
}

/// The names of the modules (`mod name;`) that stand under `#[cfg(test)]` in `source`.
pub(super) fn test_modules(source: &str) -> Vec<String> {
    let tokens = tokens(source);
    let mut names = Vec::new();
    for at in 0..tokens.len() {
        if let Some(end) = test_attribute(&tokens, at) {
            let item = skip_attributes(&tokens, end);
            if let Some(module) = tokens[item..].iter().position(|token| token == "mod").filter(|offset| *offset <= 4) {
                names.extend(tokens.get(item + module + 1).cloned());
            }
        }
    }
    names
}

/// Reads the path (tree) at `at` below `prefix` into `found`; returns where it ends.
fn path(tokens: &[Token], mut at: usize, prefix: &str, found: &mut Vec<String>) -> usize {
    let mut path = prefix.to_owned();
    loop {
        match tokens.get(at).map(String::as_str) {
            Some("{") if path.ends_with("::") => return group(tokens, at + 1, &path, found),
            Some("*") if path.ends_with("::") => {
                found.push(format!("{path}*"));
                return at + 1;
            }
            // The turbofish of `Vec::<u8>::new` ends what matters here.
            Some(word) if is_word(word) => {
                path.push_str(word);
                at += 1;
            }
            _ => break,
        }
        if tokens.get(at).map(String::as_str) != Some("::") {
            break;
        }
        path.push_str("::");
        at += 1;
    }
    found.push(path.trim_end_matches("::").to_owned());
    at
}

fn group(tokens: &[Token], mut at: usize, prefix: &str, found: &mut Vec<String>) -> usize {
    while let Some(token) = tokens.get(at) {
        match token.as_str() {
            "}" => return at + 1,
            "as" => at += 2,
            "self" => {
                found.push(prefix.trim_end_matches("::").to_owned());
                at += 1;
            }
            word if is_word(word) || word == "*" || word == "{" => at = path(tokens, at, prefix, found),
            _ => at += 1,
        }
    }
    at
}

/// Leaves out every item that stands under `#[cfg(test)]`.
fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        match test_attribute(tokens, at) {
            Some(end) => at = item_end(tokens, skip_attributes(tokens, end)),
            None => {
                kept.push(tokens[at].clone());
                at += 1;
            }
        }
    }
    kept
}

fn test_attribute(tokens: &[Token], at: usize) -> Option<usize> {
    let pattern = ["#", "[", "cfg", "(", "test", ")", "]"];
    let here = tokens.get(at..at + pattern.len())?;
    here.iter().zip(pattern).all(|(token, expected)| token == expected).then_some(at + pattern.len())
}

fn skip_attributes(tokens: &[Token], mut at: usize) -> usize {
    while tokens.get(at).map(String::as_str) == Some("#") {
        let mut depth = 0;
        for (offset, token) in tokens[at..].iter().enumerate() {
            depth += i32::from(token == "[") - i32::from(token == "]");
            if token == "]" && depth == 0 {
                at += offset + 1;
                break;
            }
        }
    }
    at
}

/// An item ends at its `;`, or at the brace that closes its first one.
fn item_end(tokens: &[Token], mut at: usize) -> usize {
    let mut depth = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token.as_str() {
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                if depth == 0 {
                    break;
                }
            }
            ";" if depth == 0 => break,
            _ => {}
        }
    }
    at
}

fn is_word(token: &str) -> bool {
    token.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

fn tokens(source: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let text: Vec<char> = source.chars().collect();
    let mut at = 0;
    while at < text.len() {
        let next = text.get(at + 1).copied();
        match text[at] {
            '/' if next == Some('/') => at = line_end(&text, at),
            '/' if next == Some('*') => at = block_comment_end(&text, at),
            '"' => at = string_end(&text, at + 1),
            'r' | 'b' if raw_string(&text, at).is_some() => at = raw_string(&text, at).unwrap(),
            '\'' => at = quote_end(&text, at),
            ':' if next == Some(':') => {
                tokens.push("::".to_owned());
                at += 2;
            }
            first if first.is_alphanumeric() || first == '_' => {
                let word: String = text[at..].iter().take_while(|c| c.is_alphanumeric() || **c == '_').collect();
                at += word.chars().count();
                tokens.push(word);
            }
            space if space.is_whitespace() => at += 1,
            mark => {
                tokens.push(mark.to_string());
                at += 1;
            }
        }
    }
    tokens
}

fn line_end(text: &[char], at: usize) -> usize {
    text[at..].iter().position(|c| *c == '\n').map_or(text.len(), |offset| at + offset)
}

fn block_comment_end(text: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at + 1 < text.len() {
        match (text[at], text[at + 1]) {
            ('/', '*') => (depth, at) = (depth + 1, at + 2),
            ('*', '/') => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

fn string_end(text: &[char], mut at: usize) -> usize {
    while at < text.len() {
        match text[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    at
}

/// Where `r"…"`, `r#"…"#`, `b"…"` or `br#"…"#` at `at` ends.
fn raw_string(text: &[char], at: usize) -> Option<usize> {
    if at > 0 && (text[at - 1].is_alphanumeric() || text[at - 1] == '_') {
        return None;
    }
    let letters = text[at..].iter().take_while(|c| matches!(c, 'r' | 'b' | 'c')).count();
    let raw = text[at..at + letters].contains(&'r');
    let hashes = text[at + letters..].iter().take_while(|c| **c == '#').count();
    let open = at + letters + hashes;
    if letters > 2 || (hashes > 0 && !raw) || text.get(open) != Some(&'"') {
        return None;
    }
    if !raw {
        return Some(string_end(text, open + 1));
    }
    let closes =
        |from: usize| text[from] == '"' && text[from + 1..].iter().take_while(|c| **c == '#').count() >= hashes;
    (open + 1..text.len()).find(|from| closes(*from)).map(|from| from + 1 + hashes)
}

/// A character literal is skipped whole; of a lifetime only the quote.
fn quote_end(text: &[char], at: usize) -> usize {
    if text.get(at + 1) == Some(&'\\') {
        let end = text[at + 3..].iter().position(|c| *c == '\'');
        return end.map_or(text.len(), |offset| at + 3 + offset + 1);
    }
    if text.get(at + 2) == Some(&'\'') { at + 3 } else { at + 1 }
}

#[test]
fn reads_paths_as_the_compiler_would() {
    let check = |source: &str, expected: &[&str]| assert_eq!(named(source), expected, "{source}");
    check("use std::fs;", &["std::fs"]);
    check(
        "use std::{fs::File, time::{Duration, Instant as Now}};",
        &["std::fs::File", "std::time::Duration", "std::time::Instant"],
    );
    check("use std::{self, net::*};", &["std", "std::net::*"]);
    check("use ::std::process::Command;", &["std::process::Command"]);
    check("use tokio;", &["tokio"]);
    check("extern crate tokio as t;", &["tokio"]);
    check("fn a() { let x = std::fs::read(p); }", &["std::fs::read"]);
    check("fn a() { /* std::fs::read */ b(\"std::fs::read\", 'x', '\\'', r#\"std::net \"x\"#) } // std::fs", &[]);
    check("#[cfg(test)] mod tests { use std::fs; } use std::io;", &["std::io"]);
    check("#[cfg(test)]\n#[allow(x)]\nuse std::fs;\nuse std::io;", &["std::io"]);
    check("fn a<'a>(x: &'a str) -> Option<&'a str> { std::thread::spawn }", &["std::thread::spawn"]);
    check("let a = b'\"'; use std::fs;", &["std::fs"]);
    assert_eq!(test_modules("#[cfg(test)]\nmod tests;\nmod real;\n#[cfg(test)] pub(crate) mod sim;"), ["tests", "sim"]);
}

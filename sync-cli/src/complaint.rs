//! What goes to stderr: one line, and no panic where stderr can't be written.

use std::io::Write;

/// Says it.
pub(crate) fn complain(text: impl std::fmt::Display) {
    // Nothing can be done about a closed stderr, and `eprintln!` would panic.
    let _ = writeln!(std::io::stderr(), "synctl: {text}");
}

/// The error, and each cause that it does not name itself: `cannot make x: permission denied`.
pub(crate) fn sentence(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::sentence;

    #[test]
    fn a_cause_is_named_once() {
        let error = anyhow::anyhow!("permission denied").context("cannot read x");
        assert_eq!(sentence(&error), "cannot read x: permission denied");
        let named = anyhow::anyhow!("permission denied").context("cannot read x (permission denied)");
        assert_eq!(sentence(&named), "cannot read x (permission denied)");
    }
}

//! Keys and secrets as text, and what is derived from them.

use std::time::Duration;

use super::super::{Backoff, Identity, KeyError, PublicKey, Role, Secret};

#[test]
fn a_public_key_reads_back_with_or_without_a_comment() {
    let key = Identity::generate().unwrap().public_key();
    let text = key.to_string();
    assert!(text.starts_with("synctl-ed25519 "), "{text}");
    assert_eq!(text.parse(), Ok(key));
    assert_eq!(format!("  {text}  ada@laptop \n").parse(), Ok(key));
}

#[test]
fn what_is_no_public_key_is_refused() {
    let check = |text: &str, expected| assert_eq!(text.parse::<PublicKey>(), Err(expected), "{text}");
    let full = "A".repeat(43) + "=";
    assert!(format!("synctl-ed25519 {full}").parse::<PublicKey>().is_ok());
    check("", KeyError::NotAPublicKey);
    check("ssh-ed25519 AAAA", KeyError::NotAPublicKey);
    check("synctl-ed25519", KeyError::BadLength);
    check("synctl-ed25519 AAAA", KeyError::BadLength);
    check(&format!("synctl-ed25519 AAAA{full}"), KeyError::BadLength);
    check(&format!("synctl-ed25519 !{}", &full[1..]), KeyError::BadBase64);
    check(&format!("synctl-ed25519-private {full}"), KeyError::PrivateForPublic);
}

#[test]
fn a_secret_reads_back_from_its_line() {
    let secret = Secret::generate().unwrap();
    let line = secret.to_line();
    let again = Secret::parse(&format!(" {}\n", *line)).unwrap();
    assert_eq!(*again.to_line(), *line);
    assert_ne!(*Secret::generate().unwrap().to_line(), *line);
}

#[test]
fn what_is_no_secret_is_refused() {
    let check = |line: &str, expected| assert_eq!(Secret::parse(line).unwrap_err(), expected, "{line}");
    check("", KeyError::NotASecret);
    check("hunter2", KeyError::NotASecret);
    check("synctl-secret-1:", KeyError::ShortSecret);
    check("synctl-secret-1:AAAAAAAAAAAAAAAAAAAA", KeyError::ShortSecret);
    check("synctl-secret-1:AAAAAAAAAAAAAAAA AAAAAAAAAAAA", KeyError::BadBase64);
    check(&format!("synctl-secret-1:{}", "A".repeat(4000)), KeyError::BadLength);
    assert!(Secret::parse(&format!("synctl-secret-1:{}", "A".repeat(22))).is_ok());
}

/// Pins the derivation (checked against openssl): a change of it would lock out every deployed pair.
#[test]
fn keys_derived_from_a_secret_stay_what_they_are() {
    let secret = Secret::parse("synctl-secret-1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8").unwrap();
    let key = |role| secret.identity(role).unwrap().public_key().to_string();
    assert_eq!(key(Role::Controller), "synctl-ed25519 6A8kRPB+y78Nz9CGV7VRBRCdZEGPuWLlFh8reyx6JZU=");
    assert_eq!(key(Role::Agent), "synctl-ed25519 AdpQ8z9RVJh5XvP7DQXX3xy/qscoIqXboXmBC4rJl1o=");
}

#[test]
fn nothing_private_is_shown() {
    let (identity, secret) = (Identity::generate().unwrap(), Secret::generate().unwrap());
    let shown = format!("{identity:?} {secret:?}");
    assert!(!shown.contains(&format!("{:?}", identity.seed())), "{shown}");
    assert!(!shown.contains(secret.to_line().as_str()), "{shown}");
    assert!(shown.contains(&identity.public_key().to_string()), "{shown}");
}

#[test]
fn waiting_doubles_to_five_seconds_and_starts_over() {
    let mut backoff = Backoff::new();
    let waits: Vec<u128> = (0..8).map(|_| backoff.next(0).as_millis()).collect();
    assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    (0..100).for_each(|_| assert!(backoff.next(u32::MAX) == Duration::from_millis(3750)));
    assert_eq!(backoff.attempts(), 108);
    backoff.reset();
    assert_eq!(backoff.next(u32::MAX), Duration::from_millis(75));
}

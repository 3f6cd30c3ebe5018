//! What DEST may be: a directory of this machine, or `quic://host:port/path`.
//!
//! The other ways to write a destination that synctl will know are answered with what to use instead, so that nobody
//! ends up with a local directory called `ssh:`.

use std::{
    ffi::{OsStr, OsString},
    path::{Component, Path, PathBuf},
};

use sync_core::session::Destination;

/// A destination, and how the user wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dest(pub(crate) Destination);

/// Why an argument is not a destination.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DestError {
    #[error("a destination can't be empty: give a directory, or quic://HOST:PORT/PATH")]
    Empty,
    #[error("{scheme} destinations are not in this version: {instead}")]
    NotYet { scheme: &'static str, instead: &'static str },
    #[error(
        "unknown kind of destination {scheme}://: give a directory, or quic://HOST:PORT/PATH (a directory of that name is ./{scheme}://…)"
    )]
    UnknownScheme { scheme: String },
    #[error(
        "this looks like HOST:PATH of ssh or rsync, which is not in this version: run `sync-agent serve` there and give quic://HOST:PORT/PATH (a directory of that name is written with ./ before it)"
    )]
    LooksRemote,
    #[error("no host: write quic://HOST:PORT/PATH")]
    NoHost,
    #[error(
        "no port, and there is no default one: write quic://{host}:PORT{path}, with the port that the agent listens on"
    )]
    NoPort { host: String, path: String },
    #[error("`{0}` is not a port: a number from 1 to 65535")]
    BadPort(String),
    #[error("an IPv6 address goes in brackets: quic://[ADDRESS]:PORT/PATH")]
    Brackets,
    #[error("`{0}` is not an IPv6 address")]
    BadAddress(String),
    #[error("`{0}` can't be a host name")]
    BadHost(String),
    #[error("no user and no password in a destination: give --secret-file or --key-file")]
    UserInfo,
    #[error("no path: write quic://{authority}/PATH, the root at the agent")]
    NoPath { authority: String },
    #[error("the path at the agent can't have `..` in it")]
    DotDot,
    #[error("a quic:// destination must be UTF-8")]
    NotUtf8,
}

const SERVE_THERE: &str =
    "run `sync-agent serve --root PATH --listen 0.0.0.0:PORT --secret-file FILE` there and give quic://HOST:PORT/PATH";
const SERVE_IN_CONTAINER: &str =
    "run `sync-agent serve` in the container, with its UDP port published, and give quic://HOST:PORT/PATH";
const SERVE_IN_POD: &str =
    "run the sync-agent sidecar (deploy/) with its UDP port reachable, and give quic://HOST:PORT/PATH";

/// What the contract knows and this version does not.
const NOT_YET: [(&str, &str, &str); 4] = [
    ("ssh:", "ssh://", SERVE_THERE),
    ("docker:", "docker://", SERVE_IN_CONTAINER),
    ("k8s:", "k8s://", SERVE_IN_POD),
    ("exec:", "exec:", SERVE_THERE),
];

/// Reads a destination. A path may be any bytes; everything else is UTF-8. Nothing is percent-decoded.
pub(crate) fn parse(text: &OsStr) -> Result<Dest, DestError> {
    let bytes = text.as_encoded_bytes();
    if bytes.is_empty() {
        return Err(DestError::Empty);
    }
    for (prefix, scheme, instead) in NOT_YET {
        if bytes.starts_with(prefix.as_bytes()) {
            return Err(DestError::NotYet { scheme, instead });
        }
    }
    if let Some(rest) = bytes.strip_prefix(b"quic://") {
        return quic(std::str::from_utf8(rest).map_err(|_| DestError::NotUtf8)?);
    }
    // Up to the first slash: `./a:b` and `/a:b` are paths whatever they hold.
    let first = bytes.split(|&byte| byte == b'/').next().unwrap_or_default();
    match first.iter().position(|&byte| byte == b':') {
        None => Ok(local(text)),
        Some(1) if cfg!(windows) => Ok(local(text)),
        Some(at) if bytes.get(at..).is_some_and(|rest| rest.starts_with(b"://")) => {
            let scheme = bytes.get(..at).unwrap_or_default();
            Err(DestError::UnknownScheme { scheme: sync_proto::escape::Escaped(scheme).to_string() })
        }
        Some(_) => Err(DestError::LooksRemote),
    }
}

fn local(text: &OsStr) -> Dest {
    Dest(Destination::Local(PathBuf::from(text)))
}

/// `host:port/path`.
fn quic(rest: &str) -> Result<Dest, DestError> {
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    if authority.contains('@') {
        return Err(DestError::UserInfo);
    }
    let (host, port) = host_and_port(authority, path)?;
    if path.is_empty() {
        return Err(DestError::NoPath { authority: authority.to_owned() });
    }
    Ok(Dest(Destination::Quic { host, port, path: agent_path(path)? }))
}

fn host_and_port(authority: &str, path: &str) -> Result<(String, u16), DestError> {
    let no_port = |host: &str| DestError::NoPort { host: host.to_owned(), path: path.to_owned() };
    let (host, port) = if let Some(bracketed) = authority.strip_prefix('[') {
        let (address, after) = bracketed.split_once(']').ok_or(DestError::Brackets)?;
        // A zone (`fe80::1%eth0`) names an interface of this machine: the resolver's business, not the address's.
        let plain = address.split('%').next().unwrap_or_default();
        if plain.parse::<std::net::Ipv6Addr>().is_err() {
            return Err(DestError::BadAddress(address.escape_debug().to_string()));
        }
        (address, after.strip_prefix(':').ok_or_else(|| no_port(&format!("[{address}]")))?)
    } else {
        let (host, port) = match authority.split_once(':') {
            Some(_) if authority.matches(':').count() > 1 => return Err(DestError::Brackets),
            Some(split) => split,
            None if authority.is_empty() => return Err(DestError::NoHost),
            None => return Err(no_port(authority)),
        };
        if host.is_empty() {
            return Err(DestError::NoHost);
        }
        if host.chars().any(|character| character.is_control() || character.is_whitespace()) {
            return Err(DestError::BadHost(host.escape_debug().to_string()));
        }
        (host, port)
    };
    if port.is_empty() {
        return Err(no_port(host));
    }
    // `u16::from_str` would take a plus sign.
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    match port.parse() {
        Ok(number) if digits && number != 0 => Ok((host.to_owned(), number)),
        _ => Err(DestError::BadPort(port.escape_debug().to_string())),
    }
}

/// The root at the agent: absolute, without `.`, double slashes and a slash at its end.
fn agent_path(path: &str) -> Result<PathBuf, DestError> {
    let mut clean = OsString::new();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => {
                clean.push("/");
                clean.push(name);
            }
            Component::ParentDir => return Err(DestError::DotDot),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Ok(PathBuf::from(if clean.is_empty() { "/".into() } else { clean }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    #[track_caller]
    fn check_local(text: &str) {
        assert_eq!(parse(OsStr::new(text)), Ok(Dest(Destination::Local(PathBuf::from(text)))));
    }

    #[track_caller]
    fn check_quic(text: &str, host: &str, port: u16, path: &str) {
        match parse(OsStr::new(text)).unwrap().0 {
            Destination::Quic { host: h, port: p, path: root } => {
                assert_eq!((h.as_str(), p, root.as_os_str()), (host, port, OsStr::new(path)));
            }
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn check_error(text: &str, expected: &[&str]) {
        let error = parse(OsStr::new(text)).unwrap_err().to_string();
        for part in expected {
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!(!error.contains('\n') && !error.ends_with('.'), "{error}");
    }

    #[test]
    fn a_directory_is_a_directory() {
        for text in
            ["/tmp/x", "./x", "../x", ".", "x", "x/y", "./ssh://x", "/quic://a:1/b", "./host:path", "/a:b", "a/b:c"]
        {
            check_local(text);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_directory_may_be_any_bytes() {
        use std::os::unix::ffi::OsStrExt;
        let text = OsStr::from_bytes(b"/tmp/\xff\x1b");
        assert_eq!(parse(text), Ok(Dest(Destination::Local(PathBuf::from(text)))));
        assert_eq!(parse(OsStr::from_bytes(b"quic://a:1/\xff")), Err(DestError::NotUtf8));
    }

    #[test]
    fn quic_has_a_host_a_port_and_a_path() {
        check_quic("quic://pod.example:4433/work", "pod.example", 4433, "/work");
        check_quic("quic://10.0.0.7:1/w/x", "10.0.0.7", 1, "/w/x");
        check_quic("quic://[fd00::7]:65535/work", "fd00::7", 65535, "/work");
        check_quic("quic://[fe80::1%eth0]:4433/work", "fe80::1%eth0", 4433, "/work");
        check_quic("quic://pod:4433/", "pod", 4433, "/");
        check_quic("quic://pod:4433//work/./src//", "pod", 4433, "/work/src");
        check_quic("quic://pod:4433/a b%20c:d", "pod", 4433, "/a b%20c:d");
    }

    #[test]
    fn what_is_missing_in_quic_is_named() {
        check_error("quic://pod/work", &["no port", "no default", "quic://pod:PORT/work"]);
        check_error("quic://pod:/work", &["quic://pod:PORT/work"]);
        check_error("quic://[::1]/work", &["quic://[::1]:PORT/work"]);
        check_error("quic://pod:4433", &["quic://pod:4433/PATH"]);
        check_error("quic://:4433/work", &["no host"]);
        check_error("quic:///work", &["no host"]);
        check_error("quic://", &["no host"]);
        check_error("quic://pod:0/work", &["`0` is not a port"]);
        check_error("quic://pod:65536/work", &["`65536`"]);
        check_error("quic://pod:+1/work", &["`+1`"]);
        check_error("quic://pod:http/work", &["`http`"]);
        check_error("quic://fd00::7:4433/work", &["brackets"]);
        check_error("quic://[fd00::7/work", &["brackets"]);
        check_error("quic://[pod]:4433/work", &["not an IPv6 address"]);
        check_error("quic://user@pod:4433/work", &["--secret-file"]);
        check_error("quic://pod:4433/work/../etc", &["`..`"]);
        check_error("quic://p\u{1b}od:4433/work", &["\\u{1b}"]);
    }

    #[test]
    fn what_this_version_does_not_have_is_said_with_what_to_use() {
        check_error(
            "ssh://me@host/work",
            &["ssh:// destinations are not in this version", "sync-agent serve", "quic://"],
        );
        check_error("docker://app/work", &["docker://", "quic://"]);
        check_error("k8s://dev/deploy/app:/work", &["k8s://", "deploy/", "quic://"]);
        check_error("exec:ssh host sync-agent stdio", &["exec:", "quic://"]);
        check_error("s3://bucket/x", &["unknown kind of destination s3://", "./s3://"]);
        check_error("host:work", &["HOST:PATH", "./"]);
        check_error("me@host:/work", &["HOST:PATH"]);
        check_error("", &["empty"]);
    }
}

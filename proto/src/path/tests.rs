#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::{Name, PathError, SyncPath};
use crate::limits::{NAME_BYTES_MAX, PATH_BYTES_MAX, PATH_DEPTH_MAX};

fn path(text: &str) -> SyncPath {
    SyncPath::parse(text.as_bytes()).unwrap()
}

fn name(text: &str) -> Name<'_> {
    Name::new(text.as_bytes()).unwrap()
}

#[test]
fn only_names_that_stay_in_their_directory_are_names() {
    let check = |bytes: &[u8], expected: Result<(), PathError>| {
        assert_eq!(Name::new(bytes).map(|_| ()), expected, "{bytes:?}");
    };
    check(b"a", Ok(()));
    check(b"...", Ok(()));
    check(b"..a", Ok(()));
    check(b" ", Ok(()));
    check(b"\\", Ok(()));
    check(b"\xff\xfe\n", Ok(()));
    check(&[b'a'; NAME_BYTES_MAX], Ok(()));
    check(b"", Err(PathError::Empty));
    check(b".", Err(PathError::Dots));
    check(b"..", Err(PathError::Dots));
    check(b"a/b", Err(PathError::Forbidden));
    check(b"/", Err(PathError::Forbidden));
    check(b"a\0", Err(PathError::Forbidden));
    check(&[b'a'; NAME_BYTES_MAX + 1], Err(PathError::NameTooLong));
}

#[test]
fn only_paths_below_the_root_are_paths() {
    let check = |text: &str, expected| assert_eq!(SyncPath::parse(text.as_bytes()).map(|_| ()), expected, "{text}");
    check("", Ok(()));
    check("a/b/c", Ok(()));
    for empty in ["/", "/a", "a/", "a//b"] {
        check(empty, Err(PathError::Empty));
    }
    for dots in ["..", "a/../b", "./a", "a/.", "a/.."] {
        check(dots, Err(PathError::Dots));
    }
    check("a/b\0", Err(PathError::Forbidden));
    check(&vec!["a"; PATH_DEPTH_MAX].join("/"), Ok(()));
    check(&vec!["a"; PATH_DEPTH_MAX + 1].join("/"), Err(PathError::PathTooLong));
    // 16 names of 255 bytes and 15 slashes make 4095.
    let longest = vec!["n".repeat(NAME_BYTES_MAX); 16].join("/");
    assert_eq!(longest.len(), PATH_BYTES_MAX);
    check(&longest, Ok(()));
    check(&format!("{}/x", &longest[..PATH_BYTES_MAX - 1]), Err(PathError::PathTooLong));
}

#[test]
fn joining_keeps_to_the_limits() {
    assert_eq!(SyncPath::root().join(name("a")).unwrap(), path("a"));
    assert_eq!(path("a/b").join(name("c")).unwrap(), path("a/b/c"));
    assert_eq!(path("a").join_path(&path("b/c")).unwrap(), path("a/b/c"));
    assert_eq!(path("a").join_path(&SyncPath::root()).unwrap(), path("a"));
    assert_eq!(SyncPath::root().join_path(&path("a")).unwrap(), path("a"));
    let deepest = path(&vec!["a"; PATH_DEPTH_MAX].join("/"));
    assert_eq!(deepest.join(name("b")), Err(PathError::PathTooLong));
    assert_eq!(path("b").join_path(&deepest), Err(PathError::PathTooLong));
    let longest = path(&vec!["n".repeat(NAME_BYTES_MAX); 16].join("/"));
    assert_eq!(longest.join(name("b")), Err(PathError::PathTooLong));
    assert_eq!(path("b").join_path(&longest), Err(PathError::PathTooLong));
}

#[test]
fn paths_come_apart() {
    let deep = path("a/bc/d");
    assert_eq!(deep.split_last(), Some((path("a/bc"), name("d"))));
    assert_eq!(path("a").split_last(), Some((SyncPath::root(), name("a"))));
    assert_eq!(SyncPath::root().split_last(), None);
    assert_eq!((deep.depth(), SyncPath::root().depth()), (3, 0));
    assert_eq!(deep.strip_prefix(&path("a")), Some(path("bc/d")));
    assert_eq!(deep.strip_prefix(&deep), Some(SyncPath::root()));
    assert_eq!(deep.strip_prefix(&path("a/b")), None);
    assert!(deep.starts_with(&path("a/bc")) && deep.starts_with(&SyncPath::root()) && deep.starts_with(&deep));
    assert!(!deep.starts_with(&path("a/b")) && !path("a").starts_with(&deep));
}

#[test]
fn a_directory_and_what_it_holds_come_before_its_next_sibling() {
    let mut paths = ["a.b", "a/b", "a", "a/b/c", "a-", "", "a/a.c", "b"].map(path);
    paths.sort();
    assert_eq!(paths, ["", "a", "a/a.c", "a/b", "a/b/c", "a-", "a.b", "b"].map(path));
}

#[test]
fn what_is_shown_is_safe_on_a_terminal() {
    let odd = SyncPath::parse(b"a\x1b[2J/\xff").unwrap();
    assert_eq!(odd.to_string(), "a\\u{1b}[2J/\\xff");
    assert_eq!(SyncPath::root().to_string(), ".");
    assert!(!format!("{odd:?}").contains('\x1b'));
}

proptest! {
    /// Whatever bytes come, a path is either refused or made of names, and reads back as itself.
    #[test]
    fn parsing_refuses_or_is_exact(bytes in proptest::collection::vec(prop_oneof![
        Just(b'/'), Just(b'.'), Just(b'a'), Just(0), any::<u8>()], 0..24)) {
        if let Ok(path) = SyncPath::parse(&bytes) {
            prop_assert_eq!(path.as_bytes(), &bytes[..]);
            let mut again = SyncPath::root();
            for name in path.components() {
                prop_assert_eq!(Name::new(name.as_bytes()), Ok(name));
                again = again.join(name).unwrap();
            }
            prop_assert_eq!(again, path);
        }
    }

    #[test]
    fn the_order_is_that_of_the_components(paths in proptest::collection::vec("[a!0]{1,2}(/[a!0]{1,2}){0,2}", 2)) {
        let (left, right) = (path(&paths[0]), path(&paths[1]));
        prop_assert_eq!(left.cmp(&right), left.components().cmp(right.components()));
        prop_assert_eq!(SyncPath::root().cmp(&left), std::cmp::Ordering::Less);
        prop_assert_eq!(left.cmp(&left.clone()), std::cmp::Ordering::Equal);
    }

    #[test]
    fn prefixes_agree_with_joining(above in "[ab]{1,2}(/[ab]{1,2}){0,2}", below in "[ab]{1,2}(/[ab]{1,2}){0,2}") {
        let (above, below) = (path(&above), path(&below));
        let whole = above.join_path(&below).unwrap();
        prop_assert!(whole.starts_with(&above));
        prop_assert_eq!(whole.strip_prefix(&above), Some(below.clone()));
        prop_assert!(above < whole);
        prop_assert_eq!(below.starts_with(&above), below.strip_prefix(&above).is_some());
    }
}

//! Key files, and who else may read them.
#![cfg(unix)]

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
};

use super::super::{Identity, KeyError, KeyFileError, Secret, read_public_keys};

fn secret_file(dir: &Path, mode: u32) -> PathBuf {
    let path = dir.join(format!("secret-{mode:o}"));
    fs::write(&path, format!("# for tests\n\n{}\n", *Secret::generate().unwrap().to_line())).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

#[test]
fn files_are_written_for_the_owner_alone_and_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let (key, line) = (dir.path().join("key"), dir.path().join("secret"));
    let identity = Identity::generate().unwrap();
    identity.to_file(&key).unwrap();
    assert_eq!(Identity::from_file(&key).unwrap().public_key(), identity.public_key());
    let secret = Secret::generate().unwrap();
    secret.to_file(&line).unwrap();
    assert_eq!(*Secret::from_file(&line).unwrap().to_line(), *secret.to_line());
    for path in [&key, &line] {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o7777, 0o600);
        let before = fs::read(path).unwrap();
        assert!(matches!(identity.to_file(path), Err(KeyFileError::Exists { .. })));
        assert_eq!(fs::read(path).unwrap(), before);
    }
}

#[test]
fn files_that_others_can_read_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for mode in [0o600, 0o400, 0o700] {
        Secret::from_file(&secret_file(dir.path(), mode)).unwrap();
    }
    for mode in [0o640, 0o604, 0o644, 0o660, 0o622, 0o601, 0o666] {
        let error = Secret::from_file(&secret_file(dir.path(), mode)).unwrap_err();
        assert!(matches!(error, KeyFileError::TooOpen { mode: shown, .. } if shown == mode), "{error:?}");
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }
}

#[test]
fn files_of_another_user_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = secret_file(dir.path(), 0o600);
    if chown(&path, Some(12_345), None).is_err() {
        crate::skipped::skipped("only root can give files away");
        return;
    }
    let error = Secret::from_file(&path).unwrap_err();
    assert!(matches!(error, KeyFileError::ForeignOwner { owner: 12_345, .. }), "{error:?}");
}

/// As the kubelet lays it out: `secret -> ..data/secret`, `..data -> ..2026_01`, mode 0644.
#[test]
fn files_in_a_kubernetes_secret_volume_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let (volume, data) = (dir.path(), dir.path().join("..2026_01"));
    fs::create_dir(&data).unwrap();
    for mode in [0o644, 0o440, 0o666] {
        let name = secret_file(&data, mode).file_name().unwrap().to_owned();
        symlink(Path::new("..data").join(&name), volume.join(&name)).unwrap();
    }
    symlink("..2026_01", volume.join("..data")).unwrap();
    Secret::from_file(&volume.join("secret-644")).unwrap();
    Secret::from_file(&volume.join("secret-440")).unwrap();
    let error = Secret::from_file(&volume.join("secret-666")).unwrap_err();
    assert!(matches!(error, KeyFileError::TooOpen { mode: 0o666, .. }), "{error:?}");
    // The same file past the volume's own symlink is a file like any other.
    let error = Secret::from_file(&data.join("secret-644")).unwrap_err();
    assert!(matches!(error, KeyFileError::TooOpen { .. }), "{error:?}");
}

#[test]
fn what_is_no_regular_file_is_refused_without_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert!(matches!(Secret::from_file(&fifo), Err(KeyFileError::NotRegular { .. })));
    assert!(matches!(Secret::from_file(dir.path()), Err(KeyFileError::NotRegular { .. })));
    let missing = Secret::from_file(&dir.path().join("missing")).unwrap_err();
    assert!(missing.to_string().contains("missing"), "{missing}");
}

#[test]
fn wrong_content_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let secret = Secret::generate().unwrap().to_line();
    let check = |text: &str, expected| {
        let _ = fs::remove_file(&path);
        super::super::keyfile::write_private(&path, text.as_bytes()).unwrap();
        match Secret::from_file(&path) {
            Err(KeyFileError::Malformed { source, .. }) => assert_eq!(source, expected),
            other => panic!("{other:?}"),
        }
    };
    check("", KeyError::Empty);
    check("# nothing\n", KeyError::Empty);
    check("password\n", KeyError::NotASecret);
    check(&format!("{}\n{}\n", *secret, *secret), KeyError::Several);
    fs::write(&path, "x".repeat(300 << 10)).unwrap();
    assert!(matches!(Secret::from_file(&path), Err(KeyFileError::TooLarge { .. })));
    fs::write(&path, b"\xff\xfe").unwrap();
    assert!(matches!(Secret::from_file(&path), Err(KeyFileError::Read { .. })));
    fs::write(&path, Identity::generate().unwrap().public_key().to_string()).unwrap();
    let error = Identity::from_file(&path).unwrap_err();
    assert!(matches!(error, KeyFileError::Malformed { source: KeyError::PublicForPrivate, .. }), "{error:?}");
}

#[test]
fn lists_of_public_keys_skip_comments_and_name_bad_lines() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("authorized_keys");
    let keys = [(); 2].map(|()| Identity::generate().unwrap().public_key());
    fs::write(&path, format!("# ours\n\n{} ada@laptop\n{}\n", keys[0], keys[1])).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(read_public_keys(&path).unwrap(), keys);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o664)).unwrap();
    assert!(matches!(read_public_keys(&path), Err(KeyFileError::TooOpen { .. })));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&path, format!("# ours\n{}\nnonsense\n", keys[0])).unwrap();
    assert!(matches!(read_public_keys(&path), Err(KeyFileError::MalformedLine { line: 3, .. })));
    fs::write(&path, "# none\n").unwrap();
    assert!(matches!(read_public_keys(&path), Err(KeyFileError::Malformed { source: KeyError::Empty, .. })));
}

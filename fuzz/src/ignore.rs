//! Ignore files: anyone who can write into the tree writes them.

use sync_core::ignore::{IgnoreFile, Rules};
use sync_proto::{SyncPath, message::IgnoreSettings};

use crate::take_bytes;

/// First byte: which kind of file (1), whether in a directory (2). Then its content, and a path to ask for.
pub fn ignore_file(data: &[u8]) {
    let Some((&way, mut rest)) = data.split_first() else {
        return;
    };
    let kind = if way & 1 != 0 { IgnoreFile::Gitignore } else { IgnoreFile::Syncignore };
    let dir = if way & 2 != 0 { SyncPath::parse(b"src").expect("a path") } else { SyncPath::root() };
    let content = take_bytes(&mut rest);
    let rules =
        Rules::new(&IgnoreSettings::default()).expect("settings without patterns").with_file(&dir, kind, Some(content));
    for own in [&b".synctl"[..], b".synctl/stage", b"src/.synctl/x"] {
        let own = SyncPath::parse(own).expect("a path");
        assert!(rules.is_ignored(&own, false) && rules.is_ignored(&own, true), "{own} takes part");
    }
    let Ok(path) = SyncPath::parse(rest) else {
        return;
    };
    for is_dir in [false, true] {
        let ignored = rules.is_ignored(&path, is_dir);
        if ignored && !path.is_root() {
            assert!(rules.why(&path, is_dir).is_some(), "{path} is left out and nobody knows why");
        }
        // What a scan finds on its way down is what the whole answers.
        if let Some((parent, name)) = path.split_last() {
            let above = !parent.is_root() && rules.is_ignored(&parent, true);
            assert!(
                above || rules.scope(&parent).is_ignored(name, is_dir) == ignored,
                "{path}: scope and rules differ"
            );
        }
    }
    let gone = rules.with_file(&dir, kind, None);
    assert_eq!(
        gone.is_ignored(&path, false),
        Rules::new(&IgnoreSettings::default()).expect("settings").is_ignored(&path, false)
    );
}

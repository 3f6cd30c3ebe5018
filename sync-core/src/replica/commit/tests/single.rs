//! Content, permissions and hostile requests, one operation at a time.

use sync_proto::message::Blob;

use super::*;
use crate::delta;

fn blob<const MAX: usize>(bytes: &[u8]) -> Blob<MAX> {
    Blob::new(bytes.to_vec()).unwrap()
}

#[test]
fn content_arrives_in_every_way() {
    let fixture = Fixture::new();
    let base: Vec<u8> = (0..20_000_u32).map(|n| (n % 253) as u8).collect();
    let large: Vec<u8> = (0..400_000_u32).map(|n| (n.wrapping_mul(n) % 249) as u8).collect();
    let mut new = base.clone();
    new[777] = b'!';
    fixture.write("base", &base);
    fixture.write("large", &large);
    let index = fixture.index();
    let packed = zstd::bulk::compress(&new, 3).unwrap();
    let patch = delta::Encoder::new().encode(&base, &new, delta::Effort::Fast);
    for (at, expected, wanted, content) in [
        ("empty", Expected::Nothing, &[][..], Content::None),
        ("raw", Expected::Nothing, &new[..], raw(&new)),
        ("zstd", Expected::Nothing, &new[..], Content::Zstd(blob(&packed))),
        ("small copy", Expected::Nothing, &base[..], Content::CopyOf(path("base"))),
        ("large copy", Expected::Nothing, &large[..], Content::CopyOf(path("large"))),
        ("base", Expected::Entry(file(&base)), &new[..], Content::Delta(blob(&patch))),
    ] {
        let commit = fixture.one(&index, put_entry(at, expected, file(wanted), content));
        assert_eq!(commit.outcome, Outcome::Applied, "{at}");
        assert_eq!(fixture.read(at), wanted, "{at}");
        assert!(commit.changes[0].stamp.is_some());
    }
}

#[test]
fn content_that_is_not_what_was_said_is_not_put() {
    let fixture = Fixture::new();
    fixture.write("old", b"old");
    fixture.write("other", b"other");
    symlink("other", fixture.at_path("link")).unwrap();
    let index = fixture.index();
    let bomb = zstd::bulk::compress(&vec![0; 1 << 20], 3).unwrap();
    let huge = Entry::File { content: id(b"x"), len: 1 << 39, executable: false };
    for (entry, content) in [
        (file(b"new"), raw(b"wen")),
        (file(b"new"), raw(b"longer")),
        (file(b"new"), raw(b"")),
        (file(b"new"), Content::None),
        (file(b"new"), Content::Zstd(blob(&bomb))),
        (file(b"new"), Content::Zstd(blob(b"no frame"))),
        (huge.clone(), Content::Zstd(blob(&bomb))),
        (file(b"new"), Content::Delta(blob(b"\x07 no delta"))),
        (huge.clone(), Content::Delta(blob(b"\x00"))),
        (file(b"new"), Content::CopyOf(path("other"))),
        (file(b"wrong"), Content::CopyOf(path("other"))),
        (file(b"other"), Content::CopyOf(path("link"))),
        (file(b"other"), Content::CopyOf(path("none"))),
        (file(b"other"), Content::CopyOf(path("other/below"))),
        (file(b"other"), Content::CopyOf(SyncPath::root())),
        (huge, Content::CopyOf(path("other"))),
        (file(b"new"), Content::Unchanged),
    ] {
        for at in ["old", "new"] {
            let expected = if at == "old" { Expected::Entry(file(b"old")) } else { Expected::Nothing };
            let commit = fixture.one(&index, put_entry(at, expected, entry.clone(), content.clone()));
            assert_eq!(commit, Commit::nothing(Outcome::BaseMissing), "{content:?}");
        }
        assert_eq!(fixture.read("old"), b"old");
        assert!(!fixture.exists("new"));
    }
}

#[test]
fn permissions_stay_and_setuid_never_comes_back() {
    let fixture = Fixture::new();
    for (mode, executable, wanted) in [
        (0o644, false, 0o644),
        (0o644, true, 0o755),
        (0o600, true, 0o700),
        (0o640, true, 0o750),
        (0o755, false, 0o644),
        (0o700, false, 0o600),
        (0o711, true, 0o711),
        (0o666, true, 0o777 & !0o022),
        (0o4755, true, 0o755),
        (0o2755, false, 0o644),
        (0o6711, true, 0o711),
    ] {
        // A bit for group or others is set only as far as the umask of this process leaves it.
        let wanted = if mode == 0o666 { 0o666 | 0o111 & fixture.committer.mode_mask } else { wanted };
        for same in [false, true] {
            fixture.write("it", b"old");
            fixture.chmod("it", mode);
            let index = fixture.index();
            let old = index.get(&path("it")).unwrap().entry();
            let new: &[u8] = if same { b"old" } else { b"new" };
            let entry = if executable { program(new) } else { file(new) };
            let content = if same { Content::Unchanged } else { raw(new) };
            let commit = fixture.one(&index, put_entry("it", Expected::Entry(old), entry, content));
            assert_eq!(commit.outcome, Outcome::Applied);
            assert_eq!(fixture.mode("it"), wanted, "{mode:o} {executable} {same}");
            fs::remove_file(fixture.at_path("it")).unwrap();
        }
    }
    let commit = fixture.one(&fixture.index(), put_entry("new", Expected::Nothing, program(b"new"), raw(b"new")));
    assert_eq!((commit.outcome, fixture.mode("new")), (Outcome::Applied, 0o755));
}

#[test]
fn the_owner_of_what_is_replaced_stays_where_that_is_allowed() {
    let fixture = Fixture::new();
    fixture.write("it", b"old");
    if std::os::unix::fs::chown(fixture.at_path("it"), Some(12_345), Some(12_346)).is_err() {
        return crate::skipped::skipped("only root gives files away");
    }
    fixture.chmod("it", 0o640);
    let index = fixture.index();
    assert_eq!(fixture.one(&index, put("it", Expected::Entry(file(b"old")), b"new")).outcome, Outcome::Applied);
    let meta = fs::metadata(fixture.at_path("it")).unwrap();
    assert_eq!((meta.uid(), meta.gid(), fixture.mode("it")), (12_345, 12_346, 0o640));
}

#[test]
fn a_hard_link_keeps_its_content() {
    let fixture = Fixture::new();
    fixture.write("it", b"old");
    fs::hard_link(fixture.at_path("it"), fixture.at_path("twin")).unwrap();
    let index = fixture.index();
    assert_eq!(fixture.one(&index, put("it", Expected::Entry(file(b"old")), b"new")).outcome, Outcome::Applied);
    assert_eq!((fixture.read("it"), fixture.read("twin")), (b"new".to_vec(), b"old".to_vec()));
}

#[test]
fn what_is_ours_is_out_of_reach() {
    let fixture = Fixture::new();
    fixture.write("file", b"file");
    let index = fixture.index();
    let id = fixture.committer.replica_id().unwrap();
    let entry = || Expected::Entry(file(b"file"));
    for at in [".synctl/replica", ".synctl", ".SyncTL/x", "sub/.synctl/x"] {
        for operation in [
            make(at),
            put(at, Expected::Nothing, b"x"),
            remove(at, entry()),
            relocate("file", at, entry()),
            relocate(at, "file2", entry()),
        ] {
            let outcome = fixture.one(&index, operation.clone()).outcome;
            assert!(is_failed(&outcome, ProblemKind::Refused), "{operation:?} {outcome:?}");
        }
        // Also inside what would be built in the stage.
        let run = [make("sub"), put("sub/a", Expected::Nothing, b"a"), put(at, Expected::Nothing, b"x")];
        let outcomes = fixture.batch(&index, &run);
        assert!(is_failed(&outcomes[2], ProblemKind::Refused));
        fs::remove_dir_all(fixture.at_path("sub")).unwrap();
    }
    let root = [
        Operation::MakeDirectory { path: SyncPath::root() },
        Operation::Remove { path: SyncPath::root(), expected: Expected::Tree(index.hash()) },
        Operation::Move { from: SyncPath::root(), to: path("x"), expected: Expected::Tree(index.hash()) },
    ];
    for operation in root {
        assert!(is_failed(&fixture.one(&index, operation).outcome, ProblemKind::Refused));
    }
    assert_eq!(fixture.committer.replica_id().unwrap(), id);
}

#[test]
fn a_directory_is_not_put_nor_moved_into_itself() {
    let fixture = Fixture::new();
    fixture.write("dir/below", b"x");
    let index = fixture.index();
    let outcome = fixture.one(&index, put_entry("new", Expected::Nothing, Entry::Directory, Content::None)).outcome;
    assert!(is_failed(&outcome, ProblemKind::Io));
    let tree = || Expected::Tree(tree_hash(&index, "dir"));
    for to in ["dir", "dir/sub", "dir/below/sub"] {
        assert!(is_failed(&fixture.one(&index, relocate("dir", to, tree())).outcome, ProblemKind::BadName));
    }
}

#[test]
fn names_of_any_bytes_are_names() {
    let fixture = Fixture::new();
    let name = SyncPath::parse(b"\xff\n\x1b[31m").unwrap();
    let index = fixture.index();
    let entry = file(b"x");
    let operation =
        Operation::Put { path: name.clone(), expected: Expected::Nothing, entry: entry.clone(), content: raw(b"x") };
    assert_eq!(fixture.one(&index, operation).outcome, Outcome::Applied);
    let long = "n".repeat(255);
    assert_eq!(fixture.one(&index, put(&long, Expected::Nothing, b"x")).outcome, Outcome::Applied);
    let index = fixture.index();
    // The longest name finds room in the stage, whatever is put before it there.
    assert_eq!(fixture.one(&index, put(&long, Expected::Entry(entry.clone()), b"y")).outcome, Outcome::Applied);
    assert_eq!(fixture.one(&index, remove(&long, Expected::Entry(file(b"y")))).outcome, Outcome::Applied);
    let operation = Operation::Remove { path: name, expected: Expected::Entry(entry) };
    assert_eq!(fixture.one(&index, operation).outcome, Outcome::Applied);
}

//! How a person's files are treated: deletions are kept, names are protected, and what is done is on the disk.

use std::collections::BTreeMap;

use super::*;
use crate::replica::trash::{self, TrashedKind};

fn for_a_person(fixture: Fixture) -> Fixture {
    let committer = Committer::open(&fixture.root, CommitOptions::for_a_person(Protected::default())).unwrap();
    Fixture { committer, ..fixture }
}

/// What is in the trash, and its content.
pub(super) fn trashed(fixture: &Fixture) -> BTreeMap<String, Vec<u8>> {
    let items = trash::newest(trash::list(&fixture.root).unwrap(), &SyncPath::root());
    let read = |item: &trash::Trashed| match &item.kind {
        TrashedKind::File { .. } => {
            let generations = fs::read_dir(fixture.at_path(".synctl/trash")).unwrap();
            let found = generations.map(|entry| entry.unwrap().path().join(item.path.to_string()));
            fs::read(found.into_iter().filter(|at| at.is_file()).max().unwrap()).unwrap()
        }
        TrashedKind::Symlink(target) => target.as_bytes().to_vec(),
        TrashedKind::Directory => b"directory".to_vec(),
    };
    items.iter().map(|item| (item.path.to_string(), read(item))).collect()
}

fn check_trash(fixture: &Fixture, expected: &[(&str, &[u8])]) {
    let expected = expected.iter().map(|(path, content)| ((*path).to_owned(), content.to_vec())).collect();
    assert_eq!(trashed(fixture), expected);
}

fn populated() -> Fixture {
    let fixture = Fixture::new();
    for at in ["gone", "over", "becomes/file", "becomes/link", "tree/a", "tree/sub/deep/b", "half/known"] {
        fixture.write(at, at.as_bytes());
    }
    fs::create_dir_all(fixture.at_path("tree/empty")).unwrap();
    symlink("there", fixture.at_path("link")).unwrap();
    symlink("there", fixture.at_path("tree/link")).unwrap();
    for_a_person(fixture)
}

#[test]
fn what_is_deleted_is_kept_with_its_shape() {
    let fixture = populated();
    let index = fixture.index();
    let old = |at: &str| Expected::Entry(file(at.as_bytes()));
    fixture.chmod("gone", 0o755);
    fixture.write("half/unknown", b"x");
    let outcomes = fixture.batch(
        &fixture.index(),
        &[
            remove("gone", Expected::Entry(program(b"gone"))),
            remove("link", Expected::Entry(link("there"))),
            put("over", old("over"), b"new"),
            put_entry("becomes/file", old("becomes/file"), link("x"), Content::None),
            put_entry("becomes/link", old("becomes/link"), link("x"), Content::None),
            put("becomes/link", Expected::Entry(link("x")), b"file again"),
            remove("tree", Expected::Tree(tree_hash(&index, "tree"))),
        ],
    );
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Applied), "{outcomes:?}");
    // Of what the index does not know nothing goes.
    let commit = fixture.one(&index, remove("half", Expected::Tree(tree_hash(&index, "half"))));
    assert_eq!(commit.outcome, Outcome::Kept);
    assert!(fixture.exists("half/unknown") && !fixture.exists("tree") && !fixture.exists("gone"));
    assert_eq!((fixture.read("over"), fixture.read("becomes/link")), (b"new".into(), b"file again".into()));
    check_trash(
        &fixture,
        &[
            ("becomes/file", b"becomes/file"),
            ("becomes/link", b"x"),
            ("gone", b"gone"),
            ("half/known", b"half/known"),
            ("link", b"there"),
            ("tree/a", b"tree/a"),
            ("tree/empty", b"directory"),
            ("tree/link", b"there"),
            ("tree/sub/deep/b", b"tree/sub/deep/b"),
        ],
    );
    for item in trash::newest(trash::list(&fixture.root).unwrap(), &path("gone")) {
        trash::restore(&fixture.root, &item, None).unwrap();
    }
    assert_eq!((fixture.read("gone"), fixture.mode("gone")), (b"gone".to_vec(), 0o755));
    assert_eq!(fixture.displaced(), Vec::<Vec<u8>>::new());
}

#[test]
fn what_is_not_expected_neither_goes_nor_is_kept_twice() {
    let fixture = populated();
    let index = fixture.index();
    let wrong = || Expected::Entry(file(b"something else"));
    let outcomes = fixture.batch(
        &index,
        &[
            remove("gone", wrong()),
            remove("none", wrong()),
            put_entry("over", wrong(), link("x"), Content::None),
            put_entry("none", wrong(), link("x"), Content::None),
            put_entry("becomes/file", Expected::Entry(link("x")), file(b"new"), raw(b"new")),
        ],
    );
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Mismatch), "{outcomes:?}");
    // Content that is not what was said: what stood there still does.
    let bad = put_entry("link", Expected::Entry(link("there")), file(b"right"), raw(b"wrong"));
    assert_eq!(fixture.one(&index, bad).outcome, Outcome::BaseMissing);
    assert_eq!(fixture.index(), index);
    check_trash(&fixture, &[]);
}

#[test]
fn what_can_not_be_kept_is_not_deleted() {
    let fixture = populated();
    let index = fixture.index();
    // The trash is no more: nothing can be put in it.
    fs::remove_dir(fixture.at_path(".synctl/trash")).unwrap();
    let expected = || Expected::Entry(file(b"gone"));
    assert!(matches!(fixture.one(&index, remove("gone", expected())).outcome, Outcome::Failed(_)));
    let replaced = put_entry("gone", expected(), link("x"), Content::None);
    assert!(matches!(fixture.one(&index, replaced).outcome, Outcome::Failed(_)));
    let tree = remove("tree", Expected::Tree(tree_hash(&index, "tree")));
    assert!(matches!(fixture.one(&index, tree).outcome, Outcome::Failed(_)));
    assert_eq!(fixture.read("gone"), b"gone");
    for at in ["tree/a", "tree/link", "tree/sub/deep/b"] {
        assert!(fixture.exists(at), "{at}");
    }
}

#[test]
fn no_symlink_that_may_lead_out_is_made() {
    let fixture = for_a_person(Fixture::new());
    let index = fixture.index();
    let target = |at: &str, target: &str| put_entry(at, Expected::Nothing, link(target), Content::None);
    let lead_out =
        [target("a", "/etc/passwd"), target("a", ".."), target("a", "b/.."), target("a", "b/../../c"), make("new")];
    let outcomes =
        fixture.batch(&index, &[&lead_out[..], &[target("new/a", "x/../b"), target("new/b", "../c")]].concat());
    let (refused, made): (Vec<_>, Vec<_>) =
        outcomes.into_iter().partition(|outcome| is_failed(outcome, ProblemKind::BadTarget));
    assert_eq!((refused.len(), made), (5, vec![Outcome::Applied; 2]));
    assert!(!fixture.exists("a") && !fixture.exists("new/a") && fixture.exists("new"));
    // Where nobody is protected from the other side they are made as they are, and never followed.
    let fixture = Fixture::new();
    assert_eq!(fixture.one(&fixture.index(), target("a", "b/..")).outcome, Outcome::Applied);
}

#[test]
fn protected_names_are_refused_whatever_the_plan_says() {
    let fixture = Fixture::new();
    for at in [".git/config", "project/.envrc", "project/src/main.rs", "plain", "dir/x", ".vscode/tasks.json"] {
        fixture.write(at, at.as_bytes());
    }
    let mut protected = Protected::default();
    protected.allow(".vscode").unwrap();
    let committer = Committer::open(&fixture.root, CommitOptions::for_a_person(protected)).unwrap();
    let fixture = Fixture { committer, ..fixture };
    let index = fixture.index();
    let old = |at: &str| Expected::Entry(file(at.as_bytes()));
    let refused = [
        put(".git/config", old(".git/config"), b"x"),
        put(".git/hooks", Expected::Nothing, b"x"),
        put(".GIT/hooks", Expected::Nothing, b"x"),
        put("GIT~1", Expected::Nothing, b"x"),
        put(".g\u{200c}it", Expected::Nothing, b"x"),
        put_entry(".envrc", Expected::Nothing, link("plain"), Content::None),
        put("bare/HEAD", Expected::Nothing, b"x"),
        make(".idea"),
        make("dir/.Husky "),
        remove(".git/config", old(".git/config")),
        remove(".git", Expected::Tree(tree_hash(&index, ".git"))),
        relocate("plain", ".envrc", old("plain")),
        relocate("dir", ".git", Expected::Tree(tree_hash(&index, "dir"))),
        relocate("dir", ".vscode/.git", Expected::Tree(tree_hash(&index, "dir"))),
        relocate(".git", "free", Expected::Tree(tree_hash(&index, ".git"))),
        put(".synctl/x", Expected::Nothing, b"x"),
    ];
    for outcome in fixture.batch(&index, &refused) {
        assert!(is_failed(&outcome, ProblemKind::Refused), "{outcome:?}");
    }
    assert_eq!(fixture.index(), index);
    let Outcome::Failed(problem) = fixture.one(&index, make(".git")).outcome else { panic!("not refused") };
    assert!(problem.detail.to_string().contains("--allow '.git'"), "{problem:?}");
    let partial = fixture.committer.partial(id(b"x")).unwrap();
    partial.file().write_all(b"x").unwrap();
    let commit =
        fixture.committer.put_partial(&index, &path("a/.git/config"), &Expected::Nothing, &file(b"x"), partial);
    assert!(is_failed(&commit.outcome, ProblemKind::Refused));

    // In a new directory what is refused is refused alone.
    let outcomes = fixture.batch(
        &index,
        &[
            make("new"),
            put("new/a", Expected::Nothing, b"a"),
            put("new/.envrc", Expected::Nothing, b"x"),
            make("new/sub"),
            put("new/sub/b", Expected::Nothing, b"b"),
            put(".vscode/tasks.json", old(".vscode/tasks.json"), b"allowed"),
        ],
    );
    assert!(is_failed(&outcomes[2], ProblemKind::Refused), "{outcomes:?}");
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Outcome::Applied).count(), 5, "{outcomes:?}");
    assert!(!fixture.exists("new/.envrc") && fixture.exists("new/sub/b"));
    // Of a directory that is removed it stays, with the directories above it.
    let commit = fixture.one(&index, remove("project", Expected::Tree(tree_hash(&index, "project"))));
    assert!(is_failed(&commit.outcome, ProblemKind::Refused));
    assert!(fixture.exists("project/.envrc") && !fixture.exists("project/src"));
}

#[test]
fn an_agent_protects_nothing() {
    let fixture = Fixture::new();
    let outcomes = fixture.batch(
        &fixture.index(),
        &[make(".git"), put(".git/config", Expected::Nothing, b"x"), make("d"), make(".idea")],
    );
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Applied), "{outcomes:?}");
}

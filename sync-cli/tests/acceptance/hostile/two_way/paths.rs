//! News of paths that lead elsewhere, or that alpha never takes from the other side.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Instant;

use sync_proto::message::{Listed, ToAgent};
use sync_proto::{ContentId, Entry, SyncPath, Target, TreeHash};

use super::super::super::lab::PATIENCE;
use super::super::liar::{changes, listing_of};
use super::super::peer::{file, frame, path, raw_frame};
use super::{Heard, above, check, news, stands};

pub(super) fn symlink_to(target: &str) -> Entry {
    Entry::Symlink(Target::new(target.as_bytes()).unwrap())
}

/// Names that make a machine run something, where nothing stands, where something does, and in other spellings.
const RUN: &[&str] = &[
    ".git/hooks/pre-commit",
    ".git/config",
    ".GIT/hooks/pre-commit",
    ".g\u{200c}it/hooks/pre-commit",
    "\u{feff}.gıt/config",
    "GIT~1/hooks/pre-commit",
    ".git\\hooks\\pre-commit",
    ".git. ./config",
    ".git::$INDEX_ALLOCATION",
    "d0/.git/config",
    ".envrc",
    "d0/.Envrc",
    ".vscode/tasks.json",
    ".vscode/settings.json",
    ".VSCode/tasks.json",
    ".v\u{17f}code/tasks.json",
    ".idea/x",
    "d1/sub/.idea/workspace.xml",
    "d1/a.Code-Workspace",
    "d2/HEAD",
];

#[test]
fn fault_45_two_way_names_that_run_something() {
    let told = check("names that run something", &["--vcs"], async |act| {
        for at in RUN {
            let mut told = above(at);
            told.push(news(at, b"#!/bin/sh\ntouch /tmp/run\n"));
            act.say(&changes(told)).await;
            act.goes_on().await;
            assert!(act.has_problem("refused", at), "{at:?} was not refused: {:#?}", act.watch.events());
        }
        // By content that alpha has, by a symlink, and by taking away what stands there.
        let known = fs::read(act.lab.source.join("d0/sub/f1.rs")).unwrap();
        let (entry, id) = (file(&known), ContentId(*blake3::hash(&known).as_bytes()));
        act.contents.insert(id, known);
        act.say(&changes(vec![stands(".autoenv", entry), stands(".husky", symlink_to("d0"))])).await;
        act.say(&changes(vec![stands(".git/config", None), stands(".vscode", None)])).await;
        act.goes_on().await;
        for at in [".autoenv", ".husky", ".git/config", ".vscode"] {
            assert!(act.has_problem("refused", at), "{at:?} was not refused: {:#?}", act.watch.events());
        }
    });
    told.unchanged_but(&[]);
}

#[test]
fn fault_45_two_way_what_is_ours() {
    let told = check("what is ours", &[], async |act| {
        for at in [
            ".synctl/replica",
            ".synctl/trash/1-1/x",
            ".synctl/stage/x",
            ".SYNCTL/x",
            ".syn\u{200c}ctl/x",
            ".synctl./x",
            "SYNCTL~1/x",
        ] {
            let mut told = above(at);
            told.push(news(at, b"mine"));
            act.say(&changes(told)).await;
            act.say(&changes(vec![stands(".synctl", None)])).await;
            act.goes_on().await;
        }
    });
    told.unchanged_but(&[]);
    let replica = fs::read(told.lab.source.join(".synctl/replica")).unwrap_or_default();
    assert_ne!(replica, b"mine");
}

/// News of one path, in place of whose bytes stand others; to be refused before anything is done.
fn check_bytes(at: &str, swap: &[u8], by: &[u8]) {
    let name = format!("{at:?} with {by:?}");
    let told = check(&name, &[], async |act| {
        let mut said = frame(&changes(vec![stands("good", Entry::Directory), news(at, b"evil")]));
        let found = said.windows(swap.len()).position(|bytes| bytes == swap).unwrap();
        said.splice(found..found + swap.len(), by.iter().copied());
        let _ = act.liar.send.write_all(&said).await;
        act.is_dropped("malformed message").await;
    });
    told.unchanged_but(&[]);
}

#[test]
fn fault_45_two_way_components_that_are_none() {
    check_bytes("QQ/evil", b"QQ", b"..");
    check_bytes("d0/QQ/QQ/evil", b"QQ", b"..");
    check_bytes("Q/evil", b"Q", b".");
    check_bytes("Q", b"Q", b"/");
    check_bytes("Qoutside", b"Q", b"/");
    check_bytes("QQQoutside", b"QQQ", b"../");
    check_bytes("evilQ", b"Q", b"\0");
    // Deeper than any path: 257 components.
    let told = check("too deep", &[], async |act| {
        let body = [&[3, 1, 251, 1, 1][..], &[1, b'd'].repeat(257), &[1, 0, 0, 1, 1, 0, 0, 0]].concat();
        let _ = act.liar.send.write_all(&raw_frame(&body)).await;
        act.is_dropped("malformed message").await;
    });
    told.unchanged_but(&[]);
}

#[test]
fn fault_45_two_way_beneath_a_symlink() {
    // The symlink of alpha's own that leads outside takes no part. The agent has a directory there.
    let told = check("beneath a symlink of alpha's", &[], async |act| {
        act.say(&changes(vec![news("way/planted", b"evil")])).await;
        act.say(&changes(vec![stands("way", Entry::Directory), news("way/planted", b"evil")])).await;
        act.say(&changes(vec![news("way/canary", b"evil")])).await;
        act.goes_on().await;
        act.say(&changes(vec![stands("way/canary", None)])).await;
        act.goes_on().await;
    });
    told.unchanged_but(&[]);
    // One that is pushed, and leads to a directory within; then news of what is beneath.
    let told = check("beneath a symlink that was pushed", &[], async |act| {
        act.say(&changes(vec![stands("inner", symlink_to("d0"))])).await;
        act.goes_on().await;
        act.say(&changes(vec![news("inner/planted", b"evil")])).await;
        act.say(&changes(vec![stands("inner/sub/f1.rs", None)])).await;
        act.goes_on().await;
    });
    told.unchanged_but(&["inner"]);
    assert!(!told.lab.source.join("d0/planted").exists(), "a symlink was followed");
    // It becomes one while content for what is beneath is on its way.
    let told = check("a directory that becomes a symlink", &[], async |act| {
        act.say(&changes(vec![stands("turned", Entry::Directory)])).await;
        act.goes_on().await;
        let evil = b"evil".to_vec();
        act.say(&changes(vec![stands("turned/planted", file(&evil))])).await;
        let mut asked = None;
        let deadline = Instant::now() + PATIENCE;
        while asked.is_none() && Instant::now() < deadline {
            if let Some(Heard::Message(ToAgent::Fetch(fetch))) = act.hear().await {
                asked = Some(fetch);
            }
        }
        fs::remove_dir(act.lab.source.join("turned")).unwrap();
        symlink(act.outside, act.lab.source.join("turned")).unwrap();
        act.contents.insert(ContentId(*blake3::hash(&evil).as_bytes()), evil);
        let fetched = act.fetched(&asked.expect("the content is asked for"));
        act.say(&fetched).await;
        act.goes_on().await;
    });
    told.unchanged_but(&["turned"]);
}

#[test]
fn fault_45_two_way_symlinks_that_lead_out() {
    for (at, target) in [
        ("leads", "/etc/passwd"),
        ("leads", ".."),
        ("leads", "../outside/canary"),
        ("d0/sub/leads", "../../../outside"),
        ("d0/leads", "sub/../../../outside"),
    ] {
        let told = check(&format!("{at} -> {target}"), &[], async |act| {
            act.say(&changes(vec![stands(at, symlink_to(target))])).await;
            act.is_dropped("a symlink that leads out of the root").await;
        });
        told.unchanged_but(&[]);
    }
    // The same where beta's tree is learnt.
    let told = check("a listed symlink", &[], async |act| {
        act.meets_again().await;
        act.liar.opened(TreeHash([1; 32])).await;
        let listed = Listed { name: path("leads"), entry: symlink_to("../outside"), tree: TreeHash([0; 32]) };
        act.say(&listing_of(SyncPath::root(), vec![listed], true)).await;
        act.is_dropped("a symlink that leads out of the root").await;
    });
    told.unchanged_but(&[]);
    // Two of which each stays inside by its text, and which lead out together.
    let told = check("symlinks that lead out together", &[], async |act| {
        act.say(&changes(vec![stands("d0/sub/up", symlink_to("../..")), stands("out", symlink_to("d0/sub/up/.."))]))
            .await;
        act.goes_on().await;
        assert!(act.has_problem("bad_target", "out"), "{:#?}", act.watch.events());
    });
    told.unchanged_but(&["d0/sub/up"]);
    // By a move to where there is less above it.
    let told = check("a symlink that is moved", &[], async |act| {
        act.say(&changes(vec![stands("d0/in", Entry::Directory), stands("d0/in/up", symlink_to("../.."))])).await;
        act.goes_on().await;
        act.say(&changes(vec![
            stands("d0/in", None),
            stands("in", Entry::Directory),
            stands("in/up", symlink_to("../..")),
        ]))
        .await;
        act.is_dropped("a symlink that leads out of the root").await;
    });
    told.unchanged_but(&["d0/in", "d0/in/up"]);
}

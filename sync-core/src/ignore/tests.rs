#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::{collections::BTreeSet, fs, io::Write, os::unix::ffi::OsStrExt, path::Path, process::Command};

use proptest::{collection::vec, prelude::*, sample::select};
use sync_proto::{
    Name, SyncPath,
    message::{Blob, Bounded, IgnoreSettings},
};

use super::*;

fn path(text: &str) -> SyncPath {
    SyncPath::parse(text.as_bytes()).unwrap()
}

fn name(text: &str) -> Name<'_> {
    Name::new(text.as_bytes()).unwrap()
}

fn settings(patterns: &[&str]) -> IgnoreSettings {
    let patterns = patterns.iter().map(|pattern| Blob::new(pattern.as_bytes().to_vec()).unwrap()).collect();
    IgnoreSettings { patterns: Bounded::new(patterns).unwrap(), ..IgnoreSettings::default() }
}

/// Rules from ignore files given as (path, content).
fn rules(settings: &IgnoreSettings, files: &[(&str, &str)]) -> Rules {
    let mut builder = RulesBuilder::new(settings).unwrap();
    for (file, content) in files {
        let file = path(file);
        let (dir, name) = file.split_last().unwrap();
        builder.insert(&dir, ignore_file(name).unwrap(), content.as_bytes());
    }
    builder.build()
}

/// A path with a slash at its end is a directory.
fn is_ignored(rules: &Rules, text: &str) -> bool {
    let (text, is_dir) = text.strip_suffix('/').map_or((text, false), |text| (text, true));
    rules.is_ignored(&path(text), is_dir)
}

#[track_caller]
fn check(rules: &Rules, out: &[&str], part: &[&str]) {
    for text in out {
        assert!(is_ignored(rules, text), "{text} should be ignored");
    }
    for text in part {
        assert!(!is_ignored(rules, text), "{text} should take part");
    }
}

#[test]
fn patterns_mean_what_git_says() {
    // The file's content, what it leaves out, what takes part.
    type Case<'a> = (&'a str, &'a [&'a str], &'a [&'a str]);
    let cases: &[Case<'_>] = &[
        ("target", &["target", "target/", "a/target", "a/target/x"], &["targets", "a/xtarget"]),
        ("target/", &["target/", "a/target/", "target/x"], &["target", "a/target"]),
        ("/target", &["target", "target/x"], &["a/target"]),
        ("a/b", &["a/b", "a/b/c"], &["b", "x/a/b"]),
        ("*.o", &["x.o", "a/x.o", ".o"], &["x.oo", "o"]),
        ("*.o\n!keep.o", &["x.o"], &["keep.o", "a/keep.o"]),
        ("!keep.o\n*.o", &["keep.o"], &[]),
        ("build/\n!build/keep", &["build/keep"], &["build"]),
        ("build/*\n!build/keep", &["build/x"], &["build/keep", "build/"]),
        ("**/logs", &["logs", "a/logs", "a/b/logs/x"], &["alogs"]),
        ("logs/**", &["logs/x", "logs/a/b"], &["logs/", "a/logs/x"]),
        ("a/**/b", &["a/b", "a/x/b", "a/x/y/b"], &["ab", "x/a/b", "a/xb"]),
        ("a**b", &["axb", "ab"], &["a/b"]),
        ("a/*/b", &["a/x/b"], &["a/b", "a/x/y/b"]),
        ("a?c", &["abc"], &["a/c", "ac"]),
        ("[a-c]x", &["ax", "cx"], &["dx"]),
        ("[!a-c]x", &["dx"], &["ax"]),
        ("[^]]x", &["ax"], &["]x"]),
        ("[]-]x", &["]x", "-x"], &["ax"]),
        ("[[:digit:][:upper:]]x", &["1x", "Ax"], &["ax"]),
        ("[a\\]b]x", &["ax", "]x", "bx"], &["\\x"]),
        ("[!^]x", &["ax"], &["^x"]),
        ("[*]x", &["*x"], &["ax"]),
        ("[abc", &[], &["[abc", "a"]),
        ("{a,b}", &["{a,b}"], &["a", "b"]),
        ("# x\n\\#y\n\\!z", &["#y", "!z"], &["# x", "x"]),
        ("trailing   \nkept\\ \n", &["trailing", "kept "], &["trailing   ", "kept"]),
        ("crlf\r\nnext\r\n", &["crlf", "next"], &["crlf\r"]),
        ("\u{feff}bom", &["bom"], &[]),
        ("tab\t", &["tab\t"], &["tab"]),
        ("  lead", &["  lead"], &["lead"]),
        ("\\*", &["*"], &["a"]),
        ("*", &["a", "b/c"], &[]),
        ("*\n!*/\n!*.rs", &["a", "b/c"], &["b/", "x.rs", "b/x.rs"]),
        ("/", &[], &["a"]),
        ("!", &[], &["a"]),
        ("x\\", &[], &["x", "x\\"]),
        ("dot.", &["dot.", "a/dot."], &["dot"]),
        ("Zoë", &["Zoë"], &["Zoe"]),
    ];
    for (content, out, part) in cases {
        println!("{content:?}");
        check(&rules(&settings(&[]), &[(".gitignore", content)]), out, part);
    }
}

#[test]
fn a_deeper_file_wins_and_is_tied_to_its_directory() {
    let rules = rules(
        &settings(&[]),
        &[(".gitignore", "*.log\n/top"), ("a/.gitignore", "!keep.log\n/own"), ("a/b/.gitignore", "keep.log")],
    );
    check(
        &rules,
        &["x.log", "a/x.log", "a/b/keep.log", "keep.log", "top", "a/own"],
        &["a/keep.log", "a/c/keep.log", "a/top", "own", "a/b/own"],
    );
}

#[test]
fn precedence() {
    let files = [("x/.gitignore", "!one\ntwo\nthree"), (".syncignore", "one\n!two"), (".gitignore", "four")];
    let rules = rules(&settings(&["!one", "five", "three", "!three"]), &files);
    // one: .syncignore says out, though .gitignore is deeper, and --ignore says in.
    check(&rules, &["four", "five", "x/five"], &["x/one", "x/two", "x/three", "one"]);
    let syncignore_over = |patterns: &[&str]| rules_of(&settings(patterns), &files);
    check(&syncignore_over(&[]), &["x/one", "x/three"], &["x/two"]);
}

fn rules_of(settings: &IgnoreSettings, files: &[(&str, &str)]) -> Rules {
    rules(settings, files)
}

#[test]
fn defaults_and_version_control_can_be_taken_back() {
    let plain = rules(&settings(&[]), &[]);
    let out =
        [".git/", ".git", "a/.git/config", ".hg/", "id_ed25519", "a/.main.rs.swp", "4913", "main.rs~", ".#main.rs"];
    check(
        &plain,
        &out,
        &[".gitignore", ".gitattributes", ".github/", ".env", "key.pem", "x.tmp", "drawing.swf", "id_rsa.pub"],
    );
    check(
        &plain,
        &["#main.rs#", "x.rs___jb_tmp___", "x.rs___jb_old___", "a/.DS_Store", "lost+found/"],
        &["a/lost+found/"],
    );
    check(&rules(&settings(&["!id_ed25519"]), &[]), &["id_rsa"], &["id_ed25519"]);
    check(&rules(&settings(&[]), &[(".gitignore", "!*~")]), &[], &["x~"]);
    check(&rules(&settings(&["!.git"]), &[]), &[], &[".git/", ".git/config"]);
    check(&rules(&IgnoreSettings { vcs: true, ..settings(&[]) }, &[]), &["x~"], &[".git/", ".git/config"]);
    check(&rules(&IgnoreSettings { defaults: false, ..settings(&[]) }, &[]), &[".git/"], &["x~", "4913"]);
    let files = [(".gitignore", "git"), (".syncignore", "sync")];
    check(&rules(&IgnoreSettings { gitignore: false, ..settings(&[]) }, &files), &["sync"], &["git"]);
    for (pattern, why) in default_patterns().iter().chain(vcs_patterns()) {
        assert!(pattern::parse(pattern.as_bytes()).is_ok_and(|parsed| parsed.is_some()), "{pattern}");
        assert!(!why.is_empty());
    }
}

#[test]
fn the_programs_own_directory_is_beyond_reach() {
    let all = ["!.synctl", "!.synctl/**", "!*", "!**"];
    let settings = IgnoreSettings { vcs: true, defaults: false, ..settings(&all) };
    let rules = rules(&settings, &[(".gitignore", "!.synctl\n!*"), (".synctl/.gitignore", "!*")]);
    check(&rules, &[".synctl/", ".synctl", ".synctl/stage/x", "a/.synctl/", ".SyncTL/x"], &[".synctlx", "synctl"]);
    assert_eq!(rules.why(&path(".synctl/stage/x"), false).unwrap().source, Source::Reserved);
}

#[test]
fn names_beyond_utf8() {
    let rules = rules(&settings(&[]), &[(".gitignore", "*.o\na?c\nx[!y]z\n/d\n")]);
    let ignored = |bytes: &[u8]| rules.is_ignored(&SyncPath::parse(bytes).unwrap(), false);
    assert!(ignored(b"\xff.o"));
    assert!(ignored(b"\xfe/\xff.o"));
    assert!(ignored(b"a\xffc"));
    assert!(ignored(b"x\xffz"));
    assert!(ignored(b"d/\xff"));
    assert!(!ignored(b"\xff"));
}

#[test]
fn what_can_not_be_obeyed_is_reported_and_the_rest_is_obeyed() {
    let mut builder = RulesBuilder::new(&settings(&[])).unwrap();
    builder.insert(&path("a"), IgnoreFile::Gitignore, b"good\n\xff\n[x\n[[:no:]]\nend\\\nalso\n");
    let rules = builder.build();
    check(&rules, &["a/good", "a/also"], &["a/x"]);
    let problems: Vec<_> = rules.problems().map(|problem| (problem.line, problem.error)).collect();
    use PatternError::*;
    assert_eq!(problems, [(2, NotUtf8), (3, UnclosedClass), (4, UnknownClass), (5, DanglingEscape)]);
    assert_eq!(rules.problems().next().unwrap().to_string(), "a/.gitignore, line 2: the pattern is not UTF-8");
    let error = Rules::new(&settings(&["fine", "[x\u{1b}"])).unwrap_err();
    assert_eq!(error.to_string(), "ignore pattern `[x\\u{1b}`: `[` without `]`");
}

#[test]
fn a_large_file_is_obeyed_up_to_the_limit() {
    let mut content = b"first\n".to_vec();
    content.resize(IGNORE_FILE_BYTES_MAX - 4, b'#');
    content.extend_from_slice(b"\nsecond\nthird\n");
    let rules = Rules::new(&settings(&[])).unwrap().with_file(&SyncPath::root(), IgnoreFile::Gitignore, Some(&content));
    // The cut is within `second`, and `sec` is not what was meant.
    check(&rules, &["first"], &["sec", "second", "third"]);
    assert_eq!(rules.problems().map(|problem| problem.error).collect::<Vec<_>>(), [PatternError::TooLarge]);
    // Many lines compile, in bounded time, up to the limit.
    let many: String = (0..5000).map(|number| format!("*name{number}z*x?[ab]\n")).collect();
    let rules = rules_of(&settings(&[]), &[(".gitignore", &many)]);
    check(&rules, &["name7zxqa", "aname4095zxqb"], &["name4096zxqa"]);
    assert_eq!(rules.problems().count(), 1);
}

#[test]
fn live_replacement_leaves_old_snapshots_alone() {
    let old = rules(&settings(&[]), &[("a/.gitignore", "x"), ("a/b/.gitignore", "y"), ("a.b/.gitignore", "z")]);
    let new = old.with_file(&path("a"), IgnoreFile::Gitignore, Some(b"w"));
    check(&old, &["a/x"], &["a/w"]);
    check(&new, &["a/w", "a/b/y"], &["a/x"]);
    let none = new.with_file(&path("a"), IgnoreFile::Gitignore, None);
    check(&none, &["a/b/y"], &["a/w"]);
    assert_eq!(none.len(), 2);
    let moved = old.renamed(&path("a"), &path("q/r"));
    check(&moved, &["q/r/x", "q/r/b/y", "a.b/z"], &["a/x", "a/b/y"]);
    let less = old.without_below(&path("a"));
    check(&less, &["a.b/z"], &["a/x", "a/b/y"]);
    check(&old.without_below(&SyncPath::root()), &[], &["a.b/z"]);
}

#[test]
fn a_scope_answers_as_the_rules_do() {
    let rules =
        rules(&settings(&["p"]), &[(".gitignore", "x\nout/"), ("a/.gitignore", "!x"), ("a/b/.syncignore", "x")]);
    let root = rules.root_scope();
    assert!(root.is_ignored(name("x"), false));
    // A scan reads the files itself; what was known there gives way to it.
    let a = root.enter(name("a"));
    assert!(a.is_ignored(name("x"), false));
    let a = a.with_files(&[(IgnoreFile::Gitignore, b"!x\nnew")]);
    assert!(!a.is_ignored(name("x"), false) && a.is_ignored(name("new"), false) && a.is_ignored(name("p"), false));
    let again = rules.scope(&path("a")).with_files(&[]);
    assert!(again.is_ignored(name("x"), false));
    let b = a.enter(name("b")).with_files(&[(IgnoreFile::Syncignore, b"x")]);
    assert!(b.is_ignored(name("x"), false) && b.is_ignored(name("new"), false));
    assert!(root.enter(name("out")).enter(name("deep")).is_ignored(name("any"), false));
    let assembled = rules.with_scopes([root, a, b]);
    check(&assembled, &["x", "a/new", "a/b/x", "out/any"], &["a/x", "new"]);
}

#[test]
fn why_names_pattern_and_place() {
    let rules = rules(&settings(&["mine"]), &[("a/.gitignore", "# c\n\nnode_modules/ \n")]);
    let why = |text: &str| rules.why(&path(text), false).map(|reason| reason.to_string());
    let expected = "a/node_modules is ignored by `node_modules/` in a/.gitignore, line 3";
    assert_eq!(why("a/node_modules/x/y").as_deref(), Some(expected));
    assert_eq!(why("b/mine").as_deref(), Some("b/mine is ignored by `mine` given with --ignore"));
    assert_eq!(why("x~").as_deref(), Some("x~ is ignored by `*~` in the default list (backup of an editor)"));
    assert_eq!(why(".git/x").as_deref(), Some(".git is ignored by `.git` in the list of version control directories"));
    assert_eq!(why("a"), None);
}

/// What git itself says of these paths. It looks by itself which of them are directories; of a path that ends in a slash
/// it would ask the ignore file in that very directory.
fn git_ignored(root: &Path, paths: &BTreeSet<String>) -> BTreeSet<String> {
    let mut git = Command::new("git");
    git.current_dir(root).args(["-c", "core.excludesFile=/dev/null", "check-ignore", "--no-index", "-z", "--stdin"]);
    git.env("GIT_CONFIG_NOSYSTEM", "1").env_remove("GIT_DIR");
    let mut git = git.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let input = paths.iter().flat_map(|path| [path.as_bytes(), b"\0"].concat()).collect::<Vec<_>>();
    let mut stdin = git.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(&input).unwrap());
    let output = git.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(matches!(output.status.code(), Some(0 | 1)), "git check-ignore failed");
    let lines = output.stdout.split(|&byte| byte == 0).filter(|line| !line.is_empty());
    lines.map(|line| String::from_utf8(line.to_vec()).unwrap()).collect()
}

fn has_git() -> bool {
    let found = Command::new("git").arg("--version").output().is_ok();
    if !found {
        crate::skipped::skipped("git is not installed");
    }
    found
}

/// A pattern made of what is special to git, and of names of the tree.
fn pattern() -> impl Strategy<Value = String> {
    const PARTS: &[&str] = &[
        "a",
        "b",
        "c",
        "ab",
        "a.c",
        "*",
        "**",
        "?",
        "/",
        "/",
        "/**/",
        "**/",
        "/**",
        "[ab]",
        "[!a]",
        "[^b]",
        "[a-c]",
        "[]a]",
        "[a-]",
        "[[:alpha:]]",
        "[\\a]",
        "\\a",
        "\\*",
        "{a,b}",
        "{",
        ".",
        "*.c",
        "!",
        "#",
        " ",
        "\\ ",
        "[",
        "]",
        "[!]a]",
        "[c-a]",
        "[a/b]",
        "***",
        ",",
    ];
    const HEADS: &[&str] = &["", "", "", "", "!", "/", "!/", "\\!", "\\#", "**/"];
    const TAILS: &[&str] = &["", "", "", "/", "/", "/*", "/**", " ", "\r", "\\", "\\ ", "\t"];
    (select(HEADS), vec(select(PARTS), 1..4), select(TAILS))
        .prop_map(|(head, parts, tail)| format!("{head}{}{tail}", parts.concat()))
        // Against its own manual git takes `a**/b` for `a` and `**/b`, because it cuts off what is literal before it matches.
        .prop_filter("`**` right behind literal characters", |pattern| {
            let start = pattern.find(['*', '?', '[', '\\']).unwrap_or(pattern.len());
            let literal = pattern[..start].trim_start_matches('!');
            !pattern[start..].starts_with("**") || literal.is_empty() || literal.ends_with('/')
        })
}

fn ignore_content() -> impl Strategy<Value = String> {
    vec(pattern(), 0..5).prop_map(|lines| lines.join("\n"))
}

const NAMES: &[&str] = &["a", "b", "c", "ab", "a.c", "!a", "#b", "{a,b}", "*", "a ", "[", "]", "-", "a\\", ".c"];

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_git(
        root_content in ignore_content(),
        below_content in ignore_content(),
        deep_content in ignore_content(),
        tree in vec((vec(select(NAMES), 1..4), any::<bool>()), 1..40),
    ) {
        if !has_git() {
            return Ok(());
        }
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        Command::new("git").current_dir(root).args(["init", "-q"]).output().unwrap();
        fs::create_dir_all(root.join("a/b")).unwrap();
        let files = [(".gitignore", &root_content), ("a/.gitignore", &below_content), ("a/b/.gitignore", &deep_content)];
        for (file, content) in files {
            fs::write(root.join(file), content).unwrap();
        }
        let mut paths = BTreeSet::new();
        for (components, is_dir) in tree {
            let relative = components.join("/");
            let absolute = root.join(&relative);
            let made = if is_dir {
                fs::create_dir_all(&absolute).is_ok()
            } else {
                fs::create_dir_all(absolute.parent().unwrap()).is_ok() && !absolute.exists() && fs::write(&absolute, "").is_ok()
            };
            if made {
                paths.insert(relative);
            }
        }
        let settings = IgnoreSettings { defaults: false, ..settings(&[]) };
        let rules = rules(&settings, &files.map(|(file, content)| (file, content.as_str())));
        let ours: BTreeSet<String> = paths.iter().filter(|text| rules.is_ignored(&path(text), root.join(text).is_dir())).cloned().collect();
        prop_assert_eq!(ours, git_ignored(root, &paths));
    }

    #[test]
    fn no_content_panics(content in vec(any::<u8>(), 0..200), probe in "[^/\u{0}]{1,20}") {
        prop_assume!(probe != "." && probe != "..");
        let rules = Rules::new(&settings(&[])).unwrap().with_file(&SyncPath::root(), IgnoreFile::Gitignore, Some(&content));
        let _ = rules.is_ignored(&SyncPath::parse(probe.as_bytes()).unwrap(), true);
    }
}

/// A process of git for each case: few by default. `SYNCTL_TEST_CASES` asks for more.
fn cases() -> u32 {
    std::env::var("SYNCTL_TEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(64)
}

#[test]
fn names_are_bytes_to_git_too() {
    if !has_git() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    Command::new("git").current_dir(root).args(["init", "-q"]).output().unwrap();
    let content = b"?\n[!a]b\n*\xc3\xabx\n";
    fs::write(root.join(".gitignore"), content).unwrap();
    let rules = Rules::new(&settings(&[])).unwrap().with_file(&SyncPath::root(), IgnoreFile::Gitignore, Some(content));
    for name in [&b"\xff"[..], b"\xffb", b"\xc3\xab", b"\xff\xc3\xabx", b"\xabx"] {
        fs::write(root.join(std::ffi::OsStr::from_bytes(name)), "").unwrap();
        let mut git = Command::new("git");
        git.current_dir(root).args(["check-ignore", "-q", "--no-index"]).arg(std::ffi::OsStr::from_bytes(name));
        let git = git.status().unwrap().success();
        assert_eq!(rules.is_ignored(&SyncPath::parse(name).unwrap(), false), git, "{name:?}");
    }
}

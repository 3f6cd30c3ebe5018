//! The seed corpus: makes it, and runs it and whatever was added to it through the targets, without a fuzzer.
//!
//! `UPDATE_SEEDS=1 cargo test` writes the seeds that are made here anew.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "seeds/content.rs"]
mod content;
#[path = "seeds/wire.rs"]
mod wire;
#[path = "seeds/worlds.rs"]
mod worlds;

use std::{collections::BTreeMap, fs, path::PathBuf};

/// Name and bytes of each seed, by target.
type Seeds = BTreeMap<&'static str, Vec<(String, Vec<u8>)>>;

fn seeds() -> Seeds {
    let ignore = |way: u8, file: &[u8], path: &[u8]| [&[way][..], &counted(file), path].concat();
    BTreeMap::from([
        ("messages", wire::messages()),
        ("paths", wire::paths()),
        ("hello", wire::hellos()),
        ("delta_decode", content::deltas()),
        ("delta_round_trip", content::edits()),
        ("delta_sections", content::sections()),
        ("file_receiver", content::files()),
        ("zstd_bound", content::frames()),
        ("chunks", worlds::chunks()),
        ("state_files", worlds::states()),
        ("engine_peer", worlds::peers()),
        ("batches_on_disk", worlds::batches()),
        (
            "ignore_file",
            numbered([
                ignore(0, b"*.log\n!keep.log\n", b"keep.log"),
                ignore(1, b"/target/\n# comment\n\\#file\n", b"target/debug"),
                ignore(3, b"**/node_modules/**\n!.synctl\n", b"src/node_modules/a/b"),
                ignore(2, b"[a-z]?[!x]\\ \n\xff\xfe*\r\n  trailing   \n", b"src/\xff\xfeb"),
                ignore(0, b"**/**/**/*a*a*a*a*a*b\n", b"aaaaaaaaaaaaaaaaaaaaaaaa/aaaaaaaaaaaaaa"),
                ignore(0, b"[\n[]\n{a,b}\n!!\n!\n/\n//\n\\", b"a"),
            ]),
        ),
    ])
}

type Target = fn(&[u8]);

/// The targets that this build has.
fn targets() -> Vec<(&'static str, Target)> {
    vec![
        ("messages", sync_fuzz::messages),
        ("paths", sync_fuzz::paths),
        ("hello", sync_fuzz::hello),
        ("delta_decode", sync_fuzz::delta_decode),
        ("delta_round_trip", sync_fuzz::delta_round_trip),
        ("delta_sections", sync_fuzz::delta_sections),
        ("file_receiver", sync_fuzz::file_receiver),
        ("zstd_bound", sync_fuzz::zstd_bound),
        ("chunks", sync_fuzz::chunks),
        ("state_files", sync_fuzz::state_files),
        ("engine_peer", sync_fuzz::engine_peer),
        ("batches_on_disk", sync_fuzz::batches_on_disk),
        ("ignore_file", sync_fuzz::ignore_file),
    ]
}

/// Bytes with their length before them, as the targets take them.
fn counted(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_le_bytes()[..], bytes].concat()
}

fn numbered(seeds: impl IntoIterator<Item = Vec<u8>>) -> Vec<(String, Vec<u8>)> {
    (1..).zip(seeds).map(|(number, bytes)| (format!("{number:02}"), bytes)).collect()
}

fn seed_dir(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target)
}

#[test]
fn seeds_are_there() {
    for (target, seeds) in seeds() {
        let dir = seed_dir(target);
        for (name, bytes) in seeds {
            let path = dir.join(name);
            if std::env::var_os("UPDATE_SEEDS").is_some() {
                fs::create_dir_all(&dir).unwrap();
                fs::write(&path, &bytes).unwrap();
            }
            // Not compared byte by byte: another release of zstd makes other frames, all of them good.
            assert!(path.is_file(), "{} is missing: run with UPDATE_SEEDS=1", path.display());
        }
    }
}

#[test]
fn seeds_keep_the_invariants() {
    for (target, run) in targets() {
        let mut count = 0;
        for entry in fs::read_dir(seed_dir(target)).unwrap() {
            let bytes = fs::read(entry.unwrap().path()).unwrap();
            run(&bytes);
            // And each of its beginnings, a few of them.
            (0..bytes.len()).step_by(bytes.len() / 8 + 1).for_each(|end| run(&bytes[..end]));
            count += 1;
        }
        assert!(count > 0, "no seeds for {target}");
    }
}

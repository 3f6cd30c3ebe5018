//! The hash as `proto/SPEC.md` defines it: the definition written down a second time, and golden values.

use super::{Dir, Node, Target, file, numbered};

fn zeros(name: &[u8]) -> u32 {
    blake3::hash(name).as_bytes()[..8].iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte)).leading_zeros()
}

/// The definition, with nothing shared or cached. Pages are lists of names with the bytes that are hashed for them.
fn defined(dir: &Dir) -> [u8; 32] {
    let key = |text: &str| <[u8; 32]>::try_from(text.as_bytes()).unwrap();
    let directory = key("synctl tree: directory, format 1");
    let mut level: Vec<(Vec<u8>, Vec<u8>)> =
        dir.iter().map(|(name, node, _)| (name.as_bytes().to_vec(), entry(name.as_bytes(), node))).collect();
    if level.is_empty() {
        return blake3::keyed_hash(&directory, b"").into();
    }
    for number in 0..13u8 {
        let mut pages: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let mut ended = true;
        for (name, bytes) in level {
            if ended {
                pages.push(Default::default());
            }
            let page = pages.last_mut().unwrap();
            page.1.extend(bytes);
            ended = zeros(&name) >= 5 * (u32::from(number) + 1);
            page.0 = name;
        }
        let text = if number == 0 { "synctl tree: leaf page, format 1" } else { "synctl tree: inner page format 1" };
        level = pages
            .into_iter()
            .map(|(last, bytes)| (last, blake3::keyed_hash(&key(text), &bytes).as_bytes().to_vec()))
            .collect();
        if let [(_, top)] = &level[..] {
            return blake3::keyed_hash(&directory, &[&[number][..], top].concat()).into();
        }
    }
    unreachable!("64 bits have no 65 zeros");
}

fn entry(name: &[u8], node: &Node) -> Vec<u8> {
    let mut bytes = vec![name.len() as u8, 0];
    bytes.extend(name);
    match node {
        Node::Directory(dir) => {
            bytes.push(0);
            bytes.extend(defined(dir));
        }
        Node::File { content, len, executable } => {
            bytes.push(1);
            bytes.extend(content.0);
            bytes.extend(len.to_le_bytes());
            bytes.push(u8::from(*executable));
        }
        Node::Symlink(target) => {
            bytes.push(2);
            bytes.extend((target.as_bytes().len() as u16).to_le_bytes());
            bytes.extend(target.as_bytes());
        }
    }
    bytes
}

fn mixed() -> Dir {
    let item = |name: &str, node| (Box::from(name.as_bytes()), node, None);
    Dir::from_sorted(vec![
        item("bin", Node::Symlink(Target::new(b"usr/bin").unwrap())),
        item("empty", Node::Directory(Dir::new())),
        item("run", file(7)),
        item("src", Node::Directory(numbered(3))),
        item("\u{fc}.txt", file(1)),
    ])
}

#[test]
fn golden_values() {
    let check = |dir: &Dir, expected: &str| {
        assert_eq!(blake3::Hash::from(dir.hash().0).to_hex().as_str(), expected);
        assert_eq!(dir.hash().0, defined(dir));
    };
    check(&Dir::new(), "5e0494afc5706c1cc2dd2da81d1183c37a7b93b21f6a2d34c0f67ab8467dddc1");
    check(&numbered(1), "8d47b9f48b191a193ac6f00a826af2dac0a8a9ed901c995adbd4c2e53c6dd9a9");
    check(&mixed(), "ceea89a2772bf1b5e454d54103ac0aaf863dd3a308d7dd80bcbec4bc90048f9b");
    check(&numbered(100), "50090bb589cb032b62240e1e0fca3f6dd631e55c500be7201e0e9ce9036ffed3");
    check(&numbered(40_000), "e2896ee38dd933d8639a4e93f4036829aead08075396a8b70242387b5d79f38a");
    assert!(numbered(40_000).top().unwrap().level() >= 2);
}

#[test]
fn names_that_end_pages() {
    // The first with each rank, of the numbers counted up from 0.
    let first = |rank| (0u64..).find(|n| super::hash::rank(&super::number(*n)) == rank).unwrap();
    assert_eq!([0, 1, 2, 3].map(first), [0, 14, 849, 93_510]);
}

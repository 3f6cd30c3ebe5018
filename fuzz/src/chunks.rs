//! Cutting a file into chunks.

use sync_core::chunk::{Chunker, cut, sizes};
use sync_proto::limits::CHUNK_BYTES_MAX;

use crate::take_u16;

/// The length that the sizes are of, the length of the pieces that arrive, how often the rest is repeated, and the content.
pub fn chunks(data: &[u8]) {
    let mut rest = data;
    // From files of one chunk to such as have large ones.
    let sizes = sizes((take_u16(&mut rest) as u64) << 14);
    let piece = 1 + take_u16(&mut rest);
    let repeats = 1 + take_u16(&mut rest) % 64;
    let content = rest.repeat(repeats);
    let mut end = 0;
    let mut whole = Vec::new();
    for chunk in cut(&content, &sizes) {
        assert!(chunk.start == end && !chunk.is_empty(), "a gap, or nothing");
        assert!(chunk.len() <= sizes.max() && sizes.max() <= CHUNK_BYTES_MAX);
        assert!(chunk.len() >= sizes.min() || chunk.end == content.len(), "a short chunk that is not the last");
        end = chunk.end;
        whole.push(content[chunk].to_vec());
    }
    assert_eq!(end, content.len());
    // However it arrives the cuts are the same.
    let mut pushed = Vec::new();
    let mut chunker = Chunker::new(sizes);
    for bytes in content.chunks(piece) {
        chunker.push(bytes, |chunk| pushed.push(chunk.to_vec()));
    }
    chunker.finish(|chunk| pushed.push(chunk.to_vec()));
    assert!(pushed == whole, "cut otherwise when it arrives in pieces");
}

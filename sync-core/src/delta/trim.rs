//! What two contents have in common at their ends.

/// How many bytes `left` and `right` have in common at their start, at the speed of `memcmp`.
pub(crate) fn common_prefix(left: &[u8], right: &[u8]) -> usize {
    let mut common = 0;
    for block in [4096, 64, 1] {
        let (left, right) = (left.get(common..).unwrap_or_default(), right.get(common..).unwrap_or_default());
        let equal = left.chunks_exact(block).zip(right.chunks_exact(block)).take_while(|(l, r)| l == r).count();
        common += equal * block;
    }
    common
}

/// How many bytes `left` and `right` have in common at their end.
pub(super) fn common_suffix(left: &[u8], right: &[u8]) -> usize {
    let mut common = 0;
    for block in [4096, 64, 1] {
        let left = left.get(..left.len() - common).unwrap_or_default();
        let right = right.get(..right.len() - common).unwrap_or_default();
        let equal = left.rchunks_exact(block).zip(right.rchunks_exact(block)).take_while(|(l, r)| l == r).count();
        common += equal * block;
    }
    common
}

//! Our own deltas, made and applied in this process.

use anyhow::{Result, ensure};
use sync_core::delta::{Decoder, Effort, Encoder};

use crate::clock::shortest;
use crate::pairs::Pair;
use crate::table::{Cost, Table};

/// Measures every effort, and what it takes to look at as many bytes at all.
pub(crate) fn measure(pair: &Pair, table: &mut Table) -> Result<()> {
    for (name, effort) in [("synctl, fast", Effort::Fast), ("synctl, thorough", Effort::Thorough)] {
        let mut encoder = Encoder::new();
        let (delta, encode) = shortest(|| encoder.encode(&pair.old, &pair.new, effort));
        let mut decoder = Decoder::new();
        let (decoded, decode) = shortest(|| decoder.decode(&pair.old, &delta, pair.new.len() as u64));
        ensure!(decoded? == pair.new, "{name}: what was decoded is not what was encoded");
        table.enter(name, Cost { bytes: Some(delta.len()), encode: Some(encode), decode: Some(decode) });
    }
    let copy = pair.old.clone();
    let (equal, compare) = shortest(|| pair.old == copy);
    ensure!(equal, "a copy differs");
    table.enter("memcmp", Cost { bytes: None, encode: Some(compare), decode: None });
    Ok(())
}

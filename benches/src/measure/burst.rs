//! Thousands of files changed at once, as a branch switch does. Two figures: from the first write to the last arrival,
//! and from the last write (when the command that changed them is done) to the last arrival.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Bench, LIMIT};
use crate::arrival::Arrivals;
use crate::figures::{Figure, Report};
use crate::peer::Tool;
use crate::tree;

/// As many as this, or half of a smaller tree.
const FILES: usize = 2_000;

pub(super) fn measure(bench: &mut Bench<'_>, report: &mut Report) -> Result<()> {
    let count = FILES.min(bench.size / 2);
    let rounds = if matches!(bench.tool, Tool::Synctl | Tool::Rsync) {
        bench.plan.either(3, 7)
    } else {
        bench.plan.either(1, 3)
    };
    let (mut from_first, mut from_last) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        std::thread::sleep(Duration::from_millis(500));
        *bench.edits += 1;
        // Every other, so that they are spread over the tree.
        let stride = bench.size / count;
        let changes: Vec<_> =
            (0..count).map(|index| (tree::file(index * stride), tree::edited(index * stride, *bench.edits))).collect();
        let expected: HashMap<_, _> =
            changes.iter().map(|(path, content)| (bench.pair.target.join(path), content.clone())).collect();
        let arrivals = Arrivals::watch(expected)?;
        let first = Instant::now();
        for (path, content) in &changes {
            tree::save_in_place(&bench.pair.source.join(path), content)?;
        }
        let last = Instant::now();
        let pass = bench.session.carry()?;
        let seen = arrivals.wait(LIMIT)?;
        if let Some(mut pass) = pass {
            pass.wait(LIMIT)?;
        }
        from_first.push(seen.saturating_duration_since(first));
        from_last.push(seen.saturating_duration_since(last));
    }
    report.enter(
        &format!("{count} of {} files at once, from the first write", bench.size),
        bench.tool,
        Figure::times(&from_first),
    );
    report.enter(
        &format!("{count} of {} files at once, after the last write", bench.size),
        bench.tool,
        Figure::times(&from_last),
    );
    Ok(())
}

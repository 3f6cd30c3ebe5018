//! A save while one large file goes over a link that carries so many Mbit/s (`--rate-mbit`), at some round trips: what is in
//! the link's own queue can't be overtaken, so the sender must not fill it. The file lasts for a while of saves. Beside it
//! the same saves with nothing else on the link.

use std::path::Path;
use std::rc::Rc;

use anyhow::Result;

use super::{Bench, LIMIT, Plan, bulk, save};
use crate::figures::Report;
use crate::lab::{Ends, Lab, Link};
use crate::peer::{Pair, Tool, Tools};
use crate::tree;

/// Files in the tree.
const FILES: usize = 1_000;
/// There and back, in milliseconds.
const ROUND_TRIPS_MS: [usize; 3] = [0, 10, 50];

pub(super) fn measure(plan: &Plan, tools: &Tools, script: &Path, edits: &mut u64, report: &mut Report) -> Result<()> {
    if !tools.present().contains(&Tool::Synctl) {
        return Ok(());
    }
    let rate_mbit = plan.rate_mbit;
    // The file that a link so fast takes that long for, in seconds.
    let megabytes = (rate_mbit * plan.either(6, 20) / 8).max(1);
    for round_trip_ms in ROUND_TRIPS_MS {
        let place = format!("{rate_mbit} Mbit/s, {round_trip_ms} ms there and back");
        println!("\na link of {place}");
        let lab = Lab::up(script, Link { round_trip_ms, rate_mbit: Some(rate_mbit) })?;
        let source = plan.folder.join(format!("source-line-{round_trip_ms}"));
        tree::plant(&source, FILES)?;
        let pair = Pair::between(Ends::Lab(Rc::new(lab)), &source, &plan.folder)?;
        let mut session = tools.start(Tool::Synctl, &pair)?;
        session.ready(LIMIT)?;
        tree::wait_same(&pair.source, &pair.target, LIMIT)?;
        let mut bench = Bench { plan, tools, tool: Tool::Synctl, pair: &pair, session, size: FILES, edits };
        save::measure_as(&mut bench, report, &place)?;
        bulk::beside_saves(&mut bench, megabytes, &place, report)?;
    }
    Ok(())
}

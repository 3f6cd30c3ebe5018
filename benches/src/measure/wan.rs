//! Save → visible over a link with a delay: the same as [`super::save`], with the source on one host of a lab and the
//! target on the other. Beside it what the link itself takes one way, which no tool can be faster than.

use std::path::Path;
use std::rc::Rc;

use anyhow::Result;

use super::{Bench, LIMIT, Plan, save};
use crate::figures::Report;
use crate::lab::{Ends, Lab, Link};
use crate::peer::{Pair, Tool, Tools};
use crate::tree;

/// Files in the tree.
const FILES: usize = 1_000;

pub(super) fn measure(plan: &Plan, tools: &Tools, script: &Path, edits: &mut u64, report: &mut Report) -> Result<()> {
    let delay_ms = plan.delay_ms;
    println!("\na link of {delay_ms} ms one way");
    let lab = Lab::up(script, Link::delayed(delay_ms * 2))?;
    let floor = lab.floor()?;
    let ends = Ends::Lab(Rc::new(lab));
    let source = plan.folder.join("source-wan");
    tree::plant(&source, FILES)?;
    for tool in tools.present().into_iter().filter(|tool| matches!(tool, Tool::Synctl | Tool::Rsync)) {
        let pair = Pair::between(ends.clone(), &source, &plan.folder)?;
        let mut session = tools.start(tool, &pair)?;
        session.ready(LIMIT)?;
        tree::wait_same(&pair.source, &pair.target, LIMIT)?;
        let mut bench = Bench { plan, tools, tool, pair: &pair, session, size: FILES, edits };
        save::measure_as(&mut bench, report, &format!("{delay_ms} ms one way"))?;
        if tool == Tool::Synctl {
            report.enter(&format!("a packet alone, {delay_ms} ms one way"), tool, floor.clone());
        }
    }
    Ok(())
}

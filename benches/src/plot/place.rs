//! Save → visible in one place, of one tool after the other: saved in place, one at a time, at random moments, each of
//! another file, from the moment just before the close to the moment the saved content was read at the target's path.

use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::figures::{Figures, Place, Saves};
use crate::lab::{Ends, Lab, Link};
use crate::measure::{clear_markers, save};
use crate::peer::{Pair, Tool, Tools};
use crate::tree::{self, Random};

/// A tool that loses so many saves is not waited for any longer.
const LOST_MAX: usize = 3;

/// What a tool is given in a place.
#[derive(Debug)]
pub(super) struct Bounds {
    pub(super) saves: usize,
    /// For all saves together: who takes a second for each gets few.
    pub(super) saves_seconds: u64,
    /// Until the tree is at the target.
    pub(super) start_seconds: u64,
    /// The largest tree for tools other than the quick ones.
    pub(super) peers_up_to: usize,
}

pub(super) fn measure(
    place: Place,
    tools: &Tools,
    lab: Option<&Path>,
    bounds: &Bounds,
    folder: &Path,
    figures: &mut Figures,
) -> Result<()> {
    println!("\n{place}");
    let source = folder.join("source");
    tree::plant(&source, place.files)?;
    let ends = match place.round_trip_ms {
        0 => Ends::Loopback,
        ms => Ends::Lab(Rc::new(Lab::up(lab.context("a link needs a lab")?, Link::delayed(ms))?)),
    };
    for tool in tools.present().into_iter().filter(|tool| *tool != Tool::Tar) {
        if place.files > bounds.peers_up_to && !tool.is_quick() {
            figures.leave_out(&format!("{}: {place}: beyond `--peers-up-to`", tool.name()));
            continue;
        }
        if place.round_trip_ms > 0 && tool == Tool::Mutagen {
            figures.leave_out(&format!("{}: {place}: both of its ends run on one machine here", tool.name()));
            continue;
        }
        let pair = Pair::between(ends.clone(), &source, folder)?;
        match saves(tools, tool, &pair, place, bounds) {
            Ok(saves) => {
                println!("{:10} {}", tool.name(), saves.figure().show());
                figures.saves.insert((place, tool), saves);
            }
            Err(error) => figures.leave_out(&format!("{}: {place}: {}", tool.name(), without_paths(&error))),
        }
        clear_markers(&source);
    }
    Ok(())
}

/// An error as it may be published: words that are paths are left out.
pub(super) fn without_paths(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    let told = text.split_whitespace().map(|word| if word.contains('/') { "…" } else { word });
    told.take(40).collect::<Vec<_>>().join(" ")
}

fn saves(tools: &Tools, tool: Tool, pair: &Pair, place: Place, bounds: &Bounds) -> Result<Saves> {
    let limit = Duration::from_secs(bounds.start_seconds);
    let started = Instant::now();
    let mut session = tools.start(tool, pair)?;
    session.ready(limit)?;
    tree::wait_same(&pair.source, &pair.target, limit.saturating_sub(started.elapsed()))?;
    tree::settle_disk();
    println!("{:10} has brought it over after {:.1} s", tool.name(), started.elapsed().as_secs_f64());
    // Each tool saves the same files at the same moments. Many look once a second: without pauses of that order each of
    // their saves would fall just after a look.
    let mut random = Random::new(place.files as u64 + place.round_trip_ms as u64);
    let pause_ms = if tool.is_quick() { 20 } else { 1_000 };
    let deadline = Instant::now() + Duration::from_secs(bounds.saves_seconds);
    let (mut times, mut lost) = (Vec::new(), 0);
    // The first is not counted: with it a session finds its feet.
    for edit in 0..=bounds.saves as u64 {
        std::thread::sleep(Duration::from_millis(5 + random.below(pause_ms) as u64));
        match save::one(session.as_mut(), pair, random.below(place.files), edit + edit_base(tool), tree::save_in_place)?
        {
            Some(time) if edit > 0 => times.push(time),
            Some(_) => {}
            None => lost += 1,
        }
        if lost == LOST_MAX || Instant::now() > deadline {
            break;
        }
    }
    ensure!(!times.is_empty(), "no save has arrived, {lost} were lost");
    if let Some(complaint) = session.as_watch().and_then(|watch| watch.complaints().into_iter().next()) {
        anyhow::bail!("it complains: {complaint}");
    }
    Ok(Saves::new(&times, lost))
}

/// No save of one tool is like one of another: all of them save the files of one source.
fn edit_base(tool: Tool) -> u64 {
    (tool as u64 + 1) * 1_000_003
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_lose_their_paths() {
        let error = anyhow::anyhow!("no such file").context("/somewhere/of/mine").context("it does not start");
        assert_eq!(without_paths(&error), "it does not start: … no such file");
    }
}

//! `side-by-side plot`: save → visible of synctl and each peer that is installed, against the number of files and against
//! the round trip. Writes the figures, one table and two plots, and puts table and plots into a README where it is told to.
//!
//! Each place (so many files, such a link) has trees of its own, and each tool there a target and a state of its own. What
//! was measured can be drawn again without measuring (`--from`).

mod chart;
mod drawn;
mod figures;
mod machine;
mod place;
mod told;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use tempfile::TempDir;

use crate::Binaries;
use crate::peer::{Tool, Tools};
use figures::{Figures, Place};
use place::Bounds;

/// The figures as they were measured, beside the plots.
const FIGURES: &str = "save.tsv";
/// The table, with the plots.
const TABLE: &str = "save.md";
/// Files in the trees that are measured over links.
const LINK_FILES: usize = 1_000;

/// What a run for the plots is asked for.
#[derive(Debug, Args)]
pub(crate) struct Plot {
    /// The directory that figures, table and plots are written to
    #[arg(long)]
    out: PathBuf,
    /// Draws these figures (a `save.tsv` of an earlier run) and measures nothing
    #[arg(long)]
    from: Option<PathBuf>,
    /// Puts table and plots between the marks `<!-- plot: begin -->` and `<!-- plot: end -->` of this file
    #[arg(long)]
    readme: Option<PathBuf>,
    /// Numbers of files in the trees. A million take 12 GB of disk and two million inodes
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 10_000, 100_000])]
    sizes: Vec<usize>,
    /// Round trips of the lab's links, in milliseconds
    #[arg(long, value_delimiter = ',', default_values_t = [10, 50])]
    round_trips_ms: Vec<usize>,
    /// The largest tree that tools other than synctl and rsync are tried on
    #[arg(long, default_value_t = 100_000)]
    peers_up_to: usize,
    /// Saves of one tool in one place, at most
    #[arg(long, default_value_t = 400)]
    saves: usize,
    /// Seconds that the saves of one tool in one place may take together
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Seconds that a tool may take in one place until it has brought the tree over
    #[arg(long, default_value_t = 180)]
    start_seconds: u64,
    /// Only these tools
    #[arg(long, value_delimiter = ',')]
    tools: Vec<Tool>,
    /// The script of a lab, or the directory of one named `wan`, for the links (default: SYNCTL_WAN)
    #[arg(long)]
    lab: Option<PathBuf>,
    /// Where the trees are made (default: the system's temporary directory)
    #[arg(long)]
    folder: Option<PathBuf>,
}

impl Plot {
    pub(crate) fn run(&self, binaries: &Binaries) -> Result<()> {
        std::fs::create_dir_all(&self.out).with_context(|| self.out.display().to_string())?;
        // Taken away last: that takes a while, in which the figures are there already.
        let mut trees = None;
        let figures = match &self.from {
            Some(path) => {
                let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
                Figures::parse(&text).with_context(|| path.display().to_string())?
            }
            None => self.measure(binaries, &mut trees)?,
        };
        write(&self.out.join(FIGURES), &figures.text())?;
        for (name, chart) in drawn::charts(&figures) {
            write(&self.out.join(name), &chart.svg())?;
        }
        let table = told::markdown(&figures, "");
        write(&self.out.join(TABLE), &table)?;
        if let Some(readme) = &self.readme {
            let text = std::fs::read_to_string(readme).with_context(|| readme.display().to_string())?;
            let part = told::markdown(&figures, &folder_prefix(readme, &self.out)?);
            write(readme, &told::put(&text, &part).with_context(|| readme.display().to_string())?)?;
        }
        println!("\n{table}");
        Ok(())
    }

    fn measure(&self, binaries: &Binaries, trees: &mut Option<TempDir>) -> Result<Figures> {
        let tools = Tools::find(binaries, &self.tools)?;
        tools.print();
        let folder = self.folder.clone().unwrap_or_else(std::env::temp_dir);
        let folder = TempDir::with_prefix_in("plot-", &folder).with_context(|| folder.display().to_string())?;
        let base = trees.insert(folder).path().canonicalize()?;
        let mut figures = Figures::new(machine::date()?, machine::describe(&base));
        let lab = self.lab(&mut figures);
        let bounds = Bounds {
            saves: self.saves,
            saves_seconds: self.seconds,
            start_seconds: self.start_seconds,
            peers_up_to: self.peers_up_to,
        };
        for (number, place) in self.places(lab.is_some()).into_iter().enumerate() {
            let folder = base.join(number.to_string());
            std::fs::create_dir(&folder)?;
            if let Err(error) = place::measure(place, &tools, lab.as_deref(), &bounds, &folder, &mut figures) {
                figures.leave_out(&format!("{place}: {}", place::without_paths(&error)));
            }
            // A run that is cut off has at least these.
            write(&self.out.join(FIGURES), &figures.text())?;
        }
        Ok(figures)
    }

    /// By loopback every size, by each link one. Loopback at that size is what the links stand beside.
    fn places(&self, with_links: bool) -> BTreeSet<Place> {
        let by_size = self.sizes.iter().map(|files| Place { files: *files, round_trip_ms: 0 });
        let links = self.round_trips_ms.iter().filter(|_| with_links);
        let by_link = links.flat_map(|ms| [0, *ms]).map(|round_trip_ms| Place { files: LINK_FILES, round_trip_ms });
        by_size.chain(by_link).collect()
    }

    fn lab(&self, figures: &mut Figures) -> Option<PathBuf> {
        let given = self.lab.clone().or_else(|| std::env::var_os("SYNCTL_WAN").map(PathBuf::from));
        let script = given.map(|path| if path.is_dir() { path.join("wan") } else { path });
        let why = match &script {
            None => "no lab was given (`--lab`)",
            Some(_) if !rustix::process::geteuid().is_root() => "a lab needs root",
            Some(script) if !script.is_file() => "the lab's script is not there",
            Some(_) => return script,
        };
        figures.leave_out(&format!("links with a delay: {why}"));
        None
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| path.display().to_string())
}

/// How a file names the directory in its links.
fn folder_prefix(file: &Path, directory: &Path) -> Result<String> {
    let parent = file.canonicalize()?.parent().map(Path::to_owned).unwrap_or_default();
    let directory = directory.canonicalize()?;
    let relative = directory.strip_prefix(&parent).context("the plots must stand beneath the directory of the file")?;
    Ok(if relative.as_os_str().is_empty() { String::new() } else { format!("{}/", relative.display()) })
}

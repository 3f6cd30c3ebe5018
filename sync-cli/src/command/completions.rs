//! `synctl completions` and `synctl man`: what is derived from the command line's own description.

use std::{io::Write, path::Path};

use anyhow::Context;
use clap::CommandFactory;

use crate::{args::Cli, exit::Exit, options::shown};

/// Prints the completions for a shell.
pub(super) fn completions(shell: clap_complete::Shell) -> anyhow::Result<Exit> {
    // Into memory first: the generator panics where its writer fails.
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "synctl", &mut text);
    print(&text)
}

/// Prints synctl(1), or writes it and the pages of the commands to `dir`.
pub(super) fn man(dir: Option<&Path>) -> anyhow::Result<Exit> {
    let Some(dir) = dir else {
        let mut text = Vec::new();
        clap_mangen::Man::new(Cli::command()).render(&mut text)?;
        return print(&text);
    };
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", shown(dir)))?;
    clap_mangen::generate_to(Cli::command(), dir).with_context(|| format!("cannot write to {}", shown(dir)))?;
    Ok(Exit::Done)
}

fn print(text: &[u8]) -> anyhow::Result<Exit> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text)?;
    stdout.flush()?;
    Ok(Exit::Done)
}

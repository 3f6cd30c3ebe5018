//! Events to what a person or a program reads.
//!
//! Finding the words is pure ([`human`], [`json`]) and tested by tables; this module alone writes. Lines go to stdout,
//! one `write` each; the progress bar goes to stderr, and only where both are terminals.

pub(crate) mod human;
pub(crate) mod json;
mod narrator;
mod progress;
pub(crate) mod units;

use std::{
    io::{self, IsTerminal, Write},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use sync_core::session::event::Event;

use crate::args::Format;
use human::Tone;
use narrator::Narrator;
use progress::{Bar, SparseLines};

/// Whether the user wants no colours: <https://no-color.org>, and terminals that can't.
pub(crate) fn color_is_unwanted() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    is_set("NO_COLOR") || std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// Writes the events of one session.
#[derive(Debug)]
pub(crate) struct Output {
    quiet: bool,
    form: Form,
}

/// How they are written.
#[derive(Debug)]
enum Form {
    Human { narrator: Narrator, color: bool, progress: ProgressForm },
    Json,
}

/// How progress is shown.
#[derive(Debug)]
enum ProgressForm {
    Bar(Bar),
    Lines(SparseLines),
    None,
}

impl Output {
    /// Looks at what stdout and stderr are.
    pub(crate) fn new(format: Format, quiet: bool) -> Self {
        let form = match format {
            Format::Json => Form::Json,
            Format::Human => {
                let terminal = io::stdout().is_terminal();
                let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
                let progress = if quiet {
                    ProgressForm::None
                } else if terminal && io::stderr().is_terminal() && !dumb && !crate::logging::is_asked_for() {
                    ProgressForm::Bar(Bar::default())
                } else {
                    ProgressForm::Lines(SparseLines::default())
                };
                Form::Human { narrator: Narrator::default(), color: terminal && !color_is_unwanted(), progress }
            }
        };
        Self { quiet, form }
    }

    /// Whether programs read it.
    pub(crate) fn is_for_programs(&self) -> bool {
        matches!(self.form, Form::Json)
    }

    /// Shows one event. An error is one of stdout: a broken pipe where nobody reads any more.
    pub(crate) fn show(&mut self, event: &Event) -> io::Result<()> {
        match &mut self.form {
            Form::Json => {
                if self.quiet && human::tone(event) < Tone::Attention {
                    return Ok(());
                }
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                match json::line(event, u64::try_from(now.as_millis()).unwrap_or(u64::MAX)) {
                    Some(line) => write_line(&line),
                    None => Ok(()),
                }
            }
            Form::Human { narrator, color, progress } => {
                if let Event::Progress(at) = event {
                    return match progress {
                        ProgressForm::Bar(bar) => {
                            bar.show(at, narrator.is_ready(), Instant::now());
                            Ok(())
                        }
                        ProgressForm::Lines(lines) => {
                            lines.next(at, Instant::now()).map_or(Ok(()), |line| write_line(&line))
                        }
                        ProgressForm::None => Ok(()),
                    };
                }
                let Some(line) = narrator.tell(event) else { return Ok(()) };
                if self.quiet && line.tone < Tone::Attention {
                    return Ok(());
                }
                let text = line.painted(*color);
                match progress {
                    ProgressForm::Bar(bar) => {
                        if human::ends_progress(event) {
                            bar.clear();
                        }
                        bar.suspend(|| write_line(&text))
                    }
                    ProgressForm::Lines(_) | ProgressForm::None => write_line(&text),
                }
            }
        }
    }

    /// Says why a session could not be started: on stderr, and for programs as the one event there will be.
    pub(crate) fn could_not_start(&mut self, reason: &str) -> io::Result<()> {
        crate::complaint::complain(reason);
        match self.form {
            Form::Json => self.show(&Event::Stopped { reason: Some(reason.to_owned()) }),
            Form::Human { .. } => Ok(()),
        }
    }
}

/// One line, in one `write`, so that lines of several programs on one pipe do not mix.
pub(crate) fn write_line(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(format!("{text}\n").as_bytes())?;
    stdout.flush()
}

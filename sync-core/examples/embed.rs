//! Two sessions in one process: the work on a service and on its documentation, each kept like its own place elsewhere.
//!
//! ```sh
//! cargo run -p sync-core --example embed
//! ```

use std::{error::Error, fs, path::Path};

use sync_core::{
    engine::Mode,
    session::{Destination, Events, Session, SessionOptions, event::Event},
};

// A session runs on the runtime that it is started on. One thread is enough: what blocks has threads of its own.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let place = tempfile::tempdir()?;
    let service = start(place.path(), "service").await?;
    let manual = start(place.path(), "manual").await?;

    // A program that embeds sessions shows their events in its own way. Those that nobody wants are dropped, not left.
    let shown = tokio::spawn(show("service", service.1));
    drop(manual.1);
    let (service, manual) = (service.0, manual.0);

    fs::write(place.path().join("service/main.rs"), "fn main() {}\n")?;
    fs::write(place.path().join("manual/index.md"), "# Manual\n")?;

    // After a flush all that was written before it has been applied at the other side.
    service.flush().await?;
    manual.flush().await?;
    assert_eq!(fs::read_to_string(place.path().join("service.copy/main.rs"))?, "fn main() {}\n");

    for (name, session) in [("service", &service), ("manual", &manual)] {
        let status = session.status();
        println!("{name}: {} files, {} bytes, in sync: {}", status.files, status.bytes, status.in_sync);
        for conflict in status.conflicts {
            println!("{name}: both sides changed {}", conflict.path);
        }
    }

    // Told to stop, a session says goodbye and keeps what it knows for the next start; dropped, it just ends.
    service.stop().await;
    manual.stop().await;
    shown.await?;
    Ok(())
}

/// Keeps `<name>.copy` like `<name>`. With `Destination::Quic` the copy would be an agent's, on another machine.
async fn start(place: &Path, name: &str) -> Result<(Session, Events), Box<dyn Error>> {
    let source = place.join(name);
    fs::create_dir(&source)?;
    let destination = Destination::Local(place.join(format!("{name}.copy")));
    let options =
        SessionOptions { mode: Mode::OneWaySafe, state_dir: Some(place.join("state")), ..SessionOptions::default() };
    Ok(Session::start(&source, destination, options).await?)
}

async fn show(name: &str, mut events: Events) {
    while let Some(event) = events.next().await {
        match event {
            Event::Ready { files, took, .. } => println!("{name}: {files} files in sync after {took:?}"),
            Event::Synced(synced) => {
                for at in &synced.paths {
                    println!("{name}: {} in {:?}", at.path, synced.latency.map(|latency| latency.total));
                }
            }
            Event::Problem(problem) => println!("{name}: {}: {}", problem.path, problem.detail),
            Event::Disconnected { reason, .. } | Event::Halted { reason } => println!("{name}: {reason}"),
            Event::Stopped { .. } => println!("{name}: ended"),
            // There are more, and there may be more still in a later version.
            _ => {}
        }
    }
}

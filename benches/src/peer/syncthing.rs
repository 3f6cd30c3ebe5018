//! Two Syncthings, as tools that embed it set them up: watching with a delay of one second (its floor),
//! nothing announced, nothing relayed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::{Follower, Pair, Tool, Tools};
use crate::process::{Running, finish, free_port};

struct Device {
    home: PathBuf,
    id: String,
    /// Where it listens: the one at the target must be reached from the source.
    address: String,
    port: u16,
}

impl Device {
    fn make(program: &Path, home: PathBuf, address: &str) -> Result<Self> {
        let limit = Duration::from_secs(60);
        finish(
            Command::new(program).arg("generate").arg("--no-default-folder").arg(format!("--home={}", home.display())),
            limit,
        )?;
        let id = finish(Command::new(program).arg("--device-id").arg(format!("--home={}", home.display())), limit)?;
        Ok(Self { home, id: id.trim().to_owned(), address: address.to_owned(), port: free_port()? })
    }

    fn configure(&self, other: &Self, folder: &Path, kind: &str) -> Result<()> {
        let device = |device: &Self| {
            format!(
                r#"<device id="{}" compression="metadata"><address>tcp://{}:{}</address></device>"#,
                device.id, device.address, device.port
            )
        };
        let config = format!(
            r#"<configuration version="35">
<folder id="bench" path="{folder}" type="{kind}" rescanIntervalS="86400" fsWatcherEnabled="true" fsWatcherDelayS="1">
<filesystemType>basic</filesystemType><minDiskFree unit="%">0</minDiskFree><device id="{id}"/><device id="{other_id}"/>
</folder>
{this}{that}
<gui enabled="true"><address>127.0.0.1:{gui}</address></gui>
<options><listenAddress>tcp://{address}:{port}</listenAddress><globalAnnounceEnabled>false</globalAnnounceEnabled>
<localAnnounceEnabled>false</localAnnounceEnabled><relaysEnabled>false</relaysEnabled><natEnabled>false</natEnabled>
<reconnectionIntervalS>1</reconnectionIntervalS><startBrowser>false</startBrowser><urAccepted>-1</urAccepted>
<autoUpgradeIntervalH>0</autoUpgradeIntervalH><crashReportingEnabled>false</crashReportingEnabled></options>
</configuration>
"#,
            folder = folder.display(),
            id = self.id,
            other_id = other.id,
            this = device(self),
            that = device(other),
            gui = free_port()?,
            address = self.address,
            port = self.port,
        );
        Ok(fs::write(self.home.join("config.xml"), config)?)
    }

    fn serve(&self, mut command: Command) -> Result<Running> {
        command
            .args(["serve", "--no-restart", "--no-browser", "--no-upgrade"])
            .arg(format!("--home={}", self.home.display()));
        Running::quietly(&mut command)
    }
}

pub(super) fn start(tools: &Tools, pair: &Pair) -> Result<Follower> {
    let program = tools.program(Tool::Syncthing)?;
    let source = Device::make(program, pair.scratch.join("source"), "127.0.0.1")?;
    let target = Device::make(program, pair.scratch.join("target"), pair.ends.address())?;
    source.configure(&target, &pair.source, "sendonly")?;
    target.configure(&source, &pair.target, "receiveonly")?;
    // A folder without its marker is taken for unmounted.
    fs::create_dir_all(pair.source.join(".stfolder"))?;
    fs::create_dir_all(pair.target.join(".stfolder"))?;
    Ok(Follower {
        source: vec![source.serve(pair.ends.source(program))?],
        target: vec![target.serve(pair.ends.target(program))?],
    })
}

//! `synctl keygen`: a key pair, or a secret that both sides are given.

use std::{io::Write, path::Path};

use anyhow::Context;

use crate::{
    args::KeygenArgs,
    credentials,
    exit::Exit,
    options::{default_config_dir, shown},
    output::write_line,
};

pub(super) fn run(args: &KeygenArgs) -> anyhow::Result<Exit> {
    if args.secret {
        // A secret that was asked for on stdout is for a pipe into `kubectl`; nothing else is written beside it.
        match credentials::make_secret(args.out.as_deref())? {
            Some(line) => write_line(&line)?,
            None => {
                let file = args.out.as_deref().map(shown).unwrap_or_default();
                write_line(&format!("secret written to {file}: give the same file to both sides by --secret-file"))?;
            }
        }
        return Ok(Exit::Done);
    }
    let out = match &args.out {
        Some(out) => out.clone(),
        None => {
            let dir = default_config_dir().context("no HOME: say by --out FILE where the private key goes")?;
            std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", shown(&dir)))?;
            dir.join("identity")
        }
    };
    key_pair(&out)
}

/// The private key to `out`, the public one to `out`.pub and stdout.
fn key_pair(out: &Path) -> anyhow::Result<Exit> {
    let mut public_file = out.as_os_str().to_owned();
    public_file.push(".pub");
    let public_file = Path::new(&public_file);
    let public = credentials::make_key_pair(out)?;
    // The private key is kept where this fails: its file says the public half too.
    std::fs::File::create_new(public_file)
        .and_then(|mut file| writeln!(file, "{public}"))
        .with_context(|| format!("cannot write {}", shown(public_file)))?;
    crate::complaint::complain(format!("private key in {}, public key in {}:", shown(out), shown(public_file)));
    write_line(&public)?;
    Ok(Exit::Done)
}

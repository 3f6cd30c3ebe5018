//! Who this side is and whom it accepts, from files and the environment. The only module here that knows keys.
//!
//! A secret is never taken from the command line (every user of the machine can read that) and never shown.

use std::{ffi::OsStr, path::Path};

use anyhow::{Context, bail};
use sync_core::link::{Credentials, Identity, Role, Secret, read_public_keys};

use crate::args::TrustArgs;

/// The variable that holds the shared secret where no file is given.
pub(crate) const SECRET_VARIABLE: &str = "SYNCTL_SECRET";

/// What a controller needs to reach an agent. `variable` is what [`SECRET_VARIABLE`] holds: files come before it.
pub(crate) fn controller(trust: &TrustArgs, variable: Option<&OsStr>) -> anyhow::Result<Credentials> {
    if let Some(file) = &trust.secret_file {
        return Ok(Credentials::from_secret(&Secret::from_file(file)?, Role::Controller)?);
    }
    if let (Some(key), Some(known)) = (&trust.key_file, &trust.known_agent) {
        return Ok(Credentials::from_keys(Identity::from_file(key)?, read_public_keys(known)?));
    }
    if let Some(text) = variable.filter(|text| !text.is_empty()) {
        let text = text.to_str().with_context(|| format!("{SECRET_VARIABLE} is not UTF-8"))?;
        let secret = Secret::parse(text).with_context(|| format!("{SECRET_VARIABLE} holds no usable secret"))?;
        return Ok(Credentials::from_secret(&secret, Role::Controller)?);
    }
    bail!(
        "a quic:// destination needs a secret or keys: give --secret-file FILE (or {SECRET_VARIABLE}), the same that \
         the agent was given (`synctl keygen --secret --out FILE` makes one), or --key-file FILE and --known-agent FILE"
    )
}

/// Makes a secret: into a new file, or as the line to be shown to whoever asked for it.
pub(crate) fn make_secret(out: Option<&Path>) -> anyhow::Result<Option<impl std::ops::Deref<Target = String>>> {
    let secret = Secret::generate()?;
    match out {
        Some(file) => {
            secret.to_file(file)?;
            Ok(None)
        }
        None => Ok(Some(secret.to_line())),
    }
}

/// Makes a key pair into a new file. Comes back with the line of its public half.
pub(crate) fn make_key_pair(out: &Path) -> anyhow::Result<String> {
    let identity = Identity::generate()?;
    identity.to_file(out)?;
    Ok(identity.public_key().to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    fn trust(secret: Option<&Path>, keys: Option<(&Path, &Path)>) -> TrustArgs {
        TrustArgs {
            secret_file: secret.map(Into::into),
            key_file: keys.map(|(key, _)| key.into()),
            known_agent: keys.map(|(_, known)| known.into()),
        }
    }

    #[test]
    fn a_file_comes_before_the_variable() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        assert!(make_secret(Some(&file)).unwrap().is_none());
        let line = make_secret(None).unwrap().unwrap();
        let by_file = controller(&trust(Some(&file), None), Some(OsStr::new(line.as_str()))).unwrap();
        let by_variable = controller(&trust(None, None), Some(OsStr::new(line.as_str()))).unwrap();
        assert_ne!(by_file.public_key(), by_variable.public_key());
        assert_eq!(by_file.public_key(), controller(&trust(Some(&file), None), None).unwrap().public_key());
    }

    #[test]
    fn keys_come_from_their_files() {
        let dir = tempfile::tempdir().unwrap();
        let (mine, theirs, known) = (dir.path().join("mine"), dir.path().join("theirs"), dir.path().join("known"));
        let public = make_key_pair(&mine).unwrap();
        std::fs::write(&known, format!("{} the agent\n", make_key_pair(&theirs).unwrap())).unwrap();
        let credentials = controller(&trust(None, Some((&mine, &known))), None).unwrap();
        assert_eq!(credentials.public_key().to_string(), public);
        assert!(make_key_pair(&mine).is_err(), "a key is never overwritten");
    }

    #[test]
    fn what_is_missing_is_said_and_a_secret_is_not_shown() {
        let error = |trust: &TrustArgs, variable: Option<&str>| {
            crate::complaint::sentence(&controller(trust, variable.map(OsStr::new)).unwrap_err())
        };
        for variable in [None, Some("")] {
            let text = error(&trust(None, None), variable);
            assert!(text.contains("--secret-file") && text.contains("keygen"), "{text}");
        }
        let text = error(&trust(None, None), Some("hunter2"));
        assert!(text.contains("SYNCTL_SECRET") && !text.contains("hunter2"), "{text}");
        let text = error(&trust(Some(Path::new("/nowhere/secret")), None), None);
        assert!(text.contains("/nowhere/secret"), "{text}");
    }
}

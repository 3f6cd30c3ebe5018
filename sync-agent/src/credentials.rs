//! Who this side is and whom it accepts, from files and the environment. The only module here that knows keys.
//!
//! A secret is never taken from the command line (every user of the machine can read that) and never shown.

use std::ffi::OsStr;

use anyhow::{Context, bail};
use sync_core::link::{Credentials, Identity, Role, Secret, read_public_keys};

use crate::args::ServeArgs;

/// The variable that holds the shared secret where no file is given.
pub(crate) const SECRET_VARIABLE: &str = "SYNCTL_SECRET";

/// What an agent needs to let a controller in. `variable` is what [`SECRET_VARIABLE`] holds: files come before it.
pub(crate) fn agent(args: &ServeArgs, variable: Option<&OsStr>) -> anyhow::Result<Credentials> {
    if let Some(file) = &args.secret_file {
        return Ok(Credentials::from_secret(&Secret::from_file(file)?, Role::Agent)?);
    }
    if let (Some(key), Some(authorized)) = (&args.key_file, &args.authorized_keys) {
        return Ok(Credentials::from_keys(Identity::from_file(key)?, read_public_keys(authorized)?));
    }
    if let Some(text) = variable.filter(|text| !text.is_empty()) {
        let text = text.to_str().with_context(|| format!("{SECRET_VARIABLE} is not UTF-8"))?;
        let secret = Secret::parse(text).with_context(|| format!("{SECRET_VARIABLE} holds no usable secret"))?;
        return Ok(Credentials::from_secret(&secret, Role::Agent)?);
    }
    bail!(
        "nobody could connect: give --secret-file FILE (or {SECRET_VARIABLE}), the same that synctl is given (`synctl \
         keygen --secret --out FILE` makes one), or --key-file FILE and --authorized-keys FILE"
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    fn args(secret_file: Option<&std::path::Path>) -> ServeArgs {
        ServeArgs {
            roots: vec!["/r".into()],
            listen: "127.0.0.1:0".parse().unwrap(),
            secret_file: secret_file.map(Into::into),
            key_file: None,
            authorized_keys: None,
            durable: false,
        }
    }

    fn refused(args: &ServeArgs, variable: Option<&str>) -> String {
        crate::complaint::sentence(&agent(args, variable.map(OsStr::new)).unwrap_err())
    }

    #[test]
    fn a_file_comes_before_the_variable_and_both_give_the_key_of_an_agent() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        let secret = Secret::generate().unwrap();
        secret.to_file(&file).unwrap();
        let expected = Credentials::from_secret(&secret, Role::Agent).unwrap().public_key();
        let line = secret.to_line();
        assert_eq!(agent(&args(Some(&file)), None).unwrap().public_key(), expected);
        assert_eq!(agent(&args(None), Some(OsStr::new(line.as_str()))).unwrap().public_key(), expected);
        let other = Secret::generate().unwrap().to_line();
        assert_eq!(agent(&args(Some(&file)), Some(OsStr::new(other.as_str()))).unwrap().public_key(), expected);
    }

    #[test]
    fn a_missing_or_short_secret_is_said_and_never_shown() {
        for variable in [None, Some("")] {
            let text = refused(&args(None), variable);
            assert!(text.contains("--secret-file") && text.contains("--authorized-keys"), "{text}");
        }
        let text = refused(&args(None), Some("synctl-secret-1:aHVudGVyMg"));
        assert!(text.contains("SYNCTL_SECRET") && text.contains("128 bits") && !text.contains("aHVu"), "{text}");
        let text = refused(&args(Some("/nowhere/secret".as_ref())), None);
        assert!(text.contains("/nowhere/secret") && text.contains("No such file"), "{text}");
    }

    #[cfg(unix)]
    #[test]
    fn a_secret_that_others_can_read_is_refused_with_the_way_on() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        Secret::generate().unwrap().to_file(&file).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        let text = refused(&args(Some(&file)), None);
        assert!(text.contains("0644") && text.contains("chmod 600"), "{text}");
    }
}

//! A destination is kept by one session: two would undo each other's work.

use std::{path::Path, time::Duration};

use super::{Destination, StartError, local};
use crate::store::{DestinationLock, LockError, Pair};

/// How long a session that is just ending has to let go of its destination, and how often it is looked.
const CLAIM_TIME_MAX: Duration = Duration::from_secs(1);
const CLAIM_INTERVAL: Duration = Duration::from_millis(50);

/// Takes the destination, among the sessions that share the state directory. `None`: locks are not to be had there, and
/// the session goes without; that its state is not kept either is told when it comes to that.
pub(super) async fn claim(
    state_dir: &Path,
    alpha: &Path,
    destination: &Destination,
) -> Result<Option<DestinationLock>, StartError> {
    let pair = pair(alpha, destination)?;
    let deadline = tokio::time::Instant::now() + CLAIM_TIME_MAX;
    loop {
        let (state_dir, claimed) = (state_dir.to_owned(), pair.clone());
        let acquire = move || DestinationLock::acquire(&state_dir, &claimed);
        let acquired =
            tokio::task::spawn_blocking(acquire).await.map_err(|error| StartError::System(error.to_string()))?;
        match acquired {
            Ok(lock) => return Ok(Some(lock)),
            Err(LockError::Held { holder, pid }) => {
                if tokio::time::Instant::now() >= deadline {
                    let asked = destination.to_string();
                    return Err(StartError::InUse { asked, holder: holder.beta, source_root: holder.alpha, pid });
                }
                tokio::time::sleep(CLAIM_INTERVAL).await;
            }
            Err(error @ LockError::Io { .. }) => {
                tracing::debug!("the destination is not locked: {error}");
                return Ok(None);
            }
        }
    }
}

fn pair(alpha: &Path, destination: &Destination) -> Result<Pair, StartError> {
    let alpha = alpha.to_owned();
    Ok(match destination {
        Destination::Local(beta) => Pair { host: String::new(), beta: local::root(&alpha, beta)?.real, alpha },
        Destination::Quic { host, port, path } => Pair { alpha, host: format!("{host}:{port}"), beta: path.clone() },
    })
}

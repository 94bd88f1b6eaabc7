//! Sees when a kubelet begins anew: it empties the folder, and knows nothing of the plugins of before.

use std::{path::Path, time::Duration};

use inotify::{Inotify, WatchMask};
use tokio::{sync::watch, time::sleep};
use tokio_stream::StreamExt as _;
use tracing::{info, warn};

use super::KUBELET;

/// Pause before a folder that cannot be watched is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Counts in `starts` each time that the kubelet's socket comes anew. The file's number does not tell: it may be the same again. Never
/// returns.
pub(super) async fn watch(folder: &Path, starts: &watch::Sender<u64>) {
    let mut told = false;
    loop {
        let Err(error) = watch_once(folder, starts).await;
        if !told {
            warn!(folder = %folder.display(), %error, "the kubelet's folder cannot be watched; tried again");
            told = true;
        }
        sleep(AGAIN).await;
        // Whoever has come meanwhile was not seen.
        if folder.is_dir() {
            told = false;
            starts.send_modify(|starts| *starts += 1);
        }
    }
}

async fn watch_once(
    folder: &Path,
    starts: &watch::Sender<u64>,
) -> std::io::Result<std::convert::Infallible> {
    let inotify = Inotify::init()?;
    let mask =
        WatchMask::CREATE | WatchMask::MOVED_TO | WatchMask::DELETE_SELF | WatchMask::ONLYDIR;
    inotify.watches().add(folder, mask)?;
    let mut events = inotify.into_event_stream([0; 1024])?;
    while let Some(event) = events.next().await {
        let event = event?;
        match event.name {
            Some(name) if name == KUBELET => {
                info!("a kubelet begins: registering with it");
                starts.send_modify(|starts| *starts += 1);
            }
            Some(_) => {}
            // Of the folder itself: it is gone.
            None => break,
        }
    }
    Err(std::io::Error::other("the folder is gone"))
}

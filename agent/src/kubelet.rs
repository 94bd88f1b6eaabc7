//! The kubelet's PodResources API: which containers hold which devices.
//!
//! It is asked again and again, often while layouts are made or pods are on their way, and by whoever is about to destroy something. Nothing
//! is remembered here: see [`crate::usage`].

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::usage::{Lister, Sources};

mod client;
mod holdings;

pub use client::Client;
pub use holdings::{Beginning, Holdings};

/// UUIDs of the devices that the kubelet gives to containers, by resource name.
pub type Allocatable = BTreeMap<String, BTreeSet<String>>;

/// Where kubelets have the socket unless they are told otherwise.
const USUAL_SOCKET: &str = "/var/lib/kubelet/pod-resources/kubelet.sock";

/// The kubelet behind the socket that is named, or behind the usual one when nothing is said and that is there. `None` where there is no
/// kubelet, which the word `none` says.
pub fn open(named: Option<PathBuf>) -> anyhow::Result<Option<Arc<Client>>> {
    let usual = || Some(PathBuf::from(USUAL_SOCKET)).filter(|usual| usual.exists());
    let socket = named.or_else(usual);
    let Some(socket) = socket.filter(|socket| socket != Path::new("none")) else {
        return Ok(None);
    };
    Client::new(&socket).map(Arc::new).map(Some)
}

/// The sources of use for a command that does one thing: the kubelet, as [`open`] finds it, and no coordinator, which says nothing to such.
pub fn sources(named: Option<PathBuf>) -> anyhow::Result<Sources> {
    let client = open(named)?;
    Ok(Sources::without_coordinator(
        client.map(|client| -> Arc<dyn Lister> { client }),
    ))
}

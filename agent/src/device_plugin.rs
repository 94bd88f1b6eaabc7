//! Offers the slices of the node to its kubelet, and the GPUs that are outside MIG mode: the device plugin API.
//!
//! ```text
//! inventory ─► offer (pure) ─► list of each name ─► service ──ListAndWatch──► kubelet
//!                 ▲                                   │ ◄───Allocate─────────    │
//!    taken back ──┤                                   ▼                          │
//!               ledger ◄──────────────────────── what was sent                   │
//!                 └─► what the kubelet knows ◄────────GetAllocatableResources────┘
//! ```
//!
//! - Each resource name has a socket and a registration of its own, for every profile of the node's GPUs and as long as the agent runs: an empty
//!   list says that there is none now.
//! - [`Ledger`] knows what was sent, what the kubelet has understood of it, and what was taken back: nothing that a pod may still get goes.
//! - What a device is to a container is in `answer`, pure; which device a pod is to get is in `prefer`, pure.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use mica_proto::v1;
use tokio::sync::watch;

use crate::{args::DevicePluginArgs, inventory::Inventory, kubelet::Client, usage::Sources};

mod answer;
mod cdi;
mod ledger;
mod nodes;
mod numa;
mod offer;
mod plugin;
mod prefer;
mod server;
mod watcher;

pub use answer::Strategy;
pub use ledger::Ledger;

/// Where kubelets have the folder.
const USUAL_FOLDER: &str = "/var/lib/kubelet/device-plugins";

/// The kubelet's own socket in the folder.
const KUBELET: &str = "kubelet.sock";

/// How devices are offered.
#[derive(Debug)]
pub struct Settings {
    /// The kubelet's folder of device plugins.
    folder: PathBuf,
    answers: answer::Answers,
    /// Where specs for the Container Device Interface are written; `None` when no strategy needs them.
    specs: Option<cdi::Specs>,
    numa: numa::Nodes,
}

/// The device plugin of the node.
#[derive(Debug)]
pub struct DevicePlugin {
    settings: Settings,
    ledger: Arc<Ledger>,
}

impl DevicePlugin {
    /// As the command line says, for the kubelet behind `client`: into the folder that is named, or into the usual one when nothing is said
    /// and that is there. `None` where nothing is to be offered.
    pub fn open(
        args: DevicePluginArgs,
        proc: &Path,
        client: Option<&Arc<Client>>,
    ) -> anyhow::Result<Option<Self>> {
        let usual = || Some(PathBuf::from(USUAL_FOLDER)).filter(|usual| usual.is_dir());
        let named = args.device_plugin_dir;
        let is_named = named.is_some();
        let folder = named.or_else(|| client.and_then(|_| usual()));
        let Some(folder) = folder.filter(|folder| folder != Path::new("none")) else {
            return Ok(None);
        };
        let Some(client) = client else {
            anyhow::ensure!(
                !is_named,
                "--device-plugin-dir {} needs the kubelet's other socket too: name it with --pod-resources-socket",
                folder.display()
            );
            return Ok(None);
        };
        std::fs::read_dir(&folder).with_context(|| {
            format!(
                "--device-plugin-dir {} is not a folder that can be read; name the kubelet's, or none",
                folder.display()
            )
        })?;
        let nodes = nodes::Source {
            proc: proc.to_owned(),
            dev_root: args.dev_root,
        };
        let strategies = args.device_list_strategy;
        let cdi = strategies.iter().any(|strategy| strategy.is_cdi());
        let specs = cdi.then(|| cdi::Specs::new(args.cdi_dir, nodes.clone()));
        let settings = Settings {
            folder,
            answers: answer::Answers {
                strategies,
                nodes: args.pass_device_specs.then_some(nodes),
            },
            specs,
            numa: numa::Nodes::below(args.sys),
        };
        Ok(Some(Self {
            settings,
            ledger: Arc::new(Ledger::new(Arc::clone(client))),
        }))
    }

    /// What is offered and taken back.
    #[must_use]
    pub fn ledger(&self) -> Arc<Ledger> {
        Arc::clone(&self.ledger)
    }

    /// What the kubelet knows of the devices, for the coordinator.
    #[must_use]
    pub fn known(&self) -> watch::Receiver<Option<v1::Kubelet>> {
        self.ledger.report()
    }

    /// Offers what stands, as long as it is polled. Never returns.
    pub async fn run(self, inventory: watch::Receiver<Arc<Inventory>>, sources: Sources) {
        plugin::run(self, inventory, sources).await;
    }
}

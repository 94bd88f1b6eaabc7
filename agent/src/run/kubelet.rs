//! The kubelet of the node: what it tells, and what is offered to it.

use std::{path::Path, sync::Arc};

use mica_proto::v1;
use tokio::{sync::watch, task::JoinSet};

use crate::{
    args::{DevicePluginArgs, KubeletArgs},
    device_plugin::DevicePlugin,
    inventory::Inventory,
    kubelet::{self, Client},
    usage::{Lister, Sources},
};

/// Both sides; each is there or not.
pub(super) struct Kubelet {
    pub(super) client: Option<Arc<Client>>,
    pub(super) plugin: Option<DevicePlugin>,
}

impl Kubelet {
    /// As the command line says; `proc` is the node's `/proc`.
    pub(super) fn open(
        kubelet: KubeletArgs,
        plugin: DevicePluginArgs,
        proc: &Path,
    ) -> anyhow::Result<Self> {
        let client = kubelet::open(kubelet.pod_resources_socket)?;
        let plugin = DevicePlugin::open(plugin, proc, client.as_ref())?;
        Ok(Self { client, plugin })
    }

    /// Who uses what, and may.
    pub(super) fn sources(&self) -> Sources {
        let lister = self.client.clone();
        let sources = Sources::new(lister.map(|client| -> Arc<dyn Lister> { client }));
        match &self.plugin {
            Some(plugin) => sources.offering(plugin.ledger()),
            None => sources,
        }
    }

    /// What the kubelet knows of the devices, for the coordinator.
    pub(super) fn known(&self) -> watch::Receiver<Option<v1::Kubelet>> {
        let none = || watch::channel(None).1;
        self.plugin.as_ref().map_or_else(none, DevicePlugin::known)
    }

    /// Begins to ask and to offer, as long as the tasks live.
    pub(super) fn begin(
        self,
        inventory: watch::Receiver<Arc<Inventory>>,
        sources: &Sources,
    ) -> JoinSet<()> {
        if let Some(client) = &self.client {
            client.ask_on(sources, inventory.clone());
        }
        let mut tasks = JoinSet::new();
        if let Some(plugin) = self.plugin {
            tasks.spawn(plugin.run(inventory, sources.clone()));
        }
        // The client ends with the last who holds it: the sources.
        tasks
    }
}

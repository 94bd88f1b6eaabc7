//! Programs that partition the GPUs of nodes, and what has to be known to take a node over from them.

use crate::serve::objects::names::{CDMO, MIG_CONFIG, NOS};

/// A program.
#[derive(Debug)]
pub(super) struct Manager {
    /// Its name.
    pub(super) name: &'static str,
    /// The label by which nodes are given to it.
    pub(super) label: &'static str,
    /// What its programs on nodes are known by: a part of an image's name.
    pub(super) image: &'static str,
    /// What is left to be done by hand, beside the node's labels.
    pub(super) by_hand: &'static [&'static str],
}

/// Those that are known: they are those of `OTHER_MANAGERS`.
pub(super) const MANAGERS: [Manager; 3] = [
    Manager {
        name: "ClearML's Dynamic MIG Operator (CDMO)",
        label: CDMO,
        image: "cdmo",
        by_hand: &[
            "CDMO asks for NVIDIA's device plugin with volume-mounts and device nodes; for the same at Mica: \
             helm upgrade … --set 'agent.deviceListStrategy={volume-mounts}' --set agent.passDeviceSpecs=true",
            "when no node is left to CDMO, uninstall its chart",
        ],
    },
    Manager {
        name: "nos",
        label: NOS,
        image: "nos-",
        by_hand: &["when no node is left to nos, uninstall its chart"],
    },
    Manager {
        name: "NVIDIA's mig-manager",
        label: MIG_CONFIG,
        image: "mig-manager",
        by_hand: &[
            "do not label the node nvidia.com/mig.config any more, also not by scripts: Mica would leave it alone again",
        ],
    },
];

/// What NVIDIA's device plugin is known by: a part of its image's name.
pub(super) const DEVICE_PLUGIN_IMAGE: &str = "k8s-device-plugin";

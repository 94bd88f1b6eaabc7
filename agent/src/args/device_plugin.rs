//! Flags about devices that are offered to the kubelet.

use std::path::PathBuf;

use clap::Args;

use crate::device_plugin::Strategy;

/// How devices are offered to the node's kubelet.
#[derive(Debug, Args)]
pub struct DevicePluginArgs {
    /// The kubelet's folder of device plugins, where this node's slices and its GPUs outside MIG mode are offered to pods; `none` where they
    /// are not. Needs --pod-resources-socket [default: /var/lib/kubelet/device-plugins if there is a kubelet, else none]
    #[arg(long, env = "MICA_AGENT_DEVICE_PLUGIN_DIR", value_name = "DIR|none")]
    pub device_plugin_dir: Option<PathBuf>,
    /// How a container's devices are said to the container runtime, one way or several
    #[arg(
        long,
        env = "MICA_AGENT_DEVICE_LIST_STRATEGY",
        value_name = "STRATEGY,…",
        value_delimiter = ',',
        default_value = "envvar"
    )]
    pub device_list_strategy: Vec<Strategy>,
    /// Pass the driver's device nodes to containers, for those without privileges where the container runtime does not
    #[arg(long, env = "MICA_AGENT_PASS_DEVICE_SPECS")]
    pub pass_device_specs: bool,
    /// Folder for the specs that the cdi strategies need; the container runtime's
    #[arg(
        long,
        env = "MICA_AGENT_CDI_DIR",
        value_name = "DIR",
        default_value = "/var/run/cdi"
    )]
    pub cdi_dir: PathBuf,
    /// What the /dev with the driver's device nodes is below, on the node
    #[arg(
        long,
        env = "MICA_AGENT_DEV_ROOT",
        value_name = "DIR",
        default_value = "/"
    )]
    pub dev_root: PathBuf,
    /// The node's /sys, which tells the NUMA nodes of GPUs
    #[arg(
        long,
        env = "MICA_AGENT_SYS",
        value_name = "DIR",
        default_value = "/sys"
    )]
    pub sys: PathBuf,
}

//! Names in Kubernetes objects.

/// The scheduling gate that a pod waits behind until a slice is ready for it.
pub(crate) const GATE: &str = "mica.dev/slice";
/// Annotation on a released pod: the node whose slices are kept for it.
pub(crate) const RELEASED_TO: &str = "mica.dev/released-to";
/// Label on nodes whose GPUs Mica is to cut, with [`MANAGED_VALUE`].
pub(crate) const MANAGED: &str = "mica.dev/partitioning";
/// See [`MANAGED`].
pub(crate) const MANAGED_VALUE: &str = "dynamic";
/// Label on nodes whose GPUs ClearML's Dynamic MIG Operator cuts.
pub(crate) const CDMO: &str = "cdmo.clear.ml/gpu-partitioning";
/// Label on nodes whose GPUs nos cuts.
pub(crate) const NOS: &str = "nos.nebuly.com/gpu-partitioning";
/// Label on nodes whose GPUs NVIDIA's mig-manager cuts.
pub(crate) const MIG_CONFIG: &str = "nvidia.com/mig.config";
/// Labels by which other programs cut GPUs.
pub(crate) const OTHER_MANAGERS: [&str; 3] = [CDMO, NOS, MIG_CONFIG];
/// Key of the taint that a node has while one of its GPUs changes MIG mode.
pub(crate) const MODE_CHANGE_TAINT: &str = "mica.dev/mig-mode-change";
/// Label on nodes: how the coordinator sees them.
pub(crate) const STATE: &str = "mica.dev/state";
/// Condition on nodes: whether Mica cuts their GPUs.
pub(crate) const CONDITION: &str = "MicaManaged";
/// Label that keeps NVIDIA's own device plugin off a node, with `false`.
pub(crate) const DEVICE_PLUGIN: &str = "nvidia.com/gpu.deploy.device-plugin";
/// Label of GPU Feature Discovery: how slices are offered.
pub(crate) const STRATEGY: &str = "nvidia.com/mig.strategy";

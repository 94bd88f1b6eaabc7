//! Names in Kubernetes objects.

/// The scheduling gate that a pod waits behind until a slice is ready for it.
pub(crate) const GATE: &str = "mica.dev/slice";
/// Annotation on a released pod: the node whose slices are kept for it.
pub(crate) const RELEASED_TO: &str = "mica.dev/released-to";
/// Label on nodes whose GPUs Mica is to cut, with [`MANAGED_VALUE`].
pub(crate) const MANAGED: &str = "mica.dev/partitioning";
/// See [`MANAGED`].
pub(crate) const MANAGED_VALUE: &str = "dynamic";
/// Labels by which other programs cut GPUs: ClearML's Dynamic MIG Operator, nos, NVIDIA's mig-manager.
pub(crate) const OTHER_MANAGERS: [&str; 3] = [
    "cdmo.clear.ml/gpu-partitioning",
    "nos.nebuly.com/gpu-partitioning",
    "nvidia.com/mig.config",
];
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

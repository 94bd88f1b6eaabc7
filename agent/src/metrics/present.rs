//! Metrics of what is there now.

use mica_model::{Gpu, Instance, MigMode, Source, WaitsFor};
use mica_nvml::Activity;
use prometheus::{GaugeVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::{Error, GpuLabels, names, register};
use crate::{driver::Silent, inventory::Inventory};

/// Every mode has a series, so that a change of mode is a change of values and not of series.
const MODES: [MigMode; 5] = [
    MigMode::Unsupported,
    MigMode::Disabled,
    MigMode::Enabled,
    MigMode::PendingEnable,
    MigMode::PendingDisable,
];

/// Gauges that are written anew, all of them, when something has changed.
#[derive(Debug)]
pub(super) struct Present {
    nvml_up: IntGauge,
    driver: IntGaugeVec,
    build: IntGaugeVec,
    seen: IntGauge,
    finished: IntGauge,
    silent: GaugeVec,
    source_silent: IntGaugeVec,
    gpus: GpuGauges,
    instances: InstanceGauges,
}

#[derive(Debug)]
struct GpuGauges {
    faulted: IntGaugeVec,
    mode: IntGaugeVec,
    waits: IntGaugeVec,
    holders: IntGaugeVec,
    free: IntGaugeVec,
    used: IntGaugeVec,
}

#[derive(Debug)]
struct InstanceGauges {
    faulted: IntGaugeVec,
    in_use: IntGaugeVec,
    memory_used: IntGaugeVec,
    memory_total: IntGaugeVec,
    graphics: GaugeVec,
    multiprocessors: GaugeVec,
    tensor: GaugeVec,
    memory_bandwidth: GaugeVec,
}

impl Present {
    pub(super) fn register(registry: &Registry) -> Result<Self, Error> {
        let gauge = |name: &str, help: &str| register(registry, IntGauge::new(name, help)?);
        let info = |name: &str, help: &str, labels: &[&str]| {
            register(registry, IntGaugeVec::new(Opts::new(name, help), labels)?)
        };
        Ok(Self {
            nvml_up: gauge(
                "nvml_up",
                "Whether NVML is open and the inventory can be read.",
            )?,
            driver: info(
                "driver_info",
                "Always 1; versions of the NVIDIA driver and its NVML.",
                &["driver_version", "nvml_version"],
            )?,
            build: info(
                "build_info",
                "Always 1; the version of the agent.",
                &["version"],
            )?,
            seen: gauge(
                "generation_seen",
                "The newest generation that the agent has begun to execute.",
            )?,
            finished: gauge(
                "generation_finished",
                "The newest generation that the agent has finished with, well or badly.",
            )?,
            silent: register(
                registry,
                GaugeVec::new(
                    Opts::new(
                        "nvml_silent_seconds",
                        "How long a thread that calls NVML has not come back from there: node reads all GPUs, events waits for errors, others work on the GPU they are named after.",
                    ),
                    &["thread"],
                )?,
            )?,
            source_silent: info(
                "use_source_silent",
                "Whether a source that tells who uses what does not tell now, so that nothing it may know of is destroyed.",
                &["source"],
            )?,
            gpus: GpuGauges::register(registry)?,
            instances: InstanceGauges::register(registry)?,
        })
    }

    /// How long each thread that calls NVML has been silent.
    pub(super) fn set_threads(&self, silent: &[Silent]) {
        self.silent.reset();
        for known in silent {
            self.silent
                .with_label_values(&[&known.thread])
                .set(known.silent.as_secs_f64());
        }
    }

    pub(super) fn set(&self, inventory: &Inventory) {
        let integer = |generation: u64| i64::try_from(generation).unwrap_or(i64::MAX);
        self.nvml_up.set(inventory.fault.is_none().into());
        self.seen.set(integer(inventory.seen.0));
        self.finished.set(integer(inventory.finished.0));
        self.build
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        self.driver.reset();
        let versions = &inventory.versions;
        self.driver
            .with_label_values(&[&versions.driver, &versions.nvml])
            .set(1);
        for source in [Source::Kubelet, Source::Coordinator] {
            let mut silences = inventory.silences.iter();
            let silent = silences.any(|silence| silence.source == source);
            self.source_silent
                .with_label_values(&[source.as_str()])
                .set(silent.into());
        }
        self.gpus.reset();
        self.instances.reset();
        for gpu in &inventory.gpus {
            self.gpus.set(gpu);
            // What cannot be seen now has no series: the last values would look like those of now, and none like a GPU without instances.
            if gpu.fault.is_some() {
                continue;
            }
            self.gpus.set_slots(gpu);
            for instance in &gpu.instances {
                let activity = inventory.activity.get(&(gpu.uuid.clone(), instance.gi));
                self.instances.set(gpu, instance, activity);
            }
        }
    }
}

impl GpuGauges {
    fn register(registry: &Registry) -> Result<Self, Error> {
        let vec = |name: &str, help: &str, labels: &[&str]| {
            register(registry, IntGaugeVec::new(Opts::new(name, help), labels)?)
        };
        Ok(Self {
            faulted: vec(
                "gpu_faulted",
                "Whether the GPU cannot be read or used now.",
                &names([]),
            )?,
            mode: vec(
                "gpu_mig_mode",
                "1 for the MIG mode that the GPU is in, 0 for the others.",
                &names(["mode"]),
            )?,
            waits: vec(
                "gpu_waits_for",
                "1 for what a pending MIG mode or a sick GPU waits for: agent, release, reset or reboot; 0 for the others.",
                &names(["what"]),
            )?,
            holders: vec(
                "gpu_holders",
                "Processes that hold the GPU while its MIG mode cannot change or it has to be reset.",
                &names([]),
            )?,
            free: vec(
                "gpu_slots_free",
                "Memory slots of the GPU that no instance stands on.",
                &names([]),
            )?,
            used: vec(
                "gpu_slots_used",
                "Memory slots of the GPU that instances stand on.",
                &names([]),
            )?,
        })
    }

    fn reset(&self) {
        let Self {
            faulted,
            mode,
            waits,
            holders,
            free,
            used,
        } = self;
        for vec in [faulted, mode, waits, holders, free, used] {
            vec.reset();
        }
    }

    fn set(&self, gpu: &Gpu) {
        let labels = GpuLabels::of(gpu);
        self.faulted
            .with_label_values(&labels.and([]))
            .set(gpu.fault.is_some().into());
        for mode in MODES {
            self.mode
                .with_label_values(&labels.and([mode.as_str()]))
                .set((gpu.mig_mode == mode).into());
        }
        for what in WaitsFor::ALL {
            self.waits
                .with_label_values(&labels.and([what.as_str()]))
                .set((gpu.waits_for == Some(what)).into());
        }
        let holders = i64::try_from(gpu.holders.len()).unwrap_or(i64::MAX);
        self.holders.with_label_values(&labels.and([])).set(holders);
    }

    fn set_slots(&self, gpu: &Gpu) {
        let Some(board) = &gpu.board else {
            return;
        };
        let labels = GpuLabels::of(gpu);
        let used = gpu.layout().mask().count();
        self.used
            .with_label_values(&labels.and([]))
            .set(used.into());
        self.free
            .with_label_values(&labels.and([]))
            .set(board.slots.saturating_sub(used).into());
    }
}

impl InstanceGauges {
    fn register(registry: &Registry) -> Result<Self, Error> {
        let labels = names(["profile", "gi", "ci", "uuid"]);
        let vec = |name: &str, help: &str| {
            register(registry, IntGaugeVec::new(Opts::new(name, help), &labels)?)
        };
        let ratio = |name: &str, what: &str| {
            let help = format!(
                "{what}, as a fraction of the instance's own capacity since the last poll. Absent where the architecture does not tell (before Hopper)."
            );
            register(registry, GaugeVec::new(Opts::new(name, help), &labels)?)
        };
        Ok(Self {
            faulted: vec(
                "instance_faulted",
                "Whether the instance cannot be used now although it stands.",
            )?,
            in_use: vec(
                "instance_in_use",
                "Whether somebody uses the instance: a process, a pod that holds it or for which it is kept; 1 also when that cannot be told.",
            )?,
            memory_used: vec(
                "instance_memory_used_bytes",
                "Memory of the instance in use.",
            )?,
            memory_total: vec("instance_memory_total_bytes", "Memory of the instance.")?,
            graphics: ratio(
                "instance_graphics_activity_ratio",
                "Time in which the graphics or compute engine was busy",
            )?,
            multiprocessors: ratio(
                "instance_sm_activity_ratio",
                "Time in which a streaming multiprocessor had work, averaged over them",
            )?,
            tensor: ratio(
                "instance_tensor_activity_ratio",
                "Time in which tensor cores were busy",
            )?,
            memory_bandwidth: ratio("instance_dram_activity_ratio", "Memory bandwidth in use")?,
        })
    }

    fn reset(&self) {
        let Self {
            faulted,
            in_use,
            memory_used,
            memory_total,
            graphics,
            multiprocessors,
            tensor,
            memory_bandwidth,
        } = self;
        for vec in [faulted, in_use, memory_used, memory_total] {
            vec.reset();
        }
        for vec in [graphics, multiprocessors, tensor, memory_bandwidth] {
            vec.reset();
        }
    }

    fn set(&self, gpu: &Gpu, instance: &Instance, activity: Option<&Activity>) {
        let profile = gpu.board.as_ref().map_or_else(String::new, |board| {
            board.profile_name(instance.slice.profile)
        });
        let gi = instance.gi.to_string();
        let (ci, uuid) = instance
            .compute
            .as_ref()
            .map_or_else(Default::default, |compute| {
                (compute.id.to_string(), compute.uuid.clone())
            });
        let labels = GpuLabels::of(gpu);
        let labels = labels.and([&profile, &gi, &ci, &uuid]);
        let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.faulted
            .with_label_values(&labels)
            .set(instance.fault.is_some().into());
        self.in_use
            .with_label_values(&labels)
            .set((!instance.in_use.is_idle()).into());
        self.memory_used
            .with_label_values(&labels)
            .set(bytes(instance.memory_used_bytes));
        self.memory_total
            .with_label_values(&labels)
            .set(bytes(instance.memory_total_bytes));
        let Some(activity) = activity else {
            return;
        };
        for (vec, value) in [
            (&self.graphics, activity.graphics),
            (&self.multiprocessors, activity.multiprocessors),
            (&self.tensor, activity.tensor),
            (&self.memory_bandwidth, activity.memory_bandwidth),
        ] {
            if let Some(value) = value {
                vec.with_label_values(&labels).set(value);
            }
        }
    }
}

//! A simulated node with a driver opened on it, and what tests say about GPUs.

use mica_model::{Gpu, Instance, Layout, Placement, Slice};
use mica_nvml::{Code, Driver, Error};
use nvml_sim::{Effect, Fault, GpuSpec, Node, NodeOptions};
use tempfile::TempDir;

/// Every board whose tables are complete.
pub(crate) const BOARDS: [&str; 7] = [
    "a100-40gb",
    "a100-80gb",
    "a30-24gb",
    "h100-sxm5-80gb",
    "h100-nvl-94gb",
    "h200-141gb",
    "rtx-pro-6000-blackwell-96gb",
];

pub(crate) struct Rig {
    /// Opened before the folder goes away.
    pub(crate) driver: Driver,
    pub(crate) node: Node,
    _dir: TempDir,
}

/// A node whose GPUs are in MIG mode.
pub(crate) fn rig(boards: &[&str]) -> Rig {
    rig_with(boards, true)
}

/// A node whose GPUs are not in MIG mode.
pub(crate) fn rig_without_mig(boards: &[&str]) -> Rig {
    rig_with(boards, false)
}

fn rig_with(boards: &[&str], mig: bool) -> Rig {
    let dir = tempfile::tempdir().unwrap();
    let gpus: Vec<_> = boards
        .iter()
        .map(|&board| GpuSpec {
            board: board.to_owned(),
            mig,
        })
        .collect();
    let node = Node::create(&dir.path().join("node"), &gpus, &NodeOptions::default()).unwrap();
    let driver = Driver::open(node.library().as_os_str()).unwrap();
    Rig {
        driver,
        node,
        _dir: dir,
    }
}

impl Rig {
    /// The next `times` calls of this name after `after` return `code`; `None` means all.
    pub(crate) fn fail(&self, call: &str, code: Code, after: u32, times: Option<u32>) {
        let fault = Fault {
            call: call.to_owned(),
            effect: Effect::Return(nvml_sim::Code(code.0)),
            after,
            times,
        };
        self.node.inject(&fault).unwrap();
    }

    /// Ends all failures.
    pub(crate) fn heal(&self) {
        self.node.clear_faults().unwrap();
    }

    /// All GPUs; none may have a fault.
    pub(crate) fn gpus(&mut self) -> Vec<Gpu> {
        let gpus = self.driver.gpus().unwrap();
        for gpu in &gpus {
            assert_eq!(gpu.fault, None, "GPU {}", gpu.index);
        }
        gpus
    }

    /// The GPU with this index.
    pub(crate) fn gpu(&mut self, index: usize) -> Gpu {
        self.gpus().swap_remove(index)
    }

    /// Makes a whole slice and gives its GPU instance id.
    pub(crate) fn make(&mut self, gpu: &Gpu, slice: Slice) -> u32 {
        let gi = self.driver.create_gpu_instance(&gpu.uuid, slice).unwrap();
        self.driver.create_compute_instance(&gpu.uuid, gi).unwrap();
        gi
    }

    /// Makes a whole slice by profile name and start.
    pub(crate) fn make_named(&mut self, gpu: &Gpu, profile: &str, start: u32) -> u32 {
        self.make(gpu, slice(gpu, profile, start))
    }

    /// Destroys an instance with all it has.
    pub(crate) fn destroy(&mut self, gpu: &Gpu, instance: &Instance) {
        if let Some(compute) = &instance.compute {
            self.driver
                .destroy_compute_instance(&gpu.uuid, instance.gi, compute.id)
                .unwrap();
        }
        self.driver
            .destroy_gpu_instance(&gpu.uuid, instance.gi)
            .unwrap();
    }
}

/// A slice by profile name and start.
pub(crate) fn slice(gpu: &Gpu, profile: &str, start: u32) -> Slice {
    let profile = gpu.board.as_ref().unwrap().profile_named(profile).unwrap();
    Slice {
        placement: Placement {
            start,
            size: profile.size(),
        },
        profile: profile.id,
    }
}

/// The layout with one slice more.
pub(crate) fn with(layout: &Layout, slice: Slice) -> Layout {
    let mut layout = layout.clone();
    layout.0.insert(slice);
    layout
}

#[track_caller]
pub(crate) fn assert_code<T: std::fmt::Debug>(result: Result<T, Error>, code: Code) {
    let error = result.unwrap_err();
    assert_eq!(error.code(), Some(code), "{error}");
}

//! GPUs that are held, sick, or wait for a reset or a reboot: the program `mica-agent run` on a simulated node.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command},
};

use mica_proto::v1::{self, WaitsFor};
use nvml_sim::GpuSpec;

use crate::{
    coordinator::{Coordinator, Joined},
    node::{SimNode, layout, wait_until},
};

/// A process that has a file open in place of a device node.
pub(crate) struct Holder(Child);

impl Holder {
    pub(crate) fn start(node: &SimNode, minor: u32) -> Self {
        let dev = node.directory.path().join("dev");
        fs::create_dir_all(&dev).unwrap();
        let device = dev.join(format!("nvidia{minor}"));
        fs::write(&device, "").unwrap();
        let mut command = Command::new("sleep");
        command.arg("600").stdin(File::open(&device).unwrap());
        Self(command.spawn().unwrap())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.0.kill().unwrap_or_default();
        self.0.wait().unwrap();
    }
}

/// An `nvidia-smi` that does what the test says.
pub(crate) struct NvidiaSmi {
    folder: PathBuf,
}

impl NvidiaSmi {
    pub(crate) fn new(node: &SimNode) -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = node.directory.path().join("smi");
        fs::create_dir(&folder).unwrap();
        let smi = Self { folder };
        let fifo = Command::new("mkfifo").arg(smi.file("answer")).status();
        assert!(fifo.unwrap().success());
        let body = "#!/bin/sh\ncd \"$(dirname \"$0\")\"\necho \"$@\" > new && mv new asked\n\
            read code words < answer\necho \"$words\" >&2\nexit $code\n";
        fs::write(smi.file("nvidia-smi"), body).unwrap();
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(smi.file("nvidia-smi"), mode).unwrap();
        smi
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(crate) fn program(&self) -> String {
        self.file("nvidia-smi").to_str().unwrap().to_owned()
    }

    pub(crate) fn was_run(&self) -> bool {
        self.file("asked").exists()
    }

    /// Waits until it runs; gives its arguments.
    pub(crate) fn asked(&self) -> String {
        wait_until("nvidia-smi is run", || self.was_run());
        let asked = fs::read_to_string(self.file("asked")).unwrap();
        fs::remove_file(self.file("asked")).unwrap();
        asked.trim().to_owned()
    }

    /// Lets it end.
    pub(crate) fn answer(&self, code: u32, words: &str) {
        fs::write(self.file("answer"), format!("{code} {words}\n")).unwrap();
    }
}

pub(crate) fn without_mig(board: &str) -> SimNode {
    SimNode::new(&GpuSpec::many(board, 1, false))
}

pub(crate) fn path(node: &SimNode, name: &str) -> String {
    let path = node.directory.path().join(name);
    path.to_str().unwrap().to_owned()
}

/// Asks for a layout of GPU 0; gives how it ended.
pub(crate) async fn want(
    stream: &mut Joined,
    report: &v1::Report,
    generation: u64,
    words: &str,
) -> v1::GpuOutcome {
    let gpu = report.to_gpus().unwrap().remove(0);
    stream
        .want(generation, &[(&gpu, layout(&gpu, words))])
        .await;
    let (_, mut outcome) = stream.outcome().await;
    assert_eq!(outcome.generation, generation);
    outcome.gpus.remove(0)
}

/// Waits for the agent and has it cut GPU 0.
pub(crate) async fn cut(coordinator: &mut Coordinator, words: &str) -> Joined {
    let mut stream = coordinator.accept().await;
    let report = stream.report().await;
    assert!(holds(&want(&mut stream, &report, 1, words).await));
    stream
}

pub(crate) fn holds(outcome: &v1::GpuOutcome) -> bool {
    outcome.refusal.is_none() && outcome.failure.is_none()
}

pub(crate) fn waits_for(what: WaitsFor) -> impl Fn(&v1::Report) -> bool {
    move |report| report.gpus[0].waits_for() == what
}

pub(crate) fn is_well(report: &v1::Report) -> bool {
    let gpu = &report.gpus[0];
    let instances = gpu.instances.iter();
    gpu.fault.is_empty()
        && gpu.waits_for() == WaitsFor::Unspecified
        && instances.into_iter().all(|known| known.fault.is_empty())
}

/// What the agent has written of GPU 0.
pub(crate) fn journal(node: &SimNode) -> String {
    let uuid = &node.node.gpus()[0].uuid;
    fs::read_to_string(path(node, &format!("state/gpus/{uuid}.json"))).unwrap_or_default()
}

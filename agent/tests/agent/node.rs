//! A simulated node for a test.

use std::time::{Duration, Instant};

use mica_model::{Gpu, Layout, MigMode, Slice};
use mica_nvml::Driver;
use nvml_sim::{Code, Effect, Fault, GpuSpec, Node, NodeOptions, judge};
use tempfile::TempDir;

/// Longest wait for something that must come.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A simulated node in a folder of its own.
pub(crate) struct SimNode {
    pub(crate) node: Node,
    pub(crate) directory: TempDir,
}

impl SimNode {
    pub(crate) fn new(gpus: &[GpuSpec]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let node =
            Node::create(&directory.path().join("sim"), gpus, &NodeOptions::default()).unwrap();
        Self { node, directory }
    }

    /// One A100 with MIG mode on.
    pub(crate) fn a100() -> Self {
        Self::new(&GpuSpec::many("a100-40gb", 1, true))
    }

    pub(crate) fn driver(&self) -> Driver {
        Driver::open(self.node.library().as_os_str()).unwrap()
    }

    /// What stands on a GPU, as the simulated driver itself says: `3g.20gb@4` in order of place, a half-made one with a `!` behind it.
    pub(crate) fn stands(&self, gpu: usize) -> String {
        let mut instances = self.node.gpus()[gpu].instances.clone();
        instances.sort_by_key(|instance| instance.start);
        let words: Vec<_> = instances
            .iter()
            .map(|instance| {
                let half = if instance.ci.is_none() { "!" } else { "" };
                format!("{}@{}{half}", instance.profile_name, instance.start)
            })
            .collect();
        words.join(" ")
    }

    /// GPU instance id of what stands at a place of GPU 0.
    pub(crate) fn gi_at(&self, start: u32) -> u32 {
        let instances = &self.node.gpus()[0].instances;
        let found = instances.iter().find(|instance| instance.start == start);
        found.unwrap().gi
    }

    pub(crate) fn start_process(&self, start: u32, pid: u32) {
        let gi = self.gi_at(start);
        self.node.start_process(0, Some(gi), pid, 1 << 20).unwrap();
    }

    /// The next calls of this name, after `after` of them, return `code`; `times` of them, or all.
    pub(crate) fn fail(&self, call: &str, code: u32, after: u32, times: Option<u32>) {
        let fault = Fault {
            call: call.to_owned(),
            effect: Effect::Return(Code(code)),
            after,
            times,
        };
        self.node.inject(&fault).unwrap();
    }

    pub(crate) fn verdict(&self) -> judge::Verdict {
        judge::judge(&self.node.log().unwrap())
    }
}

/// `3g.20gb@4 1g.5gb@0`: profiles at their places.
pub(crate) fn layout(gpu: &Gpu, words: &str) -> Layout {
    let board = gpu.board.as_ref().unwrap();
    words
        .split_whitespace()
        .map(|word| {
            let (name, start) = word.split_once('@').unwrap();
            let profile = board.profile_named(name).unwrap();
            let start: u32 = start.parse().unwrap();
            let placement = profile
                .placements
                .iter()
                .find(|place| place.start == start)
                .unwrap();
            Slice {
                placement: *placement,
                profile: profile.id,
            }
        })
        .collect()
}

/// The first GPU, as the driver shows it.
pub(crate) fn first(driver: &mut Driver) -> Gpu {
    driver.gpus().unwrap().remove(0)
}

/// Waits for something that other threads or programs bring about.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < end, "{what}: not within {DEADLINE:?}");
        std::thread::yield_now();
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

#[test]
fn the_simulated_node_is_as_expected() {
    let node = SimNode::a100();
    let gpu = first(&mut node.driver());
    assert_eq!(gpu.mig_mode, MigMode::Enabled);
    assert_eq!(gpu.board.unwrap().slots, 8);
    assert_eq!(node.stands(0), "");
}

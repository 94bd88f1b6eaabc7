//! Devices are offered to the kubelet, given to containers, and taken back before they go.

use std::{collections::BTreeMap, fs, path::Path};

use mica_model::Gpu;
use mica_proto::v1::{self, RefusalReason};
use nvml_sim::{GpuSpec, Node, NodeOptions};
use rstest::rstest;
use tonic::Status;

use crate::{
    coordinator::{Coordinator, Joined},
    kubelet::Kubelet,
    node::{SimNode, layout, wait_until},
    running::{Running, program},
    uplink::gpus,
};

const THREE: &str = "nvidia.com/mig-3g.20gb";
const ONE: &str = "nvidia.com/mig-1g.5gb";
const WHOLE: &str = "nvidia.com/gpu";

/// A node with a kubelet, and its agent, which has joined and been told that nothing is kept.
struct Scene {
    node: Box<SimNode>,
    kubelet: Kubelet,
    coordinator: Coordinator,
    agent: Running,
    stream: Joined,
    first: v1::Report,
    gpu: Gpu,
    generation: u64,
    /// The last report that came before an outcome.
    last: Option<v1::Report>,
}

impl Scene {
    async fn new(node: SimNode, flags: &[&str]) -> Self {
        let node = Box::new(node);
        let kubelet = Kubelet::run(node.directory.path());
        let mut coordinator = Coordinator::start([]).await;
        let agent = run(&node, &coordinator, &kubelet, flags);
        let mut stream = coordinator.accept().await;
        let first = stream.report().await;
        let gpu = gpus(&first).remove(0);
        stream.keep(&[]).await;
        Self {
            node,
            kubelet,
            coordinator,
            agent,
            stream,
            first,
            gpu,
            generation: 0,
            last: None,
        }
    }

    async fn a100() -> Self {
        Self::new(SimNode::a100(), &[]).await
    }

    /// Asks for a layout of the first GPU.
    async fn want(&mut self, words: &str) {
        self.generation += 1;
        let wanted = [(&self.gpu, layout(&self.gpu, words))];
        self.stream.want(self.generation, &wanted).await;
    }

    /// How the last layout ended.
    async fn outcome(&mut self) -> v1::GpuOutcome {
        let (last, outcome) = self.stream.outcome().await;
        self.last = last.or(self.last.take());
        assert_eq!(outcome.generation, self.generation);
        outcome.gpus[0].clone()
    }

    /// Asks for a layout of the first GPU, which must come to stand.
    async fn make(&mut self, words: &str) {
        self.want(words).await;
        let made = self.outcome().await;
        assert_eq!((&made.refusal, &made.failure), (&None, &None));
    }

    /// Waits for a report that has it, unless the last one had.
    async fn report_that(&mut self, has: impl Fn(&v1::Report) -> bool) {
        if !self.last.take().is_some_and(|last| has(&last)) {
            self.stream.report_that(has).await;
        }
    }

    /// UUID of the MIG device at a place of GPU 0.
    fn device(&self, start: u32) -> String {
        let instances = &self.node.node.gpus()[0].instances;
        let found = instances.iter().find(|instance| instance.start == start);
        found.unwrap().uuid.clone().unwrap()
    }
}

fn run(node: &SimNode, coordinator: &Coordinator, kubelet: &Kubelet, more: &[&str]) -> Running {
    let mut flags = vec![
        "--pod-resources-socket",
        kubelet.socket.to_str().unwrap(),
        "--device-plugin-dir",
        kubelet.plugins.to_str().unwrap(),
    ];
    flags.extend(more);
    Running::with(node, &coordinator.url, &flags)
}

/// What a report says that the kubelet gives to pods.
fn known(report: &v1::Report) -> BTreeMap<String, Vec<String>> {
    let resources = report.kubelet.iter().flat_map(|known| &known.resources);
    resources
        .map(|known| (known.name.clone(), known.allocatable.clone()))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_kubelet_knows_every_name_all_the_time_whatever_stands() {
    let names = [
        "1g.5gb",
        "1g.5gb.me",
        "1g.10gb",
        "2g.10gb",
        "3g.20gb",
        "4g.20gb",
        "7g.40gb",
    ]
    .map(|profile| format!("nvidia.com/mig-{profile}"));
    let once: BTreeMap<_, _> = names.iter().map(|name| (name.clone(), 1)).collect();
    let mut scene = Scene::a100().await;
    let registered = |scene: &Scene| scene.kubelet.registrations() == once;
    wait_until("all names are registered", || registered(&scene));
    let all = |those: &[(&str, &str)]| -> BTreeMap<String, Vec<String>> {
        let devices = |name: &String| {
            let those = those.iter().filter(|(of, _)| of == name);
            those.map(|(_, device)| (*device).to_owned()).collect()
        };
        names
            .iter()
            .map(|name| (name.clone(), devices(name)))
            .collect()
    };
    let none = all(&[]);
    scene.report_that(|report| known(report) == none).await;
    scene.make("3g.20gb@0 1g.5gb+me@6").await;
    let (three, me) = (scene.device(0), scene.device(6));
    let other = "nvidia.com/mig-1g.5gb.me";
    let both = all(&[(THREE, &three), (other, &me)]);
    scene.report_that(|report| known(report) == both).await;
    scene.make("1g.5gb+me@6").await;
    scene.kubelet.gives(THREE, &[]);
    let gone = all(&[(other, &me)]);
    scene.report_that(|report| known(report) == gone).await;
    scene.make("3g.20gb@0 1g.5gb+me@6").await;
    scene.kubelet.gives(THREE, &[&scene.device(0)]);
    assert!(registered(&scene), "{:?}", scene.kubelet.registrations());
    // An agent that begins anew, and a kubelet too.
    let Scene {
        node,
        mut kubelet,
        coordinator,
        agent,
        ..
    } = scene;
    drop(agent);
    let _agent = run(&node, &coordinator, &kubelet, &[]);
    let again = |kubelet: &Kubelet| names.iter().all(|name| kubelet.registrations()[name] == 2);
    wait_until("all names are registered again", || again(&kubelet));
    kubelet.restart().await;
    wait_until("the next kubelet knows all names", || {
        kubelet.registrations() == once
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_kubelet_that_begins_anew_is_registered_with_again() {
    let mut scene = Scene::a100().await;
    scene.make("3g.20gb@0 3g.20gb@4").await;
    let (first, second) = (scene.device(0), scene.device(4));
    scene.kubelet.gives(THREE, &[&first, &second]);
    scene.kubelet.start("train", THREE, 1).await.unwrap();
    for _ in 0..3 {
        scene.kubelet.restart().await;
        scene.kubelet.gives(THREE, &[&first, &second]);
        assert_eq!(scene.kubelet.registrations()[THREE], 1);
    }
    // And so does an agent that begins anew, killed or not.
    let Scene {
        node,
        kubelet,
        coordinator,
        agent,
        ..
    } = scene;
    drop(agent);
    wait_until("the kubelet sees that", || kubelet.list(THREE).is_empty());
    let agent = run(&node, &coordinator, &kubelet, &[]);
    kubelet.gives(THREE, &[&first, &second]);
    assert_eq!(agent.end("TERM"), Some(0));
    wait_until("the kubelet sees that", || kubelet.list(THREE).is_empty());
    let left = fs::read_dir(&kubelet.plugins).unwrap();
    assert_eq!(left.count(), 1, "only the kubelet's own socket");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_slice_stays_until_the_kubelet_has_forgotten_it() {
    let mut scene = Scene::a100().await;
    scene.make("3g.20gb@0 3g.20gb@4").await;
    let (goes, stays) = (scene.device(0), scene.device(4));
    scene.kubelet.gives(THREE, &[&goes, &stays]);
    scene.kubelet.be_slow();
    scene.want("3g.20gb@4").await;
    let withdrawn = || scene.kubelet.unminded(THREE) == Some(vec![stays.clone()]);
    wait_until("it is withdrawn", withdrawn);
    assert_eq!(scene.node.stands(0), "3g.20gb@0 3g.20gb@4");
    scene.kubelet.catch_up();
    let made = scene.outcome().await;
    assert_eq!(
        (made.refusal, made.failure, made.destroyed),
        (None, None, 1)
    );
    assert_eq!(scene.node.stands(0), "3g.20gb@4");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_pod_that_gets_a_slice_while_it_is_withdrawn_keeps_it() {
    let mut scene = Scene::a100().await;
    scene.make("3g.20gb@0").await;
    let slice = scene.device(0);
    scene.kubelet.gives(THREE, &[&slice]);
    scene.kubelet.be_slow();
    scene.want("").await;
    let withdrawn = || scene.kubelet.unminded(THREE) == Some(vec![]);
    wait_until("it is withdrawn", withdrawn);
    scene.kubelet.start("train", THREE, 1).await.unwrap();
    scene.kubelet.catch_up();
    let refusal = scene.outcome().await.refusal.unwrap();
    assert_eq!(refusal.reason(), RefusalReason::InUse);
    assert!(
        refusal
            .detail
            .contains("container main of pod acme/train holds it"),
        "{refusal:?}"
    );
    assert_eq!(scene.node.stands(0), "3g.20gb@0");
    scene.kubelet.gives(THREE, &[&slice]);
    // When it has ended nothing is in the way.
    scene.kubelet.end("train");
    scene.make("").await;
    scene.kubelet.gives(THREE, &[]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_slice_stays_when_the_kubelet_does_not_forget_it_in_time_or_does_not_say() {
    let mut scene = Scene::a100().await;
    scene.make("3g.20gb@0").await;
    let slice = scene.device(0);
    scene.kubelet.gives(THREE, &[&slice]);

    scene.kubelet.be_slow();
    scene.want("").await;
    let refusal = scene.outcome().await.refusal.unwrap();
    assert_eq!(refusal.reason(), RefusalReason::InUse);
    let words = format!("to no pod any more it still may: {slice}");
    assert!(refusal.detail.contains(&words), "{refusal:?}");
    let offered = || scene.kubelet.unminded(THREE) == Some(vec![slice.clone()]);
    wait_until("it is offered again", offered);
    scene.kubelet.catch_up();

    let hidden = Status::unavailable("starting");
    scene.kubelet.hide_allocatable(Some(hidden));
    scene.want("").await;
    let refusal = scene.outcome().await.refusal.unwrap();
    assert_eq!(refusal.reason(), RefusalReason::InUse);
    assert!(
        refusal.detail.contains("may be in use") && refusal.detail.contains("starting"),
        "{refusal:?}"
    );
    assert_eq!(scene.node.stands(0), "3g.20gb@0");
    let silent = |report: &v1::Report| {
        let kubelet = report.kubelet.as_ref().unwrap();
        kubelet.fault.contains("starting")
    };
    scene.make("3g.20gb@0 1g.5gb@4").await;
    let told = |report: &v1::Report| silent(report) && known(report)[THREE] == [&*slice];
    scene.report_that(told).await;
    scene.kubelet.hide_allocatable(None);
    scene.kubelet.gives(THREE, &[&slice]);
    scene.make("").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn whole_gpus_are_offered_outside_mig_mode() {
    let mut scene = Scene::new(SimNode::new(&GpuSpec::many("a100-40gb", 2, false)), &[]).await;
    let gpus = scene.node.node.gpus();
    let (first, second) = (&*gpus[0].uuid, &*gpus[1].uuid);
    scene.kubelet.gives(WHOLE, &[first, second]);
    scene.kubelet.be_slow();
    scene.want("3g.20gb@0").await;
    let withdrawn = || scene.kubelet.unminded(WHOLE) == Some(vec![second.to_owned()]);
    wait_until("it is withdrawn", withdrawn);
    assert!(!scene.node.node.gpus()[0].mig);
    scene.kubelet.catch_up();
    let made = scene.outcome().await;
    assert_eq!((made.refusal, made.failure), (None, None));
    scene.kubelet.gives(WHOLE, &[second]);
    scene.kubelet.gives(THREE, &[&scene.device(0)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn work_is_packed_on_the_gpu_that_is_used_most() {
    let mut scene = Scene::new(SimNode::new(&GpuSpec::many("a100-40gb", 2, true)), &[]).await;
    let seen = gpus(&scene.first);
    let words = ["1g.5gb@0", "1g.5gb@0 1g.5gb@1 2g.10gb@2"];
    let layouts = seen.iter().zip(words);
    let layouts: Vec<_> = layouts
        .map(|(gpu, words)| (gpu, layout(gpu, words)))
        .collect();
    scene.stream.want(1, &layouts).await;
    scene.stream.outcome().await;
    wait_until("all are known", || scene.kubelet.list(ONE).len() == 3);
    wait_until("and the other", || {
        scene.kubelet.list("nvidia.com/mig-2g.10gb").len() == 1
    });
    scene
        .kubelet
        .start("first", "nvidia.com/mig-2g.10gb", 1)
        .await
        .unwrap();
    let given = scene.kubelet.start("second", ONE, 1).await.unwrap();
    let second = &scene.node.node.gpus()[1];
    let uuid = &given.envs["NVIDIA_VISIBLE_DEVICES"];
    let of_second = second
        .instances
        .iter()
        .any(|slice| slice.uuid.as_ref() == Some(uuid));
    assert!(of_second);
}

/// One GPU with MIG mode on, and the driver's files.
fn with_caps() -> SimNode {
    let directory = tempfile::tempdir().unwrap();
    let options = NodeOptions {
        caps: true,
        ..NodeOptions::default()
    };
    let gpus = GpuSpec::many("a100-40gb", 1, true);
    let node = Node::create(&directory.path().join("sim"), &gpus, &options).unwrap();
    SimNode { node, directory }
}

#[rstest]
#[case::environment("envvar", "MIG", 0, 0, 0)]
#[case::mounts("volume-mounts", "/var/run/nvidia-container-devices", 1, 0, 0)]
#[case::cdi_field("cdi-cri", "", 0, 1, 0)]
#[case::cdi_annotation("cdi-annotations", "", 0, 0, 1)]
#[case::both("envvar,cdi-cri", "MIG", 0, 1, 0)]
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_container_gets_its_devices_as_nvidias_plugin_gives_them(
    #[case] strategy: &str,
    #[case] environment: &str,
    #[case] mounts: usize,
    #[case] fields: usize,
    #[case] annotations: usize,
) {
    let node = with_caps();
    let sim = node.directory.path().join("sim");
    let (proc, cdi, sys) = (
        sim.join("proc"),
        node.directory.path().join("cdi"),
        sim.join("sys"),
    );
    fs::write(proc.join("devices"), "195 nvidia\n235 nvidia-caps\n").unwrap();
    fs::write(sim.join("dev/nvidiactl"), "").unwrap();
    let place = sys.join("bus/pci/devices/0000:07:00.0");
    fs::create_dir_all(&place).unwrap();
    fs::write(place.join("numa_node"), "1\n").unwrap();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let flags = [
        ("--device-list-strategy", strategy.to_owned()),
        ("--proc", text(&proc)),
        ("--cdi-dir", text(&cdi)),
        ("--dev-root", text(&sim)),
        ("--sys", text(&sys)),
    ];
    let flags = flags.iter().flat_map(|(flag, value)| [*flag, value]);
    let flags: Vec<_> = flags.chain(["--pass-device-specs"]).collect();
    let mut scene = Scene::new(node, &flags).await;
    scene.make("3g.20gb@4").await;
    let slice = scene.device(4);
    scene.kubelet.gives(THREE, &[&slice]);
    let topology = scene.kubelet.list(THREE)[0].topology.clone().unwrap();
    assert_eq!(topology.nodes[0].id, 1);
    let spec = cdi.join(format!("mica.dev-gpu_{slice}.json"));
    assert_eq!(spec.exists(), strategy.contains("cdi"));

    let answer = scene.kubelet.start("train", THREE, 1).await.unwrap();
    let environment = match environment {
        "MIG" => &slice,
        other => other,
    };
    let value = answer.envs.get("NVIDIA_VISIBLE_DEVICES");
    assert_eq!(value.map_or("", String::as_str), environment);
    let counts = (
        answer.mounts.len(),
        answer.cdi_devices.len(),
        answer.annotations.len(),
    );
    assert_eq!(counts, (mounts, fields, annotations));
    for mount in &answer.mounts {
        let path = format!("/var/run/nvidia-container-devices/{slice}");
        assert_eq!(
            (&*mount.host_path, &*mount.container_path),
            ("/dev/null", &*path)
        );
    }
    let qualified = format!("mica.dev/gpu={slice}");
    let named = answer.cdi_devices.iter().map(|device| &device.name);
    assert!(
        named
            .chain(answer.annotations.values())
            .all(|name| *name == qualified)
    );
    let gi = scene.node.gi_at(4);
    let cap = 3 + 9 * gi;
    let paths = [
        "/dev/nvidiactl".to_owned(),
        "/dev/nvidia0".to_owned(),
        format!("/dev/nvidia-caps/nvidia-cap{cap}"),
        format!("/dev/nvidia-caps/nvidia-cap{}", cap + 1),
    ];
    let passed: Vec<_> = answer
        .devices
        .iter()
        .map(|node| &node.container_path)
        .collect();
    if environment.is_empty() {
        assert!(passed.is_empty(), "CDI names them");
    } else {
        assert_eq!(passed, paths.iter().collect::<Vec<_>>());
        let host = format!("{}{}", text(&sim), paths[1]);
        assert_eq!(
            (
                &*answer.devices[1].host_path,
                &*answer.devices[1].permissions
            ),
            (&*host, "rw")
        );
    }
    if spec.exists() {
        let spec: serde_json::Value = serde_json::from_slice(&fs::read(&spec).unwrap()).unwrap();
        assert_eq!(
            (&spec["kind"], &spec["devices"][0]["name"]),
            (&"mica.dev/gpu".into(), &slice.into())
        );
        let nodes = spec["devices"][0]["containerEdits"]["deviceNodes"]
            .as_array()
            .unwrap();
        let numbers = nodes.iter().map(|node| {
            (
                node["path"].as_str().unwrap(),
                node["major"].as_u64().unwrap(),
                node["minor"].as_u64().unwrap(),
            )
        });
        let majors = [
            (195, 255),
            (195, 0),
            (235, cap.into()),
            (235, u64::from(cap) + 1),
        ];
        let expected = paths
            .iter()
            .zip(majors)
            .map(|(path, (major, minor))| (&**path, major, minor));
        assert!(numbers.eq(expected), "{spec}");
    }
    scene.kubelet.end("train");
    scene.make("").await;
    wait_until("the spec is gone", || !spec.exists());
}

#[test]
fn a_device_plugin_needs_to_know_who_holds_what() {
    let node = SimNode::a100();
    let run = |folder: &Path, more: &[&str]| {
        let output = program()
            .args([
                "run",
                "--node",
                "node-1",
                "--http",
                "127.0.0.1:0",
                "--nvml-library",
            ])
            .arg(node.node.library())
            .arg("--state-dir")
            .arg(node.directory.path().join("state"))
            .arg("--device-plugin-dir")
            .arg(folder)
            .args(more)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let text = run(node.directory.path(), &[]);
    assert!(text.contains("--pod-resources-socket"), "{text}");
    let socket = ["--pod-resources-socket", "/no/such/socket"];
    let text = run(Path::new("/no/such/folder"), &socket);
    assert!(
        text.contains("--device-plugin-dir /no/such/folder"),
        "{text}"
    );
}

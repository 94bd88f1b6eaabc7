//! Use that NVML does not show: devices of containers, slices that are kept for pods, and sources that are silent.

use mica_model::{Gpu, Slice};
use mica_proto::v1::{self, RefusalReason};
use nvml_sim::{Effect, Fault, GpuSpec};
use serde_json::Value;
use tonic::Status;

use crate::{
    coordinator::{Coordinator, Joined},
    kubelet::Kubelet,
    node::{SimNode, layout, wait_until},
    running::{Running, program},
    uplink::{Agent, gpus},
};

const SLICE: &str = "nvidia.com/mig-3g.20gb";

/// Asks for a layout of the first GPU; gives what held it up.
async fn held_up(stream: &mut Joined, generation: u64, gpu: &Gpu, words: &str) -> String {
    held_up_and_seen(stream, generation, gpu, words).await.0
}

/// And the last report before that was said, if there was one.
async fn held_up_and_seen(
    stream: &mut Joined,
    generation: u64,
    gpu: &Gpu,
    words: &str,
) -> (String, Option<v1::Report>) {
    stream.want(generation, &[(gpu, layout(gpu, words))]).await;
    let (last, outcome) = stream.outcome().await;
    assert_eq!(outcome.generation, generation);
    let refusal = outcome.gpus[0].refusal.clone();
    let refusal = refusal.unwrap_or_else(|| panic!("not held up: {outcome:?}"));
    let reasons = [RefusalReason::InUse, RefusalReason::MigModeHeld];
    assert!(reasons.contains(&refusal.reason()), "{refusal:?}");
    (refusal.detail, last)
}

/// Asks for a layout of the first GPU, which must come to stand.
async fn make(stream: &mut Joined, generation: u64, gpu: &Gpu, words: &str) {
    stream.want(generation, &[(gpu, layout(gpu, words))]).await;
    let (_, outcome) = stream.outcome().await;
    let made = &outcome.gpus[0];
    assert_eq!((&made.refusal, &made.failure), (&None, &None));
}

fn slice(gpu: &Gpu, words: &str) -> Slice {
    *layout(gpu, words).0.first().unwrap()
}

/// UUID of the MIG device at a place of GPU 0.
fn device(node: &SimNode, start: u32) -> String {
    let instances = &node.node.gpus()[0].instances;
    let found = instances.iter().find(|instance| instance.start == start);
    found.unwrap().uuid.clone().unwrap()
}

fn running(node: &SimNode, coordinator: &Coordinator, kubelet: &Kubelet) -> Running {
    let socket = kubelet.socket.to_str().unwrap();
    Running::with(node, &coordinator.url, &["--pod-resources-socket", socket])
}

/// A node with a kubelet, and its agent, which has joined.
struct Scene {
    node: Box<SimNode>,
    kubelet: Kubelet,
    coordinator: Coordinator,
    agent: Running,
    stream: Joined,
    gpu: Gpu,
}

impl Scene {
    async fn new(node: Box<SimNode>) -> Self {
        let kubelet = Kubelet::run(node.directory.path());
        let mut coordinator = Coordinator::start([]).await;
        let agent = running(&node, &coordinator, &kubelet);
        let mut stream = coordinator.accept().await;
        let gpu = gpus(&stream.report().await).remove(0);
        Self {
            node,
            kubelet,
            coordinator,
            agent,
            stream,
            gpu,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_slice_of_a_pod_stays_until_the_pod_has_ended() {
    let mut scene = Scene::new(Box::new(SimNode::a100())).await;
    let Scene {
        node,
        kubelet,
        stream,
        gpu,
        ..
    } = &mut scene;
    stream.keep(&[]).await;
    make(stream, 1, gpu, "3g.20gb@0 3g.20gb@4").await;
    // What was known before it came is not believed.
    kubelet.admit("train", SLICE, &device(node, 4));
    let (detail, last) = held_up_and_seen(stream, 2, gpu, "3g.20gb@0 1g.5gb@4").await;
    assert_eq!(
        detail,
        format!(
            "GPU instance {} (3g.20gb at 4:4) is in use: container main of pod acme/train holds it",
            node.gi_at(4)
        )
    );
    let of_pod = |report: &v1::Report| {
        let mut instances = report.gpus[0].instances.iter();
        let used = instances.find(|instance| !instance.containers.is_empty())?;
        let pod = used.containers[0].pod.as_ref()?;
        Some((used.placement?.start, pod.name.clone()))
    };
    let report = match last.filter(|last| of_pod(last).is_some()) {
        Some(last) => last,
        None => stream.report_that(|report| of_pod(report).is_some()).await,
    };
    assert_eq!(of_pod(&report), Some((4, "train".to_owned())));
    // Beside it there is room to work.
    make(stream, 3, gpu, "1g.5gb@0 3g.20gb@4").await;
    kubelet.end("train");
    make(stream, 4, gpu, "1g.5gb@0").await;
    assert_eq!(node.stands(0), "1g.5gb@0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_slice_of_a_pod_stays_while_the_next_kubelet_does_not_know_its_pods_yet() {
    let mut scene = Scene::new(Box::new(SimNode::a100())).await;
    let Scene {
        node,
        kubelet,
        stream,
        gpu,
        ..
    } = &mut scene;
    stream.keep(&[]).await;
    make(stream, 1, gpu, "3g.20gb@0 3g.20gb@4").await;
    kubelet.admit("train", SLICE, &device(node, 4));
    held_up(stream, 2, gpu, "3g.20gb@0").await;
    kubelet.restart_unaware().await;
    let mut generation = 3;
    // Until the next one has answered, that alone is reason enough.
    loop {
        let detail = held_up(stream, generation, gpu, "3g.20gb@0").await;
        if !detail.contains("has not answered") {
            assert!(
                detail.ends_with("main of pod acme/train holds it"),
                "{detail}"
            );
            break;
        }
        generation += 1;
    }
    assert_eq!(node.stands(0), "3g.20gb@0 3g.20gb@4");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn nothing_goes_while_the_kubelet_does_not_answer() {
    let mut scene = Scene::new(Box::new(SimNode::a100())).await;
    let Scene {
        node,
        kubelet,
        stream,
        gpu,
        agent,
        ..
    } = &mut scene;
    stream.keep(&[]).await;
    make(stream, 1, gpu, "3g.20gb@0").await;
    let silent = "mica_agent_use_source_silent{source=\"kubelet\",node=\"node-1\"}";
    let is_silent = |agent: &Running, value| {
        agent
            .get("/metrics")
            .contains(&format!("{silent} {value}\n"))
    };
    wait_until("the kubelet has answered", || is_silent(agent, 0));

    kubelet.hang();
    let detail = held_up(stream, 2, gpu, "").await;
    assert!(
        detail.contains("(3g.20gb at 0:4) may be in use: the kubelet has not answered for "),
        "{detail}"
    );
    assert!(detail.ends_with(" s: no answer within 2 s"), "{detail}");
    wait_until("the silence shows", || is_silent(agent, 1));
    // Nobody needs the kubelet for what is new.
    make(stream, 3, gpu, "3g.20gb@0 1g.5gb@4").await;

    kubelet.fail(Status::internal("checkpoint is corrupt"));
    let detail = held_up(stream, 4, gpu, "").await;
    assert!(
        detail.contains("checkpoint is corrupt (Internal)"),
        "{detail}"
    );

    kubelet.stop().await;
    let detail = held_up(stream, 5, gpu, "").await;
    assert!(detail.contains("No such file or directory"), "{detail}");
    assert_eq!(node.stands(0), "3g.20gb@0 1g.5gb@4");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_kubelet_that_comes_back_is_asked_again() {
    let mut scene = Scene::new(Box::new(SimNode::a100())).await;
    let Scene {
        node,
        kubelet,
        stream,
        gpu,
        ..
    } = &mut scene;
    stream.keep(&[]).await;
    make(stream, 1, gpu, "3g.20gb@0 3g.20gb@4").await;
    kubelet.admit("train", SLICE, &device(node, 0));
    kubelet.restart().await;
    let detail = held_up(stream, 2, gpu, "").await;
    assert!(
        detail.contains("container main of pod acme/train holds it"),
        "{detail}"
    );
    make(stream, 3, gpu, "3g.20gb@0").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_mode_is_not_changed_under_a_pod_that_has_the_whole_gpu() {
    let off = SimNode::new(&GpuSpec::many("a100-40gb", 1, false));
    let mut scene = Scene::new(Box::new(off)).await;
    let Scene {
        node,
        kubelet,
        stream,
        gpu,
        ..
    } = &mut scene;
    stream.keep(&[]).await;
    kubelet.admit("train", "nvidia.com/gpu", &gpu.uuid);
    let detail = held_up(stream, 1, gpu, "3g.20gb@0").await;
    assert!(detail.contains("pod acme/train"), "{detail}");
    assert!(!node.node.gpus()[0].mig && !node.node.gpus()[0].mig_pending);
    kubelet.end("train");
    make(stream, 2, gpu, "3g.20gb@0").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn where_there_is_a_kubelet_nothing_goes_before_the_coordinator_has_said_what_it_keeps() {
    let mut scene = Scene::new(Box::new(SimNode::a100())).await;
    let Scene {
        node,
        kubelet,
        coordinator,
        agent,
        stream,
        gpu,
    } = &mut scene;
    make(stream, 1, gpu, "3g.20gb@0 3g.20gb@4").await;
    let detail = held_up(stream, 2, gpu, "").await;
    assert!(
        detail.contains("the coordinator has not answered for "),
        "{detail}"
    );
    stream.keep(&[]).await;

    // Killed between two destroys, it finishes only when it has been said anew.
    let kill = Fault {
        call: "nvmlComputeInstanceDestroy".to_owned(),
        effect: Effect::Kill,
        after: 1,
        times: Some(1),
    };
    node.node.inject(&kill).unwrap();
    stream.want(3, &[(gpu, layout(gpu, "1g.5gb@0"))]).await;
    agent.killed();
    let half_way = node.stands(0);
    *agent = running(node, coordinator, kubelet);
    let mut stream = coordinator.accept().await;
    stream.report().await;
    assert_eq!(node.stands(0), half_way);
    stream.keep(&[]).await;
    wait_until("it is finished", || node.stands(0) == "1g.5gb@0");
    assert!(node.verdict().is_clean());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn slices_that_are_kept_stay_whatever_becomes_of_the_coordinator() {
    let node = SimNode::a100();
    let mut coordinator = Coordinator::start([]).await;
    let agent = Agent::start(&node, &coordinator.url).await;
    let mut stream = coordinator.accept().await;
    let gpu = gpus(&stream.report().await).remove(0);
    make(&mut stream, 1, &gpu, "3g.20gb@0").await;
    let (stands, comes) = (slice(&gpu, "3g.20gb@0"), slice(&gpu, "2g.10gb@4"));
    let kept = [(&gpu, stands, "first"), (&gpu, comes, "second")];
    stream.keep(&kept).await;
    let (detail, last) = held_up_and_seen(&mut stream, 2, &gpu, "1g.5gb@6").await;
    assert!(
        detail
            .ends_with("(3g.20gb at 0:4) is in use: it is kept for pod acme/first (generation 5)"),
        "{detail}"
    );
    let shows = |report: &v1::Report| !report.gpus[0].instances[0].reservations.is_empty();
    if !last.is_some_and(|last| shows(&last)) {
        stream.report_that(shows).await;
    }
    drop(stream);
    let mut stream = coordinator.accept().await;
    let detail = held_up(&mut stream, 3, &gpu, "3g.20gb@0 3g.20gb@4").await;
    assert_eq!(
        detail,
        "3g.20gb at 4:4 is in the place of 2g.10gb at 4:2, which is kept for pod acme/second (generation 5)"
    );
    make(&mut stream, 4, &gpu, "3g.20gb@0 2g.10gb@4").await;
    stream.keep(&kept[1..]).await;
    make(&mut stream, 5, &gpu, "1g.5gb@0 2g.10gb@4").await;
    stream.keep(&[]).await;
    make(&mut stream, 6, &gpu, "").await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn inspect_asks_the_kubelet_too() {
    let scene = Scene::new(Box::new(SimNode::a100())).await;
    let Scene {
        node,
        kubelet,
        mut stream,
        gpu,
        ..
    } = scene;
    make(&mut stream, 1, &gpu, "3g.20gb@0 3g.20gb@4").await;
    kubelet.admit("train", SLICE, &device(&node, 4));
    let inspect = |more: &[&str]| {
        let output = program()
            .args(["inspect", "--nvml-library"])
            .arg(node.node.library())
            .arg("--pod-resources-socket")
            .arg(&kubelet.socket)
            .args(more)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let document: Value = serde_json::from_str(&inspect(&["-o", "json"])).unwrap();
    let instances = document["gpus"][0]["instances"].as_array().unwrap();
    let used: Vec<_> = instances
        .iter()
        .map(|instance| (&instance["in_use"], &instance["containers"][0]["name"]))
        .collect();
    assert_eq!(
        used,
        [
            (&Value::from(false), &Value::Null),
            (&true.into(), &"main".into())
        ]
    );
    assert!(inspect(&[]).contains("pod acme/train"));
    kubelet.fail(Status::unavailable("starting"));
    let text = inspect(&[]);
    assert!(
        text.contains("unknown (the kubelet does not tell: starting (Unavailable))"),
        "{text}"
    );
}

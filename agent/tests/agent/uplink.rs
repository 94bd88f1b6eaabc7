//! The stream to the coordinator.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use mica_agent::{
    address::Address,
    driver::{self, Care, Settings},
    generation::Newest,
    health::Ignored,
    holders::Processes,
    journal::Journal,
    metrics::Metrics,
    uplink::Uplink,
    usage::Sources,
};
use mica_model::Gpu;
use mica_proto::v1::{self, RefusalReason};
use nvml_sim::{Fault, GpuSpec};
use tokio::task::JoinSet;
use tonic::Status;

use crate::{
    coordinator::Coordinator,
    node::{SimNode, layout},
};

/// A running agent without its HTTP side.
pub(crate) struct Agent {
    pub(crate) thread: driver::Handle,
    tasks: JoinSet<driver::Ended>,
    pub(crate) metrics: Arc<Metrics>,
}

impl Agent {
    pub(crate) async fn start(node: &SimNode, coordinator: &str) -> Self {
        Self::with(node, coordinator, Sources::default()).await
    }

    pub(crate) async fn with(node: &SimNode, coordinator: &str, sources: Sources) -> Self {
        let metrics = Arc::new(Metrics::new("node-1").unwrap());
        let settings = Settings {
            library: node.node.library().into(),
            poll_interval: Duration::from_millis(10),
            newest: Newest::open(&state(node)).unwrap(),
            journal: Journal::open(&state(node), "boot-1").unwrap(),
            sources: sources.clone(),
            metrics: metrics.driver.clone(),
        };
        let care = Care {
            processes: Processes::below("/proc".into()),
            ignored: Ignored::and(&[]),
            nvidia_smi: None,
            sentinel: None,
        };
        let (thread, outcomes) = driver::start(settings, care).await.unwrap();
        let uplink = Uplink {
            coordinator: Address {
                uri: coordinator.parse().unwrap(),
                tls: None,
            },
            token: None,
            kubelet: tokio::sync::watch::channel(None).1,
            node: "node-1".to_owned(),
            orders: thread.orders(),
            sources,
            outcomes,
            metrics: metrics.uplink.clone(),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(uplink.run());
        Self {
            thread,
            tasks,
            metrics,
        }
    }

    pub(crate) async fn stop(mut self) {
        self.tasks.shutdown().await;
        self.thread.stop().await;
    }

    pub(crate) fn scrape(&self) -> String {
        let inventory = self.thread.orders().inventory().borrow().clone();
        let silent = self.thread.orders().pulse().all();
        self.metrics.text(&inventory, &silent).unwrap()
    }
}

fn state(node: &SimNode) -> Box<Path> {
    node.directory.path().join("state").into()
}

pub(crate) fn gpus(report: &v1::Report) -> Vec<Gpu> {
    report.to_gpus().unwrap()
}

/// Layouts executed in a stream, as profile names at their places.
fn slices(report: &v1::Report, gpu: usize) -> Vec<String> {
    let gpu = &gpus(report)[gpu];
    let board = gpu.board.as_ref().unwrap();
    let layout = gpu.layout().0.into_iter();
    layout
        .map(|slice| {
            let name = board.profile_name(slice.profile);
            format!("{name}@{}", slice.placement.start)
        })
        .collect()
}

#[tokio::test]
async fn a_layout_is_executed_and_its_result_reported_before_its_outcome() {
    let node = SimNode::new(&GpuSpec::many("a100-40gb", 2, true));
    let mut coordinator = Coordinator::start([]).await;
    let agent = Agent::start(&node, &coordinator.url).await;
    let mut stream = coordinator.accept().await;
    assert_eq!(
        (&*stream.hello.node, stream.hello.generation),
        ("node-1", 0)
    );
    assert_eq!(stream.hello.agent_version, env!("CARGO_PKG_VERSION"));
    let report = stream.report().await;
    assert_eq!((report.generation, report.boards.len()), (0, 1));
    let gpus = gpus(&report);
    assert!(!report.driver_version.is_empty() && !report.nvml_version.is_empty());

    let wanted = layout(&gpus[0], "3g.20gb@4 1g.5gb@0");
    let illegal = layout(&gpus[1], "3g.20gb@4 1g.5gb@4");
    stream
        .want(7, &[(&gpus[0], wanted), (&gpus[1], illegal)])
        .await;
    let (report, outcome) = stream.outcome().await;
    let report = report.expect("a report comes before the outcome");
    assert_eq!((report.generation, outcome.generation), (7, 7));
    assert_eq!(slices(&report, 0), ["1g.5gb@0", "3g.20gb@4"]);
    let [made, refused] = &*outcome.gpus else {
        panic!("{outcome:?}");
    };
    assert_eq!(
        *made,
        v1::GpuOutcome {
            uuid: gpus[0].uuid.clone(),
            created: 2,
            ..Default::default()
        }
    );
    let refusal = refused.refusal.as_ref().unwrap();
    assert_eq!(refusal.reason(), RefusalReason::IllegalLayout);
    agent.stop().await;
}

#[tokio::test]
async fn only_newer_generations_are_executed_and_restarts_do_not_forget() {
    let node = SimNode::a100();
    let mut coordinator = Coordinator::start([]).await;
    let agent = Agent::start(&node, &coordinator.url).await;
    let mut stream = coordinator.accept().await;
    let gpu = gpus(&stream.report().await).remove(0);
    stream.want(41, &[(&gpu, layout(&gpu, "3g.20gb@4"))]).await;
    stream.want(40, &[(&gpu, layout(&gpu, "1g.5gb@0"))]).await;
    // Refused at once, while the other is still made.
    let both = [stream.outcome().await.1, stream.outcome().await.1];
    let of = |generation| both.iter().find(|outcome| outcome.generation == generation);
    assert_eq!(of(41).unwrap().refusal, None);
    let refusal = of(40).unwrap().refusal.clone().unwrap();
    assert_eq!(refusal.reason(), RefusalReason::StaleGeneration);
    assert_eq!(
        refusal.detail,
        "generation 40 is not newer than 41, the newest this agent has seen"
    );
    agent.stop().await;

    let agent = Agent::start(&node, &coordinator.url).await;
    let mut stream = coordinator.accept().await;
    assert_eq!(stream.hello.generation, 41);
    let report = stream.report().await;
    assert_eq!(report.generation, 41, "nothing is under way after a start");
    assert_eq!(slices(&report, 0), ["3g.20gb@4"], "what stands is adopted");
    stream.want(41, &[(&gpu, layout(&gpu, ""))]).await;
    let (_, stale) = stream.outcome().await;
    assert!(stale.refusal.is_some());
    assert_eq!(node.stands(0), "3g.20gb@4");
    agent.stop().await;
}

#[tokio::test]
async fn a_generation_that_cannot_be_kept_is_not_executed() {
    let node = SimNode::a100();
    let mut coordinator = Coordinator::start([]).await;
    let agent = Agent::start(&node, &coordinator.url).await;
    let mut stream = coordinator.accept().await;
    let gpu = gpus(&stream.report().await).remove(0);
    // A directory where the file is written first: as good as a full disk.
    let obstacle = state(&node).join("generation.new");
    std::fs::create_dir(&obstacle).unwrap();
    stream.want(5, &[(&gpu, layout(&gpu, "3g.20gb@4"))]).await;
    let (report, outcome) = stream.outcome().await;
    assert_eq!(report.map(|report| report.generation), Some(5));
    let failure = outcome.gpus[0].failure.as_ref().unwrap();
    assert!(failure.detail.contains("--state-dir"), "{failure:?}");
    assert!(failure.rolled_back);
    assert_eq!(node.stands(0), "");
    std::fs::remove_dir(&obstacle).unwrap();
    stream.want(6, &[(&gpu, layout(&gpu, "3g.20gb@4"))]).await;
    assert_eq!(stream.outcome().await.1.gpus[0].failure, None);
    assert_eq!(node.stands(0), "3g.20gb@4");
    agent.stop().await;
}

#[tokio::test]
async fn what_waits_for_a_gpu_is_overtaken_by_what_is_newer() {
    let node = SimNode::a100();
    let mut coordinator = Coordinator::start([]).await;
    let agent = Agent::start(&node, &coordinator.url).await;
    let mut stream = coordinator.accept().await;
    let gpu = gpus(&stream.report().await).remove(0);
    let slow = Duration::from_millis(300);
    let call = "nvmlDeviceCreateGpuInstanceWithPlacement";
    node.node.inject(&Fault::delay(call, slow)).unwrap();
    let layouts = ["7g.40gb@0", "1g.5gb@0 1g.5gb@1", "2g.10gb@0", "3g.20gb@4"];
    for (generation, words) in (1..).zip(layouts) {
        stream
            .want(generation, &[(&gpu, layout(&gpu, words))])
            .await;
    }
    let mut refused = BTreeMap::new();
    for _ in layouts {
        let (_, outcome) = stream.outcome().await;
        let refusal = outcome.gpus[0].refusal.clone();
        refused.insert(outcome.generation, refusal.map(|refusal| refusal.reason()));
        assert_eq!(outcome.gpus[0].failure, None);
    }
    let stale = Some(RefusalReason::StaleGeneration);
    let expected = [(1, None), (2, stale), (3, stale), (4, None)];
    assert_eq!(refused, BTreeMap::from(expected));
    assert_eq!(node.stands(0), "3g.20gb@4");
    agent.stop().await;
}

/// Waits of the driver on one GPU do not add up with those on another.
#[tokio::test]
async fn gpus_are_worked_on_at_once() {
    let node = SimNode::new(&GpuSpec::many("a100-40gb", 8, true));
    let mut coordinator = Coordinator::start([]).await;
    let agent = Agent::start(&node, &coordinator.url).await;
    let mut stream = coordinator.accept().await;
    let gpus = gpus(&stream.report().await);
    let call = "nvmlDeviceCreateGpuInstanceWithPlacement";
    let slow = Fault::delay(call, Duration::from_secs(2));
    node.node.inject(&slow).unwrap();
    let wanted: Vec<_> = gpus
        .iter()
        .map(|gpu| (gpu, layout(gpu, "7g.40gb@0")))
        .collect();
    let began = Instant::now();
    stream.want(1, &wanted).await;
    let (_, outcome) = stream.outcome().await;
    assert!(outcome.gpus.iter().all(|gpu| gpu.created == 1));
    // One after the other takes 16 s.
    assert!(
        began.elapsed() < Duration::from_secs(8),
        "{:?}",
        began.elapsed()
    );
    agent.stop().await;
}

#[tokio::test]
async fn a_change_is_reported_once_and_nothing_else_is() {
    let node = SimNode::a100();
    let mut coordinator = Coordinator::start([]).await;
    let agent = Agent::start(&node, &coordinator.url).await;
    let mut stream = coordinator.accept().await;
    let gpu = gpus(&stream.report().await).remove(0);
    stream.want(1, &[(&gpu, layout(&gpu, "3g.20gb@4"))]).await;
    stream.outcome().await;
    node.start_process(4, 77);
    let used = |report: &v1::Report| report.gpus[0].instances[0].pids == [77];
    stream.report_that(used).await;
    node.node.stop_process(77).unwrap();
    let idle = |report: &v1::Report| report.gpus[0].instances[0].pids.is_empty();
    stream.report_that(idle).await;
    agent.stop().await;
}

#[tokio::test]
async fn a_lost_coordinator_changes_nothing_and_is_joined_again() {
    let node = SimNode::a100();
    let mut coordinator = Coordinator::start([]).await;
    let agent = Agent::start(&node, &coordinator.url).await;
    let mut stream = coordinator.accept().await;
    let gpu = gpus(&stream.report().await).remove(0);
    stream.want(3, &[(&gpu, layout(&gpu, "3g.20gb@4"))]).await;
    stream.outcome().await;
    drop(stream);
    let mut stream = coordinator.accept().await;
    assert_eq!(stream.hello.generation, 3);
    let report = stream.report().await;
    assert_eq!(slices(&report, 0), ["3g.20gb@4"]);
    // What the coordinator says while the agent has nothing to say arrives as well.
    stream.want(4, &[(&gpu, layout(&gpu, ""))]).await;
    assert_eq!(stream.outcome().await.1.generation, 4);
    agent.stop().await;
}

#[tokio::test]
async fn a_refused_agent_tries_again() {
    let node = SimNode::a100();
    let refusals = [
        Status::already_exists("node-1 is held by 10.0.0.9"),
        Status::invalid_argument("gpus.uuid: missing"),
    ];
    let mut coordinator = Coordinator::start(refusals).await;
    let agent = Agent::start(&node, &coordinator.url).await;
    let stream = coordinator.accept().await;
    stream.fail(Status::already_exists("node-1 is taken")).await;
    let mut stream = coordinator.accept().await;
    stream.report().await;
    agent.stop().await;
}

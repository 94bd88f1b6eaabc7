//! The agent is killed at each call that changes a GPU, and started again.

use nvml_sim::{Effect, Fault, GpuSpec};
use rstest::rstest;

use crate::{
    coordinator::{Coordinator, Joined},
    node::{SimNode, layout},
    running::Running,
};

const CREATE_CI: &str = "nvmlGpuInstanceCreateComputeInstance";

/// What stands first; the last of them is in use and stays.
const BEFORE: &str = "1g.5gb@0 2g.10gb@2 2g.10gb@4 1g.5gb@6";
/// Three instances go, three come, each with its compute instance: twelve steps, each a change of the driver's state.
const AFTER: &str = "3g.20gb@0 1g.5gb@4 1g.5gb@5 1g.5gb@6";

/// The agent is killed before its next call of this name, after `after` of them.
fn before(call: &str, after: u32) -> Fault {
    Fault {
        call: call.to_owned(),
        effect: Effect::Kill,
        after,
        times: Some(1),
    }
}

fn kill(node: &SimNode, call: &str, after: u32) {
    node.node.inject(&before(call, after)).unwrap();
}

/// Asks for a layout of GPU 0 when the agent has joined.
async fn want(coordinator: &mut Coordinator, generation: u64, words: &str) -> Joined {
    let mut stream = coordinator.accept().await;
    assert!(stream.hello.generation < generation);
    let gpu = stream.report().await.to_gpus().unwrap().remove(0);
    stream
        .want(generation, &[(&gpu, layout(&gpu, words))])
        .await;
    stream
}

/// Asks for a layout, which must come to stand.
async fn make(coordinator: &mut Coordinator, generation: u64, words: &str) -> Joined {
    let mut stream = want(coordinator, generation, words).await;
    let (_, outcome) = stream.outcome().await;
    assert_eq!(outcome.generation, generation);
    let gpu = &outcome.gpus[0];
    assert_eq!((&gpu.refusal, &gpu.failure), (&None, &None));
    stream
}

/// Killed at `call`, and killed again while it finishes what was begun.
#[rstest]
#[case::destroy_compute_instance("nvmlComputeInstanceDestroy")]
#[case::destroy_gpu_instance("nvmlGpuInstanceDestroy")]
#[case::create_gpu_instance("nvmlDeviceCreateGpuInstanceWithPlacement")]
#[case::create_compute_instance(CREATE_CI)]
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn killed_at_any_change_it_ends_in_the_layout_and_nothing_leaks(
    #[case] call: &str,
    #[values(0, 1, 2)] after: u32,
    #[values(false, true)] twice: bool,
) {
    let mut scene = Scene::new().await;
    let stands = scene.kill(&before(call, after)).await;
    assert!(stands != BEFORE || after == 0, "killed too early: {stands}");
    assert_ne!(stands, AFTER, "killed too late");
    if twice {
        // It finishes by itself what was begun, and dies of it.
        kill(&scene.node, CREATE_CI, 0);
        Running::start(&scene.node, &scene.coordinator.url).killed();
        let stands = scene.node.stands(0);
        assert_eq!(stands.matches('!').count(), 1, "{stands}");
    }
    scene.ends_in_the_layout().await;
}

/// Killed right after each of the twelve changes in turn.
#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn killed_right_after_any_change_it_ends_in_the_layout_and_nothing_leaks(
    #[values(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)] change: u32,
) {
    let mut scene = Scene::new().await;
    let stands = scene.kill(&Fault::crash(change)).await;
    println!("killed right after change {change} of 12: {stands}");
    assert_ne!(stands, BEFORE, "killed too early");
    assert_eq!(stands == AFTER, change == 12, "{stands}");
    scene.ends_in_the_layout().await;
}

/// Else the crash points would not be all of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_thirteenth_change_there_is_not() {
    let mut scene = Scene::new().await;
    scene.node.node.inject(&Fault::crash(13)).unwrap();
    let _agent = Running::start(&scene.node, &scene.coordinator.url);
    let stream = make(&mut scene.coordinator, 2, AFTER).await;
    drop(stream);
    assert_eq!(scene.node.stands(0), AFTER);
}

/// A node on which the former layout stands, its last slice in use; its agent was killed when it had nothing to do.
struct Scene {
    node: Box<SimNode>,
    coordinator: Coordinator,
    used: u32,
}

impl Scene {
    async fn new() -> Self {
        let node = Box::new(SimNode::a100());
        let mut coordinator = Coordinator::start([]).await;
        let mut agent = Running::start(&node, &coordinator.url);
        // Held, else the agent joins again before it is killed.
        let _former = make(&mut coordinator, 1, BEFORE).await;
        node.start_process(6, 77);
        let used = node.gi_at(6);
        agent.child.kill().unwrap();
        agent.killed();
        Self {
            node,
            coordinator,
            used,
        }
    }

    /// An agent is killed while it makes the layout; gives what stands then.
    async fn kill(&mut self, fault: &Fault) -> String {
        let mut agent = Running::start(&self.node, &self.coordinator.url);
        self.node.node.inject(fault).unwrap();
        let _stream = want(&mut self.coordinator, 2, AFTER).await;
        agent.killed();
        let stands = self.node.stands(0);
        assert!(stands.matches('!').count() <= 1, "{stands}");
        stands
    }

    async fn ends_in_the_layout(mut self) {
        let _agent = Running::start(&self.node, &self.coordinator.url);
        let mut stream = self.coordinator.accept().await;
        assert_eq!(stream.hello.generation, 2);
        stream.report().await;
        let stands = self.node.stands(0);
        assert_eq!(stands, AFTER, "finished before anything is said");
        assert_eq!(self.node.gi_at(6), self.used);
        let verdict = self.node.verdict();
        assert!(verdict.is_clean(), "{verdict:?}");
        assert_eq!(verdict.lost_races, []);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn killed_in_mid_step_it_finishes_what_is_half_made_before_it_says_what_is_there() {
    let node = SimNode::a100();
    let mut coordinator = Coordinator::start([]).await;
    let mut agent = Running::start(&node, &coordinator.url);
    kill(&node, CREATE_CI, 1);
    let _stream = want(&mut coordinator, 9, "2g.10gb@0 3g.20gb@4").await;
    agent.killed();
    assert_eq!(node.stands(0), "2g.10gb@0! 3g.20gb@4");

    let _agent = Running::start(&node, &coordinator.url);
    let mut stream = coordinator.accept().await;
    assert_eq!(
        stream.hello.generation, 9,
        "it was kept before the first step"
    );
    stream.report().await;
    assert_eq!(node.stands(0), "2g.10gb@0 3g.20gb@4");
}

#[rstest]
#[case::before_the_mode("nvmlDeviceSetMigMode")]
#[case::after_it("nvmlDeviceCreateGpuInstanceWithPlacement")]
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn killed_around_a_change_of_mode_it_ends_in_the_layout(#[case] call: &str) {
    let node = SimNode::new(&GpuSpec::many("a100-40gb", 1, false));
    let mut coordinator = Coordinator::start([]).await;
    let mut agent = Running::start(&node, &coordinator.url);
    kill(&node, call, 0);
    let _stream = want(&mut coordinator, 1, AFTER).await;
    agent.killed();
    assert_eq!(node.stands(0), "");

    let _agent = Running::start(&node, &coordinator.url);
    let _stream = make(&mut coordinator, 2, AFTER).await;
    assert_eq!(node.stands(0), AFTER);
    assert!(node.verdict().is_clean());
}

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
/// Three instances go, three come.
const AFTER: &str = "3g.20gb@0 1g.5gb@4 1g.5gb@5 1g.5gb@6";

fn kill(node: &SimNode, call: &str, after: u32) {
    let fault = Fault {
        call: call.to_owned(),
        effect: Effect::Kill,
        after,
        times: Some(1),
    };
    node.node.inject(&fault).unwrap();
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
    let node = SimNode::a100();
    let mut coordinator = Coordinator::start([]).await;
    let mut agent = Running::start(&node, &coordinator.url);
    // Held, else the agent joins again before it is killed.
    let _former = make(&mut coordinator, 1, BEFORE).await;
    node.start_process(6, 77);
    let used = node.gi_at(6);
    agent.child.kill().unwrap();
    agent.killed();

    agent = Running::start(&node, &coordinator.url);
    kill(&node, call, after);
    let _stream = want(&mut coordinator, 2, AFTER).await;
    agent.killed();
    let stands = node.stands(0);
    assert!(stands != BEFORE || after == 0, "killed too early: {stands}");
    assert_ne!(stands, AFTER, "killed too late");
    assert!(stands.matches('!').count() <= 1, "{stands}");

    if twice {
        kill(&node, CREATE_CI, 0);
        // It finishes by itself what was begun, and dies of it.
        agent = Running::start(&node, &coordinator.url);
        agent.killed();
        let stands = node.stands(0);
        assert_eq!(stands.matches('!').count(), 1, "{stands}");
    }

    let _agent = Running::start(&node, &coordinator.url);
    let mut stream = coordinator.accept().await;
    assert_eq!(stream.hello.generation, 2);
    stream.report().await;
    assert_eq!(node.stands(0), AFTER, "finished before anything is said");
    assert_eq!(node.gi_at(6), used);
    let verdict = node.verdict();
    assert!(verdict.is_clean(), "{verdict:?}");
    assert_eq!(verdict.lost_races, []);
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

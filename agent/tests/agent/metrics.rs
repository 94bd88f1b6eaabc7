//! What Prometheus scrapes.

use nvml_sim::GpuSpec;

use crate::{
    coordinator::Coordinator,
    node::{SimNode, layout, wait_until},
    uplink::{Agent, gpus},
};

#[tokio::test]
async fn metrics_follow_what_is_there() {
    let node = SimNode::a100();
    let mut coordinator = Coordinator::start([]).await;
    let agent = Agent::start(&node, &coordinator.url).await;
    let mut stream = coordinator.accept().await;
    let gpu = gpus(&stream.report().await).remove(0);
    stream.want(1, &[(&gpu, layout(&gpu, "3g.20gb@4"))]).await;
    stream.outcome().await;
    node.start_process(4, 77);
    stream
        .report_that(|report| !report.gpus[0].instances[0].pids.is_empty())
        .await;
    let series = Series(agent.scrape());
    let mig = node.node.gpus()[0].instances[0].clone();
    let gi = mig.gi.to_string();
    let on_gpu = [
        ("node", "node-1"),
        ("gpu", &*gpu.uuid),
        ("gpu_index", "0"),
        ("model", &*gpu.product),
    ];
    let instance = [
        ("profile", "3g.20gb"),
        ("gi", &*gi),
        ("ci", "0"),
        ("uuid", mig.uuid.as_deref().unwrap()),
    ];
    let instance = [&on_gpu[..], &instance].concat();
    let and = |label| [&on_gpu[..], &[label]].concat();
    series.has("instance_in_use", &instance, "1");
    series.has("instance_memory_used_bytes", &instance, "1048576");
    series.has("gpu_slots_used", &on_gpu, "4");
    series.has("gpu_slots_free", &on_gpu, "4");
    series.has("gpu_mig_mode", &and(("mode", "enabled")), "1");
    series.has("gpu_mig_mode", &and(("mode", "disabled")), "0");
    series.has("layouts_total", &and(("outcome", "holds")), "1");
    series.has(
        "step_duration_seconds_count",
        &and(("step", "create_gpu_instance")),
        "1",
    );
    series.has("coordinator_connected", &on_gpu[..1], "1");
    series.has("generation_finished", &on_gpu[..1], "1");
    series.has("nvml_up", &on_gpu[..1], "1");
    // An A100 has no counters.
    assert!(!series.0.contains("_activity_ratio"), "{}", series.0);
    agent.stop().await;
}

#[tokio::test]
async fn steps_and_failures_are_counted_and_what_goes_has_no_series() {
    let node = SimNode::a100();
    let mut coordinator = Coordinator::start([]).await;
    let agent = Agent::start(&node, &coordinator.url).await;
    let mut stream = coordinator.accept().await;
    let gpu = gpus(&stream.report().await).remove(0);
    stream.want(1, &[(&gpu, layout(&gpu, "3g.20gb@4"))]).await;
    stream.outcome().await;
    node.fail("nvmlDeviceCreateGpuInstanceWithPlacement", 23, 0, Some(1));
    stream.want(2, &[(&gpu, layout(&gpu, "1g.5gb@4"))]).await;
    let (_, outcome) = stream.outcome().await;
    let failure = outcome.gpus[0].failure.as_ref().unwrap();
    assert_eq!((failure.nvml_code, failure.rolled_back), (Some(23), true));
    stream.want(3, &[(&gpu, layout(&gpu, ""))]).await;
    stream.outcome().await;
    let series = Series(agent.scrape());
    assert!(!series.0.contains("mica_agent_instance_"), "{}", series.0);
    let on_gpu = [
        ("node", "node-1"),
        ("gpu", &*gpu.uuid),
        ("gpu_index", "0"),
        ("model", &*gpu.product),
    ];
    let and = |labels: &[(&'static str, &'static str)]| [&on_gpu[..], labels].concat();
    let failed = and(&[("step", "create_gpu_instance"), ("code", "23")]);
    series.has("step_failures_total", &failed, "1");
    for (step, times) in [
        ("read", "3"),
        ("verify", "2"),
        ("destroy_gpu_instance", "2"),
    ] {
        series.has(
            "step_duration_seconds_count",
            &and(&[("step", step)]),
            times,
        );
    }
    for (outcome, times) in [("holds", "2"), ("rolled_back", "1")] {
        series.has("layouts_total", &and(&[("outcome", outcome)]), times);
    }
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn activity_shows_from_hopper_on_and_a_faulted_gpu_shows_no_slots() {
    let boards = ["h100-sxm5-80gb", "l4-24gb"].map(|board| GpuSpec::many(board, 1, true));
    let node = SimNode::new(&boards.concat());
    let mut coordinator = Coordinator::start([]).await;
    let agent = Agent::start(&node, &coordinator.url).await;
    let mut stream = coordinator.accept().await;
    let gpu = gpus(&stream.report().await).remove(0);
    stream.want(1, &[(&gpu, layout(&gpu, "3g.40gb@4"))]).await;
    stream.outcome().await;
    for name in ["graphics", "sm", "tensor", "dram"] {
        let name = format!("mica_agent_instance_{name}_activity_ratio{{");
        wait_until(&name, || agent.scrape().contains(&name));
    }
    let series = agent.scrape();
    let slots = |series: &str| series.matches("mica_agent_gpu_slots_free{").count();
    assert_eq!(slots(&series), 1, "an L4 has none:\n{series}");
    let unsupported = |line: &&str| {
        line.starts_with("mica_agent_gpu_mig_mode{")
            && line.contains("mode=\"unsupported\"")
            && line.ends_with(" 1")
    };
    assert_eq!(series.lines().filter(unsupported).count(), 1, "{series}");

    node.node.lose_gpu(0).unwrap();
    stream
        .report_that(|report| !report.gpus[0].fault.is_empty())
        .await;
    let series = agent.scrape();
    assert_eq!(slots(&series), 0, "{series}");
    assert!(!series.contains("mica_agent_instance_"), "{series}");
    assert_eq!(series.matches("mica_agent_gpu_faulted{").count(), 2);
    agent.stop().await;
}

/// The text of a scrape.
struct Series(String);

impl Series {
    /// Whether exactly this series is there, its labels in any order, with this value.
    fn has(&self, name: &str, labels: &[(&str, &str)], value: &str) {
        let prefix = format!("mica_agent_{name}{{");
        let mut wanted: Vec<_> = labels
            .iter()
            .map(|(label, value)| format!("{label}=\"{value}\""))
            .collect();
        wanted.sort();
        let found = self.0.lines().any(|line| {
            let rest = line.strip_prefix(&prefix);
            rest.and_then(|rest| rest.split_once("} "))
                .is_some_and(|(labels, found)| {
                    let mut labels: Vec<_> = labels.split(',').collect();
                    labels.sort_unstable();
                    labels == wanted && found == value
                })
        });
        assert!(found, "{prefix}{wanted:?}}} {value} is not in\n{}", self.0);
    }
}

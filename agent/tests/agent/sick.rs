//! Errors that the driver tells of, and resets.

use std::fs;

use mica_proto::v1::{self, RefusalReason, WaitsFor};

use crate::{
    care::{NvidiaSmi, cut, holds, is_well, path, waits_for, want},
    coordinator::Coordinator,
    node::{SimNode, layout, wait_until},
    running::Running,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_sick_gpu_is_withdrawn_reset_when_idle_and_cut_again() {
    let node = SimNode::a100();
    let smi = NvidiaSmi::new(&node);
    let mut coordinator = Coordinator::start([]).await;
    let program = smi.program();
    let flags = ["--allow-gpu-reset", "--nvidia-smi", &program];
    let agent = Running::with(&node, &coordinator.url, &flags);
    let mut stream = cut(&mut coordinator, "1g.5gb@0 3g.20gb@4").await;
    node.start_process(4, 77);
    stream
        .report_that(|report| {
            report.gpus[0]
                .instances
                .iter()
                .any(|known| !known.pids.is_empty())
        })
        .await;

    node.node.raise_xid(0, 48, None, None).unwrap();
    let report = stream.report_that(waits_for(WaitsFor::Release)).await;
    let fault = &report.gpus[0].fault;
    assert!(
        fault.starts_with("XID 48 (double-bit ECC error) at 20"),
        "{fault}"
    );
    assert_eq!(
        report.gpus[0].instances.len(),
        2,
        "what stands is shown still"
    );
    let refusal = want(&mut stream, &report, 2, "1g.5gb@1")
        .await
        .refusal
        .unwrap();
    assert_eq!(refusal.reason(), RefusalReason::Faulted);
    assert!(refusal.detail.contains("XID 48"), "{}", refusal.detail);
    assert!(!smi.was_run(), "it is in use");
    let counted = "event=\"xid\",gpu=";
    assert!(agent.get("/metrics").contains(counted));

    node.node.stop_process(77).unwrap();
    let asked = smi.asked();
    assert_eq!(asked, format!("--gpu-reset -i {}", report.gpus[0].uuid));
    // What is asked for meanwhile waits.
    let gpu = report.to_gpus().unwrap().remove(0);
    stream
        .want(3, &[(&gpu, layout(&gpu, "1g.5gb@0 3g.20gb@4 1g.5gb@1"))])
        .await;
    node.node.reset_gpu(0).unwrap();
    assert_eq!(node.stands(0), "");
    smi.answer(0, "");
    let (report, outcome) = stream.outcome().await;
    assert!(holds(&outcome.gpus[0]), "{outcome:?}");
    assert!(is_well(&report.unwrap()));
    assert_eq!(node.stands(0), "1g.5gb@0 1g.5gb@1 3g.20gb@4");
    assert!(
        agent
            .get("/metrics")
            .contains("result=\"done\",node=\"node-1\"} 1")
    );
    assert!(node.verdict().is_clean());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn without_leave_nothing_is_reset_and_a_driver_loaded_anew_heals() {
    let node = SimNode::a100();
    let smi = NvidiaSmi::new(&node);
    let mut coordinator = Coordinator::start([]).await;
    let program = smi.program();
    let _agent = Running::with(&node, &coordinator.url, &["--nvidia-smi", &program]);
    let mut stream = cut(&mut coordinator, "3g.20gb@4").await;
    node.node.raise_xid(0, 95, None, None).unwrap();
    stream.report_that(waits_for(WaitsFor::Reset)).await;
    node.node.reload_driver(None).unwrap();
    stream
        .report_that(|report| is_well(report) && report.gpus[0].instances.len() == 1)
        .await;
    assert_eq!(node.stands(0), "3g.20gb@4");
    assert!(!smi.was_run());
    node.node.raise_xid(0, 95, None, None).unwrap();
    stream.report_that(waits_for(WaitsFor::Reset)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_error_of_one_instance_withdraws_that_one_and_applications_errors_none() {
    let node = SimNode::a100();
    let mut coordinator = Coordinator::start([]).await;
    let agent = Running::with(&node, &coordinator.url, &["--ignore-xids", "63,92"]);
    let mut stream = cut(&mut coordinator, "1g.5gb@0 3g.20gb@4").await;
    for xid in [13, 31, 43, 45, 68, 109, 63, 92] {
        node.node.raise_xid(0, xid, None, None).unwrap();
    }
    wait_until("all are heard of", || {
        agent.get("/metrics").matches("result=\"ignored\"").count() == 8
    });
    let gi = node.gi_at(4);
    node.node.raise_xid(0, 94, Some(gi), None).unwrap();
    let sick = |report: &v1::Report| {
        report.gpus[0]
            .instances
            .iter()
            .any(|known| !known.fault.is_empty())
    };
    let report = stream.report_that(sick).await;
    assert_eq!(report.gpus[0].fault, "", "the GPU is well");
    for instance in &report.gpus[0].instances {
        assert_eq!(
            instance.fault.contains("XID 94"),
            instance.gi == gi,
            "{instance:?}"
        );
    }
    let refusal = want(&mut stream, &report, 2, "1g.5gb@0")
        .await
        .refusal
        .unwrap();
    assert_eq!(refusal.reason(), RefusalReason::Faulted);
    assert!(
        refusal.detail.contains(&format!("GPU instance {gi}")),
        "{}",
        refusal.detail
    );
    assert!(holds(
        &want(&mut stream, &report, 3, "1g.5gb@1 3g.20gb@4").await
    ));
    assert_eq!(node.gi_at(4), gi, "it is left alone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_gpu_that_fell_off_the_bus_is_well_when_it_answers_again() {
    let node = SimNode::a100();
    let mut coordinator = Coordinator::start([]).await;
    let _agent = Running::start(&node, &coordinator.url);
    let mut stream = cut(&mut coordinator, "3g.20gb@4").await;
    node.node.raise_xid(0, 79, None, None).unwrap();
    stream
        .report_that(|report| report.gpus[0].fault.contains("XID 79"))
        .await;
    node.node.lose_gpu(0).unwrap();
    stream
        .report_that(|report| report.gpus[0].fault.contains("GPU is lost"))
        .await;
    node.node.reset_gpu(0).unwrap();
    stream
        .report_that(|report| is_well(report) && report.gpus[0].instances.len() == 1)
        .await;
    assert_eq!(node.stands(0), "3g.20gb@4");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_reset_that_fails_is_told_and_an_impossible_one_asks_for_a_reboot() {
    let node = SimNode::a100();
    let smi = NvidiaSmi::new(&node);
    let (sentinel, program) = (path(&node, "reboot-required"), smi.program());
    let flags = [
        "--allow-gpu-reset",
        "--nvidia-smi",
        &program,
        "--reboot-sentinel",
        &sentinel,
    ];
    let mut coordinator = Coordinator::start([]).await;
    let agent = Running::with(&node, &coordinator.url, &flags);
    let mut stream = cut(&mut coordinator, "3g.20gb@4").await;
    node.node.raise_xid(0, 999, None, None).unwrap();
    smi.asked();
    smi.answer(3, "GPU Reset is not available.");
    let report = stream.report_that(waits_for(WaitsFor::Reboot)).await;
    assert!(
        report.gpus[0].fault.contains("an XID whose number"),
        "{}",
        report.gpus[0].fault
    );
    wait_until("a reboot is asked for", || {
        fs::read_to_string(&sentinel).is_ok_and(|text| text.contains("GPU Reset is not available."))
    });
    assert_eq!(node.stands(0), "3g.20gb@4");
    assert!(
        agent
            .get("/metrics")
            .contains("result=\"impossible\",node=\"node-1\"} 1")
    );
}

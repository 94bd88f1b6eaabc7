//! MIG mode that somebody holds up, and what is left of it after a reboot.

use std::{fs, path::PathBuf, process::Stdio};

use mica_agent::{
    execute::{Patience, switch},
    journal::Journal,
    outcome::Ending,
    usage::Sources,
};
use mica_proto::v1::{self, MigMode, RefusalReason, WaitsFor};
use nvml_sim::GpuSpec;
use rstest::rstest;

use crate::{
    care::{Holder, NvidiaSmi, holds, is_well, journal, path, waits_for, want, without_mig},
    coordinator::Coordinator,
    node::{SimNode, wait_until},
    running::{Running, program},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn who_holds_a_gpu_is_named_and_when_they_let_go_the_mode_changes() {
    let node = without_mig("a100-40gb");
    let holder = Holder::start(&node, 0);
    node.node.hold(0, holder.pid()).unwrap();
    let mut coordinator = Coordinator::start([]).await;
    let agent = Running::start(&node, &coordinator.url);
    let mut stream = coordinator.accept().await;
    let report = stream.report().await;
    let outcome = want(&mut stream, &report, 1, "3g.20gb@4").await;
    let refusal = outcome.refusal.unwrap();
    assert_eq!(refusal.reason(), RefusalReason::MigModeHeld);
    let named = format!("sleep (pid {}", holder.pid());
    assert!(refusal.detail.contains(&named), "{}", refusal.detail);
    assert!(!refusal.detail.contains("600"), "{}", refusal.detail);

    let metric = "what=\"release\",node=\"node-1\"} 1";
    wait_until("the metric says so", || {
        agent.get("/metrics").contains(metric)
    });
    let output = program()
        .args(["inspect", "--nvml-library"])
        .arg(node.node.library())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("pending-enable") && text.contains(&named),
        "{text}"
    );

    node.node.release(holder.pid()).unwrap();
    drop(holder);
    let enabled = |report: &v1::Report| report.gpus[0].mig_mode() == MigMode::Enabled;
    let report = stream.report_that(enabled).await;
    assert!(is_well(&report) && report.gpus[0].holders.is_empty());
    let outcome = want(&mut stream, &report, 2, "3g.20gb@4").await;
    assert!(holds(&outcome), "{outcome:?}");
    assert_eq!(node.stands(0), "3g.20gb@4");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_mode_that_stays_pending_without_holders_is_brought_about_by_a_reset() {
    let node = without_mig("a100-40gb");
    let smi = NvidiaSmi::new(&node);
    // Somebody whom nobody can see.
    node.node.hold(0, 4_000_000).unwrap();
    let mut coordinator = Coordinator::start([]).await;
    let program = smi.program();
    let flags = ["--allow-gpu-reset", "--nvidia-smi", &program];
    let _agent = Running::with(&node, &coordinator.url, &flags);
    let mut stream = coordinator.accept().await;
    let report = stream.report().await;
    let outcome = want(&mut stream, &report, 1, "7g.40gb@0").await;
    let failure = outcome.failure.unwrap();
    assert_eq!(failure.nvml_code, Some(19), "{}", failure.detail);
    let uuid = &report.gpus[0].uuid;
    assert_eq!(smi.asked(), format!("--gpu-reset -i {uuid}"));
    node.node.release(4_000_000).unwrap();
    node.node.reset_gpu(0).unwrap();
    smi.answer(0, "");
    let enabled = |report: &v1::Report| report.gpus[0].mig_mode() == MigMode::Enabled;
    let report = stream.report_that(enabled).await;
    assert!(holds(&want(&mut stream, &report, 2, "7g.40gb@0").await));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn where_only_a_reboot_helps_it_is_asked_for_until_it_has_come() {
    let node = without_mig("a100-40gb");
    node.node.set_passthrough(true).unwrap();
    let (sentinel, boot_id) = (path(&node, "reboot-required"), path(&node, "sim/boot_id"));
    let flags = ["--reboot-sentinel", &sentinel, "--boot-id", &boot_id];
    let mut coordinator = Coordinator::start([]).await;
    let agent = Running::with(&node, &coordinator.url, &flags);
    let mut stream = coordinator.accept().await;
    let report = stream.report().await;
    let refusal = want(&mut stream, &report, 1, "7g.40gb@0")
        .await
        .refusal
        .unwrap();
    assert_eq!(refusal.reason(), RefusalReason::ResetRequired);
    assert!(refusal.detail.contains("reboot"), "{}", refusal.detail);
    let asked =
        || fs::read_to_string(&sentinel).is_ok_and(|text| text.contains(&report.gpus[0].uuid));
    wait_until("a reboot is asked for", asked);
    // A successor knows.
    wait_until("it is kept", || journal(&node).contains("reboot"));
    drop(agent);
    let agent = Running::with(&node, &coordinator.url, &flags);
    let mut stream = coordinator.accept().await;
    stream.report_that(waits_for(WaitsFor::Reboot)).await;
    assert!(asked());
    drop(agent);
    node.node.reboot().unwrap();
    let _agent = Running::with(&node, &coordinator.url, &flags);
    let mut stream = coordinator.accept().await;
    stream
        .report_that(|report| is_well(report) && report.gpus[0].mig_mode() == MigMode::Enabled)
        .await;
    wait_until("it is asked for no more", || {
        !PathBuf::from(&sentinel).exists()
    });
}

/// From Hopper on a reboot switches MIG mode off.
#[rstest]
#[case::with_slices("1g.10gb@0 3g.40gb@4")]
#[case::without_slices("")]
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn after_a_reboot_the_mode_is_switched_on_again(#[case] words: &str) {
    let node = SimNode::new(&GpuSpec::many("h100-sxm5-80gb", 1, true));
    let boot_id = path(&node, "sim/boot_id");
    let mut coordinator = Coordinator::start([]).await;
    let agent = Running::with(&node, &coordinator.url, &["--boot-id", &boot_id]);
    let mut stream = coordinator.accept().await;
    let report = stream.report().await;
    if !words.is_empty() {
        assert!(holds(&want(&mut stream, &report, 1, words).await));
    }
    wait_until("the mode is kept", || {
        journal(&node).contains("\"mig\":true")
    });
    drop(agent);
    node.node.reboot().unwrap();
    assert!(!node.node.gpus()[0].mig, "a Hopper forgets it");
    let _agent = Running::with(&node, &coordinator.url, &["--boot-id", &boot_id]);
    let mut stream = coordinator.accept().await;
    let report = stream.report().await;
    assert_eq!(report.gpus[0].mig_mode(), MigMode::Enabled);
    assert_eq!(node.stands(0), words);
}

#[test]
fn what_a_person_switches_is_kept_for_after_a_reboot() {
    let node = SimNode::new(&GpuSpec::many("h100-sxm5-80gb", 1, true));
    let journal = Journal::open(node.directory.path(), "boot-1").unwrap();
    let uuid = node.node.gpus()[0].uuid.clone();
    for on in [false, true] {
        let mut gpu = journal.of(&uuid).unwrap();
        let outcome = switch(
            &mut node.driver(),
            &Sources::default(),
            &uuid,
            on,
            Some(&mut gpu),
            Patience::USUAL,
            &mut |_| {},
        );
        assert_eq!(outcome.ending, Ending::Holds);
        assert_eq!(journal.of(&uuid).unwrap().record().mig, Some(on));
    }
}

#[test]
fn flags_that_make_no_sense_are_explained() {
    for (flags, words) in [
        (["--ignore-xids", "31,x"], "--ignore-xids"),
        (["--ignore-xids=-1", "--allow-gpu-reset"], "--ignore-xids"),
    ] {
        let output = program()
            .args(["run", "--node", "a"])
            .args(flags)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(words), "{stderr}");
    }
}

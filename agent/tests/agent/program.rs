//! The program `mica-agent` as people and scripts run it.

use std::{fs, io::Write as _, net::TcpListener, process::Output};

use mica_proto::v1;
use nvml_sim::GpuSpec;
use rstest::rstest;
use serde_json::Value;
use tonic::Status;

use crate::{
    coordinator::Coordinator,
    node::{SimNode, first, layout, wait_until},
    running::{Running, program},
};

fn inspect(library: &str, more: &[&str]) -> Output {
    let mut command = program();
    command
        .args(["inspect", "--nvml-library", library])
        .args(more);
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[rstest]
#[case::missing("/no/such/library.so", "was not found")]
#[case::no_library("/proc/self/status", "cannot be loaded")]
#[case::not_nvml("libc.so.6", "is a library but not NVML")]
fn a_library_that_is_not_nvml_is_named(#[case] library: &str, #[case] words: &str) {
    let output = inspect(library, &[]);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains(library) && stderr.contains(words),
        "{stderr}"
    );
    assert_eq!(
        stderr.trim_end().lines().count(),
        1,
        "one message:\n{stderr}"
    );
    assert!(output.stdout.is_empty());
}

#[rstest]
#[case::no_command(&[], "Usage")]
#[case::no_node(&["run"], "--node")]
#[case::blank_node(&["run", "--node", "a b"], "blanks")]
#[case::no_unit(&["run", "--node", "a", "--poll-interval", "1"], "unit")]
#[case::no_time(&["run", "--node", "a", "--poll-interval", "0s"], "between")]
#[case::log_level(&["--log-level", "a=b=c", "inspect"], "--log-level")]
#[case::not_an_address(&["run", "--node", "a", "--coordinator", "coordinator:7070"], "http://HOST:PORT")]
#[case::without_tls(&["run", "--node", "a", "--coordinator", "http://10.0.0.1:7070"], "--insecure")]
#[case::without_authority(&["run", "--node", "a", "--coordinator", "https://10.0.0.1:7070"], "--tls-ca")]
#[case::authority_without_tls(&["run", "--node", "a", "--tls-ca", "ca.pem"], "https://")]
#[case::certificate_without_key(&["run", "--node", "a", "--tls-cert", "a.pem"], "--tls-key")]
fn wrong_usage_is_explained(#[case] arguments: &[&str], #[case] words: &str) {
    let output = program().args(arguments).output().unwrap();
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains(words), "{stderr}");
}

#[test]
fn flags_are_read_from_the_environment_too() {
    let node = SimNode::a100();
    let output = program()
        .arg("inspect")
        .env("MICA_AGENT_NVML_LIBRARY", node.node.library())
        .env("MICA_AGENT_OUTPUT", "json")
        .output()
        .unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["gpus"][0]["index"], 0);
}

/// An A100 with a slice in use and a half-made GPU instance, and an A30 in use without MIG.
fn busy_node() -> SimNode {
    let gpus = [
        GpuSpec::many("a100-40gb", 1, true),
        GpuSpec::many("a30-24gb", 1, false),
    ];
    let node = SimNode::new(&gpus.concat());
    let mut driver = node.driver();
    let gpu = first(&mut driver);
    for slice in layout(&gpu, "1g.5gb@0 3g.20gb@4").0 {
        let gi = driver.create_gpu_instance(&gpu.uuid, slice).unwrap();
        if slice.placement.start == 4 {
            driver.create_compute_instance(&gpu.uuid, gi).unwrap();
        }
    }
    node.start_process(4, 77);
    node.node.start_process(1, None, 78, 1 << 20).unwrap();
    node
}

#[test]
fn inspect_shows_people_what_stands() {
    let node = busy_node();
    let output = inspect(node.node.library().to_str().unwrap(), &[]);
    let table = text(&output.stdout);
    let cells = |line: &str| {
        let cells = line
            .split("  ")
            .map(str::trim)
            .filter(|cell| !cell.is_empty());
        cells.map(str::to_owned).collect::<Vec<_>>()
    };
    let rows: Vec<_> = table.lines().map(cells).collect();
    let gpus = node.node.gpus();
    assert_eq!(
        rows[2],
        ["GPU", "UUID", "PRODUCT", "MEMORY", "MIG", "SLOTS", "STATE"]
    );
    assert_eq!(rows[3][1..3], [&*gpus[0].uuid, "NVIDIA A100-SXM4-40GB"]);
    assert_eq!(rows[3][4..], ["enabled", "5/8", "ok"]);
    assert_eq!(rows[4][1..3], [&*gpus[1].uuid, "NVIDIA A30"]);
    assert_eq!(rows[4][4..], ["disabled", "0/4", "used by pid 78"]);
    assert_eq!(
        rows[6],
        [
            "GPU", "GI", "CI", "PROFILE", "PLACE", "MEMORY", "USE", "UUID"
        ]
    );
    let row = |profile: &str| {
        let row = rows
            .iter()
            .find(|row| row.get(3).is_some_and(|cell| cell == profile));
        [2, 4, 6, 7].map(|column| &*row.unwrap()[column])
    };
    let mig = gpus[0]
        .instances
        .iter()
        .find_map(|slice| slice.uuid.as_deref());
    assert_eq!(row("1g.5gb"), ["none", "0:1", "idle", "-"]);
    assert_eq!(row("3g.20gb"), ["0", "4:4", "pid 77", mig.unwrap()]);
}

#[test]
fn inspect_tells_programs_what_stands() {
    let node = busy_node();
    let output = inspect(node.node.library().to_str().unwrap(), &["-o", "json"]);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let instances = document["gpus"][0]["instances"].as_array().unwrap();
    let find = |profile: &str| {
        let found = instances
            .iter()
            .find(|instance| instance["profile"] == profile);
        found.unwrap().clone()
    };
    let used = find("3g.20gb");
    assert_eq!(
        (&used["in_use"], &used["pids"]),
        (&true.into(), &vec![77].into())
    );
    assert_eq!(
        used["placement"],
        serde_json::json!({"start": 4, "size": 4})
    );
    assert!(used["uuid"].as_str().unwrap().starts_with("MIG-"));
    let half = find("1g.5gb");
    assert_eq!((&half["ci"], &half["uuid"]), (&Value::Null, &Value::Null));
    assert_eq!(document["gpus"][1]["mig_mode"], "disabled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn it_serves_and_ends_cleanly_on_a_signal() {
    let node = SimNode::a100();
    let mut coordinator = Coordinator::start([]).await;
    for signal in ["TERM", "INT"] {
        let agent = Running::start(&node, &coordinator.url);
        let mut stream = coordinator.accept().await;
        stream.report().await;
        let live = agent.get("/livez");
        assert!(live.starts_with("HTTP/1.1 200"), "{live}");
        let ready = agent.get("/readyz");
        assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
        let metrics = agent.get("/metrics");
        assert!(
            metrics.contains("content-type: text/plain; version=0.0.4"),
            "{metrics}"
        );
        wait_until("it is connected", || {
            let connected = "mica_agent_coordinator_connected{node=\"node-1\"} 1";
            agent.get("/metrics").contains(connected)
        });
        assert_eq!(agent.end(signal), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn nvml_that_is_lost_makes_it_unready_and_is_opened_again() {
    let node = SimNode::a100();
    let mut coordinator = Coordinator::start([]).await;
    let agent = Running::start(&node, &coordinator.url);
    let mut stream = coordinator.accept().await;
    stream.report().await;
    node.fail("*", 9, 0, None);
    let lost = |report: &v1::Report| report.gpus[0].fault.contains("Driver Not Loaded");
    stream.report_that(lost).await;
    let answer = agent.get("/readyz");
    assert!(
        answer.starts_with("HTTP/1.1 503") && answer.contains("Driver Not Loaded"),
        "{answer}"
    );
    assert!(agent.get("/livez").starts_with("HTTP/1.1 200"));
    node.node.clear_faults().unwrap();
    stream
        .report_that(|report| report.gpus[0].fault.is_empty())
        .await;
    assert!(agent.get("/readyz").starts_with("HTTP/1.1 200"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn two_agents_of_one_name_are_told_apart_for_people() {
    let node = SimNode::a100();
    let taken = Status::already_exists("node-1 is connected from 10.0.0.9:1234");
    let mut coordinator = Coordinator::start([taken.clone(), taken]).await;
    let agent = Running::start(&node, &coordinator.url);
    coordinator.accept().await;
    let log = agent.log();
    let told: Vec<_> = log
        .lines()
        .filter(|line| line.contains("another agent"))
        .collect();
    let [told] = *told else {
        panic!("told once:\n{log}");
    };
    let told: Value = serde_json::from_str(told).unwrap();
    assert_eq!(
        (told["level"].as_str(), told["node"].as_str()),
        (Some("ERROR"), Some("node-1"))
    );
    let message = told["message"].as_str().unwrap();
    assert!(
        message.contains("--node") && message.contains("10.0.0.9:1234"),
        "{message}"
    );
}

#[test]
fn what_is_no_coordinator_is_said_to_be_none() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let garbage = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"220 mail.example ESMTP\r\n").unwrap();
    });
    let node = SimNode::a100();
    let agent = Running::start(&node, &url);
    garbage.join().unwrap();
    wait_until("it says so", || {
        agent.log().contains("check the address in --coordinator")
    });
    assert_eq!(agent.end("TERM"), Some(0), "and goes on");
}

#[test]
fn a_state_that_cannot_be_trusted_stops_it_with_the_remedy() {
    let node = SimNode::a100();
    let state = node.directory.path().join("state");
    fs::create_dir(&state).unwrap();
    fs::write(state.join("generation"), "x").unwrap();
    let mut agent = Running::start(&node, "http://127.0.0.1:1");
    wait_until("it ends", || agent.child.try_wait().unwrap().is_some());
    assert_eq!(agent.child.wait().unwrap().code(), Some(1));
    let log = agent.log();
    assert!(
        log.contains("generation") && log.contains("remove the file"),
        "{log}"
    );
}

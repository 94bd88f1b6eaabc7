//! Memory and time with 1,000 nodes of 8 GPUs and 10,000 pods: `make bench-coordinator`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1 as k8s;
use mica_model::{Container, Generation, Pod as PodName};
use mica_proto::v1;
use serde_json::{Value, json};

use super::{
    index::{Index, Joined, Kubelet, Reported},
    metrics::Metrics,
    objects::{NodeObject, Pod},
    round::round,
    rounds,
    testing::gpu,
};

const NODES: u32 = 1_000;
const GPUS: u32 = 8;
/// They run, one on each GPU.
const RUNNING: u32 = NODES * GPUS;
const WAITING: u32 = 2_000;
const SLICE: &str = "nvidia.com/mig-3g.20gb";

/// Resident memory of this process, MiB.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: f64 = line
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    kib / 1024.0
}

fn node_name(number: u32) -> String {
    format!("gpu-node-{number:04}")
}

fn pod_name(number: u32) -> PodName {
    PodName {
        namespace: format!("tenant-{}", number % 20),
        name: format!("clearml-id-{number:08x}"),
    }
}

fn pod(number: u32, spec: &Value) -> (PodName, Pod) {
    let PodName { namespace, name } = pod_name(number);
    let object: k8s::Pod = serde_json::from_value(json!({
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": format!("00000000-0000-4000-8000-{number:012}"),
            "resourceVersion": (100_000 + number).to_string(),
            "annotations": {"a": "b"},
        },
        "spec": spec,
    }))
    .unwrap();
    Pod::of(&object).unwrap()
}

fn pods() -> BTreeMap<PodName, Pod> {
    let container = |limits: Value| json!([{"name": "main", "resources": {"limits": limits}}]);
    let running = (0..RUNNING).map(|number| {
        let limits = json!({SLICE: "1", "cpu": "2", "memory": "8Gi"});
        pod(
            number,
            &json!({"nodeName": node_name(number / GPUS), "containers": container(limits)}),
        )
    });
    let waiting = (RUNNING..RUNNING + WAITING).map(|number| {
        let limits = match number % 10 {
            0 => json!({SLICE: "2", "cpu": "2", "memory": "8Gi"}),
            1..5 => json!({"nvidia.com/mig-1g.5gb": "1", "cpu": "1", "memory": "4Gi"}),
            _ => json!({SLICE: "1", "cpu": "2", "memory": "8Gi"}),
        };
        let zone = json!({"zone": format!("z{}", number % 3)});
        pod(
            number,
            &json!({
                "schedulingGates": [{"name": "mica.dev/slice"}],
                "nodeSelector": zone,
                "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
                "containers": container(limits),
            }),
        )
    });
    running.chain(waiting).collect()
}

fn nodes() -> BTreeMap<String, NodeObject> {
    let node = |number: u32| {
        let labels: serde_json::Map<_, _> = (0..60)
            .map(|label| {
                (
                    format!("feature.node.kubernetes.io/cpu-{label}"),
                    json!("true"),
                )
            })
            .chain([
                ("mica.dev/partitioning".to_owned(), json!("dynamic")),
                ("zone".to_owned(), json!(format!("z{}", number % 3))),
            ])
            .collect();
        let allocatable = json!({"cpu": "128", "memory": "1Ti", "pods": "250", SLICE: "16"});
        let object: k8s::Node = serde_json::from_value(json!({
            "metadata": {"name": node_name(number), "labels": labels, "resourceVersion": "7"},
            "status": {"allocatable": allocatable},
        }))
        .unwrap();
        NodeObject::of(&object).unwrap()
    };
    (0..NODES).map(node).collect()
}

/// Two slices on each GPU, of which a pod has one.
fn report(number: u32) -> Reported {
    let name = node_name(number);
    let mut devices = BTreeSet::new();
    let gpu = |index: u32| {
        let mut gpu = gpu(&name, index, "3g.20gb@0 3g.20gb@4");
        for instance in &mut gpu.instances {
            let uuid = format!("MIG-{number:08}-0000-4000-{index:04}-{:012}", instance.gi);
            instance.compute.as_mut().unwrap().uuid = uuid;
        }
        let container = Container {
            pod: pod_name(number * GPUS + index),
            name: "main".to_owned(),
        };
        gpu.instances[0].in_use.containers.push(container);
        gpu
    };
    let gpus: Vec<_> = (0..GPUS).map(gpu).collect();
    let instances = gpus.iter().flat_map(|gpu| &gpu.instances);
    devices.extend(instances.map(|it| it.compute.as_ref().unwrap().uuid.clone()));
    Reported {
        driver_version: "580.1".to_owned(),
        nvml_version: "13.1".to_owned(),
        generation: Generation(0),
        gpus,
        kubelet: Some(Kubelet {
            allocatable: BTreeMap::from([(SLICE.to_owned(), devices)]),
            silent: false,
        }),
    }
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    println!("{what:<44} {:>8.1} ms", start.elapsed().as_secs_f64() * 1e3);
    result
}

#[test]
#[ignore = "a measurement: make bench-coordinator"]
fn a_thousand_nodes_and_ten_thousand_pods() {
    println!("{NODES} nodes × {GPUS} GPUs, {RUNNING} pods run, {WAITING} wait");
    let before = resident();
    let now = Instant::now();
    let mut index = Index::on_kubernetes(&[]);
    let mut streams: Vec<Joined> = Vec::new();
    timed("pods and nodes are listed", || {
        index.observe(|objects| {
            objects.set_namespaces((0..20).map(|tenant| format!("tenant-{tenant}")).collect());
            objects.set_nodes(nodes());
            objects.set_pods(pods())
        });
    });
    timed("agents join and report", || {
        for number in 0..NODES {
            let hello = v1::Hello {
                node: node_name(number),
                agent_version: "0.1.0".to_owned(),
                generation: 0,
            };
            let joined = index.agent_joined(hello, now).unwrap();
            index.report(&node_name(number), joined.connection, report(number), now);
            streams.push(joined);
        }
    });
    let metrics = Metrics::new().unwrap();
    timed("what is kept", || index.keep());
    timed("all that wait are placed", || drop(round(&index).unwrap()));
    timed("a round: they are promised their slices too", || {
        rounds::run_once(&mut index, &metrics);
    });
    let writes = timed("what is to be written", || index.writes().len());
    timed("what is kept, again", || index.keep());
    timed("a round in which nothing is new", || {
        rounds::run_once(&mut index, &metrics);
    });
    timed("what is to be written, again", || index.writes().len());
    println!(
        "{writes} writes; memory of all that is known: {:.0} MiB",
        resident() - before
    );
    assert!(now.elapsed() < Duration::from_secs(600), "far too slow");
    drop(streams);
}

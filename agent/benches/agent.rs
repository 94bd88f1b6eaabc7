//! What the agent costs: the time of a repartition beyond what the driver itself takes, eight GPUs beside one, and memory, CPU and the
//! time of a scrape when idle. The program itself, on a simulated node, with a coordinator played by hand.
//!
//! `make bench-agent` builds and runs it; it takes about a minute and a half.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "its output is its purpose, and nothing depends on it"
)]

use std::time::{Duration, Instant};

use mica_model::{Gpu, Layout};
use nvml_sim::{Fault, GpuSpec};

use coordinator::{Coordinator, Joined};
use node::{SimNode, layout};
use running::{Running, get};

#[expect(dead_code, reason = "shared with the tests")]
#[path = "../tests/agent/coordinator.rs"]
mod coordinator;
#[expect(dead_code, unused_imports, reason = "shared with the tests")]
#[path = "../tests/agent/node.rs"]
mod node;
#[expect(dead_code, reason = "shared with the tests")]
#[path = "../tests/agent/running.rs"]
mod running;

const GPUS: usize = 8;
const BOARD: &str = "a100-40gb";
const FULL: &str = "1g.5gb@0 1g.5gb@1 1g.5gb@2 1g.5gb@3 1g.5gb@4 1g.5gb@5 1g.5gb@6";
/// Three slices of [`FULL`] go, one comes.
const AFTER: &str = "1g.5gb@0 1g.5gb@1 1g.5gb@2 1g.5gb@3 3g.20gb@4";
/// 0.3 s for each slice created and 0.2 s for each destroyed, as the field reports of hardware.
const LATENCIES: [(&str, u64); 4] = [
    ("nvmlDeviceCreateGpuInstanceWithPlacement", 200),
    ("nvmlGpuInstanceCreateComputeInstance", 100),
    ("nvmlComputeInstanceDestroy", 100),
    ("nvmlGpuInstanceDestroy", 100),
];
/// What the driver takes for the way from [`FULL`] to [`AFTER`].
const NECESSARY: Duration = Duration::from_millis(3 * 200 + 300);
const ROUNDS: usize = 5;
const IDLE: Duration = Duration::from_secs(60);
const SCRAPE_INTERVAL: Duration = Duration::from_secs(15);

#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn main() {
    let node = SimNode::new(&GpuSpec::many(BOARD, GPUS, true));
    let mut coordinator = Coordinator::start([]).await;
    let agent = Running::with(&node, &coordinator.url, &["--poll-interval", "1s"]);
    let mut stream = coordinator.accept().await;
    let gpus = stream.report().await.to_gpus().unwrap();
    repartitions(&node, &mut stream, &gpus).await;
    idle(&agent).await;
}

/// Times the way from [`FULL`] to [`AFTER`] on one GPU and on all.
async fn repartitions(node: &SimNode, stream: &mut Joined, gpus: &[Gpu]) {
    let mut generation = 0;
    let mut make = async |words, gpus: &[Gpu]| {
        generation += 1;
        let layouts: Vec<(&Gpu, Layout)> =
            gpus.iter().map(|gpu| (gpu, layout(gpu, words))).collect();
        let began = Instant::now();
        stream.want(generation, &layouts).await;
        let (_, outcome) = stream.outcome().await;
        let took = began.elapsed();
        let held =
            |gpu: &mica_proto::v1::GpuOutcome| gpu.refusal.is_none() && gpu.failure.is_none();
        assert!(outcome.gpus.iter().all(held), "{outcome:?}");
        took
    };
    for count in [1, GPUS] {
        let some = &gpus[..count];
        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            node.node.clear_faults().unwrap();
            make(FULL, some).await;
            for (call, takes) in LATENCIES {
                let delay = Fault::delay(call, Duration::from_millis(takes));
                node.node.inject(&delay).unwrap();
            }
            times.push(make(AFTER, some).await);
        }
        println!(
            "repartition of {count} GPU(s), 7×1g → 3g + 4×1g   median {:.3?}, the driver's part {NECESSARY:.3?}, the agent's {:.1?}",
            median(&mut times),
            median(&mut times).saturating_sub(NECESSARY),
        );
    }
    node.node.clear_faults().unwrap();
    make(FULL, gpus).await;
}

/// Memory and CPU of an agent with nothing to do but to be scraped.
async fn idle(agent: &Running) {
    let pid = agent.child.id();
    let address = agent.http();
    let (cpu, began) = (cpu_time(pid), Instant::now());
    let mut scrapes = Vec::new();
    while began.elapsed() < IDLE {
        tokio::time::sleep(SCRAPE_INTERVAL).await;
        let start = Instant::now();
        let page = get(&address, "/metrics");
        scrapes.push(start.elapsed());
        assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    }
    let busy = cpu_time(pid).saturating_sub(cpu).as_secs_f64() / began.elapsed().as_secs_f64();
    println!(
        "idle, {GPUS} GPUs × 7 instances, a scrape each {SCRAPE_INTERVAL:?}   resident {:.1} MiB, CPU {:.3} % of a core, a scrape {:.2?}",
        resident_mib(pid),
        busy * 100.0,
        median(&mut scrapes),
    );
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// CPU time of all threads, by the kernel's account in nanoseconds.
fn cpu_time(pid: u32) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks
        .map(|task| {
            let account = std::fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap();
            let nanoseconds = account.split_whitespace().next().unwrap();
            Duration::from_nanos(nanoseconds.parse().unwrap())
        })
        .sum()
}

/// `VmRSS` of `/proc/PID/status`.
fn resident_mib(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.unwrap().split_whitespace().next().unwrap();
    kib.parse::<f64>().unwrap() / 1024.0
}

//! Whether it is alive, as probes ask.

use std::{sync::Arc, time::Duration};

use mica_agent::http::{Sources, router};
use nvml_sim::{Fault, GpuSpec};
use tokio::{net::TcpListener, task::JoinSet};

use crate::{
    node::{SimNode, wait_until},
    running::get,
    uplink::Agent,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_not_alive_while_an_nvml_call_hangs() {
    let node = SimNode::a100();
    let agent = Agent::start(&node, "http://127.0.0.1:1").await;
    let sources = Sources {
        metrics: Arc::clone(&agent.metrics),
        orders: agent.thread.orders(),
        hung: Duration::from_millis(500),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(listener, router(sources)).await });
    let answers = |status: &str| get(&address, "/livez").starts_with(&format!("HTTP/1.1 {status}"));
    assert!(answers("200"));
    let call = "nvmlDeviceGetMigMode";
    let hang = Fault {
        times: Some(1),
        ..Fault::delay(call, Duration::from_secs(1))
    };
    node.node.inject(&hang).unwrap();
    wait_until("it is not alive", || answers("503"));
    assert!(get(&address, "/livez").contains("NVML"));
    let metrics = get(&address, "/metrics");
    assert!(metrics.starts_with("HTTP/1.1 200"), "{metrics}");
    assert!(
        metrics.contains("mica_agent_nvml_silent_seconds{thread=\"node\""),
        "{metrics}"
    );
    wait_until("it is alive again", || answers("200"));
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn many_slow_gpus_are_no_hang() {
    let node = SimNode::new(&GpuSpec::many("a100-40gb", 12, false));
    let agent = Agent::start(&node, "http://127.0.0.1:1").await;
    let call = "nvmlDeviceGetMigMode";
    let slow = Fault::delay(call, Duration::from_millis(100));
    node.node.inject(&slow).unwrap();
    node.node.start_process(11, None, 77, 0).unwrap();
    // Reading all of them takes 1.2 s.
    let orders = agent.thread.orders();
    let mut longest = Duration::ZERO;
    wait_until("the last GPU is read", || {
        longest = longest.max(
            orders
                .pulse()
                .slowest()
                .map_or(Duration::ZERO, |slowest| slowest.silent),
        );
        orders.inventory().borrow().gpus[11].in_use.processes == [77]
    });
    assert!(longest < Duration::from_millis(900), "{longest:?}");
    agent.stop().await;
}

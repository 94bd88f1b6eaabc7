//! From a gated pod to a running one, on the real kubelet with its status tick of 10 s.

use std::time::{Duration, Instant};

use crate::tenant::{Pod, Tenant};

#[tokio::test]
#[ignore = "needs a test cluster: make test brings one up"]
async fn pods_run_on_slices_that_did_not_exist() {
    let tenant = Tenant::new("fresh-slices").await;
    tenant.slow_driver(Duration::from_millis(300));
    let before = tenant.slices();
    let pods: Vec<_> = (0..20)
        .map(|number| {
            let profile = ["1g.5gb", "2g.10gb"][number % 2];
            Pod::asking(profile, &format!("fresh-{number}"))
        })
        .collect();
    let start = Instant::now();
    let running = tenant.run_all(&pods).await;
    println!(
        "20 pods at once, all Ready after {} ms",
        start.elapsed().as_millis()
    );
    for pod in &running {
        assert!(
            !before.contains_key(&pod.slice),
            "{} was there already",
            pod.slice
        );
        println!("{}: Ready after {} ms", pod.name, pod.took.as_millis());
        tenant.end(pod).await;
    }
    tenant.delete().await;
}

//! The Python package `clearml`: queues, tasks and workers through its `APIClient` (`sdk.py`).

use clearml_sim::{State, Status};

use crate::programs::{file, point, program, python, run, serve};

#[tokio::test]
#[ignore = "needs Python packages: make test installs them"]
async fn the_sdk_uses_queues_tasks_and_workers() {
    let state = State::new();
    let company = state.add_company("acme");
    let keys = state.add_user(&company, "sdk");
    for index in 0..505 {
        state.add_queue(&company, &format!("bulk-{index:03}"));
    }
    state.add_queue_with_tags(&company, "k8s_scheduler", &["k8s-glue"]);
    let server = serve(&state).await;
    let home = tempfile::tempdir().unwrap();

    let mut script = program(python(), home.path());
    script.arg(file("sdk.py"));
    point(&mut script, &server, &keys);
    let output = run(&mut script).await;
    let said = String::from_utf8(output.stdout).unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{complaint}");
    println!("{said}");

    // What it left behind, seen from here.
    let tasks = state.tasks();
    let ends: Vec<_> = tasks
        .iter()
        .map(|task| (task.name.as_str(), task.status))
        .collect();
    assert_eq!(
        ends,
        [("train-1", Status::Completed), ("train-2", Status::Created)]
    );
    let first = tasks.first().unwrap();
    assert_eq!(first.last_worker.as_deref(), Some("node-a:gpu0"));
    let requests = state.requests();
    let refused = requests.iter().filter(|request| request.status >= 400);
    println!(
        "{} requests, {} of them refused",
        requests.len(),
        refused.count()
    );
}

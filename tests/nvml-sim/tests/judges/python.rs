//! NVIDIA's Python binding, and two monitors that are built on it.

use std::path::Path;
use std::process::Command;

use nvml_sim::{GpuSpec, Node, NodeOptions};
use tempfile::TempDir;

/// Runs a program of the virtual environment against a node and returns what it prints; it must succeed and complain of nothing.
fn run(node: &Node, program: &str, arguments: &[&str]) -> String {
    let python = std::env::var_os("MICA_TEST_PYTHON")
        .expect("MICA_TEST_PYTHON names python; tests/run sets it");
    let output = Command::new(Path::new(&python).with_file_name(program))
        .args(arguments)
        .env("LD_LIBRARY_PATH", node.library().parent().unwrap())
        .env("COLUMNS", "120")
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && complaint.is_empty(),
        "{program}: {said}\n{complaint}"
    );
    said
}

fn node(gpus: &[GpuSpec]) -> (TempDir, Node) {
    let dir = TempDir::new().unwrap();
    let node = Node::create(&dir.path().join("node"), gpus, &NodeOptions::default()).unwrap();
    (dir, node)
}

/// A node with boards of every architecture: an A100 cut into three, with this very process on the first instance; an H100 in MIG
/// mode; an A30 out of it; an L4, which has none.
fn monitored() -> (TempDir, Node) {
    let (dir, node) = node(&[
        GpuSpec {
            board: "a100-40gb".to_owned(),
            mig: true,
        },
        GpuSpec {
            board: "h100-sxm5-80gb".to_owned(),
            mig: true,
        },
        GpuSpec {
            board: "a30-24gb".to_owned(),
            mig: false,
        },
        GpuSpec {
            board: "l4-24gb".to_owned(),
            mig: false,
        },
    ]);
    crate::nvml_wrapper::cut(&node, 0, &[(9, 2), (14, 1), (19, 0)]);
    node.start_process(0, Some(2), std::process::id(), 700 << 20)
        .unwrap();
    (dir, node)
}

/// Asserts that a text has these parts, and says so.
fn has(program: &str, text: &str, parts: &[&str]) {
    for part in parts {
        assert!(
            text.contains(part),
            "{program} does not show {part:?}:\n{text}"
        );
        println!("{program}: shows {part:?}");
    }
}

#[test]
#[ignore = "needs Python packages: make test installs them"]
fn nvidia_ml_py_lives_a_whole_mig_life() {
    let (_dir, node) = node(&GpuSpec::many("a100-40gb", 1, false));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/judges/life_cycle.py");
    let (script, dir) = (script.to_str().unwrap(), node.dir().to_str().unwrap());
    let said = run(
        &node,
        "python",
        &[script, env!("CARGO_BIN_EXE_nvml-sim"), dir],
    );
    print!("{said}");
    assert!(said.lines().count() > 50, "it checks little");
    let verdict = nvml_sim::judge::judge(&node.log().unwrap());
    assert_eq!(
        (verdict.created, verdict.destroyed, verdict.mode_changes),
        (2, 2, 2)
    );
}

#[test]
#[ignore = "needs Python packages: make test installs them"]
fn nvitop_draws_mig_devices() {
    let (_dir, node) = monitored();
    let said = run(&node, "nvitop", &["--once"]);
    has(
        "nvitop",
        &said,
        &[
            "Driver Version: 580.95.05",
            "A100-SXM4-40GB        On │ 00000000:07:00.0 Off │  Enabled           0",
            "0:0      3g.20gb @ GI/CI: 2/0 │  700.0MiB / 19968MiB │ BAR1:       0B /  0%",
            "0:1      2g.10gb @ GI/CI: 3/0 │        0B /  9856MiB",
            "0:2       1g.5gb @ GI/CI: 9/0 │        0B /  4864MiB",
            "N/A   41C   P0     68W / 400W │  700.0MiB / 40.00GiB │     N/A      Default",
            "L4                    On │ 00000000:2E:00.0 Off │     N/A            0",
            "700.0MiB   0     0",
        ],
    );
}

#[test]
#[ignore = "needs Python packages: make test installs them"]
fn gpustat_reads_every_gpu() {
    let (_dir, node) = monitored();
    let said = run(&node, "gpustat", &["--json", "--show-all"]);
    let json: serde_json::Value = serde_json::from_str(&said).unwrap();
    let gpus = json["gpus"].as_array().unwrap();
    let pid = std::process::id();
    let read = |gpu: &serde_json::Value| {
        let fields = [
            "name",
            "memory.used",
            "memory.total",
            "utilization.gpu",
            "temperature.gpu",
            "power.draw",
        ];
        fields.map(|field| gpu[field].clone())
    };
    let want = [
        serde_json::json!(["NVIDIA A100-SXM4-40GB", 700, 40_960, null, 41, 68]),
        serde_json::json!(["NVIDIA H100 80GB HBM3", 0, 81_559, null, 41, 68]),
        serde_json::json!(["NVIDIA A30", 0, 24_576, 0, 41, 68]),
        serde_json::json!(["NVIDIA L4", 0, 23_034, 0, 41, 68]),
    ];
    let read: Vec<_> = gpus
        .iter()
        .map(|gpu| serde_json::json!(read(gpu)))
        .collect();
    assert_eq!(read, want);
    let processes = &gpus[0]["processes"];
    assert_eq!(
        (&processes[0]["pid"], &processes[0]["gpu_memory_usage"]),
        (&pid.into(), &700.into())
    );
    for gpu in read {
        println!(
            "gpustat: reads name, memory used and total, utilisation, temperature, power: {gpu}"
        );
    }
    println!("gpustat: sees process {pid} with 700 MiB");
}

//! The program `nvml-sim`, run as people run it.

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::client::rig;

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nvml-sim"))
        .args(arguments)
        .output()
        .unwrap()
}

/// Standard output of a run that must succeed.
fn ok(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Exit code and standard error of a run that must fail.
fn fails(arguments: &[&str]) -> (i32, String) {
    let output = run(arguments);
    assert!(!output.status.success(), "{arguments:?} succeeded");
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

fn node(boards: &[&str]) -> (TempDir, String) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("node").to_str().unwrap().to_owned();
    let gpus = boards.iter().flat_map(|board| ["--gpu", board]);
    let arguments: Vec<_> = ["create", path.as_str(), "--seed", "1"]
        .into_iter()
        .chain(gpus)
        .collect();
    let library = ok(&arguments);
    assert!(Path::new(library.trim_end()).is_file(), "{library}");
    (dir, path)
}

#[test]
fn shows_a_node_as_nvidia_smi_does() {
    let (_dir, path) = node(&["a100-40gb*2", "a30-24gb"]);
    let lines: Vec<_> = ok(&["show", &path, "-L"])
        .lines()
        .map(str::to_owned)
        .collect();
    assert_eq!(lines.len(), 3);
    assert!(
        lines[0].starts_with("GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-"),
        "{}",
        lines[0]
    );
    assert!(
        lines[2].starts_with("GPU 2: NVIDIA A30 (UUID: GPU-"),
        "{}",
        lines[2]
    );
    assert_eq!(
        ok(&["show", &path, "--lgi"]),
        "No GPU instances found: Not Found\n"
    );
    assert_eq!(
        ok(&["show", &path, "--lgip"]),
        "No MIG-enabled devices found.\n",
        "MIG is off"
    );
    let json: serde_json::Value = serde_json::from_str(&ok(&["show", &path, "--json"])).unwrap();
    assert_eq!(json[2]["board"], "a30-24gb");
}

/// Line by line as NVIDIA's guide prints them.
#[test]
fn tables_as_nvidia_smi_prints_them() {
    let rig = rig(&["a100-40gb"]);
    let gpu = rig.client.gpu(0).unwrap();
    rig.client.create_at(gpu, 19, 2, 1).unwrap();
    let path = rig.node.dir().to_str().unwrap();
    let instances = "\
+-------------------------------------------------------+
| GPU instances:                                        |
| GPU   Name             Profile  Instance   Placement  |
|                          ID       ID       Start:Size |
|=======================================================|
|   0  MIG 1g.5gb          19        9          2:1     |
+-------------------------------------------------------+
";
    assert_eq!(ok(&["show", path, "--lgi"]), instances);
    let profiles = ok(&["show", path, "--lgip"]);
    let first = "\
+-----------------------------------------------------------------------------+
| GPU instance profiles:                                                      |
| GPU   Name             ID    Instances   Memory     P2P    SM    DEC   ENC  |
|                              Free/Total   GiB              CE    JPEG  OFA  |
|=============================================================================|
|   0  MIG 1g.5gb        19     6/7        4.75       No     14     0     0   |
|                                                             1     0     0   |
+-----------------------------------------------------------------------------+
|   0  MIG 1g.5gb+me     20     1/1        4.75       No     14     1     0   |
";
    assert!(profiles.starts_with(first), "{profiles}");
}

#[test]
fn starts_and_stops_processes() {
    let (_dir, path) = node(&["a100-40gb"]);
    let pid = ok(&["process", "start", &path, "--gpu", "0", "--memory-mib", "5"]);
    let shown = ok(&["show", &path, "--processes"]);
    assert!(
        shown.contains(pid.trim_end()) && shown.contains("5 MiB"),
        "{shown}"
    );
    let (code, message) = fails(&["process", "start", &path, "--gpu", "0", "--gi", "3"]);
    assert_eq!(code, 1);
    assert!(message.contains("MIG mode is off"), "{message}");
    ok(&["process", "stop", &path, pid.trim_end()]);
    assert_eq!(
        ok(&["show", &path, "--processes"]),
        "No running processes found\n"
    );
    assert_eq!(
        ok(&["log", &path]).lines().count(),
        3,
        "two starts and a stop"
    );
    ok(&["judge", &path]);
}

#[test]
fn runs_a_command_against_the_node() {
    let (_dir, path) = node(&["a100-40gb"]);
    let shell = "test -e $NVML_SIM_DIR/state && nvidia-smi -L | grep -q A100 && \
                 case $LD_LIBRARY_PATH in $NVML_SIM_DIR/lib*) exit 7;; esac";
    assert_eq!(
        run(&["exec", &path, "--", "sh", "-c", shell]).status.code(),
        Some(7),
        "its exit code is passed on"
    );
    let (code, message) = fails(&["exec", &path, "--", "/no/such/program"]);
    assert!(
        code == 1 && message.contains("/no/such/program"),
        "{code} {message}"
    );
}

/// What a writer leaves that dies after its line and before its change: the next one cuts it off.
#[test]
fn a_line_without_its_change_is_cut_off() {
    let (_dir, path) = node(&["a100-40gb"]);
    ok(&["process", "start", &path, "--gpu", "0", "--pid", "9"]);
    let log = Path::new(&path).join("log.jsonl");
    let whole = std::fs::read_to_string(&log).unwrap();
    std::fs::write(
        &log,
        format!("{whole}{{\"time_ns\":1,\"client\":1,\"action\":\"reset\",\"result\":0,\"gp"),
    )
    .unwrap();
    assert_eq!(ok(&["log", &path]), whole);
    ok(&["judge", &path]);
    ok(&["process", "stop", &path, "9"]);
    assert_eq!(ok(&["log", &path]).lines().count(), 2);
}

#[test]
fn wrong_usage_is_told_what_to_do() {
    let (_dir, path) = node(&["a100-40gb"]);
    let (code, message) = fails(&["create", &path, "--gpu", "a100-40gb"]);
    assert!(
        code == 1 && message.contains("already holds a node"),
        "{code} {message}"
    );
    let other = format!("{path}-2");
    let (_, message) = fails(&["create", &other, "--gpu", "a100"]);
    assert!(
        message.contains("board \"a100\" is unknown; there are a100-40gb,"),
        "{message}"
    );
    assert!(!Path::new(&other).exists(), "nothing was left behind");
    let (_, message) = fails(&["create", &other, "--gpu", "a100-40gb*17"]);
    assert!(message.contains("17 GPUs: a node has 1 to 16"), "{message}");
    let (code, _) = fails(&["create", &other]);
    assert_eq!(code, 2);
    let (_, message) = fails(&[
        "create",
        &other,
        "--gpu",
        "a100-40gb",
        "--library",
        "/no/such.so",
    ]);
    assert!(
        message.contains("library /no/such.so is not a file"),
        "{message}"
    );
    let (_, message) = fails(&["show", "/no/such/node"]);
    assert!(
        message.contains("open /no/such/node/state: No such file"),
        "{message}"
    );
    let (_, message) = fails(&["inject", &path, "nvmlFoo", "--return", "3"]);
    assert!(
        message.contains("\"nvmlFoo\" is no NVML function"),
        "{message}"
    );
    for arguments in [
        &["inject", &path, "nvmlInit_v2"][..],
        &["inject", &path, "--kill", "--crash"],
        &["inject", &path, "--return", "3", "--read-ppm", "5"],
    ] {
        assert_eq!(fails(arguments).0, 2, "{arguments:?}");
    }
    let (_, message) = fails(&["configure", &path, "--permission", "admin"]);
    assert!(
        message.contains("\"admin\" is none of root, config, monitor, none"),
        "{message}"
    );
    let (_, message) = fails(&["reload", &path, "--version", "new"]);
    assert!(message.contains("driver version \"new\""), "{message}");
}

#[test]
fn a_foreign_state_file_is_named() {
    let (_dir, path) = node(&["a100-40gb"]);
    let state = Path::new(&path).join("state");
    let mut bytes = std::fs::read(&state).unwrap();
    bytes[8] ^= 1;
    std::fs::write(&state, &bytes).unwrap();
    let (_, message) = fails(&["show", &path]);
    assert!(message.contains("made by another version"), "{message}");
    std::fs::write(&state, b"short").unwrap();
    let (_, message) = fails(&["show", &path]);
    assert!(
        message.contains("is not the state of a simulated node"),
        "{message}"
    );
}

#[test]
fn the_same_seed_gives_the_same_names() {
    let ((_one, one), (_other, other)) = (node(&["a100-40gb"]), node(&["a100-40gb"]));
    assert_eq!(ok(&["show", &one, "-L"]), ok(&["show", &other, "-L"]));
}

fn status(path: &str) -> serde_json::Value {
    serde_json::from_str(&ok(&["status", path])).unwrap()
}

#[test]
fn the_driver_is_configured_and_shown() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().to_str().unwrap();
    let create = [
        "create",
        path,
        "--gpu",
        "a100-40gb",
        "--seed",
        "1",
        "--behaviour",
        "quirks",
        "--permission",
        "config",
        "--passthrough",
        "--linger-ms",
        "250",
        "--driver-version",
        "570.1",
        "--caps",
    ];
    ok(&create);
    let made = status(path);
    let want = serde_json::json!({
        "loaded": true, "version": "570.1", "boot_id": made["boot_id"], "behaviour": "quirks",
        "permission": "config", "passthrough": true, "linger_ms": 250, "caps": true,
    });
    assert_eq!(made, want);
    ok(&[
        "configure",
        path,
        "--behaviour",
        "strict",
        "--permission",
        "none",
    ]);
    ok(&[
        "configure",
        path,
        "--passthrough",
        "false",
        "--linger-ms",
        "0",
    ]);
    let want = serde_json::json!({
        "loaded": true, "version": "570.1", "boot_id": made["boot_id"], "behaviour": "strict",
        "permission": "none", "passthrough": false, "linger_ms": 0, "caps": true,
    });
    assert_eq!(status(path), want);
}

#[test]
fn the_machine_is_driven_from_outside() {
    let (_dir, path) = node(&["a100-40gb", "a100-40gb"]);
    let boot_id = || status(&path)["boot_id"].clone();
    let before = boot_id();
    let pid = ok(&["hold", &path, "--gpu", "1"]);
    let (_, message) = fails(&["unload", &path]);
    assert!(message.contains("GPU 1 is in use"), "{message}");
    let (_, message) = fails(&["reset", &path]);
    assert!(message.contains("GPU 1 is in use"), "{message}");
    ok(&["reset", &path, "--gpu", "0"]);
    ok(&["release", &path, pid.trim_end()]);
    fails(&["release", &path, pid.trim_end()]);
    ok(&["lose", &path, "--gpu", "0"]);
    ok(&["reset", &path]);
    ok(&["unload", &path]);
    assert_eq!(status(&path)["loaded"], false);
    ok(&["reload", &path, "--version", "590.44.01"]);
    assert_eq!(status(&path)["version"], "590.44.01");
    assert_eq!(boot_id(), before, "a reload is no boot");
    ok(&["reboot", &path]);
    assert_ne!(boot_id(), before);
    let file = std::fs::read_to_string(Path::new(&path).join("boot_id")).unwrap();
    assert_eq!(boot_id(), file.trim_end());
}

#[test]
fn tells_of_events() {
    let rig = rig(&["a100-40gb"]);
    let (client, gpu) = (&rig.client, rig.client.gpu(0).unwrap());
    client.create(gpu, 9).unwrap();
    let set = client.event_set().unwrap();
    client.register(gpu, 0x8 | 0x2, set).unwrap();
    let path = rig.node.dir().to_str().unwrap();
    ok(&["event", path, "--gpu", "0", "--xid", "63", "--gi", "2"]);
    ok(&["event", path, "--gpu", "0", "--kind", "double-bit-ecc"]);
    ok(&["event", path, "--gpu", "0", "--xid", "79", "--lose"]);
    assert_eq!(client.next(set), Ok((8, 63, 2, u32::MAX)));
    assert_eq!(client.next(set), Ok((2, 0, u32::MAX, u32::MAX)));
    assert_eq!(client.next(set), Ok((8, 79, u32::MAX, u32::MAX)));
    assert_eq!(client.next(set), Err(15));
    for wrong in [
        vec!["event", path, "--gpu", "0"],
        vec!["event", path, "--gpu", "0", "--kind", "xids"],
        vec!["event", path, "--gpu", "0", "--kind", "xid", "--gi", "2"],
    ] {
        assert_eq!(fails(&wrong).0, 2, "{wrong:?}");
    }
    let (code, message) = fails(&["event", path, "--gpu", "0", "--xid", "13", "--gi", "9"]);
    assert_eq!(code, 1);
    assert!(message.contains("no such instance"), "{message}");
}

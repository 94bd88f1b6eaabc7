//! The node's `nvidia-smi`, run as MIG managers run it.

use std::process::Command;

use nvml_sim::{Action, Behaviour, Node, NodeOptions, Permission};
use rstest::rstest;

use crate::client::{Rig, rig, rig_with};

/// Standard output and exit code.
fn smi(node: &Node, arguments: &[&str]) -> (String, i32) {
    let output = Command::new(node.nvidia_smi())
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.stderr.is_empty(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    (said, output.status.code().unwrap())
}

/// A100 with 3g.20gb, which holds compute instances of 1 and 2 slices.
fn cut() -> Rig {
    let rig = rig(&["a100-40gb"]);
    let (client, gpu) = (&rig.client, rig.client.gpu(0).unwrap());
    let instance = client.create_at(gpu, 9, 4, 4).unwrap();
    client.create_compute_at(instance, 0, 2, 1).unwrap();
    client.create_compute_at(instance, 1, 0, 2).unwrap();
    rig
}

#[rstest]
#[case::all(&["-r"], &[0, 1])]
#[case::by_index(&["--gpu-reset", "-i", "1"], &[1])]
#[case::by_bus_id(&["-i", "00000000:14:00.0", "-r"], &[1])]
#[case::by_short_bus_id(&["-r", "--id=0000:07:00.0"], &[0])]
#[case::several(&["-r", "-i", "1,0"], &[1, 0])]
fn resets_gpus(#[case] arguments: &[&str], #[case] want: &[u32]) {
    let rig = rig(&["a100-40gb", "a100-40gb"]);
    for index in [0, 1] {
        let gpu = rig.client.gpu(index).unwrap();
        rig.client.create(gpu, 19).unwrap();
    }
    let (said, code) = smi(&rig.node, arguments);
    let bus_id =
        |gpu: &u32| ["00000000:07:00.0", "00000000:14:00.0"][usize::try_from(*gpu).unwrap()];
    let lines = want
        .iter()
        .map(|gpu| format!("GPU {} was successfully reset.\n", bus_id(gpu)));
    let all: String = lines.chain(["All done.\n".to_owned()]).collect();
    assert_eq!((said, code), (all, 0));
    let resets: Vec<_> = rig
        .node
        .log()
        .unwrap()
        .into_iter()
        .filter(|event| event.action == Action::Reset)
        .collect();
    let reset: Vec<_> = resets.iter().filter_map(|event| event.gpu).collect();
    assert_eq!(reset, want);
    for gpu in rig.node.gpus() {
        assert_eq!(
            gpu.instances.is_empty(),
            want.contains(&gpu.index),
            "{gpu:?}"
        );
    }
}

#[test]
fn resets_a_gpu_by_uuid_and_brings_a_lost_one_back() {
    let rig = rig(&["a100-40gb", "a100-40gb"]);
    rig.node.lose_gpu(1).unwrap();
    let (said, code) = smi(&rig.node, &["-L"]);
    assert!(
        said.contains("GPU 00000000:14:00.0: GPU is lost."),
        "{said}"
    );
    assert_eq!(code, 15);
    let uuid = &rig.node.gpus()[1].uuid;
    assert_eq!(smi(&rig.node, &["--gpu-reset", "-i", uuid]).1, 0);
    assert!(!rig.node.gpus()[1].lost);
    assert_eq!(smi(&rig.node, &["-L"]).1, 0);
}

#[test]
fn a_gpu_in_use_is_not_reset() {
    let rig = rig(&["a100-40gb", "a100-40gb"]);
    rig.node.hold(0, 77).unwrap();
    let (said, code) = smi(&rig.node, &["-r"]);
    let want = "\
GPU 00000000:14:00.0 was successfully reset.
The following GPUs could not be reset:
  GPU 00000000:07:00.0: In use by another client

1 device is currently being used by one or more other processes (e.g., Fabric Manager, CUDA application, graphics application \
such as an X server, or a monitoring application such as another instance of nvidia-smi). Please first kill all processes using \
this device and all compute applications running in the system.
";
    assert_eq!((said.as_str(), code), (want, 255));
    rig.node.hold(1, 77).unwrap();
    let (said, _) = smi(&rig.node, &["-r"]);
    assert!(
        said.contains("\n2 devices are currently being used"),
        "{said}"
    );
    rig.node.release(77).unwrap();
    rig.node.set_passthrough(true).unwrap();
    let (said, code) = smi(&rig.node, &["-r", "-i", "0"]);
    let want = "The following GPUs could not be reset:\n  GPU 00000000:07:00.0: Not Supported\n";
    assert_eq!((said.as_str(), code), (want, 255));
}

#[test]
fn what_is_refused_has_nvidia_smi_s_exit_codes() {
    let rig = rig(&["a100-40gb"]);
    let code = |arguments: &[&str]| smi(&rig.node, arguments).1;
    assert_eq!(code(&["-h"]), 0);
    for wrong in [
        &[][..],
        &["-x"],
        &["-r", "-L"],
        &["mig"],
        &["-lgi"],
        &["mig", "-L"],
        &["-L", "-gi", "1"],
        &["-r", "-i"],
        &["-r", "--id="],
    ] {
        assert_eq!(code(wrong), 2, "{wrong:?}");
    }
    assert_eq!(code(&["-r", "-i", "1"]), 6, "no such GPU");
    assert_eq!(
        code(&["-r", "-i", "0,GPU-1"]),
        6,
        "nothing is done by halves"
    );
    assert!(rig.node.log().unwrap().is_empty());
    assert_eq!(code(&["mig", "-lgi"]), 6, "nothing there");
    for (permission, list, reset) in [
        (Permission::Config, 6, 4),
        (Permission::Monitor, 4, 4),
        (Permission::None, 4, 4),
    ] {
        rig.node.set_permission(permission).unwrap();
        assert_eq!((code(&["mig", "-lgi"]), code(&["-r"])), (list, reset));
        assert_eq!(code(&["-L"]), 0);
    }
    rig.node.set_permission(Permission::Root).unwrap();
    let own = Command::new(rig.node.nvidia_smi())
        .arg("-r")
        .env(nvml_sim::PERMISSION_ENVIRONMENT, "none")
        .output()
        .unwrap();
    assert_eq!(own.status.code(), Some(4));
    rig.node.unload_driver().unwrap();
    let (said, code) = smi(&rig.node, &["-L"]);
    assert!(
        said.starts_with("NVIDIA-SMI has failed because it couldn't communicate"),
        "{said}"
    );
    assert_eq!(code, 9);
}

#[test]
fn lists_as_nvidia_smi_does() {
    let rig = cut();
    let said = |arguments: &[&str]| smi(&rig.node, arguments);
    let gpu = &rig.node.gpus()[0];
    let [one, two] = [0, 1].map(|ci| gpu.instances[0].compute_instances[ci].uuid.clone());
    let devices = format!(
        "GPU 0: NVIDIA A100-SXM4-40GB (UUID: {})\n  MIG 1c.3g.20gb  Device  0: (UUID: {one})\n  MIG 2c.3g.20gb  Device  1: (UUID: {two})\n",
        gpu.uuid
    );
    assert_eq!(said(&["-L"]), (devices, 0));
    let nothing = "No compute instances found: Not Found\n".to_owned();
    assert_eq!(said(&["mig", "-lci", "-gi", "1"]), (nothing, 6));
    let (said, _) = said(&["mig", "-lgip", "-i", "0"]);
    assert!(
        said.contains("|   0  MIG 3g.20gb        9     1/2 "),
        "{said}"
    );
}

#[test]
fn tables_as_nvidia_smi_prints_them() {
    let rig = cut();
    let said = |arguments: &[&str]| smi(&rig.node, arguments);
    let placements = "\
GPU  0 Profile ID 19 Placements: {0,1,2,3,4,5,6}:1
GPU  0 Profile ID 20 Placements: {0,1,2,3,4,5,6}:1
GPU  0 Profile ID 15 Placements: {0,2,4,6}:2
GPU  0 Profile ID 14 Placements: {0,2,4}:2
GPU  0 Profile ID  9 Placements: {0,4}:4
GPU  0 Profile ID  5 Placement : {0}:4
GPU  0 Profile ID  0 Placement : {0}:8
";
    assert_eq!(said(&["mig", "-lgipp"]), (placements.to_owned(), 0));
    let instances = "\
+--------------------------------------------------------------------+
| Compute instances:                                                 |
| GPU     GPU       Name             Profile   Instance   Placement  |
|       Instance                       ID        ID       Start:Size |
|         ID                                                         |
|====================================================================|
|   0      2       MIG 1c.3g.20gb       0         0          2:1     |
+--------------------------------------------------------------------+
|   0      2       MIG 2c.3g.20gb       1         1          0:2     |
+--------------------------------------------------------------------+
";
    assert_eq!(said(&["mig", "-lci"]), (instances.to_owned(), 0));
    let profiles = "\
+--------------------------------------------------------------------------------------+
| Compute instance profiles:                                                           |
| GPU     GPU      Name             Profile  Instances   Exclusive       Shared        |
|       Instance                      ID     Free/Total     SM       DEC   ENC   OFA   |
|         ID                                                         CE    JPEG        |
|======================================================================================|
|   0      2       MIG 1c.3g.20gb      0      0/3           14        2     0     0    |
|                                                                     3     0          |
+--------------------------------------------------------------------------------------+
|   0      2       MIG 2c.3g.20gb      1      0/1           28        2     0     0    |
|                                                                     3     0          |
+--------------------------------------------------------------------------------------+
|   0      2       MIG 3g.20gb         2*     0/1           42        2     0     0    |
|                                                                     3     0          |
+--------------------------------------------------------------------------------------+
";
    assert_eq!(
        said(&["mig", "-lcip", "-gi", "2"]),
        (profiles.to_owned(), 0)
    );
}

#[test]
fn lists_nothing_with_mig_mode_off() {
    let rig = rig_with(&["a100-40gb"], false, &NodeOptions::default());
    let nothing = ("No MIG-enabled devices found.\n".to_owned(), 6);
    for list in ["-lgi", "-lgip", "-lgipp", "-lci", "-lcip"] {
        assert_eq!(smi(&rig.node, &["mig", list]), nothing, "{list}");
    }
}

#[test]
fn minor_numbers_need_not_be_indexes() {
    for (behaviour, want) in [
        (Behaviour::Strict, [0, 1, 2]),
        (Behaviour::Quirks, [2, 1, 0]),
    ] {
        let options = NodeOptions {
            behaviour,
            ..NodeOptions::default()
        };
        let rig = rig_with(&["a100-40gb"; 3], true, &options);
        let seen = [0, 1, 2].map(|index| rig.client.minor(rig.client.gpu(index).unwrap()).unwrap());
        assert_eq!(seen, want);
        let shown: Vec<_> = rig.node.gpus().iter().map(|gpu| gpu.minor).collect();
        assert_eq!(shown, want);
    }
}

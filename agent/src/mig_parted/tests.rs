use std::sync::Arc;

use mica_model::{ComputeInstance, Gpu, Instance, MigMode, Slice, Use, testing};
use rstest::rstest;

use super::*;

const A100: PciId = PciId(0x20B0_10DE);
const A30: PciId = PciId(0x20B7_10DE);

/// A GPU on which slices stand, written as `1g.5gb@0`; `None` for MIG mode off.
fn seen(index: u32, pci: PciId, slices: Option<&str>) -> Seen {
    let board = if pci == A30 {
        testing::a30_24gb()
    } else {
        testing::a100_40gb()
    };
    let layout = testing::layout(&board, slices.unwrap_or_default()).unwrap();
    let instance = |(gi, slice): (u32, Slice)| Instance {
        gi,
        slice,
        compute: Some(ComputeInstance {
            id: 0,
            uuid: format!("MIG-{gi}"),
        }),
        in_use: Use::default(),
        memory_used_bytes: 0,
        memory_total_bytes: 0,
        fault: None,
    };
    Seen {
        gpu: Gpu {
            uuid: format!("GPU-{index}"),
            index,
            product: board.product.clone(),
            memory_mib: 0,
            mig_mode: match slices {
                Some(_) => MigMode::Enabled,
                None => MigMode::Disabled,
            },
            instances: (1..).zip(layout.0).map(instance).collect(),
            board: Some(Arc::new(board)),
            in_use: Use::default(),
            holders: Vec::new(),
            waits_for: None,
            fault: None,
        },
        pci: Some(pci),
    }
}

fn without_mig(index: u32) -> Seen {
    let mut seen = seen(index, PciId(0x27B8_10DE), None);
    seen.gpu.mig_mode = MigMode::Unsupported;
    seen.gpu.product = "NVIDIA L4".to_owned();
    seen
}

fn counts(text: &[(&str, u32)]) -> Counts {
    let owned = |&(name, count): &(&str, u32)| (name.to_owned(), count);
    text.iter().map(owned).collect()
}

#[test]
fn a_file_is_read_in_both_forms() {
    let yaml = r#"
version: v1
mig-configs:
  all-disabled:
    - devices: all
      mig-enabled: false
  mixed:
    - devices: [0, GPU-7]
      device-filter: ["0x20B010DE", "0x20b110de"]
      mig-enabled: true
      mig-devices:
        "1g.5gb+me": 1
        3g.20gb: 1
        2g.10gb: 0
    - device-filter: 0x20B710DE
      devices: all
      mig-enabled: true
      mig-devices: {}
"#;
    let json = r#"{"version": "v1", "mig-configs": {
        "all-disabled": [{"devices": "all", "mig-enabled": false, "mig-devices": {}}],
        "mixed": [
          {"devices": [0, "GPU-7"], "device-filter": ["0x20B010DE", "0x20B110DE"], "mig-enabled": true,
           "mig-devices": {"1g.5gb+me": 1, "3g.20gb": 1}},
          {"devices": "all", "device-filter": "0x20B710DE", "mig-enabled": true, "mig-devices": {}}
        ]}}"#;
    let file = File::read(yaml, "file").unwrap();
    assert_eq!(File::read(json, "file").unwrap(), file);
    let all = Entry {
        filter: Vec::new(),
        devices: Devices::All,
        wanted: Wanted::Off,
    };
    assert_eq!(file.configs["all-disabled"], std::slice::from_ref(&all));
    let first = Entry {
        filter: vec![A100, PciId(0x20B1_10DE)],
        devices: Devices::These(vec![Device::Index(0), Device::Uuid("GPU-7".to_owned())]),
        wanted: Wanted::On(counts(&[("1g.5gb+me", 1), ("3g.20gb", 1)])),
    };
    let second = Entry {
        filter: vec![A30],
        wanted: Wanted::On(Counts::new()),
        ..all
    };
    assert_eq!(file.configs["mixed"], [first, second]);
}

#[rstest]
#[case::empty("", "file:1:1: the file is empty")]
#[case::no_yaml("version: v1\nmig-configs: [", "file:2")]
#[case::unknown_field("version: v1\nmig-config: {}", "file:2:1: unknown field `mig-config`")]
#[case::no_version(
    "mig-configs: {a: [{devices: all, mig-enabled: false}]}",
    "write version: v1"
)]
#[case::other_version(
    "version: v2\nmig-configs: {a: [{devices: all, mig-enabled: false}]}",
    "file:1:10: version: \"v2\" is not known; write v1"
)]
#[case::no_configs("version: v1", "mig-configs is missing or empty")]
#[case::no_entries(
    "version: v1\nmig-configs: {a: []}",
    "file:2:14: mig-configs.a is empty"
)]
#[case::null_entries("version: v1\nmig-configs:\n  a:\n", "mig-configs.a is empty")]
fn a_file_that_cannot_be_used_says_where(#[case] text: &str, #[case] words: &str) {
    let problem = File::read(text, "file").unwrap_err().to_string();
    assert!(problem.contains(words), "{problem}");
}

#[rstest]
#[case::field(
    "devices: all, mig-enabled: false, mig-device: {}",
    "unknown field `mig-device`"
)]
#[case::devices("mig-enabled: false", "mig-configs.a[0]: devices is missing")]
#[case::not_all(
    "devices: some, mig-enabled: false",
    "mig-configs.a[0].devices: \"some\" is not \"all\""
)]
#[case::one(
    "devices: 0, mig-enabled: false",
    "devices: 0 is not \"all\"; write all, or a list as in [0, 1]"
)]
#[case::negative("devices: [-1], mig-enabled: false", "devices: \"-1\" is not a GPU")]
#[case::nested("devices: [[1]], mig-enabled: false", "a list where one value belongs")]
#[case::mig_uuid(
    "devices: [MIG-1], mig-enabled: false",
    "\"MIG-1\" is not a GPU; write its index, or its UUID as in GPU-…"
)]
#[case::enabled(
    "devices: all",
    "mig-configs.a[0]: mig-enabled is missing; write true or false"
)]
#[case::no_boolean("devices: all, mig-enabled: maybe", "bool")]
#[case::instances(
    "devices: all, mig-enabled: true",
    "mig-configs.a[0]: mig-devices is missing"
)]
#[case::both(
    "devices: all, mig-enabled: false, mig-devices: {1g.5gb: 1}",
    "mig-devices with mig-enabled: false"
)]
#[case::model(
    "devices: all, device-filter: A100-SXM4-40GB, mig-enabled: false",
    "device-filter: \"A100-SXM4-40GB\" is not a PCI device id"
)]
#[case::short(
    "devices: all, device-filter: [\"0x20B0\"], mig-enabled: false",
    "\"0x20B0\" is not a PCI device id; write device and vendor id in one, e.g. \"0x20B010DE\""
)]
#[case::profile(
    "devices: all, mig-enabled: true, mig-devices: {bogus: 2}",
    "mig-configs.a[0].mig-devices: \"bogus\" is not a MIG profile"
)]
#[case::compute(
    "devices: all, mig-enabled: true, mig-devices: {1c.3g.20gb: 2}",
    "whole ones only are made: write 3g.20gb"
)]
#[case::count(
    "devices: all, mig-enabled: true, mig-devices: {1g.5gb: -2}",
    "mig-devices.1g.5gb: -2 is not a number of instances"
)]
#[case::twice(
    "devices: all, mig-enabled: true, mig-devices: {1g.5gb: 1, 1g.5gb: 2}",
    "1g.5gb"
)]
fn a_mistake_in_an_entry_names_field_and_remedy(#[case] entry: &str, #[case] words: &str) {
    let text = format!("version: v1\nmig-configs:\n  a:\n    - {{{entry}}}\n");
    let problem = File::read(&text, "file").unwrap_err().to_string();
    assert!(problem.contains(words), "{problem}");
    assert!(problem.starts_with("file:4:"), "{problem}");
}

/// YAML 1.1, which mig-parted reads, has more words for it.
#[test]
fn a_truth_has_the_words_of_yaml() {
    let text = "version: v1\nmig-configs: {a: [{devices: all, mig-enabled: no}]}";
    assert_eq!(
        File::read(text, "file").unwrap().configs["a"][0].wanted,
        Wanted::Off
    );
}

#[test]
fn all_mistakes_are_said_at_once() {
    let text = "version: v3\nmig-configs:\n  a: []\n  b:\n    - devices: [x, z]\n      mig-devices: {z: 1}\n";
    let problem = File::read(text, "file").unwrap_err();
    let lines: Vec<_> = problem
        .mistakes
        .iter()
        .map(|mistake| mistake.line)
        .collect();
    assert_eq!(lines, [1, 3, 5, 5, 5, 6], "{problem}");
}

#[test]
fn a_config_is_chosen_by_name_or_by_being_alone() {
    let text = |names: &[&str]| {
        let entry = |name: &&str| format!("  {name}: [{{devices: all, mig-enabled: false}}]\n");
        let entries: String = names.iter().map(entry).collect();
        format!("version: v1\nmig-configs:\n{entries}")
    };
    let one = File::read(&text(&["a"]), "file").unwrap();
    let two = File::read(&text(&["a", "b"]), "file").unwrap();
    assert_eq!(one.config(None).unwrap().0, "a");
    assert_eq!(two.config(Some("b")).unwrap().0, "b");
    let problem = |chosen: Result<_, NotChosen>| chosen.map(|_| ()).unwrap_err().to_string();
    assert_eq!(
        problem(two.config(None)),
        "the file has 2 configs: choose one with -c: a, b"
    );
    assert_eq!(
        problem(one.config(Some("b"))),
        "the file has no config \"b\"; it has a"
    );
}

fn entries(text: &str) -> Vec<Entry> {
    let text = format!("version: v1\nmig-configs:\n  a:\n{text}");
    File::read(&text, "file").unwrap().configs["a"].clone()
}

const OFF: &str = "mig-enabled: false";
const ON: &str = "mig-enabled: true, mig-devices: {}";

#[rstest]
#[case::all(&format!("    - {{devices: all, {OFF}}}"), "0- 1- 2-")]
#[case::without_mig_is_passed_over(&format!("    - {{devices: all, {ON}}}"), "0+ 1+")]
#[case::by_board(&format!("    - {{devices: all, device-filter: 0x20B710DE, {ON}}}"), "1+")]
#[case::by_index_and_uuid(&format!("    - {{devices: [1, GPU-0], {ON}}}"), "0+ 1+")]
#[case::of_another_board(&format!("    - {{devices: [0, 1], device-filter: 0x20B710DE, {ON}}}"), "1+")]
#[case::the_later_holds(&format!("    - {{devices: all, {OFF}}}\n    - {{devices: [1], {ON}}}"), "0- 1+ 2-")]
#[case::for_a_larger_node(&format!("    - {{devices: [7], device-filter: 0x233010DE, {ON}}}\n    - {{devices: [1], {ON}}}"), "1+")]
fn the_gpus_that_are_meant_are_found(#[case] text: &str, #[case] expected: &str) {
    let node = [seen(0, A100, None), seen(1, A30, None), without_mig(2)];
    let entries = entries(text);
    let words: Vec<_> = select(&entries, &node)
        .unwrap()
        .into_iter()
        .map(|Chosen { gpu, wanted }| match wanted {
            Wanted::Off => format!("{}-", gpu.index),
            Wanted::On(_) => format!("{}+", gpu.index),
        })
        .collect();
    assert_eq!(words.join(" "), expected);
}

#[rstest]
#[case::unknown_index(&format!("    - {{devices: [0, 3], {ON}}}"), "devices: there is no GPU 3 on this node; it has GPU 0 (GPU-0), GPU 1 (GPU-1), GPU 2 (GPU-2)")]
#[case::unknown_uuid(&format!("    - {{devices: [GPU-x], {ON}}}"), "there is no GPU GPU-x on this node")]
#[case::no_such_board(&format!("    - {{devices: all, device-filter: 0x233010DE, {ON}}}"), "it is for no GPU of this node; compare devices and device-filter with 0x20B010DE (NVIDIA A100-SXM4-40GB), 0x20B710DE (NVIDIA A30), 0x27B810DE (NVIDIA L4)")]
#[case::no_device(&format!("    - {{devices: [], {ON}}}"), "it is for no GPU of this node")]
#[case::without_mig_by_name(&format!("    - {{devices: [2], {ON}}}"), "GPU 2 (GPU-2): NVIDIA L4 has no MIG; leave it out of devices")]
#[case::only_without_mig(&format!("    - {{devices: all, device-filter: 0x27B810DE, {ON}}}"), "no GPU that it is for has MIG: NVIDIA L4")]
fn what_is_not_for_this_node_says_why(#[case] text: &str, #[case] words: &str) {
    let node = [seen(0, A100, None), seen(1, A30, None), without_mig(2)];
    let problems = select(&entries(text), &node).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].contains(words), "{problems:?}");
}

#[test]
fn a_gpu_that_cannot_be_read_keeps_filters_from_being_applied() {
    let mut lost = seen(0, A100, None);
    lost.pci = None;
    lost.gpu.fault = Some("lost".to_owned());
    let node = [lost, seen(1, A100, None)];
    let all = entries(&format!("    - {{devices: all, {OFF}}}"));
    assert_eq!(select(&all, &node).unwrap().len(), 2);
    let filtered = entries(&format!(
        "    - {{devices: all, device-filter: 0x20B010DE, {OFF}}}"
    ));
    let problems = select(&filtered, &node).unwrap_err();
    assert!(problems[0].contains("GPU 0 (GPU-0) cannot be read") && problems[0].contains("lost"));
}

/// The cases are those of mig-parted: what it merges, and when it names boards.
#[rstest]
#[case::one_board(&[(A100, Some("1g.5gb@0 3g.20gb@4")), (A100, Some("1g.5gb@2 3g.20gb@4"))], &["- all {1g.5gb: 1, 3g.20gb: 1}"])]
#[case::one_board_two_layouts(&[(A100, None), (A100, Some("")), (A100, None)], &["- [0, 2] off", "- [1] {}"])]
#[case::two_boards_alike(&[(A100, None), (A30, None)], &["- all off"])]
#[case::a_layout_for_each_board(&[(A100, None), (A30, Some("")), (A100, None)], &["0x20B010DE all off", "0x20B710DE all {}"])]
#[case::across_boards(&[(A100, None), (A100, Some("")), (A30, None), (A30, Some(""))], &["0x20B010DE,0x20B710DE [0, 2] off", "0x20B010DE,0x20B710DE [1, 3] {}"])]
fn what_stands_is_written_and_read_again(
    #[case] gpus: &[(PciId, Option<&str>)],
    #[case] expected: &[&str],
) {
    let node: Vec<_> = (0..)
        .zip(gpus)
        .map(|(index, &(pci, slices))| seen(index, pci, slices))
        .collect();
    let document = write::document(&node, "now");
    let file = File::read(&document.yaml().unwrap(), "yaml").unwrap();
    assert_eq!(File::read(&document.json().unwrap(), "json").unwrap(), file);
    let words = |entry: &Entry| {
        let filter: Vec<_> = entry.filter.iter().map(PciId::to_string).collect();
        let filter = if filter.is_empty() {
            "-".to_owned()
        } else {
            filter.join(",")
        };
        let devices = match &entry.devices {
            Devices::All => "all".to_owned(),
            Devices::These(devices) => {
                let devices: Vec<_> = devices.iter().map(Device::to_string).collect();
                format!("[{}]", devices.join(", "))
            }
        };
        let wanted = match &entry.wanted {
            Wanted::Off => "off".to_owned(),
            Wanted::On(counts) => format!("{counts:?}").replace('"', ""),
        };
        format!("{filter} {devices} {wanted}")
    };
    let found: Vec<_> = file.configs["now"].iter().map(words).collect();
    assert_eq!(found, expected);
    for Chosen { gpu, wanted } in select(&file.configs["now"], &node).unwrap() {
        assert_eq!(write::stands(gpu), *wanted);
    }
}

use super::*;
use crate::device_plugin::offer::State;

fn device(id: &str, minor: Option<u32>) -> Device {
    Device {
        id: id.to_owned(),
        gpu: "GPU-1".to_owned(),
        state: State::Healthy,
        minor,
        mig: None,
        numa: None,
    }
}

fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn files_are_there_for_what_stands_and_nothing_else_of_ours() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("run/cdi");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("nvidia.yaml"), "").unwrap();
    fs::write(folder.join("mica.dev-gpu_MIG-old.json"), "{").unwrap();
    let nodes = Source {
        proc: directory.path().to_owned(),
        dev_root: PathBuf::from("/"),
    };
    let mut specs = Specs::new(folder.clone(), nodes);
    let (first, second) = (device("GPU-1", Some(0)), device("GPU-2", Some(1)));
    assert!(specs.write(&first) && specs.write(&second));
    specs.keep_only(&BTreeSet::from(["GPU-1", "GPU-2"]));
    let both = [
        "mica.dev-gpu_GPU-1.json",
        "mica.dev-gpu_GPU-2.json",
        "nvidia.yaml",
    ];
    assert_eq!(files(&folder), both);
    let spec: Value =
        serde_json::from_str(&fs::read_to_string(folder.join(both[1])).unwrap()).unwrap();
    assert_eq!(
        spec["devices"][0]["containerEdits"]["deviceNodes"][0]["path"],
        "/dev/nvidia1"
    );
    // Its number has changed.
    assert!(specs.write(&device("GPU-2", Some(5))));
    let text = fs::read_to_string(folder.join(both[1])).unwrap();
    assert!(text.contains("/dev/nvidia5"), "{text}");
    specs.keep_only(&BTreeSet::from(["GPU-2"]));
    assert_eq!(files(&folder), &both[1..]);
    assert!(
        !specs.write(&device("GPU-3", None)),
        "its node is not known"
    );
}

#[test]
fn a_folder_that_cannot_be_written_is_no_end() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let nodes = Source {
        proc: directory.path().to_owned(),
        dev_root: PathBuf::from("/"),
    };
    let mut specs = Specs::new(file.clone(), nodes);
    assert!(!specs.write(&device("GPU-1", Some(0))));
    fs::remove_file(&file).unwrap();
    assert!(specs.write(&device("GPU-1", Some(0))), "tried again");
}

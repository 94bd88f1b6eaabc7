//! Opening: the right library, and every wrong one.

use std::ffi::{OsStr, OsString};

use mica_nvml::{Code, Driver, Error};

use crate::node::rig;

fn refusal(library: impl AsRef<OsStr>) -> Error {
    match Driver::open(library.as_ref()) {
        Ok(_) => panic!("{} was opened", library.as_ref().display()),
        Err(error) => error,
    }
}

#[test]
fn versions_are_told() {
    let rig = rig(&["a100-40gb"]);
    let versions = rig.driver.versions().unwrap();
    for version in [&versions.driver, &versions.nvml] {
        assert!(
            version.split('.').all(|part| part.parse::<u32>().is_ok()),
            "{version:?}"
        );
    }
}

#[test]
fn a_driver_may_move_to_another_thread() {
    let mut rig = rig(&["a100-40gb"]);
    let count = std::thread::spawn(move || rig.gpus().len()).join().unwrap();
    assert_eq!(count, 1);
}

#[test]
fn a_missing_file_is_named() {
    for name in ["/no/such/dir/libnvidia-ml.so.1", "libno-such-nvml.so.1"] {
        let error = refusal(name);
        assert!(matches!(error, Error::LibraryNotFound { .. }), "{error:?}");
        let said = error.to_string();
        assert!(said.contains(name), "{said}");
        assert!(said.contains("No such file or directory"), "{said}");
        assert!(said.contains("install the NVIDIA driver"), "{said}");
    }
}

#[test]
fn a_file_that_is_no_library_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("libnvidia-ml.so.1");
    std::fs::write(
        &text,
        "this is not a library, it is a text of some length\n",
    )
    .unwrap();
    for path in [text.as_path(), dir.path()] {
        let error = refusal(path);
        assert!(matches!(error, Error::NotALibrary { .. }), "{error:?}");
        assert!(
            error.to_string().contains(path.to_str().unwrap()),
            "{error}"
        );
    }
}

#[test]
fn another_library_is_told_from_nvml() {
    for name in ["libc.so.6", "libm.so.6"] {
        let error = refusal(name);
        assert!(matches!(error, Error::NotNvml { .. }), "{error:?}");
        assert_eq!(
            error.to_string(),
            format!(
                "{name} is a library but not NVML: it has no nvmlInit_v2; give the path of the NVIDIA driver's libnvidia-ml.so.1"
            )
        );
    }
}

#[test]
fn an_empty_name_is_an_error() {
    let error = refusal(OsString::new());
    assert!(error.code().is_none(), "{error:?}");
}

#[test]
fn nvml_that_does_not_start_says_why() {
    let rig = rig(&["a100-40gb"]);
    rig.fail("nvmlInit_v2", Code::DRIVER_NOT_LOADED, 0, None);
    let error = refusal(rig.node.library());
    assert_eq!(error.code(), Some(Code::DRIVER_NOT_LOADED));
    assert!(error.is_stale(), "opening again later may help");
    let said = error.to_string();
    assert!(
        said.contains("nvmlInit_v2: Driver Not Loaded (9); load the NVIDIA kernel driver"),
        "{said}"
    );
    assert!(
        said.contains(rig.node.library().to_str().unwrap()),
        "{said}"
    );
}

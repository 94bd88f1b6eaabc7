use super::*;
use crate::log::Action;
use crate::permission::Permission;

/// A node with one GPU in MIG mode.
fn node() -> (tempfile::TempDir, Store) {
    let dir = tempfile::TempDir::new().unwrap();
    let mut gpu: Gpu = bytemuck::Zeroable::zeroed();
    (gpu.mig_current, gpu.mig_pending, gpu.load) = (1, 1, 1);
    let mut driver: Driver = bytemuck::Zeroable::zeroed();
    (driver.loaded, driver.load) = (1, 1);
    let store = Store::create(dir.path(), &[gpu], &driver).unwrap();
    (dir, store)
}

/// Counts the GPU's clock up, as a change does; the code when the store refuses.
fn change(store: &Store) -> Result<u64, Code> {
    let up = |gpu: &mut Gpu| {
        gpu.clock += 1;
        (gpu.clock, Some(Event::new(Action::Reset)))
    };
    store.change_gpu(0, up).map_err(|error| {
        let StoreError::Gone(code) = error else {
            panic!("{error}");
        };
        code
    })
}

/// Something that becomes of the driver.
type Step = fn(&mut Driver);

/// A call looks at the driver before it takes the lock; between the two the driver may go.
#[test]
fn a_change_is_refused_when_the_driver_went_meanwhile() {
    let (dir, node) = node();
    let client = Store::attach(dir.path(), None).unwrap();
    assert_eq!(change(&client), Ok(1));
    let cases: [(Step, Code); 3] = [
        (|driver| driver.loaded = 0, Code::ERROR_DRIVER_NOT_LOADED),
        (
            |driver| (driver.loaded, driver.load) = (1, 2),
            Code::ERROR_GPU_IS_LOST,
        ),
        (
            |driver| driver.version[0] = b'5',
            Code::ERROR_LIB_RM_VERSION_MISMATCH,
        ),
    ];
    for (step, code) in cases {
        node.change_driver(step).unwrap();
        assert_eq!((change(&client), client.check()), (Err(code), Err(code)));
    }
    assert_eq!(change(&node), Ok(2), "who acts from outside may");
    assert_eq!(node.log().unwrap().len(), 2);
}

#[test]
fn a_client_that_vanished_changes_nothing() {
    let (dir, node) = node();
    let client = Store::attach(dir.path(), None).unwrap();
    client.vanish();
    assert_eq!(change(&client), Err(Code::ERROR_UNKNOWN));
    assert!(client.has_vanished() && !node.has_vanished());
    assert_eq!(node.log().unwrap(), []);
}

#[test]
fn no_client_without_a_driver() {
    let (dir, node) = node();
    node.change_driver(|driver| driver.loaded = 0).unwrap();
    let attached = Store::attach(dir.path(), None);
    assert!(
        matches!(
            attached,
            Err(StoreError::Gone(Code::ERROR_DRIVER_NOT_LOADED))
        ),
        "{attached:?}"
    );
}

#[test]
fn a_permission_of_ones_own_comes_before_the_nodes() {
    let (dir, node) = node();
    let plain = Store::attach(dir.path(), None).unwrap();
    let own = Store::attach(dir.path(), Some(Permission::Monitor)).unwrap();
    let set = |permission: Permission| {
        let change = |driver: &mut Driver| driver.permission = permission.byte();
        node.change_driver(change).unwrap();
        (plain.permission(), own.permission())
    };
    let monitor = Permission::Monitor;
    assert_eq!(set(Permission::None), (Permission::None, monitor));
    assert_eq!(set(Permission::Root), (Permission::Root, monitor));
}

#[test]
fn a_node_made_anew_has_an_empty_log_that_goes_on() {
    let (_dir, node) = node();
    for clock in 1..4 {
        assert_eq!(change(&node), Ok(clock));
    }
    let (gpu, driver) = (bytemuck::Zeroable::zeroed(), node.driver());
    node.replace(&[gpu, gpu], &driver).unwrap();
    assert_eq!((node.log().unwrap(), node.gpu_count()), (Vec::new(), 2));
    assert_eq!(change(&node), Ok(1));
    assert_eq!(node.log().unwrap().len(), 1);
    node.replace(&[gpu], &driver).unwrap();
    assert!(node.gpu(1).is_none(), "fewer than before");
}

/// What a client leaves behind that is killed between a change and its files: the state of after, the files of before, and one that
/// is not whole.
#[test]
fn capability_files_are_repaired_by_whoever_comes_next() {
    type Repair = fn(&Path, &Store);
    let (dir, node) = node();
    node.change_driver(|driver| driver.caps = 1).unwrap();
    let exists = |file: &str| dir.path().join(file).exists();
    let config = "dev/nvidia-caps/nvidia-cap1";
    assert!(exists(config));
    let repairs: [(Repair, u8); 2] = [
        (|dir, _| drop(Store::attach(dir, None).unwrap()), 1),
        (|_, node| assert!(change(node).is_ok()), 2),
    ];
    for (repair, gi) in repairs {
        let file = format!("dev/nvidia-caps/nvidia-cap{}", 3 + 9 * gi);
        let unfinished = format!("{file}.new");
        let mut gpu = *node.gpu(0).unwrap();
        gpu.instances = bytemuck::Zeroable::zeroed();
        gpu.instances[usize::from(gi)].size = 1;
        gpu_cell(0).write(&node.words, &gpu);
        std::fs::write(dir.path().join(&unfinished), "Dev").unwrap();
        assert!(!exists(&file));
        repair(dir.path(), &node);
        assert!(exists(&file) && exists(config) && !exists(&unfinished));
    }
    assert!(!exists("dev/nvidia-caps/nvidia-cap12"), "that one is gone");
}

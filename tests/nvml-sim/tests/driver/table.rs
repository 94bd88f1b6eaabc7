//! The table of calls and failures, row by row: what the header documents, and where it is silent what drivers do.

use std::fmt::Debug;
use std::ptr::null_mut;

use nvml_sim::NodeOptions;

use crate::client::{Answer, Client, Gpu, GpuInstance, Rig, rig, rig_with};

/// The rows that were wrong.
#[derive(Default)]
struct Table(Vec<String>);

impl Table {
    /// One row: a call, the situation, what came and what should.
    fn row<T: Debug + PartialEq>(&mut self, call: &str, situation: &str, came: &T, want: &T) {
        if came != want {
            let row = format!("{call}, {situation}: {came:?} instead of {want:?}");
            self.0.push(row);
        }
    }

    fn check(self) {
        assert_eq!(self.0, Vec::<String>::new());
    }
}

/// Rows of a table: call, situation, what came, what should.
macro_rules! rows {
    ($table:ident; $($call:literal, $situation:expr => $came:expr => $want:expr;)*) => {
        $($table.row($call, $situation, &$came, &$want);)*
    };
}

/// The return code.
fn code<T>(answer: Answer<T>) -> u32 {
    answer.err().unwrap_or(0)
}

fn off() -> Rig {
    rig_with(&["a100-40gb"], false, &NodeOptions::default())
}

#[test]
fn init_and_devices() {
    let (rig, mut t) = (rig(&["a100-40gb", "l4-24gb"]), Table::default());
    let client = &rig.client;
    client.init().unwrap();
    rows! { t;
        "Shutdown", "one of two" => client.shutdown() => Ok(());
        "GetCount_v2", "one init is left" => client.count() => Ok(2);
        "Shutdown", "the last" => client.shutdown() => Ok(());
        "Shutdown", "before init" => client.shutdown() => Err(1);
        "GetCount_v2", "before init" => client.count() => Err(1);
        "HandleByIndex_v2", "before init" => code(client.gpu(0)) => 1;
    }
    client.init().unwrap();
    let gpu = client.gpu(0).unwrap();
    rows! { t;
        "HandleByIndex_v2", "bad index" => code(client.gpu(2)) => 2;
        "ByPciBusId_v2", "unknown" => code(client.by_bus_id("00000000:FF:00.0")) => 6;
        "ByPciBusId_v2", "bad id" => code(client.by_bus_id("bus")) => 2;
    }
    let uuid = client.uuid(gpu).unwrap();
    rows! { t;
        "ByUUID", "GPU-" => client.by_uuid(&uuid) => Ok(gpu);
    }
    let instance = client.create(gpu, 9).unwrap();
    client.create_compute(instance, 2).unwrap();
    let mig = client.mig(gpu, 0).unwrap();
    let mig_uuid = client.uuid(mig).unwrap();
    rows! { t;
        "ByUUID", "MIG-<uuid>" => client.by_uuid(&mig_uuid) => Ok(mig);
    }
    let old = format!("MIG-{uuid}/2/0");
    rows! { t;
        "ByUUID", "MIG-GPU-<uuid>/<gi>/<ci>" => client.by_uuid(&old) => Ok(mig);
        "ByUUID", "unknown" => code(client.by_uuid(&format!("MIG-{uuid}/3/0"))) => 6;
        "ByUUID", "bad UUID" => code(client.by_uuid("GPU")) => 2;
    }
    t.check();
}

#[test]
fn mode() {
    let (rig, mut t) = (rig(&["a100-40gb", "l4-24gb"]), Table::default());
    let client = &rig.client;
    let (gpu, without) = (client.gpu(0).unwrap(), client.gpu(1).unwrap());
    rows! { t;
        "GetMigMode", "MIG on" => client.mig_mode(gpu) => Ok((1, 1));
        "GetMigMode", "no MIG" => client.mig_mode(without) => Err(3);
        "SetMigMode", "idle" => client.set_mig_mode(gpu, 0) => Ok(0);
        "SetMigMode", "bad mode" => client.set_mig_mode(gpu, 2) => Err(2);
        "SetMigMode", "no MIG" => client.set_mig_mode(without, 1) => Err(3);
    }
    rig.node.start_process(0, None, 7, 0).unwrap();
    rows! { t;
        "SetMigMode", "not idle" => client.set_mig_mode(gpu, 1) => Ok(19);
        "GetMigMode", "pending" => client.mig_mode(gpu) => Ok((0, 1));
    }
    rig.node.stop_process(7).unwrap();
    rig.node.set_passthrough(true).unwrap();
    rows! { t;
        "SetMigMode", "no reset here" => client.set_mig_mode(gpu, 1) => Ok(16);
    }
    rig.node.set_passthrough(false).unwrap();
    rows! { t;
        "SetMigMode", "asked again" => client.set_mig_mode(gpu, 1) => Ok(0);
        "GetMaxMigDeviceCount", "on" => client.max_mig(gpu) => Ok(7);
        "GetMaxMigDeviceCount", "no MIG" => client.max_mig(without) => Ok(0);
    }
    rig.node.lose_gpu(0).unwrap();
    rows! { t;
        "GetMigMode", "lost" => client.mig_mode(gpu) => Err(15);
        "SetMigMode", "lost" => client.set_mig_mode(gpu, 0) => Err(15);
    }
    t.check();
}

#[test]
fn with_mig_off() {
    let (rig, mut t) = (off(), Table::default());
    let (client, gpu) = (&rig.client, rig.client.gpu(0).unwrap());
    let profile = client.profile(gpu, 2).map(|info| info.id);
    rows! { t;
        "GetGpuInstanceProfileInfo", "3g" => profile => Ok(9);
    }
    let places = client.placements(gpu, 9);
    rows! { t;
        "PossiblePlacements_v2", "3g" => places => Ok(vec![(0, 4), (4, 4)]);
        "RemainingCapacity", "MIG off" => client.remaining(gpu, 9) => Err(3);
        "CreateGpuInstance", "MIG off" => code(client.create(gpu, 9)) => 3;
    }
    let made = client.create_at(gpu, 9, 0, 4);
    rows! { t;
        "CreateGpuInstanceWithPlacement", "MIG off" => code(made) => 3;
        "GetGpuInstances", "MIG off" => code(client.instances(gpu, 9)) => 3;
        "GetGpuInstanceById", "MIG off" => code(client.instance(gpu, 2)) => 3;
        "GetMaxMigDeviceCount", "MIG off" => client.max_mig(gpu) => Ok(0);
        "GetMigDeviceHandleByIndex", "MIG off" => code(client.mig(gpu, 0)) => 3;
        "GetUtilizationRates", "MIG off" => client.utilization(gpu) => Ok(0);
    }
    t.check();
}

#[test]
fn gpu_instances() {
    let (rig, mut t) = (rig(&["a100-40gb"]), Table::default());
    let (client, gpu) = (&rig.client, rig.client.gpu(0).unwrap());
    let profile = |query| client.profile(gpu, query).map(|info| info.id);
    rows! { t;
        "GetGpuInstanceProfileInfo", "1g: enum 0, id 19" => profile(0) => Ok(19);
        "GetGpuInstanceProfileInfo", "7g: enum 4, id 0" => profile(4) => Ok(0);
        "GetGpuInstanceProfileInfo", "not offered" => profile(0x11) => Err(3);
        "GetGpuInstanceProfileInfo", "no such enum" => profile(0x12) => Err(2);
    }
    let versioned = |version| client.profile_v2(gpu, 0, version).map(|(id, _)| id);
    rows! { t;
        "…ProfileInfoV", "version 2" => versioned(0x0200_0098) => Ok(19);
        "…ProfileInfoV", "wrong version" => versioned(0x0100_0098) => Err(2);
        "…ProfileInfoV", "wrong size" => versioned(0x0200_0030) => Err(2);
        "PossiblePlacements_v2", "unknown id" => code(client.placements(gpu, 1)) => 2;
        "PossiblePlacements_v2", "others offer it" => code(client.placements(gpu, 47)) => 3;
        "RemainingCapacity", "empty" => client.remaining(gpu, 19) => Ok(7);
        "RemainingCapacity", "unknown id" => client.remaining(gpu, 1) => Err(2);
        "CreateGpuInstance", "enum for id" => code(client.create(gpu, 2)) => 2;
        "CreateGpuInstance", "others offer it" => code(client.create(gpu, 47)) => 3;
        "…WithPlacement", "illegal start" => code(client.create_at(gpu, 9, 1, 4)) => 2;
        "…WithPlacement", "illegal size" => code(client.create_at(gpu, 9, 0, 3)) => 2;
    }
    let half = client.create_at(gpu, 9, 0, 4).unwrap();
    rows! { t;
        "…WithPlacement", "occupied" => code(client.create_at(gpu, 9, 0, 4)) => 23;
        "CreateGpuInstance", "no room" => code(client.create(gpu, 0)) => 23;
    }
    client.create(gpu, 20).unwrap();
    rows! { t;
        "CreateGpuInstance", "no engine left" => code(client.create(gpu, 20)) => 23;
        "RemainingCapacity", "4 slots, 1 taken" => client.remaining(gpu, 19) => Ok(2);
        "RemainingCapacity", "no half left" => client.remaining(gpu, 9) => Ok(0);
        "GetGpuInstances", "one" => client.instances(gpu, 9) => Ok(vec![half]);
        "GetGpuInstances", "none" => client.instances(gpu, 14) => Ok(vec![]);
        "GetGpuInstances", "no buffer" => client.instances_nowhere(gpu, 14) => Err(2);
        "GetGpuInstances", "unknown id" => code(client.instances(gpu, 2)) => 2;
        "GetGpuInstanceById", "there" => client.instance(gpu, 1) => Ok(half);
        "GetGpuInstanceById", "absent" => code(client.instance(gpu, 2)) => 6;
        "GpuInstanceGetInfo", "there" => client.info(half) => Ok((1, 0, 4));
    }
    let compute = client.create_compute(half, 2).unwrap();
    rows! { t;
        "GpuInstanceDestroy", "compute instance" => client.destroy(half) => Err(19);
    }
    rig.node.start_process(0, 1, 7, 0).unwrap();
    rows! { t;
        "GpuInstanceDestroy", "process" => client.destroy(half) => Err(19);
        "ComputeInstanceDestroy", "process" => client.destroy_compute(compute) => Err(19);
    }
    rig.node.stop_process(7).unwrap();
    rows! { t;
        "ComputeInstanceDestroy", "idle" => client.destroy_compute(compute) => Ok(());
        "ComputeInstanceDestroy", "stale" => client.destroy_compute(compute) => Err(2);
        "GpuInstanceDestroy", "idle" => client.destroy(half) => Ok(());
        "GpuInstanceDestroy", "stale" => client.destroy(half) => Err(2);
        "GpuInstanceGetInfo", "stale" => client.info(half) => Err(2);
    }
    t.check();
}

#[test]
fn compute_instances() {
    let (rig, mut t) = (rig(&["a100-40gb"]), Table::default());
    let (client, gpu) = (&rig.client, rig.client.gpu(0).unwrap());
    let three = client.create(gpu, 9).unwrap();
    let profile = |query, engines| client.compute_profile(three, query, engines);
    rows! { t;
        "ComputeInstanceProfileInfo", "3c in 3g: id, count, SM" => profile(2, 0) => Ok((2, 1, 42));
        "ComputeInstanceProfileInfo", "1c in 3g" => profile(0, 0) => Ok((0, 3, 14));
        "ComputeInstanceProfileInfo", "4c in 3g" => profile(3, 0) => Err(3);
        "ComputeInstanceProfileInfo", "1c.rev1 in 3g" => profile(7, 0) => Err(3);
        "ComputeInstanceProfileInfo", "no such enum" => profile(9, 0) => Err(2);
        "ComputeInstanceProfileInfo", "no such engines" => profile(2, 1) => Err(2);
    }
    let places = |id| client.compute_placements(three, id);
    rows! { t;
        "ComputePossiblePlacements", "1c" => places(0) => Ok(vec![(0, 1), (1, 1), (2, 1)]);
        "ComputePossiblePlacements", "4c" => places(3) => Err(3);
        "ComputeRemainingCapacity", "empty" => client.compute_remaining(three, 0) => Ok(3);
        "ComputeRemainingCapacity", "4c" => client.compute_remaining(three, 3) => Err(3);
        "CreateComputeInstance", "unknown id" => code(client.create_compute(three, 9)) => 2;
        "CreateComputeInstance", "4c" => code(client.create_compute(three, 3)) => 3;
    }
    let one = client.create_compute_at(three, 0, 1, 1).unwrap();
    rows! { t;
        "ComputeRemainingCapacity", "one taken" => client.compute_remaining(three, 0) => Ok(2);
        "CreateComputeInstance", "no room" => code(client.create_compute(three, 2)) => 23;
    }
    let made = |start, size| code(client.create_compute_at(three, 0, start, size));
    rows! { t;
        "…WithPlacement", "occupied" => made(1, 1) => 23;
        "…WithPlacement", "illegal" => made(3, 1) => 2;
        "GetComputeInstances", "one" => client.compute_instances(three, 0) => Ok(vec![one]);
        "GetComputeInstances", "none" => client.compute_instances(three, 2) => Ok(vec![]);
        "GetComputeInstances", "4c" => code(client.compute_instances(three, 3)) => 3;
        "GetComputeInstanceById", "there" => client.compute_instance(three, 0) => Ok(one);
        "GetComputeInstanceById", "absent" => code(client.compute_instance(three, 1)) => 6;
    }
    let info = client
        .compute_info(one)
        .map(|info| (info.id, info.profileId));
    rows! { t;
        "ComputeInstanceGetInfo_v2", "id and profile" => info => Ok((0, 0));
    }
    let device = client.compute_info(one).map(|info| info.device);
    rows! { t;
        "ComputeInstanceGetInfo_v2", "its MIG device" => device => client.mig(gpu, 0);
    }
    client.destroy_compute(one).unwrap();
    client.destroy(three).unwrap();
    rows! { t;
        "CreateComputeInstance", "stale" => code(client.create_compute(three, 2)) => 2;
        "ComputeRemainingCapacity", "stale" => client.compute_remaining(three, 2) => Err(2);
    }
    t.check();
}

#[test]
fn mig_devices() {
    let (rig, mut t) = (rig(&["a100-40gb"]), Table::default());
    let (client, gpu) = (&rig.client, rig.client.gpu(0).unwrap());
    let instance = client.create(gpu, 9).unwrap();
    rows! { t;
        "GetMigDeviceHandleByIndex", "no compute instance" => code(client.mig(gpu, 0)) => 6;
    }
    client.create_compute(instance, 2).unwrap();
    let mig = client.mig(gpu, 0).unwrap();
    rows! { t;
        "GetMigDeviceHandleByIndex", "hole" => code(client.mig(gpu, 1)) => 6;
        "GetMigDeviceHandleByIndex", "too large" => code(client.mig(gpu, 7)) => 2;
        "IsMigDeviceHandle", "of both" => (client.is_mig(mig), client.is_mig(gpu)) => (Ok(true), Ok(false));
        "GetGpuInstanceId, …ComputeInstanceId", "MIG" => client.ids(mig) => Ok((2, 0));
        "GetGpuInstanceId", "parent" => client.ids(gpu) => Err(2);
        "…FromMigDeviceHandle", "MIG" => client.parent(mig) => Ok(gpu);
        "…FromMigDeviceHandle", "parent" => code(client.parent(gpu)) => 2;
    }
    let sm = |device| {
        client
            .attributes(device)
            .map(|found| found.multiprocessorCount)
    };
    rows! { t;
        "GetAttributes_v2", "MIG" => sm(mig) => Ok(42);
        "GetAttributes_v2", "parent" => sm(gpu) => Err(2);
    }
    rig.node.start_process(0, 2, 7, 1 << 20).unwrap();
    rows! { t;
        "GetMemoryInfo", "MIG" => client.memory(mig) => Ok((19_968 << 20, 1 << 20));
        "GetMemoryInfo", "parent, as root" => client.memory(gpu) => Ok((40_960 << 20, 1 << 20));
        "GetMemoryInfo_v2", "wrong version" => client.memory_v2(mig, 0x0100_0028) => Err(25);
        "GetComputeRunningProcesses_v3", "MIG" => client.processes(mig) => Ok(vec![(7, 1 << 20, 2, 0)]);
        "GetComputeRunningProcesses_v3", "no room" => client.process_count(mig) => (Err(7), 1);
        "GetUtilizationRates", "MIG on" => client.utilization(gpu) => Err(3);
        "GetUtilizationRates", "MIG device" => client.utilization(mig) => Err(3);
        "GpmQueryDeviceSupport", "Ampere" => client.gpm_supported(gpu) => Ok(false);
    }
    t.check();
}

/// Every MIG call that has a pointer to write to, with a good handle and NULL behind it.
#[test]
fn null() {
    let (rig, mut t) = (rig(&["a100-40gb"]), Table::default());
    let (client, gpu) = (&rig.client, rig.client.gpu(0).unwrap());
    let instance = client.create(gpu, 0).unwrap();
    let compute = client.create_compute(instance, 4).unwrap();
    let mig = client.mig(gpu, 0).unwrap();
    let of_gpu = "GetMigMode GetGpuInstanceProfileInfo GetGpuInstanceProfileInfoV GetGpuInstancePossiblePlacements_v2 \
        GetGpuInstanceRemainingCapacity CreateGpuInstance CreateGpuInstanceWithPlacement GetGpuInstances GetGpuInstanceById \
        GetMaxMigDeviceCount GetMigDeviceHandleByIndex IsMigDeviceHandle SetMigMode";
    let of_mig = "GetGpuInstanceId GetComputeInstanceId GetDeviceHandleFromMigDeviceHandle GetAttributes_v2 GetMemoryInfo \
        GetMemoryInfo_v2 GetComputeRunningProcesses_v3 GetUUID GetName";
    let of_instance = "GetInfo GetComputeInstanceProfileInfo GetComputeInstanceProfileInfoV \
        GetComputeInstanceRemainingCapacity GetComputeInstancePossiblePlacements CreateComputeInstance \
        CreateComputeInstanceWithPlacement GetComputeInstances GetComputeInstanceById";
    let all = [
        ("nvmlDevice", of_gpu, gpu.addr()),
        ("nvmlDevice", of_mig, mig.addr()),
        ("nvmlGpuInstance", of_instance, instance.addr()),
        ("nvmlComputeInstance", "GetInfo GetInfo_v2", compute.addr()),
    ];
    let before = rig.node.gpus();
    for (prefix, calls, handle) in all {
        for call in calls.split_whitespace() {
            let symbol = format!("{prefix}{call}");
            t.row(&symbol, "NULL", &client.call_with(&symbol, handle), &2);
        }
    }
    assert_eq!(rig.node.gpus(), before, "and did nothing");
    t.check();
}

/// Handles of the wrong kind, NULL and garbage, to calls that take another kind.
#[test]
fn handles() {
    let (rig, mut t) = (rig(&["a100-40gb"]), Table::default());
    let (client, gpu) = (&rig.client, rig.client.gpu(0).unwrap());
    let instance = client.create(gpu, 9).unwrap();
    let compute = client.create_compute(instance, 2).unwrap();
    let mig = client.mig(gpu, 0).unwrap();
    let garbage: Gpu = std::ptr::without_provenance_mut(0xdead_beef);
    let wrong = |device: Gpu, t: &mut Table, what: &str| {
        rows! { t;
            "GetGpuInstances", what => code(client.instances(device, 9)) => 2;
            "CreateGpuInstance", what => code(client.create(device, 9)) => 2;
            "GetMigMode", what => code(client.mig_mode(device)) => 2;
        }
    };
    wrong(null_mut(), &mut t, "NULL");
    wrong(garbage, &mut t, "garbage");
    wrong(mig, &mut t, "MIG device");
    wrong(instance.cast(), &mut t, "GPU instance");
    wrong(compute.cast(), &mut t, "compute instance");
    let no_instance = |handle: GpuInstance, t: &mut Table, what: &str| {
        rows! { t;
            "GpuInstanceGetInfo", what => code(client.info(handle)) => 2;
            "GpuInstanceDestroy", what => client.destroy(handle) => Err(2);
            "ComputeInstanceDestroy", what => client.destroy_compute(handle.cast()) => Err(2);
        }
    };
    no_instance(null_mut(), &mut t, "NULL");
    no_instance(gpu.cast(), &mut t, "GPU");
    no_instance(mig.cast(), &mut t, "MIG device");
    t.check();
    assert_eq!(standing(client, gpu), 1, "and did nothing");
}

fn standing(client: &Client, gpu: Gpu) -> usize {
    client.instances(gpu, 9).unwrap().len()
}

//! Enumeration and identity of GPUs and MIG devices.

use std::ffi::{c_char, c_int, c_uint};

use nvml_wrapper_sys::bindings::{nvmlPciInfo_t, nvmlPciInfoExt_v1_t};

use super::call::{Result, export};
use super::handle::{self, Device, OnGpu};
use super::pointer::{Handle, Out, Text, fixed_text, has_version};
use crate::boards::{Architecture, Board};
use crate::code::Code;
use crate::identity;
use crate::store::Store;

export! {
    fn nvmlDeviceGetCount(count: Out<c_uint>) |store| { gpu_count(store, count) }
    fn nvmlDeviceGetCount_v2(count: Out<c_uint>) |store| { gpu_count(store, count) }
    fn nvmlDeviceGetHandleByIndex(index: c_uint, device: Out<Handle>) |store| { by_index(store, index, device) }
    fn nvmlDeviceGetHandleByIndex_v2(index: c_uint, device: Out<Handle>) |store| { by_index(store, index, device) }
    fn nvmlDeviceGetHandleByUUID(uuid: Text, device: Out<Handle>) |store| { device.put(by_uuid(store, uuid.get()?)?) }
    fn nvmlDeviceGetHandleByUUIDV(uuid: Out<c_uint>, device: Out<Handle>) |store| {
        // A version word, a type (1: text) and the value.
        if uuid.offset::<c_uint>(4)?.get()? != 1 {
            return Err(Code::ERROR_NOT_SUPPORTED);
        }
        device.put(by_uuid(store, uuid.offset::<u8>(8)?.text().get()?)?)
    }
    fn nvmlDeviceGetHandleBySerial(serial: Text, device: Out<Handle>) |store| {
        let serial = serial.get()?;
        device.put(find_gpu(store, |on| identity::serial(on.gpu.uuid) == serial)?)
    }
    fn nvmlDeviceGetHandleByPciBusId(bus_id: Text, device: Out<Handle>) |store| {
        device.put(by_bus_id(store, bus_id.get()?)?)
    }
    fn nvmlDeviceGetHandleByPciBusId_v2(bus_id: Text, device: Out<Handle>) |store| {
        device.put(by_bus_id(store, bus_id.get()?)?)
    }

    fn nvmlDeviceGetName(device: Handle, name: Out<c_char>, length: c_uint) |store| {
        name.put_text(length, &device_name(&handle::device(store, device)?))
    }
    fn nvmlDeviceGetUUID(device: Handle, uuid: Out<c_char>, length: c_uint) |store| {
        uuid.put_text(length, &uuid_of(&handle::device(store, device)?))
    }
    fn nvmlDeviceGetIndex(device: Handle, index: Out<c_uint>) |store| {
        let device = handle::device(store, device)?;
        index.put(device.mig.map_or(device.on.number(), |seat| seat.compute_instance.mig_index.into()))
    }
    fn nvmlDeviceGetMinorNumber(device: Handle, minor: Out<c_uint>) |store| {
        minor.put(handle::whole_gpu(store, device)?.gpu.minor)
    }
    fn nvmlDeviceGetSerial(device: Handle, serial: Out<c_char>, length: c_uint) |store| {
        serial.put_text(length, &identity::serial(handle::whole_gpu(store, device)?.gpu.uuid))
    }
    fn nvmlDeviceGetBoardId(device: Handle, id: Out<c_uint>) |store| {
        id.put(identity::bus(handle::whole_gpu(store, device)?.number()) << 8)
    }
    fn nvmlDeviceGetBrand(device: Handle, brand: Out<c_uint>) |store| {
        // NVML_BRAND_NVIDIA_RTX and NVML_BRAND_NVIDIA.
        let on = handle::device(store, device)?.on;
        brand.put(if on.board.product.contains("RTX") { 12 } else { 14 })
    }
    fn nvmlDeviceGetArchitecture(device: Handle, architecture: Out<c_uint>) |store| {
        architecture.put(architecture_number(handle::device(store, device)?.on.board))
    }
    fn nvmlDeviceGetCudaComputeCapability(device: Handle, major: Out<c_int>, minor: Out<c_int>) |store| {
        let (a, b) = handle::device(store, device)?.on.board.compute_capability;
        major.put(a)?;
        minor.put(b)
    }
    fn nvmlDeviceGetPciInfo_v3(device: Handle, info: Out<nvmlPciInfo_t>) |store| {
        info.put(pci_info(&handle::device(store, device)?.on))
    }
    fn nvmlDeviceGetPciInfoExt(device: Handle, info: Out<nvmlPciInfoExt_v1_t>) |store| {
        if !has_version::<nvmlPciInfoExt_v1_t>(info.cast().get()?, 1) {
            return Err(Code::ERROR_ARGUMENT_VERSION_MISMATCH);
        }
        info.put(pci_info_ext(&handle::device(store, device)?.on, info.cast().get()?))
    }
}

fn gpu_count(store: &Store, count: Out<c_uint>) -> Result {
    count.put(c_uint::try_from(store.gpu_count()).unwrap_or(0))
}

fn by_index(store: &Store, index: c_uint, device: Out<Handle>) -> Result {
    let index = usize::try_from(index).map_err(|_| Code::ERROR_INVALID_ARGUMENT)?;
    if index >= store.gpu_count() {
        return Err(Code::ERROR_INVALID_ARGUMENT);
    }
    device.put(handle::gpu(&OnGpu::open(store, index)?))
}

/// The GPUs that answer.
fn gpus(store: &Store) -> impl Iterator<Item = OnGpu> {
    (0..store.gpu_count()).filter_map(|index| OnGpu::open(store, index).ok())
}

fn find_gpu(store: &Store, wanted: impl Fn(&OnGpu) -> bool) -> Result<Handle> {
    let found = gpus(store)
        .find(|on| wanted(on))
        .ok_or(Code::ERROR_NOT_FOUND)?;
    Ok(handle::gpu(&found))
}

/// `GPU-<uuid>`, `MIG-<uuid>` and the old `MIG-GPU-<uuid>/<gi>/<ci>`; 6 when there is no such device.
fn by_uuid(store: &Store, text: &str) -> Result<Handle> {
    if text.starts_with("GPU-") {
        return find_gpu(store, |on| {
            identity::uuid_text("GPU", on.gpu.uuid).eq_ignore_ascii_case(text)
        });
    }
    if !text.starts_with("MIG-") {
        return Err(Code::ERROR_INVALID_ARGUMENT);
    }
    for on in gpus(store) {
        let gpu = identity::uuid_text("GPU", on.gpu.uuid);
        for (gi, instance) in on.gpu.instances() {
            for (ci, compute) in instance.compute_instances() {
                let uuid = identity::uuid_text("MIG", identity::mig_uuid(on.gpu.uuid, gi, compute));
                if uuid.eq_ignore_ascii_case(text)
                    || format!("MIG-{gpu}/{gi}/{ci}").eq_ignore_ascii_case(text)
                {
                    return Ok(handle::mig_device(on.index, gi, ci, *compute));
                }
            }
        }
    }
    Err(Code::ERROR_NOT_FOUND)
}

fn uuid_of(device: &Device) -> String {
    let gpu = device.on.gpu.uuid;
    match device.mig {
        None => identity::uuid_text("GPU", gpu),
        Some(seat) => identity::uuid_text(
            "MIG",
            identity::mig_uuid(gpu, seat.gi, &seat.compute_instance),
        ),
    }
}

fn device_name(device: &Device) -> String {
    let product = &device.on.board.product;
    match &device.mig {
        None => product.clone(),
        Some(seat) => format!(
            "{product} MIG {}",
            device
                .on
                .gpu
                .mig_name(&seat.gpu_instance, seat.compute_instance)
        ),
    }
}

pub(super) fn architecture_number(board: &Board) -> c_uint {
    match board.architecture {
        Architecture::Ampere => 7,
        Architecture::Ada => 8,
        Architecture::Hopper => 9,
        Architecture::Blackwell => 10,
    }
}

/// Takes the long form `00000000:07:00.0` and the short ones `0000:07:00.0` and `07:00.0`; 6 when there is no such GPU.
fn by_bus_id(store: &Store, text: &str) -> Result<Handle> {
    let wanted = identity::parse_bus_id(text).ok_or(Code::ERROR_INVALID_ARGUMENT)?;
    find_gpu(store, |on| (0, identity::bus(on.number()), 0, 0) == wanted)
}

fn pci_info(on: &OnGpu) -> nvmlPciInfo_t {
    let id = identity::bus_id(on.number());
    nvmlPciInfo_t {
        busIdLegacy: fixed_text(id.get(4..).unwrap_or_default()),
        domain: 0,
        bus: identity::bus(on.number()),
        device: 0,
        pciDeviceId: on.board.pci_device_id,
        pciSubSystemId: on.board.pci_device_id,
        busId: fixed_text(&id),
    }
}

fn pci_info_ext(on: &OnGpu, version: c_uint) -> nvmlPciInfoExt_v1_t {
    nvmlPciInfoExt_v1_t {
        version,
        domain: 0,
        bus: identity::bus(on.number()),
        device: 0,
        pciDeviceId: on.board.pci_device_id,
        pciSubSystemId: on.board.pci_device_id,
        // Display controller, 3D.
        baseClass: 3,
        subClass: 2,
        busId: fixed_text(&identity::bus_id(on.number())),
    }
}

"""The whole life of MIG instances through NVIDIA's own Python binding (nvidia-ml-py).

usage: life_cycle.py NVML_SIM NODE    GPU 0 of the node is an A100-40GB with MIG mode off; NVML_SIM starts its processes.
Prints each check and ends at the first that fails.
"""

import ctypes
import subprocess
import sys

import pynvml as nvml

NVML_SIM, NODE = sys.argv[1:]


def check(what, got, want):
    assert got == want, f"{what}: got {got!r}, want {want!r}"
    print(f"nvidia-ml-py: {what}: {got!r}")


def code(call, *arguments):
    """The return code of a call."""
    try:
        call(*arguments)
    except nvml.NVMLError as error:
        return error.value
    return 0


def simulate(*arguments):
    return subprocess.run([NVML_SIM, *arguments], check=True, capture_output=True, text=True).stdout.strip()


def placements(gpu, profile):
    """Sizes the list first, as the header says, then fills it."""
    count = ctypes.c_uint(0)
    nvml.nvmlDeviceGetGpuInstancePossiblePlacements(gpu, profile, None, ctypes.byref(count))
    array = (nvml.c_nvmlGpuInstancePlacement_t * count.value)()
    nvml.nvmlDeviceGetGpuInstancePossiblePlacements(gpu, profile, array, ctypes.byref(count))
    return [(place.start, place.size) for place in array]


def instances(gpu, profile):
    array = (nvml.c_nvmlGpuInstance_t * 7)()
    count = ctypes.c_uint(0)
    nvml.nvmlDeviceGetGpuInstances(gpu, profile, array, ctypes.byref(count))
    return [nvml.nvmlGpuInstanceGetInfo(array[i]).id for i in range(count.value)]


def place_of(instance):
    place = nvml.nvmlGpuInstanceGetInfo(instance).placement
    return place.start, place.size


def create_at(gpu, profile, start, size):
    place = nvml.c_nvmlGpuInstancePlacement_t()
    place.start, place.size = start, size
    return nvml.nvmlDeviceCreateGpuInstanceWithPlacement(gpu, profile, ctypes.byref(place))


def mig_devices(gpu):
    """MIG devices by index; a hole is left out."""
    found = {}
    for index in range(nvml.nvmlDeviceGetMaxMigDeviceCount(gpu)):
        try:
            found[index] = nvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, index)
        except nvml.NVMLError_NotFound:
            pass
    return found


nvml.nvmlInit()
gpu = nvml.nvmlDeviceGetHandleByIndex(0)
check("name", nvml.nvmlDeviceGetName(gpu), "NVIDIA A100-SXM4-40GB")
uuid = nvml.nvmlDeviceGetUUID(gpu)
check("a UUID finds its GPU", nvml.nvmlDeviceGetUUID(nvml.nvmlDeviceGetHandleByUUID(uuid)), uuid)

# Mode.
check("MIG mode at first", nvml.nvmlDeviceGetMigMode(gpu), [0, 0])
check("create with MIG mode off is not supported", code(nvml.nvmlDeviceCreateGpuInstance, gpu, 19), 3)
check("no MIG devices with MIG mode off", nvml.nvmlDeviceGetMaxMigDeviceCount(gpu), 0)
holder = simulate("hold", NODE, "--gpu", "0")
check("mode change of a GPU that is held stays pending", nvml.nvmlDeviceSetMigMode(gpu, 1), 19)
check("pending", nvml.nvmlDeviceGetMigMode(gpu), [0, 1])
simulate("release", NODE, holder)
check("mode change", nvml.nvmlDeviceSetMigMode(gpu, 1), 0)
check("MIG mode", nvml.nvmlDeviceGetMigMode(gpu), [1, 1])
check("most MIG devices", nvml.nvmlDeviceGetMaxMigDeviceCount(gpu), 7)

# Profiles: found by enum, used by id.
profiles = {}
for number in range(nvml.NVML_GPU_INSTANCE_PROFILE_COUNT):
    try:
        info = nvml.nvmlDeviceGetGpuInstanceProfileInfo(gpu, number)
    except nvml.NVMLError_NotSupported:
        continue
    profiles[info.id] = (info.name, info.instanceCount, info.multiprocessorCount)
    by_id = nvml.nvmlDeviceGetGpuInstanceProfileInfoById(gpu, info.id)
    assert by_id.name == info.name
check(
    "profiles",
    profiles,
    {
        19: ("MIG 1g.5gb", 7, 14),
        14: ("MIG 2g.10gb", 3, 28),
        9: ("MIG 3g.20gb", 2, 42),
        5: ("MIG 4g.20gb", 1, 56),
        0: ("MIG 7g.40gb", 1, 98),
        20: ("MIG 1g.5gb+me", 1, 14),
        15: ("MIG 1g.10gb", 4, 14),
    },
)
check("an enum that no header knows", code(nvml.nvmlDeviceGetGpuInstanceProfileInfo, gpu, 0x12), 2)
check("placements of 3g", placements(gpu, 9), [(0, 4), (4, 4)])
check("placements of 2g", placements(gpu, 14), [(0, 2), (2, 2), (4, 2)])
check("placements of 1g", placements(gpu, 19), [(start, 1) for start in range(7)])
check("placements of an unknown profile", code(placements, gpu, 1), 2)

# GPU instances.
check("room for 3g", nvml.nvmlDeviceGetGpuInstanceRemainingCapacity(gpu, 9), 2)
left = create_at(gpu, 9, 0, 4)
check("3g where it was asked for", place_of(left), (0, 4))
check("the same place again: no resources", code(create_at, gpu, 9, 0, 4), 23)
check("a place that 3g has not", code(create_at, gpu, 9, 2, 4), 2)
right = nvml.nvmlDeviceCreateGpuInstance(gpu, 14)
check("2g where the driver likes it", place_of(right), (4, 2))
check("room for 3g now", nvml.nvmlDeviceGetGpuInstanceRemainingCapacity(gpu, 9), 0)
check("no more 3g: no resources", code(nvml.nvmlDeviceCreateGpuInstance, gpu, 9), 23)
check("instances of 3g", instances(gpu, 9), [nvml.nvmlGpuInstanceGetInfo(left).id])
gi = nvml.nvmlGpuInstanceGetInfo(left).id
check("found by id", place_of(nvml.nvmlDeviceGetGpuInstanceById(gpu, gi)), (0, 4))
check("an id that is not there", code(nvml.nvmlDeviceGetGpuInstanceById, gpu, 13), 6)
check("a GPU instance alone has no MIG device", len(mig_devices(gpu)), 0)

# Compute instances and MIG devices.
info = nvml.nvmlGpuInstanceGetComputeInstanceProfileInfo(left, nvml.NVML_COMPUTE_INSTANCE_PROFILE_3_SLICE, 0)
check("compute profile that fills 3g", (info.id, info.name, info.multiprocessorCount), (2, "MIG 3g.20gb", 42))
check("7 slices are not offered in 3g", code(nvml.nvmlGpuInstanceGetComputeInstanceProfileInfo, left, 4, 0), 3)
whole = nvml.nvmlGpuInstanceCreateComputeInstance(left, info.id)
check("no room for another", code(nvml.nvmlGpuInstanceCreateComputeInstance, left, 0), 23)
halves = [nvml.nvmlGpuInstanceCreateComputeInstance(right, 0) for _ in range(2)]
migs = mig_devices(gpu)
names = [nvml.nvmlDeviceGetName(mig).removeprefix("NVIDIA A100-SXM4-40GB ") for mig in migs.values()]
check("MIG devices", names, ["MIG 3g.20gb", "MIG 1c.2g.10gb", "MIG 1c.2g.10gb"])
mig = migs[0]
check("is a MIG device", [nvml.nvmlDeviceIsMigDeviceHandle(one).value for one in (mig, gpu)], [1, 0])
ids = nvml.nvmlDeviceGetGpuInstanceId(mig), nvml.nvmlDeviceGetComputeInstanceId(mig)
check("its instances", ids, (gi, 0))
check("its parent", nvml.nvmlDeviceGetUUID(nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(mig)), uuid)
found = nvml.nvmlDeviceGetHandleByUUID(nvml.nvmlDeviceGetUUID(mig))
check("a UUID finds its MIG device", nvml.nvmlDeviceGetComputeInstanceId(found), 0)
attributes = nvml.nvmlDeviceGetAttributes(mig)
check("its slices", (attributes.gpuInstanceSliceCount, attributes.computeInstanceSliceCount), (3, 3))
ci = nvml.nvmlComputeInstanceGetInfo(whole)
device = ctypes.cast(ci.device, nvml.c_nvmlDevice_t)
check("a compute instance knows its MIG device", nvml.nvmlDeviceGetUUID(device), nvml.nvmlDeviceGetUUID(mig))
check("the instance of a whole GPU", code(nvml.nvmlDeviceGetGpuInstanceId, gpu), 2)

# Memory and processes.
check("memory", nvml.nvmlDeviceGetMemoryInfo(mig).total >> 20, 19968)
check("memory, version 2", nvml.nvmlDeviceGetMemoryInfo(mig, version=nvml.nvmlMemory_v2).used, 0)
pid = int(simulate("process", "start", NODE, "--gpu", "0", "--gi", str(gi), "--memory-mib", "300"))
seen = [
    (process.pid, process.usedGpuMemory >> 20, process.gpuInstanceId, process.computeInstanceId)
    for process in nvml.nvmlDeviceGetComputeRunningProcesses(mig)
]
check("processes", seen, [(pid, 300, gi, 0)])
check("memory in use", nvml.nvmlDeviceGetMemoryInfo(mig).used >> 20, 300)
check("utilisation is not supported with MIG", code(nvml.nvmlDeviceGetUtilizationRates, gpu), 3)

# Destroy, from the inside out.
check("a compute instance in use", code(nvml.nvmlComputeInstanceDestroy, whole), 19)
check("mode change of a GPU in use stays pending", nvml.nvmlDeviceSetMigMode(gpu, 0), 19)
check("back to what it is", nvml.nvmlDeviceSetMigMode(gpu, 1), 0)
simulate("process", "stop", NODE, str(pid))
check("a GPU instance with a compute instance", code(nvml.nvmlGpuInstanceDestroy, left), 19)
for compute in (whole, *halves):
    nvml.nvmlComputeInstanceDestroy(compute)
check("MIG devices are gone", len(mig_devices(gpu)), 0)
check("the handle of one is stale", code(nvml.nvmlDeviceGetUUID, mig), 2)
for instance in (left, right):
    nvml.nvmlGpuInstanceDestroy(instance)
check("the handle of a GPU instance is stale", code(nvml.nvmlGpuInstanceDestroy, left), 2)
check("room for 3g again", nvml.nvmlDeviceGetGpuInstanceRemainingCapacity(gpu, 9), 2)
check("mode change back", nvml.nvmlDeviceSetMigMode(gpu, 0), 0)
check("MIG mode at last", nvml.nvmlDeviceGetMigMode(gpu), [0, 0])
nvml.nvmlShutdown()
check("nothing works after shutdown", code(nvml.nvmlDeviceGetCount), 1)

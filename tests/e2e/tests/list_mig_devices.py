"""Prints every MIG device that NVML shows, one a line: UUID, profile."""

import pynvml as nvml


def text(value):
    return value.decode() if isinstance(value, bytes) else value


nvml.nvmlInit()
for index in range(nvml.nvmlDeviceGetCount()):
    gpu = nvml.nvmlDeviceGetHandleByIndex(index)
    for slot in range(nvml.nvmlDeviceGetMaxMigDeviceCount(gpu)):
        try:
            device = nvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, slot)
            uuid, name = text(nvml.nvmlDeviceGetUUID(device)), text(nvml.nvmlDeviceGetName(device))
        except nvml.NVMLError as error:
            # A hole in the list, or a device that went away while we looked.
            if error.value in (nvml.NVML_ERROR_NOT_FOUND, nvml.NVML_ERROR_INVALID_ARGUMENT):
                continue
            raise
        print(uuid, name.split(" MIG ")[-1])
nvml.nvmlShutdown()

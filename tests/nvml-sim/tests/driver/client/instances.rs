//! The calls on GPU instances and compute instances.

use std::ffi::CStr;
use std::ptr::null_mut;

use nvml_wrapper_sys::bindings::*;

use super::{Answer, Client, ComputeInstance, Gpu, GpuInstance, ROOM};

impl Client {
    pub(crate) fn profile(&self, gpu: Gpu, query: u32) -> Answer<nvmlGpuInstanceProfileInfo_t> {
        // SAFETY: plain numbers, for which all zero is valid.
        let mut info: nvmlGpuInstanceProfileInfo_t = unsafe { std::mem::zeroed() };
        call!(
            self,
            nvmlDeviceGetGpuInstanceProfileInfo(gpu, query, &raw mut info)
        )
        .map(|()| info)
    }

    /// The profile with its name, struct version 2.
    pub(crate) fn profile_v2(&self, gpu: Gpu, query: u32, version: u32) -> Answer<(u32, String)> {
        // SAFETY: plain numbers and characters, for which all zero is valid.
        let mut info: nvmlGpuInstanceProfileInfo_v2_t = unsafe { std::mem::zeroed() };
        info.version = version;
        call!(
            self,
            nvmlDeviceGetGpuInstanceProfileInfoV(gpu, query, &raw mut info)
        )?;
        // SAFETY: the library terminates the text, and the array ends in zeroes.
        let name = unsafe { CStr::from_ptr(info.name.as_ptr()) };
        Ok((info.id, name.to_str().unwrap().to_owned()))
    }

    /// Start and size of each placement.
    pub(crate) fn placements(&self, gpu: Gpu, id: u32) -> Answer<Vec<(u32, u32)>> {
        let mut count = 0;
        call!(
            self,
            nvmlDeviceGetGpuInstancePossiblePlacements_v2(gpu, id, null_mut(), &raw mut count)
        )?;
        let mut buffer =
            vec![nvmlGpuInstancePlacement_t { start: 0, size: 0 }; usize::try_from(count).unwrap()];
        call!(
            self,
            nvmlDeviceGetGpuInstancePossiblePlacements_v2(
                gpu,
                id,
                buffer.as_mut_ptr(),
                &raw mut count
            )
        )?;
        Ok(buffer
            .iter()
            .map(|place| (place.start, place.size))
            .collect())
    }

    pub(crate) fn remaining(&self, gpu: Gpu, id: u32) -> Answer<u32> {
        let mut count = 0;
        call!(
            self,
            nvmlDeviceGetGpuInstanceRemainingCapacity(gpu, id, &raw mut count)
        )
        .map(|()| count)
    }

    pub(crate) fn create(&self, gpu: Gpu, id: u32) -> Answer<GpuInstance> {
        let mut instance = null_mut();
        call!(
            self,
            nvmlDeviceCreateGpuInstance(gpu, id, &raw mut instance)
        )
        .map(|()| instance)
    }

    pub(crate) fn create_at(
        &self,
        gpu: Gpu,
        id: u32,
        start: u32,
        size: u32,
    ) -> Answer<GpuInstance> {
        let mut instance = null_mut();
        let place = nvmlGpuInstancePlacement_t { start, size };
        call!(
            self,
            nvmlDeviceCreateGpuInstanceWithPlacement(gpu, id, &raw const place, &raw mut instance)
        )
        .map(|()| instance)
    }

    pub(crate) fn destroy(&self, instance: GpuInstance) -> Answer<()> {
        call!(self, nvmlGpuInstanceDestroy(instance))
    }

    pub(crate) fn instances(&self, gpu: Gpu, id: u32) -> Answer<Vec<GpuInstance>> {
        let (mut buffer, mut count) = (vec![null_mut(); ROOM], 0);
        call!(
            self,
            nvmlDeviceGetGpuInstances(gpu, id, buffer.as_mut_ptr(), &raw mut count)
        )?;
        buffer.truncate(usize::try_from(count).unwrap());
        Ok(buffer)
    }

    /// What a list without a buffer answers.
    pub(crate) fn instances_nowhere(&self, gpu: Gpu, id: u32) -> Answer<u32> {
        let mut count = 99;
        let count_out = &raw mut count;
        call!(
            self,
            nvmlDeviceGetGpuInstances(gpu, id, null_mut(), count_out)
        )
        .map(|()| count)
    }

    /// Start and size of each placement of a compute instance profile, by one call with a buffer whose capacity is not said.
    pub(crate) fn compute_placements(
        &self,
        instance: GpuInstance,
        id: u32,
    ) -> Answer<Vec<(u32, u32)>> {
        let none = nvmlComputeInstancePlacement_t { start: 0, size: 0 };
        let (mut buffer, mut count) = (vec![none; ROOM], 0);
        call!(
            self,
            nvmlGpuInstanceGetComputeInstancePossiblePlacements(
                instance,
                id,
                buffer.as_mut_ptr(),
                &raw mut count
            )
        )?;
        buffer.truncate(usize::try_from(count).unwrap());
        Ok(buffer
            .iter()
            .map(|place| (place.start, place.size))
            .collect())
    }

    pub(crate) fn instance(&self, gpu: Gpu, gi: u32) -> Answer<GpuInstance> {
        let mut instance = null_mut();
        call!(
            self,
            nvmlDeviceGetGpuInstanceById(gpu, gi, &raw mut instance)
        )
        .map(|()| instance)
    }

    /// Id, start and size.
    pub(crate) fn info(&self, instance: GpuInstance) -> Answer<(u32, u32, u32)> {
        // SAFETY: plain numbers and a pointer, for which all zero is valid.
        let mut info: nvmlGpuInstanceInfo_t = unsafe { std::mem::zeroed() };
        call!(self, nvmlGpuInstanceGetInfo(instance, &raw mut info))
            .map(|()| (info.id, info.placement.start, info.placement.size))
    }

    pub(crate) fn compute_profile(
        &self,
        instance: GpuInstance,
        query: u32,
        engines: u32,
    ) -> Answer<(u32, u32, u32)> {
        // SAFETY: plain numbers, for which all zero is valid.
        let mut info: nvmlComputeInstanceProfileInfo_t = unsafe { std::mem::zeroed() };
        call!(
            self,
            nvmlGpuInstanceGetComputeInstanceProfileInfo(instance, query, engines, &raw mut info)
        )
        .map(|()| (info.id, info.instanceCount, info.multiprocessorCount))
    }

    pub(crate) fn compute_remaining(&self, instance: GpuInstance, id: u32) -> Answer<u32> {
        let mut count = 0;
        call!(
            self,
            nvmlGpuInstanceGetComputeInstanceRemainingCapacity(instance, id, &raw mut count)
        )
        .map(|()| count)
    }

    pub(crate) fn create_compute(&self, instance: GpuInstance, id: u32) -> Answer<ComputeInstance> {
        let mut compute = null_mut();
        call!(
            self,
            nvmlGpuInstanceCreateComputeInstance(instance, id, &raw mut compute)
        )
        .map(|()| compute)
    }

    pub(crate) fn create_compute_at(
        &self,
        instance: GpuInstance,
        id: u32,
        start: u32,
        size: u32,
    ) -> Answer<ComputeInstance> {
        let mut compute = null_mut();
        let place = nvmlComputeInstancePlacement_t { start, size };
        let place = &raw const place;
        call!(
            self,
            nvmlGpuInstanceCreateComputeInstanceWithPlacement(
                instance,
                id,
                place,
                &raw mut compute
            )
        )
        .map(|()| compute)
    }

    pub(crate) fn destroy_compute(&self, compute: ComputeInstance) -> Answer<()> {
        call!(self, nvmlComputeInstanceDestroy(compute))
    }

    pub(crate) fn compute_instances(
        &self,
        instance: GpuInstance,
        id: u32,
    ) -> Answer<Vec<ComputeInstance>> {
        let (mut buffer, mut count) = (vec![null_mut(); ROOM], 0);
        call!(
            self,
            nvmlGpuInstanceGetComputeInstances(instance, id, buffer.as_mut_ptr(), &raw mut count)
        )?;
        buffer.truncate(usize::try_from(count).unwrap());
        Ok(buffer)
    }

    pub(crate) fn compute_instance(
        &self,
        instance: GpuInstance,
        ci: u32,
    ) -> Answer<ComputeInstance> {
        let mut compute = null_mut();
        call!(
            self,
            nvmlGpuInstanceGetComputeInstanceById(instance, ci, &raw mut compute)
        )
        .map(|()| compute)
    }

    pub(crate) fn compute_info(
        &self,
        compute: ComputeInstance,
    ) -> Answer<nvmlComputeInstanceInfo_t> {
        // SAFETY: plain numbers and pointers, for which all zero is valid.
        let mut info: nvmlComputeInstanceInfo_t = unsafe { std::mem::zeroed() };
        call!(self, nvmlComputeInstanceGetInfo_v2(compute, &raw mut info)).map(|()| info)
    }

    /// Destroys every instance of a GPU; nothing may be running there.
    pub(crate) fn clear(&self, gpu: Gpu) {
        for id in self.profile_ids(gpu) {
            for instance in self.instances(gpu, id).unwrap() {
                for ci in 0..8 {
                    if let Ok(compute) = self.compute_instance(instance, ci) {
                        self.destroy_compute(compute).unwrap();
                    }
                }
                self.destroy(instance).unwrap();
            }
        }
    }

    /// The ids of all profiles that the GPU offers.
    pub(crate) fn profile_ids(&self, gpu: Gpu) -> Vec<u32> {
        (0..0x12)
            .filter_map(|query| self.profile(gpu, query).ok())
            .map(|profile| profile.id)
            .collect()
    }
}

//! The tables of compute instances.

use nvml_sim::boards::{self, Board, ComputeProfile};
use nvml_sim::{GpuView, InstanceView};

use super::{NO_COMPUTE_INSTANCES, NO_GPU_INSTANCES, table};

/// GPU instances with their GPU.
fn all_instances(gpus: &[GpuView]) -> impl Iterator<Item = (&GpuView, &InstanceView)> {
    gpus.iter()
        .flat_map(|gpu| gpu.instances.iter().map(move |instance| (gpu, instance)))
}

/// Like `nvidia-smi mig -lci`.
pub(crate) fn compute_instances(gpus: &[GpuView]) -> String {
    let mut rows = Vec::new();
    for (gpu, instance) in all_instances(gpus) {
        for compute in &instance.compute_instances {
            rows.push(format!(
                "{:>3} {:>6}       {:<18} {:>3} {:>9} {:>10}:{}",
                gpu.index,
                instance.gi,
                format!("MIG {}", compute.name),
                compute.profile,
                compute.ci,
                compute.start,
                compute.slices,
            ));
        }
    }
    if rows.is_empty() {
        return NO_COMPUTE_INSTANCES.to_owned();
    }
    table(
        &[
            "Compute instances:",
            "GPU     GPU       Name             Profile   Instance   Placement ",
            "      Instance                       ID        ID       Start:Size",
            "        ID",
        ],
        &rows,
    )
}

/// Like `nvidia-smi mig -lcip`.
pub(crate) fn compute_profiles(gpus: &[GpuView]) -> String {
    let rows: Vec<_> = all_instances(gpus)
        .flat_map(|(gpu, instance)| profiles_within(gpu, instance))
        .collect();
    if rows.is_empty() {
        return NO_GPU_INSTANCES.to_owned();
    }
    table(
        &[
            "Compute instance profiles:",
            "GPU     GPU      Name             Profile  Instances   Exclusive       Shared       ",
            "      Instance                      ID     Free/Total     SM       DEC   ENC   OFA  ",
            "        ID                                                         CE    JPEG       ",
        ],
        &rows,
    )
}

/// The rows of one GPU instance; the profile that fills it has a star.
fn profiles_within(gpu: &GpuView, instance: &InstanceView) -> Vec<String> {
    let Some(board) = Board::named(&gpu.board) else {
        return Vec::new();
    };
    let Some(within) = board.profile(instance.profile) else {
        return Vec::new();
    };
    let row = |profile: ComputeProfile| {
        let (name, star) = if profile.slices == within.slices {
            (format!("MIG {}", within.name), "*")
        } else {
            (format!("MIG {}c.{}", profile.slices, within.name), " ")
        };
        let [copy, decoders, encoders, jpeg, ofa] = within.engines;
        format!(
            "{:>3} {:>6}       {name:<18} {:>2}{star} {:>5}/{:<3} {:>10} {decoders:>8} {encoders:>5} {ofa:>5}\n\
             {:66}{copy:>3} {jpeg:>5}",
            gpu.index,
            instance.gi,
            profile.id,
            instance.free_places(profile),
            profile.count,
            board.compute_multiprocessors(within, profile.slices),
            "",
        )
    };
    boards::compute_profiles(within.slices).map(row).collect()
}

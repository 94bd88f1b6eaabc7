//! A node in the manner of `nvidia-smi`, whose columns people know.

use std::fmt::Write as _;

use nvml_sim::{GpuView, boards};

mod compute;

pub(crate) use compute::{compute_instances, compute_profiles};

/// What there is to say of a node without MIG mode, as scripts grep it; so are the next two.
pub(crate) const NO_MIG: &str = "No MIG-enabled devices found.\n";
pub(crate) const NO_GPU_INSTANCES: &str = "No GPU instances found: Not Found\n";
pub(crate) const NO_COMPUTE_INSTANCES: &str = "No compute instances found: Not Found\n";

/// The boards, one a line.
pub(crate) fn boards() -> String {
    boards::all().iter().fold(String::new(), |text, board| {
        let names: Vec<_> = board
            .profiles
            .iter()
            .map(|profile| profile.name.as_str())
            .collect();
        format!(
            "{text}{:<28} {:<48} {}\n",
            board.key,
            board.product,
            if names.is_empty() {
                "no MIG".to_owned()
            } else {
                names.join(" ")
            }
        )
    })
}

/// Like `nvidia-smi -L`.
pub(crate) fn devices(gpus: &[GpuView]) -> String {
    let mut text = String::new();
    for gpu in gpus {
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(
            text,
            "GPU {}: {} (UUID: {})",
            gpu.index, gpu.product, gpu.uuid
        );
        let mut lines: Vec<_> = gpu
            .instances
            .iter()
            .flat_map(|instance| {
                instance.compute_instances.iter().map(|compute| {
                    let name = &compute.name;
                    let line = format!(
                        "  MIG {name:<10}  Device {:>2}: (UUID: {})\n",
                        compute.mig_index, compute.uuid
                    );
                    (compute.mig_index, line)
                })
            })
            .collect();
        lines.sort();
        text.extend(lines.into_iter().map(|(_, line)| line));
    }
    text
}

/// A table with a rule below each row; a row may have several lines.
fn table(head: &[&str], rows: &[String]) -> String {
    let width = head.iter().map(|line| line.len()).max().unwrap_or(0);
    let rule = |fill: &str| fill.repeat(width + 2);
    let mut text = format!("+{}+\n", rule("-"));
    for line in head {
        let _ = writeln!(text, "| {line:<width$} |");
    }
    let _ = writeln!(text, "|{}|", rule("="));
    for row in rows {
        for line in row.lines() {
            let _ = writeln!(text, "| {line:<width$} |");
        }
        let _ = writeln!(text, "+{}+", rule("-"));
    }
    text
}

/// Like `nvidia-smi mig -lgip`.
pub(crate) fn profiles(gpus: &[GpuView]) -> String {
    let mut rows = Vec::new();
    for gpu in gpus.iter().filter(|gpu| gpu.mig) {
        let board = boards::Board::named(&gpu.board);
        for profile in board.iter().flat_map(|board| &board.profiles) {
            let [copy, decoders, encoders, jpeg, ofa] = profile.engines;
            let free = gpu.free.get(&profile.id).copied().unwrap_or(0);
            // Hundredths of a GiB, cut off as nvidia-smi does.
            let hundredths = profile.memory_mib * 100 / 1024;
            let memory = format!("{}.{:02}", hundredths / 100, hundredths % 100);
            rows.push(format!(
                "{:>3}  {:<17} {:>2} {:>5}/{:<8} {memory:<10} No {:>6} {decoders:>5} {encoders:>5}\n\
                 {:58}{copy:>3} {jpeg:>5} {ofa:>5}",
                gpu.index,
                format!("MIG {}", profile.name),
                profile.id,
                free,
                profile.instances,
                profile.sm,
                "",
            ));
        }
    }
    if rows.is_empty() {
        return NO_MIG.to_owned();
    }
    table(
        &[
            "GPU instance profiles:",
            "GPU   Name             ID    Instances   Memory     P2P    SM    DEC   ENC ",
            "                             Free/Total   GiB              CE    JPEG  OFA ",
        ],
        &rows,
    )
}

/// Like `nvidia-smi mig -lgipp`.
pub(crate) fn possible_placements(gpus: &[GpuView]) -> String {
    let mut text = String::new();
    for gpu in gpus.iter().filter(|gpu| gpu.mig) {
        let board = boards::Board::named(&gpu.board);
        for profile in board.iter().flat_map(|board| &board.profiles) {
            let starts: Vec<_> = profile.starts.iter().map(u32::to_string).collect();
            let word = if starts.len() == 1 {
                "Placement "
            } else {
                "Placements"
            };
            let _ = writeln!(
                text,
                "GPU {:>2} Profile ID {:>2} {word}: {{{}}}:{}",
                gpu.index,
                profile.id,
                starts.join(","),
                profile.size,
            );
        }
    }
    if text.is_empty() {
        return NO_MIG.to_owned();
    }
    text
}

/// Like `nvidia-smi mig -lgi`.
pub(crate) fn gpu_instances(gpus: &[GpuView]) -> String {
    let rows: Vec<_> = gpus
        .iter()
        .flat_map(|gpu| {
            gpu.instances
                .iter()
                .map(move |instance| (gpu.index, instance))
        })
        .map(|(gpu, instance)| {
            format!(
                "{gpu:>3}  {:<18} {:>3} {:>8} {:>10}:{}",
                format!("MIG {}", instance.profile_name),
                instance.profile,
                instance.gi,
                instance.start,
                instance.size,
            )
        })
        .collect();
    if rows.is_empty() {
        return NO_GPU_INSTANCES.to_owned();
    }
    table(
        &[
            "GPU instances:",
            "GPU   Name             Profile  Instance   Placement ",
            "                         ID       ID       Start:Size",
        ],
        &rows,
    )
}

/// The simulated processes, like the table at the end of `nvidia-smi`.
pub(crate) fn processes(gpus: &[GpuView]) -> String {
    let rows: Vec<_> = gpus
        .iter()
        .flat_map(|gpu| gpu.all_processes().map(move |found| (gpu.index, found)))
        .map(|(gpu, (gi, process))| {
            let gi = gi.map_or("N/A".to_owned(), |gi| gi.to_string());
            format!(
                "{gpu:>3}  {gi:>4} {:>9} {:>12} MiB",
                process.pid,
                process.memory_bytes >> 20
            )
        })
        .collect();
    if rows.is_empty() {
        return "No running processes found\n".to_owned();
    }
    table(
        &["Processes:", "GPU    GI       PID           Memory "],
        &rows,
    )
}

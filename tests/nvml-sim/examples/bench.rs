//! What calls of the simulated driver cost, while another process changes the same node all the time: `make bench-driver`.
//!
//! A client of hardware makes about 900 calls to apply a MIG layout, so the simulated driver must not be what it waits for. The bar
//! is 20 µs for 99 of 100 reads.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]
#![expect(unsafe_code, reason = "the safe API cannot create instances")]

use std::process::{Command, ExitCode};
use std::ptr::null_mut;
use std::time::{Duration, Instant};

use nvml_sim::{GpuSpec, Node, NodeOptions};
use nvml_wrapper::{Device, Nvml};

/// Calls of each kind.
const CALLS: usize = 100_000;
/// What 99 of 100 reads must stay below.
const BAR: Duration = Duration::from_micros(20);
/// Turns this program into the process that changes the node.
const CHURN: &str = "--churn";

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(CHURN) {
        let dir = arguments.next().ok_or("no folder")?;
        return churn(&Node::open(dir.as_ref())?);
    }
    let dir = tempfile::tempdir()?;
    let mut gpus = GpuSpec::many("a100-40gb", 1, true);
    gpus.extend(GpuSpec::many("h100-sxm5-80gb", 1, true));
    let node = Node::create(&dir.path().join("node"), &gpus, &NodeOptions::default())?;
    let nvml = Nvml::builder()
        .lib_path(node.library().as_os_str())
        .init()?;
    println!(
        "calls through nvml-wrapper, {CALLS} of each kind; the other process changes GPU 0 without a pause"
    );
    let alone = reads(&nvml, "alone")?;
    let mut other = Command::new(std::env::current_exe()?)
        .arg(CHURN)
        .arg(node.dir())
        .spawn()?;
    let (before, started) = (node.log()?.len(), Instant::now());
    let shared = reads(&nvml, "with another process")?;
    let (changes, passed) = (node.log()?.len() - before, started.elapsed());
    other.kill()?;
    other.wait()?;
    println!(
        "the other process made {:.0} changes a second meanwhile; p99 of reads is {:.1} times that alone",
        f64::from(u32::try_from(changes)?) / passed.as_secs_f64(),
        shared.as_secs_f64() / alone.as_secs_f64(),
    );
    session(&nvml)?;
    println!("p99 of all reads beside another process: {shared:?}; bar: {BAR:?}");
    Ok(if shared <= BAR {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Changes the MIG mode of GPU 0, for ever.
fn churn(node: &Node) -> Result<ExitCode> {
    let nvml = Nvml::builder()
        .lib_path(node.library().as_os_str())
        .init()?;
    let gpu = nvml.device_by_index(0)?;
    loop {
        for mode in [false, true] {
            gpu.set_mig_mode(mode)?;
        }
    }
}

/// Times every kind of read on both GPUs; prints median and p99 of each, and returns the p99 of all.
fn reads(nvml: &Nvml, when: &str) -> Result<Duration> {
    println!("{when}:");
    let gpus = [nvml.device_by_index(0)?, nvml.device_by_index(1)?];
    let uuid = gpus[1].uuid()?;
    let mut all = Vec::new();
    let mut time = |name: &str, call: &dyn Fn(&Device<'_>) -> bool| -> Result<()> {
        let mut took = Vec::with_capacity(CALLS);
        for gpu in gpus.iter().cycle().take(CALLS) {
            let start = Instant::now();
            let answered = call(gpu);
            took.push(start.elapsed());
            if !answered {
                return Err(format!("{name} failed").into());
            }
        }
        took.sort_unstable();
        println!(
            "  {name:<28} median {:>9.2?}   p99 {:>9.2?}",
            at(&took, 50),
            at(&took, 99)
        );
        all.append(&mut took);
        Ok(())
    };
    time("mig_mode", &|gpu| gpu.mig_mode().is_ok())?;
    time("name", &|gpu| gpu.name().is_ok())?;
    time("uuid", &|gpu| gpu.uuid().is_ok())?;
    time("profile_info", &|gpu| gpu.profile_info(2).is_ok())?;
    time("memory_info", &|gpu| gpu.memory_info().is_ok())?;
    time("running_compute_processes", &|gpu| {
        gpu.running_compute_processes().is_ok()
    })?;
    time("device_by_uuid", &|_| {
        nvml.device_by_uuid(uuid.as_str()).is_ok()
    })?;
    all.sort_unstable();
    Ok(at(&all, 99))
}

/// Times sessions of about 900 calls, as one takes that applies a layout: mostly reads, and instances made and removed.
fn session(nvml: &Nvml) -> Result<()> {
    let mut took = Vec::new();
    for _ in 0..50 {
        let start = Instant::now();
        let mut calls = 0;
        for _ in 0..25 {
            for index in 0..nvml.device_count()? {
                let gpu = nvml.device_by_index(index)?;
                gpu.uuid()?;
                gpu.name()?;
                gpu.mig_mode()?;
                gpu.memory_info()?;
                gpu.pci_info()?;
                gpu.running_compute_processes()?;
                for query in [0, 1, 2, 3, 4, 7, 9] {
                    gpu.profile_info(query)?;
                }
                calls += 15;
            }
        }
        for profile in [9, 14, 19] {
            calls += instance(nvml, profile)?;
        }
        took.push(start.elapsed() * 900 / calls);
    }
    took.sort_unstable();
    println!(
        "a session of 900 calls, 12 of them changes: median {:.2?}, slowest {:.2?}",
        at(&took, 50),
        at(&took, 100)
    );
    Ok(())
}

/// Makes and removes a GPU instance and its compute instances on GPU 1; returns the number of calls.
fn instance(nvml: &Nvml, profile: u32) -> Result<u32> {
    let (lib, gpu) = (nvml.lib(), nvml.device_by_index(1)?);
    let (mut instance, mut compute) = (null_mut(), null_mut());
    // SAFETY: the handle is used while the device lives.
    let device = unsafe { gpu.handle() };
    // SAFETY: the library is loaded and the pointer is to a live local.
    let created = unsafe { lib.nvmlDeviceCreateGpuInstance(device, profile, &raw mut instance) };
    // SAFETY: as before; a handle of NULL is refused.
    let filled = unsafe { lib.nvmlGpuInstanceCreateComputeInstance(instance, 0, &raw mut compute) };
    // SAFETY: as before.
    let emptied = unsafe { lib.nvmlComputeInstanceDestroy(compute) };
    // SAFETY: as before.
    let destroyed = unsafe { lib.nvmlGpuInstanceDestroy(instance) };
    match [created, filled, emptied, destroyed] {
        [0, 0, 0, 0] => Ok(4),
        codes => Err(format!("profile {profile}: {codes:?}").into()),
    }
}

/// A percentile of sorted times.
fn at(sorted: &[Duration], percent: usize) -> Duration {
    let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(index).copied().unwrap_or_default()
}

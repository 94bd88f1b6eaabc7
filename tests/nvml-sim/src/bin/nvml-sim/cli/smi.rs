//! What a simulated node has of `nvidia-smi`: it resets GPUs and lists devices, profiles and instances.
//!
//! Options, words and exit codes are those of the real one, as far as they are public (docs/simulated-driver.md says which are
//! known and which are guessed): scripts and MIG managers read them. Everything goes to standard output, as there.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use nvml_sim::{GpuView, Node, NodeError, PERMISSION_ENVIRONMENT, Permission};

use super::Result;
use crate::output::print;
use crate::show;

mod options;

use options::{Command, Listing, Options};

/// Exit codes of nvidia-smi.
const USAGE: u8 = 2;
const NO_PERMISSION: u8 = 4;
const NOT_FOUND: u8 = 6;
const NO_DRIVER: u8 = 9;
const LOST: u8 = 15;
const OTHER: u8 = 255;

const NO_DRIVER_WORDS: &str = "\
NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. \
Make sure that the latest NVIDIA driver is installed and running.\n";

/// What is printed, and the exit code.
type Said = (String, u8);

/// Runs `nvidia-smi ARGUMENTS` on a node.
pub(super) fn run(dir: &Path, arguments: &[String]) -> Result<ExitCode> {
    let node = Node::open(dir)?;
    let (text, code) = match Options::parse(arguments) {
        Ok(options) => answer(&node, &options)?,
        Err(message) => (message, USAGE),
    };
    print(&text)?;
    Ok(ExitCode::from(code))
}

fn answer(node: &Node, options: &Options) -> Result<Said> {
    if options.command == Command::Help {
        return Ok((options::HELP.to_owned(), 0));
    }
    if !node.driver().loaded {
        return Ok((NO_DRIVER_WORDS.to_owned(), NO_DRIVER));
    }
    let gpus = match options.choose(node.gpus()) {
        Ok(gpus) => gpus,
        Err(message) => return Ok((message, NOT_FOUND)),
    };
    let permission = permission(node)?;
    Ok(match options.command {
        Command::Help => (String::new(), 0),
        Command::Devices => devices(gpus),
        Command::Reset if permission == Permission::Root => reset(node, &gpus)?,
        Command::List(listing) if matches!(permission, Permission::Root | Permission::Config) => {
            list(listing, &gpus)
        }
        Command::Reset | Command::List(_) => {
            ("Insufficient Permissions\n".to_owned(), NO_PERMISSION)
        }
    })
}

/// What the caller may do: the node's setting, or its own.
fn permission(node: &Node) -> Result<Permission> {
    let own = std::env::var_os(PERMISSION_ENVIRONMENT);
    let own = own.map(|word| word.to_string_lossy().into_owned());
    Ok(own.unwrap_or(node.driver().permission).parse()?)
}

fn devices(gpus: Vec<GpuView>) -> Said {
    let (lost, gpus): (Vec<_>, Vec<_>) = gpus.into_iter().partition(|gpu| gpu.lost);
    let mut text = show::devices(&gpus);
    for gpu in &lost {
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(
            text,
            "Unable to determine the device handle for GPU {}: GPU is lost. Reboot the system to recover this GPU",
            gpu.bus_id
        );
    }
    (text, if lost.is_empty() { 0 } else { LOST })
}

/// Resets each GPU that can be; tells of those that cannot.
fn reset(node: &Node, gpus: &[GpuView]) -> Result<Said> {
    let (mut text, mut failed, mut in_use) = (String::new(), String::new(), 0);
    for GpuView { index, bus_id, .. } in gpus {
        let why = match node.reset_gpu(*index) {
            Ok(()) => {
                let _ = writeln!(text, "GPU {bus_id} was successfully reset.");
                continue;
            }
            Err(NodeError::InUse(_)) => {
                in_use += 1;
                "In use by another client"
            }
            Err(NodeError::CannotReset(_)) => "Not Supported",
            Err(error) => return Err(error.into()),
        };
        let _ = writeln!(failed, "  GPU {bus_id}: {why}");
    }
    if failed.is_empty() {
        return Ok((text + "All done.\n", 0));
    }
    let others = if in_use > 0 {
        others(in_use)
    } else {
        String::new()
    };
    let text = format!("{text}The following GPUs could not be reset:\n{failed}{others}");
    Ok((text, OTHER))
}

fn others(in_use: usize) -> String {
    let (count, this) = if in_use == 1 {
        ("1 device is".to_owned(), "this device")
    } else {
        (format!("{in_use} devices are"), "these devices")
    };
    format!(
        "\n{count} currently being used by one or more other processes (e.g., Fabric Manager, CUDA application, graphics \
         application such as an X server, or a monitoring application such as another instance of nvidia-smi). Please first kill \
         all processes using {this} and all compute applications running in the system.\n"
    )
}

fn list(listing: Listing, gpus: &[GpuView]) -> Said {
    let text = match listing {
        _ if !gpus.iter().any(|gpu| gpu.mig) => show::NO_MIG.to_owned(),
        Listing::GpuInstanceProfiles => show::profiles(gpus),
        Listing::GpuInstancePlacements => show::possible_placements(gpus),
        Listing::GpuInstances => show::gpu_instances(gpus),
        Listing::ComputeInstances => show::compute_instances(gpus),
        Listing::ComputeInstanceProfiles => show::compute_profiles(gpus),
    };
    let nothing = [
        show::NO_MIG,
        show::NO_GPU_INSTANCES,
        show::NO_COMPUTE_INSTANCES,
    ];
    let code = if nothing.contains(&text.as_str()) {
        NOT_FOUND
    } else {
        0
    };
    (text, code)
}

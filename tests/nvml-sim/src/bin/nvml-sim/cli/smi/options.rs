//! The options of `nvidia-smi` that are simulated.

use nvml_sim::GpuView;

pub(super) const HELP: &str = "\
nvidia-smi of a simulated node. It has these options of the real one:

  nvidia-smi -L | --list-gpus [-i IDS]
  nvidia-smi -r | --gpu-reset [-i IDS]
  nvidia-smi mig -lgip  | --list-gpu-instance-profiles            [-i IDS]
  nvidia-smi mig -lgipp | --list-gpu-instance-possible-placements [-i IDS]
  nvidia-smi mig -lgi   | --list-gpu-instances                    [-i IDS]
  nvidia-smi mig -lcip  | --list-compute-instance-profiles        [-i IDS] [-gi IDS]
  nvidia-smi mig -lci   | --list-compute-instances                [-i IDS] [-gi IDS]

IDS of -i | --id: indexes, UUIDs or PCI bus ids, separated by commas; all GPUs when not given.
IDS of -gi | --gpu-instance-id: ids of GPU instances, separated by commas.
";

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Help,
    Devices,
    Reset,
    List(Listing),
}

/// A table of `nvidia-smi mig`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listing {
    GpuInstanceProfiles,
    GpuInstancePlacements,
    GpuInstances,
    ComputeInstances,
    ComputeInstanceProfiles,
}

/// The command line; ids as they were given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) command: Command,
    gpus: Option<Vec<String>>,
    gpu_instances: Option<Vec<String>>,
}

impl Options {
    /// Reads the arguments; the error is what to print.
    pub(super) fn parse(arguments: &[String]) -> Result<Self, String> {
        let mig = arguments.first().is_some_and(|first| first == "mig");
        let (mut command, mut gpus, mut gpu_instances) = (None, None, None);
        let mut words = arguments.iter().skip(usize::from(mig)).map(String::as_str);
        while let Some(word) = words.next() {
            let (option, value) = word
                .split_once('=')
                .map_or((word, None), |(option, value)| (option, Some(value)));
            let ids = match option {
                "-i" | "--id" => &mut gpus,
                "-gi" | "--gpu-instance-id" if mig => &mut gpu_instances,
                _ => {
                    let found = if mig { listing(word) } else { task(word) };
                    let found = found.ok_or_else(|| unknown(word))?;
                    if command.replace(found).is_some() {
                        return Err(unknown(word));
                    }
                    continue;
                }
            };
            let value = value.or_else(|| words.next()).unwrap_or_default();
            if value.is_empty() {
                return Err(format!("Option \"{option}\" is missing its value.\n"));
            }
            *ids = Some(value.split(',').map(str::to_owned).collect());
        }
        Ok(Self {
            command: command.ok_or_else(|| HELP.to_owned())?,
            gpus,
            gpu_instances,
        })
    }

    /// The GPUs that the ids name, in their order, each with the GPU instances that the ids name; the error is what to print.
    pub(super) fn choose(&self, all: Vec<GpuView>) -> Result<Vec<GpuView>, String> {
        let mut chosen = match &self.gpus {
            None => all,
            Some(ids) => {
                let find = |id: &String| {
                    let found = all.iter().find(|gpu| gpu.is_named(id)).cloned();
                    found.ok_or_else(|| format!("No devices were found for \"{id}\"\n"))
                };
                ids.iter().map(find).collect::<Result<_, _>>()?
            }
        };
        if let Some(ids) = &self.gpu_instances {
            let named = |gi: u32| ids.iter().any(|id| id.parse() == Ok(gi));
            for gpu in &mut chosen {
                gpu.instances.retain(|instance| named(instance.gi));
            }
        }
        Ok(chosen)
    }
}

fn unknown(word: &str) -> String {
    format!(
        "Invalid combination of input arguments: \"{word}\" is not known here, or not together with the others. Please run \
         'nvidia-smi -h' for help.\n"
    )
}

fn task(word: &str) -> Option<Command> {
    Some(match word {
        "-h" | "--help" => Command::Help,
        "-L" | "--list-gpus" => Command::Devices,
        "-r" | "--gpu-reset" => Command::Reset,
        _ => return None,
    })
}

fn listing(word: &str) -> Option<Command> {
    Some(Command::List(match word {
        "-lgip" | "--list-gpu-instance-profiles" => Listing::GpuInstanceProfiles,
        "-lgipp" | "--list-gpu-instance-possible-placements" => Listing::GpuInstancePlacements,
        "-lgi" | "--list-gpu-instances" => Listing::GpuInstances,
        "-lci" | "--list-compute-instances" => Listing::ComputeInstances,
        "-lcip" | "--list-compute-instance-profiles" => Listing::ComputeInstanceProfiles,
        "-h" | "--help" => return Some(Command::Help),
        _ => return None,
    }))
}

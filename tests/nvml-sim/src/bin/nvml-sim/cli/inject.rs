//! `inject`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, ValueEnum};
use nvml_sim::{Code, EVERY_CALL, Effect, Fault, Node, RandomFaults};

use super::Result;

/// What faults at random do not go with.
const NOT_RANDOM: [&str; 6] = ["code", "delay_ms", "kill", "crash", "preset", "clear"];

#[derive(Debug, Args)]
#[command(group(
    ArgGroup::new("what")
        .required(true)
        .args(["code", "delay_ms", "kill", "crash", "preset", "random", "clear"])
))]
pub(super) struct Inject {
    /// Folder of the node.
    dir: PathBuf,
    /// NVML function, e.g. nvmlDeviceCreateGpuInstance; every call when not given.
    #[arg(default_value = EVERY_CALL)]
    call: String,
    /// Return this code and do nothing.
    #[arg(long = "return", value_name = "CODE")]
    code: Option<u32>,
    /// Take this much longer.
    #[arg(long, value_name = "MS")]
    delay_ms: Option<u64>,
    /// Kill the client before the call does anything.
    #[arg(long)]
    kill: bool,
    /// Kill the client right after the call changed the state; --after and --times count changes.
    #[arg(long)]
    crash: bool,
    /// Latency of a loaded node.
    #[arg(long)]
    preset: Option<Preset>,
    /// Let calls fail at random by this seed, as often as the rates below say.
    #[arg(long, value_name = "SEED")]
    random: Option<u64>,
    /// Remove all faults.
    #[arg(long)]
    clear: bool,
    /// Hit only calls on this GPU.
    #[arg(long)]
    gpu: Option<u32>,
    /// Calls to let pass first.
    #[arg(long, default_value_t = 0)]
    after: u32,
    /// How many calls to hit then; all when not given.
    #[arg(long)]
    times: Option<u32>,
    /// With --random: how many of a million calls of init fail.
    #[arg(long, default_value_t = 0, conflicts_with_all = NOT_RANDOM)]
    init_ppm: u32,
    /// With --random: of a million mode changes, creates and destroys.
    #[arg(long, default_value_t = 0, conflicts_with_all = NOT_RANDOM)]
    change_ppm: u32,
    /// With --random: of a million other calls.
    #[arg(long, default_value_t = 0, conflicts_with_all = NOT_RANDOM)]
    read_ppm: u32,
    /// With --random: what to answer then, one of these codes.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "999",
        conflicts_with_all = NOT_RANDOM
    )]
    codes: Vec<u32>,
}

/// Faults that belong together.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Preset {
    /// Looking up MIG devices takes 10 seconds.
    SlowWalks,
    /// Destroying a GPU instance takes a second.
    SlowDestroys,
}

impl Inject {
    pub(super) fn run(self) -> Result<()> {
        let node = Node::open(&self.dir)?;
        if self.clear {
            return Ok(node.clear_faults()?);
        }
        if let Some(seed) = self.random {
            return Ok(node.inject_random(&RandomFaults {
                seed,
                init_ppm: self.init_ppm,
                change_ppm: self.change_ppm,
                read_ppm: self.read_ppm,
                codes: self.codes.into_iter().map(Code).collect(),
            })?);
        }
        for fault in self.faults() {
            match self.gpu {
                Some(gpu) => node.inject_on_gpu(gpu, &fault)?,
                None => node.inject(&fault)?,
            }
        }
        Ok(())
    }

    fn faults(&self) -> Vec<Fault> {
        let effect = match (self.code, self.delay_ms, self.preset) {
            (_, _, Some(Preset::SlowWalks)) => return Fault::slow_walks().to_vec(),
            (_, _, Some(Preset::SlowDestroys)) => return Fault::slow_destroys().to_vec(),
            (Some(code), _, None) => Effect::Return(Code(code)),
            (None, Some(delay), None) => Effect::Delay(Duration::from_millis(delay)),
            (None, None, None) if self.crash => Effect::KillAfterChange,
            (None, None, None) => Effect::Kill,
        };
        vec![Fault {
            call: self.call.clone(),
            effect,
            after: self.after,
            times: self.times,
        }]
    }
}

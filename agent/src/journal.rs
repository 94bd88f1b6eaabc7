//! What the agent is doing to each GPU, on disk before it is done.
//!
//! One small file per GPU in the state directory. Before the first step of a layout it says what is wanted and what stood before, so that
//! an agent that is killed in mid-step finds, when it starts again, what it has to finish or undo. Between layouts it says what was last
//! made, so that it is made again after a reboot, which no instance outlives.
//!
//! Beginning and end of a layout are on disk before the agent goes on, and replace the file as a whole. A step is a line behind that, and
//! nobody waits until it is on disk: when the machine itself goes down the instances are gone, and with them every step.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use mica_model::{Generation, Layout};
use serde::{Deserialize, Serialize};

use crate::{
    generation::{Error, replace},
    outcome::StepKind,
};

/// What is known of one GPU.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Record {
    /// The boot (Linux: `/proc/sys/kernel/random/boot_id`) in which this was written.
    pub boot: String,
    /// What was last made, or found and left as it was; `None` when nothing was made yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<Layout>,
    /// What was begun and has not ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work: Option<Work>,
    /// Whether MIG mode was on when that was last seen: from Hopper on a reboot switches it off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mig: Option<bool>,
    /// Why only a reboot helps, which holds for the boot in which it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reboot: Option<String>,
}

/// A layout in the making.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Work {
    /// The generation that asked for it; 0 when a person did, on the command line.
    pub generation: Generation,
    /// What shall stand.
    pub wanted: Layout,
    /// What stood before, and stands again when `wanted` cannot be made.
    pub former: Layout,
    /// The step that was about to be taken; `None` before the first. For people: where the work has come to is read from the driver.
    #[serde(skip)]
    pub step: Option<Step>,
}

/// A step of the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Counted from 0.
    pub step: u32,
    /// What kind of step.
    pub kind: StepKind,
}

/// Where the records are.
#[derive(Clone, Debug)]
pub struct Journal {
    directory: PathBuf,
    boot: String,
}

impl Journal {
    /// The records below a state directory, which must be held (see [`crate::generation::Newest::open`]). Makes their folder.
    pub fn open(state: &Path, boot: &str) -> Result<Self, Error> {
        let directory = state.join("gpus");
        fs::create_dir_all(&directory).map_err(|source| Error::Directory {
            path: directory.clone(),
            source,
        })?;
        Ok(Self {
            directory,
            boot: boot.to_owned(),
        })
    }

    /// The boot that the agent runs in.
    #[must_use]
    pub fn boot(&self) -> &str {
        &self.boot
    }

    /// The record of a GPU, an empty one when there is none.
    pub fn of(&self, uuid: &str) -> Result<GpuJournal, Error> {
        // UUIDs are letters, digits and dashes; anything else must not reach into other folders.
        let name: String = uuid
            .chars()
            .map(|letter| {
                if letter.is_ascii_alphanumeric() {
                    letter
                } else {
                    '-'
                }
            })
            .collect();
        let path = self.directory.join(format!("{name}.json"));
        let record = match fs::read(&path) {
            Ok(content) => parse(&content).ok_or_else(|| Error::Corrupt {
                path: path.clone(),
                what: "the record of a GPU",
                content: String::from_utf8_lossy(&content).chars().take(32).collect(),
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Record::default(),
            Err(source) => return Err(Error::Read { path, source }),
        };
        Ok(GpuJournal {
            path,
            boot: self.boot.clone(),
            record,
            steps: None,
        })
    }
}

/// The record, and behind it the steps of the work. A step whose line is torn was not taken, or its machine has gone down.
fn parse(content: &[u8]) -> Option<Record> {
    let mut lines = content.split(|&byte| byte == b'\n');
    let mut record: Record = serde_json::from_slice(lines.next()?).ok()?;
    if let Some(work) = &mut record.work {
        work.step = lines
            .rev()
            .find_map(|line| serde_json::from_slice(line).ok());
    }
    Some(record)
}

/// The record of one GPU, and its file.
#[derive(Clone, Debug)]
pub struct GpuJournal {
    path: PathBuf,
    boot: String,
    record: Record,
    /// The file, to append steps to; `None` until the first.
    steps: Option<Arc<File>>,
}

impl GpuJournal {
    /// What is on disk.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Whether the machine was started anew since the record was written.
    #[must_use]
    pub fn is_of_former_boot(&self) -> bool {
        !self.record.boot.is_empty() && self.record.boot != self.boot
    }

    /// Says what is begun. When this fails nothing may be touched.
    pub fn begin(
        &mut self,
        generation: Generation,
        wanted: &Layout,
        former: &Layout,
    ) -> Result<(), Error> {
        let work = Work {
            generation,
            wanted: wanted.clone(),
            former: former.clone(),
            step: None,
        };
        self.write(Record {
            work: Some(work),
            ..self.now()
        })
    }

    /// Says which step comes now. Not waited for: see the module. When it cannot be written the step is still recoverable, so that this
    /// does not fail.
    pub fn step(&mut self, step: usize, kind: StepKind) {
        let Some(work) = &mut self.record.work else {
            return;
        };
        let step = u32::try_from(step).unwrap_or(u32::MAX);
        let step = Step { step, kind };
        work.step = Some(step);
        if let Err(error) = self.append(step) {
            tracing::warn!(path = %self.path.display(), %error, "the step is not in the journal");
        }
    }

    fn append(&mut self, step: Step) -> io::Result<()> {
        let mut line = serde_json::to_vec(&step)?;
        line.push(b'\n');
        let steps = match self.steps.take() {
            Some(steps) => steps,
            None => Arc::new(File::options().append(true).open(&self.path)?),
        };
        (&*steps).write_all(&line)?;
        self.steps = Some(steps);
        Ok(())
    }

    /// Says that nothing is under way, and what stands: `None` when that is not known, which leaves what was said before.
    pub fn end(&mut self, stands: Option<&Layout>) -> Result<(), Error> {
        let layout = stands.cloned().or_else(|| self.record.layout.clone());
        let record = Record {
            layout,
            work: None,
            ..self.now()
        };
        if record == self.record {
            return Ok(());
        }
        self.write(record)
    }

    /// Says whether MIG mode is on, where that is settled, and why only a reboot helps. Not while work is under way, nor before what a
    /// former boot left has been made again.
    pub fn note(&mut self, mig: Option<bool>, reboot: Option<&str>) -> Result<(), Error> {
        let record = Record {
            mig: mig.or(self.record.mig),
            reboot: reboot.map(str::to_owned),
            ..self.now()
        };
        if record == self.record {
            return Ok(());
        }
        self.write(record)
    }

    /// Why only a reboot helps; `None` when nothing does or the machine was rebooted since.
    #[must_use]
    pub fn reboot(&self) -> Option<&str> {
        let reboot = self.record.reboot.as_deref();
        reboot.filter(|_| self.record.boot == self.boot)
    }

    /// The record as of this boot.
    fn now(&self) -> Record {
        Record {
            boot: self.boot.clone(),
            reboot: self.reboot().map(str::to_owned),
            ..self.record.clone()
        }
    }

    fn write(&mut self, record: Record) -> Result<(), Error> {
        let write_error = |source| Error::Write {
            path: self.path.clone(),
            source,
        };
        let mut text = serde_json::to_vec(&record).map_err(|error| write_error(error.into()))?;
        text.push(b'\n');
        // What is appended to the former file would be lost.
        self.steps = None;
        replace(&self.path, &text)?;
        self.record = record;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use mica_model::{Placement, ProfileId, Slice};

    use super::*;

    fn layout(starts: &[u32]) -> Layout {
        let slice = |&start| Slice {
            placement: Placement { start, size: 1 },
            profile: ProfileId(19),
        };
        starts.iter().map(slice).collect()
    }

    #[test]
    fn a_successor_reads_what_was_begun_and_what_stands() {
        let directory = tempfile::tempdir().unwrap();
        let journal = Journal::open(directory.path(), "boot-1").unwrap();
        let mut gpu = journal.of("GPU-1").unwrap();
        assert_eq!(gpu.record(), &Record::default());
        gpu.begin(Generation(7), &layout(&[0, 1]), &layout(&[3]))
            .unwrap();
        let taken = |step, kind| Some(Step { step, kind });
        gpu.step(0, StepKind::EnableMig);
        gpu.step(1, StepKind::CreateGpuInstance);

        let mut successor = journal.of("GPU-1").unwrap();
        let work = successor.record().work.clone().unwrap();
        assert_eq!(work.generation, Generation(7));
        assert_eq!(work.step, taken(1, StepKind::CreateGpuInstance));
        successor.step(0, StepKind::CreateComputeInstance);
        let next = journal.of("GPU-1").unwrap().record().clone();
        let next = next.work.unwrap().step;
        assert_eq!(next, taken(0, StepKind::CreateComputeInstance));
        assert_eq!((work.wanted, work.former), (layout(&[0, 1]), layout(&[3])));
        assert!(!successor.is_of_former_boot());

        gpu.end(Some(&layout(&[0, 1]))).unwrap();
        gpu.begin(Generation(8), &layout(&[5]), &layout(&[0, 1]))
            .unwrap();
        gpu.end(None).unwrap();
        let journal = Journal::open(directory.path(), "boot-2").unwrap();
        let after = journal.of("GPU-1").unwrap();
        assert!(after.is_of_former_boot());
        assert_eq!(after.record().layout, Some(layout(&[0, 1])));
        assert_eq!(after.record().work, None);
        assert_eq!(journal.of("GPU-2").unwrap().record(), &Record::default());
    }

    #[test]
    fn mode_and_need_of_a_reboot_outlive_the_agent_and_the_need_ends_with_the_boot() {
        let directory = tempfile::tempdir().unwrap();
        let journal = Journal::open(directory.path(), "boot-1").unwrap();
        let mut gpu = journal.of("GPU-1").unwrap();
        gpu.note(Some(true), Some("no reset")).unwrap();
        gpu.begin(Generation(1), &layout(&[0]), &layout(&[]))
            .unwrap();
        gpu.end(None).unwrap();
        gpu.note(None, gpu.reboot().map(str::to_owned).as_deref())
            .unwrap();
        let successor = journal.of("GPU-1").unwrap();
        assert_eq!(successor.reboot(), Some("no reset"));
        assert_eq!(successor.record().mig, Some(true), "not known: as before");
        let journal = Journal::open(directory.path(), "boot-2").unwrap();
        let mut after = journal.of("GPU-1").unwrap();
        assert_eq!((after.reboot(), after.record().mig), (None, Some(true)));
        after.end(None).unwrap();
        assert_eq!(after.record().reboot, None);
    }

    #[test]
    fn a_corrupt_record_is_named_with_the_remedy_and_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let journal = Journal::open(directory.path(), "boot").unwrap();
        let path = directory.path().join("gpus/GPU-1.json");
        for content in ["", "{}x", r#"{"boot": 3}"#, r#"{"boot": "b", "extra": 1}"#] {
            fs::write(&path, content).unwrap();
            let error = journal.of("GPU-1").unwrap_err().to_string();
            assert!(error.contains(&path.display().to_string()), "{error}");
            assert!(error.contains("remove the file"), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
    }

    #[test]
    fn a_torn_step_hides_none_before_it_and_no_step_outlives_its_work() {
        let directory = tempfile::tempdir().unwrap();
        let journal = Journal::open(directory.path(), "boot").unwrap();
        let mut gpu = journal.of("GPU-1").unwrap();
        gpu.begin(Generation(1), &layout(&[0]), &layout(&[]))
            .unwrap();
        gpu.step(0, StepKind::CreateGpuInstance);
        let path = directory.path().join("gpus/GPU-1.json");
        let whole = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{whole}{{\"step\":1,\"ki")).unwrap();
        let of = |journal: &Journal| journal.of("GPU-1").unwrap().record().work.clone();
        let step = of(&journal).and_then(|work| work.step);
        assert_eq!(step.map(|step| step.step), Some(0));
        gpu.begin(Generation(2), &layout(&[1]), &layout(&[]))
            .unwrap();
        assert_eq!(of(&journal).and_then(|work| work.step), None);
        gpu.step(0, StepKind::CreateGpuInstance);
        gpu.end(None).unwrap();
        assert_eq!(of(&journal), None);
        gpu.step(1, StepKind::CreateGpuInstance);
        assert_eq!(of(&journal), None, "nothing is under way");
    }

    #[test]
    fn a_uuid_does_not_reach_into_other_folders() {
        let directory = tempfile::tempdir().unwrap();
        let journal = Journal::open(directory.path(), "boot").unwrap();
        let mut gpu = journal.of("../../GPU").unwrap();
        gpu.begin(Generation(1), &layout(&[0]), &layout(&[]))
            .unwrap();
        assert!(directory.path().join("gpus/------GPU.json").exists());
    }
}

//! What calls leave in the log. A program of its own: other threads must not make calls while the log is listened to, since tracing
//! decides once for all threads whether a line interests anybody.

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        sync::{Arc, Mutex},
        time::Duration,
    };

    use mica_nvml::Driver;
    use nvml_sim::{Fault, GpuSpec, Node, NodeOptions};
    use tracing_subscriber::fmt::MakeWriter;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Lines {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    /// The log of `run`, each line about the call named.
    fn log_of(call: &str, run: impl FnOnce()) -> Vec<String> {
        let lines = Lines::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(lines.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, run);
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes)
            .unwrap()
            .lines()
            .filter(|line| line.contains(&format!("\"{call}\"")))
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn each_call_is_logged_with_duration_and_code_and_a_slow_one_louder() {
        let dir = tempfile::tempdir().unwrap();
        let gpus = GpuSpec::many("a100-40gb", 1, true);
        let node = Node::create(dir.path(), &gpus, &NodeOptions::default()).unwrap();
        let mut driver = Driver::open(node.library().as_os_str()).unwrap();
        let call = "nvmlDeviceGetHandleByUUID";
        let lines = log_of(call, || {
            driver
                .gpu("GPU-00000000-0000-0000-0000-000000000000")
                .unwrap_err();
        });
        let [line] = lines.as_slice() else {
            panic!("{lines:?}")
        };
        assert!(
            line.contains("TRACE") && line.contains("duration=") && line.contains("code=6"),
            "{line}"
        );

        let call = "nvmlSystemGetDriverVersion";
        node.inject(&Fault::delay(call, Duration::from_millis(1_050)))
            .unwrap();
        let lines = log_of(call, || {
            driver.versions().unwrap();
        });
        let [line] = lines.as_slice() else {
            panic!("{lines:?}")
        };
        assert!(
            line.contains("WARN") && line.contains("slow NVML call") && line.contains("code=0"),
            "{line}"
        );
    }
}

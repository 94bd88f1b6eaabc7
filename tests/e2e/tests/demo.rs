//! The demo as a user runs it, and with programs killed in the middle of it.

#![cfg(test)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use mica_e2e::programs::Programs;
use rstest::rstest;

/// A part of the trace: enough that every GPU is cut several times, short enough for a test.
const TASKS: &str = "45";

fn start_demo(dir: &Path) -> Child {
    Programs::built().unwrap();
    let mut demo = Command::new(env!("CARGO_BIN_EXE_mica-demo"));
    demo.args(["--plain", "--tasks", TASKS, "--dir"]).arg(dir);
    demo.stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Reads the demo's lines to its end; calls `middle` once, when the first tasks are done.
fn watch(demo: &mut Child, middle: impl FnOnce()) -> String {
    let mut middle = Some(middle);
    let mut said = String::new();
    for line in BufReader::new(demo.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let done = line
            .split("done")
            .nth(1)
            .and_then(|rest| rest.split_whitespace().next());
        let in_the_middle = done
            .and_then(|done| done.parse::<u32>().ok())
            .is_some_and(|done| done > 5);
        if let Some(middle) = middle.take_if(|_| in_the_middle) {
            middle();
        }
        said.push_str(&line);
        said.push('\n');
    }
    assert!(
        middle.is_none(),
        "the demo ended before its middle:\n{said}"
    );
    said
}

#[rstest]
#[case::nothing(None)]
#[case::an_agent(Some("node-a"))]
#[case::the_coordinator(Some("coordinator"))]
fn ends_well_whatever_is_killed(#[case] victim: Option<&str>) {
    let dir = tempfile::tempdir().unwrap();
    let mut demo = start_demo(dir.path());
    let said = watch(&mut demo, || {
        if let Some(victim) = victim {
            let pid = std::fs::read_to_string(dir.path().join(format!("{victim}.pid"))).unwrap();
            let killed = Command::new("kill").args(["-KILL", &pid]).status().unwrap();
            assert!(killed.success(), "kill -KILL {pid}");
        }
    });
    let status = demo.wait().unwrap();
    assert!(status.success(), "{status}\n{said}");
    let expect = |line: &str| assert!(said.contains(line), "no {line:?} in\n{said}");
    expect(&format!("tasks served            {TASKS} of {TASKS}"));
    expect("in-use slices touched   0");
    expect("leaked GPU instances    0");
    expect(&format!(
        "programs restarted      {}",
        usize::from(victim.is_some())
    ));
    if let Some(victim) = victim {
        expect(&format!(
            "{victim} ended (signal: 9 (SIGKILL)); started again"
        ));
    }
}

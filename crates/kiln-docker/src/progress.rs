//! BuildKit's progress as steps and lines, and the last lines of each step for the failure.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bollard_buildkit_proto::moby::buildkit::v1::StatusResponse;
use kiln_engine::{Reporter, Step, Unit};

/// Lines of a step's output that a failure is told with.
const TAIL_LINES: usize = 20;
/// A line without an end is cut here.
const LINE_LIMIT_BYTES: usize = 16 << 10;

/// Follows one build.
pub(crate) struct Progress {
    reporter: Arc<dyn Reporter>,
    steps: HashMap<String, StepState>,
}

#[derive(Default)]
struct StepState {
    name: String,
    started: bool,
    finished: bool,
    error: String,
    partial: Vec<u8>,
    tail: VecDeque<String>,
}

impl Progress {
    pub(crate) fn new(reporter: Arc<dyn Reporter>) -> Self {
        Self {
            reporter,
            steps: HashMap::new(),
        }
    }

    /// Takes in one message of the status stream.
    pub(crate) fn take(&mut self, status: StatusResponse) {
        for vertex in status.vertexes {
            let step = self.steps.entry(vertex.digest).or_default();
            step.name = vertex.name;
            if !vertex.error.is_empty() {
                step.error = vertex.error;
            }
            if vertex.started.is_some() && !step.started {
                step.started = true;
                self.reporter.line(&step.name, &format!("-> {}", step.name));
                self.reporter.step(progress_of(&step.name, 0, false));
            }
            if vertex.completed.is_some() && !step.finished {
                step.finished = true;
                if vertex.cached {
                    self.reporter.line(&step.name, "   cached");
                }
                self.reporter.step(progress_of(&step.name, 1, true));
            }
        }
        for status in status.statuses {
            let Some(step) = self.steps.get(&status.vertex) else {
                continue;
            };
            if status.total > 0 {
                self.reporter.step(Step {
                    name: format!("{}: {}", step.name, status.id),
                    done: status.current.max(0).cast_unsigned(),
                    total: Some(status.total.cast_unsigned()),
                    unit: Unit::Bytes,
                    finished: status.completed.is_some(),
                });
            }
        }
        for log in status.logs {
            let step = self.steps.entry(log.vertex).or_default();
            step.lines(&log.msg, self.reporter.as_ref());
        }
    }

    /// The step that failed: its name, and the last lines it wrote.
    pub(crate) fn failed_step(&self) -> Option<(&str, Vec<String>)> {
        let failed = self
            .steps
            .values()
            .find(|step| !step.error.is_empty() && !step.error.contains("context canceled"))?;
        let mut tail: Vec<String> = failed.tail.iter().cloned().collect();
        if !failed.partial.is_empty() {
            tail.push(String::from_utf8_lossy(&failed.partial).into_owned());
        }
        Some((&failed.name, tail))
    }
}

fn progress_of(name: &str, done: u64, finished: bool) -> Step {
    Step {
        name: name.to_owned(),
        done,
        total: Some(1),
        unit: Unit::Items,
        finished,
    }
}

impl StepState {
    fn lines(&mut self, bytes: &[u8], reporter: &dyn Reporter) {
        for &byte in bytes {
            if byte == b'\n' || self.partial.len() >= LINE_LIMIT_BYTES {
                let line = String::from_utf8_lossy(&self.partial).trim_end().to_owned();
                self.partial.clear();
                reporter.line(&self.name, &line);
                if self.tail.len() == TAIL_LINES {
                    self.tail.pop_front();
                }
                self.tail.push_back(line);
            }
            if byte != b'\n' {
                self.partial.push(byte);
            }
        }
    }
}

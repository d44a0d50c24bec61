//! A build's log: append-only, structured, readable while it grows and after a restart.

use std::collections::VecDeque;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use dashmap::DashMap;
use fs_err as fs;
use futures::Stream;
use kiln_api::{BuildState, LogEvent, LogKind};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::sync::watch;

use crate::backend::{Reporter, Step, Unit};
use crate::leftovers::Leftover;
use crate::redact::Redactor;

/// After this many bytes only the last lines are kept until the end.
const HEAD_LIMIT_BYTES: u64 = 16 << 20;
/// How many of the last lines a log over the limit keeps.
const TAIL_LINES: usize = 500;
/// Longer lines are cut: a progress bar without line ends must not fill memory.
const LINE_LIMIT_BYTES: usize = 16 << 10;

/// The logs of all builds: one file of JSON lines each, `<build id>.jsonl`.
#[derive(Debug)]
pub struct Logs {
    folder: PathBuf,
    live: DashMap<String, Arc<BuildLog>>,
    /// Rises when a log is opened.
    opened: watch::Sender<u64>,
}

/// The log of one running build.
#[derive(Debug)]
pub struct BuildLog {
    state: Mutex<State>,
    redactor: Redactor,
    changed: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    file: fs::File,
    sequence: u64,
    written_bytes: u64,
    tail: VecDeque<LogEvent>,
    dropped: u64,
    phase: BuildState,
}

impl Logs {
    /// Keeps logs in this folder, which exists.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            live: DashMap::new(),
            opened: watch::Sender::default(),
        }
    }

    /// Opens a build's log for writing; one that exists already goes on after its last event, one that
    /// is open stays as it is.
    pub fn open(&self, build_id: &str, redactor: Redactor) -> std::io::Result<Arc<BuildLog>> {
        if let Some(log) = self.live.get(build_id) {
            return Ok(Arc::clone(&log));
        }
        let path = self.path(build_id);
        let (sequence, written_bytes) = last_sequence(&path)?;
        let file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)?;
        let state = State {
            file,
            sequence,
            written_bytes,
            tail: VecDeque::new(),
            dropped: 0,
            phase: BuildState::Queued,
        };
        let log = Arc::new(BuildLog {
            state: Mutex::new(state),
            redactor,
            changed: watch::Sender::new(sequence),
        });
        self.live.insert(build_id.to_owned(), Arc::clone(&log));
        self.opened.send_modify(|count| *count += 1);
        Ok(log)
    }

    /// Ends a build's log: what was held back is written, readers come to their end.
    pub fn close(&self, build_id: &str) {
        if let Some((_, log)) = self.live.remove(build_id) {
            log.write_tail();
        }
    }

    /// The events after a sequence number, in order, until the log is closed; of one that is not open,
    /// those it has.
    pub async fn read(
        &self,
        build_id: &str,
        after: u64,
    ) -> std::io::Result<impl Stream<Item = LogEvent> + Send + use<>> {
        // Subscribe before the file is opened: an event in between is then seen twice, not never.
        let changed = self.live.get(build_id).map(|log| log.changed.subscribe());
        let file = fs::tokio::File::open(self.path(build_id)).await?;
        let reader = Reader {
            lines: BufReader::new(file),
            changed,
            after,
            partial: Vec::new(),
        };
        Ok(futures::stream::unfold(reader, |mut reader| async move {
            reader.next().await.map(|event| (event, reader))
        }))
    }

    /// Logs that are not open and were not written since then, by their builds' ids.
    pub(crate) fn unchanged_since(
        &self,
        before: SystemTime,
    ) -> std::io::Result<Vec<(String, Leftover)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let Some(id) = name.and_then(|name| name.strip_suffix(".jsonl")) else {
                continue;
            };
            let metadata = fs::metadata(&path)?;
            if metadata.modified()? <= before && !self.live.contains_key(id) {
                let (id, size_bytes) = (id.to_owned(), metadata.len());
                found.push((id, Leftover { path, size_bytes }));
            }
        }
        Ok(found)
    }

    /// The events that a log has in its file now.
    pub async fn read_so_far(&self, build_id: &str) -> std::io::Result<Vec<LogEvent>> {
        let file = fs::tokio::File::open(self.path(build_id)).await?;
        let mut reader = Reader {
            lines: BufReader::new(file),
            changed: None,
            after: 0,
            partial: Vec::new(),
        };
        let mut events = Vec::new();
        while let Some(event) = reader.next().await {
            events.push(event);
        }
        Ok(events)
    }

    /// Changes whenever a log is opened.
    pub(crate) fn opened(&self) -> watch::Receiver<u64> {
        self.opened.subscribe()
    }

    fn path(&self, build_id: &str) -> PathBuf {
        // Build ids are kiln's own UUIDs, but a path is never made from an unchecked text.
        let safe: String = build_id
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
            .collect();
        self.folder.join(format!("{safe}.jsonl"))
    }
}

/// The last event's number and the file's size; a torn last line (a crash) is cut off.
fn last_sequence(path: &Path) -> std::io::Result<(u64, u64)> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok((0, 0)),
        Err(error) => return Err(error),
    };
    let whole = memchr_last_line_end(&bytes);
    if whole < bytes.len() {
        fs::OpenOptions::new()
            .write(true)
            .open(path)?
            .set_len(whole as u64)?;
    }
    let last = bytes[..whole]
        .split(|b| *b == b'\n')
        .rfind(|line| !line.is_empty());
    let sequence = last
        .and_then(|line| serde_json::from_slice::<LogEvent>(line).ok())
        .map_or(0, |event| event.id);
    Ok((sequence, whole as u64))
}

fn memchr_last_line_end(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .rposition(|b| *b == b'\n')
        .map_or(0, |at| at + 1)
}

struct Reader {
    lines: BufReader<fs::tokio::File>,
    changed: Option<watch::Receiver<u64>>,
    after: u64,
    partial: Vec<u8>,
}

impl Reader {
    async fn next(&mut self) -> Option<LogEvent> {
        loop {
            if let Some(changed) = &mut self.changed {
                changed.mark_unchanged();
            }
            match self.lines.read_until(b'\n', &mut self.partial).await {
                Ok(_) if self.partial.ends_with(b"\n") => {
                    let event = serde_json::from_slice::<LogEvent>(&self.partial).ok();
                    self.partial.clear();
                    match event {
                        Some(event) if event.id > self.after => return Some(event),
                        _ => continue,
                    }
                }
                Ok(_) => {}
                Err(_) => return None,
            }
            let changed = self.changed.as_mut()?;
            if changed.changed().await.is_err() {
                // The writer is gone: one more look at the file, then the end.
                self.changed = None;
            }
        }
    }
}

impl BuildLog {
    /// Writes a line of kiln's own.
    pub fn note(&self, text: &str) {
        self.append(LogKind::Line, "kiln", text, None);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held leaves a log that is still append-only.
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn append(&self, kind: LogKind, step: &str, text: &str, progress: Option<&Step>) {
        let mut text = self.redactor.clean(text);
        if text.len() > LINE_LIMIT_BYTES {
            let cut = text.floor_char_boundary(LINE_LIMIT_BYTES);
            text.truncate(cut);
            text.push_str(" [cut]");
        }
        let mut state = self.lock();
        state.sequence += 1;
        let event = LogEvent {
            id: state.sequence,
            time: now(),
            kind,
            phase: state.phase,
            step: self.redactor.clean(step),
            text,
            done: progress.map(|p| p.done),
            total: progress.and_then(|p| p.total),
            unit: progress.map(|p| unit_name(p.unit).to_owned()),
        };
        if state.written_bytes >= HEAD_LIMIT_BYTES && kind != LogKind::State {
            if state.tail.len() == TAIL_LINES {
                state.tail.pop_front();
                state.dropped += 1;
            }
            state.tail.push_back(event);
            return;
        }
        write(&mut state, &event);
        let sequence = state.sequence;
        drop(state);
        self.changed.send_replace(sequence);
    }

    fn write_tail(&self) {
        let mut state = self.lock();
        let dropped = state.dropped;
        for (position, mut event) in std::mem::take(&mut state.tail).into_iter().enumerate() {
            if position == 0 && dropped > 0 {
                event.text = format!("[{dropped} lines left out] {}", event.text);
            }
            write(&mut state, &event);
        }
        let sequence = state.sequence;
        drop(state);
        self.changed.send_replace(sequence);
    }
}

/// A log that can't be written is no reason to fail a build; the daemon's own log says so.
fn write(state: &mut State, event: &LogEvent) {
    let mut line = serde_json::to_vec(event).expect("a log event is plain data");
    line.push(b'\n');
    state.written_bytes += line.len() as u64;
    if let Err(error) = state.file.write_all(&line) {
        tracing::warn!(%error, "a line of a build's log is lost");
    }
}

fn now() -> String {
    let now = time::OffsetDateTime::now_utc();
    now.format(&time::format_description::well_known::Rfc3339)
        .unwrap_or_default()
}

fn unit_name(unit: Unit) -> &'static str {
    match unit {
        Unit::Bytes => "bytes",
        Unit::Items => "items",
    }
}

impl Reporter for BuildLog {
    fn phase(&self, phase: BuildState) {
        self.lock().phase = phase;
        self.append(LogKind::State, "", phase.as_str(), None);
    }

    fn step(&self, step: Step) {
        let text = if step.finished { "finished" } else { "" };
        self.append(LogKind::Step, &step.name.clone(), text, Some(&step));
    }

    fn line(&self, step: &str, text: &str) {
        self.append(LogKind::Line, step, text, None);
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;

    use super::*;

    #[tokio::test]
    async fn a_reader_that_follows_sees_every_line_once_and_then_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let logs = Logs::new(folder.path());
        let log = logs.open("b-1", Redactor::new(["hunter22"])).unwrap();
        log.note("first");
        let events = logs.read("b-1", 0).await.unwrap();
        log.line("step 2", "password hunter22 is used");
        logs.close("b-1");
        drop(log);
        let texts: Vec<String> = events.map(|event| event.text).collect().await;
        assert_eq!(texts, ["first", "password *** is used"]);
        let bytes = std::fs::read(folder.path().join("b-1.jsonl")).unwrap();
        assert!(!String::from_utf8(bytes).unwrap().contains("hunter22"));
    }

    #[tokio::test]
    async fn reading_resumes_after_an_event_also_when_the_process_was_another() {
        let folder = tempfile::tempdir().unwrap();
        let first = Logs::new(folder.path());
        let log = first.open("b-2", Redactor::default()).unwrap();
        for n in 0..5 {
            log.note(&n.to_string());
        }
        drop((first, log));
        std::fs::OpenOptions::new()
            .append(true)
            .open(folder.path().join("b-2.jsonl"))
            .unwrap()
            .write_all(b"{\"torn")
            .unwrap();
        let second = Logs::new(folder.path());
        let log = second.open("b-2", Redactor::default()).unwrap();
        log.note("5");
        second.close("b-2");
        drop(log);
        let ids: Vec<u64> = second
            .read("b-2", 3)
            .await
            .unwrap()
            .map(|e| e.id)
            .collect()
            .await;
        assert_eq!(ids, [4, 5, 6]);
    }

    #[tokio::test]
    async fn a_log_over_its_limit_keeps_head_and_tail() {
        let folder = tempfile::tempdir().unwrap();
        let logs = Logs::new(folder.path());
        let log = logs.open("b-3", Redactor::default()).unwrap();
        let line = "x".repeat(8 << 10);
        for _ in 0..3000 {
            log.note(&line);
        }
        log.note("the error");
        logs.close("b-3");
        drop(log);
        let events: Vec<LogEvent> = logs.read("b-3", 0).await.unwrap().collect().await;
        assert_eq!(events.last().unwrap().text, "the error");
        assert!(
            events
                .iter()
                .any(|event| event.text.contains("lines left out"))
        );
        assert!(events.len() < 2800, "{}", events.len());
    }
}

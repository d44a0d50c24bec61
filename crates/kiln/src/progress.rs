//! What a person sees while a build runs: bars on a terminal, plain lines elsewhere.

use std::collections::HashMap;
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use kiln_api::{LogEvent, LogKind};

/// Writes a warning to standard error.
pub(crate) fn warn(text: &str) {
    // Nothing can be told when the terminal is gone.
    let _ = writeln!(std::io::stderr(), "warning: {text}");
}

/// Shows a build's events.
pub(crate) struct Progress {
    last_event: u64,
    look: Look,
}

enum Look {
    /// A bar for each step that has a measure, lines above.
    Bars {
        all: MultiProgress,
        bars: HashMap<String, ProgressBar>,
        spinner: ProgressBar,
    },
    /// A line for each event that says something.
    Lines,
    /// Nothing.
    Silent,
}

impl Progress {
    /// Chooses by what standard error is.
    pub(crate) fn choose(silent: bool) -> Self {
        if silent {
            return Self {
                last_event: 0,
                look: Look::Silent,
            };
        }
        if !std::io::stderr().is_terminal() {
            return Self {
                last_event: 0,
                look: Look::Lines,
            };
        }
        let all = MultiProgress::new();
        let spinner = all.add(ProgressBar::new_spinner());
        spinner.enable_steady_tick(Duration::from_millis(120));
        Self {
            last_event: 0,
            look: Look::Bars {
                all,
                bars: HashMap::new(),
                spinner,
            },
        }
    }

    /// The number of the last event that was shown; 0 is none.
    pub(crate) fn last_event(&self) -> u64 {
        self.last_event
    }

    /// Shows one event.
    pub(crate) fn show(&mut self, event: &LogEvent) {
        self.last_event = event.id;
        match &mut self.look {
            Look::Silent => {}
            Look::Lines => {
                if event.kind != LogKind::Step {
                    let mark = if event.kind == LogKind::State {
                        "== "
                    } else {
                        ""
                    };
                    // Nothing can be told when the terminal is gone.
                    let _ = writeln!(std::io::stderr(), "{mark}{}", event.text);
                }
            }
            Look::Bars { all, bars, spinner } => match event.kind {
                LogKind::State => spinner.set_message(event.text.clone()),
                LogKind::Line => {
                    let _ = all.println(&event.text);
                }
                LogKind::Step => show_step(all, bars, event),
            },
        }
    }

    /// Takes the bars away.
    pub(crate) fn finish(&mut self) {
        if let Look::Bars { all, .. } = &self.look {
            let _ = all.clear();
        }
    }
}

fn show_step(all: &MultiProgress, bars: &mut HashMap<String, ProgressBar>, event: &LogEvent) {
    let over = event.text == "finished";
    if over {
        if let Some(bar) = bars.remove(&event.step) {
            bar.finish_and_clear();
        }
        return;
    }
    let bar = bars.entry(event.step.clone()).or_insert_with(|| {
        let bytes = event.unit.as_deref() == Some("bytes");
        let template = if bytes {
            "{wide_msg} {bar:30} {bytes}/{total_bytes}"
        } else {
            "{wide_msg} {bar:30} {pos}/{len}"
        };
        let style =
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = all.add(ProgressBar::new(event.total.unwrap_or(0)).with_style(style));
        bar.set_message(event.step.clone());
        bar
    });
    if let Some(total) = event.total {
        bar.set_length(total);
    }
    bar.set_position(event.done.unwrap_or(0));
}

//! How a round is told while it happens: a table that is drawn over itself on a terminal, a line for each event
//! elsewhere, and nothing when the answer is one JSON object.

use std::io;
use std::time::Duration;

use super::report::{Phase, Seen};
use crate::out::{self, Canvas, Tone};

/// How often a running phase's progress is drawn.
pub(super) const REDRAW: Duration = Duration::from_millis(100);

/// Where the round is told.
pub(super) enum Screen {
    Table(Table),
    Lines,
    Silent,
}

/// The rows drawn so far, of which the last may be still running.
#[derive(Default)]
pub(super) struct Table {
    canvas: Canvas,
    rows: Vec<String>,
    title: &'static str,
}

impl Screen {
    pub(super) fn new(json: bool) -> Screen {
        match (json, out::is_terminal()) {
            (true, _) => Screen::Silent,
            (false, true) => Screen::Table(Table::default()),
            (false, false) => Screen::Lines,
        }
    }

    /// A line of its own: something that happened once.
    pub(super) fn note(&mut self, text: &str) -> io::Result<()> {
        match self {
            Screen::Silent => Ok(()),
            Screen::Lines => out::line(text),
            Screen::Table(table) => {
                table.rows.push(text.to_owned());
                table.draw(None)
            }
        }
    }

    /// The next round's table is drawn over this one's.
    pub(super) fn next_round(&mut self) {
        if let Screen::Table(table) = self {
            table.rows.clear();
        }
    }

    /// A phase begins.
    pub(super) fn begin(&mut self, title: &'static str) -> io::Result<()> {
        match self {
            Screen::Silent | Screen::Lines => Ok(()),
            Screen::Table(table) => {
                table.title = title;
                table.draw(Some("…"))
            }
        }
    }

    /// A phase is under way.
    pub(super) fn progress(&mut self, text: &str) -> io::Result<()> {
        match self {
            Screen::Table(table) => table.draw(Some(text)),
            Screen::Lines | Screen::Silent => Ok(()),
        }
    }

    /// A phase ended, well or not.
    pub(super) fn end(&mut self, title: &str, phase: &Phase) -> io::Result<()> {
        let (mark, tone) = match phase.ok {
            true => (" ok ", Tone::Good),
            false => ("FAIL", Tone::Bad),
        };
        let mark = out::paint(tone, mark);
        let seconds = out::paint(Tone::Quiet, &format!("{:6.2} s", phase.seconds));
        let mut lines = vec![format!("{mark} {title:<32} {seconds}   {}", summary(phase))];
        let wrong = phase.unexpected.iter();
        lines.extend(
            wrong.map(|why| format!("       {}", out::paint(Tone::Bad, &out::printable(why)))),
        );
        match self {
            Screen::Silent => Ok(()),
            Screen::Lines => lines.iter().try_for_each(out::line),
            Screen::Table(table) => {
                table.rows.extend(lines);
                table.draw(None)
            }
        }
    }
}

impl Table {
    fn draw(&mut self, running: Option<&str>) -> io::Result<()> {
        let mut lines = self.rows.clone();
        lines.extend(running.map(|text| format!(" ..  {:<32}          {text}", self.title)));
        self.canvas.draw(&lines)
    }
}

/// What a phase saw, on one line.
fn summary(phase: &Phase) -> String {
    let (calls, right) = (phase.made.calls, phase.made.right);
    let counted = format!("{right} of {calls} calls right ({})", shares(phase));
    let text = match &phase.seen {
        Seen::Discovery { discovered } => {
            format!("{} found through the registry", discovered.len())
        }
        Seen::Calls {} => counted,
        Seen::Broadcast { outcomes } => {
            let outcomes: Vec<_> = outcomes.values().map(|outcome| outcome.text()).collect();
            format!("each one's outcome: {}", outcomes.join(", "))
        }
        Seen::Timeout {
            asked_ms,
            elapsed_ms,
            ..
        } => format!("{asked_ms:.0} ms allowed, the caller was free after {elapsed_ms:.0} ms"),
        Seen::Errors {
            error,
            panic,
            after,
        } => format!(
            "\"{}\", \"{}\", then {}",
            error.text(),
            panic.text(),
            after.text()
        ),
        Seen::Failover { .. } => counted,
        Seen::Recovery { after_ms, .. } => format!("{counted}, its first after {after_ms:.0} ms"),
        Seen::Nothing { .. } => String::new(),
    };
    out::printable(&text)
}

/// How many calls each server ran, as long as that fits on the line.
fn shares(phase: &Phase) -> String {
    let counts = phase.per_server.values();
    if counts.len() > 8 {
        let (least, most) = (counts.clone().min(), counts.max());
        return format!("{} to {} each", least.unwrap_or(&0), most.unwrap_or(&0));
    }
    counts.map(u64::to_string).collect::<Vec<_>>().join(" + ")
}

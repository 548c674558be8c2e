//! `mosaik top`: a network on the whole terminal, looked at once a second.

use std::{
    io::IsTerminal,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use mosaik::{
    primitives::ShortFmtExt,
    status::findings::{self, Finding, Observed, Severity},
};
use ratatui::{
    DefaultTerminal, Frame,
    crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::Line,
    widgets::{Paragraph, Row, Table as Grid, TableState, Tabs},
};
use tokio::sync::mpsc;

use crate::{
    archive,
    lists::{self, List},
    observe::{self, Observer, look_on},
    output::{Table, counted, is_styled},
    stop::Stop,
};

/// Time between two looks at the network.
const EVERY: Duration = Duration::from_secs(1);
/// Time after which the reader of keys looks whether it is still wanted.
const KEY_PATIENCE: Duration = Duration::from_millis(100);
/// Keys that may wait; the terminal keeps further ones.
const MAX_KEYS: usize = 64;
/// Space between two columns.
const COLUMN_SPACING: u16 = 2;
/// Longest filter, in characters.
const MAX_FILTER_CHARS: usize = 64;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    observe: observe::Options,

    #[command(flatten)]
    from: archive::From,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let archive = options.from.read()?;
    anyhow::ensure!(
        std::io::stdout().is_terminal() && std::io::stdin().is_terminal(),
        "this needs a terminal: elsewhere, `mosaik streams -w` and the other lists show the same"
    );
    if let Some(archive) = archive {
        let (former, observed) = archive.last_two();
        let mut model = Model::default();
        if let Some(former) = former {
            model.take(former.clone());
        }
        model.take(observed.clone());
        let mut stop = Stop::listen()?;
        return tokio::select! {
            shown = show(model, None) => shown,
            () = stop.requested() => Ok(ExitCode::SUCCESS),
        };
    }
    look_on(&options.observe, true, async |observer| {
        show(Model::default(), Some(observer)).await
    })
    .await
}

/// Shows the network until a key ends it.
async fn show(mut model: Model, observer: Option<&Observer>) -> anyhow::Result<ExitCode> {
    let mut screen = Screen::open()?;
    let mut keys = Keys::read();
    let mut looking = std::pin::pin!(look(observer, Duration::ZERO));
    loop {
        let colours = is_styled();
        screen.0.draw(|frame| draw(frame, &mut model, colours))?;
        tokio::select! {
            observed = &mut looking => {
                model.take(observed);
                looking.set(look(observer, EVERY));
            }
            event = keys.events.recv() => match event {
                Some(Event::Key(key)) => {
                    if model.on_key(key) == Next::End {
                        return Ok(ExitCode::SUCCESS);
                    }
                }
                // Of another size: it is drawn anew.
                Some(_) => {}
                None => return Ok(ExitCode::SUCCESS),
            },
        }
    }
}

/// Looks at the network after a pause; without one, never.
async fn look(observer: Option<&Observer>, pause: Duration) -> Observed {
    match observer {
        Some(observer) => {
            tokio::time::sleep(pause).await;
            observer.observe().await
        }
        None => std::future::pending().await,
    }
}

/// The terminal in the mode for whole screens. It is as before when this is dropped, and after a panic.
struct Screen(DefaultTerminal);

impl Screen {
    fn open() -> std::io::Result<Self> {
        // It may have changed the mode before it failed.
        let screen = ratatui::try_init().inspect_err(|_| ratatui::restore());
        screen.map(Self)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Keys, read by a thread of their own until this is dropped: the terminal can only be waited for.
struct Keys {
    events: mpsc::Receiver<Event>,
    is_over: Arc<AtomicBool>,
}

impl Keys {
    fn read() -> Self {
        let (sender, events) = mpsc::channel(MAX_KEYS);
        let is_over = Arc::new(AtomicBool::new(false));
        let over = is_over.clone();
        std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let event = match event::poll(KEY_PATIENCE) {
                    Ok(true) => event::read(),
                    Ok(false) => continue,
                    Err(error) => Err(error),
                };
                // A terminal that has gone is the end.
                let Ok(event) = event else { return };
                if sender.blocking_send(event).is_err() {
                    return;
                }
            }
        });
        Self { events, is_over }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

/// A page of the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Section {
    List(List),
    Findings,
}

const SECTIONS: [(&str, Section); 6] = [
    ("peers", Section::List(List::Peers)),
    ("streams", Section::List(List::Streams)),
    ("functions", Section::List(List::Functions)),
    ("groups", Section::List(List::Groups)),
    ("collections", Section::List(List::Collections)),
    ("findings", Section::Findings),
];

#[derive(Debug, PartialEq, Eq)]
enum Next {
    Goes,
    End,
}

/// The network that is shown, and the place of the user in it.
#[derive(Default)]
struct Model {
    observed: Option<Observed>,
    former: Option<Observed>,
    findings: Vec<Finding>,
    section: usize,
    table: TableState,
    filter: String,
    /// The filter is being written.
    is_filtering: bool,
}

impl Model {
    fn take(&mut self, observed: Observed) {
        self.findings = findings::examine(&observed);
        self.former = self.observed.replace(observed);
    }

    fn on_key(&mut self, key: KeyEvent) -> Next {
        if key.kind == KeyEventKind::Release {
            return Next::Goes;
        }
        let with_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if with_control => return Next::End,
            KeyCode::Char(c) if self.is_filtering => self.extend_filter(c),
            KeyCode::Backspace if self.is_filtering => drop(self.filter.pop()),
            KeyCode::Enter => self.is_filtering = false,
            KeyCode::Esc if self.is_filtering || !self.filter.is_empty() => {
                self.is_filtering = false;
                self.filter.clear();
            }
            KeyCode::Char('q') | KeyCode::Esc => return Next::End,
            KeyCode::Char('/') => self.is_filtering = true,
            KeyCode::Tab | KeyCode::Right => self.turn(1),
            KeyCode::BackTab | KeyCode::Left => self.turn(SECTIONS.len() - 1),
            KeyCode::Char(c @ '1'..='6') => {
                let section = c.to_digit(10).map_or(0, |digit| digit as usize - 1);
                self.turn(SECTIONS.len() + section - self.section);
            }
            KeyCode::Down | KeyCode::Char('j') => self.table.select_next(),
            KeyCode::Up | KeyCode::Char('k') => self.table.select_previous(),
            KeyCode::PageDown => self.table.scroll_down_by(10),
            KeyCode::PageUp => self.table.scroll_up_by(10),
            KeyCode::Home => self.table.select_first(),
            KeyCode::End => self.table.select_last(),
            _ => {}
        }
        Next::Goes
    }

    fn extend_filter(&mut self, c: char) {
        if self.filter.chars().count() < MAX_FILTER_CHARS {
            self.filter.push(c);
        }
    }

    fn turn(&mut self, by: usize) {
        self.section = (self.section + by) % SECTIONS.len();
        self.table.select(None);
    }

    /// The table of this page, with the rows that the filter lets through.
    fn rows(&self) -> Table {
        let Some(observed) = &self.observed else {
            return Table::default();
        };
        let table = match SECTIONS[self.section].1 {
            Section::List(list) => lists::table(list, observed, self.former.as_ref()),
            Section::Findings => {
                let mut table = Table::new(&["number", "severity", "node", "finding"]);
                for finding in &self.findings {
                    table.row([
                        finding.number.to_owned(),
                        finding.severity.as_str().to_owned(),
                        finding.peer.short().to_string(),
                        finding.text.clone(),
                    ]);
                }
                table
            }
        };
        table.matching(&self.filter)
    }

    /// The line above everything: how the network is.
    fn summary(&self) -> String {
        let Some(observed) = &self.observed else {
            return "looking for nodes".to_owned();
        };
        if observed.is_empty() {
            return "no node was found: `mosaik doctor` says what may be the reason".to_owned();
        }
        let without = observed.silent.len() + observed.refused.len();
        let nodes = match (observed.reports.len(), without) {
            (answered, 0) => counted(answered, "node"),
            (answered, without) => {
                format!(
                    "{answered} of {} answer",
                    counted(answered + without, "node")
                )
            }
        };
        let count = |severity| {
            let findings = self.findings.iter();
            findings
                .filter(|finding| finding.severity == severity)
                .count()
        };
        format!(
            "{nodes}, {}, {}",
            counted(count(Severity::Error), "error"),
            counted(count(Severity::Warning), "warning")
        )
    }

    /// The line below everything: the way on of a finding, the filter, or the keys.
    fn hint(&self) -> String {
        if self.is_filtering || !self.filter.is_empty() {
            return format!("/{}  (esc: all)", self.filter);
        }
        let selected = self.table.selected();
        match selected.and_then(|row| self.findings.get(row)) {
            Some(finding) if SECTIONS[self.section].1 == Section::Findings => {
                finding.way_on.to_owned()
            }
            _ => "tab: next page  1-6: page  up/down: row  /: filter  q: end".to_owned(),
        }
    }
}

fn draw(frame: &mut Frame<'_>, model: &mut Model, colours: bool) {
    let [head, tabs, body, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let worst = model.findings.iter().map(|finding| finding.severity).max();
    let is_empty = |observed: &Observed| observed.is_empty();
    let colour = match worst {
        _ if model.observed.as_ref().is_some_and(is_empty) => Color::Red,
        Some(Severity::Error) => Color::Red,
        Some(Severity::Warning) => Color::Yellow,
        _ => Color::Green,
    };
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let head_style = if colours { bold.fg(colour) } else { bold };
    frame.render_widget(Line::styled(model.summary(), head_style), head);
    let names = SECTIONS.iter().map(|(name, _)| *name);
    let names = Tabs::new(names).select(model.section).divider(" ");
    let names = names.highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    frame.render_widget(names, tabs);
    draw_table(frame, model, body);
    frame.render_widget(Paragraph::new(model.hint()), foot);
}

fn draw_table(frame: &mut Frame<'_>, model: &mut Model, area: Rect) {
    let table = model.rows();
    // The first columns say most: each has its width as long as there is room.
    let mut room = area.width;
    let widths = table.widths().into_iter().map_while(|width| {
        let width = u16::try_from(width).unwrap_or(u16::MAX).min(room);
        room = room.saturating_sub(width.saturating_add(COLUMN_SPACING));
        (width > 0).then_some(Constraint::Length(width))
    });
    let widths: Vec<_> = widths.collect();
    let rows = table
        .rows()
        .iter()
        .map(|row| Row::new(row.iter().map(String::as_str)));
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let head = Row::new(table.headings().iter().copied()).style(bold);
    let grid = Grid::new(rows, widths)
        .header(head)
        .column_spacing(COLUMN_SPACING)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    frame.render_stateful_widget(grid, area, &mut model.table);
}

#[cfg(test)]
mod tests {
    use ratatui::{Terminal, backend::TestBackend};

    use super::*;

    fn shown(model: &mut Model) -> String {
        let mut terminal = Terminal::new(TestBackend::new(80, 8)).unwrap();
        terminal.draw(|frame| draw(frame, model, false)).unwrap();
        terminal.backend().to_string()
    }

    fn press(model: &mut Model, keys: &str) {
        for c in keys.chars() {
            let code = match c {
                '\t' => KeyCode::Tab,
                '\n' => KeyCode::Enter,
                '\u{1b}' => KeyCode::Esc,
                c => KeyCode::Char(c),
            };
            assert_eq!(model.on_key(code.into()), Next::Goes, "{c:?}");
        }
    }

    #[test]
    fn pages_are_turned_and_rows_filtered() {
        let mut model = Model::default();
        assert!(shown(&mut model).contains("looking for nodes"));
        let peer = |n| mosaik::SecretKey::from_bytes(&[n; 32]).public();
        let observed = Observed::default()
            .with_silent(peer(1), "timed out")
            .with_silent(peer(2), "unreachable");
        model.take(observed);
        let first = shown(&mut model);
        assert!(
            first.contains("0 of 2 nodes answer, 2 errors, 0 warnings"),
            "{first}"
        );
        assert_eq!(first.matches("does not answer").count(), 2, "{first}");
        press(&mut model, "\t\t2\t6");
        let findings = shown(&mut model);
        assert_eq!(findings.matches("M100").count(), 2, "{findings}");
        press(&mut model, "j");
        assert!(shown(&mut model).contains("Look whether its process runs"));
        press(&mut model, "/TIMED q\u{1b}/timed\n");
        let filtered = shown(&mut model);
        assert_eq!(filtered.matches("M100").count(), 1, "{filtered}");
        press(&mut model, "\u{1b}");
        assert_eq!(model.on_key(KeyCode::Char('q').into()), Next::End);
        let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(model.on_key(control_c), Next::End);
    }
}

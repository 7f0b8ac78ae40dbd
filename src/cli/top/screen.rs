//! The terminal of `tollfree top`: what is drawn, and what keys do.

use std::{
    io::{self, Stdout, Write, stdout},
    time::Duration,
};

use crossterm::{
    cursor,
    event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
    execute, queue,
    style::{Attribute, Color, Print, ResetColor, SetAttribute, SetForegroundColor},
    terminal::{self, ClearType},
};
use serde_json::Value;
use tokio::time::Instant;

use super::table::{self, Row, Summary};

/// Lines above the rows: the title, a blank line and the header.
const HEAD_LINES: usize = 3;
const FULL: f64 = 0.9;

/// The first line: `3 replicas · 2 waiting · 12 requests, 1 failed`.
pub(super) fn title(summary: &Summary, per_minute: Option<i64>) -> String {
    let Summary { replicas, waiting, requests, failures } = summary;
    let pace = per_minute.map_or_else(String::new, |pace| format!(" · {pace} a minute"));
    let unit = if *replicas == 1 { "replica" } else { "replicas" };
    format!("Tollfree · {replicas} {unit} · {waiting} waiting · {requests} requests, {failures} failed{pace}")
}

/// What is shown.
pub(super) struct View {
    budget: Value,
    /// The number of requests and when it was read, to tell the pace.
    before: (i64, Instant),
    per_minute: Option<i64>,
    problem: Option<String>,
    shows_all: bool,
    is_paused: bool,
    /// The first row that is shown.
    top: usize,
}

impl View {
    pub(super) fn new(budget: Value, shows_all: bool) -> Self {
        let before = (table::summary(&budget).requests, Instant::now());
        Self { budget, before, per_minute: None, problem: None, shows_all, is_paused: false, top: 0 }
    }

    pub(super) fn is_paused(&self) -> bool {
        self.is_paused
    }

    pub(super) fn update(&mut self, answer: anyhow::Result<Value>) {
        match answer {
            Ok(budget) => {
                let (requests, now) = (table::summary(&budget).requests, Instant::now());
                let (earlier, at) = self.before;
                let elapsed_ms = i64::try_from((now - at).as_millis()).unwrap_or(i64::MAX).max(1);
                self.per_minute = Some((requests - earlier).max(0).saturating_mul(60_000) / elapsed_ms);
                (self.before, self.budget, self.problem) = ((requests, now), budget, None);
            }
            Err(error) => self.problem = Some(error.to_string()),
        }
    }

    /// Applies a key; false: the user quits.
    pub(super) fn press(&mut self, key: KeyEvent) -> bool {
        let page = terminal::size().map_or(10, |(_, rows)| usize::from(rows).saturating_sub(HEAD_LINES + 1).max(1));
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return false,
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return false,
            KeyCode::Char('a') => (self.shows_all, self.top) = (!self.shows_all, 0),
            KeyCode::Char('p') => self.is_paused = !self.is_paused,
            KeyCode::Down | KeyCode::Char('j') => self.top += 1,
            KeyCode::Up | KeyCode::Char('k') => self.top = self.top.saturating_sub(1),
            KeyCode::PageDown | KeyCode::Char(' ') => self.top += page,
            KeyCode::PageUp => self.top = self.top.saturating_sub(page),
            KeyCode::Home => self.top = 0,
            _ => {}
        }
        true
    }

    /// Each line with its colour, as they fit.
    fn lines(&self, columns: usize, height: usize) -> Vec<(String, Option<Color>)> {
        let rows = table::rows(&self.budget, self.shows_all);
        let space = height.saturating_sub(HEAD_LINES + 1);
        let top = self.top.min(rows.len().saturating_sub(space));
        let mut text = table::lines(&rows, columns).into_iter();
        let mut lines = vec![(title(&table::summary(&self.budget), self.per_minute), None), (String::new(), None)];
        lines.extend(text.next().map(|header| (header, Some(Color::DarkGrey))));
        lines.extend(text.zip(&rows).skip(top).take(space).map(|(line, row)| (line, colour(row))));
        let state = match (&self.problem, self.is_paused) {
            (Some(problem), _) => problem.clone(),
            (None, true) => "paused".to_owned(),
            (None, false) if rows.is_empty() => "no limit is in use: a shows all".to_owned(),
            (None, false) => String::new(),
        };
        lines.push((state, Some(Color::Red)));
        lines.into_iter().map(|(line, colour)| (line.chars().take(columns).collect(), colour)).collect()
    }
}

fn colour(row: &Row) -> Option<Color> {
    if !row.state.is_empty() {
        Some(Color::Red)
    } else if row.share() >= FULL {
        Some(Color::Yellow)
    } else {
        None
    }
}

/// The next key that is pressed within this time.
pub(super) fn next_key(within: Duration) -> io::Result<Option<KeyEvent>> {
    let end = Instant::now() + within;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if !event::poll(left)? {
            return Ok(None);
        }
        match event::read()? {
            Event::Key(key) if key.kind != KeyEventKind::Release => return Ok(Some(key)),
            // The table is drawn again for another size.
            Event::Resize(..) => return Ok(None),
            _ => {}
        }
    }
}

/// The alternate screen, left on drop, also after an error.
pub(super) struct Screen(Stdout);

impl Screen {
    pub(super) fn open() -> io::Result<Self> {
        terminal::enable_raw_mode()?;
        let mut screen = Self(stdout());
        execute!(screen.0, terminal::EnterAlternateScreen, cursor::Hide)?;
        Ok(screen)
    }

    pub(super) fn draw(&mut self, view: &View) -> io::Result<()> {
        let (columns, rows) = terminal::size()?;
        let out = &mut self.0;
        queue!(out, cursor::MoveTo(0, 0))?;
        for (at, (line, colour)) in (0..rows).zip(view.lines(columns.into(), rows.into())) {
            queue!(out, cursor::MoveTo(0, at), terminal::Clear(ClearType::UntilNewLine))?;
            match colour {
                _ if at == 0 => queue!(out, SetAttribute(Attribute::Bold))?,
                Some(colour) => queue!(out, SetForegroundColor(colour))?,
                None => {}
            }
            queue!(out, Print(line), ResetColor, SetAttribute(Attribute::Reset))?;
        }
        queue!(out, terminal::Clear(ClearType::FromCursorDown))?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that is gone.
        let _ = execute!(self.0, cursor::Show, terminal::LeaveAlternateScreen);
        let _ = terminal::disable_raw_mode();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn view(windows: usize) -> View {
        let window = |at: usize| json!({ "limit": "rpm", "used": at + 1, "max": 100, "left": 99 - at, "waiting": 0, "forecast": null });
        let models: Vec<Value> = (0..windows)
            .map(|at| json!({ "id": format!("model-{at}"), "breaker": {}, "cooldown": null, "windows": [window(at)] }))
            .collect();
        let accounts = json!([{ "id": "main", "windows": [], "models": models }]);
        let budget = json!({
            "taken_at": "2026-11-30T10:00:00Z", "replicas": 1, "waiting": 0, "totals": { "requests": 5, "failures": 0 },
            "providers": [{ "id": "groq", "breaker": {}, "accounts": accounts }],
        });
        View::new(budget, false)
    }

    #[test]
    fn the_screen_is_filled_and_scrolled_to_its_end_at_most() {
        let mut view = view(30);
        let lines = view.lines(100, 14);
        assert_eq!(lines.len(), 14);
        assert_eq!(lines[0].0, "Tollfree · 1 replica · 0 waiting · 5 requests, 0 failed");
        assert!(lines[3].0.contains("model-29"), "{lines:?}");
        for _ in 0..5 {
            assert!(view.press(KeyCode::PageDown.into()));
        }
        let lines = view.lines(100, 14);
        assert!(lines[12].0.contains("model-0"), "{lines:?}");
        assert!(lines.iter().all(|(line, _)| line.chars().count() <= 100));
    }

    #[test]
    fn a_gateway_that_does_not_answer_is_shown_until_it_does() {
        let mut view = view(1);
        view.update(Err(anyhow::anyhow!("no gateway responds at http://x: refused")));
        assert!(view.lines(100, 10).last().unwrap().0.contains("no gateway responds"));
        let again = view.budget.clone();
        view.update(Ok(again));
        assert_eq!(view.lines(100, 10).last().unwrap().0, "");
        assert!(!view.press(KeyCode::Char('q').into()) && !view.press(KeyCode::Esc.into()));
    }
}

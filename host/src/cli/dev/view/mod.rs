//! The full-screen view of `tidemill dev`.
//!
//! ```text
//! keys ──────────▶ ┐
//! the query ─────▶ ├─ events ─▶ model ─▶ a buffer ─▶ the terminal
//! stdout, stderr ▶ ┘
//! ```
//!
//! The view has a thread. It draws what came in a frame's time at once, so that many small batches
//! cost no more than a few.

mod draw;
mod model;
mod screen;

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, KeyCode, KeyEventKind, KeyModifiers};

use self::model::Model;
pub(super) use self::model::{Batch, Event};
use self::screen::{Screen, Written};
pub(super) use self::screen::{give_back, give_back_on_panic};

/// Events that were not drawn yet. Who has more to tell waits.
const EVENTS: usize = 256;
/// What comes within it is drawn at once. Shorter than what an eye tells apart.
const FRAME: Duration = Duration::from_millis(40);
/// Bytes that are taken of a line of output: a line without an end is cut.
const LINE_BYTES: u64 = 64 * 1024;
/// Lines that a page key goes down in an error.
const PAGE: i32 = 10;
const THREAD: &str = "tidemill-view";

/// What somebody asks for at the terminal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ask {
    Quit,
    /// The last batch again.
    Again,
}

/// The view, until it is closed.
pub(super) struct View {
    tell: SyncSender<Event>,
    thread: JoinHandle<Model>,
}

impl View {
    /// Whether a view can be had where the process runs.
    pub(super) fn fits() -> bool {
        let are_terminals = io::stdin().is_terminal() && io::stdout().is_terminal();
        are_terminals && suits(std::env::var_os("TERM"), std::env::var_os("CI"))
    }

    /// Takes the terminal, and shows `job` until something is known of it.
    pub(super) fn start(job: String) -> io::Result<View> {
        let (screen, written) = Screen::take()?;
        let (tell, told) = sync_channel(EVENTS);
        let Written { stdout, stderr } = written;
        let started = follow(stdout, tell.clone(), Event::Output).and_then(|()| match stderr {
            Some(stderr) => follow(stderr, tell.clone(), Event::Log),
            None => Ok(()),
        });
        let thread = started.and_then(|()| {
            let run = move || show(screen, Model::new(job), &told);
            thread::Builder::new().name(THREAD.to_owned()).spawn(run)
        });
        match thread {
            Ok(thread) => Ok(View { tell, thread }),
            Err(error) => {
                give_back();
                Err(error)
            }
        }
    }

    /// Calls `ask` for keys that are not about the view alone.
    pub(super) fn listen(&self, ask: impl Fn(Ask) + Send + 'static) -> io::Result<()> {
        let tell = self.tell.clone();
        thread::Builder::new().name("tidemill-keys".to_owned()).spawn(move || {
            loop {
                // A terminal that is gone wants an end.
                let read = event::read();
                let is_gone = read.is_err();
                match read.map_or(Press::Ask(Ask::Quit), press) {
                    Press::Ask(asked) => {
                        if asked == Ask::Quit {
                            let _ = tell.send(Event::Quitting);
                        }
                        ask(asked);
                    }
                    Press::View(event) => drop(tell.send(event)),
                    Press::Nothing => {}
                }
                if is_gone {
                    return;
                }
            }
        })?;
        Ok(())
    }

    pub(super) fn teller(&self) -> Teller {
        Teller(self.tell.clone())
    }

    /// Gives the terminal back, and what is to be said after that.
    pub(super) fn close(self) -> String {
        let _ = self.tell.send(Event::Close);
        let model = self.thread.join();
        give_back();
        model.map(|model| model.farewell()).unwrap_or_default()
    }
}

/// Tells a view what happens. It may wait until the view has drawn what it was told before.
#[derive(Clone)]
pub(super) struct Teller(SyncSender<Event>);

impl Teller {
    pub(super) fn tell(&self, event: Event) {
        // Who has no view any more has nobody to tell.
        let _ = self.0.send(event);
    }
}

fn suits(term: Option<OsString>, ci: Option<OsString>) -> bool {
    let is_set = |value: &OsString| !value.is_empty();
    term.filter(is_set).is_some_and(|term| term != "dumb") && ci.filter(is_set).is_none()
}

/// Draws until the view is closed, and gives what it knows then.
fn show(mut screen: Screen, mut model: Model, told: &Receiver<Event>) -> Model {
    loop {
        // A terminal that cannot be drawn on says so to whoever reads keys.
        let _ = screen.draw(|area, buffer| draw::draw(&model, area, buffer));
        if !take_frame(&mut model, told) {
            return model;
        }
    }
}

/// Waits for an event, and takes all that come within a frame's time. False: the view is to be
/// closed.
fn take_frame(model: &mut Model, told: &Receiver<Event>) -> bool {
    let Ok(mut event) = told.recv() else { return false };
    let until = Instant::now() + FRAME;
    loop {
        if event == Event::Close {
            return false;
        }
        model.take(event);
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        event = match told.recv_timeout(left) {
            Ok(event) => event,
            Err(RecvTimeoutError::Timeout) => return true,
            Err(RecvTimeoutError::Disconnected) => return false,
        };
    }
}

/// Tells of the lines that are written to a stream.
fn follow(
    stream: impl Read + Send + 'static,
    tell: SyncSender<Event>,
    event: fn(Vec<String>) -> Event,
) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    thread::Builder::new().name("tidemill-lines".to_owned()).spawn(move || {
        let mut line = Vec::new();
        while let Ok(1..) = stream.by_ref().take(LINE_BYTES).read_until(b'\n', &mut line) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            // A console's tables have empty lines around them.
            if !text.is_empty() {
                let _ = tell.send(event(vec![text]));
            }
        }
    })?;
    Ok(())
}

/// What follows from a key.
#[derive(PartialEq, Debug)]
enum Press {
    Ask(Ask),
    View(Event),
    Nothing,
}

fn press(event: event::Event) -> Press {
    let key = match event {
        event::Event::Key(key) if key.kind != KeyEventKind::Release => key,
        event::Event::Resize(..) => return Press::View(Event::Resized),
        _ => return Press::Nothing,
    };
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c' | 'd') => Press::Ask(Ask::Quit),
            _ => Press::Nothing,
        };
    }
    match key.code {
        KeyCode::Char('q') => Press::Ask(Ask::Quit),
        KeyCode::Char('r') => Press::Ask(Ask::Again),
        KeyCode::Char('e') => Press::View(Event::ToggleError),
        KeyCode::Up | KeyCode::Char('k') => Press::View(Event::Scroll(-1)),
        KeyCode::Down | KeyCode::Char('j') => Press::View(Event::Scroll(1)),
        KeyCode::PageUp => Press::View(Event::Scroll(-PAGE)),
        KeyCode::PageDown => Press::View(Event::Scroll(PAGE)),
        _ => Press::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use ratatui::crossterm::event::KeyEvent;

    use super::*;

    #[test]
    fn a_terminal_that_is_dumb_or_nobodys_has_no_view() {
        let suits = |term: Option<&str>, ci: Option<&str>| {
            suits(term.map(OsString::from), ci.map(OsString::from))
        };
        assert!(suits(Some("xterm-256color"), None) && suits(Some("linux"), Some("")));
        assert!(!suits(Some("dumb"), None) && !suits(None, None) && !suits(Some(""), None));
        assert!(!suits(Some("xterm"), Some("true")));
    }

    #[test]
    fn keys_need_no_enter() {
        let pressed = |code, modifiers| press(event::Event::Key(KeyEvent::new(code, modifiers)));
        let key = |c| pressed(KeyCode::Char(c), KeyModifiers::NONE);
        assert_eq!(key('q'), Press::Ask(Ask::Quit));
        assert_eq!(pressed(KeyCode::Char('c'), KeyModifiers::CONTROL), Press::Ask(Ask::Quit));
        assert_eq!(pressed(KeyCode::Char('r'), KeyModifiers::CONTROL), Press::Nothing);
        assert_eq!(key('r'), Press::Ask(Ask::Again));
        assert_eq!(key('c'), Press::Nothing);
    }
}

//! The terminal while the view has it: raw mode, the alternate screen, and where the process's
//! streams go meanwhile.
//!
//! Log lines, the console sink, cargo and libraries in C write to standard output and standard
//! error, each by its own way. So the streams themselves are led into pipes, and the view draws to
//! a handle of its own: nothing can tear the screen.
//!
//! [`give_back`] undoes all of it, and may be called from any thread and more than once.

use std::fs::File;
use std::io::{self, IsTerminal, PipeReader};
use std::os::fd::{AsFd, OwnedFd};
use std::panic;
use std::thread;

use parking_lot::Mutex;
use ratatui::buffer::Buffer;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::layout::Rect;
use ratatui::prelude::CrosstermBackend;
use ratatui::{Terminal, TerminalOptions, Viewport};
use rustix::stdio::{dup2_stderr, dup2_stdout};
use rustix::termios::tcgetwinsize;

/// The streams as they were, while the view has the terminal.
static TAKEN: Mutex<Option<Streams>> = Mutex::new(None);

struct Streams {
    stdout: OwnedFd,
    /// `None` where standard error is no terminal: it goes on to where it was led.
    stderr: Option<OwnedFd>,
}

/// What is written to the streams meanwhile. It ends with [`give_back`].
pub(super) struct Written {
    pub(super) stdout: PipeReader,
    pub(super) stderr: Option<PipeReader>,
}

/// The terminal, to be drawn on.
pub(super) struct Screen {
    tty: File,
    terminal: Terminal<CrosstermBackend<File>>,
    area: Rect,
}

impl Screen {
    /// Takes the terminal that standard output is.
    pub(super) fn take() -> io::Result<(Screen, Written)> {
        let stdout = io::stdout().as_fd().try_clone_to_owned()?;
        let mut tty = File::from(stdout.try_clone()?);
        let stderr = match io::stderr().is_terminal() {
            true => Some(io::stderr().as_fd().try_clone_to_owned()?),
            false => None,
        };
        let (read_stdout, write_stdout) = io::pipe()?;
        let pipe = stderr.is_some().then(io::pipe).transpose()?;
        let area = size_of(&tty)?;
        let terminal = terminal(&tty, area)?;
        enable_raw_mode()?;
        // From here on there is something to give back.
        *TAKEN.lock() = Some(Streams { stdout, stderr });
        let led = execute!(tty, EnterAlternateScreen, Clear(ClearType::All))
            .and_then(|()| Ok(dup2_stdout(&write_stdout)?))
            .and_then(|()| match &pipe {
                Some((_, write)) => Ok(dup2_stderr(write)?),
                None => Ok(()),
            });
        if let Err(error) = led {
            give_back();
            return Err(error);
        }
        let written = Written { stdout: read_stdout, stderr: pipe.map(|(read, _)| read) };
        Ok((Screen { tty, terminal, area }, written))
    }

    /// Draws what `draw` puts into a buffer of the terminal's present size. Nothing, once the
    /// terminal was given back.
    pub(super) fn draw(&mut self, draw: impl FnOnce(Rect, &mut Buffer)) -> io::Result<()> {
        if TAKEN.lock().is_none() {
            return Ok(());
        }
        let area = size_of(&self.tty)?;
        if area != self.area {
            // Ratatui would ask the terminal for the place of its cursor, and the answer comes
            // among the keys.
            execute!(self.tty, Clear(ClearType::All))?;
            (self.terminal, self.area) = (terminal(&self.tty, area)?, area);
        }
        self.terminal.draw(|frame| draw(frame.area(), frame.buffer_mut()))?;
        Ok(())
    }
}

fn terminal(tty: &File, area: Rect) -> io::Result<Terminal<CrosstermBackend<File>>> {
    let backend = CrosstermBackend::new(tty.try_clone()?);
    Terminal::with_options(backend, TerminalOptions { viewport: Viewport::Fixed(area) })
}

/// A terminal that does not know its size is taken for one of 80 by 24.
fn size_of(tty: &File) -> io::Result<Rect> {
    let size = tcgetwinsize(tty)?;
    Ok(match (size.ws_col, size.ws_row) {
        (0, _) | (_, 0) => Rect::new(0, 0, 80, 24),
        (columns, rows) => Rect::new(0, 0, columns, rows),
    })
}

/// Gives the terminal and the streams back, if the view has them. What fails at that is passed
/// over: as much as possible has to be as it was.
pub(in super::super) fn give_back() {
    let Some(Streams { stdout, stderr }) = TAKEN.lock().take() else { return };
    let _ = dup2_stdout(&stdout);
    let _ = stderr.map(|stderr| dup2_stderr(&stderr));
    let _ = disable_raw_mode();
    let mut tty = File::from(stdout);
    let _ = execute!(tty, LeaveAlternateScreen, Show);
}

/// Gives the terminal back before a panic of this thread is told. Those of other threads show in
/// the view.
pub(in super::super) fn give_back_on_panic() {
    let owner = thread::current().id();
    let tell = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if thread::current().id() == owner || thread::current().name() == Some(super::THREAD) {
            give_back();
        }
        tell(info);
    }));
}

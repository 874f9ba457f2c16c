//! `tidemill dev` at a terminal: the real command under a pseudo-terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use tidemill_tests::{Workbench, plugin};

const JOB: &str = r#"
name = "at_a_terminal"
trigger = { processing_time = "100 milliseconds" }
[source.r]
format = "rate-micro-batch"
options = { rowsPerBatch = 3 }
[plugin.p]
path = "p.wasm"
[[step]]
name = "t"
sql = "SELECT delay_class(value) AS class, value FROM r"
[sink]
format = "console"
"#;

/// Nothing on the screen is longer in coming.
const PATIENCE: Duration = Duration::from_secs(120);

/// A command with a terminal of its own.
struct Terminal {
    child: Child,
    /// What somebody at the terminal types.
    keys: File,
    /// What the terminal is sent.
    sent: Receiver<Vec<u8>>,
    seen: String,
    /// The command's side.
    side: OwnedFd,
    /// Outlives the command.
    _bench: Workbench,
}

impl Terminal {
    fn start(arguments: &[&str], term: &str) -> Terminal {
        let bench = Workbench::new();
        bench.write("job.toml", JOB);
        bench.write("p.wasm", std::fs::read(plugin("flights")).unwrap());
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let name = ptsname(&ours, Vec::new()).unwrap();
        let side = open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        let size = Winsize { ws_row: 40, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&side, size).unwrap();
        let mut command = bench.command(arguments);
        command.env("TERM", term).env_remove("CI");
        command.stdin(Stdio::from(side.try_clone().unwrap()));
        command.stdout(Stdio::from(side.try_clone().unwrap()));
        command.stderr(Stdio::from(side.try_clone().unwrap()));
        let child = command.spawn().unwrap();
        let mut screen = File::from(ours.try_clone().unwrap());
        let (tell, sent) = sync_channel(10_000);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = screen.read(&mut bytes) {
                if tell.send(bytes[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        let keys = File::from(ours);
        Terminal { child, keys, sent, seen: String::new(), side, _bench: bench }
    }

    /// Waits for a text. The view sends no blank that is there already, so it has to be one word.
    #[track_caller]
    fn shows(&mut self, text: &str) {
        while !self.seen.contains(text) {
            match self.sent.recv_timeout(PATIENCE) {
                Ok(bytes) => self.seen += &String::from_utf8_lossy(&bytes),
                Err(_) => panic!("{text} does not show:\n{}", self.seen),
            }
        }
    }

    fn press(&mut self, key: &str) {
        self.keys.write_all(key.as_bytes()).unwrap();
    }

    /// Whether lines are edited and echoed, as a shell needs it.
    fn is_cooked(&self) -> bool {
        let modes = tcgetattr(&self.side).unwrap().local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }
}

/// What a terminal obeys to show another screen, and to show the first one again.
const ENTER: &str = "\u{1b}[?1049h";
const LEAVE: &str = "\u{1b}[?1049l";

#[test]
fn the_view_shows_a_job_and_its_batches_and_gives_the_terminal_back() {
    let mut terminal = Terminal::start(&["dev", "job.toml"], "xterm");
    terminal.shows(ENTER);
    terminal.shows("at_a_terminal");
    terminal.shows("since");
    assert!(!terminal.is_cooked());
    // Of the console's table.
    terminal.shows("Batch:");
    terminal.press("q");
    terminal.shows(LEAVE);
    terminal.shows("start again to go on");
    assert_eq!(terminal.child.wait().unwrap().code(), Some(0));
    assert!(terminal.is_cooked());
}

#[test]
fn lines_are_printed_where_they_are_asked_for_or_the_terminal_is_dumb() {
    for (arguments, term) in
        [(&["dev", "job.toml", "--plain"][..], "xterm"), (&["dev", "job.toml"], "dumb")]
    {
        let mut terminal = Terminal::start(arguments, term);
        terminal.shows("starts with batch 0");
        terminal.shows("batch 0: 3 rows in");
        assert!(terminal.is_cooked());
        terminal.press("q\n");
        terminal.shows("stopped after batch");
        assert_eq!(terminal.child.wait().unwrap().code(), Some(0));
        assert!(!terminal.seen.contains(ENTER), "{}", terminal.seen);
    }
}

//! Runs the toolchain on the bytes of a guest, and takes its panics for what they are: it could
//! not read a module that was made by hand.
//!
//! Parsers and compilers are written for what another compiler has made. They check nearly all of
//! it. Where a check is missing they panic, and neither the process nor its standard error is to
//! see that: the module is at fault.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;
use std::time::Instant;

/// Stack of a thread that reads modules: what is nested in them may be so as deep as the formats
/// allow, which is far deeper than compilers write it.
pub(crate) const STACK_BYTES: usize = 16 << 20;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
    static UNTIL: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Why guarded work has no result.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It panicked, with these words.
    Panicked(String),
    /// It was still at work when its time was over.
    OutOfTime,
    /// It did not begin: the system gives no threads to do it on.
    NoThread(String),
}

/// Runs `work`, whose panics are its result and are not printed.
pub(crate) fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, Ended> {
    let _quiet = Quiet::begin();
    panic::catch_unwind(AssertUnwindSafe(work)).map_err(ended)
}

/// As [`guarded`], for the compiler: it looks at the time before each function, on this thread if
/// it was called in a pool of threads, and in a pool of its own otherwise.
///
/// Without threads of its own it is not done at all: those of others have neither its time, nor its
/// stack, nor do they keep quiet.
pub(crate) fn guarded_until<T: Send>(
    until: Instant,
    work: impl FnOnce() -> T + Send,
) -> Result<T, Ended> {
    on_threads(STACK_BYTES, until, work)
}

fn on_threads<T: Send>(
    stack_bytes: usize,
    until: Instant,
    work: impl FnOnce() -> T + Send,
) -> Result<T, Ended> {
    if rayon::current_thread_index().is_some() {
        let _timed = Timed::begin(until);
        return guarded(work);
    }
    let begin = move |_| {
        UNTIL.set(Some(until));
        QUIET.set(true);
    };
    let pool = rayon::ThreadPoolBuilder::new().stack_size(stack_bytes).start_handler(begin);
    let pool = pool.build().map_err(|error| Ended::NoThread(error.to_string()))?;
    guarded(|| pool.install(work))
}

/// Ends the guarded work that calls it, if its time is over.
pub(crate) fn check_time() {
    if UNTIL.get().is_some_and(|until| Instant::now() >= until) {
        // Unlike a panic it tells nobody but the one who catches it.
        panic::resume_unwind(Box::new(OutOfTime));
    }
}

struct OutOfTime;

fn ended(payload: Box<dyn Any + Send>) -> Ended {
    if payload.is::<OutOfTime>() {
        return Ended::OutOfTime;
    }
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    Ended::Panicked(text.unwrap_or_else(|| "no reason given".to_owned()))
}

/// While it lives, a panic of this thread is not printed.
struct Quiet {
    before: bool,
}

impl Quiet {
    fn begin() -> Quiet {
        install_hook();
        Quiet { before: QUIET.replace(true) }
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        QUIET.set(self.before);
    }
}

/// While it lives, work on this thread has so much time.
struct Timed {
    before: Option<Instant>,
}

impl Timed {
    fn begin(until: Instant) -> Timed {
        Timed { before: UNTIL.replace(Some(until)) }
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        UNTIL.set(self.before);
    }
}

/// Puts the question "is this thread quiet?" before whatever prints panics. Once in a process.
fn install_hook() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if QUIET.get() {
                tracing::debug!("a module made the toolchain panic: {panic}");
            } else {
                print(panic);
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_panic_is_a_value() {
        let ended = guarded(|| -> u32 { panic!("no {}", "good") });
        assert_eq!(ended, Err(Ended::Panicked("no good".to_owned())));
        assert_eq!(guarded(|| 7), Ok(7));
    }

    /// No thread has so large a stack, so the system gives none.
    #[test]
    fn without_threads_of_its_own_nothing_is_compiled() {
        let until = Instant::now() + Duration::from_secs(60);
        let ended = on_threads(1 << 47, until, || panic!("it was begun"));
        assert!(matches!(&ended, Err(Ended::NoThread(_))), "{ended:?}");
    }

    #[test]
    fn work_that_looks_at_the_time_ends_with_it() {
        let until = Instant::now() + Duration::from_millis(5);
        let ended = guarded_until(until, || -> u32 {
            loop {
                check_time();
            }
        });
        assert_eq!(ended, Err(Ended::OutOfTime));
        check_time();
    }
}

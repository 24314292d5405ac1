//! The test runner: tests that can skip themselves, and bounded waits for a condition.
//! It uses libtest-mimic, because the standard harness cannot report a test as skipped once it runs.

pub use libtest_mimic::Trial;
use libtest_mimic::{Completion, Failed};
use std::cell::RefCell;
use std::panic::{catch_unwind, resume_unwind, set_hook};
use std::sync::Mutex;
use std::time::{Duration, Instant};

struct Skip(String);

thread_local! {
    /// The last panic of this thread, with its location, which the payload lacks.
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Ends the test as skipped. The reason names what is missing.
pub fn skip(reason: String) -> ! {
    resume_unwind(Box::new(Skip(reason)))
}

/// Ends the test as skipped: `skip!("no {tool} on this machine")`. The summary counts it as ignored.
#[macro_export]
macro_rules! skip {
    ($($part:tt)*) => { $crate::harness::skip(format!($($part)*)) };
}

/// Lists the tests of a module. A test that is not listed is dead code, which the lints refuse.
#[macro_export]
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        pub fn tests() -> Vec<$crate::Trial> {
            let area = module_path!().rsplit("::").next().unwrap_or_default();
            vec![$($crate::harness::trial(area, stringify!($name), $name)),*]
        }
    };
}

pub fn trial(area: &str, name: &str, test: fn()) -> Trial {
    let title = format!("{area}::{name}");
    let name = title.clone();
    Trial::ignorable_test(title, move || {
        let begin = Instant::now();
        let result = catch_unwind(test);
        TIMES.lock().unwrap().push((begin.elapsed(), name.clone()));
        match result {
            Ok(()) => Ok(Completion::Completed),
            Err(payload) => match payload.downcast::<Skip>() {
                Ok(skip) => {
                    eprintln!("SKIPPED {name}: {}", skip.0);
                    Ok(Completion::ignored_with(skip.0))
                }
                Err(_) => Err(Failed::from(PANIC.take())),
            },
        }
    })
}

/// The duration of each test.
static TIMES: Mutex<Vec<(Duration, String)>> = Mutex::new(Vec::new());

/// Prints the ten slowest tests.
pub fn print_slowest() {
    let mut times = TIMES.lock().unwrap();
    times.sort_by(|a, b| b.cmp(a));
    println!("slowest:");
    for (time, name) in times.iter().take(10) {
        println!("{:7.1} s {name}", time.as_secs_f64());
    }
}

/// Stores panics for the final report instead of printing them among the output of other tests.
pub fn keep_panics() {
    set_hook(Box::new(|info| {
        let place = info
            .location()
            .map(|l| format!("{}:{}: ", l.file(), l.line()))
            .unwrap_or_default();
        PANIC.set(format!(
            "{place}{}",
            info.payload_as_str().unwrap_or("panic")
        ));
    }));
}

/// Runs clean-up code without aborting. A panic in it, while another panic unwinds, would abort the process.
pub fn quietly(work: impl FnOnce()) {
    let first = PANIC.take();
    let _ = catch_unwind(std::panic::AssertUnwindSafe(work));
    PANIC.set(first);
}

/// Runs a part of a test and returns its panic, if any, as the text of an error.
pub fn attempt<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(std::panic::AssertUnwindSafe(work)).map_err(|payload| {
        match payload.downcast::<Skip>() {
            Ok(skip) => skip.0,
            Err(_) => PANIC.take(),
        }
    })
}

/// The time limit of every wait: a minute, long enough that only a hang exceeds it. In an emulated guest,
/// `RUNTIME_SLOWNESS` is the factor by which it is slower.
pub fn patience() -> Duration {
    let slowness = std::env::var("RUNTIME_SLOWNESS").ok();
    Duration::from_secs(60) * slowness.map_or(1, |factor| factor.parse().unwrap())
}

/// Waits until `done` returns true.
#[track_caller]
pub fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let (begin, patience) = (Instant::now(), patience());
    while !done() {
        assert!(
            begin.elapsed() < patience,
            "timed out after {patience:?} waiting until {what}"
        );
        std::thread::park_timeout(Duration::from_millis(3));
    }
}

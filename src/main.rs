//! The binary: parse the command line, hand over, say in one line what went wrong.

#![expect(clippy::print_stderr, reason = "this file and `cli` are where the process speaks to people")]

use std::panic::PanicHookInfo;
use std::process::ExitCode;

use portcullis::cli;
use rustix::fs::Mode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Whatever is made here, store, usage, configuration or export, is the owner's alone.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    std::panic::set_hook(Box::new(report_panic));
    match cli::run(&cli::parse()) {
        Ok(code) => code,
        Err(error) => report(&error),
    }
}

/// One line a fault: most errors have one, a configuration file or a refused call may have several.
fn report(error: &anyhow::Error) -> ExitCode {
    let status = cli::exit_status(error);
    if status != 0 {
        format!("{error:#}").lines().for_each(|line| eprintln!("portcullis: {line}"));
    }
    ExitCode::from(status)
}

/// One line for a panic: where, and what only if that is a text of the program itself. A formatted message could hold
/// what a client sent.
fn report_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    let message = panic.payload().downcast_ref::<&'static str>().copied().unwrap_or("(message withheld)");
    if tracing::dispatcher::has_been_set() {
        tracing::error!(place, message, "panic; please report this");
    } else {
        eprintln!("portcullis: panic at {place}: {message}; please report this");
    }
}

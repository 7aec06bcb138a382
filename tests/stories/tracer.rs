//! A program under ptrace: its system calls that touch the store are counted, and at one of them it is killed or
//! the call fails. Unaware of what the program is for. Linux on x86-64 only.
//!
//! Counts vary by a few from run to run, for threads race; a story goes on until a number is not reached any more.

pub mod calls;

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use libc::{c_int, c_long, pid_t};

use crate::harness::{Said, not_checked};
use crate::tracer::calls::{Call, Calls};

/// A traced program that takes longer than this hangs.
const DEADLINE: Duration = Duration::from_secs(60);

/// Where and how a traced program is disturbed.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// The calls that count.
    pub calls: Calls,
    /// Whose calls count.
    pub whose: Whose,
    /// The one that is disturbed, the first being 1.
    pub at: usize,
    /// What is done.
    pub act: Act,
}

/// The processes whose calls count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// All threads of the program; what it starts goes untraced.
    Program,
    /// The processes that the program starts, and what these start.
    Children,
}

/// What is done at a call.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    /// Nothing: the calls are counted.
    Count,
    /// The process is killed before the call is made.
    Kill,
    /// The call fails with this error number.
    Fail(c_int),
    /// The call fails, and so do all that follow.
    FailFromThenOn(c_int),
}

/// How a traced program ended.
#[derive(Debug)]
pub struct Traced {
    /// The calls that counted, in order: what each was and on which path.
    pub calls: Vec<String>,
    /// Its exit code, -1 for a signal, and what it wrote.
    pub said: Said,
    /// Whether the call with the number of the fault came.
    pub reached: bool,
}

/// Runs a program to its end under a fault. `None`, told on stderr, where the machine permits no tracing.
pub fn trace(mut command: Command, store: &Path, fault: Fault) -> Option<Traced> {
    // A thread of its own, so that it waits for no other test's processes.
    let tracing = std::thread::scope(|scope| scope.spawn(|| Tracer::start(&mut command, store, fault)?.run()).join());
    match tracing.expect("the tracing thread ends well") {
        Ok(traced) => Some(traced),
        Err(error) if [libc::EPERM, libc::ENOSYS, libc::EIO].contains(&error.raw_os_error().unwrap_or(0)) => {
            not_checked(&format!("this machine permits no ptrace ({error})"));
            None
        }
        Err(error) => panic!("the program cannot be traced: {error}"),
    }
}

struct Tracer<'a> {
    store: &'a Path,
    fault: Fault,
    program: pid_t,
    out: File,
    err: File,
    calls: Vec<String>,
    doomed: HashSet<pid_t>,
}

impl<'a> Tracer<'a> {
    /// Starts the program; it stops before its first instruction.
    fn start(command: &mut Command, store: &'a Path, fault: Fault) -> io::Result<Self> {
        let (out, err) = (tempfile::tempfile()?, tempfile::tempfile()?);
        command.stdout(out.try_clone()?).stderr(err.try_clone()?);
        // SAFETY: between fork and exec only one system call is made.
        unsafe { command.pre_exec(|| ptrace(libc::PTRACE_TRACEME, 0, 0, 0).map(drop)) };
        let program = command.spawn()?.id() as pid_t;
        Ok(Self { store, fault, program, out, err, calls: Vec::new(), doomed: HashSet::new() })
    }

    fn run(mut self) -> io::Result<Traced> {
        let (ended, watch) = channel::<()>();
        let program = self.program;
        let watchdog = std::thread::spawn(move || {
            let hangs = watch.recv_timeout(DEADLINE) == Err(RecvTimeoutError::Timeout);
            if hangs {
                kill(program);
            }
            hangs
        });
        let code = self.follow()?;
        drop(ended);
        assert!(
            !watchdog.join().expect("it only waits"),
            "the traced program hangs: {:?}, {:?}",
            self.fault,
            self.last()
        );
        let reached = self.calls.len() >= self.fault.at;
        let said = Said { code, out: text(self.out)?, err: text(self.err)? };
        Ok(Traced { calls: self.calls, said, reached })
    }

    fn last(&self) -> Option<&String> {
        self.calls.last()
    }

    /// Goes from stop to stop until the program and all of its traced children are gone.
    fn follow(&mut self) -> io::Result<c_int> {
        let mut code = -1;
        let mut is_set_up = false;
        loop {
            let mut status = 0;
            // SAFETY: the status is a valid place; no other thread's children are waited for.
            let thread = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::__WNOTHREAD) };
            if thread < 0 {
                let error = io::Error::last_os_error();
                match error.raw_os_error() {
                    Some(libc::ECHILD) => return Ok(code),
                    Some(libc::EINTR) => continue,
                    _ => return Err(error),
                }
            }
            if !libc::WIFSTOPPED(status) {
                if thread == self.program && libc::WIFEXITED(status) {
                    code = libc::WEXITSTATUS(status);
                }
                continue;
            }
            if !std::mem::replace(&mut is_set_up, true) {
                gone_is_fine(ptrace(libc::PTRACE_SETOPTIONS, thread, 0, self.options()))?;
            }
            let signal = self.stop(thread, status)?;
            gone_is_fine(ptrace(libc::PTRACE_SYSCALL, thread, 0, signal.into()))?;
        }
    }

    fn options(&self) -> c_long {
        let always = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_EXITKILL;
        let children = libc::PTRACE_O_TRACEFORK | libc::PTRACE_O_TRACEVFORK | libc::PTRACE_O_TRACEEXEC;
        let options = if self.fault.whose == Whose::Children { always | children } else { always };
        options.into()
    }

    /// Deals with a stop; returns the signal that the thread is to get, if any.
    fn stop(&mut self, thread: pid_t, status: c_int) -> io::Result<c_int> {
        match libc::WSTOPSIG(status) {
            signal if signal == libc::SIGTRAP | 0x80 => {
                if let Some(call) = Call::at_entry(thread)? {
                    self.entry(thread, &call)?;
                }
                Ok(0)
            }
            // A new thread begins with the first, the program and every event with the second.
            libc::SIGSTOP | libc::SIGTRAP => Ok(0),
            signal => Ok(signal),
        }
    }

    fn entry(&mut self, thread: pid_t, call: &Call) -> io::Result<()> {
        // Looked up only for calls of the right sort: it costs a read of /proc.
        let Some(what) = call.concerns(thread, self.store, self.fault.calls) else { return Ok(()) };
        let process = process_of(thread);
        if (process == self.program) != (self.fault.whose == Whose::Program) || self.doomed.contains(&process) {
            return Ok(());
        }
        self.calls.push(what);
        match (self.fault.act, self.calls.len().cmp(&self.fault.at)) {
            (Act::Kill, std::cmp::Ordering::Equal) => {
                self.doomed.insert(process);
                kill(process);
                Ok(())
            }
            (Act::Fail(errno), std::cmp::Ordering::Equal)
            | (Act::FailFromThenOn(errno), std::cmp::Ordering::Equal | std::cmp::Ordering::Greater) => {
                gone_is_fine(call.refuse(thread, errno))
            }
            _ => Ok(()),
        }
    }
}

/// A thread that was killed meanwhile cannot be asked nor told anything.
fn gone_is_fine<T>(outcome: io::Result<T>) -> io::Result<()> {
    match outcome {
        Err(error) if error.raw_os_error() != Some(libc::ESRCH) => Err(error),
        _ => Ok(()),
    }
}

/// One ptrace request with plain numbers as arguments.
fn ptrace(request: libc::c_uint, thread: pid_t, address: c_long, data: c_long) -> io::Result<c_long> {
    // SAFETY: requests that write through `data` are given a pointer to a value that outlives the call.
    match unsafe { libc::ptrace(request, thread, address, data) } {
        -1 => Err(io::Error::last_os_error()),
        answer => Ok(answer),
    }
}

fn kill(process: pid_t) {
    // SAFETY: a plain system call; a process that is gone already is no fault.
    unsafe { libc::kill(process, libc::SIGKILL) };
}

/// The process of a thread; the thread itself where it is gone.
fn process_of(thread: pid_t) -> pid_t {
    let status = std::fs::read_to_string(format!("/proc/{thread}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Tgid:"));
    line.and_then(|rest| rest.trim().parse().ok()).unwrap_or(thread)
}

fn text(mut file: File) -> io::Result<String> {
    let mut bytes = Vec::new();
    io::Seek::rewind(&mut file)?;
    io::Read::read_to_end(&mut file, &mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[test]
fn the_tracer_counts_refuses_and_kills() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().canonicalize().unwrap().join("store");
    let traced = |whose, calls, at, act| {
        let _ = std::fs::remove_dir_all(&store);
        std::fs::create_dir(&store).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo a > store/x && mv store/x store/y && rm store/y; echo b > /dev/null"]);
        command.stdin(Stdio::null()).env("LC_ALL", "C").current_dir(store.parent().unwrap());
        trace(command, &store, Fault { calls, whose, at, act })
    };
    let Some(counted) = traced(Whose::Program, Calls::Changes, 1, Act::Count) else { return };
    assert_eq!((counted.calls.join(", ").as_str(), counted.said.code), ("openat x, write x", 0));
    let children = traced(Whose::Children, Calls::Changes, 1, Act::Count).unwrap();
    let names: Vec<_> = children.calls.iter().map(|call| call.rsplit(' ').next().unwrap()).collect();
    assert_eq!(names, ["y", "y"], "{:?}", children.calls);
    let full = traced(Whose::Program, Calls::NeedSpace, 2, Act::FailFromThenOn(libc::ENOSPC)).unwrap();
    assert!(full.said.err.contains("echo"), "{}", full.said.err);
    assert_eq!(std::fs::read_to_string(store.join("x")).unwrap(), "");
    let dead = traced(Whose::Program, Calls::Changes, 1, Act::Kill).unwrap();
    assert_eq!((dead.said.code, dead.reached, store.join("x").exists()), (-1, true, false));
    let missed = traced(Whose::Program, Calls::Changes, 99, Act::Fail(libc::EIO)).unwrap();
    assert_eq!((missed.said.code, missed.reached), (0, false));
}

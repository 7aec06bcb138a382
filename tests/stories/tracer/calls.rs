//! System calls that touch files below a folder: which, how, and on what path. Unaware of who makes them and why.

use std::fs::{self, File};
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use libc::{c_int, c_long, pid_t};

use crate::tracer::ptrace;

/// Longest path that the kernel takes.
const PATH_BYTES: usize = 4096;

/// A sort of system calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calls {
    /// All that change a file, a folder or what is durable of them.
    Changes,
    /// Those that a full disk refuses.
    NeedSpace,
    /// Those that look: opening for reading, reading, listing, mapping.
    Reads,
}

/// A system call about to be made.
pub struct Call {
    number: c_long,
    arguments: [u64; 6],
}

/// Where a call names the file that it is about.
#[derive(Clone, Copy)]
enum Names {
    /// An open file in this argument.
    Open(usize),
    /// A path in this argument.
    Path(usize),
    /// An open folder in this argument and a path in the next.
    At(usize),
}

/// What a call does to the file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Does {
    /// Opens it; how is in this argument.
    Open(usize),
    /// Makes a name or bytes, for which a disk needs room.
    Add,
    /// Changes without a need for room.
    Change,
    /// Looks only.
    Read,
}

/// The calls that are known, by number: a name for people, where the file is named, what is done to it.
const TABLE: &[(c_long, &str, Names, Does)] = &[
    (libc::SYS_open, "open", Names::Path(0), Does::Open(1)),
    (libc::SYS_openat, "openat", Names::At(0), Does::Open(2)),
    (libc::SYS_creat, "creat", Names::Path(0), Does::Add),
    (libc::SYS_write, "write", Names::Open(0), Does::Add),
    (libc::SYS_writev, "writev", Names::Open(0), Does::Add),
    (libc::SYS_pwrite64, "pwrite64", Names::Open(0), Does::Add),
    (libc::SYS_pwritev, "pwritev", Names::Open(0), Does::Add),
    (libc::SYS_pwritev2, "pwritev2", Names::Open(0), Does::Add),
    (libc::SYS_fallocate, "fallocate", Names::Open(0), Does::Add),
    (libc::SYS_copy_file_range, "copy_file_range", Names::Open(2), Does::Add),
    (libc::SYS_sendfile, "sendfile", Names::Open(0), Does::Add),
    (libc::SYS_ioctl, "ioctl", Names::Open(0), Does::Change),
    (libc::SYS_mkdir, "mkdir", Names::Path(0), Does::Add),
    (libc::SYS_mkdirat, "mkdirat", Names::At(0), Does::Add),
    (libc::SYS_link, "link", Names::Path(1), Does::Add),
    (libc::SYS_linkat, "linkat", Names::At(2), Does::Add),
    (libc::SYS_symlink, "symlink", Names::Path(1), Does::Add),
    (libc::SYS_symlinkat, "symlinkat", Names::At(1), Does::Add),
    (libc::SYS_rename, "rename", Names::Path(1), Does::Change),
    (libc::SYS_renameat, "renameat", Names::At(2), Does::Change),
    (libc::SYS_renameat2, "renameat2", Names::At(2), Does::Change),
    (libc::SYS_unlink, "unlink", Names::Path(0), Does::Change),
    (libc::SYS_unlinkat, "unlinkat", Names::At(0), Does::Change),
    (libc::SYS_rmdir, "rmdir", Names::Path(0), Does::Change),
    (libc::SYS_chmod, "chmod", Names::Path(0), Does::Change),
    (libc::SYS_fchmod, "fchmod", Names::Open(0), Does::Change),
    (libc::SYS_fchmodat, "fchmodat", Names::At(0), Does::Change),
    (libc::SYS_utimensat, "utimensat", Names::At(0), Does::Change),
    (libc::SYS_truncate, "truncate", Names::Path(0), Does::Change),
    (libc::SYS_ftruncate, "ftruncate", Names::Open(0), Does::Change),
    (libc::SYS_fsync, "fsync", Names::Open(0), Does::Change),
    (libc::SYS_fdatasync, "fdatasync", Names::Open(0), Does::Change),
    (libc::SYS_syncfs, "syncfs", Names::Open(0), Does::Change),
    (libc::SYS_read, "read", Names::Open(0), Does::Read),
    (libc::SYS_pread64, "pread64", Names::Open(0), Does::Read),
    (libc::SYS_readv, "readv", Names::Open(0), Does::Read),
    (libc::SYS_getdents64, "getdents64", Names::Open(0), Does::Read),
    (libc::SYS_mmap, "mmap", Names::Open(4), Does::Read),
    (libc::SYS_statx, "statx", Names::At(0), Does::Read),
    (libc::SYS_flock, "flock", Names::Open(0), Does::Read),
];

impl Call {
    /// The call that a stopped thread is about to make; `None` where it comes back from one, or is gone.
    pub fn at_entry(thread: pid_t) -> io::Result<Option<Self>> {
        let mut info = MaybeUninit::<libc::ptrace_syscall_info>::zeroed();
        let size = size_of::<libc::ptrace_syscall_info>() as c_long;
        match ptrace(libc::PTRACE_GET_SYSCALL_INFO, thread, size, info.as_mut_ptr() as c_long) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(None),
            answer => answer?,
        };
        // SAFETY: zeroes are a valid value of this plain structure, whatever the kernel wrote over them.
        let info = unsafe { info.assume_init() };
        if info.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
            return Ok(None);
        }
        // SAFETY: the kernel says that it filled in the variant for an entry.
        let entry = unsafe { info.u.entry };
        Ok(Some(Self { number: entry.nr as c_long, arguments: entry.args }))
    }

    /// What the call is and on which file, if it is of a sort and the file lies below a folder.
    pub fn concerns(&self, thread: pid_t, folder: &Path, calls: Calls) -> Option<String> {
        let (_, name, names, does) = TABLE.iter().find(|(number, ..)| *number == self.number)?;
        let (changes, needs_space) = match does {
            Does::Read => (false, false),
            Does::Change => (true, false),
            Does::Add => (true, true),
            Does::Open(flags) => {
                let flags = self.arguments[*flags] as c_int;
                let creates = flags & libc::O_CREAT != 0 || flags & libc::O_TMPFILE == libc::O_TMPFILE;
                let writes = flags & libc::O_ACCMODE != libc::O_RDONLY || flags & libc::O_TRUNC != 0;
                (creates || writes, creates)
            }
        };
        let fits = match calls {
            Calls::Changes => changes,
            Calls::NeedSpace => needs_space,
            Calls::Reads => !changes,
        };
        let path = self.path(thread, *names).filter(|path| fits && path.starts_with(folder))?;
        // A name that is there already is not made again: such a call needs no room, or fails in any case.
        let makes_name = calls == Calls::NeedSpace || matches!(does, Does::Add);
        if makes_name && matches!(names, Names::Path(_) | Names::At(_)) && path.symlink_metadata().is_ok() {
            return None;
        }
        Some(format!("{name} {}", path.strip_prefix(folder).unwrap_or(&path).display()))
    }

    /// Lets the call fail without being made.
    pub fn refuse(&self, thread: pid_t, errno: c_int) -> io::Result<()> {
        let mut registers = MaybeUninit::<libc::user_regs_struct>::zeroed();
        ptrace(libc::PTRACE_GETREGS, thread, 0, registers.as_mut_ptr() as c_long)?;
        // SAFETY: the kernel filled it in.
        let mut registers = unsafe { registers.assume_init() };
        // No call has this number; what stands in `rax` is then what the program gets.
        registers.orig_rax = u64::MAX;
        registers.rax = (-i64::from(errno)) as u64;
        ptrace(libc::PTRACE_SETREGS, thread, 0, (&raw const registers) as c_long).map(drop)
    }

    fn path(&self, thread: pid_t, names: Names) -> Option<PathBuf> {
        let open = |file: u64| match file as c_int {
            libc::AT_FDCWD => fs::read_link(format!("/proc/{thread}/cwd")).ok(),
            file if file < 0 => None,
            file => fs::read_link(format!("/proc/{thread}/fd/{file}")).ok(),
        };
        match names {
            Names::Open(at) => open(self.arguments[at]),
            Names::Path(at) => Some(open(libc::AT_FDCWD as u64)?.join(self.text(thread, at)?)),
            Names::At(at) => {
                let name = self.text(thread, at + 1)?;
                if name.is_absolute() { Some(name) } else { Some(open(self.arguments[at])?.join(name)) }
            }
        }
    }

    /// The path in the memory of the thread that an argument points at.
    fn text(&self, thread: pid_t, at: usize) -> Option<PathBuf> {
        use std::os::unix::ffi::OsStringExt;
        let memory = File::open(format!("/proc/{thread}/mem")).ok()?;
        let mut bytes = Vec::new();
        let mut page = [0; 256];
        while bytes.len() < PATH_BYTES {
            let read = memory.read_at(&mut page, self.arguments[at] + bytes.len() as u64).ok()?;
            let chunk = &page[..read];
            match chunk.iter().position(|byte| *byte == 0) {
                Some(end) => {
                    bytes.extend_from_slice(&chunk[..end]);
                    return Some(std::ffi::OsString::from_vec(bytes).into());
                }
                None if read == 0 => return None,
                None => bytes.extend_from_slice(chunk),
            }
        }
        None
    }
}

//! How much memory jobs may take together: what the machine has free, within the limits of control groups; and
//! whether the kernel killed for it. Unaware of jobs.

use std::path::{Path, PathBuf};

/// Where control groups lie, and what their limit and their use are called: version 2, then version 1.
const GROUPS: [(&str, &str, &str); 2] = [
    ("/sys/fs/cgroup", "memory.max", "memory.current"),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
];

/// Where a control group tells how often the kernel killed in it: version 2, then version 1.
const KILLS: [(&str, &str); 2] = [("/sys/fs/cgroup", "memory.events"), ("/sys/fs/cgroup/memory", "memory.oom_control")];

/// Bytes that are free, where the system tells.
pub fn free() -> Option<u64> {
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| available(&text));
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let left = groups.lines().filter_map(group).flat_map(|group| left_in(&group));
    machine.into_iter().chain(left).min()
}

/// How often the kernel has killed a process of this control group because its memory ran out; of a group whose path does
/// not hold some sign, that of others too, it is not told.
pub fn kills(sign: &str) -> u64 {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let told = |path: PathBuf| kills_in(&std::fs::read_to_string(path).ok()?);
    let of = |group: String| {
        let told = KILLS.map(|(top, name)| told(Path::new(top).join(&group).join(name)));
        told.into_iter().flatten().max()
    };
    groups.lines().filter_map(group).filter(|group| group.contains(sign)).filter_map(of).max().unwrap_or(0)
}

fn kills_in(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

/// `MemAvailable` of `/proc/meminfo`.
fn available(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// The path of a control group that may limit memory, from a line such as `0::/user.slice` or `4:memory:/job`.
fn group(line: &str) -> Option<String> {
    let mut parts = line.splitn(3, ':');
    let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    let is_meant = controllers.is_empty() || controllers.split(',').any(|controller| controller == "memory");
    is_meant.then(|| path.trim_start_matches('/').to_owned())
}

/// What is left in a group and in each that it lies in.
fn left_in(group: &str) -> Vec<u64> {
    let number = |path: PathBuf| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let mut left = Vec::new();
    for (top, limit, used) in GROUPS {
        for folder in Path::new(group).ancestors().map(|folder| Path::new(top).join(folder)) {
            if let (Some(limit), Some(used)) = (number(folder.join(limit)), number(folder.join(used))) {
                left.push(limit.saturating_sub(used));
            }
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_free_is_read_from_the_system() {
        assert_eq!(available("MemTotal: 9 kB\nMemAvailable:   2048 kB\n"), Some(2 << 20));
        assert_eq!(group("0::/a/b"), Some("a/b".into()));
        assert_eq!(group("4:cpu,memory:/x"), Some("x".into()));
        assert_eq!(group("4:cpu:/x"), None);
        assert_eq!(kills_in("low 0\noom 3\noom_kill 2\n"), Some(2));
        assert_eq!(kills_in("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"), Some(1));
        assert_eq!(kills_in("oom_kill_disable 0\n"), None);
        assert!(free().is_some_and(|bytes| bytes > 1 << 20));
    }
}

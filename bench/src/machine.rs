//! What of the machine makes figures worth less, as far as it can be told.
//!
//! Linux may share processors out by session (`kernel.sched_autogroup_enabled`): all threads of a terminal, or of whatever
//! called `setsid`, are one group, and groups weigh the same. On a machine with nothing to spare, a thread whose group is
//! busy on the other processor then gets next to nothing of its own (measured: 3 % for a tenth of a second). A broker
//! started apart is such another group.

use std::fs::read_to_string;
use std::path::Path;

/// Why figures of this machine are to be doubted, in a sentence; `None` when nothing is known.
pub(crate) fn doubt() -> Option<&'static str> {
    let enabled = read_to_string("/proc/sys/kernel/sched_autogroup_enabled").unwrap_or_default();
    let groups = read_to_string("/proc/self/cgroup").unwrap_or_default();
    let weighed =
        |path: &str| Path::new("/sys/fs/cgroup").join(path.trim_start_matches('/')).join("cpu.weight").exists();
    shares_by_session(&enabled, &groups, weighed).then_some(
        "the kernel shares processors out by session: with a broker of another session on this machine, high rates show stalls that are the kernel's (docs/performance.md; `sysctl kernel.sched_autogroup_enabled=0`)",
    )
}

/// Processes in a control group that is weighed for processors are not grouped by session; `weighed` says whether one of
/// the unified hierarchy is.
fn shares_by_session(enabled: &str, groups: &str, weighed: impl Fn(&str) -> bool) -> bool {
    let of_processors = groups.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        controllers.split(',').any(|controller| controller == "cpu").then_some(path)
    });
    let grouped = match (of_processors, groups.lines().find_map(|line| line.strip_prefix("0::"))) {
        (Some(path), _) => path != "/",
        (None, Some(path)) => path != "/" && weighed(path),
        (None, None) => false,
    };
    enabled.trim() == "1" && !grouped
}

#[cfg(test)]
mod tests {
    use super::shares_by_session;

    #[test]
    fn sessions_are_groups_where_that_is_on_and_no_control_group_says_otherwise() {
        for (enabled, groups, shares) in [
            ("1\n", "9:name=systemd:/x\n1:cpu:/\n", true),
            ("1\n", "4:memory:/x\n2:cpuacct,cpu:/\n", true),
            ("1\n", "0::/\n", true),
            ("1\n", "", true),
            ("0\n", "1:cpu:/\n", false),
            ("", "1:cpu:/\n", false),
            ("1\n", "1:cpu,cpuacct:/docker/7\n0::/\n", false),
            ("1\n", "0::/user.slice\n", true),
            ("1\n", "0::/broker.service\n", false),
        ] {
            let weighed = |path: &str| path == "/broker.service";
            assert_eq!(shares_by_session(enabled, groups, weighed), shares, "{enabled:?} {groups:?}");
        }
    }
}

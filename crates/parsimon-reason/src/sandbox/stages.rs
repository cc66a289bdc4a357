//! The two stages of the helper process.

use std::io::Write;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::Signal;

use super::{Isolation, Order, rules};

/// The helper's own failure: what is missing follows on standard error.
pub(super) const REFUSED: u8 = 97;
pub(super) const DRIVER: &str = include_str!("driver.py");

/// The helper's entry: its only argument is an order as JSON. It returns, with the
/// process's exit status, only when something failed or a probe was asked for. The process must have one thread, as a fresh one has.
pub fn helper_main(arguments: &[String]) -> u8 {
    let order: Option<Order> = arguments.first().and_then(|text| serde_json::from_str(text).ok());
    let Some(order) = order else { return refuse("an order") };
    if order.stage == 1 { stage_1(order) } else { stage_2(order) }
}

fn refuse(missing: &str) -> u8 {
    // The parent reads this; a helper has no other voice.
    let _ = writeln!(std::io::stderr(), "missing: {missing}");
    REFUSED
}

/// Enters namespaces, mounts the scratch folder, starts stage 2 as process 1 of the namespace and passes on how it ended.
fn stage_1(mut order: Order) -> u8 {
    if prctl::set_pdeathsig(Signal::SIGKILL).is_err() {
        return refuse("PR_SET_PDEATHSIG");
    }
    let _ = nix::unistd::setsid();
    order.report.namespaces = enter_namespaces().is_ok();
    if order.report.namespaces {
        order.report.tmpfs = mount_scratch(&order).is_ok();
    }
    order.stage = 2;
    let Ok(text) = serde_json::to_string(&order) else { return refuse("an order") };
    let Ok(own) = std::env::current_exe() else { return refuse("the helper's own path") };
    match Command::new(own).args(&order.before).arg(text).status() {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => code as u8,
            (None, signal) => 128 + signal.unwrap_or(0) as u8,
        },
        Err(_) => refuse("a second process"),
    }
}

fn enter_namespaces() -> Result<(), Box<dyn std::error::Error>> {
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    unshare(
        CloneFlags::CLONE_NEWUSER
            | CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWNS,
    )?;
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("65534 {uid} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("65534 {gid} 1"))?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    Ok(())
}

fn mount_scratch(order: &Order) -> nix::Result<()> {
    let options = format!("size={},nr_inodes=1024,mode=0700", order.limits.scratch_bytes);
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("tmpfs"), &order.scratch, Some("tmpfs"), flags, Some(options.as_str()))
}

/// Limits itself and becomes the interpreter.
fn stage_2(mut order: Order) -> u8 {
    if prctl::set_pdeathsig(Signal::SIGKILL).is_err() || prctl::set_no_new_privs().is_err() {
        return refuse("prctl");
    }
    if std::env::set_current_dir(&order.scratch).is_err() {
        return refuse("the scratch folder");
    }
    if !order.probe && rules::limit_resources(&order).is_err() {
        return refuse("resource limits");
    }
    order.report.landlock = rules::restrict_files(&order);
    order.report.seccomp = rules::restrict_calls().is_ok();
    if order.probe {
        let text = serde_json::to_string(&order.report).unwrap_or_default();
        return if writeln!(std::io::stdout(), "{text}").is_ok() { 0 } else { REFUSED };
    }
    if order.isolation == Isolation::Required
        && let Some(missing) = order.report.missing()
    {
        return refuse(&missing);
    }
    let mut command = Command::new(&order.python);
    command.args(["-I", "-B", "-X", "utf8"]);
    if order.packages.is_empty() {
        command.arg("-S");
    }
    let mut driver = String::new();
    if !order.packages.is_empty() {
        let paths: Vec<String> = order.packages.iter().map(|path| format!("{:?}", path.to_string_lossy())).collect();
        driver = format!("import sys; sys.path[:0] = [{}]\n", paths.join(", "));
    }
    let error = command
        .arg("-c")
        .arg(driver + DRIVER)
        .env_clear()
        .env("PYTHONHASHSEED", "0")
        .env("OPENBLAS_NUM_THREADS", "1")
        .exec();
    refuse(&format!("the interpreter ({error})"))
}

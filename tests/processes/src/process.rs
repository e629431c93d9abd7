//! Processes that die with this one.
//!
//! Each leads a process group (killed when its [`Process`] is dropped) and has SIGKILL as parent-death signal, by
//! `setpriv` (util-linux) since asking for it in a forked child would need unsafe code. That signal follows the *thread*
//! that forked, so one thread, which lives as long as this process, starts them all.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// How often something that cannot be waited for is looked at.
const LOOK: Duration = Duration::from_millis(10);

type Order = (Command, mpsc::Sender<std::io::Result<Child>>);

fn start(command: Command) -> anyhow::Result<Child> {
    static STARTER: OnceLock<Mutex<mpsc::Sender<Order>>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (orders, taken) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in taken {
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(orders)
    });
    let (answer, answered) = mpsc::channel();
    let gone = || anyhow!("the thread that starts processes is gone");
    starter.lock().unwrap_or_else(PoisonError::into_inner).send((command, answer)).map_err(|_| gone())?;
    answered.recv().map_err(|_| gone())?.context("a process cannot be started (is `setpriv` of util-linux there?)")
}

/// How to start one.
#[derive(Debug, Clone)]
pub struct Start {
    /// What it is called in messages, and its output files.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Its working directory, where `<name>.out` and `<name>.err` are written (appended to).
    pub folder: PathBuf,
    /// Environment on top of this process's own.
    pub environment: Vec<(String, String)>,
}

impl Start {
    /// `program arguments…` in `folder`.
    pub fn new(
        name: &str,
        program: &Path,
        folder: &Path,
        arguments: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Self {
        Self {
            name: name.to_owned(),
            program: program.to_owned(),
            arguments: arguments.into_iter().map(Into::into).collect(),
            folder: folder.to_owned(),
            environment: Vec::new(),
        }
    }

    /// Starts it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self) -> anyhow::Result<Process> {
        let (out, err) =
            (self.folder.join(format!("{}.out", self.name)), self.folder.join(format!("{}.err", self.name)));
        let open = |path: &Path| {
            File::options().create(true).append(true).open(path).with_context(|| format!("open `{}`", path.display()))
        };
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(&self.program)
            .args(&self.arguments)
            .current_dir(&self.folder)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(open(&out)?)
            .stderr(open(&err)?)
            .process_group(0);
        let child = start(command).with_context(|| format!("start {}", self.name))?;
        Ok(Process { name: self.name.clone(), child, out, err })
    }

    /// Starts it and waits for its end.
    ///
    /// # Errors
    /// When it cannot be started, or has not ended within `patience`.
    pub fn run(&self, patience: Duration) -> anyhow::Result<Ended> {
        let mut process = self.start()?;
        let status = process.wait(patience)?;
        Ok(Ended { code: status.code(), out: process.out(), err: process.err() })
    }
}

/// What became of a process that ended by itself.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

/// A running process. Dropped, it and its process group are killed.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Process {
    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    fn pid(&self) -> Option<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
    }

    /// Everything it wrote to standard output so far.
    #[must_use]
    pub fn out(&self) -> String {
        std::fs::read(&self.out).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Everything it wrote to standard error so far.
    #[must_use]
    pub fn err(&self) -> String {
        std::fs::read(&self.err).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = self.pid().context("no process id")?;
        kill_process(pid, signal).with_context(|| format!("signal {signal:?} to {}", self.name))
    }

    /// Its end, if it has ended.
    ///
    /// # Errors
    /// When the system cannot say.
    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// The most memory that it has had resident so far, bytes, as Linux counts it.
    ///
    /// # Errors
    /// When the system does not say, as of one that is gone.
    pub fn peak_memory(&self) -> anyhow::Result<u64> {
        let status = format!("/proc/{}/status", self.child.id());
        let text = std::fs::read_to_string(&status).with_context(|| format!("read `{status}` of {}", self.name))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes: Option<u64> = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok());
        kilobytes.map(|kilobytes| kilobytes << 10).with_context(|| format!("`{status}` names no VmHWM"))
    }

    /// SIGKILL to it alone, and waits until it is gone.
    ///
    /// # Errors
    /// When it had ended before.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.ended()? {
            bail!("{} was to be killed but had ended ({status}):\n{}", self.name, self.last_words());
        }
        self.signal(Signal::KILL)?;
        let status = self.child.wait()?;
        if status.signal() == Some(9) { Ok(()) } else { bail!("{} ended before it was killed: {status}", self.name) }
    }

    /// SIGTERM, and waits for its end.
    ///
    /// # Errors
    /// When it has not ended within `patience`.
    pub fn terminate(&mut self, patience: Duration) -> anyhow::Result<ExitStatus> {
        if self.ended()?.is_none() {
            self.signal(Signal::TERM)?;
        }
        self.wait(patience)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it has not ended within `patience`.
    pub fn wait(&mut self, patience: Duration) -> anyhow::Result<ExitStatus> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if began.elapsed() > patience {
                bail!("{} has not ended within {patience:?}:\n{}", self.name, self.last_words());
            }
            std::thread::sleep(LOOK);
        }
    }

    /// The end of what it wrote to standard error, for messages.
    #[must_use]
    pub fn last_words(&self) -> String {
        let err = self.err();
        let lines: Vec<&str> = err.lines().collect();
        lines.iter().skip(lines.len().saturating_sub(30)).map(|line| format!("    {line}\n")).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(pid) = self.pid() {
            // Gone already is as good.
            let _ = kill_process_group(pid, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

/// Looks again and again until `look` finds something.
///
/// # Errors
/// When `look` fails, or has found nothing within `patience`: then `what` says what was missing.
pub fn until<T>(
    patience: Duration,
    what: &str,
    mut look: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let began = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if began.elapsed() > patience {
            bail!("not within {patience:?}: {what}");
        }
        std::thread::sleep(LOOK);
    }
}
